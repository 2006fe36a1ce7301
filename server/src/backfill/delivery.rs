//! Handing what was found to the entities' owners, a few at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use windrow_engine::backfill::Shadow;
use windrow_engine::op::AnyOp;
use windrow_engine::slot::{hash_slot, shard_of};

use super::{BackfillState, Ended, WAIT_STEP};
use crate::shard::Message;
use crate::shared::Shared;

/// Operations that a shard gets at once, and then again when it has done with them: a tick takes that much longer.
const OPS_AT_ONCE: usize = 4;
/// But for a single large one, so many bytes.
const BYTES_AT_ONCE: usize = 64 << 10;
/// Operations that wait to be sent take so much memory, and that of one more.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// An operation that found no room is sent again after so long, then twice as long, and so on. A test need not wait.
const RETRY_AFTER: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 200 });
/// But after no more than this.
const RETRY_AFTER_MAX: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 10_000 });
/// Tries, about a minute of them, after which there is no memory for what was found, unless some of it found room meanwhile.
const MEMORY_TRIES_MAX: u32 = 12;

/// Operations for a shard's entities.
pub(crate) struct MergeAsked {
    /// One after the other.
    pub(crate) ops: Vec<u8>,
    pub(crate) answer: Sender<MergeAnswer>,
}

/// What became of them.
pub(crate) struct MergeAnswer {
    pub(crate) shard: usize,
    /// Those that found no room.
    pub(crate) left: Vec<u8>,
    /// It was room in memory, not in the log.
    pub(crate) is_out_of_memory: bool,
    pub(crate) merged: u64,
    pub(crate) too_large: u64,
    /// The last operation of the shard's log, since the start.
    pub(crate) end: u64,
}

/// The way to all shards.
pub(super) struct Delivery {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    waiting_bytes: usize,
    answers: Receiver<MergeAnswer>,
    answer: Sender<MergeAnswer>,
    /// Of each shard's log.
    ends: Vec<u64>,
}

/// The way to one shard.
struct Lane {
    waiting: VecDeque<Vec<u8>>,
    is_asked: bool,
    not_before: Instant,
    patience: Patience,
}

/// How often in a row nothing of what was sent to a shard found room.
#[derive(Debug, Default, PartialEq, Eq)]
struct Patience {
    tries: u32,
    memory_tries: u32,
}

impl Patience {
    /// Something was left over: how long to wait before it is sent again. `None`: there is no memory for it.
    fn wait(&mut self, has_merged: bool, is_out_of_memory: bool) -> Option<Duration> {
        if has_merged {
            *self = Self::default();
        }
        let wait = RETRY_AFTER.saturating_mul(1 << self.tries.min(16)).min(RETRY_AFTER_MAX);
        self.tries += 1;
        // Where the log has no room, no write finds any: whoever mends that mends this.
        self.memory_tries = if is_out_of_memory { self.memory_tries + 1 } else { 0 };
        (self.memory_tries < MEMORY_TRIES_MAX).then_some(wait)
    }
}

