//! The load generator with real servers: what it says of each scenario, its exit codes, and what is left when it is stopped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use windrow_tests::server::{Launch, binary, repository};

/// Every reply was right, and all bounds were kept; or some were not, as a busy machine may have it.
const KEPT: Option<i32> = Some(0);
const MISSED: Option<i32> = Some(3);

/// As if by SIGPIPE.
const READER_GONE: Option<i32> = Some(128 + 13);

/// Rows of the targets that need no other server: C3 is measured first, C10 said line by line.
const ROWS: &str = "targets --rows C3,C10 --entities 1000 --connections 4 --duration 1 --warmup 0 --idle-connections 10 --json results.json";

fn bench(folder: &Path, line: &str) -> Command {
    let bench = binary().with_file_name("windrow-bench");
    assert!(
        bench.is_file(),
        "no load generator at {}: run `cargo build -p windrow-bench` first",
        bench.display()
    );
    let mut command = Command::new(bench);
    command.args(line.split(' ')).current_dir(folder).stdin(Stdio::null());
    command
}

/// One that starts its servers itself.
fn starting(folder: &Path, line: &str) -> Command {
    let mut command = bench(folder, line);
    command.arg("--windrow-bin").arg(binary());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

/// Each of these bounds has a line, whose first word says what became of it: those words.
fn words<'a>(shown: &'a str, bounds: &[&str]) -> Vec<&'a str> {
    let word = |bound: &&str| {
        let line = shown.lines().find(|line| line.contains(*bound) && line.contains("; measured "));
        line.and_then(|line| line.split_whitespace().next())
            .unwrap_or_else(|| panic!("no line says what became of {bound:?} in\n{shown}"))
    };
    let words: Vec<&str> = bounds.iter().map(word).collect();
    assert!(
        words.iter().all(|word| ["kept", "MISSED", "UNMEASURED"].contains(word)),
        "{words:?} in\n{shown}"
    );
    words
}

/// A scenario at a part of its rates says of each bound what became of it, and at its end whether it is accepted: as its exit code does.
fn scenario(line: &str, title: &str, scale: &str, bounds: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let output =
        starting(folder.path(), &format!("{line} --scale {scale} --json results.json")).output().unwrap();
    let shown = text(&output);
    let code = output.status.code();
    assert!(code == KEPT || code == MISSED, "{code:?}\n{shown}");
    let words = words(&shown, bounds);
    let verdict = if code == KEPT { "ACCEPTED" } else { "NOT ACCEPTED" };
    let last = format!("{verdict}: {title} at {scale} of its rates");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some(last.as_str()), "{shown}");
    let is_kept = words.iter().all(|word| *word == "kept") && !shown.contains("OVERLOADED");
    assert_eq!(code == KEPT, is_kept, "{shown}");
    let attempt = &json(folder.path(), "results.json")["attempts"][0];
    assert_eq!(attempt["scale"], scale.parse::<f64>().unwrap());
    assert_eq!(attempt["summary"]["errors"], 0);
}

#[test]
fn ride_demand_says_of_each_bound_what_became_of_it() {
    let bounds = ["events: at least 9,900/s", "reads: p99 at most 3.00 ms", "reads: at least 495/s"];
    scenario("scenario ride-demand -d 1", "ride-demand", "0.01", &bounds);
}

#[test]
fn listing_freshness_says_of_each_bound_what_became_of_it() {
    let bounds = ["events: at least 99,000/s", "searches: p99 at most 5.00 ms"];
    scenario("scenario listing-freshness -d 2", "listing-freshness", "0.5", &bounds);
}

