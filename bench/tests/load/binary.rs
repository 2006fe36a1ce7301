//! The program itself: exit codes, and servers it starts.

use crate::misbehaving::{Answer, Misbehaving};
use crate::stand_in::StandIn;
use crate::started::{Started, assert_gone, directories};
use rustix::process::Signal;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

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

/// Every reply was right. A machine that is busy elsewhere makes the server of an open loop fall behind (3).
fn is_right(code: Option<i32>) -> bool {
    matches!(code, Some(0 | 3))
}

/// A workload of events at 1,000/s for a second, in a file of its own; `accept` bounds its latency.
fn workload(name: &str, accept: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("windrow-bench-test-{}-{name}.toml", std::process::id()));
    let text = format!(
        "title = '{name}'\n[names.e]\ncount = 100\nprefix = 'e'\nbytes = 4\n[[request]]\nname = 'events'\ncommand = 'add'\n\
         stream = 's'\nentities = 'e'\nrate = 1000\nid = true\nduplicate_share = 0.2\naccept = {accept}\n\
         [load]\nconnections = 2\nwarmup = 0.0\nduration = 1.0\narrivals = 'constant'\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_workload_file_is_sent_and_what_became_of_its_events_is_counted() {
    let server =
        Misbehaving::start(|n| Answer::Reply(if n % 4 == 1 { b"+DUPLICATE\r\n" } else { b"+OK\r\n" }));
    let path = workload("outcomes", "{ p99_ms = 60000 }");
    let output =
        windrow_bench(&format!("run --target null --addr {} --workload {}", server.addr, path.display()));
    std::fs::remove_file(&path).unwrap();
    assert!(is_right(output.status.code()), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("750 OK, 0 CLAMPED, 0 SKEWED, 250 DUPLICATE, 0 LATE"), "{text}");
    assert!(text.contains("kept        events: p99"), "{text}");
}

#[test]
fn a_missed_bound_has_an_exit_code_of_its_own() {
    let server = Misbehaving::start(|_| Answer::Reply(b"+OK\r\n"));
    let path = workload("missed", "{ p99_ms = 0.0 }");
    let output =
        windrow_bench(&format!("run --target null --addr {} --workload {}", server.addr, path.display()));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("MISSED      events: p99"));
}

