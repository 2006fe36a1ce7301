//! Slots: chunks cut into pieces of one size, given out and taken back. Owner only; readers see none of this.
//!
//! A chunk serves one [`Purpose`] and one [`SizeClass`] at a time. When its last slot comes back the chunk returns to
//! the pool, and may be cut for another class: entities that grow in step leave whole chunks behind, not holes.

mod chunks;
mod cut_chunk;
mod size_class;

pub(crate) use chunks::ChunkPool;
pub use chunks::Populator;

use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, GRANULE_BYTES, GRANULE_WORDS, Handle, WORD_BYTES},
    region::{ChunkSource, PlannedChunk, Region},
};
use cut_chunk::CutChunk;
use size_class::{CLASSES, SizeClass};
use std::sync::Arc as StdArc;

/// What the slots of a chunk hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Records: they know their own hash, so upkeep can move them.
    Records = 0,
    /// Blocks that only their user can find: segments and directories of the index, large sketches.
    Blocks = 1,
}

const PURPOSES: usize = 2;

/// Of the chunks that adopters have passed, a sample looks at so many for one that is there: more than adopters work at once.
const PASSED_LOOKS_MAX: usize = 16;

/// Below this part of its slots in use, a chunk is worth evacuating: a quarter.
const SPARSE_PART: u32 = 4;

/// Bytes and slots in use, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InUse {
    pub(crate) slots: usize,
    pub(crate) bytes: usize,
}

/// Gives out slots of a region.
pub(crate) struct Slots {
    pool: ChunkPool,
    /// By chunk number; `None` for chunks that are not cut.
    cut: Vec<Option<Box<CutChunk>>>,
    /// By purpose and class: the chunks of that kind that have a free slot and are not being evacuated.
    open: Vec<Vec<u32>>,
    /// By purpose and class: how many free slots those chunks have together.
    open_slots: Vec<usize>,
    in_use: [InUse; PURPOSES],
}

impl Slots {
    pub(crate) fn new(pool: ChunkPool) -> Self {
        let chunks = pool.region().chunk_count();
        Self {
            pool,
            cut: (0..chunks).map(|_| None).collect(),
            open: vec![Vec::new(); PURPOSES * CLASSES],
            open_slots: vec![0; PURPOSES * CLASSES],
            in_use: [InUse::default(); PURPOSES],
        }
    }

    /// Slots of a region whose first chunks come out of an image: in use as the plan says, and pending.
    pub(crate) fn with_image(
        mut region: Region,
        plan: Vec<PlannedChunk>,
        source: StdArc<dyn ChunkSource>,
    ) -> Result<Self, MemoryError> {
        let kinds = plan.iter().enumerate().map(|(number, planned)| {
            let class = SizeClass::of_granules(planned.slot_granules as usize);
            let fits = |class: &SizeClass| (1..=class.slots()).contains(&(planned.slots_used as usize));
            class.filter(fits).map(|class| (class, planned.slots_used)).ok_or(MemoryError::PlannedChunk {
                number,
                slot_granules: planned.slot_granules,
                slots_used: planned.slots_used,
            })
        });
        let kinds = kinds.collect::<Result<Vec<_>, MemoryError>>()?;
        region.expect_image(plan, source);
        let mut slots = Self::new(ChunkPool::with_taken(region, kinds.len()));
        for (number, (class, used)) in (1..).zip(kinds) {
            slots.add_chunk(number, CutChunk::with_used(Purpose::Records, class, used));
        }
        Ok(slots)
    }

    pub(crate) fn region(&self) -> &StdArc<Region> {
        self.pool.region()
    }

    pub(crate) fn pool(&self) -> &ChunkPool {
        &self.pool
    }

    pub(crate) fn pool_mut(&mut self) -> &mut ChunkPool {
        &mut self.pool
    }

    pub(crate) fn in_use(&self, purpose: Purpose) -> InUse {
        self.in_use[purpose as usize]
    }

    /// Whether a slot of `slot_words` is the one that a request for `words` would get.
    pub(crate) fn is_same_class(slot_words: usize, words: usize) -> bool {
        SizeClass::for_words(words).is_some_and(|class| class.granules() * GRANULE_WORDS == slot_words)
    }

    /// A free slot of at least `words`. Its words hold whatever was left there.
    pub(crate) fn allocate(&mut self, purpose: Purpose, words: usize) -> Result<Handle, MemoryError> {
        let Some(class) = SizeClass::for_words(words) else {
            return Err(MemoryError::TooLarge { bytes: words * WORD_BYTES, bytes_max: CHUNK_BYTES });
        };
        let kind = kind_of(purpose, class);
        let number = match self.open[kind].last() {
            Some(number) => *number,
            None => self.cut_a_chunk(purpose, class)?,
        };
        let chunk = self.cut[number as usize].as_mut().expect("an open chunk is cut");
        let slot = chunk.take();
        if chunk.is_full() {
            self.open[kind].pop();
        }
        self.open_slots[kind] -= 1;
        let in_use = &mut self.in_use[purpose as usize];
        in_use.slots += 1;
        in_use.bytes += class.granules() * GRANULE_BYTES;
        Ok(Handle::new(number as usize, slot as usize * class.granules()))
    }

