//! Making room: who goes, who stays, and that the log brings back exactly what was left.

use proptest::prelude::{ProptestConfig, proptest};
use windrow_engine::catalogue::Created;
use windrow_engine::op::{self, AnyOp, encode_remove, mark_anew};
use windrow_engine::slot::{hash_slot, shard_of};
use windrow_engine::{Catalogue, HashKey, Hint, Outcome, Shard, ShardConfig, form};
use windrow_memory::{CHUNK_BYTES, Domain};
use windrow_window::query::Query;
use windrow_window::{Definition, Rows, Value};

const HASH_KEY: HashKey = HashKey([5, 6]);
const START_MS: i64 = 1_700_000_000_000;
/// Events between two ticks of a shard.
const EVENTS_PER_TICK: usize = 256;

/// Streams whose records have several sizes: events spread over more and more buckets.
const STREAMS: [(&str, &str, &str); 2] = [
    ("narrow", "WINDOWS all AGGREGATE count", "count:all"),
    ("wide", "FIELDS v INT WINDOWS 1h@1m all AGGREGATE count sum(v)", "count:all sum(v):1h"),
];

fn catalogue() -> Catalogue {
    STREAMS.iter().fold(Catalogue::default(), |catalogue, (name, text, _)| {
        match catalogue.created(Definition::parse_text(name, text).unwrap(), START_MS).unwrap() {
            Created::New(catalogue) => catalogue,
            Created::Same => unreachable!("names differ"),
        }
    })
}

fn new_shards(count: usize, maxmemory_bytes: usize) -> Vec<Shard> {
    // Nobody else reads, so whatever is retired is free at the next collection.
    let (domain, _nobody) = Domain::with_participants(0);
    let config = ShardConfig { hash_key: HASH_KEY, maxmemory_bytes, reserved_bytes: 1 << 30 };
    (0..count).map(|_| Shard::new(config, &domain).unwrap()).collect()
}

/// Shards that run as a server's do, and their log.
struct World {
    catalogue: Catalogue,
    shards: Vec<Shard>,
    log: Vec<Vec<u8>>,
    now_ms: i64,
    events: usize,
    evicted: usize,
}

impl World {
    fn new(shards: usize, chunks_per_shard: usize, is_evicting: bool) -> Self {
        let mut shards = new_shards(shards, chunks_per_shard * CHUNK_BYTES);
        shards.iter_mut().for_each(|shard| shard.set_eviction(is_evicting));
        World { catalogue: catalogue(), shards, log: Vec::new(), now_ms: START_MS, events: 0, evicted: 0 }
    }

    fn event(&mut self, stream: &str, entity: &str) -> Outcome {
        self.events += 1;
        if self.events.is_multiple_of(EVENTS_PER_TICK) {
            self.tick();
        }
        let stream = self.catalogue.stream(stream.as_bytes()).unwrap();
        let words: &[&[u8]] = if stream.layout.fields.is_empty() { &[b"*"] } else { &[b"*", b"v", b"3"] };
        let mut op = Vec::new();
        form::encode_add(&mut op, stream, entity.as_bytes(), words.iter().copied(), self.now_ms, &HASH_KEY)
            .unwrap();
        let owner = shard_of(hash_slot(entity.as_bytes()), self.shards.len());
        let shard = &mut self.shards[owner];
        let log = &mut self.log;
        self.evicted += shard.make_room_for_event(&self.catalogue, |op| {
            log.push(op.to_vec());
            true
        });
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity.as_bytes()));
        let outcome = shard.apply(&self.catalogue, &op, hint, self.now_ms, log.len() as u64 + 1);
        if shard.started_anew() {
            mark_anew(&mut op);
        }
        if outcome.counted() {
            log.push(op);
        }
        outcome
    }

    fn tick(&mut self) {
        for shard in &mut self.shards {
            shard.collect();
            let log = &mut self.log;
            self.evicted += shard.make_room(&self.catalogue, |op| {
                log.push(op.to_vec());
                true
            });
        }
    }

    fn replayed(&self, count: usize) -> Vec<Shard> {
        let mut shards = new_shards(count, 0);
        for (op, position) in self.log.iter().zip(1..) {
            let owner = shard_of(hash_slot(AnyOp::decode(op).unwrap().entity()), count);
            shards[owner].replay(&self.catalogue, op, position).unwrap();
        }
        shards
    }

    fn row(&self, shards: &[Shard], stream: &str, features: &str, entity: &str) -> Vec<Value> {
        let stream = self.catalogue.stream(stream.as_bytes()).unwrap();
        let query = Query::parse(&stream.layout, features.split(' ').map(str::as_bytes)).unwrap();
        let time = query.read_time(&stream.layout, stream.times(self.now_ms)).unwrap();
        let shard = &shards[shard_of(hash_slot(entity.as_bytes()), shards.len())];
        let mut rows = Rows::default();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity.as_bytes()));
        shard.read(&self.catalogue, stream, entity.as_bytes(), hint, &query, time, &mut rows).unwrap();
        rows.values
    }

    fn has(&self, stream: &str, entity: &str) -> bool {
        self.row(&self.shards, stream, "count:all", entity) != [Value::Int(0)]
    }
}

