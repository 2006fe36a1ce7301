//! Ctrl-C: the servers that were started end with this program, and their directories go.

use crate::error::BenchError;
use crate::server_process;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on, SIGINT and SIGTERM end this program's servers before they end it.
///
/// # Errors
///
/// The kernel refuses the handlers.
pub fn end_servers_on_signals() -> Result<(), BenchError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(BenchError::io("handle signals"))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _until_the_end = server_process::kill_all();
            eprintln!("windrow-bench: interrupted; the servers that it started are ended");
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
