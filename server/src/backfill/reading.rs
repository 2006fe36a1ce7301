//! Reading what the log still holds, up to a boundary, in an order in which each entity's operations stand as they were applied: epoch by
//! epoch, and in each, log by log.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use windrow_engine::backfill::Boundary;
use windrow_storage::{LogFiles, Manifest, ReplayedFrame};

use super::{Ended, WAIT_STEP};
use crate::sync_thread::SyncSignal;

/// The thread works so long, then rests as long: it never takes more than half of a core.
const WORK_SLICE: Duration = Duration::from_millis(2);

/// The log of a data directory, and what it once held.
pub(super) struct KeptLog {
    files: LogFiles,
    /// The epoch that is being written.
    epoch: u32,
    /// The logs of earlier epochs that have operations.
    known: Vec<(u32, u16)>,
    /// Whole epochs were gone at the start.
    has_given_back: bool,
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

impl KeptLog {
    pub(super) fn new(files: LogFiles, manifest: &Manifest) -> Self {
        let ends = manifest.epochs.iter().filter(|entry| entry.epoch < manifest.epoch);
        let known = ends
            .flat_map(|entry| entry.ends.iter().map(|end| (entry.epoch, end)))
            .filter(|(_, end)| end.last_ops() > 0)
            .map(|(epoch, end)| (epoch, end.shard));
        Self {
            files,
            epoch: manifest.epoch,
            known: known.collect(),
            has_given_back: manifest.epochs_given_back > 0,
        }
    }

    pub(super) fn files(&self) -> &LogFiles {
        &self.files
    }

    /// Hands over all groups up to `until`, each with the part of the log that is read. Says since when nothing is missing; `None`: from
    /// the beginning on.
    ///
    /// # Errors
    /// Of the log, or what `on_frame` says.
    pub(super) fn read(
        &self,
        until: &Boundary,
        signals: &[Arc<SyncSignal>],
        on_frame: &mut dyn FnMut(ReplayedFrame<'_>, f64) -> Result<(), Ended>,
    ) -> Result<Option<i64>, Ended> {
        let logs: Vec<(u32, u16)> =
            self.files.logs().into_iter().filter(|&(epoch, _)| epoch <= until.epoch).collect();
        // Of each log that holds something: its first operation and the time of its group.
        let mut firsts: HashMap<(u32, u16), (u64, i64)> = HashMap::new();
        for (at, &(epoch, shard)) in logs.iter().enumerate() {
            let failed = |error: windrow_storage::StorageError| Ended::Failed(error.to_string());
            let mut reader = self.files.reader(epoch, shard, 0).map_err(failed)?;
            let is_running = epoch == self.epoch;
            let last_ops = match until.ops.get(usize::from(shard)) {
                Some(&last_ops) if epoch == until.epoch => last_ops,
                _ if epoch < until.epoch => u64::MAX,
                _ => continue,
            };
            let mut read_ops = 0;
            while read_ops < last_ops {
                let until_ops = reader.until_ops().min(last_ops).max(1);
                let Some(frame) = reader.next().map_err(failed)? else {
                    if !is_running {
                        break;
                    }
                    // Written, but not durable yet.
                    signals[usize::from(shard)].request();
                    let empty = ReplayedFrame {
                        shard,
                        first: windrow_storage::Position::start_of(epoch),
                        now_ms: 0,
                        op_count: 0,
                        ops: &[],
                    };
                    on_frame(empty, at as f64 / logs.len() as f64)?;
                    thread::sleep(WAIT_STEP);
                    continue;
                };
                firsts.entry((epoch, shard)).or_insert((frame.first.ops(), frame.now_ms));
                read_ops = frame.first.ops() + u64::from(frame.op_count) - 1;
                let part = (at as f64 + (read_ops as f64 / until_ops as f64).min(1.0)) / logs.len() as f64;
                on_frame(frame, part)?;
            }
        }
        Ok(complete_since(&self.known, self.has_given_back, until.epoch, &firsts))
    }
}

/// Since when the log lacks nothing up to an epoch. `known`: the logs that once had operations; `firsts`: of those that have some, the
/// first and the time of its group.
fn complete_since(
    known: &[(u32, u16)],
    has_given_back: bool,
    until_epoch: u32,
    firsts: &HashMap<(u32, u16), (u64, i64)>,
) -> Option<i64> {
    // What is wholly gone was over when the next epoch that holds something began.
    let after = |epoch: u32| {
        let later = firsts.iter().filter(|((later, _), _)| *later > epoch);
        later.map(|(_, &(_, now_ms))| now_ms).min().unwrap_or(i64::MIN)
    };
    let cut = firsts.values().filter(|&&(first, _)| first > 1).map(|&(_, now_ms)| now_ms);
    let gone = known.iter().filter(|&&log| log.0 <= until_epoch && !firsts.contains_key(&log));
    let gone = gone.map(|&(epoch, _)| after(epoch));
    let given_back = has_given_back.then(|| after(0));
    cut.chain(gone).chain(given_back).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_complete_since_nothing_of_it_is_gone() {
        let whole = HashMap::from([((1, 0), (1, 100)), ((1, 1), (1, 150)), ((2, 0), (1, 900))]);
        let known = [(1, 0), (1, 1)];
        assert_eq!(complete_since(&known, false, 2, &whole), None);
        let mut cut = whole.clone();
        cut.insert((1, 1), (40, 500));
        assert_eq!(complete_since(&known, false, 2, &cut), Some(500), "its first operations are gone");
        let mut gone = whole.clone();
        gone.remove(&(1, 0));
        assert_eq!(complete_since(&known, false, 2, &gone), Some(900), "all of a log is gone");
        assert_eq!(complete_since(&known, true, 2, &whole), Some(100), "whole epochs are gone");
        let later = [(1, 0), (1, 1), (3, 0)];
        assert_eq!(
            complete_since(&later, false, 2, &whole),
            None,
            "what is behind the boundary does not matter"
        );
    }
}
