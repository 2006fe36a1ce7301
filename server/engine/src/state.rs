//! What a shard knows beside its records, as bytes in an image: exported in slices while the shard goes on, and imported again before the
//! log's tail is replayed.
//!
//! ```text
//!   state    sections, one after the other; a slice is whole sections. Everything is little endian.
//!   section  u32 kind | u32 bytes of what follows
//!
//!   1 HEAD      u32 version = 1 | u16 shard | u16 shards: whose state it is. First.
//!   2 GROUP     u32 stream | u32 group of hash slots | u64 position | i64 latest stamp
//!               | i64 end of each generation, oldest first
//!   3 IDS       u32 stream | u32 group | u32 generation, counted from 0 | u32 0 | u64 fingerprints, ascending
//!   4 SOURCES   u32 stream | u32 group | (u64 source, u64 last sequence number counted), by source, ascending
//!   5 COUNTERS  u64 position | for each stream, by id, ascending: u32 stream | u32 flags: 1 = newest, 2 = clock
//!               | u64 ok, clamped, skewed, late, duplicate, errors, evicted | i64 newest event time | i64 clock
//!   6 USAGE     for each stream, by id, ascending: u32 stream | u32 0 | u64 entities | u64 bytes
//! ```
//!
//! Groups come by stream and group, ascending; behind each its ids, by generation, and its sources. COUNTERS ends what the shard exports.
//! USAGE counts the records that were copied: whoever copies them writes it, anywhere, once.
//!
//! **Why the parts need not be of one moment.** An image says up to which operation each part has seen them all, and the replay of the
//! log's tail begins before the first of these and gives each part what it has not seen:
//!
//! | part | has seen | the replay of an operation at q |
//! | --- | --- | --- |
//! | a record | its applied position | skipped where that is ≥ q, also a removal |
//! | no record | up to the image's end | an event that did not start its entity anew found a record, so it was removed since: skipped where the end is ≥ q |
//! | which generations a group has, their ends, its stamp | the group's position | skipped where that is ≥ q |
//! | the ids in these generations, sources | at least the group's position | adds what may be there already |
//! | counters, newest event time | the position of COUNTERS | skipped where that is ≥ q |
//! | clock, as the shard's own operations say it | the position of COUNTERS | the later one |
//!
//! The stamp of a group decides which generation an id goes to. Were ids that the image has added again by the stamp of a later moment,
//! they would be remembered for too long; that is why a group's position counts, though adding an id twice is harmless.
//!
//! Not in it: sequence numbers that are undecided (see `dedup::sources`), and the freshness of events, which counts from the start.

mod export;
mod import;
mod link;
pub(crate) mod section;
mod seen;
#[cfg(test)]
mod tests;

use std::fmt;

use windrow_memory::MemoryError;

use crate::slot::SLOT_GROUPS;

pub use export::{ExportCursor, encode_usage};
pub use import::{Import, Records};
pub(crate) use seen::{Covered, Seen};

/// Which of so many shards: it owns the [groups](crate::slot) of hash slots that are its own among so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Counted from 0.
    pub shard: u16,
    /// How many there are.
    pub shards: u16,
}

impl Share {
    /// Whether the shard owns this group of hash slots.
    pub fn owns(self, group: u8) -> bool {
        usize::from(group) * usize::from(self.shards) / SLOT_GROUPS == usize::from(self.shard)
    }
}

/// Why an image cannot be imported.
#[derive(Debug)]
pub enum StateError {
    /// The bytes are not what an export writes.
    Corrupt {
        /// What is wrong.
        reason: String,
        /// Where, in bytes from the start of the piece.
        at: usize,
    },
    /// It is of a format that this version does not know: what is wrong is not the file.
    Format {
        /// What this version does not know.
        reason: String,
    },
    /// A record is not one that a shard of this data directory can have.
    Record {
        /// What is wrong.
        reason: String,
    },
    /// The system has no memory for a record.
    Memory(MemoryError),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { reason, at } => write!(f, "damaged state: {reason}, at byte {at}"),
            Self::Format { reason } => write!(f, "state of another format: {reason}"),
            Self::Record { reason } => write!(f, "damaged record: {reason}"),
            Self::Memory(error) => write!(f, "no memory for the records of the image: {error}"),
        }
    }
}

impl std::error::Error for StateError {}
