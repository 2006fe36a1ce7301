//! Evaluating aggregates over the buckets of a window.

use crate::aggregate::{Aggregate, FieldId, Length, Spread};
use crate::body::{self, Ring};
use crate::cells::{self, Width};
use crate::column::{self, Partial};
use crate::definition::FieldType;
use crate::heap::Heap;
use crate::layout::Layout;
use crate::moments::{Decayed, Moments, Spreading};
use crate::query::{Feature, Query};
use crate::read_time::{ReadTime, Window};
use crate::sketch::{INLINE, Scratch, Sketch};
use crate::value::Value;
use crate::words::{LANES, Words};

/// Of a window with sketches, the heads of so many blocks are asked for at once, while those of as many before them are merged.
const BLOCKS_AHEAD: usize = 64;

/// Where rows are evaluated: made once, used again for every read, so that reads seldom allocate.
#[derive(Debug, Default)]
pub struct Rows {
    /// Values of rows, in order.
    pub values: Vec<Value>,
    /// Starts and values of the buckets of a range.
    pub pairs: Vec<(i64, Value)>,
    pub(crate) scratch: Scratch,
    /// The window that was resolved last: one command's rows, and mostly one tick's commands, have the same.
    resolved: Option<Resolved>,
}

/// A window, and what it was resolved from.
#[derive(Debug)]
struct Resolved {
    time: ReadTime,
    width_ms: i64,
    length: Length,
    window: Window,
}

impl Resolved {
    /// The window of a feature at a time; `None` for `all`. Two divisions for each edge of a window are saved where it is the last one.
    #[inline]
    fn window(last: &mut Option<Self>, time: ReadTime, layout: &Layout, feature: &Feature) -> Option<Window> {
        let width_ms = layout.tiers[feature.tier?].width_ms;
        if let Some(last) = last
            && (last.width_ms, last.length) == (width_ms, feature.length)
            && last.time == time
        {
            return Some(Window { tier: feature.tier?, ..last.window });
        }
        let window = time.window(layout, feature)?;
        *last = Some(Self { time, width_ms, length: feature.length, window });
        Some(window)
    }
}

impl Rows {
    /// Rows whose look-ups are keyed by a secret, so that nobody can choose values that are slow to count.
    pub fn keyed(secret: u64) -> Self {
        let mut rows = Self::default();
        rows.scratch.key(secret);
        rows
    }
}

