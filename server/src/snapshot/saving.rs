//! What other threads know of images, and how they ask for one.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use windrow_storage::ImageEntry;

use crate::admin::Asker;
use crate::clock::uptime_ms;

/// A server that ends writes its last image in so long, or does without it: the log has everything.
const LAST_IMAGE_MS_MAX: u64 = 60_000;
const NO_END: u64 = u64::MAX;
const NOTHING_SAVED: u64 = u64::MAX;

/// A message to the snapshot thread.
pub(crate) enum SaveRequest {
    /// BGSAVE. Whoever sends it has the turn.
    Background,
    /// SAVE, answered when the image is on disk. Whoever sends it has the turn.
    Foreground(Asker),
    /// The server ends; before that an image is written, if it is worth it: not after one that was being written when the end was asked
    /// for.
    End { end: EndWith, is_one_running: bool },
}

/// What precedes the end of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndWith {
    /// An image, where the setting `save` is on and something changed.
    ImageIfChanged,
    /// An image, if something changed.
    Image,
    /// None.
    Nothing,
}

/// Images, as all threads see them.
pub(crate) struct Saving {
    requests: Mutex<Sender<SaveRequest>>,
    /// Shards for which no more log can be prepared: an image may set some free.
    full_logs: AtomicUsize,
    /// One image is written at a time: whoever sets this has the turn.
    is_running: AtomicBool,
    /// Somebody waits for the one that is written.
    is_hurried: AtomicBool,
    /// By [`uptime_ms`]: no image is written for longer, since the server ends. [`NO_END`]: it does not.
    end_by_ms: AtomicU64,
    pub(crate) progress: SaveProgress,
    /// Changes since the beginning of time, of which the newest image holds so many: see [`Saving::note_saved`].
    saved_changes: AtomicU64,
    /// And the one before it.
    saved_before: AtomicU64,
    known: Mutex<Known>,
}

/// How far the image is that is being written.
#[derive(Debug, Default)]
pub(crate) struct SaveProgress {
    begun_ms: AtomicU64,
    pub(crate) records: AtomicU64,
    /// As many as there were when it began.
    pub(crate) records_expected: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// What is known of the images that were written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The newest one, whoever wrote it.
    pub(crate) newest: Option<NewestImage>,
    /// How many the manifest names.
    pub(crate) images: usize,
    /// Why the last attempt of this process failed, if it did.
    pub(crate) failure: Option<String>,
    /// How long the last one of this process took.
    pub(crate) took_ms: Option<u64>,
    /// Images that this process has written.
    pub(crate) written: u64,
}

/// The newest image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewestImage {
    pub(crate) number: u64,
    pub(crate) created_ms: i64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl NewestImage {
    pub(crate) fn of(entry: &ImageEntry) -> Self {
        NewestImage {
            number: entry.image,
            created_ms: entry.created_ms,
            bytes: entry.bytes,
            records: entry.records,
        }
    }
}

impl Saving {
    pub(crate) fn new(requests: Sender<SaveRequest>) -> Self {
        Saving {
            requests: Mutex::new(requests),
            full_logs: AtomicUsize::new(0),
            is_running: AtomicBool::new(false),
            is_hurried: AtomicBool::new(false),
            end_by_ms: AtomicU64::new(NO_END),
            progress: SaveProgress::default(),
            saved_changes: AtomicU64::new(0),
            saved_before: AtomicU64::new(NOTHING_SAVED),
            known: Mutex::new(Known::default()),
        }
    }

    /// Takes the turn to write an image, if nobody has it.
    pub(crate) fn try_begin(&self) -> bool {
        let is_mine = !self.is_running.swap(true, AcqRel);
        if is_mine {
            self.progress.begin();
        }
        is_mine
    }

    /// Whether one is being written.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.load(Acquire)
    }

    /// Sends a request. False: the server is ending.
    pub(crate) fn request(&self, request: SaveRequest) -> bool {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).send(request).is_ok()
    }

    /// Asks for the end, with an image or without. False: the server is ending.
    pub(crate) fn request_end(&self, end: EndWith) -> bool {
        self.end_by_ms.store(uptime_ms() + LAST_IMAGE_MS_MAX, Release);
        let is_one_running = self.is_running();
        self.hurry();
        self.request(SaveRequest::End { end, is_one_running })
    }

    /// Whether an image takes longer than an end may wait for it.
    pub(super) fn is_too_late(&self) -> bool {
        uptime_ms() > self.end_by_ms.load(Acquire)
    }

    /// Somebody waits for the image that is written now.
    pub(crate) fn hurry(&self) {
        self.is_hurried.store(true, Release);
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.is_hurried.load(Acquire)
    }

    /// Gives the turn back after an image, or an attempt at one.
    pub(super) fn finish(&self, outcome: Result<(NewestImage, usize), String>) {
        let took_ms = self.progress.running_ms();
        {
            let mut known = self.lock();
            known.took_ms = Some(took_ms);
            match outcome {
                Ok((newest, images)) => {
                    (known.newest, known.images, known.failure) = (Some(newest), images, None);
                    known.written += 1;
                }
                Err(reason) => known.failure = Some(reason),
            }
        }
        self.is_hurried.store(false, Release);
        self.is_running.store(false, Release);
    }

    /// The newest image holds so many changes.
    pub(crate) fn note_saved(&self, changes: u64) {
        self.saved_before.store(self.saved_changes.swap(changes, AcqRel), Release);
    }

    /// Whether the newest image and the one before it hold the same: another one would set no log free.
    pub(super) fn is_repeated(&self) -> bool {
        self.saved_before.load(Acquire) == self.saved_changes.load(Acquire)
    }

    /// One more shard has log that cannot be prepared: the disk is full, or the log has the size that it may have. Or one less has.
    pub(crate) fn note_log_full(&self, is_full: bool) {
        if is_full {
            self.full_logs.fetch_add(1, AcqRel);
        } else {
            self.full_logs.fetch_sub(1, AcqRel);
        }
    }

    pub(crate) fn is_log_full(&self) -> bool {
        self.full_logs.load(Acquire) > 0
    }

    /// Changes that the newest image does not hold, of so many.
    pub(crate) fn unsaved(&self, changes: u64) -> u64 {
        changes.saturating_sub(self.saved_changes.load(Acquire))
    }

    /// The images that were there at the start.
    pub(crate) fn note_found(&self, newest: Option<NewestImage>, images: usize) {
        let mut known = self.lock();
        (known.newest, known.images) = (newest, images);
    }

    pub(crate) fn known(&self) -> Known {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SaveProgress {
    fn begin(&self) {
        self.begun_ms.store(uptime_ms(), Relaxed);
        for number in [&self.records, &self.records_expected, &self.bytes] {
            number.store(0, Relaxed);
        }
    }

    /// How long the one that is written has taken so far.
    pub(crate) fn running_ms(&self) -> u64 {
        uptime_ms().saturating_sub(self.begun_ms.load(Relaxed))
    }

    /// Of the records that were there when it began.
    pub(crate) fn percent(&self) -> u64 {
        let (done, expected) = (self.records.load(Relaxed), self.records_expected.load(Relaxed));
        (done * 100).checked_div(expected).unwrap_or(0).min(100)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_log_is_full_until_it_is_for_no_shard() {
        let saving = Saving::new(channel().0);
        assert!(!saving.is_log_full());
        saving.note_log_full(true);
        saving.note_log_full(true);
        saving.note_log_full(false);
        assert!(saving.is_log_full(), "the other shard's still is");
        saving.note_log_full(false);
        assert!(!saving.is_log_full());
    }
}
