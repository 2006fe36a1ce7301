//! One thread of the generator: its connections, when it sends, and what it makes of the replies.
//!
//! | file | what lives there |
//! | --- | --- |
//! | `clock` | the clock of a run, its phases |
//! | `connections` | which connections have room, which have bytes to send |
//! | `sending` | what is due, and pipelines of a closed loop |
//! | `receiving` | replies, and what never got one |
//! | `recent` | requests that are sent again |

mod clock;
mod connections;
mod receiving;
mod recent;
mod sending;
#[cfg(test)]
mod tests;

pub use clock::{Phases, RunClock, ns};

use crate::arrivals::Arrivals;
use crate::error::BenchError;
use crate::measure::{Effort, Measured};
use crate::template::Draw;
use crate::workload::Workload;
use connections::Connections;
use mio::{Events, Poll};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use recent::Recent;
use std::io;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Bytes read at once; one buffer serves all connections of a thread.
const READ_BYTES: usize = 256 << 10;

/// Readiness events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// Longest sleep, so that the end of a run is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// The kernel's sleeps have a grain of a millisecond; the rest of a wait for an arrival is spent polling.
const SLEEP_GRAIN: Duration = Duration::from_millis(2);

/// Where a count is the only end of a run, the server may be silent for the drain time, or this where that is shorter.
const SILENCE_NS_MIN: u64 = 2_000_000_000;

/// Requests of one kind that fall due on a schedule, and the connections they may take.
#[derive(Debug)]
pub struct Lane {
    /// Index of the workload's request.
    pub request: usize,
    /// When they are due.
    pub arrivals: Arrivals,
    /// Whose connections they take; lanes may share a group.
    pub group: usize,
}

/// When requests are sent.
#[derive(Debug)]
pub enum Pace {
    /// Each connection sends a pipeline of requests when all replies to the one before are there.
    Closed,
    /// Requests are due on schedules, and go to any connection of their lane that has room, in turns. There are as many lanes as
    /// kinds of requests.
    Open(Vec<Lane>),
}

/// What a thread is to do.
#[derive(Debug)]
pub struct Job<'a> {
    /// The server, for messages.
    pub addr: &'a str,
    /// Requests and replies.
    pub workload: &'a Workload,
    /// Most requests under way on a connection.
    pub pipeline: usize,
    /// When to send.
    pub pace: Pace,
    /// When to begin and end.
    pub phases: Phases,
    /// Entities, times and amounts.
    pub draw: Draw,
    /// Of the choice between kinds of requests.
    pub seed: u64,
    /// Counts answered operations, for the progress line.
    pub progress: &'a AtomicU64,
}

/// What an open loop's schedule still holds for this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Everything due is sent.
    Nothing,
    /// The next one is due, and every connection has its pipeline full.
    NoRoom,
    /// A burst was sent; there may be more.
    More,
}

/// The thread's state.
pub struct Worker<'a> {
    job: Job<'a>,
    clock: RunClock,
    poll: Poll,
    connections: Connections,
    in_flight: usize,
    sent: u64,
    /// Requests that have their replies.
    answered: u64,
    /// When what is being sent is sent, however long ago it was due.
    sending_ns: u64,
    /// When the server last sent something, or had nothing to answer.
    heard_ns: u64,
    choice: SmallRng,
    /// By index of the workload's requests.
    recent: Vec<Recent>,
    measured: Measured,
}

impl<'a> Worker<'a> {
    /// Takes connections that are past their handshake, by groups.
    ///
    /// # Errors
    ///
    /// The kernel refuses to poll one.
    pub fn new(mut job: Job<'a>, groups: Vec<Vec<std::net::TcpStream>>) -> Result<Self, BenchError> {
        let last_due_ns = last_due_ns(&job);
        job.phases.due_until_ns = last_due_ns.unwrap_or(job.phases.due_until_ns);
        let poll = Poll::new().map_err(BenchError::io("poll"))?;
        let connections = Connections::new(groups, job.pipeline, &poll)?;
        Ok(Self {
            // Until the run begins, and with it the clock that all threads share.
            clock: RunClock::start(),
            poll,
            connections,
            in_flight: 0,
            sent: 0,
            answered: 0,
            sending_ns: 0,
            heard_ns: 0,
            choice: SmallRng::seed_from_u64(job.seed),
            recent: job.workload.requests.iter().map(|_| Recent::default()).collect(),
            measured: Measured {
                is_open: matches!(job.pace, Pace::Open(_)),
                due_until_ns: last_due_ns,
                ..Measured::new(job.workload.requests.len())
            },
            job,
        })
    }

