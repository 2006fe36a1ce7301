//! Settings that change what a client sees.

use std::fs;
use std::process::Command;

use rstest::rstest;
use windrow_tests::resp::{Conn, Reply};
use windrow_tests::server::{Home, Launch, binary};

/// Events of one EVENT.MADD.
const ROWS: i64 = 500;

#[rstest]
fn memory_that_is_full_refuses_new_entities_and_keeps_what_it_has(#[values(1, 4)] shards: usize) {
    // Little more than the least that a shard takes.
    let launch = Launch::shards(shards).option("--maxmemory", &format!("{}mb", 8 * shards));
    let server = launch.start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m all AGGREGATE count sum(v)");
    let mut counted = Vec::new();
    let mut refused = 0;
    for chunk in 0..2000 {
        let entities = chunk * ROWS..(chunk + 1) * ROWS;
        let rows: String = entities.clone().map(|entity| format!(" e{entity} * {entity}")).collect();
        let replies = conn.cmd(&format!("EVENT.MADD s FIELDS 1 v EVENTS{rows}")).into_elements();
        for (entity, reply) in entities.zip(replies) {
            match reply {
                Reply::Error(error) => {
                    assert!(error.starts_with("OOM "), "{error}");
                    refused += 1;
                }
                reply => {
                    assert_eq!(reply, Reply::Simple("OK".into()));
                    counted.push(entity);
                }
            }
        }
        // Several shards fill up one after the other.
        if refused > 20 * ROWS {
            break;
        }
    }
    assert!(refused > 0, "{} MB held {} entities without an end", 8 * shards, counted.len());
    let read_all = |conn: &mut Conn| {
        for chunk in counted.chunks(500) {
            let entities: String = chunk.iter().map(|entity| format!(" e{entity}")).collect();
            let rows = conn.cmd(&format!("WINDOW.MGET {}{entities} s count:all sum(v):1h", chunk.len()));
            let expected = chunk.iter().map(|entity| Reply::Array(vec![Reply::Int(1), Reply::Int(*entity)]));
            assert_eq!(rows, Reply::Array(expected.collect()));
        }
    };
    read_all(&mut conn);
    // A start never refuses what was acknowledged.
    let server = launch.start_in(server.kill());
    read_all(&mut server.connect());
}

#[rstest]
fn streams_of_a_file_are_there_at_the_start(#[values(1, 4)] shards: usize) {
    let home = Home::new();
    fs::create_dir_all(home.data()).unwrap();
    let file = home.data().with_file_name("streams.toml");
    let definition = |windows: &str| {
        format!(
            "[streams.buys]\nfields = {{ amount = \"FLOAT\" }}\nwindows = [{windows}]\naggregate = [\"count\", \"sum(amount)\"]\n"
        )
    };
    fs::write(&file, definition("\"5m\", \"all\"")).unwrap();
    let launch = Launch::shards(shards).option("--streams", file.to_str().unwrap());
    let server = launch.start_in(home);
    let mut conn = server.connect();
    conn.ok("EVENT.ADD e buys * amount 2.5");
    conn.ok("STREAM.CREATE buys FIELDS amount FLOAT WINDOWS 5m all AGGREGATE count sum(amount)");
    // The same file again: nothing to do. Streams that it does not have stay.
    conn.ok("STREAM.CREATE other WINDOWS 5m AGGREGATE count");
    let server = launch.start_in(server.kill());
    let mut conn = server.connect();
    assert_eq!(conn.cmd("WINDOW.GET e buys sum(amount):all").into_elements()[0].number(), Some(2.5));
    conn.ok("EVENT.ADD e other *");
}

#[test]
fn check_says_what_is_wrong_with_a_file_of_streams() {
    let home = Home::new();
    fs::create_dir_all(home.data()).unwrap();
    let file = home.data().join("streams.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let output =
            Command::new(binary()).arg("check").arg(&file).output().expect("the binary can be started");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let (good, said) = check("[streams.s]\nwindows = [\"5m\"]\naggregate = [\"count\"]\n");
    assert!(good && said.contains("5m"), "{said}");
    for (text, named) in [
        ("[streams.s]\nwindows = [\"5m@7s\"]\naggregate = [\"count\"]\n", "7s"),
        ("[streams.s]\nwindow = [\"5m\"]\naggregate = [\"count\"]\n", "window"),
        ("[streams.s\n", "streams.toml"),
    ] {
        let (good, said) = check(text);
        assert!(!good && said.contains(named) && !said.contains("panicked"), "{text}: {said}");
    }
}
