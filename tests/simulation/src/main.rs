//! `windrow-sim`: repeats one history with its trace, or runs many.

use std::cell::Cell;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use windrow_simulation::campaign::{self, command};
use windrow_simulation::history::run;
use windrow_simulation::trace::Trace;

/// Deterministic simulation of Windrow's durability: a seed decides everything.
#[derive(Parser)]
#[command(name = "windrow-sim")]
struct Arguments {
    /// Repeat the history of this seed, told step by step.
    #[arg(long, conflicts_with_all = ["seeds", "minutes", "hours"])]
    seed: Option<u64>,
    /// Run the histories of these seeds: 0..1000.
    #[arg(long, value_parser = seed_range)]
    seeds: Option<Range<u64>>,
    /// Run for so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Run for so many hours.
    #[arg(long)]
    hours: Option<u64>,
}

thread_local! {
    /// The seed that runs, for the message of a panic.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

fn seed_range(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed
        .filter(|range: &Range<u64>| !range.is_empty())
        .ok_or_else(|| format!("{text} is not a range such as 0..1000"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        println!("seed {} panicked; to repeat: {}", SEED.get(), command(SEED.get()));
    }));
    if let Some(seed) = arguments.seed {
        SEED.set(seed);
        return match run(seed, Trace { is_on: true }) {
            Ok(coverage) => {
                println!("{coverage}");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    let minutes = arguments.minutes.unwrap_or(0) + 60 * arguments.hours.unwrap_or(0);
    let limit = (minutes > 0).then(|| Duration::from_secs(60 * minutes));
    let seeds = match (arguments.seeds, limit) {
        (Some(seeds), _) => seeds,
        (None, Some(_)) => 0..u64::MAX,
        (None, None) => 0..1_000,
    };
    let outcome = campaign::seeds(seeds, limit, |seed| SEED.set(seed));
    println!("{}", outcome.coverage);
    let a_second = outcome.seeds as f64 / outcome.took.as_secs_f64().max(0.001);
    println!("{} histories in {:.1} s, {a_second:.0} a second", outcome.seeds, outcome.took.as_secs_f64());
    match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("{failure}\nto repeat: {}", command(failure.seed));
            ExitCode::FAILURE
        }
    }
}
