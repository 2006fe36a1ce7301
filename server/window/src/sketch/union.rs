//! The union of a window's distinct counts, and how many values it has.
//!
//! While no bucket is dense and the union has few entries, they are [gathered](super::gathered), and the different ones counted by
//! linear counting (Whang, Vander-Zanden, Taylor, 1990) over 2²⁵ registers: that is exact but for collisions, of which 1,000 values
//! have 0.01.
//! Otherwise they are 2ᵖ registers, and counted by the improved raw estimator of Ertl ("New cardinality estimation algorithms for
//! HyperLogLog sketches", 2017, algorithm 6), which needs no tables and has no bias where values are few.
//! What is kept does not depend on the order of the buckets.

use super::distinct::{
    INDEX_BITS, LANES, LANES_MASK, RANK_BITS, dense_words, each_entry, is_dense, rank_max, register_of,
};
use super::gathered::Gathered;
use super::span::Span;
use crate::words::Words;

/// A union has 2ᵖ divided by this many entries before it becomes registers, which take as long to count.
const ENTRIES_SHARE: usize = 4;
const ENTRIES_MIN: usize = 16;
/// Terms of the series σ and τ: they end when nothing changes, which is long before.
const TERMS_MAX: u32 = 128;
/// Ranks of 6 bits.
const RANKS: usize = 1 << RANK_BITS;

#[derive(Debug, Default)]
pub(super) struct Union {
    p: u8,
    is_dense: bool,
    /// What there is while there are few.
    sparse: Gathered,
    /// Then 2ᵖ registers, a byte each: an entry is put into one without a branch that depends on it.
    registers: Vec<u8>,
    /// Registers as dense buckets have them; none if no bucket was dense.
    packed: Vec<u64>,
}

impl Union {
    /// Keys what is looked up by this secret.
    pub(super) fn key(&mut self, secret: u64) {
        self.sparse.key(secret);
    }

    pub(super) fn begin(&mut self, p: u8) {
        self.p = p;
        self.is_dense = false;
        self.sparse.begin(((1 << p) / ENTRIES_SHARE).max(ENTRIES_MIN));
        self.packed.clear();
    }

    pub(super) fn merge<W: Words + ?Sized>(&mut self, span: Span<'_, W>) {
        if is_dense(span, self.p) {
            self.become_dense();
            self.merge_dense(span);
        } else if self.is_dense {
            let (p, registers) = (self.p, self.registers.as_mut_slice());
            each_entry(span, |entry| raise(registers, p, entry));
        } else {
            self.merge_sparse(span);
        }
    }

    #[inline]
    fn merge_sparse<W: Words + ?Sized>(&mut self, span: Span<'_, W>) {
        if span.len() <= self.sparse.free() / 2 {
            self.sparse.extend(span);
            if self.sparse.wants_a_look() {
                self.look();
            }
        } else {
            each_entry(span, |entry| self.add_entry(entry));
        }
    }

    /// Adds one entry.
    #[inline]
    pub(super) fn add_entry(&mut self, entry: u32) {
        if self.is_dense {
            raise(&mut self.registers, self.p, entry);
            return;
        }
        self.sparse.push(entry);
        if self.sparse.wants_a_look() {
            self.look();
        }
    }

    /// Whether there are still few entries.
    #[inline(never)]
    fn look(&mut self) {
        if self.sparse.look() {
            self.become_dense();
        }
    }

    fn become_dense(&mut self) {
        if self.is_dense {
            return;
        }
        self.is_dense = true;
        self.registers.clear();
        self.registers.resize(1 << self.p, 0);
        self.sparse.list().iter().for_each(|&entry| raise(&mut self.registers, self.p, entry));
    }

    fn merge_dense<W: Words + ?Sized>(&mut self, span: Span<'_, W>) {
        self.packed.resize(dense_words(self.p), 0);
        let mut mine = self.packed.iter_mut();
        span.each(|theirs| {
            if let Some(mine) = mine.next() {
                *mine = larger_registers(*mine, theirs & LANES_MASK);
            }
        });
    }

    /// How many different values.
    pub(super) fn count(&mut self) -> f64 {
        if !self.is_dense {
            let different = self.sparse.different();
            if different <= self.sparse.few() {
                return count_sparse(different);
            }
            self.become_dense();
        }
        self.count_dense()
    }

