//! Whether words can be a body: asked of words that come from outside, before anything relies on them.

use super::sketches;
use super::{NONE, Ring, heap, newest_ms, words_end};
use crate::cells;
use crate::column::{Columns, Partial};
use crate::error::Corrupt;
use crate::heap::{Block, HEAD_WORDS};
use crate::layout::{Layout, TAG};
use crate::sketch::INLINE;
use crate::timestamp::{TIMESTAMP_ABS_MAX, bucket_of};
use crate::words::Words;

/// Checks a whole body: its times, the forms and entries of its rings, its references, and every sketch. What passes can be read and
/// added to like any body; whether its numbers are those of its events, only a checksum can tell.
///
/// # Errors
/// What is wrong first.
pub fn verify<W: Words + ?Sized>(layout: &Layout, words: &W) -> Result<(), Corrupt> {
    if words.len() < layout.words_min() {
        return fail(format!("a body of {} words, fewer than {}", words.len(), layout.words_min()));
    }
    let newest_ms = newest_ms(words);
    if newest_ms != NONE && !(-TIMESTAMP_ABS_MAX..=TIMESTAMP_ABS_MAX).contains(&newest_ms) {
        return fail(format!("newest event time {newest_ms}"));
    }
    for tier in 0..layout.tiers.len() {
        verify_state(layout, words, tier)?;
    }
    let end = words_end(layout, words, layout.tiers.len());
    let heap_words = if layout.has_sketches { HEAD_WORDS } else { 0 };
    if end + heap_words > words.len() {
        return fail(format!("rings of {end} words in a body of {}", words.len()));
    }
    for tier in 0..layout.tiers.len() {
        verify_ring(layout, words, tier, newest_ms)?;
    }
    for (at, partial) in layout.lifetime.iter().flat_map(Columns::numbers).enumerate() {
        verify_count(*partial, words.get(1 + at))?;
    }
    if layout.has_sketches { verify_heap(layout, words) } else { Ok(()) }
}

fn fail(message: String) -> Result<(), Corrupt> {
    Err(Corrupt(message))
}

/// The words that say a ring's form.
fn verify_state<W: Words + ?Sized>(layout: &Layout, words: &W, tier: usize) -> Result<(), Corrupt> {
    let state = words.get(layout.tiers_at() + 2 * tier + 1);
    let shape = (state & 0xffff_ffff) as usize;
    let entries = (state >> 32) as usize;
    let Some(shape) = layout.tiers[tier].shapes.get(shape) else {
        return fail(format!("tier {tier}: shape {shape} of {}", layout.tiers[tier].shapes.len()));
    };
    let entries_max = shape.capacity - usize::from(shape.dense);
    if entries > entries_max {
        return fail(format!("tier {tier}: {entries} entries, more than {entries_max}"));
    }
    Ok(())
}

/// A ring whose form is right, within words that hold it.
fn verify_ring<W: Words + ?Sized>(
    layout: &Layout,
    words: &W,
    tier: usize,
    newest_ms: i64,
) -> Result<(), Corrupt> {
    let ring = Ring::read(layout, words, tier);
    let width_ms = layout.tiers[tier].width_ms;
    if ring.head == NONE {
        return if ring.entries == 0 { Ok(()) } else { fail(format!("tier {tier}: entries without a head")) };
    }
    let oldest = bucket_of(-TIMESTAMP_ABS_MAX, width_ms);
    if newest_ms == NONE || ring.head < oldest || ring.head > bucket_of(newest_ms, width_ms) {
        return fail(format!("tier {tier}: head {} with newest event time {newest_ms}", ring.head));
    }
    if !ring.shape.dense {
        verify_tags(&ring, words, tier)?;
    }
    let columns = layout.tiers[tier].columns.numbers();
    for slot in ring.all_runs().into_iter().flat_map(|(from, to)| from..to) {
        for (at, partial) in columns.iter().enumerate() {
            verify_count(*partial, ring.cell(words, at, slot))?;
        }
    }
    if let Some(newest) = layout.tiers[tier].column(Partial::Newest) {
        let mut slots = ring.all_runs().into_iter().flat_map(|(from, to)| from..to);
        if let Some(slot) = slots.find(|&slot| ring.cell(words, newest, slot) > width_ms.cast_unsigned()) {
            return fail(format!("tier {tier}: an event behind the end of its bucket in slot {slot}"));
        }
    }
    Ok(())
}

/// A count has never been so large that one more is too many.
fn verify_count(partial: Partial, word: u64) -> Result<(), Corrupt> {
    if partial.is_count() && i64::try_from(word).is_err() {
        return fail(format!("a count of {word}"));
    }
    Ok(())
}

/// The tags of a short ring ascend to its head, and lie within its reach.
fn verify_tags<W: Words + ?Sized>(ring: &Ring<'_>, words: &W, tier: usize) -> Result<(), Corrupt> {
    let mut behind_before = ring.slots();
    for entry in 0..ring.entries {
        let tag = cells::get(words, ring.base, TAG, entry) as u32;
        let behind = i64::from((ring.head as u32).wrapping_sub(tag));
        if behind >= behind_before {
            return fail(format!("tier {tier}: entry {entry} lies {behind} buckets behind the head"));
        }
        behind_before = behind;
    }
    if behind_before == 0 { Ok(()) } else { fail(format!("tier {tier}: no entry is the head")) }
}

/// The heap: every reference names a block of its own, every sketch is one.
fn verify_heap<W: Words + ?Sized>(layout: &Layout, words: &W) -> Result<(), Corrupt> {
    let heap = heap(layout, words);
    let (used, dead) = (heap.used(words), heap.dead(words));
    let heap_words = words.len() - words_end(layout, words, layout.tiers.len());
    if !(HEAD_WORDS..=heap_words).contains(&used) || dead > used - HEAD_WORDS {
        return fail(format!("a heap of {heap_words} words with {used} used, {dead} of them dead"));
    }
    let mut blocks: Vec<Block> = Vec::new();
    // By no clock: every bucket of the rings counts.
    let cells = || {
        let used = sketches::cells(layout, words).map(|cell| (cell, cell.reference(words)));
        used.filter(|(cell, _)| cell.get(words) != 0)
    };
    for (cell, reference) in cells() {
        if u64::from(reference) != cell.get(words) {
            return fail(format!("{:#x} is not a reference", cell.get(words)));
        }
        if reference & INLINE != 0 {
            cell.sketch.verify_inline(reference)?;
            continue;
        }
        let block = heap.block(words, reference);
        if block.words == 0 || block.end() > used {
            return fail(format!("a reference to {reference} in a heap of {used} words"));
        }
        if block.kind != cell.sketch.kind_id() {
            return fail(format!("a block of kind {} where {} is wanted", block.kind, cell.sketch.kind_id()));
        }
        blocks.push(block);
    }
    blocks.sort_unstable_by_key(|block| block.at);
    if let Some(pair) = blocks.windows(2).find(|pair| pair[0].end() > pair[1].at) {
        return fail(format!("blocks overlap at {}", pair[1].at));
    }
    let live: usize = blocks.iter().map(|block| block.words).sum();
    if HEAD_WORDS + live + dead != used {
        return fail(format!("{live} words of blocks and {dead} dead ones are not the {used} in use"));
    }
    // Only now, so that the work is bounded by the body's words.
    for (cell, reference) in cells() {
        if reference & INLINE == 0 {
            cell.sketch.verify(heap.payload(words, reference))?;
        }
    }
    Ok(())
}
