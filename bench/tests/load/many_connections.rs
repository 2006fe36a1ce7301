//! Many connections on few threads: all of them are used, and every reply is accounted for.

use crate::counting::Counting;
use std::process::{Command, Output};
use windrow_bench::open_files;

const CONNECTIONS: usize = 1_000;

/// Runs the program after lines of a shell, and gives its results as JSON where it succeeds.
fn run(server: &Counting, before: &str, arguments: &str) -> (Output, serde_json::Value) {
    let json = std::env::temp_dir().join(format!(
        "windrow-bench-test-{}-many-{}.json",
        std::process::id(),
        server.addr.replace(':', "-")
    ));
    let program = env!("CARGO_BIN_EXE_windrow-bench");
    let line = format!(
        "{before}exec {program} run --target null --addr {} --json {} {arguments}",
        server.addr,
        json.display()
    );
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let results = std::fs::read(&json).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let _ = std::fs::remove_file(&json);
    (output, results.unwrap_or_default())
}

fn assert_accounted_for(results: &serde_json::Value, requests: u64, counts: &[u64]) {
    assert_eq!(results["requests"], requests, "{results}");
    assert_eq!(results["requests_timed"], requests);
    assert_eq!((&results["unfinished"], &results["errors"]), (&0.into(), &0.into()));
    assert_eq!(counts.iter().sum::<u64>(), requests);
}

#[test]
fn a_closed_loop_uses_a_thousand_connections_on_one_thread_and_on_two() {
    open_files::allow(2 * CONNECTIONS).unwrap();
    for threads in [1, 2] {
        let server = Counting::start();
        let (output, results) =
            run(&server, "", &format!("-c {CONNECTIONS} --threads {threads} -n 10000 -P 2"));
        assert!(output.status.success(), "{output:?}");
        let counts = server.counts();
        assert_accounted_for(&results, 10_000, &counts);
        // Each begins with a pipeline of its own.
        assert_eq!(counts.len(), CONNECTIONS);
        assert!(counts.iter().all(|&count| count >= 2), "{counts:?}");
    }
}

#[test]
fn an_open_loop_gives_a_thousand_connections_their_turns_on_one_thread_and_on_two() {
    open_files::allow(2 * CONNECTIONS).unwrap();
    for threads in [1, 2] {
        let server = Counting::start();
        let arguments = "--rate 5000 --arrivals constant -d 1 --warmup 0 --drain 60";
        let (output, results) =
            run(&server, "", &format!("-c {CONNECTIONS} --threads {threads} {arguments}"));
        // A machine that is busy elsewhere makes it fall behind (3); nothing goes missing all the same.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        assert_eq!(results["requests_timed"], 5_000, "{results}");
        assert_eq!((&results["unfinished"], &results["errors"]), (&0.into(), &0.into()));
        assert_eq!(server.counts(), vec![5; CONNECTIONS]);
    }
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_is_needed() {
    let server = Counting::start();
    let (output, results) = run(&server, "ulimit -Sn 64; ", "-c 200 -n 400");
    assert!(output.status.success(), "{output:?}");
    assert_accounted_for(&results, 400, &server.counts());
}

#[test]
fn a_limit_of_open_files_that_does_is_enough() {
    let server = Counting::start();
    let (output, results) =
        run(&server, "ulimit -n 1024; ", &format!("-c {CONNECTIONS} --threads 2 -n 2000"));
    assert!(output.status.success(), "{output:?}");
    assert_accounted_for(&results, 2_000, &server.counts());
}

#[test]
fn too_low_a_limit_of_open_files_is_an_error_that_says_what_to_do() {
    let server = Counting::start();
    let (output, _) = run(&server, "ulimit -n 64; ", "-c 1000 -n 1000");
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    for needed in ["1000 connections", "allows this process 64", "ulimit -Hn", "fewer connections"] {
        assert!(text.contains(needed), "{needed} is missing in {text}");
    }
    assert_eq!(server.counts().len(), 0, "nothing is connected");
}
