//! Room: budgets, books, and upkeep that makes room again.

use super::{collect_all, insert, key, store, walk::walk};
use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, Handle},
};
use std::collections::HashMap;

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
                store.collect(1_000);
            }
        }
    }
    for _ in 0..10_000 {
        store.evacuate(64, |_, _| ());
        participant.quiescent();
        store.collect(1_000);
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
        store.collect(1_000);
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
                store.collect(1_000);
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
