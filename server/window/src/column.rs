//! Columns: one partial aggregate for every slot of a ring, packed as narrowly as it may be.

use crate::aggregate::{Aggregate, FieldId};
use crate::body::Event;
use crate::definition::{Field, FieldType};
use crate::moments::{Decayed, Moments};
use crate::sketch::{Sketch, SketchSpec};

/// What a bucket stores of its events so that aggregates over many buckets can be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Partial {
    /// Events.
    Count,
    /// Events in which the field is present.
    CountOf(FieldId),
    /// Sum of a FLOAT field, as f64.
    SumFloat(FieldId),
    /// Sum of an INT field, saturating at i64.
    SumInt(FieldId),
    /// Smallest value of a FLOAT field; +∞ in an empty bucket.
    MinFloat(FieldId),
    /// Largest value of a FLOAT field; −∞ in an empty bucket.
    MaxFloat(FieldId),
    /// Smallest value of an INT field; meaningless where the field's count is 0.
    MinInt(FieldId),
    /// Largest value of an INT field; meaningless where the field's count is 0.
    MaxInt(FieldId),
    /// 1 + milliseconds from the bucket's start to its newest event; 0 in an empty bucket.
    Newest,
    /// Mean and sum of squared distances from it, as two f64; the field's count stands beside it.
    Moments(FieldId, FieldType),
    /// Of `all`: a sum that halves each so many milliseconds, and the event time that it is the sum at.
    DecaySum(FieldId, FieldType, i64),
    /// A reference to a sketch of the field in the record's heap; 0 where there is none yet.
    Sketch(FieldId, Sketch),
}

/// What one slot of a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CellKind {
    /// A number of 16 to 64 bits.
    Number,
    /// Two words.
    Wide,
    /// A reference into the record's heap: 32 bits, in a word of its own among the partials of `all`.
    Reference,
}

/// A column of references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SketchColumn {
    /// Its place among the columns.
    pub column: usize,
    /// What is sketched.
    pub field: FieldId,
    /// How.
    pub sketch: Sketch,
}

/// The partials of a bucket, or of `all`: those that are one number stand first, so that most streams know no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    partials: Box<[Partial]>,
    numbers: usize,
    wide: usize,
    sketches: Box<[SketchColumn]>,
    /// The generation of the stream's layouts in which each began.
    origins: Box<[u32]>,
    /// A partial has several columns, of different generations.
    has_twins: bool,
}

impl Columns {
    /// The columns for aggregates that need these partials, each once. An aggregate that `before` could answer keeps its columns; another
    /// one gets new ones, its own where it cannot share: partials that have not seen the same events do not go together.
    pub(crate) fn new(
        needed: impl Iterator<Item = Vec<Partial>>,
        before: Option<&Self>,
        generation: u32,
    ) -> Self {
        let mut own: Vec<(Partial, u32)> = Vec::new();
        for partials in needed {
            let origin = before.and_then(|before| before.origin_of(&partials)).unwrap_or(generation);
            for partial in partials {
                if !own.contains(&(partial, origin)) {
                    own.push((partial, origin));
                }
            }
        }
        Self::of(own)
    }

    /// The columns of these partials, each with the generation in which it began.
    fn of(mut own: Vec<(Partial, u32)>) -> Self {
        // Stable: within a kind, as declared.
        own.sort_by_key(|(partial, _)| partial.kind());
        let (own, origins): (Vec<Partial>, Vec<u32>) = own.into_iter().unzip();
        let has_twins = (1..own.len()).any(|at| own[..at].contains(&own[at]));
        let count = |kind| own.iter().filter(|partial| partial.kind() == kind).count();
        let (numbers, wide) = (count(CellKind::Number), count(CellKind::Wide));
        let sketches = own.iter().enumerate().filter_map(|(column, partial)| match *partial {
            Partial::Sketch(field, sketch) => Some(SketchColumn { column, field, sketch }),
            _ => None,
        });
        let sketches = sketches.collect();
        Self { sketches, partials: own.into(), numbers, wide, origins: origins.into(), has_twins }
    }

    /// Some of the columns, in their order.
    pub(crate) fn subset(&self, mut is_kept: impl FnMut(Partial, u32) -> bool) -> Self {
        let own = self.partials.iter().copied().zip(self.origins.iter().copied());
        Self::of(own.filter(|&(partial, origin)| is_kept(partial, origin)).collect())
    }

    /// The generation in which a column began.
    pub(crate) fn began(&self, column: usize) -> u32 {
        self.origins[column]
    }

    /// Those that are one number.
    #[inline]
    pub fn numbers(&self) -> &[Partial] {
        &self.partials[..self.numbers]
    }

    /// Whether all are one number.
    #[inline]
    pub fn is_numbers_only(&self) -> bool {
        self.numbers == self.partials.len()
    }

