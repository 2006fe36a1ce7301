//! The parsed form of a read, from the cache or made; and its time.

use std::rc::Rc;
use std::sync::Arc;

use windrow_protocol::Request;
use windrow_window::{Query, ReadTime};

use super::super::no_such_stream;
use super::refuse;
use crate::connection::Session;
use crate::route::ReadWhat;
use crate::shard::{Core, PreparedRead};

/// Finds the parsed form of a read and fixes its time. `stream_at`: index of the stream's name; `before`: the argument
/// in front of it; `command`: the command's bytes. `None`: an error was staged.
#[inline]
pub(super) fn prepare(
    core: &mut Core,
    session: &mut Session,
    request: Request<'_>,
    stream_at: usize,
    before: &[u8],
    command: &[u8],
) -> Option<(Rc<PreparedRead>, ReadTime)> {
    let key = text_behind(command, before);
    let known = key.and_then(|key| core.reads.get(key)).map(Rc::clone);
    let read = match known {
        Some(read) => read,
        None => parse(core, session, request, stream_at, key)?,
    };
    let times = read.stream.times(core.now_ms);
    match query_of(&read).read_time(&read.stream.layout, times) {
        Ok(time) => Some((read, time)),
        Err(error) => {
            refuse(core, session, &error);
            None
        }
    }
}

/// The query of a read that is a row.
pub(super) fn query_of(read: &PreparedRead) -> &Query {
    let ReadWhat::Row(query) = &read.what else { unreachable!("only rows are cached") };
    query
}

#[cold]
fn parse(
    core: &mut Core,
    session: &mut Session,
    request: Request<'_>,
    stream_at: usize,
    key: Option<&[u8]>,
) -> Option<Rc<PreparedRead>> {
    let name = request.at(stream_at);
    let Some(stream) = core.catalogue.stream(name).map(Arc::clone) else {
        core.stage_error(session, format_args!("ERR {}", no_such_stream(name)));
        return None;
    };
    match Query::parse(&stream.layout, request.skip(stream_at + 1).iter()) {
        Ok(query) => Some(core.reads.keep(key, stream, query)),
        Err(error) => {
            refuse(core, session, &error);
            None
        }
    }
}

/// The bytes of `command` behind `arg`, which is a part of it. `None`: `arg` is an unescaped copy (inline commands), or
/// nothing stands behind it.
#[inline]
pub(super) fn text_behind<'a>(command: &'a [u8], arg: &[u8]) -> Option<&'a [u8]> {
    let end = (arg.as_ptr() as usize + arg.len()).checked_sub(command.as_ptr() as usize)?;
    command.get(end..).filter(|rest| !rest.is_empty())
}
