//! STREAM.ALTER: a stream with a new layout, and its records on their way to it.
//!
//! An ALTER gives the stream a new layout. Operations name the layout *under which their owner applied them*: one that was made under
//! the layout before, and reached its owner after the owner had the new one, is logged with the new one's name
//! ([`Catalogue::relabelled`]). A shard takes over one catalogue after another, so the operations of an entity name layouts in
//! ascending order, and a replay that applies each as the stream was under the layout named does what was done, whenever the
//! catalogue changed between them. That is why a stream remembers its layouts.
//!
//! A record is upgraded when its owner next writes to it, or by upkeep; until then a reader lets its owner answer, which evaluates an
//! upgraded copy. What an upgrade makes of a record depends on the record and the layouts alone, so nobody can tell when it happened.
//!
//! A change has two steps: *pending*, while shards take it over, and *settled*, when all have. An entity that was dead by then stays
//! dead, even where entities live longer from now on; while the change is pending, the shorter of both times counts, and no memory of
//! the dead is reclaimed.

use std::sync::Arc;

use windrow_window::body::{self, upgrade::Upgrade};
use windrow_window::{Before, Definition, Feature, Layout, Sums};

use crate::backfill::Backfill;
use crate::catalogue::{Catalogue, CatalogueError, LayoutId, Stream, StreamEntry};
use crate::op;

/// Most layouts that a stream may have had: the log may name each of them.
pub const LAYOUTS_MAX: usize = 1024;

/// When all shards had a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// By the server's clock.
    pub at_ms: i64,
    /// By the stream's clock; `None`: it had none.
    pub clock_ms: Option<i64>,
}

/// What the manifest keeps of a layout that a stream had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Layout id.
    pub layout_id: u32,
    /// The definition.
    pub definition: String,
    /// When every shard had it; `None` for the first.
    pub settled: Option<Settled>,
    /// How it was filled with events from before it.
    pub backfill: Option<Backfill>,
    /// Whether its records have sums that are narrower than 64 bits; those of servers before had not.
    pub narrow_sums: bool,
}

/// What STREAM.ALTER comes to.
#[derive(Debug)]
pub enum Altered {
    /// A new catalogue, with the change pending.
    New(Catalogue),
    /// The stream is so already.
    Same,
}

impl Version {
    pub(crate) fn of(stream: &Stream) -> Self {
        Self {
            layout_id: stream.layout_id.0,
            definition: stream.definition.to_args_text(),
            settled: stream.settled,
            backfill: stream.backfill.clone(),
            narrow_sums: stream.layout.narrows_sums(),
        }
    }

    fn sums(&self) -> Sums {
        if self.narrow_sums { Sums::Narrow } else { Sums::Wide }
    }
}

impl Stream {
    /// Whether not every shard is known to have the stream's layout.
    pub fn is_pending(&self) -> bool {
        !self.older.is_empty() && self.settled.is_none()
    }

    /// Since when a feature is complete, by the server's clock: since the stream was created, or since every shard had the layout that
    /// added what the feature needs. `None`: they do not yet.
    pub fn covered_from(&self, feature: &Feature) -> Option<i64> {
        let version = |generation: u32| self.older.get(generation as usize).map_or(self, |older| older);
        let since = |generation: u32| {
            let version = version(generation);
            match version.backfill.as_ref().and_then(|backfill| backfill.reached_ms) {
                Some(reached_ms) => Some(reached_ms),
                None if generation == 0 => Some(self.created_ms),
                None => version.settled.map(|settled| settled.at_ms),
            }
        };
        let (columns, length) = self.layout.began(feature);
        let since_ms = since(columns)?.max(since(length)?);
        // Shards may have been so slow to take longer windows over that some buckets are whole in neither part.
        let longer = version(length);
        let width_ms = feature.tier.map_or(0, |tier| self.layout.tiers[tier].width_ms);
        let is_late = |settled: &Settled| longer.layout.is_handed_over_late(width_ms, settled.clock_ms);
        let settled = longer.settled.filter(is_late);
        Some(settled.map_or(since_ms, |settled| since_ms.max(settled.at_ms)))
    }

