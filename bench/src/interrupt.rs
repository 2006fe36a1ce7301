//! Ctrl-C, a terminal that is closed, a panic: the servers that were started end, their directories go, and what was measured before is
//! written.

use crate::error::BenchError;
use crate::progress::say;
use crate::server_process;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use std::{fs, panic, thread};

/// Longest wait for what was measured to be written; a second signal ends it sooner.
const WRITING_MAX: Duration = Duration::from_secs(10);

/// What programs that a signal has ended give for their exit code, less the signal's number.
const SIGNALLED: i32 = 128;

/// The first signal that came; 0: none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// The exit code of a program that was interrupted, if this one was.
pub fn exit_code() -> Option<u8> {
    match SIGNAL.load(Ordering::SeqCst) {
        0 => None,
        signal => u8::try_from(SIGNALLED + signal).ok(),
    }
}

/// Whatever waits for a server asks this now and then.
///
/// # Errors
///
/// This program was interrupted: its servers are gone.
pub fn check() -> Result<(), BenchError> {
    exit_code().map_or(Ok(()), |_| Err(BenchError::Interrupted))
}

/// From now on, SIGINT, SIGTERM and SIGHUP end this program's servers, whereupon what is being measured fails and what was measured
/// before is written; a panic ends them, too.
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
    thread::spawn(move || {
        let mut signals = signals.forever();
        let Some(signal) = signals.next() else { return };
        SIGNAL.store(signal, Ordering::SeqCst);
        say(
            "windrow-bench: interrupted; the servers that it started are ended, and what was measured is written (again: at once)",
        );
        server_process::kill_all();
        let end = move || std::process::exit(SIGNALLED + signal);
        thread::spawn(move || {
            thread::sleep(WRITING_MAX);
            end()
        });
        if signals.next().is_some() {
            end();
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
