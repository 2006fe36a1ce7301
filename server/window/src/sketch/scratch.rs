//! Where a reader merges the buckets of a window.

use super::latest::{End, Latest};
use super::quantile::Bins;
use super::span::Span;
use super::tally::Tally;
use super::topk;
use super::union::Union;
use super::{INLINE, Sketch, SketchSpec};
use crate::value::Value;
use crate::words::Words;

/// Where a reader merges the buckets of a window: made once, used again for every read, so that reads seldom allocate.
#[derive(Debug, Default)]
pub struct Scratch {
    sketch: Option<Sketch>,
    union: Union,
    bins: Bins,
    tally: Tally,
    latest: Latest,
}

impl Scratch {
    /// Keys what is looked up by this secret, so that nobody can choose values that are slow to count. Results do not depend on it.
    pub fn key(&mut self, secret: u64) {
        self.union.key(secret);
    }

    /// Forgets what was merged, and starts a window of `sketch`.
    pub fn begin(&mut self, sketch: Sketch) {
        self.sketch = Some(sketch);
        match sketch.spec {
            SketchSpec::Distinct { p } => self.union.begin(p),
            SketchSpec::Quantile => self.bins.begin(),
            SketchSpec::TopK { .. } | SketchSpec::CountBy { .. } => self.tally.begin(),
            SketchSpec::LastK { k } => self.latest.begin(usize::from(k)),
            SketchSpec::First | SketchSpec::Last => self.latest.begin(1),
        }
    }

    #[inline]
    pub(super) fn merge<W: Words + ?Sized>(&mut self, sketch: Sketch, span: Span<'_, W>) {
        debug_assert_eq!(self.sketch, Some(sketch), "a window is of one sketch");
        match sketch.spec {
            SketchSpec::Distinct { .. } => self.union.merge(span),
            SketchSpec::Quantile => self.bins.merge(span),
            SketchSpec::TopK { k } => self.tally.merge_topk(span, sketch.field, topk::capacity(k)),
            SketchSpec::CountBy { k } => self.tally.merge_countby(span, sketch.field, usize::from(k)),
            SketchSpec::LastK { k } => self.latest.merge_list(span, sketch.field, k),
            SketchSpec::First => self.latest.merge_end(span, sketch.field, End::Oldest),
            SketchSpec::Last => self.latest.merge_end(span, sketch.field, End::Newest),
        }
    }

    #[inline]
    pub(super) fn merge_inline(&mut self, sketch: Sketch, reference: u32) {
        debug_assert_eq!(self.sketch, Some(sketch), "a window is of one sketch");
        if let SketchSpec::Distinct { .. } = sketch.spec {
            self.union.add_entry(reference & !INLINE);
        }
    }

    /// What was merged since `begin`; of quantiles, the median.
    ///
    /// An integer for `distinct`, a list for `lastk` (newest first), `topk` and `countby` (`[value, count]`), a value or
    /// [`Value::Null`] for `first` and `last`.
    pub fn value(&mut self) -> Value {
        let Some(Sketch { spec, field }) = self.sketch else { return Value::Null };
        match spec {
            // It is at most about 2⁷⁰: the cast saturates.
            SketchSpec::Distinct { .. } => Value::Int(self.union.count().round() as i64),
            SketchSpec::Quantile => self.quantile(0.5),
            SketchSpec::TopK { k } => self.tally.topk(field, usize::from(k)),
            SketchSpec::CountBy { k } => self.tally.countby(field, usize::from(k)),
            SketchSpec::LastK { .. } => Value::List(self.latest.values(field).collect()),
            SketchSpec::First | SketchSpec::Last => self.latest.values(field).next().unwrap_or(Value::Null),
        }
    }

    /// The value of rank ⌊q (n − 1)⌋ of the n that were merged since `begin`, within 1 %; [`Value::Null`] if there are none.
    /// Several quantiles may be asked for.
    pub fn quantile(&mut self, q: f64) -> Value {
        match self.sketch {
            Some(Sketch { spec: SketchSpec::Quantile, .. }) => {
                self.bins.quantile(q).map_or(Value::Null, Value::Float)
            }
            _ => Value::Null,
        }
    }
}
