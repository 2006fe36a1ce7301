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
fn a_reader_that_is_gone_before_the_run_does_not_keep_it_from_its_results() {
    let server = server();
    let json = std::env::temp_dir().join(format!("windrow-bench-test-{}-filled.json", std::process::id()));
    let line =
        format!("run --target null --addr {} -e 100 --fill -n 100 --json {}", server.addr, json.display());
    let mut child = windrow_bench(&line).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(READER_GONE));
    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    assert_eq!(results["requests"], 100);
}

/// The file is the shell's: it goes on behind what is there, and what is printed goes on behind the results.
#[test]
fn standard_output_that_is_a_file_is_written_to_and_not_replaced() {
    let server = server();
    let path = std::env::temp_dir().join(format!("windrow-bench-test-{}-stdout", std::process::id()));
    for name in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"] {
        std::fs::write(&path, "before\n").unwrap();
        let stdout = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let line = format!("run --target null --addr {} -n 100 --json {name}", server.addr);
        assert!(windrow_bench(&line).stdout(stdout).status().unwrap().success());
        let text = std::fs::read_to_string(&path).unwrap();
        let (results, printed) = text.strip_prefix("before\n").unwrap().split_once("\n}").unwrap();
        assert!(results.starts_with('{') && results.contains("\"requests\": 100"), "{text}");
        assert!(printed.contains("  latency     p50 "), "{text}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn lines_before_a_failure_are_written_all_the_same() {
    let json = std::env::temp_dir().join(format!("windrow-bench-test-{}-lines.json", std::process::id()));
    // The second line has no pipeline that could be.
    let line = format!(
        "compare --contenders null,null -m events -P 1,0 --rounds 1 -n 50 -c 1 --json {}",
        json.display()
    );
    let output = windrow_bench(&line).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("a pipeline of 0"));
    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    let lines = results["lines"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[0]["pipeline"]), (1, &1.into()));
    // Nobody is to take them for the whole.
    assert!(results["ended_by"].as_str().unwrap().contains("a pipeline of 0"), "{results}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("INCOMPLETE: a pipeline of 0"));
}

#[test]
fn a_load_that_makes_no_sense_has_the_exit_code_of_a_command_line_that_does_not() {
    for arguments in ["--rate 0", "-c 0", "--drain 0.3", "-n 1 -P 0"] {
        let output =
            windrow_bench(&format!("run --target null --addr 127.0.0.1:1 {arguments}")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
    }
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
