//! One range of addresses, reserved at start, in which chunks become memory one by one.
//!
//! Reserving costs nothing but address space, so the range is as large as the budget allows and a handle is an offset
//! into it for good. A chunk is *committed* (readable, writable, populated) before it is *cut* into slots; once committed it
//! stays readable and writable until the region is dropped. Safety rests on that alone: [`Region::slot`] gives out only
//! words of chunks that were cut, whatever number it is asked for. A chunk that is whole again can be *released*: the
//! system takes its pages, and who reads it all the same reads zeros.
//!
//! The first chunk is never used, so that no handle is zero.

use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, CHUNK_GRANULES, GRANULE_WORDS, Handle},
    planted::{Mistake, is_planted},
    sync::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
use range::Range;

/// A shard's range of addresses. Shared with every reader.
pub(crate) struct Region {
    range: Range,
    chunks: Box<[ChunkState]>,
    /// How many of them are committed.
    committed: AtomicU32,
}

/// What every thread may know of a chunk.
struct ChunkState {
    /// Whether its memory is there. Only its owner makes this false, while the chunk is whole.
    committed: AtomicBool,
    /// Size of its slots in granules; 0 while it is not cut. Not 0 only after `committed`.
    slot_granules: AtomicU32,
}

impl Region {
    /// Reserves addresses for chunks 0 to `chunks - 1`.
    pub(crate) fn reserve(chunks: usize) -> Result<Self, MemoryError> {
        let range = Range::reserve(chunks)
            .map_err(|source| MemoryError::Reserve { bytes: chunks * CHUNK_BYTES, source })?;
        let chunks = (0..chunks)
            .map(|_| ChunkState { committed: AtomicBool::new(false), slot_granules: AtomicU32::new(0) })
            .collect();
        Ok(Self { range, chunks, committed: AtomicU32::new(0) })
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
        assert_eq!(self.chunks[chunk].slot_granules.load(Ordering::Relaxed), 0, "chunk {chunk} is in use");
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
        self.chunks[chunk].slot_granules.store(slot_granules as u32, Ordering::Release);
    }

    /// The words of a slot, or `None` where `handle` names nothing in a chunk that is cut.
    #[inline]
    pub(crate) fn slot(&self, handle: Handle) -> Option<&[AtomicU64]> {
        let chunk = self.chunks.get(handle.chunk())?;
        let granules = chunk.slot_granules.load(Ordering::Acquire) as usize;
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

#[cfg(not(loom))]
mod range {
    use crate::{
        handle::{CHUNK_BYTES, CHUNK_WORDS},
        prefetch::prefetch,
        sync::AtomicU64,
    };
    use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
    use std::{ffi::c_void, io, ptr::NonNull};

    /// A private anonymous mapping, its chunks aligned to their size so that each can be one huge page.
    pub(super) struct Range {
        /// Where chunk 0 begins.
        base: NonNull<u8>,
        chunks: usize,
        mapping: *mut c_void,
        mapping_bytes: usize,
    }

    // SAFETY: `Range` owns its mapping alone and hands out only atomics within it; no field depends on a thread.
    unsafe impl Send for Range {}
    // SAFETY: as above; every method takes `&self` and the kernel's calls are safe to make at the same time.
    unsafe impl Sync for Range {}

    impl Range {
        pub(super) fn reserve(chunks: usize) -> io::Result<Self> {
            let bytes = (chunks + 1) * CHUNK_BYTES;
            // SAFETY: no address is asked for, so the kernel picks one where nothing is mapped.
            let mapping = unsafe {
                mmap_anonymous(
                    std::ptr::null_mut(),
                    bytes,
                    ProtFlags::empty(),
                    MapFlags::PRIVATE | MapFlags::NORESERVE,
                )
            }?;
            let unaligned = mapping.addr() % CHUNK_BYTES;
            let skip = if unaligned == 0 { 0 } else { CHUNK_BYTES - unaligned };
            // A kernel without huge pages refuses; small pages are slower, not wrong.
            // SAFETY: advice on our own mapping, of which nothing is used yet. For all of it at once, so that committing a chunk
            // changes one thing of its mapping, not two.
            let _huge = unsafe { madvise(mapping, bytes, Advice::LinuxHugepage) };
            let base =
                NonNull::new(mapping.cast::<u8>().wrapping_add(skip)).expect("a mapping is never at zero");
            Ok(Self { base, chunks, mapping, mapping_bytes: bytes })
        }

        pub(super) fn commit(&self, chunk: usize) -> io::Result<()> {
            let start = self.start_of(chunk);
            // SAFETY: the chunk lies within our mapping, and access is only added, never taken away.
            unsafe { mprotect(start, CHUNK_BYTES, MprotectFlags::READ | MprotectFlags::WRITE) }?;
            // A kernel before 5.14 refuses; then pages come at first touch. Running out of memory shows here as an error
            // rather than as a signal later.
            // SAFETY: advice on our own mapping; populating writes nothing.
            match unsafe { madvise(start, CHUNK_BYTES, Advice::LinuxPopulateWrite) } {
                Err(rustix::io::Errno::INVAL) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }

        pub(super) fn release(&self, chunk: usize) -> io::Result<()> {
            let start = self.start_of(chunk);
            // SAFETY: the chunk lies within our private anonymous mapping and stays mapped: to whoever still looks at its words,
            // all of them atomics, this is a store of zeros.
            unsafe { madvise(start, CHUNK_BYTES, Advice::LinuxDontNeed) }.map_err(io::Error::from)
        }

        fn start_of(&self, chunk: usize) -> *mut c_void {
            assert!(chunk < self.chunks);
            self.base.as_ptr().wrapping_add(chunk * CHUNK_BYTES).cast()
        }

        /// # Safety
        ///
        /// The words lie in chunks that are committed.
        #[inline(always)]
        pub(super) unsafe fn words(&self, start: usize, len: usize) -> &[AtomicU64] {
            debug_assert!(start + len <= self.chunks * CHUNK_WORDS);
            let first = self.base.as_ptr().cast::<AtomicU64>().wrapping_add(start);
            // SAFETY: committed memory of our mapping: readable, writable, zeroed or written as `AtomicU64`, aligned to a
            // word, and there as long as `self`, to which the slice's lifetime is bound. Access is by atomics only.
            unsafe { std::slice::from_raw_parts(first, len) }
        }

        #[inline(always)]
        pub(super) fn prefetch(&self, word: usize) {
            prefetch(self.base.as_ptr().cast::<AtomicU64>().wrapping_add(word));
        }
    }

    impl Drop for Range {
        fn drop(&mut self) {
            // SAFETY: the mapping is ours and nothing borrowed from it outlives `self`.
            let unmapped = unsafe { munmap(self.mapping, self.mapping_bytes) };
            debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
        }
    }
}

/// Under loom: the same words as loom's atomics on the heap, all there from the start.
#[cfg(loom)]
mod range {
    use crate::{
        handle::CHUNK_WORDS,
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

        pub(super) fn prefetch(&self, _word: usize) {}
    }
}
