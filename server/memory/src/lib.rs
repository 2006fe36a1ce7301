//! Memory that several shards touch at once: the only crate of Windrow with `unsafe`.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`ring`] | bounded single-producer single-consumer ring between two shards |
//! | [`gate`] | the wake gate: how a shard falls asleep without losing a wake-up |
//! | `sync` | the one switch between `std`'s and loom's atomics |
//! | `planted` | mistakes that a loom model can plant in the code above, to show that it would notice them |
//! | `models` | the loom models |
//!
//! # Checking it
//!
//! `cargo test -p windrow-memory` runs unit tests and stress tests with real threads. The interleavings that real
//! threads do not happen to take, and the reorderings that x86-64 never shows, are searched by
//! [loom](https://docs.rs/loom), which runs the very same code:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p windrow-memory --release --lib loom
//! ```
//!
//! Every model has companions named `loom_catches_…`: the same model over the same code with one memory ordering
//! weakened or one fence or re-check left out, which must fail. A model that cannot fail proves nothing.

pub mod gate;
pub mod ring;

mod error;
mod handle;
mod index;
mod padded;
mod planted;
mod reclaim;
mod record;
mod region;
mod slots;
mod store;
mod sync;

pub use error::MemoryError;
pub use handle::{CHUNK_BYTES, Handle};
pub use reclaim::{Domain, PARTICIPANTS_MAX, Participant};
pub use record::{Block, ENTITY_BYTES_MAX, Edit, Key, LAYOUT_MAX, Record};
pub use slots::Populator;
pub use store::{
    Contended, Cursor, READ_ATTEMPTS_MAX, Reader, SCAN_ROWS_MAX, STORE_BYTES_MAX, STORE_BYTES_MIN, Scan,
    Store, Usage,
};

#[cfg(all(test, loom))]
mod models;
