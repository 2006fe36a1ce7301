//! `windrow log`: the log of a real server, from the shell.

use std::path::Path;
use std::process::Command;

use windrow_tests::server::{Launch, binary};

/// What `windrow log` prints, what it complains of, and its exit code.
fn windrow_log(command: &str, dir: &Path, options: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(binary()).args(["log", command]).arg(dir).args(options).output();
    let output = output.expect("the binary can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn the_log_of_a_killed_server_can_be_verified_and_printed_but_not_while_it_runs() {
    // A read of another connection under `always` sees only what is durable; so nothing is torn off.
    let server = Launch::shards(2).option("--appendfsync", "always").start();
    let mut conn = server.connect();
    conn.ok("STREAM.CREATE purchases FIELDS amount FLOAT WINDOWS 5m AGGREGATE count sum(amount)");
    for entity in 0..20 {
        conn.ok(&format!("EVENT.ADD user:{entity} purchases * amount {entity}.5"));
    }
    let dir = server.home().data();
    for command in ["verify", "dump", "repair"] {
        let (said, complaint, code) = windrow_log(command, &dir, &[]);
        assert_eq!((said.as_str(), code), ("", Some(1)), "{command} of a directory in use");
        assert!(complaint.contains("in use"), "{complaint}");
    }
    let home = server.kill();
    let (said, complaint, code) = windrow_log("verify", &dir, &[]);
    assert_eq!((complaint.as_str(), code), ("", Some(0)), "{said}");
    assert!(said.ends_with("20 operations in 2 logs\n"), "{said}");
    let (said, complaint, code) = windrow_log("dump", &dir, &[]);
    assert_eq!((complaint.as_str(), code), ("", Some(0)));
    assert_eq!(said.lines().count(), 20);
    for entity in 0..20 {
        let event = format!(r#"EVENT "user:{entity}" stream=purchases ts="#);
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(&event)).collect();
        assert!(lines.len() == 1 && lines[0].contains(&format!(" amount={entity}.5")), "{said}");
    }
    let (said, _, code) = windrow_log("dump", &dir, &["--shard", "0", "--from", "1:2", "--limit", "1"]);
    assert!(said.starts_with("1:2 shard=0 ") && said.lines().count() == 1 && code == Some(0), "{said}");
    let (said, _, code) = windrow_log("repair", &dir, &["--yes"]);
    assert_eq!((said.as_str(), code), ("nothing to repair: 20 operations can be read\n", Some(0)));
    // A directory that was looked at is as good as before.
    let server = Launch::shards(3).start_in(home);
    let count = server.connect().cmd("WINDOW.GET user:7 purchases count:5m");
    assert_eq!(count.into_elements()[0].int(), 1);
}

#[test]
fn a_folder_that_is_no_data_directory_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    for command in ["verify", "dump", "repair"] {
        let (said, complaint, code) = windrow_log(command, folder.path(), &[]);
        assert_eq!((said.as_str(), code), ("", Some(1)));
        assert!(complaint.contains("no data directory"), "{complaint}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
}
