//! A disk in memory that knows what a power loss may take.
//!
//! Each file has *live* bytes (what a reader sees: the page cache) and *durable* bytes (what the platter has). [`MemDisk::crash`]
//! makes the disk a machine would find after a power loss: every unsynced sector kept, dropped or torn, every unsynced change of a
//! directory kept or dropped, by a seed. A mere process crash is to go on with the same disk: the page cache survives it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DirLock, Disk, DiskFile, OpenMode};
use crate::SplitMix64;

/// The unit that a power loss keeps, drops or tears.
pub const SECTOR_BYTES: usize = 512;
/// Subsystem number of the crash generator.
const CRASH_STREAM: u64 = 0xC4A5;

/// A disk in memory; clones are the same disk.
#[derive(Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    /// Changes of directories since their last sync, in order. One rename is one change: it happens or does not.
    unsynced: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    capacity_bytes: Option<u64>,
    /// As a file system that cannot allocate.
    cannot_allocate: bool,
    /// Syncs that will still succeed, and how many after them are lost.
    syncs_to_lose: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

#[derive(Clone)]
struct NameChange {
    dir: PathBuf,
    entries: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty_sectors: BTreeSet<usize>,
    /// Sectors that cannot be read until they are written.
    bad_sectors: BTreeSet<usize>,
}

impl MemDisk {
    /// An empty disk with a root directory.
    pub fn new() -> MemDisk {
        MemDisk::default()
    }

    /// Makes it a disk that cannot allocate zeros, which then must be written.
    pub fn set_cannot_allocate(&self, cannot_allocate: bool) {
        self.state().cannot_allocate = cannot_allocate;
    }

    /// From now on the files' lengths may not add up to more than this; `None`: no limit.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// After `after` more calls of `sync_data`, `count` of them fail as Linux fails them: EIO, and the unsynced sectors count as clean
    /// afterwards, so that readers see them, later syncs "succeed", and a power loss takes them.
    pub fn lose_syncs(&self, after: u64, count: u64) {
        self.state().syncs_to_lose = (after, count);
    }

    /// The disk after a power loss now. This one is not changed. The same seed gives the same disk.
    pub fn crash(&self, seed: u64) -> MemDisk {
        let mut random = SplitMix64::salted(seed, CRASH_STREAM);
        let state = self.state();
        // Losing all and losing nothing are worth more than their share of random draws.
        let keep_percent = match random.below(8) {
            0 => 0,
            1 => 100,
            _ => 1 + random.below(99),
        };
        let mut kept = |percent: u64| random.below(100) < percent;
        let mut names = state.durable_names.clone();
        for change in &state.unsynced {
            if kept(keep_percent) {
                apply(&mut names, &change.entries);
            }
        }
        let all = names.clone();
        names.retain(|path, _| has_parent(&all, path));
        let inodes = state.inodes.iter().map(|inode| inode.after_crash(&mut random, keep_percent)).collect();
        let after = State {
            inodes,
            durable_names: names.clone(),
            names,
            capacity_bytes: state.capacity_bytes,
            ..State::default()
        };
        MemDisk { state: Arc::new(Mutex::new(after)) }
    }

