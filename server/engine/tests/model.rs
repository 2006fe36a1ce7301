//! The engine against the naive model: random streams, events and reads, on 1 and 4 shards, with restarts in between.

#[path = "model/naive.rs"]
mod naive;

use std::sync::Arc;

use naive::{At, Drawn, Model, Reply, When};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use windrow_engine::alter::Altered;
use windrow_engine::catalogue::Created;
use windrow_engine::op::AnyOp;
use windrow_engine::slot::{hash_slot, shard_of};
use windrow_engine::{Catalogue, HashKey, Hashed, Hint, Outcome, Shard, ShardConfig, Stream, form, op};
use windrow_memory::{Domain, Participant};
use windrow_window::query::Query;
use windrow_window::range::RangeQuery;
use windrow_window::{Definition, Length, QueryError, ReadTime, Rows, Value};

/// Streams that between them have every kind of tier, column, clock and rule.
const STREAMS: [&str; 14] = [
    "FIELDS x FLOAT n INT WINDOWS 1s@100ms 10s@1s AGGREGATE count sum(x) sum(n) avg(x) avg(n) count(x)",
    "FIELDS x FLOAT n INT WINDOWS 1s@100ms AGGREGATE min(x) max(x) min(n) max(n) since rate rate(x) rate(n)",
    "FIELDS n INT x FLOAT WINDOWS 5s@1s all AGGREGATE count sum(n) min(n) max(n):all since max(x) CLOCK EVENT DEDUP 3s",
    "FIELDS x FLOAT n INT WINDOWS 3s@1s 500ms@250ms AGGREGATE sum(x):3s count since:500ms CLOCK EVENT LATENESS 2s SKEW 1s REJECT",
    "FIELDS x FLOAT n INT WINDOWS 2s@500ms all AGGREGATE count sum(x) avg(n):all LATENESS 700ms SKEW 300ms REJECT RETAIN 4s DEDUP 1s",
    "FIELDS x FLOAT n INT WINDOWS 1s@1s AGGREGATE count sum(n) since RETAIN 0s SKEW 0ms CLAMP DEDUP 10s",
    "FIELDS x FLOAT n INT WINDOWS 6s@100ms 3s@1s AGGREGATE count sum(n):6s max(x) RETAIN 10s@1s 300ms TTL 20s",
    "FIELDS x FLOAT n INT WINDOWS all AGGREGATE count sum(x) sum(n) min(n) since TTL 5s DEDUP 7s",
    "FIELDS x FLOAT n INT WINDOWS 7ms@1ms 60s@20s AGGREGATE count since sum(n) CLOCK EVENT RETAIN 1s SKEW 2s REJECT DEDUP 500ms",
    "FIELDS x FLOAT n INT WINDOWS 1s@100ms 10s@1s all AGGREGATE var_pop(x) var_samp(n) stddev_pop(n) stddev_samp(x) count:1s decaysum(x,2s) decaysum(n,500ms)",
    "FIELDS x FLOAT n INT s STRING WINDOWS 1s@100ms 5s@1s all AGGREGATE count(s) first(x) last(s) lastk(n,3) lastk(s,2):1s distinct(s) first(s):all last(n):5s",
    "FIELDS s STRING n INT x FLOAT WINDOWS 2s@500ms 10s@1s all AGGREGATE countby(s,2) topk(s,3) quantile(x,0.5) quantile(x,0.9) quantile(n,0.99):all distinct(n):10s countby(n,3):2s",
    "FIELDS s STRING x FLOAT n INT WINDOWS 3s@1s 500ms@250ms AGGREGATE lastk(x,4) distinct(s,8) topk(s,5):3s last(x):500ms sum(n) since CLOCK EVENT LATENESS 2s SKEW 1s REJECT",
    "FIELDS n INT s STRING x FLOAT WINDOWS 60s@1s all AGGREGATE distinct(s):all lastk(s,10) count countby(s,20):60s var_pop(x) TTL 70s SKEW 0s CLAMP",
];

/// Values of STRING fields: none, short ones, and one of many words.
const TEXTS: [&str; 8] = [
    "",
    "a",
    "b",
    "\0",
    "merchant",
    "merchant:1",
    "é",
    "a value of more than sixty-four bytes, which is to say, of more than eight words of a record",
];

