//! Which events were counted before: ids that a client gave them, and sequence numbers of sources.
//!
//! ```text
//!   stream ── group of hash slots (256) ─┬─ generations ── sub-tables of at most 4,096 fingerprints
//!                                        └─ sources: last sequence number counted, and the one to be retried first
//! ```
//!
//! A group of slots is one shard's whatever the number of shards, so nothing here depends on it. **By id**: a generation covers
//! one DEDUP of the stream's clock and is kept for one more. Which generation an id goes to depends on the stamps of counted
//! events alone, so the log's replay makes the same ones; whether an id is found depends on the clock, not on whether a
//! generation that is over was freed. **By source**: see [`sources`].
//!
//! Owner only; no step takes longer than one sub-table.

mod apply;
mod export;
mod fingerprint;
mod generation;
mod group;
mod sources;
mod table;

use hashbrown::HashMap;

pub(crate) use export::ExportPlace;
pub use sources::SEQ_MAX;
pub(crate) use sources::SOURCES_MAX;

use crate::catalogue::{Catalogue, StreamId};
use crate::slot::SLOT_GROUPS;
use generation::Generation;
use group::Group;
use sources::{FIRST_BYTES, Sources};

/// Most bytes of an id; the fewest are 1.
pub const ID_BYTES_MAX: usize = 1024;
/// Most bytes of a source's name; the fewest are 1.
pub const SOURCE_BYTES_MAX: usize = 256;

/// What an event says so that it is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The [fingerprint](crate::HashKey::id_fingerprint) of its id; not 0.
    pub id: Option<u64>,
    /// Its source and sequence number.
    pub source: Option<SourceSeq>,
}

impl Mark {
    /// Whether it says nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.id.is_none() && self.source.is_none()
    }
}

/// A source and a sequence number of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceSeq {
    /// The [fingerprint](crate::HashKey::source_fingerprint) of its name.
    pub source: u64,
    /// At most [`SEQ_MAX`].
    pub seq: u64,
}

/// What dedup takes, of one stream or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DedupUsage {
    /// Ids remembered.
    pub ids: u64,
    /// Sources, counted once for each stream and group of hash slots they sent to.
    pub sources: u64,
    /// Bytes of memory.
    pub bytes: u64,
}

impl DedupUsage {
    /// Adds another shard's.
    pub fn merge(&mut self, other: Self) {
        self.ids += other.ids;
        self.sources += other.sources;
        self.bytes += other.bytes;
    }
}

/// What a shard remembers.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    streams: HashMap<StreamId, Box<Groups>>,
    /// The same streams, for the sweep.
    order: Vec<StreamId>,
    /// The group that the sweep looks at next: index in `order`, and group.
    swept: (usize, usize),
    /// Generations that are over and are being freed.
    over: Vec<Generation>,
    usage: DedupUsage,
}

/// The groups of one stream.
#[derive(Debug)]
struct Groups {
    groups: [Option<Box<Group>>; SLOT_GROUPS],
    used: usize,
}

/// A group whose bytes may change: they are counted when it is let go of.
fn counted<T>(usage: &mut DedupUsage, group: &mut Group, change: impl FnOnce(&mut Group) -> T) -> T {
    let (bytes, ids, sources) = (group.bytes(), group.ids(), group.sources.len());
    let changed = change(group);
    usage.bytes = usage.bytes + group.bytes() as u64 - bytes as u64;
    usage.ids = usage.ids + group.ids() as u64 - ids as u64;
    usage.sources = usage.sources + group.sources.len() as u64 - sources as u64;
    changed
}

impl Dedup {
    #[inline]
    fn group(&self, stream: StreamId, group: u8) -> Option<&Group> {
        self.streams.get(&stream)?.groups[usize::from(group)].as_deref()
    }

    /// Changes a group, which is made if there is none.
    fn change<T>(&mut self, stream: StreamId, group: u8, change: impl FnOnce(&mut Group) -> T) -> T {
        let Self { streams, order, usage, .. } = self;
        let groups = streams.entry(stream).or_insert_with(|| {
            order.push(stream);
            usage.bytes += size_of::<Groups>() as u64;
            Box::new(Groups { groups: [const { None }; SLOT_GROUPS], used: 0 })
        });
        let Groups { groups, used } = &mut **groups;
        let group = groups[usize::from(group)].get_or_insert_with(|| {
            *used += 1;
            let group = Box::new(Group::new());
            usage.bytes += group.bytes() as u64;
            group
        });
        counted(usage, group, change)
    }

