//! STREAM.ALTER and ENTITY.*: end to end, over restarts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use windrow_storage::disk::MemDisk;

use crate::config::AppendFsync;

use super::harness::{Client, Reply, command, config, eventually, start, start_on};

fn ints(values: &[i64]) -> Reply {
    Reply::Array(values.iter().map(|&value| Reply::Int(value)).collect())
}

fn value(info: &[Reply], name: &str) -> Reply {
    let at = info.iter().position(|key| *key == Reply::Bulk(name.into())).expect(name);
    info[at + 1].clone()
}

/// A whole scan.
fn scan(client: &mut Client, options: &str) -> HashSet<Vec<u8>> {
    let mut found = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let mut reply = client.ask(&format!("ENTITY.SCAN s {cursor} {options}")).array();
        let entities = reply.pop().unwrap().array();
        found.extend(entities.into_iter().map(|entity| entity.text().into_bytes()));
        cursor = reply.pop().unwrap().text();
        assert!(cursor.parse::<u64>().is_ok(), "{cursor}");
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn an_altered_stream_keeps_what_it_had_and_counts_what_is_new_from_then_on() {
    let disk = MemDisk::new();
    let mut running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count").assert_ok();
    for i in 0..20 {
        client.ask(&format!("EVENT.ADD e{i} s * v 5")).assert_ok();
    }
    client.ask("STREAM.ALTER s ADD FIELDS w FLOAT WINDOWS 2h@1m all AGGREGATE sum(v) avg(w)").assert_ok();
    client.ask("STREAM.ALTER s ADD WINDOWS 1h@1m").assert_error("1h");
    client.ask("STREAM.ALTER s AGGREGATE count").assert_error("'AGGREGATE' is not ADD, DROP or SET");
    // Some are written again, the others keep their old records.
    for i in 0..10 {
        client.ask(&format!("EVENT.ADD e{i} s * v 7 w 1.5")).assert_ok();
    }
    for shards in [3, 1, 2] {
        let mut client = Client::connect(&running);
        for i in 0..20 {
            let new = i64::from(i < 10);
            let row = client.ask(&format!("WINDOW.GET e{i} s count:1h sum(v):1h sum(v):all count:all"));
            assert_eq!(row, ints(&[1 + new, 7 * new, 7 * new, new]), "e{i}");
        }
        let info = client.ask("STREAM.INFO s").array();
        let Reply::Int(created) = value(&info, "created") else { panic!("a time") };
        let covered = value(&info, "covered_from").array();
        assert_eq!(value(&covered, "count:1h"), Reply::Int(created));
        let Reply::Int(added) = value(&covered, "sum(v):1h") else { panic!("a time") };
        assert!(added >= created);
        assert_eq!(value(&covered, "avg(w):2h"), Reply::Int(added));
        running.shutdown().unwrap();
        running = start_on(config(shards), Arc::new(disk.clone()));
    }
    let mut client = Client::connect(&running);
    client.ask("STREAM.ALTER s DROP AGGREGATE count SET TTL 1d").assert_ok();
    client.ask("WINDOW.GET e1 s count:1h").assert_error("count:1h");
    assert_eq!(client.ask("WINDOW.GET e1 s sum(v):1h"), ints(&[7]));
    client.ask("STREAM.ALTER s ADD AGGREGATE count").assert_ok();
    assert_eq!(client.ask("WINDOW.GET e1 s count:1h"), ints(&[0]), "what was dropped does not come back");
    let info = client.ask("STREAM.INFO s").array();
    assert_eq!(value(&info, "ttl_ms"), Reply::Int(86_400_000));
    assert_eq!(value(&info, "skew_action"), Reply::Bulk(b"CLAMP".to_vec()));
}

#[test]
fn stream_info_says_what_a_full_entity_takes_while_its_numbers_are_small_and_at_most() {
    let running = start(1);
    let mut client = Client::connect(&running);
    client
        .ask("STREAM.CREATE s FIELDS n INT WINDOWS 60s@1s AGGREGATE sum(n) RETAIN 0s SKEW 0s REJECT")
        .assert_ok();
    let info = client.ask("STREAM.INFO s").array();
    let tier = value(&info, "tiers").array().remove(0).array();
    // 61 sums of 16 bits in whole words, or of 64; before the ring three words.
    assert_eq!(value(&tier, "buckets"), Reply::Int(61));
    for (name, bytes) in [("bytes_full", 16 * 8), ("bytes_full_max", 61 * 8)] {
        assert_eq!(value(&tier, name), Reply::Int(bytes), "{name}");
    }
    for (name, bytes) in [("bytes_per_full_entity", 16 * 8 + 24), ("bytes_per_full_entity_max", 61 * 8 + 24)]
    {
        assert_eq!(value(&info, name), Reply::Int(bytes), "{name}");
    }
}

#[test]
fn a_power_loss_before_or_after_an_alter_loses_nothing_that_was_acknowledged() {
    let settings = |shards| crate::Config { appendfsync: AppendFsync::Always, ..config(shards) };
    let disk = MemDisk::new();
    let running = start_on(settings(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count").assert_ok();
    let check = |disk: &MemDisk, count: i64, sum: Option<i64>| {
        for seed in 0..3 {
            let running = start_on(settings(1 + seed as usize), Arc::new(disk.crash(seed)));
            let mut client = Client::connect(&running);
            for i in 0..8 {
                assert_eq!(client.ask(&format!("WINDOW.GET e{i} s count:1h")), ints(&[count]), "e{i}");
                if let Some(sum) = sum {
                    assert_eq!(client.ask(&format!("WINDOW.GET e{i} s sum(v):1h")), ints(&[sum]), "e{i}");
                }
            }
        }
    };
    let add = |client: &mut Client| {
        (0..8).for_each(|i| client.ask(&format!("EVENT.ADD e{i} s * v 2")).assert_ok());
    };
    add(&mut client);
    check(&disk, 1, None);
    client.ask("STREAM.ALTER s ADD AGGREGATE sum(v)").assert_ok();
    check(&disk, 1, Some(0));
    add(&mut client);
    check(&disk, 2, Some(2));
    client.ask("STREAM.ALTER s DROP AGGREGATE sum(v)").assert_ok();
    client.ask("STREAM.ALTER s ADD AGGREGATE sum(v)").assert_ok();
    check(&disk, 2, Some(0));
    add(&mut client);
    check(&disk, 3, Some(2));
}

#[test]
fn no_event_is_lost_or_counted_twice_by_an_alter_under_load() {
    let disk = MemDisk::new();
    let running = start_on(config(3), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count").assert_ok();
    const WRITERS: usize = 3;
    const BATCHES: usize = 30;
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut client = Client::connect(&running);
                let mut batch = Vec::new();
                for i in 0..50 {
                    command(&mut batch, &format!("EVENT.ADD e{i} s * v 1"));
                }
                let rows: String = (0..50).map(|i| format!(" e{i} * 1")).collect();
                command(&mut batch, &format!("EVENT.MADD s FIELDS 1 v EVENTS{rows}"));
                for _ in 0..BATCHES {
                    client.send(&batch);
                    (0..50).for_each(|_| client.read().assert_ok());
                    assert_eq!(client.read().array().len(), 50);
                }
            });
        }
        for i in 0..10 {
            client.ask(&format!("STREAM.ALTER s ADD FIELDS f{i} INT WINDOWS {}h@1m", i + 2)).assert_ok();
            client.ask(&format!("STREAM.ALTER s ADD AGGREGATE sum(f{i})")).assert_ok();
        }
    });
    let expected = (WRITERS * BATCHES * 2) as i64;
    let check = |client: &mut Client| {
        for i in 0..50 {
            assert_eq!(client.ask(&format!("WINDOW.GET e{i} s count:1h")), ints(&[expected]), "e{i}");
        }
    };
    check(&mut client);
    running.shutdown().unwrap();
    let running = start_on(config(2), Arc::new(disk));
    check(&mut Client::connect(&running));
}

