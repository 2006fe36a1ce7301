//! Known production shapes: each is a workload file with its bounds, run against a Windrow of our own at full rate, at a part of it, or
//! at the largest part at which the bounds are kept.

use crate::acceptance::{self, Verdict};
use crate::contender::{Contender, Programs, SHARED_CORE, identity};
use crate::control::Greeting;
use crate::cpu;
use crate::error::BenchError;
use crate::measure::Summary;
use crate::progress::say;
use crate::report;
use crate::run::{self, Server};
use crate::workload::Target;
use crate::workload_file::WorkloadFile;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Parts of the rates that are tried, one after the other, where the largest is asked for.
const PARTS: [f64; 9] = [1.0, 0.75, 0.5, 0.35, 0.25, 0.175, 0.125, 0.0625, 0.03125];

/// A shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Demand by city zone: 1M events/s, rolling 10 minutes by 30 s, 50,000 reads/s.
    RideDemand,
    /// Ranking of listings: 200,000 events/s, unique searchers over an hour, 10,000 listings in one read.
    ListingFreshness,
    /// Trending products: 800,000 events/s, distinct viewers over 15 minutes, reads, and a ranking of 1M.
    Trending,
    /// 10M entities with 60 buckets full: bytes, ingest, reads, a snapshot under load, a restart. Takes minutes and gigabytes.
    Capacity,
}

impl Scenario {
    /// Its workload file; capacity has none, it is made of rows of the targets.
    ///
    /// # Errors
    ///
    /// None: the files are tested.
    pub fn file(self) -> Result<Option<WorkloadFile>, BenchError> {
        let text = match self {
            Self::Capacity => return Ok(None),
            Self::RideDemand => include_str!("../workloads/ride-demand.toml"),
            Self::ListingFreshness => include_str!("../workloads/listing-freshness.toml"),
            Self::Trending => include_str!("../workloads/trending.toml"),
        };
        WorkloadFile::parse(text).map(Some)
    }
}

/// What the rates are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// This.
    Fixed(f64),
    /// The largest part tried at which all bounds of rates and latencies are kept.
    Largest,
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(scale) if scale.is_finite() && scale > 0.0 => Ok(Self::Fixed(scale)),
            _ if text == "auto" => Ok(Self::Largest),
            _ => Err(format!("{text:?} is neither a number above 0 nor auto")),
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(scale) => write!(f, "{scale}"),
            Self::Largest => f.write_str("auto"),
        }
    }
}

/// A run of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// What the rates were multiplied with.
    pub scale: f64,
    /// The run.
    pub summary: Summary,
    /// Bounds of rates and latencies.
    pub verdicts: Vec<Verdict>,
}

impl Attempt {
    /// Every reply came and was right, the server kept up, and every bound was kept.
    pub fn is_kept(&self) -> bool {
        self.summary.is_clean() && self.summary.overload.is_none() && acceptance::all_kept(&self.verdicts)
    }
}

/// What came of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub title: String,
    /// Which product and version its server says it is.
    pub identity: Option<String>,
    /// What ended it before all was measured, if anything did.
    pub ended_by: Option<String>,
    /// Runs, in the order of time.
    pub attempts: Vec<Attempt>,
    /// The bound of memory, where there is one.
    pub memory: Option<Verdict>,
}

impl Outcome {
    /// Nothing yet.
    pub fn of(plan: &Plan) -> Self {
        Self {
            title: plan.file.title.clone(),
            identity: None,
            ended_by: None,
            attempts: Vec::new(),
            memory: None,
        }
    }

    /// Every reply of the last run came and was right. Those before it, at higher rates, may have asked for too much: that is why there
    /// is a last.
    pub fn is_clean(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.summary.is_clean())
    }

    /// Everything was kept in the last run.
    pub fn is_kept(&self) -> bool {
        self.attempts.last().is_some_and(Attempt::is_kept)
            && self.memory.as_ref().is_none_or(|memory| memory.is_kept)
    }
}

/// How to run a scenario.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its file.
    pub file: WorkloadFile,
    /// What rates are multiplied with.
    pub scale: Scale,
    /// The server to start.
    pub programs: Programs,
    /// The core that the server is bound to; none: it uses all.
    pub core: Option<usize>,
}

/// Runs a scenario against a server of its own; an attempt that is over is added to the outcome, whatever becomes of those after it.
///
/// # Errors
///
/// The server does not start, or refuses the streams or the fill.
pub fn run(plan: &Plan, outcome: &mut Outcome) -> Result<(), BenchError> {
    if let Some(core) = plan.core {
        cpu::pin_away_from(core)?;
    } else if cpu::allowed()?.len() < 2 {
        say(SHARED_CORE);
    }
    let process = plan.programs.start(Contender::Windrow, plan.core, &[])?;
    let server = Server {
        addr: process.addr().to_owned(),
        target: Target::Windrow,
        greeting: Greeting::default(),
        pid: Some(process.pid()),
    };
    outcome.identity = identity(Contender::Windrow, &server)?;
    say(&format!("{}: fill", plan.file.title));
    outcome.memory = fill(&server, &plan.file)?;
    settle(&server, &plan.file.title)?;
    let scales = match plan.scale {
        Scale::Fixed(scale) => vec![scale],
        Scale::Largest => PARTS.to_vec(),
    };
    for scale in scales {
        let mut file = plan.file.clone();
        file.scale_rates(scale);
        say(&format!("{}: rates times {scale}", file.title));
        for seldom in acceptance::seldom(&file) {
            say(&seldom);
        }
        let summary = run::measure_file(&server, &file)?;
        let verdicts = acceptance::judge(&file, &summary);
        let attempt = Attempt { scale, summary, verdicts };
        let is_kept = attempt.is_kept();
        let is_left_busy = attempt.summary.unfinished > 0;
        say(&acceptance::lines(&attempt.verdicts));
        outcome.attempts.push(attempt);
        if is_kept {
            break;
        }
        // Else the next part of the rates would be judged by what this one has left.
        if is_left_busy {
            settle(&server, &plan.file.title)?;
        }
    }
    Ok(())
}

