//! The sync thread of one shard's log: syncs as `appendfsync` says, and prepares segments ahead of use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use windrow_memory::gate::Gate;
use windrow_storage::{LogSyncer, SegmentFill, SpareState, StorageError};

use crate::config::AppendFsync;
use crate::shared::Shared;
use crate::timing::LatencyEvent;

/// Under everysec a sync begins this long after the one before: replies wait only when a sync takes longer than the
/// rest of the second.
const EVERYSEC_INTERVAL: Duration = Duration::from_millis(500);
/// Longest sleep: a change of `appendfsync` is seen after this at the latest.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Between two slices of a segment's preparation, so that they do not crowd out what the server is there for.
const SLICE_PAUSE: Duration = Duration::from_millis(1);
/// Under everysec, while there is much to write: a sync that has half a second of a heavy stream to write takes three to four
/// milliseconds of the core, which on the shard's own is a stall of as much; in pieces of so long it is a fraction of one.
const WRITE_BEHIND_EVERY: Duration = Duration::from_millis(20);
/// After a segment could not be prepared (disk full), wait so long.
const SPARE_RETRY: Duration = Duration::from_millis(200);

/// By which a shard wakes its sync thread.
#[derive(Debug, Default)]
pub(crate) struct SyncSignal {
    gate: Gate,
    thread: OnceLock<Thread>,
    requested: AtomicBool,
    stop: AtomicBool,
}

impl SyncSignal {
    /// There is something to look at: a segment to prepare.
    pub(crate) fn wake(&self) {
        if self.gate.should_wake()
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// What is written should be synced now, whatever the mode.
    pub(crate) fn request(&self) {
        self.requested.store(true, Ordering::Release);
        self.wake();
    }

    /// The shard has written its last frame.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }
}

/// Runs the sync thread until it is stopped or the log fails; gives the syncer back for the last sync.
pub(crate) fn run(shared: &Arc<Shared>, signal: &SyncSignal, mut syncer: LogSyncer) -> LogSyncer {
    // Set before the first sleep, so whoever sees the gate asleep finds the thread.
    let _ = signal.thread.set(thread::current());
    let shard = usize::from(syncer.shard());
    let mut last_sync = Instant::now();
    let mut spare_after = Instant::now();
    let mut has_warned = false;
    while !signal.stop.load(Ordering::Acquire) {
        let wants_sync = wants_sync(shared, signal, &syncer, last_sync);
        syncer.set_fill(fill_for(shared.config().appendfsync));
        let is_preparing = match step(&mut syncer, wants_sync, spare_after) {
            Ok(Step { synced, sync_took, spare }) => {
                if synced {
                    shared.note_latency(LatencyEvent::LogFsync, sync_took);
                    last_sync = Instant::now();
                }
                match &spare {
                    SpareState::Failed { reason } => {
                        if !has_warned {
                            tracing::warn!(
                                "shard {shard}: no room for the log: {reason}; writes may be refused until there is"
                            );
                            shared.saving.note_log_full(true);
                        }
                        has_warned = true;
                        spare_after = Instant::now() + SPARE_RETRY;
                    }
                    SpareState::MadeReady if has_warned => {
                        tracing::info!("shard {shard}: there is room for the log again");
                        has_warned = false;
                        shared.saving.note_log_full(false);
                    }
                    SpareState::MadeReady | SpareState::Preparing | SpareState::Ready => {}
                }
                if synced || spare == SpareState::MadeReady {
                    shared.shards[shard].wake();
                }
                spare == SpareState::Preparing
            }
            Err(error) => {
                tracing::error!("shard {shard}: {error}");
                shared.wake_all();
                return syncer;
            }
        };
        let has_begun = match write_behind(shared, &mut syncer) {
            Ok(has_begun) => has_begun,
            Err(error) => {
                tracing::error!("shard {shard}: {error}");
                shared.wake_all();
                return syncer;
            }
        };
        let pause = match (is_preparing, has_begun) {
            (true, _) => SLICE_PAUSE,
            (false, true) => WRITE_BEHIND_EVERY,
            (false, false) => SLEEP_MAX,
        };
        let may_sleep = signal.gate.prepare_sleep(|| {
            signal.stop.load(Ordering::Acquire) || signal.requested.load(Ordering::Acquire)
        });
        if may_sleep {
            thread::park_timeout(pause);
        }
        signal.gate.awake();
    }
    syncer
}

/// How segments are prepared: written zeros make each sync cheaper, allocated ones are written half as often.
pub(crate) fn fill_for(mode: AppendFsync) -> SegmentFill {
    match mode {
        AppendFsync::Always => SegmentFill::Write,
        AppendFsync::EverySec | AppendFsync::No => SegmentFill::Allocate,
    }
}

struct Step {
    synced: bool,
    sync_took: Duration,
    spare: SpareState,
}

fn step(syncer: &mut LogSyncer, wants_sync: bool, spare_after: Instant) -> Result<Step, StorageError> {
    let began = Instant::now();
    let synced = wants_sync && syncer.sync()?;
    let sync_took = began.elapsed();
    let wants_spare = syncer.wants_spare() && Instant::now() >= spare_after;
    let spare = if wants_spare { syncer.prepare_spare()? } else { SpareState::Ready };
    Ok(Step { synced, sync_took, spare })
}

/// Begins to write what the next sync will wait for. Under `always` that sync comes at once, under `no` the system decides.
fn write_behind(shared: &Shared, syncer: &mut LogSyncer) -> Result<bool, StorageError> {
    let is_wanted = shared.config().appendfsync == AppendFsync::EverySec && syncer.needs_sync();
    Ok(is_wanted && syncer.write_behind()?)
}

fn wants_sync(shared: &Shared, signal: &SyncSignal, syncer: &LogSyncer, last_sync: Instant) -> bool {
    let requested = signal.requested.swap(false, Ordering::AcqRel);
    syncer.needs_sync()
        && (requested
            || match shared.config().appendfsync {
                // Shards ask, a group at a time; this is for what was written before the mode was changed.
                AppendFsync::Always => last_sync.elapsed() >= SLEEP_MAX,
                AppendFsync::EverySec => last_sync.elapsed() >= EVERYSEC_INTERVAL,
                AppendFsync::No => false,
            })
}
