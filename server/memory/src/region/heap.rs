//! Under loom: the same words as loom's atomics on the heap, all there from the start.

use crate::{
    handle::{CHUNK_BYTES, CHUNK_WORDS, WORD_BYTES},
    region::FILL_ALIGN,
    sync::{AtomicU64, Ordering},
};
use std::io;

pub(super) struct Range(Box<[AtomicU64]>);

impl Range {
    pub(super) fn reserve(chunks: usize) -> io::Result<Self> {
        // Chunk 0 is never used: it needs no words.
        Ok(Self((0..(chunks - 1) * CHUNK_WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(super) fn commit(&self, _chunk: usize) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn release(&self, chunk: usize) -> io::Result<()> {
        for word in &self.0[(chunk - 1) * CHUNK_WORDS..chunk * CHUNK_WORDS] {
            word.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// # Safety
    ///
    /// None needed here; the signature is that of the real range.
    pub(super) unsafe fn words(&self, start: usize, len: usize) -> &[AtomicU64] {
        let start = start - CHUNK_WORDS;
        &self.0[start..start + len]
    }

    /// Has `fill` write the first words of a chunk, little-endian; the others are zeros.
    ///
    /// # Safety
    ///
    /// None needed here; the signature is that of the real range.
    pub(super) unsafe fn fill<E>(
        &self,
        chunk: usize,
        words: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = [0; CHUNK_BYTES];
        fill(&mut bytes[..(words * WORD_BYTES).next_multiple_of(FILL_ALIGN).min(CHUNK_BYTES)])?;
        let filled = bytes.chunks_exact(WORD_BYTES).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        // Loom visits every store: those of zeros over zeros would show nothing more.
        for (word, filled) in self.0[(chunk - 1) * CHUNK_WORDS..].iter().zip(filled).take(words) {
            word.store(filled, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn prefetch(&self, _word: usize) {}
}
