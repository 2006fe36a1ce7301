//! Records of an altered stream: a body in the form of one layout, written in the form of another one.
//!
//! What both have is copied, cell by cell: a partial of `all`, a column of a tier. Two columns are the same when they are the same
//! partial over buckets of the same width and *began in the same generation* of the stream's layouts, so that what was dropped and
//! added again does not come back. What the new layout alone has is as in a bucket without events.
//!
//! How far back buckets go is the shortest that any layout on the way had. So it is the same whether a body went through all of them
//! or from the first to the last at once: when a record is upgraded cannot be seen.

use super::{NONE, Ring, newest_ms, words_end};
use crate::definition::TIERS_MAX;
use crate::layout::Layout;
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
    /// Buckets that every layout on the way kept, the head's included.
    reach: usize,
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
        let lifetime = places(
            (to.lifetime.as_deref().unwrap_or_default(), &to.lifetime_origins),
            (from.lifetime.as_deref().unwrap_or_default(), &from.lifetime_origins),
        );
        let tiers = to.tiers.iter().map(|tier| {
            let Some(old) = from.tier_of_width(tier.width_ms) else {
                return Source { tier: None, columns: vec![None; tier.columns.len()], reach: 0 };
            };
            let columns =
                places((&tier.columns, &tier.origins), (&from.tiers[old].columns, &from.tiers[old].origins));
            let on_the_way = chain
                .iter()
                .filter_map(|layout| layout.tier_of_width(tier.width_ms).map(|at| layout.tiers[at].slots));
            let is_kept = columns.iter().any(Option::is_some);
            Source { tier: is_kept.then_some(old), columns, reach: on_the_way.min().unwrap_or(0) }
        });
        Self { from, to, lifetime, tiers: tiers.collect() }
    }

    /// Whether the new layout has nothing that the old one lacks.
    pub fn is_whole(&self) -> bool {
        self.lifetime.iter().chain(self.tiers.iter().flat_map(|source| &source.columns)).all(Option::is_some)
    }

    /// The forms that the body's rings need.
    pub fn target<W: Words + ?Sized>(&self, old: &W) -> Target {
        let mut target = Target { shapes: [0; TIERS_MAX], words: self.to.rings_at() };
        for (at, (source, tier)) in self.tiers.iter().zip(&self.to.tiers).enumerate() {
            let buckets = self.buckets(source, old);
            let is_fit = |shape: &crate::layout::Shape| {
                (shape.dense || shape.capacity >= buckets.len())
                    && tier.columns.iter().zip(&source.columns).zip(&shape.bits).all(
                        |((column, place), &bits)| {
                            let (Some(place), true) = (place, column.is_count() && bits < u64::BITS) else {
                                return true;
                            };
                            buckets
                                .iter()
                                .all(|bucket| bucket.ring.cell(old, *place, bucket.slot) >> bits == 0)
                        },
                    )
            };
            let shape = tier.shapes.iter().position(is_fit);
            target.shapes[at] = shape.expect("the last shape is dense and counts in whole words");
            target.words += tier.shapes[target.shapes[at]].words;
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
        for (at, (partial, place)) in self.to.lifetime.iter().flatten().zip(&self.lifetime).enumerate() {
            new.set(1 + at, place.map_or(partial.initial(), |place| old.get(1 + place)));
        }
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
                        ring.set_cell(new, column, slot, bucket.ring.cell(old, *place, bucket.slot));
                    }
                }
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
        let oldest = ring.head - source.reach as i64 + 1;
        let is_filled = |slot: usize| {
            let mut places = source.columns.iter().flatten();
            places.any(|&place| ring.cell(old, place, slot) != self.from.tiers[tier].columns[place].initial())
        };
        let all: Vec<Bucket<'l>> = if ring.shape.dense {
            (oldest..=ring.head).map(|bucket| Bucket { ring, slot: ring.slot_of(bucket), bucket }).collect()
        } else {
            let entries =
                (0..ring.entries).map(|slot| Bucket { ring, slot, bucket: ring.bucket_of_entry(old, slot) });
            entries.filter(|entry| entry.bucket >= oldest).collect()
        };
        all.into_iter().filter(|bucket| is_filled(bucket.slot)).collect()
    }
}

/// One bucket of the old body.
#[derive(Clone, Copy)]
struct Bucket<'l> {
    ring: Ring<'l>,
    slot: usize,
    bucket: i64,
}

/// For each of the new columns, the place of the same one among the old.
fn places<P: PartialEq>(new: (&[P], &[u32]), old: (&[P], &[u32])) -> Vec<Option<usize>> {
    let is_same = |at: usize, place: usize| new.0[at] == old.0[place] && new.1[at] == old.1[place];
    (0..new.0.len()).map(|at| (0..old.0.len()).find(|&place| is_same(at, place))).collect()
}
