//! Reading what the log still holds, up to a boundary, in an order in which each entity's operations stand as they were applied: epoch by
//! epoch, and in each, log by log. What is missing, given back or damaged, is told where it stood: what a deletion may have been there
//! for must not come back.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use windrow_engine::backfill::Boundary;
use windrow_storage::{LogFiles, Manifest, ReplayedFrame, StorageError};

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
    /// How many shards each epoch had.
    shards: HashMap<u32, u16>,
    /// Whole epochs were gone at the start.
    has_given_back: bool,
}

/// What reading meets.
pub(super) enum Met<'a> {
    /// A group of operations.
    Group(ReplayedFrame<'a>),
    /// Operations that this shard of so many has logged are missing before what comes next.
    Gap { shard: u16, shards: u16 },
    /// Nothing: what comes next is not durable yet.
    Nothing,
}

/// What is done about log that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// What is damaged is passed over; where the disk fails, reading fails.
    Fails,
    /// It is passed over, too.
    IsPassedOver,
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
            shards: manifest.epochs.iter().map(|entry| (entry.epoch, entry.shards)).collect(),
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
    /// Of the disk, or what `on_met` says.
    pub(super) fn read(
        &self,
        until: &Boundary,
        signals: &[Arc<SyncSignal>],
        unreadable: Unreadable,
        on_met: &mut dyn FnMut(Met<'_>, f64) -> Result<(), Ended>,
    ) -> Result<Option<i64>, Ended> {
        let logs: BTreeSet<(u32, u16)> = self.files.logs().into_iter().chain(self.known.clone()).collect();
        // Each with the last operation that is wanted of it.
        let logs: Vec<((u32, u16), u64)> = logs
            .into_iter()
            .map(|(epoch, shard)| ((epoch, shard), last_wanted(until, epoch, shard)))
            .filter(|&(_, last_ops)| last_ops > 0)
            .collect();
        // Of each log that holds something behind the last gap: its first operation there and the time of its group.
        let mut firsts: HashMap<(u32, u16), (u64, i64)> = HashMap::new();
        let mut lost: Vec<(u32, u16)> = Vec::new();
        for (at, &((epoch, shard), last_ops)) in logs.iter().enumerate() {
            let part_of = |read: f64| (at as f64 + read) / logs.len() as f64;
            let shards = self.shards.get(&epoch).copied().unwrap_or(1);
            // Of an epoch that is not known any more, any entity's.
            let gap = || Met::Gap { shard: if shards == 1 { 0 } else { shard }, shards };
            // Whether it is passed over. The error is for people.
            let is_passed = |error: StorageError| match error {
                StorageError::Corrupt(damage) => {
                    tracing::warn!("a backfill passes over damage in the log: {damage}");
                    Ok(())
                }
                error if unreadable == Unreadable::IsPassedOver => {
                    tracing::warn!("a backfill passes over log that cannot be read: {error}");
                    Ok(())
                }
                error => Err(Ended::Failed(error.to_string())),
            };
            let mut read_ops = 0;
            let mut has_gap = false;
            let mut reader = match self.files.reader(epoch, shard, 0) {
                Ok(reader) => Some(reader),
                Err(error) => {
                    is_passed(error)?;
                    has_gap = true;
                    None
                }
            };
            while let Some(open) = &mut reader
                && read_ops < last_ops
            {
                let until_ops = open.until_ops().min(last_ops).max(1);
                let error = match open.next() {
                    Ok(Some(frame)) => {
                        if has_gap || (read_ops == 0 && frame.first.ops() > 1) {
                            has_gap = false;
                            firsts.remove(&(epoch, shard));
                            on_met(gap(), part_of(0.0))?;
                        }
                        firsts.entry((epoch, shard)).or_insert((frame.first.ops(), frame.now_ms));
                        read_ops = frame.first.ops() + u64::from(frame.op_count) - 1;
                        let part = part_of((read_ops as f64 / until_ops as f64).min(1.0));
                        on_met(Met::Group(frame), part)?;
                        continue;
                    }
                    Ok(None) if epoch == self.epoch => {
                        // Written, but not durable yet.
                        signals[usize::from(shard)].request();
                        on_met(Met::Nothing, part_of(0.0))?;
                        thread::sleep(WAIT_STEP);
                        continue;
                    }
                    Ok(None) => break,
                    Err(error) => error,
                };
                is_passed(error)?;
                has_gap = true;
                if !open.pass_over() {
                    reader = None;
                }
            }
            // Nothing is left of it, or its end is not readable.
            if has_gap || (read_ops == 0 && self.known.contains(&(epoch, shard))) {
                firsts.remove(&(epoch, shard));
                lost.push((epoch, shard));
                on_met(gap(), part_of(1.0))?;
            }
        }
        Ok(complete_since(&lost, self.has_given_back, &firsts))
    }
}

/// The last operation of a log before `until`; 0: there is none.
fn last_wanted(until: &Boundary, epoch: u32, shard: u16) -> u64 {
    match epoch.cmp(&until.epoch) {
        Ordering::Less => u64::MAX,
        Ordering::Equal => until.ops.get(usize::from(shard)).copied().unwrap_or(0),
        Ordering::Greater => 0,
    }
}

/// Since when the log lacks nothing. `lost`: the logs of which nothing is left; `firsts`: of the others the first operation behind all
/// that is missing and the time of its group. `i64::MAX`: nothing is left that could say it.
fn complete_since(
    lost: &[(u32, u16)],
    has_given_back: bool,
    firsts: &HashMap<(u32, u16), (u64, i64)>,
) -> Option<i64> {
    // What is wholly gone was over when the next epoch that holds something began.
    let after = |epoch: u32| {
        let later = firsts.iter().filter(|((later, _), _)| *later > epoch);
        later.map(|(_, &(_, now_ms))| now_ms).min().unwrap_or(i64::MAX)
    };
    let cut = firsts.values().filter(|&&(first, _)| first > 1).map(|&(_, now_ms)| now_ms);
    let gone = lost.iter().map(|&(epoch, _)| after(epoch));
    let given_back = has_given_back.then(|| after(0));
    cut.chain(gone).chain(given_back).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_complete_since_nothing_of_it_is_gone() {
        let whole = HashMap::from([((1, 0), (1, 100)), ((1, 1), (1, 150)), ((2, 0), (1, 900))]);
        assert_eq!(complete_since(&[], false, &whole), None);
        let mut cut = whole.clone();
        cut.insert((1, 1), (40, 500));
        assert_eq!(complete_since(&[], false, &cut), Some(500), "its first operations are gone");
        let mut gone = whole.clone();
        gone.remove(&(1, 0));
        assert_eq!(complete_since(&[(1, 0)], false, &gone), Some(900), "all of a log is gone");
        assert_eq!(complete_since(&[], true, &whole), Some(100), "whole epochs are gone");
        gone.remove(&(2, 0));
        assert_eq!(complete_since(&[(2, 0)], false, &gone), Some(i64::MAX), "nothing is there behind it");
    }

    #[test]
    fn of_a_log_all_is_wanted_that_stands_before_the_boundary() {
        let until = Boundary { epoch: 2, ops: vec![7, 0] };
        let wanted = |epoch, shard| last_wanted(&until, epoch, shard);
        assert_eq!([wanted(1, 5), wanted(2, 0), wanted(2, 1)], [u64::MAX, 7, 0]);
        assert_eq!([wanted(2, 2), wanted(3, 0)], [0, 0], "what is behind the boundary does not matter");
    }
}
