//! `windrow demo`: a server that starts with real events in it, so that the first minute shows features of something
//! the reader knows: the history of a git repository, or a CSV file.
//!
//! | file | what |
//! | --- | --- |
//! | `arguments` | the command line |
//! | `source` | where events come from: the trait, samples, rows that were left out |
//! | `git` | `git log` as a source; `numstat` reads its output |
//! | `table_file` | a CSV file as a source; `columns` decides what its columns mean |
//! | `load` | the stream, and the events on their way into it over the Redis protocol |
//! | `progress` | how far it is: a bar, or plain lines |
//! | `report` | the table of features and what to try next |
//! | `error` | what can go wrong, and what to do then |

mod arguments;
mod columns;
mod error;
mod git;
mod load;
mod numstat;
mod progress;
mod report;
mod source;
mod table_file;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub use arguments::DemoArgs;
pub use error::DemoError;

use crate::{Config, Server};
use load::Loader;
use source::Source;

/// Runs the demo until Ctrl-C, or until its table with `--exit`.
///
/// # Errors
///
/// Whatever keeps it from showing a table, with what to do about it.
pub fn run(args: &DemoArgs) -> Result<(), DemoError> {
    // What is wrong with the events is said before a server starts.
    let mut source: Box<dyn Source> = match &args.csv {
        Some(path) => Box::new(table_file::TableFile::open(path, args)?),
        None => Box::new(git::GitHistory::open(&args.repo)?),
    };
    let home = Home::new(args)?;
    let config = Config {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        port: args.port,
        dir: home.path(),
        shards: args.shards,
        ..Config::default()
    };
    let no_server = |reason: String| DemoError::Server(reason);
    // Before the server's threads, which inherit what is done about signals.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|error| no_server(error.to_string()))?;
    let running = Server::start(config).map_err(|error| no_server(error.to_string()))?;
    let (addr, stopper) = (running.addr(), running.stopper());
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = interrupted.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            seen.store(true, Ordering::Relaxed);
            stopper.stop();
        }
    });
    let shown = show(addr, args, source.as_mut());
    if interrupted.load(Ordering::Relaxed) {
        running.wait().map_err(|error| no_server(error.to_string()))?;
        return shown.or(Err(DemoError::Interrupted));
    }
    if shown.is_ok() && !args.exit {
        println!("\nServing on port {} until Ctrl-C. {}", addr.port(), home.describe());
        running.wait().map_err(|error| no_server(error.to_string()))?;
    } else {
        running.shutdown().map_err(|error| no_server(error.to_string()))?;
    }
    shown
}

/// Loads the events and prints the table, as any client of the server could.
fn show(addr: SocketAddr, args: &DemoArgs, source: &mut dyn Source) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| DemoError::Server(format!("no runtime for the client: {error}")))?;
    runtime.block_on(async {
        let loader = Loader::connect(addr, args, source).await?;
        let loaded = loader.load(source).await?;
        report::print(&loader, &loaded, addr.port()).await
    })
}

/// The data directory: the one that was asked for, or one that goes when the demo ends.
enum Home {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Home {
    fn new(args: &DemoArgs) -> Result<Home, DemoError> {
        if let Some(dir) = &args.dir {
            return Ok(Home::Kept(dir.clone()));
        }
        tempfile::TempDir::with_prefix("windrow-demo-")
            .map(Home::Temporary)
            .map_err(|error| DemoError::Temporary(error.to_string()))
    }

    fn path(&self) -> PathBuf {
        match self {
            Home::Kept(path) => path.clone(),
            Home::Temporary(dir) => dir.path().to_owned(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Home::Kept(path) => format!("The events stay in {}.", path.display()),
            Home::Temporary(_) => "The events go with it: --dir DIR keeps them.".to_owned(),
        }
    }
}
