//! One shard: records, and what operations and reads do with them.

mod ahead;
mod placing;
mod replay;
mod upkeep;

use std::sync::Arc;

use windrow_memory::{Domain, Handle, Key, MemoryError, Populator, Store, Usage};
use windrow_window::body::present::{self, Changes};
use windrow_window::body::{self, Event, Fit, Placements};
use windrow_window::definition::FIELDS_MAX;
use windrow_window::{ClockMode, Layout};

use crate::catalogue::{Catalogue, LayoutId, Stream, StreamId};
use crate::dedup::Dedup;
use crate::eviction::Eviction;
use crate::op::{Judged, Op, OpError};
use crate::planted::{Mistake, is_planted};
use crate::reader::ShardReader;
use crate::record::{Body, BodyMut, HashKey};
use crate::state::{Covered, Seen};
use crate::stats::{StatsTable, StreamStats, StreamUsage};
use upkeep::Sweep;

/// What a shard is made with.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// The secret that keys the hash of entities.
    pub hash_key: HashKey,
    /// This shard's share of `maxmemory`; 0: no limit.
    pub maxmemory_bytes: usize,
    /// Address range to reserve: the most memory that the shard can ever take, whatever `maxmemory` becomes.
    pub reserved_bytes: usize,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Counted in the bucket of its event time.
    Ok,
    /// Counted at the server's time.
    Clamped,
    /// Too far ahead: not counted.
    Skewed,
    /// Counted before: not counted again.
    Duplicate,
    /// Too old: not counted.
    Late,
    /// Its stream is gone: not counted.
    Dropped,
    /// `maxmemory` is reached: not counted.
    OutOfMemory,
    /// An earlier event of its source was refused and must come first: not counted.
    SeqGap {
        /// That one's sequence number.
        undecided: u64,
    },
    /// Its source is new, and the stream has as many as it can have: not counted.
    TooManySources,
    /// The entity's record has no room for the event's values in its sketches, and is as large as one can be: not counted.
    Full,
}

impl Outcome {
    /// Whether the event changed the state, so that its operation must be logged.
    pub fn counted(self) -> bool {
        matches!(self, Self::Ok | Self::Clamped)
    }
}

/// What is known of an entity's record before it is used: its hash, and where [`Shard::prefetch_record`] probably found it.
#[derive(Clone, Copy, Debug)]
pub struct Hint {
    /// The hash that [`HashKey::key`] gives.
    pub hash: u64,
    place: Option<Handle>,
}

impl Hint {
    /// The hash alone.
    #[inline]
    pub fn of(hash: u64) -> Self {
        Self { hash, place: None }
    }
}

/// The records of one shard and their counters.
#[derive(Debug)]
pub struct Shard {
    pub(crate) store: Store,
    pub(crate) hash_key: HashKey,
    pub(crate) maxmemory_bytes: usize,
    pub(crate) stats: StatsTable,
    /// Where an operation's values are read into; taken while one is applied.
    values: Option<Box<[u64; FIELDS_MAX]>>,
    /// Where the event that is applied goes; kept to be used again.
    placements: Placements,
    /// What the event that is applied changes, if it is a usual one; likewise.
    changes: Changes,
    started_anew: bool,
    sweep: Sweep,
    pub(crate) eviction: Eviction,
    pub(crate) dedup: Dedup,
    moved_clock: bool,
    /// Operations replayed since memory was last collected.
    replayed: usize,
    /// What the image that this shard was made from has seen of the log, until that is replayed.
    pub(crate) seen: Option<Box<Seen>>,
}

/// What the owner does with an operation that the log's replay must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Live { now_ms: i64, position: u64 },
    Replay { position: u64, covered: Covered },
}

impl Mode {
    fn position(self) -> u64 {
        match self {
            Self::Live { position, .. } | Self::Replay { position, .. } => position,
        }
    }

    /// What an image had seen of the operation.
    fn covered(self) -> Covered {
        match self {
            Self::Live { .. } => Covered::default(),
            Self::Replay { covered, .. } => covered,
        }
    }
}

