//! What a limited user may do, and that it may do nothing else.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};

use super::super::harness::{Client, Reply, command, eventually, start};
use super::{STREAM, count, login, texts};

#[test]
fn a_user_may_do_what_its_rules_say_and_learns_what_it_may_not() {
    for shards in [1, 2] {
        let running = start(shards);
        let mut admin = Client::connect(&running);
        admin.ask(STREAM).assert_ok();
        admin.ask("ACL SETUSER model on >m ~user:* +@window -@keyspace +client|id").assert_ok();
        let mut model = login(&running, "model", "m");
        assert_eq!(count(&mut model, "user:1"), Reply::Int(0));
        assert!(matches!(model.ask("CLIENT ID"), Reply::Int(_)));
        for (words, name) in [
            ("EVENT.ADD user:1 s *", "event.add"),
            ("WINDOW.TOP s count:1h 5", "window.top"),
            ("CLIENT LIST", "client|list"),
            ("STREAM.DROP s", "stream.drop"),
            ("ACL WHOAMI", "acl|whoami"),
            ("COMMAND", "command"),
            ("SHUTDOWN", "shutdown"),
        ] {
            let text = format!("NOPERM User model has no permissions to run the '{name}' command");
            assert_eq!(model.ask(words), Reply::Error(text));
        }
        let no_key = Reply::Error("NOPERM No permissions to access a key".to_owned());
        assert_eq!(model.ask("WINDOW.GET card:1 s"), no_key);
        assert_eq!(model.ask("WINDOW.RANGE card:1 s count 0 10"), no_key);
        model.ask("WINDOW.GETT user:1 s").assert_error("ERR unknown command");
        model.ask("WINDOW.GET user:1").assert_error("ERR wrong number of arguments");
        // Anybody may go, and come back as somebody else.
        assert_eq!(model.ask("RESET"), Reply::Simple("RESET".to_owned()));
        model.ask("AUTH model m").assert_ok();
        model.ask("QUIT").assert_ok();
    }
}

#[test]
fn every_key_of_a_command_is_looked_at_and_one_that_is_denied_refuses_it_whole() {
    for shards in [1, 2] {
        let running = start(shards);
        let mut admin = Client::connect(&running);
        admin.ask(STREAM).assert_ok();
        admin.ask("ACL SETUSER both on >x ~k* +@all").assert_ok();
        admin.ask("ACL SETUSER reader on >x %R~k* +@all").assert_ok();
        admin.ask("ACL SETUSER writer on >x %W~k* %R~r +@all").assert_ok();
        let mut both = login(&running, "both", "x");
        let mut reader = login(&running, "reader", "x");
        let mut writer = login(&running, "writer", "x");
        let rows = |last: &str| {
            let rows: String = (0..500).map(|index| format!(" k{index} * 1")).collect();
            format!("EVENT.MADD s FIELDS 1 v NULL - EVENTS{rows} {last} * 1")
        };
        let entities: String = (0..500).map(|index| format!(" k{index}")).collect();
        let get = |last: &str| format!("WINDOW.MGET 501{entities} {last} s count:all");
        let join = |last: &str| format!("WINDOW.JOIN 2 k1 s {last} s FEATURES 1 count:all");
        let denied = "NOPERM No permissions to access a key";
        for words in [
            &rows("other"),
            &get("other"),
            &join("other"),
            "ENTITY.DEL other",
            "ENTITY.INFO other s",
            "MEMORY USAGE other",
        ] {
            both.ask(words).assert_error(denied);
        }
        assert_eq!(admin.ask("DBSIZE"), Reply::Int(0), "nothing of what is refused is counted");
        assert_eq!(both.ask(&rows("klast")).array(), vec![Reply::Simple("OK".to_owned()); 501]);
        assert_eq!(both.ask(&get("klast")).array(), vec![Reply::Array(vec![Reply::Int(1)]); 501]);
        assert_eq!(both.ask(&join("klast")).array().len(), 2);
        for words in [&rows("klast"), "EVENT.ADD k1 s *", "ENTITY.DEL k1"] {
            reader.ask(words).assert_error(denied);
        }
        assert_eq!(reader.ask(&get("klast")).array().len(), 501);
        for words in [&get("klast"), &join("r"), "WINDOW.GET k1 s", "ENTITY.INFO k1 s"] {
            writer.ask(words).assert_error(denied);
        }
        assert_eq!(count(&mut writer, "r"), Reply::Int(0));
        writer.ask("EVENT.ADD k1 s *").assert_ok();
        writer.ask("EVENT.ADD r s *").assert_error(denied);
        assert_eq!(writer.ask("ENTITY.DEL k1"), Reply::Int(1));
        // Commands about all entities have no keys: the right to the command is the right to them.
        assert!(writer.ask("ENTITY.SCAN s 0").array().len() == 2);
    }
}

