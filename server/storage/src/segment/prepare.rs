//! Makes a segment ready for frames: zeros first (written in slices, or allocated), then the header, then the name. Only what is complete and durable ever
//! bears a log file's name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, SegmentName, TEMPORARY_SUFFIX};
use crate::disk::{Disk, DiskFile, OpenMode, remove_if_exists, write_all_at};
use crate::{SegmentFill, StorageError};

/// Bytes of zeros written and synced in one step. Synced each time, so that no sync of the log waits behind a whole segment of them.
const SLICE_BYTES: usize = 4 * 1024 * 1024;
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// A segment in preparation.
pub(crate) struct Preparation {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    temporary: PathBuf,
    header: SegmentHeader,
    recycled: Option<PathBuf>,
    fill: SegmentFill,
    file: Option<Arc<dyn DiskFile>>,
    zeroed_bytes: u64,
}

/// Why a step of preparation failed.
pub(crate) struct PrepareError {
    pub(crate) error: StorageError,
    /// The disk lost bytes it had taken; it is not to be trusted with the log any more.
    pub(crate) sync_failed: bool,
}

type Outcome<T> = Result<T, PrepareError>;

impl Preparation {
    /// Will prepare `name` in `dir` with `header.segment_bytes`, from the file `recycled` if that can be used. The recycled file must
    /// be one that recovery does not read.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        name: SegmentName,
        header: SegmentHeader,
        recycled: Option<PathBuf>,
        fill: SegmentFill,
    ) -> Preparation {
        assert!(header.segment_bytes > SEGMENT_HEADER_BYTES, "a segment of {} bytes", header.segment_bytes);
        let path = dir.join(name.to_string());
        let temporary = dir.join(format!("{name}{TEMPORARY_SUFFIX}"));
        let dir = dir.to_path_buf();
        Preparation { disk, dir, path, temporary, header, recycled, fill, file: None, zeroed_bytes: 0 }
    }

    /// Does a bounded piece of the work; gives the segment when it is ready.
    pub(crate) fn step(&mut self) -> Outcome<Option<Segment>> {
        let Some(file) = self.file.clone() else {
            self.file = Some(self.open()?);
            return Ok(None);
        };
        if self.zeroed_bytes == 0 && self.fill == SegmentFill::Allocate && self.allocate(file.as_ref())? {
            return Ok(None);
        }
        if self.zeroed_bytes < self.header.segment_bytes {
            self.fill_slice(file.as_ref())?;
            return Ok(None);
        }
        write_all_at(file.as_ref(), &self.header.encode(), 0).map_err(|e| self.failed("write", e))?;
        file.sync_data().map_err(|e| self.sync_failed("sync", e))?;
        self.disk.rename(&self.temporary, &self.path).map_err(|e| self.failed("rename", e))?;
        self.disk.sync_dir(&self.dir).map_err(|e| self.sync_failed("sync the directory of", e))?;
        Ok(Some(Segment::new(file, self.path.clone(), self.header)))
    }

    /// All steps.
    pub(crate) fn finish(mut self) -> Outcome<Segment> {
        loop {
            if let Some(segment) = self.step()? {
                return Ok(segment);
            }
        }
    }

    /// Gives the room back, as far as the disk lets us; what stays behind is removed at the next start. Gives the file that was to be
    /// recycled if it still stands under its name.
    pub(crate) fn discard(self) -> Option<PathBuf> {
        drop(self.file);
        let _ = remove_if_exists(self.disk.as_ref(), &self.temporary);
        self.recycled
    }

    fn open(&mut self) -> Outcome<Arc<dyn DiskFile>> {
        if let Some(recycled) = self.recycled.clone()
            && let Some(file) = self.recycle(&recycled)?
        {
            return Ok(file);
        }
        self.recycled = None;
        remove_if_exists(self.disk.as_ref(), &self.temporary).map_err(|e| self.failed("remove", e))?;
        self.disk.open(&self.temporary, OpenMode::CreateNew).map_err(|e| self.failed("create", e))
    }

    /// Takes the old name away durably before the first byte changes: a file under a log's name is always whole.
    fn recycle(&mut self, old: &Path) -> Outcome<Option<Arc<dyn DiskFile>>> {
        let Ok(file) = self.disk.open(old, OpenMode::ReadWrite) else {
            return Ok(None);
        };
        if file.len().map_err(|e| self.failed("measure", e))? != self.header.segment_bytes {
            return Ok(None);
        }
        self.disk.rename(old, &self.temporary).map_err(|e| self.failed("rename", e))?;
        self.recycled = None;
        self.disk.sync_dir(&self.dir).map_err(|e| self.sync_failed("sync the directory of", e))?;
        Ok(Some(file))
    }

    /// True: the file is all zeros now. One call however large the segment is, since it writes none of them.
    fn allocate(&mut self, file: &dyn DiskFile) -> Outcome<bool> {
        let segment_bytes = self.header.segment_bytes;
        if !file.allocate_zeros(segment_bytes).map_err(|e| self.failed("allocate", e))? {
            self.fill = SegmentFill::Write;
            return Ok(false);
        }
        self.zeroed_bytes = segment_bytes;
        file.sync_data().map_err(|e| self.sync_failed("sync", e))?;
        Ok(true)
    }

    fn fill_slice(&mut self, file: &dyn DiskFile) -> Outcome<()> {
        let slice_end = (self.zeroed_bytes + SLICE_BYTES as u64).min(self.header.segment_bytes);
        while self.zeroed_bytes < slice_end {
            let count = (slice_end - self.zeroed_bytes).min(ZEROS.len() as u64) as usize;
            write_all_at(file, &ZEROS[..count], self.zeroed_bytes)
                .map_err(|e| self.failed("zero-fill", e))?;
            self.zeroed_bytes += count as u64;
        }
        file.sync_data().map_err(|e| self.sync_failed("sync", e))
    }

    fn failed(&self, action: &'static str, error: std::io::Error) -> PrepareError {
        PrepareError { error: StorageError::io(action, &self.path, error), sync_failed: false }
    }

    /// A full disk may show only at the sync, where space is allocated late; that harms nothing that was logged.
    fn sync_failed(&self, action: &'static str, error: std::io::Error) -> PrepareError {
        let error = StorageError::io(action, &self.path, error);
        PrepareError { sync_failed: !error.is_disk_full(), error }
    }
}
