//! Definitions: made, repeated, refused, listed, dropped.

use rstest::rstest;
use windrow_tests::resp::Reply;
use windrow_tests::server::Launch;

#[rstest]
fn creating_the_same_stream_again_is_ok_and_another_one_an_error(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 5m 1h AGGREGATE count sum(v)");
    conn.ok("EVENT.ADD e s * v 1");
    conn.ok("stream.create s fields v int windows 300s@5s 60m@1m aggregate count sum(v)");
    let error = conn.fails("STREAM.CREATE s FIELDS v FLOAT WINDOWS 5m 1h AGGREGATE count sum(v)");
    assert!(error.contains('s') && error.to_lowercase().contains("exist"), "{error}");
    assert_eq!(conn.cmd("WINDOW.GET e s sum(v):5m"), Reply::Array(vec![Reply::Int(1)]));
}

#[rstest]
fn a_dropped_stream_is_gone_with_its_events(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    let create = "STREAM.CREATE s WINDOWS 5m all AGGREGATE count";
    conn.ok(create);
    for entity in 0..100 {
        conn.ok(&format!("EVENT.ADD e{entity} s *"));
    }
    conn.ok("STREAM.DROP s");
    let error = conn.fails("EVENT.ADD e1 s *");
    assert!(error.contains('s'), "{error}");
    conn.fails("WINDOW.GET e1 s count:5m");
    conn.fails("STREAM.DROP s");
    conn.ok(create);
    for entity in 0..100 {
        assert_eq!(conn.cmd(&format!("WINDOW.GET e{entity} s count:all")), Reply::Array(vec![Reply::Int(0)]));
    }
}

#[rstest]
fn a_new_stream_is_known_to_every_connection_at_once(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conns: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for round in 0..40 {
        conns[round % 8].ok(&format!("STREAM.CREATE s{round} WINDOWS 5m AGGREGATE count"));
        for (place, conn) in conns.iter_mut().enumerate() {
            conn.ok(&format!("EVENT.ADD e{place} s{round} *"));
        }
    }
    let listed = conns[0].cmd("STREAM.LIST").into_elements();
    assert_eq!(listed.len(), 40);
}

#[rstest]
fn info_shows_the_definition_and_what_was_counted(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 5m@5s AGGREGATE count sum(v) CLOCK EVENT LATENESS 1s");
    for entity in 0..10 {
        conn.ok(&format!("EVENT.ADD e{entity} s 1000000000000 v 1"));
    }
    assert_eq!(conn.cmd("EVENT.ADD e s 5 v 1"), Reply::Simple("LATE".into()));
    let info = flat_text(&conn.cmd("STREAM.INFO s"));
    for part in ["sum(v)", "5m@5s", "ok 10 ", "late 1 ", "1000000000000", "999999999000", "entities 10 "] {
        assert!(info.contains(part), "no {part:?} in STREAM.INFO: {info}");
    }
}

#[rstest]
fn definitions_that_cannot_be_are_refused_with_a_reason(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    for (definition, reason) in [
        ("WINDOWS 5m 300s AGGREGATE count", "5m"),
        ("WINDOWS 5m@7s AGGREGATE count", "7s"),
        ("WINDOWS 5999ms AGGREGATE count", "5999ms"),
        ("WINDOWS 5m AGGREGATE sum(v)", "v"),
        ("FIELDS v STRING WINDOWS 5m AGGREGATE sum(v)", "v"),
        ("FIELDS v INT v INT WINDOWS 5m AGGREGATE count", "v"),
        ("WINDOWS 5m AGGREGATE count:1h", "1h"),
        ("WINDOWS 5m AGGREGATE nonsense", "nonsense"),
        ("WINDOWS 5m all AGGREGATE rate:all", "rate"),
        ("WINDOWS 365d@1s AGGREGATE count", "buckets of 1s"),
        ("WINDOWS 5m AGGREGATE count CLOCK EVENT SKEW 1m CLAMP", "CLAMP"),
        ("WINDOWS 5m AGGREGATE count CLOCK SUN", "SUN"),
        ("WINDOWS 5m 1h CLOCK EVENT", "AGGREGATE"),
        ("AGGREGATE count CLOCK EVENT", "WINDOWS"),
        ("WINDOWS 0s AGGREGATE count", "0s"),
        ("WINDOWS 99999999999999999999d AGGREGATE count", "99999999999999999999d"),
    ] {
        let error = conn.fails(&format!("STREAM.CREATE bad {definition}"));
        assert!(error.contains(reason), "{definition}: no {reason:?} in: {error}");
    }
    for name in ["1s", "-", "a:b", "a/b", &"n".repeat(65)] {
        conn.fails(&format!("STREAM.CREATE {name} WINDOWS 5m AGGREGATE count"));
    }
    assert_eq!(conn.cmd("STREAM.LIST").into_elements(), vec![]);
}

#[rstest]
fn streams_and_their_events_come_back_after_a_clean_stop(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE gone WINDOWS 5m AGGREGATE count");
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 5m all AGGREGATE count sum(v) CLOCK EVENT LATENESS 1s");
    conn.ok("STREAM.DROP gone");
    for entity in 0..300 {
        conn.ok(&format!("EVENT.ADD e{entity} s {} v {entity}", 1_000_000_000_000_i64 + entity));
    }
    let info = |conn: &mut windrow_tests::resp::Conn| flat_text(&conn.cmd("STREAM.LIST"));
    let before = info(&mut conn);
    let home = server.stop();
    // With another number of shards: entities are dealt anew.
    let server = Launch::shards(5 - shards).start_in(home);
    let mut conn = server.connect();
    assert_eq!(info(&mut conn), before);
    for entity in 0..300 {
        let row = conn.cmd(&format!("WINDOW.GET e{entity} s count:all sum(v):5m"));
        assert_eq!(row, Reply::Array(vec![Reply::Int(1), Reply::Int(entity)]));
    }
    // The clock survived: it still judges.
    assert_eq!(conn.cmd("EVENT.ADD e s 999999999298"), Reply::Simple("LATE".into()));
    conn.ok("EVENT.ADD e s 999999999299");
}

/// A reply as words, each followed by a space.
fn flat_text(reply: &Reply) -> String {
    match reply {
        Reply::Array(elements) => elements.iter().map(flat_text).collect(),
        Reply::Map(pairs) => pairs.iter().map(|(key, value)| flat_text(key) + &flat_text(value)).collect(),
        Reply::Null => "null ".into(),
        Reply::Bool(value) => format!("{value} "),
        other => other.text() + " ",
    }
}
