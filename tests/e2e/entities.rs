//! How long an entity lives.

use rstest::rstest;
use windrow_tests::resp::Reply;
use windrow_tests::server::Launch;

const BASE_MS: i64 = 1_000_000_080_000;

#[rstest]
fn an_entity_is_dead_one_millisecond_past_its_ttl_and_starts_from_nothing(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 10s@1s all AGGREGATE count sum(v) CLOCK EVENT TTL 20s");
    conn.ok(&format!("EVENT.ADD e s {BASE_MS} v 7"));
    let mut read_when_clock_is = |after_ms: i64| {
        conn.ok(&format!("EVENT.ADD other s {}", BASE_MS + after_ms));
        conn.cmd("WINDOW.GET e s count:all sum(v):all")
    };
    let ints = |numbers: [i64; 2]| Reply::Array(numbers.map(Reply::Int).to_vec());
    assert_eq!(read_when_clock_is(20_000), ints([1, 7]));
    assert_eq!(read_when_clock_is(20_001), ints([0, 0]));
    let mut conn = server.connect();
    conn.ok(&format!("EVENT.ADD e s {} v 1", BASE_MS + 20_001));
    assert_eq!(conn.cmd("WINDOW.GET e s count:all sum(v):all"), ints([1, 1]));
}

#[rstest]
fn a_ttl_shorter_than_what_is_kept_is_refused(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    // 10 s, RETAIN of one bucket by default, and one bucket.
    let error = conn.fails("STREAM.CREATE s WINDOWS 10s@1s AGGREGATE count TTL 11s");
    assert!(error.contains("TTL"), "{error}");
    conn.ok("STREAM.CREATE s WINDOWS 10s@1s AGGREGATE count TTL 12s");
}

#[rstest]
fn without_a_ttl_a_lifetime_is_for_ever(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s WINDOWS 10s@1s all AGGREGATE count CLOCK EVENT");
    conn.ok("EVENT.ADD e s 0");
    conn.ok(&format!("EVENT.ADD other s {BASE_MS}"));
    assert_eq!(conn.cmd("WINDOW.GET e s count:all").into_elements()[0], Reply::Int(1));
}
