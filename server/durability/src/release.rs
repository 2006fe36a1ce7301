//! When a write's reply may leave: the rule of `appendfsync`, as a pure function.

use crate::planted::{Mistake, is_planted};

/// When a write's reply may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// After the log position of the write is synced.
    Always,
    /// After the log write; held back while syncing is more than a second behind.
    EverySec,
    /// After the log write, whatever the disk does.
    No,
}

impl AppendFsync {
    /// The name in configuration and INFO.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AppendFsync::Always => "always",
            AppendFsync::EverySec => "everysec",
            AppendFsync::No => "no",
        }
    }
}

/// Under everysec, syncing may be so far behind before write replies wait.
pub const SYNC_LAG_MAX_MS: i64 = 1_000;

/// What is known of a shard's log, in operations since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Written to the file.
    pub written: u64,
    /// Synced.
    pub durable: u64,
    /// When the oldest operation that is not synced was written.
    pub oldest_unsynced_ms: Option<i64>,
}

/// Replies of operations up to this one may leave.
#[must_use]
pub fn releasable(mode: AppendFsync, log: LogState, now_ms: i64) -> u64 {
    debug_assert!(log.durable <= log.written);
    match mode {
        AppendFsync::No => log.written,
        AppendFsync::Always if is_planted(Mistake::ReleasedBeforeSync) => log.written,
        AppendFsync::Always => log.durable,
        AppendFsync::EverySec => match log.oldest_unsynced_ms {
            Some(oldest_ms) if now_ms.saturating_sub(oldest_ms) > SYNC_LAG_MAX_MS => log.durable,
            _ => log.written,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEHIND: LogState = LogState { written: 9, durable: 4, oldest_unsynced_ms: Some(1_000) };

    #[test]
    fn under_always_a_reply_waits_for_the_sync() {
        assert_eq!(releasable(AppendFsync::Always, BEHIND, 1_000), 4);
        let synced = LogState { durable: 9, oldest_unsynced_ms: None, ..BEHIND };
        assert_eq!(releasable(AppendFsync::Always, synced, 1_000), 9);
    }

    #[test]
    fn under_everysec_a_reply_waits_only_while_the_oldest_unsynced_write_is_older_than_a_second() {
        assert_eq!(releasable(AppendFsync::EverySec, BEHIND, 2_000), 9);
        assert_eq!(releasable(AppendFsync::EverySec, BEHIND, 2_001), 4);
        let synced = LogState { durable: 9, oldest_unsynced_ms: None, ..BEHIND };
        assert_eq!(releasable(AppendFsync::EverySec, synced, 9_999_999), 9);
    }

    #[test]
    fn without_syncing_a_reply_waits_for_the_write_alone() {
        assert_eq!(releasable(AppendFsync::No, BEHIND, 9_999_999), 9);
    }
}
