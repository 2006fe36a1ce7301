//! The operation codec: the bytes that travel to an entity's owner, enter the log and are replayed.
//!
//! ```text
//!   u32 LE   bits 0..4   kind: 1 = EVENT, 2 = REMOVE (below)
//!            bits 4..6   judged: 0 = OK, 1 = CLAMPED, 2 = SKEWED (never in the log), 3 = NOTED (in the log alone:
//!                        not counted, only its clock counts)
//!            bit  6      in the log: the event started its entity anew, whatever was there
//!            bit  7      a mark follows the entity
//!            bits 8..26  bytes of the whole operation, these four included
//!            bits 26..29 bytes of the event time, 1 to 7
//!            bits 29..32 bytes of the clock's distance, 0 to 7
//!   varint   layout id
//!   varint   bytes of the entity, then the entity
//!   mark     if bit 7: u8: 1 = id, 2 = source, 3 = both; then of an id: u64 LE fingerprint, not 0;
//!            of a source: u64 LE fingerprint, u64 LE sequence number
//!   values   each: u8 field, then FLOAT: f64 LE | INT: i64 LE | STRING: varint bytes, then the bytes
//!   LE       event time
//!   LE       the stream's clock that the event is judged by, less the event time
//! ```
//!
//! ```text
//!   u32 LE   kind: 2 = REMOVE, bit 4: a client asked for it, not to make room; bytes as above; else 0
//!   varint   layout id
//!   varint   bytes of the entity, then the entity
//! ```
//!
//! ```text
//!   u32 LE   kind: 3 = MERGE; bits 4..8: 0; bits 8..32: bytes of the whole operation
//!   varint   layout id
//!   varint   bytes of the entity, then the entity
//!   u64 LE   the words of a body that holds what a backfill found of the entity
//! ```
//!
//! The two times are zigzag numbers (0, −1, 1, −2, … count from 0) in as few bytes as each has, from the lowest on. They stand at
//! the end since the clock is known last; so they are read without reading what is before them.
//! A varint is LEB128, unsigned (DWARF 5, section 7.6). Field types come from the layout.

mod encode;
mod event;
mod reader;

use std::fmt;

use windrow_window::definition::ENTITY_BYTES_MAX;

use crate::catalogue::LayoutId;
use encode::put_varint;
pub use encode::{Encoder, encode_merge, encode_remove};
pub use event::{Op, OpHead};
use reader::Reader;

const KIND_EVENT: u32 = 1;
const KIND_REMOVE: u32 = 2;
const KIND_MERGE: u32 = 3;
const REMOVE_ASKED: u32 = KIND_REMOVE | 1 << 4;
/// In the first word: what the operation is.
const KIND_MASK: u32 = 0xf;
/// In the first word of an event: what was judged; 0: nothing is wrong.
const JUDGED_MASK: u32 = 3 << JUDGED_AT;
const JUDGED_AT: u32 = 4;
const CLAMPED: u32 = 1 << JUDGED_AT;
const SKEWED: u32 = 2 << JUDGED_AT;
const NOTED: u32 = 3 << JUDGED_AT;
/// In the first byte of an operation: it started its entity anew.
const ANEW: u8 = 1 << 6;
/// In the first byte of an event: a mark follows the entity.
const MARKED: u8 = 1 << 7;
const MARK_ID: u8 = 1;
const MARK_SOURCE: u8 = 2;
const HEAD_BYTES: usize = 4;
const LENGTH_BITS: u32 = 18;
const TIME_BYTES_AT: u32 = 26;
const DISTANCE_BYTES_AT: u32 = 29;
/// What a time can take: its bytes are counted in three bits.
const TIME_BYTES_MAX: usize = 7;
/// Bytes before an event's values at least: head, layout, and an entity of one byte.
const VALUES_AT_MIN: usize = HEAD_BYTES + 3;

/// Most bytes of one operation: entity, 64 strings of 1 KiB, and what stands around them.
pub const OP_BYTES_MAX: usize = 128 << 10;
const _: () = assert!(OP_BYTES_MAX < 1 << LENGTH_BITS);

/// What the receiver judged by the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Within SKEW.
    Ok,
    /// Ahead by more than SKEW: the event time is the server's.
    Clamped,
    /// Ahead by more than SKEW: not to be counted.
    Skewed,
    /// In the log alone: not counted, but it had moved the stream's clock.
    Noted,
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

/// In a REMOVE on its way to its owner: the entity's records of all streams. The log names each.
pub const EVERY_STREAM: LayoutId = LayoutId(u32::MAX);

/// Most bytes of a MERGE: the largest record, and what stands around it.
pub const MERGE_BYTES_MAX: usize = (2 << 20) + OP_BYTES_MAX;
const _: () = assert!(MERGE_BYTES_MAX < 1 << 24);

/// What a backfill found of an entity, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Merge<'a> {
    /// The layout that it is for.
    pub layout: LayoutId,
    /// Whose record it goes into.
    pub entity: &'a [u8],
    bytes: &'a [u8],
}

impl Merge<'_> {
    /// The words of the body.
    pub fn words(&self) -> Vec<u64> {
        let (words, rest) = self.bytes.as_chunks();
        debug_assert!(rest.is_empty(), "looked at when it was read");
        words.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }
}

