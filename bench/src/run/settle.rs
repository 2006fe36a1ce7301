//! After more was asked of a server than it can do: whoever is measured next shares its core, and what it still works off would count
//! against them.

use super::Server;
use crate::control::Control;
use crate::cpu;
use crate::error::BenchError;
use std::time::Duration;

/// Pause between looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks before it is no longer waited for: half a minute.
const LOOKS_MAX: usize = 150;

/// A server that takes no more of a core than this rests: it has its own clockwork.
const RESTING_PART: f64 = 0.1;

/// So many looks in a row: one may fall into a sleep, or a time in which others have its core.
const RESTING_LOOKS: usize = 2;

/// Waits until a server has worked off what it was sent; whether it has. Of one whose process is not known, nothing can be said.
///
/// # Errors
///
/// The process is gone.
pub fn settle(server: &Server) -> Result<bool, BenchError> {
    let Some(pid) = server.pid else { return Ok(true) };
    // One that sleeps or waits for its core takes no time of it, and does not answer either.
    let answers = || {
        Control::connect(&server.addr, &server.greeting)
            .and_then(|mut control| control.command(&["PING"]))
            .is_ok()
    };
    rests(|| Ok(cpu::process_use(pid)?.cpu_s), || std::thread::sleep(PAUSE), answers)
}

fn rests(
    mut cpu_s: impl FnMut() -> Result<f64, BenchError>,
    mut pause: impl FnMut(),
    mut answers: impl FnMut() -> bool,
) -> Result<bool, BenchError> {
    let (mut before, mut resting) = (cpu_s()?, 0);
    for _ in 0..LOOKS_MAX {
        pause();
        if !answers() {
            return Ok(false);
        }
        let now = cpu_s()?;
        resting = if now - before <= RESTING_PART * PAUSE.as_secs_f64() { resting + 1 } else { 0 };
        if resting == RESTING_LOOKS {
            return Ok(true);
        }
        before = now;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_waited_for_as_long_as_it_works() {
        // It sleeps once amid its work.
        let used = [1.0, 1.2, 1.21, 1.35, 1.36, 1.36, 9.0];
        let (mut looks, mut pauses, mut answers) = (0, 0, 0);
        let look = || {
            looks += 1;
            Ok(used[looks - 1])
        };
        let answer = || {
            answers += 1;
            true
        };
        assert!(rests(look, || pauses += 1, answer).unwrap());
        assert_eq!((looks, pauses, answers), (6, 5, 5));
    }

    #[test]
    fn a_server_that_never_rests_is_not_waited_for_for_ever() {
        let mut used = 0.0;
        let look = || {
            used += 0.2;
            Ok(used)
        };
        assert!(!rests(look, || (), || true).unwrap());
    }

    #[test]
    fn a_server_that_does_not_answer_does_not_rest() {
        assert!(!rests(|| Ok(1.0), || (), || false).unwrap());
    }
}
