//! BACKFILL against a stream that had everything from the beginning, through random events, removals, changes of the catalogue that
//! reach shards one by one, crashes at any step, and restarts with other numbers of shards.

#[path = "backfill/world.rs"]
mod world;

use std::sync::Arc;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use windrow_engine::alter::Altered;
use windrow_engine::backfill::Shadow;
use windrow_engine::catalogue::Created;
use windrow_engine::op::{self, AnyOp};
use windrow_engine::{Catalogue, NoRoom, Outcome};
use windrow_memory::CHUNK_BYTES;
use windrow_window::{Definition, Value};

use world::{ENTITIES, START_MS, World, definition, entity_name};

#[derive(Clone, Debug)]
enum Step {
    Advance(i64),
    Event {
        entity: u8,
        offset: i64,
        values: Vec<String>,
        elsewhere: bool,
    },
    Delete {
        entity: u8,
        elsewhere: bool,
    },
    Upkeep,
    /// So many steps of the backfill.
    Fill(usize),
    Adopt,
    Crash(usize),
}

fn values() -> impl Strategy<Value = Vec<String>> {
    // Quarters add up without rounding, in any order.
    let x = (-1_000i64..1_000).prop_map(|quarters| (quarters as f64 / 4.0).to_string());
    let s = (0u8..6).prop_map(|s| "x".repeat(usize::from(s)));
    // Sums of every width.
    let n = (any::<i8>(), prop::sample::select(vec![0u32, 0, 6, 20, 36]));
    let n = n.prop_map(|(n, by)| i64::from(n) << by);
    (n, x, s).prop_map(|(n, x, s)| vec!["n".to_owned(), n.to_string(), "x".to_owned(), x, "s".to_owned(), s])
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![6 => -300i64..=0, 3 => -12_000i64..1, 1 => 1i64..40_000];
    let event = (0..ENTITIES, offset, values(), any::<bool>());
    prop_oneof![
        4 => prop_oneof![8 => 0i64..400, 2 => 0i64..6_000, 1 => 0i64..60_000].prop_map(Step::Advance),
        20 => event.prop_map(|(entity, offset, values, elsewhere)| Step::Event { entity, offset, values, elsewhere }),
        2 => (0..ENTITIES, any::<bool>()).prop_map(|(entity, elsewhere)| Step::Delete { entity, elsewhere }),
        1 => Just(Step::Upkeep),
        4 => (0usize..40).prop_map(Step::Fill),
        3 => Just(Step::Adopt),
        1 => (1usize..5).prop_map(Step::Crash),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..120)
}

/// Applies a step that goes to a stream and to its oracle, where the stream counts it.
fn run(world: &mut World, step: &Step, stream: &str, oracle: Option<&str>) {
    match step {
        Step::Advance(ms) => world.now += ms,
        Step::Event { entity, offset, values, .. } => {
            let (name, ts) = (entity_name(*entity), world.now + offset);
            let outcome = world.event(stream, &name, ts, values);
            if let Some(oracle) = oracle
                && outcome.counted()
            {
                let ts = if outcome == Outcome::Clamped { world.now } else { ts };
                world.event(oracle, &name, ts, values);
            }
        }
        Step::Delete { entity, .. } => {
            if world.delete(stream, &entity_name(*entity))
                && let Some(oracle) = oracle
            {
                world.delete(oracle, &entity_name(*entity));
            }
        }
        Step::Upkeep => {
            for (shard, catalogue) in world.shards.iter_mut().zip(&world.adopted) {
                shard.upkeep(catalogue, world.now, 3);
            }
        }
        Step::Fill(count) => (0..*count).for_each(|_| {
            world.fill();
        }),
        Step::Adopt => world.adopt(),
        Step::Crash(shards) => world.restart(*shards),
    }
}

fn finish(world: &mut World) {
    while world.pending.is_some() {
        world.adopt();
    }
    while world.fill() {}
    assert!(world.catalogue.filling().is_empty());
}

