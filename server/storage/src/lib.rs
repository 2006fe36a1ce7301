//! Files of a data directory: the write-ahead log of each shard, and the manifest.
//!
//! What stands here: how bytes reach the disk, what is durable, and what comes back after a crash. What does not: the meaning of an
//! operation (operations are opaque, self-delimiting bytes), clocks (time comes in as `now_ms`), threads (the server's sync threads
//! call [`LogSyncer::step`]). A simulator can therefore drive this very code over a [`disk::MemDisk`].
//!
//! | module | one job |
//! | --- | --- |
//! | [`disk`] | the [`Disk`] trait; the real, in-memory and faulty disks |
//! | [`position`] | where an operation stands: (epoch, operation count) |
//! | [`segment`] | a log file: its name, its header, its preparation |
//! | [`frame`] | one group of operations on disk, and how damage is recognised |
//! | [`log`] | the writer of a shard ([`ShardLog`]) and its sync half ([`LogSyncer`]) |
//! | [`image`] | a file of what one shard's memory held: its format, writer and reader |
//! | `files` | the books of the log's files ([`LogFiles`]): retention, pins, and reading while the server runs ([`LogReader`]) |
//! | [`manifest`] | what a data directory says about itself, replaced atomically |
//! | [`recovery`] | from a directory as it was left to running logs: replay, torn or corrupt, the new epoch |

pub mod disk;
pub mod frame;
pub mod image;
pub mod log;
pub mod manifest;
pub mod position;
pub mod recovery;
pub mod segment;

mod directory;
mod error;
mod files;
mod options;
#[cfg(not(feature = "planted"))]
mod planted;
#[cfg(feature = "planted")]
pub mod planted;
mod poison;
mod random;

pub use directory::DataDir;
pub use disk::{Disk, DiskFile};
pub use error::{LogDamage, StorageError};
pub use files::{LogFiles, LogPin, LogReader, Retained};
pub use log::{Idle, LogSyncer, LogWatch, Progress, ShardLog, SpareState};
pub use manifest::{Backfill, Boundary, Catalogue, ImageEntry, LayoutEntry, Manifest, Settled, StreamEntry};
pub use options::{OnCorruption, Retention, SegmentFill, StorageOptions};
pub use poison::Poison;
pub use position::Position;
pub use random::SplitMix64;
pub use recovery::{LogSurvey, Reading, Recovery, ReplayFrom, Replayed, ReplayedFrame, Report, Started};

#[cfg(test)]
mod crash_tests;