/// The whole of it begins with a hundred million events: here it has a thousandth of these, on a server that this test started.
#[test]
fn trending_says_of_each_bound_what_became_of_it_and_a_ranking_that_never_came_is_not_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read_to_string(repository().join("bench/workloads/trending.toml")).unwrap();
    let small = whole
        .replace("requests = 1_000_000", "requests = 1_000")
        .replace("requests = 10_000", "requests = 1_000");
    assert_ne!(small, whole);
    std::fs::write(folder.path().join("small.toml"), small).unwrap();
    let server = Launch::shards(1).start();
    let line = format!(
        "run --workload small.toml --scale 0.01 -d 1 --addr {} --server-pid {}",
        server.addr(),
        server.pid()
    );
    let output = bench(folder.path(), &line).output().unwrap();
    let shown = text(&output);
    let bounds = [
        "events: at least 7,920/s",
        "reads: p99 at most 2.00 ms",
        "reads: at least 99/s",
        "memory after the fill, for each product",
        "ranking: at least one request",
    ];
    assert_eq!(words(&shown, &bounds)[4], "UNMEASURED");
    assert_eq!(output.status.code(), MISSED, "{shown}");
    assert!(shown.contains("measure longer (-d 1000) or raise the rates (--scale)"), "{shown}");
    server.stop();
}

#[test]
fn capacity_is_accepted_when_all_its_targets_are_reached() {
    let folder = tempfile::tempdir().unwrap();
    let line = "scenario capacity --entities 1000 --scale 0.02 -d 0.1 --json results.json";
    let output = starting(folder.path(), line).output().unwrap();
    let shown = text(&output);
    let found = json(folder.path(), "results.json");
    let findings = found["findings"].as_array().unwrap();
    let reached = findings.iter().all(|of| of["bound"].is_null() || of["reached"] == true);
    let (code, verdict) = if reached { (KEPT, "ACCEPTED") } else { (MISSED, "NOT ACCEPTED") };
    assert_eq!(output.status.code(), code, "{shown}");
    let last = format!("{verdict}: capacity at 0.02 of its rates");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some(last.as_str()), "{shown}");
    for row in ["D2", "D3", "capacity"] {
        assert!(shown.contains(&format!("| {row} |")), "{row} is missing in\n{shown}");
    }
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A generator that runs, and is ended when a test fails; lines that it says, which a thread reads: one that does not end fails its test,
/// and does not hold it up.
struct Started(Child, Receiver<String>);

impl Started {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, said) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self(child, said)
    }

    /// Its next line; none: it says no more, since it has ended.
    fn line(&self, deadline: Instant) -> Option<String> {
        match self.1.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it neither says more nor ends"),
        }
    }

    fn wait_for(&self, part: &str) {
        let (mut all, deadline) = (String::new(), Instant::now() + PATIENCE);
        while let Some(line) = self.line(deadline) {
            if line.contains(part) {
                return;
            }
            all += &(line + "\n");
        }
        panic!("it never said {part:?}: {all}");
    }

    /// Process ids of the Windrow servers that it has started.
    fn servers(&self) -> Vec<i32> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let listed: String = threads
            .map(|thread| {
                std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default()
            })
            .collect();
        let children = listed.split_whitespace().map(|pid| pid.parse::<i32>().unwrap());
        children.filter(|pid| is_windrow(*pid)).collect()
    }

    fn end(mut self) -> (Option<i32>, String) {
        let (mut said, deadline) = (String::new(), Instant::now() + PATIENCE);
        while let Some(line) = self.line(deadline) {
            said += &(line + "\n");
        }
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Started {
    /// One that does not end when it is asked to is what a test is there to find: it is not waited for.
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            for server in self.servers() {
                let _ = kill_process(Pid::from_raw(server).unwrap(), Signal::KILL);
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
            for directory in directories(self.0.id()) {
                let _ = std::fs::remove_dir_all(directory);
            }
        }
    }
}

/// One that has ended and was not waited for has no command line any more.
fn is_windrow(pid: i32) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split('\0').nth(1) == Some("serve")
}

fn directories(generator: u32) -> Vec<PathBuf> {
    let prefix = format!("windrow-bench-{generator}-");
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix)).collect()
}

