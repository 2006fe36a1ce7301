//! STREAM.CREATE, DROP, LIST, INFO.

use std::sync::Arc;

use windrow_engine::{Stream, StreamStats};
use windrow_protocol::{Proto, reply};
use windrow_window::definition::ClockMode;
use windrow_window::{Definition, SkewAction, duration};

use super::gathering::{self, Subject};
use super::window::write_optional;
use super::{Call, Flow, no_such_stream};
use crate::admin::{AdminMessage, Asker};
use crate::backfill::{BackfillState, Progress};

/// `STREAM.CREATE <stream> [FIELDS ...] WINDOWS ... AGGREGATE ... [...]`
pub(super) fn create(call: &mut Call<'_>) -> Flow {
    let args: Vec<&[u8]> = call.request.skip(2).iter().collect();
    match Definition::parse_create(call.request.at(1), &args) {
        Ok((definition, source)) => {
            let asker = asker(call);
            ask_admin(call, AdminMessage::Create { definition, source, asker })
        }
        Err(error) => call.error(format_args!("ERR {error}")),
    }
}

/// `STREAM.ALTER <stream> ADD ... | DROP ... | SET ...`
pub(super) fn alter(call: &mut Call<'_>) -> Flow {
    let name = call.request.at(1).to_vec();
    let args: Vec<Vec<u8>> = call.request.skip(2).iter().map(<[u8]>::to_vec).collect();
    let asker = asker(call);
    ask_admin(call, AdminMessage::Alter { name, args, asker })
}

/// `STREAM.DROP <stream>`
pub(super) fn drop(call: &mut Call<'_>) -> Flow {
    let name = call.request.at(1).to_vec();
    let asker = asker(call);
    ask_admin(call, AdminMessage::Drop { name, asker })
}

pub(super) fn asker(call: &Call<'_>) -> Asker {
    Asker { shard: call.core.id, connection: call.session.id }
}

pub(super) fn ask_admin(call: &mut Call<'_>, message: AdminMessage) -> Flow {
    match call.shared().admin.send(message) {
        Ok(()) => Flow::Parked,
        Err(_) => call.error(format_args!("ERR the server is shutting down")),
    }
}

/// `STREAM.LIST`: names, sorted.
pub(super) fn list(call: &mut Call<'_>) -> Flow {
    let catalogue = Arc::clone(&call.core.catalogue);
    let mut names: Vec<&str> = catalogue.iter().map(|stream| &*stream.definition.name).collect();
    names.sort_unstable();
    let out = call.out();
    reply::array(out, names.len());
    for name in names {
        reply::bulk(out, name.as_bytes());
    }
    Flow::Done
}

/// `STREAM.INFO <stream>`
pub(super) fn info(call: &mut Call<'_>) -> Flow {
    let name = call.request.at(1);
    let Some(stream) = call.core.catalogue.stream(name).map(Arc::clone) else {
        return call.error(format_args!("ERR {}", no_such_stream(name)));
    };
    let stats = call.core.engine.as_ref().map(|engine| engine.stream_stats(stream.id)).unwrap_or_default();
    gathering::begin(call, Subject::Stream { stream, stats: Box::new(stats) })
}