    /// Takes a slot back. No thread may hold its handle any more.
    pub(crate) fn free(&mut self, handle: Handle) {
        let number = handle.chunk();
        let chunk = self.cut[number].as_mut().expect("a slot that is freed lies in a chunk that is cut");
        let (purpose, class, was_full) = (chunk.purpose, chunk.class, chunk.is_full());
        assert_eq!(handle.granule() % class.granules(), 0, "{handle:?} is not the start of a slot");
        chunk.put_back((handle.granule() / class.granules()) as u32);
        let in_use = &mut self.in_use[purpose as usize];
        in_use.slots -= 1;
        in_use.bytes -= class.granules() * GRANULE_BYTES;
        let (is_empty, is_leaving) = (chunk.used() == 0, chunk.is_evacuated);
        if is_empty {
            self.return_to_pool(number as u32, was_full);
        } else if !is_leaving {
            let kind = kind_of(purpose, class);
            self.open_slots[kind] += 1;
            if was_full {
                chunk.place_in_open = self.open[kind].len() as u32;
                self.open[kind].push(number as u32);
            }
        }
    }

    /// A chunk of records so sparse that moving them away pays: less than a quarter in use, and the others of its kind
    /// have room for what it holds. Pending chunks are left alone, and none is chosen whose first record would go to one. Looks at `chunks_max` chunks from `from` on; returns what it found, and where to go
    /// on next time.
    pub(crate) fn find_sparse(&self, from: usize, chunks_max: usize) -> (Option<u32>, usize) {
        let count = self.pool.last_taken() + 1;
        for step in 0..chunks_max.min(count) {
            let number = (from + step) % count;
            let Some(chunk) = &self.cut[number] else { continue };
            if chunk.purpose != Purpose::Records || chunk.is_evacuated || self.region().is_pending(number) {
                continue;
            }
            let kind = kind_of(chunk.purpose, chunk.class);
            if self.open[kind].last().is_some_and(|next| self.region().is_pending(*next as usize)) {
                continue;
            }
            let slots = chunk.class.slots() as u32;
            let room_elsewhere = self.open_slots[kind] - (slots - chunk.used()) as usize;
            if chunk.used() < slots.div_ceil(SPARSE_PART) && room_elsewhere >= chunk.used() as usize {
                return (Some(number as u32), number);
            }
        }
        (None, (from + chunks_max) % count)
    }

    /// How many slots of at least `words` could be given out now.
    pub(crate) fn room_for(&self, words: usize) -> usize {
        let Some(class) = SizeClass::for_words(words) else { return 0 };
        let open = self.open_slots[kind_of(Purpose::Records, class)];
        open + self.pool.whole_chunks() * class.slots()
    }

    /// A slot of records that is in use, or retired: any chunk's, with equal chance, near a place of it that is chosen with
    /// equal chance. `None` where there is none near. While chunks are pending, one of those that an adopter has passed stands
    /// in for one that is; where none of them is there, a pending one may be chosen.
    pub(crate) fn random_in_use(&self, random: u64) -> Option<Handle> {
        let mut number = 1 + (random as u32) as usize % self.pool.last_taken().max(1);
        let passed = self.region().passed_by_adopter();
        if passed > 0 && self.region().is_pending(number) {
            // One that was passed may still be in another adopter's hands.
            let passed_one = |step| 1 + ((random as u32) as usize + step) % passed;
            let there =
                (0..PASSED_LOOKS_MAX).map(passed_one).find(|number| !self.region().is_pending(*number));
            number = there.unwrap_or(number);
        }
        let chunk = self.cut.get(number)?.as_ref()?;
        if chunk.purpose != Purpose::Records {
            return None;
        }
        let slot = chunk.next_in_use((random >> 32) as u32 % chunk.class.slots() as u32)?;
        Some(Handle::new(number, slot as usize * chunk.class.granules()))
    }

    /// The chunk of records, not a pending one, that is emptied with the least work, among `chunks_max` from `from` on: one whose records fit elsewhere
    /// in its class; with `may_displace`, any, if there is no such. Returns where to go on next time, too.
    pub(crate) fn find_emptiest(
        &self,
        from: usize,
        chunks_max: usize,
        may_displace: bool,
    ) -> (Option<u32>, usize) {
        let count = self.pool.last_taken() + 1;
        let mut best: Option<(bool, u32, u32)> = None;
        for step in 0..chunks_max.min(count) {
            let number = (from + step) % count;
            let Some(chunk) = &self.cut[number] else { continue };
            if chunk.purpose != Purpose::Records || chunk.is_evacuated || self.region().is_pending(number) {
                continue;
            }
            let free = chunk.class.slots() - chunk.used() as usize;
            let room_elsewhere = self.open_slots[kind_of(chunk.purpose, chunk.class)] - free;
            let is_displaced = room_elsewhere < chunk.used() as usize;
            let work = (is_displaced, chunk.used(), number as u32);
            if (may_displace || !is_displaced) && best.is_none_or(|best| work < best) {
                best = Some(work);
            }
        }
        (best.map(|(_, _, number)| number), (from + chunks_max.min(count)) % count)
    }

