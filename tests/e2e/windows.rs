//! What a window holds, to the millisecond.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rstest::rstest;
use windrow_tests::oracle::At;
use windrow_tests::resp::Reply;
use windrow_tests::seed::seed;
use windrow_tests::server::Launch;

use crate::model::{Options, Pair};

/// A round time, long ago: a multiple of every bucket width used here.
const BASE_MS: i64 = 1_000_000_080_000;
const KEPT: Options =
    Options { lifetime: true, wall: false, lateness_ms: None, retain_ms: Some(100_000), skew: None };

#[rstest]
fn a_window_reaches_from_the_floor_of_its_start_to_the_ceiling_of_its_end(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 10s@1s AGGREGATE count sum(v) CLOCK EVENT RETAIN 1m");
    for (time_ms, value) in [(-1, 1), (0, 10), (999, 100), (1000, 1000), (10_000, 10_000), (19_999, 100_000)]
    {
        conn.ok(&format!("EVENT.ADD e s {} v {value}", BASE_MS + time_ms));
    }
    // AT, and the sum of the events in [floor(T - 10 s), ceil(T)).
    for (at_ms, sum) in [
        (0, 1),
        (1, 111),
        (1000, 111),
        (1001, 1111),
        (9_999, 1111),
        (10_000, 1110),
        (10_001, 11_110),
        (10_999, 11_110),
        (11_000, 11_000),
        (11_999, 11_000),
        (12_000, 10_000),
        (19_001, 110_000),
        (20_000, 110_000),
        (20_999, 110_000),
        (21_000, 100_000),
        (29_999, 100_000),
        (30_000, 0),
    ] {
        let reply = conn.cmd(&format!("WINDOW.GET e s AT {} sum(v):10s", BASE_MS + at_ms));
        assert_eq!(reply, Reply::Array(vec![Reply::Int(sum)]), "at base + {at_ms}");
    }
    // The clock is the newest event, T one past it.
    assert_eq!(conn.cmd("WINDOW.GET e s sum(v):10s count:10s"), ints(&[110_000, 2]));
}

#[rstest]
fn every_aggregate_equals_the_model_at_every_edge(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    for (place, base_ms) in [0, BASE_MS, -BASE_MS, -5_000].into_iter().enumerate() {
        let name = format!("s{place}");
        let mut pair = Pair::create(&mut conn, &name, &[(10_000, 1000), (3000, 250), (60_000, 5000)], &KEPT);
        for (step, time_ms) in
            [-1001, -1000, -1, 0, 1, 249, 250, 999, 1000, 4999, 5000, 9_999, 10_000, 20_000]
                .iter()
                .enumerate()
        {
            let step = i64::try_from(step).unwrap();
            pair.add(
                &mut conn,
                "e",
                base_ms + time_ms,
                [Some(step * 7 - 20), (step % 3 == 0).then_some(step)],
            );
        }
        for edge_ms in [
            0, 250, 1000, 3000, 3250, 5000, 10_000, 11_000, 13_000, 20_000, 23_000, 30_000, 60_000, 65_000,
            80_000,
        ] {
            for off_ms in [-1, 0, 1] {
                pair.compare_all(&mut conn, "e", At::Time(base_ms + edge_ms + off_ms));
            }
        }
        pair.compare_all(&mut conn, "e", At::Now);
        pair.compare_all(&mut conn, "nobody", At::Now);
    }
}

#[rstest]
fn random_events_and_reads_equal_the_model(#[values(1, 4)] shards: usize) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    let shapes: [&[(i64, i64)]; 4] = [
        &[(1000, 100)],
        &[(5000, 1000), (60_000, 1000)],
        &[(6000, 100), (60_000, 1000), (600_000, 10_000)],
        &[(700, 7), (4_900, 49)],
    ];
    for round in 0..24 {
        let windows = shapes[random.random_range(0..shapes.len())];
        let longest_ms = windows.iter().map(|window| window.0).max().unwrap();
        let options = Options {
            lifetime: random.random(),
            lateness_ms: random.random::<bool>().then(|| random.random_range(0..longest_ms)),
            retain_ms: random.random::<bool>().then(|| random.random_range(0..longest_ms)),
            ..Options::default()
        };
        let mut pair = Pair::create(&mut conn, &format!("r{round}"), windows, &options);
        let mut head_ms: i64 = random.random_range(-2_000_000_000_000..1_500_000_000_000);
        let entities = ["a", "b", "c", "d", "e", "f"];
        for _ in 0..150 {
            head_ms += random.random_range(-longest_ms / 4..longest_ms / 3);
            let back_ms = if random.random_ratio(1, 4) { random.random_range(0..longest_ms * 3) } else { 0 };
            let entity = entities[random.random_range(0..entities.len())];
            let value = random.random::<bool>().then(|| random.random_range(-1_000_000..1_000_000));
            pair.add(&mut conn, entity, head_ms - back_ms, [value, Some(1)]);
            if random.random_ratio(1, 5) {
                pair.compare_all(&mut conn, entity, At::Now);
                let at_ms = head_ms - random.random_range(-longest_ms..longest_ms * 2);
                pair.compare_all(&mut conn, entity, At::Time(at_ms));
            }
        }
        for entity in entities {
            pair.compare_all(&mut conn, entity, At::Now);
        }
    }
}

