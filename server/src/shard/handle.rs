//! What other threads see of a shard: its mailbox, its waker, its numbers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use mio::Waker;
use windrow_memory::gate::Gate;

use super::mailbox::{Mailbox, Message};

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
    pub(crate) memory_bytes: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) hops: AtomicU64,
    pub(crate) input_bytes: AtomicU64,
    pub(crate) output_bytes: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) slow_clients_closed: AtomicU64,
    pub(crate) ticks: AtomicU64,
    pub(crate) tick_us_max: AtomicU64,
    /// Operations written to and durable in the log since the start.
    pub(crate) log_written: AtomicU64,
    pub(crate) log_durable: AtomicU64,
    /// When the present tick began ([`crate::clock::uptime_ms`]); [`NOT_IN_A_TICK`] while polling.
    pub(crate) tick_since_ms: AtomicU64,
    /// The catalogue version that the shard uses.
    pub(crate) catalogue_version: AtomicU64,
}

pub(crate) const NOT_IN_A_TICK: u64 = u64::MAX;

impl ShardHandle {
    pub(crate) fn new(waker: Waker) -> Self {
        let numbers = ShardNumbers::default();
        numbers.tick_since_ms.store(NOT_IN_A_TICK, Relaxed);
        ShardHandle { gate: Gate::new(), waker, mailbox: Mailbox::default(), numbers }
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
            &self.tick_us_max,
        ] {
            number.store(0, Relaxed);
        }
    }
}
