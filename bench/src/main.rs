//! `windrow-bench`: see `windrow-bench --help`.

use clap::Parser;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use windrow_bench::cli::{
    Cli, Command, CompareArgs, RunArgs, ScenarioArgs, ScenarioPlan, SweepArgs, TargetsArgs,
};
use windrow_bench::error::BenchError;
use windrow_bench::null::NullResponder;
use windrow_bench::progress::say;
use windrow_bench::workload::FILL_BUCKETS;
use windrow_bench::workload_file::WorkloadFile;
use windrow_bench::{acceptance, compare, cpu, interrupt, report, run, scenario, sweep, targets};

/// Bounds were missed, and nothing else was wrong.
const MISSED_EXIT_CODE: u8 = 3;

/// What came of a run.
enum Verdict {
    Good,
    /// Replies were wrong or missing.
    Wrong,
    /// Bounds of the workload file were not kept.
    Missed,
}

impl Verdict {
    fn of(is_clean: bool, is_kept: bool) -> Self {
        match (is_clean, is_kept) {
            (false, _) => Self::Wrong,
            (true, false) => Self::Missed,
            (true, true) => Self::Good,
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run_one(&args),
        Command::Compare(args) => run_comparison(&args),
        Command::Targets(args) => run_targets(&args),
        Command::Sweep(args) => run_sweep(&args),
        Command::Scenario(args) => run_scenario(&args),
        Command::Null(args) => {
            NullResponder::bind(args.listen).and_then(NullResponder::run).map(|()| Verdict::Good)
        }
    };
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => {
            say("windrow-bench: some replies were wrong or missing; the figures above do not count");
            ExitCode::FAILURE
        }
        Ok(Verdict::Missed) => {
            say("windrow-bench: every reply was right, and not every bound was kept");
            ExitCode::from(MISSED_EXIT_CODE)
        }
        Err(error) => {
            say(&format!("windrow-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run_one(args: &RunArgs) -> Result<Verdict, BenchError> {
    if let Some(core) = args.core {
        cpu::pin(core)?;
    }
    if let Some(file) = args.file()? {
        return run_file(args, &file);
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
    Ok(Verdict::of(summary.is_clean(), true))
}

fn run_file(args: &RunArgs, file: &WorkloadFile) -> Result<Verdict, BenchError> {
    let server = args.server();
    let memory = scenario::fill(&server, file)?;
    let summary = run::measure_file(&server, file)?;
    let scale = args.scale.map_or_else(String::new, |scale| format!(", rates times {scale}"));
    print!("{}", report::summary(&format!("{} on {}{scale}", file.title, server.addr), &summary));
    let mut verdicts = acceptance::judge(file, &summary);
    verdicts.extend(memory);
    print!("{}", acceptance::lines(&verdicts));
    write_json(args.load.json.as_deref(), &summary)?;
    Ok(Verdict::of(summary.is_clean(), acceptance::all_kept(&verdicts)))
}

fn run_comparison(args: &CompareArgs) -> Result<Verdict, BenchError> {
    let comparison = args.comparison().map_err(BenchError::Settings)?;
    let setup = comparison.describe();
    interrupt::end_servers_on_signals()?;
    let lines = compare::compare(&comparison)?;
    println!("{}\n", setup.trim_end());
    println!("{}", report::side_by_side(&lines));
    print!("{}", report::table(&lines));
    write_json(args.load.json.as_deref(), &lines)?;
    let complaints = report::complaints(&lines);
    if !complaints.is_empty() {
        say(complaints.trim_end());
    }
    Ok(Verdict::of(complaints.is_empty(), true))
}

fn run_targets(args: &TargetsArgs) -> Result<Verdict, BenchError> {
    let outcome = run_rows(&args.plan().map_err(BenchError::Settings)?, args.json.as_deref())?;
    Ok(Verdict::of(outcome.is_clean(), true))
}

fn run_rows(plan: &targets::Plan, json: Option<&Path>) -> Result<targets::Outcome, BenchError> {
    let setup = plan.describe();
    interrupt::end_servers_on_signals()?;
    let outcome = targets::run(plan)?;
    println!("{}\n", setup.trim_end());
    print!("{}", targets::table(&outcome.findings));
    write_json(json, &outcome)?;
    for complaint in &outcome.complaints {
        say(&format!("WRONG: {complaint}"));
    }
    Ok(outcome)
}

fn run_sweep(args: &SweepArgs) -> Result<Verdict, BenchError> {
    let plan = args.plan().map_err(BenchError::Settings)?;
    interrupt::end_servers_on_signals()?;
    let outcome = sweep::run(&plan)?;
    for (path, text) in [(&args.csv, sweep::csv(&outcome)?), (&args.html, sweep::html(&outcome)?)] {
        std::fs::write(path, text).map_err(BenchError::io(format!("write {}", path.display())))?;
        println!("{}", path.display());
    }
    if let Some(folder) = &args.pictures {
        std::fs::create_dir_all(folder).map_err(BenchError::io(format!("make {}", folder.display())))?;
        for (name, svg) in sweep::pictures(&outcome)? {
            let path = folder.join(name);
            std::fs::write(&path, svg).map_err(BenchError::io(format!("write {}", path.display())))?;
            println!("{}", path.display());
        }
    }
    write_json(args.load.json.as_deref(), &outcome)?;
    Ok(Verdict::of(outcome.is_clean(), true))
}

fn run_scenario(args: &ScenarioArgs) -> Result<Verdict, BenchError> {
    let plan = match args.plan()? {
        ScenarioPlan::Rows(plan) => {
            let outcome = run_rows(&plan, args.json.as_deref())?;
            let (is_clean, is_reached) = (outcome.is_clean(), outcome.is_reached());
            print!("{}", scenario::verdict("capacity", plan.open_loop_scale, is_clean && is_reached));
            return Ok(Verdict::of(is_clean, is_reached));
        }
        ScenarioPlan::File(plan) => plan,
    };
    interrupt::end_servers_on_signals()?;
    let outcome = scenario::run(&plan)?;
    print!("{}", scenario::text(&outcome));
    write_json(args.json.as_deref(), &outcome)?;
    Ok(Verdict::of(outcome.is_clean(), outcome.is_kept()))
}

fn write_json(path: Option<&Path>, value: &impl Serialize) -> Result<(), BenchError> {
    let Some(path) = path else { return Ok(()) };
    let text =
        serde_json::to_string_pretty(value).map_err(|error| BenchError::Settings(error.to_string()))?;
    std::fs::write(path, text).map_err(BenchError::io(format!("write {}", path.display())))
}
