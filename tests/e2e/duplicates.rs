//! Events that are sent again, after a lost reply or a crash, are counted once: by id, and by source.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rstest::rstest;
use windrow_tests::resp::{Conn, Reply, encode_words};
use windrow_tests::seed::seed;
use windrow_tests::server::Launch;

const STREAM: &str = "STREAM.CREATE s FIELDS n INT WINDOWS 1h@1m all AGGREGATE count sum(n) DEDUP 1h";
const ENTITIES: u64 = 40;
/// Events that are sent without reading a reply.
const EVENTS_AT_ONCE: u64 = 600;

/// How an event says who it is.
#[derive(Clone, Copy, Debug)]
enum By {
    Id,
    Source,
    MaddIds,
    MaddSource,
}

const ALL: [By; 4] = [By::Id, By::Source, By::MaddIds, By::MaddSource];

/// Event `number` adds its number to its entity.
fn pipeline(by: By, first: u64) -> Vec<u8> {
    const ROWS: u64 = 60;
    let entity = |number| format!("e{}", number % ENTITIES);
    let rows = |first: u64, with_ids: bool| -> String {
        (first..first + ROWS)
            .map(|number| {
                let id = if with_ids { format!(" id{number}") } else { String::new() };
                format!(" {} *{id} {number}", entity(number))
            })
            .collect()
    };
    let madds = (first..first + EVENTS_AT_ONCE).step_by(ROWS as usize);
    let adds = first..first + EVENTS_AT_ONCE;
    match by {
        By::Id => adds
            .flat_map(|number| {
                encode_words(&format!("EVENT.ADD {} s ID id{number} * n {number}", entity(number)))
            })
            .collect(),
        By::Source => adds
            .flat_map(|number| {
                encode_words(&format!("EVENT.ADD {} s SOURCE feed {number} * n {number}", entity(number)))
            })
            .collect(),
        By::MaddIds => madds
            .flat_map(|at| encode_words(&format!("EVENT.MADD s FIELDS 1 n WITHIDS EVENTS{}", rows(at, true))))
            .collect(),
        By::MaddSource => madds
            .flat_map(|at| {
                encode_words(&format!("EVENT.MADD s FIELDS 1 n SOURCE feed {at} EVENTS{}", rows(at, false)))
            })
            .collect(),
    }
}

/// The replies of one [`pipeline`]: how many were duplicates.
fn duplicates(conn: &mut Conn) -> usize {
    let (mut answered, mut duplicates) = (0, 0);
    while answered < EVENTS_AT_ONCE {
        let reply = conn.read().expect("the server answers");
        let replies = if matches!(reply, Reply::Array(_)) { reply.into_elements() } else { vec![reply] };
        for reply in replies {
            answered += 1;
            match reply.text().as_str() {
                "OK" => {}
                "DUPLICATE" => duplicates += 1,
                other => panic!("an event was answered {other}"),
            }
        }
    }
    duplicates
}

fn assert_counted_once(conn: &mut Conn, events: u64, context: &str) {
    for entity in 0..ENTITIES {
        let numbers = (0..events).filter(|number| number % ENTITIES == entity);
        let (count, sum) = numbers.fold((0, 0), |(count, sum), number| (count + 1, sum + number));
        let row = conn.cmd(&format!("WINDOW.GET e{entity} s count:all sum(n):all")).into_elements();
        let row: Vec<i64> = row.iter().map(Reply::int).collect();
        assert_eq!(row, [count as i64, sum as i64], "{context}: entity {entity} of {events} events");
    }
}

#[rstest]
fn events_sent_again_after_kill_9_are_counted_once(#[values(1, 4)] shards: usize) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    for by in ALL {
        let mut server = Launch::shards(shards).start();
        server.connect().ok(STREAM);
        let mut seen = 0;
        for cycle in 0..4 {
            let first = cycle * EVENTS_AT_ONCE;
            let mut conn = server.connect();
            conn.send(&pipeline(by, first)).expect("the server is there");
            std::thread::sleep(Duration::from_micros(random.random_range(0..6_000)));
            let shards = [shards, 5 - shards, 3][random.random_range(0..3)];
            server = Launch::shards(shards).start_in(server.kill());
            let mut conn = server.connect();
            conn.send(&pipeline(by, first)).expect("the server is there");
            seen += duplicates(&mut conn);
            let context = format!("seed {seed}, {by:?}, after crash {cycle} with {seen} duplicates");
            assert_counted_once(&mut conn, first + EVENTS_AT_ONCE, &context);
        }
        let mut conn = server.connect();
        conn.send(&pipeline(by, 0)).expect("the server is there");
        assert_eq!(duplicates(&mut conn), EVENTS_AT_ONCE as usize, "{by:?}: all of the first were counted");
    }
}

#[rstest]
fn events_sent_again_after_a_lost_reply_are_counted_once(#[values(1, 4)] shards: usize) {
    for by in ALL {
        let server = Launch::shards(shards).start();
        server.connect().ok(STREAM);
        for round in 0..10 {
            let first = round * EVENTS_AT_ONCE;
            // A client that loses its connection, while the server may still be at it.
            let mut lost = server.connect();
            lost.send(&pipeline(by, first)).expect("the server is there");
            drop(lost);
            let mut conn = server.connect();
            conn.send(&pipeline(by, first)).expect("the server is there");
            duplicates(&mut conn);
        }
        assert_counted_once(&mut server.connect(), 10 * EVENTS_AT_ONCE, &format!("{by:?}"));
    }
}

