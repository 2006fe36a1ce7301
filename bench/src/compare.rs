//! The same workload on several servers in one run: rounds A B A B …, medians, ratios.

use crate::contender::{Contender, Programs, missing, server};
use crate::cpu;
use crate::error::BenchError;
use crate::measure::{Latency, Summary};
use crate::progress::say;
use crate::run::{self, Load};
use crate::server_process::ServerProcess;
use crate::spread::{Spread, median};
use crate::workload::{FILL_BUCKETS, Mode};
use serde::Serialize;

/// What is compared, and with what.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Who takes part; the first is what ratios are of.
    pub contenders: Vec<Contender>,
    /// Modes and pipelines: every pair is a line of the table.
    pub modes: Vec<Mode>,
    /// See `modes`.
    pub pipelines: Vec<usize>,
    /// Rounds of each line.
    pub rounds: usize,
    /// Whether entities are pre-loaded.
    pub fill: bool,
    /// The rest of the load.
    pub load: Load,
    /// What to start.
    pub programs: Programs,
    /// The core that servers are bound to, and the generator stays off; none: all share what there is.
    pub server_core: Option<usize>,
}

impl Comparison {
    /// What was done, in a sentence for above the table.
    pub fn describe(&self) -> String {
        let load = &self.load;
        format!(
            "{} connections{}, {} entities {}{}, keys of {} bytes; medians of {} rounds of {:?} in turns; servers on \
             {}; Windrow {}; Redis --save \"\" --appendonly no {}",
            load.connections,
            load.rate.map_or_else(String::new, |_| format!(", {}", load.pace())),
            load.entities,
            load.distribution,
            if self.fill { ", all buckets full" } else { "" },
            load.key_bytes,
            self.rounds,
            load.duration,
            self.server_core.map_or_else(
                || "the generator's core".to_owned(),
                |core| format!("core {core}, the generator elsewhere")
            ),
            self.programs.windrow_args.join(" "),
            self.programs.redis_args.join(" ")
        )
    }
}

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What was done.
    pub mode: String,
    /// Requests under way on each connection.
    pub pipeline: usize,
    /// One entry a contender that has this mode.
    pub results: Vec<ContenderResult>,
}

/// A contender's rounds of one line.
#[derive(Clone, Debug, Serialize)]
pub struct ContenderResult {
    /// Who.
    pub contender: Contender,
    /// Each round as it was.
    pub rounds: Vec<Summary>,
    /// Medians over the rounds.
    pub median: Medians,
    /// The first contender's rate over this one's, round by round.
    pub rate_ratio: Option<Spread>,
    /// The same per CPU-second of the server.
    pub cpu_ratio: Option<Spread>,
}

/// Medians over rounds, each number for itself.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Medians {
    /// Events or rows a second.
    pub rate_per_s: f64,
    /// … a CPU-second of the server.
    pub rate_per_cpu_s: Option<f64>,
    /// Percentiles of latency.
    pub latency: Latency,
    /// The server's resident memory.
    pub rss_bytes: Option<f64>,
}

/// Runs everything.
///
/// # Errors
///
/// A server does not start, or a run fails. Wrong replies are in the result.
pub fn compare(comparison: &Comparison) -> Result<Vec<Line>, BenchError> {
    if comparison.rounds == 0 || comparison.contenders.is_empty() {
        return Err(BenchError::Settings(
            "a comparison needs at least one round and one contender".to_owned(),
        ));
    }
    let contenders = start(comparison)?;
    let mut lines = Vec::new();
    for &mode in &comparison.modes {
        for &pipeline in &comparison.pipelines {
            lines.push(line(comparison, &contenders, mode, pipeline)?);
        }
    }
    Ok(lines)
}

/// Contenders that run.
pub(crate) type Running = Vec<(Contender, ServerProcess)>;

/// Starts those who can take part, keeps the generator off their core, and fills them if that is asked for.
pub(crate) fn start(comparison: &Comparison) -> Result<Running, BenchError> {
    let mut contenders = Vec::new();
    for &contender in &comparison.contenders {
        let process = comparison.programs.start(contender, comparison.server_core, &[])?;
        match missing(contender, &server(contender, &process))? {
            None => contenders.push((contender, process)),
            Some(why) if contenders.is_empty() => {
                return Err(BenchError::Settings(format!("{}: {why}", contender.title())));
            }
            Some(why) => say(&format!("{} is left out: {why}", contender.title())),
        }
    }
    if let Some(core) = comparison.server_core {
        cpu::pin_away_from(core)?;
    }
    for (contender, process) in &contenders {
        let server = server(*contender, process);
        run::prepare(&server)?;
        let fills = comparison.fill && *contender != Contender::Null;
        if let Some(mode) = comparison.modes.iter().find_map(|mode| contender.mode(*mode)).filter(|_| fills) {
            run::fill(&server, mode, &comparison.load, FILL_BUCKETS)?;
        }
    }
    Ok(contenders)
}

