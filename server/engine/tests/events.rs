//! Events by their form: what EVENT.ADD and EVENT.MADD accept, what they say of the rest, and the operations they become.

use proptest::prelude::{Strategy, any, prop, proptest};
use windrow_engine::catalogue::{CatalogueError, Created, StreamEntry};
use windrow_engine::madd::MaddHeader;
use windrow_engine::op::{self, Judged, Op};
use windrow_engine::{Catalogue, HashKey, Hint, Outcome, Shard, ShardConfig, StreamId, form};
use windrow_memory::Domain;
use windrow_window::definition::FIELDS_MAX;
use windrow_window::{Definition, Query, Rows, Value};

const NOW: i64 = 1_700_000_000_000;
const STREAM: &str = "FIELDS amount FLOAT n INT merchant STRING WINDOWS 5m all AGGREGATE count sum(amount) sum(n) count(merchant)";

fn catalogue(definitions: &[(&str, &str)]) -> Catalogue {
    definitions.iter().fold(Catalogue::default(), |catalogue, (name, text)| {
        let definition = Definition::parse_text(name, text).unwrap();
        match catalogue.created(definition, NOW).unwrap() {
            Created::New(next) => next,
            Created::Same => panic!("{name} is new"),
        }
    })
}

fn shard() -> Shard {
    shard_of_bytes(0)
}

const HASH_KEY: HashKey = HashKey([7, 9]);

fn shard_of_bytes(maxmemory_bytes: usize) -> Shard {
    let (domain, _) = Domain::with_participants(0);
    Shard::new(ShardConfig { hash_key: HASH_KEY, maxmemory_bytes, reserved_bytes: 64 << 20 }, &domain)
        .unwrap()
}

fn apply(shard: &mut Shard, catalogue: &Catalogue, op: &[u8]) -> Outcome {
    let read = Op::decode(op).unwrap();
    let stream = catalogue.by_layout(read.layout).map_or(StreamId(0), |stream| stream.id);
    shard.apply(catalogue, op, Hint::of(HASH_KEY.hash(stream, read.entity)), NOW, 1)
}

fn add(catalogue: &Catalogue, out: &mut Vec<u8>, entity: &[u8], words: &[&[u8]]) -> Result<(), String> {
    let stream = catalogue.stream(b"s").unwrap();
    form::encode_add(out, stream, entity, words.iter().copied(), NOW, &HASH_KEY)
        .map_err(|error| error.to_string())
}

fn row(catalogue: &Catalogue, shard: &Shard, entity: &[u8], features: &str) -> Vec<Value> {
    let stream = catalogue.stream(b"s").unwrap();
    let query = Query::parse(&stream.layout, features.split(' ').map(str::as_bytes)).unwrap();
    let time = query.read_time(&stream.layout, stream.times(NOW)).unwrap();
    let mut row = Rows::default();
    let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
    shard.read(catalogue, stream, entity, hint, &query, time, &mut row).unwrap();
    row.values
}

