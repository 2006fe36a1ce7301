//! What a thread makes of replies: checked, timed, and at the end held against what was sent.

use super::{Lane, Pace, Phases, Worker};
use crate::error::BenchError;
use crate::measure::Measured;
use crate::replies;
use crate::worker::connections::{Connection, InFlight, Progress};
use std::io::{self, Read};
use std::sync::atomic::Ordering;

/// A server that was silent for no longer than this when the wait for it ended was still at work.
const WORKING_SILENCE_NS_MIN: u64 = 500_000_000;

/// A connection that was silent for the whole drain has lost its replies if so many times as many requests as were under way before
/// have been answered on others since: a server that is only late takes its turns.
const OVERTAKEN_TIMES: u64 = 4;

impl Worker<'_> {
    /// Reads what has come on a connection; to its end, if the server has closed it.
    pub(super) fn receive(
        &mut self,
        at: usize,
        buffer: &mut [u8],
        is_closed: bool,
    ) -> Result<(), BenchError> {
        loop {
            let connection = self.connections.visit(at);
            let count = match connection.stream.read(buffer) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken("read from", error)),
            };
            let now_ns = self.clock.now_ns();
            self.heard_ns = now_ns;
            let is_idle = if connection.partial.is_empty() {
                let (used, is_idle) = self.digest(at, &buffer[..count], now_ns)?;
                if used < count {
                    self.connections.visit(at).partial.extend_from_slice(&buffer[used..count]);
                }
                is_idle
            } else {
                let mut joined = std::mem::take(&mut connection.partial);
                joined.extend_from_slice(&buffer[..count]);
                let (used, is_idle) = self.digest(at, &joined, now_ns)?;
                joined.drain(..used);
                self.connections.visit(at).partial = joined;
                is_idle
            };
            match self.job.pace {
                Pace::Closed if is_idle => self.send_pipeline(at, now_ns)?,
                Pace::Closed => {}
                Pace::Open(_) => self.connections.answered(at),
            }
            // A short read has emptied the socket: the kernel reports what comes after it (epoll(7), question 9). An end that came with
            // the bytes was reported with them, and is not again.
            if count < buffer.len() && !is_closed {
                return Ok(());
            }
        }
    }

    /// Takes whole replies from the front of `bytes`; how many bytes they were, and whether nothing is under way any more.
    fn digest(&mut self, at: usize, bytes: &[u8], now_ns: u64) -> Result<(usize, bool), BenchError> {
        let workload = self.job.workload;
        let connection = self.connections.visit(at);
        let phases = self.job.phases;
        let in_time = now_ns >= phases.measure_from_ns && now_ns < phases.end_ns;
        let (is_due_time, is_halfway) = (now_ns < phases.due_until_ns, now_ns < phases.halfway_ns());
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
                let kind = &mut self.measured.kinds[oldest.request];
                kind.requests += 1;
                kind.in_time += u64::from(is_due_time);
                kind.halfway.answered += u64::from(is_halfway);
            }
            run_length += 1;
            connection.in_flight.pop_front();
        }
        let is_idle = connection.in_flight.is_empty();
        record_run(&mut self.measured, phases, run, now_ns, run_length);
        self.in_flight -= finished;
        self.answered += finished as u64;
        connection.progress = Progress { at_ns: now_ns, answered: self.answered, in_flight: self.in_flight };
        self.job.progress.fetch_add(operations, Ordering::Relaxed);
        Ok((used, is_idle))
    }

    /// Requests without a reply count with the time they have waited; those due but not sent as well. They are the server's
    /// fault, unless more was asked of it than it can do: then it is still answering when it is no longer waited for, on all
    /// connections in their turns.
    pub(super) fn account_unfinished(&mut self) {
        let now_ns = self.clock.now_ns();
        let phases = self.job.phases;
        let mut unfinished = 0;
        let (mut stuck, mut is_one_waiting) = (0, false);
        for connection in self.connections.unanswered() {
            for &request in &connection.in_flight {
                record_run(&mut self.measured, phases, request, now_ns, 1);
                self.measured.kinds[request.request].unfinished += 1;
                unfinished += 1;
            }
            if is_stuck(connection, now_ns, phases.drain_ns, self.answered) {
                stuck += connection.in_flight.len() as u64;
            } else {
                is_one_waiting = true;
            }
        }
        let mut is_working = false;
        if let Pace::Open(lanes) = &mut self.job.pace {
            for Lane { request, arrivals, .. } in lanes {
                while arrivals.next_ns() < phases.end_ns && self.sent < phases.requests_max {
                    let due = InFlight { since_ns: arrivals.next_ns(), request: *request };
                    record_run(&mut self.measured, phases, due, now_ns, 1);
                    self.measured.kinds[due.request].unfinished += 1;
                    unfinished += 1;
                    self.sent += 1;
                    arrivals.advance();
                }
            }
            let silence_ns_max = (phases.drain_ns / 2).max(WORKING_SILENCE_NS_MIN);
            is_working = now_ns.saturating_sub(self.heard_ns) < silence_ns_max;
        }
        self.measured.unfinished = unfinished;
        // Without one that works, what was never sent waited for nothing.
        self.measured.lost = if is_working && (is_one_waiting || stuck == 0) { stuck } else { unfinished };
    }

    /// A connection that broke: of one that was reset it is known who did it.
    pub(super) fn broken(&self, what: &str, error: io::Error) -> BenchError {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => self.closed(),
            _ => BenchError::io(format!("{what} {}", self.job.addr))(error),
        }
    }

    fn closed(&self) -> BenchError {
        BenchError::Closed { addr: self.job.addr.to_owned(), in_flight: self.in_flight }
    }
}

/// Its replies are lost: others have had theirs meanwhile.
fn is_stuck(connection: &Connection, now_ns: u64, drain_ns: u64, answered: u64) -> bool {
    let Progress { at_ns, answered: before, in_flight } = connection.progress;
    now_ns.saturating_sub(at_ns) >= drain_ns && answered - before >= OVERTAKEN_TIMES * in_flight.max(1) as u64
}

/// Records `count` requests of one kind and time, if they were sent or due within the measured time.
#[inline]
fn record_run(measured: &mut Measured, phases: Phases, run: InFlight, now_ns: u64, count: u64) {
    if count > 0 && run.since_ns >= phases.measure_from_ns && run.since_ns < phases.end_ns {
        let kind = &mut measured.kinds[run.request];
        kind.record(now_ns.saturating_sub(run.since_ns), count);
        if run.since_ns < phases.halfway_ns() {
            kind.halfway.due += count;
        }
    }
}
