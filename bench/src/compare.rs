//! The same workload on several servers in one run: rounds A B A B …, medians, ratios.

use crate::contender::{Contender, Product, Programs, SHARED_CORE, identity, missing, server};
use crate::cpu;
use crate::error::BenchError;
use crate::measure::{Latency, Summary};
use crate::open_files;
use crate::progress::say;
use crate::report::counted;
use crate::run::{self, Load, Server};
use crate::server_process::ServerProcess;
use crate::spread::{Spread, median};
use crate::turns::in_turns;
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
        let (windrow, redis) = (self.programs.windrow_args.join(" "), self.programs.redis_args.join(" "));
        let mut text = format!(
            "{}{}, {}, {}{}, keys of {} bytes; medians of {} of {} in turns; servers on {}; Windrow {windrow}; Redis --save \"\" \
             --appendonly no {redis}",
            counted(load.connections as u64, "connection", "connections"),
            load.rate.map_or_else(String::new, |_| format!(", {}", load.pace())),
            counted(load.entities, "entity", "entities"),
            load.distribution,
            if self.fill { ", all buckets full" } else { "" },
            load.key_bytes,
            counted(self.rounds as u64, "round", "rounds"),
            load.requests.map_or_else(
                || format!("{:?}", load.duration),
                |requests| counted(requests, "request", "requests")
            ),
            place(self.server_core),
        );
        text.truncate(text.trim_end().len());
        if self.contenders.iter().any(|contender| contender.product() == Some(Product::Valkey)) {
            text.push_str(format!("; Valkey likewise {}", self.programs.valkey_args.join(" ")).trim_end());
        }
        if self.contenders.contains(&Contender::Ts) && !self.programs.ts_module.is_empty() {
            text.push_str(&format!("; ts loads {}", self.programs.ts_module.join(" ")));
        }
        text
    }
}

/// Where servers run, in words.
pub(crate) fn place(server_core: Option<usize>) -> String {
    server_core.map_or_else(
        || "the generator's core, the only one".to_owned(),
        |core| format!("core {core}, the generator elsewhere"),
    )
}

/// All lines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// What ended it before all was measured, if anything did.
    pub ended_by: Option<String>,
    /// In the order of measuring.
    pub lines: Vec<Line>,
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
    /// Which product and version its server says it is, if it does.
    pub identity: Option<String>,
    /// Each round as it was.
    pub rounds: Vec<Summary>,
    /// Medians over the rounds.
    pub median: Medians,
    /// The first contender's rate over this one's, round by round.
    pub rate_ratio: Option<Spread>,
    /// The same per CPU-second of the server.
    pub cpu_ratio: Option<Spread>,
}

impl ContenderResult {
    /// In some round it did not keep up with the rate asked for: medians of its latencies are the least they are.
    pub fn is_overloaded(&self) -> bool {
        self.rounds.iter().any(|round| round.overload.is_some())
    }
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

/// Runs everything; a line that is measured is added to `lines`, whatever becomes of those after it.
///
/// # Errors
///
/// A server does not start, or a run fails. Wrong replies are in the result.
pub fn compare(comparison: &Comparison, lines: &mut Vec<Line>) -> Result<(), BenchError> {
    if comparison.rounds == 0 || comparison.contenders.is_empty() {
        return Err(BenchError::Settings(
            "a comparison needs at least one round and one contender".to_owned(),
        ));
    }
    let running = start(comparison, comparison.load.connections)?;
    for &mode in &comparison.modes {
        for &pipeline in &comparison.pipelines {
            lines.push(line(comparison, &running.members, mode, pipeline)?);
        }
    }
    Ok(())
}

/// Contenders that run.
pub(crate) struct Running {
    /// Whom to measure, in the order of each round.
    pub members: Vec<Member>,
    /// They end with it.
    _processes: Vec<ServerProcess>,
}

/// A contender that runs.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub contender: Contender,
    /// Its server.
    pub server: Server,
    /// What that says it is, if it does.
    pub identity: Option<String>,
}

/// Starts those who can take part, keeps the generator off their core, and fills them if that is asked for. They are allowed so many
/// connections, and those of a background.
pub(crate) fn start(comparison: &Comparison, connections_max: usize) -> Result<Running, BenchError> {
    if comparison.server_core.is_none() {
        say(SHARED_CORE);
    }
    let background = comparison.load.background.map_or(0, |background| background.connections);
    open_files::allow(connections_max.saturating_add(background))?;
    let (mut members, mut processes) = (Vec::new(), Vec::new());
    for &contender in &comparison.contenders {
        let process = comparison.programs.start(contender, comparison.server_core, &[])?;
        let server = server(contender, &process);
        let identity = identity(contender, &server)?;
        if let Some(identity) = &identity {
            say(&format!("{}: {identity}", contender.title()));
        }
        match missing(contender, &server)? {
            None => {
                members.push(Member { contender, server, identity });
                processes.push(process);
            }
            Some(why) if members.is_empty() => {
                return Err(BenchError::Settings(format!("{}: {why}", contender.title())));
            }
            Some(why) => say(&format!("{} is left out: {why}", contender.title())),
        }
    }
    if let Some(core) = comparison.server_core {
        cpu::pin_away_from(core)?;
    }
    for Member { contender, server, .. } in &members {
        run::prepare(server)?;
        let fills = comparison.fill && *contender != Contender::Null;
        if let Some(mode) = comparison.modes.iter().find_map(|mode| contender.mode(*mode)).filter(|_| fills) {
            run::fill(server, mode, &comparison.load, FILL_BUCKETS)?;
            settle(*contender, server)?;
        }
    }
    Ok(Running { members, _processes: processes })
}

