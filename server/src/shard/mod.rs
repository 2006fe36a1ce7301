//! A shard: one thread with its own poll, connections, records and log.
//!
//! | file | what it does |
//! | --- | --- |
//! | `tick` | the loop: the phases of a tick in their order |
//! | `accept` | new connections, and which shard serves them |
//! | `turn` | one connection's turn: read, parse, execute within bounds |
//! | `staged`, `run_staged` | the data commands of a tick, executed together |
//! | `inbound` | questions from other shards, answers to this one's |
//! | `flush` | writing to sockets, closing connections |
//! | `core` | what commands work on |
//! | `mailbox`, `handle` | what other threads say to, and see of, a shard |
//! | `peers` | reading other shards' records on this core |
//! | `job`, `read_cache` | commands over many rows; parsed reads |
//! | `row` | what reads reply |
//! | `top` | the scan of WINDOW.TOP, a slice a tick |
//! | `pace` | how much work a tick takes on, and how often upkeep gets how long |
//! | `timed`, `by_command` | commands whose time is known; which of a slow batch they are |
//! | `tick_time` | the longest tick, and where it was spent |

mod accept;
mod by_command;
mod core;
mod flush;
mod handle;
mod inbound;
mod job;
mod mail;
mod mailbox;
mod pace;
mod peers;
mod read_cache;
mod row;
mod run_staged;
mod staged;
mod tick;
mod tick_time;
mod timed;
mod top;
mod turn;
mod users;

pub(crate) use self::core::{Core, maxmemory_share};
pub(crate) use accept::Listeners;
pub(crate) use handle::{MemoryNumbers, NOT_IN_A_TICK, ShardHandle};
pub(crate) use job::{Job, JobKind, JobReply, JobTime, ROWS_PER_TURN};
pub(crate) use mailbox::{Loaded, Message};
pub(crate) use peers::Peers;
pub(crate) use read_cache::PreparedRead;
pub(crate) use row::write_value;
pub(crate) use staged::ItemKind as StagedKind;
pub(crate) use tick::{ShardLoop, ShardParts, WAKER};
pub(crate) use tick_time::PHASES;
