//! What staging buys: nanoseconds an update, one at a time against batches of 64 with prefetch, and a read of all buckets
//! likewise, over growing numbers of entities. Time is the thread's own CPU time, so that busy neighbours
//! disturb less.
//!
//! ```text
//! cargo run --release -p windrow-memory --example staged_updates [entities ...]
//! ```
//!
//! Each entity has 60 buckets of a 32-bit count and a 64-bit sum. An update finds the record, reads its head, adds to one
//! bucket and sets the position; entities are drawn uniformly. Figures are medians of rounds that alternate, so that a noisy
//! machine disturbs all alike.

use rustix::time::{ClockId, clock_gettime};
use std::{env, hint::black_box};
use windrow_memory::{CHUNK_BYTES, Domain, Handle, Key, MemoryError, Reader, Record, Store};

const BUCKETS: usize = 60;
const HEAD: usize = 0;
const COUNTS: usize = 3;
const SUMS: usize = COUNTS + BUCKETS / 2;
const BODY_WORDS: usize = SUMS + BUCKETS;
const BATCH: usize = 64;
const ROUNDS: usize = 7;
const UPDATES_A_ROUND: usize = 1 << 20;
/// Cache lines of a record that an update may touch first.
const LINES: usize = 1;
const LINES_OF_ALL: usize = 12;

fn main() -> Result<(), MemoryError> {
    let mut sizes: Vec<u64> =
        env::args().skip(1).map(|size| size.parse().expect("a number of entities")).collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 1_000_000, 10_000_000];
    }
    println!(
        "entities  bytes each  insert  update: one  staged  staged, all lines  read 60: one  staged  staged, reader"
    );
    for entities in sizes {
        measure(entities)?;
    }
    Ok(())
}

fn measure(entities: u64) -> Result<(), MemoryError> {
    let (domain, mut participants) = Domain::with_participants(1);
    participants[0].quiescent();
    let mut store = Store::new(16 * CHUNK_BYTES + entities as usize * 1024, &domain)?;
    let mut populator = store.populator();
    let begun = cpu_ns();
    let (mut by_helper, mut batches) = (0, Vec::new());
    let mut batch_begun = begun;
    for number in 0..entities {
        if number.is_multiple_of(64) {
            let populating = cpu_ns();
            batches.push((populating - batch_begun) / 1_000);
            while populator.populate_one()? {}
            batch_begun = cpu_ns();
            by_helper += batch_begun - populating;
        }
        let entity = Entity::number(number);
        store.insert(&entity.key(), 0, BODY_WORDS, |_| ())?;
        store.collect(64);
    }
    let insert_ns = (cpu_ns() - begun - by_helper) as f64 / entities as f64;
    batches.sort_unstable();
    let usage = store.usage();
    let reader = store.reader();

    let mut random = Random(1);
    let mut figures: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        let mut draw = || Entity::number(random.next() % entities);
        figures[0].push(per_item(1, &mut draw, |batch| update(&mut store, &batch[0])));
        figures[1].push(per_item(BATCH, &mut draw, |batch| update_staged(&mut store, batch, LINES)));
        figures[2].push(per_item(BATCH, &mut draw, |batch| update_staged(&mut store, batch, LINES_OF_ALL)));
        figures[3].push(per_item(1, &mut draw, |batch| {
            black_box(store.find(&batch[0].key()).map(|handle| sum(store.record(handle))));
        }));
        figures[4].push(per_item(BATCH, &mut draw, |batch| sum_staged(&store, batch)));
        figures[5].push(per_item(BATCH, &mut draw, |batch| read_staged(&reader, &participants[0], batch)));
    }
    let medians = figures.map(|mut rounds| {
        rounds.sort_unstable_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    });
    println!(
        "{entities:>8}  {:>10.1}  {:>6.0}  {:>11.0}  {:>6.0}  {:>17.0}  {:>12.0}  {:>6.0}  {:>14.0}   (64 inserts: p99.9 {} µs, slowest {} µs; index {:.1} bytes each)",
        (usage.taken_bytes - usage.pool_bytes) as f64 / entities as f64,
        insert_ns,
        medians[0],
        medians[1],
        medians[2],
        medians[3],
        medians[4],
        medians[5],
        batches[batches.len() - 1 - batches.len() / 1000],
        batches[batches.len() - 1],
        usage.block_bytes as f64 / entities as f64,
    );
    Ok(())
}

