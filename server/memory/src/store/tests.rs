//! The store by itself, on one thread. Threads: the loom models, and `tests/`.

use super::{Contended, Cursor, SCAN_ROWS_MAX, STORE_BYTES_MIN, Scan, Store};
use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, Handle},
    reclaim::{Domain, Participant},
    record::{ENTITY_BYTES_MAX, Key, LAYOUT_MAX},
};
use std::collections::HashMap;

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
        store.collect();
        participant.quiescent();
        while store.collect() > 0 {}
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
    let (mut store, _participant) = store(STORE_BYTES_MIN);
    let (a, b) = (insert(&mut store, 1, b"a", 1), insert(&mut store, 1, b"b", 2));
    let hint = store.prefetch_record(key(1, b"a").hash, 2);
    assert_eq!(hint, Some(a));
    assert_eq!(store.find_near(&key(1, b"a"), hint), Some(a));
    assert_eq!(store.find_near(&key(1, b"a"), Some(b)), Some(a));
    assert_eq!(store.find_near(&key(1, b"a"), None), Some(a));
    assert_eq!(store.find_near(&key(1, b"c"), Some(a)), None);
    let moved = store.resize(a, 100).unwrap();
    assert_eq!(store.find_near(&key(1, b"a"), hint), Some(moved));
    store.remove(moved);
    assert_eq!(store.find_near(&key(1, b"a"), hint), None);
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
    assert_eq!(store.collect(), 0);
    assert_ne!(insert(&mut store, 1, b"b", 0), handle, "a reader might still look at it");
    participant.quiescent();
    assert_eq!(store.collect(), 1);
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

#[test]
fn full_memory_refuses_and_takes_again_what_was_freed() {
    let (mut store, mut participant) = store(4 * CHUNK_BYTES);
    let mut handles = Vec::new();
    let error = loop {
        let entity = handles.len().to_be_bytes();
        match store.insert(&key(1, &entity), 0, 90, |edit| edit.set(0, handles.len() as u64)) {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, MemoryError::Full { bytes_max } if bytes_max == 4 * CHUNK_BYTES), "{error}");
    let usage = store.usage();
    assert_eq!((usage.records, usage.taken_bytes, usage.pool_bytes), (handles.len(), 4 * CHUNK_BYTES, 0));
    for (number, handle) in handles.iter().enumerate() {
        assert_eq!(store.record(*handle).get(0), number as u64);
    }
    assert!(store.resize(handles[0], 5_000).unwrap_err().is_out_of_memory());
    assert_eq!(store.record(handles[0]).get(0), 0, "it is as it was");
    for handle in &handles[..handles.len() / 2] {
        store.remove(*handle);
    }
    collect_all(&mut store, &mut participant);
    for number in 0..handles.len() / 2 {
        store.insert(&key(2, &number.to_be_bytes()), 0, 90, |_| ()).unwrap();
    }
}

#[test]
fn books_are_empty_after_everything_was_removed() {
    let (mut store, mut participant) = store(32 * CHUNK_BYTES);
    let empty = store.usage();
    let mut handles: Vec<Handle> =
        (0..20_000u32).map(|n| insert(&mut store, 1, &n.to_be_bytes(), 0)).collect();
    for (n, handle) in handles.iter_mut().enumerate() {
        *handle = store.resize(*handle, 20 + n % 100).unwrap();
    }
    collect_all(&mut store, &mut participant);
    let full = store.usage();
    assert_eq!((full.records, full.retired_slots), (20_000, 0));
    assert!(full.record_bytes > 20_000 * 8 * (20 + 50));
    assert!(full.record_bytes + full.block_bytes + full.pool_bytes <= full.taken_bytes);
    for handle in handles {
        store.remove(handle);
    }
    collect_all(&mut store, &mut participant);
    let after = store.usage();
    assert_eq!((after.records, after.record_bytes), (0, 0));
    // The index keeps its segments; all other chunks are whole again.
    assert_eq!(after.block_bytes - empty.block_bytes, (after.index_segments - 1) * 16 * 1024);
    assert!(
        after.taken_bytes - after.pool_bytes <= after.block_bytes.next_multiple_of(CHUNK_BYTES) + CHUNK_BYTES
    );
}

