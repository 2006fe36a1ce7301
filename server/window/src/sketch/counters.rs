//! Values with their counts: what `topk` and `countby` are made of.
//!
//! ```text
//! word 0    bits 0..16 entries, bits 16..64 a count of its own (see there)
//! entries   count, then the value (see `stored`), in the order in which they came
//! ```

use super::span::{Span, SpanMut};
use super::stored::{self, Stored};
use crate::definition::FieldType;
use crate::error::Corrupt;
use crate::words::{Words, WordsMut};

const ENTRIES_MASK: u64 = 0xffff;
const ENTRIES_BITS: u32 = 16;
/// The largest count that the head can hold.
const HEAD_COUNT_MAX: u64 = u64::MAX >> ENTRIES_BITS;

/// An entry: where it is, its words, its count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    pub at: usize,
    pub words: usize,
    pub count: u64,
}

/// What looking for a value found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The value's entry.
    pub entry: Option<Counter>,
    /// The first of those with the least count; one of as many words as the value, if there is one, so that nothing has to move.
    pub least: Option<Counter>,
    pub entries: usize,
    /// The end of what is used; of what was looked at, where the value was found.
    pub end: usize,
}

/// The count in the head.
pub(super) fn head_count<W: Words + ?Sized>(span: Span<'_, W>) -> u64 {
    span.get(0) >> ENTRIES_BITS
}

pub(super) fn set_head<W: WordsMut + ?Sized>(span: &mut SpanMut<'_, W>, entries: usize, count: u64) {
    span.set(0, head(entries, count));
}

pub(super) fn head(entries: usize, count: u64) -> u64 {
    count.min(HEAD_COUNT_MAX) << ENTRIES_BITS | entries as u64
}

pub(super) fn entries<W: Words + ?Sized>(span: Span<'_, W>, entries_max: usize) -> usize {
    ((span.get(0) & ENTRIES_MASK) as usize).min(entries_max)
}

/// The entries, as far as they are within the span.
pub(super) fn iter<W: Words + ?Sized>(
    span: Span<'_, W>,
    field: FieldType,
    entries_max: usize,
) -> impl Iterator<Item = Counter> {
    let mut at = 1;
    (0..entries(span, entries_max)).map_while(move |_| {
        let words = 1 + stored::words_by(field, span.get(at + 1));
        let counter = Counter { at, words, count: span.get(at) };
        at += words;
        (at <= span.len()).then_some(counter)
    })
}

pub(super) fn find<W: Words + ?Sized>(
    span: Span<'_, W>,
    field: FieldType,
    entries_max: usize,
    value: &Stored<'_>,
) -> Found {
    let words = 1 + value.words();
    let mut found = Found { entry: None, least: None, entries: entries(span, entries_max), end: 1 };
    for counter in iter(span, field, entries_max) {
        found.end = counter.at + counter.words;
        if value.is_at(span, counter.at + 1) {
            found.entry = Some(counter);
            break;
        }
        let rank = |counter: Counter| (counter.count, counter.words != words);
        if found.least.is_none_or(|least| rank(counter) < rank(least)) {
            found.least = Some(counter);
        }
    }
    found
}

/// Counts one more of an entry.
pub(super) fn increment<W: WordsMut + ?Sized>(span: &mut SpanMut<'_, W>, entry: Counter) {
    span.set(entry.at, entry.count.saturating_add(1));
}

/// Writes an entry.
pub(super) fn write<W: WordsMut + ?Sized>(
    span: &mut SpanMut<'_, W>,
    at: usize,
    count: u64,
    value: &Stored<'_>,
) {
    span.set(at, count);
    value.write(span, at + 1);
}

/// Words of a block with `entries` of the largest values.
pub(super) fn words_max(field: FieldType, entries: usize) -> usize {
    1 + entries * (1 + stored::words_max(field))
}

/// Checks the entries; each count is at least `count_min`.
pub(super) fn verify<W: Words + ?Sized>(
    span: Span<'_, W>,
    field: FieldType,
    entries_max: usize,
    count_min: u64,
) -> Result<(), Corrupt> {
    let entries = (span.get(0) & ENTRIES_MASK) as usize;
    if entries > entries_max {
        return Err(Corrupt(format!("a sketch counts {entries} values (most: {entries_max})")));
    }
    let mut at = 1;
    for _ in 0..entries {
        let count = span.get(at);
        if count < count_min {
            return Err(Corrupt(format!("a sketch counts {count} of a value (fewest: {count_min})")));
        }
        at = stored::verify(field, span, at + 1)?;
    }
    Ok(())
}
