//! Reads a log while the server appends to it.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::{Hold, LogFiles, LogId, LogPin};
use crate::error::LogDamage;
use crate::frame::{SegmentReader, Step};
use crate::log::LogWatch;
use crate::recovery::ReplayedFrame;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentName, TAIL_SEGMENT};
use crate::{Position, StorageError};

/// Reads the operations of one log in order, up to what is durable. What it has still to read does not go meanwhile.
pub struct LogReader {
    files: LogFiles,
    log: LogId,
    after_ops: u64,
    /// Closed files that are still to be read, and how far.
    closed: VecDeque<(SegmentName, u64)>,
    /// Where the log goes on after them.
    onward: Onward,
    current: Option<Current>,
    /// The last operation read.
    read_ops: u64,
    /// A frame was read: from here on there may be no gap.
    has_begun: bool,
    /// The error was that the next group is one that should not follow yet.
    is_before_gap: bool,
    /// Where something stood that is no frame.
    damage: Option<(PathBuf, u64, String)>,
    /// Durable when the file was last looked at anew.
    refreshed_ops: u64,
    ops: Vec<u8>,
    hold: LogPin,
}

enum Onward {
    /// Nowhere: the epoch is closed, with this operation.
    Ends { last_ops: u64 },
    /// In this segment, and those behind it.
    Runs { watch: LogWatch, next_segment: u32 },
}

struct Current {
    path: PathBuf,
    reader: SegmentReader,
}

/// What stood at the reader's place.
enum Met {
    Group { first_ops: u64, now_ms: i64, op_count: u32 },
    Passed,
    NotDurableYet,
    EndOfFile,
}

impl LogFiles {
    /// The logs of which something is there, ascending by epoch and shard.
    pub fn logs(&self) -> Vec<(u32, u16)> {
        let books = self.books();
        let mut logs: Vec<LogId> = books.closed.keys().copied().collect();
        logs.extend(books.running.keys().map(|shard| (books.epoch.0, *shard)));
        logs.sort_unstable();
        logs.dedup();
        logs
    }

    /// A reader of one log behind operation `after_ops`, or, where retention has been there, behind what is gone: the first group says
    /// where it begins. A group that straddles `after_ops` is given whole.
    pub fn reader(&self, epoch: u32, shard: u16, after_ops: u64) -> Result<LogReader, StorageError> {
        let log = (epoch, shard);
        // Held first: what is listed then stays.
        let hold = self.hold(Hold::Log { log, after_ops });
        let (closed, onward) = {
            let books = self.books();
            let files = books.closed.get(&log);
            let last_ops = files.and_then(|files| files.back()?.last_ops).unwrap_or(0);
            let closed = files.into_iter().flatten().map(|file| (file.name, file.limit)).collect();
            let running = books.running.get(&shard).filter(|_| books.epoch.0 == epoch);
            let onward = running.map_or(Onward::Ends { last_ops }, |running| Onward::Runs {
                watch: running.watch.clone(),
                next_segment: running.next_segment,
            });
            (closed, onward)
        };
        // From the beginning on, no file is left out: none has to be looked into, so one that cannot be read is met where it stands.
        let closed = if after_ops > 0 { self.behind(closed, after_ops)? } else { closed };
        Ok(LogReader {
            files: self.clone(),
            log,
            after_ops,
            closed,
            onward,
            current: None,
            read_ops: 0,
            has_begun: false,
            is_before_gap: false,
            damage: None,
            refreshed_ops: 0,
            ops: Vec::new(),
            hold,
        })
    }

    /// `files` from the last one on that begins at or below the operation behind `after_ops`, as far as their first frames say it.
    fn behind(
        &self,
        mut files: VecDeque<(SegmentName, u64)>,
        after_ops: u64,
    ) -> Result<VecDeque<(SegmentName, u64)>, StorageError> {
        let (mut begins_before, mut end) = (0, files.len());
        while end - begins_before > 1 {
            let middle = begins_before + (end - begins_before) / 2;
            let mut readable = None;
            for (index, (name, _)) in files.iter().enumerate().take(end).skip(middle) {
                if let Some(Ok(segment)) = self.open_segment(*name)?
                    && let Some(frame) =
                        segment.first_frame().map_err(|e| StorageError::io("read", &segment.path, e))?
                {
                    readable = Some((index, frame.first_ops));
                    break;
                }
            }
            match readable {
                Some((index, first_ops)) if first_ops <= after_ops + 1 => begins_before = index,
                _ => end = middle,
            }
        }
        Ok(files.split_off(begins_before.min(files.len())))
    }
}

