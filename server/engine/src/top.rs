//! The entities with the largest values of a feature: a walk over all records of a shard, a bounded slice at a time.
//!
//! Each record is read as of the moment when the walk comes by: over seconds, a T from the start would fall behind what is kept.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use windrow_memory::{Cursor, Handle, Scan};
use windrow_window::lookahead::Lookahead;
use windrow_window::window::evaluate;
use windrow_window::{Query, Rows, Value, body};

use crate::catalogue::{Catalogue, Stream};
use crate::entity::{Readable, Superseded, readable_as};
use crate::record::Body;
use crate::shard::Shard;

/// So many records ahead of the one that is looked at, the first lines are asked for: with those lines of each, no more at once than
/// the 10 to 16 that a core can wait for.
const HEADS_AHEAD: usize = 6;
/// Those lines: header, key and the rings' heads.
const HEAD_LINES: usize = 2;
/// So many records ahead, the columns of the feature.
const COLUMNS_AHEAD: usize = 3;

/// Records that are looked at before it is asked whether to go on.
const RECORDS_PER_LOOK: usize = 128;
/// The same where a record has sketches to merge, which may take tens of microseconds.
const SKETCHED_RECORDS_PER_LOOK: usize = 8;

/// Most entities that one walk looks for.
pub const TOP_MAX: usize = 1000;

/// An entity and its value. Ordered by value, and among equal values the entity that sorts first is the larger.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// A number that is one.
    pub value: Value,
    /// The entity.
    pub entity: Box<[u8]>,
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.value, &other.value).then_with(|| other.entity.cmp(&self.entity))
    }
}

/// All values of one feature are of one kind.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        _ => Ordering::Equal,
    }
}

/// Whether a value has a rank: null and nan have none.
fn has_rank(value: &Value) -> bool {
    match value {
        Value::Int(_) => true,
        Value::Float(number) => !number.is_nan(),
        _ => false,
    }
}

/// The largest of those seen, at most `k`.
#[derive(Debug)]
pub struct Best {
    k: usize,
    /// The smallest of them first.
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    /// None yet. `k` is from 1 to [`TOP_MAX`].
    pub fn new(k: usize) -> Self {
        assert!((1..=TOP_MAX).contains(&k), "{k} entities");
        Self { k, heap: BinaryHeap::new() }
    }

    /// Takes an entity in if it is among the largest.
    pub fn add(&mut self, ranked: Ranked) {
        if self.heap.len() < self.k {
            self.heap.push(Reverse(ranked));
        } else if let Some(mut least) = self.heap.peek_mut()
            && ranked > least.0
        {
            *least = Reverse(ranked);
        }
    }

    /// Whether a value could be among the largest: only then its entity is looked at.
    fn may_take(&self, value: &Value) -> bool {
        let least = self.heap.peek().filter(|_| self.heap.len() == self.k);
        has_rank(value) && least.is_none_or(|least| compare(value, &least.0.value) != Ordering::Less)
    }

    /// Those seen, the largest first.
    pub fn into_sorted(self) -> Vec<Ranked> {
        // Sorted by the reverse, so the largest comes first.
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked).collect()
    }
}

/// A walk over one shard's records.
pub struct TopWalk {
    stream: Arc<Stream>,
    /// Asks the one feature.
    query: Arc<Query>,
    best: Best,
    cursor: Option<Cursor>,
    scan: Scan,
    /// Where the feature's columns lie.
    ahead: Lookahead,
    rows: Rows,
    entity: Vec<u8>,
}

impl TopWalk {
    /// A walk that has not begun. `query` asks one feature of the stream.
    /// `rows` is where features are evaluated.
    pub fn new(stream: Arc<Stream>, query: Arc<Query>, k: usize, rows: Rows) -> Self {
        assert_eq!(query.features.len(), 1, "entities are ranked by one feature");
        let ahead = Lookahead::of_feature(&stream.layout, &query.features[0]);
        Self {
            stream,
            query,
            ahead,
            best: Best::new(k),
            cursor: Some(Cursor::START),
            scan: Scan::default(),
            rows,
            entity: Vec::new(),
        }
    }

    /// How many records pass between two looks at whether to go on.
    fn records_per_look(&self) -> usize {
        if self.query.features[0].is_sketched() { SKETCHED_RECORDS_PER_LOOK } else { RECORDS_PER_LOOK }
    }

    /// Whether all records were seen.
    pub fn is_finished(&self) -> bool {
        self.cursor.is_none()
    }

    /// What was found, the largest first; the walk forgets it.
    pub fn take_found(&mut self) -> Vec<Ranked> {
        let none = Best::new(self.best.k);
        std::mem::replace(&mut self.best, none).into_sorted()
    }
}

