//! What the log says of earlier events: a body for each entity.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use windrow_memory::CHUNK_BYTES;
use windrow_window::body::{self, Event, Fit, Placements};
use windrow_window::definition::FIELDS_MAX;
use windrow_window::{ClockMode, SkewAction};

use super::Backfill;
use crate::catalogue::{Catalogue, LayoutId, Stream};
use crate::op::{self, AnyOp, Encoder, Judged, Op, OpError};
use crate::planted::{Mistake, is_planted};
use crate::slot::{SLOTS, hash_slot, shard_of};

/// What an entity takes beside its words and its name, about.
const ENTITY_BYTES: usize = 96;
/// Words of the largest body.
const BODY_WORDS_MAX: usize = CHUNK_BYTES / size_of::<u64>();

/// The stream has no backfill, or its source is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowError;

/// Bodies of entities as the log's operations make them, of a range of hash slots at a time: a *pass* over the log. Where there are more
/// than there is memory for, the upper half of the slots is left to another pass.
#[derive(Debug)]
pub struct Shadow {
    target: Arc<Stream>,
    source: Arc<Stream>,
    backfill: Backfill,
    /// For each field of the source, the target's.
    fields: Vec<Option<usize>>,
    bytes_max: usize,
    slots: Range<u16>,
    entities: BTreeMap<u16, HashMap<Box<[u8]>, Vec<u64>>>,
    bytes: usize,
    /// Of the slot whose entities are being taken out, those that are left, the first last.
    leaving: Vec<(Box<[u8]>, Vec<u64>)>,
    placements: Placements,
    events: u64,
    /// The newest event time of a source.
    newest: Option<Newest>,
}

/// An event time, and whose event it was.
#[derive(Debug)]
struct Newest {
    ts: i64,
    entity: Box<[u8]>,
}

impl Shadow {
    /// For the backfill of a stream. It takes `bytes_max` of memory, about, or what the entities of a single hash slot take.
    ///
    /// # Errors
    /// [`ShadowError`].
    pub fn new(catalogue: &Catalogue, target: &Arc<Stream>, bytes_max: usize) -> Result<Self, ShadowError> {
        let backfill = target.backfill.clone().ok_or(ShadowError)?;
        let source = match backfill.source {
            Some(id) => catalogue.by_id(id).ok_or(ShadowError)?,
            None => target,
        };
        let places = source
            .definition
            .fields
            .iter()
            .map(|field| target.definition.fields.iter().position(|own| own == field));
        target.earlier.as_ref().ok_or(ShadowError)?;
        Ok(Self {
            fields: places.collect(),
            target: Arc::clone(target),
            source: Arc::clone(source),
            backfill,
            bytes_max,
            slots: 0..0,
            entities: BTreeMap::new(),
            bytes: 0,
            leaving: Vec::new(),
            placements: Placements::default(),
            events: 0,
            newest: None,
        })
    }

    /// Begins a pass over the log with the slots that are left; false: there are none.
    pub fn begin_pass(&mut self) -> bool {
        self.slots = self.slots.end..SLOTS;
        self.entities.clear();
        self.leaving.clear();
        self.bytes = 0;
        !self.slots.is_empty()
    }

    /// Whether this pass, as far as the log was read, leaves nothing to another one.
    pub fn is_last_pass(&self) -> bool {
        self.slots.end == SLOTS
    }

    /// Of the operations that one of `shards` shards logged some are missing, all before those that come next: forgets what was found
    /// before them of its entities. They may have been removed there.
    pub fn pass_over(&mut self, shard: u16, shards: u16) {
        if is_planted(Mistake::GapNotBackfilled) {
            return;
        }
        let bytes = &mut self.bytes;
        self.entities.retain(|slot, entities| {
            let is_kept = shard_of(*slot, usize::from(shards)) != usize::from(shard);
            if !is_kept {
                *bytes -= entities.iter().map(|(entity, words)| bytes_of(entity, words)).sum::<usize>();
            }
            is_kept
        });
    }

    /// The part of all slots that this pass leaves behind, and that it began with.
    pub fn slots(&self) -> (f64, f64) {
        let part = |slot: u16| f64::from(slot) / f64::from(SLOTS);
        (part(self.slots.end), part(self.slots.start))
    }

