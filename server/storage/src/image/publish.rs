//! From files in preparation to an image that a start uses: the last thing that happens to it is that the manifest names it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ImageError, ImageName, ImageReader, remove_image, remove_unnamed};
use crate::manifest::ImageEntry;
use crate::{DataDir, Disk, StorageError};

/// Fewest images that can be kept: a start that finds the newest one damaged needs another.
pub const IMAGES_KEPT_MIN: usize = 2;

/// What became of the images that were there before.
#[derive(Debug, Default)]
pub struct Published {
    /// Images that the manifest does not name any more: too old, or not whole.
    pub given_up: Vec<u64>,
    /// Why files of such images are still there: the next start removes them.
    pub warning: Option<ImageError>,
}

impl DataDir {
    /// The disk and the directory of image files on it, for [`ImageWriter::create`](super::ImageWriter::create) and
    /// [`ImageReader::open`].
    pub fn images(&self) -> (Arc<dyn Disk>, PathBuf) {
        (Arc::clone(self.disk()), self.images_dir())
    }

    /// A number that no image has, and none had: neither one that the manifest names nor one of which there is a file.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn next_image(&self) -> Result<u64, ImageError> {
        let named = self.manifest().images.iter().map(|entry| entry.image);
        let files = list(self.disk().as_ref(), &self.images_dir())?;
        let numbers = files.iter().filter_map(|file| Some(ImageName::parse_any(file)?.image));
        Ok(named.chain(numbers).max().unwrap_or(0) + 1)
    }

    /// Makes the image that a start uses: renames its [finished](super::ImageWriter::finish) files, syncs their directory, looks
    /// whether each is what `entry` says, and names it in the manifest. Then gives up images that the start could not use or that are
    /// not whole any more, and all but the newest `images_kept` of those that are. The log must be durable up to the entry's ends. Waits for the disk: not for a
    /// shard's thread.
    ///
    /// # Errors
    /// The manifest is as it was and the files are gone; but after [`StorageError::Poisoned`] by this call it is unknown until a
    /// restart which manifest stands, and both can be used.
    ///
    /// # Panics
    /// If `images_kept` is below [`IMAGES_KEPT_MIN`].
    pub fn publish_image(
        &mut self,
        entry: ImageEntry,
        images_kept: usize,
    ) -> Result<Published, StorageError> {
        assert!(
            images_kept >= IMAGES_KEPT_MIN,
            "{images_kept} images are kept, fewer than {IMAGES_KEPT_MIN}"
        );
        let published = self.poison().check().and_then(|()| self.name_image(&entry, images_kept));
        if let Err(error) = &published
            && !error.is_poisoned()
        {
            // Room for others. If this fails too, the next start removes them.
            let (disk, dir) = self.images();
            let _ = remove_image(disk.as_ref(), &dir, entry.image, entry.shards);
        }
        published
    }

    /// Gives up an image: after this no start looks for it. For one that was found damaged.
    ///
    /// # Errors
    /// The manifest is as it was; but see [`DataDir::publish_image`] about poison.
    pub fn forget_image(&mut self, image: u64) -> Result<Published, StorageError> {
        let mut manifest = self.manifest().clone();
        manifest.images.retain(|entry| entry.image != image);
        if manifest.images.len() == self.manifest().images.len() {
            return Ok(Published::default());
        }
        self.replace_manifest(manifest)?;
        Ok(Published { given_up: vec![image], warning: self.remove_unnamed_images().err() })
    }

    /// Removes image files that mean nothing: see [`remove_unnamed`].
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn remove_unnamed_images(&self) -> Result<Vec<String>, ImageError> {
        let kept: BTreeSet<u64> = self.manifest().images.iter().map(|entry| entry.image).collect();
        remove_unnamed(self.disk().as_ref(), &self.images_dir(), &kept)
    }

    fn name_image(&mut self, entry: &ImageEntry, images_kept: usize) -> Result<Published, StorageError> {
        let (disk, dir) = self.images();
        for name in names_of(entry) {
            let (from, to) = (name.temporary_path(&dir), name.path(&dir));
            disk.rename(&from, &to).map_err(|error| ImageError::io("rename", &from, error))?;
        }
        if !planted::is_directory_left_unsynced() {
            disk.sync_dir(&dir).map_err(|error| ImageError::io("sync", &dir, error))?;
        }
        check_files(&disk, &dir, entry)?;
        let files: BTreeSet<String> = list(disk.as_ref(), &dir)?.into_iter().collect();
        let mut manifest = self.manifest().clone();
        // One that the start could not use, or of which a file was put aside, is no good; kept, it would count as one of those that
        // a start can fall back on.
        manifest.images.retain(|older| {
            !self.is_unusable(older.image) && names_of(older).all(|name| files.contains(&name.to_string()))
        });
        manifest.images.push(entry.clone());
        let too_many = manifest.images.len().saturating_sub(images_kept);
        manifest.images.drain(..too_many);
        let is_kept = |image: u64| manifest.images.iter().any(|kept| kept.image == image);
        let given_up =
            self.manifest().images.iter().map(|older| older.image).filter(|image| !is_kept(*image));
        let given_up = given_up.collect();
        self.replace_manifest(manifest)?;
        Ok(Published { given_up, warning: self.remove_unnamed_images().err() })
    }
}

fn names_of(entry: &ImageEntry) -> impl Iterator<Item = ImageName> {
    let image = entry.image;
    (0..entry.shards).map(move |shard| ImageName { image, shard })
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, ImageError> {
    disk.list(dir).map_err(|error| ImageError::io("list", dir, error))
}

/// That the files under their names are those that the entry is about: a manifest that names others would be found out only when it
/// is needed.
fn check_files(disk: &Arc<dyn Disk>, dir: &Path, entry: &ImageEntry) -> Result<(), ImageError> {
    let (mut bytes, mut records) = (0, 0);
    for name in names_of(entry) {
        let file = ImageReader::open(disk, dir, name.image, name.shard)?;
        let header = file.header();
        assert_eq!(
            (header.epoch, header.shards, header.created_ms),
            (entry.epoch, entry.shards, entry.created_ms),
            "{name} is of another image than its entry"
        );
        bytes += file.bytes();
        records += file.records();
    }
    assert_eq!((bytes, records), (entry.bytes, entry.records), "the files of image {}", entry.image);
    Ok(())
}

mod planted {
    //! The mistake that the crash test must be able to find.

    #[cfg(test)]
    thread_local! {
        /// Set: names of image files are not made durable on this thread.
        pub(super) static DIRECTORY_IS_LEFT_UNSYNCED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    pub(super) fn is_directory_left_unsynced() -> bool {
        #[cfg(test)]
        return DIRECTORY_IS_LEFT_UNSYNCED.get();
        #[cfg(not(test))]
        false
    }
}

#[cfg(test)]
mod tests;
