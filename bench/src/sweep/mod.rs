//! How cost grows: one property of the load is changed, everything else stays, and every contender is measured at each point in turns.

mod chart;
mod report;
mod table;

pub use report::{html, pictures};
pub use table::csv;

use crate::arrivals::Spacing;
use crate::compare::{self, Comparison, ContenderResult};
use crate::contender::{Contender, Programs};
use crate::error::BenchError;
use crate::measure::Latency;
use crate::progress::say;
use crate::run::Load;
use crate::workload::Mode;
use serde::Serialize;
use std::fmt;

/// Requests under way on a connection where rates are given: enough that a server that keeps up never runs into it.
const OPEN_LOOP_PIPELINE: usize = 64;

/// Pipeline of points that do not vary it.
const PIPELINE: usize = 16;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Requests under way on each connection.
    Pipeline,
    /// Connections.
    Connections,
    /// Count of entities, all buckets full.
    Entities,
    /// Shards of Windrow, all on one core.
    Shards,
    /// Requests a second of an open loop: throughput against latency.
    Rate,
}

impl Axis {
    /// Its name in headings.
    pub fn title(self) -> &'static str {
        match self {
            Self::Pipeline => "Pipeline",
            Self::Connections => "Connections",
            Self::Entities => "Entities",
            Self::Shards => "Shards",
            Self::Rate => "Rate of an open loop",
        }
    }

    /// What its values count.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Pipeline => "requests under way on each connection",
            Self::Connections => "connections",
            Self::Entities => "entities, all buckets full",
            Self::Shards => "shards on one core",
            Self::Rate => "requests a second asked for",
        }
    }

    /// The values that are measured unless others are given.
    pub fn values(self) -> &'static [u64] {
        match self {
            Self::Pipeline => &[1, 4, 16, 64, 256],
            Self::Connections => &[1, 10, 50, 200, 1_000],
            Self::Entities => &[10_000, 100_000, 1_000_000, 10_000_000],
            Self::Shards => &[1, 2, 4],
            Self::Rate => &[2_000, 5_000, 10_000, 20_000, 40_000, 80_000, 120_000],
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipeline => "pipeline",
            Self::Connections => "connections",
            Self::Entities => "entities",
            Self::Shards => "shards",
            Self::Rate => "rate",
        })
    }
}

/// What is swept.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One sweep each.
    pub axes: Vec<Axis>,
    /// Who takes part.
    pub contenders: Vec<Contender>,
    /// Events, reads.
    pub modes: Vec<Mode>,
    /// Rounds of each point.
    pub rounds: usize,
    /// No count of entities above this.
    pub entities_max: u64,
    /// What is not changed.
    pub load: Load,
    /// The servers to start.
    pub programs: Programs,
    /// The core that servers are bound to, and the generator stays off; none: all share what there is.
    pub server_core: Option<usize>,
}

/// One contender at one value.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// What was changed.
    pub axis: Axis,
    /// To what.
    pub value: u64,
    /// What was done.
    pub mode: String,
    /// By whom.
    pub contender: Contender,
    /// Which product and version its server says it is, if it does.
    pub identity: Option<String>,
    /// Events or rows a second, the median of the rounds.
    pub rate_per_s: f64,
    /// … a CPU-second of the server.
    pub rate_per_cpu_s: Option<f64>,
    /// Medians of the percentiles.
    pub latency: Latency,
    /// Resident memory of the server.
    pub rss_bytes: Option<f64>,
    /// Quantile and microseconds, of the first round.
    pub curve: Vec<(f64, f64)>,
    /// Wrong and missing replies in all rounds, but for those that an overloaded server still owed.
    pub wrong: u64,
    /// Requests of an open loop that had no reply when the wait for it ended, in all rounds: more was asked for than the server can do.
    pub unanswered: u64,
    /// In some round it did not keep up with the rate asked for: the percentiles are the least they are.
    pub is_overloaded: bool,
}

/// All points, and how they were measured.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// For above the plots.
    pub setup: String,
    /// What ended it before all was measured, if anything did.
    pub ended_by: Option<String>,
    /// In the order of measuring.
    pub points: Vec<Point>,
}

impl Outcome {
    /// Nothing yet.
    pub fn of(plan: &Plan) -> Self {
        Self { setup: comparison(plan, &plan.contenders, 1).describe(), ended_by: None, points: Vec::new() }
    }

    /// Every reply was right. One that an overloaded server still owed at the end is not wrong.
    pub fn is_clean(&self) -> bool {
        self.points.iter().all(|point| point.wrong == 0)
    }
}

