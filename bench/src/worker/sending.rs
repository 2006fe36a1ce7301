//! What a thread sends: what is due (open loop), or the next pipeline of a connection that has all its replies (closed loop).

use super::{Due, Lane, Pace, Worker};
use crate::error::BenchError;
use crate::worker::connections::{InFlight, Progress};
use crate::workload::Request;
use rand::RngExt;

/// Requests sent in an open loop before replies are looked at again.
const BURST_MAX: usize = 1024;

impl Worker<'_> {
    /// Requests that fall due now may still be sent.
    pub(super) fn may_send(&self, now_ns: u64) -> bool {
        now_ns < self.job.phases.end_ns && self.sent < self.job.phases.requests_max
    }

    /// Open loop: sends what is due, to connections with room.
    ///
    /// There is no queue of requests that wait: the schedule itself is one. A request keeps the time at which
    /// it was due however late it is sent, and those due before the end are sent even after it.
    pub(super) fn send_due(&mut self, now_ns: u64) -> Result<Due, BenchError> {
        self.sending_ns = now_ns;
        self.job.draw.set_now_ms(self.clock.unix_ms(now_ns));
        let mut all = Due::Nothing;
        for lane in 0..self.lanes() {
            let due = self.send_lane(lane, now_ns);
            all = all.max(due);
        }
        self.connections.flush_unsent().map_err(|error| self.broken("write to", error))?;
        Ok(all)
    }

    fn lanes(&self) -> usize {
        if let Pace::Open(lanes) = &self.job.pace { lanes.len() } else { 0 }
    }

    fn send_lane(&mut self, lane: usize, now_ns: u64) -> Due {
        let phases = self.job.phases;
        for _ in 0..BURST_MAX {
            let Pace::Open(lanes) = &mut self.job.pace else { return Due::Nothing };
            let Lane { request, arrivals, group } = &mut lanes[lane];
            let due_ns = arrivals.next_ns();
            if due_ns > now_ns || due_ns >= phases.end_ns || self.sent >= phases.requests_max {
                return Due::Nothing;
            }
            let Some(at) = self.connections.next_with_room(*group) else { return Due::NoRoom };
            arrivals.advance();
            let request = *request;
            self.push_request(at, due_ns, request);
            self.connections.pushed(at);
        }
        Due::More
    }

    /// Closed loop: the next pipeline of a connection on which nothing is under way.
    pub(super) fn send_pipeline(&mut self, at: usize, now_ns: u64) -> Result<(), BenchError> {
        if !self.may_send(now_ns) {
            return Ok(());
        }
        self.sending_ns = now_ns;
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
        self.connections.visit(at).flush().map_err(|error| self.broken("write to", error))
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
        let connection = self.connections.visit(at);
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
        self.in_flight += 1;
        if connection.in_flight.is_empty() {
            connection.progress =
                Progress { at_ns: self.sending_ns, answered: self.answered, in_flight: self.in_flight };
        }
        connection.in_flight.push_back(InFlight { since_ns, request });
        self.sent += 1;
    }
}
