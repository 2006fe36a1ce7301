//! Reading records.

use super::{HASH, Head, POSITION, key, key::Key};
use crate::prefetch::prefetch;
use crate::{
    handle::{GRANULE_WORDS, Handle},
    planted::{Mistake, is_planted, order},
    region::Region,
    sync::{AtomicU64, Ordering},
};
use std::{fmt, ops::Range};

/// A record's words, to be read.
///
/// On the owner's thread they are what they are. For a [`Reader`](crate::Reader) they may be changing: each word is one that was
/// written some time, but two words need not be of the same time. What is computed from them is thrown away when the
/// sequence turns out to have changed; until then it must end, and must not panic, whatever the words say.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    words: &'a [AtomicU64],
    /// The last of `words`.
    body: &'a [AtomicU64],
    head: Head,
    region: &'a Region,
}

impl<'a> Record<'a> {
    /// The record in `words`, its head as it is now.
    #[inline(always)]
    pub(crate) fn new(words: &'a [AtomicU64], region: &'a Region) -> Self {
        let head = Head::from_word(words[0].load(order(Mistake::RecordHeadNotAcquired, Ordering::Acquire)));
        // Only a slot that holds no record can say that its key is longer than itself.
        let body = words.get(head.body_start()..).unwrap_or_default();
        Self { words, body, head, region }
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Whether the slot holds a record, whole or being written.
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        self.head.is_live()
    }

    /// Whether this is the record of `key`.
    #[inline]
    pub(crate) fn is_of(&self, key: &Key<'_>) -> bool {
        self.hash() == key.hash
            && self.head.entity_bytes() == key.entity.len()
            && key.is_in(&self.words[super::HEADER_WORDS..self.head.body_start()])
    }

    /// Words before the body.
    pub(crate) fn body_start(&self) -> usize {
        self.head.body_start()
    }

    /// Words of the slot.
    pub(crate) fn slot_words(&self) -> usize {
        self.words.len()
    }

    /// The layout id that the record was written with.
    pub fn layout(&self) -> u32 {
        self.head.layout()
    }

    /// The position that was last set with [`Edit::set_position`](super::Edit::set_position).
    pub fn position(&self) -> u64 {
        self.word(POSITION)
    }

    /// The hash of its key.
    pub fn hash(&self) -> u64 {
        self.word(HASH)
    }

    /// The number of its stream.
    pub fn stream(&self) -> u32 {
        key::stream_of(self.word(super::HEADER_WORDS))
    }

    /// Puts the name of its entity into `entity`, in place of what was there.
    pub fn copy_entity(&self, entity: &mut Vec<u8>) {
        key::copy_entity(self.head.entity_bytes(), |index| self.word(super::HEADER_WORDS + index), entity);
    }

    /// Words of the body: as many as its slot has, which can be a few more than were asked for.
    #[inline]
    pub fn body_words(&self) -> usize {
        self.body.len()
    }

    /// Bytes of memory that the record takes: its whole slot.
    pub fn slot_bytes(&self) -> usize {
        self.words.len() * crate::handle::WORD_BYTES
    }

    /// The size of its slot in granules of 16 bytes: the class that it has in an image, too.
    pub fn slot_granules(&self) -> usize {
        self.words.len() / GRANULE_WORDS
    }

    /// Puts the words of the whole slot into `words`, in place of what was there, as an image holds them: a record that nobody
    /// writes, its sequence zero whatever it is here, so that equal records have equal words. For a
    /// [`Reader`](crate::Reader) they are as whole as the record is [current](Record::is_current) afterwards. A body that
    /// names blocks means nothing elsewhere: such a record is not for an image.
    pub fn image_words(&self, words: &mut Vec<u64>) {
        words.clear();
        words.push(self.head.of_image().0);
        let order = order(Mistake::RecordWordNotAcquired, Ordering::Acquire);
        words.extend(self.words[1..].iter().map(|word| word.load(order)));
    }

