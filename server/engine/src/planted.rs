//! Mistakes that the simulator plants in the code that ships, to show that it would notice them.
//!
//! In an ordinary build [`is_planted`] is a constant that the compiler removes; only the feature `planted`, which nothing that ships
//! has, lets a test plant one for its own thread.

#[path = "../../planting.rs"]
mod planting;

pub(crate) use planting::is_planted;
#[cfg(feature = "planted")]
pub use planting::plant;

/// A place in the engine where less would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The replay applies what a record has seen already.
    AppliedPositionIgnored,
    /// The replay forgets the ids and sequence numbers of operations.
    RememberedNotReplayed,
    /// Rows of an EVENT.MADD have no sequence number but the first.
    RowsUnnumbered,
    /// FLUSHALL gives streams new ids and leaves their layouts the old ones, which operations of the log name.
    FlushedLayoutsKept,
    /// An entity goes to make room, and the log is not told.
    EvictionNotLogged,
    /// The replay keeps what went to make room.
    EvictionNotReplayed,
    /// A record that took what a backfill found waits for it still.
    MergedAgain,
    /// A backfill brings back what was deleted.
    DeletionNotBackfilled,
    /// A backfill takes no notice of log that is missing.
    GapNotBackfilled,
    /// A backfill takes a source's events however far ahead they were.
    AheadBackfilled,
}