#[test]
fn an_endless_stream_of_new_entities_is_accepted_and_memory_stays_bounded() {
    for shards in [1, 2] {
        let mut world = World::new(shards, 4, true);
        let mut refused = 0;
        for entity in 0..400_000 {
            refused += u32::from(world.event("narrow", &format!("user:{entity}")) != Outcome::Ok);
        }
        assert_eq!(refused, 0, "{shards} shards");
        for shard in &world.shards {
            let usage = shard.usage();
            assert!(usage.taken_bytes <= 4 * CHUNK_BYTES, "{usage:?}");
            assert!(usage.record_bytes > CHUNK_BYTES, "too much was removed: {usage:?}");
        }
        let id = world.catalogue.stream(b"narrow").unwrap().id;
        let counted: u64 = world.shards.iter().map(|shard| shard.stream_stats(id).evicted).sum();
        let kept: u64 = world.shards.iter().map(Shard::entities).sum();
        assert_eq!(counted, world.evicted as u64);
        assert_eq!(kept + counted, 400_000);
    }
}

#[test]
fn entities_that_are_touched_stay_and_idle_ones_go() {
    const HOT: usize = 1_000;
    let mut world = World::new(1, 4, true);
    for number in 0..200_000 {
        world.event("narrow", &format!("cold:{number}"));
        if number % 4 == 0 {
            world.event("narrow", &format!("hot:{}", number / 4 % HOT));
        }
    }
    let hot = (0..HOT).filter(|number| world.has("narrow", &format!("hot:{number}"))).count();
    let kept = world.shards[0].entities() as usize - hot;
    let oldest = (0..100_000).filter(|number| world.has("narrow", &format!("cold:{number}"))).count();
    assert!(hot * 100 >= HOT * 97, "{hot} of {HOT} entities that were touched stayed");
    assert!(kept > 10_000, "{kept} others");
    assert!(oldest < 100_000 / 8, "{oldest} of the first 100,000 stayed; {kept} of all others");
}

#[test]
fn entities_that_all_grow_do_not_starve() {
    for is_evicting in [false, true] {
        // 840 bytes for each, of which it uses some 700 in the end.
        const ENTITIES: usize = 30_000;
        const CHUNKS: usize = 14;
        let mut world = World::new(1, CHUNKS, is_evicting);
        let mut refused = 0;
        for minute in 0..60 {
            world.now_ms = START_MS + minute * 60_000;
            for number in 0..ENTITIES {
                // In another order each time, as events come.
                let entity = (number * 4_099 + minute as usize) % ENTITIES;
                refused += usize::from(world.event("wide", &format!("user:{entity}")) != Outcome::Ok);
            }
        }
        let usage = world.shards[0].usage();
        assert_eq!(refused, 0, "eviction {is_evicting}: {usage:?}");
        assert_eq!(world.shards[0].entities(), ENTITIES as u64, "eviction {is_evicting}: {usage:?}");
        assert!(usage.taken_bytes <= CHUNKS * CHUNK_BYTES, "{usage:?}");
    }
}

#[test]
fn a_size_that_has_no_chunk_gets_one_even_where_all_are_full_of_another() {
    let mut world = World::new(1, 4, true);
    for entity in 0..100_000 {
        world.event("narrow", &format!("user:{entity}"));
    }
    // Every entity of these goes through a dozen sizes, and its client tries again after a refusal.
    let mut refused = 0;
    for minute in 0..50 {
        world.now_ms = START_MS + minute * 60_000;
        for entity in 0..200 {
            let mut ticks = 0;
            while world.event("wide", &format!("user:{entity}")) != Outcome::Ok {
                world.tick();
                ticks += 1;
                assert!(ticks < 500, "minute {minute}, entity {entity}: {:?}", world.shards[0].usage());
            }
            refused += ticks;
        }
    }
    assert!(refused < 50 * 200, "{refused} refusals for {} events", 50 * 200);
    let usage = world.shards[0].usage();
    assert!(usage.taken_bytes <= 4 * CHUNK_BYTES, "{usage:?}");
}

#[test]
fn nothing_is_removed_that_the_log_has_no_room_for() {
    let mut world = World::new(1, 4, true);
    let mut entity = 0;
    while world.evicted == 0 {
        world.event("narrow", &format!("user:{entity}"));
        entity += 1;
    }
    let entities = world.shards[0].entities();
    let shard = &mut world.shards[0];
    assert_eq!(shard.make_room_for_event(&world.catalogue, |_| false), 0);
    assert_eq!(shard.make_room(&world.catalogue, |_| false), 0);
    assert_eq!(shard.entities(), entities);
}

