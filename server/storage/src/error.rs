//! The errors of this crate, with the values that a person needs to act on them.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::image::ImageError;
use crate::position::{EPOCH_MAX, OPS_MAX};

/// Everything that can go wrong with a data directory.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk refused; nothing that was acknowledged is affected.
    Io {
        /// What was being done: "create", "sync", ...
        action: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
    /// A log write or sync has failed earlier in this process; the outcome of what was in flight is unknown until a restart.
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The group does not fit into log bytes that are already allocated. Nothing was written. Ask [`crate::ShardLog::room`] first.
    NoRoom {
        /// Bytes of operations in the group.
        needed_bytes: usize,
        /// Bytes of operations that fit now.
        room_bytes: usize,
    },
    /// An epoch or an operation count is beyond what a position can hold.
    PositionOverflow {
        /// The epoch asked for.
        epoch: u32,
        /// The operation count asked for.
        ops: u64,
    },
    /// Another process holds the data directory.
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// The manifest exists but cannot be trusted. Never treated as a fresh start.
    ManifestUnreadable {
        /// The manifest file.
        path: PathBuf,
        /// Which check failed.
        reason: String,
    },
    /// Files of a log or of images stand in a directory that has no manifest.
    LogWithoutManifest {
        /// The data directory.
        dir: PathBuf,
        /// One of the files.
        file: PathBuf,
    },
    /// Log files hold operations of an epoch that the manifest does not know: the manifest is older than the log.
    ManifestOutdated {
        /// The log file of the later epoch.
        file: PathBuf,
        /// The newest epoch in the manifest.
        manifest_epoch: u32,
    },
    /// The log no longer begins where a replay would have to begin.
    LogGivenBack {
        /// The data directory.
        dir: PathBuf,
        /// The epoch that a replay would begin in; 0: in the first, without an image.
        epoch: u32,
        /// The newest epoch whose log is gone.
        given_back: u32,
    },
    /// The manifest would grow beyond its bound; the change was not made.
    ManifestTooLarge {
        /// Its size with the change.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// An image could not be published.
    Image(ImageError),
    /// Operations that were stated durable cannot be read.
    Corrupt(Box<LogDamage>),
    /// A setting that cannot work.
    Options {
        /// Which one, and what it may be.
        reason: String,
    },
    /// The caller's replay callback refused a frame.
    Replay {
        /// Epoch of the frame.
        epoch: u32,
        /// Shard of the frame, in that epoch.
        shard: u16,
        /// Operation count of its first operation.
        first_ops: u64,
        /// The callback's error.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Where a log is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDamage {
    /// The damaged (or missing) file.
    pub file: PathBuf,
    /// Where in the file the damage begins.
    pub offset: u64,
    /// Which check failed.
    pub reason: String,
    /// Epoch of the damaged log.
    pub epoch: u32,
    /// Shard of the damaged log, in that epoch.
    pub shard: u16,
    /// Last operation before the damage.
    pub readable_ops: u64,
    /// Last operation that a later frame, or the manifest, states durable.
    pub durable_ops: u64,
    /// The data directory, for the repair command.
    pub dir: PathBuf,
}

impl StorageError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> StorageError {
        StorageError::Io { action, path: path.to_path_buf(), source }
    }

    /// True after a failed log write or sync: only a restart helps.
    pub fn is_poisoned(&self) -> bool {
        matches!(self, StorageError::Poisoned { .. })
    }

    /// True if there were not enough allocated log bytes: refuse the write now, try again later.
    pub fn is_no_room(&self) -> bool {
        matches!(self, StorageError::NoRoom { .. })
    }

    /// True if the disk (or a quota) is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            StorageError::Io { source, .. } => is_disk_full(source),
            StorageError::Image(error) => error.is_disk_full(),
            _ => false,
        }
    }

    /// The damage, if this is a refusal to start over a corrupt log.
    pub fn corruption(&self) -> Option<&LogDamage> {
        match self {
            StorageError::Corrupt(damage) => Some(damage),
            _ => None,
        }
    }
}

impl From<ImageError> for StorageError {
    fn from(error: ImageError) -> StorageError {
        StorageError::Image(error)
    }
}

/// Errors that go away when somebody makes room.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl fmt::Display for StorageError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::Io { action, path, source } => {
                write!(out, "cannot {action} {}: {source}", path.display())?;
                if is_disk_full(source) {
                    out.write_str("; make room on that disk, nothing is lost by waiting")?;
                }
                Ok(())
            }
            StorageError::Poisoned { reason } => write!(
                out,
                "the log has failed ({reason}); no write is accepted until the server is restarted, \
                 and the outcome of those in flight is unknown"
            ),
            StorageError::NoRoom { needed_bytes, room_bytes } => write!(
                out,
                "{needed_bytes} bytes of operations do not fit the {room_bytes} bytes of log that are allocated; \
                 try again when a segment has been prepared"
            ),
            StorageError::PositionOverflow { epoch, ops } => write!(
                out,
                "position ({epoch}, {ops}) is beyond ({EPOCH_MAX}, {OPS_MAX}); restart the server to open a new epoch"
            ),
            StorageError::Locked { dir } => write!(
                out,
                "the data directory {} is in use by another process; stop it, or give another directory",
                dir.display()
            ),
            StorageError::ManifestUnreadable { path, reason } => write!(
                out,
                "the manifest {} cannot be read: {reason}; restore it from a backup of this directory",
                path.display()
            ),
            StorageError::LogWithoutManifest { dir, file } => write!(
                out,
                "{} has log or image files ({}) but no manifest; restore the manifest, or give an empty directory",
                dir.display(),
                file.display()
            ),
            StorageError::ManifestOutdated { file, manifest_epoch } => write!(
                out,
                "{} holds operations, but the manifest knows no epoch after {manifest_epoch}; \
                 restore the manifest that belongs to this log",
                file.display()
            ),
            StorageError::LogGivenBack { dir, epoch: 0, given_back } => write!(
                out,
                "{}: the log up to epoch {given_back} has been given back, and there is no image to begin with; \
                 restore the images from a backup of this directory",
                dir.display()
            ),
            StorageError::LogGivenBack { dir, epoch, given_back } => write!(
                out,
                "{}: the log up to epoch {given_back} has been given back, and the image is of epoch {epoch}; \
                 restore a newer image from a backup of this directory",
                dir.display()
            ),
            StorageError::ManifestTooLarge { bytes, bytes_max } => {
                write!(
                    out,
                    "the manifest would take {bytes} bytes, more than {bytes_max}; drop streams first"
                )
            }
            StorageError::Image(error) => error.fmt(out),
            StorageError::Corrupt(damage) => write!(
                out,
                "the log is corrupt: {damage}. Restore the file, or run `windrow log repair {}` to give up what follows the damage",
                damage.dir.display()
            ),
            StorageError::Options { reason } => out.write_str(reason),
            StorageError::Replay { epoch, shard, first_ops, source } => {
                write!(out, "replay of epoch {epoch}, shard {shard}, operation {first_ops} failed: {source}")
            }
        }
    }
}

impl fmt::Display for LogDamage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogDamage { file, offset, reason, epoch, shard, readable_ops, durable_ops, dir: _ } = self;
        write!(
            out,
            "{} at byte {offset}: {reason}; epoch {epoch}, shard {shard} can be read up to operation {readable_ops}, \
             and operations up to {durable_ops} are known to have been durable",
            file.display()
        )
    }
}

impl Error for StorageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StorageError::Io { source, .. } => Some(source),
            StorageError::Image(error) => error.source(),
            StorageError::Replay { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
