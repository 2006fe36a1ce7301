//! A command over many rows, executed in slices so that it monopolises no tick.
//!
//! The command stays in the connection's input, its arguments in the connection's list, until the last row is issued;
//! its time was fixed at the start. Meanwhile the connection executes nothing else.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use windrow_engine::Stream;
use windrow_engine::madd::MaddHeader;
use windrow_protocol::command::CommandId;
use windrow_window::ReadTime;
use windrow_window::range::RangePlan;

use super::read_cache::PreparedRead;
use crate::timing::ALONE_ROWS;

/// Most rows that one command gets done in one turn.
pub(crate) const ROWS_PER_TURN: usize = 256;

/// A command that is being executed.
pub(crate) struct Job {
    pub(crate) what: JobKind,
    pub(crate) reply: JobReply,
    /// The next row to issue.
    pub(crate) next: usize,
    /// Rows in all.
    pub(crate) rows: usize,
    /// Bytes of the command in the input.
    pub(crate) command_bytes: usize,
    /// What stood in the output before its rows is on its way: rows may wait for more of them.
    pub(crate) is_output_clear: bool,
    pub(crate) time: JobTime,
}

/// What a job took so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JobTime {
    /// Its slices are batches of their own, so that they can be timed.
    pub(crate) is_alone: bool,
    pub(crate) took: Duration,
    /// Rows that other shards have not answered.
    pub(crate) elsewhere: u32,
}

impl Job {
    /// Rows of work in all.
    pub(super) fn work(&self) -> usize {
        self.rows * self.what.row_weight()
    }

    /// Whether it is large enough to be timed on its own.
    pub(super) fn is_large(&self) -> bool {
        self.work() >= ALONE_ROWS
    }
}

/// The command.
pub(crate) enum JobKind {
    /// EVENT.MADD.
    Add { stream: Arc<Stream>, header: Box<MaddHeader> },
    /// WINDOW.MGET; the entities begin at the third argument.
    Get { read: Rc<PreparedRead>, time: ReadTime },
    /// WINDOW.JOIN: the distinct reads, and which of them each pair wants.
    Join { reads: Box<[(Rc<PreparedRead>, ReadTime)]>, of_pair: Box<[u32]> },
    /// WINDOW.RANGE; a row is a slice of pairs.
    Range { stream: Arc<Stream>, plan: Arc<RangePlan>, time: ReadTime },
}

impl JobKind {
    /// The command that it is a job of.
    pub(super) fn command(&self) -> CommandId {
        match self {
            JobKind::Add { .. } => CommandId::EventMadd,
            JobKind::Get { .. } => CommandId::WindowMget,
            JobKind::Join { .. } => CommandId::WindowJoin,
            JobKind::Range { .. } => CommandId::WindowRange,
        }
    }

    /// Rows of work that one row of the job is.
    pub(crate) fn row_weight(&self) -> usize {
        match self {
            JobKind::Add { .. } | JobKind::Get { .. } | JobKind::Join { .. } => 1,
            JobKind::Range { .. } => ROWS_PER_TURN,
        }
    }
}

/// Where the rows' replies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobReply {
    /// Straight to the output, behind the header that is there already.
    Output,
    /// To a slot of rows.
    Slot(u64),
    /// The client wants no reply.
    Nowhere,
}
