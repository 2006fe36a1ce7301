//! The ring of one tier: where a bucket lives, how the head moves, how a short ring becomes a dense one.

use super::{Event, NONE, Place, Ring};
use crate::cells;
use crate::layout::{TAG, Tier, Widening};
use crate::words::{Words, WordsMut};

/// Where an event goes in one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Nowhere: the tier does not keep its bucket.
    Skip,
    /// Into a slot of a dense ring, or an entry of a short one, that is there.
    At(u32),
    /// Into a bucket of a dense ring that is ahead of its head.
    Advance,
    /// Into a new entry of a short ring, before this one; the first `expire` entries leave first.
    Insert {
        /// Entries that fall out of the ring.
        expire: u32,
        /// The place among the entries that remain.
        at: u32,
    },
}

/// How long an event lies before the last millisecond of the bucket `head`; negative for an event later than that. Wraps where a ring has
/// no head.
#[inline]
pub(super) fn behind_ms(tier: &Tier, head: i64, ts: i64) -> i64 {
    head.wrapping_add(1).wrapping_mul(tier.width_ms).wrapping_sub(1).wrapping_sub(ts)
}

/// The slot that lies so many before another one in a circle of `slots`.
#[inline]
pub(super) fn slot_back(slot: usize, back: usize, slots: usize) -> usize {
    if back <= slot { slot - back } else { slot + slots - back }
}

