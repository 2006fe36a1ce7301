//! ACL LOG: what was denied lately, newest first. The same denial again within a minute counts in the entry that is there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most entries kept.
const ENTRIES_MAX: usize = 128;
/// A denial is looked for among so many entries, the newest ones.
const LOOKED_AT_MAX: usize = 10;
/// Denials this close are one entry.
const GROUPED_MS: i64 = 60_000;
/// So much of an object or of a name is kept.
const TEXT_BYTES_MAX: usize = 256;

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Command,
    Key,
    Auth,
}

impl Reason {
    /// As ACL LOG names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Auth => "auth",
        }
    }
}

/// A denial, or several.
#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    pub(crate) id: u64,
    pub(crate) count: u64,
    pub(crate) reason: Reason,
    /// The command, the key, or the command to log in by.
    pub(crate) object: Vec<u8>,
    pub(crate) user: Vec<u8>,
    /// The line of CLIENT LIST of whoever was denied last.
    pub(crate) client: String,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
}

/// The last denials of a server, and how many there were since its start.
#[derive(Debug, Default)]
pub(crate) struct DenialLog {
    entries: Mutex<Entries>,
    commands: AtomicU64,
    keys: AtomicU64,
    auths: AtomicU64,
}

#[derive(Debug, Default)]
struct Entries {
    newest_first: VecDeque<LogEntry>,
    next_id: u64,
}

impl DenialLog {
    /// Adds a denial; `client` makes the line of whoever was denied.
    pub(crate) fn add(
        &self,
        reason: Reason,
        object: &[u8],
        user: &[u8],
        now_ms: i64,
        client: impl FnOnce() -> String,
    ) {
        self.counter(reason).fetch_add(1, Relaxed);
        let beginning = |text: &[u8]| text[..text.len().min(TEXT_BYTES_MAX)].to_vec();
        let (object, user, client) = (beginning(object), beginning(user), client());
        let mut entries = self.lock();
        let same = entries.newest_first.iter().take(LOOKED_AT_MAX).position(|entry| {
            entry.reason == reason
                && now_ms - entry.updated_ms <= GROUPED_MS
                && entry.object == object
                && entry.user == user
        });
        let entry = match same.and_then(|at| entries.newest_first.remove(at)) {
            Some(entry) => LogEntry { count: entry.count + 1, client, updated_ms: now_ms, ..entry },
            None => {
                let id = entries.next_id;
                entries.next_id += 1;
                LogEntry {
                    id,
                    count: 1,
                    reason,
                    object,
                    user,
                    client,
                    created_ms: now_ms,
                    updated_ms: now_ms,
                }
            }
        };
        entries.newest_first.push_front(entry);
        entries.newest_first.truncate(ENTRIES_MAX);
    }

    /// At most `count` entries, newest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<LogEntry> {
        self.lock().newest_first.iter().take(count).cloned().collect()
    }

    /// Forgets all entries.
    pub(crate) fn reset(&self) {
        self.lock().newest_first.clear();
    }

    /// How many there were for this reason.
    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.counter(reason).load(Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset_counts(&self) {
        for counter in [&self.commands, &self.keys, &self.auths] {
            counter.store(0, Relaxed);
        }
    }

    fn counter(&self, reason: Reason) -> &AtomicU64 {
        match reason {
            Reason::Command => &self.commands,
            Reason::Key => &self.keys,
            Reason::Auth => &self.auths,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(log: &DenialLog, reason: Reason, object: &str, now_ms: i64) {
        log.add(reason, object.as_bytes(), b"bob", now_ms, || format!("id=7 at={now_ms}"));
    }

    #[test]
    fn the_same_denial_within_a_minute_counts_in_one_entry() {
        let log = DenialLog::default();
        add(&log, Reason::Command, "ping", 0);
        add(&log, Reason::Key, "ping", 10);
        add(&log, Reason::Command, "ping", GROUPED_MS);
        let entries = log.newest(10);
        let shown: Vec<_> = entries.iter().map(|entry| (entry.id, entry.reason, entry.count)).collect();
        assert_eq!(
            shown,
            [(0, Reason::Command, 2), (1, Reason::Key, 1)],
            "the one that was met again is newest"
        );
        assert_eq!((entries[0].created_ms, entries[0].updated_ms), (0, GROUPED_MS));
        assert_eq!(entries[0].client, format!("id=7 at={GROUPED_MS}"));
        add(&log, Reason::Command, "ping", 3 * GROUPED_MS);
        assert_eq!(log.newest(10).len(), 3);
        assert_eq!((log.count(Reason::Command), log.count(Reason::Key), log.count(Reason::Auth)), (3, 1, 0));
    }

    #[test]
    fn entries_are_bounded_in_number_and_length() {
        let log = DenialLog::default();
        for index in 0..3 * ENTRIES_MAX {
            add(&log, Reason::Key, &format!("{index}{}", "k".repeat(5_000)), 0);
        }
        let entries = log.newest(usize::MAX);
        assert_eq!(entries.len(), ENTRIES_MAX);
        assert!(entries.iter().all(|entry| entry.object.len() == TEXT_BYTES_MAX));
        assert!(entries[0].object.starts_with(format!("{}k", 3 * ENTRIES_MAX - 1).as_bytes()));
        assert_eq!(log.newest(3).len(), 3);
        log.reset();
        assert!(log.newest(10).is_empty());
    }
}
