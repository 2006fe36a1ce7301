//! Sketches in records: what a full one refuses, what replay brings back, what a trending stream's entities take.

use windrow_engine::catalogue::Created;
use windrow_engine::top::{TOP_MAX, TopWalk};
use windrow_engine::{Catalogue, HashKey, Hint, Outcome, Shard, ShardConfig, form, op};
use windrow_memory::{Domain, Participant};
use windrow_window::{Definition, Query, Rows, Value};

const HASH_KEY: HashKey = HashKey([3, 4]);
const START_MS: i64 = 1_700_000_000_000;

struct World {
    catalogue: Catalogue,
    shard: Shard,
    participant: Participant,
    log: Vec<Vec<u8>>,
    encoded: Vec<u8>,
}

fn fresh_shard(reserved_bytes: usize) -> (Shard, Participant) {
    let (domain, mut participants) = Domain::with_participants(1);
    let config = ShardConfig { hash_key: HASH_KEY, maxmemory_bytes: 0, reserved_bytes };
    let shard = Shard::new(config, &domain).unwrap();
    let mut participant = participants.remove(0);
    participant.quiescent();
    (shard, participant)
}

impl World {
    fn new(stream: &str, reserved_bytes: usize) -> Self {
        let definition = Definition::parse_text("s", stream).unwrap();
        let Created::New(catalogue) = Catalogue::default().created(definition, START_MS).unwrap() else {
            panic!("it is new")
        };
        let (shard, participant) = fresh_shard(reserved_bytes);
        Self { catalogue, shard, participant, log: Vec::new(), encoded: Vec::new() }
    }

    fn event(&mut self, entity: &[u8], ts: i64, values: &[&[u8]]) -> Outcome {
        let stream = self.catalogue.stream(b"s").unwrap();
        let text = ts.to_string();
        let words = std::iter::once(text.as_bytes()).chain(values.iter().copied());
        self.encoded.clear();
        form::encode_add(&mut self.encoded, stream, entity, words, ts, &HASH_KEY).unwrap();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
        self.shard.apply(&self.catalogue, &self.encoded, hint, ts, self.log.len() as u64 + 1)
    }

    /// The same, and what counts is logged.
    fn logged(&mut self, entity: &[u8], ts: i64, values: &[&[u8]]) -> Outcome {
        let outcome = self.event(entity, ts, values);
        if outcome.counted() {
            if self.shard.started_anew() {
                op::mark_anew(&mut self.encoded);
            }
            self.log.push(self.encoded.clone());
        }
        outcome
    }

    /// Frees what was moved, as ticks do.
    fn tick(&mut self) {
        self.participant.quiescent();
        self.shard.collect();
    }

    fn restart(&mut self) {
        (self.shard, self.participant) = fresh_shard(512 << 20);
        for (index, op) in self.log.iter().enumerate() {
            self.shard.replay(&self.catalogue, op, index as u64 + 1).unwrap();
            self.participant.quiescent();
        }
    }

    fn row(&self, entity: &[u8], now_ms: i64) -> Vec<Value> {
        let stream = self.catalogue.stream(b"s").unwrap();
        let query = Query::parse(&stream.layout, std::iter::empty()).unwrap();
        let time = query.read_time(&stream.layout, stream.times(now_ms)).unwrap();
        let mut row = Rows::default();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
        self.shard.read(&self.catalogue, stream, entity, hint, &query, time, &mut row).unwrap();
        row.values
    }
}

