//! Record memory as its users see it: a [`Store`] for the one thread that owns a shard, [`Reader`]s for all others.
//!
//! The owner's life with a record:
//!
//! ```text
//!   prefetch_index   for each event of a batch, then
//!   prefetch_record  for each, then for each in turn
//!   find_near        none: insert
//!   record           read it without a sequence; too small: resize or relocate
//!   edit             change it: readers see all of the change, or none
//!   ...
//!   collect          once a tick
//! ```

mod evacuation;
mod image;
mod reader;
mod scan;

pub use evacuation::Squeezed;
pub use reader::{Contended, READ_ATTEMPTS_MAX, Reader};
pub use scan::{Cursor, SCAN_ROWS_MAX, Scan};

use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, CHUNKS_MAX, Handle},
    index::{self, DEPTH_MAX, Entry, IndexWriter, Probe},
    padded::Padded,
    planted::{Mistake, is_planted},
    reclaim::{Domain, Reclaimer},
    record::{ENTITY_BYTES_MAX, Edit, Key, LAYOUT_MAX, Origin, Record, mark_free, start},
    region::Region,
    slots::{ChunkPool, Populator, Purpose, Slots},
    sync::{AtomicU64, Ordering},
};
use evacuation::Evacuation;
use image::Linking;
use std::{fmt, ops::ControlFlow, sync::Arc as StdArc};

/// The smallest budget: a chunk for the index, one for its next directory, one for records.
pub const STORE_BYTES_MIN: usize = 3 * CHUNK_BYTES;

/// The largest budget that handles can address.
pub const STORE_BYTES_MAX: usize = (CHUNKS_MAX - 1) * CHUNK_BYTES;

/// What owner and readers of a store share.
pub(crate) struct Shared {
    region: StdArc<Region>,
    /// The index's directory and its depth.
    root: Padded<AtomicU64>,
    domain: StdArc<Domain>,
}

/// The record memory of one shard. There is one, and one thread uses it.
pub struct Store {
    shared: StdArc<Shared>,
    slots: Slots,
    index: IndexWriter,
    reclaimer: Reclaimer,
    evacuation: Evacuation,
    /// While the tables of an image are read.
    linking: Option<Linking>,
}

impl Store {
    /// A store that takes at most `bytes_max` of memory, rounded down to whole chunks, for records, blocks and index together. Its
    /// readers are the participants of `domain`.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Budget`], [`MemoryError::Reserve`], [`MemoryError::Commit`].
    pub fn new(bytes_max: usize, domain: &StdArc<Domain>) -> Result<Self, MemoryError> {
        check_budget(bytes_max)?;
        let region = Region::reserve(1 + bytes_max / CHUNK_BYTES)?;
        Self::with_slots(Slots::new(ChunkPool::new(region)), domain, 0)
    }

    /// A store of these slots, its index empty but with room for `expected` records.
    fn with_slots(mut slots: Slots, domain: &StdArc<Domain>, expected: usize) -> Result<Self, MemoryError> {
        let root = Padded::new(AtomicU64::new(0));
        let index = IndexWriter::create(&mut slots, &root, expected)?;
        let shared = Shared { region: StdArc::clone(slots.region()), root, domain: StdArc::clone(domain) };
        Ok(Self {
            shared: StdArc::new(shared),
            slots,
            index,
            reclaimer: Reclaimer::new(StdArc::clone(domain)),
            evacuation: Evacuation::default(),
            linking: None,
        })
    }

