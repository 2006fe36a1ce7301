//! Calls to the system that no crate wraps safely: the only `unsafe` of this crate.
#![expect(unsafe_code, reason = "mapping a file, and starting to write a part of one, have no safe wrapper")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use memmap2::{Advice, Mmap, UncheckedAdvice};

use super::ways::Way;

/// A whole file, mapped read-only.
pub(super) struct MappedFile {
    mapped: Mmap,
}

impl MappedFile {
    pub(super) fn new(file: &File) -> io::Result<MappedFile> {
        // SAFETY: the bytes must not change while the mapping lives. Who opens a file to be read once promises so (see
        // `OpenMode::ReadOnce`): it is complete, in a directory that this process has locked, and nothing writes to it again.
        let mapped = unsafe { Mmap::map(file) }?;
        Ok(MappedFile { mapped })
    }
}

impl Way for MappedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.mapped.len());
        let len = buffer.len().min(self.mapped.len() - start);
        if len == 0 {
            return Ok(0);
        }
        // Asks for all of it at once, rather than a little with each page that is missing.
        let _hint = self.mapped.advise_range(Advice::WillNeed, start, len);
        // Touching a page that the disk cannot give, or that is behind the end of a file that was cut, raises SIGBUS; this fails
        // instead, and on a kernel before 5.14 always.
        self.mapped.advise_range(Advice::PopulateRead, start, len)?;
        buffer[..len].copy_from_slice(&self.mapped[start..start + len]);
        // The pages stay in the page cache, and count as memory of this process no more.
        // SAFETY: nothing of the range is borrowed any more; whoever reads these bytes again, another thread at this moment, too, gets
        // the same from the file, which does not change (see `new`).
        let _hint = unsafe { self.mapped.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) };
        Ok(len)
    }
}

/// Starts to write a range to the disk.
pub(super) fn begin_writing(file: &File, range: Range<u64>) -> io::Result<()> {
    sync_file_range(file, range, libc::SYNC_FILE_RANGE_WRITE)
}

/// Writes a range to the disk, without what a file system needs to find it again after a power loss.
pub(super) fn finish_writing(file: &File, range: Range<u64>) -> io::Result<()> {
    let all =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_file_range(file, range, all)
}

fn sync_file_range(file: &File, range: Range<u64>, flags: libc::c_uint) -> io::Result<()> {
    if range.is_empty() {
        return Ok(()); // zero bytes would mean: to the end of the file
    }
    let offset = |at: u64| i64::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (start, len) = (offset(range.start)?, offset(range.end - range.start)?);
    // SAFETY: a call by numbers alone, on a file that is open while it is borrowed.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), start, len, flags) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // A hint: some file systems and sandboxes do not know it.
        Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EPERM | libc::EOPNOTSUPP) => Ok(()),
        _ => Err(error),
    }
}