/// What the rows are whose findings were written.
fn rows(folder: &Path) -> Vec<String> {
    let found = json(folder, "results.json");
    found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| of["row"].as_str().unwrap().to_uppercase())
        .collect()
}

/// Runs the rows, and does something to the generator and its servers as soon as C10 is under way.
fn amid_the_targets(act: impl FnOnce(&Started, &[i32])) -> (Option<i32>, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let generator = Started::new(starting(folder.path(), &format!("{ROWS} --rounds 3")));
    generator.wait_for("] C10 ");
    let (id, servers) = (generator.0.id(), generator.servers());
    assert!(!servers.is_empty(), "no server runs");
    act(&generator, &servers);
    let (code, said) = generator.end();
    assert!(!servers.iter().any(|server| is_windrow(*server)), "a server still runs");
    assert_eq!(directories(id), Vec::<PathBuf>::new());
    assert!(json(folder.path(), "results.json")["ended_by"].is_string(), "{said}");
    (code, said, rows(folder.path()))
}

#[test]
fn interrupted_targets_end_their_servers_and_keep_the_rows_that_were_measured() {
    let interrupt = |generator: &Started, _: &[i32]| {
        kill_process(Pid::from_child(&generator.0), Signal::INT).unwrap();
    };
    let (code, said, rows) = amid_the_targets(interrupt);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert!(rows.iter().any(|row| row == "C3"), "{rows:?} {said}");
}

#[test]
fn a_server_that_dies_amid_the_targets_is_an_error_and_the_rows_before_are_kept() {
    let kill = |_: &Started, servers: &[i32]| {
        for server in servers {
            kill_process(Pid::from_raw(*server).unwrap(), Signal::KILL).unwrap();
        }
    };
    let (code, said, rows) = amid_the_targets(kill);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("windrow-bench: ") && !said.contains("panicked"), "{said}");
    assert!(rows.iter().any(|row| row == "C3"), "{rows:?} {said}");
}

#[test]
fn targets_succeed_whether_they_are_reached_or_not_and_end_quietly_when_nobody_reads() {
    for is_read in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = starting(folder.path(), &format!("{ROWS} --rounds 1").replace("C3,C10", "C3"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if !is_read {
            drop(child.stdout.take());
        }
        let output = child.wait_with_output().unwrap();
        let expected = if is_read { KEPT } else { READER_GONE };
        assert_eq!(output.status.code(), expected, "{}", text(&output));
        assert!(rows(folder.path()).iter().all(|row| row == "C3"), "{}", text(&output));
        assert_eq!(text(&output).contains("targets reached"), is_read);
    }
}

/// Its fill is of 100 million events: nobody waits for that.
#[test]
fn an_interrupted_scenario_ends_its_server_and_writes_nothing_of_what_it_has_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    let generator = Started::new(starting(folder.path(), "scenario trending --json results.json"));
    generator.wait_for("trending: fill");
    let (id, servers) = (generator.0.id(), generator.servers());
    assert_eq!(servers.len(), 1);
    kill_process(Pid::from_child(&generator.0), Signal::INT).unwrap();
    let (code, said) = generator.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(!servers.iter().any(|server| is_windrow(*server)), "a server still runs");
    assert_eq!(directories(id), Vec::<PathBuf>::new());
    assert!(!folder.path().join("results.json").exists());
}

#[test]
fn who_has_no_windrow_is_told_so_before_anything_else_is_started() {
    let folder = tempfile::tempdir().unwrap();
    for line in [
        "targets --rows C2",
        "scenario trending",
        "sweep --contenders windrow,null",
        "compare --contenders windrow,null",
    ] {
        let mut command = bench(folder.path(), line);
        let output = command.args(["--windrow-bin", "no-such-windrow"]).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot start no-such-windrow") && said.contains("--windrow-bin"), "{said}");
        assert!(!said.contains("fill"), "{said}");
    }
}
