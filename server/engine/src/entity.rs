//! Entities as such: removing one, walking over all of a stream, and what is known of one.

use windrow_memory::{Cursor, Handle, Key, Participant, Scan};
use windrow_window::body::{self, Held};
use windrow_window::range::{RangePlan, evaluate_range};
use windrow_window::window::answer;
use windrow_window::{Query, ReadTime, Rows};

use crate::catalogue::{Catalogue, LayoutId, Stream, StreamId};
use crate::op::{self, EVERY_STREAM, Remove};
use crate::reader::{AskOwner, Hashed, ShardReader};
use crate::record::Body;
use crate::shard::{Hint, Shard};

/// A read was made for a layout of its stream that an ALTER has since taken something from: it must be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superseded;

/// There is no room for a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// In the log; nothing was removed.
    Log,
    /// In memory, for the note that a backfill must not bring the entity back; nothing was removed.
    Memory,
}

/// What is known of an entity's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityInfo {
    /// Newest event time.
    pub newest_ms: i64,
    /// Bytes of memory.
    pub bytes: usize,
    /// The layout that the record has.
    pub layout: LayoutId,
    /// The first time of the stream's clock at which it is dead; `None`: it does not die.
    pub dies_ms: Option<i64>,
    /// What its tiers hold, finest first.
    pub tiers: Vec<Held>,
}

/// A slice of a walk over the entities of a stream on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The entities found were added; `next` is where to go on, `None`: that was all.
    Read {
        /// Where to go on.
        next: Option<Cursor>,
        /// Records looked at.
        visited: usize,
        /// The position of the last operation in any record that was found.
        position: u64,
    },
    /// The records would not hold still: nothing was added.
    Contended,
}

/// A record as a query of a certain layout can read it.
pub(crate) enum Readable<'a> {
    Nothing,
    AsItIs(Body<'a>),
    Converted(Vec<u64>),
}

impl Shard {
    /// Evaluates a query for one entity, a value a feature, onto `out`.
    ///
    /// # Errors
    /// [`Superseded`]; nothing was added then.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the parts of one question")]
    pub fn read(
        &self,
        catalogue: &Catalogue,
        stream: &Stream,
        entity: &[u8],
        hint: Hint,
        query: &Query,
        time: ReadTime,
        out: &mut Rows,
    ) -> Result<(), Superseded> {
        let body = self.body(stream.id, entity, hint);
        if body.is_none_or(|body| stream.has(LayoutId(body.0.layout()))) {
            answer(&stream.layout, body.as_ref(), query, time, out);
            return Ok(());
        }
        match self.readable(catalogue, stream, entity, hint)? {
            Readable::Nothing => answer::<Body<'_>>(&stream.layout, None, query, time, out),
            Readable::AsItIs(body) => answer(&stream.layout, Some(&body), query, time, out),
            Readable::Converted(words) => {
                answer(&stream.layout, Some(words.as_slice()), query, time, out);
            }
        }
        Ok(())
    }

    /// Evaluates pairs of a WINDOW.RANGE for one entity onto `out`.
    ///
    /// # Errors
    /// As [`Shard::read`].
    #[expect(clippy::too_many_arguments, reason = "the parts of one question")]
    pub fn range(
        &self,
        catalogue: &Catalogue,
        stream: &Stream,
        entity: &[u8],
        hint: Hint,
        plan: &RangePlan,
        pairs: std::ops::Range<usize>,
        out: &mut Rows,
    ) -> Result<(), Superseded> {
        match self.readable(catalogue, stream, entity, hint)? {
            Readable::Nothing => evaluate_range::<Body<'_>>(&stream.layout, None, plan, pairs, out),
            Readable::AsItIs(body) => evaluate_range(&stream.layout, Some(&body), plan, pairs, out),
            Readable::Converted(words) => {
                evaluate_range(&stream.layout, Some(words.as_slice()), plan, pairs, out);
            }
        }
        Ok(())
    }

