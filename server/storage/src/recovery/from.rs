//! Where a replay begins.

use std::path::Path;

use crate::manifest::ImageEntry;
use crate::{Manifest, StorageError};

/// Behind an image: in its epoch after the operations it was begun at, and all later epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayFrom {
    /// The epoch.
    pub epoch: u32,
    /// For each shard of that epoch the last operation that need not be replayed.
    pub starts: Vec<u64>,
}

impl From<&ImageEntry> for ReplayFrom {
    fn from(entry: &ImageEntry) -> ReplayFrom {
        ReplayFrom { epoch: entry.epoch, starts: entry.starts.clone() }
    }
}

impl ReplayFrom {
    /// The last operation of a log that need not be replayed; `None` if none of it needs to be.
    pub(crate) fn floor(&self, epoch: u32, shard: u16) -> Option<u64> {
        match epoch.cmp(&self.epoch) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(self.starts[usize::from(shard)]),
            std::cmp::Ordering::Greater => Some(0),
        }
    }
}

/// Whether the log can be replayed from there.
pub(super) fn check(from: Option<&ReplayFrom>, dir: &Path, manifest: &Manifest) -> Result<(), StorageError> {
    let given_back = manifest.epochs_given_back;
    let epoch = from.map_or(0, |from| from.epoch);
    if epoch <= given_back && given_back > 0 {
        return Err(StorageError::LogGivenBack { dir: dir.to_path_buf(), epoch, given_back });
    }
    if let Some(from) = from {
        let fits = |shards: u16| usize::from(shards) == from.starts.len();
        let listed = manifest.epochs.iter().find(|entry| entry.epoch == from.epoch);
        assert!(from.epoch <= manifest.epoch, "epoch {} is to come", from.epoch);
        assert!(
            listed.is_none_or(|entry| fits(entry.shards)),
            "{from:?} does not fit the shards of its epoch"
        );
    }
    Ok(())
}
