//! Reading the state back, and records where they are not adopted as they are. Whatever the bytes say, nothing panics, and no more
//! memory is taken than they are long, a few times over.

use std::sync::Arc;

use windrow_memory::{CopiedRecord, Key};
use windrow_window::timestamp::TIMESTAMP_ABS_MAX;

use super::export::{HAS_CLOCK, HAS_NEWEST};
use super::section::{
    COUNTERS, GENERATIONS_MAX, GROUP, HEAD, IDS, IDS_MAX, SOURCES, Section, USAGE, VERSION, sections,
};
use super::{Seen, Share, StateError};
use crate::catalogue::{Catalogue, LayoutId, STREAMS_MAX, Stream, StreamId};
use crate::dedup::{SEQ_MAX, SOURCES_MAX, SourceSeq};
use crate::shard::Shard;
use crate::slot::{SLOT_GROUPS, group_of, hash_slot};

/// How a shard comes by the records of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// They were linked where they lie: the image says how many there are.
    Linked,
    /// Each is [inserted](Shard::insert_copied), and counted then.
    Inserted,
}

/// The import of the state that one shard exported into a shard, which is that one again, or owns some of its groups of hash slots now.
///
/// Of several shards' states, each has an import of its own; counters go to the shard of the same number, or to shard 0 where the
/// number of shards is another one.
#[derive(Debug)]
pub struct Import {
    own: Share,
    from: Share,
    records: Records,
    end: u64,
    has_head: bool,
    /// The position of COUNTERS.
    counted: Option<u64>,
    has_usage: bool,
    group: Option<GroupImport>,
}

/// The group that is being read.
#[derive(Debug)]
struct GroupImport {
    stream: StreamId,
    group: u8,
    /// It belongs to a stream that there still is, and to this shard.
    is_wanted: bool,
    generations: usize,
    /// Which one's ids are being read.
    generation: usize,
    ids: Vec<u64>,
    has_sources: bool,
}

impl Import {
    /// Into the shard `own`, what shard `from` exported for an image that ends, for its log, at the packed position `end`.
    pub fn new(own: Share, from: Share, records: Records, end: u64) -> Self {
        Self { own, from, records, end, has_head: false, counted: None, has_usage: false, group: None }
    }

    /// Takes the next piece, as it was exported.
    ///
    /// # Errors
    /// [`StateError::Corrupt`], [`StateError::Format`]. The shard is to be thrown away then.
    pub fn take(&mut self, shard: &mut Shard, catalogue: &Catalogue, piece: &[u8]) -> Result<(), StateError> {
        for section in sections(piece) {
            let mut section = section?;
            if !(HEAD..=USAGE).contains(&section.kind) {
                return Err(StateError::Format {
                    reason: format!("a section of unknown kind {}", section.kind),
                });
            }
            let is_in_order = match section.kind {
                USAGE => !self.has_usage,
                HEAD => !self.has_head,
                _ => self.has_head && self.counted.is_none(),
            };
            if !is_in_order {
                return Err(section.corrupt(format!("a section of kind {} out of turn", section.kind)));
            }
            match section.kind {
                HEAD => self.head(&mut section)?,
                GROUP => self.group(shard, catalogue, &mut section)?,
                IDS => self.ids(shard, &mut section)?,
                SOURCES => self.sources(shard, &mut section)?,
                COUNTERS => self.counters(shard, catalogue, &mut section)?,
                USAGE => self.usage(shard, catalogue, &mut section)?,
                kind => unreachable!("kind {kind} was asked for before"),
            }
            if !section.is_at_end() {
                return Err(section.corrupt("bytes behind a section's end"));
            }
        }
        Ok(())
    }

    /// Ends the import: all pieces were taken, and records that are linked are linked. From here on the shard can replay the log's tail.
    ///
    /// # Errors
    /// [`StateError::Corrupt`] when something is missing, or the records are not as many as they should be.
    pub fn finish(self, shard: &mut Shard) -> Result<(), StateError> {
        let missing = |what| StateError::Corrupt { reason: format!("the {what} are missing"), at: 0 };
        let counted = self.counted.ok_or_else(|| missing("counters"))?;
        if !self.has_usage {
            return Err(missing("numbers of records"));
        }
        let seen = shard.seen.get_or_insert_with(|| Box::new(Seen::new()));
        for group in 0..=u8::MAX {
            if self.own.owns(group) && self.from.owns(group) {
                seen.counted(group, counted, self.end);
            }
        }
        shard.share_memory();
        Ok(())
    }

