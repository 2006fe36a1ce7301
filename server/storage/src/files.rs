//! The books of the log's files: how much room they take, which of them must stay, and which are free to be used again.
//!
//! One set for a data directory. The shards' threads never touch it.
//!
//! | who | what |
//! | --- | --- |
//! | [`crate::LogSyncer`], on a sync thread | takes room for a spare segment, or a file to make it of; says when a segment is full and synced |
//! | [`crate::DataDir::retain`], on the catalogue's thread | lets files go |
//! | [`LogReader`], on whatever thread | reads what is there, and holds it meanwhile |
//!
//! A file *goes* by leaving the books. Then it is free, to become a spare under another name, or it is removed. Until then it stands
//! under its old name, whole, and at the next start it is a file that nothing needs. In each log the oldest goes first, so what a
//! crash leaves is the log without some of its beginning.

mod reader;
mod retain;
#[cfg(test)]
mod tests;

pub use reader::LogReader;
pub use retain::Retained;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{DiskFile, OpenMode};
use crate::log::LogWatch;
use crate::recovery::ReplayFrom;
use crate::segment::{Segment, SegmentName};
use crate::{Disk, Manifest, Retention, StorageError};

/// A log: its epoch and its shard in that epoch.
pub(crate) type LogId = (u32, u16);

/// The books; clones are the same books.
#[derive(Clone)]
pub struct LogFiles {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    log_dir: PathBuf,
    books: Mutex<Books>,
}

struct Books {
    retention: Retention,
    /// Length of a file that can become a spare.
    segment_bytes: u64,
    /// Most files that wait to become spares: one for each shard.
    free_max: usize,
    /// The epoch that is being written, and when it was opened.
    epoch: (u32, i64),
    /// Its logs, by shard.
    running: BTreeMap<u16, Running>,
    /// Of all files.
    bytes: u64,
    /// The files that are full and synced, in each log ascending.
    closed: BTreeMap<LogId, VecDeque<ClosedFile>>,
    free: VecDeque<PathBuf>,
    /// What recovery needs; `None`: all of it.
    needed: Option<ReplayFrom>,
    holds: BTreeMap<u64, Hold>,
    holds_made: u64,
}

/// A file that is not written any more.
#[derive(Debug, Clone)]
pub(crate) struct ClosedFile {
    pub(crate) name: SegmentName,
    pub(crate) bytes: u64,
    /// How far it is read.
    pub(crate) limit: u64,
    /// The last operation in it; `None`: not looked for yet.
    pub(crate) last_ops: Option<u64>,
    /// Not before the time of the last operation in it; `None`: not looked for yet.
    pub(crate) ended_ms: Option<i64>,
}

/// What somebody wants to stay.
enum Hold {
    /// Everything behind this.
    From(ReplayFrom),
    /// One log behind an operation.
    Log { log: LogId, after_ops: u64 },
}

impl Hold {
    /// The last operation of `log` that may go.
    fn floor(&self, log: LogId) -> u64 {
        match self {
            Hold::From(from) => from.floor(log.0, log.1).unwrap_or(u64::MAX),
            Hold::Log { log: held, after_ops } if *held == log => *after_ops,
            Hold::Log { .. } => u64::MAX,
        }
    }
}

/// Keeps log from going until it is dropped.
pub struct LogPin {
    files: LogFiles,
    id: u64,
}

impl Drop for LogPin {
    fn drop(&mut self) {
        self.files.books().holds.remove(&self.id);
    }
}

/// A log that is being written.
struct Running {
    watch: LogWatch,
    /// Number of the segment behind the last one that is closed.
    next_segment: u32,
}

