//! The watchdog: reports a shard whose tick takes too long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::uptime_ms;
use crate::shard::NOT_IN_A_TICK;
use crate::shared::Shared;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Watches until `stop` is set.
pub(crate) fn run(shared: &Shared, stop: &AtomicBool) {
    let mut reported = vec![NOT_IN_A_TICK; shared.shards.len()];
    while !stop.load(Ordering::Acquire) {
        let limit_ms = shared.config().watchdog_ms;
        for (index, (shard, reported)) in shared.shards.iter().zip(&mut reported).enumerate() {
            let since_ms = shard.numbers.tick_since_ms.load(Ordering::Relaxed);
            if let Some(stuck_ms) = stuck_ms(since_ms, uptime_ms(), limit_ms)
                && *reported != since_ms
            {
                *reported = since_ms;
                tracing::warn!("shard {index} has been in one tick for {stuck_ms} ms");
            }
        }
        thread::park_timeout(LOOK_EVERY);
    }
}

/// For how long a tick is stuck, if it is.
fn stuck_ms(since_ms: u64, now_ms: u64, limit_ms: u64) -> Option<u64> {
    let in_tick = since_ms != NOT_IN_A_TICK && limit_ms > 0;
    in_tick.then(|| now_ms.saturating_sub(since_ms)).filter(|&ms| ms > limit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_stuck_when_it_takes_longer_than_the_limit() {
        assert_eq!(stuck_ms(100, 2_101, 2_000), Some(2_001));
        assert_eq!(stuck_ms(100, 2_100, 2_000), None);
        assert_eq!(stuck_ms(NOT_IN_A_TICK, 9_999, 2_000), None);
        assert_eq!(stuck_ms(100, 9_999, 0), None);
    }
}
