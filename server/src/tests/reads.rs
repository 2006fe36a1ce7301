//! What the options of reads mean, through the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, command, config, start, start_at};
use crate::clock::Clock;

/// A round time, long ago.
const BASE_MS: i64 = 1_000_000_080_000;

fn ints(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().map(|&number| Reply::Int(number)).collect())
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.into())
}

/// What follows a name in a flat map.
#[track_caller]
fn entry(map: &[Reply], name: &str) -> Reply {
    let at = map.iter().step_by(2).position(|key| *key == bulk(name));
    map[2 * at.unwrap_or_else(|| panic!("no {name} in {map:?}")) + 1].clone()
}

#[test]
fn t_is_moved_by_offset_then_hop() {
    for shards in [1, 4] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS 10s@1s AGGREGATE count since CLOCK EVENT RETAIN 1m").assert_ok();
        for second in 0..40 {
            client.ask(&format!("EVENT.ADD e s {}", BASE_MS + second * 1000 + 500)).assert_ok();
        }
        // The clock is base + 39,500.
        for (options, from_s, to_s, since_ms) in [
            ("", 29, 40, 0),
            ("EDGE EXCLUDE", 30, 40, 0),
            ("AT EVENT", 29, 40, 0),
            ("AT EVENT EDGE EXCLUDE", 30, 40, 0),
            ("OFFSET 0s EDGE EXCLUDE", 30, 39, 1_000),
            ("OFFSET 5s", 24, 35, 0),
            ("OFFSET 5s EDGE EXCLUDE", 25, 34, 1_000),
            ("OFFSET 5250ms", 24, 35, 0),
            ("HOP 10s", 20, 30, 499),
            ("HOP 10s EDGE EXCLUDE", 20, 30, 499),
            // A T that HOP has moved is past: nothing from T on. T is base + 39,501 - 39,501 mod 700.
            ("HOP 700ms EDGE EXCLUDE", 30, 39, -1),
            ("offset 5s hop 10s", 20, 30, 499),
            ("HOP 10s OFFSET 9500ms", 20, 30, 499),
            ("HOP 10s OFFSET 9502ms", 10, 20, 499),
        ] {
            let row = client.ask(&format!("WINDOW.GET e s {options} WITHMETA count:10s since:10s")).array();
            let values = row[0].clone().array();
            let meta = row[1].clone().array();
            let bounds = ints(&[BASE_MS + from_s * 1000, BASE_MS + to_s * 1000]);
            assert_eq!(entry(&entry(&meta, "bounds").array(), "count:10s"), bounds, "{options}");
            assert_eq!(values[0], Reply::Int(to_s - from_s), "{options}");
            if since_ms >= 0 {
                // Under INCLUDE the newest event in the window may lie after T.
                let Reply::Int(since) = values[1] else { panic!("{values:?}") };
                assert!(since == since_ms || (options.contains("5250") && since == 0), "{options}: {since}");
            }
        }
    }
}

