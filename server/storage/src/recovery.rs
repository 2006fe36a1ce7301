//! From a data directory as it was left to running logs.
//!
//! [`Recovery::open`] takes the lock and reads the manifest, [`Recovery::replay`] hands every operation of every epoch to the caller,
//! [`Replayed::start`] opens the next epoch with any number of shards. Until `start` has replaced the manifest nothing that recovery
//! reads is changed, so a crash anywhere in between costs nothing but time.
//!
//! **Torn or corrupt.** P is the last operation up to which a log reads without a gap, D the highest operation that anything states
//! durable: frames behind the damage whose header is whole, or the manifest.
//!
//! | what is met | D against P | verdict |
//! | --- | --- | --- |
//! | zeros to the end, no frame behind | D ≤ P | a clean end |
//! | bad bytes, but the next frame behind them starts at P + 1 | any | no operation was there; read on, mention it |
//! | bad bytes, a gap, or the end of the file | D > P | corrupt: refuse to start, name file and offset |
//! | bad bytes, a gap, or the end of the file | D ≤ P | a torn tail: the log ends at P |
//! | a segment missing, or its header damaged | any | corrupt: segments were synced whole before they got their names |
//! | a log of a closed epoch that ends early | D > P, by the manifest | corrupt |
//!
//! What stands between D and P was perhaps never synced, and syncing it now could lie (after a failed sync the kernel calls lost
//! pages clean). So it is copied into a *tail*: a new file of the new epoch, synced before the manifest names it. The manifest
//! records the cut at D, and nothing behind a cut is read again. Operations keep their positions.

mod next_epoch;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use crate::directory::DataDir;
use crate::disk::OpenMode;
use crate::error::LogDamage;
use crate::frame::Step;
use crate::log::{LogSyncer, ShardLog};
use crate::manifest::{EpochEntry, LogEnd, MANIFEST_FILE, ManifestState};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentName};
use crate::{Disk, Manifest, OnCorruption, Position, StorageError, StorageOptions};

use walk::{Located, LogWalk, Stop};

/// Damage without consequences that a report lists; there may be more.
const HARMLESS_DAMAGE_LISTED_MAX: usize = 100;
/// Bytes between two calls of the progress callback.
const PROGRESS_STEP_BYTES: u64 = 1024 * 1024;

/// One group of operations, as it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayedFrame<'a> {
    /// Shard in the epoch of the operations, which may have had another number of shards.
    pub shard: u16,
    /// Position of the first operation; the others follow.
    pub first: Position,
    /// The time they were decided at.
    pub now_ms: i64,
    /// How many there are.
    pub op_count: u32,
    /// The operations.
    pub ops: &'a [u8],
}

/// What the caller's callback may fail with.
pub type ReplayError = Box<dyn Error + Send + Sync>;

/// What replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Groups replayed.
    pub frames: u64,
    /// Operations replayed.
    pub operations: u64,
    /// The latest time any of them was decided at: the server's clock must not start before it.
    pub latest_now_ms: Option<i64>,
    /// Torn tails: what a crash left unfinished. Nothing that was durable is missing.
    pub torn: Vec<LogDamage>,
    /// Damage to durable operations that was given up, under [`OnCorruption::GiveUp`].
    pub given_up: Vec<LogDamage>,
    /// Damage that no operation was lost by, but which says something about the disk. The first hundred.
    pub harmless: Vec<LogDamage>,
}

/// A locked data directory whose manifest is good.
pub struct Recovery {
    directory: DataDir,
    options: StorageOptions,
    files: BTreeSet<SegmentName>,
}

/// A data directory whose log has been read.
pub struct Replayed {
    directory: DataDir,
    options: StorageOptions,
    report: Report,
    /// Ends of all epochs in the manifest, as read.
    ends: Vec<Vec<ReadEnd>>,
}

/// Where the log of one shard was found to end.
struct ReadEnd {
    end: LogEnd,
    /// In the epoch that was being written: the walk, to find the cut and the tail by.
    open: Option<LogWalk>,
}

/// Logs that run.
pub struct Started {
    /// The directory, for catalogue changes. Keep it as long as the logs.
    pub directory: DataDir,
    /// One pair for each shard.
    pub logs: Vec<(ShardLog, LogSyncer)>,
    /// Old files that could not be removed or cut: they only take room.
    pub warnings: Vec<String>,
}