#[test]
fn a_removed_entity_reads_as_empty_in_the_same_pipeline_and_after_a_restart() {
    let disk = MemDisk::new();
    let running = start_on(config(3), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("STREAM.CREATE t WINDOWS 1h@1m AGGREGATE count").assert_ok();
    for i in 0..20 {
        let mut batch = Vec::new();
        for words in [
            "EVENT.ADD x s *",
            "EVENT.ADD x t *",
            "ENTITY.DEL x s",
            "WINDOW.GET x s count:1h",
            "WINDOW.GET x t count:1h",
            "ENTITY.DEL x",
            "ENTITY.DEL x",
            "ENTITY.INFO x t",
            "EVENT.ADD x s *",
        ] {
            command(&mut batch, &words.replace('x', &format!("e{i}")));
        }
        client.send(&batch);
        client.read().assert_ok();
        client.read().assert_ok();
        assert_eq!(client.read(), Reply::Int(1));
        assert_eq!((client.read(), client.read()), (ints(&[0]), ints(&[1])));
        assert_eq!((client.read(), client.read()), (Reply::Int(1), Reply::Int(0)));
        assert_eq!(client.read(), Reply::Null);
        client.read().assert_ok();
    }
    running.shutdown().unwrap();
    let running = start_on(config(2), Arc::new(disk));
    let mut client = Client::connect(&running);
    for i in 0..20 {
        assert_eq!(client.ask(&format!("WINDOW.GET e{i} s count:1h")), ints(&[1]));
        assert_eq!(client.ask(&format!("WINDOW.GET e{i} t count:1h")), ints(&[0]));
    }
    let info = client.ask("ENTITY.INFO e1 s").array();
    assert_eq!(value(&value(&info, "tiers").array()[0].clone().array(), "buckets"), Reply::Int(1));
}

#[test]
fn a_scan_returns_every_entity_that_is_there_throughout() {
    let running = start(3);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("STREAM.CREATE other WINDOWS 1h@1m AGGREGATE count").assert_ok();
    for i in 0..2000 {
        client.ask(&format!("EVENT.ADD stays{i} s *")).assert_ok();
    }
    client.ask("EVENT.ADD elsewhere other *").assert_ok();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(&running);
            let mut i = 0;
            while !is_over.load(Ordering::Relaxed) {
                // Records grow and move, come and go.
                client.ask(&format!("EVENT.ADD stays{} s {}", i % 2000, "*")).assert_ok();
                client.ask(&format!("EVENT.ADD goes{i} s *")).assert_ok();
                client.ask(&format!("ENTITY.DEL goes{} s", i / 2));
                i += 1;
            }
        });
        for options in ["", "COUNT 500", "COUNT 3 MATCH stays*"] {
            let found = scan(&mut client, options);
            let missing = (0..2000).filter(|i| !found.contains(format!("stays{i}").as_bytes())).count();
            assert_eq!(missing, 0, "{options}");
            assert!(!found.contains(&b"elsewhere"[..]));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let found = scan(&mut client, "MATCH stays7?");
    assert_eq!(found.len(), 10);
}

