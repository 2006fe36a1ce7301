//! A segment: 255 buckets of eight words, and where in it a word may lie.

use super::TAG_BITS;
use crate::{
    handle::{HANDLE_BITS, Handle},
    planted::{Mistake, is_planted, order},
    sync::{AtomicU64, Ordering},
};

/// Words of a segment. Under loom: a header and two buckets of two words.
pub(crate) const SEGMENT_WORDS: usize = if cfg!(loom) { 8 } else { 2048 };

/// Words before the buckets: one cache line.
const HEADER_WORDS: usize = if cfg!(loom) { 4 } else { 8 };

/// Words of a bucket: one cache line.
pub(crate) const BUCKET_WORDS: usize = if cfg!(loom) { 2 } else { 8 };

/// Buckets of a segment.
pub(crate) const BUCKETS: usize = (SEGMENT_WORDS - HEADER_WORDS) / BUCKET_WORDS;

/// The header's word of the version: odd while words move.
const VERSION: usize = 0;

/// The header's word of the next segment in the chain.
const OVERFLOW: usize = 1;

/// An index word that is not empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    pub(crate) fn new(hash: u64, handle: Handle) -> Self {
        Self(hash >> HANDLE_BITS << HANDLE_BITS | handle.to_word())
    }

    #[inline]
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    #[inline]
    pub(crate) fn handle(self) -> Handle {
        Handle::from_word(self.0 & ((1 << HANDLE_BITS) - 1)).expect("a word that is not empty holds a handle")
    }

    /// The top bits of the hash, in their place; the others are zero.
    #[inline]
    pub(crate) fn tag(self) -> u64 {
        self.0 >> HANDLE_BITS << HANDLE_BITS
    }

    /// Whether this may be the entry of `hash`.
    #[inline]
    pub(crate) fn matches(self, hash: u64) -> bool {
        (self.0 ^ hash) >> HANDLE_BITS == 0
    }

    /// Whether bit `depth` of the hash, from the top, is set: to which half it goes when a segment of that depth splits.
    fn goes_up(self, depth: u32) -> bool {
        debug_assert!(depth < TAG_BITS);
        self.0 << depth >> (u64::BITS - 1) != 0
    }
}

/// The two buckets of a hash. They may be one and the same.
#[inline]
pub(crate) fn buckets_of(hash: u64) -> [usize; 2] {
    let first = spread(hash as u32);
    [first, other_bucket(hash >> HANDLE_BITS << HANDLE_BITS, first)]
}

/// The other bucket of a word with this tag that lies in `bucket`: the two add up to a number that the tag gives, modulo the
/// number of buckets.
#[inline]
fn other_bucket(tag: u64, bucket: usize) -> usize {
    // Within a deep segment only the tag's low bits differ: multiply them into the high ones, of which `spread` makes use.
    let sum = spread(((tag >> HANDLE_BITS) as u32).wrapping_mul(0x9e37_79b1));
    if sum >= bucket { sum - bucket } else { sum + BUCKETS - bucket }
}

/// A bucket for a number of 32 well mixed bits: by its high bits (Lemire's multiply and shift).
#[inline]
fn spread(mixed: u32) -> usize {
    ((u64::from(mixed) * BUCKETS as u64) >> 32) as usize
}

/// The words of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a>(&'a [AtomicU64]);

