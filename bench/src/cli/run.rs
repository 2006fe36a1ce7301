//! `windrow-bench run`.

use super::load::LoadArgs;
use crate::control::Greeting;
use crate::error::BenchError;
use crate::run::{Load, Server};
use crate::workload::{Mode, Target};
use crate::workload_file::WorkloadFile;
use clap::Args;
use std::path::PathBuf;

/// `windrow-bench run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Whose commands to send.
    #[arg(long, default_value = "windrow")]
    target: Target,
    /// The server.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7379")]
    addr: String,
    /// The ACL user.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password.
    #[arg(long)]
    password: Option<String>,
    /// Speak RESP3 instead of RESP2.
    #[arg(long)]
    resp3: bool,
    /// Its process id, if it runs on this machine: its CPU time and memory are shown.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// What to send: events (one a request), events:<n> (n sent together), madd:<n> (n in one command), reads, mget:<n>, mixed:<share of
    /// reads, 0 to 1>; to Redis also set, set:<n>, get.
    #[arg(long, short = 'm', default_value_t = Mode::Events)]
    mode: Mode,
    /// Requests under way on each connection; in an open loop, the most [default: 1, open loop 64].
    #[arg(long, short = 'P')]
    pipeline: Option<usize>,
    /// Send what this file describes instead: streams, names, kinds of requests with rates, values and times (see bench/workloads).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mode", "pipeline", "connections", "threads", "entities", "distribution", "rate", "arrivals", "ramp", "background", "background_connections", "key_prefix", "key_size", "fill", "requests"])]
    pub workload: Option<PathBuf>,
    /// Multiplies all rates of the workload file.
    #[arg(long, value_name = "FACTOR", requires = "workload")]
    pub scale: Option<f64>,
    /// Bind the generator to this core.
    #[arg(long)]
    pub core: Option<usize>,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl RunArgs {
    /// Server, mode, load, and whether to fill.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn plan(&self) -> Result<(Server, Mode, Load, bool), String> {
        Ok((self.server(), self.mode, self.load.load(self.pipeline)?, self.load.fill))
    }

    /// The workload file with what the command line changes of it, if one is named.
    ///
    /// # Errors
    ///
    /// It cannot be read or describes no workload, or what is to be changed makes no sense.
    pub fn file(&self) -> Result<Option<WorkloadFile>, BenchError> {
        let Some(path) = &self.workload else { return Ok(None) };
        let mut file = WorkloadFile::read(path)?;
        let LoadArgs { duration, warmup, drain, seed, .. } = &self.load;
        let load = &mut file.load;
        for (time, given) in
            [(&mut load.duration, duration), (&mut load.warmup, warmup), (&mut load.drain, drain)]
        {
            *time = given.unwrap_or(*time);
        }
        load.seed = seed.unwrap_or(load.seed);
        file.load()?;
        if let Some(scale) = self.scale {
            if !(scale.is_finite() && scale > 0.0) {
                return Err(BenchError::Settings(format!("--scale {scale}: it must be above 0")));
            }
            if file.request.iter().all(|request| request.rate.is_none()) {
                return Err(BenchError::Settings(format!(
                    "--scale {scale}: {} is a closed loop, which has no rates to multiply",
                    path.display()
                )));
            }
            file.scale_rates(scale);
        }
        Ok(Some(file))
    }

    /// Whom to measure.
    pub fn server(&self) -> Server {
        Server {
            addr: self.addr.clone(),
            target: self.target,
            greeting: Greeting {
                username: self.user.clone(),
                password: self.password.clone(),
                resp3: self.resp3,
            },
            pid: self.server_pid,
        }
    }
}
