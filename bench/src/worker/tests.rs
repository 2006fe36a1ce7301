//! A turn's work follows what is due and what has come, not how many connections there are; and the end of a connection is seen.

use super::{Job, Lane, Pace, Phases, RunClock, Worker};
use crate::arrivals::{Arrivals, Spacing};
use crate::entities::EntitySource;
use crate::error::BenchError;
use crate::measure::Measured;
use crate::null::NullResponder;
use crate::template::{Draw, KeyFormat};
use crate::workload::{Mode, Target, Workload};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::thread;

const CONNECTIONS: usize = 400;

/// Longer than any machine takes for a reply.
const DRAIN_NS: u64 = 60_000_000_000;

/// What one connection costs once, and one request: pushed, sent, received, digested, with room to spare. A search through all
/// connections in each turn takes a hundred times as much.
const VISITS_A_CONNECTION: u64 = 4;
const VISITS_A_REQUEST: u64 = 8;

fn measured(addr: SocketAddr, pace: Pace, requests_max: u64) -> Measured {
    let streams = (0..CONNECTIONS).map(|_| TcpStream::connect(addr).unwrap()).collect();
    run(streams, 1, pace, requests_max).unwrap()
}

fn run(
    streams: Vec<TcpStream>,
    pipeline: usize,
    pace: Pace,
    requests_max: u64,
) -> Result<Measured, BenchError> {
    let workload =
        Workload::new(Target::Null, Mode::Events, &KeyFormat::new("user:", 12, 1000).unwrap()).unwrap();
    let progress = AtomicU64::new(0);
    let job = Job {
        addr: "test",
        workload: &workload,
        pipeline,
        pace,
        phases: Phases {
            measure_from_ns: 0,
            end_ns: u64::MAX,
            due_until_ns: u64::MAX,
            requests_max,
            drain_ns: DRAIN_NS,
        },
        draw: Draw::new(EntitySource::sequential(0, 1000), 0),
        seed: 1,
        progress: &progress,
    };
    Worker::new(job, vec![streams]).unwrap().run(RunClock::start())
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
    // Each has one command under way. Only the first gets replies, a command being one write and one read, until it has sent all that
    // the others have not; then these get theirs.
    thread::spawn(move || {
        let mut streams = listener.incoming();
        let mut first = streams.next().unwrap().unwrap();
        let others: Vec<TcpStream> = streams.take(CONNECTIONS - 1).map(Result::unwrap).collect();
        let (mut command, mut left) = ([0; 4096], REQUESTS - others.len() as u64);
        while first.read(&mut command).is_ok_and(|count| count > 0) {
            first.write_all(b"+OK\r\n").unwrap();
            left -= 1;
            if left == 0 {
                others.iter().for_each(|mut other| other.write_all(b"+OK\r\n").unwrap());
            }
        }
        // Not before: what they have not read would break the connections.
        drop(others);
    });
    let measured = measured(addr, Pace::Closed, REQUESTS);
    assert_eq!((measured.kinds[0].latency.len(), measured.unfinished), (REQUESTS, 0));
    assert!(measured.effort.turns > REQUESTS - CONNECTIONS as u64, "{:?}", measured.effort);
    assert_bounded(&measured, REQUESTS);
}

#[test]
fn an_end_that_came_with_the_last_reply_ends_the_run_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // One reply and the end are there before two commands are sent, so that the kernel reports both in one event, and nothing after it.
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"+OK\r\n").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    // A histogram says nothing to who reads of a failure.
    let outcome = run(vec![stream], 2, Pace::Closed, 2).map(|measured| measured.unfinished);
    assert!(matches!(outcome, Err(BenchError::Closed { in_flight: 1, .. })), "{outcome:?}");
}
