//! Calls to the system that no crate wraps safely: the only `unsafe` of this crate.
#![expect(unsafe_code, reason = "starting to write a part of a file has no safe wrapper")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

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
