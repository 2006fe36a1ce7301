//! Mistakes that the loom models plant in the code that ships, to show that they would notice them.
//!
//! Each [`Mistake`] names one place where an ordering, a fence or a second look is needed. In an ordinary build the
//! functions below are constants that the compiler removes. Under loom a model can plant one mistake for its own
//! thread (loom runs all threads of a model on one), and must then fail.

use crate::sync::Ordering;

/// A place in the code where less would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The producer publishes its tail without releasing the item before it.
    RingPublishRelaxed,
    /// The consumer reads the tail without acquiring the item before it.
    RingTailReadRelaxed,
    /// The consumer gives a slot back before it has finished moving the item out of it.
    RingReturnRelaxed,
    /// The producer learns that a slot is free without acquiring the consumer's move out of it.
    RingHeadReadRelaxed,
    /// The sleeper announces its sleep without a fence before it looks at its inputs again.
    GateSleeperFenceSkipped,
    /// The producer looks at `sleeping` without a fence after its push.
    GateProducerFenceSkipped,
    /// The sleeper does not look at its inputs again after it announced its sleep.
    GateRecheckSkipped,
    /// Producers look at `sleeping` and reset it in two steps.
    GateResetNotAtomic,

    /// A record is written without its sequence being odd.
    RecordOddSkipped,
    /// The writer stores words without release.
    RecordWordNotReleased,
    /// The writer makes the sequence even without release.
    RecordEvenNotReleased,
    /// The reader reads the sequence without acquire.
    RecordHeadNotAcquired,
    /// The reader reads words without acquire.
    RecordWordNotAcquired,
    /// The reader does not look at the sequence again.
    RecordSecondLookSkipped,
    /// A free record counts as one of another key, rather than as a reason to look again.
    FreeRecordIsAMiss,

    /// A place in the index is stored without release.
    EntryNotReleased,
    /// A place in the index is read without acquire.
    EntryNotAcquired,
    /// Words that went to another segment are removed without releasing that the directory says so.
    LeavingEntryNotReleased,
    /// Words move within a segment without its version telling.
    VersionNotBumped,
    /// The version is made even without release.
    VersionNotReleased,
    /// The version is read without acquire.
    VersionNotAcquired,
    /// A miss counts although the version has changed.
    VersionNotCompared,
    /// The directory names a new segment without release.
    DirectoryEntryNotReleased,
    /// The directory is read without acquire.
    DirectoryEntryNotAcquired,
    /// A miss counts although the directory names another segment by now.
    DirectoryEntryNotCompared,
    /// A new directory is published without release.
    RootNotReleased,
    /// A miss counts although there is another directory by now.
    RootNotCompared,

    /// A walk takes words that are behind the end of its segment.
    WalkGoesBehindItsEnd,

    /// A record that moved stays readable at its old place.
    OldRecordStaysLive,

    /// A participant goes on after its quiescent point without a fence.
    ParticipantFenceSkipped,
    /// A participant passes its quiescent point without releasing its reads before it.
    ParticipantStateNotReleased,
    /// The owner notes who has yet to pass a quiescent point without a fence after it took the slot out.
    OwnerFenceSkipped,
    /// The owner sees that a participant passed, without acquiring that its reads are over.
    ParticipantStateNotAcquired,
    /// Slots are used again at once.
    GracePeriodSkipped,

    /// A chunk that owner and helper populate at the same time is counted by both.
    ChunkCountedTwice,

    /// A chunk of an image is cut before its words are there.
    ChunkCutBeforeItsCopy,
    /// A chunk of an image is cut without releasing its words.
    AdoptedChunkNotReleased,
    /// A chunk's cut is read without acquire.
    CutNotAcquired,
    /// Two threads adopt one chunk.
    ChunkAdoptedTwice,
    /// Who meets a chunk that another adopts takes it for one that is not there.
    AdoptionNotWaitedFor,
}

/// `needed`, unless `mistake` is planted: then [`Ordering::Relaxed`].
#[inline(always)]
pub(crate) fn order(mistake: Mistake, needed: Ordering) -> Ordering {
    if is_planted(mistake) { Ordering::Relaxed } else { needed }
}

#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn is_planted(_: Mistake) -> bool {
    false
}

#[cfg(loom)]
pub(crate) use under_loom::is_planted;
#[cfg(all(test, loom))]
pub(crate) use under_loom::with;

#[cfg(loom)]
mod under_loom {
    use super::Mistake;
    use std::cell::Cell;

    std::thread_local! {
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    pub(crate) fn is_planted(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }

    /// Runs `model` with `mistake` in the code under it.
    #[cfg(test)]
    pub(crate) fn with(mistake: Mistake, model: impl FnOnce()) {
        PLANTED.set(Some(mistake));
        model();
        PLANTED.set(None);
    }
}
