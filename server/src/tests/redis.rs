//! What clients and tools written for Redis expect.

use std::sync::Arc;

use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, config, start, start_on};
use crate::Config;
use crate::config::MaxmemoryPolicy;

#[test]
fn hello_chooses_the_protocol() {
    let running = start(1);
    let mut client = Client::connect(&running);
    let hello = client.ask("HELLO 2 SETNAME me").array();
    assert_eq!(hello[..4], ["server", "redis", "version", "7.4.0"].map(|text| Reply::Bulk(text.into())));
    assert_eq!(client.ask("CLIENT GETNAME").text(), "me");
    client.ask("HELLO 4").assert_error("NOPROTO");
    client.ask("HELLO x").assert_error("not an integer");
    client.ask("STREAM.CREATE s FIELDS v FLOAT WINDOWS 1h@1m AGGREGATE avg(v)").assert_ok();
    client.ask("EVENT.ADD e s * v 1.5").assert_ok();
    client.send(b"HELLO 3\r\nWINDOW.GET e s\r\nWINDOW.GET e s avg(v):1h\r\nWINDOW.GET f s avg(v):1h\r\nHELLO 2\r\nPING\r\n");
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !received.ends_with(b"+PONG\r\n") {
        let count = std::io::Read::read(&mut client.socket, &mut buffer).unwrap();
        received.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8(received).unwrap();
    assert!(text.contains("%8\r\n$6\r\nserver\r\n"), "{text}");
    assert!(text.contains("%1\r\n$9\r\navg(v):1h\r\n,1.5\r\n*1\r\n,1.5\r\n*1\r\n_\r\n"), "{text}");
}

#[test]
fn client_reply_off_and_skip_silence_exactly_what_they_say() {
    for shards in [1, 4] {
        let running = start(shards);
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
        client.send(b"CLIENT REPLY OFF\r\nPING\r\nEVENT.ADD a s *\r\nEVENT.ADD b s *\r\nWINDOW.MGET 2 a b s\r\nFOO\r\nCLIENT REPLY ON\r\n");
        client.read().assert_ok();
        client.send(b"CLIENT REPLY SKIP\r\nEVENT.ADD a s *\r\nEVENT.ADD b s *\r\nCLIENT REPLY SKIP\r\nPING\r\nECHO end\r\n");
        client.read().assert_ok();
        assert_eq!(client.read().text(), "end");
        let counts = client.ask("WINDOW.MGET 2 a b s count:1h").array();
        assert_eq!(counts, vec![Reply::Array(vec![Reply::Int(2)]); 2]);
    }
}

#[test]
fn client_kill_closes_the_client_that_is_named() {
    let running = start(4);
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(&running)).collect();
    let Reply::Int(id) = clients[3].ask("CLIENT ID") else { panic!("an id is an integer") };
    assert_eq!(clients[0].ask(&format!("CLIENT KILL ID {id}")), Reply::Int(1));
    assert!(clients[3].is_closed());
    assert_eq!(clients[0].ask("CLIENT KILL ID 9999"), Reply::Int(0));
    let address = clients[4].socket.local_addr().unwrap();
    clients[0].ask(&format!("CLIENT KILL {address}")).assert_ok();
    assert!(clients[4].is_closed());
    clients[0].ask("CLIENT KILL 1.2.3.4:5").assert_error("No such client");
    assert_eq!(clients[5].ask("PING"), Reply::Simple("PONG".to_owned()));
}

#[test]
fn config_get_takes_patterns_and_config_set_all_or_nothing() {
    let running = start(2);
    let mut client = Client::connect(&running);
    let found = client.ask("CONFIG GET maxmem* save").array();
    let names: Vec<String> = found.into_iter().step_by(2).map(Reply::text).collect();
    assert_eq!(names, ["save", "maxmemory", "maxmemory-policy"]);
    client.ask("CONFIG SET timeout 7 maxclients 0").assert_error("maxclients");
    let value = |client: &mut Client, name: &str| {
        client.ask(&format!("CONFIG GET {name}")).array().pop().unwrap().text()
    };
    assert_eq!(value(&mut client, "timeout"), "0");
    client.ask("CONFIG SET timeout 7 maxmemory 100mb").assert_ok();
    assert_eq!(
        (value(&mut client, "timeout"), value(&mut client, "maxmemory")),
        ("7".into(), (100 << 20).to_string())
    );
    client.ask("CONFIG SET nothing 1").assert_error("Unknown option");
    client.ask("CONFIG RESETSTAT").assert_ok();
}

#[test]
fn patterns_are_bounded_wherever_they_are_taken() {
    let running = start(1);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("EVENT.ADD e s *").assert_ok();
    let (longest, longer) = ("*".repeat(1024), "*".repeat(1025));
    for words in ["ENTITY.SCAN s 0 MATCH ", "CONFIG GET ", "COMMAND LIST FILTERBY PATTERN "] {
        assert!(!client.ask(&format!("{words}{longest}")).array().is_empty(), "{words}");
        client
            .ask(&format!("{words}{longer}"))
            .assert_error("a pattern of 1025 bytes: it can have 1024 at most");
    }
    client.ask(&format!("CONFIG GET {longest} x")).assert_error("a pattern of 1025 bytes");
    // The last MATCH is the one that counts.
    let scanned = client.ask(&format!("ENTITY.SCAN s 0 MATCH {longer} MATCH e")).array();
    assert_eq!(scanned[1].clone().array().len(), 1);
    client
        .ask(&format!("CONFIG GET{}", " x".repeat(129)))
        .assert_error("too many patterns: 129, at most 128");
}

