//! A column's cells: numbers of 16, 32 or 64 bits, packed into words, and how they are added up a word at a time.

use crate::words::{Words, WordsMut};

/// How the cells of a column are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    bits: u32,
    /// Of a cell in two's complement that is less than a word its sign's bit, else 0.
    sign: u32,
}

impl Width {
    /// A word, whatever it says.
    pub const WORD: Self = Self::unsigned(64);
    /// A reference in a ring.
    pub const REFERENCE: Self = Self::unsigned(32);
    /// Two words.
    pub const WIDE: Self = Self::unsigned(128);

    /// Cells of so many bits, 16, 32, 64 or 128, that are not negative where they are less than a word.
    pub const fn unsigned(bits: u32) -> Self {
        Self { bits, sign: 0 }
    }

    /// Cells of 16, 32 or 64 bits in two's complement.
    pub const fn signed(bits: u32) -> Self {
        Self { bits, sign: if bits < 64 { 1 << (bits - 1) } else { 0 } }
    }

    /// Bits of a cell.
    #[inline]
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// Whether cells are whole words.
    #[inline]
    pub fn is_word(self) -> bool {
        self.bits == 64
    }

    /// Whether a cell can hold this word, the bits of an i64 where cells are signed.
    #[inline]
    pub fn holds(self, word: u64) -> bool {
        self.bits >= 64 || word.wrapping_add(u64::from(self.sign)) >> self.bits == 0
    }

    /// The word whose low bits are these, with the sign that they have.
    #[inline]
    fn extended(self, cell: u64) -> u64 {
        let sign = u64::from(self.sign);
        (cell ^ sign).wrapping_sub(sign)
    }
}

/// One slot of a column that starts at word `base`: its number, or the bits of an i64.
#[inline]
pub fn get<W: Words + ?Sized>(words: &W, base: usize, width: Width, slot: usize) -> u64 {
    let cell = match width.bits {
        64 => return words.get(base + slot),
        32 => words.get(base + slot / 2) >> (32 * (slot % 2)) & 0xffff_ffff,
        _ => words.get(base + slot / 4) >> (16 * (slot % 4)) & 0xffff,
    };
    width.extended(cell)
}

/// Sets one slot of a column, which [holds](Width::holds) `value`.
#[inline]
pub fn set<W: WordsMut + ?Sized>(words: &mut W, base: usize, width: Width, slot: usize, value: u64) {
    let (index, word) = replaced(words, base, width, slot, value);
    words.set(index, word);
}

/// The word that holds one slot of a column, and what it becomes with this `value`, which the slot [holds](Width::holds).
#[inline]
pub(crate) fn replaced<W: Words + ?Sized>(
    words: &W,
    base: usize,
    width: Width,
    slot: usize,
    value: u64,
) -> (usize, u64) {
    debug_assert!(width.holds(value), "{value:#x} does not fit {width:?}");
    let (index, shift, mask) = match width.bits {
        64 => return (base + slot, value),
        32 => (base + slot / 2, 32 * (slot % 2), 0xffff_ffff),
        _ => (base + slot / 4, 16 * (slot % 4), 0xffff),
    };
    (index, words.get(index) & !(mask << shift) | (value & mask) << shift)
}

/// The word of a column that holds a slot.
#[inline]
pub(crate) fn word_of(width: Width, slot: usize) -> usize {
    slot * width.bits as usize / 64
}

/// One slot of a wide column that starts at word `base`.
#[inline]
pub fn get_wide<W: Words + ?Sized>(words: &W, base: usize, slot: usize) -> [u64; 2] {
    [words.get(base + 2 * slot), words.get(base + 2 * slot + 1)]
}

/// Sets one slot of a wide column.
#[inline]
pub fn set_wide<W: WordsMut + ?Sized>(words: &mut W, base: usize, slot: usize, value: [u64; 2]) {
    words.set(base + 2 * slot, value[0]);
    words.set(base + 2 * slot + 1, value[1]);
}

