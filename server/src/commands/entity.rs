//! ENTITY.DEL, SCAN, INFO.

use std::rc::Rc;
use std::sync::Arc;

use windrow_engine::form::check_entity;
use windrow_engine::op::{self, EVERY_STREAM};
use windrow_engine::{Cursor, EntityInfo, Slice, Stream};
use windrow_protocol::{Proto, Request, glob, reply};
use windrow_window::ReadTime;
use windrow_window::duration;
use windrow_window::timestamp::parse_int;

use super::window::{read_one, write_optional};
use super::{Call, Flow, is, no_such_stream};
use crate::connection::Session;
use crate::route::ReadWhat;
use crate::shard::{Core, PreparedRead, StagedKind};

/// Entities that a slice of a scan returns where COUNT is not given.
const COUNT_DEFAULT: usize = 10;
/// Records that one ENTITY.SCAN looks at, whatever COUNT says.
const VISITED_MAX: usize = 1024;
/// Slices that one ENTITY.SCAN takes.
const SLICES_MAX: usize = 64;
/// Records of one slice at least, while they hold still.
const ROWS_MIN: usize = 16;
/// Bits of a cursor below the shard: how far a walk over one shard has come.
const WALK_BITS: u32 = 30;
/// Bits for the shard; above them stands the number of shards.
const SHARD_BITS: u32 = 16;

/// `ENTITY.DEL <entity> [stream]`
pub(super) fn del(core: &mut Core, session: &mut Session, request: Request<'_>) -> Flow {
    let entity = request.at(1);
    let owner = core.owner(entity);
    if owner != core.id && session.staged_elsewhere > 0 {
        return Flow::AfterStaged;
    }
    let waits = if owner == core.id { core.holds_writes() } else { !core.links.has_credit(owner) };
    if waits {
        return Flow::NoCredit;
    }
    if request.len() > 3 {
        core.stage_error(session, format_args!("ERR syntax error"));
        return Flow::Done;
    }
    if let Err(error) = check_entity(entity) {
        core.stage_error(session, format_args!("ERR {error}"));
        return Flow::Done;
    }
    let layout = match (request.len() == 3).then(|| request.at(2)) {
        None => EVERY_STREAM,
        Some(name) => match session.stream.find(name, &core.catalogue) {
            Some(stream) => stream.layout_id,
            None => {
                core.stage_error(session, format_args!("ERR {}", no_such_stream(name)));
                return Flow::Done;
            }
        },
    };
    if owner == core.id {
        op::encode_remove(core.staged.payload(), layout, entity, true);
        let reply_to = session.local_reply();
        core.staged.push(session.id.index, reply_to, StagedKind::Add, 0);
    } else {
        let batch = core.links.open_batch(owner, core.catalogue.version);
        op::encode_remove(batch.payload(), layout, entity, true);
        batch.push_write(session.id, session.remote_reply(), 0);
        session.remote_writes += 1;
        core.counters.hops += 1;
    }
    Flow::Done
}

/// `ENTITY.INFO <entity> <stream>`
pub(super) fn info(core: &mut Core, session: &mut Session, request: Request<'_>) -> Flow {
    let (entity, name) = (request.at(1), request.at(2));
    if let Err(error) = check_entity(entity) {
        core.stage_error(session, format_args!("ERR {error}"));
        return Flow::Done;
    }
    let Some(stream) = session.stream.find(name, &core.catalogue).map(Arc::clone) else {
        core.stage_error(session, format_args!("ERR {}", no_such_stream(name)));
        return Flow::Done;
    };
    let time = ReadTime::now(stream.clock_ms(core.now_ms));
    let read = Rc::new(PreparedRead::new(stream, ReadWhat::Entity));
    read_one(core, session, &read, time, entity)
}

/// Writes the reply of ENTITY.INFO: a map, or null for an entity that is unknown or dead.
pub(crate) fn write_entity_info(out: &mut Vec<u8>, proto: Proto, stream: &Stream, info: Option<&EntityInfo>) {
    let Some(info) = info else { return reply::null(out, proto) };
    reply::map(out, proto, 6);
    for (name, number) in [("newest", info.newest_ms), ("bytes", info.bytes as i64)] {
        reply::bulk(out, name.as_bytes());
        reply::integer(out, number);
    }
    reply::bulk(out, b"layout");
    reply::integer(out, i64::from(info.layout.0));
    reply::bulk(out, b"stream_layout");
    reply::integer(out, i64::from(stream.layout_id.0));
    reply::bulk(out, b"dies");
    write_optional(out, proto, info.dies_ms);
    reply::bulk(out, b"tiers");
    reply::array(out, info.tiers.len());
    for tier in &info.tiers {
        reply::map(out, proto, 4);
        reply::bulk(out, b"bucket");
        reply::bulk(out, duration::format(tier.width_ms).as_bytes());
        reply::bulk(out, b"buckets");
        reply::integer(out, tier.buckets as i64);
        reply::bulk(out, b"capacity");
        reply::integer(out, tier.capacity as i64);
        reply::bulk(out, b"ring");
        reply::bulk(out, if tier.is_dense { b"dense" } else { b"short" });
    }
}

