//! Records of an altered stream: a body in the form of one layout, written in the form of another one.
//!
//! What both have is copied, cell by cell: a partial of `all`, a column of a tier, and the sketches that cells refer to. Two columns are
//! the same when they are the same partial over buckets of the same width and *began in the same generation* of the stream's
//! layouts, so that what was dropped and added again does not come back. What the new layout alone has is as in a bucket without events.
//!
//! Buckets come along as far back as every layout on the way kept them, and none that the layout before did not keep any more when the
//! one after it came. So it is the same whether a body went through all layouts or from the first to the last at once, and whether
//! sketches of such buckets were forgotten: when a record is upgraded cannot be seen.

use super::{NONE, Ring, newest_ms, sketches, words_end};
use crate::cells;
use crate::column::{CellKind, Columns, Partial};
use crate::definition::TIERS_MAX;
use crate::heap::HEAD_WORDS;
use crate::layout::{Layout, Shape, Widening};
use crate::words::{Words, WordsMut};

/// How bodies of one layout become bodies of another one.
#[derive(Debug)]
pub struct Upgrade<'l> {
    from: &'l Layout,
    to: &'l Layout,
    /// For each partial of `all` of the new layout, its place in the old one.
    lifetime: Vec<Option<usize>>,
    tiers: Vec<Source>,
}

/// What a tier of the new layout is made of.
#[derive(Debug)]
struct Source {
    /// The tier of the old layout, if a column of it goes on.
    tier: Option<usize>,
    /// For each column, its place in the old tier.
    columns: Vec<Option<usize>>,
    /// Buckets that every layout on the way has slots for, the head's included.
    reach: usize,
    /// What lies before is left behind.
    since_ms: i64,
}

/// The forms that the rings of one body get, and what they take.
#[derive(Debug)]
pub struct Target {
    shapes: [usize; TIERS_MAX],
    /// Words of the new body.
    pub words: usize,
}

