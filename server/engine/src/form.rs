//! The form of an event: entity, event time and field values, checked and encoded as an operation.

use std::fmt;

use windrow_window::SkewAction;
use windrow_window::definition::{ENTITY_BYTES_MAX, Field, FieldType, STRING_BYTES_MAX};
use windrow_window::timestamp::TIMESTAMP_ABS_MAX;

use crate::catalogue::Stream;
use crate::number::{parse_float, parse_int, parse_time};
use crate::op::{Encoder, Judged};

/// What is wrong with an event's form. Its `Display` is the message for the client, without an error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormError {
    /// The entity is empty or too long.
    Entity {
        /// Its bytes.
        bytes: usize,
    },
    /// Not a timestamp.
    Timestamp(String),
    /// The stream has no such field.
    UnknownField {
        /// The field named.
        field: String,
        /// Those that there are.
        known: String,
    },
    /// The field stands twice in one event.
    FieldTwice(String),
    /// A field without a value.
    MissingValue(String),
    /// The value is not of the field's type.
    Value {
        /// The field.
        field: String,
        /// What its type asks.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// Words that are not EVENT.ADD's or EVENT.MADD's syntax.
    Syntax(String),
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity { bytes } => {
                write!(f, "an entity has 1 to {ENTITY_BYTES_MAX} bytes, and this one has {bytes}")
            }
            Self::Timestamp(found) => {
                write!(f, "{found} is not an event time: * or milliseconds within ±{TIMESTAMP_ABS_MAX}")
            }
            Self::UnknownField { field, known } if known.is_empty() => {
                write!(f, "unknown field {field} (the stream has no fields)")
            }
            Self::UnknownField { field, known } => {
                write!(f, "unknown field {field} (the stream's fields: {known})")
            }
            Self::FieldTwice(field) => write!(f, "field '{field}' stands twice in one event"),
            Self::MissingValue(field) => {
                write!(f, "field {field} has no value: fields and values come in pairs")
            }
            Self::Value { field, expected, found } => {
                write!(f, "field '{field}' needs {expected}, not {found}")
            }
            Self::Syntax(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for FormError {}

/// Bytes of the client as text for a message: lossy, bounded.
pub fn quote(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]).escape_debug().to_string();
    if bytes.len() > SHOWN_MAX { format!("'{shown}…'") } else { format!("'{shown}'") }
}

/// Checks an entity's length.
///
/// # Errors
/// [`FormError::Entity`].
pub fn check_entity(entity: &[u8]) -> Result<(), FormError> {
    if entity.is_empty() || entity.len() > ENTITY_BYTES_MAX {
        return Err(FormError::Entity { bytes: entity.len() });
    }
    Ok(())
}

/// Encodes the event of an EVENT.ADD as one operation at the end of `out`. `rest` is what follows the stream's name.
///
/// The event is judged here as far as the server's clock goes: SKEW, and the stamp of the stream's clock.
///
/// # Errors
/// Says what is wrong; `out` is then as it was.
pub fn encode_add<'a>(
    out: &mut Vec<u8>,
    stream: &Stream,
    entity: &[u8],
    rest: impl Iterator<Item = &'a [u8]>,
    now_ms: i64,
) -> Result<(), FormError> {
    let mut rest = rest;
    let Some(ts) = rest.next() else {
        return Err(FormError::Syntax("the event has no time: give * or milliseconds".to_owned()));
    };
    for option in ["ID", "SOURCE"] {
        if ts.eq_ignore_ascii_case(option.as_bytes()) {
            return Err(FormError::Syntax(format!("{option} is not available in this version")));
        }
    }
    encode(out, stream, entity, ts, now_ms, |event| {
        while let Some(name) = rest.next() {
            let field = stream.layout.field(name).ok_or_else(|| unknown_field(stream, name))?;
            let value = rest.next().ok_or_else(|| FormError::MissingValue(quote(name)))?;
            event.value(field, value)?;
        }
        Ok(())
    })
}

pub(crate) fn unknown_field(stream: &Stream, name: &[u8]) -> FormError {
    let known: Vec<&str> = stream.layout.fields.iter().map(|field| &*field.name).collect();
    FormError::UnknownField { field: quote(name), known: known.join(" ") }
}

/// Encodes one event whose values `fill` adds.
#[inline(always)]
pub(crate) fn encode(
    out: &mut Vec<u8>,
    stream: &Stream,
    entity: &[u8],
    ts: &[u8],
    now_ms: i64,
    fill: impl FnOnce(&mut EventEncoder<'_, '_>) -> Result<(), FormError>,
) -> Result<(), FormError> {
    check_entity(entity)?;
    let ts = match ts {
        b"*" => now_ms,
        text => parse_time(text).ok_or_else(|| no_time(text))?,
    };
    let ahead = ts > now_ms.saturating_add(stream.layout.skew_ms);
    let (ts, judged) = match (ahead, stream.layout.skew_action) {
        (false, _) => (ts, Judged::Ok),
        (true, SkewAction::Clamp) => (now_ms, Judged::Clamped),
        (true, SkewAction::Reject) => (ts, Judged::Skewed),
    };
    let start = out.len();
    let mut event =
        EventEncoder { stream, encoder: Encoder::start(out, stream.layout_id, entity), present: 0 };
    match fill(&mut event) {
        Ok(()) => {
            // Only a well-formed event that is not SKEWED moves the stream's clock.
            let clock_ms = if judged == Judged::Skewed {
                stream.clock_ms(now_ms).unwrap_or(ts)
            } else {
                stream.observe(ts, now_ms)
            };
            event.encoder.finish(judged, ts, clock_ms);
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Adds field values to the operation of one event.
pub(crate) struct EventEncoder<'o, 's> {
    stream: &'s Stream,
    encoder: Encoder<'o>,
    present: u64,
}

impl EventEncoder<'_, '_> {
    /// Adds the value of a field by its index.
    #[inline(always)]
    pub(crate) fn value(&mut self, field: usize, text: &[u8]) -> Result<(), FormError> {
        let declared = &self.stream.layout.fields[field];
        if self.present & (1 << field) != 0 {
            return Err(field_twice(declared));
        }
        self.present |= 1 << field;
        match declared.kind {
            FieldType::Float => {
                let value =
                    parse_float(text).ok_or_else(|| wrong(declared, text, "a finite decimal number"))?;
                self.encoder.word(field, value.to_bits());
            }
            FieldType::Int => {
                let value =
                    parse_int(text).ok_or_else(|| wrong(declared, text, "an integer within 64 bits"))?;
                self.encoder.word(field, value.cast_unsigned());
            }
            FieldType::String if text.len() > STRING_BYTES_MAX => {
                return Err(wrong(declared, text, "at most 1024 bytes"));
            }
            FieldType::String => self.encoder.bytes(field, text),
        }
        Ok(())
    }
}

#[cold]
fn field_twice(declared: &Field) -> FormError {
    FormError::FieldTwice(declared.name.to_string())
}

#[cold]
fn wrong(declared: &Field, text: &[u8], expected: &'static str) -> FormError {
    FormError::Value { field: declared.name.to_string(), expected, found: quote(text) }
}

#[cold]
fn no_time(text: &[u8]) -> FormError {
    FormError::Timestamp(quote(text))
}