    /// Whether an entity is dead at `clock_ms` whose record has this layout. One that was dead when the layout after it came stays dead;
    /// a record that has the present one was made or written since.
    #[inline]
    pub(crate) fn is_dead(&self, record_layout: LayoutId, newest_ms: i64, clock_ms: i64) -> bool {
        body::is_dead(&self.layout, newest_ms, clock_ms)
            || (!self.has(record_layout) && self.was_dead(record_layout, newest_ms))
    }

    #[cold]
    fn was_dead(&self, record_layout: LayoutId, newest_ms: i64) -> bool {
        let versions = self.older.iter().map(|older| &**older).chain([self]);
        let mut later = versions.filter(|version| version.awaiting_id > record_layout);
        later.any(|version| newest_ms < version.layout.dead_before_ms)
    }

    /// From the layout that the stream had, or has, to another one. `None`: it never had one of them.
    pub(crate) fn upgrade(&self, from: LayoutId, to: LayoutId) -> Option<Upgrade<'_>> {
        let versions: Vec<&Stream> = self.older.iter().map(|older| &**older).chain([self]).collect();
        let place = |id: LayoutId| versions.iter().position(|version| version.has(id));
        let (from, to) = (place(from)?, place(to)?);
        let mut chain: Vec<&Layout> =
            versions[from.min(to)..=from.max(to)].iter().map(|version| &version.layout).collect();
        if from > to {
            chain.reverse();
        }
        Some(Upgrade::new(&chain))
    }

    /// This stream with another definition.
    fn altered(
        self: &Arc<Self>,
        layout_id: LayoutId,
        definition: Definition,
        sums: Sums,
        clock_ms: Option<i64>,
        settled: Option<Settled>,
        backfill: Option<Backfill>,
    ) -> Result<Self, CatalogueError> {
        let backfill_asked_ms = backfill.as_ref().and_then(|backfill| backfill.asked_ms);
        let before =
            Before { layout: &self.layout, clock_ms, is_settled: settled.is_some(), backfill_asked_ms };
        let layout = Layout::altered(&definition, sums, before)
            .map_err(|error| CatalogueError::Definition { name: definition.name.to_string(), error })?;
        Ok(Self {
            id: self.id,
            layout_id,
            awaiting_id: backfill.as_ref().map_or(layout_id, |backfill| backfill.awaiting),
            earlier: backfill.as_ref().and_then(|_| layout.to_backfill(Some(&self.layout))),
            backfill,
            created_ms: self.created_ms,
            definition,
            layout,
            settled,
            older: self.older.iter().chain([self]).map(Arc::clone).collect(),
            clock: Arc::clone(&self.clock),
            newest: Arc::clone(&self.newest),
        })
    }

    /// The same version of this stream, further on.
    pub(crate) fn again(
        &self,
        settled: Option<Settled>,
        clock_ms: Option<i64>,
        backfill: Option<Backfill>,
    ) -> Self {
        let (definition, sums) = (self.definition.clone(), self.layout.sums);
        let again = match self.older.last() {
            Some(before) => before.altered(self.layout_id, definition, sums, clock_ms, settled, backfill),
            None => Self::created(self.id, self.layout_id, self.created_ms, definition, sums, backfill).map(
                |again| Self { clock: Arc::clone(&self.clock), newest: Arc::clone(&self.newest), ..again },
            ),
        };
        again.expect("it was compiled before")
    }

    /// The stream that a manifest describes.
    pub(crate) fn from_entry(entry: &StreamEntry) -> Result<Self, CatalogueError> {
        let present = Version {
            layout_id: entry.layout_id,
            definition: entry.definition.clone(),
            settled: entry.settled,
            backfill: entry.backfill.clone(),
            narrow_sums: entry.narrow_sums,
        };
        let mut stream: Option<Arc<Self>> = None;
        for version in entry.older.iter().chain([&present]) {
            let definition = Definition::parse_text(&entry.name, &version.definition)
                .map_err(|error| CatalogueError::Definition { name: entry.name.clone(), error })?;
            let layout_id = LayoutId(version.layout_id);
            let next = match &stream {
                None => {
                    let id = crate::catalogue::StreamId(entry.id);
                    let (created_ms, backfill) = (entry.created_ms, version.backfill.clone());
                    Self::created(id, layout_id, created_ms, definition, version.sums(), backfill)?
                }
                Some(before) => {
                    let clock_ms = version.settled.and_then(|settled| settled.clock_ms);
                    before.altered(
                        layout_id,
                        definition,
                        version.sums(),
                        clock_ms,
                        version.settled,
                        version.backfill.clone(),
                    )?
                }
            };
            stream = Some(Arc::new(next));
        }
        let stream = stream.expect("the present version is there");
        Ok(Arc::into_inner(stream).expect("nobody else has it"))
    }
}

