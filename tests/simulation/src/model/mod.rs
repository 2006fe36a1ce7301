//! What must be true, written from the specification alone: streams, entities and events as plain lists, folded anew for every
//! question. Nothing here knows of buckets of memory, rings, images or files.
//!
//! - [`stream`]: what a stream is, by version of the catalogue.
//! - [`page`]: what counted operations add up to: the model of a page.
//! - [`judge`]: what must become of an event.
//! - [`when`]: which buckets a read of the past looks at.
//! - [`fold`]: what a read must answer.
//! - [`backfill`]: what the log must give of earlier events, and who takes it.
//! - [`history`]: every operation that was counted, where it stands in which log, and what was promised of it.

pub mod backfill;
pub mod fold;
pub mod history;
pub mod judge;
pub mod page;
pub mod stream;
pub mod when;

pub use history::{History, LogId, Place};
pub use page::{Event, Page};
pub use stream::{Aggregate, Clock, Skew, StreamModel, Streams};
