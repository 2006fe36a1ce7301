//! What reads reply: rows, pairs and values, encoded for the client.

use windrow_engine::Stream;
use windrow_protocol::{Proto, reply};
use windrow_window::{Query, ReadTime, Value};

/// Writes a row: an array of values, or a map where no features were named. `values` are what `window::answer` gave.
#[inline]
pub(super) fn write_row(
    out: &mut Vec<u8>,
    proto: Proto,
    stream: &Stream,
    query: &Query,
    time: ReadTime,
    values: &[Value],
) {
    if query.with_meta {
        reply::array(out, 2);
    }
    let (values, newest) = values.split_at(query.features.len());
    if query.named {
        reply::array(out, values.len());
        for value in values {
            write_value(out, proto, value);
        }
    } else {
        reply::map(out, proto, values.len());
        for (feature, value) in query.features.iter().zip(values) {
            reply::bulk(out, feature.name.as_bytes());
            write_value(out, proto, value);
        }
    }
    if let [newest] = newest {
        write_meta(out, proto, stream, query, time, newest);
    }
}

/// Writes what WITHMETA adds: a map. `bounds` and `covered_from` have an entry for each feature, in the order of the values; `all` has
/// no bounds.
fn write_meta(
    out: &mut Vec<u8>,
    proto: Proto,
    stream: &Stream,
    query: &Query,
    time: ReadTime,
    newest: &Value,
) {
    reply::map(out, proto, 4);
    reply::bulk(out, b"bounds");
    reply::map(out, proto, query.features.len());
    for feature in &query.features {
        reply::bulk(out, feature.name.as_bytes());
        match time.bounds(&stream.layout, feature) {
            Some((from_ms, to_ms)) => {
                reply::array(out, 2);
                reply::integer(out, from_ms);
                reply::integer(out, to_ms);
            }
            None => reply::null(out, proto),
        }
    }
    reply::bulk(out, b"watermark");
    match stream.layout.watermark_ms(time.clock) {
        Some(watermark_ms) => reply::integer(out, watermark_ms),
        None => reply::null(out, proto),
    }
    reply::bulk(out, b"newest");
    write_value(out, proto, newest);
    reply::bulk(out, b"covered_from");
    reply::map(out, proto, query.features.len());
    for feature in &query.features {
        reply::bulk(out, feature.name.as_bytes());
        match stream.covered_from(feature) {
            Some(since_ms) => reply::integer(out, since_ms),
            None => reply::null(out, proto),
        }
    }
}

/// Writes pairs of bucket start and value, without the array's header.
pub(super) fn write_pairs(out: &mut Vec<u8>, proto: Proto, pairs: &[(i64, Value)]) {
    for (start_ms, value) in pairs {
        reply::array(out, 2);
        reply::integer(out, *start_ms);
        write_value(out, proto, value);
    }
}

/// Writes one value.
pub(crate) fn write_value(out: &mut Vec<u8>, proto: Proto, value: &Value) {
    match value {
        Value::Null => reply::null(out, proto),
        Value::Int(number) => reply::integer(out, *number),
        Value::Float(number) => reply::double(out, proto, *number),
        Value::Bytes(bytes) => reply::bulk(out, bytes),
        Value::List(values) => {
            reply::array(out, values.len());
            for value in values {
                write_value(out, proto, value);
            }
        }
    }
}