#[test]
fn in_a_pipeline_each_command_is_judged_by_itself_and_replies_stay_in_order() {
    for shards in [1, 3] {
        let running = start(shards);
        let mut admin = Client::connect(&running);
        admin.ask(STREAM).assert_ok();
        admin.ask("ACL SETUSER bob on >x ~ok* +event.add +window.get").assert_ok();
        let mut bob = login(&running, "bob", "x");
        let mut bytes = Vec::new();
        for index in 0..2_000 {
            command(&mut bytes, &format!("EVENT.ADD ok{index} s *"));
            command(&mut bytes, &format!("EVENT.ADD no{index} s *"));
            command(&mut bytes, &format!("WINDOW.GET ok{index} s count:all"));
            command(&mut bytes, "PING");
        }
        bob.send(&bytes);
        for _ in 0..2_000 {
            bob.read().assert_ok();
            bob.read().assert_error("NOPERM No permissions to access a key");
            assert_eq!(bob.read(), Reply::Array(vec![Reply::Int(1)]));
            bob.read().assert_error("NOPERM User bob has no permissions to run the 'ping' command");
        }
        assert_eq!(admin.ask("DBSIZE"), Reply::Int(2_000));
    }
}

#[test]
fn a_command_with_more_keys_than_one_turn_looks_at_is_refused_whole_or_done_whole() {
    const ROWS: usize = 60_000;
    let running = start(2);
    let mut admin = Client::connect(&running);
    admin.ask(STREAM).assert_ok();
    // Stars in the midst, so that each key costs more.
    admin.ask("ACL SETUSER bob on >x ~z*y*x ~k*e*y* +event.madd +window.mget").assert_ok();
    let mut bob = login(&running, "bob", "x");
    let rows: String = (0..ROWS).map(|index| format!(" k-e-y-{index} * 1")).collect();
    bob.ask(&format!("EVENT.MADD s FIELDS 1 v EVENTS{rows} other * 1")).assert_error("NOPERM No permissions");
    assert_eq!(admin.ask("DBSIZE"), Reply::Int(0));
    assert_eq!(bob.ask(&format!("EVENT.MADD s FIELDS 1 v EVENTS{rows}")).array().len(), ROWS);
    assert_eq!(admin.ask("DBSIZE"), Reply::Int(ROWS as i64));
    // What was known of the keys of one command says nothing of the next.
    bob.ask("WINDOW.MGET 1 other s").assert_error("NOPERM");
    let entities: String = (0..ROWS).map(|index| format!(" k-e-y-{index}")).collect();
    bob.ask(&format!("WINDOW.MGET {}{entities} other s count:all", ROWS + 1)).assert_error("NOPERM");
    bob.ask("WINDOW.MGET 1 other s").assert_error("NOPERM");
    assert_eq!(bob.ask(&format!("WINDOW.MGET {ROWS}{entities} s count:all")).array().len(), ROWS);
}

