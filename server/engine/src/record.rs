//! The room that records live in: one record for each (layout, entity).
//!
//! Records are words. This room is a slab with a hash table of places beside it; what is above it sees only [`Room`].

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::catalogue::LayoutId;

/// One entity's record of one stream.
#[derive(Debug)]
pub struct Record {
    hash: u64,
    /// The layout that its words have.
    pub layout: LayoutId,
    /// Whose it is.
    pub entity: Box<[u8]>,
    /// The body.
    pub words: Box<[u64]>,
}

/// The place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// All records of a shard.
#[derive(Debug)]
pub struct Room {
    key: [u64; 2],
    table: HashTable<u32>,
    slab: Vec<Option<Record>>,
    free: Vec<u32>,
    payload_bytes: usize,
}

/// What a slab's place and its part of the hash table take: a hash table is at most 7/8 full, of 4-byte places and a byte each.
const PLACE_BYTES: usize = size_of::<Option<Record>>() + 8;

impl Room {
    /// An empty room whose hash is keyed by a secret, so that nobody can choose entities that collide.
    pub fn new(key: [u64; 2]) -> Self {
        Self { key, table: HashTable::new(), slab: Vec::new(), free: Vec::new(), payload_bytes: 0 }
    }

    fn hash(&self, layout: LayoutId, entity: &[u8]) -> u64 {
        // SipHash-1-3, as Rust's own maps: keyed, fast on short keys.
        SipHasher13::new_with_keys(self.key[0], self.key[1] ^ u64::from(layout.0)).hash(entity)
    }

    /// Where the record is.
    pub fn find(&self, layout: LayoutId, entity: &[u8]) -> Option<Place> {
        let found = self.table.find(self.hash(layout, entity), |&place| {
            let record = self.slab[place as usize].as_ref().expect("the table holds live places");
            record.layout == layout && *record.entity == *entity
        });
        found.copied().map(Place)
    }

    /// The record at a place.
    pub fn record(&self, place: Place) -> &Record {
        self.slab[place.0 as usize].as_ref().expect("a place is live until its record is removed")
    }

    /// The words of a record.
    pub fn words_mut(&mut self, place: Place) -> &mut [u64] {
        &mut self.slab[place.0 as usize].as_mut().expect("a place is live until its record is removed").words
    }

    /// Gives a record other words.
    pub fn replace_words(&mut self, place: Place, words: Box<[u64]>) {
        let record =
            self.slab[place.0 as usize].as_mut().expect("a place is live until its record is removed");
        self.payload_bytes = self.payload_bytes - 8 * record.words.len() + 8 * words.len();
        record.words = words;
    }

    /// Adds a record that is not there yet.
    pub fn insert(&mut self, layout: LayoutId, entity: &[u8], words: Box<[u64]>) -> Place {
        debug_assert!(self.find(layout, entity).is_none());
        let hash = self.hash(layout, entity);
        self.payload_bytes += Self::payload_bytes_of(entity.len(), words.len());
        let record = Some(Record { hash, layout, entity: entity.into(), words });
        let place = match self.free.pop() {
            Some(place) => {
                self.slab[place as usize] = record;
                place
            }
            None => {
                self.slab.push(record);
                u32::try_from(self.slab.len() - 1).expect("a shard has fewer than 2^32 records")
            }
        };
        let slab = &self.slab;
        self.table.insert_unique(hash, place, |&place| {
            slab[place as usize].as_ref().expect("the table holds live places").hash
        });
        Place(place)
    }

    /// Removes a record.
    pub fn remove(&mut self, place: Place) -> Record {
        let record = self.slab[place.0 as usize].take().expect("a place is live until its record is removed");
        self.table
            .find_entry(record.hash, |&other| other == place.0)
            .expect("a live place is in the table")
            .remove();
        self.free.push(place.0);
        self.payload_bytes -= Self::payload_bytes_of(record.entity.len(), record.words.len());
        record
    }

    /// Places in the slab, live or not: the range that [`Room::at`] walks.
    pub fn places(&self) -> usize {
        self.slab.len()
    }

    /// The live record at an index of the slab.
    pub fn at(&self, index: usize) -> Option<Place> {
        self.slab.get(index)?.as_ref().map(|_| Place(index as u32))
    }

    /// Bytes of the records and what finds them.
    pub fn memory_bytes(&self) -> usize {
        self.payload_bytes + self.slab.capacity() * PLACE_BYTES + self.free.capacity() * size_of::<u32>()
    }

    /// Bytes that a record takes beside its place: entity, words, and what the allocator adds to each.
    pub fn payload_bytes_of(entity_bytes: usize, words: usize) -> usize {
        const ALLOCATION_BYTES: usize = 8;
        entity_bytes + 8 * words + 2 * ALLOCATION_BYTES
    }
}