/// Measures everything; a point that is measured is added to the outcome, whatever becomes of those after it.
///
/// # Errors
///
/// A server does not start, or a run fails. Wrong replies are in the outcome.
pub fn run(plan: &Plan, outcome: &mut Outcome) -> Result<(), BenchError> {
    if plan.rounds == 0 || plan.contenders.is_empty() || plan.axes.is_empty() || plan.modes.is_empty() {
        return Err(BenchError::Settings(
            "a sweep needs at least one axis, one mode, one contender and one round".to_owned(),
        ));
    }
    for &axis in &plan.axes {
        match axis {
            Axis::Pipeline | Axis::Connections | Axis::Rate => sweep_load(plan, axis, outcome)?,
            Axis::Entities | Axis::Shards => sweep_servers(plan, axis, outcome)?,
        }
    }
    Ok(())
}

fn comparison(plan: &Plan, contenders: &[Contender], shards: u64) -> Comparison {
    let mut programs = plan.programs.clone();
    programs.windrow_args.extend(["--shards".to_owned(), shards.to_string()]);
    Comparison {
        contenders: contenders.to_vec(),
        modes: plan.modes.clone(),
        pipelines: vec![PIPELINE],
        rounds: plan.rounds,
        fill: true,
        load: plan.load.clone(),
        programs,
        server_core: plan.server_core,
    }
}

/// Reads before what changes the data: later on, the buckets that were filled are older than the window, and events have made the
/// peers' entries longer.
fn reads_first(modes: &[Mode]) -> Vec<Mode> {
    let mut modes = modes.to_vec();
    modes.sort_by_key(|mode| match mode {
        Mode::Reads | Mode::Mget(_) | Mode::Get => 0,
        Mode::Mixed(_) => 1,
        Mode::Events | Mode::Pipelined(_) | Mode::Madd(_) | Mode::Set | Mode::PipelinedSet(_) => 2,
    });
    modes
}

/// The servers stay, the load changes.
fn sweep_load(plan: &Plan, axis: Axis, outcome: &mut Outcome) -> Result<(), BenchError> {
    let mut comparison = comparison(plan, &plan.contenders, 1);
    let most = if axis == Axis::Connections { axis.values().iter().max() } else { None };
    let most = most.map_or(0, |&most| usize::try_from(most).unwrap_or(usize::MAX));
    let running = compare::start(&comparison, most.max(comparison.load.connections))?;
    for mode in reads_first(&plan.modes) {
        for &value in axis.values() {
            let size = usize::try_from(value).unwrap_or(usize::MAX);
            let mut pipeline = PIPELINE;
            let load = &mut comparison.load;
            match axis {
                Axis::Pipeline => pipeline = size,
                Axis::Connections => load.connections = size.max(load.threads),
                Axis::Rate => {
                    #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^53")]
                    let rate = value as f64;
                    load.rate = Some((rate, Spacing::Poisson));
                    pipeline = OPEN_LOOP_PIPELINE;
                }
                Axis::Entities | Axis::Shards => unreachable!("these need other servers"),
            }
            measure(&comparison, &running, (axis, value), mode, pipeline, outcome)?;
        }
    }
    Ok(())
}

/// One value of an axis in one mode: a point for each contender.
fn measure(
    comparison: &Comparison,
    running: &compare::Running,
    (axis, value): (Axis, u64),
    mode: Mode,
    pipeline: usize,
    outcome: &mut Outcome,
) -> Result<(), BenchError> {
    say(&format!("{axis} {value}: {mode}"));
    let line = compare::line(comparison, &running.members, mode, pipeline)?;
    outcome.points.extend(line.results.iter().map(|result| point(axis, value, mode, result)));
    Ok(())
}

/// Each value has servers of its own.
fn sweep_servers(plan: &Plan, axis: Axis, outcome: &mut Outcome) -> Result<(), BenchError> {
    for &value in axis.values() {
        let comparison = if axis == Axis::Shards {
            comparison(plan, &[Contender::Windrow], value)
        } else if value > plan.entities_max {
            say(&format!("{axis} {value}: left out, see --entities-max"));
            continue;
        } else {
            let mut comparison = comparison(plan, &plan.contenders, 1);
            comparison.load.entities = value;
            comparison
        };
        let running = compare::start(&comparison, comparison.load.connections)?;
        for mode in reads_first(&plan.modes) {
            measure(&comparison, &running, (axis, value), mode, PIPELINE, outcome)?;
        }
    }
    Ok(())
}

