//! How much a tick takes on, so that it is over soon: commands by what they have cost of late, upkeep by the clock.

use std::time::Duration;

use quanta::Instant;

/// A tick takes on so much as should be done in this time: what another connection waits for its turn.
const TICK: Duration = Duration::from_micros(220);
/// The most commands and rows of a tick, however cheap.
const WORK_MAX: usize = 512;
/// The fewest, however dear.
const WORK_MIN: usize = 32;
/// What a command is thought to cost before any was measured.
const COST_NS_AT_FIRST: u64 = 1_000;
/// One part in so many of what is thought of the cost comes from the last tick.
const COST_PARTS: u64 = 8;
/// One tick makes the cost at most so much dearer than it was thought: it may have been held up by others.
const COST_RISE_MAX: u64 = 3;

/// How many commands and rows a tick executes.
#[derive(Debug)]
pub(super) struct WorkQuota {
    cost_ns: u64,
}

impl WorkQuota {
    pub(super) fn new() -> Self {
        WorkQuota { cost_ns: COST_NS_AT_FIRST }
    }

    /// No further command begins in a tick that has executed so many.
    pub(super) fn work_max(&self) -> usize {
        ((TICK.as_nanos() as u64 / self.cost_ns.max(1)) as usize).clamp(WORK_MIN, WORK_MAX)
    }

    /// A tick executed so many in this time.
    pub(super) fn note(&mut self, worked: usize, took: Duration) {
        // A few commands say more of what a tick costs in any case.
        if worked < WORK_MIN {
            return;
        }
        let cost_ns = (took.as_nanos() as u64 / worked as u64).min(self.cost_ns * COST_RISE_MAX);
        self.cost_ns = (self.cost_ns * (COST_PARTS - 1) + cost_ns).div_ceil(COST_PARTS);
    }
}

/// Records that one step of upkeep looks at.
pub(super) const UPKEEP_RECORDS: usize = 128;
/// Under load, while upkeep finds something to do: a slice of so long, so often.
const SLICE: Duration = Duration::from_micros(50);
const SLICE_EVERY: Duration = Duration::from_millis(1);
/// Under load, while it finds nothing, one step this often: ten million records in about three minutes.
const STEP_EVERY: Duration = Duration::from_millis(2);
/// While nobody waits, a slice of so long.
const SLICE_IDLE: Duration = Duration::from_micros(250);

/// How often upkeep gets how long.
#[derive(Debug)]
pub(super) struct UpkeepPace {
    last: Instant,
    is_productive: bool,
}

impl UpkeepPace {
    pub(super) fn new() -> Self {
        UpkeepPace { last: Instant::now(), is_productive: false }
    }

    /// Whether the last slice found something to do.
    pub(super) fn is_productive(&self) -> bool {
        self.is_productive
    }

    /// How long a slice may take now, if it is time for one.
    pub(super) fn slice(&mut self, now: Instant, is_busy: bool) -> Option<Duration> {
        let every = if self.is_productive { SLICE_EVERY } else { STEP_EVERY };
        if now.duration_since(self.last) < every {
            return None;
        }
        self.last = now;
        Some(if is_busy { SLICE } else { SLICE_IDLE })
    }

    /// A slice removed or moved so many records, or gave memory back.
    pub(super) fn note(&mut self, gained: usize) {
        self.is_productive = gained > 0;
    }
}

/// Under `always`, a shard that has more to do asks for a sync so long after the one before. A sync takes some 60 µs of processor
/// time, however much it covers, so this is what keeps its share of a core at a sixteenth.
const SYNC_EVERY: Duration = Duration::from_millis(1);

/// When a shard asks for what it has written to be synced, under `always`: at once when it has nothing else to do.
#[derive(Debug)]
pub(super) struct SyncPace {
    is_due: bool,
    last: Instant,
}

impl SyncPace {
    pub(super) fn new() -> Self {
        SyncPace { is_due: false, last: Instant::now() }
    }

    /// Something was written that replies wait for.
    pub(super) fn note_written(&mut self) {
        self.is_due = true;
    }

    /// Whether something is to be synced.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether to ask for a sync now; `is_idle` if there is nothing else to do.
    pub(super) fn take(&mut self, now: Instant, is_idle: bool) -> bool {
        let is_time = self.is_due && (is_idle || now.duration_since(self.last) >= SYNC_EVERY);
        if is_time {
            self.is_due = false;
            self.last = now;
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dearer_commands_make_a_tick_take_on_fewer_and_cheaper_ones_more() {
        let mut quota = WorkQuota::new();
        for _ in 0..100 {
            quota.note(100, Duration::from_micros(300));
        }
        assert!((65..=80).contains(&quota.work_max()), "{quota:?}");
        for _ in 0..100 {
            quota.note(100, Duration::from_micros(10));
        }
        assert_eq!(quota.work_max(), WORK_MAX);
        for _ in 0..100 {
            quota.note(100, Duration::from_secs(1));
        }
        assert_eq!(quota.work_max(), WORK_MIN);
    }

    #[test]
    fn one_tick_that_was_held_up_changes_little() {
        let mut quota = WorkQuota::new();
        quota.note(200, Duration::from_micros(200));
        let before = quota.work_max();
        quota.note(200, Duration::from_millis(30));
        assert!(quota.work_max() > before * 3 / 4, "{quota:?}");
    }

    #[test]
    fn slices_come_more_often_while_they_find_something_and_are_longer_while_nobody_waits() {
        let start = Instant::now();
        let mut pace = UpkeepPace { last: start, is_productive: false };
        assert_eq!(pace.slice(start + SLICE_EVERY, true), None);
        assert_eq!(pace.slice(start + STEP_EVERY, true), Some(SLICE));
        pace.note(1);
        assert_eq!(pace.slice(start + STEP_EVERY + SLICE_EVERY, false), Some(SLICE_IDLE));
        pace.note(0);
        assert_eq!(pace.slice(start + STEP_EVERY + SLICE_EVERY * 2, false), None);
    }

    #[test]
    fn what_was_written_is_synced_at_once_when_idle_and_in_groups_when_not() {
        let mut pace = SyncPace::new();
        let start = pace.last;
        assert!(!pace.take(start + SYNC_EVERY, true), "nothing was written");
        pace.note_written();
        assert!(!pace.take(start + SYNC_EVERY / 2, false) && pace.is_due());
        assert!(pace.take(start + SYNC_EVERY / 2, true) && !pace.is_due());
        assert!(!pace.take(start + SYNC_EVERY * 2, true), "it is asked for once");
        pace.note_written();
        assert!(!pace.take(start + SYNC_EVERY, false), "half of the time since the last");
        assert!(pace.take(start + SYNC_EVERY * 3 / 2, false), "a shard that is never idle syncs, too");
    }
}
