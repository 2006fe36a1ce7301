//! One sketch of what two have seen: for a BACKFILL, whose events all came before those that a record has.
//!
//! | sketch | what comes of it |
//! | --- | --- |
//! | `distinct`, `quantile`, `first`, `last`, `lastk` | what all events in one would have made, but for which lowest bins of more than the most became one |
//! | `countby` | the same, but that the later sketch no longer knows which values it counted as others |
//! | `topk` | counts of the same law: none is too low, all add up to no more than the events, none is below the floor |

use std::collections::BTreeMap;

use super::counters::{self, Counter};
use super::distinct;
use super::latest;
use super::quantile;
use super::span::Span;
use super::topk;
use super::{INLINE, Sketch, SketchSpec};

/// What a cell refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sketched {
    /// Nothing yet.
    #[default]
    Nothing,
    /// A bucket's only value, in the reference itself.
    Inline(u32),
    /// A block's payload.
    Block(Vec<u64>),
}

impl Sketch {
    /// One sketch of what both have seen, `earlier` first.
    pub fn merged(self, earlier: &Sketched, later: &Sketched) -> Sketched {
        let (earlier, later) = match (earlier, later) {
            (Sketched::Nothing, only) | (only, Sketched::Nothing) => return only.clone(),
            (Sketched::Inline(one), Sketched::Inline(other)) if one == other => {
                return Sketched::Inline(*one);
            }
            (earlier, later) => (self.block(earlier), self.block(later)),
        };
        let (earlier, later) = (span(&earlier), span(&later));
        Sketched::Block(match self.spec {
            SketchSpec::Distinct { p } => distinct::merged(earlier, later, p),
            SketchSpec::Quantile => quantile::merged(earlier, later),
            SketchSpec::TopK { k } => self.merged_topk(earlier, later, topk::capacity(k)),
            SketchSpec::CountBy { k } => self.merged_countby(earlier, later, usize::from(k)),
            SketchSpec::LastK { k } => latest::merged(earlier, later, self.field, k),
            SketchSpec::First => latest::End::Oldest.merged(earlier, later),
            SketchSpec::Last => latest::End::Newest.merged(earlier, later),
        })
    }

    fn block(self, sketched: &Sketched) -> Vec<u64> {
        match sketched {
            Sketched::Nothing => Vec::new(),
            Sketched::Inline(reference) => vec![u64::from(reference & !INLINE)],
            Sketched::Block(payload) => payload.clone(),
        }
    }

    fn merged_topk(self, earlier: Span<'_, [u64]>, later: Span<'_, [u64]>, capacity: usize) -> Vec<u64> {
        // Beyond its floor, a count is of events that were seen: such counts and floors may be added. What goes then raises the floor.
        let (floor, more) = (counters::head_count(earlier), counters::head_count(later));
        let mut counts = self.counts(earlier, capacity, floor);
        self.add_counts(&mut counts, later, capacity, more);
        let mut dropped = 0;
        if counts.len() > capacity {
            let mut order: Vec<usize> = (0..counts.len()).collect();
            order.sort_by_key(|&at| std::cmp::Reverse(counts[at].0));
            dropped = counts[order[capacity]].0;
            order.truncate(capacity);
            order.sort_unstable();
            counts = order.into_iter().map(|at| counts[at].clone()).collect();
        }
        let both = floor.saturating_add(more);
        let counts = counts.into_iter().map(|(count, value)| (count.saturating_add(both), value));
        payload(counts.collect(), both.saturating_add(dropped))
    }

    fn merged_countby(self, earlier: Span<'_, [u64]>, later: Span<'_, [u64]>, k: usize) -> Vec<u64> {
        let mut counts = self.counts(earlier, k, 0);
        self.add_counts(&mut counts, later, k, 0);
        let others = counts.iter().skip(k).map(|(count, _)| *count);
        let others = others.fold(counters::head_count(earlier), u64::saturating_add);
        counts.truncate(k);
        payload(counts, others.saturating_add(counters::head_count(later)))
    }

    /// The values of a sketch with their counts beyond `floor`, in their order.
    fn counts(self, span: Span<'_, [u64]>, entries_max: usize, floor: u64) -> Vec<(u64, Vec<u64>)> {
        let value = |counter: Counter| {
            let words = (counter.at + 1..counter.at + counter.words).map(|index| span.get(index));
            (counter.count.saturating_sub(floor), words.collect())
        };
        counters::iter(span, self.field, entries_max).map(value).collect()
    }

    fn add_counts(
        self,
        counts: &mut Vec<(u64, Vec<u64>)>,
        later: Span<'_, [u64]>,
        entries_max: usize,
        floor: u64,
    ) {
        let mut places: BTreeMap<Vec<u64>, usize> =
            counts.iter().enumerate().map(|(at, (_, value))| (value.clone(), at)).collect();
        for (count, value) in self.counts(later, entries_max, floor) {
            match places.get(&value) {
                Some(&at) => counts[at].0 = counts[at].0.saturating_add(count),
                None => {
                    places.insert(value.clone(), counts.len());
                    counts.push((count, value));
                }
            }
        }
    }
}

fn span(payload: &[u64]) -> Span<'_, [u64]> {
    Span::new(payload, 0, payload.len())
}

fn payload(counts: Vec<(u64, Vec<u64>)>, head_count: u64) -> Vec<u64> {
    let mut words = vec![counters::head(counts.len(), head_count)];
    for (count, value) in counts {
        words.push(count);
        words.extend(value);
    }
    words
}
