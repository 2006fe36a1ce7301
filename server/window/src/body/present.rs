//! The usual event: its bucket is there already in every tier, and no number outgrows its cell. One pass over the record then says what
//! each word becomes, without [places](super::Placements) that are found first and looked at again.
//!
//! Whatever is unusual is left to [`fit`](super::fit) and [`add`](super::add), which say what must become of an event; this comes to the
//! same words where it comes to anything.

use super::ring::{behind_ms, slot_back};
use super::{Event, NONE, Ring, effective_clock, is_too_late, newest_ms};
use crate::aggregate::FieldId;
use crate::cells::{self, Width};
use crate::column::{Columns, Partial};
use crate::layout::{Layout, Shape, TAG, Tier, Widening};
use crate::words::{Words, WordsMut};

/// Words that an event changes at most: of a layout with more numbers, events go the other way.
const CHANGES_MAX: usize = 32;

/// Whether all that an event changes in bodies of these tiers are numbers, and no more than [`Changes`] have room for.
pub(crate) fn is_plain(lifetime: Option<&Columns>, tiers: &[Tier]) -> bool {
    let columns = || tiers.iter().map(|tier| &tier.columns).chain(lifetime);
    let numbers: usize = columns().map(|columns| columns.len()).sum();
    !tiers.is_empty() && columns().all(Columns::is_numbers_only) && numbers < CHANGES_MAX
}

/// What an event does to one cell of a bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Adds one; where a field is named, only if it is present.
    Count { offset: u32, lanes_log2: u32, of: Option<FieldId> },
    /// Adds to a sum of a FLOAT field.
    Float { offset: u32, field: FieldId },
    /// What the partial says.
    Other { offset: u32, width: Width, partial: Partial, widening: Option<Widening> },
}

impl Step {
    /// What an event does to a column's cells, which start at `offset` within the tier's data.
    pub(crate) fn of(partial: Partial, offset: u32, width: Width, widening: Option<Widening>) -> Self {
        let lanes_log2 = (u64::BITS / width.bits().min(u64::BITS)).trailing_zeros();
        match partial {
            Partial::Count => Self::Count { offset, lanes_log2, of: None },
            Partial::CountOf(field) => Self::Count { offset, lanes_log2, of: Some(field) },
            Partial::SumFloat(field) => Self::Float { offset, field },
            _ => Self::Other { offset, width, partial, widening },
        }
    }
}

/// What words of a record become by an event. Made once and used again for every event.
#[derive(Clone, Debug)]
pub struct Changes {
    words: [(u32, u64); CHANGES_MAX],
    count: usize,
}

impl Default for Changes {
    fn default() -> Self {
        Self { words: [(0, 0); CHANGES_MAX], count: 0 }
    }
}

impl Changes {
    #[inline]
    fn push(&mut self, index: usize, word: u64) {
        self.words[self.count] = (index as u32, word);
        self.count += 1;
    }

    /// Makes them, in the words that they were found in.
    #[inline]
    pub fn make<W: WordsMut + ?Sized>(&self, words: &mut W) {
        for &(index, word) in &self.words[..self.count] {
            words.set(index as usize, word);
        }
    }
}

/// Finds what an event changes; false where it is not as usual, and then there is nothing to [make](Changes::make).
#[inline]
#[must_use = "of an event that is not as usual nothing would be kept"]
pub fn find<W: Words + ?Sized>(layout: &Layout, words: &W, event: &Event<'_>, changes: &mut Changes) -> bool {
    changes.count = 0;
    let is_usual = layout.is_plain && find_all(layout, words, event, changes);
    if !is_usual {
        // What was found of it until then.
        changes.count = 0;
    }
    is_usual
}

