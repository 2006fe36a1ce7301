//! Mistakes that the simulator plants in the code that ships, to show that it would notice them.
//!
//! In an ordinary build [`is_planted`] is a constant that the compiler removes; only the feature `planted`, which nothing that ships
//! has, lets a test plant one for its own thread.

#[path = "../../planting.rs"]
mod planting;

pub(crate) use planting::is_planted;
#[cfg(feature = "planted")]
pub use planting::plant;

/// A place between engine and log where less would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Under `always`, replies leave when their operations are written.
    ReleasedBeforeSync,
    /// An image counts before the log is durable up to what the image may hold.
    PublishedEarly,
}
