//! The sketches of a body: what an event needs in its heap, how it enters them, how they move along.

use super::{Event, NONE, Placement, Placements, Ring, rings};
use crate::cells::{self, Width};
use crate::column::{Columns, SketchColumn};
use crate::definition::TIERS_MAX;
use crate::heap::{BLOCK_HEAD_WORDS, Heap};
use crate::layout::Layout;
use crate::sketch::{INLINE, Sketch, SketchValue, Sought, Span, Spot};
use crate::words::{Words, WordsMut};

/// A cell that refers to a sketch, in a ring or among the partials of `all`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'l> {
    base: usize,
    width: Width,
    slot: usize,
    pub(super) sketch: Sketch,
    /// None for `all`.
    ring: Option<Ring<'l>>,
}

impl<'l> Cell<'l> {
    fn of_ring(ring: &Ring<'l>, of: &SketchColumn, slot: usize) -> Self {
        let (base, width) = (ring.column_base(of.column), ring.shape.widths[of.column]);
        Self { base, width, slot, sketch: of.sketch, ring: Some(*ring) }
    }

    fn of_lifetime(layout: &Layout, of: &SketchColumn) -> Self {
        let lifetime = layout.lifetime.as_ref().expect("it has a column");
        Self {
            base: 1 + lifetime.word_at(of.column),
            width: Width::WORD,
            slot: 0,
            sketch: of.sketch,
            ring: None,
        }
    }

    /// Whether its bucket can still be read at `clock_ms`.
    fn is_kept<W: Words + ?Sized>(&self, words: &W, clock_ms: i64) -> bool {
        self.ring.is_none_or(|ring| ring.tier().keeps(ring.bucket_in(words, self.slot), clock_ms))
    }

    pub(super) fn get<W: Words + ?Sized>(&self, words: &W) -> u64 {
        cells::get(words, self.base, self.width, self.slot)
    }

    pub(super) fn reference<W: Words + ?Sized>(&self, words: &W) -> u32 {
        self.get(words) as u32
    }

    fn set<W: WordsMut + ?Sized>(&self, words: &mut W, reference: u32) {
        cells::set(words, self.base, self.width, self.slot, u64::from(reference));
    }
}

/// What adding a value to a sketch comes to; blocks in words of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The event has no value.
    Absent,
    /// The value is there already.
    Nothing,
    /// The reference says the value.
    Inline(u32),
    /// The first block.
    Start(usize, Spot),
    /// The first block, for the value of an inline reference, too.
    Spill(usize, Spot),
    /// Into the block that is there.
    InPlace(Spot),
    /// Into a longer block, which the one that is there is copied to.
    Move(usize, Spot),
}

/// What adding an event to the sketches of its places comes to, cell by cell: found when it is fitted, done when it is added.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan(Vec<Step>);

