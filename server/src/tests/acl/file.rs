//! The ACL file, and the document's examples.

use std::fs;
use std::sync::Arc;

use windrow_storage::disk::MemDisk;

use super::super::harness::{Client, Reply, config, start, start_on};
use super::{STREAM, count, login, pong, texts};
use crate::{Config, Server};

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
fn the_examples_of_the_documentation_are_true() {
    const DOCUMENT: &str = include_str!("../../../../docs/acl.md");
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