/// Changes; some do not fit some streams, which then stay as they are.
const ALTERS: [&str; 29] = [
    "ADD AGGREGATE var_pop(x) distinct(n)",
    "ADD AGGREGATE lastk(x,2) last(n)",
    "ADD AGGREGATE countby(n,2) quantile(x,0.5) stddev_samp(n)",
    "DROP AGGREGATE distinct(n) var_pop(x)",
    "DROP AGGREGATE lastk(x,2) last(n)",
    "DROP AGGREGATE avg(x) count(x)",
    "ADD AGGREGATE topk(s,3) distinct(s) lastk(s,2)",
    "ADD AGGREGATE count",
    "ADD AGGREGATE avg(x) sum(n)",
    "ADD AGGREGATE avg(n) count(x)",
    "ADD AGGREGATE min(n) max(x) since",
    "ADD AGGREGATE rate rate(n)",
    "ADD AGGREGATE sum(x) min(x)",
    "DROP AGGREGATE count",
    "DROP AGGREGATE count(x) avg(n)",
    "DROP AGGREGATE sum(n) sum(x)",
    "DROP AGGREGATE since max(x)",
    "ADD WINDOWS 2s@1s",
    "ADD WINDOWS 4s@100ms",
    "ADD WINDOWS all",
    "ADD WINDOWS 700ms@100ms AGGREGATE max(n):700ms",
    "DROP WINDOWS 1s",
    "DROP WINDOWS all",
    "DROP WINDOWS 3s",
    "SET RETAIN 6s",
    "SET RETAIN 0s LATENESS NONE",
    "SET LATENESS 1s SKEW 500ms REJECT",
    "SET SKEW 3s REJECT TTL NONE",
    "SET TTL 90s",
];

/// Every case starts here: on no bucket's edge, and below zero in half of them.
const STARTS: [i64; 2] = [1_700_000_000_123, -5_321];

#[derive(Clone, Debug)]
enum Step {
    /// The server's clock moves on.
    Advance(i64),
    /// An event at an offset from the server's clock, moved to the nearest bucket edge or not.
    Event { entity: u8, offset: i64, edge: Option<i64>, values: Vec<Option<Drawn>>, id: Option<u8> },
    /// All declared features now, and some lengths that are not declared.
    Read { entity: u8 },
    /// The same with options; a time is an offset from the server's clock.
    ReadWhen { entity: u8, when: When, edge: Option<i64> },
    /// A range, by offsets from the server's clock.
    Range { entity: u8, from: i64, length: i64, step: i64 },
    /// A slice of upkeep on every shard.
    Upkeep,
    /// Everything from the log again, onto another number of shards.
    Restart(usize),
    /// STREAM.ALTER with these words, where the stream takes them, while an event of this entity is on its way.
    Alter { words: &'static str, entity: u8 },
    /// ENTITY.DEL.
    Delete { entity: u8 },
}

fn drawn() -> impl Strategy<Value = Option<Drawn>> {
    // Quarters add up without rounding, in any order, so float sums can be compared for equality.
    let float = (-1_000_000i64..1_000_000).prop_map(|quarters| quarters as f64 / 4.0);
    let any_size = (any::<i64>(), 0u32..64).prop_map(|(int, by)| int >> by);
    let int = prop_oneof![8 => -100i64..100, 1 => Just(i64::MAX), 1 => Just(i64::MIN), 4 => any_size];
    let all = (int, float, prop::sample::select(TEXTS.to_vec()))
        .prop_map(|(int, float, text)| Some(Drawn { int, float, text }));
    prop_oneof![1 => Just(None), 4 => all]
}

fn edge() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![2 => Just(None), 1 => prop::sample::select(vec![1i64, 100, 250, 500, 1000]).prop_map(Some)]
}

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![6 => -300i64..=0, 4 => -8_000i64..1, 2 => 0i64..1_500, 1 => -70_000i64..70_000]
}