    fn head(&mut self, section: &mut Section<'_>) -> Result<(), StateError> {
        let version = section.u32()?;
        if version != VERSION {
            let reason = format!("version {version} is not {VERSION}, the one this server reads");
            return Err(StateError::Format { reason });
        }
        let share = Share { shard: section.u16()?, shards: section.u16()? };
        if share != self.from {
            return Err(section.corrupt(format!("it is the state of {share:?}, not of {:?}", self.from)));
        }
        self.has_head = true;
        Ok(())
    }

    fn group(
        &mut self,
        shard: &mut Shard,
        catalogue: &Catalogue,
        section: &mut Section<'_>,
    ) -> Result<(), StateError> {
        self.end_of_group(shard);
        let (stream, group) = section.of()?;
        let is_next =
            self.group.as_ref().is_none_or(|before| (before.stream, before.group) < (stream, group));
        if !is_next || !self.from.owns(group) {
            return Err(section.corrupt(format!("group {group} of stream {} out of turn", stream.0)));
        }
        let (position, clock_ms) = (section.u64()?, section.i64()?);
        if position > self.end {
            return Err(section.corrupt(format!("a group that has seen {position}, behind {}", self.end)));
        }
        let ends_ms: Vec<i64> = (0..section.items(size_of::<i64>(), GENERATIONS_MAX)?)
            .map(|_| section.i64())
            .collect::<Result<_, _>>()?;
        if !ends_ms.is_sorted() {
            return Err(section.corrupt("generations that do not follow each other"));
        }
        let is_wanted = self.own.owns(group) && catalogue.by_id(stream).is_some();
        if is_wanted {
            if !shard.dedup.import_group(stream, group, clock_ms, &ends_ms) {
                return Err(section.corrupt(format!("group {group} of stream {} is there twice", stream.0)));
            }
            let seen = shard.seen.get_or_insert_with(|| Box::new(Seen::new()));
            seen.remembered(stream, group, position);
        }
        self.group = Some(GroupImport {
            stream,
            group,
            is_wanted,
            generations: ends_ms.len(),
            generation: 0,
            ids: Vec::new(),
            has_sources: false,
        });
        Ok(())
    }

    fn ids(&mut self, shard: &mut Shard, section: &mut Section<'_>) -> Result<(), StateError> {
        let (stream, number) = section.of()?;
        let (generation, zero) = (section.u32()? as usize, section.u32()?);
        let Some(group) = &mut self.group else { return Err(section.corrupt("ids of no group")) };
        let is_next = (group.stream, group.group) == (stream, number)
            && (group.generation..group.generations).contains(&generation)
            && !group.has_sources
            && zero == 0;
        if !is_next {
            return Err(section.corrupt(format!("ids of group {number} of stream {} out of turn", stream.0)));
        }
        if generation != group.generation {
            group.end_of_generation(shard);
            group.generation = generation;
        }
        for _ in 0..section.items(size_of::<u64>(), IDS_MAX)? {
            let fingerprint = section.u64()?;
            if fingerprint <= group.ids.last().copied().unwrap_or(0) {
                return Err(section.corrupt("ids that do not ascend"));
            }
            group.ids.push(fingerprint);
        }
        Ok(())
    }

    fn sources(&mut self, shard: &mut Shard, section: &mut Section<'_>) -> Result<(), StateError> {
        let (stream, number) = section.of()?;
        let is_next = self
            .group
            .as_ref()
            .is_some_and(|group| (group.stream, group.group) == (stream, number) && !group.has_sources);
        let Some(group) = self.group.as_mut().filter(|_| is_next) else {
            return Err(
                section.corrupt(format!("sources of group {number} of stream {} out of turn", stream.0))
            );
        };
        group.has_sources = true;
        let mut before = None;
        for _ in 0..section.items(2 * size_of::<u64>(), SOURCES_MAX)? {
            let source = SourceSeq { source: section.u64()?, seq: section.u64()? };
            if source.seq > SEQ_MAX || before >= Some(source.source) {
                return Err(section.corrupt(format!("source {source:?} after {before:?}")));
            }
            before = Some(source.source);
            if group.is_wanted {
                shard.dedup.import_source(stream, number, source);
            }
        }
        Ok(())
    }

