//! The operation codec: the bytes that travel to an entity's owner, enter the log and are replayed.
//!
//! ```text
//!   u32 LE   bits 0..4  kind: 1 = EVENT, 2 = REMOVE (below)
//!            bits 4..6  judged: 0 = OK, 1 = CLAMPED, 2 = SKEWED (never in the log)
//!            bit  6     in the log: the event started its entity anew, whatever was there
//!            bits 8..32 bytes of the whole operation, these four included
//!   varint   layout id
//!   varint   bytes of the entity, then the entity
//!   i64 LE   event time
//!   u8       number of values, then each:
//!              u8 field, then FLOAT: f64 LE | INT: i64 LE | STRING: varint bytes, then the bytes
//!   i64 LE   the stream's clock that the event is judged by
//! ```
//!
//! ```text
//!   u32 LE   kind: 2 = REMOVE, and bytes as above: an entity's record went to make room
//!   varint   layout id
//!   varint   bytes of the entity, then the entity
//! ```
//!
//! A varint is LEB128, unsigned (DWARF 5, section 7.6). Field types come from the layout.

use std::fmt;

use windrow_window::Layout;
use windrow_window::definition::{FIELDS_MAX, FieldType};
use windrow_window::timestamp::TIMESTAMP_ABS_MAX;

use crate::catalogue::LayoutId;

const KIND_EVENT: u32 = 1;
const KIND_REMOVE: u32 = 2;
/// In the first byte of an operation: it started its entity anew.
const ANEW: u8 = 1 << 6;
const HEAD_BYTES: usize = 4;
const CLOCK_BYTES: usize = 8;

/// Most bytes of one operation: entity, 64 strings of 1 KiB, and what stands around them.
pub const OP_BYTES_MAX: usize = 128 << 10;

/// What the receiver judged by the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Within SKEW.
    Ok,
    /// Ahead by more than SKEW: the event time is the server's.
    Clamped,
    /// Ahead by more than SKEW: not to be counted.
    Skewed,
}

/// Why bytes are not an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpError {
    /// What is wrong.
    pub reason: &'static str,
    /// Where, in bytes from the start of the operation.
    pub at: usize,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged operation: {} at byte {}", self.reason, self.at)
    }
}

impl std::error::Error for OpError {}

/// Writes one operation at the end of a buffer.
pub struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    values_at: usize,
}

impl<'o> Encoder<'o> {
    /// Begins an EVENT.
    pub fn start(out: &'o mut Vec<u8>, layout: LayoutId, entity: &[u8], ts: i64) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        put_varint(out, layout.0);
        put_varint(out, u32::try_from(entity.len()).expect("entities are bounded by ENTITY_BYTES_MAX"));
        out.extend_from_slice(entity);
        out.extend_from_slice(&ts.to_le_bytes());
        let values_at = out.len();
        out.push(0);
        Self { out, start, values_at }
    }

    /// Adds the value of a FLOAT or INT field.
    pub fn word(&mut self, field: usize, word: u64) {
        self.field(field);
        self.out.extend_from_slice(&word.to_le_bytes());
    }

    /// Adds the value of a STRING field.
    pub fn bytes(&mut self, field: usize, bytes: &[u8]) {
        self.field(field);
        put_varint(self.out, u32::try_from(bytes.len()).expect("strings are bounded by STRING_BYTES_MAX"));
        self.out.extend_from_slice(bytes);
    }

    fn field(&mut self, field: usize) {
        self.out[self.values_at] += 1;
        self.out.push(u8::try_from(field).expect("fields are bounded by FIELDS_MAX"));
    }

    /// Ends the operation.
    pub fn finish(self, judged: Judged, clock_ms: i64) {
        self.out.extend_from_slice(&clock_ms.to_le_bytes());
        let bytes = self.out.len() - self.start;
        assert!(bytes <= OP_BYTES_MAX, "an operation of {bytes} bytes");
        let judged = match judged {
            Judged::Ok => 0,
            Judged::Clamped => 1,
            Judged::Skewed => 2,
        };
        let head = KIND_EVENT | judged << 4 | (bytes as u32) << 8;
        self.out[self.start..self.start + HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
    }
}

/// Writes a REMOVE at the end of a buffer.
pub fn encode_remove(out: &mut Vec<u8>, layout: LayoutId, entity: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    put_varint(out, layout.0);
    put_varint(out, u32::try_from(entity.len()).expect("entities are bounded by ENTITY_BYTES_MAX"));
    out.extend_from_slice(entity);
    let bytes = out.len() - start;
    assert!(bytes <= OP_BYTES_MAX, "an operation of {bytes} bytes");
    let head = KIND_REMOVE | (bytes as u32) << 8;
    out[start..start + HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
}

/// An operation of whatever kind, read in place.
#[derive(Clone, Copy, Debug)]
pub enum AnyOp<'a> {
    /// An event.
    Event(Op<'a>),
    /// A record's removal.
    Remove(Remove<'a>),
}

impl<'a> AnyOp<'a> {
    /// Reads the operation that `bytes` is.
    ///
    /// # Errors
    /// When the bytes are not exactly one operation.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, OpError> {
        let mut reader = Reader { bytes, at: 0 };
        let head = reader.u32()?;
        if head & 0xff != KIND_REMOVE {
            return Op::decode(bytes).map(Self::Event);
        }
        if (head >> 8) as usize != bytes.len() {
            return Err(OpError { reason: "the length does not fit", at: 0 });
        }
        let layout = LayoutId(reader.varint()?);
        let entity_bytes = reader.varint()? as usize;
        let entity = reader.take(entity_bytes)?;
        if reader.at != bytes.len() {
            return Err(OpError { reason: "bytes behind the entity", at: reader.at });
        }
        Ok(Self::Remove(Remove { layout, entity }))
    }

    /// Whom it is about.
    pub fn entity(&self) -> &'a [u8] {
        match self {
            Self::Event(op) => op.entity,
            Self::Remove(remove) => remove.entity,
        }
    }
}

/// A record's removal, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Remove<'a> {
    /// A layout of its stream.
    pub layout: LayoutId,
    /// Whose record it is.
    pub entity: &'a [u8],
}

