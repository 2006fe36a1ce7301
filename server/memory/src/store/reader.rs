//! Reading a store from other threads.

use super::Shared;
use crate::{
    handle::Handle,
    index::{self, Entry, Found, Probe},
    reclaim::Participant,
    record::{Attempt, Key, Record, attempt},
};
use std::{fmt, ops::ControlFlow, sync::Arc as StdArc};

/// How often a read is tried before it gives up. A write takes tens of nanoseconds, so a record is contended for this long only
/// if its owner was interrupted in the midst of one, or writes nothing else.
pub const READ_ATTEMPTS_MAX: usize = if cfg!(loom) { 2 } else { 64 };

/// A record kept changing: ask its owner, who always has it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended;

impl fmt::Display for Contended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record changed during {READ_ATTEMPTS_MAX} attempts to read it")
    }
}

impl std::error::Error for Contended {}

/// Reads the records of one store, without a lock and without its owner taking notice.
///
/// Every call wants the calling thread's [`Participant`], awake, as proof that what it reads stays there until the next quiescent
/// point.
#[derive(Clone)]
pub struct Reader {
    shared: StdArc<Shared>,
}

/// What one attempt came to.
enum Once<R> {
    Read(R),
    Nothing,
    Again,
}

impl Reader {
    pub(super) fn new(shared: StdArc<Shared>) -> Self {
        Self { shared }
    }

    /// Stage one of a batch, as [`Store::prefetch_index`](crate::Store::prefetch_index).
    #[inline]
    pub fn prefetch_index(&self, participant: &Participant, hash: u64) {
        self.check(participant);
        index::prefetch(&self.shared.region, &self.shared.root, hash);
    }

    /// Stage two of a batch, as [`Store::prefetch_record`](crate::Store::prefetch_record). What it returns is good for
    /// [`Reader::read_near`] until the participant's next quiescent point.
    #[inline]
    pub fn prefetch_record(&self, participant: &Participant, hash: u64, lines: usize) -> Option<Handle> {
        self.check(participant);
        index::prefetch_candidate(&self.shared.region, &self.shared.root, hash, lines)
    }

    /// Stage three of a batch: as [`Reader::read`], without a look at the index if the record is at `hint`.
    ///
    /// # Errors
    ///
    /// As [`Reader::read`].
    #[inline]
    pub fn read_near<R>(
        &self,
        participant: &Participant,
        key: &Key<'_>,
        hint: Option<Handle>,
        mut read: impl FnMut(Record<'_>) -> R,
    ) -> Result<Option<R>, Contended> {
        self.check(participant);
        // Nothing is applied to a record at its new place before its old one is free, so what is live and this key's is
        // the record.
        let region = &*self.shared.region;
        if let Some(words) = hint.and_then(|hint| region.slot_that_is_there(hint))
            && let Attempt::Read(outcome) = attempt(words, region, Some(key), &mut read)
        {
            return Ok(Some(outcome));
        }
        self.read(participant, key, read)
    }

    /// Reads the record of `key` with `read`, and returns what that returned when the record did not change meanwhile, or `None`
    /// when there is no such record: both are true of one moment during this call.
    ///
    /// `read` may be called several times, on words that are not of one moment: see [`Record`].
    ///
    /// # Errors
    ///
    /// [`Contended`] after [`READ_ATTEMPTS_MAX`] attempts.
    #[inline]
    pub fn read<R>(
        &self,
        participant: &Participant,
        key: &Key<'_>,
        mut read: impl FnMut(Record<'_>) -> R,
    ) -> Result<Option<R>, Contended> {
        self.check(participant);
        for _ in 0..READ_ATTEMPTS_MAX {
            match self.read_once(key, &mut read) {
                Once::Read(outcome) => return Ok(Some(outcome)),
                Once::Nothing => return Ok(None),
                Once::Again => pause(),
            }
        }
        Err(Contended)
    }

    /// Reads whatever record is at `handle`, one that [`Reader::scan`] gave since the last quiescent point; `None` when it was
    /// moved or removed since.
    ///
    /// # Errors
    ///
    /// [`Contended`] after [`READ_ATTEMPTS_MAX`] attempts.
    pub fn read_at<R>(
        &self,
        participant: &Participant,
        handle: Handle,
        mut read: impl FnMut(Record<'_>) -> R,
    ) -> Result<Option<R>, Contended> {
        self.check(participant);
        let region = &*self.shared.region;
        for _ in 0..READ_ATTEMPTS_MAX {
            let Some(words) = region.slot(handle) else { return Ok(None) };
            match attempt(words, region, None, &mut read) {
                Attempt::Read(outcome) => return Ok(Some(outcome)),
                Attempt::Unstable if !Record::new(words, region).is_there() => return Ok(None),
                Attempt::Unstable | Attempt::OtherKey => pause(),
            }
        }
        Err(Contended)
    }

    /// One attempt: first a glance, which finds nearly all that is there, then the look that can prove a miss.
    #[inline]
    fn read_once<R>(&self, key: &Key<'_>, read: &mut impl FnMut(Record<'_>) -> R) -> Once<R> {
        let probe = self.probe(key);
        let glanced = probe.glance(key.hash, |entry| self.visit(entry, key, read));
        glanced.unwrap_or_else(|| self.look(&probe, key, read))
    }

    fn look<R>(&self, probe: &Probe<'_>, key: &Key<'_>, read: &mut impl FnMut(Record<'_>) -> R) -> Once<R> {
        match probe.find(key.hash, |entry| self.visit(entry, key, read)) {
            Found::Here(outcome) => outcome,
            Found::Nowhere => Once::Nothing,
            Found::Unproved => Once::Again,
        }
    }

    /// One attempt without the glance before it, for the models: a glance that misses makes a wrong miss after it so unlikely
    /// that no small model shows one.
    #[cfg(all(test, loom))]
    pub(crate) fn look_once<R>(
        &self,
        key: &Key<'_>,
        mut read: impl FnMut(Record<'_>) -> R,
    ) -> Result<Option<R>, Contended> {
        match self.look(&self.probe(key), key, &mut read) {
            Once::Read(outcome) => Ok(Some(outcome)),
            Once::Nothing => Ok(None),
            Once::Again => Err(Contended),
        }
    }

    #[inline]
    fn probe(&self, key: &Key<'_>) -> Probe<'_> {
        Probe::start(&self.shared.region, &self.shared.root, key.hash)
    }

    /// Reads what the index says may be the record.
    #[inline]
    fn visit<R>(
        &self,
        entry: Entry,
        key: &Key<'_>,
        read: &mut impl FnMut(Record<'_>) -> R,
    ) -> ControlFlow<Once<R>> {
        let region = &*self.shared.region;
        let Some(words) = region.slot(entry.handle()) else { return ControlFlow::Break(Once::Again) };
        match attempt(words, region, Some(key), read) {
            Attempt::Read(outcome) => ControlFlow::Break(Once::Read(outcome)),
            Attempt::OtherKey => ControlFlow::Continue(()),
            Attempt::Unstable => ControlFlow::Break(Once::Again),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    #[inline]
    pub(super) fn check(&self, participant: &Participant) {
        assert!(participant.is_awake(), "a participant reads that said it sleeps");
        assert!(participant.belongs_to(&self.shared.domain), "a participant reads a store of another domain");
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// Lets the owner finish.
pub(super) fn pause() {
    #[cfg(not(loom))]
    std::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
