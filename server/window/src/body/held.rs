//! What a record's rings hold, for those who look at one.

use super::{NONE, Ring, rings};
use crate::layout::Layout;
use crate::words::Words;

/// What a tier of a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The width of its buckets.
    pub width_ms: i64,
    /// Buckets that hold something.
    pub buckets: usize,
    /// Buckets that its ring has room for as it is.
    pub capacity: usize,
    /// Whether every bucket has its slot.
    pub is_dense: bool,
}

/// What the tiers of a body hold.
pub fn held<W: Words + ?Sized>(layout: &Layout, words: &W) -> Vec<Held> {
    let of_ring = |ring: Ring<'_>| {
        let is_filled =
            |slot: &usize| (0..ring.tier().columns.len()).any(|at| !ring.is_initial(words, at, *slot));
        let slots = match (ring.head, ring.shape.dense) {
            (NONE, _) => 0,
            (_, true) => ring.shape.capacity,
            (_, false) => ring.entries,
        };
        Held {
            width_ms: ring.tier().width_ms,
            buckets: (0..slots).filter(is_filled).count(),
            capacity: ring.shape.capacity,
            is_dense: ring.shape.dense,
        }
    };
    rings(layout, words).map(of_ring).collect()
}
