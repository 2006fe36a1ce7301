//! Commands to bytes, replies to [`Value`]s.

use crate::error::{Error, ServerError};
use crate::scan::ReplyScanner;
use crate::value::Value;
use bytes::{BufMut, Bytes, BytesMut};
use redis_protocol::{resp2, resp3};
use std::io::Write;

/// Most arguments in one command.
pub const ARGS_MAX: usize = 1 << 20;

/// Largest command in bytes, all arguments together.
pub const COMMAND_BYTES_MAX: usize = 64 << 20;

/// The version of the Redis protocol that the connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2: no doubles, no maps.
    Resp2,
    /// RESP3, the default.
    #[default]
    Resp3,
}

impl Protocol {
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Resp2 => "2",
            Self::Resp3 => "3",
        }
    }
}

/// A command being built: arguments are appended in wire form, the count is known at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Command {
    args: BytesMut,
    count: usize,
}

impl Command {
    pub(crate) fn new(name: &str) -> Self {
        let mut command = Self::default();
        command.arg(name);
        command
    }

    pub(crate) fn arg(&mut self, arg: impl AsRef<[u8]>) -> &mut Self {
        let arg = arg.as_ref();
        self.args.reserve(arg.len() + 16);
        // Writing to memory cannot fail: `BytesMut` grows.
        let _ = write!((&mut self.args).writer(), "${}\r\n", arg.len());
        self.args.put_slice(arg);
        self.args.put_slice(b"\r\n");
        self.count += 1;
        self
    }

    pub(crate) fn num(&mut self, number: impl std::fmt::Display) -> &mut Self {
        self.arg(number.to_string())
    }

    /// Arguments built elsewhere, behind those of this command.
    pub(crate) fn append(&mut self, other: &Self) -> &mut Self {
        self.args.extend_from_slice(&other.args);
        self.count += other.count;
        self
    }

    /// Bytes of the arguments so far.
    pub(crate) fn bytes(&self) -> usize {
        self.args.len()
    }

    /// The whole command.
    pub(crate) fn finish(self) -> Result<Bytes, Error> {
        if self.count > ARGS_MAX || self.args.len() > COMMAND_BYTES_MAX {
            return Err(Error::InvalidArgument(format!(
                "a command of {} arguments and {} bytes is beyond the limit of {ARGS_MAX} arguments and \
                 {COMMAND_BYTES_MAX} bytes; send it in parts",
                self.count,
                self.args.len()
            )));
        }
        let mut whole = BytesMut::with_capacity(self.args.len() + 16);
        let _ = write!((&mut whole).writer(), "*{}\r\n", self.count);
        whole.unsplit(self.args);
        Ok(whole.freeze())
    }
}

/// Takes replies out of a stream of bytes.
#[derive(Debug)]
pub(crate) struct Decoder {
    protocol: Protocol,
    scanner: ReplyScanner,
}

impl Decoder {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self { protocol, scanner: ReplyScanner::new() }
    }

    /// The next reply at the start of `buf`, which is consumed. Push messages (out of band, e.g. from
    /// `CLIENT TRACKING`) are dropped: this client subscribes to nothing.
    pub(crate) fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Value>, Error> {
        while let Some(found) = self.scanner.scan(buf)? {
            let frame = buf.split_to(found.bytes).freeze();
            if found.kind == b'>' {
                continue;
            }
            return match self.protocol {
                Protocol::Resp2 => decode_resp2(&frame),
                Protocol::Resp3 => decode_resp3(&frame),
            }
            .map(Some);
        }
        Ok(None)
    }
}

fn decode_resp2(frame: &Bytes) -> Result<Value, Error> {
    match resp2::decode::decode_bytes(frame) {
        Ok(Some((value, _))) => Ok(from_resp2(value)),
        Ok(None) => Err(Error::Protocol("a reply ended early".to_owned())),
        Err(error) => Err(Error::Protocol(error.to_string())),
    }
}

fn decode_resp3(frame: &Bytes) -> Result<Value, Error> {
    match resp3::decode::complete::decode_bytes(frame) {
        Ok(Some((value, _))) => from_resp3(value),
        Ok(None) => Err(Error::Protocol("a reply ended early".to_owned())),
        Err(error) => Err(Error::Protocol(error.to_string())),
    }
}

fn from_resp2(frame: resp2::types::BytesFrame) -> Value {
    use resp2::types::BytesFrame as Frame;
    match frame {
        Frame::SimpleString(data) | Frame::BulkString(data) => Value::Bytes(data),
        Frame::Error(text) => Value::Error(ServerError::new(&*text)),
        Frame::Integer(value) => Value::Int(value),
        Frame::Array(items) => Value::Array(items.into_iter().map(from_resp2).collect()),
        Frame::Null => Value::Null,
    }
}