impl<'l> Ring<'l> {
    #[inline]
    pub(super) fn tier(&self) -> &'l Tier {
        &self.layout.tiers[self.tier_index]
    }

    #[inline]
    pub(super) fn slots(&self) -> i64 {
        self.tier().slots as i64
    }

    /// The slot of a bucket in a dense ring, counted back from the head's; the bucket is one of the N up to the head. No division:
    /// it is asked for every event.
    #[inline]
    pub(super) fn slot_of(&self, bucket: i64) -> usize {
        let back = self.head.wrapping_sub(bucket) as usize;
        debug_assert!(back < self.tier().slots, "bucket {bucket} is not in the ring of {}", self.head);
        slot_back(self.entries, back, self.tier().slots)
    }

    /// The slot that the bucket of an event has in a dense ring, or would have next; in a short one, the last.
    #[inline]
    pub(crate) fn probable_slot(&self, ts: i64) -> usize {
        let slots = self.shape.capacity;
        if !self.shape.dense {
            return self.entries.saturating_sub(1);
        }
        let behind_ms = behind_ms(self.tier(), self.head, ts);
        if behind_ms >= 0 {
            let back = self.tier().buckets_in(behind_ms.cast_unsigned()) as usize;
            if back < slots {
                return slot_back(self.entries, back, slots);
            }
        }
        if self.entries + 1 >= slots { 0 } else { self.entries + 1 }
    }

    /// The bucket of an entry of a short ring. Its tag holds the bucket's low 32 bits, and all lie within N of the head.
    pub(super) fn bucket_of_entry<W: Words + ?Sized>(&self, words: &W, entry: usize) -> i64 {
        let tag = cells::get(words, self.base, TAG, entry) as u32;
        self.head.wrapping_sub(i64::from((self.head as u32).wrapping_sub(tag)))
    }

    /// Finds the event's place, in a bucket that the ring [reaches](Ring::reaches), or the shape that the ring must take first.
    #[inline]
    pub(super) fn place<W: Words + ?Sized>(
        &self,
        words: &W,
        event: &Event<'_>,
        bucket: i64,
    ) -> Result<Placement, usize> {
        if self.shape.dense {
            if self.head == NONE || bucket > self.head {
                return self.room_in_empty(event).map(|()| Placement::Advance);
            }
            let slot = self.slot_of(bucket);
            return self.room(words, event, slot).map(|()| Placement::At(slot as u32));
        }
        self.place_in_short(words, event, bucket)
    }

    fn place_in_short<W: Words + ?Sized>(
        &self,
        words: &W,
        event: &Event<'_>,
        bucket: i64,
    ) -> Result<Placement, usize> {
        let (expire, at) = if self.head != NONE && bucket <= self.head {
            // Late events are rare and lie near the head: search from there.
            let at = (0..self.entries).rev().find(|&entry| self.bucket_of_entry(words, entry) <= bucket);
            if let Some(entry) = at.filter(|&entry| self.bucket_of_entry(words, entry) == bucket) {
                return self.room(words, event, entry).map(|()| Placement::At(entry as u32));
            }
            (0, at.map_or(0, |entry| entry + 1))
        } else {
            let kept_from = bucket - self.slots();
            let expire = (0..self.entries)
                .take_while(|&entry| self.bucket_of_entry(words, entry) <= kept_from)
                .count();
            (expire, self.entries - expire)
        };
        let room = self.room_in_empty(event);
        if self.entries - expire == self.shape.capacity {
            return Err(self.tier().shapes.larger(room.err().unwrap_or(self.shape_index)));
        }
        room.map(|()| Placement::Insert { expire: expire as u32, at: at as u32 })
    }

    /// Whether the numbers of a slot have room for the event's; else the shape in which they have.
    #[inline]
    fn room<W: Words + ?Sized>(&self, words: &W, event: &Event<'_>, slot: usize) -> Result<(), usize> {
        self.room_beside(event, |of| cells::get(words, self.base + of.offset as usize, of.width, slot))
    }

    /// The same for a bucket without events.
    #[inline]
    fn room_in_empty(&self, event: &Event<'_>) -> Result<(), usize> {
        // One more than none fits any count.
        if self.tier().shapes.narrow_sums() { self.room_beside(event, |_| 0) } else { Ok(()) }
    }

    /// `cell` says what a column's number is before the event.
    #[inline]
    fn room_beside(&self, event: &Event<'_>, cell: impl Fn(&Widening) -> u64) -> Result<(), usize> {
        for of in &self.shape.widening {
            if !of.width.holds(of.comes_to(cell(of), event)) {
                return Err(self.wider(event, cell));
            }
        }
        Ok(())
    }

    #[cold]
    fn wider(&self, event: &Event<'_>, cell: impl Fn(&Widening) -> u64) -> usize {
        let comes_to = |of: &Widening| (*of, of.comes_to(cell(of), event));
        self.tier().shapes.wider(self.shape_index, self.shape.widening.iter().map(comes_to))
    }

    /// Adds the event at its place.
    #[inline]
    pub(super) fn put<W: WordsMut + ?Sized>(mut self, words: &mut W, event: &Event<'_>, place: Place) {
        let Place { bucket, placement } = place;
        let slot = match placement {
            Placement::Skip => return,
            Placement::At(slot) => slot as usize,
            Placement::Advance => {
                self.advance(words, bucket);
                self.entries
            }
            Placement::Insert { expire, at } => {
                self.insert(words, bucket, expire as usize, at as usize);
                at as usize
            }
        };
        let offset_ms = (event.ts - bucket * self.tier().width_ms).cast_unsigned();
        let columns = &self.tier().columns;
        for (at, partial) in columns.numbers().iter().enumerate() {
            if let Some(new) = partial.add(self.cell(words, at, slot), event, offset_ms) {
                self.set_cell(words, at, slot, new);
            }
        }
        if !columns.is_numbers_only() {
            self.put_wide(words, event, slot);
        }
    }

    /// Adds the event to the partials of a slot that are not one number.
    fn put_wide<W: WordsMut + ?Sized>(&self, words: &mut W, event: &Event<'_>, slot: usize) {
        let columns = &self.tier().columns;
        for (at, partial) in columns.wide() {
            let base = self.column_base(at);
            let count = |of| {
                let at = columns.find_beside(of, at).expect("moments stand beside their count");
                self.cell(words, at, slot)
            };
            if let Some(new) = partial.add_wide(cells::get_wide(words, base, slot), event, count) {
                cells::set_wide(words, base, slot, new);
            }
        }
    }

    /// Moves a dense ring's head, clearing the slots of the buckets that it passes.
    fn advance<W: WordsMut + ?Sized>(&mut self, words: &mut W, bucket: i64) {
        let slots = self.tier().slots;
        let passed = if self.head == NONE { self.slots() } else { (bucket - self.head).min(self.slots()) };
        debug_assert!(passed > 0);
        let mut slot = self.entries;
        for _ in 0..passed {
            slot = if slot + 1 == slots { 0 } else { slot + 1 };
            self.clear(words, slot);
        }
        self.entries = slot;
        Ring::set_state(self.layout, words, self.tier_index, self.shape_index, slot);
        self.set_head_word(words, bucket);
    }

    pub(super) fn clear<W: WordsMut + ?Sized>(&self, words: &mut W, slot: usize) {
        let columns = &self.tier().columns;
        for (at, partial) in columns.numbers().iter().enumerate() {
            self.set_cell(words, at, slot, partial.initial());
        }
        if !columns.is_numbers_only() {
            for (at, _) in columns.wide() {
                cells::set_wide(words, self.column_base(at), slot, [0; 2]);
            }
            for of in columns.sketches() {
                self.set_cell(words, of.column, slot, 0);
            }
        }
    }

    /// Names the bucket of an entry of a short ring.
    pub(super) fn set_tag<W: WordsMut + ?Sized>(&self, words: &mut W, entry: usize, bucket: i64) {
        cells::set(words, self.base, TAG, entry, u64::from(bucket as u32));
    }

    fn set_head_word<W: WordsMut + ?Sized>(&mut self, words: &mut W, bucket: i64) {
        Ring::set_head(self.layout, words, self.tier_index, bucket);
        self.head = bucket;
    }

    /// Drops the first `expire` entries of a short ring and makes an empty one for `bucket` at `at`.
    fn insert<W: WordsMut + ?Sized>(&mut self, words: &mut W, bucket: i64, expire: usize, at: usize) {
        let remaining = self.entries - expire;
        assert!(remaining < self.shape.capacity && at <= remaining, "an entry at {at} of {remaining}");
        if expire > 0 {
            for entry in 0..remaining {
                self.move_entry(words, entry + expire, entry);
            }
        }
        for entry in (at..remaining).rev() {
            self.move_entry(words, entry, entry + 1);
        }
        cells::set(words, self.base, TAG, at, u64::from(bucket as u32));
        self.clear(words, at);
        self.entries = remaining + 1;
        Ring::set_state(self.layout, words, self.tier_index, self.shape_index, self.entries);
        if self.head == NONE || bucket > self.head {
            self.set_head_word(words, bucket);
        }
    }

    fn move_entry<W: WordsMut + ?Sized>(&self, words: &mut W, from: usize, to: usize) {
        let tag = cells::get(words, self.base, TAG, from);
        cells::set(words, self.base, TAG, to, tag);
        let columns = &self.tier().columns;
        for at in 0..columns.numbers().len() {
            let value = self.cell(words, at, from);
            self.set_cell(words, at, to, value);
        }
        for (at, _) in columns.wide() {
            let value = cells::get_wide(words, self.column_base(at), from);
            cells::set_wide(words, self.column_base(at), to, value);
        }
        for of in columns.sketches() {
            let reference = self.cell(words, of.column, from);
            self.set_cell(words, of.column, to, reference);
        }
    }

    /// Copies what this ring holds into the same tier's ring of another shape, in other words.
    pub(super) fn copy_into<O, N>(&self, old: &O, to: &Ring<'_>, new: &mut N)
    where
        O: Words + ?Sized,
        N: WordsMut + ?Sized,
    {
        if self.shape.dense {
            assert!(to.shape.dense, "a dense ring only widens");
            // A ring without a head has no slot yet that was cleared.
            for slot in 0..if self.head == NONE { 0 } else { self.tier().slots } {
                self.copy_slot(old, slot, to, new, slot);
            }
            return;
        }
        if to.shape.dense {
            for slot in 0..self.tier().slots {
                to.clear(new, slot);
            }
        }
        for entry in 0..self.entries {
            let slot = if to.shape.dense { to.slot_of(self.bucket_of_entry(old, entry)) } else { entry };
            if !to.shape.dense {
                cells::set(new, to.base, TAG, entry, cells::get(old, self.base, TAG, entry));
            }
            self.copy_slot(old, entry, to, new, slot);
        }
    }

    fn copy_slot<O, N>(&self, old: &O, from: usize, to: &Ring<'_>, new: &mut N, slot: usize)
    where
        O: Words + ?Sized,
        N: WordsMut + ?Sized,
    {
        let columns = &self.tier().columns;
        for at in 0..columns.numbers().len() {
            to.set_cell(new, at, slot, self.cell(old, at, from));
        }
        for (at, _) in columns.wide() {
            let value = cells::get_wide(old, self.column_base(at), from);
            cells::set_wide(new, to.column_base(at), slot, value);
        }
        for of in columns.sketches() {
            to.set_cell(new, of.column, slot, self.cell(old, of.column, from));
        }
    }

    /// The cells of all buckets, oldest first, as at most two runs of slots.
    pub(super) fn all_runs(&self) -> [(usize, usize); 2] {
        match (self.head, self.shape.dense) {
            (NONE, _) => [(0, 0); 2],
            (_, true) => [(self.entries + 1, self.tier().slots), (0, self.entries + 1)],
            (_, false) => [(0, self.entries), (0, 0)],
        }
    }

    /// The cells of the buckets `from..to`, oldest first, as at most two runs of slots.
    pub fn runs<W: Words + ?Sized>(&self, words: &W, from: i64, to: i64) -> [(usize, usize); 2] {
        const EMPTY: (usize, usize) = (0, 0);
        if self.head == NONE {
            return [EMPTY; 2];
        }
        let from = from.max(self.head.wrapping_sub(self.slots()).wrapping_add(1));
        let to = to.min(self.head.wrapping_add(1));
        if from >= to {
            return [EMPTY; 2];
        }
        if self.shape.dense {
            let (first, last) = (self.slot_of(from), self.slot_of(to.wrapping_sub(1)));
            return if first <= last {
                [(first, last + 1), EMPTY]
            } else {
                [(first, self.tier().slots), (0, last + 1)]
            };
        }
        let first = (0..self.entries)
            .find(|&entry| self.bucket_of_entry(words, entry) >= from)
            .unwrap_or(self.entries);
        let end = (first..self.entries)
            .find(|&entry| self.bucket_of_entry(words, entry) >= to)
            .unwrap_or(self.entries);
        [(first, end), EMPTY]
    }

    /// The bucket whose partials stand in `slot`.
    pub fn bucket_in<W: Words + ?Sized>(&self, words: &W, slot: usize) -> i64 {
        if self.shape.dense {
            let back = if slot <= self.entries {
                self.entries - slot
            } else {
                self.entries + self.tier().slots - slot
            };
            self.head.wrapping_sub(back as i64)
        } else {
            self.bucket_of_entry(words, slot)
        }
    }
}
