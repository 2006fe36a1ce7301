//! The index: a record that is there throughout is found, or the look is repeated, while words move within a segment, to
//! a new one, and under a new directory.

use super::{
    search,
    store::{Reading, insert, store_and_reader},
};
use crate::{Contended, Store, index::buckets_of};
use loom::thread;

const PREEMPTIONS: usize = 2;

/// The `nth` hash with these top bits that lies in these two buckets.
pub(super) fn hash_in(top_bits: u64, top: u32, buckets: [usize; 2], nth: usize) -> u64 {
    let candidates = (0u64..).map(|number| {
        let low = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        top_bits << (64 - top) | low >> top
    });
    candidates.filter(|hash| buckets_of(*hash) == buckets).nth(nth).expect("there are many")
}

/// [`Reading::read`], or [`Reading::look`], which shows mistakes in the proof of a miss sooner.
type Read = fn(&Reading, u64) -> Result<Option<u64>, Contended>;

/// The owner does something that moves `wanted`'s word; a reader looks for it meanwhile.
fn record_is_found_while(
    read: Read,
    prepare: impl Fn(&mut Store) -> [u64; 2] + Copy + Send + Sync + 'static,
) {
    search(PREEMPTIONS, move || {
        let (mut store, reading): (Store, Reading) = store_and_reader();
        let [wanted, added] = prepare(&mut store);
        let reader = thread::spawn(move || {
            let found = read(&reading, wanted);
            assert!(
                matches!(found, Ok(Some(1)) | Err(Contended)),
                "{found:?} for a record that is there throughout"
            );
            reading
        });
        insert(&mut store, added);
        let reading = reader.join().unwrap();
        assert_eq!(reading.read(wanted), Ok(Some(1)));
        assert_eq!(reading.read(added), Ok(Some(1)));
    });
}

/// The wanted word lies in the second of its buckets; the added one, which has no other, pushes it to the first, which the
/// reader may have seen empty.
fn displaced(store: &mut Store) -> [u64; 2] {
    let only_first = |nth| hash_in(0, 1, [0, 0], nth);
    let only_second = |nth| hash_in(0, 1, [1, 1], nth);
    let wanted = hash_in(0, 1, [0, 1], 0);
    let makes_room = insert(store, only_first(0));
    insert(store, only_first(1));
    insert(store, wanted); // into the second: the first is full
    store.remove(makes_room);
    insert(store, only_second(0));
    [wanted, only_second(1)]
}

/// One bucket holds a word of either half; a third makes the segment split. The directory is deep enough.
fn split(store: &mut Store) -> [u64; 2] {
    let wanted = hash_in(1, 1, [0, 0], 0);
    insert(store, wanted);
    insert(store, hash_in(0, 1, [0, 0], 0));
    [wanted, hash_in(0, 1, [0, 0], 1)]
}

/// The same one level down: the directory doubles.
fn split_under_a_new_directory(store: &mut Store) -> [u64; 2] {
    let [_, added] = split(store);
    insert(store, added);
    // The lower half now holds two words in one bucket, of 00 or 01 each. Make them one of each.
    let wanted = hash_in(0b11, 2, [0, 0], 0);
    let neighbour = hash_in(0b10, 2, [0, 0], 0);
    for hash in [wanted, neighbour] {
        if store.find(&super::store::key(hash)).is_none() {
            insert(store, hash);
        }
    }
    [wanted, hash_in(0b10, 2, [0, 0], 1)]
}

/// Three words of one bucket and one prefix, as long as prefixes get: the third overflows into a chain, and a fourth follows.
fn chained(store: &mut Store) -> [u64; 2] {
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|nth| hash_in(0, 2, [0, 0], nth));
    for hash in [first, second, third] {
        insert(store, hash);
    }
    [third, fourth]
}

/// A walk that goes on while the owner moves `wanted`'s word.
fn walk_comes_by_once_while(prepare: impl Fn(&mut Store) -> [u64; 2] + Copy + Send + Sync + 'static) {
    search(PREEMPTIONS, move || {
        let (mut store, reading) = store_and_reader();
        let [wanted, added] = prepare(&mut store);
        let walker = thread::spawn(move || {
            let times = reading.times_walked_over(wanted);
            assert!(
                matches!(times, Ok(1) | Err(Contended)),
                "{times:?} visits of a record that is there throughout"
            );
        });
        insert(&mut store, added);
        walker.join().unwrap();
    });
}

#[test]
fn loom_index_finds_a_record_in_a_chain() {
    record_is_found_while(Reading::read, chained);
    record_is_found_while(Reading::look, chained);
}

#[test]
fn loom_walk_comes_by_a_record_that_is_displaced() {
    walk_comes_by_once_while(displaced);
}

#[test]
fn loom_walk_comes_by_a_record_while_its_segment_splits() {
    walk_comes_by_once_while(split);
}

#[test]
fn loom_index_finds_a_record_that_is_displaced() {
    record_is_found_while(Reading::read, displaced);
    record_is_found_while(Reading::look, displaced);
}

#[test]
fn loom_index_finds_a_record_while_its_segment_splits() {
    record_is_found_while(Reading::read, split);
    record_is_found_while(Reading::look, split);
}

#[test]
fn loom_index_finds_a_record_while_the_directory_doubles() {
    record_is_found_while(Reading::read, split_under_a_new_directory);
    record_is_found_while(Reading::look, split_under_a_new_directory);
}

catches!(loom_catches_a_displacement_without_version: VersionNotBumped in record_is_found_while(Reading::look, displaced));
catches!(loom_catches_a_displacement_not_compared: VersionNotCompared in record_is_found_while(Reading::look, displaced));
catches!(loom_catches_a_version_that_is_not_released: VersionNotReleased in record_is_found_while(Reading::look, displaced));
catches!(loom_catches_a_version_that_is_not_acquired: VersionNotAcquired in record_is_found_while(Reading::look, displaced));
catches!(loom_catches_an_entry_that_is_not_released: EntryNotReleased in record_is_found_while(Reading::look, displaced));
catches!(loom_catches_an_entry_that_is_not_acquired: EntryNotAcquired in record_is_found_while(Reading::look, displaced));
catches!(loom_catches_a_split_whose_end_is_not_released: LeavingEntryNotReleased in record_is_found_while(Reading::look, split));
catches!(loom_catches_a_directory_entry_that_is_not_released: DirectoryEntryNotReleased in record_is_found_while(Reading::look, split));
catches!(loom_catches_a_directory_entry_that_is_not_acquired: DirectoryEntryNotAcquired in record_is_found_while(Reading::look, split));
catches!(loom_catches_a_directory_entry_not_compared: DirectoryEntryNotCompared in record_is_found_while(Reading::look, split));
catches!(loom_catches_a_root_that_is_not_released: RootNotReleased in record_is_found_while(Reading::look, split_under_a_new_directory));
catches!(loom_catches_a_root_not_compared: RootNotCompared in record_is_found_while(Reading::look, split_under_a_new_directory));
catches!(loom_catches_a_walk_over_moving_words: VersionNotCompared in walk_comes_by_once_while(displaced));
catches!(loom_catches_a_walk_over_a_split: DirectoryEntryNotCompared in walk_comes_by_once_while(split));
catches!(loom_catches_a_walk_that_visits_twice: WalkGoesBehindItsEnd in walk_comes_by_once_while(split));
