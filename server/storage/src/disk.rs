//! The disk as the log needs it: a trait small enough to fake, so that tests run the real log over a simulated disk.
//!
//! Semantics, as pessimistic as POSIX: a write or a length is durable only after the file's `sync_data`, a directory entry only after
//! the directory's `sync_dir`; unsynced 512-byte sectors survive a power loss in any combination.

mod faulty;
mod mem;
mod real;

pub use faulty::{Call, Fault, FaultyDisk};
pub use mem::{MemDisk, SECTOR_BYTES};
pub use real::RealDisk;

use std::any::Any;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Where memory and offset are multiples of this, a read may go past the page cache: see [`OpenMode::ReadOnce`].
pub const DIRECT_ALIGN: usize = 4096;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist.
    Read,
    /// It must exist, and nobody changes it any more. What is read in whole multiples of [`DIRECT_ALIGN`], to memory and from an offset
    /// that are such multiples, comes straight from the disk where the disk can, and is not kept in the page cache; all else comes
    /// through a mapping of the file where it can be mapped, and otherwise as with `Read`.
    ReadOnce,
    /// It must exist.
    ReadWrite,
    /// It must not exist; opened for reading and writing.
    CreateNew,
}

/// Names and directories.
pub trait Disk: Send + Sync {
    /// Opens or creates a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces `to` atomically by `from`; both in one directory. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names of the files and directories in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates one directory; an existing one is fine. Durable after `sync_dir` of its parent.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the entries of `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock of `dir` without waiting; [`io::ErrorKind::WouldBlock`] if another holds it.
    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock>;
}

/// The bytes of an open file. All methods take `&self`: the shard writes while a sync thread syncs.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes; may be short; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes up to `bytes.len()` bytes; may be short.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True if there are no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Gives the file `len` bytes of zeros that have their room on the disk, whatever was in it, without writing them. False: this
    /// disk cannot, and nothing was changed.
    fn allocate_zeros(&self, len: u64) -> io::Result<bool>;
    /// Makes bytes and length durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// For bytes that nobody reads soon: begins to write the one range to the disk, and takes the other, begun before, out of the page
    /// cache once it is written. So a large file is written at the pace of the disk and crowds nothing out. Promises nothing: it is
    /// [`DiskFile::sync_data`] that makes bytes durable. An error means that bytes were lost, and no later sync need tell.
    fn write_behind(&self, _begin: Range<u64>, _finish: Range<u64>) -> io::Result<()> {
        Ok(())
    }
}

/// The exclusive lock of a directory, held until dropped.
pub struct DirLock {
    _held: Box<dyn Any + Send + Sync>,
}

impl DirLock {
    /// Wraps whatever holds the lock.
    pub fn new(held: impl Any + Send + Sync) -> DirLock {
        DirLock { _held: Box::new(held) }
    }
}

/// Writes all of `bytes`, however short the single writes are.
pub fn write_all_at(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer`, however short the single reads are; gives less only at the end of the file.
pub fn read_full_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Removes a file that may not exist.
pub(crate) fn remove_if_exists(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
