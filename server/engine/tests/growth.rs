//! Entities that all grow in step: each bucket's events reach every entity before the next bucket begins, so that all records
//! leave one size for the next at about the same time.

use windrow_engine::catalogue::Created;
use windrow_engine::{Catalogue, HashKey, Hint, Outcome, Shard, ShardConfig, form};
use windrow_memory::{CHUNK_BYTES, Domain};
use windrow_window::Definition;

const HASH_KEY: HashKey = HashKey([3, 4]);
const NOW: i64 = 1_700_000_000_000;
const ENTITIES: usize = 200_000;
const BUCKETS: usize = 60;
/// Bytes that an entity of all buckets may take, its key and its part of the index included.
const ENTITY_BYTES_MAX: usize = 800;
/// A shard's tick, as a server's: so many events, then a step of upkeep and a chunk that goes back.
const EVENTS_PER_TICK: usize = 256;
/// Ticks after the last event.
const IDLE_TICKS: usize = 5_000;

#[test]
fn entities_that_grow_in_step_end_within_800_bytes_each() {
    let definition = Definition::parse_text("s", "FIELDS v FLOAT WINDOWS 5m@1m 1h@1m AGGREGATE count sum(v)");
    let Created::New(catalogue) = Catalogue::default().created(definition.unwrap(), NOW).unwrap() else {
        panic!("it is new")
    };
    let stream = catalogue.stream(b"s").unwrap();
    let (domain, _nobody) = Domain::with_participants(0);
    let config = ShardConfig { hash_key: HASH_KEY, maxmemory_bytes: 0, reserved_bytes: 1 << 30 };
    let mut shard = Shard::new(config, &domain).unwrap();
    let mut populator = shard.populator();
    let mut op = Vec::new();
    let mut events = 0;
    for bucket in 0..BUCKETS {
        let ts = (NOW + (bucket as i64 - BUCKETS as i64) * 60_000).to_string();
        for number in 0..ENTITIES {
            // In another order each time, as events come.
            let number = (number * 7_919 + bucket * 31) % ENTITIES;
            let entity = format!("user:{number:07}");
            op.clear();
            let words: [&[u8]; 3] = [ts.as_bytes(), b"v", b"1.5"];
            form::encode_add(&mut op, stream, entity.as_bytes(), words.into_iter(), NOW).unwrap();
            let hint = Hint::of(HASH_KEY.hash(stream.id, entity.as_bytes()));
            assert_eq!(shard.apply(&catalogue, &op, hint, NOW, 1), Outcome::Ok);
            events += 1;
            if events % EVENTS_PER_TICK == 0 {
                tick(&mut shard, &catalogue);
                populator.populate_one().unwrap();
            }
        }
    }
    let at_once = shard.usage();
    for _ in 0..IDLE_TICKS {
        tick(&mut shard, &catalogue);
        populator.populate_one().unwrap();
    }
    let usage = shard.usage();
    assert_eq!((usage.records, shard.entities()), (ENTITIES, ENTITIES as u64));
    // What is populated ahead is the same few chunks however many entities there are.
    assert!(
        usage.taken_bytes <= ENTITIES * ENTITY_BYTES_MAX,
        "{} bytes an entity, {} just after the last event: {usage:?}",
        usage.taken_bytes / ENTITIES,
        at_once.taken_bytes / ENTITIES
    );
    assert!(usage.committed_bytes <= usage.taken_bytes + 8 * CHUNK_BYTES, "{usage:?}");
}

fn tick(shard: &mut Shard, catalogue: &Catalogue) {
    shard.collect();
    shard.upkeep(catalogue, NOW, 128);
    shard.release_chunk();
}
