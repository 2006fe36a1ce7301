//! The pool of whole chunks, and the helper that populates chunks before they are needed.
//!
//! ```text
//!   never taken ──> upcoming ──> in use ──> free ──> released
//!                      ^  ^────────────────── │          │
//!                      └──────────────────────────────────┘
//! ```
//!
//! *Upcoming* chunks are those that will be taken when none is free, in that order: the helper keeps them populated. An owner
//! that is faster than the helper populates for itself, which is slow (the first touch of a huge page takes about a
//! millisecond) but never wrong. *Free* chunks are resident; what there is of them beyond a reserve, or beyond the budget, is
//! *released* one by one: its pages go back to the system.

use crate::{
    error::MemoryError,
    handle::CHUNK_BYTES,
    region::Region,
    sync::{AtomicU32, Ordering},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    fmt,
    sync::Arc as StdArc,
};

/// How many chunks the helper populates ahead of their use.
pub(crate) const POPULATE_AHEAD: usize = if cfg!(loom) { 1 } else { 8 };

/// So many free chunks are kept for what comes next.
const FREE_KEPT: usize = if cfg!(loom) { 0 } else { 2 };

/// Or this part of the chunks in use: records that change their size give back and take all the time.
const FREE_KEPT_PART: usize = 64;

/// Whole chunks within a budget.
pub(crate) struct ChunkPool {
    region: StdArc<Region>,
    /// Chunks in use.
    used: usize,
    /// Chunks that came back and are resident still.
    free: Vec<u32>,
    /// Chunks that came back, their pages with the system; the lowest is taken first, so that those in use stay together.
    released: BinaryHeap<Reverse<u32>>,
    /// No chunk above this one was ever in use.
    highest: u32,
    /// The next chunks to be taken when none is free.
    upcoming: VecDeque<u32>,
    /// The next chunk that was never upcoming.
    next: u32,
    /// Chunks that may be in use at present: the region's, or fewer.
    limit: usize,
    wanted: StdArc<Wanted>,
    /// The system takes no pages back.
    is_release_refused: bool,
    /// How often the owner had to populate a chunk itself.
    populated_by_owner: u64,
}

/// What the owner tells the helper.
struct Wanted {
    /// The upcoming chunks; 0: none.
    chunks: [AtomicU32; POPULATE_AHEAD],
}

impl ChunkPool {
    /// A pool of all chunks of `region` but the first.
    pub(crate) fn new(region: Region) -> Self {
        Self::with_taken(region, 0)
    }

    /// The same, the first `taken` of them in use already.
    pub(crate) fn with_taken(region: Region, taken: usize) -> Self {
        let limit = region.chunk_count() - 1;
        assert!(taken <= limit, "{taken} chunks are in use, and there are {limit}");
        let mut pool = Self {
            limit,
            region: StdArc::new(region),
            used: taken,
            free: Vec::new(),
            released: BinaryHeap::new(),
            highest: taken as u32,
            upcoming: VecDeque::with_capacity(POPULATE_AHEAD),
            next: 1 + taken as u32,
            wanted: StdArc::new(Wanted { chunks: std::array::from_fn(|_| AtomicU32::new(0)) }),
            is_release_refused: false,
            populated_by_owner: 0,
        };
        pool.look_ahead();
        pool
    }

    pub(crate) fn region(&self) -> &StdArc<Region> {
        &self.region
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.limit * CHUNK_BYTES
    }