#[test]
fn a_malformed_event_is_named_and_leaves_nothing() {
    let catalogue = catalogue(&[("s", &format!("{STREAM} CLOCK EVENT"))]);
    let long = vec![b'x'; 1025];
    type Case<'a> = (&'a [u8], &'a [&'a [u8]], &'a str);
    let cases: &[Case<'_>] = &[
        (b"", &[b"*"], "1 to 1024 bytes"),
        (&long, &[b"*"], "this one has 1025"),
        (b"e", &[], "no time"),
        (b"e", &[b"now"], "not an event time"),
        (b"e", &[b"1.5"], "not an event time"),
        (b"e", &[b"8640000000000001"], "not an event time"),
        (b"e", &[b"-8640000000000001"], "not an event time"),
        (b"e", &[b"*", b"amount"], "has no value"),
        (b"e", &[b"*", b"amount", b"1", b"n"], "has no value"),
        (b"e", &[b"*", b"price", b"1"], "unknown field 'price' (the stream's fields: amount n merchant)"),
        (b"e", &[b"*", b"Amount", b"1"], "unknown field"),
        (b"e", &[b"*", b"amount", b"1", b"amount", b"2"], "stands twice"),
        (b"e", &[b"*", b"amount", b"nan"], "finite decimal number"),
        (b"e", &[b"*", b"amount", b"inf"], "finite decimal number"),
        (b"e", &[b"*", b"amount", b"1e400"], "finite decimal number"),
        (b"e", &[b"*", b"amount", b""], "finite decimal number"),
        (b"e", &[b"*", b"n", b"1.0"], "an integer within 64 bits"),
        (b"e", &[b"*", b"n", b"9223372036854775808"], "an integer within 64 bits"),
        (b"e", &[b"*", b"merchant", &long], "at most 1024 bytes"),
        (b"e", &[b"ID", b"1", b"*"], "ID needs a stream with DEDUP, and 's' has none"),
        (
            b"e",
            &[b"SOURCE", b"a", b"x", b"*"],
            "a sequence number from 0 to 18446744073709551614 behind its name, not 'x'",
        ),
        (b"e", &[b"SOURCE", b"a", b"18446744073709551615", b"*"], "not '18446744073709551615'"),
        (b"e", &[b"SOURCE", b"a", b"-1", b"*"], "not '-1'"),
        (b"e", &[b"SOURCE", b"a"], "not ''"),
        (b"e", &[b"SOURCE", b"", b"1", b"*"], "a SOURCE has 1 to 256 bytes, and this one has 0"),
        (b"e", &[b"SOURCE", &long, b"1", b"*"], "this one has 1025"),
        (b"e", &[b"SOURCE", b"a", b"1"], "no time"),
        (b"e", &[b"SOURCE", b"a", b"1", b"SOURCE", b"b", b"2", b"*"], "'SOURCE' is not an event time"),
    ];
    for (entity, words, expected) in cases {
        let mut out = b"before".to_vec();
        let error = add(&catalogue, &mut out, entity, words).expect_err(expected);
        assert!(error.contains(expected), "{error}");
        assert_eq!(out, b"before", "{expected}");
    }
    assert_eq!(
        catalogue.stream(b"s").unwrap().clock_ms(NOW),
        None,
        "a malformed event does not move the clock"
    );
}

#[test]
fn fields_may_be_missing_and_their_aggregates_skip_the_event() {
    let catalogue = catalogue(&[("s", STREAM)]);
    let mut shard = shard();
    for words in [&[b"*".as_slice(), b"amount", b"2.5"][..], &[b"*", b"merchant", b"", b"n", b"-3"], &[b"*"]]
    {
        let mut bytes = Vec::new();
        add(&catalogue, &mut bytes, b"e", words).unwrap();
        assert_eq!(apply(&mut shard, &catalogue, &bytes), Outcome::Ok);
    }
    let features = "count:5m sum(amount):5m sum(n):all count(merchant):all";
    assert_eq!(
        row(&catalogue, &shard, b"e", features),
        [Value::Int(3), Value::Float(2.5), Value::Int(-3), Value::Int(1)],
        "an empty string is a value"
    );
}

#[test]
fn a_skewed_event_does_not_move_an_event_clock() {
    let catalogue = catalogue(&[("s", &format!("{STREAM} CLOCK EVENT SKEW 1s REJECT"))]);
    let mut shard = shard();
    let mut bytes = Vec::new();
    add(&catalogue, &mut bytes, b"e", &[(NOW + 1001).to_string().as_bytes()]).unwrap();
    assert_eq!(apply(&mut shard, &catalogue, &bytes), Outcome::Skewed);
    assert_eq!(catalogue.stream(b"s").unwrap().clock_ms(NOW), None);
    bytes.clear();
    add(&catalogue, &mut bytes, b"e", &[(NOW + 1000).to_string().as_bytes()]).unwrap();
    assert_eq!(apply(&mut shard, &catalogue, &bytes), Outcome::Ok);
    assert_eq!(catalogue.stream(b"s").unwrap().clock_ms(NOW), Some(NOW + 1000));
    let stats = shard.stream_stats(catalogue.stream(b"s").unwrap().id);
    assert_eq!((stats.ok, stats.skewed, stats.entities, stats.newest_ms), (1, 1, 1, Some(NOW + 1000)));
}

