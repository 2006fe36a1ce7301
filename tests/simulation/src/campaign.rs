//! Many seeds, with progress.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::history::{Failure, run};
use crate::trace::Trace;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What a campaign came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was tried.
    pub coverage: Coverage,
    /// Histories that were run.
    pub seeds: u64,
    /// How long it took.
    pub took: Duration,
    /// The first that broke.
    pub failure: Option<Box<Failure>>,
}

/// The command that repeats a history.
pub fn command(seed: u64) -> String {
    format!("cargo run --release -p windrow-simulation -- --seed {seed}")
}

/// Runs histories until one breaks, the seeds are over, or the time is.
pub fn seeds(seeds: Range<u64>, limit: Option<Duration>, begins: impl Fn(u64)) -> Outcome {
    let started = Instant::now();
    let mut told = started;
    let mut outcome =
        Outcome { coverage: Coverage::default(), seeds: 0, took: Duration::ZERO, failure: None };
    for seed in seeds {
        begins(seed);
        match run(seed, Trace::default()) {
            Ok(coverage) => outcome.coverage.merge(&coverage),
            Err(failure) => {
                outcome.failure = Some(failure);
                break;
            }
        }
        outcome.seeds += 1;
        outcome.took = started.elapsed();
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            let a_second = outcome.seeds as f64 / outcome.took.as_secs_f64();
            println!("{} histories, {a_second:.0} a second, next seed {}", outcome.seeds, seed + 1);
        }
        if limit.is_some_and(|limit| outcome.took >= limit) {
            break;
        }
    }
    outcome.took = started.elapsed();
    outcome
}
