//! The server's clock: Unix milliseconds that never step back, whatever the system clock does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use quanta::Instant;

/// The clock of one server; clones share it. One reading costs a few tens of nanoseconds: a tick takes it once and
/// again every few connections, not per command.
#[derive(Clone, Debug)]
pub struct Clock {
    latest_ms: Arc<AtomicI64>,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    /// Stands where a test put it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub fn system() -> Self {
        Clock { latest_ms: Arc::new(AtomicI64::new(i64::MIN)), source: Source::System }
    }

    /// A clock that shows what `time_ms` holds.
    #[must_use]
    pub fn manual(time_ms: Arc<AtomicI64>) -> Self {
        Clock { latest_ms: Arc::new(AtomicI64::new(i64::MIN)), source: Source::Manual(time_ms) }
    }

    /// From now on the clock shows at least this.
    pub(crate) fn not_before(&self, time_ms: i64) {
        self.latest_ms.fetch_max(time_ms, Ordering::Relaxed);
    }

    /// Now, at least as late as any earlier answer to any thread.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let now_ms = match &self.source {
            Source::System => system_ms(),
            Source::Manual(time_ms) => time_ms.load(Ordering::Relaxed),
        };
        let latest_ms = self.latest_ms.load(Ordering::Relaxed);
        if now_ms <= latest_ms {
            return latest_ms;
        }
        self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms)
    }
}

fn system_ms() -> i64 {
    // Before 1970 counts as 1970: a machine with such a clock is about to have it set.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds since the process asked for the first time: for ages and timeouts, which a wall clock would distort.
#[must_use]
pub fn uptime_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_steps_back() {
        let time_ms = Arc::new(AtomicI64::new(100));
        let clock = Clock::manual(Arc::clone(&time_ms));
        let other_thread = clock.clone();
        assert_eq!(clock.now_ms(), 100);
        time_ms.store(40, Ordering::Relaxed);
        assert_eq!(other_thread.now_ms(), 100);
        time_ms.store(101, Ordering::Relaxed);
        assert_eq!(clock.now_ms(), 101);
    }
}
