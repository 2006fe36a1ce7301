//! The log group of a tick: counted operations, written to the log as one frame at the tick's end.

use std::fmt;

use windrow_engine::op::{OP_BYTES_MAX, mark_anew, mark_noted};
use windrow_storage::{Poison, Position, ShardLog, StorageError};

use crate::release::{AppendFsync, LogState, releasable};

/// Why a write is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log bytes that are allocated are used up.
    NoRoom {
        /// Why no more could be allocated, if that is known.
        why: Option<String>,
    },
    /// The log has failed: only a restart helps.
    Failed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoRoom { why } => {
                let why = why.as_deref().unwrap_or("the disk may be full");
                write!(
                    f,
                    "MISCONF The log has no room for this write and it was not applied: {why}. \
                     Reads go on; writing resumes when there is room."
                )
            }
            Refusal::Failed => f.write_str(
                "MISCONF The log has failed and this write was not applied: see the server's messages. \
                 Reads go on; writing needs a restart.",
            ),
        }
    }
}

/// The reply of a write that was in flight when the log failed.
pub const OUTCOME_UNKNOWN: &[u8] =
    b"-MISCONF The log failed while this write was in flight: its outcome is unknown until the server is restarted.\r\n";

/// A group is written before it has grown beyond this, whatever room there is.
const GROUP_BYTES: usize = 4 << 20;

/// Removals to make room in memory add to a group until it has this part of the log's room.
const REMOVALS_PART: usize = 2;

/// The group, and the log that it goes to. Positions are counts of operations since the start.
pub struct LogGroup {
    log: Option<ShardLog>,
    poison: Option<Poison>,
    bytes: Vec<u8>,
    count: u64,
    /// Operations written so far.
    written: u64,
    /// The packed position before the epoch's first operation.
    epoch_start: u64,
    /// Room for operations, asked from the log once a tick.
    room_bytes: usize,
    /// Room for so much is kept before the next write is looked at.
    reserve_bytes: usize,
    has_failed: bool,
    /// What is collected is thrown away: to measure what the log costs.
    is_unlogged: bool,
    /// Something was written since this was last asked.
    has_written: bool,
    /// The last answer of [`LogGroup::releasable`] before a failure.
    kept: u64,
}

impl Default for LogGroup {
    fn default() -> Self {
        LogGroup::new()
    }
}

impl LogGroup {
    /// A group without a log: nothing may be pushed before [`LogGroup::start`].
    #[must_use]
    pub fn new() -> Self {
        LogGroup {
            log: None,
            poison: None,
            bytes: Vec::new(),
            count: 0,
            written: 0,
            epoch_start: 0,
            room_bytes: 0,
            reserve_bytes: 0,
            has_failed: false,
            is_unlogged: false,
            has_written: false,
            kept: 0,
        }
    }

    /// The log that groups go to, of a fresh epoch.
    pub fn start(&mut self, log: ShardLog, poison: Poison) {
        self.poison = Some(poison);
        self.room_bytes = log.room();
        // In a fresh segment, however small, there is room for the reserve.
        self.reserve_bytes = OP_BYTES_MAX.min(self.room_bytes / 4);
        debug_assert_eq!(log.written().ops(), 0, "a start opens an epoch");
        self.epoch_start = log.written().pack();
        self.log = Some(log);
    }

    /// Writes nothing from now on, and counts operations only: what is acknowledged is lost with the process. For measuring what the
    /// log costs, and nothing else.
    pub fn stop_logging(&mut self) {
        self.is_unlogged = true;
        self.room_bytes = usize::MAX;
    }