#[test]
fn a_bound_of_memory_is_judged_where_the_process_is_known_and_was_empty() {
    const ENTITIES: [&[u8]; 3] =
        [b"*2\r\n$8\r\nentities\r\n:0\r\n", b"*2\r\n$8\r\nentities\r\n:1\r\n", b"+OK\r\n"];
    let path = workload("memory", "{ p99_ms = 60000 }");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}[memory]\nnames = 'e'\nbytes_max = 1e12\n")).unwrap();
    let run = |first: usize, more: &str| {
        // Before the run it is asked twice how many entities it holds; this process stands for it.
        let server = Misbehaving::start(move |n| Answer::Reply(ENTITIES[(first + n as usize).min(2)]));
        let output = windrow_bench(&format!(
            "run --target null --addr {} --workload {}{more}",
            server.addr,
            path.display()
        ));
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let known = format!(" --server-pid {}", std::process::id());
    let (found, text) = run(0, &known);
    assert!(is_right(found), "{found:?} {text}");
    assert!(text.contains("kept        memory after the fill"), "{text}");
    for (first, more, code, expected) in
        [(1, &known[..], 1, "it holds 1 of e already"), (0, "", 2, "--server-pid")]
    {
        let (found, text) = run(first, more);
        assert!(found == Some(code) && text.contains(expected), "{found:?} {text}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_workload_file_that_is_wrong_is_refused_by_its_name_and_place() {
    let path = workload("wrong", "{ p98_ms = 1 }");
    let output = windrow_bench(&format!("run --workload {}", path.display()));
    std::fs::remove_file(&path).unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("wrong.toml") && text.contains("p98_ms"), "{text}");
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
    let place = match &windrow_bench::cpu::allowed().unwrap()[..] {
        [first, _, ..] => format!("servers on core {first}, the generator elsewhere"),
        _ => "servers on the generator's core, the only one".to_owned(),
    };
    assert!(table.contains(&place), "{table}");
    assert!(
        table.contains("2 connections") && table.contains("medians of 2 rounds of 200 requests"),
        "{table}"
    );
    assert_eq!(table.matches("| null |").count(), 4, "{table}");
    assert!(
        table.contains("| null /s | null /s | ratio |") && table.contains("| madd:8, pipeline 4 |"),
        "{table}"
    );
    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    assert!(results["ended_by"].is_null() && !table.contains("INCOMPLETE"), "{table}");
    let rounds = results["lines"][1]["results"][1]["rounds"].as_array().unwrap();
    assert_eq!(
        rounds.iter().map(|round| round["operations"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1600, 1600]
    );
}

#[test]
fn a_single_core_is_shared_and_that_is_said() {
    // The last, so that it is not the first where there are several.
    let core = *windrow_bench::cpu::allowed().unwrap().last().unwrap();
    let line = "compare --contenders null,null -m events -P 1 --rounds 1 -c 1 -n 50";
    let output = std::thread::spawn(move || {
        windrow_bench::cpu::pin(core).unwrap();
        windrow_bench(line)
    });
    let output = output.join().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (table, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(table.contains("servers on the generator's core, the only one"), "{table}");
    assert!(said.contains("there is only one core"), "{said}");
}

#[test]
fn a_core_that_is_not_allowed_is_refused_with_those_that_are() {
    let output = windrow_bench("run --core 999 -n 1");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("cannot be bound to core 999"), "{text}");
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

#[test]
fn an_interrupted_comparison_ends_its_servers_and_leaves_nothing_behind() {
    interrupted(Signal::INT, 130);
    interrupted(Signal::TERM, 143);
    interrupted(Signal::QUIT, 131);
}

#[test]
fn a_comparison_whose_terminal_is_closed_ends_its_servers_too() {
    interrupted(Signal::HUP, 129);
}

fn interrupted(signal: Signal, exit_code: i32) {
    // These tests may themselves run where SIGHUP is ignored, which is inherited.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_windrow-bench")]);
    command.args(["compare", "--contenders", "null,null", "-m", "events", "-d", "600", "-c", "1"]);
    let generator = Started::new(&mut command);
    let (id, servers) = (generator.id(), generator.servers(2));
    generator.signal(signal);
    let (code, said) = generator.end();
    assert_eq!(code, Some(exit_code), "{said}");
    // It has noticed, and was not ended by who waits for that.
    assert!(said.contains("windrow-bench: interrupted by SIG"), "{said}");
    assert_gone(id, &servers);
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

#[test]
fn a_sweep_goes_on_when_nobody_reads_what_it_says() {
    let folder = std::env::temp_dir().join(format!("windrow-bench-test-{}-closed", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_windrow-bench"));
    command.args("sweep --contenders null --axes pipeline -m events --rounds 1 -c 1 -n 50".split(' '));
    let mut generator =
        command.current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(generator.stderr.take());
    assert_eq!(generator.wait().unwrap().code(), Some(0));
    assert_eq!(directories(generator.id()), Vec::<PathBuf>::new());
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A sweep with a stand-in for Redis; what it noted, and the points.
fn sweep(name: &str, lines: &str, arguments: &str) -> (Output, String) {
    let stand_in = StandIn::new(name, lines);
    let line = format!("sweep --csv points.csv --html report.html {arguments}");
    let output = stand_in.windrow_bench(&line).output().unwrap();
    (output, stand_in.text("noted") + &stand_in.text("points.csv"))
}

#[test]
fn servers_of_every_axis_of_a_sweep_run_on_the_servers_core() {
    let lines = "grep Cpus_allowed_list /proc/self/status >> FOLDER/noted";
    let (output, text) = sweep(
        "cores",
        lines,
        "--contenders plain,plain --axes pipeline,entities --entities-max 10000 -m events --rounds 1 -c 1 -n 50 -e 100",
    );
    assert!(output.status.success(), "{output:?}");
    let allowed = windrow_bench::cpu::allowed().unwrap();
    let cores: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("Cpus_allowed_list:")).collect();
    assert_eq!(cores.len(), 4, "two axes of two servers: {text}");
    let first = allowed[0].to_string();
    assert!(allowed.len() < 2 || cores.iter().all(|core| core.trim() == first), "{text}");
}

#[test]
fn a_sweep_reads_at_every_value_before_it_sends_events() {
    let arguments = "--contenders null --axes pipeline -m events,reads --rounds 1 -c 1 -n 50 -e 100";
    let (output, text) = sweep("order", "", arguments);
    assert!(output.status.success(), "{output:?}");
    let modes: Vec<&str> = text.lines().skip(1).map(|line| line.split(',').nth(2).unwrap()).collect();
    assert_eq!(modes, [["reads"; 5], ["events"; 5]].concat(), "{text}");
}
