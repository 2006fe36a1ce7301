//! Parsed reads, by the bytes that ask them: a model asks for the same features of the same stream all day.
//!
//! The key is the command's text from the stream's name on, as it came over the wire, lengths included, so that equal
//! bytes are equal arguments; a WINDOW.JOIN makes one of its parts. Direct-mapped: a collision only costs parsing again.

use std::rc::Rc;
use std::sync::Arc;

use windrow_engine::Stream;
use windrow_window::Query;
use windrow_window::lookahead::Lookahead;

use super::peers::lines_of_a_read;
use crate::route::ReadWhat;

/// Places of the cache.
const PLACES: usize = 1024;
/// Longer texts are parsed every time.
const KEY_BYTES_MAX: usize = 4096;

/// A parsed read.
#[derive(Debug)]
pub(crate) struct PreparedRead {
    pub(crate) stream: Arc<Stream>,
    pub(crate) what: ReadWhat,
    /// Cache lines of a record that it may touch, the first of them.
    pub(super) lines: usize,
    /// What it wants beyond them.
    pub(super) ahead: Lookahead,
}

impl PreparedRead {
    pub(crate) fn new(stream: Arc<Stream>, what: ReadWhat) -> Self {
        let lines = lines_of_a_read(&stream);
        let ahead = match &what {
            ReadWhat::Row(query) => Lookahead::of_references(&stream.layout, &query.features),
            ReadWhat::Pairs { .. } | ReadWhat::Entity => Lookahead::default(),
        };
        PreparedRead { stream, what, lines, ahead }
    }
}

/// The parsed reads of one shard.
pub(crate) struct ReadCache {
    places: Vec<Place>,
}

/// Room for one text and what it asks.
type Place = Option<(Box<[u8]>, Rc<PreparedRead>)>;

impl ReadCache {
    pub(crate) fn new() -> Self {
        ReadCache { places: (0..PLACES).map(|_| None).collect() }
    }

    /// The read that `key` asks, if it was asked before.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Rc<PreparedRead>> {
        match &self.places[place(key)] {
            Some((known, read)) if **known == *key => Some(read),
            _ => None,
        }
    }

    /// Makes a parsed read of a query, and keeps it where it will be asked again.
    pub(crate) fn keep(&mut self, key: Option<&[u8]>, stream: Arc<Stream>, query: Query) -> Rc<PreparedRead> {
        let is_timeless = query.is_timeless();
        let read = Rc::new(PreparedRead::new(stream, ReadWhat::Row(Arc::new(query))));
        // A read AT a time is asked once; it would only push others out.
        if let (true, Some(key)) = (is_timeless, key) {
            self.put(key, &read);
        }
        read
    }

    fn put(&mut self, key: &[u8], read: &Rc<PreparedRead>) {
        if key.len() <= KEY_BYTES_MAX {
            self.places[place(key)] = Some((key.into(), Rc::clone(read)));
        }
    }

    /// Forgets everything: the catalogue has changed.
    pub(crate) fn clear(&mut self) {
        self.places.fill_with(|| None);
    }
}

/// A multiplicative hash over words (Fibonacci hashing); speed matters, and an enemy can only make us parse.
#[inline]
fn place(key: &[u8]) -> usize {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = key.len() as u64;
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(GOLDEN);
    }
    for &byte in rest {
        hash = (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(GOLDEN);
    }
    (hash >> 54) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_place() {
        for len in 0..100 {
            assert!(place(&vec![0xff; len]) < PLACES);
        }
    }
}
