//! Clients that behave badly, and limits.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, command, config, eventually, start, start_on};
use crate::Config;

fn start_with(change: impl FnOnce(&mut Config)) -> crate::Running {
    let mut config = config(2);
    change(&mut config);
    start_on(config, Arc::new(MemDisk::new()))
}

#[test]
fn a_client_may_send_100_000_commands_before_it_reads_a_reply() {
    for shards in [1, 2] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m 5m@1m AGGREGATE count sum(v)").assert_ok();
        let mut bytes = Vec::new();
        for i in 0..50_000 {
            command(&mut bytes, &format!("EVENT.ADD e{} s * v 1", i % 1_000));
            command(&mut bytes, &format!("WINDOW.GET e{} s", i % 1_000));
        }
        client.send(&bytes);
        for i in 0..50_000 {
            client.read().assert_ok();
            assert_eq!(client.read().array()[1], Reply::Int(i / 1_000 + 1));
        }
    }
}

#[test]
fn a_client_that_never_reads_is_stopped_then_closed_and_harms_nobody() {
    let running = start_with(|config| {
        config.output_soft_bytes = 256 << 10;
        config.output_hard_bytes = 64 << 20;
        config.output_stall_s = 1;
    });
    let mut other = Client::connect(&running);
    let mut greedy = Client::connect(&running);
    greedy.socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..1_000 {
        command(&mut bytes, &format!("ECHO {}", "x".repeat(1_000)));
    }
    // It sends until the server takes no more: what it may have unread is bounded.
    let mut sent_bytes = 0;
    while greedy.socket.write_all(&bytes).is_ok() {
        sent_bytes += bytes.len();
        assert!(sent_bytes < 512 << 20, "the server goes on reading from a client that never reads");
    }
    assert_eq!(other.ask("PING"), Reply::Simple("PONG".to_owned()));
    eventually("the client is closed", || {
        let list = other.ask("CLIENT LIST").text();
        list.lines().count() == 1
    });
    let info = other.ask("INFO stats").text();
    assert!(info.contains("client_output_buffer_limit_disconnections:1\r\n"), "{info}");
}

#[test]
fn one_reply_past_the_hard_limit_closes_the_client() {
    let running = start_with(|config| {
        config.output_soft_bytes = 64 << 10;
        config.output_hard_bytes = 64 << 10;
        config.streams = None;
    });
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    // 40,000 rows of about 30 bytes are far more than socket buffers and limit.
    let entities = " e".repeat(40_000);
    let mut bytes = Vec::new();
    for _ in 0..200 {
        command(&mut bytes, &format!("WINDOW.MGET 40000{entities} s"));
    }
    let _ = client.socket.write_all(&bytes);
    let mut other = Client::connect(&running);
    eventually("the client is closed", || other.ask("CLIENT LIST").text().lines().count() == 1);
}

#[test]
fn a_gathered_reply_above_the_soft_limit_and_below_the_hard_one_arrives() {
    for shards in [1, 2] {
        let mut config = config(shards);
        config.output_soft_bytes = 64 << 10;
        let running = start_on(config, Arc::new(MemDisk::new()));
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
        let entities: String = (0..40_000).map(|i| format!(" e{i}")).collect();
        let rows = client.ask(&format!("WINDOW.MGET 40000{entities} s")).array();
        assert_eq!(rows.len(), 40_000);
    }
}

#[test]
fn half_a_command_and_silence_costs_its_bytes_and_ends_with_the_timeout() {
    let running = start(2);
    let mut half = Client::connect(&running);
    half.send(b"*3\r\n$9\r\nEVENT.ADD\r\n$1000\r\nabc");
    let mut other = Client::connect(&running);
    let mut queued = String::new();
    eventually("the server has the half command", || {
        let list = other.ask("CLIENT LIST").text();
        queued = list.lines().next().unwrap().to_owned();
        queued.contains("qbuf=29 ")
    });
    let memory: usize = queued.split("tot-mem=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(memory < 64 << 10, "{queued}");
    other.ask("CONFIG SET timeout 1").assert_ok();
    eventually("the client is closed", || {
        let list = other.ask("CLIENT LIST").text();
        list.lines().count() == 1
    });
    assert!(half.is_closed());
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let running = start(1);
    let mut idle = Client::connect(&running);
    idle.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    idle.ask("EVENT.ADD e s *").assert_ok();
    let mut other = Client::connect(&running);
    let list = other.ask("CLIENT LIST").text();
    let memory: usize = list.split("tot-mem=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((1..4096).contains(&memory), "{list}");
}

#[test]
fn one_client_more_than_maxclients_is_refused() {
    let running = start_with(|config| config.maxclients = 3);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&running)).collect();
    for client in &mut clients {
        assert_eq!(client.ask("PING"), Reply::Simple("PONG".to_owned()));
    }
    let mut refused = Client::connect(&running);
    refused.read().assert_error("ERR max number of clients reached");
    assert!(refused.is_closed());
    clients.pop();
    eventually("its place is free", || {
        Client::connect(&running).try_read_after_ping() == Some(Reply::Simple("PONG".to_owned()))
    });
}

