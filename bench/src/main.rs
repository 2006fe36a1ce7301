//! `windrow-bench`: see `windrow-bench --help`.

use clap::Parser;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use windrow_bench::cli::{Cli, Command, CompareArgs, RunArgs, ScenarioArgs, SweepArgs, TargetsArgs};
use windrow_bench::error::BenchError;
use windrow_bench::null::NullResponder;
use windrow_bench::workload::FILL_BUCKETS;
use windrow_bench::workload_file::WorkloadFile;
use windrow_bench::{acceptance, compare, cpu, interrupt, report, run, scenario, sweep, targets};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run_one(&args),
        Command::Compare(args) => run_comparison(&args),
        Command::Targets(args) => run_targets(&args),
        Command::Sweep(args) => run_sweep(&args),
        Command::Scenario(args) => run_scenario(&args),
        Command::Null(args) => NullResponder::bind(args.listen).and_then(NullResponder::run).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("windrow-bench: some replies were wrong or missing; the figures above do not count");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("windrow-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True: all replies came and were right.
fn run_one(args: &RunArgs) -> Result<bool, BenchError> {
    if let Some(core) = args.core {
        cpu::pin(core)?;
    }
    if let Some(path) = &args.workload {
        return run_file(args, path);
    }
    let (server, mode, load, fill) = args.plan().map_err(BenchError::Settings)?;
    run::prepare(&server)?;
    if fill {
        let filled = run::fill(&server, mode, &load, FILL_BUCKETS)?;
        print!(
            "{}",
            report::summary(&format!("fill {} entities of {}", load.entities, server.addr), &filled)
        );
    }
    let summary = run::measure(&server, mode, &load)?;
    let title = format!(
        "{mode} on {}: {} connections, {}, {} entities {}",
        server.addr,
        load.connections,
        load.pace(),
        load.entities,
        load.distribution
    );
    print!("{}", report::summary(&title, &summary));
    write_json(args.load.json.as_deref(), &summary)?;
    Ok(summary.is_clean())
}

/// True: all replies came and were right, and every bound of the file was kept.
fn run_file(args: &RunArgs, path: &Path) -> Result<bool, BenchError> {
    let mut file = WorkloadFile::read(path)?;
    if !(args.scale.is_finite() && args.scale > 0.0) {
        return Err(BenchError::Settings(format!("--scale {}: it must be above 0", args.scale)));
    }
    file.scale_rates(args.scale);
    let server = args.server();
    run::create_streams(&server, &file)?;
    run::fill_file(&server, &file)?;
    let summary = run::measure_file(&server, &file)?;
    let title = format!("{} on {}, rates times {}", file.title, server.addr, args.scale);
    print!("{}", report::summary(&title, &summary));
    let verdicts = acceptance::judge(&file, &summary);
    print!("{}", acceptance::lines(&verdicts));
    write_json(args.load.json.as_deref(), &summary)?;
    Ok(summary.is_clean() && acceptance::all_kept(&verdicts))
}

fn run_comparison(args: &CompareArgs) -> Result<bool, BenchError> {
    let comparison = args.comparison().map_err(BenchError::Settings)?;
    // Before the comparison, which leaves this thread fewer cores.
    let setup = comparison.describe();
    interrupt::end_servers_on_signals()?;
    let lines = compare::compare(&comparison)?;
    println!("{}\n", setup.trim_end());
    println!("{}", report::side_by_side(&lines));
    print!("{}", report::table(&lines));
    write_json(args.load.json.as_deref(), &lines)?;
    let complaints = report::complaints(&lines);
    eprint!("{complaints}");
    Ok(complaints.is_empty())
}

fn run_targets(args: &TargetsArgs) -> Result<bool, BenchError> {
    let plan = args.plan().map_err(BenchError::Settings)?;
    let setup = plan.describe();
    interrupt::end_servers_on_signals()?;
    let outcome = targets::run(&plan)?;
    println!("{}\n", setup.trim_end());
    print!("{}", targets::table(&outcome.findings));
    write_json(args.json.as_deref(), &outcome)?;
    for complaint in &outcome.complaints {
        eprintln!("WRONG: {complaint}");
    }
    Ok(outcome.complaints.is_empty())
}

fn run_sweep(args: &SweepArgs) -> Result<bool, BenchError> {
    let plan = args.plan().map_err(BenchError::Settings)?;
    interrupt::end_servers_on_signals()?;
    let outcome = sweep::run(&plan)?;
    for (path, text) in [(&args.csv, sweep::csv(&outcome)?), (&args.html, sweep::html(&outcome)?)] {
        std::fs::write(path, text).map_err(BenchError::io(format!("write {}", path.display())))?;
        println!("{}", path.display());
    }
    write_json(args.load.json.as_deref(), &outcome)?;
    Ok(outcome.is_clean())
}

fn run_scenario(args: &ScenarioArgs) -> Result<bool, BenchError> {
    let plan = args.plan()?;
    interrupt::end_servers_on_signals()?;
    let outcome = scenario::run(&plan)?;
    print!("{}", scenario::text(&outcome));
    write_json(args.json.as_deref(), &outcome)?;
    Ok(outcome.is_kept())
}

fn write_json(path: Option<&Path>, value: &impl Serialize) -> Result<(), BenchError> {
    let Some(path) = path else { return Ok(()) };
    let text =
        serde_json::to_string_pretty(value).map_err(|error| BenchError::Settings(error.to_string()))?;
    std::fs::write(path, text).map_err(BenchError::io(format!("write {}", path.display())))
}
