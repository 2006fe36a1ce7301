//! The ring: everything arrives once, in order; slots change hands without a race; what is left is dropped.

use super::search;
use crate::ring::{Consumer, Producer, channel_starting_at};
use loom::{sync::Arc, thread};

const PREEMPTIONS: usize = 3;

/// One more than the ring holds, so that every slot is used again, and both indices wrap on the way.
const ITEMS: usize = 3;

fn short_ring<T: Send>() -> (Producer<T>, Consumer<T>) {
    channel_starting_at(2, usize::MAX - 1)
}

fn every_item_arrives_once_in_order() {
    search(PREEMPTIONS, || {
        let (mut producer, mut consumer) = short_ring();
        let pushing = thread::spawn(move || {
            for item in 0..ITEMS {
                // Boxed, so that loom also checks what the item points to, and that it is freed once.
                let mut item = Box::new(item);
                while let Err(back) = producer.try_push(item) {
                    item = back;
                    thread::yield_now();
                }
            }
        });
        for expected in 0..ITEMS {
            let item = loop {
                match consumer.pop() {
                    Some(item) => break item,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*item, expected);
        }
        assert_eq!(consumer.pop(), None);
        pushing.join().unwrap();
    });
}

#[test]
fn loom_ring_delivers_every_item_once_in_order() {
    every_item_arrives_once_in_order();
}

#[test]
fn loom_ring_counts_never_pass_the_truth() {
    search(PREEMPTIONS, || {
        let (mut producer, mut consumer) = short_ring();
        let pushing = thread::spawn(move || {
            producer.try_push(()).unwrap();
            assert!(producer.len() <= 1);
            producer.try_push(()).unwrap();
            assert!(producer.len() <= 2);
        });
        let seen = consumer.len();
        let taken = std::iter::from_fn(|| consumer.pop()).count();
        assert!(seen <= taken, "an item that was counted can be taken: {seen} counted, {taken} taken");
        pushing.join().unwrap();
    });
}

#[test]
fn loom_ring_drops_what_is_left_with_the_last_end() {
    search(PREEMPTIONS, || {
        // Loom's Arc: loom reports a leak if an item is never dropped, and a race if it is dropped twice.
        let witness = Arc::new(());
        let (mut producer, mut consumer) = short_ring();
        let item = Arc::clone(&witness);
        let pushing = thread::spawn(move || {
            producer.try_push(Arc::clone(&item)).unwrap();
            producer.try_push(item).unwrap();
        });
        drop(consumer.pop());
        drop(consumer);
        pushing.join().unwrap();
        assert_eq!(Arc::strong_count(&witness), 1);
    });
}

catches!(loom_catches_an_item_that_is_not_released: RingPublishRelaxed in every_item_arrives_once_in_order());
catches!(loom_catches_an_item_that_is_not_acquired: RingTailReadRelaxed in every_item_arrives_once_in_order());
catches!(loom_catches_a_slot_that_is_given_back_too_early: RingReturnRelaxed in every_item_arrives_once_in_order());
catches!(loom_catches_a_slot_that_is_filled_too_early: RingHeadReadRelaxed in every_item_arrives_once_in_order());
