//! Events that come more than once: the engine against a list of ids with the times they were counted at.

use std::collections::HashMap;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use windrow_engine::catalogue::Created;
use windrow_engine::op::{self, AnyOp};
use windrow_engine::slot::{group_of, hash_slot, shard_of};
use windrow_engine::{Catalogue, HashKey, Hint, Outcome, Shard, ShardConfig, form};
use windrow_memory::{CHUNK_BYTES, Domain};
use windrow_window::query::Query;
use windrow_window::{ClockMode, Definition, Rows, Value};

const HASH_KEY: HashKey = HashKey([5, 6]);
const START_MS: i64 = 1_700_000_000_123;
const DEDUP_MS: i64 = 1_000;

/// Both clocks; both ways to be too far ahead; and LATE.
const STREAMS: [&str; 4] = [
    "WINDOWS 1h@1m all AGGREGATE count DEDUP 1s",
    "WINDOWS 1h@1m all AGGREGATE count DEDUP 1s SKEW 300ms REJECT LATENESS 3s",
    "WINDOWS 1h@1m all AGGREGATE count DEDUP 1s SKEW 300ms CLAMP LATENESS 3s",
    "WINDOWS 1h@1m all AGGREGATE count DEDUP 1s CLOCK EVENT LATENESS 3s SKEW 1h REJECT",
];

struct World {
    catalogue: Catalogue,
    shards: Vec<Shard>,
    maxmemory_bytes: usize,
    /// Operations of the log, in order of arrival.
    log: Vec<Vec<u8>>,
    now_ms: i64,
}

fn new_shards(count: usize, maxmemory_bytes: usize) -> Vec<Shard> {
    let (domain, _nobody) = Domain::with_participants(0);
    let config = ShardConfig { hash_key: HASH_KEY, maxmemory_bytes, reserved_bytes: 64 << 20 };
    (0..count).map(|_| Shard::new(config, &domain).unwrap()).collect()
}

impl World {
    fn new(stream: &str, shards: usize, maxmemory_bytes: usize) -> Self {
        let definition = Definition::parse_text("s", stream).unwrap();
        let Created::New(catalogue) = Catalogue::default().created(definition, START_MS).unwrap() else {
            panic!("it is new")
        };
        let shards = new_shards(shards, maxmemory_bytes);
        Self { catalogue, shards, maxmemory_bytes, log: Vec::new(), now_ms: START_MS }
    }

    fn owner(&self, entity: &[u8]) -> usize {
        shard_of(hash_slot(entity), self.shards.len())
    }

    fn event(&mut self, entity: &str, words: &str) -> Outcome {
        let stream = self.catalogue.stream(b"s").unwrap();
        let entity = entity.as_bytes();
        let mut op = Vec::new();
        let words = words.split(' ').map(str::as_bytes);
        form::encode_add(&mut op, stream, entity, words, self.now_ms, &HASH_KEY).unwrap();
        let owner = self.owner(entity);
        let shard = &mut self.shards[owner];
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
        let outcome = shard.apply(&self.catalogue, &op, hint, self.now_ms, self.log.len() as u64 + 1);
        if outcome.counted() {
            if shard.started_anew() {
                op::mark_anew(&mut op);
            }
            self.log.push(op);
        } else if shard.moved_clock() {
            op::mark_noted(&mut op);
            self.log.push(op);
        }
        outcome
    }

    /// The log refuses an event before it is applied.
    fn refuse(&mut self, entity: &str, words: &str) {
        let stream = self.catalogue.stream(b"s").unwrap();
        let mut op = Vec::new();
        let (entity, words) = (entity.as_bytes(), words.split(' ').map(str::as_bytes));
        form::encode_add(&mut op, stream, entity, words, self.now_ms, &HASH_KEY).unwrap();
        let owner = self.owner(entity);
        self.shards[owner].refuse(&self.catalogue, &op);
    }

    fn count(&self, entity: &str) -> i64 {
        let stream = self.catalogue.stream(b"s").unwrap();
        let query = Query::parse(&stream.layout, [&b"count:all"[..]].into_iter()).unwrap();
        let time = query.read_time(&stream.layout, stream.times(self.now_ms)).unwrap();
        let mut rows = Rows::default();
        let (shard, entity) = (&self.shards[self.owner(entity.as_bytes())], entity.as_bytes());
        shard
            .read(
                &self.catalogue,
                stream,
                entity,
                Hint::of(HASH_KEY.hash(stream.id, entity)),
                &query,
                time,
                &mut rows,
            )
            .unwrap();
        let [Value::Int(count)] = rows.values[..] else { panic!("{rows:?}") };
        count
    }

    fn clock_ms(&self) -> Option<i64> {
        self.catalogue.stream(b"s").unwrap().clock_ms(self.now_ms)
    }