/// Whatever stands in a command, an entity that a user has no right to is neither written nor read.
#[test]
fn no_arrangement_of_arguments_reaches_a_key_that_is_denied() {
    let running = start(2);
    let mut admin = Client::connect(&running);
    admin.ask(STREAM).assert_ok();
    admin.ask("ACL SETUSER some on >x ~k* +@event +@window +@keyspace -flushall").assert_ok();
    admin.ask("ACL SETUSER none on >x +@event +@window -@keyspace +entity.del +entity.info").assert_ok();
    let some = RefCell::new(login(&running, "some", "x"));
    let none = RefCell::new(login(&running, "none", "x"));
    // Heads that are right, so that many commands get far, and rows and words that may be.
    let head = prop::sample::select(vec![
        "EVENT.MADD s FIELDS 1 v EVENTS",
        "EVENT.MADD s FIELDS 0 EVENTS",
        "EVENT.MADD s FIELDS 0 WITHIDS EVENTS",
        "EVENT.MADD s FIELDS 1 v NULL EVENTS EVENTS",
        "EVENT.MADD s FIELDS 1 v SOURCE x1 1 EVENTS",
        "EVENT.MADD s FIELDS 1",
        "EVENT.MADD s",
        "WINDOW.MGET 1",
        "WINDOW.MGET 2",
        "WINDOW.MGET",
        "WINDOW.JOIN 1 k1 s",
        "WINDOW.JOIN 2 k1 s",
        "WINDOW.JOIN",
        "EVENT.ADD",
        "WINDOW.GET",
        "ENTITY.INFO",
    ]);
    let piece = prop_oneof![
        prop::sample::select(vec![
            "k1 *",
            "k2 * 1",
            "x1 *",
            "k1 s",
            "x1 s",
            "FEATURES 1 count:all",
            "k1 k2 s"
        ]),
        prop::sample::select(vec![
            "s",
            "k1",
            "k2",
            "x1",
            "v",
            "EVENTS",
            "NULL",
            "WITHIDS",
            "SOURCE",
            "FEATURES",
            "count:all",
            "*",
            "0",
            "1",
            "2",
            "007",
            "-0",
            "+1",
        ]),
    ];
    let succeeded = Cell::new(0);
    let commands = (head, prop::collection::vec(piece, 0..5));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&commands, |(head, words)| {
        let words = format!("{head} {}", words.join(" "));
        let reply = none.borrow_mut().ask(&words);
        prop_assert!(matches!(reply, Reply::Error(_)), "who has no keys was answered {reply:?}: {words}");
        if !matches!(some.borrow_mut().ask(&words), Reply::Error(_)) {
            succeeded.set(succeeded.get() + 1);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let succeeded = succeeded.get();
    assert!(succeeded > 50, "only {succeeded} commands could be executed at all");
    let mut found = admin.ask("ENTITY.SCAN s 0 COUNT 1000").array();
    let entities = texts(found.pop().unwrap());
    assert!(!entities.is_empty() && entities.iter().all(|entity| entity.starts_with('k')), "{entities:?}");
}

#[test]
fn what_was_denied_stands_in_the_log() {
    let running = start(2);
    let mut admin = Client::connect(&running);
    admin.ask("ACL SETUSER bob on >x ~a +window.get").assert_ok();
    let mut bob = login(&running, "bob", "x");
    bob.ask("AUTH bob wrong").assert_error("WRONGPASS");
    bob.ask("PING").assert_error("NOPERM");
    bob.ask("PING").assert_error("NOPERM");
    bob.ask("WINDOW.GET b s").assert_error("NOPERM");
    let entries = admin.ask("ACL LOG").array();
    let field = |entry: &Reply, name: &str| {
        let Reply::Array(pairs) = entry else { panic!("an entry is a map: {entry:?}") };
        let at = pairs.iter().step_by(2).position(|key| *key == Reply::Bulk(name.into())).expect(name);
        match &pairs[2 * at + 1] {
            Reply::Int(number) => number.to_string(),
            other => other.clone().text(),
        }
    };
    let shown: Vec<[String; 5]> = entries
        .iter()
        .map(|entry| ["reason", "object", "username", "count", "context"].map(|name| field(entry, name)))
        .collect();
    assert_eq!(
        shown,
        [
            ["key", "b", "bob", "1", "toplevel"],
            ["command", "ping", "bob", "2", "toplevel"],
            ["auth", "AUTH", "bob", "1", "toplevel"],
        ]
    );
    assert!(field(&entries[0], "client-info").contains(" user=bob "));
    assert!(field(&entries[0], "age-seconds").parse::<f64>().unwrap() >= 0.0);
    assert_eq!(admin.ask("ACL LOG 1").array().len(), 1);
    let info = admin.ask("INFO stats").text();
    for line in ["acl_access_denied_auth:1\r\n", "acl_access_denied_cmd:2\r\n", "acl_access_denied_key:1\r\n"]
    {
        assert!(info.contains(line), "{line} is missing in {info}");
    }
    admin.ask("ACL LOG many").assert_error("value is not an integer or out of range");
    admin.ask("ACL LOG RESET").assert_ok();
    assert_eq!(admin.ask("ACL LOG"), Reply::Array(vec![]));
}

#[test]
fn a_denied_command_says_nothing_to_a_client_that_wants_no_replies() {
    let running = start(2);
    let mut admin = Client::connect(&running);
    admin.ask("ACL SETUSER bob on >x +client|reply").assert_ok();
    let mut bob = login(&running, "bob", "x");
    bob.send(b"CLIENT REPLY OFF\r\nPING\r\nWINDOW.GET a s\r\nCLIENT REPLY ON\r\n");
    bob.read().assert_ok();
    eventually("both denials are counted", || {
        admin.ask("INFO stats").text().contains("acl_access_denied_cmd:2\r\n")
    });
}
