//! What counted operations add up to.

use std::collections::BTreeMap;

use super::history::Place;

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

impl Event {
    /// Whether it counts for what was added at a generation.
    pub fn is_in(&self, since: usize) -> bool {
        self.generation >= since
    }
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
    },
    /// The entity went to make room.
    Evict {
        /// Which.
        entity: usize,
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
            Decision::Remove { entity } | Decision::Evict { entity } => {
                stream.evicted += u64::from(matches!(decision, Decision::Evict { .. }));
                *stream.entities.entry(*entity).or_default() =
                    EntityPage { events: Vec::new(), last: Some(place) };
            }
            Decision::Count { entity, event, stamp_ms, applied_ms, id, source, anew, clamped } => {
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
                }
                page.events.push(event.clone());
                page.last = Some(place);
            }
        }
    }
}
