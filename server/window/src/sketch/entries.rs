//! Different entries: a hash table that is emptied at no cost.

use super::distinct::RANK_BITS;

/// Places that a window begins with: more are taken as entries come, so that few entries touch few cache lines.
const PLACES_MIN: usize = 256;
/// The factor of a table without a secret: 2⁶⁴ divided by the golden ratio.
pub(super) const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Times as many places when half of them are taken.
const GROWTH: usize = 4;

/// Entries, one for each index, the one of the largest rank. They stand in a list; a table of open addressing, at most half full, finds
/// them. A place whose stamp is not the present one is empty, so nothing is cleared between two windows.
#[derive(Debug)]
pub(super) struct Entries {
    list: Vec<u32>,
    /// Stamp in the high half, where in the list in the low one.
    places: Vec<u64>,
    /// How many of the places are in use now: a power of two.
    size: usize,
    stamp: u32,
    /// Odd, and a secret where strangers choose values: then indices that are chosen with care collide no more than others
    /// (multiply-shift hashing, Dietzfelbinger, Hagerup, Katajainen, Penttonen, 1997). What is found does not depend on it.
    factor: u64,
}

impl Default for Entries {
    fn default() -> Self {
        Self { list: Vec::new(), places: vec![0; PLACES_MIN], size: PLACES_MIN, stamp: 1, factor: FACTOR }
    }
}

impl Entries {
    /// Goes by this secret from now on.
    pub(super) fn key(&mut self, secret: u64) {
        self.clear();
        self.factor = secret | 1;
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.size = PLACES_MIN;
        self.empty_places();
    }

    fn empty_places(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.places.fill(0);
            self.stamp = 1;
        }
    }

    /// Adds an entry; gives how many there are.
    #[inline]
    pub(super) fn insert(&mut self, entry: u32) -> usize {
        let index = entry >> RANK_BITS;
        let mut at = self.home(index);
        let mask = self.size - 1;
        loop {
            let place = self.places[at];
            if (place >> 32) as u32 != self.stamp {
                break;
            }
            let found = &mut self.list[(place & 0xffff_ffff) as usize];
            if *found >> RANK_BITS == index {
                // Of one index, the ranks are the low bits of the entries.
                *found = entry.max(*found);
                return self.list.len();
            }
            at = (at + 1) & mask;
        }
        self.places[at] = self.place(self.list.len());
        self.list.push(entry);
        if 2 * self.list.len() > self.size {
            self.grow();
        }
        self.list.len()
    }

    /// All of them.
    pub(super) fn list(&self) -> &[u32] {
        &self.list
    }

    /// Multiply-shift: the product's high bits.
    #[inline]
    fn home(&self, index: u32) -> usize {
        (u64::from(index).wrapping_mul(self.factor) >> (u64::BITS - self.size.trailing_zeros())) as usize
    }

    #[inline]
    fn place(&self, listed: usize) -> u64 {
        u64::from(self.stamp) << 32 | listed as u64
    }

    #[cold]
    fn grow(&mut self) {
        self.size *= GROWTH;
        if self.places.len() < self.size {
            self.places.resize(self.size, 0);
        }
        self.empty_places();
        for listed in 0..self.list.len() {
            let mut at = self.home(self.list[listed] >> RANK_BITS);
            while (self.places[at] >> 32) as u32 == self.stamp {
                at = (at + 1) & (self.size - 1);
            }
            self.places[at] = self.place(listed);
        }
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
            if round == 25 {
                entries.key(0x1234_5678_9abc_def0);
            }
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
            let mut found = entries.list().to_vec();
            found.sort_unstable();
            assert_eq!(found, largest.into_values().collect::<Vec<_>>(), "round {round}");
        }
    }

    #[test]
    fn a_stamp_that_comes_again_finds_nothing() {
        let mut entries = Entries { stamp: u32::MAX, ..Entries::default() };
        entries.insert(1 << RANK_BITS | 1);
        entries.clear();
        assert_eq!(entries.list(), []);
        assert_eq!(entries.insert(2 << RANK_BITS | 1), 1);
    }
}
