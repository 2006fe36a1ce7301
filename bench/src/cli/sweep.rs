//! `windrow-bench sweep`.

use super::compare::ProgramArgs;
use super::load::LoadArgs;
use crate::contender::{Contender, server_core};
use crate::error::BenchError;
use crate::sweep::{self, Axis};
use crate::workload::Mode;
use clap::Args;
use std::path::PathBuf;

/// `windrow-bench sweep`
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// What is changed, one after the other, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = ["pipeline", "connections", "entities", "shards", "rate"])]
    axes: Vec<Axis>,
    /// Who takes part, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = ["windrow", "zset", "hash", "lua", "plain", "null"])]
    contenders: Vec<Contender>,
    /// Modes, as for run, separated by commas.
    #[arg(long, short = 'm', value_delimiter = ',', default_values_t = [Mode::Events, Mode::Reads])]
    mode: Vec<Mode>,
    /// Rounds of each point.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The largest count of entities; 10M take some 20 GB with every contender.
    #[arg(long, default_value_t = 1_000_000)]
    entities_max: u64,
    /// Further arguments of Windrow, split at spaces; it gets --shards 1, but where shards are what is changed.
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    windrow_args: String,
    /// Write the points to this file as CSV.
    #[arg(long, value_name = "FILE", default_value = "sweep.csv")]
    pub csv: PathBuf,
    /// Write the report with its plots to this file as HTML.
    #[arg(long, value_name = "FILE", default_value = "sweep.html")]
    pub html: PathBuf,
    /// Write each plot to an SVG file in this folder, too.
    #[arg(long, value_name = "FOLDER")]
    pub pictures: Option<PathBuf>,
    /// What to start.
    #[command(flatten)]
    programs: ProgramArgs,
    /// What is not changed.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl SweepArgs {
    /// The sweep described.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn plan(&self) -> Result<sweep::Plan, BenchError> {
        Ok(sweep::Plan {
            axes: self.axes.clone(),
            contenders: self.contenders.clone(),
            modes: self.mode.clone(),
            rounds: self.rounds,
            entities_max: self.entities_max,
            load: self.load.load(None).map_err(BenchError::Settings)?,
            programs: self.programs.programs(&self.windrow_args),
            server_core: server_core()?,
        })
    }
}
