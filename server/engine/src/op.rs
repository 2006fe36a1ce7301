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

use std::fmt;

use windrow_window::Layout;
use windrow_window::definition::{ENTITY_BYTES_MAX, FIELDS_MAX, FieldType};
use windrow_window::timestamp::TIMESTAMP_ABS_MAX;

use crate::catalogue::LayoutId;
use crate::dedup::{Mark, SEQ_MAX, SourceSeq};

const KIND_EVENT: u32 = 1;
const KIND_REMOVE: u32 = 2;
const KIND_MERGE: u32 = 3;
const REMOVE_ASKED: u32 = KIND_REMOVE | 1 << 4;
const EVENT_CLAMPED: u32 = KIND_EVENT | 1 << 4;
const EVENT_SKEWED: u32 = KIND_EVENT | 2 << 4;
const EVENT_NOTED: u32 = KIND_EVENT | 3 << 4;
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
/// Of an event without strings: what its operation takes beside the entity, most often.
const USUAL_BYTES: usize = 64;

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

/// Writes one operation at the end of a buffer.
pub struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    is_marked: bool,
}

impl<'o> Encoder<'o> {
    /// Begins an EVENT.
    #[inline]
    pub fn start(out: &'o mut Vec<u8>, layout: LayoutId, entity: &[u8]) -> Self {
        let start = out.len();
        out.reserve(USUAL_BYTES + entity.len());
        put_whom(out, layout, entity);
        Self { out, start, is_marked: false }
    }

    /// Adds a mark that says something: before the values, at most once.
    pub fn mark(&mut self, mark: &Mark) {
        debug_assert!(!self.is_marked && !mark.is_empty());
        self.is_marked = true;
        let flag = |is_there, flag| if is_there { flag } else { 0 };
        self.out.push(flag(mark.id.is_some(), MARK_ID) | flag(mark.source.is_some(), MARK_SOURCE));
        if let Some(fingerprint) = mark.id {
            debug_assert_ne!(fingerprint, 0);
            self.out.extend_from_slice(&fingerprint.to_le_bytes());
        }
        if let Some(SourceSeq { source, seq }) = mark.source {
            debug_assert!(seq <= SEQ_MAX);
            self.out.extend_from_slice(&source.to_le_bytes());
            self.out.extend_from_slice(&seq.to_le_bytes());
        }
    }

    /// Adds the value of a FLOAT or INT field.
    #[inline]
    pub fn word(&mut self, field: usize, word: u64) {
        let mut value = [field_byte(field); 1 + size_of::<u64>()];
        value[1..].copy_from_slice(&word.to_le_bytes());
        self.out.extend_from_slice(&value);
    }

    /// Adds the value of a STRING field.
    pub fn bytes(&mut self, field: usize, bytes: &[u8]) {
        self.out.push(field_byte(field));
        put_varint(self.out, u32::try_from(bytes.len()).expect("strings are bounded by STRING_BYTES_MAX"));
        self.out.extend_from_slice(bytes);
    }

