//! A definition compiled: tiers, their columns, the shapes their rings grow through, and the declared features.
//!
//! A record's body, in 64-bit words:
//!
//! ```text
//!   0                 newest event time (i64); i64::MIN in a body without events
//!   1 .. 1+L          the partials of `all`, one word each, wide ones two (L = 0 where the stream has no `all`)
//!   1+L .. 1+L+2T     two words a tier: head (index of its newest bucket, i64::MIN if none)
//!                                       state (bits 0..16 shape, bits 32..64 entries in a short ring, the head's slot in a dense one)
//!   then per tier     its ring, in its shape:
//!     short           tags (u32: the bucket's index mod 2³², ascending), then the columns, one cell an entry
//!     dense           the columns, one cell a slot; buckets lie in a circle that ends in the head's slot
//!   then              the heap, where the stream has sketches: see `heap`
//! ```
//!
//! A *shape* is a capacity, a width for the tier's sums of INT fields and one for its counts (16, 32 or 64 bits each). A ring starts as the
//! smallest short one and becomes dense when that, with numbers as wide as the ring's, takes no more words than the next short one; then it stays
//! dense, though a short one were smaller with the wider numbers of later. A state word names a shape by its number:
//!
//! ```text
//!   number = (place of the capacity × widths of sums + place of the sums' width) × 3 + place of the counts' width
//! ```
//!
//! Widths of sums are three where a layout [narrows](Sums::Narrow) them and the tier has any, else one: 64 bits, as every layout had it once.

mod shapes;
mod tier;

use crate::aggregate::{Aggregate, Length};
use crate::body::present;
use crate::column::{Columns, Partial};
use crate::definition::{
    AggregateSpec, ClockMode, Definition, Field, RECORD_BYTES_MAX, SkewAction, WindowSpec,
};
use crate::duration;
use crate::error::DefinitionError;
use crate::heap::HEAD_WORDS;
use crate::query::Feature;

use shapes::bits_of_widest;
pub use shapes::{Shape, Shapes, Sums};
pub(crate) use shapes::{TAG, Widening};
pub use tier::Tier;
use tier::{sketch_bytes_max, slots};

/// A stream's definition, compiled.
#[derive(Debug)]
pub struct Layout {
    /// The declared fields.
    pub fields: Box<[Field]>,
    /// One tier for each distinct bucket width, finest first.
    pub tiers: Box<[Tier]>,
    /// The partials of `all`; `None` where the stream has no such window.
    pub lifetime: Option<Columns>,
    /// Whether a bucket, or `all`, has sketches: such a body has a heap.
    pub has_sketches: bool,
    /// The declared features: by aggregate, then by window, both as declared.
    pub features: Box<[Feature]>,
    /// What "now" means.
    pub clock: ClockMode,
    /// Allowed lateness.
    pub lateness_ms: Option<i64>,
    /// How far ahead of the server's clock an event may be, and what happens to one further ahead.
    pub skew_ms: i64,
    /// What happens to an event further ahead.
    pub skew_action: SkewAction,
    /// An entity whose newest event is older than this by the stream's clock is dead; `None`: never.
    pub death_ms: Option<i64>,
    /// So is one whose record has an earlier layout and whose newest event is older than this, however long entities live now: it was dead
    /// when this layout came.
    pub dead_before_ms: i64,
    /// How many layouts of the stream came before this one.
    pub generation: u32,
    /// How wide its sums of INT fields are in rings.
    pub sums: Sums,
    /// Whether an event may be added by [`present`](crate::body::present): all that it changes are numbers, and not many.
    pub(crate) is_plain: bool,
    /// Words before the tiers' heads and states.
    tiers_at: usize,
    /// The most that SKEW ever was: an event may be so far ahead of the clock in a ring.
    ring_skew_ms: i64,
    /// The generation in which each window was added.
    window_origins: Box<[u32]>,
    windows: Box<[WindowSpec]>,
    aggregates: Box<[AggregateSpec]>,
}

