//! Users and what they may do, over sockets.

use std::cell::{Cell, RefCell};
use std::fs;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use windrow_storage::disk::MemDisk;

use super::harness::{Client, Reply, command, config, eventually, start, start_on};
use crate::{Config, Running, Server};

const STREAM: &str = "STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m all AGGREGATE count sum(v) DEDUP 10m";

/// A client that has logged in.
fn login(running: &Running, user: &str, password: &str) -> Client {
    let mut client = Client::connect(running);
    client.ask(&format!("AUTH {user} {password}")).assert_ok();
    client
}

fn texts(reply: Reply) -> Vec<String> {
    reply.array().into_iter().map(Reply::text).collect()
}

fn count(client: &mut Client, entity: &str) -> Reply {
    client.ask(&format!("WINDOW.GET {entity} s count:all")).array().remove(0)
}

fn pong() -> Reply {
    Reply::Simple("PONG".to_owned())
}

#[test]
fn a_user_logs_in_by_its_password_and_is_known_by_its_name() {
    let running = start(2);
    let mut admin = Client::connect(&running);
    assert_eq!(admin.ask("ACL WHOAMI").text(), "default");
    admin.ask("ACL SETUSER bob on >secret +@connection +acl|whoami").assert_ok();
    let mut bob = Client::connect(&running);
    for wrong in ["AUTH bob wrong", "AUTH carol secret", "HELLO 2 AUTH bob wrong", "AUTH bob"] {
        let code =
            if wrong == "AUTH bob" { "ERR AUTH <password> called without any password" } else { "WRONGPASS" };
        bob.ask(wrong).assert_error(code);
    }
    assert_eq!(bob.ask("ACL WHOAMI").text(), "default", "who fails to log in stays who they were");
    bob.ask("AUTH bob secret").assert_ok();
    assert_eq!(bob.ask("ACL WHOAMI").text(), "bob");
    let Reply::Int(id) = bob.ask("CLIENT ID") else { panic!("an id is an integer") };
    let line = admin.ask(&format!("CLIENT LIST ID {id}")).text();
    assert!(line.contains(" user=bob "), "{line}");
    let mut other = Client::connect(&running);
    assert!(other.ask("HELLO 2 AUTH bob secret SETNAME x").array().len() > 10);
    assert_eq!(other.ask("ACL WHOAMI").text(), "bob");
    assert_eq!(other.ask("RESET"), Reply::Simple("RESET".to_owned()));
    assert_eq!(other.ask("ACL WHOAMI").text(), "default");
    admin.ask("CLIENT KILL USER nobody").assert_error("No such user 'nobody'");
    assert_eq!(admin.ask("CLIENT KILL USER bob"), Reply::Int(1));
    assert!(bob.is_closed());
    assert_eq!(other.ask("PING"), pong());
    admin.ask("ACL SETUSER bob off").assert_ok();
    other.ask("AUTH bob secret").assert_error("WRONGPASS");
}

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
fn when_setuser_is_answered_every_connection_of_every_shard_goes_by_it() {
    let running = start(4);
    let mut admin = Client::connect(&running);
    admin.ask("ACL SETUSER bob on >x +ping").assert_ok();
    let mut bobs: Vec<Client> = (0..12).map(|_| login(&running, "bob", "x")).collect();
    for round in 0..50 {
        let sign = if round % 2 == 0 { '-' } else { '+' };
        admin.ask(&format!("ACL SETUSER bob {sign}ping")).assert_ok();
        for bob in &mut bobs {
            match sign {
                '-' => bob.ask("PING").assert_error("NOPERM"),
                _ => assert_eq!(bob.ask("PING"), pong()),
            }
        }
    }
    // All rules or none; and a password or the switch do not end who is there.
    admin.ask("ACL SETUSER bob -ping +nosuch").assert_error("Error in ACL SETUSER modifier '+nosuch'");
    admin.ask("ACL SETUSER bob off resetpass").assert_ok();
    for bob in &mut bobs {
        assert_eq!(bob.ask("PING"), pong());
    }
}

