//! What a record is found by.

use crate::{
    handle::WORD_BYTES,
    planted::{Mistake, order},
    sync::{AtomicU64, Ordering},
};

/// The longest name of an entity.
pub const ENTITY_BYTES_MAX: usize = 1024;

/// Bytes of the stream number before the entity.
const STREAM_BYTES: usize = 4;

/// One entity of one stream. What a stream number means is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Hash of stream and entity, keyed by a secret so that clients cannot choose collisions. The same for the same pair,
    /// always; all 64 bits should be well mixed.
    pub hash: u64,
    /// Number of the stream.
    pub stream: u32,
    /// Name of the entity: 1 to [`ENTITY_BYTES_MAX`] bytes.
    pub entity: &'a [u8],
}

impl Key<'_> {
    /// Words of a record of this key with a body of `body_words`.
    pub fn record_words(&self, body_words: usize) -> usize {
        super::HEADER_WORDS + self.words() + body_words
    }

    pub(super) fn words(&self) -> usize {
        words_of(self.entity.len())
    }

    /// The `index`-th word of the key as it lies in a record.
    #[inline]
    pub(super) fn word(&self, index: usize) -> u64 {
        if index == 0 {
            let start = match self.entity.first_chunk::<{ WORD_BYTES - STREAM_BYTES }>() {
                Some(start) => u64::from(u32::from_le_bytes(*start)),
                None => little_endian(self.entity),
            };
            return u64::from(self.stream) | start << (8 * STREAM_BYTES);
        }
        let from = index * WORD_BYTES - STREAM_BYTES;
        let rest = &self.entity[from..];
        match (rest.first_chunk::<WORD_BYTES>(), self.entity.last_chunk::<WORD_BYTES>()) {
            (Some(whole), _) => u64::from_le_bytes(*whole),
            // The end of a name of a word or more, without a copy of so many bytes as it happens to have.
            (None, Some(last)) if !rest.is_empty() => {
                u64::from_le_bytes(*last) >> (8 * (WORD_BYTES - rest.len()))
            }
            (None, _) => little_endian(rest),
        }
    }

    /// Whether `words`, the key words of a record whose entity is as long as this one's, hold this key. Reads every word
    /// with acquire, as a reader must.
    #[inline]
    pub(super) fn is_in(&self, words: &[AtomicU64]) -> bool {
        let load = |word: &AtomicU64| word.load(order(Mistake::RecordWordNotAcquired, Ordering::Acquire));
        let Some((first, rest)) = words.split_first() else { return false };
        if load(first) != self.word(0) {
            return false;
        }
        // What is behind the first word, as whole words, and the end of the name.
        let behind = self.entity.get(WORD_BYTES - STREAM_BYTES..).unwrap_or_default();
        let (whole, end) = behind.as_chunks::<WORD_BYTES>();
        let Some((same, last)) = rest.split_at_checked(whole.len()) else { return false };
        let is_same = same.iter().zip(whole).all(|(word, own)| load(word) == u64::from_le_bytes(*own));
        is_same
            && match last {
                [] => end.is_empty(),
                [last] => !end.is_empty() && load(last) == self.word(words.len() - 1),
                _ => false,
            }
    }
}

/// Words of a key whose entity has this length.
#[inline]
pub(super) fn words_of(entity_bytes: usize) -> usize {
    (STREAM_BYTES + entity_bytes).div_ceil(WORD_BYTES)
}

/// The stream number in a key's first word.
pub(super) fn stream_of(first_word: u64) -> u32 {
    first_word as u32
}

/// Puts the entity's bytes out of key words into `entity`; `word` reads the `index`-th.
pub(super) fn copy_entity(entity_bytes: usize, word: impl Fn(usize) -> u64, entity: &mut Vec<u8>) {
    entity.clear();
    for index in 0..words_of(entity_bytes) {
        let skip = if index == 0 { STREAM_BYTES } else { 0 };
        entity.extend_from_slice(&word(index).to_le_bytes()[skip..]);
    }
    entity.truncate(entity_bytes);
}

/// Up to eight bytes, zeros behind them.
fn little_endian(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD_BYTES];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Key, copy_entity, stream_of};
    use crate::sync::AtomicU64;

    fn words(key: &Key<'_>) -> Vec<u64> {
        (0..key.words()).map(|index| key.word(index)).collect()
    }

    #[test]
    fn key_of_every_length_comes_back_from_its_words() {
        let bytes: Vec<u8> = (0..40).map(|byte| byte ^ 0xa5).collect();
        let mut entity = Vec::new();
        for len in 1..=bytes.len() {
            let key = Key { hash: 0, stream: 0x0102_0304, entity: &bytes[..len] };
            let words = words(&key);
            assert_eq!(words.len(), (4 + len).div_ceil(8));
            assert_eq!(stream_of(words[0]), key.stream);
            copy_entity(len, |index| words[index], &mut entity);
            assert_eq!(entity, key.entity);
        }
    }

    #[test]
    fn key_is_found_in_its_own_words_only() {
        let key = Key { hash: 0, stream: 9, entity: b"user:4217xyz" };
        let stored: Vec<AtomicU64> = words(&key).into_iter().map(AtomicU64::new).collect();
        assert!(key.is_in(&stored));
        assert!(!Key { stream: 8, ..key }.is_in(&stored));
        assert!(!Key { entity: b"user:4217xyZ", ..key }.is_in(&stored));
        assert!(!Key { entity: b"User:4217xyz", ..key }.is_in(&stored));
    }

    #[test]
    fn key_of_every_length_with_any_byte_changed_is_another_one() {
        let bytes: Vec<u8> = (0..40).map(|byte| byte ^ 0xa5).collect();
        for len in 1..=bytes.len() {
            let key = Key { hash: 0, stream: 0x0102_0304, entity: &bytes[..len] };
            let stored: Vec<AtomicU64> = words(&key).into_iter().map(AtomicU64::new).collect();
            assert!(key.is_in(&stored), "{len} bytes");
            for at in 0..len {
                let mut other = bytes[..len].to_vec();
                other[at] ^= 0x10;
                assert!(!Key { entity: &other, ..key }.is_in(&stored), "byte {at} of {len}");
            }
        }
    }
}