#[test]
fn before_auth_little_is_taken_and_nothing_is_done() {
    let running = start_with(|config| config.requirepass = "secret".to_owned());
    let mut client = Client::connect(&running);
    for words in [
        "PING",
        "STREAM.LIST",
        "EVENT.ADD e s *",
        "WINDOW.GET e s",
        "CONFIG GET *",
        "SHUTDOWN",
        "CLIENT LIST",
    ] {
        client.ask(words).assert_error("NOAUTH");
    }
    client.ask("HELLO 3").assert_error("NOAUTH");
    client.ask("AUTH wrong").assert_error("WRONGPASS");
    client.ask("AUTH other secret").assert_error("WRONGPASS");
    client.ask("AUTH secret").assert_ok();
    assert_eq!(client.ask("PING"), Reply::Simple("PONG".to_owned()));

    let mut many = Client::connect(&running);
    many.send(b"*11\r\n");
    many.read().assert_error("unauthenticated multibulk length");
    assert!(many.is_closed());
    let mut long = Client::connect(&running);
    long.send(b"*2\r\n$4\r\nAUTH\r\n$20000\r\n");
    long.read().assert_error("unauthenticated bulk length");
    assert!(long.is_closed());
}

#[test]
fn a_command_that_fills_the_query_buffer_is_refused_wherever_it_is_cut() {
    const LIMIT: usize = 64 << 10;
    let running = start_with(|config| config.query_buffer_bytes_max = LIMIT as u64);
    for cut in 0..24 {
        // Words of 10 bytes on the wire, so that the buffer ends at every place of one.
        let mut bytes = format!("*100000\r\n${cut}\r\n{}\r\n", "x".repeat(cut)).into_bytes();
        while bytes.len() < LIMIT {
            bytes.extend_from_slice(b"$4\r\nword\r\n");
        }
        bytes.truncate(LIMIT);
        let mut client = Client::connect(&running);
        client.send(&bytes);
        client.read().assert_error("too big request");
        assert!(client.is_closed(), "cut {cut}");
    }
}

#[test]
fn a_skipped_reply_stays_away_when_it_comes_from_elsewhere() {
    for shards in [1, 2] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        let mut bytes = Vec::new();
        for words in [
            "CLIENT REPLY SKIP",
            "STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count",
            "CLIENT REPLY SKIP",
            "STREAM.INFO s",
            "PING",
            "STREAM.LIST",
        ] {
            command(&mut bytes, words);
        }
        client.send(&bytes);
        assert_eq!(client.read(), Reply::Simple("PONG".to_owned()));
        assert_eq!(client.read().array().len(), 1);
    }
}