impl LogFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, log_dir: &Path) -> LogFiles {
        let books = Books {
            retention: Retention::default(),
            segment_bytes: 0,
            free_max: 0,
            epoch: (0, 0),
            running: BTreeMap::new(),
            bytes: 0,
            closed: BTreeMap::new(),
            free: VecDeque::new(),
            needed: None,
            holds: BTreeMap::new(),
            holds_made: 0,
        };
        LogFiles { inner: Arc::new(Inner { disk, log_dir: log_dir.to_path_buf(), books: Mutex::new(books) }) }
    }

    /// Opens the books for a running server.
    pub(crate) fn open(&self, opening: Opening) {
        let mut books = self.books();
        assert_eq!(books.epoch.0, 0, "the books are opened once");
        books.retention = opening.retention;
        books.segment_bytes = opening.segment_bytes;
        books.free_max = usize::from(opening.shards);
        books.epoch = (opening.epoch, opening.opened_ms);
        books.bytes = opening.bytes;
        books.closed = opening.closed;
        books.free = opening.free.into();
    }

    /// A log of the epoch runs.
    pub(crate) fn runs(&self, shard: u16, watch: LogWatch) {
        self.books().running.insert(shard, Running { watch, next_segment: 0 });
    }

    /// What the manifest says of images: the log behind the start of the second-newest that is usable stays, all of it while there
    /// are fewer.
    pub(crate) fn note_images(&self, manifest: &Manifest, unusable: &BTreeSet<u64>) {
        let usable = manifest.images.iter().filter(|entry| !unusable.contains(&entry.image));
        let second_newest = usable.rev().nth(1);
        self.books().needed = second_newest.map(ReplayFrom::from);
    }

    /// Which log is kept from now on.
    pub fn set_retention(&self, retention: Retention) {
        self.books().retention = retention;
    }

    /// Bytes of all log files.
    pub fn bytes(&self) -> u64 {
        self.books().bytes
    }

    /// How many files have log in them: those that are full, and one for each log that is written.
    pub fn segments(&self) -> usize {
        let books = self.books();
        books.closed.values().map(VecDeque::len).sum::<usize>() + books.running.len()
    }

    /// Keeps what is behind `from`, as far as it is there; `None`: everything that is there.
    pub fn pin(&self, from: Option<ReplayFrom>) -> LogPin {
        self.hold(Hold::From(from.unwrap_or(ReplayFrom { epoch: 0, starts: Vec::new() })))
    }

    fn hold(&self, hold: Hold) -> LogPin {
        let mut books = self.books();
        books.holds_made += 1;
        let id = books.holds_made;
        books.holds.insert(id, hold);
        LogPin { files: self.clone(), id }
    }

    /// Room for another segment: `Some` file that is to be made one, or `None` for a new one. The error is for people.
    pub(crate) fn take_room(&self, segment_bytes: u64) -> Result<Option<PathBuf>, String> {
        let mut books = self.books();
        if let Some(free) = books.free.pop_front() {
            return Ok(Some(free));
        }
        let max_bytes = books.retention.max_bytes;
        if max_bytes > 0 && books.bytes + segment_bytes > max_bytes {
            return Err(format!(
                "the log takes {} of the {max_bytes} bytes of log-max-bytes, a segment takes {segment_bytes}, and {}",
                books.bytes,
                books.why_nothing_goes()
            ));
        }
        books.bytes += segment_bytes;
        Ok(None)
    }

    /// A segment came to nothing after all. `unused` is the file it was to be made of, if that still has its name.
    pub(crate) fn give_room_back(&self, segment_bytes: u64, unused: Option<PathBuf>) {
        let mut books = self.books();
        match unused {
            Some(path) => books.free.push_back(path),
            None => books.bytes = books.bytes.saturating_sub(segment_bytes),
        }
    }

    /// A segment of the running epoch is full and synced.
    pub(crate) fn closed(&self, file: ClosedFile) {
        let SegmentName::Log { epoch, shard, segment } = file.name else {
            unreachable!("nobody appends to a tail")
        };
        let mut books = self.books();
        assert_eq!(books.epoch.0, epoch, "only the epoch that runs closes files");
        books.running.get_mut(&shard).expect("a log that runs").next_segment = segment + 1;
        books.closed.entry((epoch, shard)).or_default().push_back(file);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.inner.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: SegmentName) -> PathBuf {
        self.inner.log_dir.join(name.to_string())
    }

    /// Opens a log file. `None`: there is none of that name. Inner error: its header cannot be trusted.
    fn open_segment(&self, name: SegmentName) -> Result<Option<Result<Segment, String>>, StorageError> {
        let path = self.path(name);
        let read = |file: Arc<dyn DiskFile>| Segment::read(file, path.clone());
        match self.inner.disk.open(&path, OpenMode::Read).and_then(read) {
            Ok(segment) => Ok(Some(segment)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io("read", &path, error)),
        }
    }
}

impl Books {
    /// The last operation of `log` that nobody needs.
    fn floor(&self, log: LogId) -> u64 {
        let needed = self.needed.as_ref().map_or(0, |needed| needed.floor(log.0, log.1).unwrap_or(u64::MAX));
        self.holds.values().map(|hold| hold.floor(log)).min().map_or(needed, |held| held.min(needed))
    }

    fn why_nothing_goes(&self) -> &'static str {
        match &self.needed {
            None => "all of it is needed until two images have been published",
            Some(_) if !self.holds.is_empty() => "what recovery does not need is being read",
            Some(_) => "the rest is needed until another image has been published",
        }
    }
}

/// What the books begin with.
pub(crate) struct Opening {
    pub(crate) retention: Retention,
    pub(crate) segment_bytes: u64,
    pub(crate) epoch: u32,
    pub(crate) opened_ms: i64,
    pub(crate) shards: u16,
    /// Of all files, the free ones and those of the new epoch too.
    pub(crate) bytes: u64,
    pub(crate) closed: BTreeMap<LogId, VecDeque<ClosedFile>>,
    pub(crate) free: Vec<PathBuf>,
}
