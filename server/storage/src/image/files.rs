//! The files in `images/`: their names, and what happens to those that no longer count.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::ImageError;
use crate::Disk;
use crate::disk::remove_if_exists;
use crate::segment::TEMPORARY_SUFFIX;

const SUFFIX: &str = ".img";
const DAMAGED_SUFFIX: &str = ".damaged";

/// Which image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// Number of the image.
    pub image: u64,
    /// The shard whose memory it holds.
    pub shard: u16,
}

impl ImageName {
    /// The name's meaning; `None` for files that are no image files.
    pub fn parse(name: &str) -> Option<ImageName> {
        let (image, shard) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let image = u64::from_str_radix(image, 16).ok()?;
        let parsed = ImageName { image, shard: u16::from_str_radix(shard, 16).ok()? };
        // One spelling for each name: what parses otherwise ("+1-…") is not ours.
        (parsed.to_string() == name).then_some(parsed)
    }

    /// The same, of files in preparation and damaged ones, too.
    pub(crate) fn parse_any(name: &str) -> Option<ImageName> {
        let ends = [TEMPORARY_SUFFIX, DAMAGED_SUFFIX];
        ImageName::parse(ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name))
    }

    /// The file's path in the directory of images.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }

    pub(crate) fn temporary_path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}{TEMPORARY_SUFFIX}"))
    }

    pub(crate) fn damaged_path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}{DAMAGED_SUFFIX}"))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08x}-{:04x}{SUFFIX}", self.image, self.shard)
    }
}

/// Puts an image file aside whose contents cannot be trusted, durably, so that no start uses its image again. From any thread; a file
/// that is gone already is fine. Gives the file's new path.
///
/// # Errors
/// [`ImageError::Io`]: then the next start finds the damage by itself.
pub fn quarantine(disk: &dyn Disk, dir: &Path, name: ImageName) -> Result<PathBuf, ImageError> {
    let (path, aside) = (name.path(dir), name.damaged_path(dir));
    match disk.rename(&path, &aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(ImageError::io("rename", &path, error));
        }
        _ => {}
    }
    disk.sync_dir(dir).map_err(|error| ImageError::io("sync", dir, error))?;
    Ok(aside)
}

/// Removes what belongs to none of the images `kept` (those that the manifest names): files in preparation, of images that were never
/// published or are given up, and damaged ones of these. Other files stay. Gives the names of those removed. Not while an image is being
/// made: its files are in preparation, too.
///
/// # Errors
/// [`ImageError::Io`]; those not removed yet are still there, and mean nothing.
pub fn remove_unnamed(disk: &dyn Disk, dir: &Path, kept: &BTreeSet<u64>) -> Result<Vec<String>, ImageError> {
    let mut removed = Vec::new();
    for file in disk.list(dir).map_err(|error| ImageError::io("list", dir, error))? {
        let is_in_preparation = file.strip_suffix(TEMPORARY_SUFFIX).and_then(ImageName::parse).is_some();
        let named = ImageName::parse(file.strip_suffix(DAMAGED_SUFFIX).unwrap_or(&file));
        if is_in_preparation || named.is_some_and(|name| !kept.contains(&name.image)) {
            let path = dir.join(&file);
            remove_if_exists(disk, &path).map_err(|error| ImageError::io("remove", &path, error))?;
            removed.push(file);
        }
    }
    Ok(removed)
}

/// Removes the files of an image of `shards` shards, in preparation or whole. For one that will not be published.
///
/// # Errors
/// [`ImageError::Io`]; those not removed yet mean nothing.
pub fn remove_image(disk: &dyn Disk, dir: &Path, image: u64, shards: u16) -> Result<(), ImageError> {
    for shard in 0..shards {
        let name = ImageName { image, shard };
        for path in [name.temporary_path(dir), name.path(dir)] {
            remove_if_exists(disk, &path).map_err(|error| ImageError::io("remove", &path, error))?;
        }
    }
    Ok(())
}