const ADDED: [&str; 5] = [
    "ADD AGGREGATE sum(n) avg(x) max(n) distinct(s) lastk(n,3) var_pop(n) BACKFILL",
    "ADD WINDOWS 10s@500ms BACKFILL",
    "ADD WINDOWS 4s@100ms AGGREGATE sum(x) BACKFILL",
    "ADD WINDOWS all AGGREGATE sum(n) first(s) min(x) BACKFILL",
    "ADD WINDOWS 10s@500ms all AGGREGATE count(s) topk(s,6) countby(s,6) since decaysum(x,20s):all BACKFILL",
];

const CREATED: [&str; 3] = [
    "FIELDS s STRING n INT WINDOWS 2s@100ms 10s@500ms AGGREGATE count sum(n) distinct(s) lastk(n,3)",
    "FIELDS x FLOAT n INT WINDOWS 5s@100ms all AGGREGATE count sum(n) max(x) since",
    "FIELDS n INT WINDOWS 20s@500ms AGGREGATE count avg(n) TTL 40s",
];

const CLOCKS: [&str; 2] = ["", " CLOCK EVENT"];
/// Of a source and of what is filled from it.
const SKEWS: [(&str, &str); 4] = [
    ("", ""),
    (" SKEW 30s REJECT", " SKEW 1s REJECT"),
    (" SKEW 30s REJECT", " SKEW 700ms CLAMP"),
    (" SKEW 1s REJECT", " SKEW 20s REJECT"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn after_an_alter_with_backfill_all_is_as_if_it_had_been_there_from_the_beginning(
        before in steps(), after in steps(), which in 0..ADDED.len(), clock in 0..2usize, shards in 1usize..4,
        is_of_before in any::<bool>(),
    ) {
        let text = format!(
            "FIELDS n INT x FLOAT s STRING WINDOWS 2s@100ms AGGREGATE count rate(n) TTL 30s{}", CLOCKS[clock]
        );
        let words: Vec<&[u8]> = ADDED[which].split(' ').map(str::as_bytes).collect();
        let (whole, _) = definition("s", &text).altered_with(&words).unwrap();
        let mut world = World::begun(&[("s", &text), ("o", &whole.to_args_text())], is_of_before, shards);
        before.iter().for_each(|step| run(&mut world, step, "s", Some("o")));
        let change = |definition: &Definition| definition.altered_with(&words).map_err(|error| error.to_string());
        let Ok(Altered::New(altered)) = world.catalogue.altered_with(b"s", world.now, change) else {
            panic!("it changes the stream")
        };
        world.publish(altered);
        after.iter().for_each(|step| run(&mut world, step, "s", Some("o")));
        finish(&mut world);
        world.assert_same("s", "o");
        world.restart(3);
        world.assert_same("s", "o");
    }

    #[test]
    fn a_stream_made_from_another_one_is_as_if_it_had_had_its_events(
        before in steps(), after in steps(), which in 0..CREATED.len(), clocks in 0..4usize, shards in 1usize..4,
        is_of_before in any::<bool>(), skews in 0..SKEWS.len(),
    ) {
        let (source_skew, skew) = SKEWS[skews];
        let source = format!(
            "FIELDS n INT x FLOAT s STRING WINDOWS 1m@500ms AGGREGATE count sum(n){}{source_skew}", CLOCKS[clocks % 2]
        );
        // The times of a stream by the wall clock are not those of one by events, nor is what is dead by them.
        let skew = if clocks / 2 == 1 { skew.replace("CLAMP", "REJECT") } else { skew.to_owned() };
        let text = format!("{}{}{skew}", CREATED[which], CLOCKS[clocks / 2]);
        let mut world = World::begun(&[("s", &source), ("o", &text)], is_of_before, shards);
        before.iter().for_each(|step| run(&mut world, step, "s", Some("o")));
        let created = world.catalogue.created_from(definition("t", &text), b"s", world.now);
        let Ok(Created::New(created)) = created else { panic!("it is new: {created:?}") };
        world.publish(created);
        // Who has not learnt of the stream yet counts what comes for its source.
        while world.pending.is_some() {
            world.adopt();
        }
        for step in &after {
            match step {
                // The source goes on.
                Step::Event { elsewhere: true, .. } | Step::Delete { elsewhere: true, .. } => {
                    run(&mut world, step, "s", None);
                }
                step => run(&mut world, step, "t", Some("o")),
            }
        }
        finish(&mut world);
        world.assert_same("t", "o");
        world.restart(2);
        world.assert_same("t", "o");
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40)
}

fn altered(world: &mut World, words: &str) {
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let change = |definition: &Definition| definition.altered_with(&words).map_err(|error| error.to_string());
    match world.catalogue.altered_with(b"s", world.now, change).unwrap() {
        Altered::New(catalogue) => world.publish(catalogue),
        Altered::Same => panic!("it changes the stream"),
    }
}

fn created(world: &mut World, text: &str) {
    match world.catalogue.created_from(definition("t", text), b"s", world.now).unwrap() {
        Created::New(catalogue) => world.publish(catalogue),
        Created::Same => panic!("it is new"),
    }
}

#[test]
fn an_entity_that_the_log_alone_knows_stays_gone_after_an_alter() {
    let mut world = World::new(&[("s", "WINDOWS 2s@100ms AGGREGATE count TTL 30s")], 2);
    world.event("s", b"gone", START_MS, &[]);
    world.now += 60_000;
    world.event("s", b"here", world.now, &[]);
    for (shard, catalogue) in world.shards.iter_mut().zip(&world.adopted) {
        for _ in 0..8 {
            shard.upkeep(catalogue, world.now, 100);
        }
    }
    altered(&mut world, "ADD WINDOWS all AGGREGATE rate:2s BACKFILL");
    finish(&mut world);
    assert!(!world.is_known("s", b"gone") && world.is_known("s", b"here"));
    let features = ["count:all".to_owned()];
    assert_eq!(world.row("s", b"gone", &features), [Value::Int(0)]);
    assert_eq!(world.row("s", b"here", &features), [Value::Int(1)]);
}

#[test]
fn a_stream_made_from_another_one_has_the_entities_that_would_be_alive() {
    let mut world = World::new(&[("s", "WINDOWS 1m@1s AGGREGATE count")], 2);
    world.event("s", b"dead", START_MS, &[]);
    world.event("s", b"deleted", START_MS, &[]);
    world.now += 30_000;
    for entity in [&b"alive"[..], b"deleted", b"back"] {
        world.event("s", entity, world.now, &[]);
    }
    assert!(world.delete("s", b"deleted") && world.delete("s", b"back"));
    world.event("s", b"back", world.now, &[]);
    created(&mut world, "WINDOWS 5s@100ms AGGREGATE count");
    finish(&mut world);
    for (entity, is_known) in [(&b"dead"[..], false), (b"alive", true), (b"deleted", false), (b"back", true)]
    {
        assert_eq!(world.is_known("t", entity), is_known, "{entity:?}");
        let count = [Value::Int(i64::from(is_known))];
        assert_eq!(world.row("t", entity, &["count:5s".to_owned()]), count, "{entity:?}");
    }
}

#[test]
fn an_event_that_the_source_counted_late_counts_whatever_lateness_the_new_stream_allows() {
    let mut world = World::new(&[("s", "WINDOWS 1m@1s AGGREGATE count LATENESS 30s")], 1);
    world.event("s", b"e", START_MS, &[]);
    assert_eq!(world.event("s", b"e", START_MS - 4_000, &[]), Outcome::Ok);
    assert_eq!(world.event("s", b"e", START_MS - 40_000, &[]), Outcome::Late);
    created(&mut world, "WINDOWS 10s@100ms all AGGREGATE count LATENESS 1s");
    finish(&mut world);
    let features = ["count:10s".to_owned(), "count:all".to_owned()];
    assert_eq!(world.row("t", b"e", &features), [Value::Int(2), Value::Int(2)]);
}

#[test]
fn what_the_source_counted_further_ahead_than_the_new_stream_allows_takes_no_bucket_of_the_present() {
    for (skew, expected) in [("SKEW 1s REJECT", 2), ("SKEW 1s CLAMP", 3), ("SKEW 1h REJECT", 2)] {
        let mut world = World::new(&[("s", "WINDOWS 1h@1m AGGREGATE count SKEW 1h REJECT")], 1);
        world.event("s", b"e", START_MS, &[]);
        assert_eq!(world.event("s", b"e", START_MS + 1_800_000, &[]), Outcome::Ok);
        assert_eq!(world.event("s", b"e", START_MS, &[]), Outcome::Ok);
        created(&mut world, &format!("WINDOWS 5s@100ms AGGREGATE count {skew}"));
        while world.pending.is_some() {
            world.adopt();
        }
        // What the new stream counts itself is not pushed out either.
        assert_eq!(world.event("t", b"e", START_MS, &[]), Outcome::Ok);
        finish(&mut world);
        assert_eq!(world.row("t", b"e", &["count:5s".to_owned()]), [Value::Int(expected + 1)], "{skew}");
    }
}

#[test]
fn a_source_that_once_allowed_a_longer_skew_makes_no_entity_look_dead_by_it() {
    let mut world = World::new(&[("s", "WINDOWS 1h@1m AGGREGATE count CLOCK EVENT SKEW 1h REJECT")], 1);
    world.event("s", b"e", START_MS, &[]);
    assert_eq!(world.event("s", b"ahead", START_MS + 3_000_000, &[]), Outcome::Ok);
    world.now += 1_000;
    assert_eq!(world.event("s", b"e", world.now, &[]), Outcome::Ok);
    altered(&mut world, "SET SKEW 1s REJECT");
    while world.pending.is_some() {
        world.adopt();
    }
    created(&mut world, "WINDOWS 5m@5s AGGREGATE count CLOCK EVENT SKEW 1m REJECT");
    finish(&mut world);
    assert_eq!(world.row("t", b"e", &["count:5m".to_owned()]), [Value::Int(2)]);
}

#[test]
fn a_source_whose_clock_is_ahead_of_the_servers_takes_no_sketch_of_the_present() {
    let source = "FIELDS s STRING WINDOWS 1m@1s AGGREGATE count CLOCK EVENT";
    let mut world = World::new(&[("s", source)], 1);
    let value = |s: &str| ["s".to_owned(), s.to_owned()];
    world.event("s", b"e", START_MS - 1, &value("now"));
    assert_eq!(world.event("s", b"e", START_MS + 20_000, &value("ahead")), Outcome::Ok);
    created(&mut world, "FIELDS s STRING WINDOWS 2s@100ms AGGREGATE distinct(s) lastk(s,3)");
    finish(&mut world);
    assert_eq!(world.row("t", b"e", &["distinct(s):2s".to_owned()]), [Value::Int(1)]);
}

#[test]
fn a_removal_from_several_streams_that_lacks_memory_for_one_removes_nothing() {
    let streams = [("a", "WINDOWS all AGGREGATE count"), ("s", "WINDOWS 1m@1s AGGREGATE count")];
    let mut world = World::new(&streams, 1);
    world.event("a", b"e", START_MS, &[]);
    world.event("s", b"e", START_MS, &[]);
    created(&mut world, "WINDOWS 5s@100ms AGGREGATE count");
    while world.pending.is_some() {
        world.adopt();
    }
    world.shards[0].set_maxmemory_bytes(CHUNK_BYTES);
    // Until there is no slot left of the size that the stream being filled would need for its note.
    let refused = (0..200_000).find(|filler| {
        let name = format!("filler:{filler}").into_bytes();
        world.event("t", &name, START_MS, &[]) == Outcome::OutOfMemory
    });
    assert!(refused.is_some(), "it finds room for ever");
    let everywhere = |world: &mut World| {
        let mut bytes = Vec::new();
        op::encode_remove(&mut bytes, op::EVERY_STREAM, b"e", true);
        let catalogue = Arc::clone(&world.adopted[0]);
        world.remove(0, &catalogue, &bytes)
    };
    let (entities, logged) = (world.shards[0].entities(), world.logs[0][0].len());
    assert_eq!(everywhere(&mut world), Err(NoRoom::Memory));
    assert!(world.is_known("a", b"e") && world.is_known("s", b"e"));
    assert_eq!((world.shards[0].entities(), world.logs[0][0].len()), (entities, logged));
    world.shards[0].set_maxmemory_bytes(0);
    assert_eq!(everywhere(&mut world), Ok((2, 3)));
    finish(&mut world);
    for stream in ["a", "s", "t"] {
        assert!(!world.is_known(stream, b"e"), "{stream}");
    }
}

#[test]
fn what_was_filled_is_complete_since_the_log_says_and_other_changes_wait() {
    let mut world = World::new(&[("s", "FIELDS n INT WINDOWS 1m@1s AGGREGATE count")], 1);
    world.event("s", b"e", START_MS, &[]);
    world.now += 1_000;
    altered(&mut world, "ADD AGGREGATE sum(n) BACKFILL");
    (0..2).for_each(|_| world.adopt());
    let covered = |catalogue: &Catalogue, feature: &str| {
        let stream = catalogue.stream(b"s").unwrap();
        stream.covered_from(&windrow_window::Feature::find(&stream.layout, feature.as_bytes()).unwrap())
    };
    assert_eq!(
        covered(&world.catalogue, "sum(n):1m"),
        Some(world.now),
        "it is complete since the ALTER so far"
    );
    let refused = world.catalogue.altered(b"s", world.now, |definition| Ok(definition.clone()));
    assert!(refused.unwrap_err().to_string().contains("a backfill of it is running"));
    let layout_id = world.catalogue.stream(b"s").unwrap().layout_id;
    let filled = world.catalogue.filled(layout_id, START_MS + 7).unwrap();
    assert_eq!(covered(&filled, "sum(n):1m"), Some(START_MS + 7));
    assert_eq!(covered(&filled, "count:1m"), Some(START_MS));
    assert!(filled.filled(layout_id, START_MS).is_none(), "it finishes once");
}

#[test]
fn what_was_found_before_operations_that_are_missing_is_forgotten_of_their_shard_alone() {
    let mut world = World::new(&[("s", "WINDOWS 1h@1m AGGREGATE count")], 2);
    let names: Vec<String> = (0..20).map(|entity| format!("e{entity}")).collect();
    for name in &names {
        world.event("s", name.as_bytes(), START_MS, &[]);
    }
    let logged = world.logs.clone();
    altered(&mut world, "ADD WINDOWS all BACKFILL");
    let catalogue = Arc::clone(&world.catalogue);
    let mut shadow = Shadow::new(&catalogue, catalogue.stream(b"s").unwrap(), 1 << 20).unwrap();
    assert!(shadow.begin_pass());
    for (now, op) in logged[0].iter().flatten() {
        shadow.feed(&catalogue, op, true, *now).unwrap();
    }
    shadow.pass_over(1, 2);
    let mut kept = Vec::new();
    loop {
        let mut op = Vec::new();
        if !shadow.take_merge(&mut op) {
            break;
        }
        kept.push(AnyOp::decode(&op).unwrap().entity().to_vec());
    }
    let mut expected: Vec<Vec<u8>> = names.into_iter().map(String::into_bytes).collect();
    expected.retain(|name| world.owner(name) == 0);
    kept.sort();
    expected.sort();
    assert!(!expected.is_empty() && expected.len() < 20);
    assert_eq!(kept, expected);
    assert_eq!(shadow.bytes(), 0);
}
