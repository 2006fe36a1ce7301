//! What can be wrong with an image file.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::IMAGE_FORMAT;

/// Why an image file could not be written or used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// The disk refused.
    Io {
        /// What was being done: "create", "sync", ...
        action: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
    /// The file is not what was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the block begins that fails a check.
        offset: u64,
        /// Which check.
        reason: String,
    },
    /// The file is whole, but of a format that this version does not know.
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

impl ImageError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> ImageError {
        ImageError::Io { action, path: path.to_path_buf(), source }
    }

    /// True if the bytes are not those that were written: the file should be [quarantined](super::quarantine).
    pub fn is_damage(&self) -> bool {
        matches!(self, ImageError::Damaged { .. })
    }

    /// True if there is no such file: it was quarantined, or removed by hand.
    pub fn is_missing(&self) -> bool {
        matches!(self, ImageError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// True if the disk (or a quota) is full: the image can be tried again when somebody made room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, ImageError::Io { source, .. } if crate::error::is_disk_full(source))
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Io { action, path, source } => {
                write!(out, "cannot {action} {}: {source}", path.display())
            }
            ImageError::Damaged { path, offset, reason } => {
                write!(out, "the image {} is damaged at byte {offset}: {reason}", path.display())
            }
            ImageError::Format { path, format } => write!(
                out,
                "the image {} has format {format}, and this server reads {IMAGE_FORMAT}; start the version that wrote it",
                path.display()
            ),
        }
    }
}

impl Error for ImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ImageError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