/// Words that `slots` slots take.
pub fn words_of(slots: usize, width: Width) -> usize {
    (slots * width.bits as usize).div_ceil(64)
}

/// The sum of a column's slots `from..to`, none of them negative, a word (one, two or four slots) at a time.
pub fn sum<W: Words + ?Sized>(words: &W, base: usize, width: Width, from: usize, to: usize) -> u128 {
    debug_assert_eq!(width.sign, 0, "cells of {width:?} may be negative");
    match width.bits {
        _ if from >= to => 0,
        64 => words.fold(base + from..base + to, 0, |sum, word| sum + u128::from(word)),
        // Constants, so that nothing is divided.
        32 => sum_narrow::<W, 32, 0>(words, base, from, to),
        _ => sum_narrow::<W, 16, 0>(words, base, from, to),
    }
}

/// The sum of the slots `from..to` of a column whose cells are integers in two's complement.
pub fn sum_signed<W: Words + ?Sized>(words: &W, base: usize, width: Width, from: usize, to: usize) -> i128 {
    const SIGNS_32: u64 = 0x8000_0000_8000_0000;
    const SIGNS_16: u64 = 0x8000_8000_8000_8000;
    debug_assert!(width.is_word() || width.sign != 0, "cells of {width:?} are never negative");
    if from >= to {
        return 0;
    }
    // With its sign's bit flipped, each is larger by that bit, and none is negative.
    let flipped = match width.bits {
        64 => {
            return words.fold(base + from..base + to, 0, |sum, word| sum + i128::from(word.cast_signed()));
        }
        32 => sum_narrow::<W, 32, SIGNS_32>(words, base, from, to),
        _ => sum_narrow::<W, 16, SIGNS_16>(words, base, from, to),
    };
    flipped.cast_signed() - i128::from(width.sign) * (to - from) as i128
}

/// The sum of the slots `from..to`, at least one, of a column of 16 or 32 bits, with the bits `FLIPPED` of each word flipped.
#[inline]
fn sum_narrow<W: Words + ?Sized, const BITS: usize, const FLIPPED: u64>(
    words: &W,
    base: usize,
    from: usize,
    to: usize,
) -> u128 {
    let lanes = 64 / BITS;
    let (first, last) = (from / lanes, (to - 1) / lanes);
    // What lies outside the slots, in the first word and in the last.
    let head = u64::MAX << (from % lanes * BITS);
    let tail = u64::MAX >> ((lanes - 1 - (to - 1) % lanes) * BITS);
    let low_halves = if BITS == 16 { 0x0000_ffff_0000_ffff } else { 0xffff_ffff };
    // Sums of the even lanes and of the odd ones: 32 bits each for 16-bit slots, and a column has fewer than 2¹⁶ words of those.
    let pairs = |word: u64| (word & low_halves) + (word >> BITS & low_halves);
    // The two 32-bit sums in one word, where there are two.
    let folded = |sums: u64| u128::from(if BITS == 16 { (sums & 0xffff_ffff) + (sums >> 32) } else { sums });
    let ends = |at: usize, mask: u64| folded(pairs((words.get(base + at) ^ FLIPPED) & mask));
    if first == last {
        return ends(first, head & tail);
    }
    let mut total = ends(first, head) + ends(last, tail);
    let mut from = first + 1;
    while from < last {
        let to = last.min(from + WORDS_SUMMED_MAX);
        let sums =
            words.fold(base + from..base + to, 0u64, |sums, word| sums.wrapping_add(pairs(word ^ FLIPPED)));
        total += folded(sums);
        from = to;
    }
    total
}

/// So many words' pairs of 16-bit slots fit a sum of 32 bits.
const WORDS_SUMMED_MAX: usize = 1 << 15;

#[cfg(test)]
mod tests {
    use super::{Width, get, set, sum, sum_signed, words_of};

