//! The hash that values are counted by: 64 bits, the same on every machine and after every restart, since sketches are stored.
//!
//! A word goes through the 64-bit finalizer of MurmurHash3 (Appleby, 2011: two multiplications, three shifts, each input bit
//! changes each output bit with probability near one half, and no two words collide). Bytes are taken eight at a time, each
//! step the finalizer over what came before and the next eight; the length goes in first. It is not keyed: who chooses values
//! with care can make a stream's own counts of them wrong, and nothing else.

use super::stored::Stored;

const SEED: u64 = 0x57_69_6e_64_72_6f_77_31;

/// The finalizer: a bijection of 64-bit words.
#[inline]
pub(super) fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

/// The hash of a value's words; the first word of a STRING has its length.
#[inline]
pub(super) fn of_words(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(SEED, |hash, word| mix(hash ^ word))
}

/// The hash of a value.
#[inline]
pub(super) fn of(value: &Stored<'_>) -> u64 {
    of_words((0..value.words()).map(|index| value.word(index)))
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::definition::FieldType;
    use crate::sketch::SketchValue;
    use crate::sketch::stored::Stored;

    fn hash(field: FieldType, word: u64, bytes: Option<&[u8]>) -> u64 {
        of(&Stored::new(field, &SketchValue { word, bytes, at_ms: 0 }))
    }

    #[test]
    fn the_hash_of_a_value_never_changes() {
        // What is stored was counted by these: another hash would count every value twice.
        assert_eq!(hash(FieldType::Int, 0, None), 0xad89_001d_4634_73a6);
        assert_eq!(hash(FieldType::Int, 1, None), 0x9382_5ff5_11ff_24f1);
        assert_eq!(hash(FieldType::String, 0, Some(b"")), 0xad89_001d_4634_73a6);
        assert_eq!(hash(FieldType::String, 0, Some(b"a value of some length")), 0x2776_735b_0b47_6546);
    }

    #[test]
    fn both_zeros_are_one_value() {
        assert_eq!(
            hash(FieldType::Float, 0f64.to_bits(), None),
            hash(FieldType::Float, (-0f64).to_bits(), None)
        );
    }
}