#[test]
fn connections_of_a_user_that_is_removed_close_even_if_it_comes_back() {
    let running = start(3);
    let mut admin = Client::connect(&running);
    admin.ask("ACL SETUSER bob on >x ~* +@all").assert_ok();
    admin.ask("ACL SETUSER carol on >x +ping").assert_ok();
    let mut bobs: Vec<Client> = (0..6).map(|_| login(&running, "bob", "x")).collect();
    let mut carol = login(&running, "carol", "x");
    let mut bytes = Vec::new();
    command(&mut bytes, "ACL DELUSER bob nobody");
    command(&mut bytes, "ACL SETUSER bob on >x ~* +@all");
    admin.send(&bytes);
    assert_eq!(admin.read(), Reply::Int(1));
    admin.read().assert_ok();
    assert!(bobs.iter_mut().all(Client::is_closed));
    assert_eq!(carol.ask("PING"), pong());
    admin.ask("ACL DELUSER default").assert_error("The 'default' user cannot be removed");
    assert_eq!(admin.ask("ACL DELUSER nobody"), Reply::Int(0));
    // Who removes itself is told so.
    let mut bob = login(&running, "bob", "x");
    assert_eq!(bob.ask("ACL DELUSER bob"), Reply::Int(1));
    assert!(bob.is_closed());
}

#[test]
fn requirepass_is_the_password_of_the_default_user() {
    let running = start_on(Config { requirepass: "first".to_owned(), ..config(2) }, Arc::new(MemDisk::new()));
    let mut admin = Client::connect(&running);
    admin.ask("AUTH default first").assert_ok();
    let mut waiting = Client::connect(&running);
    waiting.ask("PING").assert_error("NOAUTH");
    admin.ask("CONFIG SET requirepass second").assert_ok();
    for _ in 0..4 {
        let mut client = Client::connect(&running);
        client.ask("AUTH first").assert_error("WRONGPASS");
        client.ask("AUTH second").assert_ok();
    }
    assert_eq!(admin.ask("PING"), pong(), "who is in stays in");
    // A second password beside it; then none at all, also for who has waited.
    admin.ask("ACL SETUSER default >third").assert_ok();
    login(&running, "default", "second");
    login(&running, "default", "third");
    waiting.ask("PING").assert_error("NOAUTH");
    admin.ask("ACL SETUSER default nopass").assert_ok();
    assert_eq!(waiting.ask("PING"), pong());
    Client::connect(&running).ask("AUTH x").assert_error("ERR AUTH <password> called without any password");
    admin.ask("ACL SETUSER default off").assert_ok();
    Client::connect(&running).ask("PING").assert_error("NOAUTH");
    admin.ask("ACL SETUSER default on").assert_ok();
    admin.ask("CONFIG SET requirepass x timeout nonsense").assert_error("timeout");
    assert_eq!(Client::connect(&running).ask("PING"), pong(), "all settings or none");
}

