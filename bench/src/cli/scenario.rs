//! `windrow-bench scenario`.

use super::load::seconds;
use super::targets::TargetsArgs;
use crate::contender::{Programs, server_core};
use crate::error::BenchError;
use crate::scenario::{self, Scale, Scenario};
use crate::targets::Plan;
use clap::{Args, Parser};
use std::path::PathBuf;

/// `windrow-bench scenario`
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    /// Which shape.
    name: Scenario,
    /// What its rates are multiplied with; auto: the largest of some parts at which its bounds are kept. A kind of request that is so
    /// rare then that none falls due is not accepted: measure longer.
    #[arg(long, value_name = "FACTOR|auto", default_value_t = Scale::Fixed(1.0))]
    scale: Scale,
    /// Measured time in seconds [default: as the file says].
    #[arg(long, short = 'd', value_name = "SECONDS")]
    duration: Option<f64>,
    /// Count of entities, of capacity alone.
    #[arg(long, default_value_t = 10_000_000)]
    entities: u64,
    /// The Windrow binary.
    #[arg(long, value_name = "PROGRAM", default_value = "windrow")]
    windrow_bin: PathBuf,
    /// Further arguments of Windrow, split at spaces. With one shard, it is bound to one core.
    #[arg(long, value_name = "ARGUMENTS", default_value = "--shards 1", allow_hyphen_values = true)]
    windrow_args: String,
    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl ScenarioArgs {
    /// The run described.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn plan(&self) -> Result<ScenarioPlan, BenchError> {
        let Some(mut file) = self.name.file()? else { return self.capacity().map(ScenarioPlan::Rows) };
        if let Some(duration) = self.duration {
            seconds("duration", duration).map_err(BenchError::Settings)?;
            file.load.duration = duration;
        }
        let words: Vec<String> = self.windrow_args.split_whitespace().map(str::to_owned).collect();
        let is_one_shard = words.windows(2).any(|pair| pair == ["--shards", "1"]);
        let core = server_core()?.filter(|_| is_one_shard);
        let programs = Programs {
            windrow_bin: self.windrow_bin.clone(),
            windrow_args: words,
            redis_bin: PathBuf::new(),
            redis_args: Vec::new(),
            ts_module: Vec::new(),
            valkey_bin: PathBuf::new(),
            valkey_args: Vec::new(),
        };
        Ok(ScenarioPlan::File(scenario::Plan { file, scale: self.scale, programs, core }))
    }

    /// Capacity as rows of the targets.
    fn capacity(&self) -> Result<Plan, BenchError> {
        let Scale::Fixed(scale) = self.scale else {
            return Err(BenchError::Settings(
                "capacity has no --scale auto, since most of its rows have no rate; give a number".to_owned(),
            ));
        };
        let mut line = vec!["targets".to_owned(), "--rows".to_owned(), "capacity,D2,D3".to_owned()];
        line.extend(["--large-entities".to_owned(), self.entities.to_string()]);
        line.extend(self.duration.map(|duration| format!("--duration={duration}")));
        line.push(format!("--windrow-bin={}", self.windrow_bin.display()));
        line.push(format!("--windrow-args={}", self.args_without_shards()?.join(" ")));
        line.push(format!("--open-loop-scale={scale}"));
        let targets =
            TargetsOnly::try_parse_from(line).map_err(|error| BenchError::Settings(error.to_string()))?;
        targets.args.plan()
    }

    /// Windrow's arguments without `--shards 1`, which rows of the targets say themselves.
    fn args_without_shards(&self) -> Result<Vec<&str>, BenchError> {
        let mut words: Vec<&str> = self.windrow_args.split_whitespace().collect();
        if let Some(at) = words.windows(2).position(|pair| pair == ["--shards", "1"]) {
            words.drain(at..at + 2);
        }
        if words.iter().any(|word| word.starts_with("--shards")) {
            return Err(BenchError::Settings(format!(
                "capacity is measured with --shards 1, not with {:?}",
                self.windrow_args
            )));
        }
        Ok(words)
    }
}

/// A scenario is a workload file, or rows of the targets.
#[derive(Clone, Debug)]
pub enum ScenarioPlan {
    /// A file.
    File(scenario::Plan),
    /// Rows.
    Rows(Plan),
}

#[derive(Debug, Parser)]
struct TargetsOnly {
    #[command(flatten)]
    args: TargetsArgs,
}
