//! The pool of whole chunks, and the helper that populates chunks before they are needed.
//!
//! Chunks are taken in the order of their numbers, so the helper knows which come next: it keeps [`POPULATE_AHEAD`] of them
//! populated beyond the last one taken. An owner that is faster than the helper populates for itself, which is slow
//! (the first touch of a huge page takes about a millisecond) but never wrong.

use crate::{
    error::MemoryError,
    handle::CHUNK_BYTES,
    region::Region,
    sync::{AtomicU32, Ordering},
};
use std::{fmt, sync::Arc as StdArc};

/// How many chunks beyond the last one taken the helper populates.
pub(crate) const POPULATE_AHEAD: u32 = 8;

/// Whole chunks within a budget.
pub(crate) struct ChunkPool {
    region: StdArc<Region>,
    /// Chunks that were taken and came back.
    free: Vec<u32>,
    /// The next chunk that was never taken.
    next: u32,
    /// Chunks that may be taken at present: the region's, or fewer.
    limit: usize,
    wanted: StdArc<Wanted>,
    /// How often the owner had to populate a chunk itself.
    populated_by_owner: u64,
}

/// What the owner tells the helper.
struct Wanted {
    /// Chunks before this one should be populated.
    end: AtomicU32,
}

impl ChunkPool {
    /// A pool of all chunks of `region` but the first.
    pub(crate) fn new(region: Region) -> Self {
        let end = (1 + POPULATE_AHEAD).min(region.chunk_count() as u32);
        let limit = region.chunk_count() - 1;
        Self {
            limit,
            region: StdArc::new(region),
            free: Vec::new(),
            next: 1,
            wanted: StdArc::new(Wanted { end: AtomicU32::new(end) }),
            populated_by_owner: 0,
        }
    }

    pub(crate) fn region(&self) -> &StdArc<Region> {
        &self.region
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.limit * CHUNK_BYTES
    }

    /// Takes no new chunk beyond so many bytes. Chunks that are taken already stay.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.limit = (bytes_max / CHUNK_BYTES).min(self.region.chunk_count() - 1);
    }

    /// Chunks that were ever taken: they hold memory, in use or not.
    pub(crate) fn taken_bytes(&self) -> usize {
        (self.next as usize - 1) * CHUNK_BYTES
    }

    /// Of these, chunks that are whole again.
    pub(crate) fn free_bytes(&self) -> usize {
        self.free.len() * CHUNK_BYTES
    }

    /// Chunks that can be taken now.
    pub(crate) fn whole_chunks(&self) -> usize {
        self.free.len() + (self.limit + 1).saturating_sub(self.next as usize)
    }

    /// Chunks up to this number were ever taken.
    pub(crate) fn last_taken(&self) -> usize {
        self.next as usize - 1
    }

    /// Chunks that hold memory: those taken, and those populated ahead of their use.
    pub(crate) fn committed_bytes(&self) -> usize {
        self.region.committed_count() * CHUNK_BYTES
    }

    pub(crate) fn populated_by_owner(&self) -> u64 {
        self.populated_by_owner
    }

    /// A chunk that is committed and not cut. One that came back is taken first.
    pub(crate) fn take(&mut self) -> Result<u32, MemoryError> {
        if let Some(number) = self.free.pop() {
            return Ok(number);
        }
        let number = self.next;
        if number as usize > self.limit {
            return Err(MemoryError::Full { bytes_max: self.bytes_max() });
        }
        if !self.region.is_committed(number as usize) {
            self.region.commit(number as usize)?;
            self.populated_by_owner += 1;
        }
        self.next += 1;
        let end = (self.next + POPULATE_AHEAD).min(self.region.chunk_count() as u32);
        self.wanted.end.store(end, Ordering::Relaxed);
        Ok(number)
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        debug_assert!(!self.free.contains(&number), "chunk {number} comes back twice");
        self.free.push(number);
    }

    pub(crate) fn populator(&self) -> Populator {
        Populator { region: StdArc::clone(&self.region), wanted: StdArc::clone(&self.wanted), next: 1 }
    }
}

/// Populates the chunks that a store will need next, on a helper's thread.
pub struct Populator {
    region: StdArc<Region>,
    wanted: StdArc<Wanted>,
    next: u32,
}

impl Populator {
    /// Populates at most one chunk; true if there was one to do. The helper calls this for every store in turn until all
    /// say false, then rests for a millisecond or so.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Commit`]: the system has no memory. The owner will meet the same when it needs the chunk.
    pub fn populate_one(&mut self) -> Result<bool, MemoryError> {
        let end = self.wanted.end.load(Ordering::Relaxed);
        while self.next < end && self.region.is_committed(self.next as usize) {
            self.next += 1;
        }
        if self.next >= end {
            return Ok(false);
        }
        self.region.commit(self.next as usize)?;
        self.next += 1;
        Ok(true)
    }
}

impl fmt::Debug for Populator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Populator").field("next", &self.next).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{ChunkPool, POPULATE_AHEAD};
    use crate::{error::MemoryError, region::Region};

    #[test]
    fn helper_stays_a_few_chunks_ahead_and_the_owner_need_not_wait() {
        let mut pool = ChunkPool::new(Region::reserve(40).unwrap());
        let mut helper = pool.populator();
        for _ in 0..20 {
            let mut populated = 0;
            while helper.populate_one().unwrap() {
                populated += 1;
            }
            assert!(populated <= POPULATE_AHEAD);
            pool.take().unwrap();
        }
        assert_eq!(pool.populated_by_owner(), 0);
    }

    #[test]
    fn owner_without_helper_populates_for_itself() {
        let mut pool = ChunkPool::new(Region::reserve(4).unwrap());
        assert_eq!((pool.take().unwrap(), pool.take().unwrap()), (1, 2));
        assert_eq!(pool.populated_by_owner(), 2);
    }

    #[test]
    fn budget_is_kept_and_chunks_that_come_back_are_taken_again() {
        let mut pool = ChunkPool::new(Region::reserve(3).unwrap());
        assert_eq!((pool.take().unwrap(), pool.take().unwrap()), (1, 2));
        assert!(matches!(pool.take(), Err(MemoryError::Full { bytes_max }) if bytes_max == pool.bytes_max()));
        pool.give_back(1);
        assert_eq!((pool.free_bytes(), pool.take().unwrap()), (crate::CHUNK_BYTES, 1));
        assert!(pool.take().is_err());
    }

    #[test]
    fn a_lowered_budget_takes_no_more_and_a_raised_one_goes_on() {
        let mut pool = ChunkPool::new(Region::reserve(8).unwrap());
        assert_eq!((pool.take().unwrap(), pool.take().unwrap()), (1, 2));
        pool.set_bytes_max(crate::CHUNK_BYTES);
        assert!(pool.take().is_err());
        pool.give_back(2);
        assert_eq!(pool.take().unwrap(), 2, "what was taken before may be used again");
        pool.set_bytes_max(usize::MAX);
        assert_eq!(pool.take().unwrap(), 3);
        assert_eq!(pool.bytes_max(), 7 * crate::CHUNK_BYTES);
    }

    #[test]
    fn helper_stops_at_the_end_of_the_budget() {
        let pool = ChunkPool::new(Region::reserve(3).unwrap());
        let mut helper = pool.populator();
        assert!(helper.populate_one().unwrap() && helper.populate_one().unwrap());
        assert!(!helper.populate_one().unwrap());
    }
}
