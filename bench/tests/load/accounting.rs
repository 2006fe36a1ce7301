//! Nothing that was sent or due goes missing from the figures.

use crate::misbehaving::{Answer, Misbehaving};
use std::time::Duration;
use windrow_bench::arrivals::Spacing;
use windrow_bench::control::Greeting;
use windrow_bench::error::BenchError;
use windrow_bench::measure::Summary;
use windrow_bench::run::{self, Background, Load, Server};
use windrow_bench::workload::{Mode, Target};

const OK: Answer = Answer::Reply(b"+OK\r\n");

fn measure(server: &Misbehaving, mode: Mode, load: &Load) -> Result<Summary, BenchError> {
    let server =
        Server { addr: server.addr.clone(), target: Target::Null, greeting: Greeting::default(), pid: None };
    run::measure(&server, mode, load)
}

#[test]
fn a_count_of_requests_is_sent_exactly_and_every_reply_counts() {
    let server = Misbehaving::start(|_| OK);
    let load = Load { connections: 5, pipeline: 7, threads: 2, requests: Some(1001), ..Load::default() };
    let summary = measure(&server, Mode::Madd(3), &load).unwrap();
    assert_eq!(server.commands(), 1001);
    assert_eq!(
        (summary.total.requests, summary.total.requests_timed, summary.total.operations),
        (1001, 1001, 3003)
    );
    assert!(summary.is_clean());
}

#[test]
fn wrong_replies_are_counted_and_the_first_is_shown() {
    let server = Misbehaving::start(|n| match n % 10 {
        3 => Answer::Reply(b"-OOM memory is full\r\n"),
        5 => Answer::Reply(b"+LATE\r\n"),
        _ => OK,
    });
    let summary = measure(&server, Mode::Events, &Load { requests: Some(100), ..Load::default() }).unwrap();
    assert_eq!((summary.errors, summary.total.requests), (20, 100));
    assert_eq!(summary.first_error.as_deref(), Some("-OOM memory is full"));
    assert!(!summary.is_clean());
}

/// The server stands still for 400 ms of an open loop of one second: 400 of 1000 requests fall due meanwhile,
/// and each must be charged the rest of the stall, whether it could be sent at once or had to wait its turn.
fn requests_due_in_a_stall_are_charged_for_it(connections: usize, pipeline: usize) {
    const STALL: Duration = Duration::from_millis(400);
    let server = Misbehaving::start(|n| if n == 200 { Answer::Stall(STALL) } else { OK });
    let load = Load { connections, pipeline, rate: Some((1000.0, Spacing::Constant)), ..Load::default() };
    let summary = measure(&server, Mode::Events, &load).unwrap();
    assert_eq!((summary.total.requests_timed, server.commands()), (1000, 1000));
    assert!(summary.is_clean());
    let stall_us = 400_000.0;
    assert!(summary.total.latency.max_us >= stall_us, "max {}", summary.total.latency.max_us);
    // Of the 400, 100 waited three quarters of the stall or longer: 10 % of all, ten times what p99 leaves out.
    assert!(summary.total.latency.p99_us >= stall_us * 0.75, "p99 {}", summary.total.latency.p99_us);
    assert!(summary.total.latency.p90_us >= stall_us * 0.5, "p90 {}", summary.total.latency.p90_us);
}

#[test]
fn requests_that_are_sent_into_a_stall_are_charged_for_it() {
    requests_due_in_a_stall_are_charged_for_it(4, 1000);
}

#[test]
fn requests_that_a_stall_keeps_from_being_sent_are_charged_for_it() {
    requests_due_in_a_stall_are_charged_for_it(1, 1);
}

#[test]
fn requests_without_a_reply_are_missed_and_charged_what_they_waited() {
    let server = Misbehaving::start(|n| if n == 500 { Answer::Nothing } else { OK });
    let drain = Duration::from_secs(1);
    let load = Load { drain, rate: Some((1000.0, Spacing::Constant)), ..Load::default() };
    let summary = measure(&server, Mode::Events, &load).unwrap();
    // One has no reply; on the only connection, with a pipeline of one, the 499 after it cannot be sent.
    assert_eq!((summary.unfinished, summary.total.requests_timed), (500, 1000));
    assert!(!summary.is_clean());
    // The oldest fell due after half a second, and waited to the end of the drain.
    assert!(summary.total.latency.max_us >= 1_490_000.0, "max {}", summary.total.latency.max_us);
}

