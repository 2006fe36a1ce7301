//! Values by event time: the k newest, the newest, the oldest.
//!
//! ```text
//! lastk        word 0: entries; then each: event time, value (see `stored`); oldest first, of one time in order of arrival
//! first, last  event time (i64::MIN: nothing yet), value
//! ```
//!
//! Of values of one time, the later arrival is the newer. They are of one bucket, so that buckets can be merged in any order.

use super::grown;
use super::span::{Span, SpanMut};
use super::stored::{self, Stored};
use crate::definition::FieldType;
use crate::error::Corrupt;
use crate::value::Value;
use crate::words::{Words, WordsMut};
use std::cmp::Reverse;

/// The event time of nothing.
const NONE: i64 = i64::MIN;

/// Which of a bucket's values is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Oldest,
    Newest,
}

fn time_at<W: Words + ?Sized>(span: Span<'_, W>, at: usize) -> i64 {
    span.get(at).cast_signed()
}

impl End {
    pub(super) fn start<W: WordsMut + ?Sized>(span: &mut SpanMut<'_, W>) {
        span.clear();
        span.set(0, NONE.cast_unsigned());
    }

    /// Whether a value at `at_ms` is kept rather than the one in the span.
    fn prefers<W: Words + ?Sized>(self, span: Span<'_, W>, at_ms: i64) -> bool {
        let kept_ms = time_at(span, 0);
        kept_ms == NONE
            || match self {
                Self::Oldest => at_ms < kept_ms,
                Self::Newest => at_ms >= kept_ms,
            }
    }

    pub(super) fn room<W: Words + ?Sized>(
        self,
        span: Span<'_, W>,
        at_ms: i64,
        value: &Stored<'_>,
    ) -> Option<usize> {
        let needed = 1 + value.words();
        (needed > span.len() && self.prefers(span, at_ms))
            .then(|| grown(needed, 1 + stored::words_max(FieldType::String)))
    }

    pub(super) fn add<W: WordsMut + ?Sized>(self, span: &mut SpanMut<'_, W>, at_ms: i64, value: &Stored<'_>) {
        if self.prefers(span.span(), at_ms) {
            span.set(0, at_ms.cast_unsigned());
            value.write(span, 1);
        }
    }

    /// The one of two that is kept; `earlier` came first.
    pub(super) fn merged(self, earlier: Span<'_, [u64]>, later: Span<'_, [u64]>) -> Vec<u64> {
        let later_ms = time_at(later, 0);
        let kept = if later_ms != NONE && self.prefers(earlier, later_ms) { later } else { earlier };
        words_of(kept, 0..kept.len()).collect()
    }

    pub(super) fn verify<W: Words + ?Sized>(span: Span<'_, W>, field: FieldType) -> Result<(), Corrupt> {
        if time_at(span, 0) == NONE {
            return Err(Corrupt("a first or last value has no time".to_owned()));
        }
        stored::verify(field, span, 1).map(|_| ())
    }
}

/// Where a value goes among the k newest.
struct Place {
    entries: usize,
    /// Where the first entry that is newer starts.
    at: usize,
    end: usize,
    /// Words of the oldest entry, which goes; 0 if none does.
    freed: usize,
}

/// `None`: it is older than all, and they are k.
fn place<W: Words + ?Sized>(span: Span<'_, W>, field: FieldType, k: u16, at_ms: i64) -> Option<Place> {
    let entries = (span.get(0) as usize).min(usize::from(k));
    let mut place = Place { entries, at: 1, end: 1, freed: 0 };
    for (at, words) in entries_of(span, field, k) {
        place.end = at + words;
        if time_at(span, at) <= at_ms {
            place.at = place.end;
        }
        if at == 1 && entries == usize::from(k) {
            place.freed = words;
        }
    }
    (entries < usize::from(k) || place.at > 1).then_some(place)
}

/// Where each entry is, and its words, as far as they are within the span.
fn entries_of<W: Words + ?Sized>(
    span: Span<'_, W>,
    field: FieldType,
    k: u16,
) -> impl Iterator<Item = (usize, usize)> {
    let mut end = 1;
    (0..(span.get(0) as usize).min(usize::from(k))).map_while(move |_| {
        let at = end;
        let words = 1 + stored::words_by(field, span.get(at + 1));
        end += words;
        (end <= span.len()).then_some((at, words))
    })
}

pub(super) fn room<W: Words + ?Sized>(
    span: Span<'_, W>,
    field: FieldType,
    k: u16,
    at_ms: i64,
    value: &Stored<'_>,
) -> Option<usize> {
    let place = place(span, field, k, at_ms)?;
    let needed = place.end - place.freed + 1 + value.words();
    (needed > span.len()).then(|| grown(needed, words_max(field, k)))
}

