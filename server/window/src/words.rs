//! The words of a record, abstract over where they live.

use std::ops::Range;

/// Series that are folded side by side.
pub const LANES: usize = 4;

/// Read access to a record's 64-bit words.
///
/// A reader on another core may see words that are not of one moment (they are checked afterwards, and thrown away). So whatever
/// the words say, reading them ends and does not panic: indices found in them are clamped, arithmetic on them wraps, and a word
/// that is not there reads as 0.
pub trait Words {
    /// The word at `index`; 0 where there is none.
    fn get(&self, index: usize) -> u64;
    /// How many words there are.
    fn len(&self) -> usize;
    /// Folds the words of a range, in order; those that are not there are passed over. Quicker than to get them one by one.
    #[inline]
    fn fold<B>(&self, range: Range<usize>, initial: B, mut fold: impl FnMut(B, u64) -> B) -> B {
        range.fold(initial, |so_far, index| fold(so_far, self.get(index)))
    }
    /// Folds the words of a range as [`LANES`] series, the first word into the first lane, each next one into the next, so that no step
    /// waits for the one before it. Those that are not there are passed over.
    #[inline]
    fn fold_lanes<B: Copy>(
        &self,
        range: Range<usize>,
        initial: [B; LANES],
        mut fold: impl FnMut(B, u64) -> B,
    ) -> [B; LANES] {
        let mut lanes = initial;
        for (at, index) in range.enumerate() {
            lanes[at % LANES] = fold(lanes[at % LANES], self.get(index));
        }
        lanes
    }
    /// Starts to load what is near the word at `index`, if there is one: a hint, of no other effect.
    #[inline]
    fn prefetch(&self, _index: usize) {}
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Write access to a record's words, for its one writer.
pub trait WordsMut: Words {
    /// Sets the word at `index`.
    fn set(&mut self, index: usize, word: u64);
}

impl Words for [u64] {
    #[inline]
    fn get(&self, index: usize) -> u64 {
        <[u64]>::get(self, index).copied().unwrap_or(0)
    }

    #[inline]
    fn len(&self) -> usize {
        <[u64]>::len(self)
    }
}

impl WordsMut for [u64] {
    #[inline]
    fn set(&mut self, index: usize, word: u64) {
        self[index] = word;
    }
}
