//! Loom models of the code that ships. How to run them: the crate's documentation.
//!
//! Loom runs the model's own thread first and goes on from there by exchanging steps that depend on each other, up to a
//! number of preemptions. Readers run on threads they are spawned on and writers on the model's own, so that a
//! reader which sees some of what a *finished* write stored is among the first things tried, not the last: the other
//! way round some planted mistakes were not found within the bound.

/// A test that plants a mistake in the code under a check and demands that the check fails because of it.
macro_rules! catches {
    ($(#[$attributes:meta])* $test:ident: $mistake:ident in $check:expr) => {
        $(#[$attributes])*
        #[test]
        fn $test() {
            crate::models::must_fail(
                concat!(module_path!(), "::", stringify!($test)),
                crate::planted::Mistake::$mistake,
                || $check,
            );
        }
    };
}

mod adoption;
mod gate;
mod index;
mod pool;
mod reclaim;
mod record;
mod ring;
mod store;

use crate::planted::{self, Mistake};
use std::{env, process::Command};

/// Searches the interleavings of `model` in which threads are preempted at most `preemptions` times (most known bugs
/// need two).
fn search(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Set in the process that runs a check with a mistake in it.
const MISTAKE_IS_PLANTED: &str = "WINDROW_LOOM_MISTAKE_IS_PLANTED";

/// Runs `check` with `mistake` in the code under it and demands that it fails.
///
/// It runs in a process of its own, the test called `path` once more: when loom finds a deadlock it panics in the midst
/// of a switch between threads, and values that are dropped on the way up then abort the process.
fn must_fail(path: &str, mistake: Mistake, check: impl FnOnce()) {
    if env::var_os(MISTAKE_IS_PLANTED).is_some() {
        return planted::with(mistake, check);
    }
    let (_crate_name, test) = path.split_once("::").expect("a test has a path");
    let run = Command::new(env::current_exe().expect("the path of this program"))
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(MISTAKE_IS_PLANTED, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("this program can be started once more");
    let printed = String::from_utf8_lossy(&run.stdout);
    assert!(printed.contains("running 1 test"), "{test} was not found: {printed}");
    assert!(!run.status.success(), "the model did not notice {mistake:?}");
}
