//! Reading what the log still holds, up to a boundary, in an order in which each entity's operations stand as they were applied: epoch by
//! epoch, and in each, log by log. What is missing, given back or damaged, is told where it stood: what a deletion may have been there
//! for must not come back.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use windrow_engine::backfill::Boundary;
use windrow_storage::{LogFiles, LogReader, Manifest, ReplayedFrame, StorageError};

/// Epoch and shard.
type LogId = (u32, u16);

/// The log of a data directory, and what it once held.
#[derive(Clone)]
pub struct KeptLog {
    files: LogFiles,
    /// The epoch that is being written.
    epoch: u32,
    /// The logs of earlier epochs that have operations.
    known: Vec<LogId>,
    /// How many shards each epoch had.
    shards: HashMap<u32, u16>,
    /// Whole epochs were gone at the start.
    has_given_back: bool,
}

/// What reading meets.
pub enum Met<'a> {
    /// A group of operations.
    Group {
        /// The group.
        frame: ReplayedFrame<'a>,
        /// What is missing before it.
        gap: Option<Gap>,
        /// The part of all logs that is read.
        part: f64,
    },
    /// Operations are missing, at the end of a log.
    Gap(Gap),
    /// What comes next is not durable yet in this shard's log.
    NotDurable {
        /// The shard.
        shard: u16,
    },
    /// Something cannot be read. Whoever goes on all the same passes over it.
    Unreadable(StorageError),
    /// Nothing: go on.
    Nothing,
    /// All is read.
    End,
}

/// Operations that a shard has logged are missing before what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The shard.
    pub shard: u16,
    /// Of so many.
    pub shards: u16,
}

/// One reading of the log, from its beginning to a boundary.
pub struct KeptLogReader {
    log: KeptLog,
    /// Each log with the last operation that is wanted of it.
    wanted: Vec<(LogId, u64)>,
    /// Which of them is read.
    at: usize,
    current: Current,
    /// Of each log that holds something behind the last gap: its first operation there and the time of its group.
    firsts: HashMap<LogId, (u64, i64)>,
    /// The logs of which nothing is left, or the end is not.
    lost: Vec<LogId>,
}

/// How far one log is read.
#[derive(Default)]
struct Current {
    is_open: bool,
    reader: Option<LogReader>,
    read_ops: u64,
    has_gap: bool,
    /// The reader met something that it cannot read.
    has_failed: bool,
    /// The reader says that nothing follows.
    is_over: bool,
    /// The next log is next.
    is_closed: bool,
}

impl KeptLog {
    /// The log of a directory that was started with this manifest.
    pub fn new(files: LogFiles, manifest: &Manifest) -> Self {
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

    /// Its files.
    pub fn files(&self) -> &LogFiles {
        &self.files
    }

    /// Reads all groups up to `until`, from the beginning.
    pub fn read(&self, until: &Boundary) -> KeptLogReader {
        let logs: BTreeSet<LogId> = self.files.logs().into_iter().chain(self.known.clone()).collect();
        let wanted = logs
            .into_iter()
            .map(|(epoch, shard)| ((epoch, shard), last_wanted(until, epoch, shard)))
            .filter(|&(_, last_ops)| last_ops > 0);
        KeptLogReader {
            log: self.clone(),
            wanted: wanted.collect(),
            at: 0,
            current: Current::default(),
            firsts: HashMap::new(),
            lost: Vec::new(),
        }
    }
}

impl KeptLogReader {
    /// What comes next.
    #[expect(clippy::should_implement_trait, reason = "a group is lent, which an iterator cannot do")]
    pub fn next(&mut self) -> Met<'_> {
        if self.current.is_closed {
            self.current = Current::default();
            self.at += 1;
        }
        let Some(&(log, last_ops)) = self.wanted.get(self.at) else { return Met::End };
        let (epoch, shard) = log;
        let shards = self.log.shards.get(&epoch).copied().unwrap_or(1);
        // Of an epoch that is not known any more, any entity's.
        let gap = Gap { shard: if shards == 1 { 0 } else { shard }, shards };
        let (at, logs) = (self.at as f64, self.wanted.len() as f64);
        let Current { is_open, reader, read_ops, has_gap, has_failed, is_over, is_closed } =
            &mut self.current;
        if !std::mem::replace(is_open, true) {
            match self.log.files.reader(epoch, shard, 0) {
                Ok(opened) => *reader = Some(opened),
                Err(error) => {
                    *has_gap = true;
                    return Met::Unreadable(error);
                }
            }
        }
        if std::mem::take(has_failed) && reader.as_mut().is_some_and(|reader| !reader.pass_over()) {
            *reader = None;
        }
        let open = match reader {
            Some(open) if *read_ops < last_ops && !*is_over => open,
            _ => {
                let is_cut = *has_gap || (*read_ops == 0 && self.log.known.contains(&log));
                *is_closed = true;
                if !is_cut {
                    return Met::Nothing;
                }
                self.firsts.remove(&log);
                self.lost.push(log);
                return Met::Gap(gap);
            }
        };
        let until_ops = open.until_ops().min(last_ops).max(1);
        match open.next() {
            Ok(Some(frame)) => {
                let first = frame.first.ops();
                let gap = (*has_gap || (*read_ops == 0 && first > 1)).then_some(gap);
                if gap.is_some() {
                    *has_gap = false;
                    self.firsts.remove(&log);
                }
                self.firsts.entry(log).or_insert((first, frame.now_ms));
                *read_ops = first + u64::from(frame.op_count) - 1;
                let part = (at + (*read_ops as f64 / until_ops as f64).min(1.0)) / logs;
                Met::Group { frame, gap, part }
            }
            Ok(None) if epoch == self.log.epoch => Met::NotDurable { shard },
            Ok(None) => {
                *is_over = true;
                Met::Nothing
            }
            Err(error) => {
                (*has_gap, *has_failed) = (true, true);
                Met::Unreadable(error)
            }
        }
    }

    /// Since when the log lacks nothing, once all is read; `None`: from the beginning on.
    pub fn complete_since(&self) -> Option<i64> {
        complete_since(&self.lost, self.log.has_given_back, &self.firsts)
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
