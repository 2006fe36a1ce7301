//! WINDOW.GET, WINDOW.MGET, WINDOW.RANGE: reads on their way to the owner.

use std::rc::Rc;
use std::sync::Arc;

use windrow_engine::Stream;
use windrow_engine::form::check_entity;
use windrow_protocol::{Request, reply};
use windrow_window::timestamp::parse_int;
use windrow_window::{At, Query, QueryError, RangeQuery, ReadTime};

use super::{Flow, event, no_such_stream};
use crate::connection::{ReplyTo, Session};
use crate::route::ReadWhat;
use crate::shard::{Core, Job, JobKind, JobReply, PreparedRead, ROWS_PER_TURN, StagedKind};

/// `WINDOW.GET <entity> <stream> [options] [<feature> ...]`
#[inline]
pub(super) fn get(core: &mut Core, session: &mut Session, request: Request<'_>, command: &[u8]) -> Flow {
    let entity = request.at(1);
    let owner = core.owner(entity);
    let is_here = reads_here(core, session, owner);
    if !is_here && session.staged_elsewhere > 0 {
        return Flow::AfterStaged;
    }
    if !is_here && !core.links.has_credit(owner) {
        return Flow::NoCredit;
    }
    if let Err(error) = check_entity(entity) {
        core.stage_error(session, format_args!("ERR {error}"));
        return Flow::Done;
    }
    let Some((read, time)) = prepare(core, session, request, 2, entity, command) else { return Flow::Done };
    if is_here {
        stage(core, session, owner, &read, time, entity, None);
    } else {
        let reply_to = session.remote_reply();
        ask(core, session, owner, &read, time, entity, reply_to);
    }
    Flow::Done
}

/// Issues a read of one entity whose reply is the command's.
pub(super) fn read_one(
    core: &mut Core,
    session: &mut Session,
    read: &Rc<PreparedRead>,
    time: ReadTime,
    entity: &[u8],
) -> Flow {
    let owner = core.owner(entity);
    if reads_here(core, session, owner) {
        stage(core, session, owner, read, time, entity, None);
        return Flow::Done;
    }
    if session.staged_elsewhere > 0 {
        return Flow::AfterStaged;
    }
    if !core.links.has_credit(owner) {
        return Flow::NoCredit;
    }
    let reply_to = session.remote_reply();
    ask(core, session, owner, read, time, entity, reply_to);
    Flow::Done
}

/// Whether a read of `owner`'s entity is done on this core, without a hop: unless a write of this connection to another shard is
/// on its way. Then the read follows it through the ring, so that a connection reads its own writes.
#[inline]
fn reads_here(core: &Core, session: &Session, owner: usize) -> bool {
    owner == core.id || session.remote_writes == 0
}

/// Has a read done by its entity's owner, in order behind the connection's writes.
#[inline]
fn ask(
    core: &mut Core,
    session: &Session,
    owner: usize,
    read: &PreparedRead,
    time: ReadTime,
    entity: &[u8],
    reply_to: ReplyTo,
) {
    let hash = core.hash(read.stream.id, entity);
    let batch = core.links.open_batch(owner, core.catalogue.version);
    batch.push_read(session.id, reply_to, (&read.stream, &read.what, session.proto), (entity, hash), time);
    core.counters.hops += 1;
}

/// Stages a read that is done on this core; without `reply_to`, its reply is the command's.
#[inline]
fn stage(
    core: &mut Core,
    session: &mut Session,
    owner: usize,
    read: &Rc<PreparedRead>,
    time: ReadTime,
    entity: &[u8],
    reply_to: Option<ReplyTo>,
) {
    core.staged.payload().extend_from_slice(entity);
    let reply_to = reply_to.unwrap_or_else(|| session.local_reply());
    let hash = core.find_ahead(owner, read.stream.id, entity);
    session.staged_elsewhere += u32::from(owner != core.id);
    let kind = StagedKind::Read { read: Rc::clone(read), proto: session.proto, time, owner };
    core.staged.push(session.id.index, reply_to, kind, hash);
}

/// `WINDOW.MGET <numentities> <entity> ... <stream> [options] [<feature> ...]`
pub(super) fn mget(core: &mut Core, session: &mut Session, request: Request<'_>, command: &[u8]) -> Flow {
    if session.staged_elsewhere > 0 {
        return Flow::AfterStaged;
    }
    let count =
        parse_int(request.at(1)).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
    let Some(count) = count else {
        core.stage_error(session, format_args!("ERR numentities should be greater than 0"));
        return Flow::Done;
    };
    // Name, count, entities, stream.
    if count > request.len().saturating_sub(3) {
        core.stage_error(
            session,
            format_args!("ERR Number of entities can't be greater than number of args"),
        );
        return Flow::Done;
    }
    for entity in request.skip(2).iter().take(count) {
        if let Err(error) = check_entity(entity) {
            core.stage_error(session, format_args!("ERR {error}"));
            return Flow::Done;
        }
    }
    let last_entity = request.at(1 + count);
    let Some((read, time)) = prepare(core, session, request, 2 + count, last_entity, command) else {
        return Flow::Done;
    };
    let reply = event::open_rows(core, session, count, count);
    let what = JobKind::Get { read, time };
    session.job = Some(Box::new(Job { what, reply, next: 0, rows: count, command_bytes: command.len() }));
    Flow::Job
}