#[test]
fn final_reads_each_feature_at_the_last_multiple_of_its_width_before_the_watermark() {
    let running = start(1);
    let mut client = Client::connect(&running);
    client
        .ask(
            "STREAM.CREATE s WINDOWS 10s@1s 30s@5s all AGGREGATE count CLOCK EVENT LATENESS 2500ms RETAIN 1m",
        )
        .assert_ok();
    for second in 0..40 {
        client.ask(&format!("EVENT.ADD e s {}", BASE_MS + second * 1000)).assert_ok();
    }
    // The watermark is base + 36,500.
    let bounds = |client: &mut Client, options: &str, feature: &str| {
        let row = client.ask(&format!("WINDOW.GET e s {options} WITHMETA {feature}")).array();
        let meta = row[1].clone().array();
        assert_eq!(entry(&meta, "watermark"), Reply::Int(BASE_MS + 36_500));
        let bounds = entry(&entry(&meta, "bounds").array(), feature).array();
        let values = row[0].clone().array();
        (bounds, values)
    };
    for (options, feature, from_s, to_s) in [
        ("FINAL", "count:10s", 26, 36),
        ("FINAL EDGE EXCLUDE", "count:10s", 26, 36),
        ("FINAL", "count:30s", 5, 35),
        ("FINAL HOP 10s", "count:10s", 20, 30),
        ("FINAL OFFSET 1s", "count:10s", 26, 36),
        ("FINAL OFFSET 6s", "count:10s", 23, 33),
    ] {
        let (bounds, values) = bounds(&mut client, options, feature);
        assert_eq!(
            bounds,
            [from_s, to_s].map(|second| Reply::Int(BASE_MS + second * 1000)),
            "{options} {feature}"
        );
        assert_eq!(values, [Reply::Int(to_s - from_s)], "{options} {feature}");
    }
    // What is final stays: an event in such a bucket is late, one behind it is not.
    assert_eq!(client.ask(&format!("EVENT.ADD e s {}", BASE_MS + 36_499)), Reply::Simple("LATE".to_owned()));
    client.ask(&format!("EVENT.ADD e s {}", BASE_MS + 36_500)).assert_ok();
    assert_eq!(client.ask("WINDOW.GET e s FINAL count:10s"), ints(&[10]));
    for options in ["FINAL", "HOP 1s", "OFFSET 0s", "AT EVENT"] {
        client.ask(&format!("WINDOW.GET e s {options} count:all")).assert_error("only at the present");
        let map = client.ask(&format!("WINDOW.GET e s {options}")).array();
        assert_eq!(entry(&map, "count:all"), Reply::Null, "{options}");
    }
}

#[test]
fn at_event_ends_at_the_newest_event_but_not_after_the_clock() {
    let time_ms = Arc::new(AtomicI64::new(BASE_MS));
    let running = start_at(config(2), Arc::new(MemDisk::new()), Clock::manual(Arc::clone(&time_ms)));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 10s@1s AGGREGATE count RETAIN 1h").assert_ok();
    let bounds = |client: &mut Client, options: &str| {
        let row = client.ask(&format!("WINDOW.GET a s {options} WITHMETA count:10s")).array();
        let meta = row[1].clone().array();
        entry(&entry(&meta, "bounds").array(), "count:10s")
    };
    // Without events, as at the present.
    assert_eq!(bounds(&mut client, "AT EVENT"), bounds(&mut client, ""));
    client.ask("EVENT.ADD a s *").assert_ok();
    time_ms.store(BASE_MS + 60_000, Ordering::Relaxed);
    assert_eq!(bounds(&mut client, "AT EVENT"), ints(&[BASE_MS - 10_000, BASE_MS + 1_000]));
    assert_eq!(bounds(&mut client, ""), ints(&[BASE_MS + 50_000, BASE_MS + 61_000]));
    assert_eq!(client.ask("WINDOW.GET a s AT EVENT count:10s"), ints(&[1]));
    // Any entity's event is the stream's; one ahead of the clock is cut to the clock.
    client.ask(&format!("EVENT.ADD b s {}", BASE_MS + 20_000)).assert_ok();
    assert_eq!(bounds(&mut client, "AT EVENT"), ints(&[BASE_MS + 10_000, BASE_MS + 21_000]));
    client.ask(&format!("EVENT.ADD b s {}", BASE_MS + 90_000)).assert_ok();
    assert_eq!(bounds(&mut client, "AT EVENT"), ints(&[BASE_MS + 50_000, BASE_MS + 61_000]));
}

