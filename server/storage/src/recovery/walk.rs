//! Reads the log of one shard of one epoch, segment by segment, and keeps what the verdict needs: how far it reads without a gap,
//! where it first did not, and what was stated durable behind that.

use std::io;
use std::path::PathBuf;

use crate::directory::DataDir;
use crate::disk::OpenMode;
use crate::frame::{Frame, Step};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, SegmentName, TAIL_SEGMENT};
use crate::{Position, StorageError};

use super::plan::LogPlan;

/// A frame that continues its log.
pub(super) struct Located<'a> {
    pub(super) segment: u32,
    pub(super) frame: Frame<'a>,
}

/// The first place where a log did not go on.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) file: PathBuf,
    pub(super) offset: u64,
    pub(super) reason: String,
    /// The last operation before it.
    pub(super) readable_ops: u64,
    /// It is not frames that are damaged but the segment as such.
    pub(super) of_segment: bool,
    /// The disk could not read it: who knows what is there.
    pub(super) unreadable: Option<io::Error>,
}

/// The state of a walk.
pub(super) struct LogWalk {
    pub(super) epoch: u32,
    pub(super) shard: u16,
    /// Behind the last frame that continued the log.
    pub(super) end_segment: u32,
    pub(super) end_offset: u64,
    /// The highest operation that anything states durable.
    pub(super) stated_ops: u64,
    pub(super) stop: Option<Stop>,
    /// The last operation that an image holds: nothing up to it is missed.
    pub(super) floor: u64,
    /// The last operation that is not handed over.
    pub(super) handed_over_after: u64,
    /// Stops in what the image holds.
    pub(super) older: Vec<Stop>,
    /// Stops behind which the log turned out to go on.
    pub(super) harmless: Vec<Stop>,
    /// For each segment, the last operation before it.
    pub(super) starts: Vec<(u32, u64)>,
    last_ops: u64,
    /// A frame behind a gap was seen: the log does not go on any more.
    beyond_gap: bool,
}

/// Takes the frames of a walk.
pub(super) type FrameSink<'a> = dyn FnMut(Located<'_>) -> Result<(), StorageError> + 'a;

impl LogWalk {
    pub(super) fn new(plan: &LogPlan) -> LogWalk {
        LogWalk {
            epoch: plan.epoch,
            shard: plan.shard,
            end_segment: *plan.segments.start(),
            end_offset: SEGMENT_HEADER_BYTES,
            stated_ops: plan.stated_ops,
            stop: None,
            floor: plan.floor,
            handed_over_after: plan.handed_over_after(),
            older: Vec::new(),
            harmless: Vec::new(),
            starts: Vec::new(),
            last_ops: plan.before_ops,
            beyond_gap: false,
        }
    }

    /// A second walk over a part of the log: from the beginning of the last segment that begins at or below operation `ops`. Gives the
    /// number of that segment too.
    pub(super) fn again_from(&self, ops: u64) -> (LogWalk, u32) {
        let (segment, last_ops) =
            self.starts.iter().rev().find(|start| start.1 <= ops).copied().unwrap_or((self.end_segment, 0));
        let walk = LogWalk {
            epoch: self.epoch,
            shard: self.shard,
            end_segment: segment,
            end_offset: SEGMENT_HEADER_BYTES,
            stated_ops: 0,
            stop: None,
            floor: self.floor,
            handed_over_after: self.handed_over_after,
            older: Vec::new(),
            harmless: Vec::new(),
            starts: Vec::new(),
            last_ops,
            beyond_gap: false,
        };
        (walk, segment)
    }

    /// The last operation up to which the log, or the image and then the log, reads without a gap.
    pub(super) fn last_ops(&self) -> u64 {
        self.last_ops.max(self.floor)
    }

    /// The last operation of the log itself that was read, or is before what was read.
    pub(super) fn read_ops(&self) -> u64 {
        self.last_ops
    }

    /// The stop of a log that simply ends too early.
    pub(super) fn stop_at_end(&self, directory: &DataDir) -> Stop {
        let name = SegmentName::Log { epoch: self.epoch, shard: self.shard, segment: self.end_segment };
        Stop {
            file: directory.log_path(name),
            offset: self.end_offset,
            reason: "the log ends here".to_owned(),
            readable_ops: self.last_ops(),
            of_segment: false,
            unreadable: None,
        }
    }

