//! How long commands take, and what took long: SLOWLOG and LATENCY.
//!
//! | file | what it does |
//! | --- | --- |
//! | `command_timer` | a shard's part: which commands are timed on their own, and what is too long |
//! | `timed` | a command that was timed, and waits for what other shards do of it |
//! | `arguments` | a command's arguments, cut and without secrets |
//! | `histogram` | calls of each command by how long they took |
//! | `slowlog` | the commands that took longest of late |
//! | `latency` | spikes of each event |
//!
//! The time of a command is what it keeps shards' threads busy: what others wait for. Not in it: parsing, the queue
//! before it, the way between shards, the log's disk, and threads beside the shards. A clock costs a few per cent of an
//! event, so data commands that are executed together are timed in stretches. After one that was too long, each is timed for
//! a while; and under a low threshold they are executed and timed one by one.

mod arguments;
mod command_timer;
mod histogram;
mod latency;
mod slowlog;
mod timed;

pub(crate) use arguments::Arguments;
pub(crate) use command_timer::{ALONE_ROWS, CommandTimer, Stretch, Stretches};
pub(crate) use histogram::{BUCKETS, CommandTimes, bucket_us, row_of};
#[cfg(test)]
pub(crate) use latency::Spike;
pub(crate) use latency::{LatencyEvent, LatencyMonitor, Spikes};
pub(crate) use slowlog::{SlowCommand, Slowlog};
pub(crate) use timed::{Timed, TimedElsewhere};
