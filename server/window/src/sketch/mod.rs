//! Sketches: what a bucket keeps of a field where one word is not enough.
//!
//! A sketch is a block of words in its record's heap. Everything here works on a block's *payload*, seen through a [`Span`]
//! (or a [`SpanMut`] for the record's writer): who allocates blocks, moves them and refers to them is the heap's business.
//!
//! The writer's steps for an event, so that nothing is half applied:
//!
//! 1. Nothing yet in the bucket: [`Sketch::inline`] if the kind has a form that fits the reference itself; else a block of
//!    [`Sketch::words_new`] words, [`Sketch::start`], [`Sketch::add`].
//! 2. An inline value: equal to the new one's, nothing to do; else a block of [`Sketch::words_new`] words, `start`,
//!    [`Sketch::add_inline`] of the old one, `add` of the new one.
//! 3. A block: [`Sketch::room`] says that the value fits, or how many words a new block must have; then `start` of the new one,
//!    [`Sketch::copy`], `add`.
//!
//! The reader's: [`Scratch::begin`], [`Sketch::merge_into`] (or [`Sketch::merge_inline`]) for every bucket of the window in any
//! order, then [`Scratch::value`] or [`Scratch::quantile`].
//!
//! A reader may see words of two moments: whatever they say, reading ends, and nothing panics. [`Sketch::verify`] says whether
//! words can have been made by `add`: it is asked of words that come from outside.

mod span;

pub use span::{Span, SpanMut};

use crate::definition::FieldType;
use crate::error::Corrupt;
use crate::value::Value;
use crate::words::{Words, WordsMut};

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

    /// The reference that stands for a bucket with this one value ([`INLINE`] set); `None` where the kind has no such form.
    pub fn inline(self, value: &SketchValue<'_>) -> Option<u32> {
        let _ = value;
        None
    }

    /// Whether a reference with [`INLINE`] set is one that [`Sketch::inline`] makes.
    pub fn verify_inline(self, reference: u32) -> Result<(), Corrupt> {
        let _ = reference;
        Ok(())
    }

    /// Payload words of a bucket's first block: room for `value`, and for an inline one before it.
    pub fn words_new(self, value: &SketchValue<'_>) -> usize {
        let _ = value;
        1
    }

    /// The most payload words that a block of this sketch ever has.
    pub fn words_max(self) -> usize {
        1
    }

    /// `None`: the value fits in place. `Some(words)`: it needs a block of so many payload words first.
    pub fn room<W: Words + ?Sized>(self, span: Span<'_, W>, value: &SketchValue<'_>) -> Option<usize> {
        let _ = (span, value);
        None
    }

    /// Makes the span a sketch of nothing.
    pub fn start<W: WordsMut + ?Sized>(self, span: &mut SpanMut<'_, W>) {
        span.clear();
    }

    /// Copies a sketch to a span of at least as many words, of which none are relied on; one that [`Sketch::room`] asked for, or
    /// one as long as the old.
    pub fn copy<O, N>(self, old: Span<'_, O>, new: &mut SpanMut<'_, N>)
    where
        O: Words + ?Sized,
        N: WordsMut + ?Sized,
    {
        let _ = (old, new);
    }

    /// Adds a value for which [`Sketch::room`] said `None` (or to a new block). Events of a bucket are added as they arrive.
    pub fn add<W: WordsMut + ?Sized>(self, span: &mut SpanMut<'_, W>, value: &SketchValue<'_>) {
        let _ = (span, value);
    }

    /// Adds the value that an inline reference stands for to a new block.
    pub fn add_inline<W: WordsMut + ?Sized>(self, span: &mut SpanMut<'_, W>, reference: u32) {
        let _ = (span, reference);
    }

    /// Adds a bucket to what `scratch` has seen since [`Scratch::begin`].
    pub fn merge_into<W: Words + ?Sized>(self, span: Span<'_, W>, scratch: &mut Scratch) {
        let _ = (span, scratch);
    }

    /// Adds a bucket that is an inline reference.
    pub fn merge_inline(self, reference: u32, scratch: &mut Scratch) {
        let _ = (reference, scratch);
    }

    /// Whether the words can be what `add` made.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn verify<W: Words + ?Sized>(self, span: Span<'_, W>) -> Result<(), Corrupt> {
        let _ = span;
        Ok(())
    }
}

/// Where a reader merges the buckets of a window: made once, used again for every read.
#[derive(Debug, Default)]
pub struct Scratch {
    sketch: Option<Sketch>,
}

impl Scratch {
    /// Forgets what was merged, and starts a window of `sketch`.
    pub fn begin(&mut self, sketch: Sketch) {
        self.sketch = Some(sketch);
    }

    /// What was merged since `begin`; of a sketch that was begun for quantiles, the median.
    ///
    /// An integer for `distinct`, a list for `lastk` (newest first), `topk` and `countby` (`[value, count]`), a value or
    /// [`Value::Null`] for `first` and `last`.
    pub fn value(&mut self) -> Value {
        Value::Null
    }

    /// The value at `q` (0 to 1) of what was merged since `begin`; [`Value::Null`] if that is nothing. May be asked for several.
    pub fn quantile(&mut self, q: f64) -> Value {
        let _ = q;
        Value::Null
    }
}
