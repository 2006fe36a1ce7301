//! The program itself: exit codes, and servers it starts.

use crate::misbehaving::{Answer, Misbehaving};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn windrow_bench(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windrow-bench")).args(line.split(' ')).output().unwrap()
}

#[test]
fn a_clean_run_succeeds_and_wrong_replies_fail_it() {
    for (reply, success) in [(&b"+OK\r\n"[..], true), (b"-ERR no\r\n", false)] {
        let server = Misbehaving::start(move |_| Answer::Reply(reply));
        let output = windrow_bench(&format!("run --target null --addr {} -c 2 -n 100", server.addr));
        assert_eq!(output.status.success(), success, "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.contains("-ERR no"), !success, "{text}");
    }
}

#[test]
fn nobody_listening_is_a_failure_that_names_the_address() {
    let output = windrow_bench("run --addr 127.0.0.1:1 -n 1");
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("127.0.0.1:1"));
}

#[test]
fn a_comparison_starts_its_servers_and_stops_them() {
    let json = std::env::temp_dir().join(format!("windrow-bench-test-{}.json", std::process::id()));
    let output = windrow_bench(&format!(
        "compare --contenders null,null -m events,madd:8 -P 4 --rounds 2 -c 2 -n 200 --json {}",
        json.display()
    ));
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    let apart = std::thread::available_parallelism().unwrap().get() >= 2;
    assert_eq!(table.contains("servers on core 0, the generator elsewhere"), apart, "{table}");
    assert_eq!(table.matches("| null |").count(), 4, "{table}");
    assert!(
        table.contains("| null /s | null /s | ratio |") && table.contains("| madd:8, pipeline 4 |"),
        "{table}"
    );
    let lines: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    let rounds = lines[1]["results"][1]["rounds"].as_array().unwrap();
    assert_eq!(
        rounds.iter().map(|round| round["operations"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1600, 1600]
    );
}

#[test]
fn a_server_that_does_not_start_shows_its_last_words() {
    let output = windrow_bench("compare --contenders windrow --windrow-bin /bin/cat --rounds 1 -n 1");
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("windrow did not start") && text.contains("unrecognized option"), "{text}");
}

#[test]
fn a_server_is_found_by_a_path_from_here() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windrow-bench"));
    command.args([
        "compare",
        "--contenders",
        "windrow",
        "--windrow-bin",
        "./cat",
        "--rounds",
        "1",
        "-n",
        "1",
    ]);
    let output = command.current_dir("/bin").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("windrow did not start") && text.contains("unrecognized option"), "{text}");
}

/// Directories of the servers that a generator has started.
fn directories(generator: u32) -> Vec<PathBuf> {
    let prefix = format!("windrow-bench-{generator}-");
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

fn children(generator: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{generator}/task")).unwrap() {
        let listed = std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap();
        children.extend(listed.split_whitespace().map(|child| child.parse::<u32>().unwrap()));
    }
    children
}

#[test]
fn an_interrupted_comparison_ends_its_servers_and_leaves_nothing_behind() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windrow-bench"));
    command.args(["compare", "--contenders", "null,null", "-m", "events", "-d", "600", "-c", "1"]);
    let mut generator = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while directories(generator.id()).len() < 2 || children(generator.id()).len() < 2 {
        assert!(Instant::now() < deadline, "the servers do not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let servers = children(generator.id());
    let pid = rustix::process::Pid::from_child(&generator);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(generator.wait().unwrap().code(), Some(130));
    assert_eq!(directories(generator.id()), Vec::<PathBuf>::new());
    for server in servers {
        let stat = std::fs::read_to_string(format!("/proc/{server}/cmdline")).unwrap_or_default();
        assert!(!stat.contains("--listen"), "server {server} still runs");
    }
}

#[test]
fn targets_of_nothing_and_of_too_many_keys_are_refused() {
    for (line, complaint) in [
        ("targets --rounds 0", "at least one round"),
        ("targets --entities 100000000", "do not tell 100000000 entities apart"),
        ("targets --large-entities 100000000", "do not tell 100000000 entities apart"),
        ("targets --open-loop-scale 0", "a scale of 0"),
    ] {
        let output = windrow_bench(line);
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(complaint), "{line}: {text}");
    }
}
