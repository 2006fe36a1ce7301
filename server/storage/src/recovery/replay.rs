//! Replay in progress: walks the planned files, hands their operations over, and judges where each log stops.

use super::plan::LogPlan;
use super::walk::{Located, LogWalk, Stop};
use super::{ReadEnd, ReplayError, ReplayedFrame, Report};
use crate::directory::DataDir;
use crate::error::LogDamage;
use crate::manifest::LogEnd;
use crate::segment::SegmentName;
use crate::{OnCorruption, Position, StorageError};

/// Damage without consequences that a report lists; there may be more.
const HARMLESS_DAMAGE_LISTED_MAX: usize = 100;
/// Bytes between two calls of the progress callback.
const PROGRESS_STEP_BYTES: u64 = 1024 * 1024;

/// Takes one group.
pub(super) type FrameCallback<'a> = dyn FnMut(ReplayedFrame<'_>) -> Result<(), ReplayError> + 'a;

/// Replay in progress.
pub(super) struct Replay<'a> {
    directory: &'a DataDir,
    on_corruption: OnCorruption,
    report: Report,
    done_bytes: u64,
    reported_bytes: u64,
    total_bytes: u64,
    on_frame: &'a mut FrameCallback<'a>,
    on_progress: &'a mut (dyn FnMut(u64, u64) + 'a),
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        directory: &'a DataDir,
        on_corruption: OnCorruption,
        total_bytes: u64,
        on_frame: &'a mut FrameCallback<'a>,
        on_progress: &'a mut (dyn FnMut(u64, u64) + 'a),
    ) -> Replay<'a> {
        let report = Report::default();
        Replay {
            directory,
            on_corruption,
            report,
            done_bytes: 0,
            reported_bytes: 0,
            total_bytes,
            on_frame,
            on_progress,
        }
    }

    pub(super) fn finish(mut self) -> Report {
        (self.on_progress)(self.total_bytes, self.total_bytes);
        self.take_report()
    }

    /// What was found since the last call.
    pub(super) fn take_report(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }

    /// Replays one log; says where it ends.
    pub(super) fn log(&mut self, plan: &LogPlan) -> Result<ReadEnd, StorageError> {
        match plan.end {
            None => self.open_log(plan),
            Some(end) if plan.is_skipped() => Ok(ReadEnd { end, open: None }),
            Some(end) => self.closed_log(plan, end),
        }
    }

    /// A log that was being written: its end is for us to find.
    fn open_log(&mut self, plan: &LogPlan) -> Result<ReadEnd, StorageError> {
        let mut walk = LogWalk::new(plan);
        for segment in plan.segments.clone() {
            self.segment(&mut walk, plan.name(segment), None)?;
        }
        self.judge(&mut walk, true)?;
        let end = LogEnd {
            shard: plan.shard,
            segment: walk.end_segment,
            offset: walk.end_offset,
            ops: walk.last_ops(),
            tail: None,
        };
        Ok(ReadEnd { end, open: Some(walk) })
    }

    /// A log whose end the manifest states.
    fn closed_log(&mut self, plan: &LogPlan, mut end: LogEnd) -> Result<ReadEnd, StorageError> {
        let mut walk = LogWalk::new(plan);
        let mut before_tail = LogEnd { tail: None, ..end };
        if plan.reads_segments() {
            for segment in plan.segments.clone() {
                let limit = (segment == end.segment).then_some(end.offset);
                self.segment(&mut walk, plan.name(segment), limit)?;
            }
            (before_tail.segment, before_tail.offset) = (walk.end_segment, walk.end_offset);
            before_tail.ops = walk.last_ops();
        }
        if let Some(tail) = &mut end.tail {
            let name = SegmentName::Tail { opened_epoch: tail.opened_epoch, shard: plan.shard };
            self.segment(&mut walk, name, Some(tail.offset))?;
            (tail.offset, tail.ops) = (walk.end_offset, walk.last_ops());
        }
        if self.judge(&mut walk, false)? {
            let tail_was_read = walk.last_ops() > before_tail.ops;
            end = if tail_was_read { end } else { before_tail };
        }
        Ok(ReadEnd { end, open: None })
    }

    /// Applies the tables of [`super`]. True if the log now ends before what was durable, because it was given up.
    fn judge(&mut self, walk: &mut LogWalk, is_open: bool) -> Result<bool, StorageError> {
        for stop in std::mem::take(&mut walk.harmless) {
            let damage = self.damage_of(stop, walk);
            list(&mut self.report.harmless, damage);
        }
        for stop in std::mem::take(&mut walk.older) {
            let damage = self.damage_of(stop, walk);
            list(&mut self.report.older, damage);
        }
        let readable_ops = walk.last_ops();
        let lost = walk.stated_ops > readable_ops;
        let Some(stop) = walk.stop.take().or_else(|| lost.then(|| walk.stop_at_end(self.directory))) else {
            return Ok(false);
        };
        if let Some(error) = stop.unreadable {
            // Not in what the image holds, after all: what is there may be good once the disk reads again.
            return Err(StorageError::io("read", &stop.file, error));
        }
        let corrupt = lost || (stop.of_segment && is_open);
        if !corrupt && !is_open {
            // Cut and complete: the damage is behind the last operation.
            walk.harmless.push(stop);
            return self.judge(walk, is_open);
        }
        let damage = LogDamage { readable_ops, ..self.damage_of(stop, walk) };
        match (corrupt, self.on_corruption) {
            (false, _) => self.report.torn.push(damage),
            (true, OnCorruption::Refuse) => return Err(StorageError::Corrupt(Box::new(damage))),
            (true, OnCorruption::GiveUp) => self.report.given_up.push(damage),
        }
        // What is left is all there is to be durable.
        walk.stated_ops = walk.stated_ops.min(readable_ops);
        Ok(corrupt)
    }

    fn damage_of(&self, stop: Stop, walk: &LogWalk) -> LogDamage {
        LogDamage {
            file: stop.file,
            offset: stop.offset,
            reason: stop.reason,
            epoch: walk.epoch,
            shard: walk.shard,
            readable_ops: stop.readable_ops,
            durable_ops: walk.stated_ops,
            dir: self.directory.path().to_path_buf(),
        }
    }

    fn segment(
        &mut self,
        walk: &mut LogWalk,
        name: SegmentName,
        limit: Option<u64>,
    ) -> Result<(), StorageError> {
        let base = self.done_bytes;
        let (epoch, shard, after_ops) = (walk.epoch, walk.shard, walk.handed_over_after);
        let read_bytes = walk.segment(self.directory, name, limit, &mut |located: Located<'_>| {
            let done_bytes = base + located.frame.end_offset;
            if done_bytes >= self.reported_bytes + PROGRESS_STEP_BYTES {
                self.reported_bytes = done_bytes;
                (self.on_progress)(done_bytes.min(self.total_bytes), self.total_bytes);
            }
            let header = located.frame.header;
            if header.op_count == 0 {
                return Ok(());
            }
            self.report.latest_now_ms = self.report.latest_now_ms.max(Some(header.now_ms));
            if header.last_ops() <= after_ops {
                return Ok(());
            }
            let first = Position::new(epoch, header.first_ops)?;
            let (now_ms, op_count) = (header.now_ms, header.op_count);
            (self.on_frame)(ReplayedFrame { shard, first, now_ms, op_count, ops: located.frame.ops })
                .map_err(|source| StorageError::Replay { epoch, shard, first_ops: first.ops(), source })?;
            self.report.frames += 1;
            self.report.operations += u64::from(op_count);
            Ok(())
        })?;
        self.done_bytes = base + read_bytes;
        Ok(())
    }
}

fn list(damages: &mut Vec<LogDamage>, damage: LogDamage) {
    if damages.len() < HARMLESS_DAMAGE_LISTED_MAX {
        damages.push(damage);
    }
}