#[test]
fn a_full_shard_refuses_growth_and_keeps_counting_what_needs_none() {
    let catalogue = catalogue(&[("s", STREAM)]);
    let mut shard = shard_of_bytes(8 << 20);
    let entity_op = |entity: u32| {
        let mut bytes = Vec::new();
        add(&catalogue, &mut bytes, &entity.to_le_bytes(), &[b"*"]).unwrap();
        bytes
    };
    let full_at = (0..1_000_000)
        .find(|&entity| apply(&mut shard, &catalogue, &entity_op(entity)) == Outcome::OutOfMemory);
    let full_at = full_at.expect("8 MiB do not hold a million records");
    assert!(shard.usage().taken_bytes <= 8 << 20, "{} bytes", shard.usage().taken_bytes);
    assert_eq!(shard.entities(), u64::from(full_at));
    assert_eq!(row(&catalogue, &shard, &full_at.to_le_bytes(), "count:5m"), [Value::Int(0)]);
    assert_eq!(apply(&mut shard, &catalogue, &entity_op(0)), Outcome::Ok, "its bucket is there");
    assert_eq!(row(&catalogue, &shard, &0u32.to_le_bytes(), "count:5m"), [Value::Int(2)]);
    for entity in full_at..full_at + 50_000 {
        shard.replay(&catalogue, &entity_op(entity), 1).unwrap();
    }
    assert_eq!(shard.entities(), u64::from(full_at) + 50_000, "replay never refuses for memory");
    let taken = shard.usage().taken_bytes;
    let mut others = full_at + 50_000..full_at + 150_000;
    let refused =
        others.any(|entity| apply(&mut shard, &catalogue, &entity_op(entity)) == Outcome::OutOfMemory);
    assert!(
        refused && shard.usage().taken_bytes == taken,
        "the limit holds again once the last chunk is full"
    );
}

#[test]
fn an_event_overtaken_by_the_clock_starts_its_entity_anew_whether_or_not_upkeep_came_by() {
    let text = "WINDOWS all AGGREGATE count CLOCK EVENT TTL 5s";
    for upkeep_comes_by in [false, true] {
        let catalogue = catalogue(&[("s", text)]);
        let mut shard = shard();
        let mut log = Vec::new();
        let encode = |entity: &[u8], ts: &str| {
            let mut bytes = Vec::new();
            add(&catalogue, &mut bytes, entity, &[ts.as_bytes()]).unwrap();
            bytes
        };
        // The second event is stamped, and overtaken on its way by one that moves the clock far ahead.
        let (first, second) = (encode(b"e", "0"), encode(b"e", "1000"));
        let third = encode(b"f", "100000");
        for (index, mut bytes) in [first, third, second].into_iter().enumerate() {
            if index == 2 && upkeep_comes_by {
                shard.upkeep(&catalogue, NOW, 64);
            }
            assert_eq!(apply(&mut shard, &catalogue, &bytes), Outcome::Ok);
            if shard.started_anew() {
                op::mark_anew(&mut bytes);
            }
            log.push(bytes);
        }
        let count = |shard: &Shard| {
            let stream = catalogue.stream(b"s").unwrap();
            let mut row = Rows::default();
            let query = Query::parse(&stream.layout, std::iter::empty()).unwrap();
            let time = windrow_window::ReadTime::now(Some(1000));
            let hint = Hint::of(HASH_KEY.hash(stream.id, b"e"));
            shard.read(&catalogue, stream, b"e", hint, &query, time, &mut row).unwrap();
            row.values
        };
        assert_eq!(count(&shard), [Value::Int(1)], "upkeep came by: {upkeep_comes_by}");
        let mut again = shard_of_bytes(0);
        for bytes in &log {
            again.replay(&catalogue, bytes, 1).unwrap();
        }
        assert_eq!(count(&again), [Value::Int(1)], "replayed; upkeep came by: {upkeep_comes_by}");
    }
}