impl LogReader {
    /// The next group; `None`: there is none that is durable yet, or, in a closed epoch, none any more.
    #[expect(clippy::should_implement_trait, reason = "a group is lent, which an iterator cannot do")]
    pub fn next(&mut self) -> Result<Option<ReplayedFrame<'_>>, StorageError> {
        let until_ops = self.until_ops();
        while self.read_ops < until_ops {
            let Some(current) = &mut self.current else {
                self.open_next(until_ops)?;
                continue;
            };
            if self.refreshed_ops != until_ops {
                current.reader.refresh();
                self.refreshed_ops = until_ops;
            }
            match self.step(until_ops)? {
                Met::Group { first_ops, now_ms, op_count } => {
                    let first = Position::new(self.log.0, first_ops)?;
                    let ops = &self.ops;
                    return Ok(Some(ReplayedFrame { shard: self.log.1, first, now_ms, op_count, ops }));
                }
                Met::Passed => {}
                Met::NotDurableYet => return Ok(None),
                Met::EndOfFile => self.file_is_read(),
            }
        }
        Ok(None)
    }

    /// After an error of [`LogReader::next`]: goes on behind what cannot be read, wherever the next group begins, though operations are
    /// missing there. False: nothing that can be read is behind it.
    pub fn pass_over(&mut self) -> bool {
        self.damage = None;
        self.has_begun = false;
        if std::mem::take(&mut self.is_before_gap) {
            return true;
        }
        // The rest of a file that the disk cannot read, or one that cannot be opened.
        self.current.take().is_some() || self.closed.pop_front().is_some()
    }

    /// The last operation that can be read now.
    pub fn until_ops(&self) -> u64 {
        match &self.onward {
            Onward::Ends { last_ops } => *last_ops,
            Onward::Runs { watch, .. } => watch.durable().ops(),
        }
    }

    fn step(&mut self, until_ops: u64) -> Result<Met, StorageError> {
        let current = self.current.as_mut().expect("a file is open");
        let failed = |error| StorageError::io("read", &current.path, error);
        let (header, offset) = match current.reader.step().map_err(failed)? {
            Step::CleanEnd => return Ok(Met::EndOfFile),
            Step::Frame(frame) => {
                self.ops.clear();
                self.ops.extend_from_slice(frame.ops);
                (frame.header, frame.offset)
            }
            Step::Damage { offset, reason, .. } => {
                self.damage.get_or_insert_with(|| (current.path.clone(), offset, reason.to_string()));
                let found = current.reader.skip_to_next_header().map_err(failed)?;
                return Ok(if found { Met::Passed } else { Met::EndOfFile });
            }
        };
        if header.last_ops() > until_ops {
            current.reader.go_back(offset);
            return Ok(Met::NotDurableYet);
        }
        let expected = self.read_ops + 1;
        let may_begin_here =
            !self.has_begun && (self.damage.is_none() || header.first_ops <= self.after_ops + 1);
        if header.first_ops != expected && !may_begin_here {
            let found = header.first_ops;
            let path = current.path.clone();
            current.reader.go_back(offset);
            self.is_before_gap = true;
            return Err(self.corrupt(
                path,
                offset,
                format!("operation {expected} should follow, but here is operation {found}"),
            ));
        }
        self.has_begun = true;
        (self.damage, self.is_before_gap) = (None, false);
        self.read_ops = header.last_ops();
        if header.op_count == 0 || self.read_ops <= self.after_ops {
            return Ok(Met::Passed);
        }
        Ok(Met::Group { first_ops: header.first_ops, now_ms: header.now_ms, op_count: header.op_count })
    }

    /// Everything in the file is behind the reader: it may go.
    fn file_is_read(&mut self) {
        self.current = None;
        let after_ops = self.read_ops.max(self.after_ops);
        self.files.books().holds.insert(self.hold.id, Hold::Log { log: self.log, after_ops });
    }

    fn open_next(&mut self, until_ops: u64) -> Result<(), StorageError> {
        let (name, limit) = match (self.closed.front(), &self.onward) {
            (Some((name, limit)), _) => (*name, Some(*limit)),
            (None, Onward::Runs { next_segment: segment, .. }) => {
                assert!(*segment < TAIL_SEGMENT, "segment numbers end before {TAIL_SEGMENT}");
                let (epoch, shard) = self.log;
                (SegmentName::Log { epoch, shard, segment: *segment }, None)
            }
            (None, Onward::Ends { .. }) => {
                let name = SegmentName::Log { epoch: self.log.0, shard: self.log.1, segment: 0 };
                let path = self.files.path(name);
                return Err(self.corrupt(path, 0, format!("the log ends before operation {until_ops}")));
            }
        };
        let path = self.files.path(name);
        let segment = match self.files.open_segment(name)? {
            Some(Ok(segment)) => segment,
            Some(Err(reason)) => return Err(self.corrupt(path, 0, reason)),
            None => return Err(self.corrupt(path, 0, "the file is missing".to_owned())),
        };
        let reader = segment.reader(SEGMENT_HEADER_BYTES, limit.unwrap_or(segment.header.segment_bytes));
        self.current = Some(Current { path, reader });
        // Only now: whoever asks again after an error gets the same file again.
        match (self.closed.pop_front(), &mut self.onward) {
            (None, Onward::Runs { next_segment, .. }) => *next_segment += 1,
            (taken, _) => assert!(taken.is_some(), "a file was opened"),
        }
        Ok(())
    }

    /// The error; what was met before explains it better. It stays: asked again, the reader says the same.
    fn corrupt(&mut self, file: PathBuf, offset: u64, reason: String) -> StorageError {
        let (file, offset, reason) = self.damage.get_or_insert((file, offset, reason)).clone();
        StorageError::Corrupt(Box::new(LogDamage {
            file,
            offset,
            reason,
            epoch: self.log.0,
            shard: self.log.1,
            readable_ops: self.read_ops,
            durable_ops: self.until_ops(),
            dir: self.files.inner.log_dir.parent().unwrap_or(&self.files.inner.log_dir).to_path_buf(),
        }))
    }
}
