//! WINDOW.*: reads on their way to where they are done.
//!
//! | file | what it does |
//! | --- | --- |
//! | `prepare` | the parsed form of a read, and its time, fixed once for a command |
//! | `row` | WINDOW.GET, WINDOW.MGET; one row, done here or by its entity's owner |
//! | `join` | WINDOW.JOIN: rows of several entities in several streams |
//! | `range` | WINDOW.RANGE: pairs of bucket and value |
//! | `top` | WINDOW.TOP: a scan over all shards |

mod join;
mod prepare;
mod range;
mod row;
mod top;

use windrow_protocol::{Proto, reply};
use windrow_window::QueryError;

use crate::connection::{ReplyTo, Session};
use crate::shard::{Core, JobReply};

pub(super) use join::{join, join_entity};
pub(super) use range::{range, range_piece};
pub(super) use row::{get, issue_row, mget, mget_entity, read_one};
pub(super) use top::top;
pub(crate) use top::{TopQuestion, write_top};

#[cold]
fn refuse(core: &mut Core, session: &mut Session, error: &QueryError) {
    core.stage_error(session, format_args!("ERR {error}"));
}

/// Writes one value of a reply that commands themselves encode.
pub(super) fn write_optional(out: &mut Vec<u8>, proto: Proto, value: Option<i64>) {
    match value {
        Some(number) => reply::integer(out, number),
        None => reply::null(out, proto),
    }
}

/// Where row `row` of a job replies.
pub(super) fn row_reply(reply: JobReply, row: usize) -> ReplyTo {
    match reply {
        JobReply::Output => ReplyTo::Output,
        JobReply::Slot(slot) => ReplyTo::Row { slot, row: row as u32 },
        JobReply::Nowhere => ReplyTo::Nowhere,
    }
}
