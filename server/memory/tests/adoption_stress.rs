//! Real threads over a store that begins with an image: an owner that changes, grows, makes and removes records, readers that
//! check everything they are told, and helpers that adopt, all at once and over and over. Bounded in work, not in time; the
//! orderings are loom's to search.
#![cfg(not(loom))]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};
use windrow_memory::{
    Adopter, CHUNK_BYTES, ChunkLost, ChunkSource, Contended, Cursor, Domain, Edit, Key, Participant,
    PlannedChunk, Reader, Record, SCAN_ROWS_MAX, Scan, Store,
};

/// Entities of the image that are there throughout; as many more come and go.
const LASTING: u64 = 20_000;
/// Each round begins with a store whose chunks are all in the image.
const ROUNDS: u64 = 12;
const OPERATIONS: u64 = 30_000;
const READERS: usize = 2;
const ADOPTERS: usize = 2;
/// Each reader looks so often at least, even if it gets to run only after the owner.
const LOOKS_MIN: u64 = 2_000;
/// The owner's tick, in operations.
const TICK: u64 = 64;
const STORE_BYTES: usize = 64 * CHUNK_BYTES;
/// Words that a source hands over at a time: few, so that a copy is interrupted often.
const PART_WORDS: usize = 2048;

fn mix(seed: u64) -> u64 {
    let mut hash = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn with_key<R>(entity: u64, run: impl FnOnce(&Key<'_>) -> R) -> R {
    run(&Key { hash: mix(entity), stream: 7, entity: &entity.to_be_bytes() })
}

/// Word 0: the entity. All others: the position.
fn write(edit: &mut Edit<'_>, entity: u64, position: u64) {
    edit.set_position(position);
    edit.set(0, entity);
    (1..edit.body_words()).for_each(|index| edit.set(index, position));
}

/// A record as it is found: entity, position, and whether all of it is of one write.
fn check(record: Record<'_>) -> (u64, u64, bool) {
    let position = record.position();
    let is_whole = (1..record.body_words()).all(|index| record.get(index) == position);
    (record.get(0), position, is_whole)
}

/// An image in memory: what a snapshot would write.
#[derive(Default)]
struct Image {
    plan: Vec<PlannedChunk>,
    chunks: Vec<Vec<u64>>,
    table: Vec<(u64, u64)>,
}

impl Image {
    fn of(store: &Store) -> Self {
        let mut image = Self::default();
        let mut open: HashMap<u32, usize> = HashMap::new();
        let (mut scan, mut words, mut cursor) = (Scan::default(), Vec::new(), Some(Cursor::START));
        while let Some(from) = cursor {
            cursor = store.scan(&mut scan, from, SCAN_ROWS_MAX);
            for row in scan.rows() {
                let record = store.record(*row);
                record.image_words(&mut words);
                let slot_granules = record.slot_granules() as u32;
                let slots = (CHUNK_BYTES / 16) as u32 / slot_granules;
                let has_room = |number: &usize| image.plan[*number].slots_used < slots;
                let number = open.get(&slot_granules).copied().filter(has_room).unwrap_or_else(|| {
                    image.plan.push(PlannedChunk { slot_granules, slots_used: 0 });
                    image.chunks.push(Vec::new());
                    image.plan.len() - 1
                });
                open.insert(slot_granules, number);
                let granule = u64::from(image.plan[number].slots_used * slot_granules);
                image.plan[number].slots_used += 1;
                image.chunks[number].extend_from_slice(&words);
                image.table.push((record.hash(), (number as u64) << 17 | granule));
            }
        }
        image
    }
}

/// Hands an image over, some chunks slowly. Clones of it have their own count.
struct Source {
    image: Arc<Image>,
    copies: Vec<AtomicU64>,
}

impl ChunkSource for Source {
    fn fill(&self, number: u32, bytes: &mut [u8]) -> Result<(), String> {
        self.copies[number as usize].fetch_add(1, Ordering::Relaxed);
        let words = &self.image.chunks[number as usize];
        for (to, words) in bytes.chunks_mut(PART_WORDS * size_of::<u64>()).zip(words.chunks(PART_WORDS)) {
            for (to, word) in to.chunks_exact_mut(size_of::<u64>()).zip(words) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            if number.is_multiple_of(2) {
                thread::yield_now();
            }
        }
        Ok(())
    }

    fn lost(&self, number: u32, why: ChunkLost) -> ! {
        panic!("chunk {number} is lost: {why}");
    }
}

/// An image of entities of many sizes, at positions 1 and up.
fn image() -> Image {
    let (domain, _none) = Domain::with_participants(0);
    let mut store = Store::new(STORE_BYTES, &domain).expect("there is memory");
    for entity in 0..LASTING {
        let words = [8, 30, 70, 200][entity as usize % 4];
        let fill = |edit: &mut Edit<'_>| write(edit, entity, 1 + entity % 5);
        with_key(entity, |key| store.insert(key, 0, words, fill)).expect("there is memory");
    }
    Image::of(&store)
}

/// What the owner tells readers of an entity: the last position it has acknowledged; 0: it may not be there.
struct Acknowledged(Vec<AtomicU64>);

fn owner(store: &mut Store, acknowledged: &Acknowledged, mut participant: Participant, round: u64) {
    participant.quiescent();
    for operation in 0..OPERATIONS {
        let random = mix(operation ^ round << 32 ^ 0x0b5e_55ed);
        let entity = random % (2 * LASTING);
        let position = 10 + operation;
        // Some as a batch finds them.
        let found = with_key(entity, |key| {
            let hint = (random >> 63 == 0).then(|| store.prefetch_record(key.hash, 2)).flatten();
            store.find_near(key, hint)
        });
        assert!(found.is_some() || entity >= LASTING, "the owner does not find entity {entity}");
        match found {
            None => {
                let filled = |edit: &mut Edit<'_>| write(edit, entity, position);
                with_key(entity, |key| store.insert(key, 0, 8, filled)).expect("there is memory");
            }
            Some(handle) if entity >= LASTING && random >> 61 == 0 => {
                // Before it can no longer be found: no reader may then expect it.
                acknowledged.0[entity as usize].store(0, Ordering::Release);
                store.remove(handle);
                continue;
            }
            Some(handle) => {
                let (of, was, is_whole) = check(store.record(handle));
                let expected = acknowledged.0[entity as usize].load(Ordering::Relaxed);
                assert_eq!((of, was, is_whole), (entity, expected, true), "the owner's own record");
                let handle = if (random >> 40).is_multiple_of(4) {
                    let words = 8 + (random >> 32) as usize % 100;
                    let fill = |old: Record<'_>, new: &mut Edit<'_>| {
                        (0..new.body_words()).for_each(|index| new.set(index, old.get(index.min(1))));
                    };
                    store.relocate(handle, 0, words, fill).expect("there is memory")
                } else {
                    handle
                };
                write(&mut store.edit(handle), entity, position);
            }
        }
        acknowledged.0[entity as usize].store(position, Ordering::Release);
        if operation % TICK == 0 {
            store.evacuate(16, |_, _| ());
            store.collect(1_000);
            store.release_chunk();
            participant.quiescent();
        }
    }
    participant.sleep();
}

#[derive(Default)]
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
    seed: u64,
) -> Seen {
    let mut seen = Seen::default();
    let (mut scan, mut cursor) = (Scan::default(), Some(Cursor::START));
    for look in 0.. {
        if look >= LOOKS_MIN && is_over.load(Ordering::Acquire) {
            break;
        }
        participant.quiescent();
        let entity = mix(look ^ seed) % (2 * LASTING);
        let expected = acknowledged.0[entity as usize].load(Ordering::Acquire);
        let read = with_key(entity, |key| match look % 2 {
            0 => reader.read(&participant, key, check),
            _ => {
                let hint = reader.prefetch_record(&participant, key.hash, 2);
                reader.read_near(&participant, key, hint, check)
            }
        });
        match read {
            Ok(Some((of, position, is_whole))) => {
                assert_eq!(of, entity, "another record was read");
                assert!(is_whole, "half a write was read of entity {entity}");
                let is_new_enough = entity >= LASTING || position >= expected;
                assert!(is_new_enough, "entity {entity} at {position}, acknowledged {expected}");
                seen.found += 1;
            }
            Ok(None) => assert!(entity >= LASTING, "entity {entity} is there and was not found"),
            Err(Contended) => seen.contended += 1,
        }
        if !look.is_multiple_of(16) {
            continue;
        }
        let Ok(next) = reader.scan(&participant, &mut scan, cursor.unwrap_or(Cursor::START), 16) else {
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

fn adopt(mut adopter: Adopter) -> u64 {
    let mut adopted = 0;
    while adopter.adopt_next().is_some() {
        adopted += 1;
        thread::yield_now();
    }
    adopted
}

#[test]
fn records_of_an_image_are_right_for_all_while_owner_readers_and_helpers_adopt_it() {
    let image = Arc::new(image());
    assert!(image.plan.len() > 6, "the test wants chunks to meet");
    for round in 0..ROUNDS {
        let (domain, mut participants) = Domain::with_participants(1 + READERS);
        let copies = image.plan.iter().map(|_| AtomicU64::new(0)).collect();
        let source = Arc::new(Source { image: Arc::clone(&image), copies });
        let mut store = Store::with_image(STORE_BYTES, &domain, image.plan.clone(), Arc::clone(&source) as _)
            .expect("it fits");
        store.link(image.table.iter().copied()).expect("the table is right");
        store.finish_link().expect("the table is whole");
        let first = |entity| AtomicU64::new(if entity < LASTING { 1 + entity % 5 } else { 0 });
        let acknowledged = Arc::new(Acknowledged((0..2 * LASTING).map(first).collect()));
        let is_over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..READERS as u64)
            .map(|number| {
                let (mine, acknowledged, is_over) =
                    (store.reader(), Arc::clone(&acknowledged), Arc::clone(&is_over));
                let participant = participants.pop().expect("one for each");
                let seed = mix(round ^ number << 8);
                thread::spawn(move || reader(&mine, &acknowledged, &is_over, participant, seed))
            })
            .collect();
        // Some rounds without a helper: who meets a chunk brings it.
        let helpers = if round % 3 == 2 { 0 } else { ADOPTERS };
        let helpers: Vec<_> = (0..helpers)
            .map(|_| {
                let adopter = store.adopter();
                thread::spawn(move || adopt(adopter))
            })
            .collect();
        owner(&mut store, &acknowledged, participants.pop().expect("one for the owner"), round);
        is_over.store(true, Ordering::Release);
        for reader in readers {
            let seen = reader.join().expect("a reader saw what it must not");
            assert!(seen.found > 0 && seen.rows > 0, "a reader that reads nothing checks nothing");
            assert!(seen.contended < seen.found, "{} of {} reads gave up", seen.contended, seen.found);
        }
        let by_helpers: u64 = helpers.into_iter().map(|helper| helper.join().expect("a helper ends")).sum();
        assert!(by_helpers <= image.plan.len() as u64);
        adopt(store.adopter());
        assert!(store.is_adopted());
        assert!(source.copies.iter().all(|copies| copies.load(Ordering::Relaxed) == 1), "each chunk once");
        for entity in 0..2 * LASTING {
            let expected = acknowledged.0[entity as usize].load(Ordering::Relaxed);
            let found = with_key(entity, |key| store.find(key)).map(|handle| check(store.record(handle)));
            assert_eq!(found, (expected > 0).then_some((entity, expected, true)), "round {round}");
        }
        while store.collect(1_000) > 0 {}
        assert_eq!((store.usage().retired_slots, store.usage().chunks_pending), (0, 0));
    }
}
