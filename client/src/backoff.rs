//! Pauses between tries to reconnect.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Doubling pauses with jitter.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        assert!(!initial.is_zero() && initial <= max, "checked by the builder");
        Self { next: initial, max }
    }

    /// The next pause: between half of the current step and all of it.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        // Each RandomState is keyed anew, so an empty hash is a random number; no need for a crate.
        let random = RandomState::new().hash_one(()) >> 32;
        let fraction = f64::from(u32::try_from(random).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        step.mul_f64(0.5 + fraction / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_keep_within_their_jitter() {
        let (initial, max) = (Duration::from_millis(50), Duration::from_millis(300));
        let mut backoff = Backoff::new(initial, max);
        for step in [50, 100, 200, 300, 300].map(Duration::from_millis) {
            let pause = backoff.pause();
            assert!(pause >= step / 2 && pause <= step, "{pause:?} for a step of {step:?}");
        }
    }

    #[test]
    fn pauses_differ() {
        let step = Duration::from_secs(1);
        let pauses: Vec<_> = (0..8).map(|_| Backoff::new(step, step).pause()).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }
}