#[test]
fn the_default_user_can_be_limited_as_others_are() {
    let running = start(2);
    let mut admin = Client::connect(&running);
    admin.ask("ACL SETUSER root on >r ~* &* +@all").assert_ok();
    let mut root = login(&running, "root", "r");
    root.ask("ACL SETUSER default resetkeys ~pub:* -@all +ping +window.get").assert_ok();
    admin.ask("CONFIG GET *").assert_error("NOPERM User default");
    let mut anybody = Client::connect(&running);
    assert_eq!(anybody.ask("PING"), pong());
    anybody.ask("WINDOW.GET x s").assert_error("NOPERM No permissions to access a key");
    anybody.ask("WINDOW.GET pub:x s").assert_error("no such stream");
    let line = texts(root.ask("ACL LIST")).remove(0);
    assert_eq!(line, "user default on nopass ~pub:* &* -@all +ping +window.get");
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
fn users_are_shown_as_redis_shows_them() {
    let running = start(1);
    let mut admin = Client::connect(&running);
    admin.ask("ACL SETUSER bob on >abc %R~a* ~b +ping +client|id &foo").assert_ok();
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(texts(admin.ask("ACL USERS")), ["bob", "default"]);
    assert_eq!(
        texts(admin.ask("ACL LIST")),
        [
            &format!("user bob on #{hash} %R~a* ~b resetchannels &foo -@all +ping +client|id"),
            "user default on nopass ~* &* +@all"
        ]
    );
    let bulk = |text: &str| Reply::Bulk(text.into());
    assert_eq!(
        admin.ask("ACL GETUSER bob").array(),
        [
            bulk("flags"),
            Reply::Array(vec![bulk("on")]),
            bulk("passwords"),
            Reply::Array(vec![bulk(hash)]),
            bulk("commands"),
            bulk("-@all +ping +client|id"),
            bulk("keys"),
            bulk("%R~a* ~b"),
            bulk("channels"),
            bulk("&foo"),
            bulk("selectors"),
            Reply::Array(vec![])
        ]
    );
    assert_eq!(admin.ask("ACL GETUSER nobody"), Reply::Null);
    admin.ask("ACL SETUSER bob (~x +ping)").assert_error("modifier '(~x': Selectors are not supported");
    admin.ask("ACL SETUSER bob ~*").assert_ok();
    admin.ask("ACL SETUSER bob ~c").assert_error("Adding a pattern after the * pattern");
}

#[test]
fn categories_passwords_and_dry_runs() {
    let running = start(1);
    let mut admin = Client::connect(&running);
    let categories = texts(admin.ask("ACL CAT"));
    for category in
        ["read", "write", "stream", "event", "window", "admin", "dangerous", "connection", "keyspace"]
    {
        assert!(categories.contains(&category.to_owned()), "{category} is missing in {categories:?}");
    }
    assert_eq!(texts(admin.ask("ACL CAT event")), ["event.add", "event.madd"]);
    assert!(texts(admin.ask("ACL CAT DANGEROUS")).contains(&"acl|setuser".to_owned()));
    assert_eq!(admin.ask("ACL CAT scripting"), Reply::Array(vec![]));
    admin.ask("ACL CAT nosuch").assert_error("ERR Unknown category 'nosuch'");
    let passwords = [admin.ask("ACL GENPASS").text(), admin.ask("ACL GENPASS").text()];
    assert!(passwords[0].len() == 64 && passwords[0] != passwords[1]);
    assert!(passwords[0].bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(
        [1, 4, 5, 4096].map(|bits| admin.ask(&format!("ACL GENPASS {bits}")).text().len()),
        [1, 1, 2, 1024]
    );
    for wrong in ["0", "4097", "x", "-1"] {
        admin.ask(&format!("ACL GENPASS {wrong}")).assert_error("a positive number up to 4096");
    }
    admin.ask("ACL SETUSER bob ~a* +window.get +client|id").assert_ok();
    admin.ask("ACL DRYRUN bob WINDOW.GET a1 s").assert_ok();
    admin.ask("ACL DRYRUN bob CLIENT ID").assert_ok();
    let denied = admin.ask("ACL DRYRUN bob WINDOW.GET b1 s").text();
    assert_eq!(denied, "User bob has no permissions to access the 'b1' key");
    let denied = admin.ask("ACL DRYRUN bob CLIENT KILL x").text();
    assert_eq!(denied, "User bob has no permissions to run the 'client|kill' command");
    admin.ask("ACL DRYRUN nobody PING").assert_error("ERR User 'nobody' not found");
    admin.ask("ACL DRYRUN bob NOSUCH").assert_error("ERR Command 'NOSUCH' not found");
    admin
        .ask("ACL DRYRUN bob WINDOW.GET")
        .assert_error("ERR wrong number of arguments for 'window.get' command");
    let help = admin.ask("ACL HELP").array();
    assert!(help.len() > 20 && help.iter().all(|line| matches!(line, Reply::Simple(_))));
}

#[test]
fn without_a_file_users_are_neither_loaded_nor_saved() {
    let running = start(1);
    let mut admin = Client::connect(&running);
    for words in ["ACL LOAD", "ACL SAVE"] {
        admin.ask(words).assert_error("instance is not configured to use an ACL file");
    }
    admin.ask("CONFIG SET aclfile x").assert_error("can't set immutable config");
}

#[test]
fn users_are_loaded_from_the_file_and_saved_to_it_and_only_then() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.acl");
    fs::write(&path, "user bob on >b ~* +@all\nuser carol on >c +ping\nuser dave on >d +ping\n").unwrap();
    let with_file = || Config { aclfile: Some(path.clone()), requirepass: "r".to_owned(), ..config(2) };
    let running = start_on(with_file(), Arc::new(MemDisk::new()));
    Client::connect(&running).ask("PING").assert_error("NOAUTH");
    let mut admin = login(&running, "default", "r");
    let mut bob = login(&running, "bob", "b");
    let mut carol = login(&running, "carol", "c");
    let mut dave = login(&running, "dave", "d");
    // Not in the file until it is saved.
    admin.ask("ACL SETUSER erin on >e +ping").assert_ok();
    let mut erin = login(&running, "erin", "e");
    assert!(!fs::read_to_string(&path).unwrap().contains("erin"));
    // A wrong file changes nothing.
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{good}user frank on\nuser bob off +nosuch\n")).unwrap();
    admin.ask("ACL LOAD").assert_error(":5: duplicate user 'bob'");
    assert_eq!(erin.ask("PING"), pong());
    // Whose rules are the same stays; who is changed or gone has to come again.
    fs::write(&path, good.replace("carol on >c +ping", "carol on >c +echo")).unwrap();
    admin.ask("ACL LOAD").assert_ok();
    assert!(carol.is_closed() && erin.is_closed());
    assert_eq!((bob.ask("PING"), dave.ask("PING"), admin.ask("PING")), (pong(), pong(), pong()));
    assert_eq!(texts(admin.ask("ACL USERS")), ["bob", "carol", "dave", "default"]);
    bob.ask("ACL SETUSER gina on >g ~g:* +@window").assert_ok();
    bob.ask("ACL SAVE").assert_ok();
    let lines = texts(admin.ask("ACL LIST"));
    running.shutdown().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().collect::<Vec<_>>(), lines);
    let running = start_on(with_file(), Arc::new(MemDisk::new()));
    let mut gina = login(&running, "gina", "g");
    gina.ask("WINDOW.GET x s").assert_error("NOPERM");
    assert_eq!(texts(login(&running, "bob", "b").ask("ACL LIST")), lines);
    // A file that cannot be written says so, and the server goes on.
    fs::remove_file(&path).unwrap();
    drop(directory);
    let mut bob = login(&running, "bob", "b");
    bob.ask("ACL SAVE").assert_error("There was an error trying to save the ACLs");
    bob.ask("ACL LOAD").assert_error("Error loading ACLs, opening file");
    assert_eq!(bob.ask("PING"), pong());
}