impl<'a> Segment<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self(&words[..SEGMENT_WORDS])
    }

    /// Empties a slot that is to be a segment. No reader knows it yet.
    pub(crate) fn clear(self) {
        for word in self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn bucket(self, bucket: usize) -> &'a [AtomicU64] {
        &self.0[HEADER_WORDS + bucket * BUCKET_WORDS..][..BUCKET_WORDS]
    }

    /// An entry that may be `hash`'s, of several one of them.
    #[inline]
    pub(crate) fn nearest(self, hash: u64) -> Option<Entry> {
        let [first, second] = buckets_of(hash);
        self.nearest_in(first, hash).or_else(|| self.nearest_in(second, hash))
    }

    /// All words of the line are compared before anything is decided: which of them it is, the processor could not guess.
    #[inline]
    fn nearest_in(self, bucket: usize, hash: u64) -> Option<Entry> {
        let words: &[AtomicU64; BUCKET_WORDS] = self.bucket(bucket).first_chunk()?;
        // Where the tags are equal, only bits of the handle differ.
        let mut least = u64::MAX;
        for word in words {
            least = least.min(word.load(Ordering::Acquire) ^ hash);
        }
        Entry::from_word(least ^ hash).filter(|entry| entry.matches(hash))
    }

    /// The word in the segment at which a bucket begins.
    #[inline]
    pub(crate) fn bucket_word(bucket: usize) -> usize {
        HEADER_WORDS + bucket * BUCKET_WORDS
    }

    /// All words of all buckets.
    pub(crate) fn words(self) -> &'a [AtomicU64] {
        &self.0[HEADER_WORDS..]
    }

    #[inline]
    pub(crate) fn version(self, ordering: Ordering) -> u64 {
        self.0[VERSION].load(ordering)
    }

    pub(crate) fn overflow(self) -> Option<Handle> {
        Handle::from_word(self.0[OVERFLOW].load(Ordering::Acquire))
    }

    pub(crate) fn set_overflow(self, next: Handle) {
        self.0[OVERFLOW].store(next.to_word(), Ordering::Release);
    }

    /// Makes the version odd while `change` moves words.
    fn move_words<R>(self, change: impl FnOnce() -> R) -> R {
        let version = self.version(Ordering::Relaxed);
        debug_assert!(version.is_multiple_of(2), "words of one segment are moved twice at once");
        if !is_planted(Mistake::VersionNotBumped) {
            // Whoever reads a word stored (with release) after this sees the version as odd, or later.
            self.0[VERSION].store(version.wrapping_add(1), Ordering::Relaxed);
        }
        let outcome = change();
        self.0[VERSION].store(version.wrapping_add(2), order(Mistake::VersionNotReleased, Ordering::Release));
        outcome
    }

    /// Puts an entry into one of its two buckets, moving one other word out of the way if need be. False: there is no room.
    pub(crate) fn insert(self, hash: u64, entry: Entry) -> bool {
        let buckets = buckets_of(hash);
        // The first bucket while it has room, not the emptier one: segments fill as far (93 %), and a look finds nearly all
        // in the first line it loads.
        if let Some(place) = buckets.into_iter().find_map(|bucket| self.empty_place(bucket)) {
            place.store(entry.0, order(Mistake::EntryNotReleased, Ordering::Release));
            return true;
        }
        buckets.into_iter().any(|bucket| self.displace(bucket, entry))
    }

    /// Moves some word of a full bucket to its other bucket, and puts `entry` in its place.
    fn displace(self, bucket: usize, entry: Entry) -> bool {
        for place in self.bucket(bucket) {
            let Some(resident) = Entry::from_word(place.load(Ordering::Relaxed)) else { continue };
            let other = other_bucket(resident.tag(), bucket);
            if let Some(free) = self.empty_place(other) {
                self.move_words(|| {
                    // There twice for a moment rather than not at all.
                    free.store(resident.0, Ordering::Release);
                    place.store(entry.0, order(Mistake::EntryNotReleased, Ordering::Release));
                });
                return true;
            }
        }
        false
    }

    /// Copies the words that go up at `depth` to `upper`, an empty segment that no reader knows.
    pub(crate) fn copy_upper_half(self, upper: Segment<'_>, depth: u32) {
        for (word, copy) in self.words().iter().zip(upper.words()) {
            let entry = Entry::from_word(word.load(Ordering::Relaxed));
            if let Some(entry) = entry.filter(|entry| entry.goes_up(depth)) {
                copy.store(entry.0, Ordering::Relaxed);
            }
        }
    }

    /// Removes the words that go up at `depth`, after the directory has said where they are. A reader that finds such a word gone
    /// has acquired what the directory said, and sees that it changed.
    pub(crate) fn remove_upper_half(self, depth: u32) {
        for word in self.words() {
            let entry = Entry::from_word(word.load(Ordering::Relaxed));
            if entry.is_some_and(|entry| entry.goes_up(depth)) {
                word.store(0, order(Mistake::LeavingEntryNotReleased, Ordering::Release));
            }
        }
    }

    /// The place of an entry of `hash`.
    pub(crate) fn find_place(self, hash: u64, entry: Entry) -> Option<&'a AtomicU64> {
        buckets_of(hash)
            .into_iter()
            .flat_map(|bucket| self.bucket(bucket))
            .find(|place| place.load(Ordering::Relaxed) == entry.0)
    }

    fn empty_place(self, bucket: usize) -> Option<&'a AtomicU64> {
        // All words of the line at once: where the first empty one is, the processor could not guess.
        let bucket = self.bucket(bucket);
        let is_empty = |place: &AtomicU64| u32::from(place.load(Ordering::Relaxed) == 0);
        let empty = bucket.iter().enumerate().fold(0, |so_far, (bit, place)| so_far | is_empty(place) << bit);
        bucket.get(empty.trailing_zeros() as usize)
    }
}

/// Puts `entry` in place of the one there: one store, which readers see before or after.
pub(crate) fn replace_at(place: &AtomicU64, entry: Entry) {
    place.store(entry.0, order(Mistake::EntryNotReleased, Ordering::Release));
}

/// Empties a place: one store, which readers see before or after.
pub(crate) fn clear_at(place: &AtomicU64) {
    place.store(0, Ordering::Release);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{BUCKETS, Entry, buckets_of, other_bucket};
    use crate::handle::{HANDLE_BITS, Handle};

    fn mix(seed: u64) -> u64 {
        let mut hash = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    #[test]
    fn each_of_two_buckets_is_told_from_the_other() {
        for seed in 0..10_000 {
            let hash = mix(seed);
            let [first, second] = buckets_of(hash);
            let tag = Entry::new(hash, Handle::new(1, 0)).tag();
            assert!(first < BUCKETS && second < BUCKETS);
            assert_eq!((other_bucket(tag, first), other_bucket(tag, second)), (second, first));
        }
    }

    #[test]
    fn second_bucket_is_spread_also_where_only_the_low_bits_of_the_tag_differ() {
        // A segment at depth 17: thirteen bits of the tag are left.
        let mut seen = [0u32; BUCKETS];
        for low in 0..1u64 << 13 {
            seen[other_bucket((0x1_5555 << 13 | low) << HANDLE_BITS, 0)] += 1;
        }
        let expected = (1 << 13) / BUCKETS as u32;
        assert!(seen.iter().all(|count| (expected / 2..=expected * 2).contains(count)), "{seen:?}");
    }

    #[test]
    fn entry_gives_back_handle_and_tag() {
        let handle = Handle::new(4321, 77);
        let entry = Entry::new(0xdead_beef_1234_5678, handle);
        assert_eq!(entry.handle(), handle);
        assert!(entry.matches(0xdead_beef_1234_5678));
        assert!(!entry.matches(0xdead_bee0_1234_5678));
    }
}
