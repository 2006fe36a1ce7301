//! One shard: records, and what operations and reads do with them.

use hashbrown::HashMap;
use windrow_window::body::{self, Event, Fit};
use windrow_window::definition::FIELDS_MAX;
use windrow_window::range::{RangePlan, evaluate_range};
use windrow_window::window::evaluate;
use windrow_window::{Query, ReadTime, Value};

use crate::catalogue::{Catalogue, LayoutId, Stream, StreamId};
use crate::op::{Judged, Op, OpError};
use crate::record::{Place, Room};
use crate::stats::StreamStats;

/// What a shard is made with.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// The secret that keys the hash of entities.
    pub hash_key: [u64; 2],
    /// This shard's share of `maxmemory`; 0: no limit.
    pub maxmemory_bytes: usize,
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
}

impl Outcome {
    /// Whether the event changed the state, so that its operation must be logged.
    pub fn counted(self) -> bool {
        matches!(self, Self::Ok | Self::Clamped)
    }
}

/// The records of one shard and their counters.
#[derive(Debug)]
pub struct Shard {
    room: Room,
    maxmemory_bytes: usize,
    stats: HashMap<StreamId, StreamStats>,
    /// Where an operation's values are read into; taken while one is applied.
    values: Option<Box<[u64; FIELDS_MAX]>>,
    swept: usize,
}

/// What the owner does with an operation that the log's replay must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Live { now_ms: i64 },
    Replay,
}

impl Shard {
    /// A shard without records.
    pub fn new(config: ShardConfig) -> Self {
        Self {
            room: Room::new(config.hash_key),
            maxmemory_bytes: config.maxmemory_bytes,
            stats: HashMap::new(),
            values: None,
            swept: 0,
        }
    }

    /// Sets this shard's share of `maxmemory`; 0: no limit.
    pub fn set_maxmemory_bytes(&mut self, maxmemory_bytes: usize) {
        self.maxmemory_bytes = maxmemory_bytes;
    }

    /// Applies an operation that was received at `now_ms`. It must be logged if the outcome [counted](Outcome::counted).
    ///
    /// # Panics
    /// When `op` is not an operation of the stream that its layout names: the caller encoded it.
    pub fn apply(&mut self, catalogue: &Catalogue, op: &[u8], now_ms: i64) -> Outcome {
        let op = Op::decode(op).expect("an operation as it was encoded");
        let Some(stream) = catalogue.by_layout(op.layout) else { return Outcome::Dropped };
        self.change(stream, &op, Mode::Live { now_ms }).expect("values as they were encoded")
    }

    /// Applies an operation of the log again. Never refuses for memory; operations of streams that are gone are skipped.
    ///
    /// # Errors
    /// When the bytes are not an operation: the log is damaged.
    pub fn replay(&mut self, catalogue: &Catalogue, op: &[u8]) -> Result<(), OpError> {
        let op = Op::decode(op)?;
        if let Some(stream) = catalogue.by_layout(op.layout) {
            stream.observe(op.clock_ms, op.clock_ms);
            self.change(stream, &op, Mode::Replay)?;
        }
        Ok(())
    }

    fn change(&mut self, stream: &Stream, op: &Op<'_>, mode: Mode) -> Result<Outcome, OpError> {
        let mut values = self.values.take().unwrap_or_else(|| Box::new([0; FIELDS_MAX]));
        let outcome = op.values(&stream.layout, &mut values).map(|present| {
            let event = Event { ts: op.ts, clock: op.clock_ms, present, values: &*values };
            self.change_by(stream, op, &event, mode)
        });
        self.values = Some(values);
        outcome
    }

    fn change_by(&mut self, stream: &Stream, op: &Op<'_>, event: &Event<'_>, mode: Mode) -> Outcome {
        let layout = &stream.layout;
        let stats = self.stats.entry(stream.id).or_default();
        if op.judged == Judged::Skewed {
            stats.skewed += 1;
            return Outcome::Skewed;
        }
        let place = self.room.find(stream.layout_id, op.entity);
        let newest_ms = place.map(|place| body::newest_ms(&*self.room.record(place).words));
        let dead = newest_ms.is_some_and(|newest_ms| body::is_dead(layout, newest_ms, event.clock));
        let live_words = place.filter(|_| !dead).map(|place| &*self.room.record(place).words);
        if body::judge(layout, live_words, event) {
            stats.late += 1;
            return Outcome::Late;
        }
        if !self.make_room(stream, op.entity, place, dead, event, mode) {
            return Outcome::OutOfMemory;
        }
        let clamped = op.judged == Judged::Clamped;
        let stats = self.stats.entry(stream.id).or_default();
        stats.counted(op.ts, clamped);
        if let Mode::Live { now_ms } = mode {
            stats.received(now_ms, op.ts);
        }
        if clamped { Outcome::Clamped } else { Outcome::Ok }
    }