fn step() -> impl Strategy<Value = Step> {
    let values = prop::collection::vec(drawn(), 3);
    prop_oneof![
        5 => prop_oneof![8 => 0i64..400, 2 => 0i64..6_000, 1 => 0i64..90_000].prop_map(Step::Advance),
        20 => (0u8..4, offset(), edge(), values, prop::option::of(0u8..6))
            .prop_map(|(entity, offset, edge, values, id)| Step::Event { entity, offset, edge, values, id }),
        4 => (0u8..5).prop_map(|entity| Step::Read { entity }),
        6 => (0u8..4, when(), edge()).prop_map(|(entity, when, edge)| Step::ReadWhen { entity, when, edge }),
        2 => (0u8..4, -9_000i64..1_000, 0i64..9_000, 0i64..30)
            .prop_map(|(entity, from, length, step)| Step::Range { entity, from, length, step }),
        1 => Just(Step::Upkeep),
        1 => prop::sample::select(vec![1usize, 4, 7]).prop_map(Step::Restart),
        2 => (prop::sample::select(ALTERS.to_vec()), 0u8..4)
            .prop_map(|(words, entity)| Step::Alter { words, entity }),
        1 => (0u8..4).prop_map(|entity| Step::Delete { entity }),
    ]
}

fn when() -> impl Strategy<Value = When> {
    let at = prop_oneof![
        2 => Just(None),
        2 => (-12_000i64..2_000).prop_map(|offset| Some(At::Time(offset))),
        1 => Just(Some(At::Event)),
    ];
    let offset = prop_oneof![3 => Just(None), 1 => (0i64..6_000).prop_map(Some)];
    let hop = prop_oneof![
        3 => Just(None),
        2 => prop::sample::select(vec![1i64, 70, 100, 250, 1_000, 1_500, 5_000]).prop_map(Some),
    ];
    let is_final = prop::bool::weighted(0.3);
    (at, offset, hop, is_final, any::<bool>()).prop_map(|(at, offset, hop, is_final, excludes)| When {
        at,
        offset,
        hop,
        is_final,
        excludes,
    })
}

/// The options as they are written in a command.
fn words(when: &When) -> Vec<String> {
    let mut words = Vec::new();
    match when.at {
        None => {}
        Some(At::Time(ts)) => words.extend(["AT".to_owned(), ts.to_string()]),
        Some(At::Event) => words.extend(["at".to_owned(), "event".to_owned()]),
    }
    if when.excludes {
        words.extend(["EDGE".to_owned(), "EXCLUDE".to_owned()]);
    }
    words.extend(when.offset.into_iter().flat_map(|ms| ["OFFSET".to_owned(), format!("{ms}ms")]));
    words.extend(when.hop.into_iter().flat_map(|ms| ["HOP".to_owned(), format!("{ms}ms")]));
    words.extend(when.is_final.then(|| "FINAL".to_owned()));
    words
}

struct World {
    catalogue: Catalogue,
    shards: Vec<Shard>,
    /// Reads as another core does.
    participant: Participant,
    /// Counted operations, in order of arrival.
    log: Vec<Vec<u8>>,
    model: Model,
    now: i64,
}

fn entity_name(entity: u8) -> Vec<u8> {
    format!("user:{entity}").into_bytes()
}

const HASH_KEY: HashKey = HashKey([1, 2]);

fn fresh_shards(count: usize) -> (Vec<Shard>, Participant) {
    let (domain, mut participants) = Domain::with_participants(1);
    let config = ShardConfig { hash_key: HASH_KEY, maxmemory_bytes: 0, reserved_bytes: 64 << 20 };
    let shards = (0..count).map(|_| Shard::new(config, &domain).unwrap()).collect();
    let mut participant = participants.remove(0);
    participant.quiescent();
    (shards, participant)
}

impl World {
    /// `is_of_before`: a server that knew no narrow sums made the stream.
    fn new(stream: &str, is_of_before: bool, shards: usize, now: i64) -> Self {
        let definition = Definition::parse_text("s", stream).expect(stream);
        let Created::New(mut catalogue) = Catalogue::default().created(definition.clone(), now).unwrap()
        else {
            panic!("it is new")
        };
        if is_of_before {
            let mut entries = catalogue.entries();
            entries[0].narrow_sums = false;
            let (version, streams, layouts) =
                (catalogue.version, catalogue.next_stream_id, catalogue.next_layout_id);
            catalogue = Catalogue::from_entries(version, streams, layouts, &entries).unwrap();
            assert!(!catalogue.stream(b"s").unwrap().layout.narrows_sums());
        }
        let (shards, participant) = fresh_shards(shards);
        Self { catalogue, shards, participant, log: Vec::new(), model: Model::new(definition), now }
    }

