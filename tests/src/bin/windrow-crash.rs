//! Faults on the real server, from the command line: prints a table row for each, and the cases against the promises in full.

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use windrow_tests::crash::mount::{self, Kind};
use windrow_tests::crash::outcome::Outcome;
use windrow_tests::crash::{calls, full, kill, power};

/// Breaks the real server under load, restarts it, and compares what is there with what was acknowledged.
#[derive(Debug, Parser)]
#[command(name = "windrow-crash", version)]
struct Cli {
    /// Decides everything but the threads' timing; random if not given.
    #[arg(long, global = true)]
    seed: Option<u64>,
    #[command(subcommand)]
    fault: Fault,
}

#[derive(Debug, Subcommand)]
enum Fault {
    /// kill -9 at random moments.
    Kill {
        /// How often.
        #[arg(long, default_value_t = 300)]
        cycles: u64,
        /// Numbers of shards to choose from.
        #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
        shards: Vec<usize>,
        /// Values of `appendfsync` to choose from.
        #[arg(long, value_delimiter = ',', default_value = "always,everysec,no")]
        appendfsync: Vec<String>,
    },
    /// Power cuts of ext4 and XFS, in every mode. Needs root and loop devices.
    Power {
        /// How often, for each file system and mode.
        #[arg(long, default_value_t = 10)]
        cuts: u64,
        /// Values of `appendfsync` to try.
        #[arg(long, value_delimiter = ',', default_value = "always,everysec,no")]
        appendfsync: Vec<String>,
    },
    /// System calls that fail or take long. Needs strace.
    Calls {
        /// How often, for each case.
        #[arg(long, default_value_t = 3)]
        rounds: u64,
    },
    /// A full disk. Needs root.
    Full {
        /// How often, for each file system and mode.
        #[arg(long, default_value_t = 3)]
        rounds: u64,
    },
    /// All of them, as often as a night allows.
    Nightly,
}

/// How often each fault is tried in a night.
const NIGHTLY_KILLS: u64 = 1000;
const NIGHTLY_CUTS: u64 = 30;
const NIGHTLY_ROUNDS: u64 = 10;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let seed = cli.seed.unwrap_or_else(rand::random);
    println!("seed {seed}\n\n{}", Outcome::titles());
    let is_kept = match cli.fault {
        Fault::Kill { cycles, shards, appendfsync } => kills(cycles, shards, appendfsync, seed),
        Fault::Power { cuts, appendfsync } => cut_power(cuts, &appendfsync, seed),
        Fault::Calls { rounds } => inject(rounds, seed),
        Fault::Full { rounds } => fill(rounds, seed),
        Fault::Nightly => {
            let modes = ["always", "everysec", "no"].map(str::to_owned).to_vec();
            let all = [
                kills(NIGHTLY_KILLS, vec![1, 2, 4], modes.clone(), seed),
                cut_power(NIGHTLY_CUTS, &modes, seed),
                inject(NIGHTLY_ROUNDS, seed),
                fill(NIGHTLY_ROUNDS, seed),
            ];
            all.iter().all(|is_kept| *is_kept)
        }
    };
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn kills(cycles: u64, shards: Vec<usize>, modes: Vec<String>, seed: u64) -> bool {
    tell(Ok(kill::run(&kill::Plan { cycles, shards, modes, seed })))
}

fn cut_power(cuts: u64, modes: &[String], seed: u64) -> bool {
    let mut is_kept = true;
    for kind in [Kind::Ext4, Kind::Xfs] {
        if is_skipped(mount::available(kind)) {
            continue;
        }
        for mode in modes {
            let mode = mode.clone();
            let plan =
                power::Plan { kind, mode: mode.clone(), promised: mode, cuts, shards: vec![1, 2, 4], seed };
            is_kept &= tell(power::run(&plan));
        }
    }
    is_kept
}

fn inject(rounds: u64, seed: u64) -> bool {
    if is_skipped(calls::available()) {
        return true;
    }
    let run = |case: &calls::Case| tell(calls::run(&calls::Plan { case: *case, rounds, shards: 2, seed }));
    calls::CASES.iter().map(run).fold(true, |all, is_kept| all & is_kept)
}

fn fill(rounds: u64, seed: u64) -> bool {
    let mut is_kept = true;
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        if is_skipped(mount::available(kind)) {
            continue;
        }
        for mode in ["always", "everysec"] {
            is_kept &= tell(full::run(&full::Plan { kind, mode: mode.to_owned(), rounds, shards: 2, seed }));
        }
    }
    is_kept
}

/// Says what this machine does not allow.
fn is_skipped(available: io::Result<()>) -> bool {
    if let Err(error) = &available {
        println!("SKIP: {error}");
    }
    available.is_err()
}

/// Prints a row; true if every promise held.
fn tell(outcome: io::Result<Outcome>) -> bool {
    match outcome {
        Ok(outcome) => {
            println!("{outcome}");
            for note in outcome.findings.notes() {
                println!("  {note}");
            }
            outcome.findings.total() == 0
        }
        Err(error) => {
            println!("FAILED: {error}");
            false
        }
    }
}