    /// Whether the chunk is being emptied, its last slots perhaps not collected yet.
    pub(crate) fn is_evacuated(&self, number: u32) -> bool {
        self.cut[number as usize].as_ref().is_some_and(|chunk| chunk.is_evacuated)
    }

    /// Gives out no slot of this chunk any more until it is empty, or [`Slots::stop_evacuation`].
    pub(crate) fn start_evacuation(&mut self, number: u32) {
        self.close(number);
        let chunk = self.cut_chunk_mut(number);
        assert!(!chunk.is_evacuated, "chunk {number} is being evacuated already");
        chunk.is_evacuated = true;
        let kind = kind_of(chunk.purpose, chunk.class);
        let free = chunk.class.slots() - chunk.used() as usize;
        self.open_slots[kind] -= free;
    }

    /// The chunk stays after all: there is no room for what it holds.
    pub(crate) fn stop_evacuation(&mut self, number: u32) {
        let chunk = self.cut_chunk_mut(number);
        assert!(chunk.is_evacuated, "chunk {number} is not being evacuated");
        chunk.is_evacuated = false;
        let kind = kind_of(chunk.purpose, chunk.class);
        let free = chunk.class.slots() - chunk.used() as usize;
        self.open_slots[kind] += free;
        if free > 0 {
            self.cut_chunk_mut(number).place_in_open = self.open[kind].len() as u32;
            self.open[kind].push(number);
        }
    }

    /// The first slot in use at or after `from` of a chunk that is being evacuated, and its number; `None` when there is
    /// none, or the chunk is gone.
    pub(crate) fn next_in_use(&self, number: u32, from: u32) -> Option<(Handle, u32)> {
        let chunk = self.cut[number as usize].as_ref().filter(|chunk| chunk.is_evacuated)?;
        let slot = chunk.next_in_use(from)?;
        Some((Handle::new(number as usize, slot as usize * chunk.class.granules()), slot))
    }

    fn cut_a_chunk(&mut self, purpose: Purpose, class: SizeClass) -> Result<u32, MemoryError> {
        let number = self.pool.take()?;
        self.region().cut(number as usize, class.granules());
        self.add_chunk(number, CutChunk::new(purpose, class));
        Ok(number)
    }

    /// Enters a chunk that was cut, or will be when it is adopted, into the books.
    fn add_chunk(&mut self, number: u32, mut chunk: CutChunk) {
        let kind = kind_of(chunk.purpose, chunk.class);
        let used = chunk.used() as usize;
        if !chunk.is_full() {
            chunk.place_in_open = self.open[kind].len() as u32;
            self.open[kind].push(number);
            self.open_slots[kind] += chunk.class.slots() - used;
        }
        let in_use = &mut self.in_use[chunk.purpose as usize];
        in_use.slots += used;
        in_use.bytes += used * chunk.class.granules() * GRANULE_BYTES;
        self.cut[number as usize] = Some(Box::new(chunk));
    }

    /// An empty chunk is whole again. `was_full`: its only slot was the one just freed.
    fn return_to_pool(&mut self, number: u32, was_full: bool) {
        if !was_full && !self.cut_chunk_mut(number).is_evacuated {
            self.close(number);
            let chunk = self.cut_chunk_mut(number);
            let kind = kind_of(chunk.purpose, chunk.class);
            // The slot just freed was not counted as open yet.
            let counted = chunk.class.slots() - 1;
            self.open_slots[kind] -= counted;
        }
        self.cut[number as usize] = None;
        self.region().cut(number as usize, 0);
        self.pool.give_back(number);
    }

    /// Takes a chunk out of the list of its kind, where it is in it.
    fn close(&mut self, number: u32) {
        let chunk = self.cut_chunk_mut(number);
        if chunk.is_full() {
            return;
        }
        let (kind, place) = (kind_of(chunk.purpose, chunk.class), chunk.place_in_open as usize);
        assert_eq!(self.open[kind][place], number, "a chunk with a free slot knows its place");
        self.open[kind].swap_remove(place);
        if let Some(moved) = self.open[kind].get(place).copied() {
            self.cut_chunk_mut(moved).place_in_open = place as u32;
        }
    }

    fn cut_chunk_mut(&mut self, number: u32) -> &mut CutChunk {
        self.cut[number as usize].as_mut().expect("the chunk is cut")
    }
}

fn kind_of(purpose: Purpose, class: SizeClass) -> usize {
    purpose as usize * CLASSES + class.index()
}

#[cfg(all(test, not(loom)))]
mod tests;
