//! The store by itself, on one thread. Threads: the loom models, and `tests/`.

mod image;
mod room;
mod walk;

use super::{Contended, STORE_BYTES_MIN, Store};
use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, Handle},
    reclaim::{Domain, Participant},
    record::{ENTITY_BYTES_MAX, Key, LAYOUT_MAX},
};

/// Bytes of a chunk's worth of the records that most tests use.
const BODY_WORDS: usize = 10;

fn store(bytes_max: usize) -> (Store, Participant) {
    let (domain, mut participants) = Domain::with_participants(1);
    participants[0].quiescent();
    (Store::new(bytes_max, &domain).unwrap(), participants.pop().unwrap())
}

/// Hashes as a keyed hash would: the same for the same pair, and well mixed.
fn key(stream: u32, entity: &[u8]) -> Key<'_> {
    let mut hash = u64::from(stream) ^ 0x1234_5678_9abc_def0;
    for byte in entity {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Key { hash: hash ^ (hash >> 31), stream, entity }
}

fn insert(store: &mut Store, stream: u32, entity: &[u8], first_word: u64) -> Handle {
    store.insert(&key(stream, entity), 0, BODY_WORDS, |edit| edit.set(0, first_word)).unwrap()
}

fn collect_all(store: &mut Store, participant: &mut Participant) {
    for _ in 0..2 {
        store.collect(1_000);
        participant.quiescent();
        while store.collect(1_000) > 0 {}
    }
    assert_eq!(store.usage().retired_slots, 0);
}

#[test]
fn record_is_found_by_its_stream_and_entity_alone() {
    let (mut store, participant) = store(STORE_BYTES_MIN);
    let handle = insert(&mut store, 1, b"user:1", 11);
    insert(&mut store, 2, b"user:1", 22);
    assert_eq!(store.find(&key(1, b"user:1")), Some(handle));
    assert_eq!(store.find(&key(3, b"user:1")), None);
    assert_eq!(store.find(&key(1, b"user:2")), None);
    let reader = store.reader();
    assert_eq!(reader.read(&participant, &key(2, b"user:1"), |record| record.get(0)), Ok(Some(22)));
    assert_eq!(reader.read(&participant, &key(1, b"user"), |record| record.get(0)), Ok(None));
}

#[test]
fn records_with_equal_hashes_are_told_apart_by_their_keys() {
    let (mut store, participant) = store(STORE_BYTES_MIN);
    let names: Vec<String> = (0..12).map(|number| format!("entity-{number}")).collect();
    let colliding =
        |name: &'static str| Key { hash: 0x9e37_79b9_7f4a_7c15, stream: 1, entity: name.as_bytes() };
    for (number, name) in names.iter().enumerate() {
        let key = colliding(name.clone().leak());
        store.insert(&key, 0, 1, |edit| edit.set(0, number as u64)).unwrap();
    }
    for (number, name) in names.iter().enumerate() {
        let key = colliding(name.clone().leak());
        assert_eq!(store.record(store.find(&key).unwrap()).get(0), number as u64);
        assert_eq!(store.reader().read(&participant, &key, |record| record.get(0)), Ok(Some(number as u64)));
    }
    assert_eq!(store.find(&colliding("entity-99")), None);
    assert_eq!(store.reader().read(&participant, &colliding("entity-99"), |_| ()), Ok(None));
}

#[test]
fn hint_finds_the_record_and_a_wrong_one_does_no_harm() {
    let (mut store, participant) = store(STORE_BYTES_MIN);
    let (a, b) = (insert(&mut store, 1, b"a", 1), insert(&mut store, 1, b"b", 2));
    let hint = store.prefetch_record(key(1, b"a").hash, 2);
    assert_eq!(hint, Some(a));
    assert_eq!(store.find_near(&key(1, b"a"), hint), Some(a));
    assert_eq!(store.find_near(&key(1, b"a"), Some(b)), Some(a));
    assert_eq!(store.find_near(&key(1, b"a"), None), Some(a));
    assert_eq!(store.find_near(&key(1, b"c"), Some(a)), None);
    let reader = store.reader();
    let read = |hint| reader.read_near(&participant, &key(1, b"a"), hint, |record| record.get(0));
    assert_eq!([read(hint), read(Some(b)), read(None)], [Ok(Some(1)); 3]);
    let moved = store.resize(a, 100).unwrap();
    assert_eq!(read(hint), Ok(Some(1)));
    assert_eq!(store.find_near(&key(1, b"a"), hint), Some(moved));
    store.remove(moved);
    assert_eq!(store.find_near(&key(1, b"a"), hint), None);
    assert_eq!(read(hint), Ok(None));
}