impl Shard {
    /// A shard without records. Those who read it are the participants of `domain`.
    ///
    /// # Errors
    /// When the system has no memory for it, or no address range.
    pub fn new(config: ShardConfig, domain: &Arc<Domain>) -> Result<Self, MemoryError> {
        let mut shard = Self::over(Store::new(config.reserved_bytes, domain)?, config);
        shard.set_maxmemory_bytes(config.maxmemory_bytes);
        Ok(shard)
    }

    /// A shard over the store of its records, without a limit yet.
    pub(crate) fn over(store: Store, config: ShardConfig) -> Self {
        Self {
            store,
            hash_key: config.hash_key,
            maxmemory_bytes: 0,
            stats: StatsTable::default(),
            values: None,
            placements: Placements::default(),
            changes: Changes::default(),
            started_anew: false,
            sweep: Sweep::default(),
            eviction: Eviction::new(config.hash_key.0[0]),
            dedup: Dedup::default(),
            moved_clock: false,
            replayed: 0,
            seen: None,
        }
    }

    /// Whether the operation that was counted last started its entity anew: it must be [marked](crate::op::mark_anew) in the log.
    #[inline]
    pub fn started_anew(&self) -> bool {
        self.started_anew
    }

    /// Whether the operation that was applied last was not counted and moved its stream's clock: it must be
    /// [noted](crate::op::mark_noted) in the log.
    #[inline]
    pub fn moved_clock(&self) -> bool {
        self.moved_clock
    }

    /// Reads this shard's records on other threads.
    pub fn reader(&self) -> ShardReader {
        ShardReader::new(self.store.reader())
    }

    /// Populates memory ahead of its use, on a helper's thread.
    pub fn populator(&self) -> Populator {
        self.store.populator()
    }

    /// Sets this shard's share of `maxmemory`; 0: no limit.
    pub fn set_maxmemory_bytes(&mut self, maxmemory_bytes: usize) {
        self.maxmemory_bytes = maxmemory_bytes;
        self.share_memory();
    }

    /// Applies an operation that was received at `now_ms`; `position` is the one that it will have in the log. It must be logged if
    /// the outcome [counted](Outcome::counted).
    ///
    /// # Panics
    /// When `op` is not an operation of the stream that its layout names: the caller encoded it.
    pub fn apply(
        &mut self,
        catalogue: &Catalogue,
        op: &[u8],
        hint: Hint,
        now_ms: i64,
        position: u64,
    ) -> Outcome {
        let op = Op::decode(op).expect("an operation as it was encoded");
        self.moved_clock = false;
        let Some(stream) = catalogue.by_layout(op.layout) else { return Outcome::Dropped };
        let mode = Mode::Live { now_ms, position };
        let outcome = self.change(stream, &op, hint, mode).expect("values as they were encoded");
        if !outcome.counted() {
            if !op.mark.is_empty() {
                self.settle(stream, &op, outcome);
            }
            self.moved_clock = self.moves_clock(stream, &op, outcome);
            if self.moved_clock {
                self.note_clock(stream, op.clock_ms);
            }
        }
        outcome
    }

    /// Takes note of the clock that an operation says which is in this shard's log.
    pub(crate) fn note_clock(&mut self, stream: &Stream, clock_ms: i64) {
        if stream.layout.clock == ClockMode::Event {
            let stats = self.stats.of(stream.id);
            stats.clock_ms = stats.clock_ms.max(Some(clock_ms));
        }
    }

    /// Removes a record of a stream that exists.
    pub(crate) fn remove_counted(&mut self, stream: StreamId, place: Handle) {
        let stats = self.stats.of(stream);
        stats.entities -= 1;
        stats.bytes -= self.store.record(place).slot_bytes() as u64;
        self.store.remove(place);
    }

    /// Leaves a record without events in place of an entity: what a backfill finds of it must not bring it back. Needs no memory.
    pub(crate) fn bury(&mut self, stream: &Stream, place: Handle, position: u64) {
        let layout = LayoutId(self.store.record(place).layout());
        assert!(stream.has(layout), "a stream that is filled from another one has one layout");
        let mut edit = self.store.edit(place);
        body::init(&stream.layout, &mut BodyMut(&mut edit));
        edit.set_layout(stream.layout_id.0);
        edit.set_position(position);
    }

