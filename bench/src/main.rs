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
    let code = exit_code(&outcome);
    match (interrupt::check(), interrupt::exit_code()) {
        (Err(interrupted), Some(code)) => {
            say(&format!("windrow-bench: {interrupted}"));
            ExitCode::from(code)
        }
        _ => code,
    }
}

/// The exit code of what came of it, and why it is that.
fn exit_code(outcome: &Result<Verdict, BenchError>) -> ExitCode {
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
        // It is said at the very end, whatever else there is to say.
        Err(BenchError::Interrupted(_)) => ExitCode::FAILURE,
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
    ended([written, printed])?;
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
    ended([written, printed])?;
    Ok(Verdict::of(summary.is_clean(), summary.overload.is_none() && acceptance::all_kept(&verdicts)))
}

fn run_comparison(args: &CompareArgs) -> Result<Verdict, BenchError> {
    let json = OutFile::check_named(args.load.json.as_deref())?;
    let comparison = args.comparison()?;
    let setup = comparison.describe();
    interrupt::end_servers_on_signals()?;
    let mut outcome = compare::Outcome::default();
    let compared = measured(compare::compare(&comparison, &mut outcome.lines));
    if outcome.lines.is_empty() {
        compared?;
        return Ok(Verdict::Good);
    }
    outcome.ended_by = ended_by(&compared);
    let written = write_json(json.as_ref(), &outcome);
    let lines = outcome.lines;
    let side_by_side = format!("{}\n\n{}\n", setup.trim_end(), report::side_by_side(&lines));
    let table = report::table(&lines) + &report::overloads(&lines);
    let printed = print(&(side_by_side + &table + &report::incomplete(outcome.ended_by.as_deref())));
    let complaints = report::complaints(&lines);
    if !complaints.is_empty() {
        say(complaints.trim_end());
    }
    ended([compared, written, printed])?;
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
    let measured = measured(targets::run(plan, &mut outcome));
    if outcome.findings.is_empty() {
        measured?;
        return Ok(outcome);
    }
    outcome.ended_by = ended_by(&measured);
    let written = write_json(json, &outcome);
    let servers = report::servers(outcome.identities.iter().map(|name| Some(name.as_str())));
    let servers = servers.map_or_else(String::new, |servers| format!("{servers}\n"));
    let incomplete = report::incomplete(outcome.ended_by.as_deref());
    let table = targets::table(&outcome.findings);
    let printed = print(&format!("{}\n\n{table}{servers}{incomplete}", setup.trim_end()));
    for complaint in &outcome.complaints {
        say(&format!("WRONG: {complaint}"));
    }
    ended([measured, written, printed])?;
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
    let swept = measured(sweep::run(&plan, &mut outcome));
    if outcome.points.is_empty() {
        swept?;
        return Ok(Verdict::Good);
    }
    outcome.ended_by = ended_by(&swept);
    // Each is written whatever becomes of the others.
    let written = [
        write_json(json.as_ref(), &outcome),
        sweep::csv(&outcome).and_then(|text| csv.write(&text)),
        sweep::html(&outcome).and_then(|text| html.write(&text)),
        args.pictures.as_deref().map_or(Ok(()), |folder| write_pictures(folder, &outcome)),
    ];
    let named = [Some(csv.named()), Some(html.named()), args.pictures.as_deref()];
    let lines: String = named.into_iter().flatten().map(|path| format!("{}\n", path.display())).collect();
    let lines = lines + &report::incomplete(outcome.ended_by.as_deref());
    let printed = if written.iter().all(Result::is_ok) { print(&lines) } else { Ok(()) };
    ended([swept].into_iter().chain(written).chain([printed]))?;
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
    let attempted = measured(scenario::run(&plan, &mut outcome));
    if outcome.attempts.is_empty() {
        attempted?;
        return Ok(Verdict::Good);
    }
    outcome.ended_by = ended_by(&attempted);
    let written = write_json(json.as_ref(), &outcome);
    let printed = print(&scenario::text(&outcome));
    ended([attempted, written, printed])?;
    Ok(Verdict::of(outcome.is_clean(), outcome.is_kept()))
}

/// How measuring ended. An interruption ends the servers: what fails for that is no error of theirs.
fn measured(measured: Result<(), BenchError>) -> Result<(), BenchError> {
    measured.map_err(|error| interrupt::check().err().unwrap_or(error))
}

/// What ended it before all was measured, for the results to say.
fn ended_by(measured: &Result<(), BenchError>) -> Option<String> {
    measured.as_ref().err().map(BenchError::to_string)
}

/// What became of measuring, of each file and of what was printed: the gravest error, which is said by who gets it; the others are said here.
fn ended(parts: impl IntoIterator<Item = Result<(), BenchError>>) -> Result<(), BenchError> {
    let mut errors: Vec<BenchError> = parts.into_iter().filter_map(Result::err).collect();
    errors.sort_by_key(gravity);
    let gravest = errors.pop();
    for error in errors.iter().filter(|error| !matches!(error, BenchError::ReaderGone)) {
        say(&format!("windrow-bench: {error}"));
    }
    gravest.map_or(Ok(()), Err)
}

fn gravity(error: &BenchError) -> u8 {
    match error {
        BenchError::ReaderGone => 0,
        BenchError::Settings(_) => 1,
        BenchError::Interrupted(_) => 3,
        _ => 2,
    }
}

fn write_json(file: Option<&OutFile>, value: &impl Serialize) -> Result<(), BenchError> {
    let Some(file) = file else { return Ok(()) };
    let text =
        serde_json::to_string_pretty(value).map_err(|error| BenchError::Settings(error.to_string()))?;
    file.write(&text)
}