#[test]
fn a_count_of_requests_that_the_server_stops_answering_ends_with_an_error() {
    for rate in [None, Some((10_000.0, Spacing::Constant))] {
        let server = Misbehaving::start(|n| if n < 50 { OK } else { Answer::Nothing });
        let drain = Duration::from_secs(1);
        let load = Load { drain, rate, requests: Some(1000), ..Load::default() };
        let outcome = measure(&server, Mode::Events, &load);
        assert!(matches!(outcome, Err(BenchError::Silent { in_flight: 1, .. })), "{outcome:?}");
    }
}

#[test]
fn a_connection_that_the_server_closes_ends_the_run_with_an_error() {
    let server = Misbehaving::start(|n| if n == 50 { Answer::Hangup } else { OK });
    let outcome = measure(&server, Mode::Events, &Load::default());
    assert!(
        matches!(outcome, Err(BenchError::Closed { in_flight: 1, .. } | BenchError::Io { .. })),
        "{outcome:?}"
    );
}

#[test]
fn the_warm_up_is_not_measured() {
    let server = Misbehaving::start(|_| OK);
    let (warmup, rate) = (Duration::from_millis(500), Some((1000.0, Spacing::Constant)));
    let summary = measure(&server, Mode::Events, &Load { warmup, rate, ..Load::default() }).unwrap();
    assert_eq!((summary.total.requests_timed, server.commands()), (1000, 1500));
}

#[test]
fn a_mix_has_reads_in_the_share_asked_for() {
    let server = Misbehaving::start(|_| OK);
    let summary =
        measure(&server, Mode::Mixed(0.25), &Load { requests: Some(2000), ..Load::default() }).unwrap();
    assert_eq!((summary.total.requests, server.commands()), (2000, 2000));
    // Five standard deviations around 500; the seed is fixed.
    assert!((403..=597).contains(&server.reads()), "{} reads", server.reads());
}

const BACKGROUND: Background = Background { mode: Mode::Pipelined(4), rate_per_s: 100.0, connections: 1 };

#[test]
fn a_background_runs_beside_and_is_told_apart() {
    let server = Misbehaving::start(|_| OK);
    let load =
        Load { background: Some(BACKGROUND), rate: Some((200.0, Spacing::Constant)), ..Load::default() };
    let summary = measure(&server, Mode::Reads, &load).unwrap();
    assert_eq!((summary.total.requests_timed, server.reads(), server.commands()), (200, 200, 600));
    let timed: Vec<_> = summary.kinds.iter().map(|(name, of)| (name.as_str(), of.requests_timed)).collect();
    assert_eq!(timed, [("reads", 200), ("events:4", 100)]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    const SECOND: Duration = Duration::from_secs(1);
    let server = Misbehaving::start(|_| OK);
    for bad in [
        Load { connections: 0, ..Load::default() },
        Load { pipeline: 0, ..Load::default() },
        Load { threads: 2, ..Load::default() },
        Load { entities: 0, ..Load::default() },
        Load { entities: 100_000_000, ..Load::default() },
        Load { rate: Some((0.0, Spacing::Constant)), ..Load::default() },
        Load { duration: Duration::ZERO, ..Load::default() },
        Load { drain: Duration::from_millis(300), ..Load::default() },
        Load { background: Some(BACKGROUND), ..Load::default() },
        Load { requests: Some(10), warmup: SECOND, ramp: SECOND, ..Load::default() },
    ] {
        assert!(matches!(measure(&server, Mode::Events, &bad), Err(BenchError::Settings(_))), "{bad:?}");
    }
    assert_eq!(server.commands(), 0);
}

/// A generator that waits for replies would see one slow request in a thousand; an open loop sees the hundred that were due meanwhile.
#[test]
fn a_stall_of_100_ms_every_second_shows_in_p99_and_in_the_longest() {
    const STALL: Duration = Duration::from_millis(100);
    let server = Misbehaving::start(|n| if n % 1000 == 500 { Answer::Stall(STALL) } else { OK });
    let open = Load {
        connections: 4,
        pipeline: 64,
        rate: Some((1000.0, Spacing::Constant)),
        duration: Duration::from_secs(2),
        ..Load::default()
    };
    let summary = measure(&server, Mode::Events, &open).unwrap();
    assert!(summary.is_clean());
    assert_eq!(summary.total.requests_timed, 2000);
    let latency = summary.total.latency;
    assert!(latency.max_us >= 100_000.0, "max {}", latency.max_us);
    // Two times 50 requests waited for half of it or longer: 5 % of all.
    assert!(latency.p99_us >= 50_000.0, "p99 {}", latency.p99_us);
}
