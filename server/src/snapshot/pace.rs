//! How fast an image is written: as fast as is allowed, and at least as fast as it must be.
//!
//! The thread that copies has the lowest priority, so it takes what shards leave over. On a busy machine that may be next to nothing;
//! then another thread lends a hand, but no more than for the floor.

use std::time::{Duration, Instant};

/// An image grows by so many bytes in a second at least, whatever else the machine does.
pub(super) const FLOOR_BYTES_PER_S: u64 = 16 << 20;
/// What was not used of the allowance is gone after so long: no burst follows a pause.
const SAVED_UP_MAX: Duration = Duration::from_millis(100);

/// Spreads bytes over time.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the bytes so far should have taken until.
    paid_until: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Pace { paid_until: now, bytes: 0 }
    }

    /// Notes that the image has so many bytes now; tells how long to rest, when so many may be written in a second (0: any).
    pub(super) fn rest(&mut self, bytes: u64, bytes_per_s: u64, now: Instant) -> Duration {
        let new_bytes = bytes.saturating_sub(self.bytes);
        self.bytes = bytes;
        let takes = |bytes: u64| Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64);
        if bytes_per_s == 0 {
            self.paid_until = now;
            return Duration::ZERO;
        }
        let earliest = now.checked_sub(SAVED_UP_MAX).unwrap_or(now);
        self.paid_until = self.paid_until.max(earliest) + takes(new_bytes);
        self.paid_until.saturating_duration_since(now)
    }
}

/// Whether an image with so many bytes, of which so many may be written in a second, is behind the floor after so long.
pub(super) fn is_behind(bytes: u64, bytes_per_s: u64, running: Duration) -> bool {
    let floor = if bytes_per_s == 0 { FLOOR_BYTES_PER_S } else { FLOOR_BYTES_PER_S.min(bytes_per_s / 2) };
    (bytes as f64) < floor as f64 * running.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn bytes_take_as_long_as_the_limit_says() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.rest(10 * MB, 10 * MB, start), Duration::from_secs(1));
        // Two seconds' worth after one second.
        let second = start + Duration::from_secs(1);
        assert_eq!(pace.rest(20 * MB, 10 * MB, second), Duration::from_secs(1));
        // A long pause is not made up for.
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.rest(30 * MB, 10 * MB, later), Duration::from_millis(900));
    }

    #[test]
    fn without_a_limit_there_is_no_rest() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.rest(1 << 40, 0, start), Duration::ZERO);
        assert_eq!(pace.rest((1 << 40) + MB, MB, start), Duration::from_millis(1_000), "from here on");
    }

    #[test]
    fn the_floor_is_below_the_limit() {
        assert!(is_behind(0, 0, Duration::from_secs(1)));
        assert!(!is_behind(17 * MB, 0, Duration::from_secs(1)));
        assert!(!is_behind(3 * MB, 4 * MB, Duration::from_secs(1)));
        assert!(is_behind(MB, 4 * MB, Duration::from_secs(1)));
        assert!(!is_behind(0, 0, Duration::ZERO));
    }
}
