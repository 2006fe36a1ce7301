//! Reading a shard's records on another core: no hop, no lock, and the owner takes no notice.

use windrow_memory::{Key, Participant, Reader};
use windrow_window::range::{RangePlan, evaluate_range};
use windrow_window::window::answer;
use windrow_window::{Query, ReadTime, Rows};

use crate::catalogue::{LayoutId, Stream, StreamId};
use crate::record::Body;

/// An entity and the [hash](crate::HashKey::hash) of its record.
#[derive(Clone, Copy, Debug)]
pub struct Hashed<'a> {
    /// The entity.
    pub name: &'a [u8],
    /// The hash of its record of the stream that is read.
    pub hash: u64,
}

/// The record kept changing while it was read, or has a layout that the reader does not know: its owner can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskOwner;

/// Reads the records of one shard. Every call wants the calling thread's [`Participant`], awake.
#[derive(Clone, Debug)]
pub struct ShardReader {
    pub(crate) reader: Reader,
}

impl ShardReader {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader }
    }

    /// Stage one of a batch: starts to load what finds the entity's record.
    #[inline]
    pub fn prefetch_index(&self, participant: &Participant, hash: u64) {
        self.reader.prefetch_index(participant, hash);
    }

    /// Stage two: starts to load the record's first cache lines.
    #[inline]
    pub fn prefetch_record(&self, participant: &Participant, hash: u64, lines: usize) {
        self.reader.prefetch_record(participant, hash, lines);
    }

    /// Evaluates a query for one entity onto `out`: see [`answer`]. Gives the position of the last operation in what was read:
    /// 0 for an entity without record.
    ///
    /// # Errors
    /// [`AskOwner`]; `out` then holds nothing of use behind its old end.
    #[inline]
    pub fn read(
        &self,
        participant: &Participant,
        stream: &Stream,
        entity: Hashed<'_>,
        query: &Query,
        time: ReadTime,
        out: &mut Rows,
    ) -> Result<u64, AskOwner> {
        let start = out.values.len();
        self.read_with(participant, stream, entity, |body| {
            out.values.truncate(start);
            answer(&stream.layout, body, query, time, out);
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
        entity: Hashed<'_>,
        plan: &RangePlan,
        pairs: std::ops::Range<usize>,
        out: &mut Rows,
    ) -> Result<u64, AskOwner> {
        let start = out.pairs.len();
        self.read_with(participant, stream, entity, |body| {
            out.pairs.truncate(start);
            evaluate_range(&stream.layout, body, plan, pairs.clone(), out);
        })
    }

    /// Bytes that an entity's record takes; `None`: it has none.
    ///
    /// # Errors
    /// [`AskOwner`].
    pub fn record_bytes(
        &self,
        participant: &Participant,
        stream: StreamId,
        entity: Hashed<'_>,
    ) -> Result<Option<usize>, AskOwner> {
        let key = Key { hash: entity.hash, stream: stream.0, entity: entity.name };
        self.reader.read(participant, &key, |record| record.slot_bytes()).map_err(|_contended| AskOwner)
    }

    #[inline]
    fn read_with(
        &self,
        participant: &Participant,
        stream: &Stream,
        entity: Hashed<'_>,
        mut evaluate: impl FnMut(Option<&Body<'_>>),
    ) -> Result<u64, AskOwner> {
        let key = Key { hash: entity.hash, stream: stream.id.0, entity: entity.name };
        let read = self.reader.read(participant, &key, |record| {
            // Words of another layout mean something else.
            stream.has(LayoutId(record.layout())).then(|| {
                evaluate(Some(&Body(record)));
                record.position()
            })
        });
        match read.map_err(|_contended| AskOwner)? {
            Some(Some(position)) => Ok(position),
            Some(None) => Err(AskOwner),
            None => {
                evaluate(None);
                Ok(0)
            }
        }
    }
}
