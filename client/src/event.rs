//! Events, and what the server says to one.

use crate::codec::Command;
use crate::error::Error;
use crate::value::Value;
use bytes::Bytes;

/// Longest entity in bytes.
pub const ENTITY_BYTES_MAX: usize = 1024;

/// One occurrence, about to be counted.
///
/// ```
/// use windrow_client::Event;
///
/// let event = Event::new("user:42", "purchases").at(1_700_000_000_000).field("amount", 12.5).id("order-9");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub(crate) entity: Bytes,
    pub(crate) stream: String,
    /// `None`: the server's clock.
    pub(crate) at_ms: Option<i64>,
    pub(crate) id: Option<Bytes>,
    pub(crate) source: Option<(Bytes, u64)>,
    pub(crate) fields: Vec<(String, FieldValue)>,
}

impl Event {
    /// An event of an entity in a stream, at the server's time and without fields.
    pub fn new(entity: impl AsRef<[u8]>, stream: impl Into<String>) -> Self {
        Self {
            entity: Bytes::copy_from_slice(entity.as_ref()),
            stream: stream.into(),
            at_ms: None,
            id: None,
            source: None,
            fields: Vec::new(),
        }
    }

    /// Happened at this time, in Unix milliseconds.
    #[must_use]
    pub fn at(mut self, ts_ms: i64) -> Self {
        self.at_ms = Some(ts_ms);
        self
    }

    /// Happens when the server receives it (the default).
    #[must_use]
    pub fn now(mut self) -> Self {
        self.at_ms = None;
        self
    }

    /// Sets a field. Floats must be finite; a field given twice is refused by the server.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<FieldValue>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// An id by which the server recognises a retry (needs DEDUP on the stream).
    #[must_use]
    pub fn id(mut self, id: impl AsRef<[u8]>) -> Self {
        self.id = Some(Bytes::copy_from_slice(id.as_ref()));
        self
    }

    /// Source and sequence number by which the server recognises a retry.
    #[must_use]
    pub fn source(mut self, source: impl AsRef<[u8]>, seq: u64) -> Self {
        self.source = Some((Bytes::copy_from_slice(source.as_ref()), seq));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.entity.is_empty() || self.entity.len() > ENTITY_BYTES_MAX {
            return Err(Error::InvalidArgument(format!(
                "an entity of {} bytes; it must have 1 to {ENTITY_BYTES_MAX}",
                self.entity.len()
            )));
        }
        for (name, value) in &self.fields {
            if let FieldValue::Float(number) = value
                && !number.is_finite()
            {
                return Err(Error::InvalidArgument(format!(
                    "field {name} is {number}; floats must be finite"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn into_command(self) -> Result<Command, Error> {
        self.check()?;
        let mut command = Command::new("EVENT.ADD");
        command.arg(&self.entity).arg(&self.stream);
        if let Some(id) = &self.id {
            command.arg("ID").arg(id);
        }
        if let Some((source, seq)) = &self.source {
            command.arg("SOURCE").arg(source).num(seq);
        }
        timestamp(&mut command, self.at_ms);
        for (name, value) in &self.fields {
            command.arg(name);
            value.write(&mut command);
        }
        Ok(command)
    }
}

pub(crate) fn timestamp(command: &mut Command, at_ms: Option<i64>) {
    match at_ms {
        Some(ts_ms) => command.num(ts_ms),
        None => command.arg("*"),
    };
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// For INT fields; FLOAT fields take it too.
    Int(i64),
    /// For FLOAT fields.
    Float(f64),
    /// For STRING fields: any bytes.
    Bytes(Bytes),
}

/// From here on up, and below its inverse, floats are sent in exponent notation, so that 1e300 takes five
/// bytes instead of 301.
const PLAIN_NOTATION_MAX: f64 = 1e16;

impl FieldValue {
    pub(crate) fn write(&self, command: &mut Command) {
        match self {
            Self::Int(value) => command.num(value),
            Self::Float(value) => {
                let size = value.abs();
                let plain = size == 0.0 || (1.0 / PLAIN_NOTATION_MAX..PLAIN_NOTATION_MAX).contains(&size);
                if plain { command.num(value) } else { command.arg(format!("{value:e}")) }
            }
            Self::Bytes(bytes) => command.arg(bytes),
        };
    }
}

macro_rules! field_value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for FieldValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

field_value_from!(
    i64 => Int, i32 => Int, u32 => Int, i16 => Int, u16 => Int, i8 => Int, u8 => Int,
    f64 => Float, f32 => Float,
    Bytes => Bytes, String => Bytes, Vec<u8> => Bytes,
);

impl From<&str> for FieldValue {
    fn from(value: &str) -> Self {
        Self::Bytes(Bytes::copy_from_slice(value.as_bytes()))
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventReply {
    /// Counted in the bucket of its time.
    Ok,
    /// Too far ahead of the server's clock: counted at the server's time.
    Clamped,
    /// Too far ahead of the server's clock: not counted.
    Skewed,
    /// Its id or sequence number was counted before: not counted again.
    Duplicate,
    /// Older than the stream accepts: not counted.
    Late,
}

impl EventReply {
    /// Whether this call counted the event.
    pub fn is_counted(self) -> bool {
        matches!(self, Self::Ok | Self::Clamped)
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, Error> {
        Ok(match value {
            Value::Error(error) => return Err(Error::Server(error.clone())),
            value => match value.as_str() {
                Some("OK") => Self::Ok,
                Some("CLAMPED") => Self::Clamped,
                Some("SKEWED") => Self::Skewed,
                Some("DUPLICATE") => Self::Duplicate,
                Some("LATE") => Self::Late,
                _ => return Err(value.unexpected("OK, CLAMPED, SKEWED, DUPLICATE or LATE")),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(event: Event) -> Vec<String> {
        let bytes = event.into_command().unwrap().finish().unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.split("\r\n").skip(2).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn an_event_is_sent_in_the_order_of_the_contract() {
        let event = Event::new("user:42", "purchases")
            .at(-5)
            .field("amount", 12.5)
            .field("merchant", "shop 7")
            .field("items", 3)
            .id("a1");
        let expected = "EVENT.ADD|user:42|purchases|ID|a1|-5|amount|12.5|merchant|shop 7|items|3";
        assert_eq!(args(event).join("|"), expected);
        let event = Event::new("user:42", "clicks").source("kafka-3", 99).now();
        assert_eq!(args(event).join("|"), "EVENT.ADD|user:42|clicks|SOURCE|kafka-3|99|*");
    }

    #[test]
    fn a_float_reads_back_as_the_same_float() {
        for value in [0.0, -0.0, 0.1, 12.0, 1e15, 1e16, 1.5e300, -2.5e-300, f64::MIN_POSITIVE, f64::MAX] {
            let sent = args(Event::new("e", "s").field("f", value)).pop().unwrap();
            assert_eq!(sent.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{sent}");
            assert!(sent.len() <= 26, "{sent}");
        }
    }

    #[test]
    fn what_the_server_would_refuse_is_refused_before_it_is_sent() {
        for bad in [
            Event::new("", "s"),
            Event::new("x".repeat(ENTITY_BYTES_MAX + 1), "s"),
            Event::new("e", "s").field("f", f64::NAN),
            Event::new("e", "s").field("f", f64::INFINITY),
        ] {
            assert!(matches!(bad.into_command(), Err(Error::InvalidArgument(_))));
        }
    }
}
