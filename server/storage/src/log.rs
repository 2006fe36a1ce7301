//! The write-ahead log of one shard, in two halves.
//!
//! | half | thread | does |
//! | --- | --- | --- |
//! | [`ShardLog`] | the shard's | decides what fits, writes frames, moves on to the spare segment |
//! | [`LogSyncer`] | a sync thread | prepares the spare segment, syncs, publishes the durable position |
//!
//! How the three modes are made of it:
//!
//! | `appendfsync` | the server |
//! | --- | --- |
//! | `always` | wakes the sync thread after each append; a reply waits until [`ShardLog::durable`] reaches its position |
//! | `everysec` | wakes it each second; write replies wait while [`ShardLog::oldest_unsynced_ms`] is more than a second ago |
//! | `no` | wakes it when [`ShardLog::full_segment_needs_sync`] or [`ShardLog::idle`] asks for it |
//!
//! In each it wakes the sync thread when [`ShardLog::wants_spare`], and steps on while [`Progress::wants_another_step`].
//!
//! They share atomics, and two mutexes that are held for a few instructions only, never across a disk call. A group is written with one
//! `write_at` into bytes that exist; nothing the shard does allocates disk space or waits for a sync.

mod shared;
mod syncer;
#[cfg(test)]
mod tests;
mod unsynced;

pub use shared::LogWatch;
pub use syncer::{LogSyncer, Progress, SpareState};

pub(crate) use shared::Shared;
pub(crate) use syncer::SyncerSetup;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::write_all_at;
use crate::frame::{self, FRAME_BYTES_MIN, FrameHeader, frame_bytes, payload_room};
use crate::position::OPS_MAX;
use crate::segment::{SEGMENT_HEADER_BYTES, Segment};
use crate::{Poison, Position, StorageError};

use unsynced::UnsyncedTimes;

/// After so long without a group, the durable position is stated on disk.
pub const IDLE_BEFORE_STATEMENT_MS: i64 = 100;

/// The writer of one shard's log. Belongs to the shard's thread.
pub struct ShardLog {
    shared: Arc<Shared>,
    poison: Poison,
    segment: Arc<Segment>,
    offset: u64,
    written: Position,
    /// The durable position that the newest frame on disk states.
    stated: Position,
    last_frame_ms: i64,
    group_bytes_max: usize,
    frame: Vec<u8>,
    unsynced: UnsyncedTimes,
}

/// What [`ShardLog::idle`] wants to happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: not idle for long enough, or all is stated.
    Nothing,
    /// Wake the sync thread, whatever `appendfsync` says: there is something to sync.
    Sync,
}

impl ShardLog {
    pub(crate) fn new(
        shared: Arc<Shared>,
        segment: Arc<Segment>,
        group_bytes_max: usize,
        poison: Poison,
    ) -> ShardLog {
        let start = Position::start_of(segment.header.epoch);
        ShardLog {
            shared,
            poison,
            offset: SEGMENT_HEADER_BYTES,
            written: start,
            stated: start,
            last_frame_ms: segment.header.created_ms,
            segment,
            group_bytes_max,
            frame: Vec::new(),
            unsynced: UnsyncedTimes::default(),
        }
    }

    /// Bytes of operations that the next [`ShardLog::append`] is sure to take, if no [`ShardLog::idle`] comes between. 0: refuse writes
    /// before they are applied (or, while [`ShardLog::spare_failure`] is `None`, wait: a segment is being prepared). It grows again
    /// when a sync thread has prepared a segment (and stays 0 once poisoned, or when the epoch has counted to its end).
    pub fn room(&self) -> usize {
        let counts_left = OPS_MAX - self.written.ops();
        if self.poison.reason().is_some() || counts_left < u64::from(u32::MAX) {
            return 0;
        }
        payload_room(self.left_bytes().max(self.shared.spare_bytes())).min(self.group_bytes_max)
    }

    /// Writes one group as one frame: `op_count` operations, decided at `now_ms`. Gives the position of the last one. After an error
    /// other than [`StorageError::NoRoom`] the log is poisoned and the outcome of the group is unknown.
    pub fn append(&mut self, now_ms: i64, op_count: u32, ops: &[u8]) -> Result<Position, StorageError> {
        assert!(op_count > 0, "a group without operations is no group");
        assert!(ops.len() >= op_count as usize, "{op_count} operations in {} bytes", ops.len());
        self.poison.check()?;
        let room_bytes = self.room();
        if ops.len() > room_bytes {
            return Err(StorageError::NoRoom { needed_bytes: ops.len(), room_bytes });
        }
        let last = self.written.advanced(u64::from(op_count))?;
        self.write_frame(now_ms, op_count, ops)?;
        self.unsynced.note(last, now_ms);
        assert_eq!(self.written, last);
        Ok(last)
    }

