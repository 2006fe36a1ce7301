//! When the operations that are not synced yet were written.

use std::collections::VecDeque;

use crate::Position;

/// Marks kept at once: one for each millisecond with a group, so several seconds' worth. Beyond it the newest mark stands for more.
const MARKS_MAX: usize = 4096;

/// A queue of (last position, time of the first group) pairs, oldest first.
#[derive(Debug, Default)]
pub(super) struct UnsyncedTimes {
    marks: VecDeque<(Position, i64)>,
}

impl UnsyncedTimes {
    /// A group up to `last` was written at `now_ms`.
    pub(super) fn note(&mut self, last: Position, now_ms: i64) {
        let full = self.marks.len() >= MARKS_MAX;
        match self.marks.back_mut() {
            // Full: later operations count as old as the newest mark. Replies may wait too long, never too short.
            Some(mark) if full || mark.1 == now_ms => mark.0 = last,
            _ => self.marks.push_back((last, now_ms)),
        }
    }

    /// Time of the oldest group with an operation after `durable`.
    pub(super) fn oldest_after(&mut self, durable: Position) -> Option<i64> {
        while self.marks.front().is_some_and(|mark| mark.0 <= durable) {
            self.marks.pop_front();
        }
        self.marks.front().map(|mark| mark.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ops: u64) -> Position {
        Position::new(1, ops).unwrap()
    }

    #[test]
    fn the_oldest_unsynced_group_dates_the_log() {
        let mut times = UnsyncedTimes::default();
        assert_eq!(times.oldest_after(at(0)), None);
        times.note(at(3), 10);
        times.note(at(5), 10);
        times.note(at(9), 12);
        assert_eq!(times.oldest_after(at(0)), Some(10));
        assert_eq!(times.oldest_after(at(4)), Some(10), "operation 5 was written at 10");
        assert_eq!(times.oldest_after(at(5)), Some(12));
        assert_eq!(times.oldest_after(at(9)), None);
    }

    #[test]
    fn a_long_stall_takes_bounded_memory_and_never_dates_the_log_too_late() {
        let mut times = UnsyncedTimes::default();
        for n in 1..=10_000 {
            times.note(at(n), n as i64);
        }
        assert_eq!(times.marks.len(), MARKS_MAX);
        assert_eq!(times.oldest_after(at(5_000)), Some(MARKS_MAX as i64), "earlier than the true 5001");
        assert_eq!(times.oldest_after(at(10_000)), None);
    }
}
