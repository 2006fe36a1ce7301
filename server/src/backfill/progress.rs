//! How far the backfill that is running has come: for STREAM.INFO.

use std::sync::{Mutex, MutexGuard, PoisonError};

use windrow_engine::StreamId;

/// What it is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BackfillState {
    /// Reading the log.
    Reading,
    /// Handing out what it found.
    Merging,
    /// There is no memory, or no room in the log, for what it found.
    WaitingForRoom,
    /// It will begin again.
    Failed(String),
    /// There was no memory for what it found; it begins again when it is asked to.
    OutOfMemory,
}

/// How far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) stream: StreamId,
    pub(crate) state: BackfillState,
    /// 0 to 100.
    pub(crate) percent: f64,
    /// Events that were read.
    pub(crate) events: u64,
    /// Entities whose records took what was found.
    pub(crate) merged: u64,
    /// Entities whose records would have become too large.
    pub(crate) too_large: u64,
}

/// The progress of the backfill that is running, and of those that have stopped.
#[derive(Debug, Default)]
pub(crate) struct RunningBackfill(Mutex<Known>);

/// Bounded by the number of streams: a stream has one backfill.
#[derive(Debug, Default)]
struct Known {
    running: Option<Progress>,
    stopped: Vec<Progress>,
}

/// The part of a pass that reading the log is.
const READING_PART: f64 = 0.8;

impl RunningBackfill {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = &mut self.lock().running {
            change(progress);
        }
    }

    pub(super) fn begin(&self, stream: StreamId) {
        let state = BackfillState::Reading;
        let mut known = self.lock();
        known.stopped.retain(|progress| progress.stream != stream);
        known.running = Some(Progress { stream, state, percent: 0.0, events: 0, merged: 0, too_large: 0 });
    }

    pub(super) fn end(&self) {
        self.lock().running = None;
    }

    /// The one that is running has stopped, for want of memory.
    pub(super) fn stop(&self) {
        let mut known = self.lock();
        if let Some(progress) = known.running.take() {
            known.stopped.push(Progress { state: BackfillState::OutOfMemory, ..progress });
        }
    }

    /// Forgets those that have stopped and whose streams are not filled any more.
    pub(super) fn forget_stopped(&self, is_filling: impl Fn(StreamId) -> bool) {
        self.lock().stopped.retain(|progress| is_filling(progress.stream));
    }

    pub(super) fn set_state(&self, state: BackfillState) {
        self.change(|progress| progress.state = state);
    }

    /// So much of the log is read in a pass over these slots, as parts of all.
    pub(super) fn note_read(&self, (end, start): (f64, f64), part: f64, events: u64) {
        self.change(|progress| {
            progress.percent = 100.0 * (start + (end - start) * READING_PART * part);
            progress.events = events;
        });
    }

    pub(super) fn note_merged(&self, merged: u64, too_large: u64) {
        self.change(|progress| {
            progress.state = BackfillState::Merging;
            progress.merged += merged;
            progress.too_large += too_large;
        });
    }

    /// How far the backfill of a stream is; `None`: it is another one's turn.
    pub(crate) fn of(&self, stream: StreamId) -> Option<Progress> {
        let known = self.lock();
        known.running.iter().chain(&known.stopped).find(|progress| progress.stream == stream).cloned()
    }
}
