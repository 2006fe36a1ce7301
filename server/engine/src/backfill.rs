//! BACKFILL: what a stream's layout lacks of events that came before it, out of the log.
//!
//! A [`Shadow`] takes in the operations that the log still holds and makes a body for each entity, of the columns that are to be filled.
//! A MERGE operation brings each to its owner, which puts it together with the record, logged like any operation.
//!
//! **Which records take it.** A layout under backfill has two ids: records that lack earlier events are *awaiting*, the others *whole*.
//! A MERGE goes into an awaiting record, and makes it whole; so it counts once, however often it comes, and what has gone since does not
//! come back.
//!
//! | | STREAM.ALTER … BACKFILL | STREAM.CREATE … BACKFILL FROM |
//! | --- | --- | --- |
//! | awaiting | upgraded from the layout before | made by an event |
//! | whole | started anew by an event; merged | started anew where a dead one was; merged; removed (a record without events) |
//! | an entity without record | takes nothing: it is gone | is made, if it is alive |
//! | earlier events | of operations that name an earlier layout | of the source, up to where its shards learnt of the stream |
//! | deaths of the past | as the log marks them | by the stream's own time to live |
//! | removals of the past | those asked for, and those to make room | those asked for |
//!
//! So a backfill that a crash ended begins again from the start of the log. When all is merged, both ids mean the same.

mod merge;
mod shadow;

pub use merge::Merged;
pub use shadow::{Shadow, ShadowError};

use std::sync::Arc;

use crate::catalogue::{Catalogue, LayoutId, Stream, StreamId};

/// How a stream's layout is filled with events from before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// The layout's id in records that lack earlier events.
    pub awaiting: LayoutId,
    /// Whose events; `None`: the stream's own.
    pub source: Option<StreamId>,
    /// The stream's clock when STREAM.ALTER asked for it.
    pub asked_ms: Option<i64>,
    /// Where *before* ends; `None` until every shard has the layout.
    pub until: Option<Boundary>,
    /// Once it has finished: since when what was filled is complete.
    pub reached_ms: Option<i64>,
}

/// A place in the logs of all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The epoch.
    pub epoch: u32,
    /// Of each shard's log of that epoch, the last operation before it.
    pub ops: Vec<u64>,
}

impl Boundary {
    /// Whether an operation stands before it.
    pub fn is_behind(&self, epoch: u32, shard: u16, ops: u64) -> bool {
        epoch < self.epoch
            || (epoch == self.epoch && self.ops.get(usize::from(shard)).is_some_and(|&last| ops <= last))
    }
}

impl Backfill {
    pub(crate) fn new(awaiting: LayoutId, source: Option<StreamId>, asked_ms: Option<i64>) -> Self {
        Self { awaiting, source, asked_ms, until: None, reached_ms: None }
    }
}

impl Stream {
    /// Whether a record with this layout id has the stream's present form.
    #[inline]
    pub(crate) fn has(&self, id: LayoutId) -> bool {
        id == self.layout_id || id == self.awaiting_id
    }

    /// Whether a backfill of it is not finished.
    pub fn is_filling(&self) -> bool {
        self.backfill.as_ref().is_some_and(|backfill| backfill.reached_ms.is_none())
    }

    /// Since when, by the server's clock, the stream counts by itself what a backfill is to fill.
    pub fn counts_from_ms(&self) -> i64 {
        match self.settled {
            Some(settled) if !self.is_filled_from_another() => settled.at_ms,
            _ => self.created_ms,
        }
    }

    /// Whether entities that are dead or removed must be remembered, so that a backfill does not bring them back.
    pub(crate) fn keeps_the_dead(&self) -> bool {
        self.is_filled_from_another() && self.is_filling()
    }

    /// Whether a record with this layout id may be alive by what a backfill finds, though it is dead by what it has itself. Where it is
    /// not, what goes on in it is in no window any more; but `all` would never forget it, and earlier events are seldom the newer ones.
    #[cold]
    pub(crate) fn may_be_alive(&self, id: LayoutId) -> bool {
        self.keeps_the_dead() && id != self.layout_id && self.layout.lifetime.is_none()
    }

    fn is_filled_from_another(&self) -> bool {
        self.backfill.as_ref().is_some_and(|backfill| backfill.source.is_some())
    }

    /// The layout id of a record of an entity that had none.
    pub(crate) fn fresh_id(&self) -> LayoutId {
        if self.is_filled_from_another() { self.awaiting_id } else { self.layout_id }
    }
}

impl Catalogue {
    /// The streams with a backfill that is not finished, those that began first before the others.
    pub fn filling(&self) -> Vec<&Arc<Stream>> {
        let mut filling: Vec<&Arc<Stream>> = self.iter().filter(|stream| stream.is_filling()).collect();
        filling.sort_unstable_by_key(|stream| stream.layout_id);
        filling
    }

    /// A stream that is being filled with the events of this one.
    pub fn filled_from(&self, source: StreamId) -> Option<&Arc<Stream>> {
        let is_from = |stream: &&Arc<Stream>| {
            stream.backfill.as_ref().and_then(|backfill| backfill.source) == Some(source)
        };
        self.filling().into_iter().find(is_from)
    }

    /// The catalogue with the end of *before* set, for every backfill that has none yet. `None`: all have.
    pub fn bounded(&self, until: &Boundary) -> Option<Self> {
        let lacking: Vec<StreamId> = self
            .iter()
            .filter(|stream| stream.backfill.as_ref().is_some_and(|backfill| backfill.until.is_none()))
            .map(|stream| stream.id)
            .collect();
        if lacking.is_empty() {
            return None;
        }
        let mut next = self.next();
        for id in lacking {
            next.change_backfill(id, |backfill| backfill.until = Some(until.clone()));
        }
        Some(next)
    }

    /// The catalogue with the backfill of a stream's layout finished; `None` where the stream has another layout by now, or none.
    pub fn filled(&self, layout_id: LayoutId, reached_ms: i64) -> Option<Self> {
        let stream = self.by_layout(layout_id)?;
        if stream.layout_id != layout_id || !stream.is_filling() {
            return None;
        }
        let id = stream.id;
        let mut next = self.next();
        next.change_backfill(id, |backfill| backfill.reached_ms = Some(reached_ms));
        Some(next)
    }

    fn change_backfill(&mut self, id: StreamId, change: impl FnOnce(&mut Backfill)) {
        let stream = self.by_id(id).expect("a stream of this catalogue");
        let mut backfill = stream.backfill.clone();
        change(backfill.as_mut().expect("it has a backfill"));
        let changed =
            stream.again(stream.settled, stream.settled.and_then(|settled| settled.clock_ms), backfill);
        self.put(changed);
    }
}