    /// Uses no more memory than `bytes_max` from now on, rounded down to whole chunks. What is in use already stays until its records
    /// are moved or removed; see [`Store::is_over_budget`] and [`Store::release_chunk`]. At most the budget that the store was made with.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.slots.pool_mut().set_bytes_max(bytes_max);
    }

    /// A reader, for any participant of the store's domain.
    pub fn reader(&self) -> Reader {
        Reader::new(StdArc::clone(&self.shared))
    }

    /// What the helper thread populates chunks with, ahead of their use.
    pub fn populator(&self) -> Populator {
        self.slots.pool().populator()
    }

    /// Stage one of a batch: starts to load what [`Store::prefetch_record`] will look at.
    #[inline]
    pub fn prefetch_index(&self, hash: u64) {
        index::prefetch(&self.shared.region, &self.shared.root, hash);
    }

    /// Stage two: starts to load the first `lines` cache lines of the record. Returns where it probably is, for
    /// [`Store::find_near`].
    #[inline]
    pub fn prefetch_record(&self, hash: u64, lines: usize) -> Option<Handle> {
        index::prefetch_candidate(&self.shared.region, &self.shared.root, hash, lines)
    }

    /// Between the stages: starts to load more cache lines of what [`Store::prefetch_record`] found.
    #[inline]
    pub fn prefetch_lines(&self, hint: Handle, lines: std::ops::Range<usize>) {
        index::prefetch_lines(&self.shared.region, hint, lines);
    }

    /// Between the stages: what probably is the record, to [prefetch](Record::prefetch) what its head says will be wanted.
    /// `None` where there is no record, or its chunk is not [adopted](Store::with_image) yet.
    #[inline]
    pub fn peek(&self, hint: Handle) -> Option<Record<'_>> {
        let region = &*self.shared.region;
        let record = Record::new(region.slot_that_is_there(hint)?, region);
        record.is_there().then_some(record)
    }

    /// Stage three: the record of a key, which probably is at `hint`. Without a look at the index if it is; as
    /// [`Store::find`] if not, so that events before it in the batch may have moved, made or removed it.
    #[inline]
    pub fn find_near(&self, key: &Key<'_>, hint: Option<Handle>) -> Option<Handle> {
        let region = &*self.shared.region;
        let is_it = |handle: &Handle| {
            region.slot_that_is_there(*handle).is_some_and(|words| {
                let record = Record::new(words, region);
                record.is_there() && record.is_of(key)
            })
        };
        hint.filter(is_it).or_else(|| self.find(key))
    }

    /// As [`Store::find_near`], to be read at once.
    #[inline]
    pub fn record_near(&self, key: &Key<'_>, hint: Option<Handle>) -> Option<Record<'_>> {
        let near = hint.and_then(|handle| self.peek(handle)).filter(|record| record.is_of(key));
        near.or_else(|| self.find(key).map(|handle| self.record(handle)))
    }

    /// The record of a key.
    #[inline]
    pub fn find(&self, key: &Key<'_>) -> Option<Handle> {
        let region = &*self.shared.region;
        let probe = Probe::start(region, &self.shared.root, key.hash);
        let is_it = |entry: Entry| {
            let handle = entry.handle();
            let words = region.slot(handle).expect("the index names slots of its own");
            if Record::new(words, region).is_of(key) {
                ControlFlow::Break(handle)
            } else {
                ControlFlow::Continue(())
            }
        };
        match probe.glance(key.hash, is_it) {
            None if probe.depth() == DEPTH_MAX => match probe.find(key.hash, is_it) {
                index::Found::Here(handle) => Some(handle),
                index::Found::Nowhere | index::Found::Unproved => None,
            },
            found => found,
        }
    }

    /// Makes the record of a key that has none, with a body of at least `body_words` zeros and position 0. `fill` writes into
    /// it before anyone can see it.
    ///
    /// # Errors
    ///
    /// [`MemoryError::EntityLength`], [`MemoryError::LayoutId`], [`MemoryError::TooLarge`], and when memory runs out
    /// [`MemoryError::Full`] or [`MemoryError::Commit`]. Then nothing has changed.
    pub fn insert(
        &mut self,
        key: &Key<'_>,
        layout: u32,
        body_words: usize,
        fill: impl FnOnce(&mut Edit<'_>),
    ) -> Result<Handle, MemoryError> {
        if !(1..=ENTITY_BYTES_MAX).contains(&key.entity.len()) {
            return Err(MemoryError::EntityLength { bytes: key.entity.len() });
        }
        if layout > LAYOUT_MAX {
            return Err(MemoryError::LayoutId { layout });
        }
        debug_assert!(self.find(key).is_none(), "a key is inserted twice");
        let handle = self.slots.allocate(Purpose::Records, key.record_words(body_words))?;
        let region = &*self.shared.region;
        let mut edit = start(slot(region, handle), region, &Origin::Key(key), layout);
        fill(&mut edit);
        drop(edit);
        let named =
            self.index.insert(&mut self.slots, &mut self.reclaimer, &self.shared.root, key.hash, handle);
        if let Err(error) = named {
            // No one has seen it, so it needs no grace period.
            mark_free(slot(region, handle));
            self.slots.free(handle);
            return Err(error);
        }
        Ok(handle)
    }

    /// A record, as its owner sees it.
    ///
    /// # Panics
    ///
    /// If there is none at `handle`, because it was moved or removed.
    #[inline]
    pub fn record(&self, handle: Handle) -> Record<'_> {
        let region = &*self.shared.region;
        let record = Record::new(slot(region, handle), region);
        assert!(record.head().is_live(), "there is no record at {handle:?}");
        record
    }

    /// Opens a record to be changed. Readers retry until the [`Edit`] is dropped, so that should be soon.
    ///
    /// # Panics
    ///
    /// If there is none at `handle`, because it was moved or removed.
    #[inline]
    pub fn edit(&mut self, handle: Handle) -> Edit<'_> {
        let region = &*self.shared.region;
        Edit::open(slot(region, handle), region)
    }

    /// Gives a record's body room for at least `body_words`, keeping as many words as fit the new body. Returns where the record
    /// is now: the same place where the size of its slot does not change.
    ///
    /// # Errors
    ///
    /// As [`Store::insert`]; then the record is as it was.
    pub fn resize(&mut self, handle: Handle, body_words: usize) -> Result<Handle, MemoryError> {
        let record = self.record(handle);
        if Slots::is_same_class(record.slot_words(), record.body_start() + body_words) {
            return Ok(handle);
        }
        let layout = record.layout();
        self.relocate(handle, layout, body_words, |old, new| {
            for index in 0..old.body_words().min(new.body_words()) {
                new.set(index, old.get(index));
            }
        })
    }

    /// Moves a record to a slot with room for a body of at least `body_words`; `fill` writes the new body (all zero) from the
    /// old. It must mean the same in both: readers may still see either. What changes the meaning is for
    /// [`Store::edit`] afterwards. Key and position move along; blocks that the body names stay where they are.
    ///
    /// # Errors
    ///
    /// As [`Store::insert`]; then the record is as it was.
    pub fn relocate(
        &mut self,
        handle: Handle,
        layout: u32,
        body_words: usize,
        fill: impl FnOnce(Record<'_>, &mut Edit<'_>),
    ) -> Result<Handle, MemoryError> {
        if layout > LAYOUT_MAX {
            return Err(MemoryError::LayoutId { layout });
        }
        let words = self.record(handle).body_start() + body_words;
        let moved = self.slots.allocate(Purpose::Records, words)?;
        let region = &*self.shared.region;
        let old = Record::new(slot(region, handle), region);
        let mut new = start(slot(region, moved), region, &Origin::Moved(old), layout);
        fill(old, &mut new);
        drop(new);
        self.index.replace(region, &self.shared.root, old.hash(), handle, moved);
        // A reader that still holds the old slot must not read it once the caller applies to the new one.
        if !is_planted(Mistake::OldRecordStaysLive) {
            mark_free(slot(region, handle));
        }
        self.reclaimer.retire(handle);
        Ok(moved)
    }

    /// Removes a record. Blocks that its body names are the caller's to retire.
    ///
    /// # Panics
    ///
    /// If there is none at `handle`, because it was moved or removed.
    pub fn remove(&mut self, handle: Handle) {
        let hash = self.record(handle).hash();
        let region = &*self.shared.region;
        self.index.remove(region, &self.shared.root, hash, handle);
        mark_free(slot(region, handle));
        self.reclaimer.retire(handle);
    }

    /// A block of at least `words` zeros, for what a record's body names by handle. It is changed by the record's [`Edit`].
    ///
    /// # Errors
    ///
    /// As [`Store::insert`].
    pub fn allocate_block(&mut self, words: usize) -> Result<Handle, MemoryError> {
        let handle = self.slots.allocate(Purpose::Blocks, words)?;
        for word in slot(&self.shared.region, handle) {
            word.store(0, Ordering::Release);
        }
        Ok(handle)
    }

    /// Gives a block back that no record names any more.
    pub fn retire_block(&mut self, block: Handle) {
        self.reclaimer.retire(block);
    }

    /// Frees at most `slots_max` slots that no one can reach any more; returns how many. Once a tick, with room for at least as
    /// many as a tick may retire, or they pile up. The owner's own handles of records that it moved or removed end
    /// here.
    pub fn collect(&mut self, slots_max: usize) -> usize {
        let slots = &mut self.slots;
        self.reclaimer.collect(slots_max, |handle| slots.free(handle))
    }

    /// How many records of `words` in all (see [`Key::record_words`]) could be made now.
    pub fn room_for(&self, words: usize) -> usize {
        self.slots.room_for(words)
    }

    /// Chunks that could be cut now.
    pub fn whole_chunks(&self) -> usize {
        self.slots.pool().whole_chunks()
    }

    /// Whether more chunks are in use than the budget allows, since it was lowered.
    pub fn is_over_budget(&self) -> bool {
        self.slots.pool().is_over_budget()
    }

    /// Gives one empty chunk back to the system, if there are more than a small reserve or than the budget allows; whether it did.
    pub fn release_chunk(&mut self) -> bool {
        self.slots.pool_mut().release_one()
    }

    /// Slots that wait until no reader can reach them.
    pub fn retired_slots(&self) -> usize {
        self.reclaimer.len()
    }

    /// A place of a record by chance, the same for the same number; `None`, too, by chance. Its head starts to be loaded;
    /// [`Store::peek`] says whether there is still a record. While an image is being adopted, places that are there already are
    /// preferred; where none is, one is brought.
    pub fn sample(&self, random: u64) -> Option<Handle> {
        let place = self.slots.random_in_use(random)?;
        if self.shared.region.is_pending(place.chunk()) {
            self.shared.region.slot(place)?;
        }
        self.shared.region.prefetch(place, 0);
        Some(place)
    }

    /// How the memory is used.
    pub fn usage(&self) -> Usage {
        let (records, blocks) = (self.slots.in_use(Purpose::Records), self.slots.in_use(Purpose::Blocks));
        let pool = self.slots.pool();
        Usage {
            bytes_max: pool.bytes_max(),
            committed_bytes: pool.committed_bytes(),
            taken_bytes: pool.taken_bytes(),
            pool_bytes: pool.free_bytes(),
            record_bytes: records.bytes,
            block_bytes: blocks.bytes,
            records: self.index.len(),
            index_segments: self.index.segments(),
            retired_slots: self.reclaimer.len(),
            chunks_populated_by_owner: pool.populated_by_owner(),
            chunks_pending: self.shared.region.pending_chunks(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

/// How a store's memory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The budget.
    pub bytes_max: usize,
    /// Memory that is resident, in whole chunks: what is taken, and what the helper has populated ahead of use.
    pub committed_bytes: usize,
    /// Memory taken for use, in whole chunks: what counts against the budget.
    pub taken_bytes: usize,
    /// Of that, whole chunks that are empty and may be used for anything.
    pub pool_bytes: usize,
    /// Slots of records, retired ones included.
    pub record_bytes: usize,
    /// Slots of blocks: the index's, and those of [`Store::allocate_block`], retired ones included.
    pub block_bytes: usize,
    /// Records that can be found.
    pub records: usize,
    /// Segments of the index.
    pub index_segments: usize,
    /// Slots that wait until no reader can reach them.
    pub retired_slots: usize,
    /// How often the helper was too late.
    pub chunks_populated_by_owner: u64,
    /// Chunks of an image that are not memory yet, though they count as taken.
    pub chunks_pending: usize,
}

fn check_budget(bytes_max: usize) -> Result<(), MemoryError> {
    if (STORE_BYTES_MIN..=STORE_BYTES_MAX).contains(&bytes_max) {
        return Ok(());
    }
    let (min, max) = (STORE_BYTES_MIN, STORE_BYTES_MAX);
    Err(MemoryError::Budget { bytes: bytes_max, bytes_min: min, bytes_max: max })
}

#[inline]
fn slot(region: &Region, handle: Handle) -> &[AtomicU64] {
    match region.slot_that_is_there(handle) {
        Some(words) => words,
        None => slot_to_be_adopted(region, handle),
    }
}

/// Out of the way of who finds the slot there.
#[cold]
#[inline(never)]
fn slot_to_be_adopted(region: &Region, handle: Handle) -> &[AtomicU64] {
    region.slot(handle).unwrap_or_else(|| panic!("there is no slot at {handle:?}"))
}

#[cfg(all(test, not(loom)))]
mod tests;