#[test]
fn a_full_record_refuses_the_event_whole_until_buckets_leave_it() {
    let mut world = World::new(
        "FIELDS s STRING n INT WINDOWS 10s@1s AGGREGATE count lastk(s,1000) sum(n) SKEW 0s REJECT",
        512 << 20,
    );
    let entity = b"user:1";
    let mut now_ms = START_MS;
    let word = |n: i64| format!("{n:0>1000}");
    let (mut counted, mut refused) = (0, false);
    'fill: for second in 0..10 {
        for n in 0..400 {
            now_ms = START_MS + second * 1000 + n;
            let before = world.row(entity, now_ms);
            match world.logged(entity, now_ms, &[b"s", word(n).as_bytes(), b"n", b"1"]) {
                Outcome::Ok => counted += 1,
                Outcome::Full => {
                    assert_eq!(world.row(entity, now_ms), before, "nothing is applied");
                    refused = true;
                    break 'fill;
                }
                other => panic!("{other:?}"),
            }
            world.tick();
        }
    }
    // 2 MiB hold about two thousand values of a kilobyte.
    assert!(refused && (1_500..2_100).contains(&counted), "{counted} events");
    // An event that needs no room is counted, and so is one for another entity.
    assert_eq!(world.logged(entity, now_ms, &[b"n", b"1"]), Outcome::Ok);
    assert_eq!(world.logged(b"user:2", now_ms, &[b"s", b"word", b"n", b"1"]), Outcome::Ok);
    let row = world.row(entity, now_ms);
    assert_eq!((&row[0], &row[2]), (&Value::Int(counted + 1), &Value::Int(counted + 1)));
    let live = [entity.as_slice(), b"user:2"].map(|entity| world.row(entity, now_ms));
    world.restart();
    assert_eq!([entity.as_slice(), b"user:2"].map(|entity| world.row(entity, now_ms)), live);
    // The oldest bucket leaves, and takes its values along.
    now_ms += 9_000;
    assert_eq!(world.logged(entity, now_ms, &[b"s", b"new", b"n", b"1"]), Outcome::Ok);
    let row = world.row(entity, now_ms);
    let Value::List(newest) = &row[1] else { panic!("{row:?}") };
    assert_eq!(newest[0], Value::Bytes(b"new".as_slice().into()));
}

#[test]
fn every_kind_of_field_is_counted_and_kept_in_its_type() {
    let mut world = World::new(
        "FIELDS s STRING n INT x FLOAT WINDOWS 10s@1s all AGGREGATE count(s) last(s) lastk(n,2):all first(x) topk(s,1):10s",
        512 << 20,
    );
    world.logged(b"e", START_MS, &[b"s", b"shop", b"x", b"1.5"]);
    world.logged(b"e", START_MS + 1, &[b"n", b"-7", b"s", b""]);
    world.logged(b"e", START_MS + 2, &[b"n", b"8", b"s", b"shop"]);
    let shop = || Value::Bytes(b"shop".as_slice().into());
    let expected = [
        Value::Int(3),
        Value::Int(3),
        shop(),
        shop(),
        Value::List(vec![Value::Int(8), Value::Int(-7)]),
        Value::Float(1.5),
        Value::Float(1.5),
        Value::List(vec![Value::List(vec![shop(), Value::Int(2)])]),
    ];
    assert_eq!(world.row(b"e", START_MS + 3), expected);
    world.restart();
    assert_eq!(world.row(b"e", START_MS + 3), expected);
}

/// Ranks by Zipf's law: YCSB's generator (Gray et al., "Quickly generating billion-record synthetic databases", 1994).
struct Zipf {
    items: f64,
    theta: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(items: u64, theta: f64) -> Self {
        let zeta = |items: u64| (1..=items).map(|item| (item as f64).powf(-theta)).sum::<f64>();
        let all = zeta(items);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - theta)) / (1.0 - zeta(2) / all);
        Self { items: items as f64, theta, zeta: all, eta }
    }

    /// The rank for a number in [0, 1).
    fn rank(&self, u: f64) -> u64 {
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            return 1;
        }
        (self.items * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - self.theta))) as u64
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Bytes an entity takes on average without its key, after 15 minutes in which each had 100 events on average.
fn trending_bytes(entities: u64) -> f64 {
    const SPAN_MS: u64 = 900_000;
    const EVENTS_PER_ENTITY: u64 = 100;
    let mut world = World::new(
        "FIELDS price FLOAT amount FLOAT user INT WINDOWS 15m@15s AGGREGATE count sum(price) sum(amount) distinct(user)",
        16 << 30,
    );
    let zipf = Zipf::new(entities, 0.99);
    let mut state = 42;
    let events = entities * EVENTS_PER_ENTITY;
    let (mut price, mut amount, mut user) = (String::new(), String::new(), String::new());
    for event in 0..events {
        use std::fmt::Write as _;
        let ts = START_MS + (u128::from(event) * u128::from(SPAN_MS) / u128::from(events)) as i64;
        let rank = zipf.rank((random(&mut state) >> 11) as f64 / (1u64 << 53) as f64);
        let drawn = random(&mut state);
        for text in [&mut price, &mut amount, &mut user] {
            text.clear();
        }
        // Cents, a small number, and one of a hundred thousand users.
        let _ = write!(price, "{}.{:02}", drawn % 500, drawn >> 16 & 63);
        let _ = write!(amount, "{}", drawn >> 32 & 7);
        let _ = write!(user, "{}", (drawn >> 40) % 100_000);
        let values: [&[u8]; 6] =
            [b"price", price.as_bytes(), b"amount", amount.as_bytes(), b"user", user.as_bytes()];
        assert_eq!(world.event(&rank.to_le_bytes(), ts, &values), Outcome::Ok);
        if event % 256 == 0 {
            world.tick();
        }
    }
    let usage = world.shard.stream_usage().next().unwrap();
    // Header and key: three words, and 4 + 8 bytes in two.
    const KEY_BYTES: u64 = 5 * 8;
    (usage.bytes - usage.entities * KEY_BYTES) as f64 / usage.entities as f64
}

