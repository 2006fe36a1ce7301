//! Where to look ahead: the words of a record that an event or a read will probably want, to be asked for while others are at work.
//!
//! Hints, no more: what is missed costs time, what is asked for in vain does, too. The words may be of no one moment.

use std::cmp::Reverse;

use crate::aggregate::Length;
use crate::body::{self, Ring};
use crate::cells::words_of;
use crate::column::{self, Partial};
use crate::layout::Layout;
use crate::query::Feature;
use crate::sketch::INLINE;
use crate::words::Words;

const WORD_BITS: usize = 64;
/// Words of a cache line.
const LINE_WORDS: usize = 8;
/// Of one column, the first of so many lines are asked for: the processor finds those behind them by itself.
const COLUMN_LINES_MAX: usize = 12;
/// Of all columns of a read together, so many: those of a few items ahead must not push each other out of the nearest cache.
const LINES_MAX: usize = 64;

/// The columns that the features of a read want, made once.
#[derive(Clone, Debug, Default)]
pub struct Lookahead {
    columns: Box<[Wanted]>,
}

/// What is wanted of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    tier: usize,
    /// The place among the tier's columns.
    column: usize,
    /// So many buckets, up to the newest.
    buckets: Reverse<usize>,
}

impl Lookahead {
    /// For features of a stream with sketches: the references that come last in a ring. None for one without.
    pub fn of_references(layout: &Layout, features: &[Feature]) -> Self {
        if !layout.has_sketches {
            return Self::default();
        }
        Self::of(layout, features, |feature, want| {
            if let Some((field, sketch)) = column::sketched(feature.aggregate, &layout.fields) {
                want(Partial::Sketch(field, sketch));
            }
        })
    }

    /// For all that a feature is computed from, but for `all`, which stands at the beginning of a record.
    pub fn of_feature(layout: &Layout, feature: &Feature) -> Self {
        Self::of(layout, std::slice::from_ref(feature), |feature, want| {
            Partial::of(feature.aggregate, &layout.fields).into_iter().for_each(want);
        })
    }

    /// `wants` names the partials of a feature that are wanted.
    fn of(layout: &Layout, features: &[Feature], wants: impl Fn(&Feature, &mut dyn FnMut(Partial))) -> Self {
        let mut columns = Vec::new();
        for feature in features {
            let (Some(tier), Length::Finite(length_ms)) = (feature.tier, feature.length) else { continue };
            let of = &layout.tiers[tier];
            // A window that begins within a bucket touches one more.
            let buckets = usize::try_from(length_ms / of.width_ms + 1).unwrap_or(usize::MAX).min(of.slots);
            let origin = of.columns.origin(feature.aggregate, &layout.fields);
            wants(feature, &mut |partial| {
                let column = of.columns.find_since(partial, origin);
                columns.extend(column.map(|column| Wanted { tier, column, buckets: Reverse(buckets) }));
            });
        }
        // Of one column, the most buckets come first.
        columns.sort_unstable();
        columns.dedup_by_key(|wanted| (wanted.tier, wanted.column));
        Self { columns: columns.into() }
    }

    /// Whether there is nothing to ask for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Asks for the columns of a record, whose first lines are there.
    #[inline]
    pub fn ask<W: Words + ?Sized>(&self, layout: &Layout, words: &W) {
        let mut lines_left = LINES_MAX;
        for wanted in &self.columns {
            let ring = Ring::read(layout, words, wanted.tier);
            let (base, width) = (ring.column_base(wanted.column), ring.shape.widths[wanted.column]);
            let mut column_left = COLUMN_LINES_MAX.min(lines_left);
            lines_left -= column_left;
            for (from, to) in newest_runs(&ring, words, wanted.buckets.0) {
                if from == to {
                    continue;
                }
                // A column does not begin with a line: the last word may be in one more.
                let (first, last) =
                    (base + from * width.bits() as usize / WORD_BITS, base + words_of(to, width) - 1);
                let lines = (first..last).step_by(LINE_WORDS).chain([last]);
                for index in lines.take(column_left) {
                    words.prefetch(index);
                    column_left -= 1;
                }
            }
            lines_left += column_left;
            if lines_left == 0 {
                return;
            }
        }
    }
}

