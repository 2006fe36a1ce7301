//! Options that describe a load.

use crate::arrivals::Spacing;
use crate::entities::Distribution;
use crate::run::{Background, Load};
use crate::workload::Mode;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Requests under way on a connection in an open loop, unless said otherwise: enough that a server that keeps
/// up never runs into it.
pub(super) const OPEN_LOOP_PIPELINE: usize = 64;

/// Keys, unless said otherwise.
const KEY_PREFIX: &str = "user:";
const KEY_BYTES: usize = 12;

/// Times in seconds and the seed, unless said otherwise.
const WARMUP_S: f64 = 2.0;
const DURATION_S: f64 = 10.0;
const DRAIN_S: f64 = 10.0;
const SEED: u64 = 1;

/// The shape of the load.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Connections, shared out among threads.
    #[arg(long, short = 'c', default_value_t = 50)]
    connections: usize,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Count of entities: of different keys.
    #[arg(long, short = 'e', default_value_t = 1_000_000)]
    entities: u64,
    /// How often each entity occurs: uniform, zipf:<theta>, or hot:<entities>:<share of the traffic>.
    #[arg(long, value_name = "SHAPE", default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// What keys begin with.
    #[arg(long, value_name = "TEXT", default_value = KEY_PREFIX)]
    key_prefix: String,
    /// Length of a key in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = KEY_BYTES)]
    key_size: usize,
    /// Measured time in seconds [default: 10, or as the workload file says].
    #[arg(long, short = 'd', value_name = "SECONDS")]
    pub(super) duration: Option<f64>,
    /// A count of requests, measured from the first, instead of a time.
    #[arg(long, short = 'n', conflicts_with = "duration", conflicts_with = "warmup")]
    requests: Option<u64>,
    /// Time before the measuring, in seconds [default: 2, or as the workload file says].
    #[arg(long, value_name = "SECONDS")]
    pub(super) warmup: Option<f64>,
    /// Seconds of the warm-up in which the rate of an open loop rises to what it is.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, requires = "rate")]
    ramp: f64,
    /// Longest wait for replies after the end, in seconds [default: 10, or as the workload file says].
    #[arg(long, value_name = "SECONDS")]
    pub(super) drain: Option<f64>,
    /// Open loop: requests a second, all together. Latency counts from when a request was due, however late it
    /// could be sent. Without: closed loop.
    #[arg(long, value_name = "REQUESTS/S")]
    pub(super) rate: Option<f64>,
    /// How arrivals of an open loop are spaced.
    #[arg(long, default_value = "poisson", requires = "rate")]
    arrivals: Spacing,
    /// Other requests meanwhile, evenly spaced: <mode>@<requests a second>, such as events:64@7812.
    #[arg(long, value_name = "MODE@RATE", requires = "rate", value_parser = background)]
    background: Option<(Mode, f64)>,
    /// Connections of the background.
    #[arg(long, default_value_t = 10)]
    background_connections: usize,
    /// Of every random choice [default: 1, or as the workload file says].
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Give each entity an event in every bucket before the measuring, so that reads find all there can be.
    #[arg(long)]
    pub(super) fill: bool,
    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl LoadArgs {
    pub(super) fn load(&self, pipeline: Option<usize>) -> Result<Load, String> {
        Ok(Load {
            connections: self.connections,
            pipeline: pipeline.unwrap_or(if self.rate.is_some() { OPEN_LOOP_PIPELINE } else { 1 }),
            threads: self.threads,
            entities: self.entities,
            distribution: self.distribution,
            key_prefix: self.key_prefix.clone(),
            key_bytes: self.key_size,
            rate: self.rate.map(|rate| (rate, self.arrivals)),
            background: self.background.map(|(mode, rate_per_s)| Background {
                mode,
                rate_per_s,
                connections: self.background_connections,
            }),
            warmup: seconds("warmup", self.warmup.unwrap_or(WARMUP_S))?,
            ramp: seconds("ramp", self.ramp)?,
            duration: seconds("duration", self.duration.unwrap_or(DURATION_S))?,
            drain: seconds("drain", self.drain.unwrap_or(DRAIN_S))?,
            requests: self.requests,
            seed: self.seed.unwrap_or(SEED),
        })
    }
}

/// A time of the command line.
pub(super) fn seconds(name: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name} {seconds:?}: {error}"))
}

fn background(text: &str) -> Result<(Mode, f64), String> {
    let (mode, rate) =
        text.split_once('@').ok_or_else(|| format!("{text:?} needs a rate, such as events:64@7812"))?;
    Ok((mode.parse()?, rate.parse().map_err(|error| format!("{rate:?} is no rate: {error}"))?))
}