    /// Has no more chunks in use than so many bytes. Those in use already stay until they come back.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: usize) {
        let limit = (bytes_max / CHUNK_BYTES).min(self.region.chunk_count() - 1);
        if limit != self.limit {
            self.limit = limit;
            self.look_ahead();
        }
    }

    /// Chunks that are held: in use, or free.
    pub(crate) fn taken_bytes(&self) -> usize {
        (self.used + self.free.len()) * CHUNK_BYTES
    }

    /// Of these, the free ones.
    pub(crate) fn free_bytes(&self) -> usize {
        self.free.len() * CHUNK_BYTES
    }

    /// Chunks that can be taken now.
    pub(crate) fn whole_chunks(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Whether more is in use than may be: the budget was lowered.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.used > self.limit
    }

    /// Chunks up to this number were ever in use.
    pub(crate) fn last_taken(&self) -> usize {
        self.highest as usize
    }

    /// Chunks that hold memory: those taken, and those populated ahead of their use.
    pub(crate) fn committed_bytes(&self) -> usize {
        self.region.committed_count() * CHUNK_BYTES
    }

    pub(crate) fn populated_by_owner(&self) -> u64 {
        self.populated_by_owner
    }

    /// A chunk that is committed and not cut. One that is free is taken first.
    pub(crate) fn take(&mut self) -> Result<u32, MemoryError> {
        if self.used >= self.limit {
            return Err(MemoryError::Full { bytes_max: self.bytes_max() });
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => self.take_upcoming()?,
        };
        self.used += 1;
        self.highest = self.highest.max(number);
        Ok(number)
    }

    fn take_upcoming(&mut self) -> Result<u32, MemoryError> {
        let number = *self.upcoming.front().expect("there is a chunk for each that the budget allows");
        if !self.region.is_committed(number as usize) {
            self.region.commit(number as usize)?;
            self.populated_by_owner += 1;
        }
        self.upcoming.pop_front();
        // As if it was in use already, or a chunk too many would be looked for.
        self.used += 1;
        self.look_ahead();
        self.used -= 1;
        Ok(number)
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        debug_assert!(!self.free.contains(&number), "chunk {number} comes back twice");
        self.used -= 1;
        self.free.push(number);
    }

    /// Gives the pages of one free chunk back to the system, if there are more than should be kept; whether it did.
    pub(crate) fn release_one(&mut self) -> bool {
        let is_beyond_budget = self.used + self.free.len() > self.limit;
        let kept = if is_beyond_budget { 0 } else { FREE_KEPT.max(self.used / FREE_KEPT_PART) };
        if self.free.len() <= kept || self.is_release_refused {
            return false;
        }
        let number = self.free.swap_remove(0);
        if !self.region.release(number as usize) {
            self.is_release_refused = true;
            self.free.push(number);
            return false;
        }
        self.released.push(Reverse(number));
        self.look_ahead();
        true
    }

    /// Chooses the chunks that come next, as many as the budget has room for, and tells the helper.
    fn look_ahead(&mut self) {
        let room = self.limit.saturating_sub(self.used + self.free.len()).min(POPULATE_AHEAD);
        while self.upcoming.len() > room {
            let number = self.upcoming.pop_back().expect("it has more than none");
            // A free one is released in its turn.
            if self.region.is_committed(number as usize) {
                self.free.push(number);
            } else {
                self.released.push(Reverse(number));
            }
        }
        while self.upcoming.len() < room {
            let number = match self.released.pop() {
                Some(Reverse(number)) => number,
                None => {
                    self.next += 1;
                    self.next - 1
                }
            };
            debug_assert!((number as usize) < self.region.chunk_count(), "more is upcoming than there is");
            self.upcoming.push_back(number);
        }
        for (index, wanted) in self.wanted.chunks.iter().enumerate() {
            wanted.store(self.upcoming.get(index).copied().unwrap_or(0), Ordering::Relaxed);
        }
    }

    pub(crate) fn populator(&self) -> Populator {
        Populator { region: StdArc::clone(&self.region), wanted: StdArc::clone(&self.wanted) }
    }
}

/// Populates the chunks that a store will need next, on a helper's thread.
pub struct Populator {
    region: StdArc<Region>,
    wanted: StdArc<Wanted>,
}

impl Populator {
    /// What the store's chunks take of memory now: those in use, those that are free, and those populated ahead of use.
    pub fn committed_bytes(&self) -> usize {
        self.region.committed_count() * CHUNK_BYTES
    }

