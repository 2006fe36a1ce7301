//! The operating system's file system.

mod system;
mod ways;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags, fadvise, fallocate, flock};
use rustix::io::Errno;

use super::{DirLock, Disk, DiskFile, OpenMode};
use system::MappedFile;
use ways::{Way, Ways};

/// Name of the file whose lock is the lock of its directory. A file, because some network file systems cannot lock a directory.
const LOCK_FILE: &str = "lock";

/// Files as the operating system has them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

struct RealFile {
    file: File,
    /// Of a file that nobody changes any more: better ways to read it.
    once: Once,
}

/// Ways to read beside the ordinary one, as far as they were asked for and the file system has them.
#[derive(Default)]
struct Once {
    /// The same file opened to be read past the page cache.
    direct: Option<File>,
    mapped: Option<MappedFile>,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read | OpenMode::ReadOnce => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        let file = options.open(path)?;
        let once = if mode == OpenMode::ReadOnce {
            // A file system in memory, and some others, refuse: then all is read by way of the page cache.
            let direct = options.custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path).ok();
            Once { direct, mapped: MappedFile::new(&file).ok() }
        } else {
            Once::default()
        };
        Ok(Arc::new(RealFile { file, once }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(LOCK_FILE))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(DirLock::new(file))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let Once { direct, mapped } = &self.once;
        let direct = direct.as_ref().map(|file| file as &dyn Way);
        let mapped = mapped.as_ref().map(|mapped| mapped as &dyn Way);
        Ways { direct, mapped, ordinary: &self.file }.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate_zeros(&self, len: u64) -> io::Result<bool> {
        // A file without bytes has nothing to make zeros of, and more file systems allocate than zero.
        let flags = if self.file.metadata()?.len() == 0 {
            FallocateFlags::empty()
        } else {
            FallocateFlags::ZERO_RANGE
        };
        match fallocate(&self.file, flags, 0, len) {
            Ok(()) => Ok(true),
            // Some file systems in user space and sandboxes say it in other words.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write_behind(&self, begin: Range<u64>, finish: Range<u64>) -> io::Result<()> {
        system::begin_writing(&self.file, begin)?;
        system::finish_writing(&self.file, finish.clone())?;
        if let Some(len) = std::num::NonZeroU64::new(finish.end - finish.start) {
            let _hint = fadvise(&self.file, finish.start, Some(len), Advice::DontNeed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DIRECT_ALIGN, read_full_at, write_all_at};

    #[test]
    fn a_second_lock_of_a_directory_would_block_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let lock = RealDisk.lock_dir(dir.path()).unwrap();
        let refused = RealDisk.lock_dir(dir.path()).err().expect("the lock is held");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        assert!(RealDisk.lock_dir(dir.path()).is_ok());
    }

    #[test]
    fn allocated_zeros_replace_what_was_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), OpenMode::CreateNew).unwrap();
        for round in 0..2 {
            if !file.allocate_zeros(8192).unwrap() {
                // A file system that cannot: nothing was changed, and whoever asked writes the zeros.
                assert_eq!(file.len().unwrap(), if round == 0 { 0 } else { 8192 });
                write_all_at(file.as_ref(), &[0; 8192], 0).unwrap();
            }
            let mut buffer = [1; 9000];
            assert_eq!(read_full_at(file.as_ref(), &mut buffer, 0).unwrap(), 8192, "round {round}");
            assert!(buffer[..8192].iter().all(|&byte| byte == 0), "round {round}");
            write_all_at(file.as_ref(), &[7; 8192], 0).unwrap();
        }
    }

    #[test]
    fn a_file_that_is_read_once_reads_as_it_is_wherever_its_bytes_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..40_000_u32).map(|byte| (byte % 251) as u8).collect();
        let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
        write_all_at(file.as_ref(), &bytes, 0).unwrap();
        file.sync_data().unwrap();
        file.write_behind(0..0, 0..40_000).unwrap();
        let file = RealDisk.open(&path, OpenMode::ReadOnce).unwrap();
        let mut memory = vec![0; 12 * DIRECT_ALIGN];
        let aligned = memory.as_ptr().align_offset(DIRECT_ALIGN);
        for skip in [aligned, aligned + 8] {
            for (offset, len) in
                [(0, 40_960), (4_096, 8_192), (100, 4_096), (4_096, 100), (36_864, 8_192), (40_960, 4_096)]
            {
                for _ in 0..2 {
                    let buffer = &mut memory[skip..skip + len];
                    buffer.fill(0xff);
                    let there = &bytes[offset.min(bytes.len())..(offset + len).min(bytes.len())];
                    assert_eq!(read_full_at(file.as_ref(), buffer, offset as u64).unwrap(), there.len());
                    assert_eq!(buffer[..there.len()], *there, "{len} bytes at {offset}");
                }
            }
        }
    }

    #[test]
    fn a_mapping_reads_to_the_end_of_its_file_and_not_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..9_000_u32).map(|byte| (byte % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let mapped = MappedFile::new(&File::open(&path).unwrap()).unwrap();
        for (offset, len) in
            [(0, 9_000), (0, 1), (4_000, 200), (8_000, 2_000), (8_999, 9), (9_000, 1), (20_000, 1)]
        {
            let mut buffer = vec![0xff; len];
            let there = &bytes[offset.min(9_000)..(offset + len).min(9_000)];
            assert_eq!(mapped.read_at(&mut buffer, offset as u64).unwrap(), there.len(), "{len} at {offset}");
            assert_eq!(&buffer[..there.len()], there, "{len} at {offset}");
        }
        assert_eq!(mapped.read_at(&mut [0], u64::MAX).unwrap(), 0);
        // Pages that are gone are an error, no signal; whoever reads by another way then learns the truth.
        OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
        assert!(mapped.read_at(&mut [0; 100], 8_000).is_err());
        let file = RealDisk.open(&path, OpenMode::ReadOnce).unwrap();
        assert_eq!(read_full_at(file.as_ref(), &mut [0; 200], 0).unwrap(), 100);
    }

    #[test]
    fn files_keep_what_was_written_under_their_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        let file = RealDisk.open(&from, OpenMode::CreateNew).unwrap();
        assert!(RealDisk.open(&from, OpenMode::CreateNew).is_err(), "creation is exclusive");
        write_all_at(file.as_ref(), b"windrow", 5).unwrap();
        file.sync_data().unwrap();
        RealDisk.rename(&from, &to).unwrap();
        RealDisk.sync_dir(dir.path()).unwrap();
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["b"]);
        let file = RealDisk.open(&to, OpenMode::Read).unwrap();
        let mut buffer = [1; 20];
        assert_eq!(read_full_at(file.as_ref(), &mut buffer, 0).unwrap(), 12);
        assert_eq!(&buffer[..12], b"\0\0\0\0\0windrow");
        RealDisk.remove(&to).unwrap();
        assert!(RealDisk.list(dir.path()).unwrap().is_empty());
    }
}
