//! The owner's part: a MERGE goes into a record.

use windrow_memory::MemoryError;
use windrow_window::body::{self, merge::Merge as BodyMerge};
use windrow_window::{Words, WordsMut};

use crate::catalogue::{Catalogue, LayoutId, Stream};
use crate::op::{Merge, Op, OpError};
use crate::planted::{Mistake, is_planted};
use crate::record::{Body, BodyMut};
use crate::shard::Shard;

/// What became of a MERGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The record has it: the operation must be logged.
    Done,
    /// Nobody waits for it.
    Nothing,
    /// There is no memory for it now.
    OutOfMemory,
    /// The record would be larger than one can be. It stays as it is.
    TooLarge,
}

impl Shard {
    /// Applies a MERGE at `now_ms`; `position` is the packed one that it will have in the log.
    pub fn merge(&mut self, catalogue: &Catalogue, merge: &Merge<'_>, now_ms: i64, position: u64) -> Merged {
        let stream = catalogue.by_layout(merge.layout).filter(|stream| stream.layout_id == merge.layout);
        let Some(stream) = stream.filter(|stream| stream.is_filling()) else { return Merged::Nothing };
        let merged = self.merge_into(stream, merge, position, Some(now_ms));
        match merged.expect("a body as the shadow made it") {
            Ok(true) => Merged::Done,
            Ok(false) => Merged::Nothing,
            Err(MemoryError::TooLarge { .. }) => Merged::TooLarge,
            Err(_) => {
                self.eviction.is_starved = true;
                Merged::OutOfMemory
            }
        }
    }

    /// Takes note of the time that an operation of a backfill brings its stream. It must be logged if this answers true.
    pub fn note(&mut self, catalogue: &Catalogue, op: &Op<'_>) -> bool {
        let stream = catalogue.by_layout(op.layout).filter(|stream| stream.is_filling());
        let is_news =
            stream.is_some_and(|stream| stream.clock_ms(op.clock_ms).is_none_or(|ms| ms < op.clock_ms));
        if is_news && let Some(stream) = stream {
            stream.observe(op.clock_ms, op.clock_ms);
            self.note_clock(stream, op.clock_ms);
        }
        is_news
    }

    pub(crate) fn replay_merge(
        &mut self,
        catalogue: &Catalogue,
        merge: &Merge<'_>,
        position: u64,
    ) -> Result<(), OpError> {
        let Some(stream) = catalogue.as_of(merge.layout) else { return Ok(()) };
        self.store.set_bytes_max(usize::MAX);
        let merged = self.merge_into(stream, merge, position, None);
        self.set_maxmemory_bytes(self.maxmemory_bytes);
        if let Err(error) = merged? {
            panic!("no memory for what the log holds at {position}: {error}");
        }
        Ok(())
    }

    /// Whether a record waited for it. `now_ms`: by the server's clock; the replay has none, and does what was done.
    fn merge_into(
        &mut self,
        stream: &Stream,
        merge: &Merge<'_>,
        position: u64,
        now_ms: Option<i64>,
    ) -> Result<Result<bool, MemoryError>, OpError> {
        let (Some(earlier), Some(backfill)) = (&stream.earlier, &stream.backfill) else {
            return Err(OpError { reason: "nothing of that layout is filled", at: 0 });
        };
        let found = merge.words();
        if body::verify(earlier, found.as_slice()).is_err() {
            return Err(OpError { reason: "its words are not a body", at: 0 });
        }
        let key = self.hash_key.key(stream.id, merge.entity);
        let place = self.store.find(&key);
        let is_altered = backfill.source.is_none();
        let mut newest_ms = body::newest_ms(found.as_slice());
        let mut from = stream.awaiting_id;
        let later: Option<Vec<u64>> = match place {
            None if is_altered => return Ok(Ok(false)),
            None => None,
            Some(place) => {
                let record = self.store.record(place);
                let body = Body(record);
                from = LayoutId(record.layout());
                let is_seen = now_ms.is_none() && record.position() >= position;
                if from >= stream.layout_id || is_seen {
                    return Ok(Ok(false));
                }
                newest_ms =
                    if is_altered { body::newest_ms(&body) } else { newest_ms.max(body::newest_ms(&body)) };
                Some(if stream.has(from) {
                    (0..body.len()).map(|index| body.get(index)).collect()
                } else {
                    let upgrade = stream.upgrade(from, stream.awaiting_id);
                    let upgrade = upgrade.expect("a record has a layout of its stream");
                    let target = upgrade.target(&body);
                    let mut words = vec![0; target.words];
                    upgrade.copy(&body, words.as_mut_slice(), &target);
                    words
                })
            }
        };
        if let Some(now_ms) = now_ms {
            // A clock that has not seen the event yet is as late as that.
            let clock_ms = stream.clock_ms(now_ms).unwrap_or(newest_ms);
            if stream.is_dead(from, newest_ms, clock_ms) {
                return Ok(Ok(false));
            }
        }
        let words =
            BodyMerge::new(earlier, &stream.layout, is_altered).merged(found.as_slice(), later.as_deref());
        let fill = |edit: &mut windrow_memory::Edit<'_>| {
            let mut body = BodyMut(edit);
            for (index, &word) in words.iter().enumerate() {
                body.set(index, word);
            }
            edit.set_position(position);
        };
        self.eviction.wanted_words = key.record_words(words.len());
        let before_bytes = place.map_or(0, |place| self.store.record(place).slot_bytes());
        let layout = if is_planted(Mistake::MergedAgain) { stream.awaiting_id } else { stream.layout_id };
        let merged = match place {
            Some(place) => self.store.relocate(place, layout.0, words.len(), |_, edit| fill(edit)),
            None => self.store.insert(&key, layout.0, words.len(), |edit| fill(edit)),
        };
        let place = match merged {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let after_bytes = self.store.record(place).slot_bytes();
        let stats = self.stats.of(stream.id);
        stats.entities += u64::from(before_bytes == 0);
        stats.bytes = stats.bytes + after_bytes as u64 - before_bytes as u64;
        if !is_altered {
            stats.newest_ms = stats.newest_ms.max(Some(newest_ms));
            stream.observe(newest_ms, newest_ms);
            self.note_clock(stream, newest_ms);
            stream.note_counted(newest_ms);
        }
        Ok(Ok(true))
    }
}
