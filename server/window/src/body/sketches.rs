//! The sketches of a body: what an event needs in its heap, how it enters them, how they move along.

use super::{Event, NONE, Placement, Placements, Ring, rings};
use crate::cells::{self, Width};
use crate::column::{Columns, SketchColumn};
use crate::heap::{BLOCK_HEAD_WORDS, Heap};
use crate::layout::Layout;
use crate::sketch::{INLINE, Sketch, SketchValue, Span};
use crate::words::{Words, WordsMut};

/// A cell that refers to a sketch, in a ring or among the partials of `all`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    base: usize,
    width: Width,
    slot: usize,
    pub(super) sketch: Sketch,
}

impl Cell {
    fn of_ring(ring: &Ring<'_>, of: &SketchColumn, slot: usize) -> Self {
        Self {
            base: ring.column_base(of.column),
            width: ring.shape.widths[of.column],
            slot,
            sketch: of.sketch,
        }
    }

    fn of_lifetime(layout: &Layout, of: &SketchColumn) -> Self {
        let lifetime = layout.lifetime.as_ref().expect("it has a column");
        Self { base: 1 + lifetime.word_at(of.column), width: Width::WORD, slot: 0, sketch: of.sketch }
    }

    pub(super) fn get<W: Words + ?Sized>(&self, words: &W) -> u64 {
        cells::get(words, self.base, self.width, self.slot)
    }

    fn reference<W: Words + ?Sized>(&self, words: &W) -> u32 {
        self.get(words) as u32
    }

    fn set<W: WordsMut + ?Sized>(&self, words: &mut W, reference: u32) {
        cells::set(words, self.base, self.width, self.slot, u64::from(reference));
    }
}

/// What adding a value to a sketch comes to; blocks in words of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The value is there already.
    Nothing,
    /// The reference says the value.
    Inline(u32),
    /// The first block.
    Start(usize),
    /// The first block, for the value of an inline reference, too.
    Spill(usize),
    /// Into the block that is there.
    InPlace,
    /// Into a longer block, which the one that is there is copied to.
    Move(usize),
}

fn step<W: Words + ?Sized>(
    heap: Heap,
    words: &W,
    sketch: Sketch,
    reference: u32,
    value: &SketchValue<'_>,
) -> Step {
    if reference == 0 {
        return sketch.inline(value).map_or_else(|| Step::Start(sketch.words_new(value)), Step::Inline);
    }
    if reference & INLINE != 0 {
        let is_same = sketch.inline(value) == Some(reference);
        return if is_same { Step::Nothing } else { Step::Spill(sketch.words_new(value)) };
    }
    sketch.room(heap.payload(words, reference), value).map_or(Step::InPlace, Step::Move)
}

fn value_of<'e>(event: &Event<'e>, of: &SketchColumn) -> Option<SketchValue<'e>> {
    let word = event.word(of.field)?;
    let bytes = of.sketch.field.is_string().then(|| event.bytes_at(word));
    Some(SketchValue { word, bytes, at_ms: event.ts })
}

/// The slot that holds an event's bucket already.
fn slot_before(placement: Placement) -> Option<usize> {
    match placement {
        Placement::At(slot) => Some(slot as usize),
        _ => None,
    }
}

/// The words at the heap's end that the event needs at its places.
pub(super) fn words_needed<W: Words + ?Sized>(
    layout: &Layout,
    words: &W,
    event: &Event<'_>,
    placements: &Placements,
) -> usize {
    let heap = super::heap(layout, words);
    let used = heap.used(words);
    // As `add` goes, cell by cell.
    let mut end = used;
    let mut enter = |of: &SketchColumn, reference: u32| {
        let Some(value) = value_of(event, of) else { return };
        match step(heap, words, of.sketch, reference, &value) {
            Step::Nothing | Step::Inline(_) | Step::InPlace => {}
            Step::Start(payload) | Step::Spill(payload) => end += BLOCK_HEAD_WORDS + payload,
            Step::Move(payload) => {
                let block = heap.block(words, reference);
                let is_last = block.end() == end;
                end += BLOCK_HEAD_WORDS + payload - if is_last { block.words } else { 0 };
            }
        }
    };
    for of in layout.lifetime.iter().flat_map(Columns::sketches) {
        enter(of, Cell::of_lifetime(layout, of).reference(words));
    }
    for (ring, place) in rings(layout, words).zip(&placements.0) {
        if place.placement == Placement::Skip {
            continue;
        }
        for of in ring.tier().columns.sketches() {
            let cell = slot_before(place.placement).map(|slot| Cell::of_ring(&ring, of, slot));
            enter(of, cell.map_or(0, |cell| cell.reference(words)));
        }
    }
    end - used
}