/// Evaluates every feature for one entity, in order, onto the values of `out`. `body` is `None` for an entity that is unknown.
pub fn evaluate<W: Words + ?Sized>(
    layout: &Layout,
    body: Option<&W>,
    features: &[Feature],
    time: ReadTime,
    out: &mut Rows,
) {
    let live = body.filter(|words| is_live(layout, *words, time.clock));
    // Features of one window mostly stand together.
    let mut last: Option<(&Feature, Window, Buckets<'_, W>)> = None;
    let Rows { values, scratch, resolved, .. } = out;
    values.extend(features.iter().map(|feature| {
        if let Some((of, window, buckets)) = &last
            && (of.tier, of.length) == (feature.tier, feature.length)
        {
            return buckets.value(feature.aggregate, window.length_ms, window.t, scratch);
        }
        match (Resolved::window(resolved, time, layout, feature), live) {
            (None, _) if !time.present => Value::Null,
            (_, None) => empty(layout, feature.aggregate),
            (None, Some(words)) => Lifetime { layout, words, aggregate: feature.aggregate }.value(
                feature.aggregate,
                time.t,
                scratch,
            ),
            (Some(window), Some(words)) => {
                let buckets = Buckets::new(layout, words, window.tier, window.from, window.to);
                let value = buckets.value(feature.aggregate, window.length_ms, window.t, scratch);
                last = Some((feature, window, buckets));
                value
            }
        }
    }));
}

/// Evaluates a query for one entity onto `out`: a value for each feature, and behind them, where the query wants it, the newest event
/// time of the entity.
pub fn answer<W: Words + ?Sized>(
    layout: &Layout,
    body: Option<&W>,
    query: &Query,
    time: ReadTime,
    out: &mut Rows,
) {
    evaluate(layout, body, &query.features, time, out);
    if query.with_meta {
        let live = body.filter(|words| is_live(layout, *words, time.clock));
        out.values.push(live.map_or(Value::Null, |words| Value::Int(body::newest_ms(words))));
    }
}

/// Whether the entity is not dead at the stream's clock; without a clock there is no event.
pub(crate) fn is_live<W: Words + ?Sized>(layout: &Layout, words: &W, clock: Option<i64>) -> bool {
    clock.is_some_and(|clock_ms| !body::is_dead(layout, body::newest_ms(words), clock_ms))
}

/// What an aggregate of no events is.
pub fn empty(layout: &Layout, aggregate: Aggregate) -> Value {
    match aggregate {
        Aggregate::Count | Aggregate::CountOf(_) | Aggregate::Distinct(..) => Value::Int(0),
        Aggregate::Sum(field) if layout.fields[usize::from(field)].kind == FieldType::Int => Value::Int(0),
        Aggregate::Sum(_) | Aggregate::Rate | Aggregate::RateOf(_) | Aggregate::DecaySum(..) => {
            Value::Float(0.0)
        }
        Aggregate::Avg(_) | Aggregate::Variance(..) | Aggregate::Min(_) | Aggregate::Max(_) => Value::Null,
        Aggregate::First(_) | Aggregate::Last(_) | Aggregate::Quantile(..) | Aggregate::Since => Value::Null,
        Aggregate::LastK(..) | Aggregate::TopK(..) | Aggregate::CountBy(..) => Value::List(Vec::new()),
    }
}

/// Merged partials, whatever they were merged from.
trait Merged {
    fn count(&self, partial: Partial) -> u128;
    fn sum_int(&self, partial: Partial) -> i128;
    fn sum_float(&self, partial: Partial) -> f64;
    fn float_extreme(&self, partial: Partial) -> f64;
    fn int_extreme(&self, partial: Partial) -> i64;
    fn newest_ms(&self) -> Option<i64>;
    fn spreading(&self, count: Partial, moments: Partial) -> Spreading;
    fn decayed(&self, partial: Partial) -> Decayed;
    /// Merges the sketches into `scratch`.
    fn sketched(&self, partial: Partial, sketch: Sketch, scratch: &mut Scratch);
    fn layout(&self) -> &Layout;

    fn sketched_for<'s>(&self, aggregate: Aggregate, scratch: &'s mut Scratch) -> &'s mut Scratch {
        let Some((field, sketch)) = column::sketched(aggregate, &self.layout().fields) else {
            unreachable!("{aggregate:?} is read from one sketch")
        };
        scratch.begin(sketch);
        self.sketched(Partial::Sketch(field, sketch), sketch, scratch);
        scratch
    }

    fn value(&self, aggregate: Aggregate, length_ms: i64, t: i64, scratch: &mut Scratch) -> Value {
        let kind = |field: FieldId| self.layout().fields[usize::from(field)].kind;
        let is_int = |field| kind(field) == FieldType::Int;
        let seconds = length_ms as f64 / 1000.0;
        match aggregate {
            Aggregate::Count => Value::Int(clamp_count(self.count(Partial::Count))),
            Aggregate::CountOf(field) => Value::Int(clamp_count(self.count(Partial::CountOf(field)))),
            Aggregate::Sum(field) if is_int(field) => Value::Int(clamp(self.sum_int(Partial::SumInt(field)))),
            Aggregate::Sum(field) => Value::Float(self.sum_float(Partial::SumFloat(field))),
            Aggregate::Avg(field) => match self.count(Partial::CountOf(field)) {
                0 => Value::Null,
                count if is_int(field) => {
                    Value::Float(self.sum_int(Partial::SumInt(field)) as f64 / count as f64)
                }
                count => Value::Float(self.sum_float(Partial::SumFloat(field)) / count as f64),
            },
            Aggregate::Variance(field, spread) => {
                let all = self.spreading(Partial::CountOf(field), Partial::Moments(field, kind(field)));
                let variance = match spread {
                    Spread::VarPop | Spread::StddevPop => all.variance(0),
                    Spread::VarSamp | Spread::StddevSamp => all.variance(1),
                };
                match spread {
                    Spread::VarPop | Spread::VarSamp => variance,
                    Spread::StddevPop | Spread::StddevSamp => variance.map(f64::sqrt),
                }
                .map_or(Value::Null, Value::Float)
            }
            Aggregate::Quantile(_, fraction) => {
                self.sketched_for(aggregate, scratch).quantile(fraction.get())
            }
            Aggregate::First(_)
            | Aggregate::Last(_)
            | Aggregate::LastK(..)
            | Aggregate::Distinct(..)
            | Aggregate::TopK(..)
            | Aggregate::CountBy(..) => self.sketched_for(aggregate, scratch).value(),
            Aggregate::DecaySum(field, halflife_ms) => {
                let partial = Partial::DecaySum(field, kind(field), halflife_ms);
                // T − 1 is the clock: `all` is read at the present only.
                Value::Float(self.decayed(partial).at(t.saturating_sub(1), halflife_ms))
            }
            Aggregate::Min(field) | Aggregate::Max(field) if is_int(field) => {
                let min = matches!(aggregate, Aggregate::Min(_));
                let partial = if min { Partial::MinInt(field) } else { Partial::MaxInt(field) };
                match self.count(Partial::CountOf(field)) {
                    0 => Value::Null,
                    _ => Value::Int(self.int_extreme(partial)),
                }
            }
            Aggregate::Min(field) => finite(self.float_extreme(Partial::MinFloat(field))),
            Aggregate::Max(field) => finite(self.float_extreme(Partial::MaxFloat(field))),
            Aggregate::Rate => Value::Float(self.count(Partial::Count) as f64 / seconds),
            Aggregate::RateOf(field) if is_int(field) => {
                Value::Float(self.sum_int(Partial::SumInt(field)) as f64 / seconds)
            }
            Aggregate::RateOf(field) => Value::Float(self.sum_float(Partial::SumFloat(field)) / seconds),
            Aggregate::Since => self.newest_ms().map_or(Value::Null, |newest_ms| {
                Value::Int(t.saturating_sub(1).saturating_sub(newest_ms).max(0))
            }),
        }
    }
}