/// The layout of a stream before an ALTER, and the time of that.
#[derive(Clone, Copy, Debug)]
pub struct Before<'l> {
    /// The layout.
    pub layout: &'l Layout,
    /// The stream's clock when every shard had the new one; `None`: the stream had none.
    pub clock_ms: Option<i64>,
    /// Whether every shard has it: until then an entity lives for the shorter of both times.
    pub is_settled: bool,
    /// Of an ALTER … BACKFILL, the stream's clock when it was asked for.
    pub backfill_asked_ms: Option<i64>,
}

/// Checks what can only be seen once the definition is compiled: the record's size and TTL.
pub(crate) fn check(definition: &Definition) -> Result<(), DefinitionError> {
    Layout::compile(definition).map(|_| ())
}

impl Layout {
    /// Compiles a definition.
    ///
    /// # Errors
    /// When a full record would exceed [`RECORD_BYTES_MAX`], or TTL is shorter than what the windows need.
    pub fn compile(definition: &Definition) -> Result<Self, DefinitionError> {
        Self::compile_with(definition, Sums::Narrow)
    }

    /// The same with sums as a layout had them that is there already.
    ///
    /// # Errors
    /// As [`Layout::compile`].
    pub fn compile_with(definition: &Definition, sums: Sums) -> Result<Self, DefinitionError> {
        Self::build(definition, sums, None)
    }

    /// Compiles what an ALTER made of a definition. What the layout before it held goes on; what is new begins empty: see
    /// [`upgrade`](crate::body::upgrade).
    ///
    /// # Errors
    /// As [`Layout::compile`].
    pub fn altered(definition: &Definition, sums: Sums, before: Before<'_>) -> Result<Self, DefinitionError> {
        Self::build(definition, sums, Some(before))
    }

    fn build(
        definition: &Definition,
        sums: Sums,
        before: Option<Before<'_>>,
    ) -> Result<Self, DefinitionError> {
        let mut widths: Vec<i64> = definition
            .windows
            .iter()
            .map(|window| window.width_ms)
            .filter(|&width_ms| width_ms > 0)
            .collect();
        widths.sort_unstable();
        widths.dedup();
        let old = before.map(|before| before.layout);
        let ring_skew_ms = definition.skew_ms.max(old.map_or(0, |old| old.ring_skew_ms));
        let mut tiers = widths
            .into_iter()
            .map(|width_ms| Tier::new(width_ms, definition, ring_skew_ms, sums, before))
            .collect::<Result<Box<[Tier]>, DefinitionError>>()?;
        let generation = old.map_or(0, |old| old.generation + 1);
        let lifetime = lifetime(definition, old, generation);
        let is_plain = prepare_steps(lifetime.as_ref(), &mut tiers);
        let mut death_ms = death_ms(definition, &tiers)?;
        let mut dead_before_ms = i64::MIN;
        if let Some(before) = before {
            let (was_ms, clock_ms) = (before.layout.death_ms, before.clock_ms);
            let dead_ms = was_ms.zip(clock_ms).map(|(was_ms, clock_ms)| clock_ms.saturating_sub(was_ms));
            dead_before_ms = dead_ms.unwrap_or(i64::MIN);
            if !before.is_settled {
                death_ms = death_ms.into_iter().chain(was_ms).min();
            }
        }
        let window_origins = definition
            .windows
            .iter()
            .map(|window| {
                let old = old.and_then(|old| {
                    let at = old.windows.iter().position(|old| old == window)?;
                    Some(old.window_origins[at])
                });
                old.unwrap_or(generation)
            })
            .collect();
        let layout = Self {
            fields: definition.fields.clone().into_boxed_slice(),
            has_sketches: tiers
                .iter()
                .map(|tier| &tier.columns)
                .chain(&lifetime)
                .any(|columns| !columns.sketches().is_empty()),
            is_plain,
            tiers_at: tiers_at(lifetime.as_ref()),
            lifetime,
            generation,
            sums,
            dead_before_ms,
            ring_skew_ms,
            window_origins,
            features: features(definition, &tiers),
            clock: definition.clock,
            lateness_ms: definition.lateness_ms,
            skew_ms: definition.skew_ms,
            skew_action: definition.skew_action,
            death_ms,
            windows: definition.windows.clone().into_boxed_slice(),
            aggregates: definition.aggregates.clone().into_boxed_slice(),
            tiers,
        };
        let widest: usize = layout.tiers.iter().map(Tier::widest_bytes).sum();
        if widest > RECORD_BYTES_MAX {
            let parts: Vec<String> = layout
                .tiers
                .iter()
                .map(|tier| {
                    let (slots, bytes) = (tier.slots, tier.widest_bytes());
                    format!("{slots} buckets of {} take {bytes}", duration::format(tier.width_ms))
                })
                .collect();
            return Err(DefinitionError(format!(
                "a full record would take {widest} bytes, more than {RECORD_BYTES_MAX} ({}): use wider buckets, shorter windows or less RETAIN",
                parts.join(", ")
            )));
        }
        Ok(layout)
    }

