//! The allocator as a whole.

use super::{ChunkPool, Purpose, Slots};
use crate::{
    error::MemoryError,
    handle::{CHUNK_BYTES, CHUNK_WORDS, Handle},
    region::Region,
};
use std::collections::HashSet;

fn slots(chunks: usize) -> Slots {
    Slots::new(ChunkPool::new(Region::reserve(1 + chunks).unwrap()))
}

fn fill(slots: &mut Slots, purpose: Purpose, words: usize) -> Vec<Handle> {
    let mut handles = Vec::new();
    loop {
        match slots.allocate(purpose, words) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                assert!(matches!(error, MemoryError::Full { .. }), "{error}");
                return handles;
            }
        }
    }
}

#[test]
fn slots_are_distinct_and_do_not_overlap() {
    let mut slots = slots(4);
    let mut words_seen = HashSet::new();
    for words in [8, 17, 96, 8, 2000] {
        for _ in 0..20 {
            let handle = slots.allocate(Purpose::Records, words).unwrap();
            let slot = slots.region().slot(handle).unwrap();
            assert!(slot.len() >= words);
            for word in slot {
                assert!(words_seen.insert(std::ptr::from_ref(word)), "a word lies in two slots");
            }
        }
    }
}

#[test]
fn budget_is_used_up_to_the_last_slot() {
    let mut slots = slots(2);
    let handles = fill(&mut slots, Purpose::Records, 96);
    assert_eq!(handles.len(), 2 * (CHUNK_BYTES / 768));
    assert_eq!(slots.in_use(Purpose::Records).bytes, handles.len() * 768);
}

#[test]
fn bytes_in_use_return_to_zero_and_chunks_to_the_pool() {
    let mut slots = slots(3);
    let records = fill(&mut slots, Purpose::Records, 96);
    assert_eq!(slots.pool().free_bytes(), 0);
    for handle in records {
        slots.free(handle);
    }
    assert_eq!((slots.in_use(Purpose::Records).slots, slots.in_use(Purpose::Records).bytes), (0, 0));
    assert_eq!(slots.pool().free_bytes(), 3 * CHUNK_BYTES);
}

#[test]
fn empty_chunk_is_cut_for_another_class_and_another_purpose() {
    let mut slots = slots(1);
    for (purpose, words) in [(Purpose::Records, 8), (Purpose::Blocks, CHUNK_WORDS), (Purpose::Records, 500)] {
        let handles = fill(&mut slots, purpose, words);
        assert!(!handles.is_empty());
        for handle in handles {
            slots.free(handle);
        }
    }
}

#[test]
fn slot_of_a_chunk_that_is_whole_again_is_not_found() {
    let mut slots = slots(1);
    let handle = slots.allocate(Purpose::Records, 8).unwrap();
    slots.free(handle);
    assert!(slots.region().slot(handle).is_none());
}

#[test]
fn request_above_a_chunk_is_refused() {
    let mut slots = slots(1);
    assert!(matches!(
        slots.allocate(Purpose::Blocks, CHUNK_WORDS + 1),
        Err(MemoryError::TooLarge { bytes_max: CHUNK_BYTES, .. })
    ));
}

#[test]
fn sparse_chunk_is_found_only_when_the_others_have_room() {
    let mut slots = slots(3);
    let handles = fill(&mut slots, Purpose::Records, 96);
    let per_chunk = CHUNK_BYTES / 768;
    // The first chunk keeps a fifth of its records; the others are full.
    for handle in &handles[..per_chunk - per_chunk / 5] {
        slots.free(*handle);
    }
    assert_eq!(slots.find_sparse(0, 100).0, None);
    // Now the second has room.
    for handle in &handles[per_chunk..per_chunk + per_chunk / 2] {
        slots.free(*handle);
    }
    let sparse = handles[0].chunk() as u32;
    assert_eq!(slots.find_sparse(0, 100).0, Some(sparse));

    slots.start_evacuation(sparse);
    assert_eq!(slots.find_sparse(0, 100).0, None);
    let mut from = 0;
    let mut found = 0;
    while let Some((handle, slot)) = slots.next_in_use(sparse, from) {
        let moved = slots.allocate(Purpose::Records, 96).unwrap();
        assert_ne!(moved.chunk() as u32, sparse, "a chunk that is being evacuated gives out no slot");
        slots.free(handle);
        (from, found) = (slot + 1, found + 1);
    }
    assert_eq!(found, per_chunk / 5);
    assert_eq!(slots.pool().free_bytes(), CHUNK_BYTES);
}

#[test]
fn chunk_whose_evacuation_stops_gives_out_slots_again() {
    let mut slots = slots(1);
    let kept = slots.allocate(Purpose::Records, 96).unwrap();
    slots.start_evacuation(kept.chunk() as u32);
    assert!(slots.allocate(Purpose::Records, 96).is_err());
    slots.stop_evacuation(kept.chunk() as u32);
    assert_eq!(fill(&mut slots, Purpose::Records, 96).len(), CHUNK_BYTES / 768 - 1);
}

/// A plain model: a random walk over sizes, with every book kept twice.
#[test]
fn books_stay_right_over_a_long_random_walk() {
    let mut slots = slots(24);
    let mut held: Vec<(Handle, Purpose)> = Vec::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for step in 0..200_000 {
        // Waves: mostly allocating, then mostly freeing.
        let grows = (step / 20_000) % 2 == 0;
        if held.is_empty() || (random(10) < 7) == grows {
            let purpose = if random(5) == 0 { Purpose::Blocks } else { Purpose::Records };
            if let Ok(handle) = slots.allocate(purpose, [8, 12, 40, 96, 700][random(5)]) {
                held.push((handle, purpose));
            }
        } else {
            let (handle, _) = held.swap_remove(random(held.len()));
            slots.free(handle);
        }
        if step % 10_000 == 0 {
            assert_eq!(held.iter().collect::<HashSet<_>>().len(), held.len());
            for purpose in [Purpose::Records, Purpose::Blocks] {
                let mine = || held.iter().filter(|(_, of)| *of == purpose);
                let bytes =
                    mine().map(|(handle, _)| slots.region().slot(*handle).unwrap().len() * 8).sum::<usize>();
                assert_eq!(slots.in_use(purpose), super::InUse { slots: mine().count(), bytes });
            }
        }
    }
    for (handle, _) in held {
        slots.free(handle);
    }
    assert_eq!(slots.pool().free_bytes(), slots.pool().taken_bytes());
}