/// Nanoseconds an item of `run` over batches of drawn entities; drawing is not counted.
fn per_item(batch: usize, draw: &mut impl FnMut() -> Entity, mut run: impl FnMut(&[Entity])) -> f64 {
    let drawn: Vec<Entity> = (0..UPDATES_A_ROUND).map(|_| draw()).collect();
    let begun = cpu_ns();
    drawn.chunks(batch).for_each(&mut run);
    (cpu_ns() - begun) as f64 / UPDATES_A_ROUND as f64
}

/// What this thread has run so far.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn update(store: &mut Store, entity: &Entity) {
    let handle = store.find(&entity.key()).expect("every entity was inserted");
    apply(store, handle, entity.hash as usize % BUCKETS);
}

fn apply(store: &mut Store, handle: Handle, bucket: usize) {
    let mut edit = store.edit(handle);
    let head = edit.get(HEAD);
    edit.set(HEAD, head + 1);
    let count = edit.get(COUNTS + bucket / 2);
    edit.set(COUNTS + bucket / 2, count + (1 << (32 * (bucket % 2))));
    let sum = f64::from_bits(edit.get(SUMS + bucket)) + 1.5;
    edit.set(SUMS + bucket, sum.to_bits());
    edit.set_position(head);
}

fn update_staged(store: &mut Store, batch: &[Entity], lines: usize) {
    batch.iter().for_each(|entity| store.prefetch_index(entity.hash));
    let mut hints = [None; BATCH];
    for (hint, entity) in hints.iter_mut().zip(batch) {
        *hint = store.prefetch_record(entity.hash, lines);
    }
    if lines == LINES {
        for (hint, entity) in hints.iter().zip(batch) {
            if let Some(record) = hint.and_then(|hint| store.peek(hint)) {
                record.prefetch(COUNTS + entity.hash as usize % BUCKETS / 2);
                record.prefetch(SUMS + entity.hash as usize % BUCKETS);
            }
        }
    }
    for (hint, entity) in hints.iter().zip(batch) {
        let handle = store.find_near(&entity.key(), *hint).expect("every entity was inserted");
        apply(store, handle, entity.hash as usize % BUCKETS);
    }
}

fn sum(record: Record<'_>) -> (u64, f64) {
    let counts = (0..BUCKETS / 2)
        .map(|index| record.get(COUNTS + index))
        .fold(0, |sum, word| sum + (word & 0xffff_ffff) + (word >> 32));
    (counts, (0..BUCKETS).map(|bucket| f64::from_bits(record.get(SUMS + bucket))).sum())
}

fn sum_staged(store: &Store, batch: &[Entity]) {
    batch.iter().for_each(|entity| store.prefetch_index(entity.hash));
    let mut hints = [None; BATCH];
    for (hint, entity) in hints.iter_mut().zip(batch) {
        *hint = store.prefetch_record(entity.hash, LINES_OF_ALL);
    }
    for (hint, entity) in hints.iter().zip(batch) {
        black_box(store.find_near(&entity.key(), *hint).map(|handle| sum(store.record(handle))));
    }
}

fn read_staged(reader: &Reader, participant: &windrow_memory::Participant, batch: &[Entity]) {
    batch.iter().for_each(|entity| reader.prefetch_index(participant, entity.hash));
    let mut hints = [None; BATCH];
    for (hint, entity) in hints.iter_mut().zip(batch) {
        *hint = reader.prefetch_record(participant, entity.hash, LINES_OF_ALL);
    }
    for (hint, entity) in hints.iter().zip(batch) {
        black_box(reader.read_near(participant, &entity.key(), *hint, sum).expect("no one writes"));
    }
}

/// An entity with a name of twelve bytes.
struct Entity {
    hash: u64,
    name: [u8; 12],
}

impl Entity {
    fn number(number: u64) -> Self {
        let mut name = *b"e:0000000000";
        let mut rest = number;
        for digit in name[2..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self { hash: Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next(), name }
    }

    fn key(&self) -> Key<'_> {
        Key { hash: self.hash, stream: 1, entity: &self.name }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
