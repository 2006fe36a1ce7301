//! What makes a shard's operations durable and brings them back: engine and storage, bound together.
//!
//! What stands here: the tick's log group, when a reply may leave, the catalogue's form on disk, which shard an operation of the log
//! goes to. What does not: threads, sockets, clocks. The server runs this code with threads around it; a simulator steps it.
//!
//! | module | one job |
//! | --- | --- |
//! | [`group`] | the operations of a tick, written to the log as one frame |
//! | [`release`] | when a write's reply may leave: the rule of `appendfsync` |
//! | [`catalogue`] | the catalogue in the manifest |
//! | [`kept_log`] | what the log still holds of earlier times, for a backfill |
//! | [`snapshot`] | an image of all shards' memory, made while they go on |
//! | [`replay`] | operations of the log, dealt to the shards that own their entities |
//! | [`start`] | from a directory as it was left to shards with everything in it |

pub mod catalogue;
pub mod group;
pub mod kept_log;
#[cfg(not(feature = "planted"))]
mod planted;
#[cfg(feature = "planted")]
pub mod planted;
pub mod release;
pub mod replay;
pub mod snapshot;
pub mod start;

pub use catalogue::CatalogueStore;
pub use group::{LogGroup, OUTCOME_UNKNOWN, Refusal};
pub use release::{AppendFsync, LogState, SYNC_LAG_MAX_MS};
pub use snapshot::{Snapshot, SnapshotPlan};