#[test]
fn a_removal_is_read_back_and_a_damaged_one_is_refused() {
    let layout = catalogue().stream(b"wide").unwrap().layout_id;
    let mut bytes = Vec::new();
    encode_remove(&mut bytes, layout, b"user:1", false);
    let AnyOp::Remove(remove) = AnyOp::decode(&bytes).unwrap() else { panic!("it is a removal") };
    assert_eq!((remove.layout, remove.entity), (layout, &b"user:1"[..]));
    assert_eq!(op::first(&bytes), Ok(&bytes[..]));
    for end in 0..bytes.len() {
        assert!(AnyOp::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(AnyOp::decode(&longer).is_err());
    // A length that covers more than the entity.
    longer[1] += 1;
    assert!(AnyOp::decode(&longer).is_err());
    let mut other_kind = bytes;
    other_kind[0] = 7;
    assert!(AnyOp::decode(&other_kind).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// Whatever was removed, the log's replay has the same entities with the same values, on any number of shards.
    #[test]
    fn after_replay_the_records_are_those_of_the_live_shards(seed in 1u64..1 << 40, shards in 1usize..=3) {
        const ENTITIES: u64 = 30_000;
        let mut world = World::new(shards, 4, true);
        let mut state = seed;
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..150_000 {
            world.now_ms += draw(30) as i64;
            let (stream, _, _) = STREAMS[draw(2) as usize];
            let below = if draw(3) == 0 { ENTITIES / 100 } else { ENTITIES };
            world.event(stream, &format!("user:{}", draw(below)));
        }
        assert!(world.evicted > 1_000, "{} were removed", world.evicted);
        for count in [1, 4] {
            let replayed = world.replayed(count);
            let entities = |shards: &[Shard]| shards.iter().map(Shard::entities).sum::<u64>();
            assert_eq!(entities(&replayed), entities(&world.shards));
            for (stream, _, features) in STREAMS {
                for number in 0..ENTITIES {
                    let entity = format!("user:{number}");
                    assert_eq!(
                        world.row(&replayed, stream, features, &entity),
                        world.row(&world.shards, stream, features, &entity),
                        "{stream} of {entity} on {count} shards"
                    );
                }
            }
        }
    }
}

#[test]
fn places_drawn_before_a_chunk_was_cut_anew_are_not_taken_for_records() {
    for chunks in 4..10 {
        evict_after_chunks_were_cut_anew(chunks);
    }
}

fn evict_after_chunks_were_cut_anew(chunks: usize) {
    let mut world = World::new(1, chunks, true);
    let streams = [
        ("narrow", "WINDOWS 1m@1s AGGREGATE count"),
        ("clicks", "FIELDS v INT WINDOWS 1h@1m AGGREGATE sum(v)"),
    ];
    world.catalogue = streams.iter().fold(Catalogue::default(), |catalogue, (name, text)| {
        match catalogue.created(Definition::parse_text(name, text).unwrap(), START_MS).unwrap() {
            Created::New(catalogue) => catalogue,
            Created::Same => unreachable!(),
        }
    });
    let mut entity = 0;
    // Load that evicts, then a pause in which what there is dies and is reclaimed, then load of another stream.
    while world.evicted < 1000 {
        entity += 1;
        world.event("narrow", &format!("n{entity}"));
    }
    world.now_ms += 3_600_000;
    while world.shards[0].entities() > 0 {
        world.shards[0].upkeep(&world.catalogue, world.now_ms, 128);
        world.tick();
    }
    for _ in 0..100 {
        world.tick();
        world.shards[0].upkeep(&world.catalogue, world.now_ms, 128);
    }
    let evicted = world.evicted;
    while world.evicted < evicted + 1000 {
        entity += 1;
        for minute in 0..60 {
            let now_ms = world.now_ms;
            world.events += 1;
            if world.events.is_multiple_of(EVENTS_PER_TICK) {
                world.tick();
            }
            let stream = world.catalogue.stream(b"clicks").unwrap();
            let name = format!("c{entity}");
            let ts = (now_ms - (59 - minute) * 60_000).to_string();
            let mut op = Vec::new();
            let words: [&[u8]; 3] = [ts.as_bytes(), b"v", b"1"];
            form::encode_add(&mut op, stream, name.as_bytes(), words.into_iter(), now_ms, &HASH_KEY).unwrap();
            world.evicted += world.shards[0].make_room_for_event(&world.catalogue, |_| true);
            let hint = Hint::of(HASH_KEY.hash(stream.id, name.as_bytes()));
            world.shards[0].apply(&world.catalogue, &op, hint, now_ms, 1_000_000 + world.events as u64);
        }
    }
}