    /// Events that were taken in, over all passes.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Bytes that the entities take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an operation that names this layout stands before what is filled, or `is_behind` of a source says so.
    fn is_before(&self, layout: LayoutId, is_behind: bool) -> bool {
        match self.backfill.source {
            None => layout < self.backfill.awaiting,
            Some(_) => is_behind,
        }
    }

    /// Takes an operation of the log in, each entity's in the order of the log. `is_behind`: it stands before the backfill's boundary;
    /// `now_ms`: the server's clock when it was logged.
    ///
    /// # Errors
    /// When the bytes are not an operation: the log is damaged.
    pub fn feed(
        &mut self,
        catalogue: &Catalogue,
        bytes: &[u8],
        is_behind: bool,
        now_ms: i64,
    ) -> Result<(), OpError> {
        let Some(named) = op::layout(bytes) else {
            return AnyOp::decode(bytes).map(|_| ());
        };
        let is_of_source = catalogue.by_layout(named).is_some_and(|stream| stream.id == self.source.id);
        if !is_of_source || op::is_merge(bytes) || !self.is_before(named, is_behind) {
            return Ok(());
        }
        let op = AnyOp::decode(bytes)?;
        let slot = hash_slot(op.entity());
        if !self.slots.contains(&slot) {
            return Ok(());
        }
        match op {
            AnyOp::Event(event) => self.event(catalogue, slot, &event, now_ms),
            AnyOp::Remove(remove) => {
                // What went to make room in the source was seen by it all the same.
                let is_seen = remove.is_asked || self.backfill.source.is_none();
                if is_seen && !is_planted(Mistake::DeletionNotBackfilled) {
                    self.forget(slot, remove.entity);
                }
                Ok(())
            }
            AnyOp::Merge(_) => Ok(()),
        }
    }

    fn event(&mut self, catalogue: &Catalogue, slot: u16, op: &Op<'_>, now_ms: i64) -> Result<(), OpError> {
        if op.judged == Judged::Noted {
            return Ok(());
        }
        let version = catalogue.as_of(op.layout).expect("a layout of the source");
        let mut words = [0; FIELDS_MAX];
        let present = op.values(&version.layout, &mut words)?;
        let (mut own_words, mut own_present) = ([0; FIELDS_MAX], 0u64);
        for (field, own) in self.fields.iter().enumerate() {
            if let Some(own) = *own
                && present & (1 << field) != 0
            {
                own_words[own] = words[field];
                own_present |= 1 << own;
            }
        }
        let Some(ts) = self.counted_at(op, now_ms) else { return Ok(()) };
        let target = Arc::clone(&self.target);
        let earlier = target.earlier.as_ref().expect("looked at when it was made");
        // Whether its bucket is still kept is for later; the source has counted it. But one that is ahead of its clock, or by whose clock
        // its source was ahead of the server's, must not make what is kept look old: a body that grows forgets sketches by it.
        let clock = ts.min(op.clock_ms).min(now_ms);
        let bytes = op.value_bytes();
        let event = Event { ts, clock, present: own_present, values: &own_words, bytes };
        self.events += 1;
        if self.backfill.source.is_some() && self.newest.as_ref().is_none_or(|newest| newest.ts < ts) {
            self.newest = Some(Newest { ts, entity: op.entity.into() });
        }
        let known = self.entities.get(&slot).and_then(|entities| entities.get(op.entity));
        let starts_anew = match (known, self.backfill.source) {
            (None, _) => true,
            (Some(_), None) => op.starts_anew,
            (Some(words), Some(_)) => {
                let clock_ms = match (target.layout.clock, self.source.layout.clock) {
                    (ClockMode::Wall, _) => now_ms,
                    (ClockMode::Event, ClockMode::Event)
                        if self.source.layout.skew_most_ms() <= target.layout.skew_ms =>
                    {
                        op.clock_ms
                    }
                    // The source's clock may be ahead by events that the target does not take: its own is at least this. So an entity that
                    // died may be taken for alive, and what `all` counts go on; the other way, what is alive would be lost.
                    (ClockMode::Event, _) => ts,
                };
                body::is_dead(&target.layout, body::newest_ms(words.as_slice()), clock_ms)
            }
        };
        if starts_anew {
            self.forget(slot, op.entity);
            if body::is_late_for_new(earlier, &event) {
                return Ok(());
            }
        }
        let entities = self.entities.entry(slot).or_default();
        let mut words = entities.remove(op.entity).unwrap_or_else(|| {
            let mut words = vec![0; earlier.words_min()];
            body::init(earlier, words.as_mut_slice());
            self.bytes += ENTITY_BYTES + op.entity.len() + 8 * words.len();
            words
        });
        loop {
            match body::fit(earlier, words.as_slice(), &event, &mut self.placements) {
                Fit::Ready => {
                    body::add(earlier, words.as_mut_slice(), &event, &self.placements);
                    break;
                }
                Fit::Late => break,
                Fit::Grow(growth) => {
                    let wanted = body::words_grown(earlier, words.as_slice(), &growth);
                    if wanted.least > BODY_WORDS_MAX {
                        // Its record would have been full, too.
                        break;
                    }
                    let mut larger = vec![0; wanted.ample.min(BODY_WORDS_MAX).max(wanted.least)];
                    body::grow(earlier, words.as_slice(), larger.as_mut_slice(), &growth);
                    self.bytes = self.bytes + 8 * larger.len() - 8 * words.len();
                    words = larger;
                }
            }
        }
        entities.insert(op.entity.into(), words);
        while self.bytes > self.bytes_max && self.slots.len() > 1 {
            self.leave_half();
        }
        Ok(())
    }

