//! One thread of the generator: its connections, when it sends, and what it makes of the replies.

use crate::arrivals::Arrivals;
use crate::error::BenchError;
use crate::measure::Measured;
use crate::replies;
use crate::template::Draw;
use crate::workload::{Request, Workload};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use windrow_client::scan::ReplyScanner;

/// Bytes read at once; one buffer serves all connections of a thread.
const READ_BYTES: usize = 256 << 10;

/// Readiness events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// Requests sent in an open loop before replies are looked at again.
const BURST_MAX: usize = 1024;

/// Longest sleep, so that the end of a run is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// The kernel's sleeps have a grain of a millisecond; the rest of a wait for an arrival is spent polling.
const SLEEP_GRAIN: Duration = Duration::from_millis(2);

/// Requests of one kind that fall due on a schedule, and the connections they may take.
#[derive(Debug)]
pub struct Lane {
    /// Index of the workload's request.
    pub request: usize,
    /// When they are due.
    pub arrivals: Arrivals,
    /// Indices of connections; lanes may share them.
    pub connections: Range<usize>,
}

/// When requests are sent.
#[derive(Debug)]
pub enum Pace {
    /// Each connection sends a pipeline of requests when all replies to the one before are there.
    Closed,
    /// Requests are due on schedules, and go to any connection of their lane that has room.
    Open(Vec<Lane>),
}

/// The times of a run, in nanoseconds since its start, and its quota.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    /// Measuring begins.
    pub measure_from_ns: u64,
    /// Sending ends, and measuring with it.
    pub end_ns: u64,
    /// Sending ends after so many requests of this thread, if that is earlier.
    pub requests_max: u64,
    /// Replies are waited for this long after the end; where a count is the only end, so long without any is one too.
    pub drain_ns: u64,
}

/// The clock that all threads of a run share.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    start: Instant,
    start_unix_ms: u64,
}

impl RunClock {
    /// A run that starts now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Nanoseconds since the start.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn unix_ms(&self, now_ns: u64) -> u64 {
        self.start_unix_ms + now_ns / 1_000_000
    }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InFlight {
    /// Sent (closed loop) or due (open loop).
    since_ns: u64,
    /// Index of the workload's request.
    request: usize,
}

struct Connection {
    stream: TcpStream,
    /// Written as far as `out_at`.
    out: Vec<u8>,
    out_at: usize,
    /// The beginning of a reply whose rest has not come.
    partial: Vec<u8>,
    scanner: ReplyScanner,
    in_flight: VecDeque<InFlight>,
    /// Replies that the oldest request has got already.
    replies_got: usize,
}

/// Where a count is the only end of a run, the server may be silent for the drain time, or this where that is shorter.
const SILENCE_NS_MIN: u64 = 2_000_000_000;

/// So many requests of a kind are kept to be sent again, if they are small.
const RECENT_MAX: usize = 1024;

/// Bytes of requests of a kind that are kept; one request is kept however large it is.
const RECENT_BYTES_MAX: usize = 16 << 20;

/// Requests that were sent, all of one length.
#[derive(Debug, Default)]
struct Recent {
    bytes: Vec<u8>,
    count: usize,
    /// The oldest, once no more are kept: where the next one goes.
    oldest: usize,
}

impl Recent {
    fn keep(&mut self, request: &[u8]) {
        let has_room = self.count < RECENT_MAX && self.bytes.len() + request.len() <= RECENT_BYTES_MAX;
        if has_room || self.count == 0 {
            self.bytes.extend_from_slice(request);
            self.count += 1;
        } else {
            self.bytes[self.oldest * request.len()..][..request.len()].copy_from_slice(request);
            self.oldest = (self.oldest + 1) % self.count;
        }
    }

    fn any(&self, choice: &mut SmallRng) -> Option<&[u8]> {
        let len = self.bytes.len().checked_div(self.count)?;
        Some(&self.bytes[choice.random_range(0..self.count) * len..][..len])
    }
}