fn from_resp3(frame: resp3::types::BytesFrame) -> Result<Value, Error> {
    use resp3::types::BytesFrame as Frame;
    Ok(match frame {
        Frame::BlobString { data, .. }
        | Frame::SimpleString { data, .. }
        | Frame::VerbatimString { data, .. }
        | Frame::BigNumber { data, .. } => Value::Bytes(data),
        Frame::SimpleError { data, .. } => Value::Error(ServerError::new(&*data)),
        Frame::BlobError { data, .. } => Value::Error(ServerError::new(String::from_utf8_lossy(&data))),
        Frame::Boolean { data, .. } => Value::Bool(data),
        Frame::Null => Value::Null,
        Frame::Number { data, .. } => Value::Int(data),
        Frame::Double { data, .. } => Value::Float(data),
        Frame::Array { data, .. } | Frame::Push { data, .. } => Value::Array(all(data)?),
        Frame::Set { data, .. } => Value::Array(all(data)?),
        Frame::Map { data, .. } => {
            let pairs = data.into_iter().map(|(key, value)| Ok((from_resp3(key)?, from_resp3(value)?)));
            let mut pairs = pairs.collect::<Result<Vec<_>, Error>>()?;
            // The decoder fills its map from the last pair to the first.
            pairs.reverse();
            Value::Map(pairs)
        }
        Frame::Hello { .. } | Frame::ChunkedString(_) => {
            return Err(Error::Protocol("a streamed or HELLO frame is no reply".to_owned()));
        }
    })
}

fn all(frames: impl IntoIterator<Item = resp3::types::BytesFrame>) -> Result<Vec<Value>, Error> {
    frames.into_iter().map(from_resp3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(protocol: Protocol, bytes: &[u8]) -> Value {
        let mut buf = BytesMut::from(bytes);
        let value = Decoder::new(protocol).next(&mut buf).unwrap().expect("complete");
        assert!(buf.is_empty());
        value
    }

    fn text(text: &'static str) -> Value {
        Value::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut command = Command::new("EVENT.ADD");
        command.arg("user:\r\n").num(-5_i64);
        assert_eq!(
            &command.finish().unwrap()[..],
            b"*3\r\n$9\r\nEVENT.ADD\r\n$7\r\nuser:\r\n\r\n$2\r\n-5\r\n"
        );
    }

    #[test]
    fn a_command_beyond_the_limits_is_refused_before_it_is_sent() {
        let mut command = Command::new("X");
        command.arg(vec![0; COMMAND_BYTES_MAX]);
        assert!(matches!(command.finish(), Err(Error::InvalidArgument(_))));
    }

    #[test]
    fn every_resp3_type_has_its_value() {
        let three = |bytes| decode(Protocol::Resp3, bytes);
        assert_eq!(three(b"+OK\r\n"), text("OK"));
        assert_eq!(three(b"$2\r\nhi\r\n"), text("hi"));
        assert_eq!(three(b"=6\r\ntxt:hi\r\n"), text("hi"));
        assert_eq!(three(b"(12345678901234567890\r\n"), text("12345678901234567890"));
        assert_eq!(three(b":-7\r\n"), Value::Int(-7));
        assert_eq!(three(b",2.5\r\n"), Value::Float(2.5));
        assert_eq!(three(b",-inf\r\n"), Value::Float(f64::NEG_INFINITY));
        assert!(matches!(three(b",nan\r\n"), Value::Float(value) if value.is_nan()));
        assert_eq!(three(b"#t\r\n"), Value::Bool(true));
        assert_eq!(three(b"_\r\n"), Value::Null);
        assert_eq!(three(b"-ERR x\r\n"), Value::Error(ServerError::new("ERR x")));
        assert_eq!(three(b"!5\r\nERR x\r\n"), Value::Error(ServerError::new("ERR x")));
        assert_eq!(three(b"*2\r\n_\r\n-LATE x\r\n").as_array().unwrap().len(), 2);
        assert_eq!(three(b"~1\r\n:1\r\n"), Value::Array(vec![Value::Int(1)]));
        assert_eq!(three(b"|1\r\n+a\r\n+b\r\n:1\r\n"), Value::Int(1));
    }

    #[test]
    fn a_map_keeps_the_order_sent() {
        let value = decode(Protocol::Resp3, b"%3\r\n+z\r\n:1\r\n+a\r\n:2\r\n+m\r\n:3\r\n");
        let Value::Map(pairs) = value else { panic!("{value:?}") };
        let keys: Vec<_> = pairs.iter().filter_map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["z", "a", "m"]);
    }

    #[test]
    fn resp2_nulls_are_null() {
        assert_eq!(decode(Protocol::Resp2, b"$-1\r\n"), Value::Null);
        assert_eq!(
            decode(Protocol::Resp2, b"*2\r\n$3\r\n2.5\r\n*-1\r\n").as_array().unwrap()[1],
            Value::Null
        );
    }

    #[test]
    fn pushes_between_replies_are_dropped() {
        let mut buf = BytesMut::from(&b">1\r\n+note\r\n:1\r\n>1\r\n+note\r\n"[..]);
        let mut decoder = Decoder::new(Protocol::Resp3);
        assert_eq!(decoder.next(&mut buf).unwrap(), Some(Value::Int(1)));
        assert_eq!(decoder.next(&mut buf).unwrap(), None);
    }
}
