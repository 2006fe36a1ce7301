//! Which events are counted, at the exact millisecond, and by whose clock.

use rstest::rstest;
use windrow_tests::oracle::{At, Skew};
use windrow_tests::resp::Reply;
use windrow_tests::server::Launch;

use crate::model::{Options, Pair, now_ms};

const BASE_MS: i64 = 1_000_000_080_000;
/// Far from every limit of these tests, so that the two clocks need not agree.
const HOUR_MS: i64 = 3_600_000;

#[rstest]
fn an_event_is_late_one_millisecond_behind_the_watermark(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    let options = Options { lifetime: true, lateness_ms: Some(5000), ..Options::default() };
    let mut pair = Pair::create(&mut conn, "s", &[(60_000, 1000)], &options);
    // `add` compares the outcome with the model's.
    for time_ms in [0, -5000, -5001, 1, -4999, -5000, 100_000, 95_000, 94_999] {
        pair.add(&mut conn, "e", BASE_MS + time_ms, [Some(1), None]);
    }
    assert_eq!(conn.cmd(&format!("EVENT.ADD e s {}", BASE_MS + 94_999)), Reply::Simple("LATE".into()));
    pair.compare_all(&mut conn, "e", At::Now);
}

#[rstest]
fn without_lateness_an_event_is_late_once_no_tier_keeps_its_bucket(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    let mut pair = Pair::create(&mut conn, "s", &[(10_000, 1000), (60_000, 5000)], &Options::default());
    pair.add(&mut conn, "e", BASE_MS + 999, [Some(1), None]);
    // The coarse tier keeps from floor(clock + 1 - 60 s - 5 s) = base - 65 s + 0 floored to 5 s.
    for time_ms in [-64_000, -65_000, -65_001, -69_999, -70_000, -70_001] {
        pair.add(&mut conn, "e", BASE_MS + time_ms, [Some(1), None]);
        pair.compare_all(&mut conn, "e", At::Now);
    }
    assert_eq!(conn.cmd(&format!("EVENT.ADD e s {}", BASE_MS - 65_001)), Reply::Simple("LATE".into()));
}

#[rstest]
fn with_a_lifetime_window_an_old_event_counts_in_it_alone(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 10s@1s all AGGREGATE count sum(v) CLOCK EVENT");
    conn.ok(&format!("EVENT.ADD e s {BASE_MS} v 1"));
    conn.ok("EVENT.ADD e s -8640000000000000 v 10");
    conn.ok("EVENT.ADD other s 0 v 100");
    let expected = [1, 1, 2, 11].map(Reply::Int).to_vec();
    assert_eq!(conn.cmd("WINDOW.GET e s count:10s sum(v):10s count:all sum(v):all"), Reply::Array(expected));
    assert_eq!(
        conn.cmd("WINDOW.GET other s count:10s count:all"),
        Reply::Array(vec![Reply::Int(0), Reply::Int(1)])
    );
}

#[rstest]
fn a_skewed_event_is_not_counted_and_does_not_move_the_clock(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    let options = Options { skew: Some(Skew::Reject(10_000)), lifetime: true, ..Options::default() };
    let mut pair = Pair::create(&mut conn, "s", &[(10_000, 1000)], &options);
    pair.add(&mut conn, "e", BASE_MS, [Some(1), None]);
    assert_eq!(
        conn.cmd(&format!("EVENT.ADD e s {} v 7", now_ms() + HOUR_MS)),
        Reply::Simple("SKEWED".into())
    );
    // T is still BASE + 1: the old event is in its window.
    pair.compare_all(&mut conn, "e", At::Now);
    assert_eq!(
        conn.cmd("WINDOW.GET e s count:10s sum(v):all"),
        Reply::Array(vec![Reply::Int(1), Reply::Int(1)])
    );
}

#[rstest]
fn an_event_exactly_at_the_skew_is_accepted(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s WINDOWS 1m@1s AGGREGATE count SKEW 10s REJECT");
    // The server judges later than this clock is read.
    for _ in 0..20 {
        conn.ok(&format!("EVENT.ADD e s {}", now_ms() + 10_000));
    }
}

#[rstest]
fn a_clamped_event_counts_at_the_time_of_the_server(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 10m@10s all AGGREGATE count sum(v) since SKEW 10s CLAMP");
    assert_eq!(
        conn.cmd(&format!("EVENT.ADD e s {} v 3", now_ms() + HOUR_MS)),
        Reply::Simple("CLAMPED".into())
    );
    assert_eq!(
        conn.cmd("WINDOW.GET e s count:10m sum(v):10m count:all"),
        Reply::Array([1, 3, 1].map(Reply::Int).to_vec())
    );
    let since_ms = conn.cmd("WINDOW.GET e s since:10m").into_elements()[0].int();
    assert!((0..600_000).contains(&since_ms), "counted at {since_ms} ms before now");
    // The default of a wall clock is 1m CLAMP, of event time 1m REJECT.
    conn.ok("STREAM.CREATE wall WINDOWS 10m@10s AGGREGATE count");
    conn.ok("STREAM.CREATE event WINDOWS 10m@10s AGGREGATE count CLOCK EVENT");
    let late = now_ms() + HOUR_MS;
    assert_eq!(conn.cmd(&format!("EVENT.ADD e wall {late}")), Reply::Simple("CLAMPED".into()));
    assert_eq!(conn.cmd(&format!("EVENT.ADD e event {late}")), Reply::Simple("SKEWED".into()));
}

#[rstest]
fn an_event_ahead_of_the_clock_is_in_once_t_passes_the_start_of_its_bucket(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count SKEW 2h REJECT");
    let bucket_ms = (now_ms() + HOUR_MS) / 60_000 * 60_000;
    conn.ok(&format!("EVENT.ADD e s {}", bucket_ms + 30_000));
    let mut count = |at: &str| conn.cmd(&format!("WINDOW.GET e s {at} count:1h")).into_elements()[0].int();
    assert_eq!(count(""), 0);
    assert_eq!(count(&format!("AT {bucket_ms}")), 0);
    assert_eq!(count(&format!("AT {}", bucket_ms + 1)), 1);
}

#[rstest]
fn an_event_of_this_very_millisecond_is_in(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s WINDOWS 1m@1s AGGREGATE count since");
    for sent in 1..=200 {
        conn.ok("EVENT.ADD e s *");
        let count = conn.cmd("WINDOW.GET e s count:1m").into_elements()[0].int();
        assert_eq!(count, sent);
    }
}

#[rstest]
fn the_order_of_one_connection_decides_what_is_late_whatever_the_shard(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s WINDOWS 1m@1s AGGREGATE count CLOCK EVENT LATENESS 5s");
    let rounds = 500;
    let mut pipeline = Vec::new();
    for round in 0..rounds {
        let clock_ms = BASE_MS + round * 10_000;
        for (entity, time_ms) in [("a", clock_ms), ("b", clock_ms - 5001), ("c", clock_ms - 5000)] {
            pipeline
                .extend(windrow_tests::resp::encode_words(&format!("EVENT.ADD {entity}{round} s {time_ms}")));
        }
    }
    conn.send(&pipeline).unwrap();
    for round in 0..rounds {
        let replies = [(); 3].map(|()| conn.read().unwrap().text());
        assert_eq!(replies, ["OK", "LATE", "OK"], "round {round}");
    }
}