    /// Those that take two words, each with its place among the columns.
    pub fn wide(&self) -> impl Iterator<Item = (usize, Partial)> {
        (self.numbers..self.numbers + self.wide).map(|at| (at, self.partials[at]))
    }

    /// Those that refer to a sketch.
    #[inline]
    pub fn sketches(&self) -> &[SketchColumn] {
        &self.sketches
    }

    /// The place of a partial.
    pub fn find(&self, partial: Partial) -> Option<usize> {
        self.partials.iter().position(|own| *own == partial)
    }

    /// The earliest generation of which all the partials have columns.
    pub(crate) fn origin_of(&self, partials: &[Partial]) -> Option<u32> {
        let has = |partial: &Partial, origin: u32| {
            self.partials.iter().zip(&self.origins).any(|(own, &since)| own == partial && since == origin)
        };
        let origins = self.origins.iter().copied();
        origins.filter(|&origin| partials.iter().all(|partial| has(partial, origin))).min()
    }

    /// What tells the partials of `aggregate` from others of their kind, where there are several: the generation of their columns.
    #[inline]
    pub(crate) fn origin(&self, aggregate: Aggregate, fields: &[Field]) -> Option<u32> {
        if self.has_twins { self.origin_among_twins(aggregate, fields) } else { None }
    }

    #[cold]
    fn origin_among_twins(&self, aggregate: Aggregate, fields: &[Field]) -> Option<u32> {
        self.origin_of(&Partial::of(aggregate, fields))
    }

    /// The place of a partial; of several, the one of this generation.
    #[inline]
    pub(crate) fn find_since(&self, partial: Partial, origin: Option<u32>) -> Option<usize> {
        match origin {
            None => self.find(partial),
            Some(origin) => (0..self.partials.len())
                .find(|&at| self.partials[at] == partial && self.origins[at] == origin),
        }
    }

    /// The place of a partial that has seen the same events as the column `at`.
    pub(crate) fn find_beside(&self, partial: Partial, at: usize) -> Option<usize> {
        self.find_since(partial, Some(self.origins[at]))
    }

    /// For each column, the place of the same one among those of `before`.
    pub(crate) fn places_in(&self, before: &Self) -> Vec<Option<usize>> {
        let place = |at: usize| before.find_since(self.partials[at], Some(self.origins[at]));
        (0..self.partials.len()).map(place).collect()
    }

    /// Where a partial of `all` stands among the words of all of them.
    pub fn word_at(&self, column: usize) -> usize {
        column + column.clamp(self.numbers, self.numbers + self.wide) - self.numbers
    }

    /// The words that one of each takes.
    pub fn words(&self) -> usize {
        self.word_at(self.partials.len())
    }
}

impl std::ops::Deref for Columns {
    type Target = [Partial];

    #[inline]
    fn deref(&self) -> &[Partial] {
        &self.partials
    }
}

impl Partial {
    /// The partials that `aggregate` is computed from.
    pub fn of(aggregate: Aggregate, fields: &[Field]) -> Vec<Self> {
        let int = |field: FieldId| fields[usize::from(field)].kind == FieldType::Int;
        let sum = |field| if int(field) { Self::SumInt(field) } else { Self::SumFloat(field) };
        let kind = |field: FieldId| fields[usize::from(field)].kind;
        match aggregate {
            Aggregate::Count | Aggregate::Rate => vec![Self::Count],
            Aggregate::CountOf(field) => vec![Self::CountOf(field)],
            Aggregate::Sum(field) | Aggregate::RateOf(field) => vec![sum(field)],
            Aggregate::Avg(field) => vec![Self::CountOf(field), sum(field)],
            Aggregate::Variance(field, _) => vec![Self::CountOf(field), Self::Moments(field, kind(field))],
            Aggregate::First(field)
            | Aggregate::Last(field)
            | Aggregate::LastK(field, _)
            | Aggregate::Distinct(field, _)
            | Aggregate::Quantile(field, _)
            | Aggregate::TopK(field, _)
            | Aggregate::CountBy(field, _) => {
                let (_, sketch) = sketched(aggregate, fields).expect("these are sketched");
                vec![Self::Sketch(field, sketch)]
            }
            Aggregate::DecaySum(field, halflife_ms) => {
                vec![Self::DecaySum(field, kind(field), halflife_ms)]
            }
            // Every i64 is a value, so none can mean "empty": the count says it.
            Aggregate::Min(field) if int(field) => vec![Self::CountOf(field), Self::MinInt(field)],
            Aggregate::Max(field) if int(field) => vec![Self::CountOf(field), Self::MaxInt(field)],
            Aggregate::Min(field) => vec![Self::MinFloat(field)],
            Aggregate::Max(field) => vec![Self::MaxFloat(field)],
            Aggregate::Since => vec![Self::Newest],
        }
    }

