//! Settings that change what a client sees.

use std::fs;
use std::process::Command;

use rstest::rstest;
use windrow_tests::resp::Reply;
use windrow_tests::server::{Home, Launch, binary};

#[rstest]
fn memory_that_is_full_refuses_new_entities_and_keeps_what_it_has(#[values(1, 4)] shards: usize) {
    let launch = Launch::shards(shards).option("--maxmemory", "2mb");
    let server = launch.start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m all AGGREGATE count sum(v)");
    let mut counted = Vec::new();
    let mut refused = 0;
    for entity in 0..60_000 {
        match conn.cmd(&format!("EVENT.ADD e{entity} s * v {entity}")) {
            Reply::Error(error) => {
                assert!(error.starts_with("OOM "), "{error}");
                refused += 1;
                // Several shards fill up one after the other.
                if refused > 2000 {
                    break;
                }
            }
            reply => {
                assert_eq!(reply, Reply::Simple("OK".into()));
                counted.push(entity);
            }
        }
    }
    assert!(refused > 0, "2 MB held {} entities without an end", counted.len());
    let read_all = |conn: &mut windrow_tests::resp::Conn| {
        for entity in &counted {
            let row = conn.cmd(&format!("WINDOW.GET e{entity} s count:all sum(v):1h"));
            assert_eq!(row, Reply::Array(vec![Reply::Int(1), Reply::Int(*entity)]));
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