/// The prose of the rule: entities that grow in step leave more dead slots than they use, unless chunks change class.
#[test]
fn entities_that_grow_in_step_end_within_what_they_use() {
    const ENTITIES: u32 = 30_000;
    let (mut store, mut participant) = store(64 * CHUNK_BYTES);
    for n in 0..ENTITIES {
        insert(&mut store, 1, &n.to_be_bytes(), u64::from(n));
    }
    for words in (12..=96).step_by(4) {
        // In another order each time, as events come.
        for n in 0..ENTITIES {
            let n = (n * 7_919 + words) % ENTITIES;
            let handle = store.find(&key(1, &n.to_be_bytes())).unwrap();
            store.resize(handle, words as usize).unwrap();
            if n.is_multiple_of(64) {
                store.evacuate(64, |_, _| ());
                participant.quiescent();
                store.collect();
            }
        }
    }
    for _ in 0..10_000 {
        store.evacuate(64, |_, _| ());
        participant.quiescent();
        store.collect();
    }
    let usage = store.usage();
    let held = usage.taken_bytes - usage.pool_bytes;
    let needed = usage.record_bytes + usage.block_bytes;
    assert!(held <= needed + needed / 20 + 4 * CHUNK_BYTES, "{held} bytes held for {needed}");
    assert!(usage.taken_bytes <= needed + needed / 2, "{} bytes taken for {needed}", usage.taken_bytes);
    for n in 0..ENTITIES {
        assert_eq!(store.record(store.find(&key(1, &n.to_be_bytes())).unwrap()).get(0), u64::from(n));
    }
}

#[test]
fn sparse_chunks_are_emptied_and_their_records_stay() {
    const ENTITIES: u32 = 60_000;
    let (mut store, mut participant) = store(64 * CHUNK_BYTES);
    let mut handles: HashMap<u32, Handle> =
        (0..ENTITIES).map(|n| (n, insert(&mut store, 1, &n.to_be_bytes(), u64::from(n)))).collect();
    // One record in eight stays, spread over all chunks.
    for n in (0..ENTITIES).filter(|n| n % 8 != 0) {
        store.remove(handles.remove(&n).unwrap());
    }
    collect_all(&mut store, &mut participant);
    let sparse = store.usage();
    let mut moved = HashMap::new();
    let mut moves = 0;
    for _ in 0..5_000 {
        moves += store.evacuate(16, |old, new| assert!(moved.insert(old, new).is_none()));
        participant.quiescent();
        store.collect();
    }
    collect_all(&mut store, &mut participant);
    let dense = store.usage();
    assert!(moves > 0 && moves == moved.len());
    assert_eq!(dense.record_bytes, sparse.record_bytes);
    assert!(dense.pool_bytes >= sparse.pool_bytes + CHUNK_BYTES, "{sparse:?} {dense:?}");
    for (n, old) in handles {
        let handle = store.find(&key(1, &n.to_be_bytes())).unwrap();
        assert_eq!(store.record(handle).get(0), u64::from(n));
        assert_eq!(handle, moved.get(&old).copied().unwrap_or(old));
    }
    assert_eq!(store.evacuate(1_000, |_, _| ()), 0, "what is left is not worth moving");
}

/// A plain model beside the store, over everything an owner does.
#[test]
fn store_agrees_with_a_map_over_a_long_random_walk() {
    for seed in 1..=4u64 {
        let (mut store, mut participant) = store(64 * CHUNK_BYTES);
        let reader = store.reader();
        let mut map: HashMap<u64, u64> = HashMap::new();
        let mut state = seed;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for step in 0..60_000u64 {
            // Waves, so that chunks fill and empty.
            let entity = random(if (step / 10_000) % 2 == 0 { 8_000 } else { 500 });
            let bytes = entity.to_be_bytes();
            let key = key(1, &bytes);
            let found = store.find(&key);
            assert_eq!(
                found.map(|handle| store.record(handle).get(0)),
                map.get(&entity).copied(),
                "seed {seed}"
            );
            match (found, random(8)) {
                (None, _) => {
                    store.insert(&key, 0, 1 + random(40) as usize, |edit| edit.set(0, step)).unwrap();
                    map.insert(entity, step);
                }
                (Some(handle), 0..2) => {
                    store.remove(handle);
                    map.remove(&entity);
                }
                (Some(handle), 2..5) => {
                    store.resize(handle, 1 + random(120) as usize).unwrap();
                }
                (Some(handle), _) => {
                    store.edit(handle).set(0, step);
                    map.insert(entity, step);
                }
            }
            let read = reader.read(&participant, &key, |record| record.get(0));
            assert_eq!(read, Ok(map.get(&entity).copied()), "seed {seed}");
            if random(20) == 0 {
                store.evacuate(32, |_, _| ());
                participant.quiescent();
                store.collect();
            }
        }
        let mut walked: Vec<u64> =
            walk(&store, 256, |_| ()).iter().map(|row| store.record(*row).get(0)).collect();
        let mut expected: Vec<u64> = map.values().copied().collect();
        walked.sort_unstable();
        expected.sort_unstable();
        assert_eq!(walked, expected, "seed {seed}");
        assert_eq!(store.usage().records, map.len());
    }
}

