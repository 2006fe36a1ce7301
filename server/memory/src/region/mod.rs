//! One range of addresses, reserved at start, in which chunks become memory one by one.
//!
//! Reserving costs nothing but address space, so the range is as large as the budget allows and a handle is an offset
//! into it for good. A chunk is *committed* (readable, writable, populated) before it is *cut* into slots; once committed it
//! stays readable and writable until the region is dropped. Safety rests on that alone: [`Region::slot`] gives out only
//! words of chunks that were cut, whatever number it is asked for. A chunk that is whole again can be *released*: the
//! system takes its pages, and who reads it all the same reads zeros.
//!
//! A chunk of an image is *pending*: cut as far as its owner's books say, yet not there. Whoever meets one [adopts](adoption) it.
//!
//! The first chunk is never used, so that no handle is zero.

mod adoption;
#[cfg(loom)]
mod heap;
#[cfg(not(loom))]
mod mapping;

pub use adoption::{Adopter, ChunkLost, ChunkSource, FILL_ALIGN, PlannedChunk};

use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, CHUNK_GRANULES, GRANULE_WORDS, Handle},
    planted::{Mistake, is_planted, order},
    sync::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
use adoption::Adoption;
#[cfg(loom)]
use heap::Range;
#[cfg(not(loom))]
use mapping::Range;
#[cfg(not(loom))]
pub use mapping::use_small_pages;

/// A shard's range of addresses. Shared with every reader.
pub(crate) struct Region {
    range: Range,
    chunks: Box<[ChunkState]>,
    /// How many of them are committed.
    committed: AtomicU32,
    /// What chunks of an image come from.
    adoption: Option<Adoption>,
}

/// What every thread may know of a chunk.
struct ChunkState {
    /// Whether its memory is there. Only its owner makes this false, while the chunk is whole.
    committed: AtomicBool,
    /// Size of its slots in granules; 0 while it is not cut. A plain size only after `committed`: a chunk of an image begins with
    /// one of the flags of [`adoption`] beside it, which makes it larger than any size.
    cut: AtomicU32,
}

impl Region {
    /// Reserves addresses for chunks 0 to `chunks - 1`.
    pub(crate) fn reserve(chunks: usize) -> Result<Self, MemoryError> {
        let range = Range::reserve(chunks)
            .map_err(|source| MemoryError::Reserve { bytes: chunks * CHUNK_BYTES, source })?;
        let chunks = (0..chunks)
            .map(|_| ChunkState { committed: AtomicBool::new(false), cut: AtomicU32::new(0) })
            .collect();
        Ok(Self { range, chunks, committed: AtomicU32::new(0), adoption: None })
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    pub(crate) fn is_committed(&self, chunk: usize) -> bool {
        self.chunks[chunk].committed.load(Ordering::Acquire)
    }

    /// How many chunks are memory: in use, empty, or populated ahead of use.
    pub(crate) fn committed_count(&self) -> usize {
        self.committed.load(Ordering::Relaxed) as usize
    }

    /// Makes a chunk memory: zeroed, huge if the system agrees, and populated, which takes up to a millisecond. Any thread
    /// may do it, also twice at once: the contents do not change.
    pub(crate) fn commit(&self, chunk: usize) -> Result<(), MemoryError> {
        assert!((1..self.chunks.len()).contains(&chunk), "chunk {chunk} is outside the region");
        self.range.commit(chunk).map_err(|source| MemoryError::Commit { bytes: CHUNK_BYTES, source })?;
        let was_committed = self.chunks[chunk].committed.swap(true, Ordering::AcqRel);
        if !was_committed || is_planted(Mistake::ChunkCountedTwice) {
            self.committed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives a chunk's pages back to the system; false if it will not have them (memory may be locked). Only the owner does this,
    /// while the chunk is whole and no one can hold a handle into it.
    pub(crate) fn release(&self, chunk: usize) -> bool {
        assert_eq!(self.chunks[chunk].cut.load(Ordering::Relaxed), 0, "chunk {chunk} is in use");
        // Pages first: a helper populates what is not committed, so it cannot have its pages taken from under it.
        if self.range.release(chunk).is_err() {
            return false;
        }
        if self.chunks[chunk].committed.swap(false, Ordering::AcqRel) {
            self.committed.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// Cuts a committed chunk into slots of `slot_granules`; with 0 it is whole again. Only its owner does this, when
    /// no one can hold a handle into it.
    pub(crate) fn cut(&self, chunk: usize, slot_granules: usize) {
        assert!(self.is_committed(chunk), "chunk {chunk} is cut before it is committed");
        assert!(slot_granules <= CHUNK_GRANULES, "a slot of {slot_granules} granules is larger than a chunk");
        assert!(!self.is_pending(chunk), "chunk {chunk} is cut before it was adopted");
        self.chunks[chunk].cut.store(slot_granules as u32, Ordering::Release);
    }

    /// The words of a slot, or `None` where `handle` names nothing in a chunk that is cut. A chunk that is pending is adopted first,
    /// or waited for.
    #[inline]
    pub(crate) fn slot(&self, handle: Handle) -> Option<&[AtomicU64]> {
        match self.slot_that_is_there(handle) {
            None => self.slot_after_adoption(handle),
            found => found,
        }
    }

    /// The same for slots that are in no chunk of an image, or whose chunk was adopted: others count as none.
    #[inline]
    pub(crate) fn slot_that_is_there(&self, handle: Handle) -> Option<&[AtomicU64]> {
        let chunk = self.chunks.get(handle.chunk())?;
        let granules = chunk.cut.load(order(Mistake::CutNotAcquired, Ordering::Acquire)) as usize;
        if granules == 0 || handle.granule() + granules > CHUNK_GRANULES {
            return None;
        }
        // SAFETY: the chunk is within the range and was committed before it was cut; the slot ends within it (above).
        Some(unsafe { self.range.words(handle.to_word() as usize * GRANULE_WORDS, granules * GRANULE_WORDS) })
    }

    /// Starts to load the cache line of a slot's word `word`. A hint: it has no effect on what the program computes.
    #[inline(always)]
    pub(crate) fn prefetch(&self, handle: Handle, word: usize) {
        self.range.prefetch(handle.to_word() as usize * GRANULE_WORDS + word);
    }
}
