//! One record's body: judging an event against it, finding its places, adding it, and growing.
//!
//! An event is added in three steps, so that nothing is half applied: [`judge`] says whether it is late; [`fit`] finds its
//! place in every tier or says which ring must grow first ([`grow`] copies the body to larger words); [`add`] cannot fail.

mod ring;
#[cfg(test)]
mod tests;

use crate::column;
use crate::definition::{ClockMode, TIERS_MAX};
use crate::layout::{Layout, Shape};
use crate::timestamp::bucket_of;
use crate::words::{Words, WordsMut};
pub use ring::Placement;

/// The newest event time of a body without events, and the head of a ring without buckets.
pub const NONE: i64 = i64::MIN;

/// An event, parsed: what a record is changed by.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Event time.
    pub ts: i64,
    /// The stream's clock that the event is judged by.
    pub clock: i64,
    /// Bit f is set where field f is present.
    pub present: u64,
    /// A word for each field: the bits of an f64 or an i64.
    pub values: &'a [u64],
}

/// Whether an event finds its place, or what stands in the way.
#[derive(Debug)]
pub enum Fit {
    /// It does: these are the places.
    Ready(Placements),
    /// The ring of `tier` must take the form `shape` first.
    Grow {
        /// Which tier.
        tier: usize,
        /// The shape it needs.
        shape: usize,
    },
}

/// Where an event goes in each tier.
#[derive(Clone, Copy, Debug)]
pub struct Placements([Placement; TIERS_MAX]);

/// The newest event time in a body, [`NONE`] if it has no event.
#[inline]
pub fn newest_ms<W: Words + ?Sized>(words: &W) -> i64 {
    words.get(0).cast_signed()
}

/// Whether an entity whose newest event is `newest_ms` is dead at `clock_ms`: it reads as empty, and a new event starts it anew.
#[inline]
pub fn is_dead(layout: &Layout, newest_ms: i64, clock_ms: i64) -> bool {
    layout.death_ms.is_some_and(|death_ms| newest_ms < clock_ms.saturating_sub(death_ms))
}

/// Makes `words` a body without events. They are at least [`Layout::words_min`] many.
pub fn init<W: WordsMut + ?Sized>(layout: &Layout, words: &mut W) {
    assert!(words.len() >= layout.words_min(), "{} words are too few for an empty body", words.len());
    words.set(0, NONE.cast_unsigned());
    for (at, partial) in layout.lifetime.iter().flatten().enumerate() {
        words.set(1 + at, partial.initial());
    }
    for tier in 0..layout.tiers.len() {
        Ring::set_head(layout, words, tier, NONE);
        Ring::set_state(layout, words, tier, 0, 0);
    }
}

/// Whether the event is LATE: older than allowed lateness, or in a bucket that no tier keeps. `body` is the entity's record, if it
/// has one that is alive.
///
/// The clock is the later of the event's stamp and the record's head, since another connection's event may have overtaken it.
pub fn judge<W: Words + ?Sized>(layout: &Layout, body: Option<&W>, event: &Event<'_>) -> bool {
    let clock_ms = body.map_or(event.clock, |words| effective_clock(layout, words, event));
    if layout.lateness_ms.is_some_and(|lateness_ms| event.ts < clock_ms.saturating_sub(lateness_ms)) {
        return true;
    }
    layout.lifetime.is_none()
        && !(0..layout.tiers.len()).any(|tier| {
            keeps(layout, tier, event.ts, clock_ms)
                && body.is_none_or(|words| Ring::reaches(layout, words, tier, event.ts))
        })
}

fn effective_clock<W: Words + ?Sized>(layout: &Layout, words: &W, event: &Event<'_>) -> i64 {
    match layout.clock {
        ClockMode::Event => event.clock.max(newest_ms(words)),
        // An event may lie ahead of the wall clock, so the record's head does not say what time it was.
        ClockMode::Wall => event.clock,
    }
}

#[inline]
fn keeps(layout: &Layout, tier: usize, ts: i64, clock_ms: i64) -> bool {
    let tier = &layout.tiers[tier];
    // A bucket starts at a multiple of the width, and so does what is kept: comparing the event's own time is the same.
    ts >= tier.kept_from_ms(clock_ms)
}

/// Finds the event's place in every tier. It was not judged late.
pub fn fit<W: Words + ?Sized>(layout: &Layout, words: &W, event: &Event<'_>) -> Fit {
    let clock_ms = effective_clock(layout, words, event);
    let mut placements = [Placement::Skip; TIERS_MAX];
    for (tier, placement) in placements.iter_mut().enumerate().take(layout.tiers.len()) {
        if !keeps(layout, tier, event.ts, clock_ms) {
            continue;
        }
        match Ring::read(layout, words, tier).place(words, event) {
            Ok(place) => *placement = place,
            Err(shape) => return Fit::Grow { tier, shape },
        }
    }
    Fit::Ready(Placements(placements))
}

/// Adds the event at the places that [`fit`] found in these words.
pub fn add<W: WordsMut + ?Sized>(layout: &Layout, words: &mut W, event: &Event<'_>, placements: &Placements) {
    if event.ts > newest_ms(words) {
        words.set(0, event.ts.cast_unsigned());
    }
    for (at, partial) in layout.lifetime.iter().flatten().enumerate() {
        if let Some(new) = partial.add(words.get(1 + at), event, 0) {
            words.set(1 + at, new);
        }
    }
    for (tier, placement) in placements.0.iter().enumerate().take(layout.tiers.len()) {
        if *placement != Placement::Skip {
            let ring = Ring::read(layout, words, tier);
            ring.put(words, event, *placement);
        }
    }
}

