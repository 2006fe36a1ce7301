//! Real threads over one store: an owner that makes, changes, grows, moves and removes records as fast as it can, and readers
//! that check everything they are told. Bounded in work, not in time; the orderings are loom's to search.
#![cfg(not(loom))]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};
use windrow_memory::{
    CHUNK_BYTES, Contended, Cursor, Domain, Edit, Handle, Key, Participant, Reader, Record, Scan, Store,
};

/// These are there throughout; as many again come and go.
const LASTING: u64 = 4_000;
const OPERATIONS: u64 = 800_000;
const READERS: usize = 2;
/// Each reader goes round at least this often, even if it gets to run only after the owner.
const ROUNDS_MIN: u64 = 1_000;
/// The owner's tick, in operations.
const TICK: u64 = 256;

/// What the owner tells readers of an entity: the last position it has acknowledged.
struct Acknowledged(Vec<AtomicU64>);

fn mix(seed: u64) -> u64 {
    let mut hash = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn with_key<R>(entity: u64, run: impl FnOnce(&Key<'_>) -> R) -> R {
    run(&Key { hash: mix(entity), stream: 7, entity: &entity.to_be_bytes() })
}

/// Word 0: the entity. Word 1: its block, or 0. All others, and those of the block: the position.
fn write(mut edit: Edit<'_>, entity: u64, position: u64) {
    edit.set_position(position);
    edit.set(0, entity);
    for index in 2..edit.body_words() {
        edit.set(index, position);
    }
    if let Some(block) = Handle::from_word(edit.get(1)) {
        (0..8).for_each(|index| edit.block_set(block, index, position));
    }
}

/// A record as a reader finds it: entity, position, and whether all of it is of one write.
fn check(record: Record<'_>) -> (u64, u64, bool) {
    let position = record.position();
    let body = (2..record.body_words()).all(|index| record.get(index) == position);
    let block =
        record.block(record.get(1)).is_none_or(|block| (0..8).all(|index| block.get(index) == position));
    (record.get(0), position, body && block)
}

fn owner(mut store: Store, acknowledged: &Acknowledged, mut participant: Participant) -> Store {
    let mut position = 0;
    for operation in 0..OPERATIONS {
        let random = mix(operation ^ 0x0b5e_55ed);
        let entity = if operation < LASTING { operation } else { random % (2 * LASTING) };
        position += 1;
        let found = with_key(entity, |key| store.find(key));
        let handle = match found {
            None => with_key(entity, |key| {
                let filled = |edit: &mut Edit<'_>| {
                    edit.set_position(position);
                    edit.set(0, entity);
                    (2..edit.body_words()).for_each(|index| edit.set(index, position));
                };
                store.insert(key, 0, 4, filled).expect("there is memory")
            }),
            Some(handle) if entity >= LASTING && random >> 62 == 0 => {
                let block = Handle::from_word(store.record(handle).get(1));
                // Before it can no longer be found: no reader may then expect it.
                acknowledged.0[entity as usize].store(0, Ordering::Release);
                store.remove(handle);
                block.into_iter().for_each(|block| store.retire_block(block));
                continue;
            }
            Some(handle) => {
                let words = 4 + (random >> 32) as usize % 60;
                let handle = if (random >> 40).is_multiple_of(4) {
                    let grown = store.relocate(handle, 0, words, |old, new| {
                        let position = old.position();
                        (0..2).for_each(|index| new.set(index, old.get(index)));
                        (2..new.body_words()).for_each(|index| new.set(index, position));
                    });
                    grown.expect("there is memory")
                } else {
                    handle
                };
                if store.record(handle).get(1) == 0 && (random >> 44).is_multiple_of(16) {
                    // Linked and written in one edit: between two, readers would see the block of neither.
                    let block = store.allocate_block(8).expect("there is memory");
                    let mut edit = store.edit(handle);
                    edit.set(1, block.to_word());
                    write(edit, entity, position);
                }
                handle
            }
        };
        write(store.edit(handle), entity, position);
        acknowledged.0[entity as usize].store(position, Ordering::Release);
        if operation % TICK == 0 {
            store.evacuate(16, |_, _| ());
            store.collect(1_000);
            participant.quiescent();
        }
    }
    participant.sleep();
    store
}

struct Seen {
    found: u64,
    contended: u64,
    rows: u64,
}

fn reader(
    reader: &Reader,
    acknowledged: &Acknowledged,
    is_over: &AtomicBool,
    mut participant: Participant,
) -> Seen {
    let mut seen = Seen { found: 0, contended: 0, rows: 0 };
    let mut scan = Scan::default();
    let mut cursor = Some(Cursor::START);
    for round in 0.. {
        if round >= ROUNDS_MIN && is_over.load(Ordering::Acquire) {
            break;
        }
        participant.quiescent();
        for step in 0..64 {
            let entity = mix(round * 64 + step) % (2 * LASTING);
            let expected = acknowledged.0[entity as usize].load(Ordering::Acquire);
            match with_key(entity, |key| reader.read(&participant, key, check)) {
                Ok(Some((of, position, is_whole))) => {
                    assert_eq!(of, entity, "another record was read");
                    assert!(is_whole, "half a write was read of entity {entity}");
                    assert!(
                        entity >= LASTING || position >= expected,
                        "entity {entity} at {position}, acknowledged {expected}"
                    );
                    seen.found += 1;
                }
                Ok(None) => {
                    assert!(entity >= LASTING || expected == 0, "entity {entity} is there and was not found");
                }
                Err(Contended) => seen.contended += 1,
            }
        }
        let Ok(next) = reader.scan(&participant, &mut scan, cursor.unwrap_or(Cursor::START), 64) else {
            continue;
        };
        cursor = next;
        for row in scan.rows() {
            if let Ok(Some((_, _, is_whole))) = reader.read_at(&participant, *row, check) {
                assert!(is_whole, "half a write was read at {row:?}");
                seen.rows += 1;
            }
        }
    }
    participant.sleep();
    seen
}

#[test]
fn readers_see_whole_acknowledged_records_while_the_owner_does_all_it_can() {
    let (domain, mut participants) = Domain::with_participants(1 + READERS);
    let store = Store::new(128 * CHUNK_BYTES, &domain).unwrap();
    let mine = store.reader();
    let acknowledged = Arc::new(Acknowledged((0..2 * LASTING).map(|_| AtomicU64::new(0)).collect()));
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (mine, acknowledged, is_over) =
                (mine.clone(), Arc::clone(&acknowledged), Arc::clone(&is_over));
            let participant = participants.pop().unwrap();
            thread::spawn(move || reader(&mine, &acknowledged, &is_over, participant))
        })
        .collect();
    let mut store = owner(store, &acknowledged, participants.pop().unwrap());
    is_over.store(true, Ordering::Release);
    for reader in readers {
        let seen = reader.join().expect("a reader saw what it must not");
        assert!(seen.found > 0 && seen.rows > 0, "a reader that reads nothing checks nothing");
        assert!(seen.contended < seen.found, "{} of {} reads gave up", seen.contended, seen.found);
    }
    // All sleep: everything retired is free at once.
    while store.collect(1_000) > 0 {}
    let usage = store.usage();
    assert_eq!(usage.retired_slots, 0);
    let found = (0..2 * LASTING).filter(|entity| with_key(*entity, |key| store.find(key)).is_some()).count();
    assert_eq!(found, usage.records);
}