pub(super) fn add<W: WordsMut + ?Sized>(
    span: &mut SpanMut<'_, W>,
    field: FieldType,
    k: u16,
    at_ms: i64,
    value: &Stored<'_>,
) {
    let Some(place) = place(span.span(), field, k, at_ms) else { return };
    let words = 1 + value.words();
    // What is between the oldest, which goes, and the new one moves down; what is behind it makes room.
    let at = place.at.saturating_sub(place.freed).max(1);
    let newer = place.end - place.at;
    if at + words > place.at {
        span.shift(place.at, at + words, newer);
        span.shift(1 + place.freed, 1, at - 1);
    } else {
        span.shift(1 + place.freed, 1, at - 1);
        span.shift(place.at, at + words, newer);
    }
    span.set(at, at_ms.cast_unsigned());
    value.write(span, at + 1);
    span.set(0, (place.entries + usize::from(place.freed == 0)) as u64);
}

/// The newest k of two lists; of one time, those of `earlier` came first.
pub(super) fn merged(earlier: Span<'_, [u64]>, later: Span<'_, [u64]>, field: FieldType, k: u16) -> Vec<u64> {
    let entries =
        |span| entries_of(span, field, k).map(move |(at, words)| (time_at(span, at), span, at, words));
    let mut all: Vec<_> = entries(earlier).chain(entries(later)).collect();
    // Stable: of one time, in order of arrival.
    all.sort_by_key(|&(time_ms, ..)| time_ms);
    let kept = &all[all.len().saturating_sub(usize::from(k))..];
    let mut payload = vec![kept.len() as u64];
    for &(_, span, at, words) in kept {
        payload.extend(words_of(span, at..at + words));
    }
    payload
}

fn words_of(span: Span<'_, [u64]>, range: std::ops::Range<usize>) -> impl Iterator<Item = u64> {
    range.map(move |index| span.get(index))
}

pub(super) fn words_max(field: FieldType, k: u16) -> usize {
    1 + usize::from(k) * (1 + stored::words_max(field))
}

pub(super) fn verify<W: Words + ?Sized>(span: Span<'_, W>, field: FieldType, k: u16) -> Result<(), Corrupt> {
    let entries = span.get(0);
    if entries > u64::from(k) {
        return Err(Corrupt(format!("a list of newest values has {entries} (most: {k})")));
    }
    let (mut at, mut before_ms) = (1, NONE);
    for _ in 0..entries {
        let at_ms = time_at(span, at);
        if at_ms == NONE || at_ms < before_ms {
            return Err(Corrupt(format!(
                "a list of newest values has one of {at_ms} ms after one of {before_ms} ms"
            )));
        }
        before_ms = at_ms;
        at = stored::verify(field, span, at + 1)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Event time, or its opposite where the oldest is looked for; then the order in which it was merged: larger is better.
    rank: (i64, usize),
    at: usize,
    words: usize,
}

/// The newest (or oldest) values of a window.
#[derive(Debug, Default)]
pub(super) struct Latest {
    k: usize,
    entries: Vec<Entry>,
    words: Vec<u64>,
    merged: usize,
    /// Entries below are not among the best.
    cut: i64,
}

impl Latest {
    pub(super) fn begin(&mut self, k: usize) {
        self.k = k;
        self.entries.clear();
        self.words.clear();
        self.merged = 0;
        self.cut = i64::MIN;
    }

    /// Adds a bucket of `lastk`.
    pub(super) fn merge_list<W: Words + ?Sized>(&mut self, span: Span<'_, W>, field: FieldType, k: u16) {
        for (at, words) in entries_of(span, field, k) {
            self.add(span, time_at(span, at), at + 1, words - 1);
        }
    }

    /// Adds a bucket of `first` or `last`.
    pub(super) fn merge_end<W: Words + ?Sized>(&mut self, span: Span<'_, W>, field: FieldType, end: End) {
        let time_ms = time_at(span, 0);
        let words = stored::words_by(field, span.get(1));
        if time_ms != NONE && words < span.len() {
            self.add(span, if end == End::Newest { time_ms } else { !time_ms }, 1, words);
        }
    }

    fn add<W: Words + ?Sized>(&mut self, span: Span<'_, W>, rank: i64, from: usize, words: usize) {
        self.merged += 1;
        if rank < self.cut {
            return;
        }
        let at = self.words.len();
        self.words.extend((from..from + words).map(|index| span.get(index)));
        self.entries.push(Entry { rank: (rank, self.merged), at, words });
        if self.entries.len() > 2 * self.k {
            self.select();
        }
    }

    /// Leaves the best k.
    fn select(&mut self) {
        if self.entries.len() > self.k {
            self.entries.select_nth_unstable_by_key(self.k, |entry| Reverse(entry.rank));
            self.entries.truncate(self.k);
            self.cut = self.entries.iter().map(|entry| entry.rank.0).min().unwrap_or(i64::MIN);
        }
    }

    /// The best k, best first.
    pub(super) fn values(&mut self, field: FieldType) -> impl Iterator<Item = Value> {
        self.select();
        self.entries.sort_unstable_by_key(|entry| Reverse(entry.rank));
        let Self { entries, words, .. } = self;
        entries.iter().map(move |entry| stored::value(field, &words[entry.at..entry.at + entry.words]))
    }
}