impl<'l> Upgrade<'l> {
    /// From the first layout of `chain` to the last; what lies between are the layouts that the stream had meanwhile.
    ///
    /// # Panics
    /// When the chain is empty.
    pub fn new(chain: &[&'l Layout]) -> Self {
        let (from, to) = (chain[0], chain[chain.len() - 1]);
        let none = Columns::default();
        let (old, new) = (from.lifetime.as_ref().unwrap_or(&none), to.lifetime.as_ref().unwrap_or(&none));
        let tiers = to.tiers.iter().map(|tier| {
            let on_the_way = || {
                chain.iter().filter_map(|layout| layout.tiers.iter().find(|at| at.width_ms == tier.width_ms))
            };
            let since = on_the_way().skip(1).map(|tier| tier.kept_since_ms).max();
            let old = from.tier_of_width(tier.width_ms);
            let columns = match old {
                Some(old) => tier.columns.places_in(&from.tiers[old].columns),
                None => vec![None; tier.columns.len()],
            };
            Source {
                tier: old.filter(|_| columns.iter().any(Option::is_some)),
                columns,
                reach: on_the_way().map(|tier| tier.slots).min().unwrap_or(0),
                // Back to an older layout, for a read that was made under it.
                since_ms: since.filter(|_| from.generation < to.generation).unwrap_or(i64::MIN),
            }
        });
        Self { from, to, lifetime: new.places_in(old), tiers: tiers.collect() }
    }

    /// Whether the new layout has nothing that the old one lacks.
    pub fn is_whole(&self) -> bool {
        self.lifetime.iter().chain(self.tiers.iter().flat_map(|source| &source.columns)).all(Option::is_some)
    }

    /// The forms that the body's rings need.
    pub fn target<W: Words + ?Sized>(&self, old: &W) -> Target {
        let mut target = Target { shapes: [0; TIERS_MAX], words: self.to.rings_at() };
        let mut references = Vec::new();
        if let (Some(from), Some(to)) = (&self.from.lifetime, &self.to.lifetime) {
            let sketched = to.sketches().iter().filter_map(|of| self.lifetime[of.column]);
            references.extend(sketched.map(|place| old.get(1 + from.word_at(place)) as u32));
        }
        for (at, (source, tier)) in self.tiers.iter().zip(&self.to.tiers).enumerate() {
            let buckets = self.buckets(source, old);
            let holds = |shape: &Shape| {
                let holds_all = |of: &Widening| match source.columns[of.column as usize] {
                    Some(place) => {
                        buckets.iter().all(|bucket| of.width.holds(bucket.ring.cell(old, place, bucket.slot)))
                    }
                    None => true,
                };
                shape.widening.iter().all(holds_all)
            };
            target.shapes[at] = tier.shapes.least(buckets.len(), holds);
            target.words += tier.shapes[target.shapes[at]].words;
            for place in tier.columns.sketches().iter().filter_map(|of| source.columns[of.column]) {
                references
                    .extend(buckets.iter().map(|bucket| bucket.ring.cell(old, place, bucket.slot) as u32));
            }
        }
        if self.to.has_sketches {
            target.words += HEAD_WORDS;
            if self.from.has_sketches {
                target.words += sketches::words_of(self.from, old, references.into_iter());
            }
        }
        target
    }

    /// Writes the body of `old` into `new`, which has at least as many words as the target says.
    pub fn copy<O, N>(&self, old: &O, new: &mut N, target: &Target)
    where
        O: Words + ?Sized,
        N: WordsMut + ?Sized,
    {
        assert!(new.len() >= target.words, "{} words are too few for {}", new.len(), target.words);
        new.set(0, newest_ms(old).cast_unsigned());
        self.copy_lifetime(old, new);
        for (tier, source) in self.tiers.iter().enumerate() {
            let buckets = self.buckets(source, old);
            let shape = target.shapes[tier];
            let is_dense = self.to.tiers[tier].shapes[shape].dense;
            let head = source.tier.map_or(NONE, |tier| Ring::read(self.from, old, tier).head);
            Ring::set_head(self.to, new, tier, head);
            // A dense ring has its head in slot 0.
            Ring::set_state(self.to, new, tier, shape, if is_dense { 0 } else { buckets.len() });
            let ring = Ring::at(self.to, new, tier, words_end(self.to, new, tier));
            if is_dense {
                for slot in 0..self.to.tiers[tier].slots {
                    ring.clear(new, slot);
                }
            }
            for (entry, bucket) in buckets.iter().enumerate() {
                let slot = if is_dense { ring.slot_of(bucket.bucket) } else { entry };
                if !is_dense {
                    ring.clear(new, slot);
                    ring.set_tag(new, slot, bucket.bucket);
                }
                for (column, place) in source.columns.iter().enumerate() {
                    if let Some(place) = place {
                        bucket.ring.copy_cell(old, (*place, bucket.slot), &ring, new, (column, slot));
                    }
                }
            }
        }
        if self.to.has_sketches {
            sketches::adopt_all(self.to, new, self.from, old);
        }
    }

    fn copy_lifetime<O, N>(&self, old: &O, new: &mut N)
    where
        O: Words + ?Sized,
        N: WordsMut + ?Sized,
    {
        let Some(to) = &self.to.lifetime else { return };
        for (column, place) in self.lifetime.iter().enumerate() {
            let words = if to[column].kind() == CellKind::Wide { 2 } else { 1 };
            let at = 1 + to.word_at(column);
            let from = self.from.lifetime.as_ref().zip(*place).map(|(from, place)| 1 + from.word_at(place));
            for word in 0..words {
                new.set(at + word, from.map_or(to[column].initial(), |from| old.get(from + word)));
            }
        }
    }

    /// The buckets of a tier that go on, oldest first: those that hold something.
    fn buckets<W: Words + ?Sized>(&self, source: &Source, old: &W) -> Vec<Bucket<'l>> {
        let Some(tier) = source.tier else { return Vec::new() };
        let ring = Ring::read(self.from, old, tier);
        if ring.head == NONE {
            return Vec::new();
        }
        let width_ms = self.from.tiers[tier].width_ms;
        let oldest = (ring.head - source.reach as i64 + 1).max(source.since_ms.div_euclid(width_ms));
        let places: Vec<usize> = source.columns.iter().copied().flatten().collect();
        let all: Vec<Bucket<'l>> = if ring.shape.dense {
            (oldest..=ring.head).map(|bucket| Bucket { ring, slot: ring.slot_of(bucket), bucket }).collect()
        } else {
            let entry = |slot| Bucket { ring, slot, bucket: ring.bucket_of_entry(old, slot) };
            (0..ring.entries).map(entry).filter(|entry| entry.bucket >= oldest).collect()
        };
        let is_filled =
            |bucket: &Bucket<'l>| places.iter().any(|&place| !ring.is_initial(old, place, bucket.slot));
        all.into_iter().filter(is_filled).collect()
    }
}

/// One bucket of the old body.
#[derive(Clone, Copy)]
struct Bucket<'l> {
    ring: Ring<'l>,
    slot: usize,
    bucket: i64,
}

impl Ring<'_> {
    /// Whether a cell is as in a bucket without events.
    pub(super) fn is_initial<W: Words + ?Sized>(&self, words: &W, column: usize, slot: usize) -> bool {
        let partial: Partial = self.tier().columns[column];
        match partial.kind() {
            CellKind::Wide => cells::get_wide(words, self.column_base(column), slot) == [0; 2],
            CellKind::Number | CellKind::Reference => self.cell(words, column, slot) == partial.initial(),
        }
    }

    /// Copies a cell to one of the same partial in another ring.
    fn copy_cell<O, N>(
        &self,
        old: &O,
        (from, slot): (usize, usize),
        to: &Ring<'_>,
        new: &mut N,
        (column, new_slot): (usize, usize),
    ) where
        O: Words + ?Sized,
        N: WordsMut + ?Sized,
    {
        match self.tier().columns[from].kind() {
            CellKind::Wide => {
                let value = cells::get_wide(old, self.column_base(from), slot);
                cells::set_wide(new, to.column_base(column), new_slot, value);
            }
            CellKind::Number | CellKind::Reference => {
                to.set_cell(new, column, new_slot, self.cell(old, from, slot));
            }
        }
    }
}