    /// Ends the operation.
    ///
    /// # Panics
    /// When a time is beyond [`TIMESTAMP_ABS_MAX`], or the operation beyond [`OP_BYTES_MAX`].
    #[inline(always)]
    pub fn finish(self, judged: Judged, ts: i64, clock_ms: i64) {
        let (time, distance) = (zigzag(ts), zigzag(clock_ms.wrapping_sub(ts)));
        let (time_bytes, distance_bytes) = (bytes_of(time | 1), bytes_of(distance));
        let end = self.out.len() + time_bytes + distance_bytes;
        let bytes = end - self.start;
        if time_bytes.max(distance_bytes) > TIME_BYTES_MAX || bytes > OP_BYTES_MAX {
            does_not_fit(ts, clock_ms, bytes);
        }
        let times = u128::from(time) | u128::from(distance) << (8 * time_bytes);
        self.out.extend_from_slice(&times.to_le_bytes());
        self.out.truncate(end);
        let judged = match judged {
            Judged::Ok => 0,
            Judged::Clamped => 1,
            Judged::Skewed => 2,
            Judged::Noted => 3,
        };
        let head = KIND_EVENT
            | judged << 4
            | if self.is_marked { u32::from(MARKED) } else { 0 }
            | (bytes as u32) << 8
            | (time_bytes as u32) << TIME_BYTES_AT
            | (distance_bytes as u32) << DISTANCE_BYTES_AT;
        self.out[self.start..self.start + HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
    }
}

fn field_byte(field: usize) -> u8 {
    debug_assert!(field < FIELDS_MAX);
    field as u8
}

/// Writes room for the head, then layout and entity.
#[inline]
fn put_whom(out: &mut Vec<u8>, layout: LayoutId, entity: &[u8]) {
    const ONE_BYTE: usize = 0x80;
    if (layout.0 as usize) < ONE_BYTE && entity.len() < ONE_BYTE {
        out.extend_from_slice(&[0, 0, 0, 0, layout.0 as u8, entity.len() as u8]);
    } else {
        put_long_numbers(out, layout, entity.len());
    }
    out.extend_from_slice(entity);
}

/// What is before an entity, if a number takes more than one byte.
#[cold]
fn put_long_numbers(out: &mut Vec<u8>, layout: LayoutId, entity_bytes: usize) {
    out.extend_from_slice(&[0; HEAD_BYTES]);
    put_varint(out, layout.0);
    put_varint(out, u32::try_from(entity_bytes).expect("entities are bounded by ENTITY_BYTES_MAX"));
}

/// In a REMOVE on its way to its owner: the entity's records of all streams. The log names each.
pub const EVERY_STREAM: LayoutId = LayoutId(u32::MAX);

/// Writes a REMOVE at the end of a buffer; `is_asked`: by a client, not to make room.
pub fn encode_remove(out: &mut Vec<u8>, layout: LayoutId, entity: &[u8], is_asked: bool) {
    let start = out.len();
    put_whom(out, layout, entity);
    let bytes = out.len() - start;
    assert!(bytes <= OP_BYTES_MAX, "an operation of {bytes} bytes");
    let head = if is_asked { REMOVE_ASKED } else { KIND_REMOVE } | (bytes as u32) << 8;
    out[start..start + HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
}

/// Most bytes of a MERGE: the largest record, and what stands around it.
pub const MERGE_BYTES_MAX: usize = (2 << 20) + OP_BYTES_MAX;
const _: () = assert!(MERGE_BYTES_MAX < 1 << 24);

/// Writes a MERGE at the end of a buffer.
pub fn encode_merge(out: &mut Vec<u8>, layout: LayoutId, entity: &[u8], words: &[u64]) {
    let start = out.len();
    put_whom(out, layout, entity);
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    let bytes = out.len() - start;
    assert!(bytes <= MERGE_BYTES_MAX, "an operation of {bytes} bytes");
    let head = KIND_MERGE | (bytes as u32) << 8;
    out[start..start + HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
}

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
    /// What it says so that it is counted once.
    pub mark: Mark,
    values: &'a [u8],
}

/// As much of an event's operation as tells which cells of its entity's record it will change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpHead {
    /// The layout that names its stream and fields.
    pub layout: LayoutId,
    /// Event time.
    pub ts: i64,
}

impl OpHead {
    /// Reads it from an operation; `None` when the bytes cannot be an event's. What is read is not checked further.
    #[inline]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let head = head(bytes).ok()?;
        let (ts, ..) = times(bytes, head)?;
        Some(Self { layout: layout(bytes)?, ts })
    }
}

impl<'a> Op<'a> {
    /// Reads the operation that `bytes` is.
    ///
    /// # Errors
    /// When the bytes are not exactly one operation.
    #[inline(always)]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, OpError> {
        let head = head(bytes)?;
        if head >> 8 & ((1 << LENGTH_BITS) - 1) != bytes.len() as u32 {
            return Err(OpError { reason: "the length does not fit", at: 0 });
        }
        let judged = match head & 0xff & !u32::from(ANEW | MARKED) {
            KIND_EVENT => Judged::Ok,
            EVENT_CLAMPED => Judged::Clamped,
            EVENT_SKEWED => Judged::Skewed,
            EVENT_NOTED => Judged::Noted,
            _ => return Err(OpError { reason: "unknown kind", at: 0 }),
        };
        let (ts, clock_ms, values_end) =
            times(bytes, head).ok_or(OpError { reason: "it ends early", at: bytes.len() })?;
        let is_in_range = |ms: i64| (-TIMESTAMP_ABS_MAX..=TIMESTAMP_ABS_MAX).contains(&ms);
        if !is_in_range(ts) || !is_in_range(clock_ms) {
            return Err(OpError { reason: "a time is out of range", at: values_end });
        }
        let (layout, entity, entity_end) = whom(bytes, values_end)?;
        let (mark, values_at) = if head & u32::from(MARKED) == 0 {
            (Mark::default(), entity_end)
        } else {
            mark(&bytes[..values_end], entity_end)?
        };
        Ok(Self {
            judged,
            starts_anew: head & u32::from(ANEW) != 0,
            layout,
            entity,
            ts,
            clock_ms,
            mark,
            values: &bytes[values_at..values_end],
        })
    }

    /// What the words of STRING values say the place in.
    pub fn value_bytes(&self) -> &'a [u8] {
        self.values
    }

    /// Writes the values into `words`, a word a field, and answers which fields are present. A STRING's word is its place in
    /// the operation's values: offset in the low half, bytes in the high one.
    ///
    /// # Errors
    /// When the values are not those of the layout.
    pub fn values(&self, layout: &Layout, words: &mut [u64; FIELDS_MAX]) -> Result<u64, OpError> {
        let mut reader = Reader { bytes: self.values, at: 0 };
        let mut present = 0u64;
        while let Some(&field) = self.values.get(reader.at) {
            reader.at += 1;
            let field = usize::from(field);
            let declared =
                layout.fields.get(field).ok_or(OpError { reason: "unknown field", at: reader.at })?;
            words[field] = match declared.kind {
                FieldType::Float | FieldType::Int => reader.word()?,
                FieldType::String => {
                    let bytes = reader.varint()?;
                    let at = reader.at as u64;
                    reader.take(bytes as usize)?;
                    at | u64::from(bytes) << 32
                }
            };
            present |= 1 << field;
        }
        Ok(present)
    }
}

