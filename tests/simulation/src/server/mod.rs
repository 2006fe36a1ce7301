//! A server in one thread: shards, sync threads and the admin thread take steps in any order. The engine, the log group, the log,
//! images and recovery are those of the real server; what stands here is what the real server does with threads, sockets and rings.
//!
//! - [`boot`]: from a disk to a server.
//! - [`life`]: the server, and who can step.
//! - [`shard`]: a shard's tick, in the phases of the real one.
//! - [`write`], [`read`]: what it does with commands, each compared with the model at once.
//! - [`room`]: memory, and what goes to make room in it.
//! - [`link`]: messages between shards.
//! - [`connection`]: commands in, replies out, in order.
//! - [`admin`]: changes of the catalogue.
//! - [`backfill`]: streams filled with what the log holds of earlier events.
//! - [`sync`]: sync threads.
//! - [`snapshots`]: images, and log that goes.

pub mod admin;
pub mod backfill;
pub mod boot;
pub mod connection;
pub mod life;
pub mod link;
pub mod read;
pub mod room;
pub mod shard;
pub mod snapshots;
pub mod sync;
pub mod write;

pub use boot::{BootError, boot};
pub use life::Life;