/// An event's operation, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// What the receiver judged.
    pub judged: Judged,
    /// In the log: whether the event started its entity anew.
    pub starts_anew: bool,
    /// The layout that names its stream and fields.
    pub layout: LayoutId,
    /// Whose event it is.
    pub entity: &'a [u8],
    /// Event time.
    pub ts: i64,
    /// The stream's clock that it is judged by.
    pub clock_ms: i64,
    value_count: usize,
    values: &'a [u8],
}

impl<'a> Op<'a> {
    /// Reads the operation that `bytes` is.
    ///
    /// # Errors
    /// When the bytes are not exactly one operation.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, OpError> {
        let mut reader = Reader { bytes, at: 0 };
        let head = reader.u32()?;
        if (head >> 8) as usize != bytes.len() {
            return Err(OpError { reason: "the length does not fit", at: 0 });
        }
        let judged = match (head & 0xf, head >> 4 & 0x3) {
            (KIND_EVENT, 0) => Judged::Ok,
            (KIND_EVENT, 1) => Judged::Clamped,
            (KIND_EVENT, 2) => Judged::Skewed,
            _ => return Err(OpError { reason: "unknown kind", at: 0 }),
        };
        let layout = LayoutId(reader.varint()?);
        let entity_bytes = reader.varint()? as usize;
        let entity = reader.take(entity_bytes)?;
        let ts = reader.i64()?;
        let value_count = usize::from(reader.take(1)?[0]);
        let values_end = bytes.len().checked_sub(CLOCK_BYTES).filter(|&end| end >= reader.at);
        let values_end = values_end.ok_or(OpError { reason: "the clock is missing", at: reader.at })?;
        let values = &bytes[reader.at..values_end];
        let clock_ms = Reader { bytes, at: values_end }.i64()?;
        let range = -TIMESTAMP_ABS_MAX..=TIMESTAMP_ABS_MAX;
        if !range.contains(&ts) || !range.contains(&clock_ms) {
            return Err(OpError { reason: "a time is out of range", at: reader.at });
        }
        Ok(Self {
            judged,
            starts_anew: head & u32::from(ANEW) != 0,
            layout,
            entity,
            ts,
            clock_ms,
            value_count,
            values,
        })
    }

    /// Writes the values into `words`, a word a field, and answers which fields are present. A STRING's word is its place in
    /// the operation's values: offset in the low half, bytes in the high one.
    ///
    /// # Errors
    /// When the values are not those of the layout.
    pub fn values(&self, layout: &Layout, words: &mut [u64; FIELDS_MAX]) -> Result<u64, OpError> {
        let mut reader = Reader { bytes: self.values, at: 0 };
        let mut present = 0u64;
        for _ in 0..self.value_count {
            let field = usize::from(reader.take(1)?[0]);
            let declared =
                layout.fields.get(field).ok_or(OpError { reason: "unknown field", at: reader.at })?;
            words[field] = match declared.kind {
                FieldType::Float | FieldType::Int => reader.i64()?.cast_unsigned(),
                FieldType::String => {
                    let bytes = reader.varint()?;
                    let at = reader.at as u64;
                    reader.take(bytes as usize)?;
                    at | u64::from(bytes) << 32
                }
            };
            present |= 1 << field;
        }
        if reader.at != self.values.len() {
            return Err(OpError { reason: "bytes behind the values", at: reader.at });
        }
        Ok(present)
    }
}

/// Notes in an operation that is about to be logged that it started its entity anew: when a record is reclaimed is not logged, so
/// the replay could not know.
pub fn mark_anew(op: &mut [u8]) {
    op[0] |= ANEW;
}

/// The bytes of the operation that `bytes` begins with.
///
/// # Errors
/// When the bytes end before the operation does.
pub fn first(bytes: &[u8]) -> Result<&[u8], OpError> {
    let head = Reader { bytes, at: 0 }.u32()?;
    let length = (head >> 8) as usize;
    if length < HEAD_BYTES || length > bytes.len() {
        return Err(OpError { reason: "the length does not fit", at: 0 });
    }
    Ok(&bytes[..length])
}

/// The operations of a frame or a batch, in order; ends behind the first damaged one.
pub fn iter(bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], OpError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let op = first(rest);
        rest = op.map_or(&[], |op| &rest[op.len()..]);
        Some(op)
    })
}

fn put_varint(out: &mut Vec<u8>, value: u32) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], OpError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(OpError { reason: "it ends early", at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, OpError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    fn i64(&mut self) -> Result<i64, OpError> {
        Ok(i64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }

    fn varint(&mut self) -> Result<u32, OpError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .map_err(|_| OpError { reason: "a number is too large", at: self.at });
            }
        }
        Err(OpError { reason: "a number has no end", at: self.at })
    }
}
