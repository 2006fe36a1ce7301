//! Connections and times of a workload file, and what is due on them when.

use super::{Arrival, LoadPlan, WorkloadFile};
use crate::arrivals::Spacing;
use crate::entities::Distribution;
use crate::error::BenchError;
use crate::run::{LanePlan, Load, Schedule};
use std::time::Duration;

impl WorkloadFile {
    /// Connections and times.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn load(&self) -> Result<Load, BenchError> {
        let LoadPlan { connections, threads, pipeline, warmup, ramp, duration, drain, seed, .. } = self.load;
        let seconds = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| BenchError::Settings(format!("load.{name} = {seconds}: {error}")))
        };
        let load = Load {
            connections,
            pipeline,
            threads,
            entities: 1,
            distribution: Distribution::Uniform,
            key_prefix: String::new(),
            key_bytes: 1,
            rate: None,
            background: None,
            warmup: seconds("warmup", warmup)?,
            ramp: seconds("ramp", ramp)?,
            duration: seconds("duration", duration)?,
            drain: seconds("drain", drain)?,
            requests: None,
            seed,
        };
        load.check()?;
        Ok(load)
    }

    /// Which connections there are, and what is due on them when.
    ///
    /// # Errors
    ///
    /// Fewer connections than threads.
    pub fn schedule(&self) -> Result<Schedule, BenchError> {
        let spacing = match self.load.arrivals.unwrap_or_default() {
            Arrival::Poisson => Spacing::Poisson,
            Arrival::Constant => Spacing::Constant,
        };
        let mut schedule = Schedule { groups: vec![self.load.connections], lanes: Vec::new() };
        for (request, plan) in self.request.iter().enumerate() {
            let Some(rate_per_s) = plan.rate else { continue };
            let group = match plan.connections {
                None => 0,
                Some(count) if count < self.load.threads => {
                    return Err(BenchError::Settings(format!(
                        "request {}: {count} connections for {} threads; each needs one",
                        plan.name, self.load.threads
                    )));
                }
                Some(count) => {
                    schedule.groups.push(count);
                    schedule.groups.len() - 1
                }
            };
            schedule.lanes.push(LanePlan { request, rate_per_s, spacing, group });
        }
        Ok(schedule)
    }
}
