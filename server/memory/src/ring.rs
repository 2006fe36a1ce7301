//! Bounded ring from one thread to one other, without locks.
//!
//! Two shards are joined by a pair of these, one a direction. Each end keeps its own index and a copy of the other
//! end's, and looks at the shared one only when the copy says that there is no room, or nothing to take: in steady
//! traffic the ends touch each other's cache line once a burst, not once an item.
//!
//! ```text
//!   slots   | .. | item | item | item | .. |      an index counts items since the start, wrapping;
//!                  ^ head             ^ tail      its slot is index & (capacity - 1)
//!                  consumer owns      producer owns
//! ```

use crate::{
    padded::Padded,
    planted::{Mistake, order},
    sync::{Arc, AtomicUsize, Ordering, UnsafeCell},
};
use std::{fmt, mem::MaybeUninit};

/// The largest capacity [`channel`] accepts, in items.
pub const RING_CAPACITY_MAX: usize = 1 << 24;

/// Under loom rings are this short, whatever is asked: every state of a long ring, in few steps.
#[cfg(loom)]
const CAPACITY_UNDER_LOOM: usize = 2;

/// Makes a ring for at least `capacity` items (rounded up to a power of two) and returns its two ends.
///
/// # Panics
///
/// If `capacity` is zero or above [`RING_CAPACITY_MAX`].
pub fn channel<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    channel_starting_at(capacity, 0)
}

/// As [`channel`], with both indices at `start`, so that a test can let them wrap.
pub(crate) fn channel_starting_at<T: Send>(capacity: usize, start: usize) -> (Producer<T>, Consumer<T>) {
    assert!(
        (1..=RING_CAPACITY_MAX).contains(&capacity),
        "a ring holds 1 to {RING_CAPACITY_MAX} items, not {capacity}"
    );
    #[cfg(loom)]
    let capacity = capacity.min(CAPACITY_UNDER_LOOM);
    let shared = Arc::new(Shared {
        slots: (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        head: Padded::new(AtomicUsize::new(start)),
        tail: Padded::new(AtomicUsize::new(start)),
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: start, head_seen: start };
    (producer, Consumer { shared, head: start, tail_seen: start })
}

/// The end that puts items in. There is one: it cannot be cloned, and pushing needs `&mut`.
pub struct Producer<T: Send> {
    shared: Arc<Shared<T>>,
    /// The next index to fill; `shared.tail` follows it.
    tail: usize,
    /// `shared.head` when it was last read: it has not moved back since.
    head_seen: usize,
}

impl<T: Send> Producer<T> {
    /// Puts `item` in, or gives it back when the ring is full.
    #[inline]
    pub fn try_push(&mut self, item: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) == self.shared.slots.len() {
            self.head_seen = self.shared.head.load(order(Mistake::RingHeadReadRelaxed, Ordering::Acquire));
            if self.tail.wrapping_sub(self.head_seen) == self.shared.slots.len() {
                return Err(item);
            }
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: `slot` is valid for writes: it lies in `shared.slots`, which lives as long as `shared`. No one
            // else touches it: head_seen ≤ head ≤ tail < head_seen + capacity, so the consumer has moved out of it
            // (its release of `head` was acquired above) and will not look at it before `tail` is published.
            unsafe { slot.cast::<T>().write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.store(self.tail, order(Mistake::RingPublishRelaxed, Ordering::Release));
        Ok(())
    }

    /// How many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Items inside. The consumer may take some at any moment, so there may be fewer by now, never more.
    pub fn len(&self) -> usize {
        self.tail.wrapping_sub(self.shared.head.load(Ordering::Relaxed))
    }

    /// Whether the consumer has taken everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The end that takes items out, in the order they were put in. There is one: it cannot be cloned, and popping needs
/// `&mut`.
pub struct Consumer<T: Send> {
    shared: Arc<Shared<T>>,
    /// The next index to take; `shared.head` follows it.
    head: usize,
    /// `shared.tail` when it was last read: it has not moved back since.
    tail_seen: usize,
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest item out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.load(order(Mistake::RingTailReadRelaxed, Ordering::Acquire));
            if self.head == self.tail_seen {
                return None;
            }
        }
        let item = self.shared.slot(self.head).with(|slot| {
            // SAFETY: `slot` is valid for reads: it lies in `shared.slots`. It holds an item: head < tail_seen ≤ tail,
            // and the producer's release of `tail` after filling it was acquired above. It is moved out once, since
            // `head` moves on, and not overwritten before the store below gives it back.
            unsafe { slot.cast::<T>().read() }
        });
        self.head = self.head.wrapping_add(1);
        self.shared.head.store(self.head, order(Mistake::RingReturnRelaxed, Ordering::Release));
        Some(item)
    }

    /// How many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Items inside. The producer may add some at any moment, so there may be more by now, never fewer.
    ///
    /// This looks at the shared index, so it is what a shard asks in [`Gate::prepare_sleep`](crate::gate::Gate).
    pub fn len(&self) -> usize {
        self.shared.tail.load(Ordering::Relaxed).wrapping_sub(self.head)
    }

    /// Whether there is nothing to take. As fresh as [`Consumer::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the two ends share. Items between `head` and `tail` are initialised, all other slots are not.
struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    head: Padded<AtomicUsize>,
    tail: Padded<AtomicUsize>,
}

// SAFETY: a `Shared` is reached through one `Producer` and one `Consumer` only. Their protocol above gives each slot to
// one of them at a time, and an item goes from one thread to the other by value, which `T: Send` allows.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: whichever end is dropped last drops the items left inside; `T: Send` allows that on any thread.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if cfg!(loom) && std::thread::panicking() {
            return; // loom has torn the model down, its atomics with it; a second panic would end the test run
        }
        // Both ends are gone, and the `Arc` has ordered all they did before this: relaxed reads see the last indices.
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: slots from `head` to `tail` are initialised and no one else is left to reach them.
                unsafe { slot.cast::<T>().drop_in_place() };
            });
            head = head.wrapping_add(1);
        }
    }
}

