//! Looking a hash up, from any thread.

use super::{
    CHAIN_MAX, DEPTH_MIN, Entry, Pointer, directory_index,
    segment::{SEGMENT_WORDS, Segment, buckets_of},
};
use crate::{
    handle::{GRANULE_WORDS, Handle},
    planted::{Mistake, is_planted, order},
    region::Region,
    sync::{AtomicU64, Ordering},
};
use std::ops::{ControlFlow, Range};

/// What came of one look.
pub(crate) enum Found<R> {
    /// What the visitor broke with.
    Here(R),
    /// There is no entry that the visitor wanted: proved.
    Nowhere,
    /// Something moved meanwhile: look again.
    Unproved,
}

/// One look at the index: where it began, to see at the end whether that still holds.
pub(crate) struct Probe<'a> {
    region: &'a Region,
    root: &'a AtomicU64,
    root_seen: u64,
    entry: &'a AtomicU64,
    entry_seen: u64,
}

impl<'a> Probe<'a> {
    /// Finds the segment of `hash`.
    #[inline]
    pub(crate) fn start(region: &'a Region, root: &'a AtomicU64, hash: u64) -> Self {
        let root_seen = root.load(Ordering::Acquire);
        let entry = entry_of(region, root_seen, hash);
        let entry_seen = entry.load(order(Mistake::DirectoryEntryNotAcquired, Ordering::Acquire));
        Self { region, root, root_seen, entry, entry_seen }
    }

    /// The depth of the segment: how many top bits of the hash all its entries share.
    pub(crate) fn depth(&self) -> u32 {
        Pointer::from_word(self.entry_seen).depth()
    }

    /// Shows `visit` the entries that may be `hash`'s until it breaks, in the first segment of the chain and without a look
    /// at its header, a cache line that who finds something does not need. That it finds nothing proves nothing.
    #[inline]
    pub(crate) fn glance<R>(&self, hash: u64, visit: impl FnMut(Entry) -> ControlFlow<R>) -> Option<R> {
        let segment = self.segment(Pointer::from_word(self.entry_seen).handle())?;
        look_at_buckets(segment, hash, visit).break_value()
    }

    /// Shows `visit` the entries that may be `hash`'s until it breaks.
    pub(crate) fn find<R>(&self, hash: u64, mut visit: impl FnMut(Entry) -> ControlFlow<R>) -> Found<R> {
        self.search(|segment| look_at_buckets(segment, hash, &mut visit))
    }

    /// Shows `visit` all entries of the segment and its chain. [`Found::Nowhere`]: it saw each that was there throughout, some
    /// perhaps twice.
    pub(crate) fn all<R>(&self, mut visit: impl FnMut(Entry) -> ControlFlow<R>) -> Found<R> {
        self.search(|segment| {
            for word in segment.words() {
                if let Some(entry) = Entry::from_word(word.load(Ordering::Acquire)) {
                    visit(entry)?;
                }
            }
            ControlFlow::Continue(())
        })
    }

    /// Searches the chain of segments, and proves it if nothing was found.
    #[inline]
    fn search<R>(&self, mut look: impl FnMut(Segment<'a>) -> ControlFlow<R>) -> Found<R> {
        let mut handle = Pointer::from_word(self.entry_seen).handle();
        for _ in 0..CHAIN_MAX {
            let Some(segment) = self.segment(handle) else { return Found::Unproved };
            let version = segment.version(order(Mistake::VersionNotAcquired, Ordering::Acquire));
            if let ControlFlow::Break(found) = look(segment) {
                return Found::Here(found);
            }
            let unchanged = version.is_multiple_of(2) && segment.version(Ordering::Relaxed) == version;
            if !unchanged && !is_planted(Mistake::VersionNotCompared) {
                return Found::Unproved;
            }
            // Words never move along a chain, so what was in none of its segments when it was looked at was nowhere.
            match segment.overflow() {
                Some(next) => handle = next,
                None => break,
            }
        }
        // The version alone is not enough: this may have been the wrong segment all along, split before its version was read.
        let same_entry = self.entry.load(Ordering::Relaxed) == self.entry_seen
            || is_planted(Mistake::DirectoryEntryNotCompared);
        let same_root =
            self.root.load(Ordering::Relaxed) == self.root_seen || is_planted(Mistake::RootNotCompared);
        if same_entry && same_root { Found::Nowhere } else { Found::Unproved }
    }

    fn segment(&self, handle: Handle) -> Option<Segment<'a>> {
        self.region.slot_that_is_there(handle).map(Segment::new)
    }
}

/// Shows `visit` the entries of one segment that may be `hash`'s.
#[inline]
fn look_at_buckets<R>(
    segment: Segment<'_>,
    hash: u64,
    mut visit: impl FnMut(Entry) -> ControlFlow<R>,
) -> ControlFlow<R> {
    for bucket in buckets_of(hash) {
        for word in segment.bucket(bucket) {
            let word = word.load(order(Mistake::EntryNotAcquired, Ordering::Acquire));
            if let Some(entry) = Entry::from_word(word).filter(|entry| entry.matches(hash)) {
                visit(entry)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// The directory's word for `hash`.
#[inline]
pub(crate) fn entry_of(region: &Region, root: u64, hash: u64) -> &AtomicU64 {
    let root = Pointer::from_word(root);
    let directory = region.slot_that_is_there(root.handle()).expect("the root names a directory");
    &directory[directory_index(hash, root.depth())]
}

/// Starts to load the two buckets of `hash`.
#[inline]
pub(crate) fn prefetch(region: &Region, root: &AtomicU64, hash: u64) {
    let entry = entry_of(region, root.load(Ordering::Acquire), hash).load(Ordering::Acquire);
    for bucket in buckets_of(hash) {
        region.prefetch(Pointer::from_word(entry).handle(), Segment::bucket_word(bucket));
    }
}

/// Starts to load the first `lines` cache lines of what may be `hash`'s record, and says where. Wants the buckets in the cache.
#[inline]
pub(crate) fn prefetch_candidate(
    region: &Region,
    root: &AtomicU64,
    hash: u64,
    lines: usize,
) -> Option<Handle> {
    let entry = entry_of(region, root.load(Ordering::Acquire), hash).load(Ordering::Acquire);
    let segment = region.slot_that_is_there(Pointer::from_word(entry).handle()).map(Segment::new)?;
    let handle = segment.nearest(hash)?.handle();
    prefetch_lines(region, handle, 0..lines);
    Some(handle)
}

/// Starts to load some cache lines of what begins at `handle`.
#[inline]
pub(crate) fn prefetch_lines(region: &Region, handle: Handle, lines: Range<usize>) {
    /// Words of a cache line.
    const LINE_WORDS: usize = 8;
    for line in lines {
        region.prefetch(handle, line * LINE_WORDS);
    }
}

const _: () = assert!(SEGMENT_WORDS.is_multiple_of(GRANULE_WORDS) && (DEPTH_MIN < super::DEPTH_MAX));