#[test]
fn withmeta_says_what_a_row_was_read_over() {
    for shards in [1, 4] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS 10s@1s all AGGREGATE count CLOCK EVENT LATENESS 3s").assert_ok();
        let before_any = client.ask("WINDOW.GET e s WITHMETA count:10s").array();
        assert_eq!(before_any[0], ints(&[0]));
        let meta = before_any[1].clone().array();
        for name in ["watermark", "newest"] {
            assert_eq!(entry(&meta, name), Reply::Null);
        }
        assert_eq!(entry(&entry(&meta, "bounds").array(), "count:10s"), Reply::Null);
        client.ask(&format!("EVENT.ADD e s {}", BASE_MS + 500)).assert_ok();
        client.ask(&format!("EVENT.ADD f s {}", BASE_MS + 2_500)).assert_ok();
        let info = client.ask("STREAM.INFO s").array();
        let created = entry(&info, "created");
        let meta_of = |newest: Reply| {
            let bounds = vec![
                bulk("count:10s"),
                ints(&[BASE_MS - 8_000, BASE_MS + 3_000]),
                bulk("count:all"),
                Reply::Null,
            ];
            let covered = [bulk("count:10s"), created.clone(), bulk("count:all"), created.clone()];
            Reply::Array(vec![
                bulk("bounds"),
                Reply::Array(bounds),
                bulk("watermark"),
                Reply::Int(BASE_MS - 500),
                bulk("newest"),
                newest,
                bulk("covered_from"),
                Reply::Array(covered.to_vec()),
            ])
        };
        let map = |count: i64| {
            Reply::Array(vec![bulk("count:10s"), Reply::Int(count), bulk("count:all"), Reply::Int(count)])
        };
        let e = Reply::Array(vec![map(1), meta_of(Reply::Int(BASE_MS + 500))]);
        let f = Reply::Array(vec![map(1), meta_of(Reply::Int(BASE_MS + 2_500))]);
        let nobody = Reply::Array(vec![map(0), meta_of(Reply::Null)]);
        assert_eq!(client.ask("WINDOW.GET e s WITHMETA"), e);
        let rows = Reply::Array(vec![e, nobody, f]);
        assert_eq!(client.ask("WINDOW.MGET 3 e nobody f s WITHMETA"), rows);
        assert_eq!(client.ask("WINDOW.JOIN 3 e s nobody s f s WITHMETA FEATURES 0"), rows);
        // RESP3 has maps.
        client.send(b"HELLO 3\r\nWINDOW.GET e s WITHMETA count:10s\r\nHELLO 2\r\nPING\r\n");
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !received.ends_with(b"+PONG\r\n") {
            let count = std::io::Read::read(&mut client.socket, &mut buffer).unwrap();
            received.extend_from_slice(&buffer[..count]);
        }
        let text = String::from_utf8(received).unwrap();
        let row = format!(
            "*2\r\n*1\r\n:1\r\n%4\r\n$6\r\nbounds\r\n%1\r\n$9\r\ncount:10s\r\n*2\r\n:{}\r\n:{}\r\n$9\r\nwatermark\r\n",
            BASE_MS - 8_000,
            BASE_MS + 3_000
        );
        assert!(text.contains(&row), "{text}");
    }
}