    /// When the target counts an event that its source counted: at its own time, or, where that was further ahead of the server's clock
    /// than its SKEW allows, as it would have itself. `None`: not at all. Its rings have no room for what is further ahead: that would
    /// take the place of buckets of the present.
    fn counted_at(&self, op: &Op<'_>, now_ms: i64) -> Option<i64> {
        if self.backfill.source.is_none() || is_planted(Mistake::AheadBackfilled) {
            return Some(op.ts);
        }
        let received_ms = match self.source.layout.clock {
            ClockMode::Wall => op.clock_ms,
            ClockMode::Event => now_ms,
        };
        let layout = &self.target.layout;
        if op.ts <= received_ms.saturating_add(layout.skew_ms) {
            return Some(op.ts);
        }
        match layout.skew_action {
            SkewAction::Clamp => Some(received_ms),
            SkewAction::Reject => None,
        }
    }

    fn forget(&mut self, slot: u16, entity: &[u8]) {
        if let Some(words) = self.entities.get_mut(&slot).and_then(|entities| entities.remove(entity)) {
            self.bytes -= bytes_of(entity, &words);
        }
    }

    /// Leaves the upper half of the slots to another pass.
    fn leave_half(&mut self) {
        self.slots.end = u16::midpoint(self.slots.start, self.slots.end);
        let left = self.entities.split_off(&self.slots.end);
        let entities = left.values().flatten();
        self.bytes -= entities.map(|(entity, words)| bytes_of(entity, words)).sum::<usize>();
    }

    /// Writes the operation by which a stream with CLOCK EVENT that is filled with the events of another one learns its time, to be
    /// [noted](crate::Shard::note) before any MERGE of this pass; false: it needs none.
    pub fn write_note(&self, out: &mut Vec<u8>) -> bool {
        match &self.newest {
            Some(Newest { ts, entity }) if self.target.layout.clock == ClockMode::Event => {
                Encoder::start(out, self.target.layout_id, entity).finish(Judged::Noted, *ts, *ts);
                true
            }
            _ => false,
        }
    }

    /// Takes an entity out and writes its MERGE to the end of `out`; false: there are no more. To be called when all of the log was fed.
    pub fn take_merge(&mut self, out: &mut Vec<u8>) -> bool {
        while self.leaving.is_empty() {
            let Some((_, entities)) = self.entities.pop_first() else { return false };
            self.leaving = entities.into_iter().collect();
            // In one order, so that the same log makes the same operations.
            self.leaving.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        }
        let Some((entity, words)) = self.leaving.pop() else { return false };
        self.bytes -= bytes_of(&entity, &words);
        let earlier = self.target.earlier.as_ref().expect("looked at when it was made");
        let used = body::words_used(earlier, words.as_slice());
        op::encode_merge(out, self.target.layout_id, &entity, &words[..used]);
        true
    }
}

fn bytes_of(entity: &[u8], words: &[u64]) -> usize {
    ENTITY_BYTES + entity.len() + 8 * words.len()
}