    /// A record without events for an entity that has none, to [bury](Self::bury) it in: until then it has no position, so that no image
    /// takes it, and nobody sees it.
    pub(crate) fn dig(&mut self, stream: &Stream, key: &Key<'_>) -> Result<Handle, MemoryError> {
        let words = stream.layout.words_min();
        self.eviction.wanted_words = key.record_words(words);
        let made = self.store.insert(key, stream.layout_id.0, words, |edit| {
            body::init(&stream.layout, &mut BodyMut(edit));
            edit.set_position(0);
        })?;
        let bytes = self.store.record(made).slot_bytes() as u64;
        let stats = self.stats.of(stream.id);
        stats.entities += 1;
        stats.bytes += bytes;
        Ok(made)
    }

    fn change(&mut self, stream: &Stream, op: &Op<'_>, hint: Hint, mode: Mode) -> Result<Outcome, OpError> {
        let mut values = self.values.take().unwrap_or_else(|| Box::new([0; FIELDS_MAX]));
        let outcome = op.values(&stream.layout, &mut values).map(|present| {
            let bytes = op.value_bytes();
            let event = Event { ts: op.ts, clock: op.clock_ms, present, values: &*values, bytes };
            self.change_by(stream, op, &event, hint, mode)
        });
        self.values = Some(values);
        outcome
    }

    fn change_by(
        &mut self,
        stream: &Stream,
        op: &Op<'_>,
        event: &Event<'_>,
        hint: Hint,
        mode: Mode,
    ) -> Outcome {
        let layout = &stream.layout;
        if let Mode::Live { now_ms, .. } = mode
            && !op.mark.is_empty()
            && let Some(outcome) = self.judge_mark(stream, op, now_ms)
        {
            return outcome;
        }
        if op.judged == Judged::Skewed {
            self.stats.of(stream.id).skewed += 1;
            return Outcome::Skewed;
        }
        let key = Key { hash: hint.hash, stream: stream.id.0, entity: op.entity };
        debug_assert_eq!(key, self.hash_key.key(stream.id, op.entity), "the hint is of another entity");
        let mut place = self.store.find_near(&key, hint.place);
        if let Mode::Replay { position, covered } = mode {
            let is_in_image = match place {
                Some(place) => {
                    self.store.record(place).position() >= position
                        && !is_planted(Mistake::AppliedPositionIgnored)
                }
                None => covered.may_be_removed && !op.starts_anew,
            };
            if is_in_image {
                return self.counted(stream, op, event, mode);
            }
        }
        let body = place.map(|place| Body(self.store.record(place)));
        // By the later of the stamp and the clock, since upkeep may have reclaimed what is dead by the clock. The replay is told.
        let dead = match mode {
            Mode::Live { now_ms, .. } => {
                let clock_ms =
                    stream.clock_ms(now_ms).map_or(event.clock, |clock_ms| clock_ms.max(event.clock));
                body.is_some_and(|body| {
                    let layout = LayoutId(body.0.layout());
                    stream.is_dead(layout, body::newest_ms(&body), clock_ms) && !stream.may_be_alive(layout)
                })
            }
            Mode::Replay { .. } => op.starts_anew,
        };
        // A dead one stays as it is until an event is counted: with another layout it might not be dead any more.
        if let (Some(old), Some(body)) = (place, body)
            && !dead
            && !stream.has(LayoutId(body.0.layout()))
        {
            match self.upgrade(stream, old) {
                Ok(upgraded) => place = Some(upgraded),
                Err(error) => return self.refuse_for_memory(layout, &error),
            }
        }
        let alive = place.filter(|_| !dead).map(|place| Body(self.store.record(place)));
        self.started_anew = alive.is_none();
        let is_usual =
            alive.as_ref().is_some_and(|body| present::find(layout, body, event, &mut self.changes));
        let fit = match &alive {
            Some(_) if is_usual => Some(Fit::Ready),
            Some(body) => Some(body::fit(layout, body, event, &mut self.placements)),
            None => body::is_late_for_new(layout, event).then_some(Fit::Late),
        };
        if fit != Some(Fit::Late)
            && matches!(mode, Mode::Live { .. })
            && !self.has_room_to_remember(stream, op)
        {
            return Outcome::OutOfMemory;
        }
        let place = match (fit, place) {
            (Some(Fit::Ready), Some(place)) => place,
            (Some(Fit::Late), _) => {
                self.stats.of(stream.id).late += 1;
                return Outcome::Late;
            }
            (_, place) => match self.make_place(stream, &key, place, dead, event) {
                Ok(place) => place,
                Err(error) => return self.refuse_for_memory(layout, &error),
            },
        };
        let mut edit = self.store.edit(place);
        if is_usual {
            self.changes.make(&mut BodyMut(&mut edit));
        } else {
            body::add(layout, &mut BodyMut(&mut edit), event, &self.placements);
        }
        edit.set_position(mode.position());
        drop(edit);
        self.counted(stream, op, event, mode)
    }

