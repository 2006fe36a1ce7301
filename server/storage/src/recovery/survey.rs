//! Looks at the logs of a directory without starting on it.

use std::cell::Cell;

use super::plan::Plan;
use super::replay::Replay;
use super::{Recovery, ReplayError, ReplayFrom, ReplayedFrame, Report, from};
use crate::{OnCorruption, Position, StorageError};

/// Which operations are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// From this one on; `None`: all that are there.
    pub from: Option<Position>,
    /// Of this shard, in each epoch; `None`: of all.
    pub shard: Option<u16>,
}

/// What was found in one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSurvey {
    /// Its epoch.
    pub epoch: u32,
    /// Its shard, in that epoch.
    pub shard: u16,
    /// The first operation that is there.
    pub first_ops: Option<u64>,
    /// The last operation up to which it reads, or up to which an image holds it.
    pub last_ops: u64,
    /// Operations and groups that were read, torn tails, damage. [`Report::given_up`] is damage for which a start from the older one
    /// of the two newest images would be refused; nothing was given up.
    pub report: Report,
}

impl LogSurvey {
    /// Durable operations are damaged, whether a start needs them or not.
    pub fn is_damaged(&self) -> bool {
        !self.report.given_up.is_empty() || !self.report.older.is_empty()
    }
}

impl Recovery {
    /// Reads every log, epochs ascending, in each the shards ascending, as far as it can be read. Of what stands before the older one
    /// of the two newest images the beginning may be missing. Changes nothing.
    pub fn survey(
        &self,
        reading: Reading,
        on_frame: &mut dyn FnMut(ReplayedFrame<'_>) -> Result<(), ReplayError>,
        on_progress: &mut dyn FnMut(u64, u64),
        on_log: &mut dyn FnMut(LogSurvey),
    ) -> Result<(), StorageError> {
        let from = reading.from.map_or_else(|| self.needed(), |position| Some(self.behind(position)));
        let plan = Plan::new(&self.directory, &self.files, from.as_ref(), reading.from.is_none())?;
        let first = Cell::new(None);
        let mut note_first = |frame: ReplayedFrame<'_>| {
            first.set(first.get().or(Some(frame.first.ops())));
            on_frame(frame)
        };
        let mut replay =
            Replay::new(&self.directory, OnCorruption::GiveUp, plan.bytes, &mut note_first, on_progress);
        let wanted = plan.epochs.iter().flatten().filter(|log| {
            reading.shard.is_none_or(|shard| shard == log.shard)
                && reading.from.is_none_or(|position| log.epoch >= position.epoch())
        });
        for log in wanted {
            first.set(None);
            let end = replay.log(log)?.end;
            on_log(LogSurvey {
                epoch: log.epoch,
                shard: log.shard,
                first_ops: first.get(),
                last_ops: end.last_ops(),
                report: replay.take_report(),
            });
        }
        replay.finish();
        Ok(())
    }

    /// Whether the log still begins where a start from the older one of the two newest images begins, or, without one, at its
    /// beginning.
    pub fn check_beginning(&self) -> Result<(), StorageError> {
        from::check(self.needed().as_ref(), self.directory.path(), self.manifest())
    }

    /// Where a start may have to begin: at the older one of the two newest images.
    fn needed(&self) -> Option<ReplayFrom> {
        let mut newest = self.manifest().images.iter().rev().take(2);
        newest.next_back().map(ReplayFrom::from)
    }

    fn behind(&self, position: Position) -> ReplayFrom {
        let entry = self.manifest().epochs.iter().find(|entry| entry.epoch == position.epoch());
        let shards = usize::from(entry.map_or(0, |entry| entry.shards));
        ReplayFrom { epoch: position.epoch(), starts: vec![position.ops().saturating_sub(1); shards] }
    }
}