impl Recovery {
    /// Takes the lock of `dir`, creating it if missing, and reads its manifest. A new directory gets `new_hash_key`.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: StorageOptions,
        new_hash_key: u128,
    ) -> Result<Recovery, StorageError> {
        options.check()?;
        let lock = DataDir::lock(disk.as_ref(), dir)?;
        let log_dir = DataDir::log_dir_of(dir);
        let names = disk.list(&log_dir).map_err(|e| StorageError::io("list", &log_dir, e))?;
        let files: BTreeSet<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
        let directory = match ManifestState::read(disk.as_ref(), dir) {
            ManifestState::Present(manifest) => DataDir::new(disk, dir, manifest, lock),
            ManifestState::Unreadable(reason) => {
                return Err(StorageError::ManifestUnreadable { path: dir.join(MANIFEST_FILE), reason });
            }
            ManifestState::Empty => {
                if let Some(file) = files.first() {
                    let file = log_dir.join(file.to_string());
                    return Err(StorageError::LogWithoutManifest { dir: dir.to_path_buf(), file });
                }
                // Before the first log file, so that a start which stops halfway is not taken for a lost manifest.
                let mut directory = DataDir::new(disk, dir, Manifest::new(new_hash_key), lock);
                directory.replace_manifest(Manifest::new(new_hash_key))?;
                directory
            }
        };
        let recovery = Recovery { directory, options, files };
        recovery.refuse_log_of_unknown_epochs()?;
        Ok(recovery)
    }

    /// The manifest: the catalogue to replay with, the hash key.
    pub fn manifest(&self) -> &Manifest {
        self.directory.manifest()
    }

    /// Reads the whole log: epochs ascending, in each the shards ascending, in each the operations as they were appended. After an
    /// error the caller throws away what it has built.
    ///
    /// `on_frame` takes one group; `on_progress` gets (bytes read, bytes in all) from time to time.
    pub fn replay(
        self,
        on_frame: &mut dyn FnMut(ReplayedFrame<'_>) -> Result<(), ReplayError>,
        on_progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Replayed, StorageError> {
        let mut replay = Replay {
            recovery: &self,
            report: Report::default(),
            done_bytes: 0,
            reported_bytes: 0,
            total_bytes: self.total_bytes()?,
            on_frame,
            on_progress,
        };
        let mut ends = Vec::new();
        for (index, entry) in self.manifest().epochs.iter().enumerate() {
            let is_open = index + 1 == self.manifest().epochs.len();
            let mut epoch_ends = Vec::new();
            for shard in 0..entry.shards {
                epoch_ends.push(match is_open {
                    true => replay.open_log(entry.epoch, shard)?,
                    false => replay.closed_log(entry, shard)?,
                });
            }
            ends.push(epoch_ends);
        }
        (replay.on_progress)(replay.total_bytes, replay.total_bytes);
        let report = replay.report;
        Ok(Replayed { directory: self.directory, options: self.options, report, ends })
    }

    /// A start that stopped before its manifest leaves segments without frames, and tails, which are copies. More than that is the
    /// log of an epoch that this manifest has never heard of.
    fn refuse_log_of_unknown_epochs(&self) -> Result<(), StorageError> {
        let newest = self.manifest().epoch;
        for name in &self.files {
            let SegmentName::Log { epoch, .. } = *name else { continue };
            if epoch > newest && !self.is_unused(*name)? {
                let file = self.directory.log_path(*name);
                return Err(StorageError::ManifestOutdated { file, manifest_epoch: newest });
            }
        }
        Ok(())
    }

    fn is_unused(&self, name: SegmentName) -> Result<bool, StorageError> {
        let path = self.directory.log_path(name);
        let failed = |error| StorageError::io("read", &path, error);
        let file = self.directory.disk().open(&path, OpenMode::Read).map_err(failed)?;
        let limit = file.len().map_err(failed)?;
        let Ok(segment) = Segment::read(file, path.clone()).map_err(failed)? else {
            return Ok(false);
        };
        let mut reader = segment.reader(SEGMENT_HEADER_BYTES, limit);
        Ok(matches!(reader.step().map_err(failed)?, Step::CleanEnd))
    }

    fn total_bytes(&self) -> Result<u64, StorageError> {
        let mut total = 0;
        for name in &self.files {
            if name.opened_epoch() <= self.manifest().epoch {
                let path = self.directory.log_path(*name);
                let file = self.directory.disk().open(&path, OpenMode::Read);
                total +=
                    file.and_then(|file| file.len()).map_err(|e| StorageError::io("measure", &path, e))?;
            }
        }
        Ok(total)
    }
}

impl Replayed {
    /// What was found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The manifest as it still is.
    pub fn manifest(&self) -> &Manifest {
        self.directory.manifest()
    }

    /// Opens the next epoch with `shards` shards: closes the one before, gives each shard an empty log. Durable when it returns.
    pub fn start(self, shards: u16, now_ms: i64) -> Result<Started, StorageError> {
        next_epoch::start(self, shards, now_ms)
    }
}

/// Replay in progress.
struct Replay<'a> {
    recovery: &'a Recovery,
    report: Report,
    done_bytes: u64,
    reported_bytes: u64,
    total_bytes: u64,
    on_frame: &'a mut dyn FnMut(ReplayedFrame<'_>) -> Result<(), ReplayError>,
    on_progress: &'a mut dyn FnMut(u64, u64),
}