fn point(axis: Axis, value: u64, mode: Mode, result: &ContenderResult) -> Point {
    let wrong = result.rounds.iter().map(|round| round.errors + round.lost).sum();
    let unanswered = result.rounds.iter().map(|round| round.unfinished - round.lost).sum();
    Point {
        axis,
        value,
        mode: mode.to_string(),
        contender: result.contender,
        identity: result.identity.clone(),
        rate_per_s: result.median.rate_per_s,
        rate_per_cpu_s: result.median.rate_per_cpu_s,
        latency: result.median.latency,
        rss_bytes: result.median.rss_bytes,
        curve: result.rounds.first().map(|round| round.total.curve.clone()).unwrap_or_default(),
        wrong,
        unanswered,
        is_overloaded: result.is_overloaded(),
    }
}

#[cfg(test)]
pub(crate) fn example() -> Outcome {
    let mut points = Vec::new();
    for (contender, speed) in [(Contender::Windrow, 4.0), (Contender::Zset, 1.0), (Contender::Null, 9.0)] {
        for axis in [Axis::Pipeline, Axis::Rate] {
            for &value in axis.values() {
                let us = value as f64 / speed;
                points.push(Point {
                    axis,
                    value,
                    mode: "events".to_owned(),
                    contender,
                    identity: (contender == Contender::Zset).then(|| "Redis 7.0.15".to_owned()),
                    rate_per_s: value as f64 * speed * 1000.0,
                    rate_per_cpu_s: Some(value as f64 * speed * 2000.0),
                    latency: Latency {
                        p50_us: us,
                        p99_us: 3.0 * us,
                        p999_us: 9.0 * us,
                        ..Latency::default()
                    },
                    rss_bytes: Some(1e9),
                    curve: vec![(0.0, us / 2.0), (0.5, us), (0.75, 2.0 * us), (0.875, 3.0 * us)],
                    wrong: 0,
                    unanswered: 0,
                    is_overloaded: false,
                });
            }
        }
    }
    Outcome { setup: "50 connections <here> & there".to_owned(), ended_by: None, points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Medians;
    use crate::measure::{Machine, Measured, Overload, ProcessUse, Summary};
    use crate::template::KeyFormat;
    use crate::workload::{Target, Workload};

    #[test]
    fn reads_come_before_what_changes_the_data() {
        let modes = [Mode::Events, Mode::Mixed(0.5), Mode::Mget(9), Mode::Madd(64), Mode::Reads, Mode::Get];
        let expected =
            [Mode::Mget(9), Mode::Reads, Mode::Get, Mode::Mixed(0.5), Mode::Events, Mode::Madd(64)];
        assert_eq!(reads_first(&modes), expected);
    }

    fn result(rounds: impl Fn(Summary) -> Vec<Summary>) -> ContenderResult {
        let key = KeyFormat::new("user:", 12, 1).unwrap();
        let workload = Workload::new(Target::Windrow, Mode::Events, &key).unwrap();
        let idle = ProcessUse { cpu_s: 0.0, rss_bytes: 1 };
        let machine = Machine { seconds: 1.0, server: None, generator: idle };
        let summary = Summary::new(&Measured::new(1), &workload, machine);
        ContenderResult {
            contender: Contender::Zset,
            identity: None,
            rounds: rounds(summary),
            median: Medians::default(),
            rate_ratio: None,
            cpu_ratio: None,
        }
    }

    #[test]
    fn who_fell_behind_in_a_round_and_worked_it_off_is_overloaded() {
        let overload = Overload {
            kinds: vec!["events".to_owned()],
            asked_per_s: 200.0,
            reached_per_s: 100.0,
            behind: 100,
            outstanding: 0,
        };
        let result =
            result(|summary| vec![Summary { overload: Some(overload.clone()), ..summary.clone() }, summary]);
        let point = point(Axis::Rate, 200, Mode::Events, &result);
        assert_eq!((point.wrong, point.unanswered, point.is_overloaded), (0, 0, true));
    }

    #[test]
    fn an_overload_is_told_apart_from_wrong_replies() {
        let result = result(|summary| {
            vec![
                Summary { unfinished: 7, ..summary.clone() },
                Summary { unfinished: 3, lost: 2, errors: 1, ..summary },
            ]
        });
        let open = point(Axis::Rate, 5, Mode::Events, &result);
        assert_eq!((open.wrong, open.unanswered, open.is_overloaded), (3, 8, false));
        let outcome = |point: Point| Outcome { setup: String::new(), ended_by: None, points: vec![point] };
        assert!(outcome(Point { wrong: 0, ..open.clone() }).is_clean() && !outcome(open).is_clean());
    }
}
