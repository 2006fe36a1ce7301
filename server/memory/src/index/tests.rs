//! The index by itself: handles stand for records that are not there.

use super::{CHAIN_MAX, DEPTH_MAX, Found, IndexWriter, Pointer, Probe, segment::SEGMENT_WORDS};
use crate::{
    handle::{CHUNK_BYTES, HANDLE_BITS, Handle},
    reclaim::{Domain, Reclaimer},
    region::Region,
    slots::{ChunkPool, Slots},
    sync::{AtomicU64, Ordering},
};
use std::{collections::HashMap, ops::ControlFlow};

struct Index {
    slots: Slots,
    reclaimer: Reclaimer,
    root: AtomicU64,
    writer: IndexWriter,
}

impl Index {
    fn of_chunks(chunks: usize) -> Self {
        let mut slots = Slots::new(ChunkPool::new(Region::reserve(1 + chunks).unwrap()));
        let root = AtomicU64::new(0);
        let writer = IndexWriter::create(&mut slots, &root, 0).unwrap();
        let reclaimer = Reclaimer::new(Domain::with_participants(0).0);
        Self { slots, reclaimer, root, writer }
    }

    fn insert(&mut self, hash: u64, handle: Handle) -> Result<(), crate::MemoryError> {
        let inserted = self.writer.insert(&mut self.slots, &mut self.reclaimer, &self.root, hash, handle);
        let slots = &mut self.slots;
        self.reclaimer.collect(100, |handle| slots.free(handle));
        inserted
    }

    fn find(&self, hash: u64) -> Vec<Handle> {
        let mut found = Vec::new();
        let probe = Probe::start(self.slots.region(), &self.root, hash);
        let outcome = probe.find(hash, |entry| {
            found.push(entry.handle());
            ControlFlow::<()>::Continue(())
        });
        assert!(matches!(outcome, Found::Nowhere), "nothing moves, so every miss is proved");
        found
    }

    fn depth(&self) -> u32 {
        Pointer::from_word(self.root.load(Ordering::Relaxed)).depth()
    }
}

fn mix(seed: u64) -> u64 {
    let mut hash = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn handle(number: u64) -> Handle {
    Handle::from_word(number + 1).unwrap()
}

#[test]
fn every_entry_is_found_through_all_splits() {
    const ENTRIES: u64 = 300_000;
    let mut index = Index::of_chunks(8);
    for number in 0..ENTRIES {
        index.insert(mix(number), handle(number)).unwrap();
    }
    for number in 0..ENTRIES {
        assert!(index.find(mix(number)).contains(&handle(number)), "entry {number}");
    }
    assert_eq!(index.writer.len(), ENTRIES as usize);
    for number in ENTRIES..2 * ENTRIES {
        // Another's tag may be the same by chance, one time in some thousands; a wrong handle may not.
        assert!(index.find(mix(number)).iter().all(|found| found.to_word() <= ENTRIES));
    }
}

#[test]
fn segments_are_filled_before_they_split() {
    let mut index = Index::of_chunks(1);
    let mut entries = 0;
    while index.writer.segments() == 1 {
        index.insert(mix(entries), handle(entries)).unwrap();
        entries += 1;
    }
    assert!(entries as usize > SEGMENT_WORDS * 85 / 100, "split at {entries} of {SEGMENT_WORDS} words");
}

#[test]
fn directory_doubles_and_the_old_one_is_reclaimed() {
    // All hashes begin with the same 12 bits, so the first segment soon is deeper than the first directory.
    let mut index = Index::of_chunks(4);
    let start = index.depth();
    for number in 0..5_000 {
        index.insert(0xabc << 52 | mix(number) >> 12, handle(number)).unwrap();
    }
    assert!(index.depth() > start);
    assert_eq!(index.reclaimer.len(), 0);
    for number in 0..5_000 {
        assert!(index.find(0xabc << 52 | mix(number) >> 12).contains(&handle(number)));
    }
}

#[test]
fn entries_overflow_into_a_chain_when_the_directory_may_not_grow() {
    // More hashes with one 17-bit prefix than a segment holds.
    let hash = |number| 0x1_5555 << (64 - DEPTH_MAX) | mix(number) >> DEPTH_MAX;
    let mut index = Index::of_chunks(8);
    for number in 0..8_000 {
        index.insert(hash(number), handle(number)).unwrap();
    }
    assert_eq!(index.depth(), DEPTH_MAX);
    for number in 0..8_000 {
        assert!(index.find(hash(number)).contains(&handle(number)), "entry {number}");
    }
    for number in (0..8_000).step_by(3) {
        index.writer.remove(index.slots.region(), &index.root, hash(number), handle(number));
        assert!(!index.find(hash(number)).contains(&handle(number)));
    }
}

#[test]
#[should_panic(expected = "the hash is not mixed")]
fn chain_without_end_is_noticed() {
    let mut index = Index::of_chunks(16);
    for number in 0..SEGMENT_WORDS as u64 * CHAIN_MAX as u64 {
        let _out_of_memory = index.insert(0, handle(number));
    }
}

#[test]
fn full_memory_is_an_error_and_leaves_the_index_as_it_was() {
    let mut index = Index::of_chunks(1);
    let mut entries = 0;
    let error = loop {
        match index.insert(mix(entries), handle(entries)) {
            Ok(()) => entries += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_out_of_memory(), "{error}");
    assert!(entries as usize * 8 > CHUNK_BYTES / 4, "only {entries} entries in a chunk");
    assert_eq!(index.writer.len(), entries as usize);
    for number in 0..entries {
        assert!(index.find(mix(number)).contains(&handle(number)));
    }
    assert!(!index.find(mix(entries)).contains(&handle(entries)));
}

#[test]
fn index_agrees_with_a_map_over_a_long_random_walk() {
    let mut index = Index::of_chunks(8);
    let mut map: HashMap<u64, Handle> = HashMap::new();
    for step in 0..200_000u64 {
        let random = mix(step ^ 0x5eed);
        let hash = mix(random % 40_000);
        match (map.get(&hash).copied(), random >> 60) {
            (None, _) => {
                let new = handle(step);
                index.insert(hash, new).unwrap();
                map.insert(hash, new);
            }
            (Some(old), 0..6) => {
                index.writer.remove(index.slots.region(), &index.root, hash, old);
                map.remove(&hash);
            }
            (Some(old), _) => {
                let new = handle(step);
                index.writer.replace(index.slots.region(), &index.root, hash, old, new);
                map.insert(hash, new);
            }
        }
    }
    assert_eq!(index.writer.len(), map.len());
    for entity in 0..40_000 {
        let hash = mix(entity);
        let found = index.find(hash);
        match map.get(&hash) {
            Some(handle) => assert!(found.contains(handle), "{hash:x}"),
            None => assert!(found.iter().all(|found| map.values().any(|known| known == found)), "{hash:x}"),
        }
    }
}

#[test]
fn pointer_gives_back_handle_and_depth() {
    let pointer = Pointer::new(handle((1 << HANDLE_BITS) - 2), DEPTH_MAX);
    assert_eq!((pointer.handle(), pointer.depth()), (handle((1 << HANDLE_BITS) - 2), DEPTH_MAX));
}