    /// The same disk once more, unlocked: what happens to one does not happen to the other.
    pub fn fork(&self) -> MemDisk {
        let state = State { locks: BTreeSet::new(), ..self.state().clone() };
        MemDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Changes bytes as a failing medium would: live and durable alike.
    pub fn corrupt(&self, path: &Path, offset: u64, change: impl FnOnce(&mut u8)) -> io::Result<()> {
        let mut state = self.state();
        let index = state.file(path)?;
        let at = usize::try_from(offset).expect("offsets of a disk in memory fit memory");
        let inode = &mut state.inodes[index];
        let byte = inode.live.get_mut(at).ok_or(io::ErrorKind::UnexpectedEof)?;
        change(byte);
        let changed = *byte;
        if let Some(byte) = inode.durable.get_mut(at) {
            *byte = changed;
        }
        Ok(())
    }

    /// Makes the sector at `offset` one that the medium cannot read: EIO until it is written anew.
    pub fn spoil(&self, path: &Path, offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let index = state.file(path)?;
        let sector = index_of(offset)? / SECTOR_BYTES;
        state.inodes[index].bad_sectors.insert(sector);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, entries: &[(PathBuf, Option<Node>)]) {
    for (path, node) in entries {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none() || path == Path::new(".") || path == Path::new("")
}

fn has_parent(names: &BTreeMap<PathBuf, Node>, path: &Path) -> bool {
    let parent = parent_of(path);
    is_root(parent) || (names.get(parent) == Some(&Node::Directory) && has_parent(names, parent))
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl State {
    fn used_bytes(&self) -> u64 {
        let files = self.names.values().filter_map(|node| match node {
            Node::File(index) => Some(self.inodes[*index].live.len() as u64),
            Node::Directory => None,
        });
        files.sum()
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Node::File(index)) => Ok(*index),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn need_dir(&self, dir: &Path) -> io::Result<()> {
        match self.names.get(dir) {
            _ if is_root(dir) => Ok(()),
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn change_names(&mut self, dir: &Path, entries: Vec<(PathBuf, Option<Node>)>) {
        apply(&mut self.names, &entries);
        self.unsynced.push(NameChange { dir: dir.to_path_buf(), entries });
    }

    /// How far a file may grow before the disk is full.
    fn length_limit(&self, index: usize) -> u64 {
        match self.capacity_bytes {
            None => u64::MAX,
            Some(capacity) => {
                self.inodes[index].live.len() as u64 + capacity.saturating_sub(self.used_bytes())
            }
        }
    }
}

impl Inode {
    fn mark_dirty(&mut self, from: usize, to: usize) {
        if from < to {
            let sectors = from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES);
            self.bad_sectors.retain(|sector| !sectors.contains(sector));
            self.dirty_sectors.extend(sectors);
        }
    }

    /// How much of `from..to` can be read before a bad sector.
    fn readable(&self, from: usize, to: usize) -> io::Result<usize> {
        match self.bad_sectors.range(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES)).next() {
            None => Ok(to - from),
            Some(sector) if sector * SECTOR_BYTES > from => Ok(sector * SECTOR_BYTES - from),
            Some(_) => Err(io::Error::other("input/output error while reading")),
        }
    }

    fn resize(&mut self, len: usize) {
        let before = self.live.len();
        self.live.resize(len, 0);
        self.mark_dirty(before.min(len), before.max(len));
    }

    fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for sector in std::mem::take(&mut self.dirty_sectors) {
            let from = (sector * SECTOR_BYTES).min(self.live.len());
            let to = ((sector + 1) * SECTOR_BYTES).min(self.live.len());
            self.durable[from..to].copy_from_slice(&self.live[from..to]);
        }
    }

    fn after_crash(&self, random: &mut SplitMix64, keep_percent: u64) -> Inode {
        let (old, new) = (self.durable.len(), self.live.len());
        let len = match keep_percent {
            0 => old,
            100 => new,
            _ if old == new => new,
            // A length is as unsynced as the bytes: anything from the old to the new.
            _ => match random.below(3) {
                0 => old,
                1 => new,
                _ => old.min(new) + random.below(old.abs_diff(new) as u64 + 1) as usize,
            },
        };
        let mut bytes = self.durable.clone();
        bytes.resize(len, 0);
        for sector in &self.dirty_sectors {
            let from = (sector * SECTOR_BYTES).min(len);
            let to = ((sector + 1) * SECTOR_BYTES).min(len).min(new);
            if from >= to {
                continue;
            }
            let (start, end) = if random.below(100) < keep_percent {
                (from, to)
            } else if keep_percent > 0 && random.below(4) == 0 {
                // Torn: only the first or only the last part of the sector is new.
                let middle = from + random.below((to - from) as u64) as usize;
                if random.below(2) == 0 { (from, middle) } else { (middle, to) }
            } else {
                (from, from)
            };
            bytes[start..end].copy_from_slice(&self.live[start..end]);
        }
        let bad_sectors = self.bad_sectors.clone();
        Inode { live: bytes.clone(), durable: bytes, dirty_sectors: BTreeSet::new(), bad_sectors }
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if mode == OpenMode::CreateNew {
            state.need_dir(parent_of(path))?;
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.inodes.push(Inode::default());
            let node = Node::File(state.inodes.len() - 1);
            state.change_names(parent_of(path), vec![(path.to_path_buf(), Some(node))]);
        }
        let index = state.file(path)?;
        Ok(Arc::new(MemFile {
            disk: self.clone(),
            index,
            writable: matches!(mode, OpenMode::ReadWrite | OpenMode::CreateNew),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if parent_of(from) != parent_of(to) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let node = Node::File(state.file(from)?);
        let entries = vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(node))];
        state.change_names(parent_of(to), entries);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.file(path)?;
        state.change_names(parent_of(path), vec![(path.to_path_buf(), None)]);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.need_dir(dir)?;
        let children = state.names.keys().filter(|path| parent_of(path) == dir);
        let names = children.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(names.collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.need_dir(parent_of(dir))?;
        match state.names.get(dir) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                state.change_names(parent_of(dir), vec![(dir.to_path_buf(), Some(Node::Directory))]);
                Ok(())
            }
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.need_dir(dir)?;
        let changes = std::mem::take(&mut state.unsynced);
        for change in changes {
            if change.dir == dir {
                apply(&mut state.durable_names, &change.entries);
            } else {
                state.unsynced.push(change);
            }
        }
        Ok(())
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        let mut state = self.state();
        state.need_dir(dir)?;
        if !state.locks.insert(dir.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(DirLock::new(MemLock { disk: self.clone(), dir: dir.to_path_buf() }))
    }
}

struct MemLock {
    disk: MemDisk,
    dir: PathBuf,
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.dir);
    }
}

struct MemFile {
    disk: MemDisk,
    index: usize,
    writable: bool,
}

impl MemFile {
    fn need_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

fn index_of(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl DiskFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let inode = &state.inodes[self.index];
        let live = &inode.live;
        let from = index_of(offset)?.min(live.len());
        let count = inode.readable(from, from + buffer.len().min(live.len() - from))?;
        buffer[..count].copy_from_slice(&live[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.need_writable()?;
        let mut state = self.disk.state();
        let limit = state.length_limit(self.index);
        let inode = &mut state.inodes[self.index];
        let fits = limit.saturating_sub(offset).min(bytes.len() as u64) as usize;
        if fits == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let from = index_of(offset)?;
        if inode.live.len() < from + fits {
            inode.resize(from + fits);
        }
        inode.live[from..from + fits].copy_from_slice(&bytes[..fits]);
        inode.mark_dirty(from, from + fits);
        Ok(fits)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.index].live.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.need_writable()?;
        let mut state = self.disk.state();
        if len > state.length_limit(self.index) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.inodes[self.index].resize(index_of(len)?);
        Ok(())
    }

    fn allocate_zeros(&self, len: u64) -> io::Result<bool> {
        if self.disk.state().cannot_allocate {
            return Ok(false);
        }
        self.set_len(len)?;
        // The sectors change no earlier and no later than written ones would.
        super::write_all_at(self, &vec![0; index_of(len)?], 0)?;
        Ok(true)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let (after, count) = state.syncs_to_lose;
        state.syncs_to_lose.0 = after.saturating_sub(1);
        if after == 0 && count > 0 {
            state.syncs_to_lose.1 = count - 1;
            state.inodes[self.index].dirty_sectors.clear();
            return Err(io::Error::other("input/output error while syncing"));
        }
        state.inodes[self.index].sync();
        Ok(())
    }
}