    /// The word `index` of the body.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Record::body_words`].
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        self.body[index].load(order(Mistake::RecordWordNotAcquired, Ordering::Acquire))
    }

    /// Folds the words of a range of the body, in order; those that are not there are passed over.
    #[inline]
    pub fn fold<B>(&self, range: Range<usize>, initial: B, mut fold: impl FnMut(B, u64) -> B) -> B {
        let order = order(Mistake::RecordWordNotAcquired, Ordering::Acquire);
        let words = self.body.get(range).unwrap_or_default();
        words.iter().fold(initial, |so_far, word| fold(so_far, word.load(order)))
    }

    /// Folds the words of a range of the body as `N` series, the first word into the first, each next one into the next; those that are
    /// not there are passed over.
    #[inline]
    pub fn fold_lanes<B: Copy, const N: usize>(
        &self,
        range: Range<usize>,
        initial: [B; N],
        mut fold: impl FnMut(B, u64) -> B,
    ) -> [B; N] {
        let order = order(Mistake::RecordWordNotAcquired, Ordering::Acquire);
        let words = self.body.get(range).unwrap_or_default();
        let (rounds, rest) = words.as_chunks::<N>();
        let mut lanes = initial;
        for round in rounds {
            for (lane, word) in lanes.iter_mut().zip(round) {
                *lane = fold(*lane, word.load(order));
            }
        }
        for (lane, word) in lanes.iter_mut().zip(rest) {
            *lane = fold(*lane, word.load(order));
        }
        lanes
    }

    /// Starts to load the cache line of the word `index` of the body, if there is one: a hint, of no other effect.
    #[inline(always)]
    pub fn prefetch(&self, index: usize) {
        if let Some(word) = self.body.get(index) {
            prefetch(std::ptr::from_ref(word));
        }
    }

    /// A block whose handle stands in the body; `None` where the word is no handle of this store (or, for a reader, no longer
    /// one).
    pub fn block(&self, handle: u64) -> Option<Block<'a>> {
        let words = self.region.slot(Handle::from_word(handle)?)?;
        Some(Block { words })
    }

    /// Whether nothing changed since this view was made. A reader asks after the last word it needs; a long computation
    /// may ask in between, to stop early.
    #[inline]
    pub fn is_current(&self) -> bool {
        is_planted(Mistake::RecordSecondLookSkipped) || self.words[0].load(Ordering::Relaxed) == self.head.0
    }

    #[inline]
    pub(super) fn word(&self, index: usize) -> u64 {
        self.words[index].load(order(Mistake::RecordWordNotAcquired, Ordering::Acquire))
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("layout", &self.layout())
            .field("position", &self.position())
            .field("stream", &self.stream())
            .field("body_words", &self.body_words())
            .finish_non_exhaustive()
    }
}

/// The words of a block, to be read. They belong to the record whose body names it, change only while that record is being
/// written, and are to be trusted as far as that record is [current](Record::is_current) afterwards.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    words: &'a [AtomicU64],
}

impl Block<'_> {
    /// Words of the block: can be a few more than were asked for.
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// The word `index`.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Block::words`].
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        self.words[index].load(order(Mistake::RecordWordNotAcquired, Ordering::Acquire))
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("words", &self.words()).finish_non_exhaustive()
    }
}

/// Whether a slot out of an image holds a record that nobody writes and that has room for its key.
pub(crate) fn is_at_rest(words: &[AtomicU64]) -> bool {
    Head::from_word(words[0].load(Ordering::Relaxed)).is_whole_in(words.len())
}

/// What came of one attempt to read a record.
pub(crate) enum Attempt<R> {
    /// The record is of this key, and did not change while it was read.
    Read(R),
    /// A record of another key: the index's tag was equal by chance.
    OtherKey,
    /// Being written, free, or changed meanwhile: look again from the start.
    Unstable,
}

/// One attempt to read `key`'s record out of the slot `words`, in which the index says it may be. With no key, whatever record
/// is there is read.
#[inline]
pub(crate) fn attempt<R>(
    words: &[AtomicU64],
    region: &Region,
    key: Option<&Key<'_>>,
    read: impl FnOnce(Record<'_>) -> R,
) -> Attempt<R> {
    let record = Record::new(words, region);
    let head = record.head();
    let free_is_a_miss = is_planted(Mistake::FreeRecordIsAMiss) && !head.is_live();
    if free_is_a_miss {
        return Attempt::OtherKey;
    }
    // A slot too short for its own key cannot be, but must not panic either.
    if head.is_being_written() || !head.is_live() || head.body_start() > words.len() {
        return Attempt::Unstable;
    }
    if key.is_some_and(|key| !record.is_of(key)) {
        return if record.is_current() { Attempt::OtherKey } else { Attempt::Unstable };
    }
    let outcome = read(record);
    if record.is_current() { Attempt::Read(outcome) } else { Attempt::Unstable }
}
