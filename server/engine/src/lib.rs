//! One shard of Windrow: operations in, outcomes out. Deterministic: the same operations in the same order give the same state.
//!
//! Nothing here reads a clock, a file, a socket or a random number: time and bytes are arguments, so that the server, the
//! replay of a log and a simulation run the same code.
//!
//! - [`catalogue`]: which streams there are.
//! - [`alter`]: how a stream becomes another one, and its records with it.
//! - [`backfill`]: what a stream's present layout lacks of events from before it.
//! - [`args`], [`madd`], [`form`]: from the arguments of EVENT.ADD and EVENT.MADD to operations, or what is wrong with them.
//! - `number`: numbers as clients write them.
//! - [`op`]: the operation codec: the bytes that travel to the owner, enter the log and are replayed.
//! - [`shard`]: the records of one shard, for its owner; [`reader`]: for everyone else; [`stats`]: what is counted.
//! - [`dedup`]: which events were counted before.
//! - [`top`]: the entities with the largest values of a feature.
//! - [`entity`]: ENTITY.DEL, SCAN and INFO.
//! - [`copy`]: copies of records, as an image holds them.
//! - `eviction`: making room when memory is full.
//! - [`record`]: a record of `windrow-memory` as the words that `windrow-window` works over.
//! - [`state`]: what a shard knows beside its records, in an image.
//! - [`slot`]: which shard an entity belongs to.

pub mod alter;
pub mod args;
pub mod backfill;
pub mod catalogue;
pub mod copy;
pub mod dedup;
pub mod entity;
mod eviction;
pub mod form;
pub mod madd;
mod number;
pub mod op;
#[cfg(not(feature = "planted"))]
mod planted;
#[cfg(feature = "planted")]
pub mod planted;
pub mod reader;
pub mod record;
pub mod shard;
pub mod slot;
pub mod state;
pub mod stats;
pub mod top;

pub use catalogue::{Catalogue, LayoutId, Stream, StreamId};
pub use copy::{CopiedRow, Copies};
pub use dedup::DedupUsage;
pub use entity::{EntityInfo, NoRoom, Slice, Superseded};
pub use form::FormError;
pub use reader::{AskOwner, Hashed, ShardReader};
pub use record::HashKey;
pub use shard::{Hint, Outcome, Shard, ShardConfig};
pub use stats::{StreamStats, StreamUsage};
pub use windrow_memory::{Cursor, Scan};