    /// Finds or makes a record with room for the event and adds it; `false` when that would exceed `maxmemory`.
    fn make_room(
        &mut self,
        stream: &Stream,
        entity: &[u8],
        place: Option<Place>,
        dead: bool,
        event: &Event<'_>,
        mode: Mode,
    ) -> bool {
        // A full shard still takes events that need no memory: entities that it has, in buckets that they have.
        let full = mode != Mode::Replay
            && self.maxmemory_bytes > 0
            && self.room.memory_bytes() >= self.maxmemory_bytes;
        let layout = &stream.layout;
        let place = match place {
            Some(place) if dead => {
                // What was kept of a dead entity is gone; the event starts it anew.
                self.room.replace_words(place, empty_words(stream));
                place
            }
            Some(place) => place,
            None if full => return false,
            None => {
                let place = self.room.insert(stream.layout_id, entity, empty_words(stream));
                self.stats.entry(stream.id).or_default().entities += 1;
                place
            }
        };
        let placements = loop {
            let words = &*self.room.record(place).words;
            match body::fit(layout, words, event) {
                Fit::Ready(placements) => break placements,
                Fit::Grow { .. } if full => return false,
                Fit::Grow { tier, shape } => {
                    let mut grown = vec![0; body::words_grown(layout, words, tier, shape)].into_boxed_slice();
                    body::grow(layout, words, &mut *grown, tier, shape);
                    self.room.replace_words(place, grown);
                }
            }
        };
        body::add(layout, self.room.words_mut(place), event, &placements);
        true
    }

    /// Evaluates a query for one entity, a value a feature, onto `out`.
    pub fn read(&self, stream: &Stream, entity: &[u8], query: &Query, time: ReadTime, out: &mut Vec<Value>) {
        evaluate(&stream.layout, self.words(stream.layout_id, entity), &query.features, time, out);
    }

    /// Evaluates pairs of a WINDOW.RANGE for one entity onto `out`.
    pub fn range(
        &self,
        stream: &Stream,
        entity: &[u8],
        plan: &RangePlan,
        pairs: std::ops::Range<usize>,
        out: &mut Vec<(i64, Value)>,
    ) {
        evaluate_range(&stream.layout, self.words(stream.layout_id, entity), plan, pairs, out);
    }

    fn words(&self, layout: LayoutId, entity: &[u8]) -> Option<&[u64]> {
        self.room.find(layout, entity).map(|place| &*self.room.record(place).words)
    }

    /// Reclaims dead entities and records of dropped streams among the next `records_max` records. Nothing that a command can see
    /// depends on when this happens.
    pub fn upkeep(&mut self, catalogue: &Catalogue, now_ms: i64, records_max: usize) {
        for _ in 0..records_max.min(self.room.places()) {
            if self.swept >= self.room.places() {
                self.swept = 0;
            }
            let place = self.room.at(self.swept);
            self.swept += 1;
            let Some(place) = place else { continue };
            let record = self.room.record(place);
            match catalogue.by_layout(record.layout) {
                None => drop(self.room.remove(place)),
                Some(stream) => {
                    let newest_ms = body::newest_ms(&*record.words);
                    let clock = stream.clock_ms(now_ms);
                    if clock.is_some_and(|clock_ms| body::is_dead(&stream.layout, newest_ms, clock_ms)) {
                        self.room.remove(place);
                        self.stats.entry(stream.id).or_default().entities -= 1;
                    }
                }
            }
        }
    }

    /// Forgets the counters of streams that are gone.
    pub fn adopt(&mut self, catalogue: &Catalogue) {
        let known: Vec<StreamId> = catalogue.iter().map(|stream| stream.id).collect();
        self.stats.retain(|id, _| known.contains(id));
    }

    /// Counts an event that was refused for its form.
    pub fn count_error(&mut self, stream: StreamId) {
        self.stats.entry(stream).or_default().errors += 1;
    }

    /// Entities of the streams that exist.
    pub fn entities(&self) -> u64 {
        self.stats.values().map(|stats| stats.entities).sum()
    }

    /// A stream's counters on this shard.
    pub fn stream_stats(&self, stream: StreamId) -> StreamStats {
        self.stats.get(&stream).cloned().unwrap_or_default()
    }

    /// Bytes of the records and what finds them.
    pub fn memory_bytes(&self) -> usize {
        self.room.memory_bytes()
    }
}

fn empty_words(stream: &Stream) -> Box<[u64]> {
    let mut words = vec![0; stream.layout.words_min()].into_boxed_slice();
    body::init(&stream.layout, &mut *words);
    words
}
