//! Counts of the first k values that arrive in a bucket, and of the rest: exact, if there are no more than k.
//!
//! The head's count is that of the rest.

use super::counters;
use super::grown;
use super::span::{Span, SpanMut};
use super::stored::Stored;
use crate::definition::FieldType;
use crate::error::Corrupt;
use crate::words::{Words, WordsMut};

pub(super) fn room<W: Words + ?Sized>(
    span: Span<'_, W>,
    field: FieldType,
    k: u16,
    value: &Stored<'_>,
) -> Option<usize> {
    let found = counters::find(span, field, usize::from(k), value);
    if found.entry.is_some() || found.entries >= usize::from(k) {
        return None;
    }
    let needed = found.end + 1 + value.words();
    (needed > span.len()).then(|| grown(needed, words_max(field, k)))
}

pub(super) fn add<W: WordsMut + ?Sized>(
    span: &mut SpanMut<'_, W>,
    field: FieldType,
    k: u16,
    value: &Stored<'_>,
) {
    let found = counters::find(span.span(), field, usize::from(k), value);
    let rest = counters::head_count(span.span());
    if let Some(entry) = found.entry {
        counters::increment(span, entry);
    } else if found.entries >= usize::from(k) {
        counters::set_head(span, found.entries, rest + 1);
    } else {
        counters::write(span, found.end, 1, value);
        counters::set_head(span, found.entries + 1, rest);
    }
}

pub(super) fn words_max(field: FieldType, k: u16) -> usize {
    counters::words_max(field, usize::from(k))
}

pub(super) fn verify<W: Words + ?Sized>(span: Span<'_, W>, field: FieldType, k: u16) -> Result<(), Corrupt> {
    let rest = counters::head_count(span);
    if rest > 0 && counters::entries(span, usize::from(k)) < usize::from(k) {
        return Err(Corrupt(format!("a count by value has a rest ({rest}) before it is full")));
    }
    counters::verify(span, field, usize::from(k), 1)
}
