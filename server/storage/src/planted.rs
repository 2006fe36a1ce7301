//! Mistakes that the simulator plants in the code that ships, to show that it would notice them.
//!
//! In an ordinary build [`is_planted`] is a constant that the compiler removes; only the feature `planted`, which nothing that ships
//! has, lets a test plant one for its own thread.

#[path = "../../planting.rs"]
mod planting;

pub(crate) use planting::is_planted;
#[cfg(feature = "planted")]
pub use planting::plant;

/// A place in the log or in recovery where less would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A sync of the log is reported and not done.
    SyncSkipped,
    /// Only the segment that is being written is synced, not the full one before it.
    FullSegmentNotSynced,
    /// A frame counts when its header is whole, whatever follows it.
    FrameBodyUnchecked,
    /// What was not stated durable is left where it stands, rather than copied and synced.
    TailTrusted,
    /// The manifest takes its name before its bytes are synced.
    ManifestNotSynced,
}
