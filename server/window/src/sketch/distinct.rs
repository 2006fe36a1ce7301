//! How many different values: HyperLogLog (Flajolet, Fusy, Gandouet, Meunier, 2007), sparse while values are few.
//!
//! A value's hash is, first of all, an *entry*: the index of one of 2²⁵ registers, and the rank of the other 39 bits (1 + their
//! leading zeros), as in HyperLogLog++ (Heule, Nunkesser, Hall, 2013). An entry says what the value does to 2ᵖ registers, too.
//!
//! ```text
//! sparse   entries (index << 6 | rank), ascending, two a word, one for each index; zeros behind them
//! dense    2ᵖ registers of 6 bits, ten a word; bit 63 of the first word set
//! ```
//!
//! A bucket's only value needs no block: its entry fits the reference ([`INLINE`](super::INLINE)). A sparse sketch becomes dense
//! where it would take more than half of the dense one's words, and more than a few. How both are counted: [`super::union`].

use super::span::{Span, SpanMut};
use super::stored::Stored;
use super::{Sought, Spot, grown, hash};
use crate::error::Corrupt;
use crate::words::{Words, WordsMut};

/// Bits of an entry's index.
pub(super) const INDEX_BITS: u32 = 25;
/// Bits of a rank, in an entry and in a register.
pub(super) const RANK_BITS: u32 = 6;
const RANK_MASK: u32 = (1 << RANK_BITS) - 1;
/// The largest rank of an entry.
const ENTRY_RANK_MAX: u32 = u64::BITS - INDEX_BITS + 1;
const ENTRY_MASK: u32 = (1 << (INDEX_BITS + RANK_BITS)) - 1;
/// Registers in a word of a dense sketch.
pub(super) const LANES: usize = 10;
/// A sketch of so many words stays sparse if the dense one has more: ten values take less than 64 bytes of a bucket.
const SPARSE_WORDS_FEW: usize = 6;
/// Set in the first word of a dense sketch.
const DENSE: u64 = 1 << 63;
/// The registers of a word.
pub(super) const LANES_MASK: u64 = (1 << (LANES as u32 * RANK_BITS)) - 1;

/// What a hash does, whatever p is.
#[inline]
pub(super) fn entry_of(value: &Stored<'_>) -> u32 {
    let hash = hash::of(value);
    let index = (hash >> (u64::BITS - INDEX_BITS)) as u32;
    let rank = ((hash << INDEX_BITS).leading_zeros() + 1).min(ENTRY_RANK_MAX);
    index << RANK_BITS | rank
}

/// The register that an entry goes to, and the rank it has there.
#[inline]
pub(super) fn register_of(entry: u32, p: u8) -> (usize, u64) {
    let index = (entry & ENTRY_MASK) >> RANK_BITS;
    let below = INDEX_BITS - u32::from(p);
    let rest = index & ((1 << below) - 1);
    let rank = match rest {
        0 => below + (entry & RANK_MASK),
        _ => below - rest.ilog2(),
    };
    ((index >> below) as usize, u64::from(rank.min(RANK_MASK)))
}

/// The largest rank of a register.
pub(super) fn rank_max(p: u8) -> u64 {
    u64::from(u64::BITS) - u64::from(p) + 1
}

/// Words of a dense sketch.
#[inline]
pub(super) fn dense_words(p: u8) -> usize {
    (1usize << p).div_ceil(LANES)
}

/// The most words of a sparse sketch.
pub(super) fn sparse_words_max(p: u8) -> usize {
    (dense_words(p) / 2).max(SPARSE_WORDS_FEW.min(dense_words(p) - 1))
}

#[inline]
pub(super) fn is_dense<W: Words + ?Sized>(span: Span<'_, W>, p: u8) -> bool {
    span.get(0) & DENSE != 0 && span.len() >= dense_words(p)
}

/// One entry of a sparse sketch; 0 if there is none.
#[inline]
fn entry_at<W: Words + ?Sized>(span: Span<'_, W>, index: usize) -> u32 {
    (span.get(index / 2) >> (32 * (index % 2))) as u32 & ENTRY_MASK
}

/// Looks at every entry of a sparse sketch.
#[inline]
pub(super) fn each_entry<W: Words + ?Sized>(span: Span<'_, W>, mut look: impl FnMut(u32)) {
    span.each(|word| {
        for entry in [word as u32 & ENTRY_MASK, (word >> 32) as u32 & ENTRY_MASK] {
            if entry != 0 {
                look(entry);
            }
        }
    });
}

/// Looks at every entry of a sparse sketch, and at zeros in place of those that its words have room for.
#[inline]
pub(super) fn each_entry_or_none<W: Words + ?Sized>(span: Span<'_, W>, mut look: impl FnMut(u32)) {
    span.each(|word| {
        look(word as u32 & ENTRY_MASK);
        look((word >> 32) as u32 & ENTRY_MASK);
    });
}

