//! The entries of a union while they are few, as the buckets have them: they are gathered first, and told apart all at once.
//!
//! Most entries of a window are of values that only one bucket has. So a bit is set for each in a table that has many more bits than
//! there are entries, without a branch: who shares no bit is different from all others. The few that share one are looked up in
//! [`Entries`].
//!
//! Where a look finds that at least half were there before, as in windows whose buckets have the same values, all that comes later is
//! looked up in [`Entries`] at once: it is mostly there.

use super::distinct::{RANK_BITS, each_entry, each_entry_or_none};
use super::entries::{Entries, FACTOR};
use super::span::Span;
use crate::words::Words;

/// Bits of the table for each entry, at least: so one of 16 entries shares its bit with another.
const BITS_PER_ENTRY: usize = 16;
const BITS_MIN: usize = 512;
/// Entries that are gathered before the first look at how many are different, a part of the few more than those.
const FIRST_LOOK_PART: usize = 4;
/// Times the few that are gathered before the second look. It finds that there are more than few, or that half are repeats: so there is
/// no third.
const LATER_LOOK: usize = 2;
/// Places beyond that, so that a bucket's entries come in at once.
const ROOM_BEYOND: usize = 1024;

/// Entries, not all different.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The first `len` of these; what is behind them means nothing.
    places: Vec<u32>,
    len: usize,
    /// A union of more different entries is not kept as entries.
    few: usize,
    /// With so many, it is time to look how many are different.
    look_at: usize,
    /// For each 64 bits, those that an entry has set, and those that a second one has.
    bits: Vec<[u64; 2]>,
    /// Those that share a bit with others.
    sharing: Entries,
    /// All different ones are in `sharing`, and none in `places`.
    are_repeats: bool,
    /// Odd, and a secret where strangers choose values (multiply-shift hashing). What is counted does not depend on it.
    factor: u64,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            len: 0,
            few: 0,
            look_at: 0,
            bits: Vec::new(),
            sharing: Entries::default(),
            are_repeats: false,
            factor: FACTOR,
        }
    }
}

impl Gathered {
    /// Goes by this secret from now on.
    pub(super) fn key(&mut self, secret: u64) {
        self.sharing.key(secret);
        self.factor = secret | 1;
    }

    /// Forgets all. A union may have `few` different entries.
    #[inline]
    pub(super) fn begin(&mut self, few: usize) {
        self.len = 0;
        self.are_repeats = false;
        self.few = few;
        self.look_at = few + few / FIRST_LOOK_PART;
        let places = LATER_LOOK * few + ROOM_BEYOND;
        if self.places.len() < places {
            self.places.resize(places, 0);
        }
    }

    /// How many different entries are few.
    pub(super) fn few(&self) -> usize {
        self.few
    }

    /// Entries that there is room for.
    #[inline]
    pub(super) fn free(&self) -> usize {
        self.places.len() - self.len
    }

    /// Adds one entry, for which there is room unless a [look](Gathered::look) is due.
    #[inline]
    pub(super) fn push(&mut self, entry: u32) {
        if self.are_repeats {
            self.sharing.insert(entry);
            return;
        }
        self.places[self.len] = entry;
        self.len += 1;
    }

    /// Adds all entries of a sparse sketch, for twice as many words as it has there is room.
    #[inline]
    pub(super) fn extend<W: Words + ?Sized>(&mut self, span: Span<'_, W>) {
        if self.are_repeats {
            each_entry(span, |entry| {
                self.sharing.insert(entry);
            });
            return;
        }
        let (places, mut len) = (self.places.as_mut_slice(), self.len);
        each_entry_or_none(span, |entry| {
            // The one behind the last of an odd number is none: the next takes its place.
            places[len] = entry;
            len += usize::from(entry != 0);
        });
        self.len = len;
    }

    /// Whether [`Gathered::look`] is due.
    #[inline]
    pub(super) fn wants_a_look(&self) -> bool {
        if self.are_repeats { self.sharing.list().len() > self.few } else { self.len >= self.look_at }
    }

    /// Forgets what is there twice. Whether there are more than few; then the entries are as they were.
    pub(super) fn look(&mut self) -> bool {
        let different = self.different();
        if different > self.few {
            return true;
        }
        if different <= self.len / 2 {
            self.become_repeats();
            return false;
        }
        let (bits, shift, factor) = (&self.bits, self.shift(), self.factor);
        let mut kept = 0;
        for at in 0..self.len {
            let entry = self.places[at];
            let (word, bit) = bit_of(entry, factor, shift);
            if bits[word][1] & bit == 0 {
                self.places[kept] = entry;
                kept += 1;
            }
        }
        for &entry in self.sharing.list() {
            self.places[kept] = entry;
            kept += 1;
        }
        debug_assert_eq!(kept, different);
        self.len = kept;
        self.look_at = LATER_LOOK * self.few;
        false
    }

    /// Goes on with a table of those that are different.
    fn become_repeats(&mut self) {
        self.are_repeats = true;
        self.sharing.clear();
        for &entry in &self.places[..self.len] {
            self.sharing.insert(entry);
        }
        self.len = 0;
    }

    /// All of them.
    pub(super) fn list(&self) -> &[u32] {
        if self.are_repeats { self.sharing.list() } else { &self.places[..self.len] }
    }