/// Writes the reply of STREAM.INFO: a map.
pub(super) fn write_stream_info(
    out: &mut Vec<u8>,
    proto: Proto,
    stream: &Stream,
    stats: &StreamStats,
    progress: Option<&Progress>,
    now_ms: i64,
) {
    let (definition, layout) = (&stream.definition, &stream.layout);
    reply::map(out, proto, 30);
    bulks(out, "stream", &definition.name);
    bulks(out, "definition", &definition.to_args_text());
    integer(out, "created", stream.created_ms);
    reply::bulk(out, b"fields");
    reply::map(out, proto, definition.fields.len());
    for field in &definition.fields {
        bulks(out, &field.name, field.kind.keyword());
    }
    reply::bulk(out, b"tiers");
    reply::array(out, layout.tiers.len());
    for tier in &layout.tiers {
        reply::map(out, proto, 7);
        bulks(out, "bucket", &duration::format(tier.width_ms));
        bulks(out, "longest_window", &duration::format(tier.longest_ms));
        bulks(out, "retain", &duration::format(tier.retain_ms));
        integer(out, "buckets", tier.slots as i64);
        // Where counts and sums of INT fields take 16 bits, and where all take 64: between the two, as they are.
        integer(out, "bytes_full", tier.full_bytes() as i64);
        integer(out, "bytes_full_max", tier.widest_bytes() as i64);
        integer(out, "sketch_bytes_max", tier.sketch_bytes_max() as i64);
    }
    integer(out, "bytes_per_full_entity", layout.full_bytes() as i64);
    integer(out, "bytes_per_full_entity_max", layout.widest_bytes() as i64);
    // What sketches may add to that: they are as large as what they have seen asks, and a record ends at 2 MiB.
    integer(out, "sketch_bytes_max", layout.sketch_bytes_max() as i64);
    integer(out, "entities", stats.entities as i64);
    integer(out, "bytes", stats.bytes as i64);
    for (name, count) in [
        ("ok", stats.ok),
        ("clamped", stats.clamped),
        ("skewed", stats.skewed),
        ("late", stats.late),
        ("duplicate", stats.duplicate),
        ("errors", stats.errors),
        ("evicted", stats.evicted),
    ] {
        integer(out, name, count as i64);
    }
    bulks(out, "clock_mode", if definition.clock == ClockMode::Wall { "WALL" } else { "EVENT" });
    for (name, time) in [
        ("clock", stream.clock_ms(now_ms)),
        ("watermark", stream.watermark_ms(now_ms)),
        ("newest", stats.newest_ms),
    ] {
        reply::bulk(out, name.as_bytes());
        write_optional(out, proto, time);
    }
    reply::bulk(out, b"lateness_ms");
    write_optional(out, proto, definition.lateness_ms);
    reply::bulk(out, b"skew");
    reply::bulk(out, duration::format(definition.skew_ms).as_bytes());
    reply::bulk(out, b"dedup");
    reply::map(out, proto, 4);
    reply::bulk(out, b"keeps_ms");
    write_optional(out, proto, definition.dedup_ms);
    integer(out, "ids", stats.dedup.ids as i64);
    integer(out, "sources", stats.dedup.sources as i64);
    integer(out, "used_bytes", stats.dedup.bytes as i64);
    bulks(out, "skew_action", if definition.skew_action == SkewAction::Clamp { "CLAMP" } else { "REJECT" });
    reply::bulk(out, b"ttl_ms");
    write_optional(out, proto, definition.ttl_ms);
    integer(out, "layout", i64::from(stream.layout_id.0));
    reply::bulk(out, b"freshness_ms");
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
    reply::map(out, proto, quantiles.len() + 2);
    integer(out, "count", stats.freshness.len() as i64);
    for (name, quantile) in quantiles {
        integer(out, name, stats.freshness.value_at_quantile(quantile) as i64);
    }
    integer(out, "max", stats.freshness.max() as i64);
    reply::bulk(out, b"covered_from");
    reply::map(out, proto, layout.features.len());
    for feature in &layout.features {
        reply::bulk(out, feature.name.as_bytes());
        write_optional(out, proto, stream.covered_from(feature));
    }
    reply::bulk(out, b"backfill");
    write_backfill(out, proto, stream, progress);
}

/// How the stream is filled with earlier events: null, where it never was.
fn write_backfill(out: &mut Vec<u8>, proto: Proto, stream: &Stream, progress: Option<&Progress>) {
    if stream.backfill.is_none() {
        return reply::null(out, proto);
    }
    let state = match progress {
        _ if !stream.is_filling() => "finished",
        None => "waiting for its turn",
        Some(progress) => match &progress.state {
            BackfillState::Reading => "reading the log",
            BackfillState::Merging => "merging",
            BackfillState::WaitingForRoom => "waiting for room in memory or in the log",
            BackfillState::Failed(_) => "failed, will begin again",
            BackfillState::OutOfMemory => {
                "stopped for want of memory: begins again after CONFIG SET maxmemory, and with the next start"
            }
        },
    };
    reply::map(out, proto, 5);
    bulks(out, "state", state);
    let percent = match progress {
        _ if !stream.is_filling() => 100,
        progress => progress.map_or(0, |progress| progress.percent as i64),
    };
    integer(out, "percent", percent);
    integer(out, "events", progress.map_or(0, |progress| progress.events as i64));
    integer(out, "entities", progress.map_or(0, |progress| progress.merged as i64));
    integer(out, "too_large", progress.map_or(0, |progress| progress.too_large as i64));
}

fn bulks(out: &mut Vec<u8>, name: &str, value: &str) {
    reply::bulk(out, name.as_bytes());
    reply::bulk(out, value.as_bytes());
}

fn integer(out: &mut Vec<u8>, name: &str, value: i64) {
    reply::bulk(out, name.as_bytes());
    reply::integer(out, value);
}