#[test]
fn a_record_that_grew_for_a_refused_event_is_counted_as_it_is() {
    // Growth by two tiers: memory may run out between the two. All that lives must be accounted for when it dies.
    let text = "WINDOWS 100s@1s 1000s@10s AGGREGATE count CLOCK EVENT SKEW 1s REJECT";
    let catalogue = catalogue(&[("s", text)]);
    let stream = catalogue.stream(b"s").unwrap();
    let mut shard = shard_of_bytes(8 << 20);
    let mut refused = 0;
    for step in 0..100i64 {
        for entity in 0..3000u32 {
            let mut bytes = Vec::new();
            let ts = (step * 10_000).to_string();
            add(&catalogue, &mut bytes, &entity.to_le_bytes(), &[ts.as_bytes()]).unwrap();
            refused += u32::from(apply(&mut shard, &catalogue, &bytes) == Outcome::OutOfMemory);
        }
        shard.collect();
        if refused > 3000 {
            break;
        }
    }
    assert!(refused > 3000, "memory did not run out");
    let mut bytes = Vec::new();
    add(&catalogue, &mut bytes, b"later", &[b"10000000"]).unwrap();
    shard.collect();
    apply(&mut shard, &catalogue, &bytes);
    for _ in 0..10_000 {
        shard.upkeep(&catalogue, NOW, 64);
        shard.collect();
        if shard.usage().records <= 1 {
            break;
        }
    }
    let stats = shard.stream_stats(stream.id);
    assert!(
        stats.entities <= 1 && stats.bytes <= 256,
        "{} entities of {} bytes are left",
        stats.entities,
        stats.bytes
    );
}

