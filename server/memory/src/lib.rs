//! Memory that several threads touch at once: the only crate of Windrow with `unsafe`.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`ring`] | bounded single-producer single-consumer ring between two shards |
//! | [`gate`] | the wake gate: how a shard falls asleep without losing a wake-up |
//! | `store` | record memory as its users see it: [`Store`] for its owner, [`Reader`] for all others, walks, evacuation |
//! | `record` | one record: words behind a sequence lock |
//! | `index` | from hash to handle: extendible hashing, read without locks, misses proved |
//! | `slots` | chunks cut into slots of one size; the pool of chunks; the helper that populates them |
//! | `reclaim` | when memory that readers may look at can be used again |
//! | `region`, `handle` | the range of addresses, and numbers that name places in it; chunks of an image, which become memory when they are met |
//! | `prefetch`, `padded` | cache lines |
//! | `sync` | the one switch between `std`'s and loom's atomics |
//! | `planted` | mistakes that a loom model can plant in the code above, to show that it would notice them |
//! | `models` | the loom models |
//!
//! # Record memory
//!
//! A shard's records live in chunks of 2 MiB, cut into slots of one size each, in a range of addresses reserved at start; the
//! index's segments and directories live in the same chunks and count against the same budget. One thread, the owner, writes.
//! Any other reads whenever it likes, without a lock and without the owner noticing. What makes that right:
//!
//! 1. **Every word is an atomic.** There is no data race to have, and all access is safe code over `&[AtomicU64]`; `unsafe` is
//!    needed only to make such slices out of mapped memory, and any handle, even a wrong one, gives a slice of mapped words or
//!    nothing. One exception: before a chunk of an image is cut for the first time, its bytes are plain memory of the one thread
//!    whose compare and exchange took it; nobody else is given words of it, and the release with which it is cut publishes them.
//! 2. **A record is whole.** Its sequence is odd while it is written; a reader whose two looks at it differ reads again. Blocks
//!    (large sketches) are written inside their record's odd section.
//! 3. **A miss is proved.** A free record means: look again. "Not there" counts only if segment version, directory entry and
//!    directory are what they were before the look.
//! 4. **A move never hides a record.** The new slot is filled, the index names it, the old slot is marked free and retired, and only
//!    then is anything applied.
//! 5. **Memory waits for its readers.** Whatever is taken out of use (slots, blocks, directories; with its last slot, a chunk)
//!    is used again only after every [`Participant`] passed a quiescent point, or slept.
//! 6. **A chunk of an image is there before it is seen.** Its slots are named long before their words are there. Whoever meets one
//!    brings its chunk, once; all others wait for that, or (a glance, the index) do without. So a start costs the index alone.
//! 7. **Everything is bounded.** Attempts of a read, slots freed a tick, records moved a tick, rows of a slice, depth of the
//!    directory, length of a chain; a split touches one segment, and doubling copies one directory.
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
mod prefetch;
mod reclaim;
mod record;
mod region;
mod slots;
mod store;
mod sync;

pub use error::MemoryError;
pub use handle::{CHUNK_BYTES, Handle};
pub use reclaim::{Domain, PARTICIPANTS_MAX, Participant};
pub use record::{Block, CopiedRecord, ENTITY_BYTES_MAX, Edit, Key, LAYOUT_MAX, Record};
#[cfg(not(loom))]
pub use region::use_small_pages;
pub use region::{Adopter, ChunkLost, ChunkSource, FILL_ALIGN, PlannedChunk};
pub use slots::Populator;
pub use store::{
    Contended, Cursor, READ_ATTEMPTS_MAX, Reader, SCAN_ROWS_MAX, STORE_BYTES_MAX, STORE_BYTES_MIN, Scan,
    Squeezed, Store, Usage,
};

#[cfg(all(test, loom))]
mod models;