impl Catalogue {
    /// The catalogue with the stream altered, pending.
    ///
    /// # Errors
    /// When there is no such stream, `change` refuses, or the stream was altered too often.
    pub fn altered(
        &self,
        name: &[u8],
        now_ms: i64,
        change: impl FnOnce(&Definition) -> Result<Definition, String>,
    ) -> Result<Altered, CatalogueError> {
        self.altered_with(name, now_ms, |definition| change(definition).map(|definition| (definition, false)))
    }

    /// The same; where `change` says so, what is added is to be filled with earlier events once the change is settled.
    ///
    /// # Errors
    /// As [`Catalogue::altered`].
    pub fn altered_with(
        &self,
        name: &[u8],
        now_ms: i64,
        change: impl FnOnce(&Definition) -> Result<(Definition, bool), String>,
    ) -> Result<Altered, CatalogueError> {
        let stream = self
            .stream(name)
            .ok_or_else(|| CatalogueError::Unknown(String::from_utf8_lossy(name).into_owned()))?;
        assert!(!stream.is_pending(), "one change of a stream after another");
        let refused = |reason| CatalogueError::Alter { name: stream.definition.name.to_string(), reason };
        if stream.is_filling() {
            return Err(refused(
                "a backfill of it is running: alter it when that has finished (see STREAM.INFO), or drop it"
                    .to_owned(),
            ));
        }
        let (definition, wants_backfill) = change(&stream.definition).map_err(refused)?;
        if stream.definition.same_as(&definition) {
            return Ok(Altered::Same);
        }
        if stream.older.len() + 1 >= LAYOUTS_MAX {
            return Err(refused(format!(
                "it was altered {LAYOUTS_MAX} times, and the log may name each: drop and create it"
            )));
        }
        let clock_ms = stream.clock_ms(now_ms);
        let mut next = self.next();
        if wants_backfill {
            let backfill = Backfill::new(LayoutId(self.next_layout_id), None, clock_ms);
            let layout_id = LayoutId(self.next_layout_id + 1);
            let altered = stream.altered(
                layout_id,
                definition.clone(),
                Sums::Narrow,
                clock_ms,
                None,
                Some(backfill),
            )?;
            // Where all that is added is there already, there is nothing to find.
            if altered.earlier.is_some() {
                next.next_layout_id += 2;
                next.put(altered);
                return Ok(Altered::New(next));
            }
        }
        next.next_layout_id += 1;
        let layout_id = LayoutId(self.next_layout_id);
        next.put(stream.altered(layout_id, definition, Sums::Narrow, clock_ms, None, None)?);
        Ok(Altered::New(next))
    }

    /// The catalogue with every pending change settled: each shard has it. `None`: there is none.
    pub fn settled(&self, now_ms: i64) -> Option<Self> {
        let pending: Vec<&Arc<Stream>> = self.iter().filter(|stream| stream.is_pending()).collect();
        if pending.is_empty() {
            return None;
        }
        let mut next = self.next();
        for stream in pending {
            let clock_ms = stream.clock_ms(now_ms);
            let settled = Some(Settled { at_ms: now_ms, clock_ms });
            next.put(stream.again(settled, clock_ms, stream.backfill.clone()));
        }
        Some(next)
    }

    /// The operation as it must be applied and logged, if it names a layout that its stream has no more: the same with the present one.
    #[inline]
    pub fn relabelled(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let layout = op::layout(bytes)?;
        if self.by_present_layout(layout).is_some() {
            return None;
        }
        let stream = self.by_layout(layout)?;
        if stream.layout_id == layout { None } else { Some(op::relabel(bytes, stream.layout_id)) }
    }
}