#[test]
fn record_gives_back_all_that_was_put_in() {
    let (mut store, participant) = store(STORE_BYTES_MIN);
    let longest = vec![b'x'; ENTITY_BYTES_MAX];
    for entity in [&b"a"[..], b"user", b"user:4217", &longest] {
        let handle = store.insert(&key(9, entity), LAYOUT_MAX, 5, |edit| edit.set(4, 44)).unwrap();
        store.edit(handle).set_position(1 << 63 | 5);
        let read = |record: crate::Record<'_>| {
            let mut name = Vec::new();
            record.copy_entity(&mut name);
            (
                name,
                record.stream(),
                record.hash(),
                record.layout(),
                record.position(),
                record.get(0),
                record.get(4),
            )
        };
        let expected = (entity.to_vec(), 9, key(9, entity).hash, LAYOUT_MAX, 1 << 63 | 5, 0, 44);
        assert_eq!(read(store.record(handle)), expected);
        assert_eq!(store.reader().read(&participant, &key(9, entity), read), Ok(Some(expected)));
    }
}

#[test]
fn words_for_an_image_are_the_same_however_often_a_record_was_written() {
    let (mut store, participant) = store(STORE_BYTES_MIN);
    let handle = store.insert(&key(9, b"user:4217"), 77, 12, |edit| edit.set(3, 33)).unwrap();
    let reader = store.reader();
    let mut first = vec![1, 2, 3];
    let granules = reader.read_at(&participant, handle, |record| {
        record.image_words(&mut first);
        record.slot_granules()
    });
    assert_eq!(granules.map(|granules| granules.map(|granules| granules * 2)), Ok(Some(first.len())));
    let record = store.record(handle);
    assert_eq!(first.len() * 8, record.slot_bytes());
    assert_eq!((first[2], first[record.body_start() + 3]), (record.hash(), 33));
    for _ in 0..5 {
        store.edit(handle).set(3, 33);
    }
    let mut again = Vec::new();
    store.record(handle).image_words(&mut again);
    assert_eq!(again, first);
}

#[test]
fn body_of_a_slot_that_was_used_before_is_zero() {
    let (mut store, mut participant) = store(STORE_BYTES_MIN);
    let first = insert(&mut store, 1, b"a", 1);
    let words = store.record(first).body_words();
    let mut edit = store.edit(first);
    (0..words).for_each(|index| edit.set(index, !0));
    drop(edit);
    insert(&mut store, 1, b"keeps the chunk", 0);
    store.remove(first);
    collect_all(&mut store, &mut participant);
    let second = insert(&mut store, 1, b"b", 0);
    assert_eq!(second, first, "the test wants the same slot");
    assert!((0..words).all(|index| store.record(second).get(index) == 0));
}

#[test]
fn removed_record_is_gone_for_all_and_its_slot_waits_for_readers() {
    let (mut store, mut participant) = store(STORE_BYTES_MIN);
    insert(&mut store, 1, b"keeps the chunk", 0);
    let handle = insert(&mut store, 1, b"a", 1);
    let reader = store.reader();
    store.remove(handle);
    assert_eq!(store.find(&key(1, b"a")), None);
    assert_eq!(reader.read(&participant, &key(1, b"a"), |_| ()), Ok(None));
    assert_eq!(reader.read_at(&participant, handle, |_| ()), Ok(None));
    assert_eq!(store.collect(1_000), 0);
    assert_ne!(insert(&mut store, 1, b"b", 0), handle, "a reader might still look at it");
    participant.quiescent();
    assert_eq!(store.collect(1_000), 1);
    assert_eq!(insert(&mut store, 1, b"c", 0), handle);
}

#[test]
fn growing_record_keeps_key_position_layout_and_words() {
    let (mut store, participant) = store(10 * CHUNK_BYTES);
    let mut handle = store.insert(&key(1, b"user:1"), 3, 4, |_| ()).unwrap();
    store.edit(handle).set_position(17);
    for words in [9, 90, 900, 9_000, 90_000, 200_000] {
        handle = store.resize(handle, words).unwrap();
        assert!(store.record(handle).body_words() >= words);
        store.edit(handle).set(words - 1, words as u64);
    }
    assert_eq!(store.find(&key(1, b"user:1")), Some(handle));
    let read = |record: crate::Record<'_>| {
        (
            record.position(),
            record.layout(),
            [9, 90, 900, 9_000, 90_000].map(|words: usize| record.get(words - 1)),
        )
    };
    let expected = (17, 3, [9, 90, 900, 9_000, 90_000]);
    assert_eq!(store.reader().read(&participant, &key(1, b"user:1"), read), Ok(Some(expected)));
}

