//! A record of the shard's memory as the words that `window` works over, and the hash that finds it.

use std::ops::Range;

use siphasher::sip::SipHasher13;
use windrow_memory::{Edit, Key, Record};
use windrow_window::words::LANES;
use windrow_window::{Words, WordsMut};

use crate::catalogue::StreamId;

/// The secret that keys the hash of entities, so that nobody can choose entities that collide.
#[derive(Clone, Copy, Debug)]
pub struct HashKey(pub [u64; 2]);

impl HashKey {
    /// The hash of an entity's record.
    #[inline]
    pub fn hash(&self, stream: StreamId, entity: &[u8]) -> u64 {
        self.key(stream, entity).hash
    }

    /// What a record is found by. The hash is SipHash-1-3 (Aumasson and Bernstein, 2012), as of Rust's own maps: keyed, and fast
    /// on short keys.
    #[inline]
    pub fn key<'a>(&self, stream: StreamId, entity: &'a [u8]) -> Key<'a> {
        let hash = SipHasher13::new_with_keys(self.0[0], self.0[1] ^ u64::from(stream.0)).hash(entity);
        Key { hash, stream: stream.0, entity }
    }
}

/// The body of a record, to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a>(pub Record<'a>);

impl Words for Body<'_> {
    #[inline]
    fn get(&self, index: usize) -> u64 {
        if index < self.0.body_words() { self.0.get(index) } else { 0 }
    }

    #[inline]
    fn fold<B>(&self, range: Range<usize>, initial: B, fold: impl FnMut(B, u64) -> B) -> B {
        self.0.fold(range, initial, fold)
    }

    #[inline]
    fn fold_lanes<B: Copy>(
        &self,
        range: Range<usize>,
        initial: [B; LANES],
        fold: impl FnMut(B, u64) -> B,
    ) -> [B; LANES] {
        self.0.fold_lanes(range, initial, fold)
    }

    #[inline]
    fn prefetch(&self, index: usize) {
        self.0.prefetch(index);
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.body_words()
    }
}

/// The body of a record, to be written by its owner.
#[derive(Debug)]
pub(crate) struct BodyMut<'a, 'r>(pub &'a mut Edit<'r>);

impl Words for BodyMut<'_, '_> {
    #[inline]
    fn get(&self, index: usize) -> u64 {
        self.0.get(index)
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.body_words()
    }
}

impl WordsMut for BodyMut<'_, '_> {
    #[inline]
    fn set(&mut self, index: usize, word: u64) {
        self.0.set(index, word);
    }
}
