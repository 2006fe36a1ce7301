//! What a run found out.

use crate::replies::Verdicts;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart from longer ones.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Decimal digits that a latency is kept with.
const LATENCY_DIGITS: u8 = 3;

/// What one thread measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Latency of each request in nanoseconds: by when it was sent (closed loop) or due (open loop).
    pub latency: Histogram<u64>,
    /// Events or rows answered within the measured time.
    pub operations: u64,
    /// Requests answered within the measured time.
    pub requests: u64,
    /// Requests that had no reply when the run was given up; in `latency` with the time they waited so far.
    pub unfinished: u64,
    /// What was wrong with replies.
    pub verdicts: Verdicts,
    /// When the last reply was there, in nanoseconds since the start.
    pub finished_ns: u64,
}

impl Default for Measured {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS);
        Self {
            latency: latency.expect("constant bounds are valid"),
            operations: 0,
            requests: 0,
            unfinished: 0,
            verdicts: Verdicts::default(),
            finished_ns: 0,
        }
    }
}

impl Measured {
    /// Notes a latency that `count` requests had.
    #[inline]
    pub fn record(&mut self, latency_ns: u64, count: u64) {
        // Clamped, so it cannot fail.
        self.latency.saturating_record_n(latency_ns.max(1), count);
    }

    /// Adds what another thread measured.
    pub fn merge(&mut self, other: Self) {
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
        self.operations += other.operations;
        self.requests += other.requests;
        self.unfinished += other.unfinished;
        self.verdicts.merge(other.verdicts);
        self.finished_ns = self.finished_ns.max(other.finished_ns);
    }
}

/// A process's use of the machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ProcessUse {
    /// User and system time.
    pub cpu_s: f64,
    /// Resident memory.
    pub rss_bytes: u64,
}

impl ProcessUse {
    /// CPU time since an earlier look, and memory now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { cpu_s: self.cpu_s - earlier.cpu_s, rss_bytes: self.rss_bytes }
    }
}

/// What a run took of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Measured time.
    pub seconds: f64,
    /// The server in that time, if its process is known.
    pub server: Option<ProcessUse>,
    /// The generator in that time: near a whole core for each of its threads, it is the bottleneck.
    pub generator: ProcessUse,
}

/// A run in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Measured time.
    pub seconds: f64,
    /// Events or rows answered in it.
    pub operations: u64,
    /// … per second.
    pub rate_per_s: f64,
    /// … per second of the server's CPU time, if its process is known.
    pub rate_per_cpu_s: Option<f64>,
    /// The server's use of the machine, if its process is known.
    pub server: Option<ProcessUse>,
    /// The generator's own.
    pub generator: ProcessUse,
    /// Requests answered in it.
    pub requests: u64,
    /// Requests sent (closed loop) or due (open loop) in it: those that the percentiles are of.
    pub requests_timed: u64,
    /// Requests that never got a reply.
    pub unfinished: u64,
    /// Wrong replies.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// A reply as it came, where replies are not known beforehand.
    pub sample: Option<String>,
    /// Percentiles of latency.
    pub latency: Latency,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub max_us: f64,
}

impl Summary {
    /// Sums a run up.
    pub fn new(measured: &Measured, machine: Machine) -> Self {
        let Machine { seconds, server, generator } = machine;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let operations = measured.operations as f64;
        Self {
            seconds,
            operations: measured.operations,
            rate_per_s: operations / seconds,
            rate_per_cpu_s: server
                .filter(|server| server.cpu_s > 0.0)
                .map(|server| operations / server.cpu_s),
            server,
            generator,
            requests: measured.requests,
            requests_timed: measured.latency.len(),
            unfinished: measured.unfinished,
            errors: measured.verdicts.errors,
            first_error: measured.verdicts.first_error.clone(),
            sample: measured.verdicts.sample.clone(),
            latency: Latency::of(&measured.latency),
        }
    }

    /// Every reply came and was right.
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.unfinished == 0
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "latencies are below 2^53 ns")]
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: us(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut measured = Measured::default();
        for us in 1..=10_000_u64 {
            measured.record(us * 1000, 1);
        }
        let latency = Latency::of(&measured.latency);
        for (found, expected) in [
            (latency.p50_us, 5000.0),
            (latency.p99_us, 9900.0),
            (latency.p9999_us, 9999.0),
            (latency.max_us, 10_000.0),
        ] {
            assert!((found / expected - 1.0).abs() < 0.002, "{found} for {expected}");
        }
    }

    #[test]
    fn merging_adds_everything() {
        let mut one = Measured { operations: 1, requests: 2, unfinished: 3, ..Measured::default() };
        one.record(1000, 5);
        let mut two = one.clone();
        two.verdicts.errors = 7;
        one.merge(two);
        assert_eq!((one.operations, one.requests, one.unfinished, one.verdicts.errors), (2, 4, 6, 7));
        assert_eq!(one.latency.len(), 10);
    }

    #[test]
    fn rates_are_per_second_and_per_cpu_second() {
        let measured = Measured { operations: 1000, ..Measured::default() };
        let generator = ProcessUse { cpu_s: 1.0, rss_bytes: 1 };
        let server = Some(ProcessUse { cpu_s: 0.5, rss_bytes: 1 });
        let summary = Summary::new(&measured, Machine { seconds: 2.0, server, generator });
        assert_eq!((summary.rate_per_s, summary.rate_per_cpu_s), (500.0, Some(2000.0)));
        assert!(summary.is_clean());
        assert!(!Summary { errors: 1, ..summary.clone() }.is_clean());
        assert!(!Summary { unfinished: 1, ..summary }.is_clean());
    }
}