/// One line: the rounds of every contender in turns.
pub(crate) fn line(
    comparison: &Comparison,
    contenders: &[(Contender, ServerProcess)],
    mode: Mode,
    pipeline: usize,
) -> Result<Line, BenchError> {
    let mut rounds: Vec<(Contender, Vec<Summary>)> =
        contenders.iter().map(|(contender, _)| (*contender, Vec::new())).collect();
    for round in 0..comparison.rounds {
        for ((contender, process), (_, summaries)) in contenders.iter().zip(&mut rounds) {
            let Some(mode) = contender.mode(mode) else { continue };
            let seed = comparison.load.seed.wrapping_add(round as u64);
            let load = Load { pipeline, seed, ..comparison.load.clone() };
            summaries.push(run::measure(&server(*contender, process), mode, &load)?);
        }
    }
    Ok(Line { mode: mode.to_string(), pipeline, results: results(rounds) })
}

/// Medians, and ratios to the first contender that took part.
fn results(rounds: Vec<(Contender, Vec<Summary>)>) -> Vec<ContenderResult> {
    let taking_part: Vec<_> = rounds.into_iter().filter(|(_, summaries)| !summaries.is_empty()).collect();
    let first: Vec<Summary> = taking_part.first().map(|(_, summaries)| summaries.clone()).unwrap_or_default();
    taking_part
        .into_iter()
        .enumerate()
        .map(|(at, (contender, summaries))| ContenderResult {
            contender,
            median: Medians::of(&summaries),
            rate_ratio: (at > 0)
                .then(|| Spread::of_ratios(&first, &summaries, |summary| Some(summary.total.rate_per_s)))
                .flatten(),
            cpu_ratio: (at > 0)
                .then(|| Spread::of_ratios(&first, &summaries, |summary| summary.rate_per_cpu_s))
                .flatten(),
            rounds: summaries,
        })
        .collect()
}

impl Medians {
    fn of(rounds: &[Summary]) -> Self {
        let all = |number: &dyn Fn(&Summary) -> Option<f64>| {
            rounds.iter().map(number).collect::<Option<Vec<f64>>>().and_then(|values| median(&values))
        };
        let latency = |number: fn(&Latency) -> f64| {
            all(&|round| Some(number(&round.total.latency))).unwrap_or_default()
        };
        Self {
            rate_per_s: all(&|round| Some(round.total.rate_per_s)).unwrap_or_default(),
            rate_per_cpu_s: all(&|round| round.rate_per_cpu_s),
            latency: Latency {
                p50_us: latency(|latency| latency.p50_us),
                p90_us: latency(|latency| latency.p90_us),
                p99_us: latency(|latency| latency.p99_us),
                p999_us: latency(|latency| latency.p999_us),
                p9999_us: latency(|latency| latency.p9999_us),
                max_us: latency(|latency| latency.max_us),
            },
            #[expect(clippy::cast_precision_loss, reason = "memory is below 2^53 bytes")]
            rss_bytes: all(&|round| round.server.map(|server| server.rss_bytes as f64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Machine, Measured, ProcessUse};
    use crate::template::KeyFormat;
    use crate::workload::{Target, Workload};

    fn summary(operations: u64, cpu_s: f64) -> Summary {
        let key = KeyFormat::new("user:", 12, 1).unwrap();
        let workload = Workload::new(Target::Windrow, Mode::Events, &key).unwrap();
        let mut measured = Measured::new(1);
        measured.kinds[0].requests = operations;
        let server = ProcessUse { cpu_s, rss_bytes: 1 };
        Summary::new(&measured, &workload, Machine { seconds: 1.0, server: Some(server), generator: server })
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine is half as fast in round two, for both: the ratio is not touched by that.
        let rounds = vec![
            (Contender::Windrow, vec![summary(1000, 1.0), summary(500, 1.0), summary(900, 0.5)]),
            (Contender::Zset, vec![summary(100, 1.0), summary(50, 1.0), summary(100, 1.0)]),
        ];
        let results = results(rounds);
        assert_eq!(results[0].rate_ratio, None);
        assert_eq!(results[0].median.rate_per_s, 900.0);
        assert_eq!(results[1].rate_ratio, Some(Spread { median: 10.0, min: 9.0, max: 10.0 }));
        assert_eq!(results[1].cpu_ratio, Some(Spread { median: 10.0, min: 10.0, max: 18.0 }));
    }

    #[test]
    fn without_cpu_times_there_is_no_cpu_ratio() {
        let rounds =
            vec![(Contender::Windrow, vec![summary(1000, 0.0)]), (Contender::Null, vec![summary(2000, 1.0)])];
        let results = results(rounds);
        assert_eq!(results[1].rate_ratio.map(|ratio| ratio.median), Some(0.5));
        assert_eq!(results[1].cpu_ratio, None);
    }

    #[test]
    fn who_did_not_take_part_has_no_result() {
        let rounds = vec![(Contender::Windrow, vec![summary(1, 1.0)]), (Contender::Plain, Vec::new())];
        assert_eq!(results(rounds).len(), 1);
    }
}
