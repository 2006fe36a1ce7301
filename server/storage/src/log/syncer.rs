//! The half of a log that may take its time: syncs, and preparing the next segment.

use std::path::PathBuf;
use std::sync::Arc;

use super::Shared;
use crate::files::{ClosedFile, LogFiles};
use crate::planted::{Mistake, is_planted};
use crate::segment::{Preparation, Segment, SegmentHeader, SegmentName, TAIL_SEGMENT};
use crate::{Disk, Poison, Position, SegmentFill, SplitMix64, StorageError};

/// Belongs to one sync thread, which may serve several logs.
pub struct LogSyncer {
    shared: Arc<Shared>,
    poison: Poison,
    disk: Arc<dyn Disk>,
    log_dir: PathBuf,
    epoch: u32,
    shard: u16,
    segment_bytes: u64,
    next_segment: u32,
    salts: SplitMix64,
    preparation: Option<Preparation>,
    files: LogFiles,
    fill: SegmentFill,
    /// The segment that was being written, and the byte up to which writing it to the disk was begun.
    begun: (u32, u64),
}

/// [`LogSyncer::write_behind`] begins whole multiples of this: blocks that are still being filled would be written twice.
const WRITE_BEHIND_BYTES: u64 = 256 << 10;

/// What a step has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The durable position now.
    pub durable: Position,
    /// True if this step synced: whoever waits for the durable position should look.
    pub synced: bool,
    /// The spare segment.
    pub spare: SpareState,
}

impl Progress {
    /// True if the next step has something to do at once. After a failure to prepare a spare, wait a while instead.
    pub fn wants_another_step(&self) -> bool {
        self.spare == SpareState::Preparing
    }
}

/// How far the spare segment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpareState {
    /// It is there.
    Ready,
    /// This step has just made it: a shard that answered -MISCONF has room again.
    MadeReady,
    /// A slice of it was done.
    Preparing,
    /// No room on the disk, or under `log-max-bytes`, or another error that does not touch what was logged; the next step tries again.
    Failed {
        /// What the disk said.
        reason: String,
    },
}

/// What a syncer is made of.
pub(crate) struct SyncerSetup {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log_dir: PathBuf,
    pub(crate) first: SegmentHeader,
    pub(crate) segment_bytes: u64,
    pub(crate) salts: SplitMix64,
    pub(crate) files: LogFiles,
    pub(crate) fill: SegmentFill,
}

impl LogSyncer {
    pub(crate) fn new(shared: Arc<Shared>, setup: SyncerSetup, poison: Poison) -> LogSyncer {
        LogSyncer {
            shared,
            poison,
            disk: setup.disk,
            log_dir: setup.log_dir,
            epoch: setup.first.epoch,
            shard: setup.first.shard,
            segment_bytes: setup.segment_bytes,
            next_segment: setup.first.segment + 1,
            salts: setup.salts,
            preparation: None,
            files: setup.files,
            fill: setup.fill,
            begun: (setup.first.segment, 0),
        }
    }

    /// How the segments that are prepared from now on get their bytes.
    pub fn set_fill(&mut self, fill: SegmentFill) {
        self.fill = fill;
    }

    /// Syncs what is written and not synced, then does a slice of the spare segment if one is missing. Fails only when the log is
    /// poisoned; a failed sync poisons it.
    pub fn step(&mut self) -> Result<Progress, StorageError> {
        let synced = self.sync()?;
        let spare = self.prepare_spare()?;
        Ok(Progress { durable: self.shared.durable(), synced, spare })
    }

