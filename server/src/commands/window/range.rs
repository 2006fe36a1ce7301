//! WINDOW.RANGE: a job whose rows are slices of pairs.

use std::rc::Rc;
use std::sync::Arc;

use windrow_engine::Stream;
use windrow_engine::form::check_entity;
use windrow_protocol::Request;
use windrow_window::range::RangePlan;
use windrow_window::{RangeQuery, ReadTime};

use super::super::{Flow, event, no_such_stream};
use super::refuse;
use super::row::issue_row;
use crate::connection::{ReplyTo, Session};
use crate::route::ReadWhat;
use crate::shard::{Core, Job, JobKind, JobTime, PreparedRead, ROWS_PER_TURN};

/// `WINDOW.RANGE <entity> <stream> <aggregate> <from> <to> [BUCKET <dur>]`
pub(in super::super) fn range(
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
    let what = JobKind::Range { stream, plan: Arc::new(plan), time: ReadTime::now(clock) };
    let time = JobTime::default();
    session.job = Some(Box::new(Job {
        what,
        reply,
        next: 0,
        rows: pieces,
        command_bytes,
        is_output_clear: false,
        time,
    }));
    Flow::Job
}

/// Issues one slice of a WINDOW.RANGE's pairs. False: no credit.
pub(in super::super) fn range_piece(
    core: &mut Core,
    session: &mut Session,
    (stream, plan, time): (&Arc<Stream>, &Arc<RangePlan>, ReadTime),
    entity: &[u8],
    piece: usize,
    reply_to: ReplyTo,
) -> bool {
    let (from, to) = (piece * ROWS_PER_TURN, ((piece + 1) * ROWS_PER_TURN).min(plan.pairs));
    let what = ReadWhat::Pairs { plan: Arc::clone(plan), from: from as u32, to: to as u32 };
    let read = Rc::new(PreparedRead::new(Arc::clone(stream), what));
    issue_row(core, session, &read, time, entity, reply_to)
}
