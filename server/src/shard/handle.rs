//! What other threads see of a shard: its mailbox, its waker, its numbers.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use mio::Waker;
use windrow_engine::DedupUsage;
use windrow_memory::Usage;
use windrow_memory::gate::Gate;

use super::mailbox::{Mailbox, Message};
use super::tick_time::LongestTick;
use crate::timing::CommandTimes;

/// A shard, seen from outside.
pub(crate) struct ShardHandle {
    pub(super) gate: Gate,
    waker: Waker,
    pub(super) mailbox: Mailbox,
    pub(crate) numbers: ShardNumbers,
}

/// A shard's numbers, published at the end of each tick.
#[derive(Debug, Default)]
pub(crate) struct ShardNumbers {
    /// Connections given to the shard: written by the acceptor too.
    pub(crate) connections: AtomicUsize,
    pub(crate) entities: AtomicU64,
    pub(crate) memory: MemoryNumbers,
    pub(crate) commands: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) hops: AtomicU64,
    pub(crate) input_bytes: AtomicU64,
    pub(crate) output_bytes: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) slow_clients_closed: AtomicU64,
    /// Entities removed to make room.
    pub(crate) evicted: AtomicU64,
    pub(crate) ticks: AtomicU64,
    pub(crate) longest_tick: LongestTick,
    pub(crate) command_times: CommandTimes,
    /// Operations written to and durable in the log since the start.
    pub(crate) log_written: AtomicU64,
    pub(crate) log_durable: AtomicU64,
    /// When the present tick began ([`crate::clock::uptime_ms`]); [`NOT_IN_A_TICK`] while polling.
    pub(crate) tick_since_ms: AtomicU64,
    /// The catalogue version that the shard uses; [`NO_CATALOGUE`] before its thread runs.
    catalogue_version: AtomicU64,
    /// The last operation of the shard's log, since the start, before that version.
    adopted_at: AtomicU64,
    /// The version of the users that the shard goes by; [`NO_USERS`] before its thread runs.
    users_version: AtomicU64,
    is_loaded: AtomicBool,
}

/// What a shard's memory is used for.
#[derive(Debug, Default)]
pub(crate) struct MemoryNumbers {
    /// Chunks that are resident.
    pub(crate) committed_bytes: AtomicU64,
    /// Chunks taken for use.
    pub(crate) taken_bytes: AtomicU64,
    /// Of these, empty ones.
    pub(crate) pool_bytes: AtomicU64,
    /// Of these, in use for the index.
    pub(crate) index_bytes: AtomicU64,
    /// Slots that wait until no reader can reach them.
    pub(crate) retired_slots: AtomicU64,
    /// What is remembered to count events once.
    pub(crate) dedup_bytes: AtomicU64,
    pub(crate) dedup_ids: AtomicU64,
    pub(crate) dedup_sources: AtomicU64,
    /// Buffers that are no client's: spare ones, and the log group's.
    pub(crate) buffer_bytes: AtomicU64,
}

impl MemoryNumbers {
    pub(super) fn publish(&self, usage: &Usage, dedup: DedupUsage, buffer_bytes: usize) {
        for (number, value) in [
            (&self.committed_bytes, usage.committed_bytes),
            (&self.taken_bytes, usage.taken_bytes),
            (&self.pool_bytes, usage.pool_bytes),
            (&self.index_bytes, usage.block_bytes),
            (&self.retired_slots, usage.retired_slots),
            (&self.buffer_bytes, buffer_bytes),
        ] {
            number.store(value as u64, Relaxed);
        }
        self.dedup_bytes.store(dedup.bytes, Relaxed);
        self.dedup_ids.store(dedup.ids, Relaxed);
        self.dedup_sources.store(dedup.sources, Relaxed);
    }
}

const NO_CATALOGUE: u64 = u64::MAX;
const NO_USERS: u64 = u64::MAX;
pub(crate) const NOT_IN_A_TICK: u64 = u64::MAX;

impl ShardHandle {
    pub(crate) fn new(waker: Waker) -> Self {
        let numbers = ShardNumbers::default();
        numbers.tick_since_ms.store(NOT_IN_A_TICK, Relaxed);
        numbers.catalogue_version.store(NO_CATALOGUE, Relaxed);
        numbers.users_version.store(NO_USERS, Relaxed);
        ShardHandle { gate: Gate::new(), waker, mailbox: Mailbox::default(), numbers }
    }

    /// The shard uses this version of the catalogue from now on, and did not for the operations of its log up to `log_end`.
    pub(super) fn set_catalogue(&self, version: u64, log_end: u64) {
        self.numbers.adopted_at.store(log_end, Relaxed);
        self.numbers.catalogue_version.store(version, Release);
    }

    /// The shard has its records.
    pub(super) fn set_loaded(&self) {
        self.numbers.is_loaded.store(true, Release);
    }

    /// Whether the shard has its records.
    pub(crate) fn is_loaded(&self) -> bool {
        self.numbers.is_loaded.load(Acquire)
    }

    /// The last operation of the shard's log before it used the version of the catalogue that it uses.
    pub(crate) fn adopted_at(&self) -> u64 {
        self.numbers.adopted_at.load(Relaxed)
    }

    /// Whether the shard uses this version of the catalogue, or a later one.
    pub(crate) fn uses_catalogue(&self, version: u64) -> bool {
        let used = self.numbers.catalogue_version.load(Acquire);
        used != NO_CATALOGUE && used >= version
    }

    /// The shard goes by this version of the users from now on.
    pub(super) fn set_users(&self, version: u64) {
        self.numbers.users_version.store(version, Release);
    }

    /// Whether the shard goes by this version of the users, or a later one.
    pub(crate) fn uses_users(&self, version: u64) -> bool {
        let used = self.numbers.users_version.load(Acquire);
        used != NO_USERS && used >= version
    }

    /// Wakes the shard if it sleeps. Call it after giving it work.
    pub(crate) fn wake(&self) {
        if self.gate.should_wake()
            && let Err(error) = self.waker.wake()
        {
            // The shard looks at its inputs at least every poll timeout, so this delays work, no more.
            tracing::warn!("cannot wake a shard: {error}");
        }
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: Message) {
        self.mailbox.put(message);
        self.wake();
    }
}

impl ShardNumbers {
    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&self) {
        for number in [
            &self.commands,
            &self.events,
            &self.reads,
            &self.hops,
            &self.input_bytes,
            &self.output_bytes,
            &self.errors,
            &self.slow_clients_closed,
            &self.evicted,
        ] {
            number.store(0, Relaxed);
        }
        self.longest_tick.reset();
        self.command_times.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_uses_no_catalogue_before_its_thread_runs_and_then_the_one_it_says() {
        let poll = mio::Poll::new().unwrap();
        let handle = ShardHandle::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        assert!(!handle.uses_catalogue(0));
        handle.set_catalogue(3, 0);
        assert!(handle.uses_catalogue(2) && handle.uses_catalogue(3) && !handle.uses_catalogue(4));
    }
}