#[rstest]
fn an_undeclared_length_is_answered_from_the_coarsest_tier_that_is_fine_enough(
    #[values(1, 4)] shards: usize,
) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    let mut pair = Pair::create(&mut conn, "s", &[(7_200_000, 1000), (21_600_000, 60_000)], &KEPT);
    for time_ms in [0, 30_000, 59_999, 60_000, 3_599_000, 3_600_000, 3_630_500, 7_000_000] {
        pair.add(&mut conn, "e", BASE_MS + time_ms, [Some(time_ms), None]);
    }
    // 1h: a minute is a 60th. 59m: only the second is. 3h: only the minute keeps it. 30s: none is fine enough.
    for length_ms in [3_600_000, 3_540_000, 10_800_000, 30_000, 1000, 60_000] {
        for at_ms in [3_600_000, 3_600_001, 3_629_999, 3_630_000, 3_660_000, 7_000_001, 7_059_500] {
            pair.compare(&mut conn, "e", Some(length_ms), At::Time(BASE_MS + at_ms));
        }
        pair.compare(&mut conn, "e", Some(length_ms), At::Now);
    }
    let error = conn.fails("WINDOW.GET e s count:1500ms");
    assert!(error.contains("1500ms"), "not a multiple of the bucket: {error}");
    let error = conn.fails("WINDOW.GET e s count:7h");
    assert!(error.contains("7h"), "longer than the longest: {error}");
}

#[rstest]
fn a_window_that_begins_before_what_is_kept_is_an_error_that_says_what_would_help(
    #[values(1, 4)] shards: usize,
) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s WINDOWS 10s@1s AGGREGATE count CLOCK EVENT RETAIN 5s");
    conn.ok(&format!("EVENT.ADD e s {}", BASE_MS + 60_000));
    // Kept from floor(clock + 1 - 10 s - 5 s) = base + 45 s; a read at base + 55 s begins exactly there.
    assert_eq!(conn.cmd(&format!("WINDOW.GET e s AT {} count:10s", BASE_MS + 55_000)), ints(&[0]));
    let error = conn.fails(&format!("WINDOW.GET e s AT {} count:10s", BASE_MS + 54_999));
    assert!(error.contains(&(BASE_MS + 45_000).to_string()), "{error}");
    assert!(error.contains("RETAIN"), "{error}");
}

#[rstest]
fn the_lifetime_window_exists_only_at_the_present(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(
        "STREAM.CREATE s FIELDS v INT WINDOWS 10s@1s all AGGREGATE count sum(v) since CLOCK EVENT RETAIN 1h",
    );
    for time_ms in [0, 86_400_000, 40_000_000] {
        assert_eq!(conn.cmd(&format!("EVENT.ADD e s {} v 5", BASE_MS + time_ms)), Reply::Simple("OK".into()));
    }
    assert_eq!(conn.cmd("WINDOW.GET e s count:all sum(v):all since:all count:10s"), ints(&[3, 15, 0, 1]));
    let at = format!("AT {}", BASE_MS + 86_400_000);
    let error = conn.fails(&format!("WINDOW.GET e s {at} count:all"));
    assert!(error.contains("all"), "{error}");
    let map = conn.cmd(&format!("WINDOW.GET e s {at}")).into_elements();
    let value = |name: &str| {
        let place = map.iter().step_by(2).position(|key| key.text() == name);
        map[place.unwrap_or_else(|| panic!("no {name} in {map:?}")) * 2 + 1].clone()
    };
    assert_eq!(value("count:all"), Reply::Null);
    assert_eq!(value("count:10s"), Reply::Int(0));
}

#[rstest]
fn a_range_lists_every_bucket_the_empty_ones_too(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    let mut pair = Pair::create(&mut conn, "s", &[(60_000, 1000), (600_000, 10_000)], &KEPT);
    for time_ms in [0, 999, 1000, 5000, 5500, 30_000, 59_999, 60_000] {
        pair.add(&mut conn, "e", BASE_MS + time_ms, [Some(time_ms), None]);
    }
    for (name, aggregate) in crate::model::AGGREGATES {
        for (from_ms, to_ms, bucket_ms) in [
            (0, 60_000, 1000),
            (1, 5001, 1000),
            (0, 60_001, 10_000),
            (500, 500, 1000),
            (-3000, 2000, 5000),
            (0, 60_000, 20_000),
        ] {
            let (from_ms, to_ms) = (BASE_MS + from_ms, BASE_MS + to_ms);
            let reply = conn.cmd(&format!("WINDOW.RANGE e s {name} {from_ms} {to_ms} BUCKET {bucket_ms}ms"));
            let expected = pair.model.range(b"e", *aggregate, from_ms, to_ms, bucket_ms);
            let pairs = reply.into_elements();
            assert_eq!(pairs.len(), expected.len(), "{name} {from_ms} {to_ms} {bucket_ms}");
            for (got, (start_ms, value)) in pairs.into_iter().zip(expected) {
                let got = got.into_elements();
                assert_eq!(got[0], Reply::Int(start_ms), "{name} {from_ms} {to_ms} {bucket_ms}");
                crate::model::assert_same(
                    value,
                    got[1].number(),
                    &format!("{name} bucket {start_ms} of {bucket_ms}"),
                );
            }
        }
    }
    // Without BUCKET: the finest tier that keeps `from`.
    let reply = conn.cmd(&format!("WINDOW.RANGE e s count {BASE_MS} {}", BASE_MS + 3000)).into_elements();
    assert_eq!(reply.len(), 3);
    for (from_ms, to_ms, tail) in [
        (0, 1000, "BUCKET 1500ms"),
        (0, 1000, "BUCKET 999ms"),
        (-10_000_000, 1000, ""),
        (0, 200_000_000, "BUCKET 1s"),
    ] {
        conn.fails(&format!("WINDOW.RANGE e s count {} {} {tail}", BASE_MS + from_ms, BASE_MS + to_ms));
    }
}

