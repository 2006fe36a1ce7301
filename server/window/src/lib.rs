//! Windows over a record's words: what a stream is, which buckets it keeps, how an event changes them and what a window holds.
//!
//! Everything here is a pure function of its arguments. A record's *body* is a slice of 64-bit words ([`Words`]); who owns
//! these words, how a reader sees them while they change and how they grow is the caller's business.
//!
//! Read in this order:
//!
//! - [`duration`], [`timestamp`]: units of time and their text.
//! - [`aggregate`], [`definition`]: what STREAM.CREATE says.
//! - [`layout`]: the definition compiled to tiers, columns and shapes of a ring.
//! - [`column`], [`cells`]: what a bucket stores, and how narrowly.
//! - [`body`]: the words of one record, and how an event is judged, placed and added.
//! - [`sketch`]: what a bucket keeps of a field where one word is not enough.
//! - [`query`], [`read_time`], [`window`]: what a read asks, which buckets it covers, and what they give.
//! - [`range`]: one aggregate, bucket by bucket.
//! - [`lookahead`]: which words to ask for before they are needed.

pub mod aggregate;
pub mod body;
pub mod cells;
pub mod column;
pub mod definition;
pub mod duration;
pub mod error;
mod heap;
pub mod layout;
pub mod lookahead;
mod moments;
#[cfg(not(feature = "planted"))]
mod planted;
#[cfg(feature = "planted")]
pub mod planted;
pub mod query;
pub mod range;
pub mod read_time;
pub mod sketch;
pub mod timestamp;
pub mod value;
pub mod window;
pub mod words;

pub use aggregate::{Aggregate, Length};
pub use definition::{ClockMode, Definition, FieldType, SkewAction};
pub use error::{Corrupt, DefinitionError, QueryError};
pub use layout::{Before, Layout, Sums, Tier};
pub use query::{Feature, Options, Query};
pub use range::RangeQuery;
pub use read_time::{At, Edge, ReadTime, StreamTime, When};
pub use value::Value;
pub use window::Rows;
pub use words::{Words, WordsMut};