#[test]
fn a_full_memory_refuses_new_entities_and_serves_the_others() {
    let running = start(2);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("CONFIG SET maxmemory 1b").assert_error("is too little for 2 shards");
    client.ask("CONFIG SET maxmemory 12mb").assert_ok();
    // Rows are refused one by one once a shard's half is full.
    let rows = |from: u32| (from..from + 1000).map(|i| format!(" e{i} *")).collect::<String>();
    let mut refused = None;
    for thousand in 0..200 {
        let replies = client.ask(&format!("EVENT.MADD s FIELDS 0 EVENTS{}", rows(thousand * 1000))).array();
        let first = replies.iter().position(|reply| *reply != Reply::Simple("OK".into()));
        if let Some(first) = first {
            replies[first].assert_error("OOM command not allowed");
            refused = Some(thousand * 1000 + first as u32);
            break;
        }
    }
    let refused = refused.expect("12 MB do not hold 200,000 entities");
    let count =
        |client: &mut Client, entity: u32| client.ask(&format!("WINDOW.GET e{entity} s count:1h")).array();
    assert_eq!(count(&mut client, refused), [Reply::Int(0)]);
    client.ask("EVENT.ADD e7 s *").assert_ok();
    assert_eq!(count(&mut client, 7), [Reply::Int(2)], "entities that are there go on");
    client.ask("CONFIG SET maxmemory 0").assert_ok();
    client.ask(&format!("EVENT.ADD e{refused} s *")).assert_ok();
}

#[test]
fn a_full_memory_under_allkeys_lru_takes_every_event_and_a_restart_has_what_was_left() {
    const ENTITIES: u32 = 300_000;
    for (shards, shards_after) in [(2, 2), (2, 1)] {
        let disk = MemDisk::new();
        let policy = Config {
            maxmemory_bytes: 16 << 20,
            maxmemory_policy: MaxmemoryPolicy::AllKeysLru,
            ..config(shards)
        };
        let running = start_on(policy.clone(), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s WINDOWS all AGGREGATE count").assert_ok();
        for from in (0..ENTITIES).step_by(1000) {
            let rows = (from..from + 1000).map(|i| format!(" e{i} *")).collect::<String>();
            let replies = client.ask(&format!("EVENT.MADD s FIELDS 0 EVENTS{rows}")).array();
            assert!(replies.iter().all(|reply| *reply == Reply::Simple("OK".into())), "from {from}");
        }
        let kept = |client: &mut Client| -> Vec<Reply> {
            let entities = (0..ENTITIES).step_by(7).map(|i| format!(" e{i}")).collect::<String>();
            let count = ENTITIES.div_ceil(7);
            client.ask(&format!("WINDOW.MGET {count}{entities} s count:all")).array()
        };
        // Room is made ahead of need even now. Once every shard has answered twice, it has stopped.
        client.ask("CONFIG SET maxmemory-policy noeviction").assert_ok();
        for _ in 0..2 {
            client.ask("STREAM.INFO s").array();
        }
        let before = kept(&mut client);
        let Reply::Int(entities) = client.ask("DBSIZE") else { panic!("a number is expected") };
        assert!((10_000..200_000).contains(&entities), "{entities} entities");
        let evicted = format!("evicted_keys:{}\r\n", i64::from(ENTITIES) - entities);
        let info = client.ask("INFO stats").text();
        assert!(info.contains(&evicted), "{evicted} is missing in {info}");
        running.shutdown().unwrap();
        let after = Config { shards: shards_after, maxmemory_policy: MaxmemoryPolicy::NoEviction, ..policy };
        let running = start_on(after, Arc::new(disk));
        let mut client = Client::connect(&running);
        assert!(kept(&mut client) == before, "from {shards} to {shards_after} shards");
        assert_eq!(client.ask("DBSIZE"), Reply::Int(entities));
        client
            .ask("CONFIG SET maxmemory-policy volatile-lru")
            .assert_error("none of noeviction, allkeys-lru");
        client.ask("CONFIG SET maxmemory-policy allkeys-lru").assert_ok();
        let policy = client.ask("CONFIG GET maxmemory-policy").array().pop().unwrap().text();
        assert_eq!(policy, "allkeys-lru");
    }
}

#[test]
fn tools_find_what_they_ask_for() {
    let running = start(1);
    let mut client = Client::connect(&running);
    assert!(matches!(client.ask("COMMAND COUNT"), Reply::Int(count) if count > 20));
    assert!(client.ask("COMMAND").array().len() > 20);
    assert!(client.ask("COMMAND DOCS event.add").array().len() == 2);
    let info = client.ask("INFO").text();
    for line in ["redis_version:", "connected_clients:1\r\n", "used_memory:", "aof_enabled:1", "# Keyspace"] {
        assert!(info.contains(line), "{line} is missing in {info}");
    }
    assert_eq!(client.ask("INFO server").text().matches('#').count(), 1);
    assert_eq!(client.ask("TIME").array().len(), 2);
    client.ask("SELECT 0").assert_ok();
    client.ask("CLIENT SETINFO LIB-NAME x").assert_ok();
    client.ask("CLIENT NO-EVICT ON").assert_ok();
    assert!(client.ask("CLIENT INFO").text().contains("lib-name=x "));
    assert_eq!(client.ask("RESET"), Reply::Simple("RESET".to_owned()));
    client.ask("QUIT").assert_ok();
    assert!(client.is_closed());
}

#[test]
fn shutdown_ends_the_server_and_frees_the_port() {
    let running = start(2);
    let address = running.addr();
    let mut client = Client::connect(&running);
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(client.is_closed());
    running.wait().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
}
