//! Reading a shard's records on another core: no hop, no lock, and the owner takes no notice.

use windrow_memory::{Contended, Participant, Reader};
use windrow_window::range::{RangePlan, evaluate_range};
use windrow_window::window::evaluate;
use windrow_window::{Query, ReadTime, Value};

use crate::catalogue::{Stream, StreamId};
use crate::record::{Body, HashKey};

/// Reads the records of one shard. Every call wants the calling thread's [`Participant`], awake.
#[derive(Clone, Debug)]
pub struct ShardReader {
    reader: Reader,
    hash_key: HashKey,
}

impl ShardReader {
    pub(crate) fn new(reader: Reader, hash_key: HashKey) -> Self {
        Self { reader, hash_key }
    }

    /// Stage one of a batch: starts to load what finds the entity's record. Gives the hash for stage two.
    #[inline]
    pub fn prefetch_index(&self, participant: &Participant, stream: StreamId, entity: &[u8]) -> u64 {
        let hash = self.hash_key.key(stream, entity).hash;
        self.reader.prefetch_index(participant, hash);
        hash
    }

    /// Stage two: starts to load the record's first cache lines.
    #[inline]
    pub fn prefetch_record(&self, participant: &Participant, hash: u64, lines: usize) {
        self.reader.prefetch_record(participant, hash, lines);
    }

    /// Evaluates a query for one entity, a value a feature, onto `out`. Gives the position of the last operation in what was read:
    /// 0 for an entity without record.
    ///
    /// # Errors
    /// [`Contended`]: the record kept changing; ask its owner. `out` is then as it was.
    #[inline]
    pub fn read(
        &self,
        participant: &Participant,
        stream: &Stream,
        entity: &[u8],
        query: &Query,
        time: ReadTime,
        out: &mut Vec<Value>,
    ) -> Result<u64, Contended> {
        let start = out.len();
        self.read_with(participant, stream, entity, |body| {
            out.truncate(start);
            evaluate(&stream.layout, body, &query.features, time, out);
        })
    }

    /// Evaluates pairs of a WINDOW.RANGE for one entity onto `out`.
    ///
    /// # Errors
    /// As [`ShardReader::read`].
    pub fn range(
        &self,
        participant: &Participant,
        stream: &Stream,
        entity: &[u8],
        plan: &RangePlan,
        pairs: std::ops::Range<usize>,
        out: &mut Vec<(i64, Value)>,
    ) -> Result<u64, Contended> {
        let start = out.len();
        self.read_with(participant, stream, entity, |body| {
            out.truncate(start);
            evaluate_range(&stream.layout, body, plan, pairs.clone(), out);
        })
    }

    #[inline]
    fn read_with(
        &self,
        participant: &Participant,
        stream: &Stream,
        entity: &[u8],
        mut evaluate: impl FnMut(Option<&Body<'_>>),
    ) -> Result<u64, Contended> {
        let key = self.hash_key.key(stream.id, entity);
        let read = self.reader.read(participant, &key, |record| {
            evaluate(Some(&Body(record)));
            record.position()
        });
        match read? {
            Some(position) => Ok(position),
            None => {
                evaluate(None);
                Ok(0)
            }
        }
    }
}