#[test]
fn join_reads_pairs_with_one_list_or_one_each() {
    for shards in [1, 4] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count sum(v)").assert_ok();
        client
            .ask("STREAM.CREATE t FIELDS v INT WINDOWS 1h@1m AGGREGATE count max(v) CLOCK EVENT")
            .assert_ok();
        let mut bytes = Vec::new();
        for entity in 0..20 {
            command(&mut bytes, &format!("EVENT.ADD e{entity} s * v {entity}"));
            command(&mut bytes, &format!("EVENT.ADD e{entity} t {BASE_MS} v {}", 100 + entity));
        }
        // Behind its own writes on the same connection.
        command(&mut bytes, "WINDOW.JOIN 3 e1 s e2 t nobody s FEATURES 1 count:1h");
        command(&mut bytes, "WINDOW.JOIN 3 e1 s e2 t e1 s FEATURES 2 sum(v):1h count:1h 1 max(v):1h 0");
        command(&mut bytes, "window.join 1 e5 t at event features 1 max(v):1h");
        command(&mut bytes, "WINDOW.JOIN 2 e3 s e4 s EDGE INCLUDE FEATURES 1 sum(v):1h 1 count:1h");
        client.send(&bytes);
        for _ in 0..40 {
            client.read().assert_ok();
        }
        assert_eq!(client.read(), Reply::Array(vec![ints(&[1]), ints(&[1]), ints(&[0])]));
        let map = Reply::Array(vec![bulk("count:1h"), Reply::Int(1), bulk("sum(v):1h"), Reply::Int(1)]);
        assert_eq!(client.read(), Reply::Array(vec![ints(&[1, 1]), ints(&[102]), map]));
        assert_eq!(client.read(), Reply::Array(vec![ints(&[105])]));
        assert_eq!(client.read(), Reply::Array(vec![ints(&[3]), ints(&[1])]));
        // A feature that one of the streams does not keep fails the whole command, and says which.
        client.ask("WINDOW.JOIN 2 e1 s e1 t FEATURES 1 max(v):1h").assert_error("stream 's'");
        // Many rows, in their order, from the cache as from the parser.
        for _ in 0..2 {
            let pairs: String = (0..1_500).map(|row| format!(" e{} s e{} t", row % 20, row % 7)).collect();
            let mut rows = client.ask(&format!("WINDOW.JOIN 3000{pairs} FEATURES 1 count:1h")).array();
            assert_eq!(rows.len(), 3_000);
            rows.dedup();
            assert_eq!(rows, [ints(&[1])]);
            let lists: String = (0..1_500).map(|_| " 1 sum(v):1h 1 max(v):1h").collect();
            let rows = client.ask(&format!("WINDOW.JOIN 3000{pairs} FEATURES{lists}")).array();
            for (row, values) in rows.into_iter().enumerate() {
                let pair = row as i64 / 2;
                let value = if row % 2 == 0 { pair % 20 } else { 100 + pair % 7 };
                assert_eq!(values, ints(&[value]), "row {row}");
            }
        }
        let lists = " 0".repeat(5_000);
        let pairs = " e s".repeat(5_000);
        client
            .ask(&format!("WINDOW.JOIN 5000{pairs} FEATURES{lists}"))
            .assert_error("more than 8192 features");
    }
}

#[test]
fn t_is_taken_after_the_command_was_read() {
    // A clock that runs a thousand times too fast: a time that was taken before the input was read is behind.
    let time_ms = Arc::new(AtomicI64::new(BASE_MS));
    let running = start_at(config(2), Arc::new(MemDisk::new()), Clock::manual(Arc::clone(&time_ms)));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1s@1ms AGGREGATE count").assert_ok();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = EndOnDrop(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                time_ms.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        // Others' turns, before the client's in the same ticks.
        for _ in 0..2 {
            let mut other = Client::connect(&running);
            scope.spawn({
                let is_over = &is_over;
                move || {
                    let mut bytes = Vec::new();
                    for entity in 0..100 {
                        command(&mut bytes, &format!("WINDOW.GET e{entity} s"));
                    }
                    while !is_over.load(Ordering::Relaxed) {
                        other.send(&bytes);
                        for _ in 0..100 {
                            other.read();
                        }
                    }
                }
            });
        }
        for round in 0..600 {
            let ask = [
                "WINDOW.MGET 1 e s WITHMETA count:1s",
                "WINDOW.JOIN 1 e s WITHMETA FEATURES 1 count:1s",
                "WINDOW.GET e s WITHMETA count:1s",
            ][round % 3];
            let before = time_ms.load(Ordering::Relaxed);
            let reply = client.ask(ask).array();
            let row = if round % 3 == 2 { reply } else { reply[0].clone().array() };
            let meta = row[1].clone().array();
            let bounds = entry(&entry(&meta, "bounds").array(), "count:1s").array();
            let Reply::Int(end) = bounds[1] else { panic!("{bounds:?}") };
            assert!(end > before, "{ask}: the window ends at {end}, and it was sent at {before}");
        }
    });
}

/// Ends the other threads of a test, also of one that fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
