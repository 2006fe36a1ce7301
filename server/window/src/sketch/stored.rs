//! How a value stands in a sketch's words.
//!
//! ```text
//! INT, FLOAT   one word
//! STRING       its length (u16), its bytes, zeros up to a whole word: the first word has the length and six bytes,
//!              so most values that differ do so there
//! ```

use super::SketchValue;
use super::span::{Span, SpanMut};
use crate::definition::{FieldType, STRING_BYTES_MAX};
use crate::error::Corrupt;
use crate::value::Value;
use crate::words::{Words, WordsMut};

const LENGTH_BYTES: usize = 2;
/// The most words of a STRING.
const STRING_WORDS_MAX: usize = (LENGTH_BYTES + STRING_BYTES_MAX).div_ceil(8);

/// A value as the words it is stored in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    /// The first word: most values that differ do so in it.
    first: u64,
    bytes: Option<&'a [u8]>,
}

impl<'a> Stored<'a> {
    #[inline]
    pub(super) fn new(field: FieldType, value: &SketchValue<'a>) -> Self {
        match field {
            FieldType::Int => Self { first: value.word, bytes: None },
            // −0 equals 0.
            FieldType::Float => Self { first: (f64::from_bits(value.word) + 0.0).to_bits(), bytes: None },
            FieldType::String => {
                let bytes = value.bytes.unwrap_or_default();
                let bytes = &bytes[..bytes.len().min(STRING_BYTES_MAX)];
                let (head, _) = bytes.split_at(bytes.len().min(8 - LENGTH_BYTES));
                Self { first: bytes.len() as u64 | eight(head) << (8 * LENGTH_BYTES), bytes: Some(bytes) }
            }
        }
    }

    /// How many words.
    #[inline]
    pub(super) fn words(&self) -> usize {
        self.bytes.map_or(1, |bytes| (LENGTH_BYTES + bytes.len()).div_ceil(8))
    }

    /// One of them.
    #[inline]
    pub(super) fn word(&self, index: usize) -> u64 {
        match self.bytes {
            Some(bytes) if index > 0 => eight(&bytes[(8 * index - LENGTH_BYTES).min(bytes.len())..]),
            _ => self.first,
        }
    }

    /// Whether it stands at `at`.
    #[inline]
    pub(super) fn is_at<W: Words + ?Sized>(&self, span: Span<'_, W>, at: usize) -> bool {
        (0..self.words()).all(|index| span.get(at + index) == self.word(index))
    }

    /// Puts it at `at`.
    pub(super) fn write<W: WordsMut + ?Sized>(&self, span: &mut SpanMut<'_, W>, at: usize) {
        for index in 0..self.words() {
            span.set(at + index, self.word(index));
        }
    }
}

/// Up to eight bytes as a word, with zeros behind them.
#[inline]
fn eight(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    let taken = bytes.len().min(8);
    eight[..taken].copy_from_slice(&bytes[..taken]);
    u64::from_le_bytes(eight)
}

/// The most words of a value.
pub(super) fn words_max(field: FieldType) -> usize {
    if field == FieldType::String { STRING_WORDS_MAX } else { 1 }
}

/// Words of a stored value, by its first.
#[inline]
pub(super) fn words_by(field: FieldType, first: u64) -> usize {
    if field == FieldType::String { (LENGTH_BYTES + length_by(first)).div_ceil(8) } else { 1 }
}

#[inline]
fn length_by(first: u64) -> usize {
    ((first & 0xffff) as usize).min(STRING_BYTES_MAX)
}

/// A stored value's words as bytes; none for a number.
pub(super) fn bytes(words: &[u64]) -> impl Iterator<Item = u8> + '_ {
    let length = words.first().map_or(0, |&first| length_by(first));
    words.iter().flat_map(|word| word.to_le_bytes()).skip(LENGTH_BYTES).take(length)
}

/// A stored value as it is replied.
pub(super) fn value(field: FieldType, words: &[u64]) -> Value {
    let word = words.first().copied().unwrap_or(0);
    match field {
        FieldType::Int => Value::Int(word.cast_signed()),
        FieldType::Float => Value::Float(f64::from_bits(word)),
        FieldType::String => Value::Bytes(bytes(words).collect()),
    }
}

/// The order of two stored values: numbers as numbers, strings by their bytes.
pub(super) fn compare(field: FieldType, one: &[u64], other: &[u64]) -> std::cmp::Ordering {
    let word = |words: &[u64]| words.first().copied().unwrap_or(0);
    match field {
        FieldType::Int => word(one).cast_signed().cmp(&word(other).cast_signed()),
        FieldType::Float => f64::from_bits(word(one)).total_cmp(&f64::from_bits(word(other))),
        FieldType::String => bytes(one).cmp(bytes(other)),
    }
}

/// Whether a value can stand at `at`; where it ends.
pub(super) fn verify<W: Words + ?Sized>(
    field: FieldType,
    span: Span<'_, W>,
    at: usize,
) -> Result<usize, Corrupt> {
    let first = span.get(at);
    let end = at + words_by(field, first);
    if at >= span.len() || end > span.len() {
        return Err(Corrupt(format!(
            "a value at word {at} of a sketch ends behind its {} words",
            span.len()
        )));
    }
    match field {
        FieldType::Int => {}
        FieldType::Float => {
            let number = f64::from_bits(first);
            if !number.is_finite() || first == (-0f64).to_bits() {
                return Err(Corrupt(format!(
                    "a sketch holds {number}, which is not a value of a FLOAT field"
                )));
            }
        }
        FieldType::String => {
            let length = (first & 0xffff) as usize;
            if length > STRING_BYTES_MAX {
                return Err(Corrupt(format!(
                    "a sketch holds a string of {length} bytes (most: {STRING_BYTES_MAX})"
                )));
            }
            let unused = 8 * (end - at) - LENGTH_BYTES - length;
            if unused > 0 && span.get(end - 1) >> (8 * (8 - unused)) != 0 {
                return Err(Corrupt(format!("a sketch's string of {length} bytes is followed by others")));
            }
        }
    }
    Ok(end)
}