    /// What a BACKFILL computes of earlier events, for bodies of this layout: the columns that this layout has and `before`, the one
    /// before it, had not, and every column of a tier that keeps longer windows now; all columns without `before`. `None`: nothing.
    ///
    /// LATENESS does not count: the events were judged when they came.
    pub fn to_backfill(&self, before: Option<&Self>) -> Option<Self> {
        let is_new = |origin: u32| before.is_none() || origin == self.generation;
        let mut tiers: Box<[Tier]> = self
            .tiers
            .iter()
            .filter_map(|tier| {
                let old =
                    before.and_then(|before| before.tiers.iter().find(|old| old.width_ms == tier.width_ms));
                let is_longer = old.is_some_and(|old| old.longest_ms < tier.longest_ms);
                let columns = tier.columns.subset(|_, origin| is_longer || is_new(origin));
                let shapes = Shapes::new(&columns, tier.width_ms, tier.slots, self.sums);
                (!columns.is_empty()).then_some(Tier { columns, shapes, ..*tier })
            })
            .collect();
        let lifetime = self.lifetime.as_ref().map(|columns| columns.subset(|_, origin| is_new(origin)));
        let lifetime = lifetime.filter(|columns| !columns.is_empty());
        if tiers.is_empty() && lifetime.is_none() {
            return None;
        }
        let has_sketches = tiers
            .iter()
            .map(|tier| &tier.columns)
            .chain(&lifetime)
            .any(|columns| !columns.sketches().is_empty());
        let is_plain = prepare_steps(lifetime.as_ref(), &mut tiers);
        Some(Self {
            fields: self.fields.clone(),
            is_plain,
            tiers_at: tiers_at(lifetime.as_ref()),
            tiers,
            lifetime,
            has_sketches,
            features: Box::default(),
            clock: self.clock,
            lateness_ms: None,
            skew_ms: self.skew_ms,
            skew_action: self.skew_action,
            death_ms: self.death_ms,
            dead_before_ms: self.dead_before_ms,
            generation: self.generation,
            sums: self.sums,
            ring_skew_ms: self.ring_skew_ms,
            window_origins: self.window_origins.clone(),
            windows: self.windows.clone(),
            aggregates: self.aggregates.clone(),
        })
    }

    /// The most that SKEW ever was: events that were counted earlier may be so far ahead.
    pub fn skew_most_ms(&self) -> i64 {
        self.ring_skew_ms
    }

    /// Whether a ring's sums are narrower than [wide](Sums::Wide) ones: servers that know no others cannot read such records.
    pub fn narrows_sums(&self) -> bool {
        self.tiers.iter().any(|tier| tier.shapes.narrow_sums())
    }

    /// Words before the tiers' heads and states.
    #[inline]
    pub(crate) fn tiers_at(&self) -> usize {
        self.tiers_at
    }