    /// A column of 13 slots between two words of ones, with these numbers.
    fn filled(width: Width, value: impl Fn(usize) -> u64) -> Vec<u64> {
        let slots = 13;
        let mut words = vec![0u64; words_of(slots, width) + 2];
        words[0] = u64::MAX;
        let last = words.len() - 1;
        words[last] = u64::MAX;
        for slot in 0..slots {
            set(words.as_mut_slice(), 1, width, slot, 0x7fff);
            set(words.as_mut_slice(), 1, width, slot, value(slot));
        }
        for slot in 0..slots {
            assert_eq!(get(words.as_slice(), 1, width, slot), value(slot));
        }
        assert_eq!((words[0], words[last]), (u64::MAX, u64::MAX), "neighbours are untouched");
        words
    }

    #[test]
    fn packed_slots_are_independent_and_sum() {
        for bits in [16, 32, 64] {
            let width = Width::unsigned(bits);
            let value =
                |slot: usize| (slot as u64 * 0x1_0001 + 7) & if bits == 16 { 0xffff } else { 0xffff_ffff };
            let words = filled(width, value);
            for from in 0..=13 {
                for to in from..=13 {
                    let expected: u128 = (from..to).map(|slot| u128::from(value(slot))).sum();
                    assert_eq!(
                        sum(words.as_slice(), 1, width, from, to),
                        expected,
                        "{bits} bits, {from}..{to}"
                    );
                }
            }
        }
    }

    #[test]
    fn packed_integers_keep_their_sign_and_sum() {
        for (bits, least, most) in [
            (16, i64::from(i16::MIN), i64::from(i16::MAX)),
            (32, i64::from(i32::MIN), i64::from(i32::MAX)),
            (64, i64::MIN, i64::MAX),
        ] {
            let width = Width::signed(bits);
            let of = |slot: usize| [least, most, -1, 0, 1, least, least + 1, most - 1][slot * 5 % 8];
            let words = filled(width, |slot| of(slot).cast_unsigned());
            for from in 0..=13 {
                for to in from..=13 {
                    let expected: i128 = (from..to).map(|slot| i128::from(of(slot))).sum();
                    let summed = sum_signed(words.as_slice(), 1, width, from, to);
                    assert_eq!(summed, expected, "{bits} bits, {from}..{to}");
                }
            }
        }
    }

    #[test]
    fn a_long_column_of_extremes_sums_without_overflow() {
        let slots = 300_000;
        for (bits, value) in [(16, i64::from(i16::MIN)), (16, i64::from(i16::MAX)), (32, i64::from(i32::MAX))]
        {
            let width = Width::signed(bits);
            let mut words = vec![0u64; words_of(slots, width)];
            for slot in 0..slots {
                set(words.as_mut_slice(), 0, width, slot, value.cast_unsigned());
            }
            let expected = i128::from(value) * slots as i128;
            assert_eq!(sum_signed(words.as_slice(), 0, width, 0, slots), expected, "{bits} bits of {value}");
        }
    }

    #[test]
    fn a_cell_holds_exactly_what_reads_back() {
        let edges = [0, 1, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 32];
        let words =
            edges.into_iter().flat_map(|edge: u64| [edge, edge.wrapping_neg()]).chain([i64::MIN as u64]);
        for word in words {
            let (signed, unsigned) = (word.cast_signed(), word);
            assert_eq!(Width::signed(16).holds(word), i16::try_from(signed).is_ok(), "{signed}");
            assert_eq!(Width::signed(32).holds(word), i32::try_from(signed).is_ok(), "{signed}");
            assert_eq!(Width::unsigned(16).holds(word), u16::try_from(unsigned).is_ok(), "{unsigned}");
            assert_eq!(Width::unsigned(32).holds(word), u32::try_from(unsigned).is_ok(), "{unsigned}");
            assert!(Width::signed(64).holds(word) && Width::WORD.holds(word));
        }
    }
}
