//! The pool of chunks: a helper populates what the owner may be taking, giving back and releasing at that moment.

use super::search;
use crate::{CHUNK_BYTES, handle::Handle, region::Region, slots::ChunkPool, sync::Ordering};
use loom::thread;
use std::sync::Arc;

const PREEMPTIONS: usize = 3;

/// What the owner takes is memory that it can cut, whatever the helper does meanwhile, and in the end each chunk that holds
/// memory is counted once.
fn helper_gets_in_nobodys_way() {
    search(PREEMPTIONS, || {
        let mut pool = ChunkPool::new(Region::reserve(3).unwrap());
        let mut helper = pool.populator();
        let populating = thread::spawn(move || {
            for _ in 0..2 {
                helper.populate_one().unwrap();
            }
        });
        let region = Arc::clone(pool.region());
        for _ in 0..2 {
            let chunk = pool.take().unwrap();
            region.cut(chunk as usize, 4);
            let word = &region.slot(Handle::new(chunk as usize, 0)).unwrap()[0];
            word.store(7, Ordering::Relaxed);
            assert_eq!(word.load(Ordering::Relaxed), 7);
            region.cut(chunk as usize, 0);
            pool.give_back(chunk);
            assert!(pool.release_one());
        }
        populating.join().unwrap();
        let committed = (1..3).filter(|chunk| region.is_committed(*chunk)).count();
        assert_eq!(pool.committed_bytes(), committed * CHUNK_BYTES);
    });
}

#[test]
fn loom_pool_counts_every_chunk_once_and_its_helper_gets_in_nobodys_way() {
    helper_gets_in_nobodys_way();
}

catches! {
    loom_catches_chunk_counted_twice: ChunkCountedTwice in helper_gets_in_nobodys_way()
}