/// The slots of so many buckets up to the newest. Of a short ring it looks at no tags, which may not be there yet: the last entries.
fn newest_runs<W: Words + ?Sized>(ring: &Ring<'_>, words: &W, buckets: usize) -> [(usize, usize); 2] {
    if ring.shape.dense {
        let from = ring.head.wrapping_sub(i64::try_from(buckets).unwrap_or(i64::MAX)).wrapping_add(1);
        ring.runs(words, from, ring.head.wrapping_add(1))
    } else {
        [(ring.entries.saturating_sub(buckets), ring.entries), (0, 0)]
    }
}

/// Asks for the cells that adding an event at `ts` will probably touch, and for the head of the heap: of a record whose first lines are
/// there.
#[inline]
pub fn ask_for_cells<W: Words + ?Sized>(layout: &Layout, words: &W, ts: i64) {
    let end = body::touched(layout, words, ts, |index| words.prefetch(index));
    if layout.has_sketches {
        words.prefetch(end);
    }
}

/// Asks for the blocks of sketches that adding an event at `ts` will probably look at: of a record whose cells are there.
pub fn ask_for_blocks<W: Words + ?Sized>(layout: &Layout, words: &W, ts: i64) {
    let heap = body::heap(layout, words);
    for (tier, of) in layout.tiers.iter().enumerate() {
        if of.columns.sketches().is_empty() {
            continue;
        }
        let ring = Ring::read(layout, words, tier);
        let slot = ring.probable_slot(ts);
        for sketch in of.columns.sketches() {
            let reference = ring.cell(words, sketch.column, slot) as u32;
            if reference != 0 && reference & INLINE == 0 {
                heap.prefetch(words, reference);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Event, Fit, Placements};
    use crate::layout::{Before, Sums};
    use crate::words::WordsMut;
    use crate::{Definition, Query};
    use std::cell::RefCell;

    const DEFINITION: &str = "FIELDS n INT v STRING WINDOWS 10s@1s AGGREGATE count sum(n) distinct(v)";

    /// Words that note what is asked for.
    struct Asked {
        words: Vec<u64>,
        asked: RefCell<Vec<usize>>,
    }

    impl Words for Asked {
        fn get(&self, index: usize) -> u64 {
            self.words.as_slice().get(index).copied().unwrap_or(0)
        }

        fn len(&self) -> usize {
            self.words.len()
        }

        fn prefetch(&self, index: usize) {
            self.asked.borrow_mut().push(index);
        }
    }

    impl WordsMut for Asked {
        fn set(&mut self, index: usize, word: u64) {
            self.words[index] = word;
        }
    }

    /// A record in which each of so many seconds has three values.
    fn record(layout: &Layout, seconds: i64) -> Asked {
        let mut words = vec![0; layout.words_min()];
        body::init(layout, words.as_mut_slice());
        let mut placements = Placements::default();
        for number in 0..3 * seconds {
            let (name, ts) = (format!("v{number}"), number / 3 * 1_000);
            let values = [7, (name.len() as u64) << 32];
            let event = Event { ts, clock: ts, present: 3, values: &values, bytes: name.as_bytes() };
            while let Fit::Grow(growth) = body::fit(layout, words.as_slice(), &event, &mut placements) {
                let mut larger = vec![0; body::words_grown(layout, words.as_slice(), &growth).ample];
                body::grow(layout, words.as_slice(), larger.as_mut_slice(), &growth);
                words = larger;
            }
            body::add(layout, words.as_mut_slice(), &event, &placements);
        }
        Asked { words, asked: RefCell::default() }
    }

    fn layout(definition: &str) -> Layout {
        Layout::compile(&Definition::parse_text("s", definition).unwrap()).unwrap()
    }

    fn query(layout: &Layout, features: &[&str]) -> Query {
        Query::parse(layout, features.iter().map(|feature| feature.as_bytes())).unwrap()
    }

    #[test]
    fn what_an_event_touches_was_asked_for() {
        let layout = layout(DEFINITION);
        let record = record(&layout, 10);
        ask_for_cells(&layout, &record, 9_500);
        let ring = Ring::read(&layout, &record, 0);
        let slot = ring.probable_slot(9_500);
        for column in 0..3 {
            let bits = ring.shape.widths[column].bits();
            let word = ring.column_base(column) + slot * bits as usize / 64;
            assert!(record.asked.borrow().contains(&word), "column {column}");
        }
        assert!(record.asked.borrow().contains(&body::words_end(&layout, &record, 1)), "the heap's head");
        record.asked.borrow_mut().clear();
        ask_for_blocks(&layout, &record, 9_500);
        let reference = ring.cell(&record, 2, slot) as usize;
        assert!(reference != 0 && reference < INLINE as usize);
        assert_eq!(*record.asked.borrow(), [body::words_end(&layout, &record, 1) + reference]);
    }

    #[test]
    fn a_read_asks_for_the_lines_of_its_window_and_no_others() {
        const LENGTH: usize = 60;
        let layout = layout("FIELDS n INT v STRING WINDOWS 600s@1s AGGREGATE count sum(n) distinct(v)");
        let slots = layout.tiers[0].slots;
        let query = query(&layout, &["count:60s", "sum(n):60s", "distinct(v):60s", "distinct(v):10s"]);
        // Short rings, and dense ones with the head in the middle, at both ends, and where the window goes over the end.
        for seconds in [1, 5, 40, 100, 300, slots - 1, slots, slots + 1, slots + 30, slots + 300] {
            let record = record(&layout, seconds as i64);
            let ring = Ring::read(&layout, &record, 0);
            assert_eq!(ring.head, seconds as i64 - 1);
            for (ahead, column) in [
                (Lookahead::of_references(&layout, &query.features), 2),
                (Lookahead::of_feature(&layout, &query.features[1]), 1),
            ] {
                record.asked.borrow_mut().clear();
                ahead.ask(&layout, &record);
                let asked = record.asked.borrow();
                let (base, bits) = (ring.column_base(column), ring.shape.widths[column].bits() as usize);
                let runs = ring.runs(&record, ring.head - LENGTH as i64, ring.head + 1);
                let slots = || runs.into_iter().flat_map(|(from, to)| from..to);
                let wanted: Vec<usize> = slots().map(|slot| base + slot * bits / WORD_BITS).collect();
                assert_eq!(wanted.len(), seconds.min(LENGTH + 1));
                for &word in &wanted {
                    let near = asked.iter().any(|asked| asked.abs_diff(word) < LINE_WORDS);
                    assert!(near, "word {word} of column {column} after {seconds} s: {asked:?}");
                }
                assert!(asked.iter().all(|asked| wanted.contains(asked)), "{asked:?} of {wanted:?}");
            }
        }
        assert!(Lookahead::of_references(&layout, &query.features[..2]).is_empty());
    }

    #[test]
    fn of_twin_columns_the_one_that_is_read_is_asked_for() {
        let first = Definition::parse_text("s", "FIELDS x FLOAT WINDOWS 10s@1s AGGREGATE sum(x)").unwrap();
        let old = Layout::compile(&first).unwrap();
        // An average needs a sum that began with its count.
        let second = first.altered(&[b"ADD", b"AGGREGATE", b"avg(x)"]).unwrap();
        let before = Before { layout: &old, clock_ms: Some(0), is_settled: true, backfill_asked_ms: None };
        let layout = Layout::altered(&second, Sums::Narrow, before).unwrap();
        let columns = &layout.tiers[0].columns;
        let sums: Vec<usize> =
            (0..columns.len()).filter(|&at| matches!(columns[at], Partial::SumFloat(_))).collect();
        let [old_sum, new_sum] = sums[..] else { panic!("{columns:?}") };
        let wanted = |feature| {
            let ahead = Lookahead::of_feature(&layout, &query(&layout, &[feature]).features[0]);
            ahead.columns.iter().map(|wanted| wanted.column).collect::<Vec<usize>>()
        };
        assert_eq!(wanted("sum(x):10s"), [old_sum]);
        assert!(wanted("avg(x):10s").contains(&new_sum) && !wanted("avg(x):10s").contains(&old_sum));
    }

    #[test]
    fn a_read_of_many_columns_asks_for_no_more_lines_than_the_bound() {
        let counts: Vec<String> = (4..=16).map(|p| format!("distinct(v,{p})")).collect();
        let definition = format!("FIELDS n INT v STRING WINDOWS 200s@1s AGGREGATE {}", counts.join(" "));
        let layout = layout(&definition);
        let record = record(&layout, 500);
        let ahead = Lookahead::of_references(&layout, &layout.features);
        assert_eq!(ahead.columns.len(), counts.len());
        ahead.ask(&layout, &record);
        assert_eq!(record.asked.borrow().len(), LINES_MAX);
    }

    #[test]
    fn what_has_no_sketches_needs_no_look_ahead_for_references() {
        let layout = layout("FIELDS n INT v STRING WINDOWS 10s@1s AGGREGATE count sum(n)");
        assert!(Lookahead::of_references(&layout, &layout.features).is_empty());
        assert!(!Lookahead::of_feature(&layout, &layout.features[0]).is_empty());
    }
}