    fn ids(&self) -> u64 {
        self.shards.iter().map(|shard| shard.dedup_usage().ids).sum()
    }

    fn upkeep(&mut self) {
        for shard in &mut self.shards {
            shard.upkeep(&self.catalogue, self.now_ms, 16);
            shard.collect();
        }
    }

    fn restart(&mut self, shards: usize) {
        let clock_ms = self.clock_ms();
        self.shards = new_shards(shards, self.maxmemory_bytes);
        let (version, entries) = (self.catalogue.version, self.catalogue.entries());
        let (streams, layouts) = (self.catalogue.next_stream_id, self.catalogue.next_layout_id);
        self.catalogue = Catalogue::from_entries(version, streams, layouts, &entries).unwrap();
        for (index, op) in self.log.iter().enumerate() {
            let owner = shard_of(hash_slot(AnyOp::decode(op).unwrap().entity()), shards);
            self.shards[owner].replay(&self.catalogue, op, index as u64 + 1).unwrap();
        }
        assert_eq!(self.clock_ms(), clock_ms, "the clock survives a restart");
    }
}

/// What the specification says, over lists.
struct Model {
    definition: Definition,
    event_clock: Option<i64>,
    /// Ids with the clock they were counted at.
    counted: Vec<((u8, u8), i64)>,
    /// The last sequence number of a source in a group of slots.
    seqs: HashMap<(u8, u8), u64>,
    counts: HashMap<u8, i64>,
}

impl Model {
    /// The outcome, or `None` where an id is older than DEDUP and younger than twice that: both are right.
    fn judge(&mut self, event: &Event, ts: i64, now_ms: i64) -> (Option<bool>, Outcome) {
        let group = group_of(hash_slot(name(event.entity).as_bytes()));
        let is_ahead = ts > now_ms + self.definition.skew_ms;
        let is_rejected = is_ahead && self.definition.skew_action == windrow_window::SkewAction::Reject;
        let ts = if is_ahead && !is_rejected { now_ms } else { ts };
        if !is_rejected {
            self.event_clock = self.event_clock.max(Some(ts));
        }
        let clock = match self.definition.clock {
            ClockMode::Wall => Some(now_ms),
            ClockMode::Event => self.event_clock,
        };
        let age = event.id.and_then(|id| {
            let times = self.counted.iter().filter(|(key, _)| *key == (event.entity, id)).map(|(_, at)| *at);
            times.max().and_then(|at| clock.map(|clock| clock - at))
        });
        let by_seq = event
            .seq
            .is_some_and(|(source, seq)| self.seqs.get(&(source, group)).is_some_and(|last| seq <= *last));
        let is_duplicate = match age {
            _ if by_seq => Some(true),
            Some(age) if age <= DEDUP_MS => Some(true),
            Some(age) if age < 2 * DEDUP_MS => None,
            Some(_) | None => Some(false),
        };
        let otherwise = if is_rejected {
            Outcome::Skewed
        } else if self.definition.lateness_ms.is_some_and(|lateness| ts < clock.unwrap_or(ts) - lateness) {
            Outcome::Late
        } else if is_ahead {
            Outcome::Clamped
        } else {
            Outcome::Ok
        };
        (is_duplicate, otherwise)
    }

    fn note(&mut self, event: &Event, clock_ms: i64) {
        let group = group_of(hash_slot(name(event.entity).as_bytes()));
        if let Some(id) = event.id {
            self.counted.push(((event.entity, id), clock_ms));
        }
        if let Some((source, seq)) = event.seq {
            self.seqs.insert((source, group), seq);
        }
        *self.counts.entry(event.entity).or_default() += 1;
    }
}

#[derive(Clone, Debug)]
struct Event {
    entity: u8,
    id: Option<u8>,
    seq: Option<(u8, u64)>,
    offset_ms: i64,
}

#[derive(Clone, Debug)]
enum Step {
    Advance(i64),
    Event(Event),
    Upkeep,
    Restart(usize),
}

fn name(entity: u8) -> String {
    format!("user:{entity}")
}

