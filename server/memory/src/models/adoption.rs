//! Chunks of an image: whoever meets one first brings it, all others see it whole, and nobody brings it again.

use super::{
    search,
    store::{Reading, key},
};
use crate::{
    Adopter, ChunkLost, ChunkSource, Contended, Domain, PlannedChunk, STORE_BYTES_MIN, Store,
    handle::{CHUNK_GRANULES_LOG2, HANDLE_BITS},
};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use std::sync::{Arc as StdArc, atomic::AtomicUsize};

const PREEMPTIONS: usize = 2;
/// The records of the image, one a chunk, and one that is added. Their tags differ, so that who looks for one meets no other.
const HASH: u64 = 5;
const OTHER: u64 = 6 << HANDLE_BITS;
const ADDED: u64 = 7 << HANDLE_BITS;

/// An image of two chunks with one record each, whose first word is 1. The second is there so that the image is not let go of when
/// the first is adopted.
struct TwoRecords {
    copies: AtomicUsize,
}

impl ChunkSource for TwoRecords {
    fn fill(&self, number: u32, bytes: &mut [u8]) -> Result<(), String> {
        // Not an atomic of loom: counting orders nothing.
        self.copies.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for (to, word) in bytes.chunks_exact_mut(8).zip(record_words([HASH, OTHER][number as usize])) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        Ok(())
    }

    fn lost(&self, number: u32, why: ChunkLost) -> ! {
        panic!("chunk {number} is lost: {why}");
    }
}

/// The words of a record of the smallest size: head (an entity of one byte, live), position, hash, key, body.
fn record_words(hash: u64) -> [u64; 8] {
    let key = u64::from(b'e') << 32 | 1;
    [1 << 2 | 1, 0, hash, key, 1, 0, 0, 0]
}

/// A store that begins with that image, a reader who is awake, and the source.
fn store_of_image() -> (Store, Reading, StdArc<TwoRecords>) {
    let (domain, mut participants) = Domain::with_participants(1);
    let source = StdArc::new(TwoRecords { copies: AtomicUsize::new(0) });
    let plan = vec![PlannedChunk { slot_granules: 4, slots_used: 1 }; 2];
    let mut store = Store::with_image(STORE_BYTES_MIN, &domain, plan, StdArc::clone(&source) as _).unwrap();
    store.link([(HASH, 0), (OTHER, 1 << CHUNK_GRANULES_LOG2)]).unwrap();
    store.finish_link().unwrap();
    let mut participant = participants.pop().unwrap();
    participant.quiescent();
    let reading = Reading::new(store.reader(), participant);
    (store, reading, source)
}

fn copies(source: &TwoRecords) -> usize {
    source.copies.load(std::sync::atomic::Ordering::Relaxed)
}

/// [`Reading::read`], or [`Reading::look`], which has no second attempt.
type Read = fn(&Reading, u64) -> Result<Option<u64>, Contended>;

/// A reader and a helper meet the chunk: nobody writes, so the reader reads, whatever the helper has come to.
fn record_is_read_while_its_chunk_is_adopted(read: Read) {
    search(PREEMPTIONS, move || {
        let (store, reading, source) = store_of_image();
        let mut adopter = store.adopter();
        let reader = thread::spawn(move || {
            assert_eq!(read(&reading, HASH), Ok(Some(1)), "a record that nobody writes");
        });
        adopter.adopt_next();
        reader.join().unwrap();
        // The helper passes a chunk over that the reader adopts.
        assert_eq!(copies(&source) + store.usage().chunks_pending, 2);
    });
}

/// Two readers meet the chunk.
fn record_is_read_by_two_who_meet_its_chunk() {
    search(PREEMPTIONS, || {
        let (store, reading, source) = store_of_image();
        let reader = thread::spawn(move || assert_eq!(reading.read(HASH), Ok(Some(1))));
        let handle = store.find(&key(HASH)).expect("a record that is there throughout");
        assert_eq!(store.record(handle).get(0), 1);
        reader.join().unwrap();
        assert_eq!((copies(&source), store.usage().chunks_pending), (1, 1));
    });
}

