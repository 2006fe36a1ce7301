//! A walk copies what is there throughout once, whole, wherever it moves meanwhile.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use windrow_memory::{CopiedRecord, Domain, Key};

use super::*;
use crate::shard::ShardConfig;
use crate::{HashKey, LayoutId};

const KEY: HashKey = HashKey([3, 4]);
const STREAM: StreamId = StreamId(7);
const LAYOUT: LayoutId = LayoutId(1);

fn shard() -> (Shard, Participant) {
    let (domain, mut participants) = Domain::with_participants(1);
    let config = ShardConfig { hash_key: KEY, maxmemory_bytes: 0, reserved_bytes: 256 << 20 };
    let mut participant = participants.pop().unwrap();
    participant.quiescent();
    (Shard::new(config, &Arc::clone(&domain)).unwrap(), participant)
}

fn name(entity: u64) -> [u8; 8] {
    entity.to_le_bytes()
}

fn with_key<R>(entity: u64, run: impl FnOnce(&Key<'_>) -> R) -> R {
    run(&KEY.key(STREAM, &name(entity)))
}

/// Makes the record of an entity: every word of its body is the entity.
fn insert(shard: &mut Shard, entity: u64, body_words: usize, position: u64) -> Handle {
    let fill = |edit: &mut windrow_memory::Edit<'_>| {
        edit.set_position(position);
        (0..edit.body_words()).for_each(|index| edit.set(index, entity));
    };
    with_key(entity, |key| shard.store.insert(key, LAYOUT.0, body_words, fill)).unwrap()
}

/// Gives the record of an entity another place.
fn relocate(shard: &mut Shard, entity: u64) {
    let place = with_key(entity, |key| shard.store.find(key)).unwrap();
    let body_words = shard.store.record(place).body_words();
    let copy = |old: Record<'_>, new: &mut windrow_memory::Edit<'_>| {
        (0..old.body_words()).for_each(|index| new.set(index, old.get(index)));
    };
    shard.store.relocate(place, LAYOUT.0, body_words, copy).unwrap();
}

/// Takes the copies of a slice: bodies and positions by entity.
fn take(copies: &Copies, found: &mut BTreeMap<u64, (Vec<u64>, u64)>) {
    for (row, bytes) in copies.rows() {
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words.len(), row.slot_granules as usize * 2);
        let record = CopiedRecord::new(&words).expect("a record");
        let mut entity = Vec::new();
        record.copy_entity(&mut entity);
        assert_eq!((record.hash(), record.stream()), (KEY.hash(STREAM, &entity), STREAM.0));
        assert_eq!((row.hash, row.stream, row.position), (record.hash(), STREAM, record.position()));
        let entity = u64::from_le_bytes(entity.try_into().unwrap());
        let before = found.insert(entity, (record.body().to_vec(), row.position));
        assert_eq!(before, None, "entity {entity} was copied twice");
    }
    assert!(copies.rows().is_sorted_by_key(|(row, _)| row.hash));
}

#[test]
fn a_walk_copies_every_record_once_in_the_order_of_hashes_by_reader_and_owner_alike() {
    let (mut shard, participant) = shard();
    for entity in 0..3_000 {
        // No operation is in every tenth: it is just being made.
        let position = if entity % 10 == 0 { 0 } else { entity };
        insert(&mut shard, entity, 4 + entity as usize % 40, position);
    }
    let reader = shard.reader();
    for rows_max in [1, 7, 256] {
        let (mut by_reader, mut by_owner) = (BTreeMap::new(), BTreeMap::new());
        let mut copies = Copies::default();
        let mut cursor = Some(Cursor::START);
        while let Some(at) = cursor {
            cursor = reader.copy_rows(&participant, at, rows_max, &mut copies).expect("nobody writes");
            take(&copies, &mut by_reader);
            assert_eq!(shard.copy_rows(at, rows_max, &mut copies), cursor);
            take(&copies, &mut by_owner);
        }
        assert_eq!(by_reader, by_owner);
        assert_eq!(by_reader.len(), 2_700);
        for (entity, (body, position)) in by_reader {
            assert!(position == entity && body.iter().all(|word| *word == entity), "entity {entity}");
        }
    }
}

#[test]
fn a_slice_of_large_records_ends_before_it_is_too_long() {
    let (mut shard, participant) = shard();
    let body_words = 40_000;
    for entity in 1..=60 {
        insert(&mut shard, entity, body_words, entity);
    }
    let reader = shard.reader();
    let (mut found, mut copies, mut slices) = (BTreeMap::new(), Copies::default(), 0);
    let mut cursor = Some(Cursor::START);
    while let Some(at) = cursor {
        cursor = reader.copy_rows(&participant, at, 256, &mut copies).unwrap();
        let bytes: usize = copies.rows().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= COPIED_BYTES_MAX + body_words * 9, "{bytes} bytes in a slice");
        take(&copies, &mut found);
        slices += 1;
    }
    assert_eq!(found.len(), 60);
    assert!(slices > 8, "{slices} slices");
}

/// Walks while, at the `moving`-th row of the first slice, the record that is to be read is moved just before. Gives how many
/// slices failed, and what was copied.
fn walk_while_a_row_moves(moving: usize) -> (usize, BTreeMap<u64, (Vec<u64>, u64)>) {
    let (shard, participant) = shard();
    let shard = RefCell::new(shard);
    for entity in 1..=200 {
        insert(&mut shard.borrow_mut(), entity, 6, entity);
    }
    let reader = shard.borrow().reader();
    let (mut failed, mut found, mut copies) = (0, BTreeMap::new(), Copies::default());
    let (mut cursor, mut rows_read) = (Some(Cursor::START), 0);
    while let Some(at) = cursor {
        let next = reader.reader.scan(&participant, &mut copies.scan, at, 256).unwrap();
        let copied = copies.copy(
            next,
            |_| (),
            |place, copy| {
                if rows_read == moving {
                    let mut entity = Vec::new();
                    shard.borrow().store.record(place).copy_entity(&mut entity);
                    let entity = u64::from_le_bytes(entity.try_into().unwrap());
                    relocate(&mut shard.borrow_mut(), entity);
                }
                rows_read += 1;
                reader.reader.read_at(&participant, place, copy).ok().flatten()
            },
        );
        match copied {
            Ok(next) => {
                take(&copies, &mut found);
                cursor = next;
            }
            Err(Contended) => {
                assert!(copies.is_empty(), "a slice is copied whole or not at all");
                failed += 1;
            }
        }
    }
    (failed, found)
}

#[test]
fn a_slice_in_which_a_row_moved_fails_and_has_it_the_next_time() {
    for moving in [0, 1, 20, 50] {
        let (failed, found) = walk_while_a_row_moves(moving);
        assert_eq!((failed, found.len()), (1, 200), "row {moving}");
    }
}

#[test]
fn the_test_finds_a_walk_that_skips_rows_that_moved() {
    planted::MOVED_ROWS_ARE_SKIPPED.set(true);
    let (failed, found) = walk_while_a_row_moves(20);
    planted::MOVED_ROWS_ARE_SKIPPED.set(false);
    assert_eq!((failed, found.len()), (0, 199));
}