    fn counters(
        &mut self,
        shard: &mut Shard,
        catalogue: &Catalogue,
        section: &mut Section<'_>,
    ) -> Result<(), StateError> {
        const COUNTERS_BYTES: usize = 4 + 4 + 7 * 8 + 8 + 8;
        self.end_of_group(shard);
        let position = section.u64()?;
        if position > self.end {
            return Err(section.corrupt(format!("counters that have seen {position}, behind {}", self.end)));
        }
        let is_mine =
            if self.own.shards == self.from.shards { self.own == self.from } else { self.own.shard == 0 };
        let mut before = None;
        for _ in 0..section.items(COUNTERS_BYTES, STREAMS_MAX)? {
            let (stream, flags) = (next_stream(section, &mut before)?, section.u32()?);
            let mut counters = [0; 7];
            for counter in &mut counters {
                *counter = section.u64()?;
            }
            let newest_ms = time(section, flags & HAS_NEWEST != 0)?;
            let clock_ms = time(section, flags & HAS_CLOCK != 0)?;
            if flags & !(HAS_NEWEST | HAS_CLOCK) != 0 {
                return Err(section.corrupt(format!("unknown flags {flags:#x}")));
            }
            let Some(stream) = catalogue.by_id(stream) else { continue };
            // These are the same for all shards.
            if let Some(newest_ms) = newest_ms {
                stream.newest.observe(newest_ms);
            }
            if let Some(clock_ms) = clock_ms {
                stream.clock.observe(clock_ms);
            }
            if is_mine && (counters != [0; 7] || newest_ms.is_some() || clock_ms.is_some()) {
                let stats = shard.stats.of(stream.id);
                let into = [
                    &mut stats.ok,
                    &mut stats.clamped,
                    &mut stats.skewed,
                    &mut stats.late,
                    &mut stats.duplicate,
                    &mut stats.errors,
                    &mut stats.evicted,
                ];
                for (sum, counter) in into.into_iter().zip(counters) {
                    *sum = sum.saturating_add(counter);
                }
                stats.newest_ms = stats.newest_ms.max(newest_ms);
                stats.clock_ms = stats.clock_ms.max(clock_ms);
            }
        }
        self.counted = Some(position);
        Ok(())
    }

    fn usage(
        &mut self,
        shard: &mut Shard,
        catalogue: &Catalogue,
        section: &mut Section<'_>,
    ) -> Result<(), StateError> {
        const USAGE_BYTES: usize = 4 + 4 + 8 + 8;
        let (mut entities_left, mut bytes_left) = (u64::MAX, u64::MAX);
        if self.records == Records::Linked {
            let usage = shard.usage();
            (entities_left, bytes_left) = (usage.records as u64, usage.record_bytes as u64);
        }
        let mut before = None;
        // Streams that were dropped may still have had records.
        for _ in 0..section.items(USAGE_BYTES, usize::MAX)? {
            let (stream, zero) = (next_stream(section, &mut before)?, section.u32()?);
            let (entities, bytes) = (section.u64()?, section.u64()?);
            let left = (entities_left.checked_sub(entities), bytes_left.checked_sub(bytes));
            let (Some(fewer_entities), Some(fewer_bytes)) = left else {
                return Err(section.corrupt("it says that there are more records than there are"));
            };
            (entities_left, bytes_left) = (fewer_entities, fewer_bytes);
            if zero != 0 {
                return Err(section.corrupt("a word that is not 0"));
            }
            if self.records == Records::Linked && catalogue.by_id(stream).is_some() {
                let stats = shard.stats.of(stream);
                (stats.entities, stats.bytes) = (entities, bytes);
            }
        }
        if self.records == Records::Linked && (entities_left, bytes_left) != (0, 0) {
            return Err(section.corrupt("it says that there are fewer records than there are"));
        }
        self.has_usage = true;
        Ok(())
    }