fn walk(store: &Store, rows_max: usize, mut between: impl FnMut(&[Handle])) -> Vec<Handle> {
    let mut scan = Scan::default();
    let mut rows = Vec::new();
    let mut cursor = Some(Cursor::START);
    while let Some(from) = cursor {
        cursor = store.scan(&mut scan, from, rows_max);
        assert!(scan.rows().len() <= rows_max.min(SCAN_ROWS_MAX));
        if let Some(next) = cursor {
            assert!(next.to_number() > from.to_number(), "a walk goes on");
            assert_eq!(Cursor::from_number(next.to_number()), cursor);
        }
        rows.extend_from_slice(scan.rows());
        between(scan.rows());
    }
    rows
}

#[test]
fn walk_visits_every_record_once_in_the_order_of_hashes() {
    let (mut store, participant) = store(32 * CHUNK_BYTES);
    let mut all: Vec<Handle> = (0..30_000u32).map(|n| insert(&mut store, 1, &n.to_be_bytes(), 0)).collect();
    for rows_max in [7, 100, 10_000] {
        let rows = walk(&store, rows_max, |_| ());
        assert!(rows.is_sorted_by_key(|row| store.record(*row).hash() >> 34));
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        all.sort_unstable();
        assert_eq!(sorted, all);
    }
    let mut scan = Scan::default();
    let reader = store.reader();
    let (mut cursor, mut rows) = (Some(Cursor::START), 0);
    while let Some(from) = cursor {
        cursor = reader.scan(&participant, &mut scan, from, 256).unwrap();
        rows += scan.rows().len();
    }
    assert_eq!(rows, all.len());
}

#[test]
fn walk_visits_what_stays_exactly_once_while_the_index_splits() {
    let (domain, _none) = Domain::with_participants(0);
    let store = std::cell::RefCell::new(Store::new(64 * CHUNK_BYTES, &domain).unwrap());
    for n in 0..3_000u32 {
        insert(&mut store.borrow_mut(), 1, &n.to_be_bytes(), u64::from(n));
    }
    let segments = store.borrow().usage().index_segments;
    let mut seen = HashMap::new();
    let mut scan = Scan::default();
    let (mut cursor, mut next) = (Some(Cursor::START), 10_000u32);
    while let Some(from) = cursor {
        cursor = store.borrow().scan(&mut scan, from, 50);
        for row in scan.rows() {
            let store = store.borrow();
            let record = store.record(*row);
            if record.get(0) < 3_000 {
                *seen.entry(record.get(0)).or_insert(0) += 1;
            }
        }
        for _ in 0..200 {
            insert(&mut store.borrow_mut(), 1, &next.to_be_bytes(), u64::from(next));
            next += 1;
        }
    }
    assert!(store.borrow().usage().index_segments > segments + 2, "the test wants splits");
    assert_eq!(seen.len(), 3_000);
    assert!(seen.values().all(|times| *times == 1));
}

#[test]
fn cursor_of_a_number_that_is_none_is_refused() {
    assert_eq!(Cursor::from_number(0), Some(Cursor::START));
    assert_eq!(Cursor::from_number(1 << 30), None);
}

#[test]
fn helper_populates_what_the_store_will_need() {
    let (mut store, _participant) = store(32 * CHUNK_BYTES);
    let before = store.usage().chunks_populated_by_owner;
    let mut populator = store.populator();
    for n in 0..40_000u32 {
        while populator.populate_one().unwrap() {}
        insert(&mut store, 1, &n.to_be_bytes(), 0);
    }
    assert!(store.usage().taken_bytes > 3 * CHUNK_BYTES);
    assert_eq!(store.usage().chunks_populated_by_owner, before);
}
