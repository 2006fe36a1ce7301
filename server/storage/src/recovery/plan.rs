//! Which files a replay reads, and how far.

use std::collections::BTreeSet;

use super::ReplayFrom;
use crate::directory::DataDir;
use crate::disk::OpenMode;
use crate::manifest::{EpochEntry, LogEnd};
use crate::position::OPS_MAX;
use crate::segment::{Segment, SegmentName};
use crate::{Manifest, StorageError};

/// The logs of all epochs in the manifest, as they are read.
pub(super) struct Plan {
    pub(super) epochs: Vec<Vec<LogPlan>>,
    /// Of all files that are read.
    pub(super) bytes: u64,
}

/// One shard's log of one epoch.
pub(super) struct LogPlan {
    pub(super) epoch: u32,
    pub(super) shard: u16,
    /// The last operation that need not be replayed.
    pub(super) floor: u64,
    /// The highest operation that the manifest states durable.
    pub(super) stated_ops: u64,
    /// The segments that are read, and how far the last one is, if the manifest says it.
    pub(super) segments: std::ops::RangeInclusive<u32>,
    /// The last operation before those segments, as far as the first of them says it.
    pub(super) before_ops: u64,
    /// Where a closed log ends; `None`: it was being written.
    pub(super) end: Option<LogEnd>,
    /// What is at or below the floor is read and handed over too, as far as it is there.
    pub(super) is_whole: bool,
}

impl LogPlan {
    /// Nothing of it is read.
    pub(super) fn is_skipped(&self) -> bool {
        self.end.is_some_and(|end| end.last_ops() <= self.handed_over_after())
    }

    /// The segments of it are read: not only its tail.
    pub(super) fn reads_segments(&self) -> bool {
        self.end.is_none_or(|end| end.ops > self.handed_over_after())
    }

    /// The last operation that is not handed over.
    pub(super) fn handed_over_after(&self) -> u64 {
        if self.is_whole { 0 } else { self.floor }
    }

    pub(super) fn name(&self, segment: u32) -> SegmentName {
        SegmentName::Log { epoch: self.epoch, shard: self.shard, segment }
    }
}

impl Plan {
    /// What is to be read behind `from`; all there is before it too, if `is_whole`.
    pub(super) fn new(
        directory: &DataDir,
        files: &BTreeSet<SegmentName>,
        from: Option<&ReplayFrom>,
        is_whole: bool,
    ) -> Result<Plan, StorageError> {
        let manifest = directory.manifest();
        let mut plan = Plan { epochs: Vec::new(), bytes: 0 };
        for (index, entry) in manifest.epochs.iter().enumerate() {
            let is_open = index + 1 == manifest.epochs.len();
            let mut logs = Vec::new();
            for shard in 0..entry.shards {
                let log = plan_log(directory, files, entry, shard, (is_open, is_whole), from)?;
                plan.bytes += log_bytes(directory, files, &log)?;
                logs.push(log);
            }
            plan.epochs.push(logs);
        }
        Ok(plan)
    }
}

fn plan_log(
    directory: &DataDir,
    files: &BTreeSet<SegmentName>,
    entry: &EpochEntry,
    shard: u16,
    (is_open, is_whole): (bool, bool),
    from: Option<&ReplayFrom>,
) -> Result<LogPlan, StorageError> {
    let epoch = entry.epoch;
    let end = (!is_open).then(|| entry.ends[usize::from(shard)]);
    let floor = match from.map(|from| from.floor(epoch, shard)) {
        None => 0,
        Some(Some(floor)) => floor,
        // An epoch before: all of it.
        Some(None) => end.map_or(OPS_MAX, |end| end.last_ops()),
    };
    let there: Vec<u32> = numbers(files, epoch, shard).collect();
    let last = end.map_or_else(|| there.last().copied().unwrap_or(0), |end| end.segment);
    let stated_ops = match end {
        Some(end) => end.last_ops(),
        None => floor.max(stated_by_images(directory.manifest(), epoch, shard)),
    };
    let mut log =
        LogPlan { epoch, shard, floor, stated_ops, segments: 0..=last, before_ops: 0, end, is_whole };
    if floor > 0 && is_whole {
        // Where retention has been, what is left begins later.
        let first = there.first().copied().filter(|first| *first <= last);
        log.is_whole = first.is_some() || log.end.is_none_or(|end| end.last_ops() > floor);
        log.segments = first.unwrap_or(last)..=last;
    } else if floor > 0 && log.reads_segments() {
        let (first, before_ops) = first_segment(directory, &log, &there, last);
        (log.segments, log.before_ops) = (first..=last, before_ops);
    }
    Ok(log)
}

fn numbers(files: &BTreeSet<SegmentName>, epoch: u32, shard: u16) -> impl Iterator<Item = u32> {
    let name = |segment| SegmentName::Log { epoch, shard, segment };
    files.range(name(0)..=name(u32::MAX)).filter_map(|name| match *name {
        SegmentName::Log { segment, .. } => Some(segment),
        SegmentName::Tail { .. } => None,
    })
}

/// An image is published when the log is durable up to its ends.
fn stated_by_images(manifest: &Manifest, epoch: u32, shard: u16) -> u64 {
    let of_epoch = manifest.images.iter().filter(|image| image.epoch == epoch);
    of_epoch.map(|image| image.ends[usize::from(shard)]).max().unwrap_or(0)
}

/// The segment to begin with: the last that begins at or below what is to be replayed first. Where a segment begins says its first
/// frame; one that does not say it is passed over, and read if that of an earlier one leads there. With the last operation before it.
fn first_segment(directory: &DataDir, log: &LogPlan, there: &[u32], last: u32) -> (u32, u64) {
    let there = &there[..there.partition_point(|number| *number <= last)];
    for &number in there.iter().rev() {
        if let Some(first) = first_ops(directory, log.name(number)).filter(|first| *first <= log.floor + 1) {
            return (number, first - 1);
        }
    }
    (there.first().copied().unwrap_or(last), 0)
}

/// The number of the first operation in a segment, or of the next to come if its first frame is empty; `None` if it cannot be read.
fn first_ops(directory: &DataDir, name: SegmentName) -> Option<u64> {
    let path = directory.log_path(name);
    let file = directory.disk().open(&path, OpenMode::Read).ok()?;
    let segment = Segment::read(file, path).ok()?.ok()?;
    Some(segment.first_frame().ok()??.first_ops)
}

fn log_bytes(directory: &DataDir, files: &BTreeSet<SegmentName>, log: &LogPlan) -> Result<u64, StorageError> {
    if log.is_skipped() {
        return Ok(0);
    }
    let tail = log.end.and_then(|end| end.tail);
    let tail = tail.map(|tail| SegmentName::Tail { opened_epoch: tail.opened_epoch, shard: log.shard });
    let segments = numbers(files, log.epoch, log.shard)
        .filter(|number| log.reads_segments() && log.segments.contains(number))
        .map(|number| log.name(number));
    let mut bytes = 0;
    for name in segments.chain(tail.filter(|tail| files.contains(tail))) {
        let path = directory.log_path(name);
        let file = directory.disk().open(&path, OpenMode::Read);
        bytes += file.and_then(|file| file.len()).map_err(|e| StorageError::io("measure", &path, e))?;
    }
    Ok(bytes)
}
