//! Runs: connections, threads, phases, and the server's CPU time between them.
//!
//! | file | what lives there |
//! | --- | --- |
//! | `load` | the shape of a load |
//! | `prepare` | what a server is asked before |
//! | `schedule` | which connections there are, and what is due when |
//! | `execute` | the run itself |
//! | `settle` | the wait for a server that was asked too much |
//! | `watch` | the bar, and CPU times |

mod execute;
mod load;
mod prepare;
mod schedule;
mod settle;
mod watch;

#[cfg(test)]
pub(crate) use execute::draws;
pub use load::{Background, CONNECTIONS_MAX, Load, PIPELINE_MAX};
pub use prepare::{count_entities, create_streams, prepare};
pub use schedule::{LanePlan, Schedule};
pub use settle::settle;

use crate::control::Greeting;
use crate::entities::EntitySource;
use crate::error::BenchError;
use crate::measure::Summary;
use crate::report::counted;
use crate::workload::{Mode, Target, Workload};
use crate::workload_file::WorkloadFile;
use execute::execute;
use std::time::Duration;

/// Connections and pipeline that fill: few and deep, since only the sum matters.
const SWEEP_CONNECTIONS: usize = 8;
const SWEEP_PIPELINE: usize = 16;

/// Most requests under way while every entity is visited.
pub const SWEEP_UNDER_WAY: usize = SWEEP_CONNECTIONS * SWEEP_PIPELINE;

/// Whom to measure.
#[derive(Clone, Debug)]
pub struct Server {
    /// host:port.
    pub addr: String,
    /// Its protocol of choice.
    pub target: Target,
    /// How connections introduce themselves.
    pub greeting: Greeting,
    /// Its process, if it runs on this machine.
    pub pid: Option<u32>,
}

/// Runs a mode against a server.
///
/// # Errors
///
/// Settings that make no sense, connections that fail. Wrong replies are in the summary.
pub fn measure(server: &Server, mode: Mode, load: &Load) -> Result<Summary, BenchError> {
    let key = load.check()?;
    let mut workload = Workload::new(server.target, mode, &key)?;
    if let Some(background) = load.background {
        workload = workload.with_background(Workload::new(server.target, background.mode, &key)?);
    }
    let sources = EntitySource::for_threads(load.distribution, load.entities, load.threads, load.seed)?;
    execute(
        server,
        &workload,
        load,
        &Schedule::of(load, &workload),
        Some(sources),
        &format!("{mode} {}", server.addr),
    )
}

/// Runs a workload that a file describes.
///
/// # Errors
///
/// As [`measure`].
pub fn measure_file(server: &Server, file: &WorkloadFile) -> Result<Summary, BenchError> {
    let load = file.load()?;
    let workload = file.workload(&file.request)?.answered_by(server.target);
    let title = format!("{} {}", file.title, server.addr);
    execute(server, &workload, &load, &file.schedule()?, None, &title)
}

/// Gives each entity an event in each of its newest `buckets`.
///
/// # Errors
///
/// As [`measure`]; wrong replies too, since what follows would measure nothing.
pub fn fill(server: &Server, mode: Mode, load: &Load, buckets: u64) -> Result<Summary, BenchError> {
    let workload = Workload::fill(server.target, mode, &load.check()?, buckets)?;
    sweep(server, &workload, load, &format!("fill {}", server.addr))
}

/// Gives each entity of a Windrow server one event at a time, so many in a request.
///
/// # Errors
///
/// As [`fill`].
pub fn step(server: &Server, load: &Load, unix_ms: u64, rows: usize) -> Result<Summary, BenchError> {
    let workload = Workload::step(&load.check()?, unix_ms, rows);
    sweep(server, &workload, load, &format!("step {}", server.addr))
}

/// Requests over all entities in order, each entity at least once.
fn sweep(server: &Server, workload: &Workload, load: &Load, title: &str) -> Result<Summary, BenchError> {
    let rows = workload.requests[0].template.entities() as u64;
    let sweeping = Load {
        connections: SWEEP_CONNECTIONS,
        pipeline: SWEEP_PIPELINE,
        threads: 1,
        rate: None,
        background: None,
        warmup: Duration::ZERO,
        ramp: Duration::ZERO,
        requests: Some(load.entities.div_ceil(rows)),
        ..load.clone()
    };
    let sources = vec![EntitySource::sequential(0, load.entities)];
    let schedule = Schedule::of(&sweeping, workload);
    let summary = execute(server, workload, &sweeping, &schedule, Some(sources), title)?;
    if summary.is_clean() {
        return Ok(summary);
    }
    Err(unclean(title, &summary))
}

/// Sends what a workload file wants sent before its run.
///
/// # Errors
///
/// As [`measure`]; wrong replies too, since what follows would measure something else.
pub fn fill_file(server: &Server, file: &WorkloadFile) -> Result<(), BenchError> {
    for plan in &file.fill {
        let load = Load {
            connections: SWEEP_CONNECTIONS,
            pipeline: SWEEP_PIPELINE,
            threads: 1,
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            requests: plan.requests,
            ..file.load()?
        };
        let workload = file.workload(std::slice::from_ref(plan))?.answered_by(server.target);
        let title = format!("fill {} {}", plan.name, server.addr);
        let schedule = Schedule { groups: vec![load.connections], lanes: Vec::new() };
        let summary = execute(server, &workload, &load, &schedule, None, &title)?;
        if !summary.is_clean() || summary.unfinished > 0 {
            return Err(unclean(&title, &summary));
        }
    }
    Ok(())
}

fn unclean(title: &str, summary: &Summary) -> BenchError {
    let first = summary.first_error.as_deref().unwrap_or("none");
    BenchError::Server(format!(
        "{title}: {}, {} missing; the first: {first}",
        counted(summary.errors, "wrong reply", "wrong replies"),
        summary.unfinished
    ))
}
