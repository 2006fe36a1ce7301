//! What a run found out.

use crate::replies::{Outcomes, Verdicts};
use crate::workload::{Request, Workload};
use hdrhistogram::Histogram;
use serde::Serialize;

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

/// An open loop whose server did not keep up. The longer it had run, the longer latencies would have become: those measured are the
/// least they are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overload {
    /// The kinds of requests that it did not keep up with.
    pub kinds: Vec<String>,
    /// Requests of these that fell due in a second of the measured time, or of a count, of the time in which it fell due.
    pub asked_per_s: f64,
    /// Requests of these that were answered in one.
    pub reached_per_s: f64,
    /// By how many the backlog grew in that time.
    pub behind: u64,
    /// Requests of any kind without a reply when the wait for it had ended as well.
    pub outstanding: u64,
}

/// A backlog that grew by no more than this part of what was asked for, or by so few requests, is no overload: some are always under
/// way when the measured time ends.
const BEHIND_PART: f64 = 0.01;
const BEHIND_MIN: f64 = 10.0;

/// What grew by more than that is a trend, and an overload, if at least this part of the growth came in each half of the time.
const TREND_PART: f64 = 0.25;

/// Otherwise the time may have ended in a short stall, which makes no more due than falls due in this time.
const STALL_S: f64 = 0.2;

impl Overload {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn of(measured: &Measured, kinds: &[(&KindMeasured, &Request)], seconds: f64) -> Option<Self> {
        // Of a server that fell silent nobody knows what it could have done.
        if !measured.is_open || measured.lost > 0 {
            return None;
        }
        let seconds = measured.due_until_ns.map_or(seconds, |due_until_ns| due_until_ns.max(1) as f64 / 1e9);
        let is_behind = |kind: &KindMeasured| {
            let (due, (first, second)) = (kind.latency.len() as f64, kind.growth());
            let growth = (first + second) as f64;
            let is_trend = first.min(second) as f64 >= TREND_PART * growth;
            growth > BEHIND_MIN.max(due * BEHIND_PART) && (is_trend || growth > due * STALL_S / seconds)
        };
        let grown = |kind: &KindMeasured| kind.latency.len().saturating_sub(kind.in_time);
        let behind: Vec<_> =
            kinds.iter().filter(|(kind, _)| is_behind(kind) || kind.unfinished > 0).collect();
        let sum = |number: fn(&KindMeasured) -> u64| behind.iter().map(|(kind, _)| number(kind)).sum::<u64>();
        (!behind.is_empty()).then(|| Self {
            kinds: behind.iter().map(|(_, request)| request.name.clone()).collect(),
            asked_per_s: sum(|kind| kind.latency.len()) as f64 / seconds,
            reached_per_s: sum(|kind| kind.in_time) as f64 / seconds,
            behind: behind.iter().map(|(kind, _)| grown(kind)).sum(),
            outstanding: measured.unfinished,
        })
    }
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

    /// A second of an open loop of one kind: what fell due and what was answered by its middle, and by its end.
    fn open(halfway: [u64; 2], end: [u64; 2], unfinished: u64) -> Measured {
        let mut measured = Measured { is_open: true, unfinished, ..Measured::new(1) };
        let kind = &mut measured.kinds[0];
        kind.record(1000, end[0]);
        kind.halfway = Halfway { due: halfway[0], answered: halfway[1] };
        (kind.requests, kind.in_time, kind.unfinished) = (end[1], end[1], unfinished);
        measured
    }

    fn overload(measured: &Measured, seconds: f64) -> Option<Overload> {
        let machine = Machine { seconds, server: None, generator: USE };
        Summary::new(measured, &workload(Mode::Events), machine).overload
    }

