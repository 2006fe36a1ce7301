//! One record's body: judging an event against it, finding its places, adding it, and growing.
//!
//! An event is added in steps, so that nothing is half applied: [`fit`] says that it is late, or finds its place in every tier, or
//! says which ring must grow first ([`grow`] copies the body to larger words); [`add`] cannot fail.

mod held;
pub mod merge;
#[cfg(test)]
mod merge_tests;
pub mod present;
#[cfg(test)]
mod present_tests;
mod ring;
#[cfg(test)]
mod sketch_tests;
mod sketches;
#[cfg(test)]
mod tests;
pub mod upgrade;
mod verify;
#[cfg(test)]
mod width_tests;

use crate::aggregate::FieldId;
use crate::cells;
use crate::column::Columns;
use crate::definition::{ClockMode, FieldType, TIERS_MAX};
use crate::heap::{HEAD_WORDS, Heap};
use crate::layout::{Layout, Shape};
use crate::timestamp::bucket_of;
use crate::words::{Words, WordsMut};
pub use held::{Held, held};
pub use ring::Placement;
pub use verify::verify;

/// The newest event time of a body without events, and the head of a ring without buckets.
pub const NONE: i64 = i64::MIN;

/// An event, parsed: what a record is changed by.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Event time.
    pub ts: i64,
    /// The stream's clock that the event is judged by.
    pub clock: i64,
    /// Bit f is set where field f is present.
    pub present: u64,
    /// A word for each field: the bits of an f64 or an i64; of a STRING where its bytes lie, offset in the low half, length in the
    /// high one.
    pub values: &'a [u64],
    /// What STRING values lie in.
    pub bytes: &'a [u8],
}

impl<'a> Event<'a> {
    /// The word of a field, if it is present.
    #[inline]
    pub(crate) fn word(&self, field: FieldId) -> Option<u64> {
        (self.present & (1 << field) != 0).then(|| self.values[usize::from(field)])
    }

    /// The bytes that the word of a STRING field names.
    pub(crate) fn bytes_at(&self, word: u64) -> &'a [u8] {
        let (at, bytes) = ((word & 0xffff_ffff) as usize, (word >> 32) as usize);
        &self.bytes[at..at + bytes]
    }

    /// The value of a field of numbers, if it is present.
    #[inline]
    pub(crate) fn number(&self, field: FieldId, kind: FieldType) -> Option<f64> {
        let word = self.word(field)?;
        Some(if kind == FieldType::Int { word.cast_signed() as f64 } else { f64::from_bits(word) })
    }
}

/// Whether an event finds its place, or what stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does: its places are in the [`Placements`].
    Ready,
    /// It is LATE.
    Late,
    /// The body must be [copied](grow) to more words first.
    Grow(Growth),
}

/// What a body lacks for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// A tier whose ring must take another form, and the number of that.
    ring: Option<(usize, usize)>,
    /// Words that the heap's end must have free.
    heap_words: usize,
    /// The clock that the event is judged by: sketches of buckets that are not kept any more stay behind.
    clock_ms: i64,
}

impl Growth {
    /// Whether the event finds its places once the body has grown so: only behind a ring's growth may more be wanted.
    pub fn is_last(&self) -> bool {
        self.ring.is_none()
    }
}

/// How many words a body that grows wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The fewest that will do: the same for the same events, whenever the body has been copied before.
    pub least: usize,
    /// With room for sketches to grow further.
    pub ample: usize,
}

/// Room that a heap gets beyond its need: a part of its words.
const HEAP_SLACK_PART: usize = 4;

/// Where an event goes in each tier: what [`fit`] finds and [`add`] uses. Made once and used again for every event.
#[derive(Clone, Debug)]
pub struct Placements {
    places: [Place; TIERS_MAX],
    plan: sketches::Plan,
}

/// Where an event goes in one tier, and the bucket that it belongs to.
#[derive(Clone, Copy, Debug)]
struct Place {
    bucket: i64,
    placement: Placement,
}

impl Default for Placements {
    fn default() -> Self {
        let places = [Place { bucket: 0, placement: Placement::Skip }; TIERS_MAX];
        Self { places, plan: sketches::Plan::default() }
    }
}

/// The newest event time in a body, [`NONE`] if it has no event.
#[inline]
pub fn newest_ms<W: Words + ?Sized>(words: &W) -> i64 {
    words.get(0).cast_signed()
}

