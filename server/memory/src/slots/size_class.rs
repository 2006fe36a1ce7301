//! Sizes of slots.
//!
//! From 64 bytes in steps of a granule to 256, then eight steps a doubling, up to a whole chunk: at most an eighth of a slot is
//! waste. Above 16 KiB sizes are stretched to what a chunk divides into as often, so that the room behind the last slot
//! is used too; above a quarter of a chunk only halves and wholes are left.

use crate::handle::{CHUNK_GRANULES, CHUNK_GRANULES_LOG2, GRANULE_WORDS};

/// The smallest slot: 64 bytes.
const GRANULES_MIN: usize = 4;

/// Up to here every number of granules is a size.
const FINE_GRANULES: usize = 16;

/// Steps a doubling above [`FINE_GRANULES`], as a power of two.
const STEPS_LOG2: u32 = 3;

/// From here on sizes are stretched to divide the chunk: 16 KiB.
const STRETCHED_GRANULES: usize = 1024;

/// How many classes there are.
pub(crate) const CLASSES: usize = class_of(CHUNK_GRANULES) + 1;

/// A size of slots: the number of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeClass(u8);

impl SizeClass {
    /// The smallest class that holds `words`, or `None` where a chunk does not.
    pub(crate) fn for_words(words: usize) -> Option<Self> {
        let granules = words.div_ceil(GRANULE_WORDS).max(GRANULES_MIN);
        (granules <= CHUNK_GRANULES).then(|| Self(class_of(granules) as u8))
    }

    /// A class whose slots have just this size, or `None` where there is none. Not what a request for as many words would get: a
    /// stretched slot is larger than what its class is for.
    pub(crate) fn of_granules(granules: usize) -> Option<Self> {
        (0..CLASSES).map(|class| Self(class as u8)).find(|class| class.granules() == granules)
    }

    /// The size of its slots.
    pub(crate) fn granules(self) -> usize {
        let step = granules_of(self.0 as usize);
        if step < STRETCHED_GRANULES {
            return step;
        }
        // As many slots as fit, each as large as can be while it stays on a cache line.
        let slots = CHUNK_GRANULES / step;
        CHUNK_GRANULES / slots / GRANULES_MIN * GRANULES_MIN
    }

    /// How many slots a chunk is cut into.
    pub(crate) fn slots(self) -> usize {
        CHUNK_GRANULES / self.granules()
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of the smallest step that is not below `granules`.
const fn class_of(granules: usize) -> usize {
    if granules <= FINE_GRANULES {
        return granules - GRANULES_MIN;
    }
    // `granules` lies in (2^octave, 2^(octave + 1)].
    let octave = (granules - 1).ilog2();
    let step = 1 << (octave - STEPS_LOG2);
    let steps = (granules - (1 << octave)).div_ceil(step);
    let octaves_before = (octave - FINE_GRANULES.ilog2()) as usize;
    FINE_GRANULES - GRANULES_MIN + (octaves_before << STEPS_LOG2) + steps
}

/// The inverse of [`class_of`].
const fn granules_of(class: usize) -> usize {
    let fine = FINE_GRANULES - GRANULES_MIN;
    if class <= fine {
        return class + GRANULES_MIN;
    }
    let above = class - fine - 1;
    let octave = FINE_GRANULES.ilog2() as usize + (above >> STEPS_LOG2);
    let steps = (above & ((1 << STEPS_LOG2) - 1)) + 1;
    (1 << octave) + (steps << (octave - STEPS_LOG2 as usize))
}

const _: () = assert!(CLASSES <= u8::MAX as usize && CHUNK_GRANULES_LOG2 >= FINE_GRANULES.ilog2());

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{CLASSES, SizeClass};
    use crate::handle::{CHUNK_BYTES, CHUNK_WORDS, GRANULE_BYTES, WORD_BYTES};
    use std::collections::HashSet;

    fn slot_bytes(words: usize) -> usize {
        SizeClass::for_words(words).unwrap().granules() * GRANULE_BYTES
    }

    #[test]
    fn slot_holds_what_was_asked_for_and_wastes_at_most_an_eighth_up_to_16_kib() {
        for words in 8..=2048 {
            let (asked, given) = (words * WORD_BYTES, slot_bytes(words));
            assert!(given >= asked, "{asked} bytes do not fit {given}");
            assert!((given - asked) * 8 <= given, "{asked} bytes waste too much of {given}");
        }
    }

    #[test]
    fn smallest_slot_has_64_bytes_and_largest_a_whole_chunk() {
        assert_eq!(slot_bytes(0), 64);
        assert_eq!(slot_bytes(CHUNK_WORDS), CHUNK_BYTES);
        assert_eq!(SizeClass::for_words(CHUNK_WORDS + 1), None);
    }

    #[test]
    fn every_class_is_known_by_the_size_of_its_slots_and_no_other_size_is() {
        let mut sizes = HashSet::new();
        for words in 0..=CHUNK_WORDS {
            let granules = SizeClass::for_words(words).unwrap().granules();
            assert_eq!(SizeClass::of_granules(granules).map(SizeClass::granules), Some(granules));
            sizes.insert(granules);
        }
        for granules in (0..=CHUNK_WORDS).chain([usize::MAX]) {
            assert_eq!(SizeClass::of_granules(granules).is_some(), sizes.contains(&granules), "{granules}");
        }
    }

    #[test]
    fn slots_of_every_size_fit_their_chunk() {
        for words in (1..=CHUNK_WORDS).step_by(7) {
            let class = SizeClass::for_words(words).unwrap();
            let bytes = class.granules() * GRANULE_BYTES;
            assert!(bytes >= words * WORD_BYTES, "{words} words in {bytes} bytes");
            assert!(class.slots() * bytes <= CHUNK_BYTES && class.slots() >= 1);
            assert!(class.index() < CLASSES);
        }
    }

    #[test]
    fn larger_requests_get_larger_classes() {
        let mut last = SizeClass::for_words(1).unwrap();
        for words in 1..=CHUNK_WORDS {
            let class = SizeClass::for_words(words).unwrap();
            assert!(class.index() == last.index() || class.index() == last.index() + 1, "at {words} words");
            assert!(class.granules() >= last.granules());
            last = class;
        }
        assert_eq!(last.index(), CLASSES - 1);
    }

    #[test]
    fn chunk_of_large_slots_has_little_room_behind_the_last() {
        for words in (2049..=CHUNK_WORDS).step_by(97) {
            let class = SizeClass::for_words(words).unwrap();
            let used = class.slots() * class.granules() * GRANULE_BYTES;
            assert!(
                CHUNK_BYTES - used < CHUNK_BYTES / 64,
                "{words} words leave {} bytes",
                CHUNK_BYTES - used
            );
        }
    }
}
