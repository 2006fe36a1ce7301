//! The index: from a key's hash to its record's handle, by extendible hashing.
//!
//! ```text
//!   root ──> directory           segment (16 KiB)
//!            2^depth words        header line   version, overflow
//!            by the hash's        255 buckets   of one cache line: 8 words
//!            top bits    ──────>
//!                                 word          tag: top 30 bits of the hash | handle (34 bits); 0: empty
//! ```
//!
//! - The directory goes by the most significant bits, so the hash order of records is the order of segments, and a walk in
//!   that order survives splits. The tag *is* the top of the hash: a split needs nothing but the segment, and a walk
//!   needs no records.
//! - A word lies in one of two buckets of its segment, either of which can be told from the other and the tag. When both
//!   are full, one of their words moves to its other bucket.
//! - A segment without room splits: the words with the next bit set go to a new segment, *each to the same place*. One
//!   split is a copy of 16 KiB; nothing else stops. The directory doubles when a segment is as deep as it is, up to
//!   [`DEPTH_MAX`]; beyond, segments are chained.
//!
//! One thread writes. Readers take no lock: a word they find is true, and leads to a record that tells for itself. That they
//! find *nothing* proves nothing by itself, since a word may have moved from a bucket they had yet to see to one they had seen.
//! So a segment's version is odd while words move within it, and a miss counts only if version, directory entry and root
//! are what they were before the look: see [`Probe`]. Words that leave for another segment are removed only after the
//! directory has said where they are, so for these the directory's entry tells.

mod probe;
mod segment;
mod writer;

pub(crate) use probe::{Found, Probe, prefetch, prefetch_candidate, prefetch_lines};
pub(crate) use segment::Entry;
pub(crate) use writer::IndexWriter;

use crate::handle::{HANDLE_BITS, Handle};

/// Bits of a tag: what a handle leaves of a word.
pub(crate) const TAG_BITS: u32 = u64::BITS - HANDLE_BITS;

/// The depth of the first directory: as large as a segment, so that it shares a chunk with them.
pub(crate) const DEPTH_MIN: u32 = if cfg!(loom) { 1 } else { 11 };

/// The depth up to which the directory grows: 131,072 segments, some 200 million records.
pub(crate) const DEPTH_MAX: u32 = if cfg!(loom) { 2 } else { 17 };

/// The most segments in a chain. With hashes that are mixed well no chain gets near.
pub(crate) const CHAIN_MAX: usize = 64;

/// A handle and the depth that goes with it: the root (directory and its depth) and the directory's entries (segment and its
/// depth).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pointer(u64);

impl Pointer {
    pub(crate) fn new(handle: Handle, depth: u32) -> Self {
        Self(handle.to_word() | u64::from(depth) << HANDLE_BITS)
    }

    #[inline]
    pub(crate) fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline]
    pub(crate) fn to_word(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn handle(self) -> Handle {
        Handle::from_word(self.0 & ((1 << HANDLE_BITS) - 1)).expect("a pointer of the index holds a handle")
    }

    #[inline]
    pub(crate) fn depth(self) -> u32 {
        (self.0 >> HANDLE_BITS) as u32
    }
}

/// The entry of a directory of this depth for a hash.
#[inline]
pub(crate) fn directory_index(hash: u64, depth: u32) -> usize {
    // A shift by 64 is not a shift by 63 and one more to the compiler, so depth 0 takes two.
    (hash >> 1 >> (u64::BITS - 1 - depth)) as usize
}

#[cfg(all(test, loom))]
pub(crate) use segment::buckets_of;

#[cfg(all(test, not(loom)))]
mod tests;
