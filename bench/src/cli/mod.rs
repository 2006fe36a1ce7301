//! The command line.
//!
//! | file | what lives there |
//! | --- | --- |
//! | `load` | options that describe a load |
//! | `run`, `compare`, `sweep`, `scenario`, `targets` | each command's own, and the plan that comes of them |

mod compare;
mod load;
mod run;
mod scenario;
mod sweep;
mod targets;
#[cfg(test)]
mod tests;

pub use compare::{CompareArgs, ProgramArgs};
pub use load::LoadArgs;
pub use run::RunArgs;
pub use scenario::{ScenarioArgs, ScenarioPlan};
pub use sweep::SweepArgs;
pub use targets::TargetsArgs;

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;

const EXAMPLES: &str = "\
Examples:
  windrow-bench run --mode reads --fill -e 100000             a server that runs on port 7379, closed loop
  windrow-bench run --rate 20000 --server-pid $(pidof windrow)   an open loop: latency from when a request was due
  windrow-bench compare --contenders windrow,zset,null --fill -m reads,events
  windrow-bench scenario ride-demand --scale 0.25

Exit codes: 0 all was right; 1 an error, or wrong or missing replies: the figures do not count; 2 a command line or a workload
file that makes no sense; 3 the server did not keep up with the rate asked for (run), or a bound was not kept; 141 nobody reads
standard output; 130, 143, 129, 131 ended by SIGINT, SIGTERM, SIGHUP, SIGQUIT: what was measured before is written, and says so.";

/// Load generator for Windrow, and for Redis or Valkey doing the same work.
#[derive(Debug, Parser)]
#[command(name = "windrow-bench", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure one server that is running already.
    Run(RunArgs),
    /// Start several servers and give them the same load in turns: medians and ratios.
    Compare(CompareArgs),
    /// Change one property of the load at a time and measure how cost grows: CSV, and an HTML report with plots.
    Sweep(SweepArgs),
    /// Run a known production shape against a Windrow of its own, and say whether its bounds were kept.
    Scenario(ScenarioArgs),
    /// Measure what Windrow is to reach, row by row: against contenders in turns, or against a bound.
    Targets(TargetsArgs),
    /// Answer +OK to every command: what the machine allows a server that does no work.
    Null(NullArgs),
}

/// `windrow-bench null`
#[derive(Debug, Args)]
pub struct NullArgs {
    /// Where to listen.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7380")]
    pub listen: SocketAddr,
    /// Microseconds that each command takes it, one after the other: a server whose capacity is known, to hold a load generator against.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    pub service_us: u64,
}