impl Shard {
    /// Goes on with a walk, over records of whatever stream, until it is finished or must not go on. That is asked after a bounded
    /// number of records: the fewer, the longer each may take.
    pub fn walk_top(
        &self,
        catalogue: &Catalogue,
        walk: &mut TopWalk,
        now_ms: i64,
        mut may_go_on: impl FnMut() -> bool,
    ) {
        while !walk.is_finished() {
            self.walk_top_on(catalogue, walk, now_ms, &mut may_go_on);
            if !may_go_on() {
                return;
            }
        }
    }

    /// Goes on with a walk up to the end of what is collected at once.
    fn walk_top_on(
        &self,
        catalogue: &Catalogue,
        walk: &mut TopWalk,
        now_ms: i64,
        may_go_on: &mut impl FnMut() -> bool,
    ) {
        let Some(cursor) = walk.cursor else { return };
        let per_look = walk.records_per_look();
        walk.cursor = self.store.scan(&mut walk.scan, cursor, RECORDS_PER_LOOK);
        let rows = walk.scan.rows();
        let prefetch_head = |place: &Handle| self.store.prefetch_lines(*place, 0..HEAD_LINES);
        rows.iter().take(HEADS_AHEAD).for_each(prefetch_head);
        let stream = &walk.stream;
        let times = stream.times(now_ms);
        let Some(clock_ms) = times.clock else { return };
        let time = walk.query.when.resolve(&stream.layout, times);
        for (index, &place) in rows.iter().enumerate() {
            if index > 0
                && index.is_multiple_of(per_look)
                && !may_go_on()
                && let Some(here) = walk.scan.cursor_before(index)
            {
                // Until the walk goes on, records may move.
                walk.cursor = Some(here);
                return;
            }
            rows.iter().skip(index + HEADS_AHEAD).take(1).for_each(prefetch_head);
            if let Some(later) = rows.get(index + COLUMNS_AHEAD).and_then(|later| self.store.peek(*later)) {
                // Of another stream or layout, it is asked for the wrong words: harmless.
                walk.ahead.ask(&stream.layout, &Body(later));
            }
            let record = self.store.record(place);
            if record.stream() != stream.id.0 {
                continue;
            }
            let body = Body(record);
            let features = &walk.query.features;
            walk.rows.values.clear();
            match readable_as(catalogue, stream, body) {
                Ok(Readable::AsItIs(body)) => {
                    if body::is_dead(&stream.layout, body::newest_ms(&body), clock_ms) {
                        continue;
                    }
                    evaluate(&stream.layout, Some(&body), features, time, &mut walk.rows);
                }
                Ok(Readable::Converted(words)) => {
                    if body::is_dead(&stream.layout, body::newest_ms(words.as_slice()), clock_ms) {
                        continue;
                    }
                    evaluate(&stream.layout, Some(words.as_slice()), features, time, &mut walk.rows);
                }
                // Dead, or of a layout that came after the walk began: who asked learns that the stream was altered.
                Ok(Readable::Nothing) | Err(Superseded) => continue,
            }
            let value = walk.rows.values.pop().expect("a value for the feature");
            if walk.best.may_take(&value) {
                walk.entity.clear();
                record.copy_entity(&mut walk.entity);
                walk.best.add(Ranked { value, entity: walk.entity.as_slice().into() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(value: Value, entity: &str) -> Ranked {
        Ranked { value, entity: entity.as_bytes().into() }
    }

    #[test]
    fn the_largest_are_kept_and_among_equals_the_entity_that_sorts_first() {
        let mut best = Best::new(3);
        for (value, entity) in [(5, "e"), (1, "a"), (5, "b"), (9, "z"), (5, "d"), (5, "c")] {
            best.add(ranked(Value::Int(value), entity));
        }
        let found = best.into_sorted();
        assert_eq!(
            found,
            [ranked(Value::Int(9), "z"), ranked(Value::Int(5), "b"), ranked(Value::Int(5), "c")]
        );
    }

    #[test]
    fn what_is_no_number_has_no_rank() {
        let mut best = Best::new(1);
        assert!(!best.may_take(&Value::Null) && !best.may_take(&Value::Float(f64::NAN)));
        assert!(best.may_take(&Value::Float(f64::NEG_INFINITY)));
        best.add(ranked(Value::Float(2.0), "a"));
        assert!(!best.may_take(&Value::Float(1.0)) && best.may_take(&Value::Float(2.0)));
        best.add(ranked(Value::Float(f64::INFINITY), "b"));
        assert_eq!(best.into_sorted(), [ranked(Value::Float(f64::INFINITY), "b")]);
    }
}
