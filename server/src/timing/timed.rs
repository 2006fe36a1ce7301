//! A command that was timed.

use std::time::Duration;

use windrow_protocol::command::CommandId;

use super::Arguments;

/// A command and what it took so far.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) command: CommandId,
    pub(crate) took: Duration,
    pub(crate) arguments: Arguments,
}

/// A command that this shard has done its part of, and waits for other shards' answers.
#[derive(Debug)]
pub(crate) struct TimedElsewhere {
    pub(crate) timed: Timed,
    /// Where its reply goes.
    pub(crate) slot: u64,
    /// Answers that have not come.
    pub(crate) missing: u32,
}
