//! Handles: where a slot is, as numbers that mean the same on every thread and need no pointer.
//!
//! ```text
//!   bits 33..17  chunk       bits 16..0  granule of 16 bytes within the chunk
//! ```
//!
//! So the byte offset of a slot is its handle times 16, whatever size of slots its chunk is cut into.

use std::fmt;

/// Words of a granule, the unit of slot sizes and handles.
pub(crate) const GRANULE_WORDS: usize = 2;

/// Bytes of a word.
pub(crate) const WORD_BYTES: usize = 8;

/// Bytes of a granule.
pub(crate) const GRANULE_BYTES: usize = GRANULE_WORDS * WORD_BYTES;

/// Granules of a chunk as a power of two: 2 MiB, a huge page. Under loom a chunk has eight of the smallest slots.
pub(crate) const CHUNK_GRANULES_LOG2: u32 = if cfg!(loom) { 5 } else { 17 };

/// Granules of a chunk.
pub(crate) const CHUNK_GRANULES: usize = 1 << CHUNK_GRANULES_LOG2;

/// Words of a chunk.
pub(crate) const CHUNK_WORDS: usize = CHUNK_GRANULES * GRANULE_WORDS;

/// Bytes of a chunk: the unit in which memory is taken from the system.
pub const CHUNK_BYTES: usize = CHUNK_WORDS * WORD_BYTES;

/// Bits of a handle.
pub(crate) const HANDLE_BITS: u32 = 34;

/// The most chunks that handles can name (256 GiB a shard), the unused first one included.
pub(crate) const CHUNKS_MAX: usize = 1 << (HANDLE_BITS - 17);

/// Names a slot of one store: a record's, or a block's.
///
/// It stays good until its owner moves or removes what is there and then [collects](crate::Store::collect).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(u64);

impl Handle {
    pub(crate) fn new(chunk: usize, granule: usize) -> Self {
        debug_assert!((1..CHUNKS_MAX).contains(&chunk) && granule < CHUNK_GRANULES);
        Self(((chunk as u64) << CHUNK_GRANULES_LOG2) | granule as u64)
    }

    /// The handle that a word holds, or `None` for a word that cannot be one. Zero is never a handle, so a word of zero can
    /// mean "none".
    #[inline]
    pub fn from_word(word: u64) -> Option<Self> {
        (word != 0 && word >> HANDLE_BITS == 0).then_some(Self(word))
    }

    /// The word to keep this handle in: never zero.
    #[inline]
    pub fn to_word(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn chunk(self) -> usize {
        (self.0 >> CHUNK_GRANULES_LOG2) as usize
    }

    #[inline]
    pub(crate) fn granule(self) -> usize {
        self.0 as usize & (CHUNK_GRANULES - 1)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.chunk(), self.granule())
    }
}
