//! Writing records: the owner's thread only.

use super::{FREE, HASH, HEADER_WORDS, Head, Key, LIVE, POSITION, Record};
use crate::{
    handle::Handle,
    planted::{Mistake, is_planted, order},
    region::Region,
    sync::{AtomicU64, Ordering},
};
use std::fmt;

/// A record while it is written. Readers see all that is set between its making and its dropping, or none of it.
pub struct Edit<'a> {
    words: &'a [AtomicU64],
    /// The last of `words`.
    body: &'a [AtomicU64],
    /// What word 0 becomes when this ends.
    head: Head,
    region: &'a Region,
}

impl<'a> Edit<'a> {
    /// Opens a record that is live.
    #[inline]
    pub(crate) fn open(words: &'a [AtomicU64], region: &'a Region) -> Self {
        let head = Head::from_word(words[0].load(Ordering::Relaxed));
        assert!(head.is_live(), "a record is written that is not there");
        Self::begin(words, region, head)
    }

    /// Makes the sequence odd.
    #[inline]
    fn begin(words: &'a [AtomicU64], region: &'a Region, head: Head) -> Self {
        assert!(!head.is_being_written(), "a record is written twice at once");
        let odd = head.next();
        if !is_planted(Mistake::RecordOddSkipped) {
            words[0].store(odd.0, Ordering::Relaxed);
        }
        Self { words, body: &words[head.body_start()..], head: odd.next(), region }
    }

    /// Words of the body: as many as its slot has.
    #[inline]
    pub fn body_words(&self) -> usize {
        self.body.len()
    }

    /// The word `index` of the body.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Edit::body_words`].
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        self.body[index].load(Ordering::Relaxed)
    }

    /// Sets the word `index` of the body.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Edit::body_words`].
    #[inline]
    pub fn set(&mut self, index: usize, word: u64) {
        self.body[index].store(word, order(Mistake::RecordWordNotReleased, Ordering::Release));
    }

    /// The layout id that the record has, or was last given here.
    pub fn layout(&self) -> u32 {
        self.head.layout()
    }

    /// Gives the record another layout id, of which the caller has seen that it is not above
    /// [`LAYOUT_MAX`](super::LAYOUT_MAX).
    pub fn set_layout(&mut self, layout: u32) {
        assert!(layout <= super::LAYOUT_MAX, "layout id {layout} does not fit its field");
        self.head = self.head.describing(LIVE, self.head.entity_bytes(), layout);
    }

    /// The position that was last set.
    pub fn position(&self) -> u64 {
        self.words[POSITION].load(Ordering::Relaxed)
    }

    /// Says which operation is the last one in this record.
    #[inline]
    pub fn set_position(&mut self, position: u64) {
        self.put(POSITION, position);
    }

    /// The word `index` of a block that belongs to this record.
    ///
    /// # Panics
    ///
    /// If `block` is no block of this store, or the index is outside it.
    pub fn block_get(&self, block: Handle, index: usize) -> u64 {
        self.block(block)[index].load(Ordering::Relaxed)
    }

    /// Sets the word `index` of a block that belongs to this record.
    ///
    /// # Panics
    ///
    /// If `block` is no block of this store, or the index is outside it.
    pub fn block_set(&mut self, block: Handle, index: usize, word: u64) {
        self.block(block)[index].store(word, order(Mistake::RecordWordNotReleased, Ordering::Release));
    }

    fn block(&self, block: Handle) -> &[AtomicU64] {
        self.region.slot(block).unwrap_or_else(|| panic!("{block:?} is no block of this store"))
    }

    #[inline]
    fn put(&self, index: usize, word: u64) {
        self.words[index].store(word, order(Mistake::RecordWordNotReleased, Ordering::Release));
    }
}

impl Drop for Edit<'_> {
    /// Makes the sequence even.
    #[inline]
    fn drop(&mut self) {
        if cfg!(loom) && std::thread::panicking() {
            return; // loom has torn the model down; a second panic would end the test run
        }
        self.words[0].store(self.head.0, order(Mistake::RecordEvenNotReleased, Ordering::Release));
    }
}

impl fmt::Debug for Edit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit")
            .field("layout", &self.layout())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// What a new record says of itself.
pub(crate) enum Origin<'a> {
    /// A new entity.
    Key(&'a Key<'a>),
    /// A record that moves here.
    Moved(Record<'a>),
}

/// Opens a free slot for a new record: header and key written, the body zero.
///
/// In a chunk that was cut for slots of this size before, the sequence goes on from there. In one that was cut anew, word 0 may
/// have been a word of any other kind; as no reader can be in it, any sequence is as good to begin with.
pub(crate) fn start<'a>(
    words: &'a [AtomicU64],
    region: &'a Region,
    origin: &Origin<'_>,
    layout: u32,
) -> Edit<'a> {
    let head = Head::from_word(words[0].load(Ordering::Relaxed)).at_rest();
    let entity_bytes = match origin {
        Origin::Key(key) => key.entity.len(),
        Origin::Moved(from) => from.head().entity_bytes(),
    };
    let edit = Edit::begin(words, region, head.describing(LIVE, entity_bytes, layout));
    let body_start = edit.head.body_start();
    match origin {
        Origin::Key(key) => {
            edit.put(POSITION, 0);
            edit.put(HASH, key.hash);
            for index in 0..key.words() {
                edit.put(HEADER_WORDS + index, key.word(index));
            }
        }
        Origin::Moved(from) => {
            for index in POSITION..body_start {
                edit.put(index, from.word(index));
            }
        }
    }
    for index in body_start..words.len() {
        edit.put(index, 0);
    }
    edit
}

/// Says that a slot holds no record any more. Its words stay as they are until the slot is used again.
pub(crate) fn mark_free(words: &[AtomicU64]) {
    let head = Head::from_word(words[0].load(Ordering::Relaxed));
    assert!(head.is_live() && !head.is_being_written(), "a slot is freed that holds no record");
    // One store: whoever read before it finds the sequence changed.
    let free = head.next().next().describing(FREE, 0, 0);
    words[0].store(free.0, Ordering::Release);
}