/// Finds them, or some of them and false.
#[inline(always)]
fn find_all<W: Words + ?Sized>(layout: &Layout, words: &W, event: &Event<'_>, changes: &mut Changes) -> bool {
    let clock_ms = effective_clock(layout, words, event);
    if is_too_late(layout, event.ts, clock_ms) {
        return false;
    }
    // The tiers first, the finest of them foremost: where a bucket is missing, it is nearly always of that one, and all that was done
    // before is done again the other way.
    let mut base = layout.rings_at();
    let mut head_at = layout.tiers_at();
    for tier in &layout.tiers {
        let (head, state) = (words.get(head_at).cast_signed(), words.get(head_at + 1));
        let Some(shape) = tier.shapes.get(Ring::shape_of(state)) else { return false };
        let Some((slot, offset_ms)) = find_slot(tier, shape, words, (base, head, state), event, clock_ms)
        else {
            return false;
        };
        for step in &shape.steps {
            if !take(*step, words, base, slot, event, offset_ms, changes) {
                return false;
            }
        }
        head_at += 2;
        base += shape.words;
    }
    if event.ts > newest_ms(words) {
        changes.push(0, event.ts.cast_unsigned());
    }
    if let Some(lifetime) = &layout.lifetime {
        for (at, partial) in lifetime.numbers().iter().enumerate() {
            if let Some(new) = partial.add(words.get(1 + at), event, 0) {
                changes.push(1 + at, new);
            }
        }
    }
    true
}

/// The slot of an event's bucket, if the ring has it and it is kept, and how long after the bucket's start the event is.
#[inline]
fn find_slot<W: Words + ?Sized>(
    tier: &Tier,
    shape: &Shape,
    words: &W,
    (base, head, state): (usize, i64, u64),
    event: &Event<'_>,
    clock_ms: i64,
) -> Option<(usize, u64)> {
    let behind_ms = behind_ms(tier, head, event.ts);
    if behind_ms < 0 || head == NONE {
        return None;
    }
    let back = tier.buckets_in(behind_ms.cast_unsigned()) as i64;
    // The bucket's last millisecond, less the event.
    let left_ms = behind_ms - back * tier.width_ms;
    if !tier.keeps_until(event.ts + left_ms, clock_ms) {
        return None;
    }
    let (back, entries) = (back as usize, Ring::entries_of(state));
    // What only a damaged state word says.
    if entries > shape.capacity - usize::from(shape.dense) {
        return None;
    }
    let slot = if shape.dense {
        if back >= shape.capacity {
            return None;
        }
        slot_back(entries, back, shape.capacity)
    } else {
        // Where no bucket is missing between it and the head.
        let entry = entries.checked_sub(1 + back)?;
        let tag = (head - back as i64) as u32;
        (cells::get(words, base, TAG, entry) == u64::from(tag)).then_some(entry)?
    };
    Some((slot, (tier.width_ms - 1 - left_ms).cast_unsigned()))
}

/// Does a step; false: the ring must widen first.
#[inline(always)]
fn take<W: Words + ?Sized>(
    step: Step,
    words: &W,
    base: usize,
    slot: usize,
    event: &Event<'_>,
    offset_ms: u64,
    changes: &mut Changes,
) -> bool {
    match step {
        Step::Count { offset, lanes_log2, of } => {
            let index = base + offset as usize + (slot >> lanes_log2);
            let bits = u64::BITS >> lanes_log2;
            let shift = slot as u32 * bits % u64::BITS;
            let full = u64::MAX >> (u64::BITS - bits);
            let word = words.get(index);
            // Also where the field is absent: see `Widening::comes_to`.
            if word >> shift & full == full {
                return false;
            }
            if of.is_none_or(|field| event.present & (1 << field) != 0) {
                changes.push(index, word + (1 << shift));
            }
        }
        Step::Float { offset, field } => {
            if let Some(value) = event.word(field) {
                let index = base + offset as usize + slot;
                let sum = f64::from_bits(words.get(index)) + f64::from_bits(value);
                changes.push(index, sum.to_bits());
            }
        }
        Step::Other { offset, width, partial, widening } => {
            let column = base + offset as usize;
            let cell = cells::get(words, column, width, slot);
            if widening.is_some_and(|of| !width.holds(of.comes_to(cell, event))) {
                return false;
            }
            if let Some(new) = partial.add(cell, event, offset_ms) {
                let (index, word) = cells::replaced(words, column, width, slot, new);
                changes.push(index, word);
            }
        }
    }
    true
}