impl Delivery {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let shards = shared.shards.len();
        let lane = |_| Lane {
            waiting: VecDeque::new(),
            is_asked: false,
            not_before: Instant::now(),
            patience: Patience::default(),
        };
        let (answer, answers) = channel();
        Self {
            shared: Arc::clone(shared),
            lanes: (0..shards).map(lane).collect(),
            waiting_bytes: 0,
            answers,
            answer,
            ends: vec![0; shards],
        }
    }

    /// How far each shard's log must be durable for all that was delivered to be.
    pub(super) fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// Delivers all that a shadow has found.
    pub(super) fn deliver(
        &mut self,
        shadow: &mut Shadow,
        check: &dyn Fn() -> Result<(), Ended>,
    ) -> Result<(), Ended> {
        // The stream's time goes first: by it, owners say who is alive.
        let mut note = Vec::new();
        if shadow.write_note(&mut note) {
            self.queue(note);
            self.drain(check)?;
        }
        let mut has_more = true;
        while has_more {
            while has_more && self.waiting_bytes < WAITING_BYTES_MAX {
                let mut op = Vec::new();
                has_more = shadow.take_merge(&mut op);
                if has_more {
                    self.queue(op);
                }
            }
            self.step(check)?;
        }
        self.drain(check)
    }

    fn queue(&mut self, op: Vec<u8>) {
        let entity = AnyOp::decode(&op).expect("an operation as it was encoded").entity();
        let owner = shard_of(hash_slot(entity), self.lanes.len());
        self.waiting_bytes += op.len();
        self.lanes[owner].waiting.push_back(op);
    }

    fn drain(&mut self, check: &dyn Fn() -> Result<(), Ended>) -> Result<(), Ended> {
        while self.lanes.iter().any(|lane| lane.is_asked || !lane.waiting.is_empty()) {
            self.step(check)?;
        }
        Ok(())
    }

    /// Asks whom it can, and waits for an answer.
    fn step(&mut self, check: &dyn Fn() -> Result<(), Ended>) -> Result<(), Ended> {
        let now = Instant::now();
        for (shard, lane) in self.lanes.iter_mut().enumerate() {
            if lane.is_asked || lane.waiting.is_empty() || now < lane.not_before {
                continue;
            }
            let mut ops = Vec::new();
            for _ in 0..OPS_AT_ONCE {
                let next_bytes = lane.waiting.front().map_or(0, Vec::len);
                if !ops.is_empty() && ops.len() + next_bytes > BYTES_AT_ONCE {
                    break;
                }
                let Some(op) = lane.waiting.pop_front() else { break };
                self.waiting_bytes -= op.len();
                ops.extend_from_slice(&op);
            }
            lane.is_asked = true;
            let answer = self.answer.clone();
            self.shared.shards[shard].send(Message::Merge(MergeAsked { ops, answer }));
        }
        let answer = match self.answers.recv_timeout(WAIT_STEP) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => return check(),
            Err(RecvTimeoutError::Disconnected) => unreachable!("this end has a sender"),
        };
        let MergeAnswer { shard, left, is_out_of_memory, merged, too_large, end } = answer;
        self.lanes[shard].is_asked = false;
        self.ends[shard] = self.ends[shard].max(end);
        self.shared.backfill.note_merged(merged, too_large);
        if left.is_empty() {
            self.lanes[shard].patience = Patience::default();
        } else {
            self.shared.backfill.set_state(BackfillState::WaitingForRoom);
            let wait = self.lanes[shard].patience.wait(merged > 0, is_out_of_memory);
            self.lanes[shard].not_before = Instant::now() + wait.ok_or(Ended::OutOfMemory)?;
            let ops: Vec<Vec<u8>> = windrow_engine::op::iter(&left)
                .map(|op| op.expect("an operation as it was encoded").to_vec())
                .collect();
            for op in ops.into_iter().rev() {
                self.waiting_bytes += op.len();
                self.lanes[shard].waiting.push_front(op);
            }
        }
        check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_get_longer_to_a_bound_and_end_where_there_is_no_memory() {
        let mut patience = Patience::default();
        let waits: Vec<Option<Duration>> =
            (0..MEMORY_TRIES_MAX).map(|_| patience.wait(false, true)).collect();
        let (last, before) = waits.split_last().unwrap();
        assert_eq!(*last, None, "it is given up");
        let before: Vec<Duration> = before.iter().map(|wait| wait.unwrap()).collect();
        assert_eq!(before[..2], [RETRY_AFTER, 2 * RETRY_AFTER]);
        assert!(before.is_sorted() && *before.last().unwrap() == RETRY_AFTER_MAX, "{before:?}");
    }

    #[test]
    fn whoever_finds_room_for_some_has_patience_for_the_rest() {
        let mut patience = Patience::default();
        (1..MEMORY_TRIES_MAX).for_each(|_| assert!(patience.wait(false, true).is_some()));
        assert_eq!(patience.wait(true, true), Some(RETRY_AFTER));
    }

    #[test]
    fn a_log_without_room_is_waited_for() {
        let mut patience = Patience::default();
        (0..1000)
            .for_each(|_| assert!(patience.wait(false, false).is_some_and(|wait| wait <= RETRY_AFTER_MAX)));
    }
}