    fn owner(&self, entity: &[u8]) -> usize {
        shard_of(hash_slot(entity), self.shards.len())
    }

    fn event(&mut self, entity: u8, ts: i64, values: &[Option<Drawn>], id: Option<u8>) {
        let bytes = self.encoded(entity, ts, values, id);
        self.arrive(entity, ts, values, id, bytes);
    }

    /// An event as the shard that received it sends it to its owner.
    fn encoded(&self, entity: u8, ts: i64, values: &[Option<Drawn>], id: Option<u8>) -> Vec<u8> {
        let stream = self.catalogue.stream(b"s").unwrap();
        // Without DEDUP an event has no id.
        let id = id.filter(|_| stream.definition.dedup_ms.is_some());
        let mut words = id.map_or_else(Vec::new, |id| vec!["ID".to_owned(), format!("id{id}")]);
        words.push(ts.to_string());
        for (field, value) in stream.layout.fields.iter().zip(values) {
            let Some(value) = value else { continue };
            words.push(field.name.to_string());
            words.push(match &*field.name {
                "n" => value.int.to_string(),
                "s" => value.text.to_owned(),
                _ => value.float.to_string(),
            });
        }
        let name = entity_name(entity);
        let mut bytes = Vec::new();
        form::encode_add(&mut bytes, stream, &name, words.iter().map(String::as_bytes), self.now, &HASH_KEY)
            .unwrap();
        assert_eq!(op::first(&bytes), Ok(&bytes[..]));
        bytes
    }

    fn arrive(&mut self, entity: u8, ts: i64, values: &[Option<Drawn>], id: Option<u8>, mut bytes: Vec<u8>) {
        if let Some(relabelled) = self.catalogue.relabelled(&bytes) {
            bytes = relabelled;
        }
        let stream = self.catalogue.stream(b"s").unwrap();
        let id = id.filter(|_| stream.definition.dedup_ms.is_some());
        let name = entity_name(entity);
        let owner = self.owner(&name);
        let outcome = {
            // As a batch does it, or one at a time.
            let shard = &mut self.shards[owner];
            let hash = HASH_KEY.hash(stream.id, &name);
            let mut hint = Hint::of(hash);
            if self.log.len().is_multiple_of(2) {
                shard.prefetch_index(hash);
                hint = shard.prefetch_record(hash, 2);
            }
            shard.apply(&self.catalogue, &bytes, hint, self.now, self.log.len() as u64 + 1)
        };
        if outcome.counted() {
            if self.shards[owner].started_anew() {
                op::mark_anew(&mut bytes);
            }
            self.log.push(bytes);
        } else if self.shards[owner].moved_clock() {
            op::mark_noted(&mut bytes);
            self.log.push(bytes);
        }
        let is_found = outcome == Outcome::Duplicate;
        let expected = match self.model.add(entity, ts, values, (id, is_found), self.now) {
            Reply::Duplicate => Outcome::Duplicate,
            Reply::Ok => Outcome::Ok,
            Reply::Clamped => Outcome::Clamped,
            Reply::Skewed => Outcome::Skewed,
            Reply::Late => Outcome::Late,
        };
        assert_eq!(outcome, expected, "event of {entity} at {ts}, now {}", self.now);
    }

    /// The declared features and, for finite lengths, some others with the width that must answer them.
    fn features(&self) -> Vec<(windrow_window::Feature, i64)> {
        let layout = &self.catalogue.stream(b"s").unwrap().layout;
        let mut features: Vec<_> = layout
            .features
            .iter()
            .map(|feature| (feature.clone(), feature.tier.map_or(0, |tier| layout.tiers[tier].width_ms)))
            .collect();
        for length in ["200ms", "1s", "2s", "4s"] {
            for spec in layout.aggregates() {
                let name = format!("{}:{length}", spec.aggregate.text(&layout.fields));
                if let Ok(feature) = windrow_window::Feature::find(layout, name.as_bytes()) {
                    let width = layout.tiers[feature.tier.expect("a finite length")].width_ms;
                    features.push((feature, width));
                }
            }
        }
        features
    }