/// How many entries a sparse sketch has.
fn entries<W: Words + ?Sized>(span: Span<'_, W>) -> usize {
    lower_bound(2 * span.len(), |index| entry_at(span, index) != 0)
}

/// The first index below `len` of which `is_before` is not true, where it is true of all before.
#[inline]
pub(super) fn lower_bound(len: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut to) = (0, len);
    while from < to {
        let middle = usize::midpoint(from, to);
        if is_before(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

/// Where `entry` is in a sparse sketch, or belongs; and what is there of the same index.
fn find<W: Words + ?Sized>(span: Span<'_, W>, entry: u32) -> (usize, Option<u32>) {
    let index = entry >> RANK_BITS;
    let at = lower_bound(2 * span.len(), |at| {
        let other = entry_at(span, at);
        other != 0 && other >> RANK_BITS < index
    });
    let found = entry_at(span, at);
    (at, Some(found).filter(|&found| found != 0 && found >> RANK_BITS == index))
}

/// What adding an entry comes to.
pub(super) fn seek<W: Words + ?Sized>(span: Span<'_, W>, p: u8, entry: u32) -> Sought {
    if is_dense(span, p) {
        let (index, rank) = register_of(entry, p);
        let is_known = register(span, index) >= rank;
        return if is_known { Sought::Known } else { Sought::Here(Spot::Hashed(entry)) };
    }
    let (at, found) = find(span, entry);
    let spot = Spot::Entry { entry, at: at as u32, is_there: found.is_some() };
    match found {
        Some(found) if found >= entry => return Sought::Known,
        Some(_) => return Sought::Here(spot),
        None if !span.is_empty() && entry_at(span, 2 * span.len() - 1) == 0 => return Sought::Here(spot),
        None => {}
    }
    let words = grown(span.len() + 1, usize::MAX);
    if words <= sparse_words_max(p) {
        Sought::Longer(words, spot)
    } else if span.len() < sparse_words_max(p) {
        Sought::Longer(sparse_words_max(p), spot)
    } else {
        Sought::Longer(dense_words(p), Spot::Hashed(entry))
    }
}

/// Whether a sketch is copied to so many words otherwise than word by word.
pub(super) fn becomes_dense<W: Words + ?Sized>(old: Span<'_, W>, p: u8, words: usize) -> bool {
    !is_dense(old, p) && words >= dense_words(p)
}

pub(super) fn copy<O, N>(old: Span<'_, O>, new: &mut SpanMut<'_, N>, p: u8)
where
    O: Words + ?Sized,
    N: WordsMut + ?Sized,
{
    if !becomes_dense(old, p, new.len()) {
        return new.copy_from(old);
    }
    new.clear();
    new.set(0, DENSE);
    for index in 0..entries(old) {
        add_to_register(new, p, entry_at(old, index));
    }
}

pub(super) fn add<W: WordsMut + ?Sized>(span: &mut SpanMut<'_, W>, p: u8, entry: u32) {
    if is_dense(span.span(), p) {
        add_to_register(span, p, entry);
        return;
    }
    let (at, found) = find(span.span(), entry);
    add_at(span, entry, at, found.is_some());
}

/// Adds an entry to a sparse sketch, at the place where it is, or belongs.
pub(super) fn add_at<W: WordsMut + ?Sized>(span: &mut SpanMut<'_, W>, entry: u32, at: usize, is_there: bool) {
    if is_there {
        let word = span.get(at / 2);
        let shift = 32 * (at % 2);
        // Of one index, the ranks are the low bits of the entries.
        let larger = ((word >> shift) as u32).max(entry);
        span.set(at / 2, word & !(0xffff_ffff << shift) | u64::from(larger) << shift);
    } else {
        insert(span, at, entry);
    }
}

/// Puts an entry at `at`, and those behind it one further.
fn insert<W: WordsMut + ?Sized>(span: &mut SpanMut<'_, W>, at: usize, entry: u32) {
    let mut word = span.get(at / 2);
    let mut carry = word >> 32;
    word =
        if at % 2 == 1 { word & 0xffff_ffff | u64::from(entry) << 32 } else { u64::from(entry) | word << 32 };
    span.set(at / 2, word);
    for index in at / 2 + 1..span.len() {
        if carry == 0 {
            break;
        }
        word = span.get(index);
        span.set(index, carry | word << 32);
        carry = word >> 32;
    }
}

/// One register of a dense sketch.
#[inline]
fn register<W: Words + ?Sized>(span: Span<'_, W>, index: usize) -> u64 {
    span.get(index / LANES) >> (RANK_BITS * (index % LANES) as u32) & u64::from(RANK_MASK)
}

fn add_to_register<W: WordsMut + ?Sized>(span: &mut SpanMut<'_, W>, p: u8, entry: u32) {
    let (index, rank) = register_of(entry, p);
    let shift = RANK_BITS * (index % LANES) as u32;
    let word = span.get(index / LANES);
    if register(span.span(), index) < rank {
        span.set(index / LANES, word & !(u64::from(RANK_MASK) << shift) | rank << shift);
    }
}

/// The union of two. It is dense where all their values in one would be.
pub(super) fn merged(earlier: Span<'_, [u64]>, later: Span<'_, [u64]>, p: u8) -> Vec<u64> {
    let mut sparse: Vec<u32> = Vec::new();
    for span in [earlier, later].into_iter().filter(|span| !is_dense(*span, p)) {
        sparse.extend((0..entries(span)).map(|at| entry_at(span, at)));
    }
    // Of one index, the largest rank stands last.
    sparse.sort_unstable_by(|one, other| other.cmp(one));
    sparse.dedup_by_key(|entry| *entry >> RANK_BITS);
    sparse.reverse();
    let has_dense = is_dense(earlier, p) || is_dense(later, p);
    if !has_dense && sparse.len() <= 2 * sparse_words_max(p) {
        let word = |pair: &[u32]| u64::from(pair[0]) | pair.get(1).map_or(0, |&entry| u64::from(entry)) << 32;
        return sparse.chunks(2).map(word).collect();
    }
    let mut registers = vec![0; dense_words(p)];
    let words = registers.len();
    let mut union = SpanMut::new(registers.as_mut_slice(), 0, words);
    for span in [earlier, later].into_iter().filter(|span| is_dense(*span, p)) {
        for at in 0..words {
            let (mut mine, other) = (union.get(at), span.get(at));
            for lane in 0..LANES as u32 {
                let mask = u64::from(RANK_MASK) << (RANK_BITS * lane);
                mine = mine & !mask | (mine & mask).max(other & mask);
            }
            union.set(at, mine);
        }
    }
    for entry in sparse {
        add_to_register(&mut union, p, entry);
    }
    union.set(0, union.get(0) | DENSE);
    registers
}

pub(super) fn verify_entry(entry: u32) -> Result<(), Corrupt> {
    let rank = entry & RANK_MASK;
    if entry > ENTRY_MASK || rank == 0 || rank > ENTRY_RANK_MAX {
        return Err(Corrupt(format!("{entry:#x} is not an entry of a distinct count")));
    }
    Ok(())
}

pub(super) fn verify<W: Words + ?Sized>(span: Span<'_, W>, p: u8) -> Result<(), Corrupt> {
    if span.get(0) & DENSE != 0 { verify_dense(span, p) } else { verify_sparse(span, p) }
}

fn verify_sparse<W: Words + ?Sized>(span: Span<'_, W>, p: u8) -> Result<(), Corrupt> {
    if span.len() > sparse_words_max(p) {
        return Err(Corrupt(format!("a sparse distinct count with p = {p} has {} words", span.len())));
    }
    let entries = entries(span);
    let mut before = None;
    for at in 0..2 * span.len() {
        let entry = (span.get(at / 2) >> (32 * (at % 2))) as u32;
        if at >= entries {
            if entry != 0 {
                return Err(Corrupt(format!("a distinct count has an entry at {at}, behind its last")));
            }
            continue;
        }
        verify_entry(entry)?;
        let index = entry >> RANK_BITS;
        if before.is_some_and(|before| before >= index) {
            return Err(Corrupt(format!("a distinct count's entry at {at} is not above the one before")));
        }
        before = Some(index);
    }
    Ok(())
}

fn verify_dense<W: Words + ?Sized>(span: Span<'_, W>, p: u8) -> Result<(), Corrupt> {
    if span.len() != dense_words(p) {
        return Err(Corrupt(format!("a dense distinct count with p = {p} has {} words", span.len())));
    }
    for at in 0..span.len() {
        let word = span.get(at) & !if at == 0 { DENSE } else { 0 };
        if word & !LANES_MASK != 0 {
            return Err(Corrupt(format!(
                "word {at} of a dense distinct count has bits beyond its registers"
            )));
        }
        for lane in 0..LANES {
            let rank = word >> (RANK_BITS * lane as u32) & u64::from(RANK_MASK);
            let most = if at * LANES + lane < 1 << p { rank_max(p) } else { 0 };
            if rank > most {
                return Err(Corrupt(format!("register {} of a distinct count is {rank}", at * LANES + lane)));
            }
        }
    }
    Ok(())
}
