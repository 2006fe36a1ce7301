//! Where to look ahead: the words of a record that an event or a read will probably want, to be asked for while others are at work.
//!
//! Hints, no more: what is missed costs time, what is asked for in vain does, too. The words may be of no one moment.

use crate::body::{self, Ring};
use crate::cells::words_of;
use crate::column::Partial;
use crate::layout::Layout;
use crate::query::Feature;
use crate::sketch::INLINE;
use crate::timestamp::bucket_of;
use crate::words::Words;

/// Words of a cache line.
const LINE_WORDS: usize = 8;
/// Of one column, the first of so many lines are asked for: the processor finds those behind them by itself.
const COLUMN_LINES_MAX: usize = 12;

/// The columns that the features of a read want, made once.
#[derive(Clone, Debug, Default)]
pub struct Lookahead {
    /// Tier, and column in it.
    columns: Box<[(usize, usize)]>,
}

impl Lookahead {
    /// For features of a stream with sketches: the references that come last in a ring. None for one without.
    pub fn of_references(layout: &Layout, features: &[Feature]) -> Self {
        Self::of(layout, features, |partial| matches!(partial, Partial::Sketch(..)))
    }

    /// For all that a feature is computed from, but for `all`, which stands at the beginning of a record.
    pub fn of_feature(layout: &Layout, feature: &Feature) -> Self {
        Self::of(layout, std::slice::from_ref(feature), |_| true)
    }

    fn of(layout: &Layout, features: &[Feature], is_wanted: impl Fn(Partial) -> bool) -> Self {
        let mut columns = Vec::new();
        for feature in features {
            let Some(tier) = feature.tier else { continue };
            for partial in Partial::of(feature.aggregate, &layout.fields) {
                // Of several columns of one partial, any will do.
                let column = layout.tiers[tier].column(partial).filter(|_| is_wanted(partial));
                columns.extend(column.map(|column| (tier, column)));
            }
        }
        columns.sort_unstable();
        columns.dedup();
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
        for &(tier, column) in &self.columns {
            let ring = Ring::read(layout, words, tier);
            let base = ring.column_base(column);
            let end = base + words_of(ring.shape.capacity, ring.shape.widths[column]);
            (base..end).step_by(LINE_WORDS).take(COLUMN_LINES_MAX).for_each(|index| words.prefetch(index));
            // A column does not begin with a line.
            words.prefetch(end - 1);
        }
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
        let slot = ring.probable_slot(bucket_of(ts, of.width_ms));
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

    /// A record in which each of the last ten seconds has three values.
    fn record(layout: &Layout) -> Asked {
        let mut words = vec![0; layout.words_min()];
        body::init(layout, words.as_mut_slice());
        let mut placements = Placements::default();
        for number in 0..30 {
            let (name, ts) = (format!("v{number}"), number / 3 * 1_000);
            let values = [7, (name.len() as u64) << 32];
            let event = Event { ts, clock: 9_000, present: 3, values: &values, bytes: name.as_bytes() };
            while let Fit::Grow(growth) = body::fit(layout, words.as_slice(), &event, &mut placements) {
                let mut larger = vec![0; body::words_grown(layout, words.as_slice(), &growth).ample];
                body::grow(layout, words.as_slice(), larger.as_mut_slice(), &growth);
                words = larger;
            }
            body::add(layout, words.as_mut_slice(), &event, &placements);
        }
        Asked { words, asked: RefCell::default() }
    }

    #[test]
    fn what_an_event_touches_was_asked_for() {
        let layout = Layout::compile(&Definition::parse_text("s", DEFINITION).unwrap()).unwrap();
        let record = record(&layout);
        ask_for_cells(&layout, &record, 9_500);
        let ring = Ring::read(&layout, &record, 0);
        let slot = ring.probable_slot(9);
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
    fn a_read_asks_for_every_line_of_its_columns() {
        let layout = Layout::compile(&Definition::parse_text("s", DEFINITION).unwrap()).unwrap();
        let record = record(&layout);
        let words = ["count:10s", "sum(n):10s", "distinct(v):10s"].map(str::as_bytes);
        let query = Query::parse(&layout, words.into_iter()).unwrap();
        let ring = Ring::read(&layout, &record, 0);
        for (ahead, column) in [
            (Lookahead::of_references(&layout, &query.features), 2),
            (Lookahead::of_feature(&layout, &query.features[1]), 1),
        ] {
            record.asked.borrow_mut().clear();
            ahead.ask(&layout, &record);
            let base = ring.column_base(column);
            let asked = record.asked.borrow();
            for word in base..base + words_of(ring.shape.capacity, ring.shape.widths[column]) {
                let near = asked.iter().any(|asked| asked.abs_diff(word) < LINE_WORDS);
                assert!(near, "word {word} of column {column}: {asked:?}");
            }
        }
        assert!(Lookahead::of_references(&layout, &query.features[..2]).is_empty());
    }
}
