//! `windrow-bench compare`, and the programs that it and others start.

use super::load::{LoadArgs, OPEN_LOOP_PIPELINE};
use crate::compare::Comparison;
use crate::contender::{Contender, Programs, server_core};
use crate::error::BenchError;
use crate::workload::Mode;
use clap::Args;
use std::path::PathBuf;

/// `windrow-bench compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Who takes part, separated by commas, in the order of each round; ratios are of the first.
    #[arg(long, value_delimiter = ',', default_values = ["windrow", "zset", "hash", "lua", "plain", "null"])]
    contenders: Vec<Contender>,
    /// Modes to compare, as for run, separated by commas.
    #[arg(long, short = 'm', value_delimiter = ',', default_values_t = [Mode::Events, Mode::Reads])]
    mode: Vec<Mode>,
    /// Pipelines to compare, separated by commas, each with each mode [default: 1,16,64; open loop 64].
    #[arg(long, short = 'P', value_delimiter = ',')]
    pipeline: Vec<usize>,
    /// Rounds of each line.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Further arguments of Windrow, split at spaces.
    #[arg(long, value_name = "ARGUMENTS", default_value = "--shards 1", allow_hyphen_values = true)]
    windrow_args: String,
    /// What to start.
    #[command(flatten)]
    programs: ProgramArgs,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl CompareArgs {
    /// The comparison described.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn comparison(&self) -> Result<Comparison, BenchError> {
        let pipelines = match (&self.pipeline[..], self.load.rate) {
            ([], Some(_)) => vec![OPEN_LOOP_PIPELINE],
            ([], None) => vec![1, 16, 64],
            (pipelines, _) => pipelines.to_vec(),
        };
        Ok(Comparison {
            contenders: self.contenders.clone(),
            modes: self.mode.clone(),
            pipelines,
            rounds: self.rounds,
            fill: self.load.fill,
            load: self.load.load(None).map_err(BenchError::Settings)?,
            programs: self.programs.programs(&self.windrow_args),
            server_core: server_core()?,
        })
    }
}

/// Programs to start.
#[derive(Debug, Args)]
pub struct ProgramArgs {
    /// The Windrow binary.
    #[arg(long, value_name = "PROGRAM", default_value = "windrow")]
    windrow_bin: PathBuf,
    /// The Redis binary. It runs without persistence unless --redis-args says otherwise.
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis_bin: PathBuf,
    /// Further arguments of Redis, split at spaces, such as "--appendonly yes".
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    redis_args: String,
    /// The module of ts, RedisTimeSeries, and the module's own arguments, split at spaces. Only that contender's Redis loads it.
    #[arg(long, value_name = "PATH ARGUMENTS", default_value = "", hide_default_value = true)]
    ts_module: String,
    /// The Valkey binary, of contenders whose names begin with valkey. It runs without persistence likewise.
    #[arg(long, value_name = "PROGRAM", default_value = "valkey-server")]
    valkey_bin: PathBuf,
    /// Further arguments of Valkey, split at spaces.
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    valkey_args: String,
}

impl ProgramArgs {
    /// A path from here is made one from the root, since the server runs in a directory of its own.
    fn ts_module(&self) -> Vec<String> {
        let mut words = self.ts_module.split_whitespace().map(str::to_owned);
        let path = words.next().map(|path| {
            let absolute = std::path::absolute(&path);
            absolute.map_or(path, |absolute| absolute.to_string_lossy().into_owned())
        });
        path.into_iter().chain(words).collect()
    }

    pub(super) fn programs(&self, windrow_args: &str) -> Programs {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Programs {
            windrow_bin: self.windrow_bin.clone(),
            windrow_args: words(windrow_args),
            redis_bin: self.redis_bin.clone(),
            redis_args: words(&self.redis_args),
            ts_module: self.ts_module(),
            valkey_bin: self.valkey_bin.clone(),
            valkey_args: words(&self.valkey_args),
        }
    }
}
