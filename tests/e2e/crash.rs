//! kill -9 at any moment: every acknowledged event is counted exactly once.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rstest::rstest;
use windrow_tests::crash::kill;
use windrow_tests::oracle::At;
use windrow_tests::resp::Conn;
use windrow_tests::seed::seed;
use windrow_tests::server::{Home, Launch};

use crate::load::{Load, STREAM, Sent, assert_counted_once};
use crate::model::{Options, Pair, now_ms};

const CYCLES: usize = 12;
const CONNECTIONS: usize = 4;
/// How long a cycle's load runs at most: long enough to be anywhere, short enough for a dozen.
const LOAD_MS_MAX: u64 = 250;

#[rstest]
fn every_acknowledged_event_is_counted_exactly_once_after_kill_9(#[values(1, 4)] shards: usize) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut home = Home::new();
    let mut ledger: Vec<Sent> = Vec::new();
    for cycle in 0..CYCLES {
        let server = Launch::shards(shards).start_in(home);
        let mut conn = server.connect();
        // The first cycle makes it, the others find it.
        conn.ok(STREAM);
        if cycle > 0 {
            assert_counted_once(&mut conn, &ledger, &format!("seed {seed}, after crash {cycle}"));
        }
        let load = Load::start(server.addr(), CONNECTIONS, &format!("c{cycle}"));
        std::thread::sleep(Duration::from_millis(random.random_range(1..LOAD_MS_MAX)));
        home = server.kill();
        ledger.extend(load.finish());
    }
    assert!(
        ledger.iter().filter(|sent| sent.acknowledged != 0).count() > CYCLES,
        "seed {seed}: hardly anything was acknowledged"
    );
    // Another number of shards deals the entities anew.
    let server = Launch::shards(5 - shards).start_in(home);
    assert_counted_once(&mut server.connect(), &ledger, &format!("seed {seed}, with other shards"));
    let server = Launch::shards(shards).start_in(server.kill());
    assert_counted_once(&mut server.connect(), &ledger, &format!("seed {seed}, dealt back"));
}

#[test]
fn ids_sources_deletions_and_altered_streams_survive_kill_9() {
    let modes = ["always", "everysec", "no"].map(str::to_owned).to_vec();
    kill::run(&kill::Plan { cycles: CYCLES as u64, shards: vec![1, 2, 4], modes, seed: seed() })
        .assert_kept();
}

#[rstest]
fn a_crash_right_after_a_crash_loses_nothing(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    server.connect().ok(STREAM);
    let load = Load::start(server.addr(), CONNECTIONS, "c");
    load.wait_for(20);
    let mut home = server.kill();
    let ledger = load.finish();
    for restart in 0..4 {
        let server = Launch::shards(shards).start_in(home);
        assert_counted_once(&mut server.connect(), &ledger, &format!("restart {restart}"));
        home = server.kill();
    }
}

#[rstest]
fn a_stream_that_was_acknowledged_is_there_after_kill_9(#[values(1, 4)] shards: usize) {
    let mut home = Home::new();
    for round in 0..6 {
        let server = Launch::shards(shards).start_in(home);
        let mut conn = server.connect();
        assert_eq!(conn.cmd("STREAM.LIST").into_elements().len(), usize::from(round > 0));
        if round > 0 {
            conn.ok(&format!("STREAM.DROP s{}", round - 1));
        }
        conn.ok(&format!("STREAM.CREATE s{round} WINDOWS 1h all AGGREGATE count"));
        home = server.kill();
    }
}

#[rstest]
fn a_kill_during_the_start_loses_nothing(#[values(1, 4)] shards: usize) {
    let mut random = StdRng::seed_from_u64(seed());
    let server = Launch::shards(shards).start();
    server.connect().ok(STREAM);
    let load = Load::start(server.addr(), CONNECTIONS, "c");
    load.wait_for(200);
    let mut home = server.kill();
    let ledger = load.finish();
    for _ in 0..15 {
        // Each start deals to another number of shards: the next one meets what this one had done of it.
        let launch = Launch::shards(random.random_range(1..6));
        home = launch.start_and_kill_after(home, Duration::from_millis(random.random_range(0..60)));
    }
    let server = Launch::shards(shards).start_in(home);
    assert_counted_once(&mut server.connect(), &ledger, "after fifteen broken starts");
}

#[rstest]
fn events_over_many_small_segments_of_the_log_come_back(#[values(1, 4)] shards: usize) {
    let launch = Launch::shards(shards).option("--log-segment-bytes", "1mb");
    let mut home = Home::new();
    let mut ledger = Vec::new();
    for round in 0..3 {
        let server = launch.start_in(home);
        server.connect().ok(STREAM);
        let load = Load::start(server.addr(), CONNECTIONS, &format!("r{round}"));
        load.wait_for(1500);
        home = server.kill();
        ledger.extend(load.finish());
    }
    let server = launch.start_in(home);
    assert_counted_once(&mut server.connect(), &ledger, "after three crashes");
}

#[rstest]
fn what_was_counted_late_or_in_which_bucket_is_the_same_after_every_crash(#[values(1, 4)] shards: usize) {
    let mut random = StdRng::seed_from_u64(seed());
    let options = Options { lifetime: true, lateness_ms: Some(20_000), ..Options::default() };
    let mut server = Launch::shards(shards).start();
    let mut pair = Pair::create(
        &mut server.connect(),
        "s",
        &[(10_000, 500), (60_000, 1000), (600_000, 10_000)],
        &options,
    );
    let entities: Vec<String> = (0..20).map(|entity| format!("e{entity}")).collect();
    let mut head_ms: i64 = 1_000_000_000_000;
    for crash in 0..8 {
        let mut conn = server.connect();
        for _ in 0..150 {
            head_ms += random.random_range(-3000..6000);
            let back_ms = if random.random_ratio(1, 5) { random.random_range(0..40_000) } else { 0 };
            let entity = &entities[random.random_range(0..entities.len())];
            pair.add(&mut conn, entity, head_ms - back_ms, [Some(random.random_range(-99..99)), None]);
        }
        server = Launch::shards([shards, 1, 2, 3, 4][crash % 5]).start_in(server.kill());
        let mut conn = server.connect();
        for entity in &entities {
            pair.compare_all(&mut conn, entity, At::Now);
            pair.compare_all(&mut conn, entity, At::Time(head_ms - 15_000));
        }
    }
}

#[rstest]
fn a_clamped_event_stays_where_it_was_counted(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s WINDOWS 10m@10s all AGGREGATE count SKEW 1s CLAMP");
    let from_ms = now_ms() - 60_000;
    let range = format!("{from_ms} {} BUCKET 10s", from_ms + 180_000);
    for entity in 0..50 {
        let reply = conn.cmd(&format!("EVENT.ADD e{entity} s {}", now_ms() + 3_600_000));
        assert_eq!(reply.text(), "CLAMPED");
    }
    let read = |conn: &mut Conn| {
        (0..50).map(|entity| conn.cmd(&format!("WINDOW.RANGE e{entity} s count {range}"))).collect::<Vec<_>>()
    };
    let before = read(&mut conn);
    let counted =
        before[0].clone().into_elements().into_iter().map(|pair| pair.into_elements()[1].int()).sum::<i64>();
    assert_eq!(counted, 1, "the range holds the event: {:?}", before[0]);
    let server = Launch::shards(5 - shards).start_in(server.kill());
    assert_eq!(read(&mut server.connect()), before);
}
