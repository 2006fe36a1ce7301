//! What a start from an image costs: the index of all records, built from the image's tables, and the chunks, copied one by one.
//! Time is the thread's own CPU time; a median of three.
//!
//! ```text
//! cargo run --release -p windrow-memory --example start_from_image [records ...]
//! ```
//!
//! The records are of two sizes and lie as a snapshot leaves them: in the order of their hashes, each size in chunks of its own.

use rustix::time::{ClockId, clock_gettime};
use std::{env, sync::Arc};
use windrow_memory::{CHUNK_BYTES, ChunkLost, ChunkSource, Domain, Key, MemoryError, PlannedChunk, Store};

/// Granules of the two sizes' slots, each of them a size class: 80 and 768 bytes.
const SIZES: [u32; 2] = [5, 48];
/// One record in so many is of the larger size.
const LARGER_PART: u64 = 16;
const CHUNK_GRANULES: u32 = (CHUNK_BYTES / 16) as u32;
const PLACE_SHIFT: u32 = CHUNK_GRANULES.ilog2();
/// Chunks that are copied to see how long one takes.
const ADOPTED_MAX: usize = 256;
const ROUNDS: usize = 3;

fn main() -> Result<(), MemoryError> {
    let mut sizes: Vec<usize> =
        env::args().skip(1).map(|size| size.parse().expect("a number of records")).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000, 10_000_000];
    }
    println!("  records  with_image ms  link ms  ns a record  segments  index bytes each  adopt: us a chunk");
    for records in sizes {
        let mut rounds = (0..ROUNDS).map(|_| measure(records)).collect::<Result<Vec<_>, _>>()?;
        rounds.sort_by_key(|round| round.with_image_ns + round.link_ns);
        let median = &rounds[ROUNDS / 2];
        println!(
            "{records:>9}  {:>13.1}  {:>7.1}  {:>11.1}  {:>8}  {:>16.1}  {:>17.0}",
            median.with_image_ns as f64 / 1e6,
            median.link_ns as f64 / 1e6,
            (median.with_image_ns + median.link_ns) as f64 / records as f64,
            median.segments,
            median.index_bytes as f64 / records as f64,
            median.adopt_ns as f64 / 1e3,
        );
    }
    Ok(())
}

struct Figures {
    with_image_ns: u64,
    link_ns: u64,
    segments: usize,
    index_bytes: usize,
    adopt_ns: u64,
}

fn measure(records: usize) -> Result<Figures, MemoryError> {
    let (plan, table) = image(records);
    let (domain, _none) = Domain::with_participants(0);
    let bytes_max = (plan.len() + 16) * CHUNK_BYTES + records * 32;
    let source = Arc::new(Same { plan: plan.clone() });

    let begun = cpu_ns();
    let mut store = Store::with_image(bytes_max, &domain, plan, source)?;
    let made = cpu_ns();
    store.link(table.iter().copied())?;
    store.finish_link()?;
    let linked = cpu_ns();
    let usage = store.usage();
    assert_eq!(usage.records, records, "every record is linked");

    let mut adopter = store.adopter();
    let adopted = std::iter::from_fn(|| adopter.adopt_next()).take(ADOPTED_MAX).count();
    Ok(Figures {
        with_image_ns: made - begun,
        link_ns: linked - made,
        segments: usage.index_segments,
        index_bytes: usage.block_bytes,
        adopt_ns: (cpu_ns() - linked) / adopted.max(1) as u64,
    })
}

/// The plan and the table of an image of so many records.
fn image(records: usize) -> (Vec<PlannedChunk>, Vec<(u64, u64)>) {
    let mut hashes: Vec<u64> = (0..records as u64).map(mix).collect();
    hashes.sort_unstable();
    let mut plan: Vec<PlannedChunk> = Vec::new();
    let mut open: [Option<usize>; SIZES.len()] = [None; SIZES.len()];
    let table = hashes.into_iter().map(|hash| {
        let size = usize::from(u64::from(hash as u32).is_multiple_of(LARGER_PART));
        let slot_granules = SIZES[size];
        let has_room = |number: &usize| plan[*number].slots_used < CHUNK_GRANULES / slot_granules;
        let number = open[size].filter(has_room).unwrap_or_else(|| {
            plan.push(PlannedChunk { slot_granules, slots_used: 0 });
            plan.len() - 1
        });
        open[size] = Some(number);
        let granule = plan[number].slots_used * slot_granules;
        plan[number].slots_used += 1;
        (hash, (number as u64) << PLACE_SHIFT | u64::from(granule))
    });
    let table = table.collect();
    (plan, table)
}

/// Hands out the same words for every chunk of a size.
struct Same {
    plan: Vec<PlannedChunk>,
}

impl ChunkSource for Same {
    fn fill(&self, number: u32, bytes: &mut [u8]) -> Result<(), String> {
        let planned = self.plan[number as usize];
        let record: Vec<u8> =
            record_of(planned.slot_granules).iter().flat_map(|word| word.to_le_bytes()).collect();
        for slot in bytes.chunks_exact_mut(record.len()).take(planned.slots_used as usize) {
            slot.copy_from_slice(&record);
        }
        Ok(())
    }

    fn lost(&self, number: u32, why: ChunkLost) -> ! {
        panic!("chunk {number}: {why}");
    }
}

/// The words of a record whose slot has so many granules.
fn record_of(slot_granules: u32) -> Vec<u64> {
    let (domain, _none) = Domain::with_participants(0);
    let mut store = Store::new(4 * CHUNK_BYTES, &domain).expect("there is memory");
    let key = Key { hash: 1, stream: 1, entity: b"e:0000000000" };
    let body_words = slot_granules as usize * 2 - key.record_words(0);
    let handle = store.insert(&key, 0, body_words, |_| ()).expect("there is memory");
    let mut words = Vec::new();
    store.record(handle).image_words(&mut words);
    words
}

/// What this thread has run so far.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn mix(seed: u64) -> u64 {
    let mut hash = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
