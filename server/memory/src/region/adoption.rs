//! Chunks of an image, which become memory when they are met.
//!
//! A store that starts from an image knows at once which chunks it has, which slots of them are in use, and (from the image's
//! table) which record lies where. Their words are still in the image. Such a chunk is *pending*, and whoever meets it first
//! *adopts* it: commits its memory, has the image fill it, and cuts it, after which it is a chunk as any other.
//!
//! ```text
//!   cut:   size | PENDING ──(one thread: compare and exchange)──> size | ADOPTING ──(filled: release)──> size
//!                                                                      └──(unwinds)──> size | LOST
//! ```
//!
//! With a flag a size is larger than a chunk, so that [`Region::slot`] refuses the chunk by a comparison that it makes anyway:
//! who meets chunks that are there pays nothing. Others who meet a chunk while it is being adopted wait for it. No one waits for
//! those who wait: adopting takes no lock, reads no record, and passes no quiescent point.

use super::Region;
use crate::{
    error::MemoryError,
    handle::{CHUNK_GRANULES, GRANULE_WORDS, Handle, WORD_BYTES},
    planted::{Mistake, is_planted, order},
    record,
    sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
use std::{
    fmt,
    sync::{Arc as StdArc, Mutex, PoisonError},
};

/// Its words are in the image.
const PENDING: u32 = 1 << 31;

/// A thread has the image fill it. Its memory is that thread's alone.
const ADOPTING: u32 = 1 << 30;

/// The thread that had it filled gave up and unwound.
const LOST: u32 = 1 << 29;

const FLAGS: u32 = PENDING | ADOPTING | LOST;

const _: () = assert!(FLAGS.trailing_zeros() > CHUNK_GRANULES.ilog2(), "a flag is no size");

/// Who waits for another's chunk looks so often at once, and then so often after it let others run, before it sleeps between looks.
#[cfg(not(loom))]
const SPINS_MAX: u32 = 64;
#[cfg(not(loom))]
const YIELDS_MAX: u32 = 32;

/// A disk takes a millisecond or two for a chunk.
#[cfg(not(loom))]
const WAIT_US: u64 = 50;

/// One chunk of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedChunk {
    /// Size of its slots, as [`Record::slot_granules`](crate::Record::slot_granules) gave it.
    pub slot_granules: u32,
    /// How many of them hold a record: the first.
    pub slots_used: u32,
}

impl PlannedChunk {
    /// Words that its records take.
    fn words(self) -> usize {
        self.slot_granules as usize * self.slots_used as usize * GRANULE_WORDS
    }
}

/// The memory that a [`ChunkSource`] fills is a multiple of this: a block of a disk.
pub const FILL_ALIGN: usize = 4096;

/// Where the words of an image's chunks are.
pub trait ChunkSource: Send + Sync {
    /// Puts the words of a chunk, little-endian, at the beginning of `bytes`, from the first word of the first slot to the last word of
    /// the last that holds a record. `bytes` is the memory that the chunk is to be, aligned to the length of a chunk, and ends with
    /// the [block](FILL_ALIGN) of the last of these words, so a disk can write to it itself; what is behind them is cleared afterwards.
    /// Called by whichever thread meets the chunk, at the same time for other chunks by others. It must neither read the
    /// store nor wait for a thread that may.
    ///
    /// # Errors
    ///
    /// Why the words cannot be had, or are not those that were written.
    fn fill(&self, number: u32, bytes: &mut [u8]) -> Result<(), String>;

    /// A chunk cannot be adopted, and nothing can go on without it: this does not return. Others who want the same chunk wait
    /// meanwhile; if it unwinds, they end here, too.
    fn lost(&self, number: u32, why: ChunkLost) -> !;
}

/// Why a chunk of an image cannot be had.
#[derive(Debug)]
pub enum ChunkLost {
    /// The image is bad.
    Damaged {
        /// What is wrong with it.
        why: String,
    },
    /// The system gave no memory. The image may be good.
    Memory(MemoryError),
    /// Another thread met it, and unwound.
    Abandoned,
}

impl fmt::Display for ChunkLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { why } => f.write_str(why),
            Self::Memory(error) => error.fmt(f),
            Self::Abandoned => f.write_str("another thread gave up reading it"),
        }
    }
}

/// Which chunks of a region come out of an image, and how far that has come.
pub(super) struct Adoption {
    /// By number in the image: one less than in the region.
    plan: Box<[PlannedChunk]>,
    /// Let go of when all chunks are adopted.
    source: Mutex<Option<StdArc<dyn ChunkSource>>>,
    /// How many chunks are not adopted yet.
    pending: AtomicUsize,
    /// Chunks up to this one were passed by an [`Adopter`].
    passed: AtomicUsize,
    /// Threads that cannot go on before a chunk is there, which they bring or wait for. A hint, which orders nothing.
    waiting: std::sync::atomic::AtomicUsize,
}