    /// How many bytes it takes at most to remember an id.
    fn growth_bytes(
        &self,
        stream: StreamId,
        group: u8,
        mark: Mark,
        clock_ms: i64,
        dedup_ms: Option<i64>,
    ) -> usize {
        let id = mark.id.zip(dedup_ms);
        match self.group(stream, group) {
            Some(group) => {
                let id_bytes = id.map_or(0, |(id, dedup_ms)| group.growth_bytes(id, clock_ms, dedup_ms));
                id_bytes + mark.source.map_or(0, |source| group.sources.growth_bytes(source.source))
            }
            None => {
                let groups = if self.streams.contains_key(&stream) { 0 } else { size_of::<Groups>() };
                let id_bytes = if id.is_some() { Generation::new_bytes() } else { 0 };
                let source_bytes = if mark.source.is_some() { FIRST_BYTES } else { 0 };
                groups + size_of::<Group>() + id_bytes + source_bytes
            }
        }
    }

    /// Remembers an event that is counted.
    fn remember(&mut self, stream: StreamId, group: u8, mark: Mark, clock_ms: i64, dedup_ms: Option<i64>) {
        let mut over = std::mem::take(&mut self.over);
        let known = over.len();
        self.change(stream, group, |group| {
            if let (Some(fingerprint), Some(dedup_ms)) = (mark.id, dedup_ms) {
                group.insert(fingerprint, clock_ms, dedup_ms);
                group.observe(clock_ms);
                over.extend(group.take_over(clock_ms, dedup_ms));
            }
            if let Some(SourceSeq { source, seq }) = mark.source {
                group.sources.counted(source, seq);
            }
        });
        self.over = over;
        self.count_over(known);
    }

    /// Counts generations that left their group, from the given one on, until they are freed.
    fn count_over(&mut self, from: usize) {
        for generation in &self.over[from..] {
            self.usage.bytes += generation.bytes() as u64;
            self.usage.ids += generation.count() as u64;
        }
    }

    /// Frees sub-tables of generations that are over; gives whether there were any.
    fn free(&mut self, tables_max: usize) -> bool {
        if self.over.is_empty() {
            return false;
        }
        for _ in 0..tables_max {
            let Some(generation) = self.over.last_mut() else { break };
            match generation.free_one() {
                Some((bytes, ids)) => {
                    self.usage.bytes -= bytes as u64;
                    self.usage.ids -= ids as u64;
                }
                None => drop(self.over.pop()),
            }
        }
        true
    }

    /// Looks at some groups in turn: what is over, and what is of streams that are gone, is let go of.
    fn sweep(&mut self, catalogue: &Catalogue, now_ms: i64, groups_max: usize) {
        for _ in 0..groups_max {
            let (index, at) = self.swept;
            let Some(&id) = self.order.get(index) else {
                self.swept = (0, 0);
                return;
            };
            let Self { streams, usage, over, .. } = self;
            let groups = streams.get_mut(&id).expect("it stands in the order");
            let known = over.len();
            if let Some(group) = &mut groups.groups[at] {
                counted(usage, group, |group| match catalogue.by_id(id) {
                    Some(stream) => {
                        if let Some(clock_ms) = stream.clock_ms(now_ms) {
                            over.extend(group.take_over(clock_ms, stream.definition.dedup_ms.unwrap_or(0)));
                        }
                    }
                    None => {
                        group.sources = Sources::default();
                        over.extend(group.take_all());
                    }
                });
                if group.is_empty() {
                    usage.bytes -= group.bytes() as u64;
                    groups.groups[at] = None;
                    groups.used -= 1;
                }
            }
            let is_unused = groups.used == 0;
            self.count_over(known);
            self.swept.1 += 1;
            if self.swept.1 == SLOT_GROUPS {
                self.swept = if is_unused {
                    self.streams.remove(&id);
                    self.order.swap_remove(index);
                    self.usage.bytes -= size_of::<Groups>() as u64;
                    (index, 0)
                } else {
                    (index + 1, 0)
                };
            }
        }
    }

    /// What all streams take.
    pub(crate) fn usage(&self) -> DedupUsage {
        self.usage
    }

    /// What one stream takes.
    pub(crate) fn stream_usage(&self, stream: StreamId) -> DedupUsage {
        let Some(groups) = self.streams.get(&stream) else { return DedupUsage::default() };
        let mut usage = DedupUsage { bytes: size_of::<Groups>() as u64, ..DedupUsage::default() };
        for group in groups.groups.iter().flatten() {
            usage.bytes += group.bytes() as u64;
            usage.ids += group.ids() as u64;
            usage.sources += group.sources.len() as u64;
        }
        usage
    }
}
