//! The union of a window's values with their counts: for `topk` and `countby`.

use super::counters;
use super::hash;
use super::span::Span;
use super::stored;
use crate::definition::FieldType;
use crate::value::Value;
use crate::words::Words;

/// Slots of the smallest table; a table is at most half full.
const SLOTS_MIN: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its value's first word and their number.
    at: usize,
    words: usize,
    hash: u64,
    count: u64,
}

/// Counts by value, found through a table of slots: 0 is empty, otherwise an entry's index + 1.
#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: Vec<Entry>,
    words: Vec<u64>,
    slots: Vec<u32>,
    order: Vec<u32>,
    /// What a value that is in no bucket would have (topk), or what no value has (countby).
    beside: u64,
}

impl Tally {
    pub(super) fn begin(&mut self) {
        self.entries.clear();
        self.words.clear();
        self.slots.clear();
        self.slots.resize(SLOTS_MIN, 0);
        self.beside = 0;
    }

    /// Adds a bucket of `topk`.
    pub(super) fn merge_topk<W: Words + ?Sized>(
        &mut self,
        span: Span<'_, W>,
        field: FieldType,
        entries_max: usize,
    ) {
        let floor = counters::head_count(span);
        for counter in counters::iter(span, field, entries_max) {
            // Everyone gets the floor in the end.
            self.add(span, counter.at + 1, counter.words - 1, counter.count.saturating_sub(floor));
        }
        self.beside = self.beside.saturating_add(floor);
    }

    /// Adds a bucket of `countby`.
    pub(super) fn merge_countby<W: Words + ?Sized>(
        &mut self,
        span: Span<'_, W>,
        field: FieldType,
        entries_max: usize,
    ) {
        for counter in counters::iter(span, field, entries_max) {
            self.add(span, counter.at + 1, counter.words - 1, counter.count);
        }
        self.beside = self.beside.saturating_add(counters::head_count(span));
    }

    fn add<W: Words + ?Sized>(&mut self, span: Span<'_, W>, from: usize, words: usize, count: u64) {
        let at = self.words.len();
        self.words.extend((from..from + words).map(|index| span.get(index)));
        let hash = hash::of_words(self.words[at..].iter().copied());
        let slot = self.find(hash, at);
        if let Some(found) = (self.slots[slot] as usize).checked_sub(1) {
            self.words.truncate(at);
            let entry = &mut self.entries[found];
            entry.count = entry.count.saturating_add(count);
            return;
        }
        self.entries.push(Entry { at, words, hash, count });
        // A record has fewer words than 2³².
        self.slots[slot] = self.entries.len() as u32;
        if 2 * self.entries.len() > self.slots.len() {
            self.grow();
        }
    }

    /// The slot of the value whose words are those from `at` on, or the empty one where it belongs.
    fn find(&self, hash: u64, at: usize) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        // At least half of the slots are empty, so this ends.
        while let Some(found) = (self.slots[slot] as usize).checked_sub(1) {
            let entry = self.entries[found];
            if entry.hash == hash && self.words[entry.at..entry.at + entry.words] == self.words[at..] {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let slots = 2 * self.slots.len();
        self.slots.clear();
        self.slots.resize(slots, 0);
        for (index, entry) in self.entries.iter().enumerate() {
            let mut slot = entry.hash as usize & (slots - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            self.slots[slot] = index as u32 + 1;
        }
    }

    /// Puts the k entries of largest count first, equal ones by their values: the order does not depend on that of the buckets.
    fn select(&mut self, field: FieldType, k: usize) {
        let (entries, words) = (&self.entries, &self.words);
        self.order.clear();
        self.order.extend(0..entries.len() as u32);
        let compare = |one: &u32, other: &u32| {
            let (one, other) = (&entries[*one as usize], &entries[*other as usize]);
            other.count.cmp(&one.count).then_with(|| {
                let value = |entry: &Entry| &words[entry.at..entry.at + entry.words];
                stored::compare(field, value(one), value(other))
            })
        };
        if k < self.order.len() {
            self.order.select_nth_unstable_by(k, compare);
        }
        let shown = k.min(self.order.len());
        self.order[..shown].sort_unstable_by(compare);
    }

    /// The first k of the order, with `more` for each.
    fn pairs(&self, field: FieldType, k: usize, more: u64) -> Vec<Value> {
        let pair = |&index: &u32| {
            let entry = &self.entries[index as usize];
            let value = stored::value(field, &self.words[entry.at..entry.at + entry.words]);
            Value::List(vec![value, integer(entry.count.saturating_add(more))])
        };
        self.order.iter().take(k).map(pair).collect()
    }

    /// The k most frequent values.
    pub(super) fn topk(&mut self, field: FieldType, k: usize) -> Value {
        self.select(field, k);
        Value::List(self.pairs(field, k, self.beside))
    }

    /// The k values of largest count, then how many others there were, if any.
    pub(super) fn countby(&mut self, field: FieldType, k: usize) -> Value {
        self.select(field, k);
        let mut pairs = self.pairs(field, k, 0);
        let others =
            self.order.iter().skip(k).fold(self.beside, |others, &index| {
                others.saturating_add(self.entries[index as usize].count)
            });
        if others > 0 {
            pairs.push(Value::List(vec![Value::Null, integer(others)]));
        }
        Value::List(pairs)
    }
}

fn integer(count: u64) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}