/// A hundred events an entity within one window: 67 buckets of 22 bytes where all are there, and four bytes for each value of
/// `distinct` that shares its bucket with others. Few entities make each of them busier: a million take less.
const TRENDING_BYTES_MAX: f64 = 1_400.0;

#[test]
fn a_trending_entity_takes_what_its_buckets_hold() {
    let bytes = trending_bytes(2_000);
    assert!(bytes < TRENDING_BYTES_MAX, "{bytes} bytes an entity");
}

/// `cargo test -p windrow-engine --test sketches -- --ignored --nocapture`; `WINDROW_TRENDING_ENTITIES` for another number of them.
#[test]
#[ignore = "takes minutes and gigabytes"]
fn a_million_trending_entities_take_what_their_buckets_hold() {
    let entities = std::env::var("WINDROW_TRENDING_ENTITIES")
        .map_or(1_000_000, |entities| entities.parse().expect("WINDROW_TRENDING_ENTITIES is a number"));
    let bytes = trending_bytes(entities);
    println!("{entities} entities: {bytes:.0} bytes each without their keys");
    assert!(bytes < TRENDING_BYTES_MAX, "{bytes} bytes an entity");
}

#[test]
fn a_walk_over_sketches_may_be_stopped_after_few_records_and_goes_on_with_the_next() {
    let mut world = World::new("FIELDS n INT WINDOWS 10s@1s AGGREGATE distinct(n) count", 512 << 20);
    const ENTITIES: u64 = 300;
    for entity in 0..ENTITIES {
        for n in 0..=entity % 7 {
            let (name, n) = (format!("e{entity}"), n.to_string());
            assert_eq!(world.event(name.as_bytes(), START_MS, &[b"n", n.as_bytes()]), Outcome::Ok);
            world.tick();
        }
    }
    let stream = std::sync::Arc::clone(world.catalogue.stream(b"s").unwrap());
    for (feature, records_most) in [(&b"distinct(n):10s"[..], 8), (b"count:10s", 128)] {
        let query = std::sync::Arc::new(Query::parse(&stream.layout, std::iter::once(feature)).unwrap());
        let walk = |may_go_on: bool| {
            let (stream, query) = (std::sync::Arc::clone(&stream), std::sync::Arc::clone(&query));
            let mut walk = TopWalk::new(stream, query, TOP_MAX, Rows::default());
            let mut slices = 0;
            while !walk.is_finished() {
                world.shard.walk_top(&world.catalogue, &mut walk, START_MS + 1, || may_go_on);
                slices += 1;
            }
            (walk.take_found(), slices)
        };
        let ((whole, one), (pieces, many)) = (walk(true), walk(false));
        assert_eq!((whole.len() as u64, one), (ENTITIES, 1));
        assert_eq!(pieces, whole, "each entity once");
        assert!(many >= ENTITIES.div_ceil(records_most), "{many} slices");
    }
}
