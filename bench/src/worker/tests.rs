//! A turn's work follows what is due and what has come, not how many connections there are.

use super::{Job, Lane, Pace, Phases, RunClock, Worker};
use crate::arrivals::{Arrivals, Spacing};
use crate::entities::EntitySource;
use crate::measure::Measured;
use crate::null::NullResponder;
use crate::template::{Draw, KeyFormat};
use crate::workload::{Mode, Target, Workload};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::thread;

const CONNECTIONS: usize = 400;

/// What one connection costs once, and one request: pushed, sent, received, digested, with room to spare. A search through all
/// connections in each turn takes a hundred times as much.
const VISITS_A_CONNECTION: u64 = 4;
const VISITS_A_REQUEST: u64 = 8;

fn measured(addr: SocketAddr, pace: Pace, requests_max: u64) -> Measured {
    let workload =
        Workload::new(Target::Null, Mode::Events, &KeyFormat::new("user:", 12, 1000).unwrap()).unwrap();
    let streams = (0..CONNECTIONS).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let progress = AtomicU64::new(0);
    let job = Job {
        addr: "test",
        workload: &workload,
        pipeline: 1,
        pace,
        phases: Phases { measure_from_ns: 0, end_ns: u64::MAX, requests_max, drain_ns: 0 },
        draw: Draw::new(EntitySource::sequential(0, 1000), 0),
        seed: 1,
        progress: &progress,
    };
    Worker::new(job, vec![streams]).unwrap().run(RunClock::start()).unwrap()
}

fn assert_bounded(measured: &Measured, requests: u64) {
    let visits_max = VISITS_A_CONNECTION * CONNECTIONS as u64 + VISITS_A_REQUEST * requests;
    assert!(measured.effort.visits <= visits_max, "{:?} for {requests} requests", measured.effort);
}

#[test]
fn a_turn_of_an_open_loop_visits_no_connection_that_has_nothing_to_do() {
    const REQUESTS: u64 = 2_000;
    let responder = NullResponder::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = responder.local_addr().unwrap();
    thread::spawn(move || responder.run());
    let arrivals = Arrivals::new(5_000.0, Spacing::Constant, 1);
    let measured = measured(addr, Pace::Open(vec![Lane { request: 0, arrivals, group: 0 }]), REQUESTS);
    assert_eq!(measured.kinds[0].latency.len(), REQUESTS);
    assert_bounded(&measured, REQUESTS);
}

#[test]
fn a_turn_of_a_closed_loop_visits_no_connection_that_waits() {
    const REQUESTS: u64 = 2_000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // Only the first connection gets replies: each command is one write, and has one read.
    thread::spawn(move || {
        let mut streams = listener.incoming();
        let mut first = streams.next().unwrap().unwrap();
        let others: Vec<_> = streams.take(CONNECTIONS - 1).collect();
        let mut command = [0; 4096];
        while first.read(&mut command).is_ok_and(|count| count > 0) {
            first.write_all(b"+OK\r\n").unwrap();
        }
        drop(others);
    });
    let measured = measured(addr, Pace::Closed, REQUESTS);
    assert_eq!(measured.unfinished, CONNECTIONS as u64 - 1);
    assert!(measured.effort.turns > REQUESTS - CONNECTIONS as u64, "{:?}", measured.effort);
    assert_bounded(&measured, REQUESTS);
}
