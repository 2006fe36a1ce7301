//! What can go wrong with record memory.

use crate::{
    handle::{CHUNK_GRANULES, CHUNK_GRANULES_LOG2, GRANULE_BYTES},
    record::{ENTITY_BYTES_MAX, LAYOUT_MAX},
};
use std::{fmt, io};

/// Why record memory refused.
#[derive(Debug)]
pub enum MemoryError {
    /// The budget is used up. Nothing was changed; there is room again after records were removed and collected.
    Full {
        /// The budget of this store.
        bytes_max: usize,
    },
    /// A record or block of this size does not fit into a chunk.
    TooLarge {
        /// What was asked for, header and key included.
        bytes: usize,
        /// The most there is.
        bytes_max: usize,
    },
    /// An entity's name is empty or too long.
    EntityLength {
        /// Its length.
        bytes: usize,
    },
    /// A layout id does not fit its field.
    LayoutId {
        /// The id.
        layout: u32,
    },
    /// A budget that no address range can serve.
    Budget {
        /// What was asked for.
        bytes: usize,
        /// The least that works.
        bytes_min: usize,
        /// The most that handles can address.
        bytes_max: usize,
    },
    /// An image's plan speaks of a chunk that cannot be.
    PlannedChunk {
        /// Its number in the image.
        number: usize,
        /// The size of its slots in granules of 16 bytes.
        slot_granules: u32,
        /// How many of them are in use.
        slots_used: u32,
    },
    /// A table of an image names a place where its plan has no record, or names a record twice.
    ImagePlace {
        /// Chunk and granule, as the table has them.
        place: u64,
    },
    /// The tables of an image name fewer records than its chunks hold.
    ImageUnnamed {
        /// How many no table named.
        records: usize,
    },
    /// The kernel gave no address range.
    Reserve {
        /// The size of the range.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel gave no memory for a chunk within the range.
    Commit {
        /// The size of a chunk.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

impl MemoryError {
    /// Whether there was no memory: worth another attempt when some has been freed.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Commit { .. })
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { bytes_max } => {
                write!(f, "record memory is full ({bytes_max} bytes); raise maxmemory or remove entities")
            }
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "a record of {bytes} bytes is larger than {bytes_max}; keep fewer or wider buckets")
            }
            Self::EntityLength { bytes } => {
                write!(f, "an entity's name has 1 to {ENTITY_BYTES_MAX} bytes, not {bytes}")
            }
            Self::LayoutId { layout } => write!(f, "layout id {layout} is above {LAYOUT_MAX}"),
            Self::Budget { bytes, bytes_min, bytes_max } => {
                write!(f, "a shard's record memory is {bytes_min} to {bytes_max} bytes, not {bytes}")
            }
            Self::PlannedChunk { number, slot_granules, slots_used } => write!(
                f,
                "chunk {number} of the image says {slots_used} slots of {} bytes are in use: there is no such chunk; \
                 start from another image",
                u64::from(*slot_granules) * GRANULE_BYTES as u64
            ),
            Self::ImagePlace { place } => write!(
                f,
                "a table of the image names granule {} of its chunk {}, where no record is or one that was named before; \
                 start from another image",
                place & (CHUNK_GRANULES as u64 - 1),
                place >> CHUNK_GRANULES_LOG2
            ),
            Self::ImageUnnamed { records } => {
                write!(
                    f,
                    "the image has {records} records that no table of it names; start from another image"
                )
            }
            Self::Reserve { bytes, source } => {
                write!(
                    f,
                    "cannot reserve {bytes} bytes of addresses: {source}; check the limit on virtual memory (ulimit -v)"
                )
            }
            Self::Commit { bytes, source } => {
                write!(f, "the system has no {bytes} bytes for a chunk: {source}; lower maxmemory")
            }
        }
    }
}

impl std::error::Error for MemoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Reserve { source, .. } | Self::Commit { source, .. } => Some(source),
            _ => None,
        }
    }
}
