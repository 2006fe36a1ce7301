//! A disk that fails on purpose: at chosen calls, in chosen ways.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DirLock, Disk, DiskFile, OpenMode};

/// The kinds of call that are counted, each from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `read_at`.
    Read,
    /// `write_at`.
    Write,
    /// `sync_data`.
    Sync,
    /// `sync_dir`.
    SyncDir,
    /// `write_behind`.
    WriteBehind,
    /// `open` and `lock_dir`.
    Open,
    /// `rename`, `remove`, `create_dir`, `set_len`.
    Change,
    /// Every call that can change the disk or make a change durable: `Write`, `WriteBehind`, `Sync`, `SyncDir`, `Change`, and opening
    /// to create.
    Any,
}

/// What happens instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// ENOSPC.
    NoSpace,
    /// EIO.
    Io,
    /// EINTR: nothing was done, to be asked again (reads and writes only).
    Interrupted,
    /// Half of what was asked, at least one byte (reads and writes only).
    Short,
}

/// Wraps a disk; clones share plan and counters.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    faults: Vec<PlannedFault>,
    counts: [u64; Call::Any as usize + 1],
}

struct PlannedFault {
    call: Call,
    from: u64,
    count: u64,
    fault: Fault,
}

impl FaultyDisk {
    /// A disk that behaves until told otherwise.
    pub fn new(inner: Arc<dyn Disk>) -> FaultyDisk {
        FaultyDisk { inner, plan: Arc::default() }
    }

    /// The calls of a kind number `from .. from + count` (of all since the beginning) will fail so.
    pub fn inject(&self, call: Call, from: u64, count: u64, fault: Fault) {
        self.plan().faults.push(PlannedFault { call, from, count, fault });
    }

    /// From its `from`-th call on that could change anything, the disk is dead: as if the machine had stopped there.
    pub fn halt_at(&self, from: u64) {
        self.inject(Call::Any, from, u64::MAX, Fault::Io);
    }

    /// Forgets all planned faults.
    pub fn heal(&self) {
        self.plan().faults.clear();
    }

    /// Calls of a kind so far.
    pub fn calls(&self, call: Call) -> u64 {
        self.plan().counts[call as usize]
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// Counts a call; the fault that strikes it, if one does.
    fn count(&mut self, call: Call, changes: bool) -> Option<Fault> {
        let mut struck = None;
        for kind in [Some(call), changes.then_some(Call::Any)].into_iter().flatten() {
            let number = self.counts[kind as usize];
            self.counts[kind as usize] += 1;
            let hit = self.faults.iter().find(|planned| {
                planned.call == kind && number >= planned.from && number - planned.from < planned.count
            });
            struck = struck.or(hit.map(|planned| planned.fault));
        }
        struck
    }
}

impl FaultyDisk {
    /// Counts a call; true if it is to be cut short.
    fn strike(&self, call: Call, changes: bool) -> io::Result<bool> {
        match self.plan().count(call, changes) {
            None => Ok(false),
            Some(Fault::Short) => Ok(true),
            Some(Fault::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Io) => Err(io::Error::other("injected input/output error")),
        }
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.strike(Call::Open, mode == OpenMode::CreateNew)?;
        Ok(Arc::new(FaultyFile { inner: self.inner.open(path, mode)?, disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.strike(Call::Change, true)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.strike(Call::Change, true)?;
        self.inner.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.strike(Call::Change, true)?;
        self.inner.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.strike(Call::SyncDir, true)?;
        self.inner.sync_dir(dir)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        self.strike(Call::Open, false)?;
        self.inner.lock_dir(dir)
    }
}

struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    disk: FaultyDisk,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let short = self.disk.strike(Call::Read, false)?;
        let len = if short { buffer.len().div_ceil(2) } else { buffer.len() };
        self.inner.read_at(&mut buffer[..len], offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let short = self.disk.strike(Call::Write, true)?;
        let len = if short { bytes.len().div_ceil(2) } else { bytes.len() };
        self.inner.write_at(&bytes[..len], offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.strike(Call::Change, true)?;
        self.inner.set_len(len)
    }

    fn allocate_zeros(&self, len: u64) -> io::Result<bool> {
        self.disk.strike(Call::Change, true)?;
        self.inner.allocate_zeros(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.strike(Call::Sync, true)?;
        self.inner.sync_data()
    }

    fn write_behind(&self, begin: Range<u64>, finish: Range<u64>) -> io::Result<()> {
        self.disk.strike(Call::WriteBehind, true)?;
        self.inner.write_behind(begin, finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, read_full_at, write_all_at};

    #[test]
    fn short_reads_and_writes_lose_nothing() {
        let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
        disk.inject(Call::Write, 0, 5, Fault::Short);
        disk.inject(Call::Read, 0, 5, Fault::Short);
        let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..=255).collect();
        write_all_at(file.as_ref(), &bytes, 0).unwrap();
        let mut read = vec![0; 300];
        assert_eq!(read_full_at(file.as_ref(), &mut read, 0).unwrap(), 256);
        assert_eq!(read[..256], bytes);
        assert_eq!(disk.calls(Call::Write), 6, "128, 64, 32, 16, 8, then the last 8");
        assert!(disk.calls(Call::Read) > 2, "256 bytes in halves");
    }

    #[test]
    fn interrupted_reads_and_writes_are_asked_again() {
        let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
        disk.inject(Call::Write, 0, 3, Fault::Interrupted);
        disk.inject(Call::Read, 1, 3, Fault::Interrupted);
        let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
        write_all_at(file.as_ref(), b"windrow", 0).unwrap();
        let mut read = [0; 7];
        for _ in 0..2 {
            assert_eq!(read_full_at(file.as_ref(), &mut read, 0).unwrap(), 7);
        }
        assert_eq!(&read, b"windrow");
        assert_eq!((disk.calls(Call::Write), disk.calls(Call::Read)), (4, 5));
    }

    #[test]
    fn a_halted_disk_changes_nothing_more() {
        let mem = MemDisk::new();
        let disk = FaultyDisk::new(Arc::new(mem.clone()));
        let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
        disk.halt_at(2);
        assert!(file.write_at(b"one", 0).is_ok());
        assert!(file.write_at(b"two", 3).is_err());
        assert!(file.sync_data().is_err());
        assert!(disk.remove(Path::new("/a")).is_err());
        assert_eq!(mem.used_bytes(), 3);
    }
}
