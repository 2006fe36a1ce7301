//! FLUSHALL: everything goes at once, on every shard, for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, command, config, eventually, start, start_on};

fn integer(reply: Reply) -> i64 {
    match reply {
        Reply::Int(value) => value,
        other => panic!("expected an integer, got {other:?}"),
    }
}

fn dataset_bytes(client: &mut Client) -> u64 {
    let info = client.ask("INFO memory").text();
    let bytes = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
    bytes.and_then(|bytes| bytes.parse().ok()).expect("INFO shows it")
}

#[test]
fn a_flushed_server_has_its_streams_and_nothing_in_them_also_after_a_restart() {
    let disk = MemDisk::new();
    let mut running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client
        .ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count sum(v) CLOCK EVENT DEDUP 1h")
        .assert_ok();
    client.ask("STREAM.CREATE t WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("STREAM.ALTER t ADD WINDOWS 2h").assert_ok();
    for i in 0..50 {
        client.ask(&format!("EVENT.ADD e{i} s ID id{i} 5000000 v 3")).assert_ok();
        client.ask(&format!("EVENT.ADD e{i} t SOURCE src {} *", i + 1)).assert_ok();
    }
    client.ask("FLUSHALL NOW").assert_error("syntax error");
    client.ask("FLUSHALL SYNC ASYNC").assert_error("syntax error");
    client.ask("FLUSHALL").assert_ok();
    client.ask("FLUSHALL ASYNC").assert_ok();
    for shards in [3, 1] {
        let mut client = Client::connect(&running);
        assert_eq!(client.ask("DBSIZE"), Reply::Int(0));
        assert_eq!(client.ask("STREAM.LIST").array().len(), 2);
        assert_eq!(client.ask("WINDOW.GET e1 t count:2h"), Reply::Array(vec![Reply::Int(0)]));
        let info = client.ask("STREAM.INFO s").array();
        let at = |name: &str| info.iter().position(|key| *key == Reply::Bulk(name.into())).unwrap() + 1;
        assert_eq!(info[at("ok")], Reply::Int(0));
        assert_eq!(info[at("clock")], Reply::Null, "the clock is of events that are gone");
        running.shutdown().unwrap();
        running = start_on(config(shards), Arc::new(disk.clone()));
    }
    // What was remembered to count once is gone too: the same events count again.
    let mut client = Client::connect(&running);
    for i in 0..50 {
        client.ask(&format!("EVENT.ADD e{i} s ID id{i} 1000 v 3")).assert_ok();
        client.ask(&format!("EVENT.ADD e{i} t SOURCE src {} *", i + 1)).assert_ok();
    }
    assert_eq!(client.ask("DBSIZE"), Reply::Int(100));
    running.shutdown().unwrap();
    running = start_on(config(2), Arc::new(disk));
    let mut client = Client::connect(&running);
    assert_eq!(client.ask("DBSIZE"), Reply::Int(100));
    assert_eq!(client.ask("WINDOW.GET e7 s sum(v):1h"), Reply::Array(vec![Reply::Int(3)]));
}

#[test]
fn memory_of_what_was_flushed_is_given_back() {
    const EVENTS: usize = 20_000;
    let running = start(2);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count DEDUP 1h").assert_ok();
    let mut fill = |round: usize| -> u64 {
        let mut bytes = Vec::new();
        for i in 0..EVENTS {
            command(&mut bytes, &format!("EVENT.ADD r{round}e{i} s ID i{i} *"));
        }
        client.send(&bytes);
        for _ in 0..EVENTS {
            client.read().assert_ok();
        }
        let bytes = dataset_bytes(&mut client);
        client.ask("FLUSHALL").assert_ok();
        eventually("nothing is remembered any more", || {
            client.ask("INFO memory").text().contains("dedup_ids:0\r\n")
        });
        bytes
    };
    let first = fill(0);
    (1..6).map(fill).for_each(drop);
    eventually("records are reclaimed", || dataset_bytes(&mut client) <= 2 * first);
}

#[test]
fn an_event_in_flight_across_a_flush_is_counted_after_it_or_goes_with_it() {
    const CLIENTS: usize = 4;
    let disk = MemDisk::new();
    let running = start_on(config(3), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1d@1h AGGREGATE count").assert_ok();
    // Which flush was last asked for, and which was last answered.
    let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    const FLUSHES: usize = 20;
    let writers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut writer = Client::connect(&running);
            let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
            std::thread::spawn(move || {
                // Counted for certain, and perhaps, since the last flush.
                let (mut surely, mut perhaps) = (0, 0);
                for i in 0.. {
                    let after = answered.load(Ordering::SeqCst);
                    let reply = writer.ask(&format!("EVENT.ADD e{} s *", (i * 7 + number) % 50));
                    let before = asked.load(Ordering::SeqCst);
                    match reply {
                        Reply::Simple(text) if text == "OK" => {
                            surely += i64::from(after == FLUSHES);
                            perhaps += i64::from(before == FLUSHES);
                        }
                        Reply::Error(text) => assert!(text.contains("flushed"), "{text}"),
                        other => panic!("{other:?}"),
                    }
                    if surely == 200 {
                        break;
                    }
                }
                (surely, perhaps)
            })
        })
        .collect();
    for flush in 1..=FLUSHES {
        std::thread::sleep(std::time::Duration::from_millis(5));
        asked.store(flush, Ordering::SeqCst);
        client.ask("FLUSHALL").assert_ok();
        answered.store(flush, Ordering::SeqCst);
    }
    let outcomes: Vec<(i64, i64)> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let surely: i64 = outcomes.iter().map(|(surely, _)| surely).sum();
    let perhaps: i64 = outcomes.iter().map(|(_, perhaps)| perhaps).sum();
    let count = |client: &mut Client| -> i64 {
        let row = |e| client.ask(&format!("WINDOW.GET e{e} s count:1d")).array().pop().unwrap();
        (0..50).map(row).map(integer).sum()
    };
    let counted = count(&mut client);
    assert!((surely..=perhaps).contains(&counted), "{surely} <= {counted} <= {perhaps}");
    running.shutdown().unwrap();
    let running = start_on(config(2), Arc::new(disk));
    assert_eq!(count(&mut Client::connect(&running)), counted);
}
