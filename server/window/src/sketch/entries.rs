//! The entries of a union while they are few: a hash table that is emptied at no cost.

use super::distinct::RANK_BITS;
use std::hash::{BuildHasher, RandomState};

/// Places that a window begins with: more are taken as entries come, so that few entries touch few cache lines.
const PLACES_MIN: usize = 256;
/// Times as many places when half of them are taken.
const GROWTH: usize = 4;

/// Entries, one for each index, the one of the largest rank. Open addressing, at most half full; a place whose stamp is not the present one
/// is empty, so nothing is cleared between two windows.
#[derive(Debug)]
pub(super) struct Entries {
    /// Stamp in the high half, entry in the low one.
    places: Vec<u64>,
    /// How many of the places are in use now: a power of two.
    size: usize,
    stamp: u32,
    len: usize,
    /// Odd, and nobody's choice: indices that are chosen with care collide no more than others (multiply-shift hashing, Dietzfelbinger,
    /// Hagerup, Katajainen, Penttonen, 1997). What is found does not depend on it.
    factor: u64,
    spare: Vec<u32>,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            places: vec![0; PLACES_MIN],
            size: PLACES_MIN,
            stamp: 1,
            len: 0,
            factor: RandomState::new().hash_one(0u64) | 1,
            spare: Vec::new(),
        }
    }
}

impl Entries {
    pub(super) fn clear(&mut self) {
        self.size = PLACES_MIN;
        self.empty();
    }

    fn empty(&mut self) {
        self.len = 0;
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.places.fill(0);
            self.stamp = 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry; gives how many there are.
    #[inline]
    pub(super) fn insert(&mut self, entry: u32) -> usize {
        let index = entry >> RANK_BITS;
        // Multiply-shift: the product's high bits.
        let shift = u64::BITS - self.size.trailing_zeros();
        let mut at = (u64::from(index).wrapping_mul(self.factor) >> shift) as usize;
        let stamped = u64::from(self.stamp) << 32 | u64::from(entry);
        let places = &mut self.places[..self.size];
        loop {
            let place = places[at];
            if (place >> 32) as u32 != self.stamp {
                break;
            }
            if place as u32 >> RANK_BITS == index {
                // Of one index, the ranks are the low bits of the entries.
                places[at] = place.max(stamped);
                return self.len;
            }
            at = (at + 1) & (places.len() - 1);
        }
        places[at] = stamped;
        self.len += 1;
        if 2 * self.len > self.size {
            self.grow();
        }
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let places = &self.places[..self.size];
        places.iter().filter(|place| (**place >> 32) as u32 == self.stamp).map(|place| *place as u32)
    }

    #[cold]
    fn grow(&mut self) {
        let mut entries = std::mem::take(&mut self.spare);
        entries.extend(self.iter());
        self.size *= GROWTH;
        if self.places.len() < self.size {
            self.places.resize(self.size, 0);
        }
        self.empty();
        for &entry in &entries {
            self.insert(entry);
        }
        entries.clear();
        self.spare = entries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn one_entry_is_kept_for_each_index_whatever_was_there_before() {
        let mut entries = Entries::default();
        let mut state = 7u64;
        for round in 0..50 {
            entries.clear();
            let mut largest = BTreeMap::new();
            for _ in 0..1 << (round % 13) {
                state = super::super::hash::mix(state.wrapping_add(1));
                // Few indices and many, near to each other and far.
                let index = (state >> 20) as u32 % (1 << (1 + round % 25));
                let entry = index << RANK_BITS | (1 + (state as u32 & 31));
                let kept = largest.entry(index).or_insert(entry);
                *kept = entry.max(*kept);
                assert_eq!(entries.insert(entry), largest.len());
            }
            let mut found: Vec<u32> = entries.iter().collect();
            found.sort_unstable();
            assert_eq!(found, largest.into_values().collect::<Vec<_>>(), "round {round}");
        }
    }

    #[test]
    fn a_stamp_that_comes_again_finds_nothing() {
        let mut entries = Entries { stamp: u32::MAX, ..Entries::default() };
        entries.insert(1 << RANK_BITS | 1);
        entries.clear();
        assert_eq!((entries.len(), entries.iter().count()), (0, 0));
        assert_eq!(entries.insert(2 << RANK_BITS | 1), 1);
    }
}
