//! Making room under `maxmemory-policy allkeys-lru`: the entities whose last event is longest ago are removed, approximately.
//!
//! As Redis does it: a few records are drawn by chance at a time, the oldest seen so far are kept in a small pool, and the oldest of
//! these goes. *Longest ago* is by the position of a record's last operation, which orders arrivals whatever clock their
//! streams have.
//!
//! A removed slot is free only after a grace period, so room is made ahead of need: as soon as there is room for fewer than
//! some thousands of records of the size wanted last. Records have many sizes, and what is removed need not have the one
//! that is wanted; so a chunk whose records fit elsewhere is emptied first, whenever there is no whole one.
//!
//! Every removal is logged as an operation. The log's replay removes what it says, and nothing else.

use std::collections::VecDeque;

use windrow_memory::{Handle, Record, Squeezed};
use windrow_window::body;

use crate::catalogue::{Catalogue, StreamId};
use crate::op;
use crate::planted::{Mistake, is_planted};
use crate::record::Body;
use crate::shard::Shard;

/// Records drawn for each one that is removed.
const SAMPLES: usize = 5;
/// Draws for these: one may fall on a chunk that holds no records.
const DRAWS_MAX: usize = 4 * SAMPLES;
/// Candidates kept from one removal to the next.
const CANDIDATES_MAX: usize = 16;
/// Records that one event removes.
const EVICTED_PER_EVENT: usize = 2;
/// Records that one tick removes beside these.
const EVICTED_PER_TICK: usize = 64;
/// Room is made for so many records ahead of need: more than a tick can make.
const ROOM_RECORDS: usize = 4096;
/// But for no more than this part of the memory.
const ROOM_PART: usize = 16;
/// Steps of emptying a chunk in one tick: each moves a few records, or removes one.
const SQUEEZES_PER_TICK: usize = 64;
/// When the budget was lowered, entities are removed until what is left fits this part of it, in quarters; then chunks are emptied.
const FITS_QUARTERS: usize = 3;
/// Records drawn before they are looked at, so that they can be loaded meanwhile.
const DRAWN: usize = 8;

/// What a shard remembers to make room with.
#[derive(Debug)]
pub(crate) struct Eviction {
    is_on: bool,
    /// The oldest records seen by chance, oldest last.
    candidates: Vec<Candidate>,
    /// Records drawn and not yet looked at, first drawn first.
    drawn: VecDeque<Handle>,
    /// The state of a xorshift generator (Marsaglia, 2003).
    random: u64,
    /// Words of the record that was made or grown last.
    pub(crate) wanted_words: usize,
    /// An event found no memory since there was last a whole chunk.
    pub(crate) is_starved: bool,
    /// A chunk is being emptied: there will be room without removing anything.
    is_squeezing: bool,
    /// Entities removed so far; records of dropped streams are nobody's.
    evicted: usize,
    op: Vec<u8>,
    entity: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    place: Handle,
    hash: u64,
    position: u64,
}

impl Eviction {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            is_on: false,
            candidates: Vec::with_capacity(CANDIDATES_MAX + 1),
            drawn: VecDeque::with_capacity(DRAWN),
            random: seed | 1,
            wanted_words: 1,
            is_starved: false,
            is_squeezing: false,
            evicted: 0,
            op: Vec::new(),
            entity: Vec::new(),
        }
    }

    /// Forgets the places that were drawn and not looked at: once memory is collected, another class of slots may lie there.
    pub(crate) fn forget_drawn(&mut self) {
        self.drawn.clear();
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn consider(&mut self, candidate: Candidate) {
        let is_known = self.candidates.iter().any(|known| known.place == candidate.place);
        let at = self.candidates.partition_point(|known| known.position > candidate.position);
        if is_known || (at == 0 && self.candidates.len() == CANDIDATES_MAX) {
            return;
        }
        self.candidates.insert(at, candidate);
        if self.candidates.len() > CANDIDATES_MAX {
            self.candidates.remove(0);
        }
    }
}

/// Whether it stands there so that a backfill does not bring an entity back.
pub(crate) fn is_buried(record: Record<'_>) -> bool {
    body::newest_ms(&Body(record)) == body::NONE
}

impl Shard {
    /// Whether room is made by removing entities; otherwise events that need memory are refused.
    pub fn set_eviction(&mut self, is_on: bool) {
        self.eviction.is_on = is_on;
    }

    /// Makes room ahead of one event; gives how many entities it removed. `log` takes the operation of each removal, and says whether
    /// it has room for it: if not, nothing is removed.
    #[inline]
    pub fn make_room_for_event(&mut self, catalogue: &Catalogue, log: impl FnMut(&[u8]) -> bool) -> usize {
        if !self.eviction.is_on || self.eviction.is_squeezing || !self.wants_room() {
            return 0;
        }
        let before = self.eviction.evicted;
        self.evict(catalogue, EVICTED_PER_EVENT, log);
        self.eviction.evicted - before
    }

