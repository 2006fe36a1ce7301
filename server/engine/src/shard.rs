//! One shard: records, and what operations and reads do with them.

use std::sync::Arc;

use windrow_memory::{CHUNK_BYTES, Cursor, Domain, Handle, Key, MemoryError, Populator, Scan, Store, Usage};
use windrow_window::body::{self, Event, Fit, Growth, Placements};
use windrow_window::definition::FIELDS_MAX;
use windrow_window::lookahead::{self, Lookahead};
use windrow_window::{ClockMode, Layout, Words};

use crate::catalogue::{Catalogue, LayoutId, Stream, StreamId};
use crate::dedup::Dedup;
use crate::eviction::{Eviction, is_buried};
use crate::form::quote;
use crate::op::{AnyOp, Judged, Op, OpError, OpHead, Remove};
use crate::planted::{Mistake, is_planted};
use crate::reader::ShardReader;
use crate::record::{Body, BodyMut, HashKey};
use crate::state::{Covered, Seen};
use crate::stats::{StatsTable, StreamStats, StreamUsage};

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

/// Where upkeep has come to.
#[derive(Debug, Default)]
struct Sweep {
    cursor: Option<Cursor>,
    scan: Scan,
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

/// Slots that are freed in one tick.
const COLLECTED_MAX: usize = 1024;

/// Slots that one step of upkeep frees beside these.
const COLLECTED_IN_UPKEEP_MAX: usize = 128;

/// Records that one step of upkeep moves out of sparse chunks.
const EVACUATED_MAX: usize = 16;

/// Records that one slice of upkeep gives their stream's present layout.
const UPGRADED_MAX: usize = 8;
/// Larger ones wait for their next event: they take long, and whether one has room for what is added is for the log to see.
const UPGRADED_BYTES_MAX: usize = 64 << 10;
/// Words of the largest record.
const RECORD_WORDS_MAX: usize = CHUNK_BYTES / size_of::<u64>();

/// So often, replay frees what no one reads any more: no tick does it.
const REPLAYED_PER_COLLECTION: usize = 64;

/// Words of a body once it has grown: never less than the least, so that a record that is too large for a slot is refused.
fn words_wanted<W: Words + ?Sized>(
    layout: &Layout,
    body: &W,
    growth: &Growth,
    body_words_max: usize,
) -> usize {
    let wanted = body::words_grown(layout, body, growth);
    wanted.ample.min(body_words_max).max(wanted.least)
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

    /// Stage one of a batch: starts to load what finds the operation's record.
    #[inline]
    pub fn prefetch_index(&self, hash: u64) {
        self.store.prefetch_index(hash);
    }

    /// Stage two of a batch: starts to load the record itself.
    #[inline]
    pub fn prefetch_record(&self, hash: u64, lines: usize) -> Hint {
        Hint { hash, place: self.store.prefetch_record(hash, lines) }
    }

    /// Between the stages: starts to load more cache lines of the record, if stage two has found it.
    #[inline]
    pub fn prefetch_lines(&self, hint: Hint, lines: std::ops::Range<usize>) {
        if let Some(place) = hint.place {
            self.store.prefetch_lines(place, lines);
        }
    }

    /// Stage three of a batch, for an operation whose record stage two has brought: starts to load the cells that it will change.
    /// Whether it is worth while to go on to stage four.
    #[inline]
    pub fn prefetch_cells(&self, catalogue: &Catalogue, op: &[u8], hint: Hint) -> bool {
        let Some(record) = hint.place.and_then(|place| self.store.peek(place)) else { return false };
        let Some(op) = OpHead::peek(op) else { return false };
        let Some(stream) = catalogue.by_layout(op.layout) else { return false };
        // A record of another layout would be asked for the wrong words: harmless, and as good as none.
        lookahead::ask_for_cells(&stream.layout, &Body(record), op.ts);
        stream.layout.has_sketches
    }

    /// Stage four, for an operation whose cells stage three has brought: starts to load the sketches that it will look at.
    pub fn prefetch_blocks(&self, catalogue: &Catalogue, op: &[u8], hint: Hint) {
        let Some(record) = hint.place.and_then(|place| self.store.peek(place)) else { return };
        let Some(op) = OpHead::peek(op) else { return };
        let Some(stream) = catalogue.by_layout(op.layout) else { return };
        lookahead::ask_for_blocks(&stream.layout, &Body(record), op.ts);
    }

    /// Stage three of a batch for a read whose record stage two has brought: starts to load what lies beyond its first lines.
    #[inline]
    pub fn prefetch_columns(&self, stream: &Stream, ahead: &Lookahead, hint: Hint) {
        if let Some(record) = hint.place.and_then(|place| self.store.peek(place)) {
            ahead.ask(&stream.layout, &Body(record));
        }
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

    /// Applies an operation of the log again, as far as the image that the shard was made from has not seen it. Never refuses for memory
    /// below what the system has; operations of streams that are gone are skipped.
    ///
    /// # Errors
    /// When the bytes are not an operation: the log is damaged.
    ///
    /// # Panics
    /// When the system has no memory left: what was acknowledged cannot be served.
    pub fn replay(&mut self, catalogue: &Catalogue, op: &[u8], position: u64) -> Result<(), OpError> {
        self.replayed += 1;
        if self.replayed == REPLAYED_PER_COLLECTION {
            self.replayed = 0;
            self.collect();
            self.store.evacuate(EVACUATED_MAX, |_, _| ());
        }
        let op = match AnyOp::decode(op)? {
            AnyOp::Event(op) => op,
            AnyOp::Remove(remove) => {
                self.replay_remove(catalogue, &remove, position);
                return Ok(());
            }
            AnyOp::Merge(merge) => return self.replay_merge(catalogue, &merge, position),
        };
        // As the stream was when its owner applied the operation.
        let Some(stream) = catalogue.as_of(op.layout) else { return Ok(()) };
        stream.observe(op.clock_ms, op.clock_ms);
        self.note_clock(stream, op.clock_ms);
        if op.judged == Judged::Noted {
            return Ok(());
        }
        self.store.set_bytes_max(usize::MAX);
        let hint = Hint::of(self.hash_key.key(stream.id, op.entity).hash);
        let covered = self.covered(stream.id, op.entity, position);
        let outcome = self.change(stream, &op, hint, Mode::Replay { position, covered });
        self.set_maxmemory_bytes(self.maxmemory_bytes);
        match outcome? {
            Outcome::OutOfMemory => panic!("the system has no memory for what the log holds"),
            // Whether a record is full is decided by what it holds alone.
            Outcome::Full => panic!("the record of {:?} is full at {position}", quote(op.entity)),
            _ => Ok(()),
        }
    }

    /// Takes note of the clock that an operation says which is in this shard's log.
    pub(crate) fn note_clock(&mut self, stream: &Stream, clock_ms: i64) {
        if stream.layout.clock == ClockMode::Event {
            let stats = self.stats.of(stream.id);
            stats.clock_ms = stats.clock_ms.max(Some(clock_ms));
        }
    }

    /// What an image had seen of an operation.
    fn covered(&self, stream: StreamId, entity: &[u8], position: u64) -> Covered {
        self.seen.as_ref().map_or(Covered::default(), |seen| seen.covers(stream, entity, position))
    }

    /// Removes a record again, unless it has seen operations since.
    fn replay_remove(&mut self, catalogue: &Catalogue, remove: &Remove<'_>, position: u64) {
        let Some(stream) = catalogue.by_layout(remove.layout) else { return };
        let key = self.hash_key.key(stream.id, remove.entity);
        let place = self.store.find(&key);
        if stream.keeps_the_dead() && remove.is_asked {
            if place.is_none_or(|place| self.store.record(place).position() < position) {
                self.store.set_bytes_max(usize::MAX);
                self.bury(stream, &key, place, position)
                    .expect("the system has memory for what the log holds");
                self.set_maxmemory_bytes(self.maxmemory_bytes);
            }
            return;
        }
        let Some(place) = place else { return };
        if !remove.is_asked && is_planted(Mistake::EvictionNotReplayed) {
            return;
        }
        if self.store.record(place).position() < position || is_planted(Mistake::AppliedPositionIgnored) {
            let is_entity = !is_buried(self.store.record(place));
            self.remove_counted(stream.id, place);
            let is_counted =
                remove.is_asked || !is_entity || self.covered(stream.id, remove.entity, position).is_counted;
            self.stats.of(stream.id).evicted += u64::from(!is_counted);
        }
    }

    /// Removes a record of a stream that exists.
    pub(crate) fn remove_counted(&mut self, stream: StreamId, place: Handle) {
        let stats = self.stats.of(stream);
        stats.entities -= 1;
        stats.bytes -= self.store.record(place).slot_bytes() as u64;
        self.store.remove(place);
    }

    /// Leaves a record without events in place of an entity: what a backfill finds of it must not bring it back.
    pub(crate) fn bury(
        &mut self,
        stream: &Stream,
        key: &Key<'_>,
        place: Option<Handle>,
        position: u64,
    ) -> Result<(), MemoryError> {
        match place {
            Some(place) if stream.has(LayoutId(self.store.record(place).layout())) => {
                let mut edit = self.store.edit(place);
                body::init(&stream.layout, &mut BodyMut(&mut edit));
                edit.set_layout(stream.layout_id.0);
                edit.set_position(position);
            }
            place => {
                debug_assert!(place.is_none(), "a stream that is filled from another one has one layout");
                self.eviction.wanted_words = key.record_words(stream.layout.words_min());
                let words = stream.layout.words_min();
                let made = self.store.insert(key, stream.layout_id.0, words, |edit| {
                    body::init(&stream.layout, &mut BodyMut(edit));
                    edit.set_position(position);
                })?;
                let bytes = self.store.record(made).slot_bytes() as u64;
                let stats = self.stats.of(stream.id);
                stats.entities += 1;
                stats.bytes += bytes;
            }
        }
        Ok(())
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
                return self.counted(stream, op, mode);
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
        let fit = match &alive {
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
        body::add(layout, &mut BodyMut(&mut edit), event, &self.placements);
        edit.set_position(mode.position());
        drop(edit);
        self.counted(stream, op, mode)
    }

    /// Takes note of an event that its record has.
    #[inline]
    fn counted(&mut self, stream: &Stream, op: &Op<'_>, mode: Mode) -> Outcome {
        let covered = mode.covered();
        let is_forgotten = is_planted(Mistake::RememberedNotReplayed) && matches!(mode, Mode::Replay { .. });
        if !op.mark.is_empty() && !covered.is_remembered && !is_forgotten {
            self.remember(stream, op);
        }
        let clamped = op.judged == Judged::Clamped;
        stream.note_counted(op.ts);
        if !covered.is_counted {
            let stats = self.stats.of(stream.id);
            stats.counted(op.ts, clamped);
            if stream.layout.clock == ClockMode::Event {
                stats.clock_ms = stats.clock_ms.max(Some(op.clock_ms));
            }
            if let Mode::Live { now_ms, .. } = mode {
                stats.received(now_ms, op.ts);
            }
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

    /// Gives the record of an entity that is alive the layout that its stream has now.
    #[cold]
    #[inline(never)]
    fn upgrade(&mut self, stream: &Stream, place: Handle) -> Result<Handle, MemoryError> {
        let record = self.store.record(place);
        let before_bytes = record.slot_bytes();
        let header_words = before_bytes / size_of::<u64>() - record.body_words();
        let from = LayoutId(record.layout());
        // What a backfill finds is still to come.
        let to = stream.awaiting_id;
        let upgrade = stream.upgrade(from, to).expect("a record has a layout of its stream");
        let target = upgrade.target(&Body(record));
        self.eviction.wanted_words = header_words + target.words;
        let upgraded = self.store.relocate(place, to.0, target.words, |old, new| {
            upgrade.copy(&Body(old), &mut BodyMut(new), &target);
        })?;
        let after_bytes = self.store.record(upgraded).slot_bytes();
        let stats = self.stats.of(stream.id);
        stats.bytes = stats.bytes + after_bytes as u64 - before_bytes as u64;
        Ok(upgraded)
    }

    /// Makes a record with room for the event, or makes room in the one that is there, and counts what memory that took, also where
    /// it is refused in the end: a record that grew has grown. One without events is not kept then.
    #[cold]
    #[inline(never)]
    fn make_place(
        &mut self,
        stream: &Stream,
        key: &Key<'_>,
        place: Option<Handle>,
        dead: bool,
        event: &Event<'_>,
    ) -> Result<Handle, MemoryError> {
        let bytes_of = |store: &Store, place: Option<Handle>| {
            place.map_or(0, |place| store.record(place).slot_bytes() as u64)
        };
        // In a stream that is filled with events of another one, a record that is new waits for these; one that starts anew does not.
        let made_as = if place.is_none() { stream.fresh_id() } else { stream.layout_id };
        let is_outdated = |place: &Handle| dead && self.store.record(*place).layout() != stream.layout_id.0;
        let place = if let Some(outdated) = place.filter(is_outdated) {
            self.remove_counted(stream.id, outdated);
            None
        } else {
            place
        };
        let before_bytes = bytes_of(&self.store, place);
        let starts_anew = place.is_none() || dead;
        let (place, fitted) = self.place(stream, key, place, made_as, dead, event);
        let after_bytes = bytes_of(&self.store, place);
        let stats = self.stats.of(stream.id);
        stats.entities += u64::from(before_bytes == 0 && after_bytes > 0);
        stats.bytes = stats.bytes + after_bytes - before_bytes;
        if starts_anew
            && fitted.is_err()
            && let Some(empty) = place
        {
            // Of an entity that does not come to be: nobody may count it, and no later layout may bring it to life.
            self.remove_counted(stream.id, empty);
        }
        fitted.map(|()| place.expect("an event is placed in a record"))
    }

    /// Finds or makes a record with room for the event, and its places in it. Gives the record, as far as there is one, and the memory's
    /// error if it was refused. A record that grew for nothing is as it was to everyone who reads it, and one with sketches does not
    /// grow for nothing.
    fn place(
        &mut self,
        stream: &Stream,
        key: &Key<'_>,
        place: Option<Handle>,
        made_as: LayoutId,
        dead: bool,
        event: &Event<'_>,
    ) -> (Option<Handle>, Result<(), MemoryError>) {
        let layout = &stream.layout;
        let mut place = match place {
            Some(place) => {
                if dead {
                    // What was kept of a dead entity is gone; the event starts it anew. It read as empty before, as it does now.
                    body::init(layout, &mut BodyMut(&mut self.store.edit(place)));
                }
                place
            }
            None => {
                self.eviction.wanted_words = key.record_words(layout.words_min());
                let made = self.store.insert(key, made_as.0, layout.words_min(), |edit| {
                    body::init(layout, &mut BodyMut(edit));
                });
                match made {
                    Ok(place) => place,
                    Err(error) => return (None, Err(error)),
                }
            }
        };
        let layout_id = self.store.record(place).layout();
        loop {
            let body = Body(self.store.record(place));
            match body::fit(layout, &body, event, &mut self.placements) {
                Fit::Ready => return (Some(place), Ok(())),
                Fit::Late => unreachable!("the event was not late before there was room"),
                Fit::Grow(mut growth) => {
                    let body_words_max = RECORD_WORDS_MAX - key.record_words(0);
                    let mut words = words_wanted(layout, &body, &growth, body_words_max);
                    // Growing forgets sketches that are not kept any more, and the replay does not see an event that is refused. So
                    // all but the last step is done beside the record.
                    let mut beside: Option<Vec<u64>> = None;
                    while layout.has_sketches && !growth.is_last() && words <= body_words_max {
                        let mut larger = vec![0; words];
                        match &beside {
                            Some(before) => body::grow(layout, &before[..], &mut larger[..], &growth),
                            None => body::grow(layout, &body, &mut larger[..], &growth),
                        }
                        let Fit::Grow(next) = body::fit(layout, &larger[..], event, &mut self.placements)
                        else {
                            break;
                        };
                        growth = next;
                        words = words_wanted(layout, &larger[..], &growth, body_words_max);
                        beside = Some(larger);
                    }
                    self.eviction.wanted_words = key.record_words(words);
                    let grown = self.store.relocate(place, layout_id, words, |old, new| {
                        let new = &mut BodyMut(new);
                        match &beside {
                            Some(before) => body::grow(layout, &before[..], new, &growth),
                            None => body::grow(layout, &Body(old), new, &growth),
                        }
                    });
                    match grown {
                        Ok(grown) => place = grown,
                        Err(error) => return (Some(place), Err(error)),
                    }
                }
            }
        }
    }

    #[inline]
    pub(crate) fn body(&self, stream: StreamId, entity: &[u8], hint: Hint) -> Option<Body<'_>> {
        let key = Key { hash: hint.hash, stream: stream.0, entity };
        debug_assert_eq!(key, self.hash_key.key(stream, entity), "the hint is of another entity");
        self.store.record_near(&key, hint.place).map(Body)
    }

    /// A small step of upkeep, some tens of microseconds: reclaims dead entities and records of dropped streams among the next
    /// `records_max` records, empties sparse chunks, and frees what no reader can reach any more. Gives how many records it removed
    /// or moved: where that is not 0, another step soon may find more. Nothing that a command can see depends on when this happens.
    pub fn upkeep(&mut self, catalogue: &Catalogue, now_ms: i64, records_max: usize) -> usize {
        self.eviction.forget_drawn();
        self.store.collect(COLLECTED_IN_UPKEEP_MAX);
        self.sweep_remembered(catalogue, now_ms);
        let cursor = self.sweep.cursor.unwrap_or(Cursor::START);
        self.sweep.cursor = self.store.scan(&mut self.sweep.scan, cursor, records_max);
        self.store.prefetch_rows(&self.sweep.scan);
        let (mut removed, mut upgraded) = (0, 0);
        for index in 0..self.sweep.scan.rows().len() {
            let place = self.sweep.scan.rows()[index];
            // What is still in the image is left for a later round, rather than brought in the midst of a tick.
            let Some(record) = self.store.peek(place) else { continue };
            let stream = StreamId(record.stream());
            match catalogue.by_id(stream) {
                None => {
                    self.store.remove(place);
                    removed += 1;
                }
                // Shards do not agree yet who is dead.
                Some(stream) if stream.is_pending() => {}
                // Who is dead says that nothing comes of earlier events.
                Some(stream) if stream.keeps_the_dead() => {}
                Some(stream) => {
                    let (layout, newest_ms) = (LayoutId(record.layout()), body::newest_ms(&Body(record)));
                    let is_small = record.slot_bytes() <= UPGRADED_BYTES_MAX;
                    let clock = stream.clock_ms(now_ms);
                    if clock.is_some_and(|clock_ms| stream.is_dead(layout, newest_ms, clock_ms)) {
                        self.remove_counted(stream.id, place);
                        removed += 1;
                    } else if !stream.has(layout) && is_small && upgraded < UPGRADED_MAX && !self.is_tight() {
                        // So that other cores can read it. Without memory for it, it waits for its next event.
                        upgraded += usize::from(self.upgrade(stream, place).is_ok());
                    }
                }
            }
        }
        removed + upgraded + self.store.evacuate(EVACUATED_MAX, |_, _| ())
    }

    /// Gives one empty chunk back to the system, if there are more than a small reserve, or than the budget allows; whether it did.
    pub fn release_chunk(&mut self) -> bool {
        self.store.release_chunk()
    }

    /// Frees memory that no reader can reach any more, a bounded amount. Once a tick.
    pub fn collect(&mut self) {
        self.eviction.forget_drawn();
        self.store.collect(COLLECTED_MAX);
        self.free_forgotten();
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
