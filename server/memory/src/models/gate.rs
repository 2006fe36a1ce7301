//! The gate over real rings: a sleeper that blocks on an empty poll always gets every item.

use super::search;
use crate::{
    gate::Gate,
    ring::{self, Producer},
};
use loom::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

const PREEMPTIONS: usize = 3;

/// A shard's poll: blocks until woken. A sleeper that nobody wakes is a deadlock, which loom reports.
#[derive(Default)]
struct Poll {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Poll {
    fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn block(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

fn push_and_wake(producer: &mut Producer<()>, gate: &Gate, poll: &Poll) {
    producer.try_push(()).unwrap();
    if gate.should_wake() {
        poll.wake();
    }
}

/// `producers` shards push `items` each; the sleeper ends only when it has them all.
fn sleeper_gets_everything(producers: usize, items: usize) {
    search(PREEMPTIONS, move || {
        let gate = Arc::new(Gate::new());
        let poll = Arc::new(Poll::default());
        let mut inputs = Vec::new();
        let mut pushing = Vec::new();
        for _ in 0..producers {
            let (mut producer, consumer) = ring::channel(2);
            inputs.push(consumer);
            let (gate, poll) = (Arc::clone(&gate), Arc::clone(&poll));
            pushing.push(thread::spawn(move || {
                for _ in 0..items {
                    push_and_wake(&mut producer, &gate, &poll);
                }
            }));
        }
        let mut missing = producers * items;
        while missing > 0 {
            for input in &mut inputs {
                while input.pop().is_some() {
                    missing -= 1;
                }
            }
            if missing > 0 {
                if gate.prepare_sleep(|| inputs.iter().any(|input| !input.is_empty())) {
                    poll.block();
                }
                gate.awake();
            }
        }
        for thread in pushing {
            thread.join().unwrap();
        }
    });
}

#[test]
fn loom_gate_loses_no_wake_up_of_one_producer() {
    sleeper_gets_everything(1, 2);
}

#[test]
fn loom_gate_loses_no_wake_up_of_two_producers() {
    sleeper_gets_everything(2, 1);
}

fn one_of_two_producers_wakes() {
    search(PREEMPTIONS, || {
        let gate = Arc::new(Gate::new());
        assert!(gate.prepare_sleep(|| false));
        let other = Arc::clone(&gate);
        let thread = thread::spawn(move || usize::from(other.should_wake()));
        let wakes = usize::from(gate.should_wake()) + thread.join().unwrap();
        assert_eq!(wakes, 1);
    });
}

#[test]
fn loom_gate_wakes_once_a_sleep() {
    one_of_two_producers_wakes();
}

catches!(loom_catches_a_sleeper_without_fence: GateSleeperFenceSkipped in sleeper_gets_everything(1, 2));
catches!(loom_catches_a_producer_without_fence: GateProducerFenceSkipped in sleeper_gets_everything(1, 2));
catches!(loom_catches_a_sleeper_that_does_not_look_again: GateRecheckSkipped in sleeper_gets_everything(1, 2));
catches!(loom_catches_a_reset_in_two_steps: GateResetNotAtomic in one_of_two_producers_wakes());