    /// Whether an operation of so many bytes may be applied now.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub fn admit(&mut self, op_bytes: usize, now_ms: i64) -> Result<(), Refusal> {
        if self.bytes.len() + op_bytes <= self.room_bytes && !self.has_failed {
            return Ok(());
        }
        self.look_again(op_bytes, now_ms)
    }

    #[cold]
    fn look_again(&mut self, op_bytes: usize, now_ms: i64) -> Result<(), Refusal> {
        // What is collected may fill a segment to its end, with room behind it.
        if self.has_failed || self.is_poisoned() || self.write(now_ms).is_err() {
            return Err(Refusal::Failed);
        }
        // The sync thread may have made a spare segment since.
        self.room_bytes = self.log.as_ref().map_or(0, ShardLog::room);
        if self.bytes.len() + op_bytes <= self.room_bytes {
            return Ok(());
        }
        Err(Refusal::NoRoom { why: self.log.as_ref().and_then(ShardLog::spare_failure) })
    }

    /// Whether a write should wait before it is looked at: the room that is left is little, and nothing has failed, so the tick's
    /// end or the sync thread is about to make more. `staged_bytes` are promised to operations already.
    #[inline]
    pub fn should_wait(&mut self, staged_bytes: usize) -> bool {
        self.bytes.len() + staged_bytes + self.reserve_bytes > self.room_bytes
            && self.is_room_coming(staged_bytes)
    }

    #[cold]
    fn is_room_coming(&mut self, staged_bytes: usize) -> bool {
        if self.has_failed || self.is_poisoned() {
            return false;
        }
        let Some(log) = &self.log else { return false };
        self.room_bytes = log.room();
        let is_little = self.bytes.len() + staged_bytes + self.reserve_bytes > self.room_bytes;
        // With a spare and nothing to write first, no more will ever come: the epoch has counted to its end.
        let more_may_come = log.wants_spare() || !self.bytes.is_empty() || staged_bytes > 0;
        is_little && more_may_come && log.spare_failure().is_none()
    }

    /// Whether the next segment is ready.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.wants_spare())
    }

    /// Adds an applied operation; gives its position.
    #[inline]
    pub fn push(&mut self, op: &[u8], starts_anew: bool) -> u64 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(op);
        if starts_anew {
            mark_anew(&mut self.bytes[start..]);
        }
        self.count += 1;
        self.written + self.count
    }

    /// Adds an operation that was admitted, and then not counted, but moved its stream's clock.
    #[cold]
    pub fn note(&mut self, op: &[u8]) {
        let start = self.bytes.len();
        self.push(op, false);
        mark_noted(&mut self.bytes[start..]);
    }

    /// Adds the operation of a removal, if there is room to spare: what is left over is promised to events that are staged.
    pub fn log_removal(&mut self, op: &[u8]) -> bool {
        let is_admitted = !self.has_failed
            && !self.is_poisoned()
            && self.bytes.len() + op.len() <= self.room_bytes / REMOVALS_PART;
        if is_admitted {
            self.push(op, false);
        }
        is_admitted
    }

    /// Position of the last operation added.
    #[inline]
    #[must_use]
    pub fn end(&self) -> u64 {
        self.written + self.count
    }

    /// The position of the last operation added.
    #[inline]
    #[must_use]
    pub fn position(&self) -> Position {
        Position::unpack(self.epoch_start + self.end())
    }

    /// The position, packed with its epoch, of the next operation to be added.
    #[inline]
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.epoch_start + self.end() + 1
    }

    /// Whether an operation at this packed position, of whatever epoch, would survive a power loss once `durable_ops` of the
    /// present one do. All of earlier epochs do.
    #[inline]
    #[must_use]
    pub fn is_durable(&self, position: u64, durable_ops: u64) -> bool {
        position <= self.epoch_start + durable_ops
    }

    /// Whether the group should be written now.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= GROUP_BYTES
    }

    /// Writes the group.
    ///
    /// # Errors
    /// The log has failed, for good.
    pub fn write(&mut self, now_ms: i64) -> Result<(), StorageError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        if self.count == 0 {
            return Ok(());
        }
        if self.is_unlogged {
            self.written += self.count;
            self.count = 0;
            self.bytes.clear();
            return Ok(());
        }
        let count = u32::try_from(self.count).expect("a group is bounded by its bytes");
        log.append(now_ms, count, &self.bytes)?;
        self.has_written = true;
        self.written += self.count;
        self.count = 0;
        self.bytes.clear();
        self.room_bytes = log.room();
        Ok(())
    }

    /// Replies of operations up to this one may leave.
    pub fn releasable(&mut self, mode: AppendFsync, now_ms: i64) -> u64 {
        if self.has_failed {
            return u64::MAX;
        }
        let Some(state) = self.state() else { return u64::MAX };
        let releasable = releasable(mode, state, now_ms);
        self.kept = self.kept.max(releasable);
        releasable
    }

    /// The log as the release rule sees it; `None` while loading.
    pub fn state(&mut self) -> Option<LogState> {
        if self.is_unlogged {
            return None;
        }
        let log = self.log.as_mut()?;
        Some(LogState {
            written: log.written().ops(),
            durable: log.durable().ops(),
            oldest_unsynced_ms: log.oldest_unsynced_ms(),
        })
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn is_poisoned(&self) -> bool {
        self.poison.as_ref().is_some_and(|poison| poison.reason().is_some())
    }

    /// Whether the log has failed since this was last asked. Gives the position up to which replies had been released.
    pub fn take_failure(&mut self) -> Option<u64> {
        if self.has_failed || !self.is_poisoned() {
            return None;
        }
        self.has_failed = true;
        self.bytes = Vec::new();
        self.count = 0;
        Some(self.kept)
    }

    /// Whether something was written since this was last asked.
    #[inline]
    pub fn take_has_written(&mut self) -> bool {
        std::mem::take(&mut self.has_written)
    }

    /// The log, for its last sync.
    #[must_use]
    pub fn into_log(self) -> Option<ShardLog> {
        self.log
    }

    /// The log while it has not failed.
    pub fn log_mut(&mut self) -> Option<&mut ShardLog> {
        if self.has_failed || self.is_unlogged { None } else { self.log.as_mut() }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use windrow_storage::disk::MemDisk;
    use windrow_storage::{LogSyncer, Recovery, StorageOptions};

    use super::*;

    const SEGMENT_BYTES: u64 = 64 << 10;

    fn group(disk: MemDisk) -> (LogGroup, LogSyncer) {
        let options = StorageOptions {
            segment_bytes: SEGMENT_BYTES,
            first_segment_bytes: SEGMENT_BYTES,
            ..StorageOptions::new(7)
        };
        let recovery = Recovery::open(Arc::new(disk), Path::new("/data"), options, 1).unwrap();
        let replayed = recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap();
        let mut started = replayed.start(1, 0).unwrap();
        let (log, mut syncer) = started.logs.pop().unwrap();
        while syncer.wants_spare() {
            syncer.prepare_spare().unwrap();
        }
        let mut group = LogGroup::new();
        group.start(log, started.directory.poison().clone());
        (group, syncer)
    }

    #[test]
    fn a_tick_with_more_than_a_segment_is_written_in_several_frames_up_to_the_last_room() {
        let (mut group, mut syncer) = group(MemDisk::new());
        let op = [1; 1000];
        let mut admitted = 0;
        while group.admit(op.len(), 5).is_ok() {
            admitted += 1;
            assert_eq!(group.push(&op, false), admitted);
        }
        // Two segments of 64 KiB, less their headers and frames.
        assert!((110..=128).contains(&admitted), "{admitted} operations of 1000 bytes were admitted");
        assert_eq!(group.admit(op.len(), 5), Err(Refusal::NoRoom { why: None }));
        while syncer.wants_spare() {
            syncer.prepare_spare().unwrap();
        }
        assert_eq!(group.admit(op.len(), 5), Ok(()));
        group.push(&op, false);
        group.write(6).unwrap();
        assert_eq!(group.releasable(AppendFsync::No, 6), admitted + 1);
    }

    #[test]
    fn a_group_that_does_not_log_counts_and_releases_everything() {
        let (mut group, _syncer) = group(MemDisk::new());
        group.stop_logging();
        for at in 1..=10_000 {
            assert_eq!(group.admit(1000, 5), Ok(()));
            assert_eq!(group.push(&[1; 1000], false), at);
            group.write(5).unwrap();
        }
        assert_eq!(group.releasable(AppendFsync::Always, 6), u64::MAX);
        assert_eq!(group.into_log().unwrap().written().ops(), 0);
    }

    #[test]
    fn removals_leave_room_for_events() {
        let (mut group, _syncer) = group(MemDisk::new());
        let op = [1; 1000];
        let removals = (0..1000).take_while(|_| group.log_removal(&op)).count();
        assert!((20..64).contains(&removals), "{removals} removals of 1000 bytes");
        let events = (0..1000)
            .take_while(|_| group.admit(op.len(), 5).map(|()| group.push(&op, false)).is_ok())
            .count();
        assert!(events >= removals, "{events} events after {removals} removals");
        assert!(!group.log_removal(&op));
    }

    #[test]
    fn after_a_failed_sync_nothing_is_admitted_and_nothing_waits() {
        let disk = MemDisk::new();
        let (mut group, mut syncer) = group(disk.clone());
        group.admit(3, 5).unwrap();
        group.push(&[1; 3], false);
        group.write(5).unwrap();
        assert_eq!(group.releasable(AppendFsync::Always, 5), 0);
        disk.lose_syncs(0, 1);
        assert!(syncer.sync().is_err());
        assert_eq!(group.take_failure(), Some(0));
        assert_eq!(group.take_failure(), None);
        assert_eq!(group.admit(3, 5), Err(Refusal::Failed));
        assert!(!group.log_removal(&[1; 3]));
        assert_eq!(group.releasable(AppendFsync::Always, 5), u64::MAX);
    }
}