/// The lanes from `first` on, and then those before it: word by word, where a rotation in place would copy bytes that were just written.
#[inline]
fn turned(lanes: [f64; LANES], first: usize) -> [f64; LANES] {
    std::array::from_fn(|lane| lanes[(lane + first) % LANES])
}

/// Adds what a cell refers to.
fn merge_cell<W: Words + ?Sized>(
    heap: Heap,
    words: &W,
    sketch: Sketch,
    reference: u32,
    scratch: &mut Scratch,
) {
    if reference & INLINE != 0 {
        sketch.merge_inline(reference, scratch);
    } else if reference != 0 {
        sketch.merge_into(heap.payload(words, reference), scratch);
    }
}

/// Adds what cells refer to, in order.
fn merge_cells<W: Words + ?Sized>(
    heap: Heap,
    words: &W,
    sketch: Sketch,
    references: &[u32],
    scratch: &mut Scratch,
) {
    for &reference in references {
        merge_cell(heap, words, sketch, reference, scratch);
    }
}

fn clamp_count(count: u128) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn clamp(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

/// Values are finite, so an infinite extreme says that there was none.
fn finite(extreme: f64) -> Value {
    if extreme.is_finite() { Value::Float(extreme) } else { Value::Null }
}

/// The partials of `all`.
struct Lifetime<'a, W: ?Sized> {
    layout: &'a Layout,
    words: &'a W,
    aggregate: Aggregate,
}

impl<W: Words + ?Sized> Lifetime<'_, W> {
    fn word(&self, partial: Partial) -> u64 {
        self.words.get(self.word_at(partial))
    }

    fn word_at(&self, partial: Partial) -> usize {
        let lifetime = self.layout.lifetime.as_ref().expect("a feature of `all` has its partials");
        let origin = lifetime.origin(self.aggregate, &self.layout.fields);
        1 + lifetime
            .word_at(lifetime.find_since(partial, origin).expect("a feature of `all` has its partials"))
    }

    fn value(&self, aggregate: Aggregate, t: i64, scratch: &mut Scratch) -> Value {
        // A rate has no value over `all`, so the length is not looked at.
        Merged::value(self, aggregate, 0, t, scratch)
    }
}

