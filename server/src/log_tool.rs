//! `windrow log`: looks after the log of a data directory that no server uses.
//!
//! | command | what it does | ends with 1 |
//! | --- | --- | --- |
//! | `verify` | reads everything, says what is there | if operations that were durable are damaged |
//! | `dump` | prints the operations, one a line | the same |
//! | `repair` | says what a corrupt log cannot give back; with `--yes`, gives it up | |
//!
//! Each also ends with 1 for a directory that is none, is in use, or cannot be read.

mod dump;
mod repair;
mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use windrow_storage::disk::RealDisk;
use windrow_storage::{OnCorruption, Recovery, StorageOptions};

use crate::error::ServerError;
use crate::server::random_word;

pub use dump::Selection;
pub use repair::{Repair, repair};

/// The command line of `windrow log`.
pub fn command() -> Command {
    let dir = || Arg::new("dir").value_name("DIR").required(true).value_parser(value_parser!(PathBuf));
    let number = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("log")
        .about("Look after the log of a data directory whose server does not run")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("verify")
                .about("Read the whole log and say what is there, torn or damaged; ends with 1 if it is damaged")
                .arg(dir()),
        )
        .subcommand(
            Command::new("dump")
                .about("Print the operations of the log, one a line")
                .arg(dir())
                .arg(
                    number("shard", "N", "Only those of this shard, in each epoch")
                        .value_parser(value_parser!(u16)),
                )
                .arg(
                    number("from", "EPOCH:OPERATION", "Begin with this operation of each shard's log of that epoch")
                        .value_parser(dump::parse_position),
                )
                .arg(number("limit", "N", "Print so many at most").value_parser(value_parser!(u64))),
        )
        .subcommand(
            Command::new("repair")
                .about("Say what a corrupt log cannot give back; with --yes, give it up, so that the server starts")
                .arg(dir())
                .arg(
                    Arg::new("yes")
                        .long("yes")
                        .action(ArgAction::SetTrue)
                        .help("Give up what follows the damage"),
                ),
        )
}

/// Does what the command line asks; what it says goes to `out`.
///
/// # Errors
/// When the directory cannot be used, when operations are damaged, or when `out` takes no more.
pub fn run(matches: &ArgMatches, out: &mut dyn Write) -> Result<(), ServerError> {
    let (name, matches) = matches.subcommand().expect("clap asks for a subcommand");
    let dir = matches.get_one::<PathBuf>("dir").expect("clap asks for it");
    match name {
        "verify" => verify::verify(dir, out),
        "dump" => {
            let selection = Selection {
                shard: matches.get_one("shard").copied(),
                from: matches.get_one("from").copied(),
                limit: matches.get_one("limit").copied(),
            };
            dump::dump(dir, &selection, out)
        }
        "repair" => {
            let repair = repair(dir, matches.get_flag("yes"))?;
            writeln!(out, "{repair}").map_err(ServerError::system("room for the output"))
        }
        _ => unreachable!("clap knows the subcommands"),
    }
}

/// Opens a data directory that is there and that no server uses.
fn open(dir: &Path, on_corruption: OnCorruption) -> Result<Recovery, ServerError> {
    // Opening would make one of any folder.
    if !dir.join("manifest").is_file() {
        return Err(ServerError::Config(format!(
            "{} is no data directory: it has no manifest",
            dir.display()
        )));
    }
    let options = StorageOptions { on_corruption, ..StorageOptions::new(random_word()?) };
    Ok(Recovery::open(Arc::new(RealDisk), dir, options, 0)?)
}

/// That a reader of the output has seen enough is no error.
fn written(outcome: std::io::Result<()>) -> Result<(), ServerError> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(ServerError::system("room for the output")(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