    #[inline]
    fn readable(
        &self,
        catalogue: &Catalogue,
        stream: &Stream,
        entity: &[u8],
        hint: Hint,
    ) -> Result<Readable<'_>, Superseded> {
        match self.body(stream.id, entity, hint) {
            None => Ok(Readable::Nothing),
            Some(body) => readable_as(catalogue, stream, body),
        }
    }

    /// Removes an entity's record of the stream that the REMOVE names, or those of all streams: all of them, or on an error none. Gives how
    /// many entities went that were not dead. `admit` is asked once whether the log has room for so many bytes; `log` takes the operation
    /// of each removal, the first of which will be at the packed `position`.
    ///
    /// # Errors
    /// [`NoRoom::Log`] when `admit` refuses; [`NoRoom::Memory`].
    pub fn remove_entity(
        &mut self,
        catalogue: &Catalogue,
        remove: &Remove<'_>,
        now_ms: i64,
        position: u64,
        admit: impl FnOnce(usize) -> bool,
        mut log: impl FnMut(&[u8]),
    ) -> Result<usize, NoRoom> {
        // Each with whether it was alive.
        let mut found: Vec<(&Stream, Option<Handle>, bool)> = Vec::new();
        let mut ops: Vec<u8> = Vec::new();
        let mut look = |stream| {
            let stream: &Stream = stream;
            let place = self.store.find(&self.hash_key.key(stream.id, remove.entity));
            // A dead one is gone already, whether or not its memory was reclaimed.
            let is_alive =
                place.is_some_and(|place| is_alive(stream, &Body(self.store.record(place)), now_ms));
            if is_alive || stream.keeps_the_dead() {
                found.push((stream, place, is_alive));
                op::encode_remove(&mut ops, stream.layout_id, remove.entity, true);
            }
        };
        if remove.layout == EVERY_STREAM {
            let mut streams: Vec<_> = catalogue.iter().collect();
            // In one order, so that the log is the same for the same commands.
            streams.sort_unstable_by_key(|stream| stream.id);
            streams.into_iter().for_each(|stream| look(&**stream));
        } else if let Some(stream) = catalogue.by_layout(remove.layout) {
            look(stream);
        }
        if !found.is_empty() && !admit(ops.len()) {
            return Err(NoRoom::Log);
        }
        // What needs memory comes first, and is undone where there is too little: behind it, nothing can fail.
        let mut dug: Vec<(StreamId, Handle)> = Vec::new();
        for (stream, place, _) in &mut found {
            if place.is_some() || !stream.keeps_the_dead() {
                continue;
            }
            match self.dig(stream, &self.hash_key.key(stream.id, remove.entity)) {
                Ok(made) => {
                    dug.push((stream.id, made));
                    *place = Some(made);
                }
                Err(_) => {
                    dug.into_iter().for_each(|(stream, made)| self.remove_counted(stream, made));
                    self.eviction.is_starved = true;
                    return Err(NoRoom::Memory);
                }
            }
        }
        let mut removed = 0;
        for ((op, &(stream, place, is_alive)), position) in op::iter(&ops).zip(&found).zip(position..) {
            match place {
                Some(place) if stream.keeps_the_dead() => self.bury(stream, place, position),
                Some(place) => self.remove_counted(stream.id, place),
                None => {}
            }
            log(op.expect("an operation as it was encoded"));
            removed += usize::from(is_alive);
        }
        Ok(removed)
    }

    /// What is known of an entity; `None`: it has no record, or is dead.
    pub fn entity_info(
        &self,
        catalogue: &Catalogue,
        stream: &Stream,
        entity: &[u8],
        hint: Hint,
        now_ms: i64,
    ) -> Option<EntityInfo> {
        info(catalogue, stream, &self.body(stream.id, entity, hint)?, now_ms)
    }
}

impl ShardReader {
    /// As [`Shard::entity_info`], with the position of the last operation in the record, 0 without one.
    ///
    /// # Errors
    /// [`AskOwner`].
    pub fn entity_info(
        &self,
        participant: &Participant,
        catalogue: &Catalogue,
        stream: &Stream,
        entity: Hashed<'_>,
        now_ms: i64,
    ) -> Result<(Option<EntityInfo>, u64), AskOwner> {
        let key = Key { hash: entity.hash, stream: stream.id.0, entity: entity.name };
        let read = self.reader.read(participant, &key, |record| {
            let is_known = catalogue.as_of(LayoutId(record.layout())).is_some();
            is_known.then(|| (info(catalogue, stream, &Body(record), now_ms), record.position()))
        });
        match read.map_err(|_contended| AskOwner)? {
            Some(known) => known.ok_or(AskOwner),
            None => Ok((None, 0)),
        }
    }