/// `ENTITY.SCAN <stream> <cursor> [MATCH <glob>] [COUNT n]`
pub(super) fn scan(call: &mut Call<'_>) -> Flow {
    let request = call.request;
    let name = request.at(1);
    let Some(stream) = call.core.catalogue.stream(name).map(Arc::clone) else {
        return call.error(format_args!("ERR {}", no_such_stream(name)));
    };
    let (mut pattern, mut count) = (None, COUNT_DEFAULT);
    let mut options = request.skip(3).iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(value) if is(option, "MATCH") => pattern = Some(value),
            Some(value) if is(option, "COUNT") => match parse_int(value) {
                Some(given @ 1..) => count = usize::try_from(given).unwrap_or(usize::MAX),
                Some(_) => return call.syntax_error(),
                None => return call.error(format_args!("ERR value is not an integer or out of range")),
            },
            _ => return call.syntax_error(),
        }
    }
    if let Some(pattern) = pattern
        && let Err(error) = glob::check_length(pattern)
    {
        return call.error(format_args!("ERR MATCH with {error}"));
    }
    let Some(start) = Place::of(request.at(2), call.core.shards) else {
        return call.error(format_args!(
            "ERR invalid cursor: 0 begins a scan, and one begun before a restart with another number of shards cannot go on"
        ));
    };
    // An entity takes as many times as long to match.
    let visited_max = VISITED_MAX / pattern.map_or(1, |pattern| glob::repeated_bytes(pattern).max(1));
    let (place, mut found) = walk(call.core, &stream, start, count, visited_max);
    if let Some(pattern) = pattern {
        found.retain(|entity| glob::matches(pattern, entity));
    }
    let cursor = place.map_or(0, |place| place.to_number(call.core.shards));
    let out = call.out();
    reply::array(out, 2);
    reply::bulk(out, cursor.to_string().as_bytes());
    reply::array(out, found.len());
    for entity in &found {
        reply::bulk(out, entity);
    }
    Flow::Done
}

/// Walks from a place until so many entities are found, within bounds. What will not hold still is left for the next call.
fn walk(
    core: &mut Core,
    stream: &Stream,
    start: Place,
    count: usize,
    visited_max: usize,
) -> (Option<Place>, Vec<Vec<u8>>) {
    let mut found = Vec::new();
    let (mut place, mut left, mut rows_max) = (start, visited_max, visited_max);
    for _ in 0..SLICES_MAX {
        if found.len() >= count || left == 0 {
            break;
        }
        let before = found.len();
        let rows = (count - before).max(ROWS_MIN).min(left).min(rows_max);
        match core.scan_slice(place.shard, stream, place.cursor, rows, &mut found) {
            Slice::Read { next, visited, position } if core.may_show(place.shard, position) => {
                left = left.saturating_sub(visited);
                place = match next {
                    Some(cursor) => Place { cursor, ..place },
                    None if place.shard + 1 < core.shards => {
                        Place { shard: place.shard + 1, cursor: Cursor::START }
                    }
                    None => return (None, found),
                };
            }
            // Someone writes there, or what was written is not safe yet: fewer at a time, then later.
            Slice::Read { .. } | Slice::Contended => {
                found.truncate(before);
                if rows == 1 {
                    break;
                }
                rows_max = rows / 2;
            }
        }
    }
    (Some(place), found)
}

/// How far a scan over all shards has come. As a number it is never 0 but where the scan ends: the number of shards stands in it.
#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    cursor: Cursor,
}

impl Place {
    fn of(text: &[u8], shards: usize) -> Option<Self> {
        let number: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        if number == 0 {
            return Some(Self { shard: 0, cursor: Cursor::START });
        }
        let walk = number & ((1 << WALK_BITS) - 1);
        let shard = (number >> WALK_BITS & ((1 << SHARD_BITS) - 1)) as usize;
        let is_of_these = number >> WALK_BITS >> SHARD_BITS == shards as u64 && shard < shards;
        is_of_these.then_some(Self { shard, cursor: Cursor::from_number(walk)? })
    }

    fn to_number(self, shards: usize) -> u64 {
        (shards as u64) << SHARD_BITS << WALK_BITS
            | (self.shard as u64) << WALK_BITS
            | self.cursor.to_number()
    }
}
