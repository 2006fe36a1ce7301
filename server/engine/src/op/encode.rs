//! Writing operations.

use windrow_window::definition::FIELDS_MAX;

use super::{
    CLAMPED, DISTANCE_BYTES_AT, HEAD_BYTES, Judged, KIND_EVENT, KIND_MERGE, KIND_REMOVE, MARK_ID,
    MARK_SOURCE, MARKED, MERGE_BYTES_MAX, NOTED, OP_BYTES_MAX, REMOVE_ASKED, SKEWED, TIME_BYTES_AT,
    TIME_BYTES_MAX,
};
use crate::catalogue::LayoutId;
use crate::dedup::{Mark, SEQ_MAX, SourceSeq};

/// Of an event without strings: what its operation takes beside the entity, most often.
const USUAL_BYTES: usize = 64;

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
            Judged::Clamped => CLAMPED,
            Judged::Skewed => SKEWED,
            Judged::Noted => NOTED,
        };
        let head = KIND_EVENT
            | judged
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

/// Writes a REMOVE at the end of a buffer; `is_asked`: by a client, not to make room.
pub fn encode_remove(out: &mut Vec<u8>, layout: LayoutId, entity: &[u8], is_asked: bool) {
    let start = out.len();
    put_whom(out, layout, entity);
    let bytes = out.len() - start;
    assert!(bytes <= OP_BYTES_MAX, "an operation of {bytes} bytes");
    let head = if is_asked { REMOVE_ASKED } else { KIND_REMOVE } | (bytes as u32) << 8;
    out[start..start + HEAD_BYTES].copy_from_slice(&head.to_le_bytes());
}

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

pub(super) fn put_varint(out: &mut Vec<u8>, value: u32) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