    /// Words before the first ring's.
    #[inline]
    pub(crate) fn rings_at(&self) -> usize {
        self.tiers_at() + 2 * self.tiers.len()
    }

    /// Words of a body without events.
    pub fn words_min(&self) -> usize {
        self.rings_at()
            + self.tiers.iter().map(|tier| tier.shapes[tier.shapes.first()].words).sum::<usize>()
            + self.heap_words_min()
    }

    /// Words of a heap without blocks.
    fn heap_words_min(&self) -> usize {
        if self.has_sketches { HEAD_WORDS } else { 0 }
    }

    /// Bytes of a body whose rings are all dense, while counts and sums are narrow, without what its sketches take.
    pub fn full_bytes(&self) -> usize {
        8 * (self.rings_at() + self.heap_words_min()) + self.tiers.iter().map(Tier::full_bytes).sum::<usize>()
    }

    /// Bytes of such a body with counts and sums that are as wide as they get.
    pub fn widest_bytes(&self) -> usize {
        8 * (self.rings_at() + self.heap_words_min())
            + self.tiers.iter().map(Tier::widest_bytes).sum::<usize>()
    }

    /// Most bytes that sketches may add, were there room for all in one record.
    pub fn sketch_bytes_max(&self) -> usize {
        let lifetime: usize = self.lifetime.iter().map(sketch_bytes_max).sum();
        lifetime + self.tiers.iter().map(Tier::sketch_bytes_max).sum::<usize>()
    }

    /// The watermark when the stream's clock is `clock`: clock − LATENESS; `None` without either.
    #[inline]
    pub fn watermark_ms(&self, clock: Option<i64>) -> Option<i64> {
        Some(clock? - self.lateness_ms?)
    }

    /// Whether a record could still be as large as it may get if the tier's RETAIN were `retain_ms`.
    pub(crate) fn can_retain(&self, tier: usize, retain_ms: i64) -> bool {
        let others: usize = (0..self.tiers.len())
            .filter(|&other| other != tier)
            .map(|other| self.tiers[other].widest_bytes())
            .sum();
        let tier = &self.tiers[tier];
        let slots = slots(tier.width_ms, tier.longest_ms, retain_ms, self.skew_ms);
        // As many bits as the dense ring with its widest numbers takes; its columns end at a word.
        let words: i128 =
            bits_of_widest(&tier.columns, tier.width_ms).map(|bits| (slots * bits + 63) / 64).sum();
        others as i128 + words * 8 <= RECORD_BYTES_MAX as i128
    }

    /// The declared window of a length.
    pub fn window(&self, length: Length) -> Option<&WindowSpec> {
        self.windows.iter().find(|window| window.length == length)
    }

    /// The generation since which a feature is complete: that in which its columns began, or in which its tier became long enough for
    /// it.
    pub fn complete_since(&self, feature: &Feature) -> u32 {
        let (columns, length) = self.began(feature);
        columns.max(length)
    }

    /// The generations in which a feature's columns began, and in which its tier became long enough for it.
    pub fn began(&self, feature: &Feature) -> (u32, u32) {
        let Some(tier) = feature.tier else {
            let partials = lifetime_partials(feature.aggregate, &self.fields);
            let began = self.lifetime.as_ref().and_then(|columns| columns.origin_of(&partials)).unwrap_or(0);
            return (began, began);
        };
        let tier = &self.tiers[tier];
        let columns = tier.columns.origin_of(&Partial::of(feature.aggregate, &self.fields)).unwrap_or(0);
        let windows = self.windows.iter().zip(&self.window_origins);
        let long_enough = windows
            .filter(|(window, _)| {
                window.width_ms == tier.width_ms
                    && window.length != Length::All
                    && window.length >= feature.length
            })
            .map(|(_, &origin)| origin)
            .min();
        (columns, long_enough.unwrap_or(0))
    }

