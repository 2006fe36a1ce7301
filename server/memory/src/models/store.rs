//! The store as a whole: records that move or go while they are read, and slots that are used again.

use super::{index::hash_in, search};
use crate::{Contended, Cursor, Domain, Handle, Key, Participant, Reader, STORE_BYTES_MIN, Scan, Store};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

const PREEMPTIONS: usize = 2;

/// A key of this hash. The name is the same for all: the hash alone tells them apart.
pub(super) fn key(hash: u64) -> Key<'static> {
    Key { hash, stream: 1, entity: b"e" }
}

/// A reader on its own thread.
pub(super) struct Reading {
    reader: Reader,
    participant: Participant,
}

impl Reading {
    pub(super) fn new(reader: Reader, participant: Participant) -> Self {
        Self { reader, participant }
    }

    /// The first word of a record.
    pub(super) fn read(&self, hash: u64) -> Result<Option<u64>, Contended> {
        self.reader.read(&self.participant, &key(hash), |record| record.get(0))
    }

    /// The same by one look that finds it or proves that it is not there.
    pub(super) fn look(&self, hash: u64) -> Result<Option<u64>, Contended> {
        self.reader.look_once(&key(hash), |record| record.get(0))
    }

    /// Where the record probably is.
    fn hint(&self, hash: u64) -> Option<Handle> {
        self.reader.prefetch_record(&self.participant, hash, 1)
    }

    fn read_near(&self, hash: u64, hint: Option<Handle>) -> Result<Option<u64>, Contended> {
        self.reader.read_near(&self.participant, &key(hash), hint, |record| record.get(0))
    }

    /// How often a walk comes by a record.
    pub(super) fn times_walked_over(&self, hash: u64) -> Result<usize, Contended> {
        let mut scan = Scan::default();
        let mut times = 0;
        let mut cursor = Some(Cursor::START);
        while let Some(from) = cursor {
            cursor = self.reader.scan(&self.participant, &mut scan, from, 8)?;
            for row in scan.rows() {
                let of = self.reader.read_at(&self.participant, *row, |record| record.hash())?;
                times += usize::from(of == Some(hash));
            }
        }
        Ok(times)
    }

    fn read_at(&self, handle: Handle) -> Result<Option<u64>, Contended> {
        self.reader.read_at(&self.participant, handle, |record| record.get(0))
    }
}

/// An empty store, and a reader who is awake.
pub(super) fn store_and_reader() -> (Store, Reading) {
    let (domain, mut participants) = Domain::with_participants(1);
    let store = Store::new(STORE_BYTES_MIN, &domain).unwrap();
    let mut participant = participants.pop().unwrap();
    participant.quiescent();
    let reader = store.reader();
    (store, Reading { reader, participant })
}

/// Adds a record whose first word is 1.
pub(super) fn insert(store: &mut Store, hash: u64) -> Handle {
    store.insert(&key(hash), 0, 1, |edit| edit.set(0, 1)).unwrap()
}

/// The owner moves a record to a larger slot, applies an operation (1 becomes 2) and acknowledges; a reader reads it
/// meanwhile, told whether it had been acknowledged before.
fn while_a_record_grows(read: impl Fn(&Reading, (u64, Handle), bool) + Copy + Send + Sync + 'static) {
    search(PREEMPTIONS, move || {
        let (mut store, reading) = store_and_reader();
        // In two buckets, so that no second look at the first comes to the rescue.
        let hash = hash_in(0, 1, [0, 1], 0);
        let old = insert(&mut store, hash);
        let acknowledged = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&acknowledged);
        let reader = thread::spawn(move || {
            let is_acknowledged = told.load(Ordering::Acquire);
            read(&reading, (hash, old), is_acknowledged);
        });
        let moved = store.resize(old, 9).unwrap();
        assert_ne!(moved, old);
        store.edit(moved).set(0, 2);
        acknowledged.store(true, Ordering::Release);
        reader.join().unwrap();
    });
}

fn growing_record_is_always_found(read: fn(&Reading, u64) -> Result<Option<u64>, Contended>) {
    while_a_record_grows(move |reading, (hash, _), is_acknowledged| match read(reading, hash) {
        Ok(Some(1)) => assert!(!is_acknowledged, "an acknowledged operation is not seen"),
        Ok(Some(2)) => {}
        Ok(other) => panic!("{other:?} was read of a record that is there throughout"),
        Err(Contended) => assert!(!is_acknowledged, "nothing is written any more"),
    });
}

/// The hint is from before the reader learned of the acknowledgement.
fn hint_does_not_lead_back() {
    search(PREEMPTIONS, || {
        let (mut store, reading) = store_and_reader();
        let hash = hash_in(0, 1, [0, 1], 0);
        let old = insert(&mut store, hash);
        let acknowledged = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&acknowledged);
        let reader = thread::spawn(move || {
            let hint = reading.hint(hash);
            let is_acknowledged = told.load(Ordering::Acquire);
            match reading.read_near(hash, hint) {
                Ok(Some(1)) => assert!(!is_acknowledged, "an acknowledged operation is not seen"),
                Ok(Some(2)) => {}
                Ok(other) => panic!("{other:?} was read of a record that is there throughout"),
                Err(Contended) => assert!(!is_acknowledged, "nothing is written any more"),
            }
        });
        let moved = store.resize(old, 9).unwrap();
        store.edit(moved).set(0, 2);
        acknowledged.store(true, Ordering::Release);
        reader.join().unwrap();
    });
}

#[test]
fn loom_store_hint_does_not_lead_back_to_before_a_move() {
    hint_does_not_lead_back();
}

fn old_place_does_not_outlive_the_move() {
    while_a_record_grows(|reading, (_, old), is_acknowledged| match reading.read_at(old) {
        Ok(Some(1)) => assert!(!is_acknowledged, "the old place still reads as the record"),
        Ok(None) | Err(Contended) => {}
        Ok(other) => panic!("{other:?} was read at the old place"),
    });
}

#[test]
fn loom_store_always_finds_a_record_that_grows() {
    growing_record_is_always_found(Reading::read);
    growing_record_is_always_found(Reading::look);
}

#[test]
fn loom_store_does_not_read_the_old_place_of_a_record_that_moved() {
    old_place_does_not_outlive_the_move();
}

/// A record goes, the reader passes a quiescent point, another record gets its slot.
#[test]
fn loom_store_reads_no_other_record_out_of_a_slot_used_again() {
    search(PREEMPTIONS, || {
        let (mut store, mut reading) = store_and_reader();
        insert(&mut store, 9);
        let first = insert(&mut store, 5);
        let reader = thread::spawn(move || {
            let before = reading.read(5);
            assert!(matches!(before, Ok(Some(1) | None) | Err(Contended)), "{before:?}");
            reading.participant.quiescent();
            let after = reading.read(5);
            assert!(matches!(after, Ok(Some(1) | None) | Err(Contended)), "{after:?}");
            assert!(before != Ok(None) || after != Ok(Some(1)), "a record that is gone does not come back");
        });
        store.remove(first);
        store.collect(1);
        store.collect(1);
        store.insert(&key(6), 0, 1, |edit| edit.set(0, 6)).unwrap();
        reader.join().unwrap();
    });
}

catches!(loom_catches_a_free_record_that_counts_as_a_miss: FreeRecordIsAMiss in growing_record_is_always_found(Reading::look));
catches!(loom_catches_an_old_place_that_stays_readable: OldRecordStaysLive in old_place_does_not_outlive_the_move());
catches!(loom_catches_a_hint_that_leads_back: OldRecordStaysLive in hint_does_not_lead_back());
