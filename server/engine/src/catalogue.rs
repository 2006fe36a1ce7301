//! The streams that exist: an immutable snapshot, shared by the shards and replaced as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashMap;
use windrow_window::{ClockMode, Definition, DefinitionError, Layout, StreamTime, Sums};

use crate::alter::{Settled, Version};
use crate::backfill::Backfill;
use crate::planted::{Mistake, is_planted};

/// Most streams of a server.
pub const STREAMS_MAX: usize = 1024;

/// Names a stream for good: never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Names a layout for good: a stream has a new one whenever its records change their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayoutId(pub u32);

/// A stream: its definition, compiled, and its clock.
#[derive(Debug)]
pub struct Stream {
    /// Its id.
    pub id: StreamId,
    /// The id of its present layout.
    pub layout_id: LayoutId,
    /// The id of the same layout in records that wait for what a backfill finds; `layout_id`, where there is none.
    pub(crate) awaiting_id: LayoutId,
    /// How this layout was, or is being, filled with events from before it.
    pub backfill: Option<Backfill>,
    /// The layout of what a backfill finds.
    pub(crate) earlier: Option<Layout>,
    /// When it was created, by the server's clock.
    pub created_ms: i64,
    /// What STREAM.CREATE said.
    pub definition: Definition,
    /// That, compiled.
    pub layout: Layout,
    /// When every shard had this layout, for one that STREAM.ALTER made; `None`: not all have it yet.
    pub(crate) settled: Option<Settled>,
    /// The stream as it was with each of its layouts before, oldest first.
    pub(crate) older: Vec<Arc<Stream>>,
    pub(crate) clock: Arc<Latest>,
    pub(crate) newest: Arc<Latest>,
}

impl Stream {
    /// The stream's clock, when the server's is `now_ms`; `None` for one with CLOCK EVENT that has no event yet.
    #[inline]
    pub fn clock_ms(&self, now_ms: i64) -> Option<i64> {
        match self.layout.clock {
            ClockMode::Wall => Some(now_ms),
            ClockMode::Event => self.clock.get(),
        }
    }

    /// The stream's watermark: clock − LATENESS; `None` without LATENESS or clock.
    pub fn watermark_ms(&self, now_ms: i64) -> Option<i64> {
        self.layout.watermark_ms(self.clock_ms(now_ms))
    }

    /// What a read looks at, when the server's clock is `now_ms`.
    #[inline]
    pub fn times(&self, now_ms: i64) -> StreamTime {
        StreamTime { clock: self.clock_ms(now_ms), newest: self.newest.get() }
    }

    /// Takes note of a counted event's time.
    #[inline]
    pub(crate) fn note_counted(&self, ts: i64) {
        self.newest.observe(ts);
    }

    /// Takes note of a received event's time; answers the clock that the event is judged by.
    #[inline]
    pub fn observe(&self, ts: i64, now_ms: i64) -> i64 {
        match self.layout.clock {
            ClockMode::Wall => now_ms,
            ClockMode::Event => self.clock.observe(ts),
        }
    }
}

/// The largest event time seen, over all shards: of events received (the clock of a stream with CLOCK EVENT), or of those counted.
#[derive(Debug)]
pub(crate) struct Latest(AtomicI64);

impl Latest {
    const UNSET: i64 = i64::MIN;

    fn new() -> Self {
        Self(AtomicI64::new(Self::UNSET))
    }

    pub(crate) fn get(&self) -> Option<i64> {
        // A read after an acknowledged write sees its time: the acknowledgement itself orders the two.
        Some(self.0.load(Ordering::Acquire)).filter(|&ms| ms != Self::UNSET)
    }

    pub(crate) fn observe(&self, ts: i64) -> i64 {
        // Mostly it stands or moves seldom: do not take the cache line for writing without need.
        let seen = self.0.load(Ordering::Acquire);
        if ts <= seen { seen } else { self.0.fetch_max(ts, Ordering::AcqRel).max(ts) }
    }
}