/// Whether an entity whose newest event is `newest_ms` is dead at `clock_ms`: it reads as empty, and a new event starts it anew. One
/// without events is.
#[inline]
pub fn is_dead(layout: &Layout, newest_ms: i64, clock_ms: i64) -> bool {
    newest_ms == NONE || layout.death_ms.is_some_and(|death_ms| newest_ms < clock_ms.saturating_sub(death_ms))
}

/// Makes `words` a body without events. They are at least [`Layout::words_min`] many.
pub fn init<W: WordsMut + ?Sized>(layout: &Layout, words: &mut W) {
    assert!(words.len() >= layout.words_min(), "{} words are too few for an empty body", words.len());
    words.set(0, NONE.cast_unsigned());
    if let Some(lifetime) = &layout.lifetime {
        for (at, partial) in lifetime.numbers().iter().enumerate() {
            words.set(1 + at, partial.initial());
        }
        for at in lifetime.numbers().len()..lifetime.words() {
            words.set(1 + at, 0);
        }
    }
    for tier in 0..layout.tiers.len() {
        Ring::set_head(layout, words, tier, NONE);
        Ring::set_state(layout, words, tier, layout.tiers[tier].shapes.first(), 0);
    }
    if layout.has_sketches {
        heap(layout, words).init(words);
    }
}

/// The heap of a body, which has one.
pub(crate) fn heap<W: Words + ?Sized>(layout: &Layout, words: &W) -> Heap {
    debug_assert!(layout.has_sketches, "a body without sketches has no heap");
    Heap::at(words_end(layout, words, layout.tiers.len()))
}

/// Whether an event is LATE for an entity that has no record, or a dead one: older than allowed lateness, or in a bucket that no tier
/// keeps. For an entity that is alive, [`fit`] says it.
pub fn is_late_for_new(layout: &Layout, event: &Event<'_>) -> bool {
    is_too_late(layout, event.ts, event.clock)
        || (layout.lifetime.is_none()
            && !layout.tiers.iter().any(|tier| tier.keeps(bucket_of(event.ts, tier.width_ms), event.clock)))
}

fn is_too_late(layout: &Layout, ts: i64, clock_ms: i64) -> bool {
    layout.lateness_ms.is_some_and(|lateness_ms| ts < clock_ms.saturating_sub(lateness_ms))
}

/// The clock that an event is judged by: the later of its stamp and the record's head, since another connection's event may have
/// overtaken it.
#[inline]
fn effective_clock<W: Words + ?Sized>(layout: &Layout, words: &W, event: &Event<'_>) -> i64 {
    match layout.clock {
        ClockMode::Event => event.clock.max(newest_ms(words)),
        // An event may lie ahead of the wall clock, so the record's head does not say what time it was.
        ClockMode::Wall => event.clock,
    }
}

/// Finds the event's place in every tier, or says that it is late.
#[inline]
pub fn fit<W: Words + ?Sized>(
    layout: &Layout,
    words: &W,
    event: &Event<'_>,
    placements: &mut Placements,
) -> Fit {
    let clock_ms = effective_clock(layout, words, event);
    if is_too_late(layout, event.ts, clock_ms) {
        return Fit::Late;
    }
    let mut is_kept = layout.lifetime.is_some();
    let mut grow = None;
    for (ring, place) in rings(layout, words).zip(&mut placements.places) {
        let tier = ring.tier();
        place.bucket = bucket_of(event.ts, tier.width_ms);
        place.placement = Placement::Skip;
        if !tier.keeps(place.bucket, clock_ms) || !ring.reaches(place.bucket) {
            continue;
        }
        is_kept = true;
        match ring.place(words, event, place.bucket) {
            Ok(placement) => place.placement = placement,
            // The first is as good as any: they grow one after another.
            Err(shape) => grow = grow.or(Some((ring.tier_index, shape))),
        }
    }
    match grow {
        Some(ring) => Fit::Grow(Growth { ring: Some(ring), heap_words: 0, clock_ms }),
        None if !is_kept => Fit::Late,
        None if layout.has_sketches => fit_sketches(layout, words, event, placements, clock_ms),
        None => Fit::Ready,
    }
}

/// Whether the heap has room for the event at its places.
#[inline(never)]
fn fit_sketches<W: Words + ?Sized>(
    layout: &Layout,
    words: &W,
    event: &Event<'_>,
    placements: &mut Placements,
    clock_ms: i64,
) -> Fit {
    let heap_words = sketches::plan(layout, words, event, placements);
    if heap_words <= heap(layout, words).room(words) {
        return Fit::Ready;
    }
    Fit::Grow(Growth { ring: None, heap_words, clock_ms })
}

