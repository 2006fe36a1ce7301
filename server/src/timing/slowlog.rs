//! The commands that took longest of late: what SLOWLOG shows.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Arguments;
use super::arguments::allocation_bytes;

/// Whatever `slowlog-max-len` says, entries take no more memory than this; the oldest go.
const BYTES_MAX: usize = 16 << 20;
/// The list of entries is cut when it has more than so many places for each.
const LIST_SPARSE: usize = 4;

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
    /// All that its entry takes, but for its place in the list.
    fn held_bytes(&self) -> usize {
        // Beside the entry itself the two counts of its `Arc`.
        let entry = allocation_bytes(size_of::<SlowEntry>() + 2 * size_of::<usize>());
        entry + self.arguments.held_bytes() + allocation_bytes(self.client_name.capacity())
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
    /// Of the entries, without the list.
    entry_bytes: usize,
    next_id: u64,
}

impl Entries {
    fn held_bytes(&self) -> usize {
        self.entry_bytes + allocation_bytes(self.entries.capacity() * size_of::<Arc<SlowEntry>>())
    }
}

impl Slowlog {
    /// Adds a command; the oldest entries beyond `len_max` go.
    pub(crate) fn add(&self, command: SlowCommand, len_max: usize) {
        let mut log = self.lock();
        log.entry_bytes += command.held_bytes();
        let id = log.next_id;
        log.next_id += 1;
        log.entries.push_back(Arc::new(SlowEntry { id, command }));
        while log.entries.len() > len_max || log.held_bytes() > BYTES_MAX {
            let Some(oldest) = log.entries.pop_front() else { break };
            log.entry_bytes -= oldest.command.held_bytes();
            // A list that was much longer gives its places back; rarely, since each time at least half of them go.
            if log.entries.len() < log.entries.capacity() / LIST_SPARSE {
                let places = 2 * log.entries.len();
                log.entries.shrink_to(places);
            }
        }
    }

    /// The newest `count` entries, the newest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<Arc<SlowEntry>> {
        self.lock().entries.iter().rev().take(count).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Bytes of memory held, all of them.
    pub(crate) fn held_bytes(&self) -> usize {
        self.lock().held_bytes()
    }

    /// Forgets all entries.
    pub(crate) fn reset(&self) {
        let mut log = self.lock();
        log.entries = VecDeque::new();
        log.entry_bytes = 0;
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
        let (len, bytes) = (log.len(), log.held_bytes());
        assert!(
            (1_000..10_000).contains(&len) && bytes <= BYTES_MAX && bytes > BYTES_MAX / 2,
            "{len} {bytes}"
        );
        let held: usize = log.newest(len).iter().map(|entry| entry.command.held_bytes()).sum();
        assert_eq!(held, log.lock().entry_bytes);
    }

    #[test]
    fn all_that_the_log_allocates_is_counted() {
        // Small arguments: what is around them is most of it.
        let log = Slowlog::default();
        for _ in 0..1_000 {
            let mut arguments = Arguments::default();
            (0..8).for_each(|_| arguments.push(b"x"));
            log.add(SlowCommand { arguments, client_name: "me".into(), ..command(0) }, usize::MAX);
        }
        // An entry: itself with its counts, a list of 8 arguments, 8 arguments and a name of 32 bytes each, a place in the list.
        let of_entry = size_of::<SlowEntry>() + 16 + 8 * size_of::<Box<[u8]>>() + 9 * 32 + 8;
        assert!(log.held_bytes() >= 1_000 * of_entry, "{} bytes", log.held_bytes());
        log.add(command(10), 1);
        let one = log.held_bytes();
        assert!(one < 10_000, "{one} bytes for one entry: the list of a thousand is gone, too");
        log.reset();
        assert_eq!(log.held_bytes(), 0);
    }
}