    fn read(&self, entity: u8, when: &When) {
        let stream = self.catalogue.stream(b"s").unwrap();
        let clock = stream.clock_ms(self.now);
        assert_eq!(clock, self.model.clock(self.now));
        let options = words(when);
        let options = || options.iter().map(String::as_bytes);
        if when.is_final && stream.layout.lateness_ms.is_none() {
            let refused = Query::parse(&stream.layout, options()).unwrap_err();
            assert!(refused.to_string().contains("LATENESS"), "{refused}");
            return;
        }
        for (feature, width) in self.features() {
            let named = options().chain([b"WITHMETA".as_slice(), feature.name.as_bytes()]);
            let query = Query::parse(&stream.layout, named);
            let span = match feature.length {
                Length::Finite(length) => self.model.span(when, length, width, self.now),
                Length::All if !Model::has_lifetime(when) => {
                    assert!(query.is_err(), "{} exists only at the present", feature.name);
                    continue;
                }
                Length::All => None,
            };
            let query = query.unwrap();
            let is_gone = span.is_some_and(|span| span.is_gone);
            let time = match query.read_time(&stream.layout, stream.times(self.now)) {
                Ok(time) => time,
                Err(QueryError::NotKept(_)) => {
                    assert!(is_gone, "{} {when:?}, now {}: {span:?}", feature.name, self.now);
                    continue;
                }
                Err(other) => panic!("{other}"),
            };
            assert!(!is_gone, "{} {when:?}, now {}: {span:?}", feature.name, self.now);
            assert_eq!(time.bounds(&stream.layout, &feature), span.map(|span| (span.from, span.to)));
            let row = self.row(entity, &query, time);
            let aggregate = feature.aggregate;
            let expected = match (feature.length, span) {
                (Length::All, _) => {
                    let t = clock.map_or(0, |clock| clock + 1);
                    self.model.fold(entity, aggregate, i64::MIN, i64::MAX, 0, t, 0, self.now)
                }
                (Length::Finite(length), Some(span)) => {
                    self.model.fold(entity, aggregate, span.from, span.to, width, span.t, length, self.now)
                }
                // Without a clock there is no event.
                (Length::Finite(length), None) => {
                    self.model.fold(entity, aggregate, 0, 0, width, 0, length, self.now)
                }
            };
            let newest = self.model.newest_of(entity, self.now).map_or(Value::Null, Value::Int);
            assert!(
                row.len() == 2 && expected.admits(&row[0]) && row[1] == newest,
                "{} of {entity} {when:?}, now {}: {row:?}, not {expected:?} and {newest:?}",
                feature.name,
                self.now
            );
        }
        self.read_declared(entity, when);
    }

    /// Without names, `all` is null wherever it does not exist.
    fn read_declared(&self, entity: u8, when: &When) {
        let stream = self.catalogue.stream(b"s").unwrap();
        let options = words(when);
        let query = Query::parse(&stream.layout, options.iter().map(String::as_bytes)).unwrap();
        assert!(!query.named && !query.with_meta);
        let Ok(time) = query.read_time(&stream.layout, stream.times(self.now)) else { return };
        let row = self.row(entity, &query, time);
        assert_eq!(row.len(), stream.layout.features.len());
        for (feature, value) in stream.layout.features.iter().zip(row) {
            if feature.length == Length::All && !Model::has_lifetime(when) {
                assert_eq!(value, Value::Null, "{}", feature.name);
            }
        }
    }

    /// What the owner reads, and what another core reads: the same.
    fn row(&self, entity: u8, query: &Query, time: ReadTime) -> Vec<Value> {
        let stream = self.catalogue.stream(b"s").unwrap();
        let name = entity_name(entity);
        let shard = &self.shards[self.owner(&name)];
        let hash = HASH_KEY.hash(stream.id, &name);
        let mut row = Rows::default();
        shard.read(&self.catalogue, stream, &name, Hint::of(hash), query, time, &mut row).unwrap();
        let mut elsewhere = Rows::default();
        let hashed = Hashed { name: &name, hash };
        // A record of an older layout is its owner's to read.
        match shard.reader().read(&self.participant, stream, hashed, query, time, &mut elsewhere) {
            Ok(position) => {
                assert_eq!(elsewhere.values, row.values, "another core reads the same");
                assert!(position <= self.log.len() as u64);
            }
            Err(_) => assert!(stream.layout.generation > 0, "nothing writes meanwhile"),
        }
        row.values
    }

