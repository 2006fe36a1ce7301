//! What makes a run ready is no part of it: streams, the fill, connecting.

use crate::misbehaving::{Answer, Misbehaving};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use windrow_bench::arrivals::Spacing;
use windrow_bench::control::Greeting;
use windrow_bench::measure::Summary;
use windrow_bench::run::{self, Load, Server};
use windrow_bench::workload::{Mode, Target};

/// What each command of the set-up takes; together far longer than the load itself.
const DELAY: Duration = Duration::from_millis(100);

const CONNECTIONS: usize = 10;

/// What a load of 200 requests finds out, on a server that takes its time for STREAM.CREATE, for the fill, and for the greeting of each
/// connection; and how long it is from the end of the set-up, as the server saw it, to the end of everything. Nothing that happens
/// after the set-up can take longer than that, however slow this machine is.
fn measured_behind_a_slow_set_up(rate: Option<(f64, Spacing)>, requests: Option<u64>) -> (Summary, Duration) {
    let made_ready = Arc::new(Mutex::new(Instant::now()));
    let noted = made_ready.clone();
    let server = Misbehaving::reading(move |_, command| {
        let text = String::from_utf8_lossy(command).into_owned();
        let is_set_up = ["STREAM.CREATE", "HELLO", "EVENT.MADD"].iter().any(|name| text.contains(name));
        if is_set_up {
            thread::sleep(DELAY);
            *noted.lock().unwrap() = Instant::now();
        }
        Answer::Reply(b"+OK\r\n")
    });
    let greeting = Greeting { resp3: true, ..Greeting::default() };
    let target = |target| Server { addr: server.addr.clone(), target, greeting: greeting.clone(), pid: None };
    let load = Load {
        connections: CONNECTIONS,
        pipeline: 64,
        threads: 2,
        entities: 5,
        rate,
        duration: Duration::from_millis(200),
        requests,
        ..Load::default()
    };
    run::prepare(&target(Target::Windrow)).unwrap();
    run::fill(&target(Target::Null), Mode::Events, &load, 2).unwrap();
    let summary = run::measure(&target(Target::Null), Mode::Events, &load).unwrap();
    let since = made_ready.lock().unwrap().elapsed();
    assert!(summary.is_clean());
    assert_eq!(summary.total.requests_timed, 200);
    (summary, since)
}

#[test]
fn a_slow_set_up_is_not_in_the_duration() {
    let (summary, since) = measured_behind_a_slow_set_up(None, Some(200));
    assert!(summary.seconds <= since.as_secs_f64(), "{} s of {since:?}", summary.seconds);
}

#[test]
fn a_slow_set_up_is_not_in_the_histogram_of_what_was_due() {
    let (summary, since) = measured_behind_a_slow_set_up(Some((1000.0, Spacing::Constant)), None);
    let max_us = summary.total.latency.max_us;
    // The histogram has three digits.
    assert!(max_us <= since.as_secs_f64() * 1e6 * 1.001, "{max_us} µs of {since:?}");
}
