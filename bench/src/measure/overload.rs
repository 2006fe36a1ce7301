//! Whether the server of an open loop kept up with what it was asked.

use super::{KindMeasured, Measured};
use crate::workload::Request;
use serde::Serialize;

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
    pub(super) fn of(measured: &Measured, kinds: &[(&KindMeasured, &Request)], seconds: f64) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use super::super::{Halfway, Machine, ProcessUse, Summary};
    use super::*;
    use crate::template::KeyFormat;
    use crate::workload::{Mode, Target, Workload};

    const USE: ProcessUse = ProcessUse { cpu_s: 0.5, rss_bytes: 1 };

    fn workload(mode: Mode) -> Workload {
        Workload::new(Target::Windrow, mode, &KeyFormat::new("user:", 12, 1).unwrap()).unwrap()
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
}