    #[test]
    fn an_open_loop_that_falls_behind_is_an_overload_and_no_mistake() {
        let measured = open([10_000, 7_500], [20_000, 15_000], 700);
        let machine = Machine { seconds: 2.0, server: None, generator: USE };
        let summary = Summary::new(&measured, &workload(Mode::Events), machine);
        assert!(summary.is_clean());
        let expected = Overload {
            kinds: vec!["events".to_owned()],
            asked_per_s: 10_000.0,
            reached_per_s: 7_500.0,
            behind: 5_000,
            outstanding: 700,
        };
        assert_eq!(summary.overload, Some(expected));
        // All that was owed came in the end: it fell behind all the same.
        let worked_off = overload(&open([10_000, 7_500], [20_000, 15_000], 0), 2.0);
        assert_eq!(worked_off.map(|overload| overload.outstanding), Some(0));
        // What is under way when the time ends is none, nor is it in a closed loop, however much it is.
        assert_eq!(overload(&open([10_000, 9_950], [20_000, 19_900], 0), 2.0), None);
        assert_eq!(overload(&open([25, 22], [50, 45], 0), 2.0), None);
        let still_owed = overload(&open([25, 25], [50, 50], 1), 2.0);
        assert_eq!(still_owed.map(|overload| overload.outstanding), Some(1));
        let closed = Measured { is_open: false, ..open([10_000, 7_500], [20_000, 15_000], 0) };
        assert_eq!(overload(&closed, 2.0), None);
        assert_eq!(overload(&Measured { lost: 9, ..open([0, 0], [0, 0], 9) }, 2.0), None);
    }

    #[test]
    fn a_trend_is_told_from_a_stall_however_short_the_run() {
        for (halfway, end, is_overload) in [
            // Nine tenths of the rate are kept up, all the time.
            ([500, 450], [1_000, 900], true),
            // 150 ms of what is asked for: the end of the time fell into a stall.
            ([500, 500], [1_000, 850], false),
            ([500, 499], [1_000, 880], false),
            // A stall around the middle, most of it worked off.
            ([500, 350], [1_000, 950], false),
            // A stall that is not short, or an overload that began late.
            ([500, 500], [1_000, 700], true),
        ] {
            let found = overload(&open(halfway, end, 0), 1.0);
            assert_eq!(found.is_some(), is_overload, "{halfway:?} {end:?}");
        }
    }

    #[test]
    fn a_count_of_an_open_loop_is_judged_when_its_last_request_is_due() {
        // 10,000 fell due in a second. All are answered, but only after ten.
        let mut measured = open([5_000, 500], [10_000, 1_000], 0);
        (measured.kinds[0].requests, measured.due_until_ns) = (10_000, Some(1_000_000_000));
        let found = overload(&measured, 10.0).unwrap();
        assert_eq!((found.asked_per_s, found.reached_per_s, found.behind), (10_000.0, 1_000.0, 9_000));
    }

    #[test]
    fn an_overload_names_the_kinds_that_fell_behind() {
        let workload = workload(Mode::Reads).with_background(workload(Mode::Madd(10)));
        let overload = |unfinished: u64, background: [u64; 3]| {
            let mut measured = Measured { is_open: true, unfinished, ..Measured::new(2) };
            for (kind, [due, answered, halfway]) in [(0, [1_000, 1_000, 500]), (1, background)] {
                let kind = &mut measured.kinds[kind];
                kind.record(1000, due);
                kind.halfway = Halfway { due: due / 2, answered: halfway };
                (kind.requests, kind.in_time) = (answered, answered);
            }
            measured.kinds[1].unfinished = unfinished;
            let machine = Machine { seconds: 1.0, server: None, generator: USE };
            Summary::new(&measured, &workload, machine).overload.unwrap()
        };
        let grown = overload(0, [400, 100, 50]);
        assert_eq!((grown.kinds, grown.behind), (vec!["madd:10".to_owned()], 300));
        assert_eq!((grown.asked_per_s, grown.reached_per_s), (400.0, 100.0));
        let owed = overload(3, [400, 397, 200]);
        assert_eq!((owed.kinds, owed.outstanding), (vec!["madd:10".to_owned()], 3));
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
