//! The most frequent values: Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in
//! data streams", 2005).
//!
//! A bucket counts as many values as [`capacity`] says. One more takes the place of one with the least count, and goes on from it.
//! The head's count is the *floor*: the count of the last value that lost its place. As least counts only rise, a value that is not
//! there was seen at most so often, and one that is there at most as often as it is counted. (0: all counts are exact.)
//!
//! The union adds up, for each value, its count in each bucket, or the bucket's floor where it is not there: never less than the
//! truth, and at most a capacity's share of all events more. In a bucket of n events the counts add up to n, and the floor is not
//! above any; so the sums of any k values add up to no more than all events, and every value that is heavier than their k-th part is
//! among the k with the largest sums.

use super::counters;
use super::grown;
use super::span::{Span, SpanMut};
use super::stored::Stored;
use crate::definition::FieldType;
use crate::error::Corrupt;
use crate::words::{Words, WordsMut};

/// How many values a bucket counts.
pub(super) fn capacity(k: u16) -> usize {
    let k = usize::from(k);
    (2 * k).max(k + 8)
}

pub(super) fn room<W: Words + ?Sized>(
    span: Span<'_, W>,
    field: FieldType,
    k: u16,
    value: &Stored<'_>,
) -> Option<usize> {
    let found = counters::find(span, field, capacity(k), value);
    if found.entry.is_some() {
        return None;
    }
    let freed = match found.least {
        Some(least) if found.entries >= capacity(k) => least.words,
        _ => 0,
    };
    let needed = found.end - freed + 1 + value.words();
    (needed > span.len()).then(|| grown(needed, words_max(field, k)))
}

pub(super) fn add<W: WordsMut + ?Sized>(
    span: &mut SpanMut<'_, W>,
    field: FieldType,
    k: u16,
    value: &Stored<'_>,
) {
    let found = counters::find(span.span(), field, capacity(k), value);
    match (found.entry, found.least) {
        (Some(entry), _) => counters::increment(span, entry),
        (None, Some(least)) if found.entries >= capacity(k) => {
            let words = 1 + value.words();
            if words != least.words {
                let behind = least.at + least.words;
                span.shift(behind, least.at + words, found.end - behind);
            }
            counters::write(span, least.at, least.count.saturating_add(1), value);
            counters::set_head(span, found.entries, least.count);
        }
        _ => {
            counters::write(span, found.end, 1, value);
            counters::set_head(span, found.entries + 1, 0);
        }
    }
}

pub(super) fn words_max(field: FieldType, k: u16) -> usize {
    counters::words_max(field, capacity(k))
}

pub(super) fn verify<W: Words + ?Sized>(span: Span<'_, W>, field: FieldType, k: u16) -> Result<(), Corrupt> {
    let floor = counters::head_count(span);
    if floor > 0 && counters::entries(span, capacity(k)) < capacity(k) {
        return Err(Corrupt(format!("a count of frequent values dropped some ({floor}) before it was full")));
    }
    counters::verify(span, field, capacity(k), floor.max(1))
}
