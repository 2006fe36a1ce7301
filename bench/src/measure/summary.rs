//! A run in numbers.

use super::{KindMeasured, Measured, Overload};
use crate::replies::Outcomes;
use crate::workload::{Request, Workload};
use hdrhistogram::Histogram;
use serde::Serialize;

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
    /// The generator in that time: near a whole core for each of its threads, it is the bottleneck of a closed loop. An open loop may
    /// poll without sleeping and takes whole cores anyway.
    pub generator: ProcessUse,
}

/// A run in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Measured time.
    pub seconds: f64,
    /// What was asked for, all its kinds of requests together.
    #[serde(flatten)]
    pub total: Figures,
    /// Each kind by itself, and the background, where there is more than one.
    pub kinds: Vec<(String, Figures)>,
    /// Operations per second of the server's CPU time; unknown beside a background, whose share is not known.
    pub rate_per_cpu_s: Option<f64>,
    /// The server's use of the machine, if its process is known.
    pub server: Option<ProcessUse>,
    /// The generator's own.
    pub generator: ProcessUse,
    /// Requests that never got a reply.
    pub unfinished: u64,
    /// Those of them for which too high a rate is no excuse: the loop is closed, or the server had fallen silent.
    pub lost: u64,
    /// Where more was asked for than the server can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overload: Option<Overload>,
    /// Wrong replies.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// What became of events, where that is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Outcomes>,
    /// A reply as it came, where replies are not known beforehand.
    pub sample: Option<String>,
}

/// Rate and latency of some requests.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Events or rows answered within the measured time.
    pub operations: u64,
    /// … per second.
    pub rate_per_s: f64,
    /// Requests answered within the measured time.
    pub requests: u64,
    /// Requests sent (closed loop) or due (open loop) in it: those that the percentiles are of.
    pub requests_timed: u64,
    /// Percentiles of their latency.
    pub latency: Latency,
    /// The same as a curve: quantile and microseconds, each point halving what is left above it.
    pub curve: Vec<(f64, f64)>,
}

/// The curve ends where one in 2²⁰ is left.
const CURVE_POINTS_MAX: i32 = 20;

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

impl Figures {
    fn of(kinds: &[(&KindMeasured, &Request)], seconds: f64) -> Self {
        let operations = kinds.iter().map(|(measured, request)| measured.requests * request.operations).sum();
        let requests = kinds.iter().map(|(measured, _)| measured.requests).sum();
        let mut latency = Measured::new(1).kinds.swap_remove(0).latency;
        for (measured, _) in kinds {
            latency.add(&measured.latency).expect("all histograms have the same bounds");
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let rate_per_s = operations as f64 / seconds;
        Self {
            operations,
            rate_per_s,
            requests,
            requests_timed: latency.len(),
            latency: Latency::of(&latency),
            curve: curve(&latency),
        }
    }
}

/// Quantiles 0, 1/2, 3/4, … as long as at least one request is left above.
fn curve(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "latencies and counts are below 2^53")]
    let points = (0..=CURVE_POINTS_MAX)
        .map(|halvings| 0.5_f64.powi(halvings))
        .take_while(|above| latency.len() as f64 * above >= 1.0)
        .map(|above| (1.0 - above, latency.value_at_quantile(1.0 - above) as f64 / 1000.0));
    points.collect()
}

impl Summary {
    /// Sums a run up.
    pub fn new(measured: &Measured, workload: &Workload, machine: Machine) -> Self {
        let Machine { seconds, server, generator } = machine;
        let kinds: Vec<_> = measured.kinds.iter().zip(&workload.requests).collect();
        let total = Figures::of(&kinds[..workload.foreground()], seconds);
        let each = kinds.iter().map(|&kind| (kind.1.name.clone(), Figures::of(&[kind], seconds)));
        let alone = kinds.len() == workload.foreground();
        let cpu_s = server.map(|server| server.cpu_s).filter(|&cpu_s| cpu_s > 0.0 && alone);
        Self {
            overload: Overload::of(measured, &kinds, seconds),
            seconds,
            rate_per_cpu_s: cpu_s.map(|cpu_s| total.rate_per_s * seconds / cpu_s),
            total,
            kinds: if kinds.len() > 1 { each.collect() } else { Vec::new() },
            server,
            generator,
            unfinished: measured.unfinished,
            lost: measured.lost,
            errors: measured.verdicts.errors,
            first_error: measured.verdicts.first_error.clone(),
            outcomes: Some(measured.verdicts.outcomes).filter(|outcomes| outcomes.total() > 0),
            sample: measured.verdicts.sample.clone(),
        }
    }

    /// Every reply was right, and came, but for those that an overloaded server still owed.
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.lost == 0
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
    use crate::template::KeyFormat;
    use crate::workload::{Mode, Target};

    const USE: ProcessUse = ProcessUse { cpu_s: 0.5, rss_bytes: 1 };

    fn workload(mode: Mode) -> Workload {
        Workload::new(Target::Windrow, mode, &KeyFormat::new("user:", 12, 1).unwrap()).unwrap()
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut measured = Measured::new(1);
        for us in 1..=10_000_u64 {
            measured.kinds[0].record(us * 1000, 1);
        }
        let latency = Latency::of(&measured.kinds[0].latency);
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
    fn rates_are_per_second_and_per_cpu_second() {
        let mut measured = Measured::new(1);
        measured.kinds[0].requests = 100;
        let machine = Machine { seconds: 2.0, server: Some(USE), generator: USE };
        let summary = Summary::new(&measured, &workload(Mode::Madd(10)), machine);
        assert_eq!((summary.total.rate_per_s, summary.rate_per_cpu_s), (500.0, Some(2000.0)));
        assert!(summary.kinds.is_empty() && summary.is_clean());
        assert!(!Summary { errors: 1, ..summary.clone() }.is_clean());
        assert!(!Summary { unfinished: 1, lost: 1, ..summary.clone() }.is_clean());
        assert!(Summary { unfinished: 1, ..summary }.is_clean());
    }

    #[test]
    fn a_background_is_shown_and_not_counted() {
        let workload = workload(Mode::Reads).with_background(workload(Mode::Madd(10)));
        let mut measured = Measured::new(2);
        measured.kinds[0].record(1000, 1);
        measured.kinds[1].record(9000, 1);
        (measured.kinds[0].requests, measured.kinds[1].requests) = (1, 1);
        let summary =
            Summary::new(&measured, &workload, Machine { seconds: 1.0, server: Some(USE), generator: USE });
        assert_eq!((summary.total.operations, summary.total.latency.max_us), (1, 1.0));
        assert_eq!(summary.kinds[1].1.operations, 10);
        assert_eq!(summary.rate_per_cpu_s, None);
    }
}
