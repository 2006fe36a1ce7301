//! Calls of each command by how long they took.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use windrow_protocol::command::{COMMANDS, CommandId, SubcommandId};

/// Buckets of a command; the last one, from half a second on, has no upper bound.
pub(crate) const BUCKETS: usize = 21;
/// Upper bound of the first bucket; each bucket reaches twice as far as the one before.
const FIRST_NS: u64 = 1032;

/// The row of a command, or of its subcommand.
pub(crate) fn row_of(command: CommandId, subcommand: Option<SubcommandId>) -> usize {
    subcommand.map_or(command as usize, |sub| CommandId::COUNT + sub as usize)
}

/// The bucket of a time.
fn bucket_of(ns: u64) -> usize {
    let doublings = (ns / FIRST_NS).checked_ilog2().map_or(0, |doublings| doublings as usize + 1);
    doublings.min(BUCKETS - 1)
}

/// What a bucket is named by, as in Redis: the longest time in it in whole microseconds, 1, 2, 4, 8, 16, 33, 66 …
pub(crate) fn bucket_us(bucket: usize) -> u64 {
    ((FIRST_NS << bucket) - 1) / 1000
}

/// The counts of one shard. Only its thread writes them.
#[derive(Debug)]
pub(crate) struct CommandTimes {
    rows: Box<[[AtomicU64; BUCKETS]]>,
}

impl Default for CommandTimes {
    fn default() -> Self {
        let rows = CommandId::COUNT + COMMANDS.iter().map(|command| command.subcommands.len()).sum::<usize>();
        CommandTimes { rows: (0..rows).map(|_| Default::default()).collect() }
    }
}

impl CommandTimes {
    /// Counts calls that took so long each.
    #[inline]
    pub(crate) fn add(&self, row: usize, ns: u64, calls: u64) {
        let count = &self.rows[row][bucket_of(ns)];
        // One writer: no need to lock the line.
        count.store(count.load(Relaxed) + calls, Relaxed);
    }

    /// Adds a row's counts to `counts`.
    pub(crate) fn sum_into(&self, row: usize, counts: &mut [u64; BUCKETS]) {
        for (sum, count) in counts.iter_mut().zip(&self.rows[row]) {
            *sum += count.load(Relaxed);
        }
    }

    /// CONFIG RESETSTAT. A call that is counted at this moment may be lost, or keep its bucket.
    pub(crate) fn reset(&self) {
        for count in self.rows.iter().flatten() {
            count.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double_and_are_named_as_in_redis() {
        let names: Vec<u64> = (0..12).map(bucket_us).collect();
        assert_eq!(names, [1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113]);
        for bucket in 0..BUCKETS - 1 {
            let end_ns = FIRST_NS << bucket;
            assert_eq!((bucket_of(end_ns - 1), bucket_of(end_ns)), (bucket, bucket + 1));
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn every_command_and_subcommand_has_a_row_of_its_own() {
        let mut rows = std::collections::HashSet::new();
        for command in &COMMANDS {
            assert!(rows.insert(row_of(command.id, None)), "{}", command.name);
            for sub in command.subcommands {
                assert!(rows.insert(row_of(command.id, Some(sub.id))), "{}", sub.name);
            }
        }
        assert_eq!(rows.len(), CommandTimes::default().rows.len());
        assert!(rows.iter().all(|&row| row < rows.len()));
    }

    #[test]
    fn calls_are_counted_until_they_are_reset() {
        let times = CommandTimes::default();
        times.add(3, 500, 2);
        times.add(3, 3_000, 5);
        times.add(4, 1, 1);
        let mut counts = [0; BUCKETS];
        times.sum_into(3, &mut counts);
        assert_eq!(counts[..4], [2, 0, 5, 0]);
        times.reset();
        counts = [0; BUCKETS];
        times.sum_into(3, &mut counts);
        assert_eq!(counts, [0; BUCKETS]);
    }
}
