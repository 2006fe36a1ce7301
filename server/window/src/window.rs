//! Evaluating aggregates over the buckets of a window.

use crate::aggregate::Aggregate;
use crate::body::{self, Ring};
use crate::column::{self, Partial};
use crate::definition::FieldType;
use crate::layout::Layout;
use crate::query::{Feature, ReadTime};
use crate::value::Value;
use crate::words::Words;

/// Evaluates every feature for one entity, in order, onto `out`. `body` is `None` for an entity that is unknown.
pub fn evaluate<W: Words + ?Sized>(
    layout: &Layout,
    body: Option<&W>,
    features: &[Feature],
    time: ReadTime,
    out: &mut Vec<Value>,
) {
    let live = body.filter(|words| is_live(layout, *words, time.clock));
    out.extend(features.iter().map(|feature| match (feature.buckets(layout, time.t), live) {
        (None, _) if !time.present => Value::Null,
        (_, None) => empty(layout, feature.aggregate),
        (None, Some(words)) => {
            Lifetime { layout, words, aggregate: feature.aggregate }.value(feature.aggregate, time.t)
        }
        (Some((tier, from, to)), Some(words)) => {
            Buckets::new(layout, words, tier, from, to).value(feature.aggregate, length_ms(feature), time.t)
        }
    }));
}

/// Whether the entity is not dead at the stream's clock; without a clock there is no event.
pub(crate) fn is_live<W: Words + ?Sized>(layout: &Layout, words: &W, clock: Option<i64>) -> bool {
    clock.is_some_and(|clock_ms| !body::is_dead(layout, body::newest_ms(words), clock_ms))
}

fn length_ms(feature: &Feature) -> i64 {
    match feature.length {
        crate::aggregate::Length::Finite(length_ms) => length_ms,
        crate::aggregate::Length::All => unreachable!("a window with buckets is finite"),
    }
}

/// What an aggregate of no events is.
pub fn empty(layout: &Layout, aggregate: Aggregate) -> Value {
    match aggregate {
        Aggregate::Count | Aggregate::CountOf(_) => Value::Int(0),
        Aggregate::Sum(field) if layout.fields[usize::from(field)].kind == FieldType::Int => Value::Int(0),
        Aggregate::Sum(_) | Aggregate::Rate | Aggregate::RateOf(_) => Value::Float(0.0),
        Aggregate::Avg(_) | Aggregate::Min(_) | Aggregate::Max(_) | Aggregate::Since => Value::Null,
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
    fn layout(&self) -> &Layout;

    fn value(&self, aggregate: Aggregate, length_ms: i64, t: i64) -> Value {
        let is_int = |field: u8| self.layout().fields[usize::from(field)].kind == FieldType::Int;
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
        let at = self.layout.lifetime_word(partial, self.aggregate);
        self.words.get(1 + at.expect("a feature of `all` has its partials"))
    }

    fn value(&self, aggregate: Aggregate, t: i64) -> Value {
        // A rate has no value over `all`, so the length is not looked at.
        Merged::value(self, aggregate, 0, t)
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

    pub(crate) fn value(&self, aggregate: Aggregate, length_ms: i64, t: i64) -> Value {
        match self.layout.tiers[self.tier].origin(aggregate, &self.layout.fields) {
            None => Merged::value(self, aggregate, length_ms, t),
            origin => Merged::value(&Self { origin, ..*self }, aggregate, length_ms, t),
        }
    }

    fn column(&self, partial: Partial) -> usize {
        self.layout.tiers[self.tier]
            .column_since(partial, self.origin)
            .expect("a feature's tier holds its partials")
    }

    /// The words of a 64-bit column over the buckets, oldest first.
    fn words_of(&self, partial: Partial) -> impl Iterator<Item = u64> {
        let column = self.column(partial);
        debug_assert_eq!(self.ring.shape.bits[column], 64);
        let base = self.ring.column_base(column);
        self.runs
            .into_iter()
            .flat_map(move |(from, to)| (from..to).map(move |slot| self.words.get(base + slot)))
    }
}

impl<W: Words + ?Sized> Merged for Buckets<'_, W> {
    fn count(&self, partial: Partial) -> u128 {
        let column = self.column(partial);
        let (base, bits) = (self.ring.column_base(column), self.ring.shape.bits[column]);
        self.runs.iter().map(|&(from, to)| column::sum_packed(self.words, base, bits, from, to)).sum()
    }

    fn sum_int(&self, partial: Partial) -> i128 {
        self.words_of(partial).map(|word| i128::from(word.cast_signed())).sum()
    }

    fn sum_float(&self, partial: Partial) -> f64 {
        // Not `sum()`: its neutral element is −0.
        self.words_of(partial).fold(0.0, |sum, word| sum + f64::from_bits(word))
    }

    fn float_extreme(&self, partial: Partial) -> f64 {
        let words = self.words_of(partial).map(f64::from_bits);
        match partial {
            Partial::MinFloat(_) => words.fold(f64::INFINITY, f64::min),
            _ => words.fold(f64::NEG_INFINITY, f64::max),
        }
    }

    fn int_extreme(&self, partial: Partial) -> i64 {
        let words = self.words_of(partial).map(u64::cast_signed);
        match partial {
            Partial::MinInt(_) => words.fold(i64::MAX, i64::min),
            _ => words.fold(i64::MIN, i64::max),
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

    fn layout(&self) -> &Layout {
        self.layout
    }
}