    /// Runs to the end of the job, whose clock has just started.
    ///
    /// # Errors
    ///
    /// A connection broke, what came back is no RESP, or nothing comes back that the rest of a count waits for.
    pub fn run(mut self, clock: RunClock) -> Result<Measured, BenchError> {
        self.clock = clock;
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; READ_BYTES];
        let drain_ns = self.job.phases.drain_ns;
        let drain_until_ns = |ended_ns: u64| ended_ns.saturating_add(drain_ns);
        let (mut give_up_ns, mut turns) = (None, 0);
        if matches!(self.job.pace, Pace::Closed) {
            for at in 0..self.connections.count() {
                // Each by its own time: with many of them, the last is sent long after the first.
                self.send_pipeline(at, self.clock.now_ns())?;
            }
        }
        loop {
            turns += 1;
            let now_ns = self.clock.now_ns();
            let due = self.send_due(now_ns)?;
            let backlog = due != Due::Nothing;
            if !backlog && !self.may_send(now_ns) {
                // A count ends when the last of it is sent; a time ends when it ends, even if what fell due in it is sent later.
                let give_up_ns =
                    *give_up_ns.get_or_insert(drain_until_ns(now_ns.min(self.job.phases.end_ns)));
                if self.in_flight == 0 || now_ns > give_up_ns {
                    break;
                }
            } else if backlog && now_ns > drain_until_ns(self.job.phases.end_ns) {
                break;
            } else {
                self.check_silence(now_ns)?;
            }
            let timeout = self.sleep(now_ns, due);
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(BenchError::io("poll"))?,
            }
            for event in &events {
                let at = event.token().0;
                if event.is_writable() {
                    self.connections.visit(at).flush().map_err(|error| self.broken("write to", error))?;
                }
                if event.is_readable() {
                    self.receive(at, &mut buffer, event.is_read_closed())?;
                }
            }
        }
        self.measured.finished_ns = self.clock.now_ns();
        self.measured.effort = Effort { turns, visits: self.connections.visits() };
        self.account_unfinished();
        Ok(self.measured)
    }

    /// A run that only a count ends would wait for ever for a server that answers no more.
    fn check_silence(&mut self, now_ns: u64) -> Result<(), BenchError> {
        let Phases { end_ns, drain_ns, .. } = self.job.phases;
        if self.in_flight == 0 {
            self.heard_ns = now_ns;
        }
        let silence_ns_max = drain_ns.max(SILENCE_NS_MIN);
        if end_ns < u64::MAX || now_ns <= self.heard_ns.saturating_add(silence_ns_max) {
            return Ok(());
        }
        let waited_s = Duration::from_nanos(now_ns - self.heard_ns).as_secs_f64();
        Err(BenchError::Silent { addr: self.job.addr.to_owned(), waited_s, in_flight: self.in_flight })
    }

    /// How long the kernel may let this thread sleep.
    fn sleep(&self, now_ns: u64, due: Due) -> Duration {
        match &self.job.pace {
            Pace::Open(_) if due == Due::More => Duration::ZERO,
            Pace::Open(lanes) if self.may_send(now_ns) => {
                // With a lane that has no room, its replies end the sleep; the other lanes go on meanwhile.
                let next_ns =
                    lanes.iter().map(|lane| lane.arrivals.next_ns()).filter(|&next_ns| next_ns > now_ns);
                let next_ns = next_ns.min().unwrap_or(u64::MAX);
                let wait = Duration::from_nanos(next_ns.saturating_sub(self.clock.now_ns()));
                wait.saturating_sub(SLEEP_GRAIN).min(SLEEP_MAX)
            }
            _ => SLEEP_MAX,
        }
    }
}

/// Where a count ends an open loop: when the last of it falls due. What a lane without room leaves to others is left out of it.
fn last_due_ns(job: &Job<'_>) -> Option<u64> {
    let Pace::Open(lanes) = &job.pace else { return None };
    if job.phases.requests_max == u64::MAX {
        return None;
    }
    let mut schedules: Vec<Arrivals> = lanes.iter().map(|lane| lane.arrivals.clone()).collect();
    let mut last_ns = 0;
    for _ in 0..job.phases.requests_max {
        let Some(next) = schedules.iter_mut().min_by_key(|schedule| schedule.next_ns()) else { break };
        last_ns = next.next_ns();
        next.advance();
    }
    Some(last_ns)
}
