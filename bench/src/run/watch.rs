//! How a run goes while its threads are at work: the bar, and CPU times around the measured phase.

use super::{Load, Server};
use crate::cpu;
use crate::error::BenchError;
use crate::measure::ProcessUse;
use crate::progress::Progress;
use crate::worker::{Phases, RunClock};
use crate::workload::Workload;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How often the main thread looks at a run, unless its end wakes it.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// What the bar goes up to: milliseconds, or with a count of requests the operations in these.
pub(super) fn total(load: &Load, workload: &Workload, phases: Phases) -> u64 {
    let Some(requests) = load.requests else { return phases.end_ns / 1_000_000 };
    let shares = workload.shares.iter().zip(&workload.requests);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let each: f64 = shares.map(|(share, request)| share * request.operations as f64).sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for people"
    )]
    let operations = (requests as f64 * each).round() as u64;
    operations
}

/// Shows how the run goes, and takes the CPU time of server and generator over the measured phase.
pub(super) fn watch(
    server: &Server,
    load: &Load,
    clock: &RunClock,
    phases: Phases,
    progress: &AtomicU64,
    bar: &mut Progress,
    finished: impl Fn() -> bool,
) -> Result<(Option<ProcessUse>, ProcessUse), BenchError> {
    let look = || -> Result<(Option<ProcessUse>, ProcessUse), BenchError> {
        Ok((server.pid.map(cpu::process_use).transpose()?, cpu::process_use(std::process::id())?))
    };
    let mut look_until = |until_ns: u64| {
        loop {
            let now_ns = clock.now_ns();
            if now_ns >= until_ns || finished() {
                return;
            }
            let operations = progress.load(Ordering::Relaxed);
            bar.update(
                if load.requests.is_some() { operations } else { now_ns / 1_000_000 },
                operations,
                now_ns,
            );
            thread::park_timeout(LOOK_PERIOD.min(Duration::from_nanos(until_ns - now_ns)));
        }
    };
    look_until(phases.measure_from_ns);
    let (server_before, own_before) = look()?;
    look_until(phases.end_ns);
    let (server_after, own_after) = look()?;
    let server = server_before.zip(server_after).map(|(before, after)| after.since(before));
    Ok((server, own_after.since(own_before)))
}

#[cfg(test)]
mod tests {
    use super::super::execute::phases;
    use super::*;
    use crate::workload::{Mode, Target};

    #[test]
    fn the_bar_of_a_count_goes_up_to_the_operations_in_it() {
        let (warmup, duration) = (Duration::from_secs(1), Duration::from_secs(2));
        let load = Load { warmup, duration, requests: Some(100), ..Load::default() };
        let workload = |mode| Workload::new(Target::Windrow, mode, &load.check().unwrap()).unwrap();
        let total = |load: &Load, mode| total(load, &workload(mode), phases(load));
        assert_eq!((total(&load, Mode::Madd(64)), total(&load, Mode::Mixed(0.3))), (6_400, 100));
        assert_eq!(total(&Load { requests: None, ..load.clone() }, Mode::Madd(64)), 3_000);
    }
}