/// Two helpers share the work: each chunk is brought once, and the image let go of when all are.
fn every_chunk_is_adopted_once() {
    let adopted = |mut adopter: Adopter| std::iter::from_fn(|| adopter.adopt_next()).count();
    search(PREEMPTIONS, move || {
        let (store, _reading, source) = store_of_image();
        let other = store.adopter();
        let helper = thread::spawn(move || adopted(other));
        let adopted = adopted(store.adopter()) + helper.join().unwrap();
        assert_eq!((adopted, copies(&source), store.usage().chunks_pending), (2, 2, 0));
        assert_eq!(StdArc::strong_count(&source), 1, "the image is not needed any more");
    });
}

/// The owner writes to a record whose chunk a reader adopts: what is acknowledged is seen, and stays.
fn write_outlives_the_adoption() {
    search(PREEMPTIONS, || {
        let (mut store, reading, source) = store_of_image();
        let acknowledged = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&acknowledged);
        let reader = thread::spawn(move || {
            let is_acknowledged = told.load(Ordering::Acquire);
            match reading.read(HASH) {
                Ok(Some(1)) => assert!(!is_acknowledged, "an acknowledged operation is not seen"),
                Ok(Some(2)) => {}
                Ok(other) => panic!("{other:?} was read of a record that is there throughout"),
                Err(_contended) => assert!(!is_acknowledged, "nothing is written any more"),
            }
        });
        let handle = store.find(&key(HASH)).expect("a record that is there throughout");
        store.edit(handle).set(0, 2);
        acknowledged.store(true, Ordering::Release);
        reader.join().unwrap();
        assert_eq!(store.record(handle).get(0), 2, "an acknowledged operation is gone");
        assert_eq!(copies(&source), 1);
    });
}

/// The owner makes a record in a free slot of a chunk that a reader adopts.
fn insert_outlives_the_adoption() {
    search(PREEMPTIONS, || {
        let (mut store, reading, source) = store_of_image();
        let reader = thread::spawn(move || {
            assert_eq!(reading.read(OTHER), Ok(Some(1)));
            reading
        });
        let handle = super::store::insert(&mut store, ADDED);
        assert_eq!(handle.chunk(), 2, "there is room in an image's chunk");
        let reading = reader.join().unwrap();
        assert_eq!((copies(&source), store.usage().chunks_pending), (1, 1));
        assert_eq!(reading.read(ADDED), Ok(Some(1)));
    });
}

#[test]
fn loom_adoption_hides_no_record_from_a_reader() {
    record_is_read_while_its_chunk_is_adopted(Reading::read);
    record_is_read_while_its_chunk_is_adopted(Reading::look);
    record_is_read_by_two_who_meet_its_chunk();
}

#[test]
fn loom_adoption_happens_once() {
    every_chunk_is_adopted_once();
}

#[test]
fn loom_adoption_loses_no_write() {
    write_outlives_the_adoption();
    insert_outlives_the_adoption();
}

catches!(loom_catches_a_chunk_cut_before_its_copy: ChunkCutBeforeItsCopy in record_is_read_while_its_chunk_is_adopted(Reading::read));
catches!(loom_catches_an_adopted_chunk_that_is_not_released: AdoptedChunkNotReleased in record_is_read_while_its_chunk_is_adopted(Reading::read));
catches!(loom_catches_a_cut_that_is_not_acquired: CutNotAcquired in record_is_read_while_its_chunk_is_adopted(Reading::read));
catches!(loom_catches_a_reader_that_does_not_wait_for_an_adoption: AdoptionNotWaitedFor in record_is_read_while_its_chunk_is_adopted(Reading::look));
catches!(loom_catches_a_chunk_met_by_two_and_cut_before_its_copy: ChunkCutBeforeItsCopy in record_is_read_by_two_who_meet_its_chunk());
catches!(loom_catches_an_owner_that_does_not_wait_for_an_adoption: AdoptionNotWaitedFor in record_is_read_by_two_who_meet_its_chunk());
catches!(loom_catches_a_chunk_that_is_adopted_twice: ChunkAdoptedTwice in every_chunk_is_adopted_once());
catches!(loom_catches_a_write_that_a_second_adoption_undoes: ChunkAdoptedTwice in write_outlives_the_adoption());
catches!(loom_catches_a_write_to_a_chunk_cut_before_its_copy: ChunkCutBeforeItsCopy in write_outlives_the_adoption());