    fn range(&self, entity: u8, from: i64, to: i64, step: i64) {
        let stream = self.catalogue.stream(b"s").unwrap();
        let clock = stream.clock_ms(self.now);
        let name = entity_name(entity);
        for spec in stream.layout.aggregates() {
            let finest =
                stream.layout.tiers.iter().find(|tier| tier.holds(spec.aggregate, &stream.layout.fields));
            let Some(finest) = finest else { continue };
            // Multiples of the finest width, so that BUCKET fits; 0: the default.
            let bucket = step * finest.width_ms;
            let mut words =
                vec![spec.aggregate.text(&stream.layout.fields), from.to_string(), to.to_string()];
            if bucket > 0 {
                words.extend(["BUCKET".to_owned(), format!("{bucket}ms")]);
            }
            let query = RangeQuery::parse(&stream.layout, words.iter().map(String::as_bytes)).unwrap();
            let Ok(plan) = query.plan(&stream.layout, clock) else { continue };
            let mut rows = Rows::default();
            let shard = &self.shards[self.owner(&name)];
            // In two slices, as a long range is read.
            shard
                .range(
                    &self.catalogue,
                    stream,
                    &name,
                    Hint::of(HASH_KEY.hash(stream.id, &name)),
                    &plan,
                    0..plan.pairs / 2,
                    &mut rows,
                )
                .unwrap();
            shard
                .range(
                    &self.catalogue,
                    stream,
                    &name,
                    Hint::of(HASH_KEY.hash(stream.id, &name)),
                    &plan,
                    plan.pairs / 2..plan.pairs,
                    &mut rows,
                )
                .unwrap();
            let pairs = rows.pairs;
            let Some(&(first, _)) = pairs.first() else { continue };
            // The coarsest tier whose width divides BUCKET, or without BUCKET the finest, of those that keep and hold.
            let mut widths: Vec<i64> = stream
                .layout
                .tiers
                .iter()
                .filter(|tier| tier.holds(spec.aggregate, &stream.layout.fields))
                .map(|tier| tier.width_ms)
                .filter(|w| bucket == 0 || bucket % w == 0)
                .filter(|&w| {
                    let begins = from.div_euclid(bucket.max(w)) * bucket.max(w);
                    self.model.kept_from(w, self.now).is_none_or(|kept| begins >= kept)
                })
                .collect();
            widths.sort_unstable();
            let width =
                *(if bucket > 0 { widths.last() } else { widths.first() }).expect("the range was planned");
            let bucket = if bucket > 0 { bucket } else { width };
            assert_eq!(first, from.div_euclid(bucket) * bucket);
            for (index, (start, value)) in pairs.iter().enumerate() {
                assert_eq!(*start, first + index as i64 * bucket);
                let end = start + bucket;
                let expected =
                    self.model.fold(entity, spec.aggregate, *start, end, width, end, bucket, self.now);
                assert!(
                    expected.admits(value),
                    "{} of {entity} in {start}..{end}, now {}: {value:?}, not {expected:?}",
                    words[0],
                    self.now
                );
            }
            assert!(pairs.last().unwrap().0 + bucket >= to);
        }
    }

    fn alter(&mut self, words: &str, entity: u8) {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let ts = self.now;
        let before = Arc::clone(self.catalogue.stream(b"s").unwrap());
        let altered = self.catalogue.altered(b"s", self.now, |definition| {
            definition.altered(&words).map_err(|error| error.to_string())
        });
        let Ok(Altered::New(pending)) = altered else { return };
        // It was received under the old layout, and reaches its owner under the new one.
        let on_its_way = self.encoded(entity, ts, &[None; 3], None);
        self.model.receive(ts);
        self.catalogue = pending;
        for shard in &mut self.shards {
            shard.upkeep(&self.catalogue, self.now, 2);
        }
        self.catalogue = self.catalogue.settled(self.now).expect("a change is pending");
        self.model.alter(self.catalogue.stream(b"s").unwrap().definition.clone(), self.now);
        self.arrive(entity, ts, &[None; 3], None, on_its_way);
        self.read_as_before(&before);
    }

    /// A read that was made before the ALTER and is answered after it: right, or refused.
    fn read_as_before(&self, before: &Stream) {
        let query = Query::parse(&before.layout, std::iter::empty()).unwrap();
        let time = query.read_time(&before.layout, before.times(self.now)).unwrap();
        for entity in 0..4 {
            let name = entity_name(entity);
            let hint = Hint::of(HASH_KEY.hash(before.id, &name));
            let mut row = Rows::default();
            let shard = &self.shards[self.owner(&name)];
            if shard.read(&self.catalogue, before, &name, hint, &query, time, &mut row).is_ok() {
                assert_eq!(row.values.len(), query.features.len());
            }
        }
    }

