//! Where results go: a reader that leaves, and files that cannot be written.

use crate::misbehaving::{Answer, Misbehaving};
use std::process::{Command, Output, Stdio};

/// As if the program had been ended by SIGPIPE.
const READER_GONE: i32 = 128 + 13;

fn server() -> Misbehaving {
    Misbehaving::start(|_| Answer::Reply(b"+OK\r\n"))
}

fn windrow_bench(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windrow-bench"));
    command.args(line.split(' '));
    command
}

#[test]
fn a_reader_that_leaves_ends_a_run_quietly_and_the_file_is_written_all_the_same() {
    let server = server();
    let json = std::env::temp_dir().join(format!("windrow-bench-test-{}-reader.json", std::process::id()));
    let line = format!("run --target null --addr {} -n 100 --json {}", server.addr, json.display());
    let mut child = windrow_bench(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(READER_GONE));
    assert_eq!(String::from_utf8(stderr).unwrap(), "");
    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    assert_eq!(results["requests"], 100);
}

#[test]
fn a_reader_that_leaves_ends_a_comparison_quietly_too() {
    let line = "compare --contenders null,null -m events -P 1 --rounds 1 -n 50 -c 1";
    let mut child = windrow_bench(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(READER_GONE));
    let text = String::from_utf8(stderr).unwrap();
    assert!(!text.contains("panicked") && !text.contains("windrow-bench:"), "{text}");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_before_anything_is_sent() {
    let server = server();
    let folder = std::env::temp_dir();
    for path in ["/nonexistent/results.json".to_owned(), folder.to_string_lossy().into_owned()] {
        let line = format!("run --target null --addr {} -n 100 --json {path}", server.addr);
        let output = windrow_bench(&line).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(&format!("results cannot be written to {path}")), "{text}");
    }
    for (files, named) in [
        ("--csv /nonexistent/a.csv --html /dev/null", "/nonexistent/a.csv"),
        ("--csv /dev/null --html /nonexistent/a.html", "/nonexistent/a.html"),
        ("--csv /dev/null --html /dev/null --pictures /proc/pictures", "/proc/pictures"),
    ] {
        let line = format!("sweep --contenders null --axes pipeline -m events --rounds 1 -n 50 {files}");
        let output = windrow_bench(&line).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(named) && !text.contains("pipeline 1"), "{text}");
    }
    assert_eq!(server.commands(), 0);
}