    /// Populates at most one chunk; true if there was one to do. The helper calls this for every store in turn until all
    /// say false, then rests for a millisecond or so.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Commit`]: the system has no memory. The owner will meet the same when it needs the chunk.
    pub fn populate_one(&mut self) -> Result<bool, MemoryError> {
        for wanted in &self.wanted.chunks {
            let number = wanted.load(Ordering::Relaxed) as usize;
            if number != 0 && !self.region.is_committed(number) {
                self.region.commit(number)?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl fmt::Debug for Populator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Populator").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{ChunkPool, FREE_KEPT, POPULATE_AHEAD};
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
        assert!(pool.take().is_err() && pool.is_over_budget());
        pool.give_back(2);
        assert!(pool.take().is_err() && !pool.is_over_budget(), "one is in use, and one may be");
        pool.set_bytes_max(usize::MAX);
        assert_eq!((pool.take().unwrap(), pool.take().unwrap()), (2, 3));
        assert_eq!(pool.bytes_max(), 7 * crate::CHUNK_BYTES);
    }

    #[test]
    fn what_is_free_beyond_the_budget_goes_back_to_the_system_and_comes_again() {
        const CHUNKS: usize = 40;
        let mut pool = ChunkPool::new(Region::reserve(1 + CHUNKS).unwrap());
        let mut helper = pool.populator();
        for round in 0..5 {
            let mut numbers: Vec<u32> = (0..CHUNKS).map(|_| pool.take().unwrap()).collect();
            assert!(pool.take().is_err(), "round {round}");
            assert_eq!(pool.committed_bytes(), CHUNKS * crate::CHUNK_BYTES);
            numbers.iter().for_each(|number| pool.give_back(*number));
            numbers.sort_unstable();
            assert!(numbers.iter().map(|number| *number as usize).eq(1..=CHUNKS), "each once: {numbers:?}");
            pool.set_bytes_max(3 * crate::CHUNK_BYTES);
            while pool.release_one() {
                while helper.populate_one().unwrap() {}
            }
            assert_eq!(pool.taken_bytes(), FREE_KEPT * crate::CHUNK_BYTES, "round {round}");
            let committed_bytes = pool.committed_bytes();
            assert!(committed_bytes <= 3 * crate::CHUNK_BYTES, "round {round}: {committed_bytes} bytes");
            pool.set_bytes_max(usize::MAX);
        }
    }

    #[test]
    fn within_the_budget_a_reserve_of_free_chunks_is_kept() {
        let mut pool = ChunkPool::new(Region::reserve(60).unwrap());
        let numbers: Vec<u32> = (0..50).map(|_| pool.take().unwrap()).collect();
        numbers.iter().for_each(|number| pool.give_back(*number));
        while pool.release_one() {}
        assert_eq!(pool.free_bytes(), FREE_KEPT * crate::CHUNK_BYTES);
        assert_eq!(pool.committed_bytes(), pool.taken_bytes());
    }

    #[test]
    fn words_of_a_released_chunk_read_as_zero() {
        let mut pool = ChunkPool::new(Region::reserve(12).unwrap());
        let numbers: Vec<u32> = (0..10).map(|_| pool.take().unwrap()).collect();
        let region = std::sync::Arc::clone(pool.region());
        for number in &numbers {
            region.cut(*number as usize, 4);
            let handle = crate::handle::Handle::new(*number as usize, 0);
            region.slot(handle).unwrap()[0].store(7, crate::sync::Ordering::Relaxed);
            region.cut(*number as usize, 0);
            pool.give_back(*number);
        }
        pool.set_bytes_max(0);
        while pool.release_one() {}
        pool.set_bytes_max(usize::MAX);
        for _ in &numbers {
            let number = pool.take().unwrap() as usize;
            region.cut(number, 4);
            let word = &region.slot(crate::handle::Handle::new(number, 0)).unwrap()[0];
            assert_eq!(word.load(crate::sync::Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn helper_stops_at_the_end_of_the_budget() {
        let pool = ChunkPool::new(Region::reserve(3).unwrap());
        let mut helper = pool.populator();
        assert!(helper.populate_one().unwrap() && helper.populate_one().unwrap());
        assert!(!helper.populate_one().unwrap());
    }
}
