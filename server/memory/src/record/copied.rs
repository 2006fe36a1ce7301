//! A record's words outside of any store, as [`Record::image_words`](super::Record::image_words) copies them.

use super::{HASH, HEADER_WORDS, Head, POSITION, key};

/// A whole record in plain words. What its words say is not to be trusted further than [`CopiedRecord::new`] has looked.
#[derive(Clone, Copy, Debug)]
pub struct CopiedRecord<'w> {
    words: &'w [u64],
}

impl<'w> CopiedRecord<'w> {
    /// The record that `words` are; `None` where they are none: not live, being written, or too few for their key.
    pub fn new(words: &'w [u64]) -> Option<Self> {
        let head = Head::from_word(*words.first()?);
        head.is_whole_in(words.len()).then_some(Self { words })
    }

    fn head(&self) -> Head {
        Head::from_word(self.words[0])
    }

    /// The layout id that it was written with.
    pub fn layout(&self) -> u32 {
        self.head().layout()
    }

    /// The position that was last set.
    pub fn position(&self) -> u64 {
        self.words[POSITION]
    }

    /// The hash of its key.
    pub fn hash(&self) -> u64 {
        self.words[HASH]
    }

    /// The number of its stream.
    pub fn stream(&self) -> u32 {
        key::stream_of(self.words[HEADER_WORDS])
    }

    /// Puts the name of its entity into `entity`, in place of what was there.
    pub fn copy_entity(&self, entity: &mut Vec<u8>) {
        key::copy_entity(self.head().entity_bytes(), |index| self.words[HEADER_WORDS + index], entity);
    }

    /// The words of its body: as many as its slot has.
    pub fn body(&self) -> &'w [u64] {
        &self.words[self.head().body_start()..]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{super::Key, CopiedRecord};
    use crate::{Domain, STORE_BYTES_MIN, Store};

    #[test]
    fn a_copy_says_what_the_record_said() {
        let (domain, _) = Domain::with_participants(0);
        let mut store = Store::new(STORE_BYTES_MIN, &domain).unwrap();
        let key = Key { hash: 77, stream: 5, entity: b"some entity" };
        let place = store
            .insert(&key, 9, 3, |edit| {
                edit.set(2, 42);
                edit.set_position(11);
            })
            .unwrap();
        let mut words = Vec::new();
        store.record(place).image_words(&mut words);
        let copied = CopiedRecord::new(&words).unwrap();
        let mut entity = Vec::new();
        copied.copy_entity(&mut entity);
        assert_eq!(entity, key.entity);
        assert_eq!((copied.layout(), copied.position(), copied.hash(), copied.stream()), (9, 11, 77, 5));
        assert_eq!(copied.body()[..3], [0, 0, 42]);
        assert_eq!(copied.body().len(), store.record(place).body_words());
    }

    #[test]
    fn words_that_are_no_record_are_none() {
        assert!(CopiedRecord::new(&[]).is_none());
        assert!(CopiedRecord::new(&[0; 8]).is_none(), "a slot without a record");
        // Live, with an entity of 100 bytes, in four words.
        assert!(CopiedRecord::new(&[100 << 2 | 1, 0, 0, 0]).is_none());
        assert!(CopiedRecord::new(&[1, 0, 0, 0]).is_none(), "an entity of no bytes");
        assert!(CopiedRecord::new(&[3 << 2 | 1 | 1 << 33, 0, 0, 0, 0]).is_none(), "being written");
    }
}
