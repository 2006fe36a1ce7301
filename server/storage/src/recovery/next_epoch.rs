//! Opens the next epoch. The order of the steps is what makes a crash between any two harmless:
//!
//! 1. remove what earlier starts left unfinished;
//! 2. copy what was not stated durable into tails, synced;
//! 3. prepare the first segment of each new shard, synced;
//! 4. replace the manifest: from here on the new epoch exists, and the cuts hold;
//! 5. give back the room of what no manifest names any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::walk::{Located, LogWalk};
use super::{ReadEnd, Replayed, Started};
use crate::directory::DataDir;
use crate::disk::{OpenMode, remove_if_exists, write_all_at};
use crate::files::{ClosedFile, LogId, Opening};
use crate::frame::{self, FrameHeader, FrameSeal};
use crate::log::{LogSyncer, LogWatch, ShardLog, Shared, SyncerSetup};
use crate::manifest::{EpochEntry, LogEnd, TailEnd};
use crate::planted::{Mistake, is_planted};
use crate::position::EPOCH_MAX;
use crate::segment::{
    Preparation, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, SegmentName, TAIL_SEGMENT, TEMPORARY_SUFFIX,
};
use crate::{SplitMix64, StorageError, StorageOptions};

pub(super) fn start(replayed: Replayed, shards: u16, now_ms: i64) -> Result<Started, StorageError> {
    assert!(shards > 0, "a server has at least one shard");
    let Replayed { mut directory, options, ends, .. } = replayed;
    let epoch = directory.manifest().epoch + 1;
    if epoch > EPOCH_MAX {
        return Err(StorageError::PositionOverflow { epoch, ops: 0 });
    }
    remove_unfinished(&directory)?;
    let mut random = SplitMix64::salted(options.salt_seed, u64::from(epoch));
    let epochs = close_epochs(&directory, ends, epoch, now_ms, &mut random)?;
    let mut segments = Vec::new();
    for shard in 0..shards {
        segments.push(first_segment(&directory, &options, epoch, shard, now_ms, random.next_word())?);
    }
    let mut manifest = directory.manifest().clone();
    manifest.epoch = epoch;
    manifest.epochs = epochs;
    manifest.epochs.push(EpochEntry { epoch, shards, ends: Vec::new() });
    directory.replace_manifest(manifest)?;
    let mut warnings = Vec::new();
    cut_closed_logs(&directory, &mut warnings);
    let free = give_back(&directory, &options, usize::from(shards), &mut warnings);
    open_books(&directory, &options, shards, now_ms, free, &mut warnings);
    let logs = segments.into_iter().map(|segment| {
        let salts = SplitMix64::new(random.next_word());
        running_log(&directory, &options, segment, salts)
    });
    let logs = logs.collect();
    Ok(Started { directory, logs, warnings })
}

fn running_log(
    directory: &DataDir,
    options: &StorageOptions,
    segment: Segment,
    salts: SplitMix64,
) -> (ShardLog, LogSyncer) {
    let setup = SyncerSetup {
        disk: Arc::clone(directory.disk()),
        log_dir: directory.log_dir().to_path_buf(),
        first: segment.header,
        segment_bytes: options.segment_bytes,
        salts,
        files: directory.files().clone(),
        fill: options.fill,
    };
    let segment = Arc::new(segment);
    let shared = Arc::new(Shared::new(Arc::clone(&segment)));
    directory.files().runs(segment.header.shard, LogWatch::new(Arc::clone(&shared)));
    let poison = directory.poison();
    let log = ShardLog::new(Arc::clone(&shared), segment, options.group_bytes_max, poison.clone());
    (log, LogSyncer::new(shared, setup, poison.clone()))
}

/// Files in preparation, and files of epochs or images that never came to be. Their names may be needed, and their room.
fn remove_unfinished(directory: &DataDir) -> Result<(), StorageError> {
    directory.remove_unnamed_images()?;
    let newest = directory.manifest().epoch;
    for file in list(directory)? {
        let unfinished = match SegmentName::parse(&file) {
            Some(name) => name.opened_epoch() > newest,
            None => {
                file.strip_suffix(TEMPORARY_SUFFIX).is_some_and(|name| SegmentName::parse(name).is_some())
            }
        };
        if unfinished {
            let path = directory.log_dir().join(file);
            remove_if_exists(directory.disk().as_ref(), &path)
                .map_err(|e| StorageError::io("remove", &path, e))?;
        }
    }
    Ok(())
}

fn list(directory: &DataDir) -> Result<Vec<String>, StorageError> {
    let log_dir = directory.log_dir();
    directory.disk().list(log_dir).map_err(|e| StorageError::io("list", log_dir, e))
}

