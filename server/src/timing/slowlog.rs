//! The commands that took longest of late: what SLOWLOG shows.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Arguments;

/// Whatever `slowlog-max-len` says, entries take no more memory than this; the oldest go.
const BYTES_MAX: usize = 16 << 20;

/// A command that took long.
#[derive(Debug)]
pub(crate) struct SlowCommand {
    /// When it ended, in Unix seconds.
    pub(crate) at_s: i64,
    pub(crate) took_us: u64,
    pub(crate) arguments: Arguments,
    pub(crate) peer: SocketAddr,
    pub(crate) client_name: String,
}

impl SlowCommand {
    fn allocated_bytes(&self) -> usize {
        size_of::<SlowEntry>() + self.arguments.allocated_bytes() + self.client_name.capacity()
    }
}

/// An entry: ids ascend, and none is used twice.
#[derive(Debug)]
pub(crate) struct SlowEntry {
    pub(crate) id: u64,
    pub(crate) command: SlowCommand,
}

/// The entries of all shards, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Slowlog(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    entries: VecDeque<Arc<SlowEntry>>,
    bytes: usize,
    next_id: u64,
}

impl Slowlog {
    /// Adds a command; the oldest entries beyond `len_max` go.
    pub(crate) fn add(&self, command: SlowCommand, len_max: usize) {
        let mut log = self.lock();
        log.bytes += command.allocated_bytes();
        let id = log.next_id;
        log.next_id += 1;
        log.entries.push_back(Arc::new(SlowEntry { id, command }));
        while log.entries.len() > len_max || log.bytes > BYTES_MAX {
            let Some(oldest) = log.entries.pop_front() else { break };
            log.bytes -= oldest.command.allocated_bytes();
        }
    }

    /// The newest `count` entries, the newest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<Arc<SlowEntry>> {
        self.lock().entries.iter().rev().take(count).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Forgets all entries.
    pub(crate) fn reset(&self) {
        let mut log = self.lock();
        log.entries = VecDeque::new();
        log.bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(bytes: usize) -> SlowCommand {
        let mut arguments = Arguments::default();
        for _ in 0..bytes.div_ceil(128) {
            arguments.push(&[b'x'; 128]);
        }
        SlowCommand {
            at_s: 7,
            took_us: 9,
            arguments,
            peer: ([127, 0, 0, 1], 1).into(),
            client_name: String::new(),
        }
    }

    #[test]
    fn the_newest_are_kept_and_ids_are_never_used_again() {
        let log = Slowlog::default();
        for _ in 0..5 {
            log.add(command(10), 3);
        }
        let ids = |log: &Slowlog, count| log.newest(count).iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!((ids(&log, 2), ids(&log, 9)), (vec![4, 3], vec![4, 3, 2]));
        log.reset();
        assert_eq!(log.len(), 0);
        log.add(command(10), 3);
        assert_eq!(ids(&log, 9), [5]);
        log.add(command(10), 0);
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_entries() {
        let log = Slowlog::default();
        for _ in 0..10_000 {
            log.add(command(32 * 128), usize::MAX);
        }
        let (len, bytes) = (log.len(), log.lock().bytes);
        assert!(
            (1_000..10_000).contains(&len) && bytes <= BYTES_MAX && bytes > BYTES_MAX / 2,
            "{len} {bytes}"
        );
        let held: usize = log.newest(len).iter().map(|entry| entry.command.allocated_bytes()).sum();
        assert_eq!(held, bytes);
    }
}