    /// To be called when a tick had nothing to log. After [`IDLE_BEFORE_STATEMENT_MS`] it sees to it that everything is synced and
    /// that an empty frame, synced too, says so: damage below is then known to be corruption.
    pub fn idle(&mut self, now_ms: i64) -> Result<Idle, StorageError> {
        if now_ms.saturating_sub(self.last_frame_ms) < IDLE_BEFORE_STATEMENT_MS {
            return Ok(Idle::Nothing);
        }
        self.state_durable(now_ms)
    }

    /// The same without waiting; for a clean stop: call it and [`LogSyncer::step`] in turn until it wants nothing.
    pub fn state_durable(&mut self, now_ms: i64) -> Result<Idle, StorageError> {
        self.poison.check()?;
        if self.stated == self.written {
            return Ok(if self.needs_sync() { Idle::Sync } else { Idle::Nothing });
        }
        if self.durable() < self.written {
            return Ok(Idle::Sync);
        }
        if self.left_bytes().max(self.shared.spare_bytes()) < FRAME_BYTES_MIN as u64 {
            return Ok(Idle::Nothing);
        }
        self.write_frame(now_ms, 0, &[])?;
        Ok(Idle::Sync)
    }

    /// Position of the last operation written.
    pub fn written(&self) -> Position {
        self.written
    }

    /// Position up to which operations survive a power loss.
    pub fn durable(&self) -> Position {
        self.shared.durable()
    }

    /// The `now_ms` of the oldest group that is not synced yet. Never later than the truth. `everysec` holds write replies back
    /// while this is more than a second ago.
    pub fn oldest_unsynced_ms(&mut self) -> Option<i64> {
        let durable = self.durable();
        self.unsynced.oldest_after(durable)
    }

    /// True while frames are written and not synced.
    pub fn needs_sync(&self) -> bool {
        self.shared.needs_sync()
    }

    /// True while a full segment waits for its sync. Under `appendfsync no` too it should get one, or all of it is copied at the next start.
    pub fn full_segment_needs_sync(&self) -> bool {
        self.shared.full_segment_needs_sync()
    }

    /// True while there is no spare segment.
    pub fn wants_spare(&self) -> bool {
        self.shared.spare_bytes() == 0
    }

    /// Why the last attempt to prepare a spare segment failed, if it did: to be said in -MISCONF.
    pub fn spare_failure(&self) -> Option<String> {
        self.shared.spare_failure()
    }

    /// A handle by which other threads see this log's positions.
    pub fn watch(&self) -> LogWatch {
        LogWatch::new(Arc::clone(&self.shared))
    }

    /// The shard whose log this is.
    pub fn shard(&self) -> u16 {
        self.segment.header.shard
    }

    fn left_bytes(&self) -> u64 {
        self.segment.header.segment_bytes - self.offset
    }

    fn write_frame(&mut self, now_ms: i64, op_count: u32, ops: &[u8]) -> Result<(), StorageError> {
        let bytes = frame_bytes(ops.len()) as u64;
        if bytes > self.left_bytes() {
            self.rotate();
        }
        assert!(
            bytes <= self.left_bytes(),
            "a frame of {bytes} bytes was admitted to {} bytes",
            self.left_bytes()
        );
        let durable = self.durable();
        let place = self.segment.header.place();
        let header = FrameHeader {
            epoch: place.epoch,
            shard: place.shard,
            segment: place.segment,
            first_ops: self.written.ops() + 1,
            op_count,
            now_ms,
            durable,
        };
        frame::encode(&mut self.frame, &self.segment.seal, &header, ops);
        if let Err(error) = write_all_at(self.segment.file.as_ref(), &self.frame, self.offset) {
            let path = self.segment.path.display();
            return Err(self
                .poison
                .poison(&format!("writing {path} at byte {} failed: {error}", self.offset)));
        }
        self.offset += bytes;
        self.segment.note_written(self.offset);
        self.written = self.written.advanced(u64::from(op_count))?;
        self.stated = durable;
        self.last_frame_ms = now_ms;
        self.shared.frame_written(self.written, now_ms);
        Ok(())
    }

    /// Moves on to the spare. The rest of the old segment stays zeros; the next frame's position shows that nothing is missing.
    fn rotate(&mut self) {
        let spare = self.shared.take_spare().expect("room() counted the spare, and nobody else takes it");
        self.shared.start_segment(Arc::clone(&spare));
        self.segment = spare;
        self.offset = SEGMENT_HEADER_BYTES;
    }
}

/// Positions are published after the bytes they speak of, and read before them.
const PUBLISH: Ordering = Ordering::Release;
/// See [`PUBLISH`].
const OBSERVE: Ordering = Ordering::Acquire;