/// Adds the event at the places that [`fit`] found in these words.
#[inline]
pub fn add<W: WordsMut + ?Sized>(layout: &Layout, words: &mut W, event: &Event<'_>, placements: &Placements) {
    if layout.has_sketches {
        sketches::release(layout, words, placements);
    }
    if event.ts > newest_ms(words) {
        words.set(0, event.ts.cast_unsigned());
    }
    if let Some(lifetime) = &layout.lifetime {
        add_lifetime(lifetime, words, event);
    }
    let mut base = layout.rings_at();
    for (tier, place) in placements.places.iter().enumerate().take(layout.tiers.len()) {
        let ring = Ring::at(layout, words, tier, base);
        // Adding changes no shape.
        base += ring.shape.words;
        if place.placement != Placement::Skip {
            ring.put(words, event, *place);
        }
    }
    if layout.has_sketches {
        sketches::add(layout, words, event, placements);
    }
}

#[inline]
fn add_lifetime<W: WordsMut + ?Sized>(lifetime: &Columns, words: &mut W, event: &Event<'_>) {
    for (at, partial) in lifetime.numbers().iter().enumerate() {
        if let Some(new) = partial.add(words.get(1 + at), event, 0) {
            words.set(1 + at, new);
        }
    }
    if !lifetime.is_numbers_only() {
        for (column, partial) in lifetime.wide() {
            let at = 1 + lifetime.word_at(column);
            let count = |of| {
                words.get(1 + lifetime.find_beside(of, column).expect("moments stand beside their count"))
            };
            if let Some(new) = partial.add_wide(cells::get_wide(words, at, 0), event, count) {
                cells::set_wide(words, at, 0, new);
            }
        }
    }
}

/// The words that adding an event at `ts` will probably touch beyond the body's head: where to look ahead, no more. Gives where the rings
/// end.
#[inline]
pub(crate) fn touched<W: Words + ?Sized>(
    layout: &Layout,
    words: &W,
    ts: i64,
    mut touch: impl FnMut(usize),
) -> usize {
    let mut end = layout.rings_at();
    for ring in rings(layout, words) {
        let slot = ring.probable_slot(ts);
        for (&offset, &width) in ring.shape.offsets.iter().zip(&*ring.shape.widths) {
            touch(ring.base + offset as usize + cells::word_of(width, slot));
        }
        end += ring.shape.words;
    }
    end
}

/// The rings of a body, tier by tier.
#[inline]
fn rings<'l, W: Words + ?Sized>(layout: &'l Layout, words: &W) -> impl Iterator<Item = Ring<'l>> {
    let mut base = layout.rings_at();
    (0..layout.tiers.len()).map(move |tier| {
        let ring = Ring::at(layout, words, tier, base);
        base += ring.shape.words;
        ring
    })
}

/// Words of the body once it has what `growth` says.
pub fn words_grown<W: Words + ?Sized>(layout: &Layout, words: &W, growth: &Growth) -> Wanted {
    let mut least = layout.rings_at();
    for at in 0..layout.tiers.len() {
        least += match growth.ring {
            Some((tier, shape)) if tier == at => layout.tiers[at].shapes[shape].words,
            _ => Ring::read(layout, words, at).shape.words,
        };
    }
    if !layout.has_sketches {
        return Wanted { least, ample: least };
    }
    let blocks = sketches::words_kept(layout, words, growth.clock_ms) + growth.heap_words;
    least += HEAD_WORDS + blocks;
    Wanted { least, ample: least + blocks / HEAP_SLACK_PART }
}

/// Words that the body uses of those it has.
pub fn words_used<W: Words + ?Sized>(layout: &Layout, words: &W) -> usize {
    let heap_words = if layout.has_sketches { heap(layout, words).used(words) } else { 0 };
    words_end(layout, words, layout.tiers.len()) + heap_words
}