#[test]
fn the_dead_are_gone_whether_or_not_reclaimed_and_stay_dead_when_others_live_longer() {
    let disk = MemDisk::new();
    let running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1s@100ms AGGREGATE count CLOCK EVENT TTL 3s").assert_ok();
    client.ask("EVENT.ADD old s 1000000").assert_ok();
    client.ask("EVENT.ADD new s 1003001").assert_ok();
    let gone = |client: &mut Client| {
        assert_eq!(client.ask("ENTITY.INFO old s"), Reply::Null);
        assert_eq!(client.ask("WINDOW.GET old s count:1s"), ints(&[0]));
        assert_eq!(scan(client, ""), HashSet::from([b"new".to_vec()]));
        assert_eq!(client.ask("ENTITY.DEL old s"), Reply::Int(0));
    };
    gone(&mut client);
    client.ask("STREAM.ALTER s ADD WINDOWS all SET TTL 1d").assert_ok();
    gone(&mut client);
    eventually("the dead are reclaimed", || client.ask("DBSIZE") == Reply::Int(1));
    gone(&mut client);
    running.shutdown().unwrap();
    let running = start_on(config(1), Arc::new(disk));
    let mut client = Client::connect(&running);
    gone(&mut client);
    client.ask("EVENT.ADD old s 1003001").assert_ok();
    assert_eq!(client.ask("WINDOW.GET old s count:all"), ints(&[1]), "it starts from nothing");
}
