//! The program itself: exit codes, and servers it starts.

use crate::misbehaving::{Answer, Misbehaving};
use std::process::{Command, Output};

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
