//! Replies: values, written by us, read back by `redis-protocol`.
//!
//! Shared with the fuzz targets, which include this file by its path.

use std::collections::BTreeMap;

use redis_protocol::resp2::types::OwnedFrame as Resp2;
use redis_protocol::resp3::types::{OwnedFrame as Resp3, VerbatimStringFormat};
use windrow_protocol::reply::{self, ERROR_BYTES_MAX, Proto};

/// Any reply.
#[derive(Clone, Debug)]
pub enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    Double(f64),
    Bulk(Vec<u8>),
    Null,
    NullArray,
    Boolean(bool),
    Verbatim(Vec<u8>),
    Array(Vec<Value>),
    /// By distinct keys: their maps have no order, and keep one value of a key.
    Map(BTreeMap<Vec<u8>, Value>),
    /// Distinct, as above.
    Set(Vec<i64>),
    Push(Vec<Value>),
}

/// Writes `value` with the functions under test.
pub fn write(out: &mut Vec<u8>, proto: Proto, value: &Value) {
    match value {
        Value::Simple(text) => reply::simple(out, text),
        Value::Error(text) => reply::error(out, text),
        Value::Integer(value) => reply::integer(out, *value),
        Value::Double(value) => reply::double(out, proto, *value),
        Value::Bulk(bytes) => reply::bulk(out, bytes),
        Value::Null => reply::null(out, proto),
        Value::NullArray => reply::null_array(out, proto),
        Value::Boolean(value) => reply::boolean(out, proto, *value),
        Value::Verbatim(text) => reply::verbatim(out, proto, *b"txt", text),
        Value::Array(values) => {
            reply::array(out, values.len());
            values.iter().for_each(|value| write(out, proto, value));
        }
        Value::Map(pairs) => {
            reply::map(out, proto, pairs.len());
            for (key, value) in pairs {
                reply::bulk(out, key);
                write(out, proto, value);
            }
        }
        Value::Set(values) => {
            reply::set(out, proto, values.len());
            values.iter().for_each(|&value| reply::integer(out, value));
        }
        Value::Push(values) => {
            reply::push(out, proto, values.len());
            values.iter().for_each(|value| write(out, proto, value));
        }
    }
}

/// Asserts that `value` is one whole reply in both versions of the protocol, and reads back as itself; that no prefix
/// of it is a whole reply; and that what follows is left alone.
pub fn assert_reads_back(value: &Value) {
    let mut out = Vec::new();
    write(&mut out, Proto::Resp2, value);
    let len = out.len();
    let prefix = redis_protocol::resp2::decode::decode(&out[..len - 1]);
    assert!(matches!(prefix, Ok(None)), "{value:?}: {prefix:?}");
    out.extend_from_slice(reply::OK);
    match redis_protocol::resp2::decode::decode(&out) {
        Ok(Some((frame, taken))) => {
            assert_eq!(taken, len, "{value:?}");
            assert!(is_resp2(value, &frame), "{value:?} as RESP2: {frame:?}");
        }
        other => panic!("{value:?} as RESP2: {other:?}"),
    }

    out.clear();
    write(&mut out, Proto::Resp3, value);
    let len = out.len();
    let prefix = redis_protocol::resp3::decode::complete::decode(&out[..len - 1]);
    assert!(matches!(prefix, Ok(None)), "{value:?}: {prefix:?}");
    out.extend_from_slice(reply::OK);
    match redis_protocol::resp3::decode::complete::decode(&out) {
        Ok(Some((frame, taken))) => {
            assert_eq!(taken, len, "{value:?}");
            assert!(is_resp3(value, &frame), "{value:?} as RESP3: {frame:?}");
        }
        other => panic!("{value:?} as RESP3: {other:?}"),
    }
}

/// What of a line is left of `text`: no line ends.
fn as_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

fn is_error(text: &str, read: &str) -> bool {
    let line = as_line(text);
    read.len() <= ERROR_BYTES_MAX
        && line.starts_with(read)
        && (read.len() == line.len() || read.len() + char::MAX.len_utf8() > ERROR_BYTES_MAX)
}

/// Bit for bit, but there is one zero and one NaN.
fn is_double(value: f64, read: f64) -> bool {
    (value.is_nan() && read.is_nan()) || (value + 0.0).to_bits() == read.to_bits()
}

fn are<T>(values: &[Value], frames: &[T], is: fn(&Value, &T) -> bool) -> bool {
    values.len() == frames.len() && values.iter().zip(frames).all(|(value, frame)| is(value, frame))
}

fn is_resp2(value: &Value, frame: &Resp2) -> bool {
    match (value, frame) {
        (Value::Simple(text), Resp2::SimpleString(read)) => as_line(text).as_bytes() == read,
        (Value::Error(text), Resp2::Error(read)) => is_error(text, read),
        (Value::Integer(value), Resp2::Integer(read)) => value == read,
        (Value::Double(value), Resp2::BulkString(read)) => {
            let text = std::str::from_utf8(read).expect("a double is ASCII");
            !text.ends_with(".0") && is_double(*value, text.parse().expect("a double is a number"))
        }
        (Value::Bulk(bytes) | Value::Verbatim(bytes), Resp2::BulkString(read)) => bytes == read,
        (Value::Null | Value::NullArray, Resp2::Null) => true,
        (Value::Boolean(value), Resp2::Integer(read)) => i64::from(*value) == *read,
        (Value::Array(values) | Value::Push(values), Resp2::Array(frames)) => are(values, frames, is_resp2),
        (Value::Map(pairs), Resp2::Array(frames)) => {
            frames.len() == pairs.len() * 2
                && pairs.iter().zip(frames.chunks(2)).all(|((key, value), pair)| {
                    matches!(&pair[0], Resp2::BulkString(read) if read == key) && is_resp2(value, &pair[1])
                })
        }
        (Value::Set(values), Resp2::Array(frames)) => {
            values.iter().map(|&value| Resp2::Integer(value)).eq(frames.iter().cloned())
        }
        _ => false,
    }
}

fn is_resp3(value: &Value, frame: &Resp3) -> bool {
    match (value, frame) {
        (Value::Simple(text), Resp3::SimpleString { data, .. }) => as_line(text).as_bytes() == data,
        (Value::Error(text), Resp3::SimpleError { data, .. }) => is_error(text, data),
        (Value::Integer(value), Resp3::Number { data, .. }) => value == data,
        (Value::Double(value), Resp3::Double { data, .. }) => is_double(*value, *data),
        (Value::Bulk(bytes), Resp3::BlobString { data, .. }) => bytes == data,
        (Value::Null | Value::NullArray, Resp3::Null) => true,
        (Value::Boolean(value), Resp3::Boolean { data, .. }) => value == data,
        (Value::Verbatim(text), Resp3::VerbatimString { data, format, .. }) => {
            text == data && *format == VerbatimStringFormat::Text
        }
        (Value::Array(values), Resp3::Array { data, .. }) => are(values, data, is_resp3),
        (Value::Push(values), Resp3::Push { data, .. }) => are(values, data, is_resp3),
        (Value::Map(pairs), Resp3::Map { data, .. }) => {
            data.len() == pairs.len()
                && pairs.iter().all(|(key, value)| {
                    let key = Resp3::BlobString { data: key.clone(), attributes: None };
                    data.get(&key).is_some_and(|read| is_resp3(value, read))
                })
        }
        (Value::Set(values), Resp3::Set { data, .. }) => {
            data.len() == values.len()
                && values.iter().all(|&value| data.contains(&Resp3::Number { data: value, attributes: None }))
        }
        _ => false,
    }
}
