//! What a run found out.
//!
//! | file | what lives there |
//! | --- | --- |
//! | this one | what threads measure, and add up |
//! | `summary` | the run in numbers: rates, percentiles, CPU time |
//! | `overload` | whether the server of an open loop kept up |

mod overload;
mod summary;

pub use overload::Overload;
pub use summary::{Figures, Latency, Machine, ProcessUse, Summary};

use crate::replies::Verdicts;
use hdrhistogram::Histogram;

/// Longest latency told apart from longer ones.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Decimal digits that a latency is kept with.
const LATENCY_DIGITS: u8 = 3;

/// What one thread measured of one kind of request.
#[derive(Clone, Debug)]
pub struct KindMeasured {
    /// Latency of each request in nanoseconds: by when it was sent (closed loop) or due (open loop).
    pub latency: Histogram<u64>,
    /// Requests answered within the measured time.
    pub requests: u64,
    /// Those of them that were answered while requests fell due: all, unless a count is the end of an open loop.
    pub in_time: u64,
    /// How it stood when half of that time was over.
    pub halfway: Halfway,
    /// Requests that had no reply when the run was given up; in `latency` with the time they waited so far.
    pub unfinished: u64,
}

/// Requests in the first half of the time in which they fall due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Halfway {
    /// So many fell due.
    pub due: u64,
    /// So many were answered.
    pub answered: u64,
}

impl KindMeasured {
    /// By how many the backlog grew in the first half, and in the second.
    fn growth(&self) -> (i64, i64) {
        let grew = |due: u64, answered: u64| due.cast_signed() - answered.cast_signed();
        let first = grew(self.halfway.due, self.halfway.answered);
        (first, grew(self.latency.len(), self.in_time) - first)
    }

    /// Notes a latency that `count` requests had.
    #[inline]
    pub fn record(&mut self, latency_ns: u64, count: u64) {
        self.latency.saturating_record_n(latency_ns.max(1), count);
    }
}

/// What one thread measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// By index of the workload's requests.
    pub kinds: Vec<KindMeasured>,
    /// Requests of all kinds that had no reply when the run was given up.
    pub unfinished: u64,
    /// Those of them for which too high a rate is no excuse: the loop is closed, or the server had fallen silent.
    pub lost: u64,
    /// Where a count is the end of an open loop: when the last of it fell due, in nanoseconds since the start.
    pub due_until_ns: Option<u64>,
    /// Requests fell due on a schedule, whatever became of those before.
    pub is_open: bool,
    /// What was wrong with replies.
    pub verdicts: Verdicts,
    /// When the last reply was there, in nanoseconds since the start.
    pub finished_ns: u64,
    /// What the loop had to do.
    pub effort: Effort,
}

/// What the loop of a thread did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Looks at what is due and what has come.
    pub turns: u64,
    /// Connections that were looked at, in all turns.
    pub visits: u64,
}

impl Measured {
    /// Nothing yet, of so many kinds of requests.
    pub fn new(kinds: usize) -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS);
        let kind = KindMeasured {
            latency: latency.expect("constant bounds are valid"),
            requests: 0,
            in_time: 0,
            halfway: Halfway::default(),
            unfinished: 0,
        };
        Self {
            kinds: vec![kind; kinds],
            unfinished: 0,
            lost: 0,
            due_until_ns: None,
            is_open: false,
            verdicts: Verdicts::default(),
            finished_ns: 0,
            effort: Effort::default(),
        }
    }

    /// Adds what another thread measured of the same kinds.
    pub fn merge(&mut self, other: Self) {
        assert_eq!(self.kinds.len(), other.kinds.len(), "threads of one run have one workload");
        for (kind, other) in self.kinds.iter_mut().zip(other.kinds) {
            kind.latency.add(&other.latency).expect("all histograms have the same bounds");
            kind.requests += other.requests;
            kind.in_time += other.in_time;
            kind.halfway.due += other.halfway.due;
            kind.halfway.answered += other.halfway.answered;
            kind.unfinished += other.unfinished;
        }
        self.unfinished += other.unfinished;
        self.lost += other.lost;
        self.due_until_ns = self.due_until_ns.max(other.due_until_ns);
        self.is_open |= other.is_open;
        self.effort.turns += other.effort.turns;
        self.effort.visits += other.effort.visits;
        self.verdicts.merge(other.verdicts);
        self.finished_ns = self.finished_ns.max(other.finished_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_everything() {
        let mut one = Measured { unfinished: 3, lost: 2, ..Measured::new(2) };
        one.kinds[1].record(1000, 5);
        one.kinds[1].requests = 2;
        let mut two = one.clone();
        two.verdicts.errors = 7;
        one.merge(two);
        assert_eq!((one.unfinished, one.lost, one.verdicts.errors), (6, 4, 7));
        assert_eq!(
            (one.kinds[0].latency.len(), one.kinds[1].latency.len(), one.kinds[1].requests),
            (0, 10, 4)
        );
    }
}
