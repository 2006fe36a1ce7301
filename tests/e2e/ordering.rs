//! What a reader may rely on.

use rstest::rstest;
use windrow_tests::resp::{Reply, encode_words};
use windrow_tests::server::Launch;

const STREAM: &str = "STREAM.CREATE s FIELDS v INT WINDOWS 1h all AGGREGATE count sum(v)";

#[rstest]
fn a_pipelined_read_sees_the_writes_sent_before_it_and_none_after(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let (rounds, entities) = (200, 37);
    let mut pipeline = Vec::new();
    for round in 0..rounds {
        for entity in 0..entities {
            pipeline.extend(encode_words(&format!("EVENT.ADD e{entity} s * v {round}")));
            pipeline.extend(encode_words(&format!("WINDOW.GET e{entity} s count:all")));
        }
    }
    conn.send(&pipeline).unwrap();
    for round in 0..rounds {
        for entity in 0..entities {
            assert_eq!(conn.read().unwrap(), Reply::Simple("OK".into()));
            let row = conn.read().unwrap();
            assert_eq!(row, Reply::Array(vec![Reply::Int(round + 1)]), "round {round}, entity {entity}");
        }
    }
}

#[rstest]
fn a_pipelined_mget_sees_the_events_of_the_madd_before_it(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let entities: Vec<String> = (0..400).map(|entity| format!("m{entity}")).collect();
    let rows: String = entities.iter().map(|entity| format!(" {entity} * 2")).collect();
    let mut pipeline = Vec::new();
    for _ in 0..20 {
        pipeline.extend(encode_words(&format!("EVENT.MADD s FIELDS 1 v EVENTS{rows}")));
        pipeline.extend(encode_words(&format!("WINDOW.MGET 400 {} s sum(v):all", entities.join(" "))));
    }
    conn.send(&pipeline).unwrap();
    for round in 1..=20 {
        assert_eq!(conn.read().unwrap(), Reply::Array(vec![Reply::Simple("OK".into()); 400]));
        assert_eq!(conn.read().unwrap(), Reply::Array(vec![Reply::Array(vec![Reply::Int(2 * round)]); 400]));
    }
}

#[rstest]
fn an_acknowledged_event_is_visible_to_every_other_connection(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut writers: Vec<_> = (0..3).map(|_| server.connect()).collect();
    let mut readers: Vec<_> = (0..3).map(|_| server.connect()).collect();
    writers[0].ok(STREAM);
    for round in 0..600_usize {
        let entity = round % 11;
        writers[round % 3].ok(&format!("EVENT.ADD e{entity} s *"));
        let count =
            readers[round / 3 % 3].cmd(&format!("WINDOW.GET e{entity} s count:all")).into_elements()[0].int();
        assert_eq!(count, i64::try_from(round / 11 + 1).unwrap());
    }
}

#[rstest]
fn replies_come_in_the_order_of_the_commands(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let mut pipeline = Vec::new();
    for number in 0..5000 {
        pipeline.extend(encode_words(&format!("EVENT.ADD e{number} s *")));
        pipeline.extend(encode_words(&format!("ECHO {number}")));
        pipeline.extend(encode_words("EVENT.ADD e s x"));
    }
    conn.send(&pipeline).unwrap();
    for number in 0..5000 {
        assert_eq!(conn.read().unwrap(), Reply::Simple("OK".into()));
        assert_eq!(conn.read().unwrap().text(), number.to_string());
        assert!(conn.read().unwrap().error().is_some());
    }
}
