//! A data directory that this process holds: its lock, its manifest, its poison.
//!
//! ```text
//! <dir>/lock            locked while a process uses the directory
//! <dir>/manifest        see `manifest`
//! <dir>/log/*.wal       see `segment`
//! <dir>/images/*.img    see `image`
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{DirLock, OpenMode, remove_if_exists, write_all_at};
use crate::error::is_disk_full;
use crate::manifest::MANIFEST_FILE;
use crate::planted::{Mistake, is_planted};
use crate::segment::{SegmentName, TEMPORARY_SUFFIX};
use crate::{Catalogue, Disk, LogFiles, Manifest, Poison, StorageError};

const LOG_DIR: &str = "log";
const IMAGES_DIR: &str = "images";

/// A locked data directory and its manifest. Dropping it gives the lock back.
pub struct DataDir {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    log_dir: PathBuf,
    manifest: Manifest,
    /// Images that the start could not use, whether or not a file of them was put aside.
    unusable: BTreeSet<u64>,
    files: LogFiles,
    poison: Poison,
    _lock: DirLock,
}

impl DataDir {
    /// Creates the directories where they are missing and takes the lock.
    pub(crate) fn lock(disk: &dyn Disk, dir: &Path) -> Result<DirLock, StorageError> {
        let create = |path: &Path, parent: &Path| -> Result<(), StorageError> {
            disk.create_dir(path).map_err(|e| StorageError::io("create", path, e))?;
            disk.sync_dir(parent).map_err(|e| StorageError::io("sync", parent, e))
        };
        let parent = match dir.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        create(dir, parent)?;
        let lock = disk.lock_dir(dir).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => StorageError::Locked { dir: dir.to_path_buf() },
            _ => StorageError::io("lock", dir, error),
        })?;
        create(&dir.join(LOG_DIR), dir)?;
        create(&dir.join(IMAGES_DIR), dir)?;
        Ok(lock)
    }

    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, manifest: Manifest, lock: DirLock) -> DataDir {
        let log_dir = DataDir::log_dir_of(dir);
        let dir = dir.to_path_buf();
        let files = LogFiles::new(Arc::clone(&disk), &log_dir);
        let unusable = BTreeSet::new();
        files.note_images(&manifest, &unusable);
        DataDir { disk, dir, log_dir, manifest, unusable, files, poison: Poison::default(), _lock: lock }
    }

    pub(crate) fn log_dir_of(dir: &Path) -> PathBuf {
        dir.join(LOG_DIR)
    }

    pub(crate) fn images_dir_of(dir: &Path) -> PathBuf {
        dir.join(IMAGES_DIR)
    }

    /// Where the image files are.
    pub fn images_dir(&self) -> PathBuf {
        DataDir::images_dir_of(&self.dir)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The manifest as it is on disk.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The books of the log's files.
    pub fn files(&self) -> &LogFiles {
        &self.files
    }

    /// The switch that a failed write or sync of any log of this directory throws.
    pub fn poison(&self) -> &Poison {
        &self.poison
    }

    /// Changes the streams. The change is durable when this returns, or, after an error, not made; but after
    /// [`StorageError::Poisoned`] its outcome is unknown until a restart. Gives the new version of the catalogue. Waits for the disk:
    /// not for a shard's thread.
    pub fn update_catalogue(&mut self, change: impl FnOnce(&mut Catalogue)) -> Result<u64, StorageError> {
        let mut manifest = self.manifest.clone();
        change(&mut manifest.catalogue);
        let (before, after) = (&self.manifest.catalogue, &manifest.catalogue);
        assert!(
            after.next_stream_id >= before.next_stream_id && after.next_layout_id >= before.next_layout_id,
            "ids are never reused"
        );
        manifest.catalogue.version = before.version + 1;
        self.replace_manifest(manifest)?;
        Ok(self.manifest.catalogue.version)
    }

    /// Write, sync, rename, sync the directory. Until the rename has succeeded the old manifest stands, and a full disk does no harm.
    pub(crate) fn replace_manifest(&mut self, mut manifest: Manifest) -> Result<(), StorageError> {
        self.poison.check()?;
        manifest.raise_format();
        // Better no server than a directory that none can open.
        assert_eq!(manifest.check(), Ok(()), "a manifest is written that could not be read");
        let bytes = manifest.encode()?;
        let path = self.dir.join(MANIFEST_FILE);
        let temporary = self.dir.join(format!("{MANIFEST_FILE}{TEMPORARY_SUFFIX}"));
        let disk = Arc::clone(&self.disk);
        let write = || -> io::Result<()> {
            remove_if_exists(disk.as_ref(), &temporary)?;
            let file = disk.open(&temporary, OpenMode::CreateNew)?;
            write_all_at(file.as_ref(), &bytes, 0)?;
            if is_planted(Mistake::ManifestNotSynced) { Ok(()) } else { file.sync_data() }
        };
        if let Err(error) = write() {
            // Room for others. If this fails too, the next attempt removes it.
            let _ = remove_if_exists(self.disk.as_ref(), &temporary);
            return Err(StorageError::io("write", &path, error));
        }
        let mut publish = self.disk.rename(&temporary, &path);
        if let Err(error) = &publish
            && is_disk_full(error)
        {
            // A directory that is written anew may need room. A rename that failed has changed nothing.
            let _ = remove_if_exists(self.disk.as_ref(), &temporary);
            return publish.map_err(|error| StorageError::io("replace", &path, error));
        }
        publish = publish.and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = publish {
            return Err(self.poison.poison(&format!("replacing {} failed: {error}", path.display())));
        }
        self.files.note_images(&manifest, &self.unusable);
        self.manifest = manifest;
        Ok(())
    }

    /// Takes note of an image that the start could not use: it counts neither as one that another start can fall back on nor as
    /// one that lets log go, and the next image that is published takes its place.
    pub(crate) fn note_unusable(&mut self, image: u64) {
        self.unusable.insert(image);
        self.files.note_images(&self.manifest, &self.unusable);
    }

    pub(crate) fn is_unusable(&self, image: u64) -> bool {
        self.unusable.contains(&image)
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    pub(crate) fn log_path(&self, name: SegmentName) -> PathBuf {
        self.log_dir.join(name.to_string())
    }
}