/// Waits until a server has worked off what it was asked, and says so if it does not.
fn settle(contender: Contender, server: &Server) -> Result<(), BenchError> {
    if !run::settle(server)? {
        say(&format!(
            "{} is still busy with what it was asked; what comes next is measured beside that",
            contender.title()
        ));
    }
    Ok(())
}

/// One line: the rounds of every contender in turns. Nobody is measured while another still works off what it was asked.
///
/// # Errors
///
/// A run fails.
pub fn line(
    comparison: &Comparison,
    members: &[Member],
    mode: Mode,
    pipeline: usize,
) -> Result<Line, BenchError> {
    let contenders: Vec<Contender> = members.iter().map(|member| member.contender).collect();
    let mut line = line_of(comparison, &contenders, mode, pipeline, |at, mode, load| {
        let Member { contender, server, .. } = &members[at];
        let summary = run::measure(server, mode, load)?;
        if summary.unfinished > 0 {
            settle(*contender, server)?;
        }
        Ok(summary)
    })?;
    for result in &mut line.results {
        let member = members.iter().find(|member| member.contender == result.contender);
        result.identity = member.and_then(|member| member.identity.clone());
    }
    Ok(line)
}

/// The same; `measure` is told which contender, its form of the mode, and the load.
fn line_of(
    comparison: &Comparison,
    contenders: &[Contender],
    mode: Mode,
    pipeline: usize,
    mut measure: impl FnMut(usize, Mode, &Load) -> Result<Summary, BenchError>,
) -> Result<Line, BenchError> {
    let able = contenders.iter().enumerate();
    let able: Vec<_> = able.filter_map(|(at, of)| Some((at, *of, of.mode(mode)?))).collect();
    let rounds = in_turns(comparison.rounds, able.len(), |round, entrant| {
        let (at, _, mode) = able[entrant];
        // A round's draws are the same for everybody.
        let seed = comparison.load.seed.wrapping_add(round as u64);
        measure(at, mode, &Load { pipeline, seed, ..comparison.load.clone() })
    })?;
    let rounds = able.iter().map(|(_, contender, _)| *contender).zip(rounds).collect();
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
            identity: None,
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
    use crate::cli::{Cli, Command};
    use crate::measure::{Machine, Measured, ProcessUse};
    use crate::template::KeyFormat;
    use crate::workload::{Target, Workload};
    use clap::Parser;

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

    fn comparison(rounds: usize) -> Comparison {
        let cli = ["windrow-bench", "compare", "--rounds", &rounds.to_string(), "--seed", "7"];
        let Command::Compare(args) = Cli::try_parse_from(cli).unwrap().command else {
            panic!("not a comparison")
        };
        args.comparison().unwrap()
    }

    #[test]
    fn a_line_is_measured_in_turns_with_the_same_draws_in_a_round_and_by_who_can() {
        let contenders = [Contender::Windrow, Contender::Plain, Contender::Zset];
        let mut order = Vec::new();
        let planted = |at: usize, mode: Mode, load: &Load| {
            order.push((contenders[at].title(), mode.to_string(), load.pipeline, load.seed));
            // Windrow 600, 700, 800; SET 300, 350, 400; the sorted set 60, 70, 80.
            let round = load.seed - 7;
            Ok(summary([600, 300, 60][at] + round * [100, 50, 10][at], 1.0))
        };
        let line = line_of(&comparison(3), &contenders, Mode::Events, 16, planted).unwrap();
        let round = |seed| {
            [("Windrow", "events"), ("Redis SET/GET", "set"), ("Redis sorted set", "events")]
                .map(|(title, mode)| (title, mode.to_owned(), 16, seed))
        };
        assert_eq!(order, [round(7), round(8), round(9)].concat());
        let medians: Vec<f64> = line.results.iter().map(|result| result.median.rate_per_s).collect();
        assert_eq!(medians, [700.0, 350.0, 70.0]);
        let ratios: Vec<_> = line.results.iter().map(|of| of.rate_ratio.map(|ratio| ratio.median)).collect();
        assert_eq!(ratios, [None, Some(2.0), Some(10.0)]);
        // SET has no form of MADD: it does not take part, and nobody takes its turn.
        let mut took_part = Vec::new();
        let planted = |at: usize, _: Mode, _: &Load| {
            took_part.push(at);
            Ok(summary(1, 1.0))
        };
        let line = line_of(&comparison(2), &contenders, Mode::Madd(8), 1, planted).unwrap();
        assert_eq!((took_part, line.results.len()), (vec![0, 2, 0, 2], 2));
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
