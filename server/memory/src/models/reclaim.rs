//! Reclamation: memory is used again only when no reader can be in it. The memory is a plain cell, so that loom reports any
//! read that may overlap its next use.

use super::search;
use crate::{
    handle::Handle,
    reclaim::{Domain, Participant, Reclaimer},
};
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

const PREEMPTIONS: usize = 3;

/// A slot that can be found until it is taken out.
struct Slot {
    is_found: AtomicBool,
    memory: UnsafeCell<u64>,
}

// SAFETY: loom checks every access to `memory`; that is what this model is for.
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

fn read(slot: &Slot) {
    if slot.is_found.load(Ordering::Acquire) {
        slot.memory.with(|memory| {
            // SAFETY: loom reports a race before this read could matter.
            let number = unsafe { memory.read() };
            assert_eq!(number, 1, "the memory was used for something else");
        });
    }
}

/// One reader between its quiescent points, and an owner that wants the memory back. With `then_sleeps` the reader sleeps
/// in the end; else it goes on.
fn memory_is_used_again_after_the_reader(
    reads: impl Fn(&mut Participant, &Slot) + Copy + Send + Sync + 'static,
) {
    search(PREEMPTIONS, move || {
        let slot = Arc::new(Slot { is_found: AtomicBool::new(true), memory: UnsafeCell::new(1) });
        let (domain, mut participants) = Domain::with_participants(1);
        let mut participant = participants.pop().unwrap();
        participant.quiescent();
        let read_from = Arc::clone(&slot);
        let reading = thread::spawn(move || reads(&mut participant, &read_from));

        let mut reclaimer = Reclaimer::new(domain);
        slot.is_found.store(false, Ordering::Release);
        reclaimer.retire(Handle::new(1, 0));
        for _ in 0..2 {
            reclaimer.collect(1, |_| {
                slot.memory.with_mut(|memory| {
                    // SAFETY: loom reports a race before this write could matter.
                    unsafe { memory.write(2) };
                });
            });
        }
        reading.join().unwrap();
    });
}

fn reader_that_goes_on(participant: &mut Participant, slot: &Slot) {
    read(slot);
    participant.quiescent();
    read(slot);
    participant.quiescent();
}

fn reader_that_sleeps(participant: &mut Participant, slot: &Slot) {
    read(slot);
    participant.sleep();
    participant.quiescent();
    read(slot);
    participant.sleep();
}

#[test]
fn loom_reclaim_waits_for_a_reader_that_goes_on() {
    memory_is_used_again_after_the_reader(reader_that_goes_on);
}

#[test]
fn loom_reclaim_waits_for_a_reader_that_wakes() {
    memory_is_used_again_after_the_reader(reader_that_sleeps);
}

catches!(
    loom_catches_a_participant_without_fence:
        ParticipantFenceSkipped in memory_is_used_again_after_the_reader(reader_that_sleeps)
);
catches!(
    loom_catches_an_owner_without_fence:
        OwnerFenceSkipped in memory_is_used_again_after_the_reader(reader_that_sleeps)
);
catches!(
    loom_catches_a_quiescent_point_that_is_not_released:
        ParticipantStateNotReleased in memory_is_used_again_after_the_reader(reader_that_sleeps)
);
catches!(
    loom_catches_a_quiescent_point_that_is_not_acquired:
        ParticipantStateNotAcquired in memory_is_used_again_after_the_reader(reader_that_goes_on)
);
catches!(
    loom_catches_memory_used_without_a_grace_period:
        GracePeriodSkipped in memory_is_used_again_after_the_reader(reader_that_goes_on)
);
