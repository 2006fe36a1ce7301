//! COMMAND, DBSIZE, TIME, FLUSHALL, SHUTDOWN.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use windrow_protocol::{command, reply};

use super::stream::{ask_admin, asker};
use super::{Call, Flow, is};
use crate::admin::AdminMessage;

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

/// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]`: the log is synced in every case.
pub(super) fn shutdown(call: &mut Call<'_>) -> Flow {
    let known = ["NOSAVE", "SAVE", "NOW", "FORCE"];
    if !call.request.skip(1).iter().all(|arg| known.iter().any(|word| is(arg, word))) {
        return call.syntax_error();
    }
    if call.shared().ending.request() {
        tracing::info!(
            "SHUTDOWN was asked for by client {} ({})",
            call.session.client.id,
            call.session.client.peer
        );
    }
    call.shared().wake_all();
    // As in Redis, success is not replied to: the connection ends with the server.
    Flow::Parked
}
