//! From a data directory as it was left to running logs.
//!
//! [`Recovery::open`] takes the lock and reads the manifest, [`Recovery::replay`] hands every operation of every epoch to the caller,
//! [`Replayed::start`] opens the next epoch with any number of shards. Until `start` has replaced the manifest nothing that recovery
//! reads is changed, so a crash anywhere in between costs nothing but time.
//!
//! **Torn or corrupt.** P is the last operation up to which a log reads without a gap, D the highest operation that anything states
//! durable: frames whose header is whole, behind the damage too, the manifest's ends of closed logs, and its images, which are
//! published only when the log is durable up to their ends.
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
//! A replay from an image takes what the image holds, up to its start S, for read: P is never below S. So of damage in what is older
//! than the image, or of older segments that are gone, nothing follows but a warning:
//!
//! | what is met | behind it | verdict |
//! | --- | --- | --- |
//! | bad bytes, a gap, a segment missing or its header damaged | a frame that starts at or below S + 1 | older than the image: read on, mention it |
//! | the same | a frame that starts above S + 1, or nothing | as above, with P at least S |
//! | bytes that the disk cannot read | a frame that starts at or below S + 1 | older than the image: read on, mention it |
//! | the same | anything else, and without an image | an error: what is there may be good once the disk reads again |
//!
//! What stands between D and P was perhaps never synced, and syncing it now could lie (after a failed sync the kernel calls lost
//! pages clean). So it is copied into a *tail*: a new file of the new epoch, synced before the manifest names it. The manifest
//! records the cut at D, and nothing behind a cut is read again. Operations keep their positions.

mod from;
mod next_epoch;
mod plan;
mod replay;
mod survey;
#[cfg(test)]
mod tests;
mod walk;

pub use from::ReplayFrom;
pub use survey::{LogSurvey, Reading};

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::DataDir;
use crate::disk::OpenMode;
use crate::error::LogDamage;
use crate::frame::Step;
use crate::image::{ImageName, ImageReader};
use crate::log::{LogSyncer, ShardLog};
use crate::manifest::{LogEnd, MANIFEST_FILE, ManifestState};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentName};
use crate::{Disk, ImageEntry, Manifest, Position, StorageError, StorageOptions};

use plan::Plan;
use replay::Replay;
use walk::LogWalk;

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
    /// The latest time any of them was decided at: the server's clock must not start before it, nor before what the image says.
    pub latest_now_ms: Option<i64>,
    /// Torn tails: what a crash left unfinished. Nothing that was durable is missing.
    pub torn: Vec<LogDamage>,
    /// Damage to durable operations that was given up, under [`OnCorruption::GiveUp`].
    pub given_up: Vec<LogDamage>,
    /// Damage that no operation was lost by, but which says something about the disk. The first hundred.
    pub harmless: Vec<LogDamage>,
    /// Damage that was met in log older than the image. The first hundred; more may be in what was not read.
    pub older: Vec<LogDamage>,
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
                let images_dir = DataDir::images_dir_of(dir);
                let images = disk.list(&images_dir).map_err(|e| StorageError::io("list", &images_dir, e))?;
                let image = images.iter().find(|file| ImageName::parse_any(file).is_some());
                let file = files.first().map(|file| log_dir.join(file.to_string()));
                if let Some(file) = file.or(image.map(|image| images_dir.join(image))) {
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

    /// The newest image of which every file opens.
    pub fn newest_whole_image(&self) -> Option<&ImageEntry> {
        let dir = self.directory.images_dir();
        let opens = |image: u64, shard| ImageReader::open(self.directory.disk(), &dir, image, shard).is_ok();
        let mut newest = self.manifest().images.iter().rev();
        newest.find(|entry| (0..entry.shards).all(|shard| opens(entry.image, shard)))
    }

    /// The disk and the directory of image files on it: see [`DataDir::images`].
    pub fn images(&self) -> (Arc<dyn Disk>, PathBuf) {
        self.directory.images()
    }

    /// Reads the log: epochs ascending, in each the shards ascending, in each the operations as they were appended. All of it, or what
    /// is behind an image. After an error the caller throws away what it has built.
    ///
    /// `on_frame` takes one group; the first of a log behind an image may begin at or below the image's start, and the applied
    /// positions of the records say what of it is new. `on_progress` gets (bytes read, bytes in all) from time to time.
    pub fn replay(
        self,
        from: Option<&ReplayFrom>,
        on_frame: &mut dyn FnMut(ReplayedFrame<'_>) -> Result<(), ReplayError>,
        on_progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Replayed, StorageError> {
        from::check(from, self.directory.path(), self.manifest())?;
        let plan = Plan::new(&self.directory, &self.files, from, false)?;
        let mut replay =
            Replay::new(&self.directory, self.options.on_corruption, plan.bytes, on_frame, on_progress);
        let mut ends = Vec::new();
        for epoch in &plan.epochs {
            ends.push(
                epoch.iter().map(|log| replay.log(log)).collect::<Result<Vec<ReadEnd>, StorageError>>()?,
            );
        }
        let report = replay.finish();
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
}

impl Replayed {
    /// What was found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Takes note of images that were tried and could not be used, for whatever reason: in the books they count for nothing, and the
    /// next image that is published takes their place.
    pub fn note_unusable(&mut self, images: impl IntoIterator<Item = u64>) {
        images.into_iter().for_each(|image| self.directory.note_unusable(image));
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