impl Adoption {
    /// # Panics
    ///
    /// If the source was let go of: no chunk is pending then.
    fn source(&self) -> StdArc<dyn ChunkSource> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        StdArc::clone(source.as_ref().expect("the image is there while a chunk of it is pending"))
    }

    /// One chunk fewer is pending.
    fn count_adopted(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Outside the lock: closing an image may take a while.
            let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(source);
        }
    }
}

/// Chunks from the first on come out of an image.
impl Region {
    /// Makes the first chunks pending. Each fits its chunk, and none is empty.
    pub(crate) fn expect_image(&mut self, plan: Vec<PlannedChunk>, source: StdArc<dyn ChunkSource>) {
        assert!(
            plan.len() < self.chunks.len(),
            "an image of {} chunks is larger than its region",
            plan.len()
        );
        for (chunk, planned) in self.chunks[1..].iter().zip(&plan) {
            assert!(planned.slots_used > 0 && planned.words() <= CHUNK_GRANULES * GRANULE_WORDS);
            chunk.cut.store(planned.slot_granules | PENDING, Ordering::Relaxed);
        }
        let source = (!plan.is_empty()).then_some(source);
        self.adoption = Some(Adoption {
            pending: AtomicUsize::new(plan.len()),
            plan: plan.into_boxed_slice(),
            source: Mutex::new(source),
            passed: AtomicUsize::new(0),
            waiting: std::sync::atomic::AtomicUsize::new(0),
        });
    }

    /// How many chunks are still pending, or being adopted.
    pub(crate) fn pending_chunks(&self) -> usize {
        self.adoption.as_ref().map_or(0, |adoption| adoption.pending.load(Ordering::Acquire))
    }

    /// Whether the words of a chunk are not there yet.
    pub(crate) fn is_pending(&self, chunk: usize) -> bool {
        self.chunks[chunk].cut.load(Ordering::Relaxed) & FLAGS != 0
    }

    /// Chunks up to this one were passed by an [`Adopter`]: all of them are there but those that other threads are adopting.
    pub(crate) fn passed_by_adopter(&self) -> usize {
        self.adoption.as_ref().map_or(0, |adoption| adoption.passed.load(Ordering::Relaxed))
    }

    /// [`Region::slot`] where a handle names no slot: there is none, or it is not there yet.
    #[cold]
    #[inline(never)]
    pub(super) fn slot_after_adoption(&self, handle: Handle) -> Option<&[AtomicU64]> {
        let granules = self.adopted(handle.chunk());
        if granules == 0 || handle.granule() + granules > CHUNK_GRANULES {
            return None;
        }
        // SAFETY: the chunk was committed before it was cut, and the slot ends within it (above).
        Some(unsafe { self.range.words(handle.to_word() as usize * GRANULE_WORDS, granules * GRANULE_WORDS) })
    }

    /// The size of a chunk's slots, once it is adopted if it is to be.
    fn adopted(&self, chunk: usize) -> usize {
        let mut waited = 0;
        let mut waiting = None;
        loop {
            let cut = self.chunks[chunk].cut.load(Ordering::Acquire);
            if cut & FLAGS != 0 {
                waiting.get_or_insert_with(|| Waiting::count_in(self.image()));
            }
            match cut & FLAGS {
                0 => return cut as usize,
                PENDING => {
                    self.try_adopt(chunk, cut);
                }
                ADOPTING if is_planted(Mistake::AdoptionNotWaitedFor) => return 0,
                ADOPTING => wait(&mut waited),
                _ => self.image().source().lost(number_in_image(chunk), ChunkLost::Abandoned),
            }
        }
    }