    /// What one slot of it is.
    pub fn kind(self) -> CellKind {
        match self {
            Self::Moments(..) | Self::DecaySum(..) => CellKind::Wide,
            Self::Sketch(..) => CellKind::Reference,
            _ => CellKind::Number,
        }
    }

    /// Whether it counts, and so starts narrow and widens.
    pub fn is_count(self) -> bool {
        matches!(self, Self::Count | Self::CountOf(_))
    }

    /// Whether it is a sum of integers, which starts narrow and widens where the layout [says so](crate::layout::Sums).
    pub fn is_int_sum(self) -> bool {
        matches!(self, Self::SumInt(_))
    }

    /// What an empty bucket holds; in both words of a wide one.
    #[inline]
    pub fn initial(self) -> u64 {
        match self {
            Self::MinFloat(_) => f64::INFINITY.to_bits(),
            Self::MaxFloat(_) => f64::NEG_INFINITY.to_bits(),
            Self::MinInt(_) => i64::MAX.cast_unsigned(),
            Self::MaxInt(_) => i64::MIN.cast_unsigned(),
            _ => 0,
        }
    }

    /// The partial after `event`, which lies `offset_ms` behind the start of the bucket; `None` when it does not change.
    #[inline]
    pub fn add(self, old: u64, event: &Event<'_>, offset_ms: u64) -> Option<u64> {
        let value =
            |field: FieldId| (event.present & (1 << field) != 0).then(|| event.values[usize::from(field)]);
        match self {
            Self::Count => Some(old + 1),
            Self::CountOf(field) => value(field).map(|_| old + 1),
            Self::SumFloat(field) => {
                value(field).map(|new| (f64::from_bits(old) + f64::from_bits(new)).to_bits())
            }
            Self::SumInt(field) => {
                value(field).map(|new| old.cast_signed().saturating_add(new.cast_signed()).cast_unsigned())
            }
            Self::MinFloat(field) => value(field).filter(|&new| f64::from_bits(new) < f64::from_bits(old)),
            Self::MaxFloat(field) => value(field).filter(|&new| f64::from_bits(new) > f64::from_bits(old)),
            Self::MinInt(field) => value(field).filter(|&new| new.cast_signed() < old.cast_signed()),
            Self::MaxInt(field) => value(field).filter(|&new| new.cast_signed() > old.cast_signed()),
            Self::Newest => (offset_ms >= old).then_some(offset_ms + 1),
            Self::Moments(..) | Self::DecaySum(..) | Self::Sketch(..) => None,
        }
    }

    /// The wide partial after `event`. `count` says how often a field was present, this event included.
    pub(crate) fn add_wide(
        self,
        old: [u64; 2],
        event: &Event<'_>,
        count: impl FnOnce(Self) -> u64,
    ) -> Option<[u64; 2]> {
        match self {
            Self::Moments(field, kind) => event
                .number(field, kind)
                .map(|value| Moments::from_words(old).with(value, count(Self::CountOf(field))).to_words()),
            Self::DecaySum(field, kind, halflife_ms) => event
                .number(field, kind)
                .map(|value| Decayed::from_words(old).with(value, event.ts, halflife_ms).to_words()),
            _ => None,
        }
    }
}

/// Whether an aggregate is read from sketches.
pub(crate) fn is_sketched(aggregate: Aggregate) -> bool {
    sketch_of(aggregate).is_some()
}

/// The field and the sketch that an aggregate is read from, if it is read from one.
pub(crate) fn sketched(aggregate: Aggregate, fields: &[Field]) -> Option<(FieldId, Sketch)> {
    let spec = sketch_of(aggregate)?;
    let (Aggregate::First(field)
    | Aggregate::Last(field)
    | Aggregate::LastK(field, _)
    | Aggregate::Distinct(field, _)
    | Aggregate::Quantile(field, _)
    | Aggregate::TopK(field, _)
    | Aggregate::CountBy(field, _)) = aggregate
    else {
        return None;
    };
    Some((field, Sketch { spec, field: fields[usize::from(field)].kind }))
}

/// What sketch an aggregate is read from.
fn sketch_of(aggregate: Aggregate) -> Option<SketchSpec> {
    Some(match aggregate {
        Aggregate::First(_) => SketchSpec::First,
        Aggregate::Last(_) => SketchSpec::Last,
        Aggregate::LastK(_, k) => SketchSpec::LastK { k },
        Aggregate::Distinct(_, p) => SketchSpec::Distinct { p },
        // One for all fractions.
        Aggregate::Quantile(..) => SketchSpec::Quantile,
        Aggregate::TopK(_, k) => SketchSpec::TopK { k },
        Aggregate::CountBy(_, k) => SketchSpec::CountBy { k },
        _ => return None,
    })
}