fn step<W: Words + ?Sized>(
    heap: Heap,
    words: &W,
    sketch: Sketch,
    reference: u32,
    value: &SketchValue<'_>,
) -> Step {
    if reference != 0 && reference & INLINE == 0 {
        return match sketch.seek(heap.payload(words, reference), value) {
            Sought::Known => Step::Nothing,
            Sought::Here(spot) => Step::InPlace(spot),
            Sought::Longer(payload, spot) => Step::Move(payload, spot),
        };
    }
    let spot = sketch.spot(value);
    match spot {
        Spot::Hashed(entry) if reference == 0 => Step::Inline(INLINE | entry),
        Spot::Hashed(entry) if reference == INLINE | entry => Step::Nothing,
        _ if reference == 0 => Step::Start(sketch.words_new(value), spot),
        _ => Step::Spill(sketch.words_new(value), spot),
    }
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

/// Plans what the event does at its places; gives the words at the heap's end that it needs.
pub(super) fn plan<W: Words + ?Sized>(
    layout: &Layout,
    words: &W,
    event: &Event<'_>,
    placements: &mut Placements,
) -> usize {
    let Placements { places, plan: Plan(steps) } = placements;
    steps.clear();
    let heap = super::heap(layout, words);
    let used = heap.used(words);
    // As `add` goes, cell by cell.
    let mut end = used;
    let mut enter = |of: &SketchColumn, reference: u32| {
        let Some(value) = value_of(event, of) else { return steps.push(Step::Absent) };
        let step = step(heap, words, of.sketch, reference, &value);
        match step {
            Step::Absent | Step::Nothing | Step::Inline(_) | Step::InPlace(_) => {}
            Step::Start(payload, _) | Step::Spill(payload, _) => end += BLOCK_HEAD_WORDS + payload,
            Step::Move(payload, _) => {
                let block = heap.block(words, reference);
                let is_last = block.end() == end;
                end += BLOCK_HEAD_WORDS + payload - if is_last { block.words } else { 0 };
            }
        }
        steps.push(step);
    };
    for of in layout.lifetime.iter().flat_map(Columns::sketches) {
        enter(of, Cell::of_lifetime(layout, of).reference(words));
    }
    for (ring, place) in rings(layout, words).zip(places) {
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
        let place = placements.places[tier];
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

/// Adds the event to the sketches of its buckets, which are there by now, as it was planned.
pub(super) fn add<W: WordsMut + ?Sized>(
    layout: &Layout,
    words: &mut W,
    event: &Event<'_>,
    placements: &Placements,
) {
    let heap = super::heap(layout, words);
    let mut steps = placements.plan.0.iter().copied();
    let mut step = || steps.next().expect("a step for each cell was planned");
    for of in layout.lifetime.iter().flat_map(Columns::sketches) {
        enter(heap, words, event, of, Cell::of_lifetime(layout, of), step());
    }
    for tier in 0..layout.tiers.len() {
        let columns = &layout.tiers[tier].columns;
        if columns.sketches().is_empty() {
            continue;
        }
        let ring = Ring::read(layout, words, tier);
        let slot = match placements.places[tier].placement {
            Placement::Skip => continue,
            Placement::At(slot) | Placement::Insert { at: slot, .. } => slot as usize,
            Placement::Advance => ring.entries,
        };
        for of in columns.sketches() {
            enter(heap, words, event, of, Cell::of_ring(&ring, of, slot), step());
        }
    }
    debug_assert!(steps.next().is_none(), "a cell for each step that was planned");
}

#[inline]
fn enter<W: WordsMut + ?Sized>(
    heap: Heap,
    words: &mut W,
    event: &Event<'_>,
    of: &SketchColumn,
    cell: Cell<'_>,
    step: Step,
) {
    let sketch = of.sketch;
    let (block, spot) = match step {
        Step::Absent | Step::Nothing => return,
        Step::Inline(inline) => return cell.set(words, inline),
        Step::InPlace(spot) => (cell.reference(words), spot),
        Step::Start(payload, spot) | Step::Spill(payload, spot) => {
            let reference = cell.reference(words);
            let block = heap.allocate(words, sketch.kind_id(), payload);
            let mut span = heap.payload_mut(words, block);
            sketch.start(&mut span);
            if reference & INLINE != 0 {
                sketch.add_inline(&mut span, reference);
            }
            cell.set(words, block);
            (block, spot)
        }
        Step::Move(payload, spot) => {
            let reference = cell.reference(words);
            let block = lengthen(heap, words, sketch, reference, payload);
            if block != reference {
                cell.set(words, block);
            }
            (block, spot)
        }
    };
    let Some(value) = value_of(event, of) else { return };
    sketch.add_at(&mut heap.payload_mut(words, block), &value, spot);
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
    let old_words = old.len();
    // Once in the life of a block, if ever.
    let rewritten: Option<Vec<u64>> =
        sketch.is_rewritten(old, payload).then(|| (0..old_words).map(|index| old.get(index)).collect());
    let is_last = heap.block(words, reference).end() == heap.used(words);
    let block = if is_last {
        heap.extend_last(words, reference, payload);
        reference
    } else {
        heap.free(words, reference);
        heap.allocate(words, sketch.kind_id(), payload)
    };
    match rewritten {
        Some(old) => {
            let mut new = heap.payload_mut(words, block);
            sketch.start(&mut new);
            sketch.copy(Span::new(old.as_slice(), 0, old.len()), &mut new);
        }
        None => heap.copy_payload(words, reference, block, old_words),
    }
    block
}

/// Every cell of the body that is for a sketch, of `all` first, then tier by tier, the oldest bucket first. It does not hold on to the
/// words: they may change while it is used, as long as the rings stay as they are.
pub(super) fn cells<'l, W: Words + ?Sized>(
    layout: &'l Layout,
    words: &W,
) -> impl Iterator<Item = Cell<'l>> + use<'l, W> {
    let mut found = [None; TIERS_MAX];
    for (found, ring) in found.iter_mut().zip(rings(layout, words)) {
        *found = Some(ring);
    }
    let of_all = layout.lifetime.iter().flat_map(Columns::sketches).map(|of| Cell::of_lifetime(layout, of));
    let of_rings = found.into_iter().flatten().flat_map(|ring| {
        let sketches = ring.tier().columns.sketches();
        let runs = if sketches.is_empty() { [(0, 0); 2] } else { ring.all_runs() };
        let slots = runs.into_iter().flat_map(|(from, to)| from..to);
        slots.flat_map(move |slot| sketches.iter().map(move |of| Cell::of_ring(&ring, of, slot)))
    });
    of_all.chain(of_rings)
}

/// The words of the blocks of all buckets that are kept at `clock_ms`.
pub(super) fn words_kept<W: Words + ?Sized>(layout: &Layout, words: &W, clock_ms: i64) -> usize {
    let heap = super::heap(layout, words);
    let kept = cells(layout, words).filter_map(|cell| {
        let reference = cell.reference(words);
        let is_block = reference != 0 && reference & INLINE == 0;
        (is_block && cell.is_kept(words, clock_ms)).then(|| heap.block(words, reference).words)
    });
    kept.sum()
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
    for cell in cells(layout, new) {
        let reference = cell.reference(new);
        if reference != 0 && reference & INLINE == 0 {
            let moved = to.adopt(new, super::heap(old_layout, old), old, reference);
            cell.set(new, moved);
        }
    }
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
    cells(layout, new).for_each(|cell| {
        let reference = cell.reference(new);
        if reference == 0 {
            return;
        }
        if !cell.is_kept(new, clock_ms) {
            cell.set(new, 0);
        } else if reference & INLINE == 0 {
            let moved = to.adopt(new, from, old, reference);
            cell.set(new, moved);
        }
    });
}
