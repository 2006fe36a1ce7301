//! The shape of a load, and what of it makes no sense.

use crate::arrivals::Spacing;
use crate::entities::Distribution;
use crate::error::BenchError;
use crate::template::KeyFormat;
use crate::workload::Mode;
use std::time::Duration;

/// Most connections of one run.
pub const CONNECTIONS_MAX: usize = 60_000;

/// Most requests under way on a connection: what a server must let a client pipeline.
pub const PIPELINE_MAX: usize = 100_000;

/// Shortest wait for replies: in less, a server at work is not told from one that has fallen silent.
pub const DRAIN_MIN: Duration = Duration::from_secs(1);

/// The shape of the load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Sockets, shared out among threads.
    pub connections: usize,
    /// Most requests under way on each.
    pub pipeline: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Count of entities.
    pub entities: u64,
    /// How often each occurs.
    pub distribution: Distribution,
    /// What an entity's key begins with.
    pub key_prefix: String,
    /// Length of a key.
    pub key_bytes: usize,
    /// Requests per second, all threads together, and their spacing; none: closed loop.
    pub rate: Option<(f64, Spacing)>,
    /// Other requests meanwhile, on connections of their own; only beside an open loop.
    pub background: Option<Background>,
    /// Not measured, at the beginning.
    pub warmup: Duration,
    /// Within the warm-up: the rates of an open loop rise to what they are.
    pub ramp: Duration,
    /// Measured time.
    pub duration: Duration,
    /// Longest wait for replies after the end.
    pub drain: Duration,
    /// Instead of a duration: a count of requests, measured from the start.
    pub requests: Option<u64>,
    /// Of every random choice.
    pub seed: u64,
}

impl Default for Load {
    /// A closed loop: one request at a time on one connection, for a second, over a thousand entities. Nothing comes before it.
    fn default() -> Self {
        Self {
            connections: 1,
            pipeline: 1,
            threads: 1,
            entities: 1_000,
            distribution: Distribution::Uniform,
            key_prefix: "user:".to_owned(),
            key_bytes: 12,
            rate: None,
            background: None,
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            duration: Duration::from_secs(1),
            drain: Duration::from_secs(20),
            requests: None,
            seed: 1,
        }
    }
}

/// Requests beside those that are measured, evenly spaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Background {
    /// What they do.
    pub mode: Mode,
    /// How many a second.
    pub rate_per_s: f64,
    /// Their connections.
    pub connections: usize,
}

impl Load {
    /// Closed or open loop, in words.
    pub fn pace(&self) -> String {
        match self.rate {
            None => format!("pipeline {}", self.pipeline),
            Some((rate, Spacing::Constant)) => format!("open loop of {rate} requests/s"),
            Some((rate, Spacing::Poisson)) => format!("open loop of {rate} requests/s (Poisson)"),
        }
    }

    /// The keys.
    ///
    /// # Errors
    ///
    /// Settings that make no sense.
    pub fn check(&self) -> Result<KeyFormat, BenchError> {
        let complain = |text: String| Err(BenchError::Settings(text));
        if self.connections == 0 || self.connections > CONNECTIONS_MAX {
            return complain(format!("{} connections; it must be 1 to {CONNECTIONS_MAX}", self.connections));
        }
        if self.pipeline == 0 || self.pipeline > PIPELINE_MAX {
            return complain(format!("a pipeline of {}; it must be 1 to {PIPELINE_MAX}", self.pipeline));
        }
        if self.threads == 0 || self.threads > self.connections {
            return complain(format!(
                "{} threads for {} connections; each thread needs one",
                self.threads, self.connections
            ));
        }
        if let Some((rate, _)) = self.rate
            && !(rate.is_finite() && rate > 0.0)
        {
            return complain(format!("a rate of {rate} requests a second"));
        }
        if let Some(background) = self.background {
            if self.rate.is_none() || matches!(background.mode, Mode::Mixed(_)) {
                return complain(
                    "a background is one kind of request, beside an open loop (--rate)".to_owned(),
                );
            }
            let rate = background.rate_per_s;
            if !(rate.is_finite() && rate > 0.0) || background.connections < self.threads {
                return complain(format!(
                    "a background of {rate} requests/s on {} connections; each of {} threads needs one",
                    background.connections, self.threads
                ));
            }
        }
        if self.drain < DRAIN_MIN {
            return complain(format!(
                "a drain of {:?}; it must be {DRAIN_MIN:?} at least, so that a server at work is told from one that has fallen silent",
                self.drain
            ));
        }
        if self.ramp > self.warmup {
            return complain(format!(
                "a ramp of {:?} in a warm-up of {:?}: what is measured must have the whole rate",
                self.ramp, self.warmup
            ));
        }
        if self.requests.is_some() && !self.ramp.is_zero() {
            return complain(format!(
                "a ramp of {:?} for a count of requests, which are measured from the start",
                self.ramp
            ));
        }
        if self.requests.map_or(self.duration.is_zero(), |requests| requests == 0) {
            return complain("a run of no duration, or of no requests, measures nothing".to_owned());
        }
        KeyFormat::new(&self.key_prefix, self.key_bytes, self.entities).ok_or_else(|| {
            BenchError::Settings(format!(
                "keys of {} bytes beginning with {:?} do not tell {} entities apart; take longer keys",
                self.key_bytes, self.key_prefix, self.entities
            ))
        })
    }
}
