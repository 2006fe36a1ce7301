//! Real threads over rings and gates: bounded in work, not in time. The orderings are loom's to search (see the crate's
//! documentation); this looks for what loom's small models leave out: long runs, wrapping, real preemption.
#![cfg(not(loom))]

use std::{sync::Arc, thread};
use windrow_memory::{
    gate::Gate,
    ring::{self, Consumer, Producer},
};

const ITEMS: u64 = 100_000;

fn push_all(mut producer: Producer<Box<u64>>, mut pushed: impl FnMut()) {
    for item in 0..ITEMS {
        let mut item = Box::new(item);
        while let Err(back) = producer.try_push(item) {
            item = back;
            thread::yield_now();
        }
        pushed();
    }
}

/// Takes what is there and checks that it continues the count.
fn drain(consumer: &mut Consumer<Box<u64>>, next: &mut u64) {
    while let Some(item) = consumer.pop() {
        assert_eq!(*item, *next);
        *next += 1;
    }
}

#[test]
fn ring_delivers_a_long_run_in_order() {
    for capacity in [1, 2, 64] {
        let (producer, mut consumer) = ring::channel(capacity);
        let pushing = thread::spawn(move || push_all(producer, || {}));
        let mut next = 0;
        while next < ITEMS {
            drain(&mut consumer, &mut next);
            thread::yield_now();
        }
        pushing.join().unwrap();
        assert!(consumer.is_empty());
    }
}

/// A sleeper parks whenever it may. If a wake-up is lost it sleeps for ever and the test hangs, which the runner
/// reports; a sleep with a time limit would hide exactly the fault that is looked for.
#[test]
fn sleeping_shard_receives_everything_from_two_producers() {
    let gate = Arc::new(Gate::new());
    let sleeper = thread::current();
    let mut inputs = Vec::new();
    let mut pushing = Vec::new();
    for _ in 0..2 {
        let (producer, consumer) = ring::channel(16);
        inputs.push((consumer, 0));
        let (gate, sleeper) = (Arc::clone(&gate), sleeper.clone());
        pushing.push(thread::spawn(move || {
            push_all(producer, || {
                if gate.should_wake() {
                    sleeper.unpark();
                }
            });
        }));
    }
    while inputs.iter().any(|(_, next)| *next < ITEMS) {
        for (consumer, next) in &mut inputs {
            drain(consumer, next);
        }
        if inputs.iter().all(|(_, next)| *next == ITEMS) {
            break;
        }
        if gate.prepare_sleep(|| inputs.iter().any(|(consumer, _)| !consumer.is_empty())) {
            thread::park();
        }
        gate.awake();
    }
    for thread in pushing {
        thread.join().unwrap();
    }
}
