//! The record: a reader that is told its read was good saw one write whole, in the record and in its block.

use super::search;
use crate::{
    handle::Handle,
    record::{Attempt, Edit, Key, Origin, attempt, mark_free, start},
    region::Region,
};
use loom::{sync::Arc, thread};

const PREEMPTIONS: usize = 2;
const KEY: Key<'static> = Key { hash: 5, stream: 1, entity: b"a" };
const OTHER: Key<'static> = Key { hash: 6, stream: 1, entity: b"b" };
/// Granules of the smallest slot.
const SLOT: usize = 4;

/// A chunk cut into the smallest slots.
fn region() -> Region {
    let region = Region::reserve(2).unwrap();
    region.commit(1).unwrap();
    region.cut(1, SLOT);
    region
}

fn record_handle() -> Handle {
    Handle::new(1, 0)
}

fn block_handle() -> Handle {
    Handle::new(1, SLOT)
}

/// One operation: the same number into position, body and block.
fn write(region: &Region, number: u64) {
    let mut edit = Edit::open(region.slot(record_handle()).unwrap(), region);
    edit.set_position(number);
    edit.set(1, number);
    edit.block_set(block_handle(), 0, number);
}

fn read(region: &Region) -> Attempt<[u64; 3]> {
    attempt(region.slot(record_handle()).unwrap(), region, Some(&KEY), |record| {
        // A word that is changing may be no handle.
        let block = record.block(record.get(0)).map_or(u64::MAX, |block| block.get(0));
        [record.position(), record.get(1), block]
    })
}

/// A region with one record, all of whose numbers are 0.
fn with_record() -> Arc<Region> {
    let region = region();
    let mut edit = start(region.slot(record_handle()).unwrap(), &region, &Origin::Key(&KEY), 0);
    edit.set(0, block_handle().to_word());
    drop(edit);
    Arc::new(region)
}

fn reads_see_whole_writes() {
    search(PREEMPTIONS, || {
        let region = with_record();
        let read_from = Arc::clone(&region);
        let reading = thread::spawn(move || {
            if let Attempt::Read(numbers) = read(&read_from) {
                assert!(numbers == [0; 3] || numbers == [1; 3], "half a write was read: {numbers:?}");
            }
        });
        write(&region, 1);
        reading.join().unwrap();
        assert!(matches!(read(&region), Attempt::Read([1, 1, 1])));
    });
}

#[test]
fn loom_record_reads_see_whole_writes() {
    reads_see_whole_writes();
}

#[test]
fn loom_record_reads_do_not_go_back() {
    search(PREEMPTIONS, || {
        let region = with_record();
        let read_from = Arc::clone(&region);
        let reading = thread::spawn(move || {
            let mut last = 0;
            for _ in 0..2 {
                if let Attempt::Read(numbers) = read(&read_from) {
                    assert!(numbers.iter().all(|number| *number == numbers[0]), "half a write: {numbers:?}");
                    assert!(numbers[0] >= last, "{} was read after {last}", numbers[0]);
                    last = numbers[0];
                }
            }
        });
        write(&region, 1);
        write(&region, 2);
        reading.join().unwrap();
    });
}

/// The slot goes from one record to another while a reader is in it: more than reclamation allows, yet no reader takes the one
/// for the other.
fn reused_slot_is_not_taken_for_its_old_record() {
    search(PREEMPTIONS, || {
        let region = with_record();
        let read_from = Arc::clone(&region);
        let reading = thread::spawn(move || {
            if let Attempt::Read(numbers) = read(&read_from) {
                assert_eq!(numbers, [0; 3], "another record's words");
            }
        });
        let words = region.slot(record_handle()).unwrap();
        mark_free(words);
        let mut edit = start(words, &region, &Origin::Key(&OTHER), 0);
        edit.set(0, block_handle().to_word());
        edit.set(1, 7);
        drop(edit);
        reading.join().unwrap();
        assert!(matches!(read(&region), Attempt::OtherKey));
    });
}

#[test]
fn loom_record_of_a_reused_slot_is_not_taken_for_the_old_one() {
    reused_slot_is_not_taken_for_its_old_record();
}

catches!(loom_catches_a_write_that_is_not_announced: RecordOddSkipped in reads_see_whole_writes());
catches!(loom_catches_words_that_are_not_released: RecordWordNotReleased in reads_see_whole_writes());
catches!(loom_catches_an_end_that_is_not_released: RecordEvenNotReleased in reads_see_whole_writes());
catches!(loom_catches_a_sequence_that_is_not_acquired: RecordHeadNotAcquired in reads_see_whole_writes());
catches!(loom_catches_words_that_are_not_acquired: RecordWordNotAcquired in reads_see_whole_writes());
catches!(loom_catches_a_read_without_a_second_look: RecordSecondLookSkipped in reads_see_whole_writes());
catches!(
    loom_catches_a_reuse_without_a_second_look:
        RecordSecondLookSkipped in reused_slot_is_not_taken_for_its_old_record()
);
