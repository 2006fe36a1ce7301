//! Replies in order, reads after writes, whatever shard they go to.

use std::sync::Arc;

use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, SlowSync, command, config, start, start_on};
use crate::Config;
use crate::config::AppendFsync;

const STREAM: &str = "STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count sum(v)";

/// Mixed commands over many entities; every reply tells which command it belongs to.
fn pipelined_commands_are_answered_in_order(shards: usize) {
    let running = start(shards);
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    let mut bytes = Vec::new();
    for i in 0..2_000 {
        command(&mut bytes, &format!("EVENT.ADD e{i} s * v {i}"));
        command(&mut bytes, &format!("ECHO {i}"));
        command(&mut bytes, &format!("WINDOW.GET e{i} s sum(v):1h count:1h"));
        command(&mut bytes, &format!("EVENT.ADD e{i} s * v x{i}"));
        command(&mut bytes, &format!("WINDOW.MGET 3 e{i} e{} none s sum(v):1h", i / 2));
    }
    let mut writer = client.socket.try_clone().unwrap();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes).unwrap());
    for i in 0..2_000i64 {
        client.read().assert_ok();
        assert_eq!(client.read().text(), i.to_string());
        assert_eq!(client.read(), Reply::Array(vec![Reply::Int(i), Reply::Int(1)]));
        client.read().assert_error(&format!("'x{i}'"));
        let row = |value: i64| Reply::Array(vec![Reply::Int(value)]);
        assert_eq!(client.read(), Reply::Array(vec![row(i), row(i / 2), row(0)]));
    }
    sending.join().unwrap();
}

#[test]
fn pipelined_commands_are_answered_in_order_by_one_shard() {
    pipelined_commands_are_answered_in_order(1);
}

#[test]
fn pipelined_commands_are_answered_in_order_by_four_shards() {
    pipelined_commands_are_answered_in_order(4);
}

#[test]
fn a_read_sees_the_writes_sent_before_it_and_none_sent_after() {
    let running = start(4);
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    let mut bytes = Vec::new();
    for i in 0..500 {
        for entity in 0..7 {
            command(&mut bytes, &format!("EVENT.ADD e{entity} s * v 1"));
        }
        command(&mut bytes, &format!("WINDOW.GET e{} s count:1h", i % 7));
    }
    client.send(&bytes);
    for i in 1..=500 {
        for _ in 0..7 {
            client.read().assert_ok();
        }
        assert_eq!(client.read(), Reply::Array(vec![Reply::Int(i)]));
    }
}

#[test]
fn a_read_that_its_owner_must_answer_does_not_see_a_write_sent_after_it() {
    // Under `always`, a record that is not durable yet is read by its owner; slow syncs and a second writer make that the rule.
    let config = Config { appendfsync: AppendFsync::Always, ..config(4) };
    let running = start_on(config, Arc::new(SlowSync(MemDisk::new())));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE t FIELDS v INT WINDOWS 1h@1m AGGREGATE sum(v)").assert_ok();
    let mut other = Client::connect(&running);
    const ENTITIES: usize = 8;
    const ROUNDS: i64 = 12;
    let mut writes = Vec::new();
    for entity in 0..ENTITIES {
        command(&mut writes, &format!("EVENT.ADD e{entity} t * v 0"));
    }
    let mut pipeline = Vec::new();
    for entity in 0..ENTITIES {
        for words in ["WINDOW.GET # t sum(v):1h", "EVENT.ADD # t * v 1", "WINDOW.GET # t sum(v):1h"] {
            command(&mut pipeline, &words.replace('#', &format!("e{entity}")));
        }
    }
    for round in 0..ROUNDS {
        other.send(&writes);
        client.send(&pipeline);
        for entity in 0..ENTITIES {
            assert_eq!(client.read(), Reply::Array(vec![Reply::Int(round)]), "e{entity} before its write");
            client.read().assert_ok();
            assert_eq!(client.read(), Reply::Array(vec![Reply::Int(round + 1)]), "e{entity} after its write");
        }
        for _ in 0..ENTITIES {
            other.read().assert_ok();
        }
    }
}

#[test]
fn an_acknowledged_event_is_visible_on_every_connection() {
    let running = start(4);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(&running)).collect();
    clients[0].ask(STREAM).assert_ok();
    for i in 0..200usize {
        clients[i % 8].ask(&format!("EVENT.ADD e{} s * v 1", i % 3)).assert_ok();
        let seen = clients[(i + 3) % 8].ask(&format!("WINDOW.GET e{} s count:1h", i % 3));
        assert_eq!(seen, Reply::Array(vec![Reply::Int(i as i64 / 3 + 1)]));
    }
}

#[test]
fn a_command_of_many_rows_answers_each_row_in_its_place() {
    for shards in [1, 4] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        let rows: String = (0..3_000)
            .map(|i| format!(" e{i} * {}", if i % 10 == 3 { "x".into() } else { i.to_string() }))
            .collect();
        let mut bytes = Vec::new();
        command(&mut bytes, &format!("EVENT.MADD s FIELDS 1 v EVENTS{rows}"));
        command(&mut bytes, "EVENT.ADD e0 s * v 5");
        let entities: String = (0..3_000).map(|i| format!(" e{i}")).collect();
        command(&mut bytes, &format!("WINDOW.MGET 3000{entities} s sum(v):1h"));
        command(&mut bytes, "PING");
        client.send(&bytes);
        for (i, reply) in client.read().array().into_iter().enumerate() {
            if i % 10 == 3 { reply.assert_error("field 'v'") } else { reply.assert_ok() }
        }
        client.read().assert_ok();
        let values = client.read().array();
        assert_eq!(values.len(), 3_000);
        for (i, row) in values.into_iter().enumerate() {
            let expected = if i == 0 {
                5
            } else if i % 10 == 3 {
                0
            } else {
                i as i64
            };
            assert_eq!(row, Reply::Array(vec![Reply::Int(expected)]), "entity {i}");
        }
        assert_eq!(client.read(), Reply::Simple("PONG".to_owned()));
    }
}

#[test]
fn a_range_of_many_buckets_is_one_array() {
    for shards in [1, 4] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE r WINDOWS 1h@1s AGGREGATE count CLOCK EVENT SKEW 1d REJECT").assert_ok();
        for entity in 0..4 {
            client.ask(&format!("EVENT.ADD e{entity} r 3500000")).assert_ok();
            let pairs =
                client.ask(&format!("WINDOW.RANGE e{entity} r count 1000000 3600000 BUCKET 1s")).array();
            assert_eq!(pairs.len(), 2_600);
            for (i, pair) in pairs.into_iter().enumerate() {
                let start_ms = 1_000_000 + i as i64 * 1_000;
                let count = i64::from(start_ms == 3_500_000);
                assert_eq!(pair, Reply::Array(vec![Reply::Int(start_ms), Reply::Int(count)]));
            }
        }
    }
}

#[test]
fn a_flood_to_one_shard_loses_nothing_when_credits_run_out() {
    let running = start(2);
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    let mut bytes = Vec::new();
    for _ in 0..50_000 {
        command(&mut bytes, "EVENT.ADD {a}x s * v 1");
        command(&mut bytes, "EVENT.ADD {b}x s * v 1");
    }
    let mut writer = client.socket.try_clone().unwrap();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes).unwrap());
    for _ in 0..100_000 {
        client.read().assert_ok();
    }
    sending.join().unwrap();
    for entity in ["{a}x", "{b}x"] {
        assert_eq!(
            client.ask(&format!("WINDOW.GET {entity} s count:1h")),
            Reply::Array(vec![Reply::Int(50_000)])
        );
    }
}