    /// Whether buckets of longer windows may be whole neither in records nor in what a backfill finds, since every shard had this layout
    /// only at `settled_ms`.
    pub fn is_handed_over_late(&self, width_ms: i64, settled_ms: Option<i64>) -> bool {
        let tier = self.tiers.iter().find(|tier| tier.width_ms == width_ms);
        let by_ms = tier.and_then(|tier| tier.handed_over_by_ms);
        by_ms.zip(settled_ms).is_some_and(|(by_ms, settled_ms)| settled_ms > by_ms)
    }

    /// The tier of a bucket width.
    pub fn tier_of_width(&self, width_ms: i64) -> Option<usize> {
        self.tiers.iter().position(|tier| tier.width_ms == width_ms)
    }

    /// The declared windows.
    pub fn windows(&self) -> &[WindowSpec] {
        &self.windows
    }

    /// The declared aggregates.
    pub fn aggregates(&self) -> &[AggregateSpec] {
        &self.aggregates
    }

    /// The index of a field by name.
    pub fn field(&self, name: &[u8]) -> Option<usize> {
        self.fields.iter().position(|field| field.name.as_bytes() == name)
    }
}

/// Gives tiers of a plain layout the steps of an event; false where it is none.
fn prepare_steps(lifetime: Option<&Columns>, tiers: &mut [Tier]) -> bool {
    let is_plain = present::is_plain(lifetime, tiers);
    for tier in tiers.iter_mut().filter(|_| is_plain) {
        tier.shapes.prepare_steps(&tier.columns);
    }
    is_plain
}

fn tiers_at(lifetime: Option<&Columns>) -> usize {
    1 + lifetime.map_or(0, Columns::words)
}

fn lifetime(definition: &Definition, old: Option<&Layout>, generation: u32) -> Option<Columns> {
    definition.windows.iter().find(|window| window.length == Length::All)?;
    let needed = definition
        .aggregates
        .iter()
        .filter(|spec| spec.covers(Length::All))
        .map(|spec| lifetime_partials(spec.aggregate, &definition.fields));
    Some(Columns::new(needed, old.and_then(|old| old.lifetime.as_ref()), generation))
}

/// What `all` stores for an aggregate. The body's newest event time says the newest already.
fn lifetime_partials(aggregate: Aggregate, fields: &[Field]) -> Vec<Partial> {
    let mut partials = Partial::of(aggregate, fields);
    partials.retain(|&partial| partial != Partial::Newest);
    partials
}

fn features(definition: &Definition, tiers: &[Tier]) -> Box<[Feature]> {
    let mut features = Vec::new();
    for spec in &definition.aggregates {
        for window in definition.windows.iter().filter(|window| spec.covers(window.length)) {
            let name = format!("{}:{}", spec.aggregate.text(&definition.fields), window.length);
            let tier = tiers.iter().position(|tier| tier.width_ms == window.width_ms);
            features.push(Feature {
                name: name.into(),
                aggregate: spec.aggregate,
                length: window.length,
                tier,
            });
        }
    }
    features.into_boxed_slice()
}

/// TTL, or without it the longest finite window + RETAIN + one bucket; `None` for a stream with `all` and no TTL.
fn death_ms(definition: &Definition, tiers: &[Tier]) -> Result<Option<i64>, DefinitionError> {
    let needed_ms = tiers
        .iter()
        .map(|tier| tier.longest_ms.saturating_add(tier.retain_ms).saturating_add(tier.width_ms))
        .max()
        .unwrap_or(0);
    match definition.ttl_ms {
        Some(ttl_ms) if ttl_ms < needed_ms => Err(DefinitionError(format!(
            "TTL {} is shorter than the longest window with its RETAIN and one bucket: it must be at least {}",
            duration::format(ttl_ms),
            duration::format(needed_ms)
        ))),
        Some(ttl_ms) => Ok(Some(ttl_ms)),
        None if definition.windows.iter().any(|window| window.length == Length::All) => Ok(None),
        None => Ok(Some(needed_ms)),
    }
}