#[rstest]
fn a_duplicate_is_told_before_skew_and_lateness(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count SKEW 1s REJECT LATENESS 1m DEDUP 10m");
    for entity in 0..20 {
        let mut text = |words: &str| conn.cmd(&format!("EVENT.ADD e{entity} s ID a {words}")).text();
        let far = 9_000_000_000_000i64;
        assert_eq!(text(&far.to_string()), "SKEWED");
        assert_eq!(text("0"), "LATE");
        assert_eq!(text("*"), "OK");
        for ts in [&far.to_string(), "0", "*"] {
            assert_eq!(text(ts), "DUPLICATE");
        }
    }
    let rows = "e0 * b e0 * b e1 * b e0 * a e0 * c";
    let replies = conn.cmd(&format!("EVENT.MADD s FIELDS 0 WITHIDS EVENTS {rows}")).into_elements();
    let replies: Vec<String> = replies.iter().map(Reply::text).collect();
    assert_eq!(replies, ["OK", "DUPLICATE", "OK", "DUPLICATE", "OK"]);
    assert!(conn.fails("EVENT.ADD e s ID").contains("an ID has 1 to 1024 bytes"));
    conn.ok("STREAM.CREATE plain WINDOWS 1h AGGREGATE count");
    assert!(conn.fails("EVENT.ADD e plain ID a *").contains("needs a stream with DEDUP"));
    assert!(
        conn.fails("EVENT.MADD plain FIELDS 0 WITHIDS EVENTS e * a").contains("needs a stream with DEDUP")
    );
}

#[rstest]
fn what_is_remembered_is_shown_and_counts_as_used_memory(#[values(1, 4)] shards: usize) {
    const IDS: i64 = 20_000;
    let server = Launch::shards(shards).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    for first in (0..IDS).step_by(1000) {
        let rows: String = (first..first + 1000).map(|id| format!(" e{} * id{id} 1", id % 50)).collect();
        let replies = conn.cmd(&format!("EVENT.MADD s FIELDS 1 n WITHIDS SOURCE k {first} EVENTS{rows}"));
        assert!(replies.into_elements().iter().all(|reply| reply.text() == "OK"));
    }
    let info = conn.cmd("INFO memory").text();
    let line = |name: &str| -> i64 {
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("INFO memory has no {name}")).trim().parse().expect("a number")
    };
    assert_eq!(line("dedup_ids"), IDS);
    assert!((10 * IDS..30 * IDS).contains(&line("used_memory_dedup")), "{}", line("used_memory_dedup"));
    assert!(line("used_memory") > line("used_memory_dedup"));
    let pairs = |reply: Reply| -> Vec<(String, Reply)> {
        let mut elements = reply.into_elements().into_iter();
        std::iter::from_fn(|| Some((elements.next()?.text(), elements.next()?))).collect()
    };
    let find = |pairs: Vec<(String, Reply)>, name: &str| -> Reply {
        pairs.into_iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name}")).1
    };
    let stats = find(pairs(conn.cmd("MEMORY STATS")), "dedup.ids").int();
    assert_eq!(stats, IDS);
    let dedup = pairs(find(pairs(conn.cmd("STREAM.INFO s")), "dedup"));
    assert_eq!(find(dedup.clone(), "keeps_ms").int(), 3_600_000);
    assert_eq!(find(dedup.clone(), "ids").int(), IDS);
    assert!((1..=50).contains(&find(dedup, "sources").int()));
}

#[rstest]
fn at_maxmemory_ids_are_refused_and_none_is_forgotten(#[values(1, 4)] shards: usize) {
    let server = Launch::shards(shards).option("--maxmemory", &format!("{}mb", 16 * shards)).start();
    let mut conn = server.connect();
    conn.ok(STREAM);
    let mut acknowledged: Vec<i64> = Vec::new();
    let mut refused = None;
    let madd = |first: i64| -> String {
        let rows: String = (first..first + 1000).map(|id| format!(" e{} * id{id} 1", id % 50)).collect();
        format!("EVENT.MADD s FIELDS 1 n WITHIDS EVENTS{rows}")
    };
    for first in (0..8_000_000).step_by(1000) {
        for (id, reply) in (first..).zip(conn.cmd(&madd(first)).into_elements()) {
            match reply.error() {
                None => acknowledged.push(id),
                Some(error) => {
                    assert!(error.starts_with("OOM "), "{error}");
                    refused = Some(id);
                }
            }
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("memory has a bound");
    assert!(acknowledged.len() > 100_000, "{} ids", acknowledged.len());
    for first in (0..acknowledged[acknowledged.len() - 1]).step_by(97_000) {
        for (id, reply) in (first..).zip(conn.cmd(&madd(first)).into_elements()) {
            if acknowledged.binary_search(&id).is_ok() {
                assert_eq!(reply.text(), "DUPLICATE", "id {id}");
            }
        }
    }
    let entity = refused % 50;
    assert!(conn.fails(&format!("EVENT.ADD e{entity} s ID id{refused} SOURCE k 7 *")).starts_with("OOM "));
    let gap = conn.fails(&format!("EVENT.ADD e{entity} s SOURCE k 8 *"));
    assert!(gap.starts_with("SEQGAP ") && gap.contains("sequence number 7"), "{gap}");
    conn.ok("CONFIG SET maxmemory 0");
    conn.ok(&format!("EVENT.ADD e{entity} s ID id{refused} SOURCE k 7 *"));
    conn.ok(&format!("EVENT.ADD e{entity} s SOURCE k 8 *"));
}
