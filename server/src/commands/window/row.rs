//! WINDOW.GET and WINDOW.MGET; and one row of any read.

use std::rc::Rc;

use windrow_engine::form::check_entity;
use windrow_protocol::Request;
use windrow_window::ReadTime;
use windrow_window::timestamp::parse_int;

use super::super::{Flow, event};
use super::prepare::prepare;
use crate::connection::{ReplyTo, Session};
use crate::shard::{Core, Job, JobKind, JobTime, PreparedRead, StagedKind};

/// `WINDOW.GET <entity> <stream> [options] [<feature> ...]`
#[inline]
pub(in super::super) fn get(
    core: &mut Core,
    session: &mut Session,
    request: Request<'_>,
    command: &[u8],
) -> Flow {
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

/// `WINDOW.MGET <numentities> <entity> ... <stream> [options] [<feature> ...]`
pub(in super::super) fn mget(
    core: &mut Core,
    session: &mut Session,
    request: Request<'_>,
    command: &[u8],
) -> Flow {
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
    let (command_bytes, time) = (command.len(), JobTime::default());
    session.job = Some(Box::new(Job {
        what,
        reply,
        next: 0,
        rows: count,
        command_bytes,
        is_output_clear: false,
        time,
    }));
    Flow::Job
}

/// The entity of a WINDOW.MGET's row.
pub(in super::super) fn mget_entity(request: Request<'_>, row: usize) -> &[u8] {
    request.at(2 + row)
}

/// Issues one row of a command over many. False: no credit.
pub(in super::super) fn issue_row(
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

/// Issues a read of one entity whose reply is the command's.
pub(in crate::commands) fn read_one(
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
    let hash = core.hash(read.stream.id, entity);
    session.staged_elsewhere += u32::from(owner != core.id);
    let kind = StagedKind::Read { read: Rc::clone(read), proto: session.proto, time, owner };
    match reply_to {
        Some(reply_to) => core.staged.push_row(session.id.index, reply_to, kind, hash),
        None => {
            let reply_to = session.local_reply();
            core.staged.push(session.id.index, reply_to, kind, hash);
        }
    }
}