/// Issues one row of a WINDOW.MGET. False: no credit.
pub(super) fn mget_row(
    core: &mut Core,
    session: &mut Session,
    read: &Rc<PreparedRead>,
    time: ReadTime,
    entity: &[u8],
    reply_to: ReplyTo,
) -> bool {
    let owner = core.owner(entity);
    if reads_here(core, session, owner) {
        stage(core, session, owner, read, time, entity, Some(reply_to));
    } else if core.links.has_credit(owner) {
        ask(core, session, owner, read, time, entity, reply_to);
    } else {
        return false;
    }
    true
}

/// `WINDOW.RANGE <entity> <stream> <aggregate> <from> <to> [BUCKET <dur>]`
pub(super) fn range(
    core: &mut Core,
    session: &mut Session,
    request: Request<'_>,
    command_bytes: usize,
) -> Flow {
    if session.staged_elsewhere > 0 {
        return Flow::AfterStaged;
    }
    let (entity, name) = (request.at(1), request.at(2));
    if let Err(error) = check_entity(entity) {
        core.stage_error(session, format_args!("ERR {error}"));
        return Flow::Done;
    }
    let Some(stream) = session.stream.find(name, &core.catalogue) else {
        core.stage_error(session, format_args!("ERR {}", no_such_stream(name)));
        return Flow::Done;
    };
    let stream = Arc::clone(stream);
    let clock = stream.clock_ms(core.now_ms);
    let plan = RangeQuery::parse(&stream.layout, request.skip(3).iter())
        .and_then(|query| query.plan(&stream.layout, clock));
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            refuse(core, session, &error);
            return Flow::Done;
        }
    };
    let pieces = plan.pairs.div_ceil(ROWS_PER_TURN);
    let reply = event::open_rows(core, session, plan.pairs, pieces);
    let time = ReadTime { t: 0, clock, present: false };
    session.job = Some(Box::new(Job {
        what: JobKind::Range { stream, plan: Arc::new(plan), time },
        reply,
        next: 0,
        rows: pieces,
        command_bytes,
    }));
    Flow::Job
}

/// Issues one slice of a WINDOW.RANGE's pairs. False: no credit.
pub(super) fn range_piece(
    core: &mut Core,
    session: &mut Session,
    read: (&Arc<Stream>, &Arc<windrow_window::range::RangePlan>, ReadTime),
    entity: &[u8],
    piece: usize,
    reply_to: ReplyTo,
) -> bool {
    let (stream, plan, time) = read;
    let (from, to) = (piece * ROWS_PER_TURN, ((piece + 1) * ROWS_PER_TURN).min(plan.pairs));
    let what = ReadWhat::Pairs { plan: Arc::clone(plan), from: from as u32, to: to as u32 };
    let read = PreparedRead { stream: Arc::clone(stream), what };
    let owner = core.owner(entity);
    if reads_here(core, session, owner) {
        stage(core, session, owner, &Rc::new(read), time, entity, Some(reply_to));
    } else if core.links.has_credit(owner) {
        ask(core, session, owner, &read, time, entity, reply_to);
    } else {
        return false;
    }
    true
}

/// Finds the parsed form of a read and fixes its time. `stream_at`: index of the stream's name; `before`: the argument
/// in front of it; `command`: the command's bytes. `None`: an error was staged.
#[inline]
fn prepare(
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
    let ReadWhat::Row(query) = &read.what else { unreachable!("only rows are cached") };
    let clock = read.stream.clock_ms(core.now_ms);
    match query.read_time(&read.stream.layout, clock) {
        Ok(time) => Some((read, time)),
        Err(error) => {
            refuse(core, session, &error);
            None
        }
    }
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
    let query = match Query::parse(&stream.layout, request.skip(stream_at + 1).iter()) {
        Ok(query) => query,
        Err(error) => {
            refuse(core, session, &error);
            return None;
        }
    };
    let is_timeless = query.at == At::Now;
    let read = Rc::new(PreparedRead { stream, what: ReadWhat::Row(Arc::new(query)) });
    // A read AT a time is asked once; it would only push others out.
    if let (true, Some(key)) = (is_timeless, key) {
        core.reads.put(key, &read);
    }
    Some(read)
}

#[cold]
fn refuse(core: &mut Core, session: &mut Session, error: &QueryError) {
    core.stage_error(session, format_args!("ERR {error}"));
}

/// The bytes of `command` behind `arg`, which is a part of it. `None`: `arg` is an unescaped copy (inline commands), or
/// nothing stands behind it.
#[inline]
fn text_behind<'a>(command: &'a [u8], arg: &[u8]) -> Option<&'a [u8]> {
    let end = (arg.as_ptr() as usize + arg.len()).checked_sub(command.as_ptr() as usize)?;
    command.get(end..).filter(|rest| !rest.is_empty())
}

/// The entity of a WINDOW.MGET's row.
pub(super) fn mget_entity(request: Request<'_>, row: usize) -> &[u8] {
    request.at(2 + row)
}

/// Writes one value of a reply that commands themselves encode.
pub(super) fn write_optional(out: &mut Vec<u8>, proto: windrow_protocol::Proto, value: Option<i64>) {
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