#[test]
fn an_entity_whose_first_event_is_refused_does_not_come_to_be() {
    // A first event needs more than the smallest record: there may be room for the one and not for the other.
    let text = "WINDOWS 100s@1s 1000s@10s AGGREGATE count";
    let catalogue = catalogue(&[("s", text)]);
    let mut shard = shard_of_bytes(6 << 20);
    let (mut counted, mut refused) = (0, 0);
    for entity in 0u32.. {
        let mut bytes = Vec::new();
        add(&catalogue, &mut bytes, &entity.to_le_bytes(), &[b"*"]).unwrap();
        match apply(&mut shard, &catalogue, &bytes) {
            Outcome::Ok => counted += 1,
            Outcome::OutOfMemory => refused += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!((shard.entities(), shard.usage().records), (counted, counted as usize));
        shard.collect();
        if refused == 5_000 {
            break;
        }
    }
    assert!(counted > 1_000);
}

#[test]
fn a_dropped_streams_records_go_and_its_operations_are_skipped() {
    let before = catalogue(&[("s", STREAM), ("t", STREAM)]);
    let mut shard = shard();
    let mut bytes = Vec::new();
    for entity in 0..10u8 {
        bytes.clear();
        add(&before, &mut bytes, &[entity], &[b"*"]).unwrap();
        apply(&mut shard, &before, &bytes);
    }
    assert_eq!(shard.usage().records, 10);
    let after = before.dropped(b"s").unwrap();
    shard.adopt(&after);
    assert_eq!(shard.entities(), 0);
    assert_eq!(apply(&mut shard, &after, &bytes), Outcome::Dropped);
    for _ in 0..10 {
        shard.upkeep(&after, NOW, 2);
    }
    assert_eq!(shard.usage().records, 0);
    let Created::New(again) = after.created(Definition::parse_text("s", STREAM).unwrap(), NOW).unwrap()
    else {
        panic!("it was dropped")
    };
    assert_ne!(again.stream(b"s").unwrap().id, before.stream(b"s").unwrap().id, "ids are never reused");
    assert_eq!(row(&again, &shard, &[3], "count:all"), [Value::Int(0)]);
    assert!(after.dropped(b"s").is_none());
}

#[test]
fn creating_the_same_stream_again_is_ok_and_another_one_an_error() {
    let catalogue = catalogue(&[("s", "WINDOWS 60m AGGREGATE count")]);
    let create = |text: &str| catalogue.created(Definition::parse_text("s", text).unwrap(), NOW + 1);
    assert!(matches!(create("WINDOWS 1h@60s AGGREGATE COUNT:1h"), Ok(Created::Same)));
    let error = create("WINDOWS 2h AGGREGATE count").unwrap_err();
    assert!(matches!(&error, CatalogueError::Differs { name, .. } if name == "s"));
    assert!(error.to_string().contains("WINDOWS 1h@1m, not WINDOWS 2h@1m"), "{error}");
}

#[test]
fn a_catalogue_survives_its_entries() {
    let catalogue = catalogue(&[("s", STREAM), ("t", "WINDOWS 1h AGGREGATE count CLOCK EVENT")]);
    let entries = catalogue.entries();
    let again = Catalogue::from_entries(
        catalogue.version,
        catalogue.next_stream_id,
        catalogue.next_layout_id,
        &entries,
    )
    .unwrap();
    assert_eq!(again.entries(), entries);
    assert_eq!((again.version, again.next_stream_id, again.next_layout_id), (2, 2, 2));
    let damaged = [StreamEntry { definition: "WINDOWS".to_owned(), ..entries[0].clone() }];
    assert!(Catalogue::from_entries(1, 1, 1, &damaged).unwrap_err().to_string().contains("stream 's'"));
}

fn madd(words: &str) -> Result<MaddHeader, String> {
    let catalogue = catalogue(&[("s", STREAM)]);
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    MaddHeader::parse(catalogue.stream(b"s").unwrap(), words.as_slice(), 0).map_err(|error| error.to_string())
}

#[test]
fn a_bad_madd_header_or_a_ragged_count_fails_the_whole_command() {
    for (words, expected) in [
        ("EVENTS e *", "needs FIELDS"),
        ("FIELDS", "needs FIELDS"),
        ("FIELDS -1 EVENTS e *", "a number from 0 to 64"),
        ("FIELDS 65 EVENTS e *", "a number from 0 to 64"),
        ("FIELDS two amount n EVENTS e *", "a number from 0 to 64"),
        ("FIELDS 9 amount EVENTS e * 1", "fewer fields"),
        ("FIELDS 1 price EVENTS e * 1", "unknown field 'price'"),
        ("FIELDS 2 n n EVENTS e * 1 2", "stands twice"),
        ("FIELDS 1 n", "EVENTS is missing"),
        ("FIELDS 1 n NULL", "NULL <token> or EVENTS"),
        ("FIELDS 1 n EVENTS", "no rows"),
        ("FIELDS 1 n EVENTS e *", "not rows of 3"),
        ("FIELDS 1 n EVENTS e * 1 f", "not rows of 3"),
        ("FIELDS 1 n WITHIDS EVENTS e * 1 1", "WITHIDS needs a stream with DEDUP"),
        ("FIELDS 1 n SOURCE a x EVENTS e * 1", "not 'x'"),
        ("FIELDS 1 n SOURCE a 1 SOURCE b 1 EVENTS e * 1", "syntax error at 'SOURCE'"),
        ("FIELDS 1 n SOURCE a 18446744073709551614 EVENTS e * 1 e * 2", "2 rows from sequence number"),
        ("FIELDS 1 n NULL - NULL - EVENTS e * 1", "syntax error at 'NULL'"),
    ] {
        let error = madd(words).expect_err(words);
        assert!(error.contains(expected), "{words}: {error}");
    }
    assert_eq!(madd("fields 0 events e * f 1").unwrap().rows(), 2);
    assert_eq!(
        madd("FIELDS 2 n amount NULL EVENTS EVENTS e * 1 EVENTS").unwrap().rows(),
        1,
        "the token may be any word"
    );
}

#[test]
fn a_bad_madd_row_fails_alone_and_null_is_absent() {
    let catalogue = catalogue(&[("s", STREAM)]);
    let stream = catalogue.stream(b"s").unwrap();
    let words = "FIELDS 2 amount n NULL - EVENTS e * 1.5 2 e * - 3 e * x 4 e yesterday 1 5 e * - -";
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let header = MaddHeader::parse(stream, words.as_slice(), 0).unwrap();
    let mut shard = shard();
    let mut failed = Vec::new();
    for index in 0..header.rows() {
        assert_eq!(header.entity(words.as_slice(), index), b"e");
        let mut bytes = Vec::new();
        match header.encode_row(&mut bytes, stream, words.as_slice(), index, NOW, &HASH_KEY) {
            Ok(()) => assert_eq!(apply(&mut shard, &catalogue, &bytes), Outcome::Ok),
            Err(_) => failed.push(index),
        }
    }
    assert_eq!(failed, [2, 3]);
    assert_eq!(
        row(&catalogue, &shard, b"e", "count:all sum(amount):all sum(n):all"),
        [Value::Int(3), Value::Float(1.5), Value::Int(5)]
    );
}

#[test]
fn an_undeclared_length_is_answered_by_the_tier_that_the_rule_names() {
    let catalogue =
        catalogue(&[("s", "FIELDS x FLOAT WINDOWS 1m@1s 1h@1m 7d@1h AGGREGATE count sum(x):1h:7d")]);
    let layout = &catalogue.stream(b"s").unwrap().layout;
    let width = |feature: &str| {
        windrow_window::Feature::find(layout, feature.as_bytes())
            .map(|feature| layout.tiers[feature.tier.unwrap()].width_ms)
            .map_err(|error| error.to_string())
    };
    assert_eq!(width("count:1h"), Ok(60_000), "a declared length uses its declared width");
    assert!(width("count:60d").unwrap_err().contains("longest window that keeps this aggregate is 7d"));
    assert_eq!(width("count:30s"), Ok(1_000), "no tier has w <= W/60: the finest that keeps it");
    assert_eq!(width("count:30m"), Ok(60_000), "30m: 1m is more than W/60, 1s keeps only 1m");
    assert_eq!(width("count:60h"), Ok(3_600_000), "the coarsest with w <= W/60");
    assert_eq!(width("count:2h"), Ok(3_600_000), "only 7d keeps it");
    assert!(width("sum(x):30s").unwrap_err().contains("multiple of its bucket width, 1m"));
    assert_eq!(width("sum(x):2m"), Ok(60_000));
    assert!(width("sum(x):1m").unwrap_err().contains("window 1m does not keep this aggregate"));
    assert!(width("count:90m").unwrap_err().contains("multiple of its bucket width, 1h"));
    assert!(width("count:all").unwrap_err().contains("unknown feature"));
}

fn any_op() -> impl Strategy<Value = Vec<u8>> {
    (
        prop::collection::vec(any::<u8>(), 1..40),
        any::<i32>(),
        any::<i64>(),
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(entity, ts, n, merchant)| {
            let catalogue = catalogue(&[("s", STREAM)]);
            let (ts, n) = (i64::from(ts).to_string(), n.to_string());
            let words: [&[u8]; 5] = [ts.as_bytes(), b"n", n.as_bytes(), b"merchant", &merchant];
            let mut bytes = Vec::new();
            add(&catalogue, &mut bytes, &entity, &words).unwrap();
            bytes
        })
}

proptest! {
    #[test]
    fn an_operation_reads_back_as_it_was_written(entity in prop::collection::vec(any::<u8>(), 1..1025), ts in -8_640_000_000_000_000i64..1_700_000_000_000, n in any::<i64>()) {
        let catalogue = catalogue(&[("s", STREAM)]);
        let mut bytes = Vec::new();
        add(&catalogue, &mut bytes, &entity, &[ts.to_string().as_bytes(), b"n", n.to_string().as_bytes()]).unwrap();
        let op = Op::decode(&bytes).unwrap();
        assert_eq!((op.entity, op.ts, op.clock_ms, op.judged), (entity.as_slice(), ts, NOW, Judged::Ok));
        let mut words = [0; FIELDS_MAX];
        assert_eq!(op.values(&catalogue.stream(b"s").unwrap().layout, &mut words), Ok(0b010));
        assert_eq!(words[1].cast_signed(), n);
    }

    #[test]
    fn damaged_operations_are_errors_and_never_panic(ops in prop::collection::vec(any_op(), 1..4), at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<prop::sample::Index>()) {
        let catalogue = catalogue(&[("s", STREAM)]);
        let mut shard = shard();
        let mut bytes = ops.concat();
        assert_eq!(op::iter(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), ops.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let index = at.index(bytes.len());
        bytes[index] ^= flip;
        for op in op::iter(&bytes).flatten() {
            let _ = shard.replay(&catalogue, op, 1);
        }
        let cut = cut.index(ops.concat().len());
        let whole = op::iter(&ops.concat()[..cut]).filter(Result::is_ok).count();
        assert!(whole < ops.len());
    }
}
