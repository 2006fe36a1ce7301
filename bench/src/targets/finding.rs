//! What a row found out, and whether its target is reached.

use crate::measure::Summary;
use crate::report::{grouped, time};
use crate::spread::Spread;
use serde::Serialize;
use std::fmt;

/// A row of the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
pub enum Row {
    /// Events, pipeline 64.
    #[value(name = "C1", alias = "c1")]
    C1,
    /// Events, pipeline 1.
    #[value(name = "C2", alias = "c2")]
    C2,
    /// 64 events in a command.
    #[value(name = "C3", alias = "c3")]
    C3,
    /// Reads of two features over 60 buckets.
    #[value(name = "C4", alias = "c4")]
    C4,
    /// Reads of many entities in a command.
    #[value(name = "C5", alias = "c5")]
    C5,
    /// Latency of reads beside a load of events.
    #[value(name = "C6", alias = "c6")]
    C6,
    /// Bytes an entity.
    #[value(name = "C7", alias = "c7")]
    C7,
    /// Growth: cost an event, longest tick, bytes. Takes minutes and gigabytes.
    #[value(name = "C8", alias = "c8")]
    C8,
    /// Two shards against one.
    #[value(name = "C9", alias = "c9")]
    C9,
    /// Idle connections.
    #[value(name = "C10", alias = "c10")]
    C10,
    /// What the log costs.
    #[value(name = "D1", alias = "d1")]
    D1,
    /// What a snapshot of many entities costs while it is taken. Takes minutes and gigabytes, as D3.
    #[value(name = "D2", alias = "d2")]
    D2,
    /// How long a start with many entities takes.
    #[value(name = "D3", alias = "d3")]
    D3,
    /// Many entities, all buckets full: ingest, bytes, reads.
    #[value(name = "capacity")]
    Capacity,
}

impl Row {
    /// All but C8, D2 and D3, which take many entities.
    pub const QUICK: [Self; 10] =
        [Self::C1, Self::C2, Self::C3, Self::C4, Self::C5, Self::C6, Self::C7, Self::C9, Self::C10, Self::D1];
}

impl Row {
    /// Whether it is measured on the servers that all such rows share.
    pub(super) fn is_side_by_side(self) -> bool {
        !matches!(self, Self::C8 | Self::C10 | Self::D1 | Self::D2 | Self::D3 | Self::Capacity)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capacity => f.write_str("capacity"),
            row => fmt::Debug::fmt(row, f),
        }
    }
}

/// What a number must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
    /// Less than that.
    Below(f64),
}

impl Bound {
    /// True if a number keeps to it; no number (NaN) does not.
    pub fn holds(self, number: f64) -> bool {
        match self {
            Self::AtLeast(bound) => number >= bound,
            Self::AtMost(bound) => number <= bound,
            Self::Below(bound) => number < bound,
        }
    }

    fn shown(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {}", unit.shown(bound)),
            Self::AtMost(bound) => format!("≤ {}", unit.shown(bound)),
            Self::Below(bound) => format!("< {}", unit.shown(bound)),
        }
    }
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// One rate or latency over another.
    Ratio,
    /// Operations per CPU-second of the server.
    PerCpuSecond,
    /// Operations per second, where the CPU time was too short to be told.
    PerSecond,
    /// A time in microseconds.
    Us,
    /// Memory.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
}

impl Unit {
    fn shown(self, number: f64) -> String {
        let number = self.bare(number);
        match self {
            Self::Ratio | Self::Us => number,
            Self::PerCpuSecond => format!("{number} per CPU-second"),
            Self::PerSecond => format!("{number} /s"),
            Self::Bytes => format!("{number} bytes"),
            Self::BytesPerSecond => format!("{number} bytes/s"),
        }
    }

    fn bare(self, number: f64) -> String {
        match self {
            Self::Ratio => format!("{number:.2}"),
            Self::Us => time(number),
            Self::PerCpuSecond | Self::PerSecond | Self::Bytes | Self::BytesPerSecond => grouped(number),
        }
    }
}

/// A server's own figures, medians over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Operations.
    Rate {
        /// … per second.
        per_s: f64,
        /// … per CPU-second of the server; unknown beside a background.
        per_cpu_s: Option<f64>,
    },
    /// A percentile of latency in microseconds.
    LatencyUs(f64),
    /// A part of the table that has no such figure.
    None,
}

impl Reading {
    /// The rates of some rounds.
    pub fn rates(rounds: &[Summary]) -> Self {
        let median = |number: fn(&Summary) -> Option<f64>| {
            Spread::of_rounds(rounds, number).map(|spread| spread.median)
        };
        let per_s = median(|round| Some(round.total.rate_per_s)).unwrap_or_default();
        Self::Rate { per_s, per_cpu_s: median(|round| round.rate_per_cpu_s) }
    }

    fn latency(rounds: &[Summary], percentile: Percentile) -> Self {
        let spread = Spread::of_rounds(rounds, |round| Some(percentile.of(round)));
        spread.map_or(Self::None, |spread| Self::LatencyUs(spread.median))
    }