/// All epochs that have operations, each with the ends that were read; the newest is cut, and what lies behind the cut carried over.
fn close_epochs(
    directory: &DataDir,
    ends: Vec<Vec<ReadEnd>>,
    opened_epoch: u32,
    now_ms: i64,
    random: &mut SplitMix64,
) -> Result<Vec<EpochEntry>, StorageError> {
    let mut epochs = Vec::new();
    for (entry, read_ends) in directory.manifest().epochs.iter().zip(ends) {
        let mut closed = Vec::new();
        for ReadEnd { end, open } in read_ends {
            closed.push(match open {
                None => end,
                Some(walk) => cut(directory, &walk, end, opened_epoch, now_ms, random.next_word())?,
            });
        }
        if closed.iter().any(|end| end.last_ops() > 0) {
            epochs.push(EpochEntry { epoch: entry.epoch, shards: entry.shards, ends: closed });
        }
    }
    Ok(epochs)
}

/// Cuts a log at the last operation stated durable and copies the rest.
fn cut(
    directory: &DataDir,
    walk: &LogWalk,
    end: LogEnd,
    opened_epoch: u32,
    now_ms: i64,
    salt: u64,
) -> Result<LogEnd, StorageError> {
    // Behind the last frame of which all is durable; an image's end may lie within the next one.
    let durable_ops = walk.stated_ops;
    assert!(durable_ops <= end.ops, "a log that lost durable operations is refused before");
    if durable_ops == end.ops || is_planted(Mistake::TailTrusted) {
        return Ok(end);
    }
    let header = SegmentHeader {
        salt,
        epoch: walk.epoch,
        segment: TAIL_SEGMENT,
        shard: walk.shard,
        opened_epoch,
        segment_bytes: 0,
        created_ms: now_ms,
    };
    let mut tail = TailWriter::create(directory, header)?;
    let (mut again, first_segment) = walk.again_from(durable_ops);
    // The end of the last durable frame. A log's first operations may be in the tail; then the cut is at its beginning.
    let mut kept =
        LogEnd { segment: first_segment, offset: SEGMENT_HEADER_BYTES, ops: again.read_ops(), ..end };
    for segment in first_segment..=end.segment {
        let name = SegmentName::Log { epoch: walk.epoch, shard: walk.shard, segment };
        let limit = (segment == end.segment).then_some(end.offset);
        again.segment(directory, name, limit, &mut |located: Located<'_>| {
            let header = located.frame.header;
            if header.last_ops() <= durable_ops {
                (kept.segment, kept.offset) = (located.segment, located.frame.end_offset);
                kept.ops = header.last_ops();
                return Ok(());
            }
            if header.op_count == 0 { Ok(()) } else { tail.copy(&header, located.frame.ops) }
        })?;
    }
    assert!(kept.ops <= durable_ops, "the cut is at {}, not above {durable_ops}", kept.ops);
    assert_eq!(again.last_ops(), end.ops, "the second walk reads what the first one did");
    let offset = tail.finish()?;
    kept.tail = Some(TailEnd { opened_epoch, offset, ops: end.ops });
    Ok(kept)
}

/// Writes a tail: the same frames, sealed anew.
struct TailWriter<'a> {
    directory: &'a DataDir,
    name: SegmentName,
    temporary: PathBuf,
    file: Arc<dyn crate::DiskFile>,
    seal: FrameSeal,
    frame: Vec<u8>,
    offset: u64,
}