#[test]
fn bad_input_is_answered_and_the_connection_goes_on() {
    let running = start(2);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count").assert_ok();
    for (words, part) in [
        ("FOO a b", "ERR unknown command 'FOO', with args beginning with: 'a' 'b' "),
        ("STREAM.ALTER s SET TTL 9d BACKFILL", "BACKFILL stands once, behind ADD WINDOWS or ADD AGGREGATE"),
        (
            "STREAM.CREATE t WINDOWS 1h AGGREGATE count BACKFILL FROM nope",
            "no stream 'nope' to take events from",
        ),
        ("STREAM.ALTER s DROP WINDOWS 2h", "'2h' is none of the stream's windows"),
        ("ENTITY.DEL e nope", "no such stream 'nope'"),
        ("ENTITY.SCAN s 77", "invalid cursor"),
        ("EVENT.ADD e", "ERR wrong number of arguments for 'event.add' command"),
        ("EVENT.ADD e nope *", "no such stream 'nope'"),
        ("EVENT.ADD e s yesterday", "'yesterday' is not an event time"),
        ("EVENT.ADD e s * w 1", "unknown field 'w'"),
        ("EVENT.ADD e s * v", "field 'v' has no value"),
        ("EVENT.ADD e s * v 1 v 2", "stands twice"),
        ("EVENT.MADD s FIELDS 1 v EVENTS e * 1 e2", "not rows of 3"),
        ("WINDOW.GET e s nothing:5m", "nothing"),
        ("WINDOW.GET e nope", "no such stream 'nope'"),
        ("WINDOW.MGET 0 e s", "numentities"),
        ("WINDOW.MGET 9 e s", "number of args"),
        ("WINDOW.RANGE e s count 5 1", "begins at 5"),
        ("WINDOW.GET e s AT", "AT needs a timestamp"),
        ("WINDOW.GET e s AT now", "not 'now'"),
        ("WINDOW.GET e s AT EVENT AT 5", "AT is given twice"),
        ("WINDOW.GET e s OFFSET count:1h", "OFFSET needs a duration such as 5m, not 'count:1h'"),
        ("WINDOW.GET e s OFFSET -5m", "OFFSET needs a duration"),
        ("WINDOW.GET e s HOP 0s", "HOP needs a duration"),
        ("WINDOW.GET e s EDGE both", "EDGE needs INCLUDE or EXCLUDE, not 'both'"),
        ("WINDOW.GET e s FINAL", "LATENESS"),
        ("WINDOW.GET e s count:1h WITHMETA", "unknown feature 'WITHMETA'"),
        ("WINDOW.JOIN 1 e s FEATURES", "wrong number of arguments"),
        ("WINDOW.JOIN 0 e s FEATURES 1 count:1h", "numpairs"),
        ("WINDOW.JOIN 9 e s FEATURES 1 count:1h", "number of args"),
        ("WINDOW.JOIN 99999 e s FEATURES 1 count:1h", "more than 16384"),
        ("WINDOW.JOIN 1 e nope FEATURES 1 count:1h", "no such stream 'nope'"),
        ("WINDOW.JOIN 1 e s AT EVENT HOP 1s", "FEATURES <m> <feature> ... is missing"),
        ("WINDOW.JOIN 1 e s count:1h FEATURES 1 count:1h", "not 'count:1h'"),
        ("WINDOW.JOIN 1 e s FEATURES 2 count:1h", "a list has 1 features, not 2"),
        ("WINDOW.JOIN 1 e s FEATURES x count:1h", "begins with their count, 0 to 1024, not 'x'"),
        ("WINDOW.JOIN 1 e s FEATURES 1 count:1h 1 count:1h", "stands behind the last list"),
        ("WINDOW.JOIN 3 a s b s c s FEATURES 1 count:1h 1 count:1h", "2 lists of features for 3 pairs"),
        ("WINDOW.JOIN 1 e s FEATURES 1 count", "unknown feature 'count'"),
        ("WINDOW.TOP nope count:1h 5", "no such stream 'nope'"),
        ("WINDOW.TOP s count:9h 5", "count:9h"),
        ("WINDOW.TOP s count:1h 0", "k is from 1 to 1000, not '0'"),
        ("WINDOW.TOP s count:1h 1001", "k is from 1 to 1000"),
        ("STREAM.CREATE t WINDOWS 1x AGGREGATE count", "'1x' is not a window"),
        ("CLIENT NOTHING", "unknown subcommand 'NOTHING'"),
        ("SELECT 1", "DB index is out of range"),
        ("CONFIG SET port 1", "immutable"),
    ] {
        client.ask(words).assert_error(part);
    }
    let long = format!("EVENT.ADD {} s *", "e".repeat(1_025));
    client.ask(&long).assert_error("an entity has 1 to 1024 bytes");
    client.ask(&format!("WINDOW.GET {} s", "e".repeat(1_025))).assert_error("an entity has 1 to 1024 bytes");
    client.send(b"*0\r\n\r\n*-1\r\n");
    assert_eq!(client.ask("PING"), Reply::Simple("PONG".to_owned()));
}

#[test]
fn a_protocol_error_is_answered_after_what_came_before_and_ends_the_connection() {
    for shards in [1, 2] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
        let mut bytes = Vec::new();
        for i in 0..20 {
            command(&mut bytes, &format!("EVENT.ADD e{i} s *"));
        }
        bytes.extend_from_slice(b"*1\r\n!4\r\nPING\r\n");
        client.send(&bytes);
        for _ in 0..20 {
            client.read().assert_ok();
        }
        client.read().assert_error("Protocol error: expected '$', got '!'");
        assert!(client.is_closed());
        assert_eq!(Client::connect(&running).ask("PING"), Reply::Simple("PONG".to_owned()));
    }
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_replies() {
    let running = start(2);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    let mut bytes = Vec::new();
    for i in 0..3_000 {
        command(&mut bytes, &format!("EVENT.ADD e{i} s *"));
    }
    client.send(&bytes);
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..3_000 {
        client.read().assert_ok();
    }
    assert!(client.is_closed());
}

#[test]
fn many_clients_share_the_shards_evenly() {
    let running = start(4);
    let clients: Vec<Client> = (0..40).map(|_| Client::connect(&running)).collect();
    let mut first = Client::connect(&running);
    eventually("all are accepted", || first.ask("CLIENT LIST").text().lines().count() == 41);
    let list = first.ask("CLIENT LIST").text();
    for shard in 0..4 {
        let count = list.lines().filter(|line| line.contains(&format!(" shard={shard} "))).count();
        assert!((10..=11).contains(&count), "shard {shard} has {count}");
    }
    drop(clients);
}

impl Client {
    /// PING, on a connection that may be refused.
    fn try_read_after_ping(&mut self) -> Option<Reply> {
        let _ = self.socket.write_all(b"PING\r\n");
        self.try_read()
    }
}