/// An operation of whatever kind, read in place.
#[derive(Clone, Copy, Debug)]
pub enum AnyOp<'a> {
    /// An event.
    Event(Op<'a>),
    /// A record's removal.
    Remove(Remove<'a>),
    /// What a backfill found for a record.
    Merge(Merge<'a>),
}

impl<'a> AnyOp<'a> {
    /// Reads the operation that `bytes` is.
    ///
    /// # Errors
    /// When the bytes are not exactly one operation.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, OpError> {
        let head = head(bytes)?;
        if head & 0xff == KIND_MERGE {
            if (head >> 8) as usize != bytes.len() || bytes.len() > MERGE_BYTES_MAX {
                return Err(OpError { reason: "the length does not fit", at: 0 });
            }
            let (layout, entity, end) = whom(bytes, bytes.len())?;
            let bytes = &bytes[end..];
            if !bytes.len().is_multiple_of(size_of::<u64>()) {
                return Err(OpError { reason: "part of a word", at: end });
            }
            return Ok(Self::Merge(Merge { layout, entity, bytes }));
        }
        if head & 0xff != KIND_REMOVE && head & 0xff != REMOVE_ASKED {
            return Op::decode(bytes).map(Self::Event);
        }
        if head >> 8 != bytes.len() as u32 {
            return Err(OpError { reason: "the length does not fit", at: 0 });
        }
        let (layout, entity, end) = whom(bytes, bytes.len())?;
        if end != bytes.len() {
            return Err(OpError { reason: "bytes behind the entity", at: end });
        }
        Ok(Self::Remove(Remove { layout, entity, is_asked: head & 0xff == REMOVE_ASKED }))
    }

    /// Whom it is about.
    pub fn entity(&self) -> &'a [u8] {
        match self {
            Self::Event(op) => op.entity,
            Self::Remove(remove) => remove.entity,
            Self::Merge(merge) => merge.entity,
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
    /// Whether a client asked for it; else it made room.
    pub is_asked: bool,
}

/// Notes in an operation that is about to be logged that it started its entity anew: when a record is reclaimed is not logged, so
/// the replay could not know.
pub fn mark_anew(op: &mut [u8]) {
    op[0] |= ANEW;
}

/// Makes an event that is about to be logged one that was not counted and moved the clock of its stream.
pub fn mark_noted(op: &mut [u8]) {
    op[0] |= NOTED as u8;
}

/// Whether the bytes are a REMOVE's rather than an event's.
#[inline]
pub fn is_remove(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|&byte| u32::from(byte & 0xf) == KIND_REMOVE)
}

/// Whether the bytes are a MERGE's.
#[inline]
pub fn is_merge(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|&byte| u32::from(byte) == KIND_MERGE)
}

/// The layout that an operation names; `None` when the bytes are none.
#[inline]
pub fn layout(bytes: &[u8]) -> Option<LayoutId> {
    match *bytes.get(HEAD_BYTES)? {
        byte if byte < 0x80 => Some(LayoutId(u32::from(byte))),
        _ => Reader { bytes, at: HEAD_BYTES }.varint().ok().map(LayoutId),
    }
}

/// The same operation under the name of another layout of its stream, of the same fields as far as it has them.
///
/// # Panics
/// When the bytes are not an operation.
pub fn relabel(bytes: &[u8], layout: LayoutId) -> Vec<u8> {
    let mut reader = Reader { bytes, at: HEAD_BYTES };
    reader.varint().expect("an operation as it was encoded");
    let mut relabelled = bytes[..HEAD_BYTES].to_vec();
    put_varint(&mut relabelled, layout.0);
    relabelled.extend_from_slice(&bytes[reader.at..]);
    let head = u32::from_le_bytes(*bytes.first_chunk().expect("an operation as it was encoded"));
    let head = head & !(((1 << LENGTH_BITS) - 1) << 8) | (relabelled.len() as u32) << 8;
    relabelled[..HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
    relabelled
}

/// The bytes of the operation that `bytes` begins with.
///
/// # Errors
/// When the bytes end before the operation does.
pub fn first(bytes: &[u8]) -> Result<&[u8], OpError> {
    let head = head(bytes)?;
    let length_bits = if head & 0xff == KIND_MERGE { 24 } else { LENGTH_BITS };
    let length = (head >> 8 & ((1 << length_bits) - 1)) as usize;
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

/// The first word.
#[inline]
fn head(bytes: &[u8]) -> Result<u32, OpError> {
    let head = bytes.first_chunk().ok_or(OpError { reason: "it ends early", at: 0 })?;
    Ok(u32::from_le_bytes(*head))
}

/// Layout and entity, and where the entity ends: not behind `end`.
#[inline(always)]
fn whom(bytes: &[u8], end: usize) -> Result<(LayoutId, &[u8], usize), OpError> {
    const ONE_BYTE: u8 = 0x80;
    let (layout, entity_bytes, at) = match bytes.get(HEAD_BYTES..HEAD_BYTES + 2) {
        Some(&[layout, entity_bytes]) if (layout | entity_bytes) < ONE_BYTE => {
            (u32::from(layout), usize::from(entity_bytes), HEAD_BYTES + 2)
        }
        _ => varints(bytes)?,
    };
    // An entity's length is at most 32 bits: this does not overflow.
    let entity_end = at + entity_bytes;
    if !(1..=ENTITY_BYTES_MAX).contains(&entity_bytes) {
        return Err(OpError { reason: "an entity has 1 to 1,024 bytes", at });
    }
    match bytes.get(at..entity_end) {
        Some(entity) if entity_end <= end => Ok((LayoutId(layout), entity, entity_end)),
        _ => Err(OpError { reason: "it ends early", at }),
    }
}

/// Layout and bytes of the entity, however long the two numbers are, and where the entity begins.
#[cold]
fn varints(bytes: &[u8]) -> Result<(u32, usize, usize), OpError> {
    let mut reader = Reader { bytes, at: HEAD_BYTES };
    let layout = reader.varint()?;
    let entity_bytes = reader.varint()?;
    Ok((layout, entity_bytes as usize, reader.at))
}