    /// Takes note of an event that its record has.
    fn counted(&mut self, stream: &Stream, op: &Op<'_>, event: &Event<'_>, mode: Mode) -> Outcome {
        let covered = mode.covered();
        let is_forgotten = is_planted(Mistake::RememberedNotReplayed) && matches!(mode, Mode::Replay { .. });
        if !op.mark.is_empty() && !covered.is_remembered && !is_forgotten {
            self.remember(stream, op);
        }
        let clamped = op.judged == Judged::Clamped;
        if covered.is_counted {
            stream.note_counted(op.ts);
        } else {
            let received_ms = match mode {
                Mode::Live { now_ms, .. } => Some(now_ms),
                Mode::Replay { .. } => None,
            };
            note_event(&mut self.stats, stream, event, clamped, received_ms);
        }
        if clamped { Outcome::Clamped } else { Outcome::Ok }
    }

    #[cold]
    fn refuse_for_memory(&mut self, layout: &Layout, error: &MemoryError) -> Outcome {
        // Without sketches its definition bounds it.
        if matches!(error, MemoryError::TooLarge { .. }) && layout.has_sketches {
            return Outcome::Full;
        }
        assert!(
            error.is_out_of_memory(),
            "a record within the limits of its definition does not fit: {error}"
        );
        self.eviction.is_starved = true;
        Outcome::OutOfMemory
    }

    #[inline]
    pub(crate) fn body(&self, stream: StreamId, entity: &[u8], hint: Hint) -> Option<Body<'_>> {
        let key = Key { hash: hint.hash, stream: stream.0, entity };
        debug_assert_eq!(key, self.hash_key.key(stream, entity), "the hint is of another entity");
        self.store.record_near(&key, hint.place).map(Body)
    }

    /// Forgets the counters of streams that are gone.
    pub fn adopt(&mut self, catalogue: &Catalogue) {
        self.stats.retain(|id| catalogue.by_id(id).is_some());
    }

    /// Counts an event that was refused for its form.
    pub fn count_error(&mut self, stream: StreamId) {
        self.stats.of(stream).errors += 1;
    }

    /// Entities of the streams that exist.
    pub fn entities(&self) -> u64 {
        self.stats.iter().map(|(_, stats)| stats.entities).sum()
    }

    /// A stream's counters on this shard.
    pub fn stream_stats(&self, stream: StreamId) -> StreamStats {
        let mut stats = self.stats.get(stream).cloned().unwrap_or_default();
        stats.settle();
        stats.dedup = self.dedup.stream_usage(stream);
        stats
    }

    /// How the shard's memory is used.
    pub fn usage(&self) -> Usage {
        self.store.usage()
    }

    /// Entities and bytes of every stream that has any.
    pub fn stream_usage(&self) -> impl Iterator<Item = StreamUsage> {
        self.stats.iter().map(|(stream, stats)| StreamUsage {
            stream,
            entities: stats.entities,
            bytes: stats.bytes,
        })
    }
}

/// Counts an event that its record has. `received_ms`: `None` in a replay.
#[inline]
fn note_event(
    stats: &mut StatsTable,
    stream: &Stream,
    event: &Event<'_>,
    clamped: bool,
    received_ms: Option<i64>,
) {
    stream.note_counted(event.ts);
    let stats = stats.of(stream.id);
    stats.counted(event.ts, clamped);
    if stream.layout.clock == ClockMode::Event {
        stats.clock_ms = stats.clock_ms.max(Some(event.clock));
    }
    if let Some(now_ms) = received_ms {
        stats.received(now_ms, event.ts);
    }
}