impl<T: Send> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl<T: Send> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{RING_CAPACITY_MAX, channel, channel_starting_at};
    use std::sync::Arc;

    #[test]
    fn items_come_out_in_the_order_they_went_in() {
        let (mut producer, mut consumer) = channel(8);
        for round in 0..100u32 {
            for item in 0..5 {
                producer.try_push(round * 5 + item).unwrap();
            }
            for item in 0..5 {
                assert_eq!(consumer.pop(), Some(round * 5 + item));
            }
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn full_ring_gives_the_item_back_and_takes_it_after_a_pop() {
        let (mut producer, mut consumer) = channel(2);
        assert_eq!(producer.try_push("a"), Ok(()));
        assert_eq!(producer.try_push("b"), Ok(()));
        assert_eq!(producer.try_push("c"), Err("c"));
        assert_eq!(consumer.pop(), Some("a"));
        assert_eq!(producer.try_push("c"), Ok(()));
        assert_eq!([consumer.pop(), consumer.pop(), consumer.pop()], [Some("b"), Some("c"), None]);
    }

    #[test]
    fn both_ends_count_the_items_inside() {
        let (mut producer, mut consumer) = channel(4);
        assert!(producer.is_empty() && consumer.is_empty());
        for expected in 1..=4 {
            producer.try_push(()).unwrap();
            assert_eq!((producer.len(), consumer.len()), (expected, expected));
        }
        consumer.pop();
        assert_eq!((producer.len(), consumer.len()), (3, 3));
        assert!(!producer.is_empty() && !consumer.is_empty());
    }

    #[test]
    fn capacity_is_rounded_up_to_a_power_of_two() {
        for (asked, given) in [(1, 1), (2, 2), (3, 4), (100, 128)] {
            let (mut producer, consumer) = channel(asked);
            assert_eq!((producer.capacity(), consumer.capacity()), (given, given));
            let pushed = (0..2 * given).filter(|item| producer.try_push(*item).is_ok()).count();
            assert_eq!(pushed, given, "asked for {asked}");
        }
    }

    #[test]
    #[should_panic(expected = "a ring holds 1 to")]
    fn capacity_of_zero_is_refused() {
        let _ends = channel::<u8>(0);
    }

    #[test]
    #[should_panic(expected = "a ring holds 1 to")]
    fn capacity_above_the_limit_is_refused() {
        let _ends = channel::<u8>(RING_CAPACITY_MAX + 1);
    }

    #[test]
    fn indices_may_wrap_around() {
        let (mut producer, mut consumer) = channel_starting_at(4, usize::MAX - 5);
        for item in 0..20 {
            for copy in 0..3 {
                producer.try_push(item * 3 + copy).unwrap();
            }
            assert_eq!(producer.len(), 3);
            for copy in 0..3 {
                assert_eq!(consumer.pop(), Some(item * 3 + copy));
            }
        }
    }

    #[test]
    fn items_left_inside_are_dropped_with_the_last_end() {
        let witness = Arc::new(());
        let (mut producer, mut consumer) = channel_starting_at(4, usize::MAX - 3);
        for _ in 0..4 {
            producer.try_push(Arc::clone(&witness)).unwrap();
        }
        drop(consumer.pop());
        producer.try_push(Arc::clone(&witness)).unwrap();
        drop(producer);
        assert_eq!(Arc::strong_count(&witness), 5, "the consumer can still take them");
        drop(consumer.pop());
        assert_eq!(Arc::strong_count(&witness), 4);
        drop(consumer);
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