#[test]
fn a_server_does_not_start_with_an_acl_file_that_it_cannot_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.acl");
    let start = || {
        let config = Config { aclfile: Some(path.clone()), ..config(1) };
        Server::start_on(config, Arc::new(MemDisk::new()), crate::clock::Clock::system())
            .err()
            .map(|error| error.to_string())
    };
    assert!(start().unwrap().contains("Error loading ACLs, opening file"));
    fs::write(&path, "user bob on\nnonsense\n").unwrap();
    assert!(start().unwrap().contains("users.acl:2: should start with user keyword"));
    fs::write(&path, "").unwrap();
    assert_eq!(start(), None);
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

#[test]
fn the_examples_of_the_documentation_are_true() {
    const DOCUMENT: &str = include_str!("../../../docs/acl.md");
    let block = |kind: &str| {
        let start = format!("```{kind}\n");
        let rest = DOCUMENT.split(&start).nth(1).expect("there is such a block");
        rest.split("```").next().expect("it ends").to_owned()
    };
    for category in windrow_protocol::command::Category::ALL {
        assert!(DOCUMENT.contains(&format!("`{}`", category.name())), "{} is not explained", category.name());
    }
    let running = start(2);
    let mut admin = Client::connect(&running);
    admin.ask(STREAM).assert_ok();
    for line in block("redis").lines() {
        admin.ask(line).assert_ok();
    }
    Client::connect(&running).ask("PING").assert_error("NOAUTH");
    let mut shop = login(&running, "shop", "s3cret");
    shop.ask("EVENT.ADD user:1 s * v 1").assert_ok();
    shop.ask("EVENT.ADD other s * v 1").assert_error("NOPERM No permissions to access a key");
    shop.ask("WINDOW.GET user:1 s").assert_error("NOPERM User shop has no permissions to run");
    let mut model = login(&running, "model", "m0del");
    assert_eq!(count(&mut model, "user:1"), Reply::Int(1));
    for denied in
        ["WINDOW.GET card:1 s", "WINDOW.TOP s count:1h 1", "EVENT.ADD user:1 s *", "ENTITY.SCAN s 0"]
    {
        model.ask(denied).assert_error("NOPERM");
    }
    let mut ops = login(&running, "ops", "0ps");
    ops.ask("STREAM.DROP s").assert_error("NOPERM");
    assert_eq!(ops.ask("ENTITY.DEL user:1"), Reply::Int(1));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.acl");
    fs::write(&path, block("text")).unwrap();
    let running = start_on(Config { aclfile: Some(path), ..config(1) }, Arc::new(MemDisk::new()));
    let mut model = login(&running, "model", "test");
    assert_eq!(model.ask("PING"), pong());
}
