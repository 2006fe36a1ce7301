//! A shard whose records are still in an image.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use windrow_engine::{Catalogue, HashKey, Shard, ShardConfig};
use windrow_memory::{CHUNK_BYTES, ChunkLost, ChunkSource, Domain, Key, PlannedChunk, Store};

const HASH_KEY: HashKey = HashKey([3, 4]);
const NOW: i64 = 1_700_000_000_000;

/// An image of one record, of a stream that is gone.
struct OneRecord {
    words: Vec<u64>,
    copies: AtomicUsize,
}

impl ChunkSource for OneRecord {
    fn fill(&self, _number: u32, bytes: &mut [u8]) -> Result<(), String> {
        self.copies.fetch_add(1, Ordering::Relaxed);
        for (to, word) in bytes.chunks_exact_mut(8).zip(&self.words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        Ok(())
    }

    fn lost(&self, number: u32, why: ChunkLost) -> ! {
        panic!("chunk {number} is lost: {why}");
    }
}

#[test]
fn upkeep_leaves_records_alone_that_are_still_in_the_image_and_comes_by_again() {
    let (domain, _nobody) = Domain::with_participants(0);
    let hash = 0x1234_5678_9abc_def0;
    let mut words = Vec::new();
    let mut original = Store::new(4 * CHUNK_BYTES, &domain).unwrap();
    let handle =
        original.insert(&Key { hash, stream: 99, entity: b"e" }, 0, 10, |edit| edit.set_position(1)).unwrap();
    let record = original.record(handle);
    record.image_words(&mut words);
    let plan = vec![PlannedChunk { slot_granules: record.slot_granules() as u32, slots_used: 1 }];

    let source = Arc::new(OneRecord { words, copies: AtomicUsize::new(0) });
    let config = ShardConfig { hash_key: HASH_KEY, maxmemory_bytes: 0, reserved_bytes: 16 * CHUNK_BYTES };
    let mut shard = Shard::with_image(config, &domain, plan, Arc::clone(&source) as _).unwrap();
    shard.link([(hash, 0)]).unwrap();
    shard.finish_link().unwrap();
    let catalogue = Catalogue::default();
    for _ in 0..20 {
        assert_eq!(shard.upkeep(&catalogue, NOW, 64), 0);
    }
    assert_eq!((source.copies.load(Ordering::Relaxed), shard.usage().records), (0, 1));

    assert_eq!(shard.adopter().adopt_next(), Some(0));
    let removed: usize = (0..20).map(|_| shard.upkeep(&catalogue, NOW, 64)).sum();
    assert_eq!((removed, shard.usage().records), (1, 0));
}