/// What the manifest keeps of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Stream id.
    pub id: u32,
    /// Layout id.
    pub layout_id: u32,
    /// The stream's name.
    pub name: String,
    /// Its definition, as [`Definition::to_args_text`] writes it.
    pub definition: String,
    /// When it was created.
    pub created_ms: i64,
    /// When every shard had the layout, if STREAM.ALTER made it.
    pub settled: Option<Settled>,
    /// How it was, or is being, filled with events from before it.
    pub backfill: Option<Backfill>,
    /// Whether its records have sums that are narrower than 64 bits.
    pub narrow_sums: bool,
    /// The layouts before it, oldest first: operations of the log name them.
    pub older: Vec<Version>,
}

/// Streams that are found by a few bits of their layout's id.
const LAYOUT_PLACES: usize = 64;

/// The streams that exist.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Counts the changes.
    pub version: u64,
    /// The id that the next stream gets.
    pub next_stream_id: u32,
    /// The id that the next layout gets.
    pub next_layout_id: u32,
    by_name: HashMap<Box<[u8]>, Arc<Stream>>,
    /// The streams as they are or were with each of their layouts.
    by_layout: HashMap<LayoutId, Arc<Stream>>,
    /// The present ones by the low bits of the layout's id, where two do not share them: every operation asks.
    by_layout_bits: Vec<Option<Arc<Stream>>>,
    by_id: HashMap<StreamId, Arc<Stream>>,
}

/// What STREAM.CREATE comes to.
#[derive(Debug)]
pub enum Created {
    /// A new catalogue, with the stream in it.
    New(Catalogue),
    /// The stream exists with the same definition.
    Same,
}

/// Why a change of the catalogue is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueError {
    /// The stream exists with another definition; says the first difference.
    Differs {
        /// The stream.
        name: String,
        /// What is different.
        difference: String,
    },
    /// There are [`STREAMS_MAX`] streams already.
    Full,
    /// There is no such stream.
    Unknown(String),
    /// The stream cannot be filled with earlier events.
    Backfill {
        /// The stream.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The stream cannot be altered so.
    Alter {
        /// The stream.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A stored definition cannot be read.
    Definition {
        /// The stream.
        name: String,
        /// What is wrong.
        error: DefinitionError,
    },
}

impl std::fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Differs { name, difference } => {
                write!(f, "stream '{name}' exists with another definition: {difference}")
            }
            Self::Full => write!(f, "there are {STREAMS_MAX} streams already: drop one first"),
            Self::Unknown(name) => write!(f, "no such stream '{name}'"),
            Self::Alter { name, reason } | Self::Backfill { name, reason } => {
                write!(f, "stream '{name}': {reason}")
            }
            Self::Definition { name, error } => write!(f, "stream '{name}': {error}"),
        }
    }
}

impl std::error::Error for CatalogueError {}

impl Catalogue {
    /// The stream of a name.
    #[inline]
    pub fn stream(&self, name: &[u8]) -> Option<&Arc<Stream>> {
        self.by_name.get(name)
    }

    /// The stream that has this layout, or had it, as it is now.
    #[inline]
    pub fn by_layout(&self, id: LayoutId) -> Option<&Arc<Stream>> {
        self.by_present_layout(id).or_else(|| self.by_any_layout(id))
    }

    /// The stream that has this layout, mostly: `None` says nothing.
    #[inline(always)]
    pub(crate) fn by_present_layout(&self, id: LayoutId) -> Option<&Arc<Stream>> {
        let stream = self.by_layout_bits.get(id.0 as usize % LAYOUT_PLACES)?.as_ref()?;
        (stream.layout_id == id).then_some(stream)
    }

    #[cold]
    fn by_any_layout(&self, id: LayoutId) -> Option<&Arc<Stream>> {
        self.by_id(self.by_layout.get(&id)?.id)
    }

    /// The stream as it was while it had this layout.
    pub fn as_of(&self, id: LayoutId) -> Option<&Arc<Stream>> {
        self.by_layout.get(&id)
    }

    /// The stream of an id.
    #[inline]
    pub fn by_id(&self, id: StreamId) -> Option<&Arc<Stream>> {
        self.by_id.get(&id)
    }

