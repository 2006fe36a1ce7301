//! The wake gate: how a shard falls asleep without missing work that arrives while it does.
//!
//! A shard that finds nothing to do blocks in its poll. A producer that pushes into one of its rings must wake it, but
//! waking costs a system call, so it does so only when the shard sleeps, and only once a sleep. The danger is that
//! each looks before the other's write is visible:
//!
//! ```text
//!   sleeper                          producer
//!     sleeping = true                  push
//!     fence                            fence
//!     inputs still empty? ── poll      sleeping? ── wake
//! ```
//!
//! Both fences are `SeqCst`, so one comes first. If the sleeper's does, the producer sees `sleeping` and wakes it; if
//! the producer's does, the sleeper sees the push and does not poll. Without either fence (acquire and release do not
//! order a store before a later load) both may look too early, and the push waits for the next poll to end by
//! chance.
//!
//! Every change of `sleeping` is a swap, so each is ordered after the one before it: a reset that was meant for one sleep
//! cannot land on the next unseen. Beside a system call that costs nothing.
//!
//! How one sleep ends does not matter to the next: a producer that still reads an older `false` has fenced before the
//! next sleeper's fence, whose second look then sees its push.

use crate::{
    padded::Padded,
    planted::{Mistake, is_planted},
    sync::{AtomicBool, Ordering, fence},
};

/// Whether one shard sleeps, seen by all that may have work for it. The waker itself is the caller's.
///
/// ```
/// # use windrow_memory::{gate::Gate, ring};
/// # let gate = Gate::new();
/// # let (mut producer, mut consumer) = ring::channel(4);
/// // a producer, after one or several pushes:
/// producer.try_push("work").unwrap();
/// if gate.should_wake() { /* wake the shard */ }
///
/// // the shard, when it found nothing to do:
/// if gate.prepare_sleep(|| !consumer.is_empty()) { /* poll, may block */ } else { /* poll without blocking */ }
/// gate.awake();
/// # assert_eq!(consumer.pop(), Some("work"));
/// ```
pub struct Gate {
    sleeping: Padded<AtomicBool>,
}

impl Gate {
    /// A gate whose shard is awake.
    pub fn new() -> Self {
        Self { sleeping: Padded::new(AtomicBool::new(false)) }
    }

    /// The shard is about to block. `has_input` is asked once, after the announcement: whether any ring, or any other
    /// input whose producers use this gate, holds work. True: the shard may block, and whoever adds work from now on
    /// wakes it. False: it must not, there is work.
    ///
    /// Only the shard itself calls this, and [`Gate::awake`] after every poll, blocking or not.
    #[must_use]
    pub fn prepare_sleep(&self, has_input: impl FnOnce() -> bool) -> bool {
        self.sleeping.swap(true, Ordering::AcqRel);
        if !is_planted(Mistake::GateSleeperFenceSkipped) {
            fence(Ordering::SeqCst);
        }
        let may_sleep = is_planted(Mistake::GateRecheckSkipped) || !has_input();
        if !may_sleep {
            self.awake();
        }
        may_sleep
    }

    /// The shard is awake: producers need not wake it. It must look at its inputs after this, or in the next
    /// [`Gate::prepare_sleep`].
    pub fn awake(&self) {
        // A producer that sees this late wakes a shard that is awake, which costs one poll; one that sees it early has its
        // push seen by the second look of the next `prepare_sleep`.
        self.sleeping.swap(false, Ordering::AcqRel);
    }

    /// A producer has pushed: must it wake the shard now? True for at most one caller a sleep. Called once after a
    /// group of pushes.
    #[must_use]
    pub fn should_wake(&self) -> bool {
        if !is_planted(Mistake::GateProducerFenceSkipped) {
            fence(Ordering::SeqCst);
        }
        // The plain read first keeps the line shared among producers while the shard is awake.
        self.sleeping.load(Ordering::Relaxed) && self.reset()
    }

    /// Takes the flag back; true for the one producer that found it set.
    fn reset(&self) -> bool {
        if is_planted(Mistake::GateResetNotAtomic) {
            self.sleeping.store(false, Ordering::Relaxed);
            return true;
        }
        self.sleeping.swap(false, Ordering::AcqRel)
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("sleeping", &self.sleeping.load(Ordering::Relaxed)).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Gate;

    #[test]
    fn shard_that_is_awake_is_not_woken() {
        let gate = Gate::new();
        assert!(!gate.should_wake());
        assert!(gate.prepare_sleep(|| false));
        gate.awake();
        assert!(!gate.should_wake());
    }

    #[test]
    fn sleeping_shard_is_woken_once_a_sleep() {
        let gate = Gate::new();
        for _ in 0..3 {
            assert!(gate.prepare_sleep(|| false));
            assert!(gate.should_wake());
            assert!(!gate.should_wake(), "the first caller wakes it");
            gate.awake();
        }
    }

    #[test]
    fn shard_with_input_may_not_sleep_and_is_not_woken() {
        let gate = Gate::new();
        assert!(!gate.prepare_sleep(|| true));
        assert!(!gate.should_wake());
    }

    #[test]
    fn inputs_are_looked_at_after_the_announcement() {
        let gate = Gate::new();
        let mut seen_as_sleeping = false;
        let _may_sleep = gate.prepare_sleep(|| {
            seen_as_sleeping = gate.should_wake();
            false
        });
        assert!(seen_as_sleeping);
    }
}
