//! EVENT.ADD and EVENT.MADD: from arguments to operations on their way to the owner.

use std::sync::Arc;

use windrow_engine::args::Args as EngineArgs;
use windrow_engine::form;
use windrow_engine::madd::MaddHeader;
use windrow_protocol::{Request, reply};

use super::{Flow, no_such_stream};
use crate::connection::{ReplyTo, Session};
use crate::shard::{Core, Job, JobKind, JobReply, JobTime, StagedKind};

/// Index of the argument behind EVENT.MADD's stream.
const MADD_HEADER_AT: usize = 2;

/// `EVENT.ADD <entity> <stream> [ID <id>] [SOURCE <source> <seq>] <ts|*> [<field> <value> ...]`
#[inline]
pub(super) fn add(core: &mut Core, session: &mut Session, request: Request<'_>) -> Flow {
    let (entity, name) = (request.at(1), request.at(2));
    let owner = core.owner(entity);
    if owner != core.id && session.staged_elsewhere > 0 {
        return Flow::AfterStaged;
    }
    let waits = if owner == core.id { core.holds_writes() } else { !core.links.has_credit(owner) };
    if waits {
        return Flow::NoCredit;
    }
    let Some(stream) = session.stream.find(name, &core.catalogue) else {
        core.stage_error(session, format_args!("ERR {}", no_such_stream(name)));
        return Flow::Done;
    };
    let rest = request.skip(3).iter();
    let key = core.hash_key();
    let encoded = if owner == core.id {
        let encoded = form::encode_add(core.staged.payload(), stream, entity, rest, core.now_ms, &key);
        if encoded.is_ok() {
            let (stream, reply_to) = (stream.id, session.local_reply());
            let hash = core.hash(stream, entity);
            core.staged.push(session.id.index, reply_to, StagedKind::Add, hash);
        }
        encoded
    } else {
        let hash = core.hash(stream.id, entity);
        let batch = core.links.open_batch(owner, core.catalogue.version);
        let encoded = form::encode_add(batch.payload(), stream, entity, rest, core.now_ms, &key);
        if encoded.is_ok() {
            batch.push_write(session.id, session.remote_reply(), hash);
            session.remote_writes += 1;
            core.counters.hops += 1;
        }
        encoded
    };
    if let Err(error) = encoded {
        refuse(core, session, &error);
    }
    Flow::Done
}

#[cold]
fn refuse(core: &mut Core, session: &mut Session, error: &form::FormError) {
    count_form_error(core, session);
    core.stage_error(session, format_args!("ERR {error}"));
}

/// Counts an ill-formed event for the stream that the session named last.
fn count_form_error(core: &mut Core, session: &Session) {
    if let (Some(engine), Some(stream)) = (&mut core.engine, session.stream.last()) {
        engine.count_error(stream.id);
    }
}

/// `EVENT.MADD <stream> FIELDS <n> <field> ... [WITHIDS] [SOURCE <source> <firstseq>] [NULL <token>]
/// EVENTS <entity> <ts|*> [<id>] <value> ... [...]`
pub(super) fn madd(
    core: &mut Core,
    session: &mut Session,
    request: Request<'_>,
    command_bytes: usize,
) -> Flow {
    if session.staged_elsewhere > 0 {
        return Flow::AfterStaged;
    }
    let name = request.at(1);
    let Some(stream) = session.stream.find(name, &core.catalogue) else {
        core.stage_error(session, format_args!("ERR {}", no_such_stream(name)));
        return Flow::Done;
    };
    let stream = Arc::clone(stream);
    let header = match MaddHeader::parse(&stream, &RequestArgs(request), MADD_HEADER_AT) {
        Ok(header) => header,
        Err(error) => {
            refuse(core, session, &error);
            return Flow::Done;
        }
    };
    let rows = header.rows();
    let reply = open_rows(core, session, rows, rows);
    session.job = Some(Box::new(Job {
        what: JobKind::Add { stream, header: Box::new(header) },
        reply,
        next: 0,
        rows,
        command_bytes,
        is_output_clear: false,
        time: JobTime::default(),
    }));
    Flow::Job
}

/// Begins the reply of a command over rows: `values` of an array, that come in `pieces`.
pub(super) fn open_rows(core: &mut Core, session: &mut Session, values: usize, pieces: usize) -> JobReply {
    if session.is_silent() {
        JobReply::Nowhere
    } else if core.shards == 1 {
        // Nothing can be outstanding, and no row comes from elsewhere: rows follow their header in the output.
        debug_assert!(session.slots.is_empty());
        reply::array(core.staged.payload(), values);
        core.staged.push_literal(session.id.index, ReplyTo::Output);
        JobReply::Output
    } else {
        JobReply::Slot(
            session.slots.open_rows(values, u32::try_from(pieces).expect("arguments are bounded by a u32")),
        )
    }
}

/// Issues one row of an EVENT.MADD. False: the owner's shard has no credit left; try again later.
#[inline]
pub(super) fn madd_row(
    core: &mut Core,
    session: &mut Session,
    stream: &Arc<windrow_engine::Stream>,
    header: &MaddHeader,
    request: Request<'_>,
    row: usize,
    reply_to: ReplyTo,
) -> bool {
    let args = RequestArgs(request);
    let entity = header.entity(&args, row);
    let owner = core.owner(entity);
    let (now_ms, key) = (core.now_ms, core.hash_key());
    let encoded = if owner == core.id {
        if core.holds_writes() {
            return false;
        }
        let encoded = header.encode_row(core.staged.payload(), stream, &args, row, now_ms, &key);
        if encoded.is_ok() {
            let hash = core.hash(stream.id, entity);
            core.staged.push_row(session.id.index, reply_to, StagedKind::Add, hash);
        }
        encoded
    } else if core.links.has_credit(owner) {
        let hash = core.hash(stream.id, entity);
        let batch = core.links.open_batch(owner, core.catalogue.version);
        let encoded = header.encode_row(batch.payload(), stream, &args, row, now_ms, &key);
        if encoded.is_ok() {
            batch.push_write(session.id, reply_to, hash);
            session.remote_writes += 1;
            core.counters.hops += 1;
        }
        encoded
    } else {
        return false;
    };
    if let Err(error) = encoded {
        refuse_row(core, session, stream, &error, reply_to);
    }
    true
}

#[cold]
fn refuse_row(
    core: &mut Core,
    session: &Session,
    stream: &windrow_engine::Stream,
    error: &form::FormError,
    reply_to: ReplyTo,
) {
    if let Some(engine) = &mut core.engine {
        engine.count_error(stream.id);
    }
    core.counters.errors += 1;
    reply::error_display(core.staged.payload(), format_args!("ERR {error}"));
    core.staged.push_row(session.id.index, reply_to, StagedKind::Literal, 0);
}

/// A request as the engine reads arguments.
struct RequestArgs<'a>(Request<'a>);

impl EngineArgs for RequestArgs<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> &[u8] {
        self.0.at(index)
    }
}