/// Takes note of the blocks of buckets that the event's places push out of their rings.
pub(super) fn release<W: WordsMut + ?Sized>(layout: &Layout, words: &mut W, placements: &Placements) {
    let heap = super::heap(layout, words);
    for tier in 0..layout.tiers.len() {
        let place = placements.0[tier];
        let columns = &layout.tiers[tier].columns;
        if columns.sketches().is_empty() {
            continue;
        }
        let ring = Ring::read(layout, words, tier);
        let slots = layout.tiers[tier].slots;
        let (first, count) = match place.placement {
            Placement::Insert { expire, .. } => (0, expire as usize),
            // A ring without a head has no slot that was ever cleared.
            Placement::Advance if ring.head != NONE => {
                (ring.entries + 1, (place.bucket - ring.head).min(ring.slots()) as usize)
            }
            _ => continue,
        };
        for slot in (first..first + count).map(|slot| if slot >= slots { slot - slots } else { slot }) {
            for of in columns.sketches() {
                let reference = Cell::of_ring(&ring, of, slot).reference(words);
                if reference != 0 && reference & INLINE == 0 {
                    heap.free(words, reference);
                }
            }
        }
    }
}

/// Adds the event to the sketches of its buckets, which are there by now.
pub(super) fn add<W: WordsMut + ?Sized>(
    layout: &Layout,
    words: &mut W,
    event: &Event<'_>,
    placements: &Placements,
) {
    let heap = super::heap(layout, words);
    for of in layout.lifetime.iter().flat_map(Columns::sketches) {
        enter(heap, words, event, of, Cell::of_lifetime(layout, of));
    }
    for tier in 0..layout.tiers.len() {
        let columns = &layout.tiers[tier].columns;
        if columns.sketches().is_empty() {
            continue;
        }
        let ring = Ring::read(layout, words, tier);
        let slot = match placements.0[tier].placement {
            Placement::Skip => continue,
            Placement::At(slot) | Placement::Insert { at: slot, .. } => slot as usize,
            Placement::Advance => ring.entries,
        };
        for of in columns.sketches() {
            enter(heap, words, event, of, Cell::of_ring(&ring, of, slot));
        }
    }
}

fn enter<W: WordsMut + ?Sized>(heap: Heap, words: &mut W, event: &Event<'_>, of: &SketchColumn, cell: Cell) {
    let Some(value) = value_of(event, of) else { return };
    let sketch = of.sketch;
    let reference = cell.reference(words);
    let block = match step(heap, words, sketch, reference, &value) {
        Step::Nothing => return,
        Step::Inline(inline) => return cell.set(words, inline),
        Step::InPlace => reference,
        Step::Start(payload) | Step::Spill(payload) => {
            let block = heap.allocate(words, sketch.kind_id(), payload);
            let mut span = heap.payload_mut(words, block);
            sketch.start(&mut span);
            if reference & INLINE != 0 {
                sketch.add_inline(&mut span, reference);
            }
            block
        }
        Step::Move(payload) => lengthen(heap, words, sketch, reference, payload),
    };
    if block != reference {
        cell.set(words, block);
    }
    sketch.add(&mut heap.payload_mut(words, block), &value);
}

