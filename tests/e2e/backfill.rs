//! kill -9 in the midst of a backfill: in the end its stream is as one that had everything from the beginning.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rstest::rstest;
use windrow_tests::resp::{Conn, Reply};
use windrow_tests::seed::seed;
use windrow_tests::server::Launch;

const ENTITIES: usize = 400;
const CRASHES: usize = 6;
/// A backfill of so few events takes far less.
const PATIENCE: Duration = Duration::from_secs(60);

fn add(conn: &mut Conn, streams: &[&str], from: usize, count: usize) {
    let events: String =
        (from..from + count).map(|i| format!(" e{} * {i} w{}", i * 31 % ENTITIES, i % 13)).collect();
    for stream in streams {
        let replies = conn.cmd(&format!("EVENT.MADD {stream} FIELDS 2 v w EVENTS{events}")).into_elements();
        assert!(replies.iter().all(|reply| *reply == Reply::Simple("OK".into())), "{stream}: {replies:?}");
    }
}

fn is_filled(conn: &mut Conn, stream: &str) -> bool {
    let info = conn.cmd(&format!("STREAM.INFO {stream}")).into_elements();
    let named = |name: &str, pairs: &[Reply]| {
        let at = pairs.iter().step_by(2).position(|key| key.text() == name).expect(name);
        pairs[2 * at + 1].clone()
    };
    named("state", &named("backfill", &info).into_elements()).text() == "finished"
}

fn assert_same(conn: &mut Conn, stream: &str, oracle: &str, features: &str, when: &str) {
    for entity in 0..ENTITIES {
        let found = conn.cmd(&format!("WINDOW.GET e{entity} {stream} {features}"));
        let expected = conn.cmd(&format!("WINDOW.GET e{entity} {oracle} {features}"));
        assert_eq!(found, expected, "e{entity} of {stream}, {when}");
    }
}

#[rstest]
#[case("STREAM.ALTER s ADD WINDOWS all AGGREGATE sum(v) distinct(w) lastk(w,3) BACKFILL", "s")]
#[case(
    "STREAM.CREATE t FIELDS w STRING v INT WINDOWS 1h@1m all AGGREGATE count sum(v) distinct(w) lastk(w,3) BACKFILL FROM s",
    "t"
)]
fn a_backfill_is_exact_after_kill_9(
    #[case] begin: &str,
    #[case] filled: &str,
    #[values(1, 4)] shards: usize,
) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT w STRING WINDOWS 1h@1m AGGREGATE count");
    conn.ok("STREAM.CREATE o FIELDS v INT w STRING WINDOWS 1h@1m all AGGREGATE count sum(v) distinct(w) lastk(w,3)");
    let mut sent = 0;
    for _ in 0..20 {
        add(&mut conn, &["s", "o"], sent, 500);
        sent += 500;
    }
    for stream in ["s", "o"] {
        assert_eq!(conn.cmd(&format!("ENTITY.DEL e7 {stream}")).int(), 1);
    }
    conn.ok(begin);
    let mut home = None;
    let mut server = Some(server);
    for crash in 0..CRASHES {
        // In between, it goes on.
        let running = server.take().unwrap_or_else(|| {
            Launch::shards(random.random_range(1..5))
                .start_in(home.take().expect("the home of the one before"))
        });
        let mut conn = running.connect();
        add(&mut conn, &[filled, "o"], sent, 50);
        sent += 50;
        for stream in [filled, "o"] {
            conn.cmd(&format!("ENTITY.DEL e{} {stream}", 11 + crash));
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..40)));
        home = Some(running.kill());
    }
    let server = Launch::shards(shards).start_in(home.expect("it was killed"));
    let mut conn = server.connect();
    let started = Instant::now();
    while !is_filled(&mut conn, filled) {
        assert!(started.elapsed() < PATIENCE, "seed {seed}: the backfill does not finish");
        std::thread::sleep(Duration::from_millis(5));
    }
    let features = "count:1h sum(v):1h distinct(w):1h lastk(w,3):1h count:all sum(v):all lastk(w,3):all";
    assert_same(&mut conn, filled, "o", features, &format!("seed {seed}"));
    let server = Launch::shards(5 - shards).start_in(server.kill());
    assert_same(&mut server.connect(), filled, "o", features, &format!("seed {seed}, replayed"));
}
