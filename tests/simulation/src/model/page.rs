//! What counted operations add up to.

use std::collections::{BTreeMap, BTreeSet};

use super::history::Place;
use super::stream::Clock;

/// Streams by id, entities by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// What there is of each stream that ever had an operation.
    pub streams: BTreeMap<u32, StreamPage>,
}

/// What there is of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamPage {
    /// The largest stamp of the stream's clock among its operations.
    pub clock_ms: Option<i64>,
    /// The newest event time counted.
    pub newest_ms: Option<i64>,
    /// Events of each entity, in order of arrival.
    pub entities: BTreeMap<usize, EntityPage>,
    /// When each id was counted.
    pub ids: BTreeMap<(usize, u64), Counted>,
    /// Sources by group of hash slots and number.
    pub sources: BTreeMap<(u8, u64), SourcePage>,
    /// Events counted at their own time.
    pub ok: u64,
    /// Events counted at the server's time.
    pub clamped: u64,
    /// Entities that went to make room.
    pub evicted: u64,
}

/// What there is of one entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntityPage {
    /// Its events.
    pub events: Vec<Event>,
    /// The last operation of it.
    pub last: Option<Place>,
    /// How often its stream had been altered when its first event came.
    pub began: usize,
    /// How often it had been altered when it was written last.
    pub written: usize,
    /// Of what was added at a generation, the earlier events that a backfill has brought.
    pub filled: Vec<(usize, BTreeSet<u64>)>,
    /// There is a record, of an entity that is alive, dead, or was removed while its stream was filled from another one.
    pub has_record: bool,
    /// A backfill from another stream has nothing to bring it.
    pub is_whole: bool,
}

impl EntityPage {
    /// Whether an event counts for what was added at a generation.
    pub fn counts(&self, event: &Event, since: usize) -> bool {
        let is_filled = |(generation, events): &(usize, BTreeSet<u64>)| {
            *generation == since && events.contains(&event.number)
        };
        event.generation >= since || self.filled.iter().any(is_filled)
    }
}

/// An event that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which event of all clients.
    pub number: u64,
    /// Event time.
    pub ts: i64,
    /// The clock that it was judged by.
    pub clock_ms: i64,
    /// The newest event that its entity had.
    pub newest_ms: Option<i64>,
    /// Field `n`.
    pub n: i64,
    /// Field `s`.
    pub s: &'static str,
    /// How often its stream had been altered where it was counted.
    pub generation: usize,
}

/// When an id was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The stamp of the event.
    pub stamp_ms: i64,
    /// The stream's clock where it was counted.
    pub clock_ms: i64,
    /// Where it stands.
    pub place: Place,
}

/// How far a source has come in a group of hash slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePage {
    /// The last sequence number counted.
    pub last: u64,
    /// Where that stands.
    pub place: Place,
}

/// An operation as it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// An event was counted.
    Count {
        /// Whose.
        entity: usize,
        /// The event.
        event: Event,
        /// Its stamp of the stream's clock.
        stamp_ms: i64,
        /// What drives that.
        source_clock: Clock,
        /// The stream's clock where it was counted.
        applied_ms: i64,
        /// Its id.
        id: Option<u64>,
        /// Group of hash slots, source, and sequence number.
        source: Option<(u8, u64, u64)>,
        /// Whatever was there is gone.
        anew: bool,
        /// It was moved to the server's time.
        clamped: bool,
    },
    /// Only the clock of the stream moved.
    Note {
        /// The stamp.
        stamp_ms: i64,
    },
    /// The entity was deleted.
    Remove {
        /// Which.
        entity: usize,
        /// How often its stream had been altered.
        generation: usize,
    },
    /// The entity went to make room.
    Evict {
        /// Which.
        entity: usize,
        /// How often its stream had been altered.
        generation: usize,
    },
    /// The entity's record took what a backfill found.
    Merge {
        /// Which.
        entity: usize,
        /// What was added at this generation is filled.
        generation: usize,
        /// The events.
        found: Vec<Event>,
        /// They are another stream's; the clock of a stream with CLOCK EVENT that they bring.
        copied: Option<Option<i64>>,
    },
}

impl Page {
    /// What there is of a stream.
    pub fn stream(&mut self, id: u32) -> &mut StreamPage {
        self.streams.entry(id).or_default()
    }

    /// Events of an entity.
    pub fn entity(&self, stream: u32, entity: usize) -> Option<&EntityPage> {
        self.streams.get(&stream)?.entities.get(&entity)
    }

    /// Adds an operation.
    pub fn add(&mut self, stream: u32, decision: &Decision, place: Place) {
        let stream = self.stream(stream);
        match decision {
            Decision::Note { stamp_ms } => stream.clock_ms = stream.clock_ms.max(Some(*stamp_ms)),
            Decision::Remove { entity, .. } => {
                *stream.entities.entry(*entity).or_default() = EntityPage {
                    last: Some(place),
                    has_record: true,
                    is_whole: true,
                    ..EntityPage::default()
                };
            }
            Decision::Evict { entity, .. } => {
                let page = stream.entities.entry(*entity).or_default();
                // One without events is no entity, but what a deletion has left.
                stream.evicted += u64::from(!page.events.is_empty());
                *page = EntityPage { last: Some(place), ..EntityPage::default() };
            }
            Decision::Merge { entity, generation, found, copied } => {
                let newest_ms = found.iter().map(|event| event.ts).max();
                let page = stream.entities.entry(*entity).or_default();
                if let Some(clock_ms) = copied {
                    let newest_ms = newest_ms.max(page.events.iter().map(|event| event.ts).max());
                    page.events.splice(0..0, found.iter().cloned());
                    stream.newest_ms = stream.newest_ms.max(newest_ms);
                    stream.clock_ms = stream.clock_ms.max(*clock_ms);
                }
                page.filled.push((*generation, found.iter().map(|event| event.number).collect()));
                (page.has_record, page.is_whole) = (true, true);
                page.written = *generation;
                page.last = Some(place);
            }
            Decision::Count { entity, event, stamp_ms, applied_ms, id, source, anew, clamped, .. } => {
                stream.clock_ms = stream.clock_ms.max(Some(*stamp_ms));
                stream.newest_ms = stream.newest_ms.max(Some(event.ts));
                *(if *clamped { &mut stream.clamped } else { &mut stream.ok }) += 1;
                if let Some(id) = id {
                    let counted = Counted { stamp_ms: *stamp_ms, clock_ms: *applied_ms, place };
                    stream.ids.insert((*entity, *id), counted);
                }
                if let Some((group, source, seq)) = source {
                    stream.sources.insert((*group, *source), SourcePage { last: *seq, place });
                }
                let page = stream.entities.entry(*entity).or_default();
                if *anew {
                    page.events.clear();
                    page.filled.clear();
                    // One that is made anew lacks nothing; one that is made may.
                    (page.began, page.is_whole) = (event.generation, page.has_record);
                }
                (page.has_record, page.written) = (true, event.generation);
                page.events.push(event.clone());
                page.last = Some(place);
            }
        }
    }
}
