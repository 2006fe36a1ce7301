//! The images that a manifest names.

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::position::OPS_MAX;

/// Most images a manifest names.
pub const IMAGES_MAX: usize = 64;

/// A published image: all of it was on disk, and the log durable up to its ends, before the manifest named it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// Its number, from 1; never used again.
    pub image: u64,
    /// The epoch whose log carries on from it.
    pub epoch: u32,
    /// How many shards that epoch has: so many files, starts and ends.
    pub shards: u16,
    /// When it was begun, by the server's clock.
    pub created_ms: i64,
    /// A time by that clock when all of it had been taken: nothing in it is later. Absent in those that were published before this
    /// was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// For each shard the last operation of its log that was applied when the image was begun: a replay begins behind it.
    pub starts: Vec<u64>,
    /// For each shard the last operation that anything in the image can hold.
    pub ends: Vec<u64>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
}

/// Whether `images` can be true of the log that `manifest` describes.
pub(super) fn check(images: &[ImageEntry], manifest: &Manifest) -> Result<(), String> {
    if images.len() > IMAGES_MAX {
        return Err(format!("{} images are more than {IMAGES_MAX}", images.len()));
    }
    for entry in images {
        check_entry(entry, manifest)?;
    }
    for (older, newer) in images.iter().zip(&images[1.min(images.len())..]) {
        let same_log = (older.epoch, older.shards) == (newer.epoch, newer.shards);
        let goes_back =
            same_log && older.starts.iter().zip(&newer.starts).any(|(older, newer)| older > newer);
        if newer.image <= older.image || newer.epoch < older.epoch || goes_back {
            return Err(format!("image {} is listed after image {}", newer.image, older.image));
        }
    }
    Ok(())
}

fn check_entry(entry: &ImageEntry, manifest: &Manifest) -> Result<(), String> {
    let &ImageEntry { image, epoch, shards, ref starts, ref ends, .. } = entry;
    if epoch == 0 || epoch > manifest.epoch {
        return Err(format!("image {image} is of epoch {epoch}, and the newest is {}", manifest.epoch));
    }
    let listed = manifest.epochs.iter().find(|listed| listed.epoch == epoch);
    if shards == 0 || listed.is_some_and(|listed| listed.shards != shards) {
        return Err(format!("image {image} is of {shards} shards, its epoch {epoch} is not"));
    }
    let numbers_fit = starts.len() == usize::from(shards)
        && ends.len() == usize::from(shards)
        && starts.iter().zip(ends).all(|(start, end)| start <= end && *end <= OPS_MAX);
    if !numbers_fit {
        return Err(format!("the starts and ends of image {image} do not fit its {shards} shards"));
    }
    Ok(())
}
