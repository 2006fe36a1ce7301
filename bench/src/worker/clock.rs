//! The clock that all threads of a run share, and when its phases begin and end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The times of a run, in nanoseconds since its start, and its quota.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    /// Measuring begins.
    pub measure_from_ns: u64,
    /// Sending ends, and measuring with it.
    pub end_ns: u64,
    /// Sending ends after so many requests of this thread, if that is earlier.
    pub requests_max: u64,
    /// The last request falls due: the end, or where a count ends an open loop, when the last of it is due.
    pub due_until_ns: u64,
    /// Replies are waited for this long after the end; where a count is the only end, so long without any is one too.
    pub drain_ns: u64,
}

impl Phases {
    /// Half of the time in which what is measured falls due.
    pub(super) fn halfway_ns(&self) -> u64 {
        self.measure_from_ns + self.due_until_ns.saturating_sub(self.measure_from_ns) / 2
    }
}

/// The clock that all threads of a run share.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    start: Instant,
    start_unix_ms: u64,
}

impl RunClock {
    /// A run that starts now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Nanoseconds since the start.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        ns(self.start.elapsed())
    }

    pub(super) fn unix_ms(&self, now_ns: u64) -> u64 {
        self.start_unix_ms + now_ns / 1_000_000
    }
}

/// Nanoseconds of a duration; those beyond 584 years are cut.
pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