    fn delete(&mut self, entity: u8) {
        let name = entity_name(entity);
        let owner = self.owner(&name);
        let mut bytes = Vec::new();
        op::encode_remove(&mut bytes, op::EVERY_STREAM, &name, true);
        let AnyOp::Remove(remove) = AnyOp::decode(&bytes).unwrap() else { panic!("it is a REMOVE") };
        let log = &mut self.log;
        let removed = self.shards[owner]
            .remove_entity(
                &self.catalogue,
                &remove,
                self.now,
                log.len() as u64 + 1,
                |_| true,
                |op| log.push(op.to_vec()),
            )
            .unwrap();
        assert_eq!(removed == 1, self.model.delete(entity, self.now), "{entity} is removed at {}", self.now);
    }

    fn restart(&mut self, shards: usize) {
        (self.shards, self.participant) = fresh_shards(shards);
        let entries = self.catalogue.entries();
        let (version, streams, layouts) =
            (self.catalogue.version, self.catalogue.next_stream_id, self.catalogue.next_layout_id);
        let clock = self.catalogue.stream(b"s").unwrap().clock_ms(self.now);
        self.catalogue = Catalogue::from_entries(version, streams, layouts, &entries).unwrap();
        for (index, bytes) in self.log.iter().enumerate() {
            let entity = AnyOp::decode(bytes).unwrap().entity();
            let owner = shard_of(hash_slot(entity), shards);
            self.shards[owner].replay(&self.catalogue, bytes, index as u64 + 1).unwrap();
        }
        // The clock survives as far as events were counted; one that only LATE events saw does not exist, since these are older.
        assert_eq!(self.catalogue.stream(b"s").unwrap().clock_ms(self.now), clock);
    }
}

fn at_edge(ts: i64, edge: Option<i64>) -> i64 {
    edge.map_or(ts, |edge| ts.div_euclid(edge) * edge)
}

fn run(stream: &str, is_of_before: bool, shards: usize, start: i64, steps: &[Step]) {
    let mut world = World::new(stream, is_of_before, shards, start);
    for step in steps {
        match step {
            Step::Advance(ms) => world.now += ms,
            Step::Event { entity, offset, edge, values, id } => {
                world.event(*entity, at_edge(world.now + offset, *edge), values, *id);
            }
            Step::Read { entity } => world.read(*entity, &When::default()),
            Step::ReadWhen { entity, when, edge } => {
                let mut when = *when;
                if let Some(At::Time(offset)) = when.at {
                    when.at = Some(At::Time(at_edge(world.now + offset, *edge)));
                }
                world.read(*entity, &when);
            }
            Step::Range { entity, from, length, step } => {
                world.range(*entity, world.now + from, world.now + from + length, *step);
            }
            Step::Upkeep => {
                for shard in &mut world.shards {
                    shard.upkeep(&world.catalogue, world.now, 2);
                }
            }
            Step::Restart(shards) => world.restart(*shards),
            Step::Alter { words, entity } => world.alter(words, *entity),
            Step::Delete { entity } => world.delete(*entity),
        }
        world.participant.quiescent();
        world.shards.iter_mut().for_each(Shard::collect);
    }
    for entity in 0..5 {
        world.read(entity, &When::default());
    }
    world.restart(4);
    for entity in 0..5 {
        world.read(entity, &When::default());
    }
}

/// Cases in one run; `WINDROW_MODEL_CASES` makes the long form.
fn cases() -> u32 {
    std::env::var("WINDROW_MODEL_CASES")
        .ok()
        .map_or(400, |cases| cases.parse().expect("WINDROW_MODEL_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_engine_answers_as_the_naive_model_does(
        stream in prop::sample::select(STREAMS.to_vec()),
        is_of_before in prop::bool::weighted(0.25),
        shards in prop::sample::select(vec![1usize, 4]),
        start in prop::sample::select(STARTS.to_vec()),
        steps in prop::collection::vec(step(), 1..160),
    ) {
        run(stream, is_of_before, shards, start, &steps);
    }
}