/// Copies the body of `old` to `new`, as `growth` asks; only blocks that are in use come along. `new` has at least the
/// [words](words_grown) that this takes.
pub fn grow<O, N>(layout: &Layout, old: &O, new: &mut N, growth: &Growth)
where
    O: Words + ?Sized,
    N: WordsMut + ?Sized,
{
    for index in 0..layout.rings_at() {
        new.set(index, old.get(index));
    }
    for tier in 0..layout.tiers.len() {
        let from = Ring::read(layout, old, tier);
        if let Some((_, shape)) = growth.ring.filter(|(grown, _)| *grown == tier) {
            // A ring that becomes dense has its head in slot 0; one that was dense keeps its slots.
            let becomes_dense = layout.tiers[tier].shapes[shape].dense && !from.shape.dense;
            Ring::set_state(layout, new, tier, shape, if becomes_dense { 0 } else { from.entries });
            let to = Ring::read(layout, new, tier);
            from.copy_into(old, &to, new);
        } else {
            // Offsets of the tiers behind the grown one move; what they hold does not.
            let to = words_end(layout, new, tier);
            for index in 0..from.shape.words {
                new.set(to + index, old.get(from.base + index));
            }
        }
    }
    if layout.has_sketches {
        sketches::compact(layout, old, new, growth.clock_ms);
    }
}

/// Where the ring of tier `upto` starts: the end of those before it.
pub(crate) fn words_end<W: Words + ?Sized>(layout: &Layout, words: &W, upto: usize) -> usize {
    let heads = layout.tiers_at();
    let mut end = layout.rings_at();
    for tier in 0..upto {
        end += layout.tiers[tier].shapes.at(words.get(heads + 2 * tier + 1) & 0xffff).words;
    }
    end
}

/// A tier's ring within a body.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'l> {
    tier_index: usize,
    layout: &'l Layout,
    /// Its present form.
    pub shape: &'l Shape,
    shape_index: usize,
    /// Index of its newest bucket, or [`NONE`].
    pub head: i64,
    /// Entries of a short ring; the slot of the newest bucket of a dense one.
    pub entries: usize,
    /// Its first word.
    base: usize,
}

impl<'l> Ring<'l> {
    /// The ring of a tier, as its words say.
    #[inline]
    pub fn read<W: Words + ?Sized>(layout: &'l Layout, words: &W, tier: usize) -> Self {
        Self::at(layout, words, tier, words_end(layout, words, tier))
    }

    /// The ring of a tier that starts at the word `base`.
    #[inline]
    fn at<W: Words + ?Sized>(layout: &'l Layout, words: &W, tier: usize, base: usize) -> Self {
        let heads = layout.tiers_at();
        let head = words.get(heads + 2 * tier).cast_signed();
        let state = words.get(heads + 2 * tier + 1);
        let shape_index = Ring::shape_of(state);
        let shape = layout.tiers[tier].shapes.at(state & 0xffff);
        // A reader may see a state of another moment.
        let entries = Ring::entries_of(state).min(shape.capacity - usize::from(shape.dense));
        Self { tier_index: tier, layout, shape, shape_index, head, entries, base }
    }

    /// The number of the shape that a state word names.
    #[inline]
    fn shape_of(state: u64) -> usize {
        (state & 0xffff) as usize
    }

    /// The entries, or the head's slot, that a state word says.
    #[inline]
    fn entries_of(state: u64) -> usize {
        (state >> 32) as usize
    }

    fn set_head<W: WordsMut + ?Sized>(layout: &Layout, words: &mut W, tier: usize, head: i64) {
        words.set(layout.tiers_at() + 2 * tier, head.cast_unsigned());
    }

    fn set_state<W: WordsMut + ?Sized>(
        layout: &Layout,
        words: &mut W,
        tier: usize,
        shape: usize,
        entries: usize,
    ) {
        words.set(layout.tiers_at() + 2 * tier + 1, shape as u64 | (entries as u64) << 32);
    }

    /// Whether a bucket is not behind the ring's oldest slot.
    #[inline]
    fn reaches(&self, bucket: i64) -> bool {
        self.head == NONE || bucket > self.head.wrapping_sub(self.slots())
    }

    /// One cell of a column.
    #[inline]
    pub fn cell<W: Words + ?Sized>(&self, words: &W, column: usize, slot: usize) -> u64 {
        cells::get(words, self.column_base(column), self.shape.widths[column], slot)
    }

    #[inline]
    fn set_cell<W: WordsMut + ?Sized>(&self, words: &mut W, column: usize, slot: usize, value: u64) {
        cells::set(words, self.column_base(column), self.shape.widths[column], slot, value);
    }

    /// The first word of a column.
    #[inline]
    pub fn column_base(&self, column: usize) -> usize {
        self.base + self.shape.offsets[column] as usize
    }
}
