//! A private anonymous mapping, of which chunks become memory one by one.

use crate::{
    handle::{CHUNK_BYTES, CHUNK_WORDS, WORD_BYTES},
    prefetch::prefetch,
    region::FILL_ALIGN,
    sync::AtomicU64,
};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{ffi::c_void, io, ptr::NonNull};

/// Set: pages are small and come at first touch.
static IS_SMALL: AtomicBool = AtomicBool::new(false);

/// From now on stores of this process take their memory in small pages, at first touch: for a process that makes thousands of stores
/// with a few records each, which huge pages that are populated ahead would cost a hundred times what is done with them. A simulation,
/// never a server.
pub fn use_small_pages() {
    IS_SMALL.store(true, Relaxed);
}

/// A private anonymous mapping, its chunks aligned to their size so that each can be one huge page.
pub(super) struct Range {
    /// Where chunk 0 begins.
    base: NonNull<u8>,
    chunks: usize,
    mapping: *mut c_void,
    mapping_bytes: usize,
}

// SAFETY: `Range` owns its mapping alone and no field depends on a thread.
unsafe impl Send for Range {}
// SAFETY: `words` hands out only atomics, and `fill` plain bytes only of a chunk of which, its caller promises, nobody else has
// words or bytes meanwhile; the kernel's calls are safe to make at the same time.
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
        // For all of it at once, so that committing a chunk changes one thing of its mapping, not two.
        let advice = if IS_SMALL.load(Relaxed) { Advice::LinuxNoHugepage } else { Advice::LinuxHugepage };
        // SAFETY: advice on our own mapping, of which nothing is used yet.
        let _pages = unsafe { madvise(mapping, bytes, advice) };
        let base = NonNull::new(mapping.cast::<u8>().wrapping_add(skip)).expect("a mapping is never at zero");
        Ok(Self { base, chunks, mapping, mapping_bytes: bytes })
    }

    pub(super) fn commit(&self, chunk: usize) -> io::Result<()> {
        let start = self.start_of(chunk);
        // SAFETY: the chunk lies within our mapping, and access is only added, never taken away.
        unsafe { mprotect(start, CHUNK_BYTES, MprotectFlags::READ | MprotectFlags::WRITE) }?;
        if IS_SMALL.load(Relaxed) {
            return Ok(());
        }
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
    /// The words lie in chunks that are committed. If one was [filled](Range::fill), that is over, and happened before this: who
    /// reads its size with acquire after it was cut with release may call this.
    #[inline(always)]
    pub(super) unsafe fn words(&self, start: usize, len: usize) -> &[AtomicU64] {
        debug_assert!(start + len <= self.chunks * CHUNK_WORDS);
        let first = self.base.as_ptr().cast::<AtomicU64>().wrapping_add(start);
        // SAFETY: committed memory of our mapping: readable, writable, zeroed or written as `AtomicU64`, aligned to a
        // word, and there as long as `self`, to which the slice's lifetime is bound. Access is by atomics only but while a chunk is
        // filled, when nobody has words of it (above).
        unsafe { std::slice::from_raw_parts(first, len) }
    }

    /// Has `fill` write the first words of a chunk, little-endian, to memory that ends with the last one's [block](FILL_ALIGN); what
    /// is behind the words is zeros afterwards.
    ///
    /// # Safety
    ///
    /// The chunk is committed, nothing was ever written to it, and nobody has words or bytes of it, or gets any, before this returns.
    pub(super) unsafe fn fill<E>(
        &self,
        chunk: usize,
        words: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.start_of(chunk).cast::<u8>();
        let len = (words * WORD_BYTES).next_multiple_of(FILL_ALIGN);
        assert!(len <= CHUNK_BYTES, "{words} words are more than a chunk has");
        // SAFETY: committed memory of our mapping within the chunk, to which nobody else has access (see above): an exclusive slice.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, len) };
        fill(bytes)?;
        let (written, others) = bytes.split_at_mut(words * WORD_BYTES);
        if cfg!(target_endian = "big") {
            written.chunks_exact_mut(WORD_BYTES).for_each(<[u8]>::reverse);
        }
        // Behind them all is zero as the system gave it: pages that nobody needs stay untouched.
        others.fill(0);
        Ok(())
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