    /// Only the first half of [`LogSyncer::step`]; true if there was something to sync.
    pub fn sync(&mut self) -> Result<bool, StorageError> {
        self.poison.check()?;
        if !self.needs_sync() {
            return Ok(false);
        }
        let target = self.shared.begin_sync();
        let newest = target.segments.len() - 1;
        for (index, segment) in target.segments.iter().enumerate() {
            let is_skipped = is_planted(Mistake::SyncSkipped)
                || (index < newest && is_planted(Mistake::FullSegmentNotSynced));
            if !is_skipped && let Err(error) = segment.file.sync_data() {
                let path = segment.path.display();
                return Err(self.poison.poison(&format!("syncing {path} failed: {error}")));
            }
        }
        for closed in self.shared.finish_sync(&target) {
            let header = &closed.segment.header;
            let file = ClosedFile {
                name: SegmentName::Log { epoch: header.epoch, shard: header.shard, segment: header.segment },
                bytes: header.segment_bytes,
                limit: header.segment_bytes,
                last_ops: Some(closed.last_ops),
                ended_ms: Some(closed.ended_ms),
            };
            self.files.closed(file);
        }
        Ok(true)
    }

    /// Begins to write to the disk what was logged since the last time, so that a sync later finds little left to do: done all at
    /// once, that keeps its core for milliseconds. Waits for nothing and makes nothing durable. True if there was enough to begin.
    pub fn write_behind(&mut self) -> Result<bool, StorageError> {
        self.poison.check()?;
        let segment = self.shared.newest_segment();
        let number = segment.header.segment;
        let from = if self.begun.0 == number { self.begun.1 } else { 0 };
        let to = segment.written_end() / WRITE_BEHIND_BYTES * WRITE_BEHIND_BYTES;
        if to <= from {
            return Ok(false);
        }
        if let Err(error) = segment.file.write_behind(from..to, 0..0) {
            let path = segment.path.display();
            return Err(self.poison.poison(&format!("writing {path} to the disk failed: {error}")));
        }
        self.begun = (number, to);
        Ok(true)
    }

    /// Only the second half of [`LogSyncer::step`].
    pub fn prepare_spare(&mut self) -> Result<SpareState, StorageError> {
        self.poison.check()?;
        if !self.wants_spare() {
            return Ok(SpareState::Ready);
        }
        if self.next_segment == TAIL_SEGMENT {
            return Ok(SpareState::Failed {
                reason: "the epoch has no segment numbers left; restart".to_owned(),
            });
        }
        let mut preparation = match self.preparation.take() {
            Some(preparation) => preparation,
            None => match self.files.take_room(self.segment_bytes) {
                Ok(recycled) => self.begin_preparation(recycled),
                Err(reason) => {
                    self.shared.note_spare_failure(Some(reason.clone()));
                    return Ok(SpareState::Failed { reason });
                }
            },
        };
        match preparation.step() {
            Ok(None) => {
                self.preparation = Some(preparation);
                Ok(SpareState::Preparing)
            }
            Ok(Some(segment)) => {
                self.spare_is_ready(segment);
                Ok(SpareState::MadeReady)
            }
            Err(failure) if failure.sync_failed => Err(self.poison.poison(&failure.error.to_string())),
            Err(failure) => {
                let unused = preparation.discard();
                self.files.give_room_back(self.segment_bytes, unused);
                let reason = failure.error.to_string();
                self.shared.note_spare_failure(Some(reason.clone()));
                Ok(SpareState::Failed { reason })
            }
        }
    }

    /// True while frames are written and not synced.
    pub fn needs_sync(&self) -> bool {
        self.shared.needs_sync()
    }

    /// True while there is no spare segment.
    pub fn wants_spare(&self) -> bool {
        self.shared.spare_bytes() == 0
    }

    /// The shard whose log this is.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    fn begin_preparation(&mut self, recycled: Option<PathBuf>) -> Preparation {
        let header = SegmentHeader {
            salt: self.salts.next_word(),
            epoch: self.epoch,
            segment: self.next_segment,
            shard: self.shard,
            opened_epoch: self.epoch,
            segment_bytes: self.segment_bytes,
            created_ms: self.shared.last_now_ms(),
        };
        let name = SegmentName::Log { epoch: self.epoch, shard: self.shard, segment: self.next_segment };
        Preparation::new(Arc::clone(&self.disk), &self.log_dir, name, header, recycled, self.fill)
    }

    fn spare_is_ready(&mut self, segment: Segment) {
        assert_eq!(segment.header.segment, self.next_segment);
        self.next_segment += 1;
        self.shared.put_spare(Arc::new(segment));
    }
}
