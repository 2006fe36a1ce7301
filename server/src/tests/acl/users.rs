//! Users come, change and go; and how they are shown.

use std::sync::Arc;

use windrow_storage::disk::MemDisk;

use super::super::harness::{Client, Reply, command, config, start, start_on};
use super::{login, pong, texts};
use crate::Config;

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