    /// Adopts a chunk whose `cut` was seen to be pending; whether it did: if not, another does.
    fn try_adopt(&self, chunk: usize, cut: u32) -> bool {
        let size = cut & !FLAGS;
        let state = &self.chunks[chunk].cut;
        let is_mine = if is_planted(Mistake::ChunkAdoptedTwice) {
            state.store(size | ADOPTING, Ordering::Relaxed);
            true
        } else {
            state.compare_exchange(cut, size | ADOPTING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if !is_mine {
            return false;
        }
        let adopting = Adopting { state, lost: size | LOST };
        if is_planted(Mistake::ChunkCutBeforeItsCopy) {
            state.store(size, Ordering::Release);
        }
        let filled = self.commit(chunk).map_err(ChunkLost::Memory).and_then(|()| self.fill_from_image(chunk));
        if let Err(why) = filled {
            self.image().source().lost(number_in_image(chunk), why);
        }
        std::mem::forget(adopting);
        // Whoever sees the size sees all words.
        state.store(size, order(Mistake::AdoptedChunkNotReleased, Ordering::Release));
        self.image().count_adopted();
        true
    }

    /// Fills a chunk that no one else can look at.
    fn fill_from_image(&self, chunk: usize) -> Result<(), ChunkLost> {
        let number = number_in_image(chunk);
        let planned = self.image().plan[number as usize];
        let source = self.image().source();
        // SAFETY: the chunk is committed. It was never cut to a plain size, so no slot of it was ever handed out, and it will not be
        // before this returns: of those who meet it, the one whose compare and exchange succeeded is here, and all others wait.
        let filled = unsafe { self.range.fill(chunk, planned.words(), |bytes| source.fill(number, bytes)) };
        filled.map_err(|why| ChunkLost::Damaged { why })?;
        let first = Handle::new(chunk, 0).to_word() as usize * GRANULE_WORDS;
        // SAFETY: the chunk is committed, and its records end within it.
        let words = unsafe { self.range.words(first, planned.words()) };
        let mut slots = words.chunks(planned.slot_granules as usize * GRANULE_WORDS);
        match slots.position(|slot| !record::is_at_rest(slot)) {
            None => Ok(()),
            Some(slot) => Err(ChunkLost::Damaged { why: format!("its slot {slot} holds no whole record") }),
        }
    }

    fn image(&self) -> &Adoption {
        self.adoption.as_ref().expect("only chunks of an image are pending")
    }
}

/// The number in its image of a region's chunk.
fn number_in_image(chunk: usize) -> u32 {
    chunk as u32 - 1
}

/// Unwinding leaves a chunk lost rather than others waiting for ever.
struct Adopting<'a> {
    state: &'a AtomicU32,
    lost: u32,
}

impl Drop for Adopting<'_> {
    fn drop(&mut self) {
        self.state.store(self.lost, Ordering::Release);
    }
}

/// One of those who cannot go on before a chunk is there.
struct Waiting<'a>(&'a Adoption);

impl<'a> Waiting<'a> {
    fn count_in(adoption: &'a Adoption) -> Self {
        adoption.waiting.fetch_add(1, Ordering::Relaxed);
        Self(adoption)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets the thread that adopts go on.
fn wait(waited: &mut u32) {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    if *waited < SPINS_MAX {
        std::hint::spin_loop();
    } else if *waited < SPINS_MAX + YIELDS_MAX {
        std::thread::yield_now();
    } else {
        // It may be behind us on the same core, at a lower priority.
        std::thread::sleep(std::time::Duration::from_micros(WAIT_US));
    }
    *waited = waited.saturating_add(1);
}

/// Adopts the chunks of a store's image in sequence, on a helper's thread; several may share the work. Others wait for it at times,
/// so it should run no lower than they do.
#[derive(Clone)]
pub struct Adopter {
    region: StdArc<Region>,
    /// The chunk to look at next.
    next: usize,
}

impl Adopter {
    pub(crate) fn new(region: StdArc<Region>) -> Self {
        Self { region, next: 1 }
    }

    /// Adopts the next chunk that is pending and returns its number in the image; `None` when every chunk is adopted, or is being
    /// adopted by another thread.
    pub fn adopt_next(&mut self) -> Option<u32> {
        let adoption = self.region.adoption.as_ref()?;
        while self.next <= adoption.plan.len() {
            let chunk = self.next;
            let cut = self.region.chunks[chunk].cut.load(Ordering::Relaxed);
            let is_adopted_here = cut & FLAGS == PENDING && self.region.try_adopt(chunk, cut);
            self.next += 1;
            adoption.passed.fetch_max(chunk, Ordering::Relaxed);
            if is_adopted_here {
                return Some(number_in_image(chunk));
            }
        }
        None
    }

    /// How many chunks are still pending, or being adopted.
    pub fn pending(&self) -> usize {
        self.region.pending_chunks()
    }

    /// Bytes of the records in chunks that are still pending, or being adopted.
    pub fn pending_bytes(&self) -> usize {
        let Some(adoption) = &self.region.adoption else { return 0 };
        let plan = adoption.plan.iter().zip(1..);
        let pending = plan.filter(|(_, chunk)| self.region.is_pending(*chunk));
        pending.map(|(planned, _)| planned.words() * WORD_BYTES).sum()
    }

    /// Whether a thread that does other work than this cannot go on before a chunk is there: one that it brings itself, or that
    /// another brings. Who goes through all chunks does well to begin no further one meanwhile.
    pub fn is_somebody_waiting(&self) -> bool {
        self.region.adoption.as_ref().is_some_and(|adoption| adoption.waiting.load(Ordering::Relaxed) > 0)
    }

    /// How many chunks the image has.
    pub fn chunks(&self) -> usize {
        self.region.adoption.as_ref().map_or(0, |adoption| adoption.plan.len())
    }
}

impl fmt::Debug for Adopter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adopter").field("pending", &self.pending()).finish_non_exhaustive()
    }
}
