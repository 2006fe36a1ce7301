//! COMMAND, DBSIZE, TIME, FLUSHALL, SHUTDOWN.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use windrow_protocol::{command, reply};

use super::stream::{ask_admin, asker};
use super::{Call, Flow, is};
use crate::admin::AdminMessage;
use crate::snapshot::EndWith;

/// `COMMAND [COUNT|DOCS|INFO|LIST|GETKEYS ...]`
pub(super) fn command(call: &mut Call<'_>) -> Flow {
    let (proto, subcommand, request) = (call.session.proto, call.subcommand, call.request);
    match command::answer(call.out(), proto, subcommand, request) {
        Ok(()) => Flow::Done,
        Err(error) => call.error(format_args!("ERR {error}")),
    }
}

/// `DBSIZE`: records, one for each stream and entity.
pub(super) fn dbsize(call: &mut Call<'_>) -> Flow {
    let own = call.core.id;
    let elsewhere: u64 = call
        .shared()
        .shards
        .iter()
        .enumerate()
        .filter(|(shard, _)| *shard != own)
        .map(|(_, shard)| shard.numbers.entities.load(Relaxed))
        .sum();
    // The own shard's number is published at the end of the tick only.
    let here = call.core.engine.as_ref().map_or(0, windrow_engine::Shard::entities);
    reply::integer(call.out(), (elsewhere + here) as i64);
    Flow::Done
}

/// `TIME`: seconds and microseconds.
pub(super) fn time(call: &mut Call<'_>) -> Flow {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let out = call.out();
    reply::array(out, 2);
    reply::bulk(out, since.as_secs().to_string().as_bytes());
    reply::bulk(out, since.subsec_micros().to_string().as_bytes());
    Flow::Done
}

/// `FLUSHALL [ASYNC|SYNC]`: memory is given back in the background in either case.
pub(super) fn flushall(call: &mut Call<'_>) -> Flow {
    let rest = call.request.skip(1);
    if rest.len() > 1 || !rest.iter().all(|arg| is(arg, "ASYNC") || is(arg, "SYNC")) {
        return call.syntax_error();
    }
    let asker = asker(call);
    ask_admin(call, AdminMessage::Flush { asker })
}

/// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE]`: the log is synced in every case.
pub(super) fn shutdown(call: &mut Call<'_>) -> Flow {
    let mut end = EndWith::ImageIfChanged;
    for arg in call.request.skip(1).iter() {
        let is_first = end == EndWith::ImageIfChanged;
        end = match () {
            () if is(arg, "NOSAVE") && is_first => EndWith::Nothing,
            () if is(arg, "SAVE") && is_first => EndWith::Image,
            () if is(arg, "NOW") || is(arg, "FORCE") => end,
            () => return call.syntax_error(),
        };
    }
    tracing::info!(
        "SHUTDOWN was asked for by client {} ({})",
        call.session.client.id,
        call.session.client.peer
    );
    call.shared().end(end);
    // As in Redis, success is not replied to: the connection ends with the server.
    Flow::Parked
}
