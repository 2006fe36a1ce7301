//! How a run of many measurements ends: by itself, by wrong replies, by a server that dies, by a signal. What was measured is kept.

use crate::stand_in::StandIn;
use crate::started::{Started, assert_gone, directories};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Output, Stdio};
use std::time::Duration;

/// Five points of events, each of three seconds: time enough to do something amid them. A point is announced when it begins.
const LONG: &str = "sweep --axes pipeline -m events --rounds 1 -c 1 -e 100 -d 3 --warmup 0 --drain 1 --csv points.csv --html report.html \
                    --json points.json --contenders";

/// Points that take no time.
const SHORT: &str = "sweep --axes pipeline --rounds 1 -c 1 -e 100 -n 50 --csv points.csv --html report.html --json points.json \
                     --contenders";

/// What a sweep has written: so many points, the same in each of its files.
fn points(stand_in: &StandIn) -> usize {
    let points = stand_in.text("points.csv").lines().skip(1).count();
    assert_eq!(stand_in.json("points.json")["points"].as_array().unwrap().len(), points);
    assert!(stand_in.text("report.html").trim_end().ends_with("</html>"));
    points
}

#[test]
fn an_interrupted_sweep_ends_its_servers_and_keeps_its_points() {
    // A terminal that is closed may send its signal more than once, as may who runs the generator: it is one interruption.
    for (signals, exit_code, why) in [
        (&[Signal::INT][..], 130, "interrupted by SIGINT"),
        (&[Signal::HUP, Signal::HUP, Signal::HUP], 129, "interrupted by SIGHUP"),
    ] {
        let stand_in = StandIn::new(&format!("interrupted-{exit_code}"), "");
        let generator = Started::new(&mut stand_in.windrow_bench(&format!("{LONG} null,plain")));
        generator.wait_for_line("pipeline 4: ");
        let (id, servers) = (generator.id(), generator.servers(2));
        for &signal in signals {
            generator.signal(signal);
            // Two that come at the same time would be one.
            std::thread::sleep(Duration::from_millis(2));
        }
        let (code, said) = generator.end();
        assert_eq!(code, Some(exit_code), "{said}");
        assert!(said.contains(why) && !said.contains("closed a connection"), "{said}");
        assert_gone(id, &servers);
        let points = points(&stand_in);
        assert!(
            (2..10).contains(&points) && points.is_multiple_of(2),
            "{points} points of two contenders: {said}"
        );
        assert_eq!(stand_in.json("points.json")["ended_by"], why);
        assert!(stand_in.text("report.html").contains(&format!("Incomplete: {why}")));
    }
}

#[test]
fn ctrl_c_again_ends_a_generator_whose_results_nobody_takes() {
    let stand_in = StandIn::new("again", "");
    let pipe = stand_in.path("points.json");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut reader =
        std::fs::OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(&pipe).unwrap();
    // It is full, and nothing more goes in.
    while reader.write(&[0; 4096]).is_ok() {}
    let generator = Started::new(&mut stand_in.windrow_bench(&format!("{SHORT} null -m events")));
    generator.wait_for_line("pipeline 4: ");
    let id = generator.id();
    generator.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(1500));
    generator.signal(Signal::INT);
    let (code, said) = generator.end();
    assert_eq!(code, Some(130), "{said}");
    // And not since it had waited for long enough.
    assert!(said.contains("ended at once"), "{said}");
    assert_gone(id, &[]);
}

#[test]
fn a_server_that_dies_amid_a_sweep_is_an_error_and_the_points_before_are_kept() {
    let stand_in = StandIn::new("died", "echo there is no memory left");
    let generator = Started::new(&mut stand_in.windrow_bench(&format!("{LONG} plain")));
    generator.wait_for_line("pipeline 4: ");
    let (id, servers) = (generator.id(), generator.servers(1));
    kill_process(Pid::from_raw(servers[0].cast_signed()).unwrap(), Signal::KILL).unwrap();
    let (code, said) = generator.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("127.0.0.1:") && said.contains("its log says why"), "{said}");
    // The log goes with the server's directory.
    assert!(said.contains("there is no memory left"), "{said}");
    assert_gone(id, &servers);
    assert!((1..5).contains(&points(&stand_in)), "{said}");
    assert!(stand_in.json("points.json")["ended_by"].as_str().unwrap().contains("closed a connection"));
}

#[test]
fn wrong_replies_fail_a_sweep_and_its_files_are_written() {
    let stand_in = StandIn::new("wrong", "");
    // +OK is no value of a key.
    let output = stand_in.windrow_bench(&format!("{SHORT} plain -m reads")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), points(&stand_in)), (Some(1), 5), "{said}");
    assert!(said.contains("the figures above do not count"), "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("points.csv"));
}

#[test]
fn a_sweep_of_nothing_makes_no_sense_and_writes_nothing() {
    let stand_in = StandIn::new("nothing", "");
    let short = format!("{SHORT} null -m events");
    for line in [short.replace("--rounds 1", "--rounds 0"), short + " --drain 0.3"] {
        let output = stand_in.windrow_bench(&line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(stand_in.text("points.csv") + &stand_in.text("points.json"), "");
    }
}

#[test]
fn a_reader_that_leaves_ends_a_sweep_quietly_and_its_files_are_written() {
    for (name, json) in [("reader-of-text", "points.json"), ("reader-of-json", "/dev/stdout")] {
        let stand_in = StandIn::new(name, "");
        let line = format!("{SHORT} null -m events").replace("points.json", json);
        let mut child =
            stand_in.windrow_bench(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let id = child.id();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(128 + 13), "{said}");
        assert!(!said.contains("windrow-bench:") && !said.contains("panicked"), "{said}");
        assert_eq!(stand_in.text("points.csv").lines().count(), 6);
        assert!(stand_in.text("report.html").trim_end().ends_with("</html>"));
        assert_eq!(directories(id).len(), 0);
    }
}

#[test]
fn a_reader_that_leaves_hides_no_file_that_could_not_be_written() {
    let stand_in = StandIn::new("full", "");
    let line = format!("{SHORT} null -m events").replace("points.json", "/dev/stdout");
    let line = line.replace("points.csv", "/dev/full").replace("report.html", "/dev/full");
    let mut child =
        stand_in.windrow_bench(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(
        (status.code(), said.matches("windrow-bench: write /dev/full").count()),
        (Some(1), 2),
        "{said}"
    );
}

/// What the terminal sends on Ctrl-C goes to every process of the group: servers must not end before the generator knows why.
#[test]
fn a_signal_to_the_whole_group_is_an_interruption_and_no_dead_server() {
    use std::os::unix::process::CommandExt;
    let stand_in = StandIn::new("group", "");
    let mut command = stand_in.windrow_bench(&format!("{LONG} plain"));
    let generator = Started::new(command.process_group(0));
    generator.wait_for_line("pipeline 4: ");
    let (id, servers) = (generator.id(), generator.servers(1));
    let group = Pid::from_raw(id.cast_signed()).unwrap();
    for server in &servers {
        let of_server = rustix::process::getpgid(Pid::from_raw(server.cast_signed())).unwrap();
        assert_ne!(of_server, group, "server {server} is in the generator's group");
    }
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    let (code, said) = generator.end();
    assert_eq!(code, Some(130), "{said}");
    assert_gone(id, &servers);
}
