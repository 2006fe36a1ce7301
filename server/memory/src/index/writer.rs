//! Changing the index: the owner's thread only.

use super::{
    CHAIN_MAX, DEPTH_MAX, DEPTH_MIN, Entry, Pointer, directory_index,
    probe::entry_of,
    segment::{SEGMENT_WORDS, Segment, clear_at, replace_at},
};
use crate::{
    error::MemoryError,
    handle::Handle,
    planted::{Mistake, order},
    reclaim::Reclaimer,
    region::Region,
    slots::{Purpose, Slots},
    sync::{AtomicU64, Ordering},
};

/// A segment made for an image's entries gets so many on average: five standard deviations below what it holds when it splits
/// (93 % of its words), and above what it would have after a split.
const ENTRIES_PLANNED: usize = SEGMENT_WORDS * 5 / 6;

/// The one writer of an index. The words themselves lie in the region, the root with whoever shares it with readers.
pub(crate) struct IndexWriter {
    entries: usize,
    segments: usize,
}

impl IndexWriter {
    /// Makes an index, empty but with segments for so many entries, and points `root` to it.
    pub(crate) fn create(slots: &mut Slots, root: &AtomicU64, expected: usize) -> Result<Self, MemoryError> {
        let depth = (0..DEPTH_MAX).find(|depth| expected >> depth <= ENTRIES_PLANNED).unwrap_or(DEPTH_MAX);
        let directory_depth = depth.max(DEPTH_MIN);
        let directory = slots.allocate(Purpose::Blocks, 1 << directory_depth)?;
        for run in 0..1 << depth {
            let segment = Pointer::new(new_segment(slots)?, depth).to_word();
            let run_entries = 1 << (directory_depth - depth);
            for entry in &words(slots.region(), directory)[run * run_entries..][..run_entries] {
                entry.store(segment, Ordering::Relaxed);
            }
        }
        root.store(Pointer::new(directory, directory_depth).to_word(), Ordering::Release);
        Ok(Self { entries: 0, segments: 1 << depth })
    }

    /// How many records it names.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// How many segments it has.
    pub(crate) fn segments(&self) -> usize {
        self.segments
    }

    /// Adds a record that is not in it. From here on readers find it.
    pub(crate) fn insert(
        &mut self,
        slots: &mut Slots,
        reclaimer: &mut Reclaimer,
        root: &AtomicU64,
        hash: u64,
        handle: Handle,
    ) -> Result<(), MemoryError> {
        let entry = Entry::new(hash, handle);
        // Each round but the last makes a segment deeper.
        loop {
            let pointer = Pointer::from_word(
                entry_of(slots.region(), root.load(Ordering::Relaxed), hash).load(Ordering::Relaxed),
            );
            if self.insert_into_chain(slots.region(), pointer.handle(), hash, entry) {
                self.entries += 1;
                return Ok(());
            }
            if pointer.depth() == DEPTH_MAX {
                self.append_to_chain(slots, pointer.handle())?;
            } else {
                self.split(slots, reclaimer, root, hash, pointer)?;
            }
        }
    }

    /// Names a record's new slot in place of its old one.
    pub(crate) fn replace(&mut self, region: &Region, root: &AtomicU64, hash: u64, old: Handle, new: Handle) {
        let place = self.place(region, root, hash, old);
        replace_at(place, Entry::new(hash, new));
    }

    /// Takes a record out.
    pub(crate) fn remove(&mut self, region: &Region, root: &AtomicU64, hash: u64, handle: Handle) {
        clear_at(self.place(region, root, hash, handle));
        self.entries -= 1;
    }

