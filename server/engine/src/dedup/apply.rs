//! What a shard does with an event's mark before and after the event is judged otherwise.
//!
//! | outcome | id | sequence number |
//! | --- | --- | --- |
//! | OK, CLAMPED | remembered | the last one counted |
//! | DUPLICATE, SKEWED, LATE, a full record | | those above it need not wait for it |
//! | -OOM, -MISCONF | | those above it wait for it |
//! | -SEQGAP | | |

use windrow_memory::CHUNK_BYTES;
use windrow_window::ClockMode;

use super::sources::Turn;
use super::{DedupUsage, SourceSeq};
use crate::catalogue::{Catalogue, Stream};
use crate::op::{Judged, Op};
use crate::shard::{Outcome, Shard};
use crate::slot::{group_of, hash_slot};

/// Sub-tables that are freed in one tick.
const TABLES_FREED_MAX: usize = 64;

/// Groups that one slice of upkeep looks at.
const GROUPS_SWEPT: usize = 64;

/// Under eviction so much is kept free for what the next tick remembers.
const HEADROOM_BYTES: usize = CHUNK_BYTES / 4;

impl Shard {
    /// Whether an event is not to be counted for its mark alone.
    ///
    /// Judged by the later of its stamp and the stream's clock: upkeep may have freed what is over by the clock.
    pub(crate) fn judge_mark(&mut self, stream: &Stream, op: &Op<'_>, now_ms: i64) -> Option<Outcome> {
        let group = self.dedup.group(stream.id, group_of(hash_slot(op.entity)))?;
        let clock_ms = stream.clock_ms(now_ms).map_or(op.clock_ms, |clock_ms| clock_ms.max(op.clock_ms));
        let is_known = op
            .mark
            .id
            .zip(stream.definition.dedup_ms)
            .is_some_and(|(fingerprint, dedup_ms)| group.contains(fingerprint, clock_ms, dedup_ms));
        let turn = match op.mark.source {
            Some(SourceSeq { source, seq }) => group.sources.judge(source, seq),
            None => Turn::Now,
        };
        let outcome = match turn {
            Turn::Counted => Outcome::Duplicate,
            Turn::Now | Turn::After(_) | Turn::Full if is_known => Outcome::Duplicate,
            Turn::After(undecided) => Outcome::SeqGap { undecided },
            Turn::Full => Outcome::TooManySources,
            Turn::Now => return None,
        };
        if outcome == Outcome::Duplicate {
            self.stats.of(stream.id).duplicate += 1;
        }
        Some(outcome)
    }

    /// Whether there is memory to remember the event's id and its source. What it takes is taken from the records' budget.
    pub(crate) fn has_room_to_remember(&mut self, stream: &Stream, op: &Op<'_>) -> bool {
        if self.maxmemory_bytes == 0 || (op.mark.id.is_none() && op.mark.source.is_none()) {
            return true;
        }
        let group = group_of(hash_slot(op.entity));
        let dedup_ms = stream.definition.dedup_ms;
        let growth_bytes = self.dedup.growth_bytes(stream.id, group, op.mark, op.clock_ms, dedup_ms);
        if growth_bytes == 0 {
            return true;
        }
        let taken_bytes = self.dedup.usage().bytes as usize + growth_bytes;
        let left_bytes = self.maxmemory_bytes.saturating_sub(taken_bytes);
        self.store.set_bytes_max(left_bytes);
        let has_room = left_bytes > 0 && !self.store.is_over_budget();
        if !has_room {
            self.eviction.is_starved = true;
            self.share_memory();
        }
        // Otherwise the records are left so much until the event is remembered.
        has_room
    }

    /// Remembers an event that was counted.
    pub(crate) fn remember(&mut self, stream: &Stream, op: &Op<'_>) {
        let group = group_of(hash_slot(op.entity));
        self.dedup.remember(stream.id, group, op.mark, op.clock_ms, stream.definition.dedup_ms);
        self.share_memory();
    }

    /// Takes note of what became of a marked event that was not counted.
    pub(crate) fn settle(&mut self, stream: &Stream, op: &Op<'_>, outcome: Outcome) {
        if let Some(SourceSeq { source, seq }) = op.mark.source {
            let group = group_of(hash_slot(op.entity));
            let is_known = self.dedup.group(stream.id, group).is_some();
            if outcome == Outcome::OutOfMemory {
                self.dedup.change(stream.id, group, |group| group.sources.refused(source, seq));
            } else if is_known
                && matches!(outcome, Outcome::Duplicate | Outcome::Late | Outcome::Skewed | Outcome::Full)
            {
                self.dedup.change(stream.id, group, |group| group.sources.passed(source, seq));
            }
        }
        // Also what was set aside for its id is the records' again.
        self.share_memory();
    }

    /// Takes note that an operation was refused before it was applied, since the log had no room for it: if it has a sequence
    /// number, those above it wait until it was sent again.
    ///
    /// # Panics
    /// When `op` is not an operation.
    pub fn refuse(&mut self, catalogue: &Catalogue, op: &[u8]) {
        let op = Op::decode(op).expect("an operation as it was encoded");
        if let Some(stream) = catalogue.by_layout(op.layout) {
            self.settle(stream, &op, Outcome::OutOfMemory);
        }
    }

    /// Whether an event that was not counted moved the clock of its stream: the log is then told, or the clock would fall back
    /// at a restart.
    pub(crate) fn moves_clock(&self, stream: &Stream, op: &Op<'_>, outcome: Outcome) -> bool {
        // One that is LATE is older than the clock.
        !matches!(outcome, Outcome::Late | Outcome::Skewed | Outcome::Dropped)
            && stream.layout.clock == ClockMode::Event
            && op.judged != Judged::Skewed
            && op.ts == op.clock_ms
            && self
                .stats
                .get(stream.id)
                .is_none_or(|stats| stats.newest_ms.is_none_or(|newest_ms| op.ts > newest_ms))
    }

    /// Gives the records what remembering leaves of this shard's memory.
    pub(crate) fn share_memory(&mut self) {
        let left_bytes = match self.maxmemory_bytes {
            0 => usize::MAX,
            maxmemory_bytes => maxmemory_bytes.saturating_sub(self.dedup.usage().bytes as usize),
        };
        self.store.set_bytes_max(left_bytes);
    }

    /// Whether so little memory is left that remembering could soon take none, while the records have all of theirs in use.
    pub(crate) fn is_short_of_headroom(&self) -> bool {
        let taken_bytes = self.dedup.usage().bytes as usize;
        taken_bytes > 0 && self.maxmemory_bytes.saturating_sub(taken_bytes) % CHUNK_BYTES < HEADROOM_BYTES
    }

    /// Frees some of what is no longer remembered. Once a tick.
    pub(crate) fn free_forgotten(&mut self) {
        if self.dedup.free(TABLES_FREED_MAX) {
            self.share_memory();
        }
    }

    /// A slice of upkeep over what is remembered.
    pub(crate) fn sweep_remembered(&mut self, catalogue: &Catalogue, now_ms: i64) {
        self.dedup.sweep(catalogue, now_ms, GROUPS_SWEPT);
        self.share_memory();
    }

    /// What remembering takes.
    pub fn dedup_usage(&self) -> DedupUsage {
        self.dedup.usage()
    }
}