/// Gives a block so many words of payload: where it is, if it is the last one.
fn lengthen<W: WordsMut + ?Sized>(
    heap: Heap,
    words: &mut W,
    sketch: Sketch,
    reference: u32,
    payload: usize,
) -> u32 {
    let old = heap.payload(words, reference);
    let old: Vec<u64> = (0..old.len()).map(|index| old.get(index)).collect();
    let is_last = heap.block(words, reference).end() == heap.used(words);
    let block = if is_last {
        heap.extend_last(words, reference, payload);
        reference
    } else {
        heap.free(words, reference);
        heap.allocate(words, sketch.kind_id(), payload)
    };
    let mut new = heap.payload_mut(words, block);
    sketch.start(&mut new);
    sketch.copy(Span::new(old.as_slice(), 0, old.len()), &mut new);
    block
}

/// Every cell of the body that has a sketch, with its reference, oldest buckets first; those of buckets that are not kept at `clock_ms`
/// are said to be so.
pub(super) fn cells<W: Words + ?Sized>(layout: &Layout, words: &W, clock_ms: i64) -> Vec<(Cell, u32, Kept)> {
    let mut cells = Vec::new();
    let mut look = |cell: Cell, kept| {
        if cell.get(words) != 0 {
            cells.push((cell, cell.reference(words), kept));
        }
    };
    for of in layout.lifetime.iter().flat_map(Columns::sketches) {
        look(Cell::of_lifetime(layout, of), Kept::Yes);
    }
    for ring in rings(layout, words) {
        let sketches = ring.tier().columns.sketches();
        if sketches.is_empty() {
            continue;
        }
        for (from, to) in ring.all_runs() {
            for slot in from..to {
                let is_kept = ring.tier().keeps(ring.bucket_in(words, slot), clock_ms);
                let kept = if is_kept { Kept::Yes } else { Kept::No };
                for of in sketches {
                    look(Cell::of_ring(&ring, of, slot), kept);
                }
            }
        }
    }
    cells
}

/// Whether the bucket of a cell can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
}

/// The words of the blocks of all buckets that are kept at `clock_ms`.
pub(super) fn words_kept<W: Words + ?Sized>(layout: &Layout, words: &W, clock_ms: i64) -> usize {
    let heap = super::heap(layout, words);
    cells(layout, words, clock_ms)
        .into_iter()
        .filter(|(_, reference, kept)| reference & INLINE == 0 && *kept == Kept::Yes)
        .map(|(_, reference, _)| heap.block(words, reference).words)
        .sum()
}

/// The words of the blocks that these references of a body name.
pub(super) fn words_of<W: Words + ?Sized>(
    layout: &Layout,
    words: &W,
    references: impl Iterator<Item = u32>,
) -> usize {
    let heap = super::heap(layout, words);
    let blocks = references.filter(|reference| *reference != 0 && reference & INLINE == 0);
    blocks.map(|reference| heap.block(words, reference).words).sum()
}

/// Fills the heap of `new`, whose cells still have the references of `old`, a body of another layout, with the blocks that they name.
pub(super) fn adopt_all<O, N>(layout: &Layout, new: &mut N, old_layout: &Layout, old: &O)
where
    O: Words + ?Sized,
    N: WordsMut + ?Sized,
{
    let to = super::heap(layout, new);
    to.init(new);
    for (cell, reference) in every_cell(layout, new) {
        if reference & INLINE == 0 {
            let moved = to.adopt(new, super::heap(old_layout, old), old, reference);
            cell.set(new, moved);
        }
    }
}

fn every_cell<W: Words + ?Sized>(layout: &Layout, words: &W) -> Vec<(Cell, u32)> {
    // Whether a bucket is kept does not matter: any clock will do.
    cells(layout, words, 0).into_iter().map(|(cell, reference, _)| (cell, reference)).collect()
}

/// Fills the heap of `new`, whose cells still have the references of `old`, with the blocks of buckets that are kept at `clock_ms`. The
/// sketches of others are forgotten.
pub(super) fn compact<O, N>(layout: &Layout, old: &O, new: &mut N, clock_ms: i64)
where
    O: Words + ?Sized,
    N: WordsMut + ?Sized,
{
    let (from, to) = (super::heap(layout, old), super::heap(layout, new));
    to.init(new);
    for (cell, reference, kept) in cells(layout, new, clock_ms) {
        if kept == Kept::No {
            cell.set(new, 0);
        } else if reference & INLINE == 0 {
            let moved = to.adopt(new, from, old, reference);
            cell.set(new, moved);
        }
    }
}