/// Notes in an operation that is about to be logged that it started its entity anew: when a record is reclaimed is not logged, so
/// the replay could not know.
pub fn mark_anew(op: &mut [u8]) {
    op[0] |= ANEW;
}

/// Makes an event that is about to be logged one that was not counted and moved the clock of its stream.
pub fn mark_noted(op: &mut [u8]) {
    op[0] |= EVENT_NOTED as u8;
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

/// The mark that begins at `at`, and where it ends.
fn mark(bytes: &[u8], at: usize) -> Result<(Mark, usize), OpError> {
    let mut reader = Reader { bytes, at };
    let flags = reader.take(1)?[0];
    if flags == 0 || flags & !(MARK_ID | MARK_SOURCE) != 0 {
        return Err(OpError { reason: "unknown mark", at });
    }
    let mut mark = Mark::default();
    if flags & MARK_ID != 0 {
        mark.id = Some(reader.word()?).filter(|&fingerprint| fingerprint != 0);
        if mark.id.is_none() {
            return Err(OpError { reason: "an id without fingerprint", at });
        }
    }
    if flags & MARK_SOURCE != 0 {
        let (source, seq) = (reader.word()?, reader.word()?);
        if seq > SEQ_MAX {
            return Err(OpError { reason: "a sequence number is too large", at });
        }
        mark.source = Some(SourceSeq { source, seq });
    }
    Ok((mark, reader.at))
}

/// Event time and clock at the end of an event, whose first word is `head`, and where they begin.
#[inline(always)]
fn times(bytes: &[u8], head: u32) -> Option<(i64, i64, usize)> {
    let time_bytes = (head >> TIME_BYTES_AT) as usize & TIME_BYTES_MAX;
    let distance_bytes = (head >> DISTANCE_BYTES_AT) as usize;
    if time_bytes == 0 || bytes.len() < VALUES_AT_MIN + time_bytes + distance_bytes {
        return None;
    }
    let time_end = bytes.len() - distance_bytes;
    let ts = unzigzag(last_bytes(&bytes[..time_end], time_bytes)?);
    let distance = unzigzag(last_bytes(bytes, distance_bytes)?);
    // Each has at most 56 bits.
    Some((ts, ts + distance, time_end - time_bytes))
}

/// The last `count` bytes as a number; `None` when there are less than eight bytes.
#[inline]
fn last_bytes(bytes: &[u8], count: usize) -> Option<u64> {
    debug_assert!(count <= TIME_BYTES_MAX);
    let word = u64::from_le_bytes(*bytes.last_chunk()?);
    // In two steps: none of the bytes would be a shift by all 64 bits.
    Some(word >> 8 >> (8 * (TIME_BYTES_MAX - count)))
}

#[cold]
fn does_not_fit(ts: i64, clock_ms: i64, bytes: usize) -> ! {
    panic!("an operation of {bytes} bytes at {ts} by {clock_ms} ms is beyond what an operation can be");
}

#[inline]
fn zigzag(ms: i64) -> u64 {
    (ms << 1 ^ ms >> 63).cast_unsigned()
}

/// Bytes of a number without its leading zeros.
#[inline]
fn bytes_of(number: u64) -> usize {
    size_of::<u64>() - number.leading_zeros() as usize / 8
}

#[inline]
fn unzigzag(zigzag: u64) -> i64 {
    (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())
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

    #[inline]
    fn word(&mut self) -> Result<u64, OpError> {
        let word = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk);
        let word = word.ok_or(OpError { reason: "it ends early", at: self.at })?;
        self.at += word.len();
        Ok(u64::from_le_bytes(*word))
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
