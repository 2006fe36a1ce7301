//! kill -9 at any moment: every acknowledged event is counted exactly once.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rstest::rstest;
use windrow_tests::seed::seed;
use windrow_tests::server::{Home, Launch};

use crate::load::{Load, STREAM, Sent, assert_counted_once};

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

#[rstest]
fn a_crash_right_after_a_crash_loses_nothing(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    server.connect().ok(STREAM);
    let load = Load::start(server.addr(), CONNECTIONS, "c");
    while load.entities_done() < 20 {
        std::thread::sleep(Duration::from_millis(1));
    }
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
