//! After more was asked of a server than it can do: whoever is measured next shares its core, and what it still works off would count
//! against them.

use super::Server;
use crate::cpu;
use crate::error::BenchError;
use std::time::Duration;

/// Pause between looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks before it is no longer waited for: half a minute.
const LOOKS_MAX: usize = 150;

/// A server that takes no more of a core than this rests: it has its own clockwork.
const RESTING_PART: f64 = 0.1;

/// Waits until a server has worked off what it was sent; whether it has. Of one whose process is not known, nothing can be said.
///
/// # Errors
///
/// The process is gone.
pub fn settle(server: &Server) -> Result<bool, BenchError> {
    let Some(pid) = server.pid else { return Ok(true) };
    rests(|| Ok(cpu::process_use(pid)?.cpu_s), || std::thread::sleep(PAUSE))
}

fn rests(
    mut cpu_s: impl FnMut() -> Result<f64, BenchError>,
    mut pause: impl FnMut(),
) -> Result<bool, BenchError> {
    let mut before = cpu_s()?;
    for _ in 0..LOOKS_MAX {
        pause();
        let now = cpu_s()?;
        if now - before <= RESTING_PART * PAUSE.as_secs_f64() {
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
        let used = [1.0, 1.2, 1.35, 1.36, 9.0];
        let (mut looks, mut pauses) = (0, 0);
        let look = || {
            looks += 1;
            Ok(used[looks - 1])
        };
        assert!(rests(look, || pauses += 1).unwrap());
        assert_eq!((looks, pauses), (4, 3));
    }

    #[test]
    fn a_server_that_never_rests_is_not_waited_for_for_ever() {
        let mut used = 0.0;
        let look = || {
            used += 0.2;
            Ok(used)
        };
        assert!(!rests(look, || ()).unwrap());
    }
}
