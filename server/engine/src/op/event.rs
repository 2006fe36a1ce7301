//! Events, read in place.

use windrow_window::Layout;
use windrow_window::definition::{FIELDS_MAX, FieldType};
use windrow_window::timestamp::TIMESTAMP_ABS_MAX;

use super::reader::Reader;
use super::{
    ANEW, CLAMPED, DISTANCE_BYTES_AT, JUDGED_MASK, Judged, KIND_EVENT, KIND_MASK, LENGTH_BITS, MARK_ID,
    MARK_SOURCE, MARKED, OpError, SKEWED, TIME_BYTES_AT, TIME_BYTES_MAX, VALUES_AT_MIN, head, layout, whom,
};
use crate::catalogue::LayoutId;
use crate::dedup::{Mark, SEQ_MAX, SourceSeq};

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

/// Bytes of the value of a field of numbers.
const NUMBER_BYTES: usize = 1 + size_of::<u64>();

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
        if head & KIND_MASK != KIND_EVENT {
            return Err(OpError { reason: "unknown kind", at: 0 });
        }
        let judged = match head & JUDGED_MASK {
            0 => Judged::Ok,
            CLAMPED => Judged::Clamped,
            SKEWED => Judged::Skewed,
            _ => Judged::Noted,
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
    #[inline]
    pub fn values(&self, layout: &Layout, words: &mut [u64; FIELDS_MAX]) -> Result<u64, OpError> {
        let mut present = 0;
        let mut rest = self.values;
        // As long as they are numbers.
        while let Some((&[field, ref word @ ..], behind)) = rest.split_first_chunk::<NUMBER_BYTES>() {
            match layout.fields.get(usize::from(field)) {
                Some(declared) if declared.kind != FieldType::String => {}
                _ => break,
            }
            let place =
                words.get_mut(usize::from(field)).ok_or(OpError { reason: "unknown field", at: 0 })?;
            *place = u64::from_le_bytes(*word);
            present |= 1 << field;
            rest = behind;
        }
        if rest.is_empty() {
            return Ok(present);
        }
        self.any_values(layout, words, present, self.values.len() - rest.len())
    }

    /// Likewise for values of any kind, from `at` on.
    #[inline(never)]
    fn any_values(
        &self,
        layout: &Layout,
        words: &mut [u64; FIELDS_MAX],
        mut present: u64,
        at: usize,
    ) -> Result<u64, OpError> {
        let mut reader = Reader { bytes: self.values, at };
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

#[inline]
fn unzigzag(zigzag: u64) -> i64 {
    (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())
}