impl<W: Words + ?Sized> Merged for Lifetime<'_, W> {
    fn count(&self, partial: Partial) -> u128 {
        u128::from(self.word(partial))
    }

    fn sum_int(&self, partial: Partial) -> i128 {
        i128::from(self.word(partial).cast_signed())
    }

    fn sum_float(&self, partial: Partial) -> f64 {
        f64::from_bits(self.word(partial))
    }

    fn float_extreme(&self, partial: Partial) -> f64 {
        f64::from_bits(self.word(partial))
    }

    fn int_extreme(&self, partial: Partial) -> i64 {
        self.word(partial).cast_signed()
    }

    fn newest_ms(&self) -> Option<i64> {
        Some(body::newest_ms(self.words)).filter(|&newest_ms| newest_ms != body::NONE)
    }

    fn spreading(&self, count: Partial, moments: Partial) -> Spreading {
        let words = cells::get_wide(self.words, self.word_at(moments), 0);
        Spreading::new(self.word(count), Moments::from_words(words))
    }

    fn decayed(&self, partial: Partial) -> Decayed {
        Decayed::from_words(cells::get_wide(self.words, self.word_at(partial), 0))
    }

    fn sketched(&self, partial: Partial, sketch: Sketch, scratch: &mut Scratch) {
        let heap = body::heap(self.layout, self.words);
        merge_cell(heap, self.words, sketch, self.word(partial) as u32, scratch);
    }

    fn layout(&self) -> &Layout {
        self.layout
    }
}

/// The buckets `from..to` of one tier.
pub(crate) struct Buckets<'a, W: ?Sized> {
    layout: &'a Layout,
    words: &'a W,
    tier: usize,
    ring: Ring<'a>,
    runs: [(usize, usize); 2],
    /// Which of several columns of a partial is meant.
    origin: Option<u32>,
}

impl<'a, W: Words + ?Sized> Buckets<'a, W> {
    pub(crate) fn new(layout: &'a Layout, words: &'a W, tier: usize, from: i64, to: i64) -> Self {
        let ring = Ring::read(layout, words, tier);
        let runs = ring.runs(words, from, to);
        Self { layout, words, tier, ring, runs, origin: None }
    }

    pub(crate) fn value(&self, aggregate: Aggregate, length_ms: i64, t: i64, scratch: &mut Scratch) -> Value {
        match self.layout.tiers[self.tier].columns.origin(aggregate, &self.layout.fields) {
            None => Merged::value(self, aggregate, length_ms, t, scratch),
            origin => Merged::value(&Self { origin, ..*self }, aggregate, length_ms, t, scratch),
        }
    }

    fn column(&self, partial: Partial) -> usize {
        self.layout.tiers[self.tier]
            .columns
            .find_since(partial, self.origin)
            .expect("a feature's tier holds its partials")
    }

    /// The slots of the buckets, oldest first.
    fn slots(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.runs.into_iter().flat_map(|(from, to)| from..to)
    }

    /// Looks at the references of a column of sketches that refer to something, oldest bucket first.
    #[inline]
    fn each_reference(&self, column: usize, mut look: impl FnMut(u32)) {
        debug_assert_eq!(self.ring.shape.widths[column], Width::REFERENCE);
        let base = self.ring.column_base(column);
        for (from, to) in self.runs {
            let mut slot = from / 2 * 2;
            self.words.fold(base + from / 2..base + to.div_ceil(2), (), |(), pair| {
                // Many buckets have nothing.
                if pair != 0 {
                    for (slot, reference) in [(slot, pair as u32), (slot + 1, (pair >> 32) as u32)] {
                        if reference != 0 && slot >= from && slot < to {
                            look(reference);
                        }
                    }
                }
                slot += 2;
            });
        }
    }

    /// Folds the words of a 64-bit column over the buckets, oldest first.
    #[inline]
    fn fold<B>(&self, partial: Partial, initial: B, mut fold: impl FnMut(B, u64) -> B) -> B {
        let column = self.column(partial);
        debug_assert!(self.ring.shape.widths[column].is_word());
        let base = self.ring.column_base(column);
        let mut folded = initial;
        for (from, to) in self.runs {
            folded = self.words.fold(base + from..base + to, folded, &mut fold);
        }
        folded
    }
}