    fn shown(self) -> String {
        match self {
            Self::Rate { per_s, per_cpu_s: Some(per_cpu_s) } => {
                format!("{} ({})", grouped(per_s), grouped(per_cpu_s))
            }
            Self::Rate { per_s, per_cpu_s: None } => grouped(per_s),
            Self::LatencyUs(us) => time(us),
            Self::None => String::new(),
        }
    }
}

/// Which latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Percentile {
    /// The median.
    P50,
    /// 99 %.
    P99,
    /// 99.9 %.
    P999,
}

impl Percentile {
    /// In microseconds, of one round.
    pub fn of(self, round: &Summary) -> f64 {
        let latency = &round.total.latency;
        match self {
            Self::P50 => latency.p50_us,
            Self::P99 => latency.p99_us,
            Self::P999 => latency.p999_us,
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The row it belongs to.
    pub row: Row,
    /// What was done.
    pub workload: String,
    /// Windrow's figures.
    pub windrow: Reading,
    /// Whom it is compared with, and its figures.
    pub against: Option<(String, Reading)>,
    /// What the target is about.
    pub unit: Unit,
    /// Median over the rounds, least and greatest; none if it could not be measured.
    pub measured: Option<Spread>,
    /// The target; none for a landmark.
    pub bound: Option<Bound>,
    /// Whether the median keeps to it; none for a landmark, and for what could not be measured.
    pub reached: Option<bool>,
    /// What is to be known beside the figures.
    pub note: Option<String>,
}

impl Finding {
    /// A number by itself.
    pub fn value(
        row: Row,
        workload: &str,
        unit: Unit,
        measured: Option<Spread>,
        bound: Option<Bound>,
    ) -> Self {
        Self {
            row,
            workload: workload.to_owned(),
            windrow: Reading::None,
            against: None,
            unit,
            measured,
            bound,
            reached: bound.zip(measured).map(|(bound, measured)| bound.holds(measured.median)),
            note: None,
        }
    }

    /// These rounds' rate over those rounds', per CPU-second of each server: the generator may be the bottleneck. Where
    /// the CPU time was too short to be told, per second.
    pub fn rate_ratio(
        row: Row,
        workload: &str,
        these: &[Summary],
        (title, those): (&str, &[Summary]),
        bound: Bound,
    ) -> Self {
        let per_cpu_s = Spread::of_ratios(these, those, |round| round.rate_per_cpu_s);
        let per_s = || Spread::of_ratios(these, those, |round| Some(round.total.rate_per_s));
        let mut finding = Self::value(row, workload, Unit::Ratio, per_cpu_s.or_else(per_s), Some(bound));
        finding.windrow = Reading::rates(these);
        finding.against = Some((title.to_owned(), Reading::rates(those)));
        if per_cpu_s.is_none() {
            finding.note = Some("per second, not per CPU-second".to_owned());
        }
        finding
    }

    /// These rounds' rate over those rounds', per second: where waiting is what is measured.
    pub fn plain_rate_ratio(
        row: Row,
        workload: &str,
        these: &[Summary],
        (title, those): (&str, &[Summary]),
        bound: Bound,
    ) -> Self {
        let per_s = Spread::of_ratios(these, those, |round| Some(round.total.rate_per_s));
        Self {
            windrow: Reading::rates(these),
            against: Some((title.to_owned(), Reading::rates(those))),
            note: Some("per second".to_owned()),
            ..Self::value(row, workload, Unit::Ratio, per_s, Some(bound))
        }
    }

    /// These rounds' latency over those rounds'.
    pub fn latency_ratio(
        row: Row,
        workload: &str,
        percentile: Percentile,
        these: &[Summary],
        (title, those): (&str, &[Summary]),
        bound: Option<Bound>,
    ) -> Self {
        let ratio = Spread::of_ratios(these, those, |round| Some(percentile.of(round)));
        Self {
            windrow: Reading::latency(these, percentile),
            against: Some((title.to_owned(), Reading::latency(those, percentile))),
            ..Self::value(row, workload, Unit::Ratio, ratio, bound)
        }
    }

    /// A percentile of these rounds' latency.
    pub fn latency(
        row: Row,
        workload: &str,
        percentile: Percentile,
        rounds: &[Summary],
        bound: Option<Bound>,
    ) -> Self {
        let measured = Spread::of_rounds(rounds, |round| Some(percentile.of(round)));
        Self { windrow: Reading::rates(rounds), ..Self::value(row, workload, Unit::Us, measured, bound) }
    }

    /// A contender that is not there.
    pub fn absent(row: Row, workload: &str, title: &str, bound: Bound, why: &str) -> Self {
        let against = Some((title.to_owned(), Reading::None));
        let note = Some(why.to_owned());
        Self { against, note, ..Self::value(row, workload, Unit::Ratio, None, Some(bound)) }
    }

    /// Its line of a Markdown table.
    pub fn line(&self) -> String {
        let Self { row, workload, windrow, against, unit, measured, bound, reached, note } = self;
        let (title, other) = against
            .as_ref()
            .map_or_else(Default::default, |(title, reading)| (title.clone(), reading.shown()));
        let measured = measured.map_or_else(
            || "not measured".to_owned(),
            |spread| match (unit.shown(spread.median), spread.min, spread.max) {
                (shown, min, max) if min == max => shown,
                (shown, min, max) => format!("{shown} ({}–{})", unit.bare(min), unit.bare(max)),
            },
        );
        let note = note.as_ref().map_or_else(String::new, |note| format!("; {note}"));
        let bound = bound.map_or_else(String::new, |bound| bound.shown(*unit));
        let reached = reached.map_or("", |reached| if reached { "yes" } else { "no" });
        format!(
            "| {row} | {workload} | {} | {title} | {other} | {measured}{note} | {bound} | {reached} |",
            windrow.shown()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Machine, Measured, ProcessUse};
    use crate::template::KeyFormat;
    use crate::workload::{Mode, Target, Workload};

    fn round(operations: u64, cpu_s: f64, latency_us: u64) -> Summary {
        let key = KeyFormat::new("user:", 12, 1).unwrap();
        let workload = Workload::new(Target::Windrow, Mode::Events, &key).unwrap();
        let mut measured = Measured::new(1);
        measured.kinds[0].requests = operations;
        measured.kinds[0].record(latency_us * 1000, 1);
        let server = ProcessUse { cpu_s, rss_bytes: 1 };
        Summary::new(&measured, &workload, Machine { seconds: 1.0, server: Some(server), generator: server })
    }

    #[test]
    fn bounds_hold_where_they_say() {
        assert!(Bound::AtLeast(10.0).holds(10.0) && !Bound::AtLeast(10.0).holds(9.99));
        assert!(Bound::AtMost(800.0).holds(800.0) && !Bound::AtMost(800.0).holds(800.1));
        assert!(Bound::Below(1000.0).holds(999.9) && !Bound::Below(1000.0).holds(1000.0));
        assert!(!Bound::AtLeast(0.0).holds(f64::NAN) && !Bound::AtMost(0.0).holds(f64::NAN));
    }

    #[test]
    fn the_median_ratio_decides_however_far_the_rounds_lie_apart() {
        let these = [round(1000, 1.0, 1), round(100, 1.0, 1), round(900, 1.0, 1)];
        let those = [round(100, 1.0, 1), round(100, 1.0, 1), round(100, 1.0, 1)];
        let against = ("null", &those[..]);
        let finding = Finding::rate_ratio(Row::C1, "w", &these, against, Bound::AtLeast(9.0));
        assert_eq!(finding.measured, Some(Spread { median: 9.0, min: 1.0, max: 10.0 }));
        assert_eq!(finding.reached, Some(true));
        assert_eq!(
            finding.line(),
            "| C1 | w | 900 (900) | null | 100 (100) | 9.00 (1.00–10.00) | ≥ 9.00 | yes |"
        );
        let finding = Finding::rate_ratio(Row::C1, "w", &these, against, Bound::AtLeast(9.1));
        assert_eq!(finding.reached, Some(false));
    }

    #[test]
    fn the_generator_as_bottleneck_does_not_count_for_the_server() {
        // Twice as fast a second, on four times the CPU time.
        let finding = Finding::rate_ratio(
            Row::C2,
            "w",
            &[round(200, 1.0, 1)],
            ("null", &[round(100, 0.25, 1)]),
            Bound::AtLeast(1.0),
        );
        assert_eq!((finding.measured.unwrap().median, finding.reached), (0.5, Some(false)));
    }

    #[test]
    fn a_cpu_time_too_short_to_tell_is_said() {
        let (these, those) = ([round(200, 0.0, 1)], [round(100, 1.0, 1)]);
        let finding = Finding::rate_ratio(Row::C2, "w", &these, ("null", &those), Bound::AtLeast(1.0));
        assert_eq!(finding.measured.unwrap().median, 2.0);
        assert!(finding.line().contains("per second, not per CPU-second"));
    }

    #[test]
    fn latencies_are_compared_round_by_round() {
        let (these, those) =
            ([round(1, 1.0, 300), round(1, 1.0, 800)], [round(1, 1.0, 600), round(1, 1.0, 400)]);
        let against = ("Redis GET", &those[..]);
        let bound = Some(Bound::AtMost(1.0));
        let finding = Finding::latency_ratio(Row::C4, "w", Percentile::P99, &these, against, bound);
        let ratio = finding.measured.unwrap();
        assert!((ratio.min - 0.5).abs() < 0.01 && (ratio.max - 2.0).abs() < 0.01, "{ratio:?}");
        assert_eq!(finding.reached, Some(false));
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_missed() {
        let absent = Finding::absent(Row::C1, "w", "RedisTimeSeries", Bound::AtLeast(7.0), "no module");
        assert_eq!(absent.reached, None);
        assert_eq!(absent.line(), "| C1 | w |  | RedisTimeSeries |  | not measured; no module | ≥ 7.00 |  |");
        let landmark = Finding::value(Row::C7, "w", Unit::Bytes, Spread::of(&[1748.0]), None);
        assert_eq!((landmark.reached, landmark.line().contains("1,748 bytes")), (None, true));
    }
}