/// The words that adding an event at `ts` will probably touch beyond the body's head: where to look ahead, no more.
#[inline]
pub fn touched<W: Words + ?Sized>(layout: &Layout, words: &W, ts: i64, mut touch: impl FnMut(usize)) {
    for tier in 0..layout.tiers.len() {
        let ring = Ring::read(layout, words, tier);
        let slot = ring.probable_slot(bucket_of(ts, layout.tiers[tier].width_ms));
        for column in 0..layout.tiers[tier].columns.len() {
            touch(ring.column_base(column) + column::word_of(ring.shape.bits[column], slot));
        }
    }
}

/// Words of the body once `tier`'s ring has taken the form `shape`.
pub fn words_grown<W: Words + ?Sized>(layout: &Layout, words: &W, tier: usize, shape: usize) -> usize {
    let mut total = layout.tiers_at() + 2 * layout.tiers.len();
    for at in 0..layout.tiers.len() {
        total += if at == tier {
            layout.tiers[at].shapes[shape].words
        } else {
            Ring::read(layout, words, at).shape.words
        };
    }
    total
}

/// Words that the body uses of those it has.
pub fn words_used<W: Words + ?Sized>(layout: &Layout, words: &W) -> usize {
    words_end(layout, words, layout.tiers.len())
}

/// Copies the body of `old` to `new`, with the ring of `grown` in the form `shape`. `new` has at least [`words_grown`] words.
pub fn grow<O, N>(layout: &Layout, old: &O, new: &mut N, grown: usize, shape: usize)
where
    O: Words + ?Sized,
    N: WordsMut + ?Sized,
{
    for index in 0..layout.tiers_at() + 2 * layout.tiers.len() {
        new.set(index, old.get(index));
    }
    for tier in 0..layout.tiers.len() {
        let from = Ring::read(layout, old, tier);
        if tier == grown {
            let entries = from.entries;
            Ring::set_state(
                layout,
                new,
                tier,
                shape,
                if layout.tiers[tier].shapes[shape].dense { 0 } else { entries },
            );
            let to = Ring::read(layout, new, tier);
            from.copy_into(old, &to, new);
        } else {
            // Offsets of the tiers behind the grown one move; what they hold does not.
            let to = words_end(layout, new, tier);
            for index in 0..from.shape.words {
                new.set(to + index, old.get(from.base + index));
            }
        }
    }
}

/// Where the ring of tier `upto` starts: the end of those before it.
fn words_end<W: Words + ?Sized>(layout: &Layout, words: &W, upto: usize) -> usize {
    let heads = layout.tiers_at();
    let mut end = heads + 2 * layout.tiers.len();
    for tier in 0..upto {
        end += layout.tiers[tier].shape(words.get(heads + 2 * tier + 1) & 0xffff).words;
    }
    end
}

/// A tier's ring within a body.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'l> {
    tier_index: usize,
    layout: &'l Layout,
    /// Its present form.
    pub shape: &'l Shape,
    shape_index: usize,
    /// Index of its newest bucket, or [`NONE`].
    pub head: i64,
    /// Entries of a short ring.
    pub entries: usize,
    /// Its first word.
    base: usize,
}

impl<'l> Ring<'l> {
    /// The ring of a tier, as its words say.
    #[inline]
    pub fn read<W: Words + ?Sized>(layout: &'l Layout, words: &W, tier: usize) -> Self {
        let heads = layout.tiers_at();
        let head = words.get(heads + 2 * tier).cast_signed();
        let state = words.get(heads + 2 * tier + 1);
        let shape_index = (state & 0xffff) as usize;
        let shape = layout.tiers[tier].shape(state & 0xffff);
        let entries = ((state >> 32) as usize).min(shape.capacity);
        Self {
            tier_index: tier,
            layout,
            shape,
            shape_index,
            head,
            entries,
            base: words_end(layout, words, tier),
        }
    }

    fn set_head<W: WordsMut + ?Sized>(layout: &Layout, words: &mut W, tier: usize, head: i64) {
        words.set(layout.tiers_at() + 2 * tier, head.cast_unsigned());
    }

    fn set_state<W: WordsMut + ?Sized>(
        layout: &Layout,
        words: &mut W,
        tier: usize,
        shape: usize,
        entries: usize,
    ) {
        words.set(layout.tiers_at() + 2 * tier + 1, shape as u64 | (entries as u64) << 32);
    }

    /// Whether the bucket of `ts` is not behind the ring's oldest slot.
    fn reaches<W: Words + ?Sized>(layout: &Layout, words: &W, tier: usize, ts: i64) -> bool {
        let head = words.get(layout.tiers_at() + 2 * tier).cast_signed();
        let tier = &layout.tiers[tier];
        head == NONE || bucket_of(ts, tier.width_ms) > head.wrapping_sub(tier.slots as i64)
    }

    /// One cell of a column.
    #[inline]
    pub fn cell<W: Words + ?Sized>(&self, words: &W, column: usize, slot: usize) -> u64 {
        column::get(words, self.column_base(column), self.shape.bits[column], slot)
    }

    #[inline]
    fn set_cell<W: WordsMut + ?Sized>(&self, words: &mut W, column: usize, slot: usize, value: u64) {
        column::set(words, self.column_base(column), self.shape.bits[column], slot, value);
    }

    /// The first word of a column.
    #[inline]
    pub fn column_base(&self, column: usize) -> usize {
        self.base + self.shape.offsets[column] as usize
    }
}
