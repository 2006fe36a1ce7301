//! The heap of a record: blocks that cells of its body refer to.
//!
//! Only layouts with sketches have one. It takes all words behind the rings:
//!
//! ```text
//!   heap word 0    bits 0..32 words used, this one included    bits 32..64 of these, words of blocks that nothing refers to
//!   block word 0   bits 0..32 words of the block, this one included    bits 32..40 kind of the sketch    bits 40..64 0
//!   then           its payload, which is the sketch's
//! ```
//!
//! A reference is the place of a block's first word, counted from heap word 0; 0 refers to nothing. So a heap is moved as a whole, and
//! only what moves a single block ([compaction](crate::body::grow)) writes references anew. Blocks are made at the end; what a
//! block leaves behind is dead until the record is moved.

use crate::sketch::{Span, SpanMut};
use crate::words::{Words, WordsMut};

/// Words of a heap without blocks.
pub(crate) const HEAD_WORDS: usize = 1;

/// Words of a block beside its payload.
pub(crate) const BLOCK_HEAD_WORDS: usize = 1;

/// The heap that begins at a word of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap {
    base: usize,
}

/// A block: its place in the heap, and its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) at: usize,
    /// Its head included; 0 where a reader was told of a block that is none.
    pub(crate) words: usize,
    pub(crate) kind: u8,
}

impl Block {
    /// Where it ends.
    pub(crate) fn end(self) -> usize {
        self.at + self.words
    }
}

impl Heap {
    pub(crate) fn at(base: usize) -> Self {
        Self { base }
    }

    /// Makes it a heap without blocks.
    pub(crate) fn init<W: WordsMut + ?Sized>(self, words: &mut W) {
        self.set_head(words, HEAD_WORDS, 0);
    }

    /// Words in use, as the heap's head says: of blocks that are referred to, of dead ones, and its own.
    #[inline]
    pub(crate) fn used<W: Words + ?Sized>(self, words: &W) -> usize {
        (words.get(self.base) & 0xffff_ffff) as usize
    }

    /// Of these, words of dead blocks.
    pub(crate) fn dead<W: Words + ?Sized>(self, words: &W) -> usize {
        (words.get(self.base) >> 32) as usize
    }

    /// Words at its end that are free.
    #[inline]
    pub(crate) fn room<W: Words + ?Sized>(self, words: &W) -> usize {
        words.len().saturating_sub(self.base).saturating_sub(self.used(words))
    }

    fn set_head<W: WordsMut + ?Sized>(self, words: &mut W, used: usize, dead: usize) {
        debug_assert!(dead < used && self.base + used <= words.len(), "{used} words used, {dead} dead");
        words.set(self.base, used as u64 | (dead as u64) << 32);
    }

    /// The block that a reference names, as far as it lies in the heap.
    #[inline]
    pub(crate) fn block<W: Words + ?Sized>(self, words: &W, reference: u32) -> Block {
        let at = reference as usize;
        let behind = words.len().saturating_sub(self.base).saturating_sub(at);
        let head = if at == 0 || behind == 0 { 0 } else { words.get(self.base + at) };
        Block { at, words: ((head & 0xffff_ffff) as usize).min(behind), kind: (head >> 32 & 0xff) as u8 }
    }

    /// Starts to load the beginning of the block that a reference names.
    #[inline]
    pub(crate) fn prefetch<W: Words + ?Sized>(self, words: &W, reference: u32) {
        words.prefetch(self.base + reference as usize);
    }

    /// The payload of the block that a reference names.
    #[inline]
    pub(crate) fn payload<W: Words + ?Sized>(self, words: &W, reference: u32) -> Span<'_, W> {
        let block = self.block(words, reference);
        Span::new(
            words,
            self.base + block.at + BLOCK_HEAD_WORDS,
            block.words.saturating_sub(BLOCK_HEAD_WORDS),
        )
    }

    /// The same, to write.
    pub(crate) fn payload_mut<W: WordsMut + ?Sized>(self, words: &mut W, reference: u32) -> SpanMut<'_, W> {
        let block = self.block(words, reference);
        let base = self.base + block.at + BLOCK_HEAD_WORDS;
        SpanMut::new(words, base, block.words.saturating_sub(BLOCK_HEAD_WORDS))
    }

    /// Copies the first `count` words of a block's payload to another block, or lets them be where they are, and puts zeros behind them.
    pub(crate) fn copy_payload<W: WordsMut + ?Sized>(self, words: &mut W, from: u32, to: u32, count: usize) {
        let payload = |reference: u32| self.base + reference as usize + BLOCK_HEAD_WORDS;
        let new_words = self.payload(words, to).len();
        if from != to {
            for index in 0..count {
                words.set(payload(to) + index, words.get(payload(from) + index));
            }
        }
        for index in count..new_words {
            words.set(payload(to) + index, 0);
        }
    }

    /// A new block at the heap's end, which has [room](Heap::room) for it. Its payload holds whatever was there.
    pub(crate) fn allocate<W: WordsMut + ?Sized>(self, words: &mut W, kind: u8, payload_words: usize) -> u32 {
        let used = self.used(words);
        let block = Block { at: used, words: BLOCK_HEAD_WORDS + payload_words, kind };
        assert!(block.words <= self.room(words), "{} words do not fit the heap", block.words);
        self.set_block(words, block);
        self.set_head(words, block.end(), self.dead(words));
        u32::try_from(used).expect("a record is smaller than 2³¹ words")
    }

    fn set_block<W: WordsMut + ?Sized>(self, words: &mut W, block: Block) {
        words.set(self.base + block.at, block.words as u64 | u64::from(block.kind) << 32);
    }

    /// Makes the last block longer, for which there is room.
    pub(crate) fn extend_last<W: WordsMut + ?Sized>(
        self,
        words: &mut W,
        reference: u32,
        payload_words: usize,
    ) {
        let block = self.block(words, reference);
        assert_eq!(block.end(), self.used(words), "another block stands behind this one");
        let longer = Block { words: BLOCK_HEAD_WORDS + payload_words, ..block };
        assert!(longer.words - block.words <= self.room(words), "{} words do not fit the heap", longer.words);
        self.set_block(words, longer);
        self.set_head(words, longer.end(), self.dead(words));
    }

    /// Takes note that nothing refers to a block any more.
    pub(crate) fn free<W: WordsMut + ?Sized>(self, words: &mut W, reference: u32) {
        let dead = self.dead(words) + self.block(words, reference).words;
        self.set_head(words, self.used(words), dead);
    }

    /// Copies a block of another heap to the end of this one.
    pub(crate) fn adopt<O, N>(self, new: &mut N, from: Heap, old: &O, reference: u32) -> u32
    where
        O: Words + ?Sized,
        N: WordsMut + ?Sized,
    {
        let block = from.block(old, reference);
        let moved = self.allocate(new, block.kind, block.words - BLOCK_HEAD_WORDS);
        for index in BLOCK_HEAD_WORDS..block.words {
            new.set(self.base + moved as usize + index, old.get(from.base + block.at + index));
        }
        moved
    }
}
