//! Mistakes that the simulator plants in the code that ships, to show that it would notice them.
//!
//! In an ordinary build [`is_planted`] is a constant that the compiler removes; only the feature `planted`, which nothing that ships
//! has, lets a test plant one for its own thread.

#[path = "../../planting.rs"]
mod planting;

pub(crate) use planting::is_planted;
#[cfg(feature = "planted")]
pub use planting::plant;

/// A place in reads where less would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A range is read of a tier that does not keep its beginning any more.
    RangeOfWhatIsGone,
    /// Under EDGE EXCLUDE a past T lets events after it in.
    PastEdgeAsPresent,
}