    fn end_of_group(&mut self, shard: &mut Shard) {
        if let Some(group) = &mut self.group {
            group.end_of_generation(shard);
        }
    }
}

impl GroupImport {
    /// What was not exported of a generation, because it was freed meanwhile, was over.
    fn end_of_generation(&mut self, shard: &mut Shard) {
        if self.is_wanted && !self.ids.is_empty() {
            shard.dedup.import_ids(self.stream, self.group, self.generation, &self.ids);
        }
        self.ids.clear();
    }
}

/// The next stream of a list.
fn next_stream(section: &mut Section<'_>, before: &mut Option<u32>) -> Result<StreamId, StateError> {
    let stream = section.u32()?;
    if *before >= Some(stream) {
        return Err(section.corrupt(format!("stream {stream} after {before:?}")));
    }
    *before = Some(stream);
    Ok(StreamId(stream))
}

/// A time, if there is one; else 0 stands in its place.
fn time(section: &mut Section<'_>, is_there: bool) -> Result<Option<i64>, StateError> {
    let ms = section.i64()?;
    if (!is_there && ms != 0) || !(-TIMESTAMP_ABS_MAX..=TIMESTAMP_ABS_MAX).contains(&ms) {
        return Err(section.corrupt(format!("the time {ms}")));
    }
    Ok(is_there.then_some(ms))
}

impl Shard {
    /// Inserts a record of an image that was written for another number of shards, if it is this shard's; `words` are its slot's. False:
    /// it is another shard's, or of a stream that is gone.
    ///
    /// # Errors
    /// [`StateError::Record`] when the words are no record of this data directory, [`StateError::Memory`].
    pub fn insert_copied(
        &mut self,
        catalogue: &Catalogue,
        own: Share,
        words: &[u64],
    ) -> Result<bool, StateError> {
        let wrong = |reason: &str| StateError::Record { reason: reason.to_owned() };
        let copied =
            CopiedRecord::new(words).ok_or_else(|| wrong("it has no head, or no room for its key"))?;
        let mut entity = Vec::new();
        copied.copy_entity(&mut entity);
        if !own.owns(group_of(hash_slot(&entity))) {
            return Ok(false);
        }
        let Some(stream) = catalogue.by_id(StreamId(copied.stream())) else { return Ok(false) };
        let key = self.hash_key.key(stream.id, &entity);
        if key.hash != copied.hash() {
            return Err(wrong("its hash is not that of its key"));
        }
        let version: Option<&Arc<Stream>> = catalogue.as_of(LayoutId(copied.layout()));
        if version.is_none_or(|version| version.id != stream.id) {
            return Err(wrong("its stream never had its layout"));
        }
        if self.store.find(&key).is_some() {
            return Err(wrong("it is there twice"));
        }
        self.insert_body(&key, &copied)?;
        Ok(true)
    }

    fn insert_body(&mut self, key: &Key<'_>, copied: &CopiedRecord<'_>) -> Result<(), StateError> {
        // What was acknowledged is served, whatever the limit is by now.
        self.store.set_bytes_max(usize::MAX);
        let made = self.store.insert(key, copied.layout(), copied.body().len(), |edit| {
            for (index, &word) in copied.body().iter().enumerate() {
                edit.set(index, word);
            }
            edit.set_position(copied.position());
        });
        self.share_memory();
        let place = made.map_err(StateError::Memory)?;
        let stats = self.stats.of(StreamId(key.stream));
        stats.entities += 1;
        stats.bytes += self.store.record(place).slot_bytes() as u64;
        Ok(())
    }

    /// Whether this shard has seen parts of an image, and replays what they have not.
    pub fn is_from_image(&self) -> bool {
        self.seen.is_some()
    }

    /// Ends the replay: all operations that an image may have seen were given.
    pub fn end_replay(&mut self) {
        self.seen = None;
        const { assert!(SLOT_GROUPS == 1 << u8::BITS, "a group's number is a byte") };
    }
}
