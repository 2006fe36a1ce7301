//! Records: one entity of one stream, in words that one thread writes while any number read.
//!
//! ```text
//!   word 0    sequence (31 bits) | layout id (20) | entity length (11) | state (2)
//!   word 1    applied position: the caller's
//!   word 2    hash of (stream, entity)
//!   word 3..  stream number (32 bits), entity bytes, zero padding
//!   then      body: the caller's
//! ```
//!
//! A sequence lock, in which every word is an atomic, so that no read is a data race:
//!
//! ```text
//!   writer                        reader
//!     word 0: odd     relaxed       word 0           acquire   odd: retry
//!     words           release       words            acquire
//!     word 0: even    release       word 0 again     relaxed   differs: retry
//! ```
//!
//! A reader that got any word of a write has acquired the odd sequence before it, so its second look differs. One that got
//! the even sequence after a write has acquired every word of it. On x86-64 all of these are plain moves.
//!
//! A slot keeps counting when another record moves in, so that no reader mistakes the one for the other.

mod copied;
mod key;
mod view;
mod write;

pub use copied::CopiedRecord;
pub use key::{ENTITY_BYTES_MAX, Key};
pub(crate) use view::{Attempt, attempt, is_at_rest};
pub use view::{Block, Record};
pub use write::Edit;
pub(crate) use write::{Origin, mark_free, start};

/// The largest layout id.
pub const LAYOUT_MAX: u32 = (1 << LAYOUT_BITS) - 1;

/// Words before the key.
pub(crate) const HEADER_WORDS: usize = 3;

/// The word of the applied position.
const POSITION: usize = 1;

/// The word of the hash.
const HASH: usize = 2;

const STATE_BITS: u32 = 2;
const LENGTH_BITS: u32 = 11;
const LAYOUT_BITS: u32 = 20;
const SEQUENCE_SHIFT: u32 = STATE_BITS + LENGTH_BITS + LAYOUT_BITS;

/// State of a slot without a record: that of a slot never used, too.
const FREE: u64 = 0;
/// State of a slot with a record.
const LIVE: u64 = 1;

/// Word 0 of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head(u64);

impl Head {
    #[inline]
    pub(crate) fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline]
    pub(crate) fn is_being_written(self) -> bool {
        self.0 & (1 << SEQUENCE_SHIFT) != 0
    }

    #[inline]
    pub(crate) fn is_live(self) -> bool {
        self.0 & ((1 << STATE_BITS) - 1) == LIVE
    }

    #[inline]
    pub(crate) fn layout(self) -> u32 {
        (self.0 >> (STATE_BITS + LENGTH_BITS)) as u32 & LAYOUT_MAX
    }

    #[inline]
    pub(crate) fn entity_bytes(self) -> usize {
        (self.0 >> STATE_BITS) as usize & ((1 << LENGTH_BITS) - 1)
    }

    /// Words before the body.
    #[inline]
    pub(crate) fn body_start(self) -> usize {
        HEADER_WORDS + key::words_of(self.entity_bytes())
    }

    /// The next sequence: odd after even, even after odd; wraps.
    #[inline]
    fn next(self) -> Self {
        Self(self.0.wrapping_add(1 << SEQUENCE_SHIFT))
    }

    /// The same, with an even sequence.
    fn at_rest(self) -> Self {
        Self(self.0 & !(1 << SEQUENCE_SHIFT))
    }

    /// Whether this is the head of a record that nobody writes, in a slot of so many words.
    fn is_whole_in(self, words: usize) -> bool {
        self.is_live()
            && !self.is_being_written()
            && self.body_start() <= words
            && (1..=ENTITY_BYTES_MAX).contains(&self.entity_bytes())
    }

    /// The head of a live record at the start of its count: as an image holds it.
    fn of_image(self) -> Self {
        Self(0).describing(LIVE, self.entity_bytes(), self.layout())
    }

    /// This sequence over another description.
    fn describing(self, state: u64, entity_bytes: usize, layout: u32) -> Self {
        debug_assert!(entity_bytes <= ENTITY_BYTES_MAX && layout <= LAYOUT_MAX);
        let sequence = self.0 >> SEQUENCE_SHIFT << SEQUENCE_SHIFT;
        Self(
            sequence
                | u64::from(layout) << (STATE_BITS + LENGTH_BITS)
                | (entity_bytes as u64) << STATE_BITS
                | state,
        )
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{ENTITY_BYTES_MAX, FREE, Head, LAYOUT_MAX, LIVE};

    #[test]
    fn head_gives_back_what_it_describes() {
        for (entity_bytes, layout) in [(1, 0), (12, 7), (ENTITY_BYTES_MAX, LAYOUT_MAX)] {
            let head = Head::from_word(0).next().next().describing(LIVE, entity_bytes, layout);
            assert!(head.is_live() && !head.is_being_written());
            assert_eq!((head.entity_bytes(), head.layout()), (entity_bytes, layout));
            assert!(head.next().is_being_written());
            assert!(!head.describing(FREE, entity_bytes, layout).is_live());
        }
    }

    #[test]
    fn memory_that_was_never_used_is_free() {
        assert!(!Head::from_word(0).is_live() && !Head::from_word(0).is_being_written());
    }

    #[test]
    fn sequence_wraps_without_touching_the_description() {
        let head = Head::from_word(u64::MAX).describing(LIVE, 12, 3);
        let next = head.next();
        assert!(head.is_being_written() && !next.is_being_written() && next.is_live());
        assert_eq!((next.entity_bytes(), next.layout()), (12, 3));
    }
}