    fn place<'a>(&self, region: &'a Region, root: &AtomicU64, hash: u64, handle: Handle) -> &'a AtomicU64 {
        let entry = entry_of(region, root.load(Ordering::Relaxed), hash);
        let mut segment = Some(Pointer::from_word(entry.load(Ordering::Relaxed)).handle());
        while let Some(current) = segment {
            let current = segment_at(region, current);
            if let Some(place) = current.find_place(hash, Entry::new(hash, handle)) {
                return place;
            }
            segment = current.overflow();
        }
        panic!("the index does not name {handle:?}, which holds a record");
    }

    fn insert_into_chain(&self, region: &Region, first: Handle, hash: u64, entry: Entry) -> bool {
        let mut segment = Some(first);
        while let Some(current) = segment {
            let current = segment_at(region, current);
            if current.insert(hash, entry) {
                return true;
            }
            segment = current.overflow();
        }
        false
    }

    fn append_to_chain(&mut self, slots: &mut Slots, first: Handle) -> Result<(), MemoryError> {
        let appended = new_segment(slots)?;
        self.segments += 1;
        let mut last = segment_at(slots.region(), first);
        let mut length = 2;
        while let Some(next) = last.overflow() {
            last = segment_at(slots.region(), next);
            length += 1;
        }
        assert!(length <= CHAIN_MAX, "{length} segments share one prefix: the hash is not mixed");
        last.set_overflow(appended);
        Ok(())
    }

    /// Splits the segment that `lower` points to, of a depth below the limit.
    fn split(
        &mut self,
        slots: &mut Slots,
        reclaimer: &mut Reclaimer,
        root: &AtomicU64,
        hash: u64,
        lower: Pointer,
    ) -> Result<(), MemoryError> {
        let depth = lower.depth();
        if depth == Pointer::from_word(root.load(Ordering::Relaxed)).depth() {
            double_directory(slots, reclaimer, root)?;
        }
        let upper = new_segment(slots)?;
        self.segments += 1;
        let region = slots.region();
        let lower_segment = segment_at(region, lower.handle());
        debug_assert!(lower_segment.overflow().is_none(), "a chained segment is split");
        lower_segment.copy_upper_half(segment_at(region, upper), depth);

        let directory_pointer = Pointer::from_word(root.load(Ordering::Relaxed));
        let directory = words(region, directory_pointer.handle());
        // All hashes with the segment's prefix: a run of entries, the half with the next bit set behind the other.
        let run = 1 << (directory_pointer.depth() - depth);
        let start = directory_index(hash, directory_pointer.depth()) / run * run;
        for (offset, entry) in directory[start..start + run].iter().enumerate() {
            let half = if offset < run / 2 { lower.handle() } else { upper };
            let pointer = Pointer::new(half, depth + 1).to_word();
            entry.store(pointer, order(Mistake::DirectoryEntryNotReleased, Ordering::Release));
        }
        lower_segment.remove_upper_half(depth);
        Ok(())
    }
}

/// Puts a directory twice as large in place of the one there, which is retired.
fn double_directory(
    slots: &mut Slots,
    reclaimer: &mut Reclaimer,
    root: &AtomicU64,
) -> Result<(), MemoryError> {
    let old = Pointer::from_word(root.load(Ordering::Relaxed));
    let depth = old.depth() + 1;
    assert!(depth <= DEPTH_MAX, "the directory is as large as it gets");
    let new = slots.allocate(Purpose::Blocks, 1 << depth)?;
    let region = slots.region();
    let entries = &words(region, old.handle())[..1 << old.depth()];
    for (pair, entry) in words(region, new).chunks(2).zip(entries) {
        let pointer = entry.load(Ordering::Relaxed);
        pair.iter().for_each(|copy| copy.store(pointer, Ordering::Relaxed));
    }
    root.store(Pointer::new(new, depth).to_word(), order(Mistake::RootNotReleased, Ordering::Release));
    reclaimer.retire(old.handle());
    Ok(())
}

fn new_segment(slots: &mut Slots) -> Result<Handle, MemoryError> {
    let handle = slots.allocate(Purpose::Blocks, SEGMENT_WORDS)?;
    segment_at(slots.region(), handle).clear();
    Ok(handle)
}

fn segment_at(region: &Region, handle: Handle) -> Segment<'_> {
    Segment::new(words(region, handle))
}

fn words(region: &Region, handle: Handle) -> &[AtomicU64] {
    region.slot_that_is_there(handle).expect("the index names slots of its own")
}
