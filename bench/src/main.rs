//! `windrow-bench`: see `windrow-bench --help`.

use clap::Parser;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use windrow_bench::cli::{
    Cli, Command, CompareArgs, NullArgs, RunArgs, ScenarioArgs, ScenarioPlan, SweepArgs, TargetsArgs,
};
use windrow_bench::error::BenchError;
use windrow_bench::null::NullResponder;
use windrow_bench::output::{self, OutFile, print};
use windrow_bench::progress::say;
use windrow_bench::report::counted;
use windrow_bench::workload::FILL_BUCKETS;
use windrow_bench::workload_file::WorkloadFile;
use windrow_bench::{acceptance, compare, cpu, interrupt, report, run, scenario, sweep, targets};

/// A command line or a workload file makes no sense; as clap has it.
const SENSELESS_EXIT_CODE: u8 = 2;

/// Bounds were missed, and nothing else was wrong.
const MISSED_EXIT_CODE: u8 = 3;

/// Nobody reads standard output any more: as if by SIGPIPE, which Rust's programs ignore.
const READER_GONE_EXIT_CODE: u8 = 128 + 13;

/// What came of a run.
enum Verdict {
    Good,
    /// Replies were wrong or missing.
    Wrong,
    /// The server did not keep up with the rate asked for, or bounds of the workload file were not kept.
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
        Command::Null(args) => answer_nothing(&args),
    };
    if let Some(code) = interrupt::exit_code() {
        return ExitCode::from(code);
    }
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => {
            say("windrow-bench: some replies were wrong or missing; the figures above do not count");
            ExitCode::FAILURE
        }
        Ok(Verdict::Missed) => {
            say(
                "windrow-bench: every reply that came was right; the server did not keep up, or a bound was not kept (see above)",
            );
            ExitCode::from(MISSED_EXIT_CODE)
        }
        Err(error @ BenchError::Settings(_)) => {
            say(&format!("windrow-bench: {error}"));
            ExitCode::from(SENSELESS_EXIT_CODE)
        }
        Err(BenchError::ReaderGone) => ExitCode::from(READER_GONE_EXIT_CODE),
        Err(error) => {
            say(&format!("windrow-bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn answer_nothing(args: &NullArgs) -> Result<Verdict, BenchError> {
    let responder = NullResponder::bind(args.listen)?.serving_for(Duration::from_micros(args.service_us));
    say(&format!("answering +OK to every command on {}; Ctrl-C ends it", responder.local_addr()?));
    responder.run().map(|()| Verdict::Good)
}

fn run_one(args: &RunArgs) -> Result<Verdict, BenchError> {
    let json = OutFile::check_named(args.load.json.as_deref())?;
    if let Some(core) = args.core {
        cpu::pin(core)?;
    }
    if let Some(file) = args.file()? {
        return run_file(args, &file, json.as_ref());
    }
    let (server, mode, load, fill) = args.plan().map_err(BenchError::Settings)?;
    load.check().map(drop)?;
    run::prepare(&server)?;
    // Whether somebody reads that or not, the results are to be had.
    let mut printed = Ok(());
    if fill {
        let filled = run::fill(&server, mode, &load, FILL_BUCKETS)?;
        run::settle(&server)?;
        printed = print(&report::summary(
            &format!("fill of {} on {}", counted(load.entities, "entity", "entities"), server.addr),
            &filled,
        ));
    }
    let summary = run::measure(&server, mode, &load)?;
    let title = format!(
        "{mode} on {}: {}, {}, {}, {}",
        server.addr,
        counted(load.connections as u64, "connection", "connections"),
        load.pace(),
        counted(load.entities, "entity", "entities"),
        load.distribution
    );
    let written = write_json(json.as_ref(), &summary);
    let printed = printed.and_then(|()| print(&report::summary(&title, &summary)));
    ended(Ok(()), written, printed)?;
    Ok(Verdict::of(summary.is_clean(), summary.overload.is_none()))
}

fn run_file(args: &RunArgs, file: &WorkloadFile, json: Option<&OutFile>) -> Result<Verdict, BenchError> {
    let server = args.server();
    for seldom in acceptance::seldom(file) {
        say(&seldom);
    }
    let memory = scenario::fill(&server, file)?;
    let summary = run::measure_file(&server, file)?;
    let scale = args.scale.map_or_else(String::new, |scale| format!(", rates times {scale}"));
    let mut verdicts = acceptance::judge(file, &summary);
    verdicts.extend(memory);
    let written = write_json(json, &summary);
    let title = format!("{} on {}{scale}", file.title, server.addr);
    let printed = print(&(report::summary(&title, &summary) + &acceptance::lines(&verdicts)));
    ended(Ok(()), written, printed)?;
    Ok(Verdict::of(summary.is_clean(), summary.overload.is_none() && acceptance::all_kept(&verdicts)))
}

fn run_comparison(args: &CompareArgs) -> Result<Verdict, BenchError> {
    let json = OutFile::check_named(args.load.json.as_deref())?;
    let comparison = args.comparison()?;
    let setup = comparison.describe();
    interrupt::end_servers_on_signals()?;
    let mut lines = Vec::new();
    let compared = compare::compare(&comparison, &mut lines);
    if lines.is_empty() {
        compared?;
        return Ok(Verdict::Good);
    }
    let written = write_json(json.as_ref(), &lines);
    let side_by_side = format!("{}\n\n{}\n", setup.trim_end(), report::side_by_side(&lines));
    let printed = print(&(side_by_side + &report::table(&lines) + &report::overloads(&lines)));
    let complaints = report::complaints(&lines);
    if !complaints.is_empty() {
        say(complaints.trim_end());
    }
    ended(compared, written, printed)?;
    Ok(Verdict::of(complaints.is_empty(), true))
}

fn run_targets(args: &TargetsArgs) -> Result<Verdict, BenchError> {
    let json = OutFile::check_named(args.json.as_deref())?;
    let outcome = run_rows(&args.plan()?, json.as_ref())?;
    Ok(Verdict::of(outcome.is_clean(), true))
}

fn run_rows(plan: &targets::Plan, json: Option<&OutFile>) -> Result<targets::Outcome, BenchError> {
    let setup = plan.describe();
    interrupt::end_servers_on_signals()?;
    let mut outcome = targets::Outcome::of(plan);
    let measured = targets::run(plan, &mut outcome);
    if outcome.findings.is_empty() {
        measured?;
        return Ok(outcome);
    }
    let written = write_json(json, &outcome);
    let servers = report::servers(outcome.identities.iter().map(|name| Some(name.as_str())));
    let servers = servers.map_or_else(String::new, |servers| format!("{servers}\n"));
    let printed = print(&format!("{}\n\n{}{servers}", setup.trim_end(), targets::table(&outcome.findings)));
    for complaint in &outcome.complaints {
        say(&format!("WRONG: {complaint}"));
    }
    ended(measured, written, printed)?;
    Ok(outcome)
}

fn run_sweep(args: &SweepArgs) -> Result<Verdict, BenchError> {
    let json = OutFile::check_named(args.load.json.as_deref())?;
    let (csv, html) = (OutFile::check(&args.csv)?, OutFile::check(&args.html)?);
    output::refuse_one_twice([&csv, &html].into_iter().chain(&json))?;
    if let Some(folder) = &args.pictures {
        std::fs::create_dir_all(folder).map_err(BenchError::io(format!("make {}", folder.display())))?;
        OutFile::check(&folder.join("picture.svg"))?;
    }
    let plan = args.plan()?;
    interrupt::end_servers_on_signals()?;
    let mut outcome = sweep::Outcome::of(&plan);
    let swept = sweep::run(&plan, &mut outcome);
    if outcome.points.is_empty() {
        swept?;
        return Ok(Verdict::Good);
    }
    // Each is written whatever becomes of the others.
    let written = [
        write_json(json.as_ref(), &outcome),
        sweep::csv(&outcome).and_then(|text| csv.write(&text)),
        sweep::html(&outcome).and_then(|text| html.write(&text)),
        args.pictures.as_deref().map_or(Ok(()), |folder| write_pictures(folder, &outcome)),
    ];
    let written = written.into_iter().collect::<Result<(), _>>();
    let named = [Some(csv.named()), Some(html.named()), args.pictures.as_deref()];
    let lines: String = named.into_iter().flatten().map(|path| format!("{}\n", path.display())).collect();
    let printed = if written.is_ok() { print(&lines) } else { Ok(()) };
    ended(swept, written, printed)?;
    Ok(Verdict::of(outcome.is_clean(), true))
}

fn write_pictures(folder: &Path, outcome: &sweep::Outcome) -> Result<(), BenchError> {
    for (name, svg) in sweep::pictures(outcome)? {
        OutFile::check(&folder.join(name))?.write(&svg)?;
    }
    Ok(())
}

fn run_scenario(args: &ScenarioArgs) -> Result<Verdict, BenchError> {
    let json = OutFile::check_named(args.json.as_deref())?;
    let plan = match args.plan()? {
        ScenarioPlan::Rows(plan) => {
            let outcome = run_rows(&plan, json.as_ref())?;
            let (is_clean, is_reached) = (outcome.is_clean(), outcome.is_reached());
            print(&scenario::verdict("capacity", plan.open_loop_scale, is_clean && is_reached))?;
            return Ok(Verdict::of(is_clean, is_reached));
        }
        ScenarioPlan::File(plan) => plan,
    };
    interrupt::end_servers_on_signals()?;
    let mut outcome = scenario::Outcome::of(&plan);
    let attempted = scenario::run(&plan, &mut outcome);
    if outcome.attempts.is_empty() {
        attempted?;
        return Ok(Verdict::Good);
    }
    let written = write_json(json.as_ref(), &outcome);
    let printed = print(&scenario::text(&outcome));
    ended(attempted, written, printed)?;
    Ok(Verdict::of(outcome.is_clean(), outcome.is_kept()))
}

/// How a run ended whose results were written and printed all the same: as it was measured, as the files were written, or as the results
/// were printed, the first of these that failed.
fn ended(
    measured: Result<(), BenchError>,
    written: Result<(), BenchError>,
    printed: Result<(), BenchError>,
) -> Result<(), BenchError> {
    if let (Err(_), Err(error)) = (&measured, &written) {
        say(&format!("windrow-bench: {error}"));
    }
    measured.and(written).and(printed)
}

fn write_json(file: Option<&OutFile>, value: &impl Serialize) -> Result<(), BenchError> {
    let Some(file) = file else { return Ok(()) };
    let text =
        serde_json::to_string_pretty(value).map_err(|error| BenchError::Settings(error.to_string()))?;
    file.write(&text)
}