    /// The next slice of a walk over the records of this shard: adds the entities of `stream` that are not dead.
    #[expect(clippy::too_many_arguments, reason = "a walk needs where, what and how much")]
    pub fn scan(
        &self,
        participant: &Participant,
        scan: &mut Scan,
        stream: &Stream,
        cursor: Cursor,
        rows_max: usize,
        now_ms: i64,
        out: &mut Vec<Vec<u8>>,
    ) -> Slice {
        let Ok(next) = self.reader.scan(participant, scan, cursor, rows_max) else { return Slice::Contended };
        let start = out.len();
        let mut position = 0;
        let mut entity = Vec::new();
        for &row in scan.rows() {
            let read = self.reader.read_at(participant, row, |record| {
                let is_it = record.stream() == stream.id.0 && is_alive(stream, &Body(record), now_ms);
                if is_it {
                    record.copy_entity(&mut entity);
                }
                (is_it, record.position())
            });
            match read {
                Ok(Some((true, at))) => {
                    position = position.max(at);
                    out.push(std::mem::take(&mut entity));
                }
                Ok(Some((false, _))) => {}
                // Gone, or moved: then it is elsewhere, and must not be missed.
                Ok(None) | Err(_) => {
                    out.truncate(start);
                    return Slice::Contended;
                }
            }
        }
        Slice::Read { next, visited: scan.rows().len(), position }
    }
}

fn is_alive(stream: &Stream, body: &Body<'_>, now_ms: i64) -> bool {
    let (layout, newest_ms) = (LayoutId(body.0.layout()), body::newest_ms(body));
    stream.clock_ms(now_ms).is_some_and(|clock_ms| !stream.is_dead(layout, newest_ms, clock_ms))
}

fn info(catalogue: &Catalogue, stream: &Stream, body: &Body<'_>, now_ms: i64) -> Option<EntityInfo> {
    if !is_alive(stream, body, now_ms) {
        return None;
    }
    let newest_ms = body::newest_ms(body);
    let layout = LayoutId(body.0.layout());
    // The buckets as the record has them; a record without a layout that is known is of a dropped stream.
    let own = catalogue.as_of(layout)?;
    Some(EntityInfo {
        newest_ms,
        bytes: body.0.slot_bytes(),
        layout,
        dies_ms: stream.layout.death_ms.map(|death_ms| newest_ms.saturating_add(death_ms).saturating_add(1)),
        tiers: body::held(&own.layout, body),
    })
}

/// A record of a stream as a query of the stream's layout can read it.
#[inline]
pub(crate) fn readable_as<'a>(
    catalogue: &Catalogue,
    stream: &Stream,
    body: Body<'a>,
) -> Result<Readable<'a>, Superseded> {
    if stream.has(LayoutId(body.0.layout())) {
        Ok(Readable::AsItIs(body))
    } else {
        convert(catalogue, stream, &body)
    }
}

/// A record of one layout of a stream for a query of another one.
#[cold]
fn convert<'a>(catalogue: &Catalogue, stream: &Stream, body: &Body<'_>) -> Result<Readable<'a>, Superseded> {
    let Some(present) = catalogue.by_id(stream.id) else { return Ok(Readable::Nothing) };
    let from = LayoutId(body.0.layout());
    // What was dead when a later layout came is not there, however long ago the query was made.
    if present.is_dead(from, body::newest_ms(body), i64::MIN) {
        return Ok(Readable::Nothing);
    }
    let upgrade = present.upgrade(from, stream.layout_id).ok_or(Superseded)?;
    // A query that was made before the ALTER asks for what the record has no more.
    if from > stream.layout_id && !upgrade.is_whole() {
        return Err(Superseded);
    }
    let target = upgrade.target(body);
    let mut words = vec![0; target.words];
    upgrade.copy(body, words.as_mut_slice(), &target);
    Ok(Readable::Converted(words))
}
