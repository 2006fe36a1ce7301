//! `windrow-bench targets`.

use super::compare::ProgramArgs;
use super::load::seconds;
use crate::contender::server_core;
use crate::error::BenchError;
use crate::run::Load;
use crate::targets::{Plan, Row};
use crate::workload::FILL_BUCKETS;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for replies after each round of the targets.
const TARGETS_DRAIN: Duration = Duration::from_secs(10);

/// `windrow-bench targets`
#[derive(Debug, Args)]
#[command(after_help = TARGETS_HELP)]
pub struct TargetsArgs {
    /// Rows to measure, separated by commas [default: all but C8, D2 and D3].
    #[arg(long, value_delimiter = ',', ignore_case = true)]
    rows: Vec<Row>,
    /// Rounds of each line.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Count of entities, all buckets full.
    #[arg(long, short = 'e', default_value_t = 1_000_000)]
    entities: u64,
    /// Count of entities of rows C8, D2 and D3.
    #[arg(long, default_value_t = 10_000_000)]
    large_entities: u64,
    /// Measured time of each round, in seconds.
    #[arg(long, short = 'd', value_name = "SECONDS", default_value_t = 2.0)]
    duration: f64,
    /// Time before the measuring of each round, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    warmup: f64,
    /// Busy connections.
    #[arg(long, short = 'c', default_value_t = 50)]
    connections: usize,
    /// Buckets that each of these has an event in, in rows D2, D3 and capacity; fewer take less time and disk.
    #[arg(long, default_value_t = FILL_BUCKETS)]
    large_buckets: u64,
    /// Idle connections of row C10.
    #[arg(long, default_value_t = 10_000)]
    idle_connections: usize,
    /// What the rates of row C6 are multiplied with, for machines that cannot.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    open_loop_scale: f64,
    /// Of every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Further arguments of Windrow, split at spaces.
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    windrow_args: String,
    /// What to start.
    #[command(flatten)]
    programs: ProgramArgs,
    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

const TARGETS_HELP: &str = "\
Servers keep their data in temporary directories (TMPDIR): Windrow's log takes about 3 GB for 1M entities, and 30 GB \
for the 10M of rows C8, D2 and D3, which also take 9 GB of memory. Without these, all rows take about 10 minutes.";

impl TargetsArgs {
    /// The plan described.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn plan(&self) -> Result<Plan, BenchError> {
        let seconds = |name, number| seconds(name, number).map_err(BenchError::Settings);
        Ok(Plan {
            rows: if self.rows.is_empty() { Row::QUICK.to_vec() } else { self.rows.clone() },
            rounds: self.rounds,
            load: Load {
                connections: self.connections,
                entities: self.entities,
                warmup: seconds("warmup", self.warmup)?,
                duration: seconds("duration", self.duration)?,
                drain: TARGETS_DRAIN,
                seed: self.seed,
                ..Load::default()
            },
            large_entities: self.large_entities,
            large_buckets: self.large_buckets,
            idle_connections: self.idle_connections,
            open_loop_scale: self.open_loop_scale,
            programs: self.programs.programs(&self.windrow_args),
            server_core: server_core()?,
        })
    }
}
