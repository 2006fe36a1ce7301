//! Streams: the barrier, durability, idempotence.

use std::sync::Arc;

use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, command, config, start, start_on};

#[test]
fn after_stream_create_is_ok_every_shard_knows_the_stream() {
    let running = start(4);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(&running)).collect();
    for i in 0..20 {
        clients[i % 8].ask(&format!("STREAM.CREATE s{i} WINDOWS 1h@1m AGGREGATE count")).assert_ok();
        for (j, client) in clients.iter_mut().enumerate() {
            client.ask(&format!("EVENT.ADD e{j} s{i} *")).assert_ok();
        }
    }
}

#[test]
fn the_next_command_of_a_pipeline_finds_the_stream_created() {
    let running = start(4);
    let mut client = Client::connect(&running);
    let mut bytes = Vec::new();
    command(&mut bytes, "STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count");
    for i in 0..50 {
        command(&mut bytes, &format!("EVENT.ADD e{i} s *"));
    }
    command(&mut bytes, "STREAM.DROP s");
    command(&mut bytes, "EVENT.ADD e1 s *");
    client.send(&bytes);
    for _ in 0..52 {
        client.read().assert_ok();
    }
    client.read().assert_error("no such stream 's'");
}

#[test]
fn the_same_definition_again_is_ok_and_another_one_changes_nothing() {
    let running = start(2);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS a INT WINDOWS 1h@1m AGGREGATE count sum(a)").assert_ok();
    client.ask("STREAM.CREATE s FIELDS a INT WINDOWS 60m@1m AGGREGATE sum(a) count").assert_ok();
    client
        .ask("STREAM.CREATE s FIELDS a INT WINDOWS 2h@1m AGGREGATE count sum(a)")
        .assert_error("another definition");
    client.ask("EVENT.ADD e s * a 3").assert_ok();
    assert_eq!(client.ask("WINDOW.GET e s sum(a):1h"), Reply::Array(vec![Reply::Int(3)]));
}

#[test]
fn a_dropped_stream_takes_its_entities_with_it() {
    for shards in [1, 4] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
        for i in 0..100 {
            client.ask(&format!("EVENT.ADD e{i} s *")).assert_ok();
        }
        assert_eq!(client.ask("DBSIZE"), Reply::Int(100));
        client.ask("STREAM.DROP s").assert_ok();
        assert_eq!(client.ask("DBSIZE"), Reply::Int(0));
        client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
        assert_eq!(client.ask("WINDOW.GET e1 s count:1h"), Reply::Array(vec![Reply::Int(0)]));
        assert_eq!(client.ask("STREAM.LIST"), Reply::Array(vec![Reply::Bulk(b"s".to_vec())]));
        client.ask("STREAM.DROP t").assert_error("no such stream 't'");
    }
}

#[test]
fn events_and_streams_survive_a_restart_with_any_number_of_shards() {
    let disk = MemDisk::new();
    for (expected, shards) in (0..).zip([2, 3, 1, 4]) {
        let running = start_on(config(shards), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count sum(v)").assert_ok();
        for i in 0..40 {
            let row = client.ask(&format!("WINDOW.GET e{i} s count:1h sum(v):1h"));
            assert_eq!(
                row,
                Reply::Array(vec![Reply::Int(expected), Reply::Int(expected * i)]),
                "{shards} shards"
            );
            client.ask(&format!("EVENT.ADD e{i} s * v {i}")).assert_ok();
        }
        running.shutdown().unwrap();
    }
}

#[test]
fn stream_info_counts_over_all_shards() {
    for shards in [1, 4] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count LATENESS 10s").assert_ok();
        for i in 0..30 {
            client.ask(&format!("EVENT.ADD e{i} s * v 1")).assert_ok();
        }
        assert_eq!(client.ask("EVENT.ADD e1 s 1000"), Reply::Simple("LATE".to_owned()));
        client.ask("EVENT.ADD e1 s * v x").assert_error("field 'v'");
        let info = client.ask("STREAM.INFO s").array();
        let value = |name: &str| {
            let at = info.iter().position(|key| *key == Reply::Bulk(name.into())).unwrap();
            info[at + 1].clone()
        };
        assert_eq!(value("entities"), Reply::Int(30));
        assert_eq!(
            (value("ok"), value("late"), value("errors")),
            (Reply::Int(30), Reply::Int(1), Reply::Int(1))
        );
        assert_eq!(info.len() % 2, 0);
        client.ask("STREAM.INFO t").assert_error("no such stream 't'");
    }
}

#[test]
fn streams_of_a_file_are_there_when_data_commands_are_served() {
    let path = std::env::temp_dir().join(format!("windrow-streams-{}.toml", std::process::id()));
    std::fs::write(&path, "[streams.f]\nwindows = ['5m']\naggregate = ['count']\n").unwrap();
    let disk = MemDisk::new();
    for _ in 0..2 {
        let config = crate::Config { streams: Some(path.clone()), ..config(2) };
        let running = start_on(config, Arc::new(disk.clone()));
        Client::connect(&running).ask("EVENT.ADD e f *").assert_ok();
        running.shutdown().unwrap();
    }
    // What ALTER can express is applied.
    std::fs::write(&path, "[streams.f]\nwindows = ['5m', '10m']\naggregate = ['count', 'rate']\n").unwrap();
    let altered = crate::Config { streams: Some(path.clone()), ..config(2) };
    let running = start_on(altered, Arc::new(disk.clone()));
    let row = Client::connect(&running).ask("WINDOW.GET e f count:5m count:10m");
    assert_eq!(row.array()[0], Reply::Int(2));
    running.shutdown().unwrap();
    std::fs::write(&path, "[streams.f]\nwindows = ['5m', '10m@1m']\naggregate = ['count']\n").unwrap();
    let config = crate::Config { streams: Some(path.clone()), ..config(2) };
    let error = crate::Server::start_on(config, Arc::new(disk), crate::clock::Clock::system()).err().unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = error.to_string();
    for part in [
        "stream 'f' exists with another definition",
        "bucket width of window 10m",
        "- WINDOWS 5m@5s 10m@10s",
        "+ WINDOWS 5m@5s 10m@1m",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