impl<'a> TailWriter<'a> {
    fn create(directory: &'a DataDir, header: SegmentHeader) -> Result<TailWriter<'a>, StorageError> {
        let name = SegmentName::Tail { opened_epoch: header.opened_epoch, shard: header.shard };
        let temporary = directory.log_dir().join(format!("{name}{TEMPORARY_SUFFIX}"));
        let failed = |error| StorageError::io("create", &temporary, error);
        let file = directory.disk().open(&temporary, OpenMode::CreateNew).map_err(failed)?;
        write_all_at(file.as_ref(), &header.encode(), 0).map_err(failed)?;
        let seal = FrameSeal::new(header.salt);
        Ok(TailWriter {
            directory,
            name,
            temporary,
            file,
            seal,
            frame: Vec::new(),
            offset: SEGMENT_HEADER_BYTES,
        })
    }

    fn copy(&mut self, header: &FrameHeader, ops: &[u8]) -> Result<(), StorageError> {
        let header = FrameHeader { segment: TAIL_SEGMENT, ..*header };
        frame::encode(&mut self.frame, &self.seal, &header, ops);
        write_all_at(self.file.as_ref(), &self.frame, self.offset)
            .map_err(|error| StorageError::io("write", &self.temporary, error))?;
        self.offset += self.frame.len() as u64;
        Ok(())
    }

    /// Makes it durable under its name; gives its length.
    fn finish(self) -> Result<u64, StorageError> {
        let path = self.directory.log_path(self.name);
        let disk = self.directory.disk();
        let publish = || {
            self.file.sync_data()?;
            disk.rename(&self.temporary, &path)?;
            disk.sync_dir(self.directory.log_dir())
        };
        publish().map_err(|error| StorageError::io("publish", &path, error))?;
        Ok(self.offset)
    }
}

fn first_segment(
    directory: &DataDir,
    options: &StorageOptions,
    epoch: u32,
    shard: u16,
    created_ms: i64,
    salt: u64,
) -> Result<Segment, StorageError> {
    let segment_bytes = options.first_segment_bytes;
    let header =
        SegmentHeader { salt, epoch, segment: 0, shard, opened_epoch: epoch, segment_bytes, created_ms };
    let name = SegmentName::Log { epoch, shard, segment: 0 };
    let disk = Arc::clone(directory.disk());
    Preparation::new(disk, directory.log_dir(), name, header, None, options.fill)
        .finish()
        .map_err(|failure| failure.error)
}

/// Cuts the files of closed logs to what is read of them.
fn cut_closed_logs(directory: &DataDir, warnings: &mut Vec<String>) {
    for entry in &directory.manifest().epochs {
        for end in &entry.ends {
            let name = SegmentName::Log { epoch: entry.epoch, shard: end.shard, segment: end.segment };
            let path = directory.log_path(name);
            let cut = || {
                let file = directory.disk().open(&path, OpenMode::ReadWrite)?;
                if file.len()? > end.offset { file.set_len(end.offset) } else { Ok(()) }
            };
            if end.ops > 0
                && let Err(error) = cut()
                // Retention has been there.
                && error.kind() != io::ErrorKind::NotFound
            {
                warnings.push(format!("cannot cut {}: {error}", path.display()));
            }
        }
    }
}

/// Removes log files that the manifest does not name, except a few that are fit to be spares.
fn give_back(
    directory: &DataDir,
    options: &StorageOptions,
    recyclable_max: usize,
    warnings: &mut Vec<String>,
) -> Vec<PathBuf> {
    let mut recyclable = Vec::new();
    let named = named_files(directory);
    let files = match list(directory) {
        Ok(files) => files,
        Err(error) => {
            warnings.push(error.to_string());
            return recyclable;
        }
    };
    for name in files.iter().filter_map(|file| SegmentName::parse(file)).filter(|name| !named.contains(name))
    {
        let path = directory.log_path(name);
        let is_spare = directory
            .disk()
            .open(&path, OpenMode::Read)
            .and_then(|file| file.len())
            .is_ok_and(|len| len == options.segment_bytes);
        if is_spare && recyclable.len() < recyclable_max {
            recyclable.push(path);
        } else if let Err(error) = directory.disk().remove(&path) {
            warnings.push(format!("cannot remove {}: {error}", path.display()));
        }
    }
    recyclable
}

/// Tells the books which files there are.
fn open_books(
    directory: &DataDir,
    options: &StorageOptions,
    shards: u16,
    now_ms: i64,
    free: Vec<PathBuf>,
    warnings: &mut Vec<String>,
) {
    let mut bytes =
        free.len() as u64 * options.segment_bytes + u64::from(shards) * options.first_segment_bytes;
    let mut closed: BTreeMap<LogId, VecDeque<ClosedFile>> = BTreeMap::new();
    let manifest = directory.manifest();
    for (name, log, limit, last_ops) in manifest.epochs.iter().flat_map(closed_files) {
        let path = directory.log_path(name);
        match directory.disk().open(&path, OpenMode::Read).and_then(|file| file.len()) {
            Ok(len) => {
                bytes += len;
                let file =
                    ClosedFile { name, bytes: len, limit: limit.unwrap_or(len), last_ops, ended_ms: None };
                closed.entry(log).or_default().push_back(file);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warnings.push(format!("cannot measure {}: {error}", path.display())),
        }
    }
    directory.files().open(Opening {
        retention: options.retention,
        segment_bytes: options.segment_bytes,
        epoch: manifest.epoch,
        opened_ms: now_ms,
        shards,
        bytes,
        closed,
        free,
    });
}

/// The files that a closed epoch has, or had, in the order they are read: with the limit and the last operation of those that end a log.
fn closed_files(
    entry: &EpochEntry,
) -> impl Iterator<Item = (SegmentName, LogId, Option<u64>, Option<u64>)> + use<> {
    let epoch = entry.epoch;
    entry.ends.clone().into_iter().flat_map(move |end| {
        let LogEnd { shard, segment: last, offset, ops, tail } = end;
        let segments = (0..=last).filter(move |_| ops > 0).map(move |segment| {
            let is_last = segment == last;
            let name = SegmentName::Log { epoch, shard, segment };
            (name, (epoch, shard), is_last.then_some(offset), is_last.then_some(ops))
        });
        let tail = tail.map(|tail| {
            let name = SegmentName::Tail { opened_epoch: tail.opened_epoch, shard };
            (name, (epoch, shard), Some(tail.offset), Some(tail.ops))
        });
        segments.chain(tail)
    })
}

fn named_files(directory: &DataDir) -> BTreeSet<SegmentName> {
    let mut named = BTreeSet::new();
    for entry in &directory.manifest().epochs {
        let (epoch, shards) = (entry.epoch, entry.shards);
        named.extend(closed_files(entry).map(|(name, ..)| name));
        if entry.ends.is_empty() {
            // Just opened: one segment each.
            named.extend((0..shards).map(|shard| SegmentName::Log { epoch, shard, segment: 0 }));
        }
    }
    named
}
