//! Sketches: what a bucket keeps of a field where one word is not enough.
//!
//! A sketch is a block of words in its record's heap. Everything here works on a block's *payload*, seen through a [`Span`]
//! (or a [`SpanMut`] for the record's writer): who allocates blocks, moves them and refers to them is the heap's business.
//!
//! The writer's steps for an event, so that nothing is half applied and a value is sought but once:
//!
//! 1. Nothing yet in the bucket: [`Sketch::spot`] says the value's inline form if the kind has one that fits the reference itself
//!    ([`INLINE`] and [`Spot::Hashed`]); else a block of [`Sketch::words_new`] words, [`Sketch::start`], [`Sketch::add_at`] the spot.
//! 2. An inline value: equal to the new one's, nothing to do; else a block of [`Sketch::words_new`] words, `start`,
//!    [`Sketch::add_inline`] of the old one, `add_at` of the new one.
//! 3. A block: [`Sketch::seek`] says that nothing changes, or the spot where the value fits, or how many words a new block must have
//!    and the spot in that; then [`Sketch::copy`] (or the words as they are, unless [`Sketch::is_rewritten`]), `add_at`.
//!
//! The reader's: [`Scratch::begin`], [`Sketch::merge_into`] (or [`Sketch::merge_inline`]) for every bucket of the window in any
//! order, then [`Scratch::value`] or [`Scratch::quantile`].
//!
//! A reader may see words of two moments: whatever they say, reading ends, and nothing panics. [`Sketch::verify`] says whether
//! words can have been made by `add`: it is asked of words that come from outside.

mod countby;
mod counters;
mod distinct;
mod entries;
mod gathered;
mod hash;
mod latest;
mod merge;
mod quantile;
mod scratch;
mod span;
mod stored;
mod tally;
#[cfg(test)]
mod tests;
mod topk;
mod union;

pub use merge::Sketched;
pub use quantile::BINS_MAX;
pub use scratch::Scratch;
pub use span::{Span, SpanMut};

use crate::definition::FieldType;
use crate::error::Corrupt;
use crate::words::{Words, WordsMut};
use latest::End;
use stored::Stored;

/// Fewest bits of a register's index: 16 registers.
pub const PRECISION_MIN: u8 = 4;
/// Most bits of a register's index: 65,536 registers, 51 KiB.
pub const PRECISION_MAX: u8 = 16;
/// Bits of a register's index where the definition names none: σ = 1.6 %.
pub const PRECISION_DEFAULT: u8 = 12;
/// Most values that `topk`, `countby` and `lastk` may be asked for: each event looks at all of them.
pub const K_MAX: u16 = 1_000;
/// Set in a 32-bit reference that is not one, but the inline form of a bucket's only value.
pub const INLINE: u32 = 1 << 31;

/// What is sketched, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SketchSpec {
    /// How many different values: HyperLogLog of 2^p registers.
    Distinct {
        /// [`PRECISION_MIN`] to [`PRECISION_MAX`].
        p: u8,
    },
    /// The distribution of a number within 1 %: DDSketch, for all quantiles of the field.
    Quantile,
    /// The most frequent values: Space-Saving.
    TopK {
        /// How many, 1 to [`K_MAX`].
        k: u16,
    },
    /// The first values that arrive, with their counts, and the count of the rest.
    CountBy {
        /// How many, 1 to [`K_MAX`].
        k: u16,
    },
    /// The newest values.
    LastK {
        /// How many, 1 to [`K_MAX`].
        k: u16,
    },
    /// The oldest value.
    First,
    /// The newest value.
    Last,
}

/// A sketch of a field: its functions over a block's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sketch {
    /// What is sketched.
    pub spec: SketchSpec,
    /// The field's type: what a value's words mean.
    pub field: FieldType,
}

/// A value of a field, on its way into a sketch.
#[derive(Clone, Copy, Debug)]
pub struct SketchValue<'a> {
    /// The bits of an f64 or an i64; unused for a STRING.
    pub word: u64,
    /// The bytes of a STRING, at most [`STRING_BYTES_MAX`](crate::definition::STRING_BYTES_MAX).
    pub bytes: Option<&'a [u8]>,
    /// Event time.
    pub at_ms: i64,
}

/// Where a value goes in a sketch, so that it is looked for but once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// It was not looked for.
    Unsought,
    /// Of a distinct count: what the value's hash says.
    Hashed(u32),
    /// The same, and which entry of a sparse sketch it is, or comes before.
    Entry {
        /// What the value's hash says.
        entry: u32,
        /// The place of the entry.
        at: u32,
        /// Whether there is one of the same index.
        is_there: bool,
    },
}

