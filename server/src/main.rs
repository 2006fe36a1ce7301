//! `windrow`: the server's binary.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use windrow_server::demo::{self, DemoArgs};
use windrow_server::streams_file::Declared;
use windrow_server::{Server, config, log_tool, logging, open_files, streams_file};

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
        .subcommand(
            Command::new("log").about("Look after the log of a data directory").subcommand_required(true).subcommand(
                Command::new("repair")
                    .about("Say what a corrupt log cannot give back; with --yes, give it up, so that the server starts")
                    .arg(Arg::new("dir").value_name("DIR").required(true).value_parser(clap::value_parser!(PathBuf)))
                    .arg(
                        Arg::new("yes")
                            .long("yes")
                            .action(ArgAction::SetTrue)
                            .help("Give up what follows the damage"),
                    ),
            ),
        )
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
    let stopper = running.stopper();
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            tracing::info!("signal {signal}: ending");
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
    let Some(("repair", matches)) = matches.subcommand() else { unreachable!("clap asks for a subcommand") };
    let dir = matches.get_one::<PathBuf>("dir").expect("clap asks for it");
    let repair = log_tool::repair(dir, matches.get_flag("yes")).map_err(|error| error.to_string())?;
    println!("{repair}");
    Ok(())
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