    fn count_dense(&mut self) -> f64 {
        self.unpack();
        let rank_max = rank_max(self.p);
        let with_rank = self.ranks();
        let registers = f64::from(1u32 << self.p);
        // A reader may see registers that cannot be.
        let beyond: u32 = with_rank[rank_max as usize..].iter().sum();
        let mut sum = registers * tau(1.0 - f64::from(beyond) / registers);
        for rank in (1..rank_max as usize).rev() {
            sum = 0.5 * (sum + f64::from(with_rank[rank]));
        }
        sum += registers * sigma(f64::from(with_rank[0]) / registers);
        registers * registers / (2.0 * std::f64::consts::LN_2) / sum
    }

    /// Puts the registers of dense buckets to the others.
    fn unpack(&mut self) {
        for (registers, word) in self.registers.chunks_mut(LANES).zip(self.packed.drain(..)) {
            for (lane, register) in registers.iter_mut().enumerate() {
                let rank = (word >> (RANK_BITS * lane as u32)) as u8 & (RANKS - 1) as u8;
                *register = rank.max(*register);
            }
        }
    }

    /// How many registers have each rank.
    fn ranks(&self) -> [u32; RANKS] {
        /// Registers next to each other are counted apart: most have one of a few ranks, and a count that waits for the one before is slow.
        const APART: usize = 8;
        let mut counts = [[0u32; RANKS]; APART];
        for registers in self.registers.chunks(APART) {
            for (counts, rank) in counts.iter_mut().zip(registers) {
                counts[usize::from(*rank) & (RANKS - 1)] += 1;
            }
        }
        let mut with_rank = [0; RANKS];
        for counts in counts {
            for (all, one) in with_rank.iter_mut().zip(counts) {
                *all += one;
            }
        }
        with_rank
    }
}

/// How many values so many of 2²⁵ registers have seen.
fn count_sparse(registers_used: usize) -> f64 {
    let registers = f64::from(1u32 << INDEX_BITS);
    // m ln(m / empty), where few of m registers are not empty.
    -registers * (-(registers_used as f64) / registers).ln_1p()
}

/// Raises the register of an entry to the rank that it has there.
#[inline]
fn raise(registers: &mut [u8], p: u8, entry: u32) {
    let (index, rank) = register_of(entry, p);
    // What a reader sees may be no entry.
    if let Some(register) = registers.get_mut(index) {
        *register = (rank as u8).max(*register);
    }
}

/// The larger of each of ten 6-bit registers.
#[inline]
fn larger_registers(one: u64, other: u64) -> u64 {
    /// Every second register.
    const EVEN: u64 = 0x003f_03f0_3f03_f03f;
    larger_even(one & EVEN, other & EVEN) | larger_even(one >> 6 & EVEN, other >> 6 & EVEN) << 6
}

/// The larger of each of five 6-bit numbers that are 12 bits apart.
#[inline]
fn larger_even(one: u64, other: u64) -> u64 {
    /// The bit above each number: a subtraction clears it where it borrows.
    const GUARDS: u64 = 0x0040_0400_4004_0040;
    let not_less = ((one | GUARDS) - other) & GUARDS;
    let mask = not_less - (not_less >> 6);
    one & mask | other & !mask
}

/// σ(x) = x + Σ x^(2ᵏ) 2^(k−1), for k ≥ 1.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut sum) = (1.0, x);
    for _ in 0..TERMS_MAX {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum == before {
            break;
        }
    }
    sum
}

/// τ(x) = (1 − x − Σ (1 − x^(2^−k))² 2^−k) / 3, for k ≥ 1.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    for _ in 0..TERMS_MAX {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * power;
        if sum == before {
            break;
        }
    }
    sum / 3.0
}

#[cfg(test)]
mod tests {
    use super::larger_registers;

    #[test]
    fn the_larger_of_registers_is_found_for_each_alone() {
        let pack = |registers: &[u64; 10]| {
            registers.iter().enumerate().map(|(at, register)| register << (6 * at)).sum::<u64>()
        };
        let mut state = 1u64;
        for _ in 0..10_000 {
            let mut draw = || {
                std::array::from_fn(|_| {
                    state = super::super::hash::mix(state.wrapping_add(0x9e37));
                    // Small and large ones, so that there are equal ones, too.
                    if state & 64 == 0 { state & 63 } else { 60 + (state & 3) }
                })
            };
            let (one, other): ([u64; 10], [u64; 10]) = (draw(), draw());
            let larger = std::array::from_fn(|at| one[at].max(other[at]));
            assert_eq!(larger_registers(pack(&one), pack(&other)), pack(&larger), "{one:?} {other:?}");
        }
    }
}