/// What adding a value to a sketch comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Nothing changes.
    Known,
    /// It fits in place.
    Here(Spot),
    /// It needs a block of so many payload words first; the spot is the one in that.
    Longer(usize, Spot),
}

impl Sketch {
    /// A number for the kind, for the block's head: 1 to 7.
    pub fn kind_id(self) -> u8 {
        match self.spec {
            SketchSpec::Distinct { .. } => 1,
            SketchSpec::Quantile => 2,
            SketchSpec::TopK { .. } => 3,
            SketchSpec::CountBy { .. } => 4,
            SketchSpec::LastK { .. } => 5,
            SketchSpec::First => 6,
            SketchSpec::Last => 7,
        }
    }

    /// Whether a reference with [`INLINE`] set is one that a value has.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify_inline(self, reference: u32) -> Result<(), Corrupt> {
        match self.spec {
            SketchSpec::Distinct { .. } => distinct::verify_entry(reference & !INLINE),
            _ => {
                Err(Corrupt(format!("{reference:#x} stands for a value in place of a sketch that has none")))
            }
        }
    }

    /// Payload words of a bucket's first block: room for `value`, and for an inline one before it.
    pub fn words_new(self, value: &SketchValue<'_>) -> usize {
        match self.spec {
            SketchSpec::Distinct { .. } | SketchSpec::Quantile => 1,
            SketchSpec::TopK { .. } | SketchSpec::CountBy { .. } | SketchSpec::LastK { .. } => {
                2 + self.stored(value).words()
            }
            SketchSpec::First | SketchSpec::Last => 1 + self.stored(value).words(),
        }
    }

    /// The most payload words that a block of this sketch ever has.
    pub fn words_max(self) -> usize {
        match self.spec {
            SketchSpec::Distinct { p } => distinct::dense_words(p),
            SketchSpec::Quantile => BINS_MAX,
            SketchSpec::TopK { k } => topk::words_max(self.field, k),
            SketchSpec::CountBy { k } => countby::words_max(self.field, k),
            SketchSpec::LastK { k } => latest::words_max(self.field, k),
            SketchSpec::First | SketchSpec::Last => 1 + stored::words_max(self.field),
        }
    }

    /// Where the value goes in a block that is yet to be made. [`Spot::Hashed`] with [`INLINE`] is the reference that stands for a bucket
    /// with this one value.
    #[inline]
    pub fn spot(self, value: &SketchValue<'_>) -> Spot {
        match self.spec {
            SketchSpec::Distinct { .. } => Spot::Hashed(distinct::entry_of(&self.stored(value))),
            _ => Spot::Unsought,
        }
    }

    /// What adding the value comes to, and where it goes.
    #[inline]
    pub fn seek<W: Words + ?Sized>(self, span: Span<'_, W>, value: &SketchValue<'_>) -> Sought {
        match self.spec {
            SketchSpec::Distinct { p } => distinct::seek(span, p, distinct::entry_of(&self.stored(value))),
            _ => self
                .room(span, value)
                .map_or(Sought::Here(Spot::Unsought), |words| Sought::Longer(words, Spot::Unsought)),
        }
    }

    /// `None`: the value fits in place. `Some(words)`: it needs a block of so many payload words first.
    fn room<W: Words + ?Sized>(self, span: Span<'_, W>, value: &SketchValue<'_>) -> Option<usize> {
        let stored = self.stored(value);
        match self.spec {
            SketchSpec::Distinct { p } => match distinct::seek(span, p, distinct::entry_of(&stored)) {
                Sought::Longer(words, _) => Some(words),
                Sought::Known | Sought::Here(_) => None,
            },
            SketchSpec::Quantile => quantile::room(span, quantile::key_of(self.field, value.word)),
            SketchSpec::TopK { k } => topk::room(span, self.field, k, &stored),
            SketchSpec::CountBy { k } => countby::room(span, self.field, k, &stored),
            SketchSpec::LastK { k } => latest::room(span, self.field, k, value.at_ms, &stored),
            SketchSpec::First => End::Oldest.room(span, value.at_ms, &stored),
            SketchSpec::Last => End::Newest.room(span, value.at_ms, &stored),
        }
    }

    /// Makes the span a sketch of nothing.
    pub fn start<W: WordsMut + ?Sized>(self, span: &mut SpanMut<'_, W>) {
        match self.spec {
            SketchSpec::First | SketchSpec::Last => End::start(span),
            _ => span.clear(),
        }
    }

    /// Whether [`Sketch::copy`] to a block of `words` does more than to copy each word, and to put zeros behind the last.
    pub fn is_rewritten<W: Words + ?Sized>(self, old: Span<'_, W>, words: usize) -> bool {
        match self.spec {
            SketchSpec::Distinct { p } => distinct::becomes_dense(old, p, words),
            _ => false,
        }
    }

    /// Copies a sketch to a span of exactly the words that [`Sketch::seek`] asked for, or exactly as many as the old one has.
    /// What the new span held before does not matter.
    pub fn copy<O, N>(self, old: Span<'_, O>, new: &mut SpanMut<'_, N>)
    where
        O: Words + ?Sized,
        N: WordsMut + ?Sized,
    {
        match self.spec {
            SketchSpec::Distinct { p } => distinct::copy(old, new, p),
            _ => new.copy_from(old),
        }
    }

    /// Adds a value that fits in place (or to a new block). Events of a bucket are added as they arrive.
    fn add<W: WordsMut + ?Sized>(self, span: &mut SpanMut<'_, W>, value: &SketchValue<'_>) {
        let stored = self.stored(value);
        match self.spec {
            SketchSpec::Distinct { p } => distinct::add(span, p, distinct::entry_of(&stored)),
            SketchSpec::Quantile => quantile::add(span, quantile::key_of(self.field, value.word)),
            SketchSpec::TopK { k } => topk::add(span, self.field, k, &stored),
            SketchSpec::CountBy { k } => countby::add(span, self.field, k, &stored),
            SketchSpec::LastK { k } => latest::add(span, self.field, k, value.at_ms, &stored),
            SketchSpec::First => End::Oldest.add(span, value.at_ms, &stored),
            SketchSpec::Last => End::Newest.add(span, value.at_ms, &stored),
        }
    }

    /// Adds a value to a block that has room for it, at its spot. Events of a bucket are added as they arrive.
    #[inline]
    pub fn add_at<W: WordsMut + ?Sized>(
        self,
        span: &mut SpanMut<'_, W>,
        value: &SketchValue<'_>,
        spot: Spot,
    ) {
        match (self.spec, spot) {
            (SketchSpec::Distinct { .. }, Spot::Entry { entry, at, is_there }) => {
                distinct::add_at(span, entry, at as usize, is_there);
            }
            (SketchSpec::Distinct { p }, Spot::Hashed(entry)) => distinct::add(span, p, entry),
            _ => self.add(span, value),
        }
    }

    /// Adds the value that an inline reference stands for to a new block.
    pub fn add_inline<W: WordsMut + ?Sized>(self, span: &mut SpanMut<'_, W>, reference: u32) {
        if let SketchSpec::Distinct { p } = self.spec {
            distinct::add(span, p, reference & !INLINE);
        }
    }

    /// Adds a bucket to what `scratch` has seen since [`Scratch::begin`] of this sketch.
    #[inline]
    pub fn merge_into<W: Words + ?Sized>(self, span: Span<'_, W>, scratch: &mut Scratch) {
        scratch.merge(self, span);
    }

    /// Adds a bucket that is an inline reference.
    #[inline]
    pub fn merge_inline(self, reference: u32, scratch: &mut Scratch) {
        scratch.merge_inline(self, reference);
    }

    /// Whether the words can be what `add` made. What a reader or a writer does does not depend on it: it is safe with any words.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn verify<W: Words + ?Sized>(self, span: Span<'_, W>) -> Result<(), Corrupt> {
        match self.spec {
            SketchSpec::Distinct { p } => distinct::verify(span, p),
            SketchSpec::Quantile => quantile::verify(span),
            SketchSpec::TopK { k } => topk::verify(span, self.field, k),
            SketchSpec::CountBy { k } => countby::verify(span, self.field, k),
            SketchSpec::LastK { k } => latest::verify(span, self.field, k),
            SketchSpec::First | SketchSpec::Last => End::verify(span, self.field),
        }
    }

    #[inline]
    fn stored<'a>(self, value: &SketchValue<'a>) -> Stored<'a> {
        Stored::new(self.field, value)
    }
}

/// The size of a block that needs `needed` words: 1, 2, 3, 4, 6, 8, 12, 16, ..., so that a sketch that grows is seldom copied and
/// at most a third of it is unused.
fn grown(needed: usize, words_max: usize) -> usize {
    let power = needed.next_power_of_two();
    let between = power / 4 * 3;
    (if needed <= between { between } else { power }).min(words_max).max(needed)
}