    /// How many are different.
    pub(super) fn different(&mut self) -> usize {
        if self.are_repeats {
            return self.sharing.list().len();
        }
        self.sharing.clear();
        let (factor, shift) = (self.factor, self.shift());
        let words = 1 << (u64::BITS - shift - u64::BITS.ilog2());
        if self.bits.len() < words {
            self.bits.resize(words, [0; 2]);
        }
        let bits = &mut self.bits[..words];
        bits.fill([0; 2]);
        let entries = &self.places[..self.len];
        let mut shared = 0;
        for &entry in entries {
            let (word, bit) = bit_of(entry, factor, shift);
            let [first, second] = &mut bits[word];
            let again = *first & bit;
            *first |= bit;
            *second |= again;
            shared |= again;
        }
        if shared == 0 {
            return entries.len();
        }
        let mut alone = 0;
        for &entry in entries {
            let (word, bit) = bit_of(entry, factor, shift);
            if bits[word][1] & bit == 0 {
                alone += 1;
            } else {
                self.sharing.insert(entry);
            }
        }
        alone + self.sharing.list().len()
    }

    /// What leaves of a product as many high bits as number the table's bits.
    #[inline]
    fn shift(&self) -> u32 {
        let bits = (BITS_PER_ENTRY * self.len).next_power_of_two().max(BITS_MIN);
        u64::BITS - bits.trailing_zeros()
    }
}

/// The bit of an entry's index, and the word that it is in.
#[inline]
fn bit_of(entry: u32, factor: u64, shift: u32) -> (usize, u64) {
    let number = u64::from(entry >> RANK_BITS).wrapping_mul(factor) >> shift;
    ((number / u64::from(u64::BITS)) as usize, 1 << (number % u64::from(u64::BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Entries of few indices and of many, near to each other and far; each with a rank.
    fn drawn(round: usize, count: usize) -> impl Iterator<Item = u32> {
        let mut state = round as u64;
        (0..count).map(move |_| {
            state = super::super::hash::mix(state.wrapping_add(0x9e37));
            let index = (state >> 20) as u32 % (1 << (1 + round % 25));
            index << RANK_BITS | (1 + (state as u32 & 31))
        })
    }

    fn largest(entries: impl Iterator<Item = u32>) -> BTreeMap<u32, u32> {
        let mut largest = BTreeMap::new();
        for entry in entries {
            let kept = largest.entry(entry >> RANK_BITS).or_insert(entry);
            *kept = entry.max(*kept);
        }
        largest
    }

    #[test]
    fn different_indices_are_counted_whatever_was_there_before() {
        let mut gathered = Gathered::default();
        for round in 0..100 {
            if round == 50 {
                gathered.key(0x1234_5678_9abc_def0);
            }
            let count = 1 << (round % 13);
            gathered.begin(1 << 14);
            drawn(round, count).for_each(|entry| gathered.push(entry));
            assert_eq!(gathered.different(), largest(drawn(round, count)).len(), "round {round}");
        }
    }

    #[test]
    fn a_look_keeps_of_each_index_the_largest_rank_or_says_that_there_are_many() {
        let mut gathered = Gathered::default();
        for round in 0..100 {
            let few = 16 << (round % 5);
            gathered.begin(few);
            let mut entries = Vec::new();
            let mut is_many = false;
            for entry in drawn(round, 1 << (round % 12)) {
                assert!(gathered.free() > 0, "a look is due before there is no room");
                gathered.push(entry);
                entries.push(entry);
                if gathered.wants_a_look() {
                    is_many = gathered.look();
                    if is_many {
                        break;
                    }
                    let mut found = gathered.list().to_vec();
                    found.sort_unstable();
                    let kept: Vec<u32> = largest(entries.iter().copied()).into_values().collect();
                    assert_eq!(found, kept, "round {round}");
                }
            }
            assert!(!is_many || largest(entries.iter().copied()).len() > few, "round {round}");
            assert_eq!(largest(gathered.list().iter().copied()), largest(entries.iter().copied()));
        }
    }

    #[test]
    fn what_comes_again_and_again_is_looked_at_twice_at_most() {
        const FEW: usize = 1024;
        let mut gathered = Gathered::default();
        for different in [10, 300, 640, 641, 900, FEW] {
            gathered.begin(FEW);
            let entries = || (1..=different as u32).map(|index| (index << RANK_BITS) | (index % 7));
            let mut looks = 0;
            for _ in 0..60 {
                for entry in entries() {
                    // Of an index, a smaller rank comes again, too.
                    gathered.push(entry);
                    gathered.push((entry & !0x3f) | 1);
                    if gathered.wants_a_look() {
                        looks += 1;
                        assert!(!gathered.look(), "{different} are few");
                    }
                }
            }
            assert!(looks <= 2, "{looks} looks at {different} entries");
            assert_eq!(gathered.different(), different);
            let largest_of = entries().flat_map(|entry| [entry, (entry & !0x3f) | 1]);
            assert_eq!(largest(gathered.list().iter().copied()), largest(largest_of));
        }
    }

    #[test]
    fn repeats_may_still_become_more_than_few() {
        const FEW: u32 = 64;
        let mut gathered = Gathered::default();
        gathered.begin(FEW as usize);
        let entry = |index: u32| index << RANK_BITS | 1;
        for _ in 0..FEW {
            gathered.push(entry(1));
            if gathered.wants_a_look() {
                assert!(!gathered.look());
            }
        }
        (0..=FEW).for_each(|_| gathered.push(entry(1)));
        let _ = gathered.wants_a_look() && gathered.look();
        assert!(gathered.are_repeats);
        let more = (2..).take_while(|&index| {
            gathered.push(entry(index));
            !(gathered.wants_a_look() && gathered.look())
        });
        assert_eq!(more.last(), Some(FEW), "one more than few is many");
    }
}