fn step() -> impl Strategy<Value = Step> {
    let seq = prop_oneof![2 => Just(None), 1 => (0u8..2, 0u64..12).prop_map(Some)];
    let offset = prop_oneof![4 => -200i64..=0, 2 => 0i64..900, 1 => -6_000i64..0];
    let event = (0u8..5, prop::option::weighted(0.8, 0u8..4), seq, offset)
        .prop_map(|(entity, id, seq, offset_ms)| Event { entity, id, seq, offset_ms });
    prop_oneof![
        4 => prop_oneof![4 => 0i64..200, 1 => 0i64..3_000].prop_map(Step::Advance),
        20 => event.prop_map(Step::Event),
        2 => Just(Step::Upkeep),
        1 => prop::sample::select(vec![1usize, 3, 4, 7]).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_event_is_counted_once_within_dedup_whatever_restarts_and_shards_there_are(
        stream in prop::sample::select(STREAMS.to_vec()),
        shards in prop::sample::select(vec![1usize, 4]),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(stream, shards, 0);
        let mut model = Model {
            definition: Definition::parse_text("s", stream).unwrap(),
            event_clock: None,
            counted: Vec::new(),
            seqs: HashMap::new(),
            counts: HashMap::new(),
        };
        for step in steps {
            match step {
                Step::Advance(ms) => world.now_ms += ms,
                Step::Upkeep => world.upkeep(),
                Step::Restart(shards) => world.restart(shards),
                Step::Event(event) => {
                    let ts = world.now_ms + event.offset_ms;
                    let mut words = String::new();
                    if let Some(id) = event.id {
                        words += &format!("ID {id} ");
                    }
                    if let Some((source, seq)) = event.seq {
                        words += &format!("SOURCE s{source} {seq} ");
                    }
                    words += &ts.to_string();
                    let outcome = world.event(&name(event.entity), &words);
                    let (is_duplicate, otherwise) = model.judge(&event, ts, world.now_ms);
                    let expected = match is_duplicate {
                        Some(true) => vec![Outcome::Duplicate],
                        Some(false) => vec![otherwise],
                        None => vec![Outcome::Duplicate, otherwise],
                    };
                    assert!(expected.contains(&outcome), "{event:?}: {outcome:?}, not {expected:?}");
                    if outcome.counted() {
                        model.note(&event, world.clock_ms().unwrap());
                    }
                }
            }
        }
        for shards in [4, 1] {
            world.restart(shards);
            for (entity, count) in &model.counts {
                assert_eq!(world.count(&name(*entity)), *count, "entity {entity}");
            }
        }
    }

    #[test]
    fn a_restart_changes_no_answer(
        stream in prop::sample::select(STREAMS.to_vec()),
        shards in prop::sample::select(vec![(1usize, 4usize), (4, 1), (3, 7), (4, 4)]),
        before in prop::collection::vec((0u8..4, 0u8..20, 0i64..300), 1..100),
        after in prop::collection::vec((0u8..4, 0u8..20, 0i64..300), 1..30),
        has_upkeep in any::<bool>(),
    ) {
        let outcomes = |is_restarted: bool| {
            let mut world = World::new(stream, shards.0, 0);
            let run = |world: &mut World, events: &[(u8, u8, i64)]| -> Vec<Outcome> {
                events.iter().map(|(entity, id, step_ms)| {
                    world.now_ms += step_ms;
                    if has_upkeep != is_restarted {
                        world.upkeep();
                    }
                    let words = format!("ID {id} {}", world.now_ms);
                    world.event(&name(*entity), &words)
                }).collect()
            };
            run(&mut world, &before);
            if is_restarted {
                world.restart(shards.1);
            }
            run(&mut world, &after)
        };
        // Also the slack between DEDUP and twice that is the same: generations depend on what was counted alone.
        assert_eq!(outcomes(false), outcomes(true));
    }
}

#[test]
fn a_skewed_or_late_duplicate_is_a_duplicate_and_those_are_not_remembered() {
    let mut world = World::new(STREAMS[1], 1, 0);
    let (ahead, late) = (START_MS + 5_000, START_MS - 5_000);
    assert_eq!(world.event("e", &format!("ID a {ahead}")), Outcome::Skewed);
    assert_eq!(world.event("e", &format!("ID a {late}")), Outcome::Late);
    assert_eq!(world.event("e", "ID a *"), Outcome::Ok);
    for ts in [ahead, late, START_MS] {
        assert_eq!(world.event("e", &format!("ID a {ts}")), Outcome::Duplicate);
    }
    assert_eq!(world.event("other", "ID a *"), Outcome::Ok, "an id is its entity's own");
    assert_eq!(world.event("e", "*"), Outcome::Ok);
    assert_eq!(world.count("e"), 2);
    let stream = world.catalogue.stream(b"s").unwrap().id;
    let stats = world.shards[0].stream_stats(stream);
    assert_eq!((stats.duplicate, stats.ok, stats.skewed, stats.late), (3, 3, 1, 1));
    assert_eq!((stats.dedup.ids, stats.dedup.sources), (2, 0));
}

#[test]
fn a_source_goes_on_only_after_what_was_refused() {
    let mut world = World::new("WINDOWS all AGGREGATE count CLOCK EVENT LATENESS 1s SKEW 1h REJECT", 1, 0);
    assert_eq!(world.event("e", "SOURCE k 5 *"), Outcome::Ok);
    world.refuse("e", "SOURCE k 5 *");
    assert_eq!(world.event("e", "SOURCE k 6 *"), Outcome::Ok, "what is refused again was counted before");
    world.refuse("e", "SOURCE k 7 *");
    assert_eq!(world.event("e", "SOURCE k 8 *"), Outcome::SeqGap { undecided: 7 });
    assert_eq!(world.event("e", "SOURCE k 6 *"), Outcome::Duplicate);
    assert_eq!(world.event("e", "SOURCE other 8 *"), Outcome::Ok, "others do not wait");
    let late = START_MS - 5_000;
    assert_eq!(world.event("e", &format!("SOURCE k 7 {late}")), Outcome::Late, "it is decided");
    assert_eq!(world.event("e", "SOURCE k 8 *"), Outcome::Ok);
    world.restart(4);
    for (words, expected) in [
        ("SOURCE k 8 *", Outcome::Duplicate),
        ("SOURCE other 8 *", Outcome::Duplicate),
        ("SOURCE k 9 *", Outcome::Ok),
    ] {
        assert_eq!(world.event("e", words), expected, "{words}");
    }
    assert_eq!(world.count("e"), 5);
}

#[test]
fn an_event_that_was_refused_and_counted_by_its_id_since_holds_up_nobody() {
    let mut world = World::new(STREAMS[0], 1, 0);
    world.refuse("e", "SOURCE k 7 ID a *");
    assert_eq!(world.event("e", "ID a *"), Outcome::Ok);
    assert_eq!(world.event("e", "SOURCE k 8 *"), Outcome::SeqGap { undecided: 7 });
    assert_eq!(world.event("e", "SOURCE k 7 ID a *"), Outcome::Duplicate);
    assert_eq!(world.event("e", "SOURCE k 8 *"), Outcome::Ok);
}

#[test]
fn over_budget_ids_are_refused_and_none_is_forgotten() {
    // Of four chunks the records and their index take some; the others are for ids.
    let mut world = World::new("WINDOWS all AGGREGATE count DEDUP 1h", 1, 4 * CHUNK_BYTES);
    let mut counted = 0u64;
    while world.event("e", &format!("ID {counted} *")) == Outcome::Ok {
        counted += 1;
        assert!(counted < 2_000_000, "no bound in sight");
    }
    assert!(counted > 100_000, "{counted} ids in 8 MiB");
    let usage = world.shards[0].dedup_usage();
    assert_eq!(usage.ids, counted);
    let per_id = usage.bytes as f64 / counted as f64;
    assert!((10.0..20.0).contains(&per_id), "{per_id} bytes an id");
    assert!(usage.bytes as usize + world.shards[0].usage().taken_bytes <= 4 * CHUNK_BYTES);
    let outcomes: Vec<Outcome> = (0..counted).map(|id| world.event("e", &format!("ID {id} *"))).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Duplicate), "every one is remembered");
    // Tables that are not full take some more.
    let refused = (1..10_000)
        .find(|seq| world.event("e", &format!("SOURCE k {seq} ID new{seq} *")) != Outcome::Ok)
        .expect("no table has so much room");
    let again = format!("SOURCE k {refused} ID new{refused} *");
    assert_eq!(world.event("e", &again), Outcome::OutOfMemory);
    assert_eq!(
        world.event("e", &format!("SOURCE k {} *", refused + 1)),
        Outcome::SeqGap { undecided: refused }
    );
    assert_eq!(world.event("e", "*"), Outcome::Ok, "what needs no memory goes on");
    // Two DEDUP later all of it is free, table by table.
    world.now_ms += 2 * 3_600_000;
    let mut most_at_once = 0;
    for _ in 0..1_000 {
        let before = world.ids();
        world.upkeep();
        most_at_once = most_at_once.max(before - world.ids());
    }
    assert_eq!(world.ids(), 0);
    assert!(most_at_once <= 64 * 4096 && most_at_once < counted, "{most_at_once} at once");
    assert_eq!(world.event("e", &again), Outcome::Ok);
    assert_eq!(world.event("e", "ID 0 *"), Outcome::Ok);
}

#[test]
fn what_a_dropped_stream_remembered_is_freed() {
    let mut world = World::new(STREAMS[0], 1, 0);
    for id in 0..1_000 {
        assert_eq!(world.event(&format!("e{id}"), &format!("ID {id} SOURCE k {id} *")), Outcome::Ok);
    }
    assert!(world.ids() == 1_000 && world.shards[0].dedup_usage().sources > 200);
    world.catalogue = world.catalogue.dropped(b"s").unwrap();
    for _ in 0..100 {
        world.upkeep();
    }
    assert_eq!(world.shards[0].dedup_usage(), windrow_engine::DedupUsage::default());
}
