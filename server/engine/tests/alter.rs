//! STREAM.ALTER where the random history does not go: a crash in the midst of one, what is complete since when.

use windrow_engine::alter::Altered;
use windrow_engine::catalogue::Created;
use windrow_engine::{Catalogue, HashKey, Hint, Outcome, Shard, ShardConfig, form, op};
use windrow_memory::Domain;
use windrow_window::{Definition, Feature, Query, Rows, Value};

const NAME: &[u8] = b"s";
const HASH_KEY: HashKey = HashKey([5, 6]);
const NOW_MS: i64 = 1_700_000_000_000;

/// A shard, and the log of what its owner counted.
struct World {
    catalogue: Catalogue,
    shard: Shard,
    log: Vec<Vec<u8>>,
}

fn fresh_shard() -> Shard {
    let (domain, _) = Domain::with_participants(0);
    let config = ShardConfig { hash_key: HASH_KEY, maxmemory_bytes: 0, reserved_bytes: 256 << 20 };
    Shard::new(config, &domain).unwrap()
}

impl World {
    fn new(text: &str) -> Self {
        Self { catalogue: created(text), shard: fresh_shard(), log: Vec::new() }
    }

    fn alter(&mut self, words: &str) {
        self.catalogue = altered(&self.catalogue, words, NOW_MS).settled(NOW_MS).unwrap();
        self.shard.adopt(&self.catalogue);
    }

    fn event(&mut self, entity: &[u8], ts: i64) -> Outcome {
        let stream = self.catalogue.stream(NAME).unwrap();
        let mut bytes = Vec::new();
        let text = ts.to_string();
        form::encode_add(&mut bytes, stream, entity, [text.as_bytes()].into_iter(), NOW_MS, &HASH_KEY)
            .unwrap();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
        let position = self.log.len() as u64 + 1;
        let outcome = self.shard.apply(&self.catalogue, &bytes, hint, NOW_MS, position);
        if outcome.counted() {
            if self.shard.started_anew() {
                op::mark_anew(&mut bytes);
            }
            self.log.push(bytes);
        } else if self.shard.moved_clock() {
            op::mark_noted(&mut bytes);
            self.log.push(bytes);
        }
        outcome
    }

    fn restart(&mut self) {
        self.catalogue = restarted(&self.catalogue);
        self.shard = fresh_shard();
        for (index, op) in self.log.iter().enumerate() {
            self.shard.replay(&self.catalogue, op, index as u64 + 1).unwrap();
        }
    }

    fn row(&self, entity: &[u8], features: &str) -> Vec<Value> {
        let stream = self.catalogue.stream(NAME).unwrap();
        let query = Query::parse(&stream.layout, features.split(' ').map(str::as_bytes)).unwrap();
        let time = query.read_time(&stream.layout, stream.times(NOW_MS)).unwrap();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
        let mut row = Rows::default();
        self.shard.read(&self.catalogue, stream, entity, hint, &query, time, &mut row).unwrap();
        row.values
    }

    fn is_known(&self, entity: &[u8]) -> bool {
        let stream = self.catalogue.stream(NAME).unwrap();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
        self.shard.entity_info(&self.catalogue, stream, entity, hint, NOW_MS).is_some()
    }
}

fn created(text: &str) -> Catalogue {
    let definition = Definition::parse_text("s", text).unwrap();
    match Catalogue::default().created(definition, 100).unwrap() {
        Created::New(catalogue) => catalogue,
        Created::Same => panic!("it is new"),
    }
}

fn altered(catalogue: &Catalogue, words: &str, now_ms: i64) -> Catalogue {
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let change = |definition: &Definition| definition.altered(&words).map_err(|error| error.to_string());
    match catalogue.altered(NAME, now_ms, change).unwrap() {
        Altered::New(catalogue) => catalogue,
        Altered::Same => panic!("nothing changes"),
    }
}

fn restarted(catalogue: &Catalogue) -> Catalogue {
    let (version, streams, layouts) = (catalogue.version, catalogue.next_stream_id, catalogue.next_layout_id);
    Catalogue::from_entries(version, streams, layouts, &catalogue.entries()).unwrap()
}

fn covered(catalogue: &Catalogue, feature: &str) -> Option<i64> {
    let stream = catalogue.stream(NAME).unwrap();
    stream.covered_from(&Feature::find(&stream.layout, feature.as_bytes()).unwrap())
}

#[test]
fn a_feature_is_complete_since_every_shard_had_it_or_what_it_is_made_of() {
    let first = created("FIELDS v INT WINDOWS 1h@1m AGGREGATE count avg(v)");
    let pending = altered(&first, "ADD WINDOWS 2h@1m 30m@1m AGGREGATE sum(v) max(v) rate", 200);
    assert_eq!(covered(&pending, "max(v):1h"), None, "not every shard has it yet");
    for catalogue in [pending.settled(250).unwrap(), restarted(&pending).settled(250).unwrap()] {
        let catalogue = restarted(&catalogue);
        for (feature, since) in [
            ("count:1h", 100),
            ("avg(v):1h", 100),
            // Its ring was too short.
            ("count:2h", 250),
            // These were there to be read.
            ("count:30m", 100),
            ("sum(v):1h", 100),
            ("rate:1h", 100),
            ("max(v):1h", 250),
        ] {
            assert_eq!(covered(&catalogue, feature), Some(since), "{feature}");
        }
        assert!(catalogue.settled(300).is_none(), "a change is settled once");
    }
}