#[test]
fn record_stays_where_it_is_while_its_slot_is_large_enough() {
    let (mut store, _participant) = store(STORE_BYTES_MIN);
    let handle = insert(&mut store, 1, b"a", 1);
    let words = store.record(handle).body_words();
    assert_eq!(store.resize(handle, words).unwrap(), handle);
    assert_ne!(store.resize(handle, words + 1).unwrap(), handle);
}

#[test]
fn relocated_record_may_get_another_layout_and_shape() {
    let (mut store, participant) = store(STORE_BYTES_MIN);
    let handle = insert(&mut store, 1, b"a", 21);
    let moved = store.relocate(handle, 5, 1, |old, new| new.set(0, old.get(0) * 2)).unwrap();
    let reader = store.reader();
    assert_eq!(
        reader.read(&participant, &key(1, b"a"), |record| (record.layout(), record.get(0))),
        Ok(Some((5, 42)))
    );
    assert_eq!(reader.read_at(&participant, handle, |_| ()), Ok(None), "the old place is free");
    assert_eq!(reader.read_at(&participant, moved, |record| record.get(0)), Ok(Some(42)));
}

#[test]
fn blocks_are_zero_and_read_through_their_record() {
    let (mut store, participant) = store(STORE_BYTES_MIN);
    let handle = insert(&mut store, 1, b"a", 0);
    let block = store.allocate_block(3_000).unwrap();
    assert!((0..3_000).all(|index| store.record(handle).block(block.to_word()).unwrap().get(index) == 0));
    let mut edit = store.edit(handle);
    edit.set(0, block.to_word());
    edit.block_set(block, 2_999, 7);
    assert_eq!(edit.block_get(block, 2_999), 7);
    drop(edit);
    let read = store.reader().read(&participant, &key(1, b"a"), |record| {
        record.block(record.get(0)).map(|block| block.get(2_999))
    });
    assert_eq!(read, Ok(Some(Some(7))));
    assert!(store.record(handle).block(0).is_none() && store.record(handle).block(!0).is_none());
}

#[test]
fn record_that_is_being_written_is_contended_after_bounded_attempts() {
    let (mut store, participant) = store(STORE_BYTES_MIN);
    let handle = insert(&mut store, 1, b"a", 1);
    let reader = store.reader();
    let edit = store.edit(handle);
    assert_eq!(reader.read(&participant, &key(1, b"a"), |_| ()), Err(Contended));
    drop(edit);
    assert_eq!(reader.read(&participant, &key(1, b"a"), |record| record.get(0)), Ok(Some(1)));
}

#[test]
fn requests_that_cannot_be_are_refused_with_what_is_wrong() {
    let (mut store, _participant) = store(STORE_BYTES_MIN);
    let too_long = vec![0; ENTITY_BYTES_MAX + 1];
    for entity in [&b""[..], &too_long] {
        let error = store.insert(&key(1, entity), 0, 1, |_| ()).unwrap_err();
        assert!(matches!(error, MemoryError::EntityLength { bytes } if bytes == entity.len()), "{error}");
    }
    let error = store.insert(&key(1, b"a"), LAYOUT_MAX + 1, 1, |_| ()).unwrap_err();
    assert!(matches!(error, MemoryError::LayoutId { .. }), "{error}");
    let error = store.insert(&key(1, b"a"), 0, CHUNK_BYTES / 8, |_| ()).unwrap_err();
    assert!(matches!(error, MemoryError::TooLarge { .. }) && !error.is_out_of_memory(), "{error}");
    let domain = Domain::with_participants(0).0;
    for bytes in [STORE_BYTES_MIN - 1, super::STORE_BYTES_MAX + 1] {
        assert!(matches!(Store::new(bytes, &domain), Err(MemoryError::Budget { .. })));
    }
    assert_eq!(store.usage().records, 0);
}

#[test]
#[should_panic(expected = "said it sleeps")]
fn participant_that_sleeps_may_not_read() {
    let (store, mut participant) = store(STORE_BYTES_MIN);
    participant.sleep();
    let _unreached = store.reader().read(&participant, &key(1, b"a"), |_| ());
}

#[test]
#[should_panic(expected = "another domain")]
fn participant_of_another_domain_may_not_read() {
    let (store, _participant) = store(STORE_BYTES_MIN);
    let (_, mut others) = Domain::with_participants(1);
    others[0].quiescent();
    let _unreached = store.reader().read(&others[0], &key(1, b"a"), |_| ());
}