impl Replay<'_> {
    /// A log that was being written: its end is for us to find.
    fn open_log(&mut self, epoch: u32, shard: u16) -> Result<ReadEnd, StorageError> {
        let numbers = self.recovery.files.iter().filter_map(|name| match *name {
            SegmentName::Log { epoch: e, shard: s, segment } if (e, s) == (epoch, shard) => Some(segment),
            _ => None,
        });
        let last = numbers.max().unwrap_or(0);
        let mut walk = LogWalk::new(epoch, shard);
        for segment in 0..=last {
            self.segment(&mut walk, SegmentName::Log { epoch, shard, segment }, None)?;
        }
        self.judge(&mut walk, true)?;
        let end = LogEnd {
            shard,
            segment: walk.end_segment,
            offset: walk.end_offset,
            ops: walk.last_ops(),
            tail: None,
        };
        Ok(ReadEnd { end, open: Some(walk) })
    }

    /// A log whose end the manifest states.
    fn closed_log(&mut self, entry: &EpochEntry, shard: u16) -> Result<ReadEnd, StorageError> {
        let epoch = entry.epoch;
        let mut end = entry.ends[usize::from(shard)];
        let mut walk = LogWalk::new(epoch, shard);
        walk.stated_ops = end.last_ops();
        if end.ops > 0 {
            for segment in 0..=end.segment {
                let limit = (segment == end.segment).then_some(end.offset);
                self.segment(&mut walk, SegmentName::Log { epoch, shard, segment }, limit)?;
            }
        }
        let before_tail = LogEnd {
            segment: walk.end_segment,
            offset: walk.end_offset,
            ops: walk.last_ops(),
            tail: None,
            ..end
        };
        if let Some(tail) = &mut end.tail {
            let name = SegmentName::Tail { opened_epoch: tail.opened_epoch, shard };
            self.segment(&mut walk, name, Some(tail.offset))?;
            (tail.offset, tail.ops) = (walk.end_offset, walk.last_ops());
        }
        if self.judge(&mut walk, false)? {
            let tail_was_read = walk.last_ops() > before_tail.ops;
            end = if tail_was_read { end } else { before_tail };
        }
        Ok(ReadEnd { end, open: None })
    }

    /// Applies the table above. True if the log now ends before what was durable, because it was given up.
    fn judge(&mut self, walk: &mut LogWalk, is_open: bool) -> Result<bool, StorageError> {
        let damage_of = |stop: Stop, walk: &LogWalk| LogDamage {
            file: stop.file,
            offset: stop.offset,
            reason: stop.reason,
            epoch: walk.epoch,
            shard: walk.shard,
            readable_ops: stop.readable_ops,
            durable_ops: walk.stated_ops,
            dir: self.recovery.directory.path().to_path_buf(),
        };
        for stop in std::mem::take(&mut walk.harmless) {
            if self.report.harmless.len() < HARMLESS_DAMAGE_LISTED_MAX {
                self.report.harmless.push(damage_of(stop, walk));
            }
        }
        let readable_ops = walk.last_ops();
        let lost = walk.stated_ops > readable_ops;
        let Some(stop) =
            walk.stop.take().or_else(|| lost.then(|| walk.stop_at_end(&self.recovery.directory)))
        else {
            return Ok(false);
        };
        let corrupt = lost || (stop.of_segment && is_open);
        if !corrupt && !is_open {
            // Cut and complete: the damage is behind the last operation.
            walk.harmless.push(stop);
            return self.judge(walk, is_open);
        }
        let damage = damage_of(stop, walk);
        match (corrupt, self.recovery.options.on_corruption) {
            (false, _) => self.report.torn.push(damage),
            (true, OnCorruption::Refuse) => return Err(StorageError::Corrupt(Box::new(damage))),
            (true, OnCorruption::GiveUp) => self.report.given_up.push(damage),
        }
        // What is left is all there is to be durable.
        walk.stated_ops = walk.stated_ops.min(readable_ops);
        Ok(corrupt)
    }

    fn segment(
        &mut self,
        walk: &mut LogWalk,
        name: SegmentName,
        limit: Option<u64>,
    ) -> Result<(), StorageError> {
        let base = self.done_bytes;
        let (epoch, shard) = (walk.epoch, walk.shard);
        let read_bytes = walk.segment(&self.recovery.directory, name, limit, &mut |located: Located<
            '_,
        >| {
            let done_bytes = base + located.frame.end_offset;
            if done_bytes >= self.reported_bytes + PROGRESS_STEP_BYTES {
                self.reported_bytes = done_bytes;
                (self.on_progress)(done_bytes.min(self.total_bytes), self.total_bytes);
            }
            let header = located.frame.header;
            if header.op_count == 0 {
                return Ok(());
            }
            let first = Position::new(epoch, header.first_ops)?;
            let (now_ms, op_count) = (header.now_ms, header.op_count);
            (self.on_frame)(ReplayedFrame { shard, first, now_ms, op_count, ops: located.frame.ops })
                .map_err(|source| StorageError::Replay { epoch, shard, first_ops: first.ops(), source })?;
            self.report.frames += 1;
            self.report.operations += u64::from(op_count);
            self.report.latest_now_ms = self.report.latest_now_ms.max(Some(now_ms));
            Ok(())
        })?;
        self.done_bytes = base + read_bytes;
        Ok(())
    }
}