    /// The streams, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.by_name.values()
    }

    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The catalogue with the stream in it.
    ///
    /// # Errors
    /// When the stream exists with another definition, or there are too many.
    pub fn created(&self, definition: Definition, now_ms: i64) -> Result<Created, CatalogueError> {
        if let Some(existing) = self.stream(definition.name.as_bytes()) {
            return match existing.definition.difference(&definition) {
                None => Ok(Created::Same),
                Some(difference) => Err(CatalogueError::Differs { name: definition.name.into(), difference }),
            };
        }
        if self.len() >= STREAMS_MAX {
            return Err(CatalogueError::Full);
        }
        let mut next = self.next();
        next.next_stream_id += 1;
        next.next_layout_id += 1;
        next.insert(StreamId(self.next_stream_id), LayoutId(self.next_layout_id), now_ms, definition, None)?;
        Ok(Created::New(next))
    }

    /// The catalogue with the stream in it, to be filled with the events of another one.
    ///
    /// # Errors
    /// As [`Catalogue::created`]; when there is no such source, or a field is none of its own; when the stream exists and was not
    /// made so.
    pub fn created_from(
        &self,
        definition: Definition,
        source: &[u8],
        now_ms: i64,
    ) -> Result<Created, CatalogueError> {
        let refused = |reason| CatalogueError::Backfill { name: definition.name.to_string(), reason };
        let quoted = String::from_utf8_lossy(source).into_owned();
        if let Some(existing) = self.stream(definition.name.as_bytes()) {
            let is_same_source = existing.backfill.as_ref().and_then(|backfill| backfill.source).is_some()
                && existing.backfill.as_ref().and_then(|backfill| backfill.source)
                    == self.stream(source).map(|source| source.id);
            if existing.definition.same_as(&definition) && !is_same_source {
                return Err(refused(format!("it exists, and was not made from '{quoted}': drop it first")));
            }
            return self.created(definition, now_ms);
        }
        let Some(source) = self.stream(source) else {
            return Err(refused(format!("there is no stream '{quoted}' to take events from")));
        };
        for field in &definition.fields {
            let own = source.definition.fields.iter().find(|own| own.name == field.name);
            match own {
                None => {
                    return Err(refused(format!("field '{}' is not a field of '{quoted}'", field.name)));
                }
                Some(own) if own.kind != field.kind => {
                    return Err(refused(format!(
                        "field '{}' is {} here and {} in '{quoted}'",
                        field.name,
                        field.kind.keyword(),
                        own.kind.keyword()
                    )));
                }
                Some(_) => {}
            }
        }
        if self.len() >= STREAMS_MAX {
            return Err(CatalogueError::Full);
        }
        let mut next = self.next();
        next.next_stream_id += 1;
        next.next_layout_id += 2;
        let backfill = Backfill::new(LayoutId(self.next_layout_id), Some(source.id), None);
        let layout_id = LayoutId(self.next_layout_id + 1);
        next.insert(StreamId(self.next_stream_id), layout_id, now_ms, definition, Some(backfill))?;
        Ok(Created::New(next))
    }

    /// The catalogue without the stream; `None` when there is none of that name.
    pub fn dropped(&self, name: &[u8]) -> Option<Self> {
        let stream = self.stream(name)?;
        let mut next = self.next();
        next.by_name.remove(name);
        for version in stream.older.iter().chain([stream]) {
            next.by_layout.remove(&version.layout_id);
            next.by_layout.remove(&version.awaiting_id);
        }
        let place = &mut next.by_layout_bits[stream.layout_id.0 as usize % LAYOUT_PLACES];
        place.take_if(|there| there.layout_id == stream.layout_id);
        next.by_id.remove(&stream.id);
        Some(next)
    }

    /// The catalogue with every stream as if it had been created now: another id, one layout, nothing counted. `None` without streams.
    pub fn flushed(&self, now_ms: i64) -> Option<Self> {
        if self.is_empty() {
            return None;
        }
        let mut next = Self {
            version: self.version + 1,
            next_stream_id: self.next_stream_id,
            next_layout_id: self.next_layout_id,
            ..Self::default()
        };
        // In the order of their creation.
        for entry in self.entries() {
            let id = StreamId(next.next_stream_id);
            let layout_id = if is_planted(Mistake::FlushedLayoutsKept) {
                LayoutId(entry.layout_id)
            } else {
                LayoutId(next.next_layout_id)
            };
            next.next_stream_id += 1;
            next.next_layout_id += 1;
            let definition = self.by_id[&StreamId(entry.id)].definition.clone();
            next.insert(id, layout_id, now_ms, definition, None).expect("it was compiled before");
        }
        Some(next)
    }

    /// What the manifest keeps, by stream id.
    pub fn entries(&self) -> Vec<StreamEntry> {
        let mut entries: Vec<StreamEntry> = self
            .iter()
            .map(|stream| StreamEntry {
                id: stream.id.0,
                layout_id: stream.layout_id.0,
                name: stream.definition.name.to_string(),
                definition: stream.definition.to_args_text(),
                created_ms: stream.created_ms,
                settled: stream.settled,
                backfill: stream.backfill.clone(),
                narrow_sums: stream.layout.narrows_sums(),
                older: stream.older.iter().map(|older| Version::of(older)).collect(),
            })
            .collect();
        entries.sort_by_key(|entry| entry.id);
        entries
    }

    /// The catalogue that a manifest describes.
    ///
    /// # Errors
    /// When a definition cannot be read.
    pub fn from_entries(
        version: u64,
        next_stream_id: u32,
        next_layout_id: u32,
        entries: &[StreamEntry],
    ) -> Result<Self, CatalogueError> {
        let mut catalogue = Self { version, next_stream_id, next_layout_id, ..Self::default() };
        for entry in entries {
            catalogue.put(Stream::from_entry(entry)?);
        }
        Ok(catalogue)
    }

    pub(crate) fn next(&self) -> Self {
        Self {
            version: self.version + 1,
            next_stream_id: self.next_stream_id,
            next_layout_id: self.next_layout_id,
            by_name: self.by_name.clone(),
            by_layout: self.by_layout.clone(),
            by_layout_bits: self.by_layout_bits.clone(),
            by_id: self.by_id.clone(),
        }
    }

    fn insert(
        &mut self,
        id: StreamId,
        layout_id: LayoutId,
        created_ms: i64,
        definition: Definition,
        backfill: Option<Backfill>,
    ) -> Result<(), CatalogueError> {
        self.put(Stream::created(id, layout_id, created_ms, definition, Sums::Narrow, backfill)?);
        Ok(())
    }

    /// Puts a stream in, in place of what it was.
    pub(crate) fn put(&mut self, stream: Stream) {
        let stream = Arc::new(stream);
        self.by_layout_bits.resize(LAYOUT_PLACES, None);
        for older in &stream.older {
            self.by_layout_bits[older.layout_id.0 as usize % LAYOUT_PLACES]
                .take_if(|there| there.layout_id == older.layout_id);
            self.by_layout.insert(older.layout_id, Arc::clone(older));
            self.by_layout.insert(older.awaiting_id, Arc::clone(older));
        }
        self.by_name.insert(stream.definition.name.as_bytes().into(), Arc::clone(&stream));
        self.by_id.insert(stream.id, Arc::clone(&stream));
        self.by_layout_bits[stream.layout_id.0 as usize % LAYOUT_PLACES] = Some(Arc::clone(&stream));
        self.by_layout.insert(stream.awaiting_id, Arc::clone(&stream));
        self.by_layout.insert(stream.layout_id, stream);
    }
}

impl Stream {
    pub(crate) fn created(
        id: StreamId,
        layout_id: LayoutId,
        created_ms: i64,
        definition: Definition,
        sums: Sums,
        backfill: Option<Backfill>,
    ) -> Result<Self, CatalogueError> {
        let layout = Layout::compile_with(&definition, sums)
            .map_err(|error| CatalogueError::Definition { name: definition.name.to_string(), error })?;
        let (clock, newest) = (Arc::new(Latest::new()), Arc::new(Latest::new()));
        Ok(Self {
            id,
            layout_id,
            awaiting_id: backfill.as_ref().map_or(layout_id, |backfill| backfill.awaiting),
            earlier: backfill.as_ref().and_then(|_| layout.to_backfill(None)),
            backfill,
            created_ms,
            definition,
            layout,
            settled: None,
            older: Vec::new(),
            clock,
            newest,
        })
    }
}