    /// Makes room for the next tick; gives how many entities it removed. Without eviction, only by moving records. Once a tick.
    pub fn make_room(&mut self, catalogue: &Catalogue, mut log: impl FnMut(&[u8]) -> bool) -> usize {
        if self.store.whole_chunks() > 0 {
            (self.eviction.is_starved, self.eviction.is_squeezing) = (false, false);
            return 0;
        }
        if self.eviction.is_on && self.is_short_of_headroom() {
            self.eviction.is_starved = true;
        }
        if !self.is_tight() {
            self.eviction.is_squeezing = false;
            return 0;
        }
        let before = self.eviction.evicted;
        self.squeeze(catalogue, &mut log);
        if self.eviction.is_on && !self.eviction.is_squeezing && self.wants_room() {
            self.evict(catalogue, EVICTED_PER_TICK, log);
        }
        self.eviction.evicted - before
    }

    /// Whether there is too little room, and too little that will soon be free.
    fn wants_room(&self) -> bool {
        self.is_tight() && self.store.retired_slots() < self.room_records()
    }

    pub(crate) fn is_tight(&self) -> bool {
        self.eviction.is_starved
            || self.store.is_over_budget()
            || self.store.room_for(self.eviction.wanted_words) < self.room_records()
    }

    /// Room is made for so many records of the size wanted last.
    fn room_records(&self) -> usize {
        let record_bytes = self.eviction.wanted_words * size_of::<u64>();
        ROOM_RECORDS.min(self.maxmemory_bytes / ROOM_PART / record_bytes).max(1)
    }

    fn evict(&mut self, catalogue: &Catalogue, count_max: usize, mut log: impl FnMut(&[u8]) -> bool) {
        for _ in 0..count_max {
            let oldest = self.oldest_seen();
            if !oldest.is_some_and(|place| self.remove_logged(catalogue, place, &mut log)) {
                break;
            }
        }
    }

    /// Draws some records, and takes the oldest of all that were drawn and are as they were.
    fn oldest_seen(&mut self) -> Option<Handle> {
        let mut left = SAMPLES;
        for _ in 0..DRAWS_MAX {
            if left == 0 {
                break;
            }
            let random = self.eviction.draw();
            self.eviction.drawn.extend(self.store.sample(random));
            if self.eviction.drawn.len() < DRAWN {
                continue;
            }
            let Some(place) = self.eviction.drawn.pop_front() else { continue };
            let Some(record) = self.store.peek(place) else { continue };
            let (hash, position) = (record.hash(), record.position());
            left -= 1;
            if is_buried(record) {
                continue;
            }
            self.eviction.consider(Candidate { place, hash, position });
        }
        while let Some(oldest) = self.eviction.candidates.pop() {
            let is_as_it_was = self
                .store
                .peek(oldest.place)
                .is_some_and(|record| record.hash() == oldest.hash && record.position() == oldest.position);
            if is_as_it_was {
                return Some(oldest.place);
            }
        }
        None
    }

    /// Removes a record if the log takes its operation.
    pub(crate) fn remove_logged(
        &mut self,
        catalogue: &Catalogue,
        place: Handle,
        log: &mut impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let record = self.store.record(place);
        let id = StreamId(record.stream());
        if is_buried(record) && catalogue.by_id(id).is_some_and(|stream| stream.keeps_the_dead()) {
            return false;
        }
        let Some(stream) = catalogue.by_id(id) else {
            // Of a dropped stream: nobody can see it.
            self.store.remove(place);
            return true;
        };
        record.copy_entity(&mut self.eviction.entity);
        self.eviction.op.clear();
        op::encode_remove(&mut self.eviction.op, stream.layout_id, &self.eviction.entity, false);
        if !is_planted(Mistake::EvictionNotLogged) && !log(&self.eviction.op) {
            return false;
        }
        // One without events stands for an entity that was deleted: the replay has none, if the backfill has finished since.
        let is_entity = !is_buried(self.store.record(place));
        self.remove_counted(id, place);
        self.stats.of(id).evicted += u64::from(is_entity);
        self.eviction.evicted += 1;
        true
    }

    /// Whether more chunks are in use than may be, though their records would fit those that may.
    fn is_spread_out(&self) -> bool {
        let usage = self.store.usage();
        let needed_bytes = usage.record_bytes + usage.block_bytes;
        self.store.is_over_budget() && needed_bytes <= usage.bytes_max / 4 * FITS_QUARTERS
    }

    /// Whether a chunk is being emptied: the next tick will go on.
    pub fn is_making_room(&self) -> bool {
        self.eviction.is_squeezing || (self.eviction.is_on && self.store.is_over_budget())
    }

    /// Empties a chunk, so that it can be cut for another size. Where an event found no memory, what is in the way is driven out.
    fn squeeze(&mut self, catalogue: &Catalogue, mut log: impl FnMut(&[u8]) -> bool) {
        let may_displace = self.eviction.is_on && (self.eviction.is_starved || self.is_spread_out());
        self.eviction.is_squeezing = true;
        for _ in 0..SQUEEZES_PER_TICK {
            match self.store.squeeze(may_displace) {
                Squeezed::Went => {}
                Squeezed::Waiting => break,
                Squeezed::Nothing => {
                    self.eviction.is_squeezing = false;
                    break;
                }
                Squeezed::Stuck(place) => {
                    if !self.remove_logged(catalogue, place, &mut log) {
                        self.store.stop_squeezing();
                        break;
                    }
                }
            }
        }
    }
}