    /// Reads one segment, up to `limit` if the manifest states one. Frames that continue the log go to `sink`. Gives the bytes read.
    pub(super) fn segment(
        &mut self,
        directory: &DataDir,
        name: SegmentName,
        limit: Option<u64>,
        sink: &mut FrameSink<'_>,
    ) -> Result<u64, StorageError> {
        let path = directory.log_path(name);
        let failed = |error| StorageError::io("read", &path, error);
        let file = match directory.disk().open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.stop_of_segment(path.clone(), "the file is missing".to_owned(), None);
                return Ok(0);
            }
            Err(error) => return Err(failed(error)),
        };
        let segment = match Segment::read(file, path.clone()) {
            Ok(Ok(segment)) => segment,
            Ok(Err(reason)) => {
                self.stop_of_segment(path.clone(), reason, None);
                return Ok(0);
            }
            Err(error) if self.is_below_floor() => {
                self.stop_of_segment(path.clone(), error.to_string(), Some(error));
                return Ok(0);
            }
            Err(error) => return Err(failed(error)),
        };
        if let Err(reason) = self.belongs(name, &segment.header) {
            self.stop_of_segment(path.clone(), reason, None);
            return Ok(0);
        }
        self.starts.push((segment.header.segment, self.last_ops));
        let limit = limit.unwrap_or(segment.header.segment_bytes);
        self.frames(&segment, limit, sink)?;
        Ok(limit)
    }

    fn frames(
        &mut self,
        segment: &Segment,
        limit: u64,
        sink: &mut FrameSink<'_>,
    ) -> Result<(), StorageError> {
        let number = segment.header.segment;
        let mut reader = segment.reader(SEGMENT_HEADER_BYTES, limit);
        loop {
            reader.pass_over_unreadable(self.is_below_floor());
            let damage = match reader.step().map_err(|e| StorageError::io("read", &segment.path, e))? {
                Step::CleanEnd => return Ok(()),
                Step::Frame(frame) => {
                    self.stated_ops = self.stated_ops.max(frame.header.durable.ops());
                    self.frame(segment, Located { segment: number, frame }, sink)?;
                    continue;
                }
                Step::Damage { offset, reason, stated } => {
                    self.stated_ops = self.stated_ops.max(stated.map_or(0, Position::ops));
                    (offset, reason)
                }
            };
            let (offset, reason) = damage;
            let unreadable = reader.take_unreadable();
            let reason = unreadable.as_ref().map_or_else(|| reason.to_string(), ToString::to_string);
            self.stop_here(segment, offset, reason, unreadable);
            if !reader.skip_to_next_header().map_err(|e| StorageError::io("read", &segment.path, e))? {
                return Ok(());
            }
        }
    }

    fn frame(
        &mut self,
        segment: &Segment,
        located: Located<'_>,
        sink: &mut FrameSink<'_>,
    ) -> Result<(), StorageError> {
        let (header, offset) = (located.frame.header, located.frame.offset);
        let expected = self.last_ops + 1;
        if !self.beyond_gap && (expected..=self.floor + 1).contains(&header.first_ops) {
            // Whatever was not read before this, the image holds.
            self.older.extend(self.stop.take());
        } else if self.beyond_gap
            || header.first_ops != expected
            || self.stop.as_ref().is_some_and(|stop| stop.of_segment)
        {
            self.beyond_gap = true;
            let (expected, found) = (self.last_ops() + 1, header.first_ops);
            self.stop_here(
                segment,
                offset,
                format!("operation {expected} should follow, but here is operation {found}"),
                None,
            );
            return Ok(());
        }
        // The log goes on where it stopped: what was damaged held no operation.
        self.harmless.extend(self.stop.take());
        self.last_ops = header.last_ops();
        (self.end_segment, self.end_offset) = (located.segment, located.frame.end_offset);
        sink(located)
    }

    /// Whether the header says what the name says.
    fn belongs(&self, name: SegmentName, header: &SegmentHeader) -> Result<(), String> {
        let (opened_epoch, number) = match name {
            SegmentName::Log { epoch, segment, .. } => (epoch, segment),
            SegmentName::Tail { opened_epoch, .. } => (opened_epoch, TAIL_SEGMENT),
        };
        let expected = (self.epoch, self.shard, number, opened_epoch);
        let found = (header.epoch, header.shard, header.segment, header.opened_epoch);
        if found == expected {
            return Ok(());
        }
        Err(format!(
            "the header says (epoch, shard, segment, opened epoch) {found:?} where {expected:?} should be: the file belongs elsewhere"
        ))
    }

    /// What is read now is in the image too.
    fn is_below_floor(&self) -> bool {
        self.last_ops < self.floor
    }

    fn stop_of_segment(&mut self, file: PathBuf, reason: String, unreadable: Option<io::Error>) {
        let readable_ops = self.last_ops;
        match &mut self.stop {
            // The earlier place is the one to name, but no torn tail explains this.
            Some(stop) => {
                stop.of_segment = true;
                stop.unreadable = stop.unreadable.take().or(unreadable);
            }
            None => {
                self.stop =
                    Some(Stop { file, offset: 0, reason, readable_ops, of_segment: true, unreadable });
            }
        }
    }

    fn stop_here(&mut self, segment: &Segment, offset: u64, reason: String, unreadable: Option<io::Error>) {
        match &mut self.stop {
            Some(stop) => stop.unreadable = stop.unreadable.take().or(unreadable),
            None => {
                let (file, readable_ops) = (segment.path.clone(), self.last_ops);
                self.stop = Some(Stop { file, offset, reason, readable_ops, of_segment: false, unreadable });
            }
        }
    }
}
