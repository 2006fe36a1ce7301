//! Reading the log for a backfill, in slices, with rests between.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use windrow_durability::kept_log::{Gap, KeptLog, Met};
use windrow_engine::backfill::Boundary;
use windrow_storage::{ReplayedFrame, StorageError};

use super::{Ended, WAIT_STEP};
use crate::sync_thread::SyncSignal;

/// The thread works so long, then rests as long: it never takes more than half of a core.
const WORK_SLICE: Duration = Duration::from_millis(2);

/// What is done about log that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// What is damaged is passed over; where the disk fails, reading fails.
    Fails,
    /// It is passed over, too.
    IsPassedOver,
}

/// What is told of the log.
pub(super) enum Told<'a> {
    /// A group of operations.
    Group(ReplayedFrame<'a>),
    /// Operations are missing before what comes next.
    Gap(Gap),
    /// Nothing: what comes next is not durable yet.
    Nothing,
}

/// Work in slices, with rests between.
pub(super) struct Pace {
    since: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: Instant::now() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() >= WORK_SLICE
    }

    pub(super) fn rest(&mut self) {
        thread::sleep(WORK_SLICE);
        self.since = Instant::now();
    }
}

/// Hands over all groups up to `until`, each with the part of the log that is read. Says since when nothing is missing; `None`: from
/// the beginning on.
///
/// # Errors
/// Of the disk, or what `on_told` says.
pub(super) fn read(
    log: &KeptLog,
    until: &Boundary,
    signals: &[Arc<SyncSignal>],
    unreadable: Unreadable,
    on_told: &mut dyn FnMut(Told<'_>, f64) -> Result<(), Ended>,
) -> Result<Option<i64>, Ended> {
    let mut reader = log.read(until);
    let mut part_read = 0.0;
    loop {
        match reader.next() {
            Met::Group { frame, gap, part } => {
                if let Some(gap) = gap {
                    on_told(Told::Gap(gap), part_read)?;
                }
                part_read = part;
                on_told(Told::Group(frame), part)?;
            }
            Met::Gap(gap) => on_told(Told::Gap(gap), part_read)?,
            Met::NotDurable { shard } => {
                signals[usize::from(shard)].request();
                on_told(Told::Nothing, part_read)?;
                thread::sleep(WAIT_STEP);
            }
            Met::Unreadable(StorageError::Corrupt(damage)) => {
                tracing::warn!("a backfill passes over damage in the log: {damage}");
            }
            Met::Unreadable(error) if unreadable == Unreadable::IsPassedOver => {
                tracing::warn!("a backfill passes over log that cannot be read: {error}");
            }
            Met::Unreadable(error) => return Err(Ended::Failed(error.to_string())),
            Met::Nothing => {}
            Met::End => return Ok(reader.complete_since()),
        }
    }
}
