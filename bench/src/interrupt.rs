//! Ctrl-C, a terminal that is closed, a panic: the servers that were started end with this program, and their directories go.

use crate::error::BenchError;
use crate::progress::say;
use crate::server_process;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::{fs, panic};

/// From now on, SIGINT, SIGTERM and SIGHUP end this program's servers before they end it, and so does a panic.
///
/// # Errors
///
/// The kernel refuses the handlers.
pub fn end_servers_on_signals() -> Result<(), BenchError> {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        server_process::kill_all_in_panic();
        before(panicked);
    }));
    let mut handled = vec![SIGINT, SIGTERM];
    // Under nohup it is to go on.
    if !is_ignored(SIGHUP, &fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        handled.push(SIGHUP);
    }
    let mut signals = Signals::new(handled).map_err(BenchError::io("handle signals"))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _until_the_end = server_process::kill_all();
            say("windrow-bench: interrupted; the servers that it started are ended");
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Whether a process with this status (proc(5)) ignores a signal.
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_was_ignored_from_the_start_is_known() {
        let status = "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert!(is_ignored(SIGHUP, status) && !is_ignored(SIGINT, status));
        assert!(!is_ignored(SIGHUP, "SigIgn:\t0000000000001000\n") && !is_ignored(SIGHUP, ""));
    }
}
