//! Reading the records of other shards on this one's core.

use std::sync::Arc;

use windrow_engine::{HashKey, ShardReader, Stream, StreamId};
use windrow_memory::Participant;

/// What a shard reads all records with, once they are loaded.
pub(crate) struct Peers {
    pub(super) readers: Arc<[ShardReader]>,
    /// What this thread reads stays in place until its next quiescent point.
    pub(super) participant: Participant,
    hash_key: HashKey,
}

impl Peers {
    pub(crate) fn new(readers: Arc<[ShardReader]>, participant: Participant, hash_key: HashKey) -> Self {
        Peers { readers, participant, hash_key }
    }

    /// The hash of an entity's record.
    #[inline]
    pub(super) fn hash(&self, stream: StreamId, entity: &[u8]) -> u64 {
        self.hash_key.hash(stream, entity)
    }

    /// What ids and sources are made fingerprints with.
    #[inline]
    pub(super) fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    /// Stage one for a record of another shard.
    #[inline]
    pub(super) fn prefetch_index(&self, owner: usize, hash: u64) {
        self.readers[owner].prefetch_index(&self.participant, hash);
    }

    /// Stage two.
    #[inline]
    pub(super) fn prefetch_record(&self, owner: usize, hash: u64, lines: usize) {
        self.readers[owner].prefetch_record(&self.participant, hash, lines);
    }

    /// Nothing that was read so far is used any more.
    #[inline]
    pub(super) fn quiescent(&mut self) {
        self.participant.quiescent();
    }

    /// This thread reads nothing before its next quiescent point.
    pub(super) fn sleep(&mut self) {
        self.participant.sleep();
    }
}

/// Cache lines of a record that an event touches first: header, key, and the rings' heads.
pub(super) const LINES_OF_A_WRITE: usize = 2;

/// Cache lines of a record that a read of `stream` may touch, the first of them.
#[inline]
pub(super) fn lines_of_a_read(stream: &Stream) -> usize {
    const LINES_MAX: usize = 12;
    const LINE_BYTES: usize = 64;
    // Sums may be as wide as they get.
    (2 + stream.layout.widest_bytes() / LINE_BYTES).min(LINES_MAX)
}