#[test]
fn while_a_change_is_pending_entities_live_for_the_shorter_time() {
    let first = created("WINDOWS 1s@1s AGGREGATE count RETAIN 0s TTL 1m");
    let longer = altered(&first, "SET TTL 1h", 200);
    let shorter = altered(&first, "SET TTL 10s", 200);
    let death_ms = |catalogue: &Catalogue| catalogue.stream(NAME).unwrap().layout.death_ms;
    assert_eq!((death_ms(&longer), death_ms(&shorter)), (Some(60_000), Some(10_000)));
    assert_eq!(death_ms(&longer.settled(300).unwrap()), Some(3_600_000));
}

#[test]
fn an_operation_of_an_earlier_layout_is_renamed_and_says_the_same() {
    let first = created("FIELDS v INT s STRING WINDOWS 1h@1m AGGREGATE count");
    let words = [&b"5"[..], b"v", b"7", b"s", b"text"];
    let mut bytes = Vec::new();
    form::encode_add(&mut bytes, first.stream(NAME).unwrap(), b"e", words.into_iter(), 9, &HashKey([1, 2]))
        .unwrap();
    assert!(first.relabelled(&bytes).is_none(), "it has the present layout");
    let mut catalogue = first;
    // Ids of more than a byte, too.
    for i in 0..200 {
        catalogue = altered(&catalogue, &format!("SET RETAIN {}m", i + 1), 10).settled(20).unwrap();
    }
    let present = catalogue.stream(NAME).unwrap().layout_id;
    let relabelled = catalogue.relabelled(&bytes).unwrap();
    let (before, after) = (op::Op::decode(&bytes).unwrap(), op::Op::decode(&relabelled).unwrap());
    assert_eq!(after.layout, present);
    assert_eq!((before.entity, before.ts, before.clock_ms), (after.entity, after.ts, after.clock_ms));
    let layout = &catalogue.stream(NAME).unwrap().layout;
    let values = |op: &op::Op<'_>| {
        let mut words = [0; windrow_window::definition::FIELDS_MAX];
        (op.values(layout, &mut words).unwrap(), words)
    };
    assert_eq!(values(&before), values(&after));
}

#[test]
fn a_dropped_stream_takes_all_its_layouts_with_it() {
    let first = created("WINDOWS 1h@1m AGGREGATE count");
    let id = first.stream(NAME).unwrap().layout_id;
    let catalogue = altered(&first, "SET TTL 1d", 200).settled(250).unwrap();
    assert!(catalogue.as_of(id).is_some() && catalogue.by_layout(id).is_some());
    let dropped = catalogue.dropped(NAME).unwrap();
    assert!(dropped.as_of(id).is_none() && dropped.by_layout(id).is_none());
}

#[test]
fn a_refused_event_does_not_bring_a_dead_entity_back_under_a_layout_without_death() {
    let text = "WINDOWS 1s@1s all AGGREGATE count LATENESS 1s CLOCK EVENT TTL 5s";
    let mut world = World::new(text);
    let start_ms = NOW_MS - 100_000;
    assert_eq!(world.event(b"e", start_ms), Outcome::Ok);
    assert_eq!(world.event(b"other", start_ms + 10_000), Outcome::Ok);
    world.alter("SET TTL NONE");
    assert_eq!(world.event(b"e", start_ms + 1_000), Outcome::Late);
    assert!(!world.is_known(b"e"), "it is as dead as it was");
    assert_eq!(world.event(b"e", start_ms + 10_000), Outcome::Ok);
    assert!(world.shard.started_anew(), "the log must say so");
    let (row, entities) = (world.row(b"e", "count:all count:1s"), world.shard.entities());
    assert_eq!((&row[..], entities), (&[Value::Int(1), Value::Int(1)][..], 2));
    world.restart();
    assert_eq!((world.row(b"e", "count:all count:1s"), world.shard.entities()), (row, entities));
}

#[test]
fn an_event_refused_for_memory_does_not_bring_a_dead_entity_back_under_a_layout_without_death() {
    let mut world = World::new("WINDOWS 1s@1s all AGGREGATE count CLOCK EVENT TTL 5s");
    let start_ms = NOW_MS - 100_000;
    assert_eq!(world.event(b"e", start_ms), Outcome::Ok);
    assert_eq!(world.event(b"other", start_ms + 10_000), Outcome::Ok);
    // The new record has another size, for which no memory has been taken yet.
    world.alter("SET TTL NONE ADD WINDOWS 1m@1s 1h@1m 1d@1h");
    world.shard.set_maxmemory_bytes(1);
    assert_eq!(world.event(b"e", start_ms + 10_000), Outcome::OutOfMemory);
    assert!(!world.is_known(b"e"), "it is as dead as it was");
    world.shard.set_maxmemory_bytes(0);
    assert_eq!(world.event(b"e", start_ms + 10_000), Outcome::Ok);
    assert!(world.shard.started_anew(), "the log must say so");
    let (row, entities) = (world.row(b"e", "count:all count:1s"), world.shard.entities());
    assert_eq!((&row[..], entities), (&[Value::Int(1), Value::Int(1)][..], 2));
    world.restart();
    assert_eq!((world.row(b"e", "count:all count:1s"), world.shard.entities()), (row, entities));
}