/// The thread's state.
pub struct Worker<'a> {
    job: Job<'a>,
    clock: RunClock,
    poll: Poll,
    connections: Vec<Connection>,
    in_flight: usize,
    sent: u64,
    /// When the server last sent something, or had nothing to answer.
    heard_ns: u64,
    /// Where the search for a connection with room goes on.
    cursor: usize,
    choice: SmallRng,
    /// By index of the workload's requests.
    recent: Vec<Recent>,
    measured: Measured,
}

impl<'a> Worker<'a> {
    /// Takes connections that are past their handshake.
    ///
    /// # Errors
    ///
    /// The kernel refuses to poll one.
    pub fn new(job: Job<'a>, streams: Vec<std::net::TcpStream>) -> Result<Self, BenchError> {
        // Until the run begins, and with it the clock that all threads share.
        let clock = RunClock::start();
        let poll = Poll::new().map_err(BenchError::io("poll"))?;
        let mut connections = Vec::with_capacity(streams.len());
        for (token, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true).map_err(BenchError::io("set a socket to nonblocking"))?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(token), interest)
                .map_err(BenchError::io("poll a socket"))?;
            connections.push(Connection {
                stream,
                out: Vec::new(),
                out_at: 0,
                partial: Vec::new(),
                scanner: ReplyScanner::new(),
                in_flight: VecDeque::with_capacity(job.pipeline),
                replies_got: 0,
            });
        }
        let choice = SmallRng::seed_from_u64(job.seed);
        let measured = Measured::new(job.workload.requests.len());
        let recent = job.workload.requests.iter().map(|_| Recent::default()).collect();
        Ok(Self {
            job,
            clock,
            poll,
            connections,
            in_flight: 0,
            sent: 0,
            heard_ns: 0,
            cursor: 0,
            choice,
            recent,
            measured,
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
        let mut give_up_ns = None;
        if matches!(self.job.pace, Pace::Closed) {
            let now_ns = self.clock.now_ns();
            for at in 0..self.connections.len() {
                self.send_pipeline(at, now_ns)?;
            }
        }
        loop {
            let now_ns = self.clock.now_ns();
            let due = self.send_due(now_ns)?;
            let backlog = due != Due::Nothing;
            if !backlog && !self.may_send(now_ns) {
                let give_up_ns = *give_up_ns.get_or_insert(drain_until_ns(now_ns));
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
                    self.connections[at].flush()?;
                }
                if event.is_readable() {
                    self.receive(at, &mut buffer)?;
                }
            }
        }
        self.measured.finished_ns = self.clock.now_ns();
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

    /// Requests that fall due now may still be sent.
    fn may_send(&self, now_ns: u64) -> bool {
        now_ns < self.job.phases.end_ns && self.sent < self.job.phases.requests_max
    }

    /// Open loop: sends what is due, to connections with room.
    ///
    /// There is no queue of requests that wait: the schedule itself is one. A request keeps the time at which
    /// it was due however late it is sent, and those due before the end are sent even after it.
    fn send_due(&mut self, now_ns: u64) -> Result<Due, BenchError> {
        self.job.draw.set_now_ms(self.clock.unix_ms(now_ns));
        let mut all = Due::Nothing;
        for lane in 0..self.lanes() {
            let due = self.send_lane(lane, now_ns);
            all = all.max(due);
        }
        self.flush_all()?;
        Ok(all)
    }

    fn lanes(&self) -> usize {
        if let Pace::Open(lanes) = &self.job.pace { lanes.len() } else { 0 }
    }

    fn send_lane(&mut self, lane: usize, now_ns: u64) -> Due {
        let phases = self.job.phases;
        for _ in 0..BURST_MAX {
            let Pace::Open(lanes) = &mut self.job.pace else { return Due::Nothing };
            let Lane { request, arrivals, connections } = &mut lanes[lane];
            let due_ns = arrivals.next_ns();
            if due_ns > now_ns || due_ns >= phases.end_ns || self.sent >= phases.requests_max {
                return Due::Nothing;
            }
            // In turns, beginning behind the one that was last: any lane's turn will do for all of them.
            let count = connections.len();
            let turn = connections.clone().map(|at| connections.start + (at + self.cursor) % count);
            let mut with_room = turn.filter(|&at| self.connections[at].in_flight.len() < self.job.pipeline);
            let Some(at) = with_room.next() else { return Due::NoRoom };
            arrivals.advance();
            let request = *request;
            self.cursor = self.cursor.wrapping_add(1);
            self.push_request(at, due_ns, request);
        }
        Due::More
    }

    fn flush_all(&mut self) -> Result<(), BenchError> {
        for connection in self.connections.iter_mut().filter(|connection| !connection.out.is_empty()) {
            connection.flush()?;
        }
        Ok(())
    }

    /// Closed loop: the next pipeline of a connection on which nothing is under way.
    fn send_pipeline(&mut self, at: usize, now_ns: u64) -> Result<(), BenchError> {
        if !self.may_send(now_ns) {
            return Ok(());
        }
        self.job.draw.set_now_ms(self.clock.unix_ms(now_ns));
        let workload = self.job.workload;
        let left = self.job.phases.requests_max - self.sent;
        let count = u64::try_from(self.job.pipeline).unwrap_or(u64::MAX).min(left);
        for _ in 0..count {
            let request = match workload.shares.len() {
                1 => 0,
                _ => self.choose(&workload.shares),
            };
            self.push_request(at, now_ns, request);
        }
        self.connections[at].flush()
    }

    /// A measured kind of request, by their shares.
    fn choose(&mut self, shares: &[f64]) -> usize {
        let mut left: f64 = self.choice.random();
        let chosen = shares.iter().position(|share| {
            left -= share;
            left < 0.0
        });
        chosen.unwrap_or(shares.len() - 1)
    }

    #[inline]
    fn push_request(&mut self, at: usize, since_ns: u64, request: usize) {
        let connection = &mut self.connections[at];
        let Request { template, duplicate_share, .. } = &self.job.workload.requests[request];
        if *duplicate_share == 0.0 {
            template.write(&mut connection.out, &mut self.job.draw);
        } else if self.choice.random::<f64>() < *duplicate_share
            && let Some(before) = self.recent[request].any(&mut self.choice)
        {
            connection.out.extend_from_slice(before);
        } else {
            let start = connection.out.len();
            template.write(&mut connection.out, &mut self.job.draw);
            self.recent[request].keep(&connection.out[start..]);
        }
        connection.in_flight.push_back(InFlight { since_ns, request });
        self.in_flight += 1;
        self.sent += 1;
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

    fn receive(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), BenchError> {
        loop {
            let connection = &mut self.connections[at];
            let count = match connection.stream.read(buffer) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BenchError::io(format!("read from {}", self.job.addr))(error)),
            };
            let now_ns = self.clock.now_ns();
            self.heard_ns = now_ns;
            if connection.partial.is_empty() {
                let used = self.digest(at, &buffer[..count], now_ns)?;
                self.connections[at].partial.extend_from_slice(&buffer[used..count]);
            } else {
                let mut joined = std::mem::take(&mut connection.partial);
                joined.extend_from_slice(&buffer[..count]);
                let used = self.digest(at, &joined, now_ns)?;
                joined.drain(..used);
                self.connections[at].partial = joined;
            }
            if matches!(self.job.pace, Pace::Closed) && self.connections[at].in_flight.is_empty() {
                self.send_pipeline(at, now_ns)?;
            }
            // A short read has emptied the socket: the kernel reports what comes after it (epoll(7), question 9).
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes whole replies from the front of `bytes`; how many bytes they were.
    fn digest(&mut self, at: usize, bytes: &[u8], now_ns: u64) -> Result<usize, BenchError> {
        let workload = self.job.workload;
        let connection = &mut self.connections[at];
        let phases = self.job.phases;
        let in_time = now_ns >= phases.measure_from_ns && now_ns < phases.end_ns;
        let (mut used, mut operations, mut finished) = (0, 0, 0);
        // Requests of one pipeline share their time: recorded together.
        let (mut run, mut run_length) = (InFlight { since_ns: u64::MAX, request: 0 }, 0);
        while used < bytes.len() {
            let Some(oldest) = connection.in_flight.front() else {
                return Err(BenchError::Unasked(bytes.len() - used));
            };
            let request = &workload.requests[oldest.request];
            let expect = &request.expects[connection.replies_got];
            let verdicts = &mut self.measured.verdicts;
            let Some(taken) = replies::take(&bytes[used..], expect, &mut connection.scanner, verdicts)?
            else {
                break;
            };
            used += taken;
            connection.replies_got += 1;
            if connection.replies_got < request.expects.len() {
                continue;
            }
            connection.replies_got = 0;
            operations += request.operations;
            finished += 1;
            if *oldest != run {
                record_run(&mut self.measured, phases, run, now_ns, run_length);
                (run, run_length) = (*oldest, 0);
            }
            if in_time {
                self.measured.kinds[oldest.request].requests += 1;
            }
            run_length += 1;
            connection.in_flight.pop_front();
        }
        record_run(&mut self.measured, phases, run, now_ns, run_length);
        self.in_flight -= finished;
        self.job.progress.fetch_add(operations, Ordering::Relaxed);
        Ok(used)
    }

    /// Requests without a reply count with the time they have waited; those due but not sent as well.
    fn account_unfinished(&mut self) {
        let now_ns = self.clock.now_ns();
        let phases = self.job.phases;
        for connection in &self.connections {
            for request in &connection.in_flight {
                record_run(&mut self.measured, phases, *request, now_ns, 1);
                self.measured.unfinished += 1;
            }
        }
        let Pace::Open(lanes) = &mut self.job.pace else { return };
        for Lane { request, arrivals, .. } in lanes {
            while arrivals.next_ns() < phases.end_ns && self.sent < phases.requests_max {
                let due = InFlight { since_ns: arrivals.next_ns(), request: *request };
                record_run(&mut self.measured, phases, due, now_ns, 1);
                self.measured.unfinished += 1;
                self.sent += 1;
                arrivals.advance();
            }
        }
    }

    fn closed(&self) -> BenchError {
        BenchError::Closed { addr: self.job.addr.to_owned(), in_flight: self.in_flight }
    }
}

/// Records `count` requests of one kind and time, if they were sent or due within the measured time.
#[inline]
fn record_run(measured: &mut Measured, phases: Phases, run: InFlight, now_ns: u64, count: u64) {
    if count > 0 && run.since_ns >= phases.measure_from_ns && run.since_ns < phases.end_ns {
        measured.kinds[run.request].record(now_ns.saturating_sub(run.since_ns), count);
    }
}

impl Connection {
    /// Writes as much as the socket takes.
    fn flush(&mut self) -> Result<(), BenchError> {
        while self.out_at < self.out.len() {
            match self.stream.write(&self.out[self.out_at..]) {
                Ok(count) => self.out_at += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BenchError::io("write to the server")(error)),
            }
        }
        self.out.clear();
        self.out_at = 0;
        Ok(())
    }
}

/// Nanoseconds of a duration; those beyond 584 years are cut.
pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_to_be_sent_again_is_bounded_in_number_and_bytes() {
        for (request_bytes, kept) in [(16, RECENT_MAX), (5 << 20, 3), (RECENT_BYTES_MAX + 1, 1)] {
            let mut recent = Recent::default();
            let sent = kept + kept / 2 + 1;
            for n in 0..sent {
                recent.keep(&vec![(n % 251) as u8; request_bytes]);
            }
            assert_eq!((recent.count, recent.bytes.len()), (kept, kept * request_bytes));
            // The newest ones are there, the oldest made room.
            let mut firsts: Vec<u8> = recent.bytes.chunks(request_bytes).map(|request| request[0]).collect();
            let mut expected: Vec<u8> = (sent - kept..sent).map(|n| (n % 251) as u8).collect();
            firsts.sort_unstable();
            expected.sort_unstable();
            assert_eq!(firsts, expected);
        }
    }
}