/// Waits until the server has worked off what it was sent, and says so if it does not.
fn settle(server: &Server, title: &str) -> Result<(), BenchError> {
    if !run::settle(server)? {
        say(&format!(
            "{title}: the server is still busy with what it was sent; what comes next is measured beside that"
        ));
    }
    Ok(())
}

/// Creates the streams of a file and fills them. Where the file bounds memory, the bound is held against the bytes that came since the
/// server was empty.
///
/// # Errors
///
/// The server refuses; or there is a bound of memory, and the server's process is not known or it holds entities already.
pub fn fill(server: &Server, file: &WorkloadFile) -> Result<Option<Verdict>, BenchError> {
    let Some(bound) = &file.memory else {
        run::create_streams(server, file)?;
        run::fill_file(server, file)?;
        return Ok(None);
    };
    let pid = server.pid.ok_or_else(|| {
        BenchError::Settings(
            "[memory] bounds the server's memory: name its process with --server-pid, or take the bound out of the file"
                .to_owned(),
        )
    })?;
    let empty_bytes = cpu::resident_bytes(pid)?;
    run::create_streams(server, file)?;
    let entities = run::count_entities(server, file, &bound.names)?;
    if entities > 0 {
        return Err(BenchError::Server(format!(
            "[memory] bounds what comes since the server was empty, and it holds {entities} of {} already; start it anew",
            bound.names
        )));
    }
    run::fill_file(server, file)?;
    let grown_bytes = cpu::resident_bytes(pid)?.saturating_sub(empty_bytes);
    let entities = run::count_entities(server, file, &bound.names)?;
    Ok(Some(acceptance::judge_memory(bound, grown_bytes, entities)))
}

/// The outcome for a terminal.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    if let Some(server) = report::servers([outcome.identity.as_deref()].into_iter()) {
        text.push_str(&(server + "\n"));
    }
    for attempt in &outcome.attempts {
        let title = format!("{}, rates times {}", outcome.title, attempt.scale);
        text.push_str(&report::summary(&title, &attempt.summary));
        text.push_str(&acceptance::lines(&attempt.verdicts));
    }
    if let Some(memory) = &outcome.memory {
        text.push_str(&acceptance::lines(std::slice::from_ref(memory)));
    }
    let scale = outcome.attempts.last().map_or(0.0, |attempt| attempt.scale);
    let incomplete = report::incomplete(outcome.ended_by.as_deref());
    text.push_str(&if incomplete.is_empty() {
        verdict(&outcome.title, scale, outcome.is_kept())
    } else {
        incomplete
    });
    text
}

/// The last line: whether a scenario is accepted, and at which part of its rates.
pub fn verdict(title: &str, scale: f64, is_kept: bool) -> String {
    let verdict = if is_kept { "ACCEPTED" } else { "NOT ACCEPTED" };
    format!("{verdict}: {title} at {scale} of its rates\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Machine, Measured, ProcessUse};
    use crate::template::KeyFormat;
    use crate::workload::{Mode, Workload};
    use clap::ValueEnum;

    #[test]
    fn every_scenario_has_a_file_with_rates_and_bounds() {
        for scenario in Scenario::value_variants() {
            let Some(file) = scenario.file().unwrap() else {
                assert_eq!(*scenario, Scenario::Capacity);
                continue;
            };
            assert!(file.request.iter().all(|request| request.rate.is_some()), "{}", file.title);
            assert!(file.request.iter().any(|request| request.accept.is_some()), "{}", file.title);
            assert_eq!(scenario.to_possible_value().unwrap().get_name(), file.title);
        }
    }

    #[test]
    fn the_last_attempt_decides_whether_the_figures_count() {
        let key = KeyFormat::new("user:", 12, 1).unwrap();
        let workload = Workload::new(Target::Windrow, Mode::Events, &key).unwrap();
        let generator = ProcessUse { cpu_s: 0.0, rss_bytes: 1 };
        let machine = Machine { seconds: 1.0, server: None, generator };
        let attempt = |scale: f64, lost: u64| {
            let summary = Summary { lost, ..Summary::new(&Measured::new(1), &workload, machine) };
            Attempt { scale, summary, verdicts: Vec::new() }
        };
        let outcome = |attempts: Vec<Attempt>| Outcome {
            title: String::new(),
            identity: None,
            ended_by: None,
            attempts,
            memory: None,
        };
        assert!(outcome(vec![attempt(1.0, 9), attempt(0.5, 0)]).is_clean());
        assert!(!outcome(vec![attempt(1.0, 0), attempt(0.5, 9)]).is_clean());
        assert!(!outcome(Vec::new()).is_clean());
        // One that was to go on is neither accepted nor not.
        let whole = outcome(vec![attempt(1.0, 9)]);
        assert!(text(&whole).contains("NOT ACCEPTED"));
        let ended_by = Some("interrupted by SIGINT".to_owned());
        let text = text(&Outcome { ended_by, ..whole });
        assert!(text.contains("INCOMPLETE: interrupted by SIGINT") && !text.contains("ACCEPTED"), "{text}");
    }

    #[test]
    fn scales_parse_and_print_alike() {
        for text in ["1", "0.25", "auto"] {
            assert_eq!(text.parse::<Scale>().unwrap().to_string(), text);
        }
        for bad in ["0", "-1", "all", "nan"] {
            assert!(bad.parse::<Scale>().is_err(), "{bad}");
        }
    }
}
