//! What the two halves of a log share.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{OBSERVE, PUBLISH};
use crate::Position;
use crate::segment::Segment;

/// Atomics for the numbers; mutexes, held for a few instructions, for the segments that change hands.
pub(crate) struct Shared {
    written: AtomicU64,
    durable: AtomicU64,
    frames_written: AtomicU64,
    frames_synced: AtomicU64,
    last_now_ms: AtomicI64,
    /// Length of the spare, 0 if there is none.
    spare_bytes: AtomicU64,
    spare: Mutex<Option<Arc<Segment>>>,
    spare_failed: AtomicBool,
    spare_failure: Mutex<Option<String>>,
    /// Segments that may hold unsynced frames; the last is the one being written. A rotation needs a spare, and the sync thread that
    /// prepares spares syncs first: there are at most a few.
    unsynced: Mutex<Vec<Unsynced>>,
    full_unsynced: AtomicBool,
}

/// A segment that may hold unsynced frames.
#[derive(Clone)]
struct Unsynced {
    segment: Arc<Segment>,
    /// The last operation in it and the time of its last frame, once the log has moved on.
    ended: Option<(u64, i64)>,
}

/// A segment that is full and synced.
pub(super) struct Closed {
    pub(super) segment: Arc<Segment>,
    pub(super) last_ops: u64,
    pub(super) ended_ms: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(first: Arc<Segment>) -> Shared {
        let start = Position::start_of(first.header.epoch).pack();
        Shared {
            written: AtomicU64::new(start),
            durable: AtomicU64::new(start),
            frames_written: AtomicU64::new(0),
            frames_synced: AtomicU64::new(0),
            last_now_ms: AtomicI64::new(first.header.created_ms),
            spare_bytes: AtomicU64::new(0),
            spare: Mutex::new(None),
            spare_failed: AtomicBool::new(false),
            spare_failure: Mutex::new(None),
            unsynced: Mutex::new(vec![Unsynced { segment: first, ended: None }]),
            full_unsynced: AtomicBool::new(false),
        }
    }

    pub(super) fn written(&self) -> Position {
        Position::unpack(self.written.load(OBSERVE))
    }

    pub(super) fn durable(&self) -> Position {
        Position::unpack(self.durable.load(OBSERVE))
    }

    pub(super) fn last_now_ms(&self) -> i64 {
        self.last_now_ms.load(OBSERVE)
    }

    pub(super) fn spare_bytes(&self) -> u64 {
        let spare_bytes = self.spare_bytes.load(OBSERVE);
        spare_bytes.saturating_sub(crate::segment::SEGMENT_HEADER_BYTES)
    }

    pub(super) fn needs_sync(&self) -> bool {
        self.frames_written.load(OBSERVE) != self.frames_synced.load(OBSERVE)
    }

    pub(super) fn full_segment_needs_sync(&self) -> bool {
        self.full_unsynced.load(OBSERVE)
    }

    pub(super) fn spare_failure(&self) -> Option<String> {
        if self.spare_failed.load(OBSERVE) { lock(&self.spare_failure).clone() } else { None }
    }

    // The shard's side.

    pub(super) fn frame_written(&self, written: Position, now_ms: i64) {
        self.last_now_ms.store(now_ms, PUBLISH);
        self.written.store(written.pack(), PUBLISH);
        // Only the shard's thread writes this counter.
        let frames = self.frames_written.load(OBSERVE) + 1;
        self.frames_written.store(frames, PUBLISH);
    }

    pub(super) fn take_spare(&self) -> Option<Arc<Segment>> {
        let spare = lock(&self.spare).take();
        self.spare_bytes.store(0, PUBLISH);
        spare
    }

    /// Must precede the first frame in `segment`: a syncer that sees the frame's position then sees the segment too.
    pub(super) fn start_segment(&self, segment: Arc<Segment>) {
        let ended = (self.written().ops(), self.last_now_ms());
        let mut unsynced = lock(&self.unsynced);
        unsynced.last_mut().expect("there is always one being written").ended = Some(ended);
        unsynced.push(Unsynced { segment, ended: None });
        self.full_unsynced.store(true, PUBLISH);
    }

    // The syncer's side.

    pub(super) fn put_spare(&self, segment: Arc<Segment>) {
        let segment_bytes = segment.header.segment_bytes;
        let before = lock(&self.spare).replace(segment);
        assert!(before.is_none(), "there was a spare already");
        self.note_spare_failure(None);
        self.spare_bytes.store(segment_bytes, PUBLISH);
    }

    pub(super) fn note_spare_failure(&self, failure: Option<String>) {
        self.spare_failed.store(failure.is_some(), PUBLISH);
        *lock(&self.spare_failure) = failure;
    }

    /// The segment being written.
    pub(super) fn newest_segment(&self) -> Arc<Segment> {
        Arc::clone(&lock(&self.unsynced).last().expect("there is always one being written").segment)
    }

    /// What a sync begun now will cover. The counters are read before the list of segments, the shard writes them after it.
    pub(super) fn begin_sync(&self) -> SyncTarget {
        let frames = self.frames_written.load(OBSERVE);
        let written = self.written();
        let segments = lock(&self.unsynced).iter().map(|unsynced| Arc::clone(&unsynced.segment)).collect();
        SyncTarget { frames, written, segments }
    }

    /// All segments of `target` are synced: its position is durable from now on. Gives the segments that are full.
    pub(super) fn finish_sync(&self, target: &SyncTarget) -> Vec<Closed> {
        let mut unsynced = lock(&self.unsynced);
        // The last one was being written and may have got frames since.
        let full = target.segments.len() - 1;
        let closed = unsynced.drain(..full).map(|unsynced| {
            let (last_ops, ended_ms) = unsynced.ended.expect("only the last one is being written");
            Closed { segment: unsynced.segment, last_ops, ended_ms }
        });
        let closed = closed.collect();
        self.full_unsynced.store(unsynced.len() > 1, PUBLISH);
        drop(unsynced);
        assert!(self.durable() <= target.written, "the durable position never goes back");
        self.durable.store(target.written.pack(), PUBLISH);
        self.frames_synced.store(target.frames, PUBLISH);
        closed
    }
}

/// What one sync covers.
pub(super) struct SyncTarget {
    frames: u64,
    pub(super) written: Position,
    pub(super) segments: Vec<Arc<Segment>>,
}

/// A log's positions for any thread. Cheap to clone and to ask.
#[derive(Clone)]
pub struct LogWatch {
    shared: Arc<Shared>,
}

impl LogWatch {
    pub(crate) fn new(shared: Arc<Shared>) -> LogWatch {
        LogWatch { shared }
    }

    /// Position of the last operation written.
    pub fn written(&self) -> Position {
        self.shared.written()
    }

    /// Position up to which operations survive a power loss.
    pub fn durable(&self) -> Position {
        self.shared.durable()
    }

    /// True while frames are written and not synced.
    pub fn needs_sync(&self) -> bool {
        self.shared.needs_sync()
    }
}