#[rstest]
fn mget_gives_a_row_for_each_entity_in_order(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 10s@1s AGGREGATE count sum(v) CLOCK EVENT");
    for entity in 0..500 {
        conn.ok(&format!("EVENT.ADD e{entity} s {BASE_MS} v {entity}"));
    }
    let names =
        |step: usize| (0..600).rev().step_by(step).map(|entity| format!("e{entity}")).collect::<Vec<_>>();
    for step in [1, 7, 599] {
        let entities = names(step);
        let rows = conn.cmd(&format!(
            "WINDOW.MGET {} {} s sum(v):10s count:10s",
            entities.len(),
            entities.join(" ")
        ));
        let expected = (0..600)
            .rev()
            .step_by(step)
            .map(|entity| if entity < 500 { ints(&[entity, 1]) } else { ints(&[0, 0]) });
        assert_eq!(rows, Reply::Array(expected.collect()));
    }
    let rows = conn.cmd(&format!("WINDOW.MGET 2 e7 nobody s AT {BASE_MS}")).into_elements();
    let text =
        |row: &Reply| row.clone().into_elements().iter().map(Reply::text).collect::<Vec<_>>().join(" ");
    assert_eq!(text(&rows[0]), "count:10s 0 sum(v):10s 0", "T is the event's own millisecond: not in yet");
    for wrong in [
        "WINDOW.MGET 3 e1 e2 s",
        "WINDOW.MGET 0 s",
        "WINDOW.MGET -1 s count:10s",
        "WINDOW.MGET x e1 s",
        "WINDOW.MGET 99999999999 e1 s",
    ] {
        conn.fails(wrong);
    }
}

#[rstest]
fn floats_are_exact_and_shortest_and_null_is_null(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS x FLOAT n INT WINDOWS 10s@1s AGGREGATE sum(x) avg(x) min(x) max(x) sum(n) rate CLOCK EVENT");
    conn.ok(&format!("EVENT.ADD e s {BASE_MS} x 0.1 n 9223372036854775807"));
    conn.ok(&format!("EVENT.ADD e s {} x 0.2 n 1", BASE_MS + 1000));
    let ask = "WINDOW.GET e s sum(x):10s avg(x):10s min(x):10s max(x):10s sum(n):10s rate:10s";
    let bulk = |text: &str| Reply::Bulk(text.into());
    let resp2 = vec![
        bulk("0.30000000000000004"),
        bulk("0.15000000000000002"),
        bulk("0.1"),
        bulk("0.2"),
        Reply::Int(i64::MAX),
        bulk("0.2"),
    ];
    assert_eq!(conn.cmd(ask), Reply::Array(resp2));
    assert_eq!(
        conn.cmd("WINDOW.GET nobody s avg(x):10s min(x):10s sum(x):10s").into_elements()[..2],
        [Reply::Null, Reply::Null]
    );
    assert!(matches!(conn.cmd("HELLO 3"), Reply::Map(_)));
    let resp3 = vec![
        Reply::Double(0.1 + 0.2),
        Reply::Double((0.1 + 0.2) / 2.0),
        Reply::Double(0.1),
        Reply::Double(0.2),
        Reply::Int(i64::MAX),
        Reply::Double(0.2),
    ];
    assert_eq!(conn.cmd(ask), Reply::Array(resp3));
    assert!(matches!(conn.cmd("WINDOW.GET e s"), Reply::Map(pairs) if pairs.len() == 6));
}

#[rstest]
fn infinities_of_a_sum_are_values_not_errors(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS x FLOAT WINDOWS 10s@1s AGGREGATE sum(x) CLOCK EVENT");
    for _ in 0..2 {
        conn.ok(&format!("EVENT.ADD e s {BASE_MS} x 1e308"));
    }
    assert_eq!(conn.cmd("WINDOW.GET e s sum(x):10s"), Reply::Array(vec![Reply::Bulk(b"inf".to_vec())]));
}

fn ints(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().map(|number| Reply::Int(*number)).collect())
}
