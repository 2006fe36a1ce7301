//! `windrow`: the server's binary.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use windrow_server::demo::{self, DemoArgs};
use windrow_server::streams_file::Declared;
use windrow_server::{Server, anew, config, log_tool, logging, open_files, streams_file};

fn main() -> ExitCode {
    let matches = command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches),
        Some(("demo", matches)) => demo(matches),
        Some(("check", matches)) => check(matches),
        Some(("log", matches)) => log(matches),
        _ => unreachable!("clap asks for a subcommand"),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("windrow: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The command line.
fn command() -> Command {
    Command::new("windrow")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Real-time features over the Redis protocol")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("serve").about("Run the server").args(config::arguments()))
        .subcommand(DemoArgs::augment_args(
            Command::new("demo").about("Start with real events in it: a git history, or a CSV file"),
        ))
        .subcommand(log_tool::command())
        .subcommand(
            Command::new("check")
                .about("Check a file of stream definitions, and print what it would create")
                .arg(
                    Arg::new("file")
                        .value_name("FILE")
                        .required(true)
                        .value_parser(clap::value_parser!(PathBuf)),
                ),
        )
}

fn serve(matches: &ArgMatches) -> Result<(), String> {
    let config = config::from_matches(matches)?;
    logging::start(&config.loglevel);
    open_files::raise(config.maxclients);
    // Before the server's threads, which inherit the signal mask.
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| format!("cannot watch for signals: {error}"))?;
    let running = Server::start(config).map_err(|error| error.to_string())?;
    let (stopper, lost_image) = (running.stopper(), running.lost_image());
    thread::spawn(move || {
        if let Ok(lost) = lost_image.recv() {
            anew::after(&lost);
        }
    });
    thread::spawn(move || {
        let mut received = signals.forever();
        if let Some(signal) = received.next() {
            tracing::info!("signal {signal}: ending");
            stopper.stop_with_image();
        }
        if let Some(signal) = received.next() {
            tracing::info!("signal {signal} again: ending without an image");
            stopper.stop();
        }
    });
    running.wait().map_err(|error| error.to_string())
}

fn demo(matches: &ArgMatches) -> Result<(), String> {
    let args = DemoArgs::from_arg_matches(matches).map_err(|error| error.to_string())?;
    logging::start("warning");
    demo::run(&args).map_err(|error| error.to_string())
}

fn log(matches: &ArgMatches) -> Result<(), String> {
    log_tool::run(matches, &mut io::stdout().lock()).map_err(|error| error.to_string())
}

fn check(matches: &ArgMatches) -> Result<(), String> {
    let path = matches.get_one::<PathBuf>("file").expect("clap asks for it");
    let streams = streams_file::read(path).map_err(|error| error.to_string())?;
    for Declared { definition, source } in &streams {
        let backfill = source.as_ref().map_or_else(String::new, |source| format!(" BACKFILL FROM {source}"));
        println!("STREAM.CREATE {} {}{backfill}", definition.name, definition.to_args_text());
    }
    println!("{} is good: {} streams", path.display(), streams.len());
    Ok(())
}
