//! Ctrl-C, a terminal that is closed, a panic: the servers that were started end, their directories go, and what was measured before is
//! written.

use crate::error::BenchError;
use crate::progress::say;
use crate::{output, server_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use std::{fs, panic, thread};

/// Longest wait for what was measured to be written; a second signal ends it sooner.
const WRITING_MAX: Duration = Duration::from_secs(10);

/// Signals that come within this time are one interruption: `timeout` sends two, a shell passes on what the kernel sends as well.
const ONE_INTERRUPTION_MAX: Duration = Duration::from_secs(1);

/// Longest wait for a last word: standard error may be a pipe that nobody drains.
const LAST_WORD_MAX: Duration = Duration::from_secs(1);

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
    match SIGNAL.load(Ordering::SeqCst) {
        0 => Ok(()),
        signal => Err(BenchError::Interrupted(signal_name(signal).unwrap_or("a signal"))),
    }
}

/// From now on, SIGINT, SIGTERM, SIGQUIT and SIGHUP end this program's servers, whereupon what is being measured fails and what was measured
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
    let mut handled = vec![SIGINT, SIGTERM, SIGQUIT];
    // Under nohup it is to go on.
    if !is_ignored(SIGHUP, &fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        handled.push(SIGHUP);
    }
    let mut signals = Signals::new(handled).map_err(BenchError::io("handle signals"))?;
    thread::spawn(move || {
        let mut signals = signals.forever();
        let Some(first) = signals.next() else { return };
        let came = Instant::now();
        SIGNAL.store(first, Ordering::SeqCst);
        thread::spawn(move || {
            thread::sleep(WRITING_MAX);
            end(first, "windrow-bench: ended; what was measured could not be written in time");
        });
        // A server that is slow to die, or a standard error that nobody drains, keeps no further signal from being seen.
        thread::spawn(|| {
            server_process::kill_all();
            say(
                "windrow-bench: interrupted; its servers are ended, what was measured is written (again: at once)",
            );
        });
        if signals.any(|signal| is_at_once(first, signal, came.elapsed())) {
            end(first, "windrow-bench: ended at once; what was not written yet is lost");
        }
    });
    Ok(())
}

/// Whether a signal that comes so long after the first is meant to end the program at once.
fn is_at_once(first: i32, signal: i32, after: Duration) -> bool {
    (first, signal) == (SIGINT, SIGINT) || after >= ONE_INTERRUPTION_MAX
}

/// Ends the program whatever else it does.
fn end(signal: i32, why: &'static str) -> ! {
    let _nothing_more = output::remove_unfinished();
    let (said, is_said) = channel();
    thread::spawn(move || {
        say(why);
        let _ = said.send(());
    });
    let _ = is_said.recv_timeout(LAST_WORD_MAX);
    std::process::exit(SIGNALLED + signal)
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
    fn what_is_sent_twice_is_one_interruption_unless_it_is_ctrl_c_or_comes_later() {
        let soon = Duration::from_millis(5);
        for (first, second) in [(SIGHUP, SIGHUP), (SIGTERM, SIGTERM), (SIGTERM, SIGHUP), (SIGINT, SIGTERM)] {
            assert!(!is_at_once(first, second, soon));
            assert!(is_at_once(first, second, ONE_INTERRUPTION_MAX));
        }
        assert!(is_at_once(SIGINT, SIGINT, soon));
    }

    #[test]
    fn a_signal_that_was_ignored_from_the_start_is_known() {
        let status = "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert!(is_ignored(SIGHUP, status) && !is_ignored(SIGINT, status));
        assert!(!is_ignored(SIGHUP, "SigIgn:\t0000000000001000\n") && !is_ignored(SIGHUP, ""));
    }
}