impl<W: Words + ?Sized> Merged for Buckets<'_, W> {
    fn count(&self, partial: Partial) -> u128 {
        let column = self.column(partial);
        let (base, width) = (self.ring.column_base(column), self.ring.shape.widths[column]);
        self.runs.iter().map(|&(from, to)| cells::sum(self.words, base, width, from, to)).sum()
    }

    fn sum_int(&self, partial: Partial) -> i128 {
        let column = self.column(partial);
        let (base, width) = (self.ring.column_base(column), self.ring.shape.widths[column]);
        self.runs.iter().map(|&(from, to)| cells::sum_signed(self.words, base, width, from, to)).sum()
    }

    fn sum_float(&self, partial: Partial) -> f64 {
        let column = self.column(partial);
        let base = self.ring.column_base(column);
        let add = |sum: f64, word| sum + f64::from_bits(word);
        // A bucket's lane is a matter of its index, not of where it stands: so the same buckets have the same sum to the last bit in a
        // ring of any shape. Empty ones change none.
        let lane_of = |slot| self.ring.bucket_in(self.words, slot) as usize % LANES;
        let mut lanes = [0.0; LANES];
        for (from, to) in self.runs {
            if from == to {
                continue;
            }
            if self.ring.shape.dense {
                let first = lane_of(from);
                lanes = turned(lanes, first);
                lanes = self.words.fold_lanes(base + from..base + to, lanes, add);
                lanes = turned(lanes, LANES - first);
            } else {
                for slot in from..to {
                    let lane = &mut lanes[lane_of(slot)];
                    *lane = add(*lane, self.words.get(base + slot));
                }
            }
        }
        let sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
        // A lane may leave the range where the sum in order, oldest first, does not.
        if sum.is_finite() { sum } else { self.fold(partial, 0.0, add) }
    }

    fn float_extreme(&self, partial: Partial) -> f64 {
        match partial {
            Partial::MinFloat(_) => {
                self.fold(partial, f64::INFINITY, |least, word| least.min(f64::from_bits(word)))
            }
            _ => self.fold(partial, f64::NEG_INFINITY, |most, word| most.max(f64::from_bits(word))),
        }
    }

    fn int_extreme(&self, partial: Partial) -> i64 {
        match partial {
            Partial::MinInt(_) => self.fold(partial, i64::MAX, |least, word| least.min(word.cast_signed())),
            _ => self.fold(partial, i64::MIN, |most, word| most.max(word.cast_signed())),
        }
    }

    fn newest_ms(&self) -> Option<i64> {
        let column = self.column(Partial::Newest);
        let width_ms = self.layout.tiers[self.tier].width_ms;
        self.runs.into_iter().rev().flat_map(|(from, to)| (from..to).rev()).find_map(|slot| {
            let offset_ms = self.ring.cell(self.words, column, slot).checked_sub(1)?;
            let start_ms = self.ring.bucket_in(self.words, slot).wrapping_mul(width_ms);
            Some(start_ms.wrapping_add(offset_ms.cast_signed()))
        })
    }

    fn spreading(&self, count: Partial, moments: Partial) -> Spreading {
        let (count, moments) = (self.column(count), self.column(moments));
        let base = self.ring.column_base(moments);
        self.slots().fold(Spreading::default(), |all, slot| {
            let words = cells::get_wide(self.words, base, slot);
            let count = self.ring.cell(self.words, count, slot);
            all.merged(Spreading::new(count, Moments::from_words(words)))
        })
    }

    fn decayed(&self, _partial: Partial) -> Decayed {
        unreachable!("what decays is kept for `all` only")
    }

    fn sketched(&self, partial: Partial, sketch: Sketch, scratch: &mut Scratch) {
        let (column, heap) = (self.column(partial), body::heap(self.layout, self.words));
        // Blocks lie all over the heap: their heads are asked for a chunk of buckets before the first of them is looked at.
        let (mut asked, mut asked_len) = ([0; BLOCKS_AHEAD], 0);
        let (mut before, mut before_len) = ([0; BLOCKS_AHEAD], 0);
        self.each_reference(column, |reference| {
            if reference & INLINE == 0 {
                heap.prefetch(self.words, reference);
            }
            asked[asked_len] = reference;
            asked_len += 1;
            if asked_len == BLOCKS_AHEAD {
                merge_cells(heap, self.words, sketch, &before[..before_len], scratch);
                (before, before_len) = (asked, asked_len);
                asked_len = 0;
            }
        });
        merge_cells(heap, self.words, sketch, &before[..before_len], scratch);
        merge_cells(heap, self.words, sketch, &asked[..asked_len], scratch);
    }

    fn layout(&self) -> &Layout {
        self.layout
    }
}
