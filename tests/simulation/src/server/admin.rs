//! The admin thread: changes of the catalogue, one at a time: synced, published, adopted by every shard, then answered.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use windrow_engine::alter::Altered;
use windrow_engine::backfill::Boundary;
use windrow_engine::catalogue::Created;
use windrow_engine::{Catalogue, LayoutId};
use windrow_storage::StorageError;
use windrow_window::Definition;

use super::connection::Answer;
use super::life::Life;
use crate::client::{Change, Reply};
use crate::coverage::Tried;
use crate::model::stream::{Filling, KINDS};
use crate::model::{StreamModel, Streams};
use crate::world::{Broken, World};

/// Who asked.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The connection.
    pub connection: usize,
    /// Which life of it.
    pub generation: u64,
    /// The slot.
    pub slot: u64,
}

/// The admin thread.
#[derive(Default)]
pub struct Admin {
    requests: VecDeque<Request>,
    /// The change that shards are adopting.
    waiting: Option<Waiting>,
    /// Where *before* ends for backfills that have no such end yet.
    until: Option<Boundary>,
}

/// What the admin thread is asked.
pub enum Request {
    /// A change, and who asked.
    Change(Change, Asker),
    /// A stream's layout is filled with earlier events.
    Filled {
        /// The layout.
        layout_id: LayoutId,
        /// Since when it is complete.
        reached_ms: i64,
    },
}

struct Waiting {
    asker: Option<Asker>,
    version: u64,
    /// Where shards learn of it is where *before* ends.
    is_boundary: bool,
}

impl Admin {
    /// Asks for a change.
    pub fn ask(&mut self, change: Change, asker: Asker) {
        self.requests.push_back(Request::Change(change, asker));
    }

    /// Takes note of something that nobody waits for.
    pub fn note(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.waiting.is_none()
    }
}

impl Life {
    /// A start settles what a crash left pending.
    pub fn settle_pending(&mut self, world: &mut World) {
        let now_ms = world.clocks.now_ms();
        self.admin.until = Some(Boundary { epoch: self.epoch, ops: vec![0; self.shards.len()] });
        if let Some(settled) = self.catalogue.settled(now_ms) {
            self.settle(settled, None, world);
        } else {
            self.bound(None, world);
        }
    }

    /// Says where *before* ends, for backfills that are to begin. False: none is.
    fn bound(&mut self, asker: Option<Asker>, world: &mut World) -> bool {
        let Some(until) = self.admin.until.take() else { return false };
        let Some(bounded) = self.catalogue.bounded(&until) else { return false };
        let Ok(streams) = world.streams(self.catalogue.version) else { return false };
        world.say(format_args!("admin: before ends at {until:?}"));
        self.change(bounded, streams, asker, world);
        true
    }

    /// The admin thread takes a step.
    ///
    /// # Errors
    /// A change that should have been refused, or the reverse.
    pub fn step_admin(&mut self, world: &mut World) -> Result<(), Broken> {
        if let Some(waiting) = self.admin.waiting.take() {
            if self.shards.iter().any(|shard| shard.catalogue.version < waiting.version) {
                self.admin.waiting = Some(waiting);
                return Ok(());
            }
            if waiting.is_boundary {
                let ops = self.shards.iter().map(|shard| shard.adopted_at).collect();
                self.admin.until = Some(Boundary { epoch: self.epoch, ops });
            }
            if let Some(settled) = self.catalogue.settled(world.clocks.now_ms()) {
                self.settle(settled, waiting.asker, world);
            } else if !self.bound(waiting.asker, world) {
                world.acknowledged_version = world.acknowledged_version.max(waiting.version);
                self.answer_change(waiting.asker, Reply::Changed);
            }
            return Ok(());
        }
        let (change, asker) = match self.admin.requests.pop_front() {
            None => return Ok(()),
            Some(Request::Change(change, asker)) => (change, asker),
            Some(Request::Filled { layout_id, reached_ms }) => {
                return self.note_filled(layout_id, reached_ms, world);
            }
        };
        // One that could not be settled before.
        let now_ms = world.clocks.now_ms();
        if let (Change::Alter(..) | Change::Fill(..), Some(settled)) =
            (change, self.catalogue.settled(now_ms))
        {
            self.admin.requests.push_front(Request::Change(change, asker));
            if !self.settle(settled, None, world) {
                self.admin.requests.pop_front();
                self.answer_change(Some(asker), Reply::Misconf);
            }
            return Ok(());
        }
        let streams = world.streams(self.catalogue.version)?;
        let expected = expected(&streams, change);
        let outcome = changed(&self.catalogue, change, now_ms);
        match (outcome, expected) {
            (Outcome::New(catalogue), Expected::New) => {
                let next = next_streams(&streams, &catalogue, change);
                world.note(match change {
                    Change::Flush => Tried::Flushed,
                    _ => Tried::CatalogueChange,
                });
                self.change(catalogue, next, Some(asker), world);
                if let Some(waiting) = &mut self.admin.waiting {
                    waiting.is_boundary = true;
                }
            }
            (Outcome::Same, Expected::Same) => self.answer_change(Some(asker), Reply::Changed),
            (Outcome::Refused(why), Expected::Refused) => self.answer_change(Some(asker), Reply::Error(why)),
            (outcome, expected) => {
                return Err(format!("{change:?} came to {outcome:?}, and should have been {expected:?}"));
            }
        }
        Ok(())
    }

    /// Says in the manifest that a stream is filled.
    fn note_filled(&mut self, layout_id: LayoutId, reached_ms: i64, world: &mut World) -> Result<(), Broken> {
        let Some(filled) = self.catalogue.filled(layout_id, reached_ms) else { return Ok(()) };
        let mut next: BTreeMap<u32, StreamModel> = (*world.streams(self.catalogue.version)?).clone();
        let id = self.catalogue.by_layout(layout_id).map(|stream| stream.id.0);
        let stream = id.and_then(|id| next.get_mut(&id)).ok_or("what was filled is unknown")?;
        stream.filling = None;
        self.promise_filled(world);
        world.note(Tried::Filled);
        self.change(filled, Rc::new(next), None, world);
        Ok(())
    }

    /// Says in the manifest that every shard has a change. False: that failed.
    fn settle(&mut self, settled: Catalogue, asker: Option<Asker>, world: &mut World) -> bool {
        let Ok(streams) = world.streams(self.catalogue.version) else { return false };
        let now_ms = world.clocks.now_ms();
        let mut next: BTreeMap<u32, StreamModel> = (*streams).clone();
        for stream in next.values_mut() {
            while stream.dead_before_ms.len() <= stream.generation {
                let clock_ms = self.stream_clock_ms(stream.kind.clock, stream.id, now_ms);
                let dead_before =
                    clock_ms.zip(stream.kind.life_ms()).map(|(clock_ms, life_ms)| clock_ms - life_ms);
                stream.dead_before_ms.push(dead_before.unwrap_or(i64::MIN));
            }
        }
        self.change(settled, Rc::new(next), asker, world)
    }

    fn change(
        &mut self,
        catalogue: Catalogue,
        next: Streams,
        asker: Option<Asker>,
        world: &mut World,
    ) -> bool {
        let version = catalogue.version;
        // After a failure nothing is even tried.
        if self.poison.reason().is_none() {
            world.versions.insert(version, next);
        }
        match self.store.save(&catalogue) {
            Ok(()) => {
                world.say(format_args!("admin: version {version} is on disk"));
                self.catalogue = Arc::new(catalogue);
                self.admin.waiting = Some(Waiting { asker, version, is_boundary: false });
                true
            }
            Err(error) => {
                world.say(format_args!("admin: version {version} is not on disk: {error}"));
                // After a rename that was not synced either may come back.
                if !matches!(error, StorageError::Poisoned { .. }) {
                    world.versions.remove(&version);
                }
                self.answer_change(asker, Reply::Misconf);
                false
            }
        }
    }

    fn answer_change(&mut self, asker: Option<Asker>, reply: Reply) {
        let Some(asker) = asker else { return };
        let connection = &mut self.connections[asker.connection];
        if connection.generation == asker.generation {
            connection.waits_for_change = false;
            connection.fill((asker.slot, 0), Answer::plain(reply), 0);
        }
    }
}

#[derive(Debug)]
enum Outcome {
    New(Catalogue),
    Same,
    Refused(String),
}

#[derive(Debug)]
enum Expected {
    New,
    Same,
    Refused,
}

/// What the engine makes of a change.
fn changed(catalogue: &Catalogue, change: Change, now_ms: i64) -> Outcome {
    match change {
        Change::Create(name, kind) => {
            let definition = Definition::parse_text(name, &KINDS[kind].words()).expect("a definition");
            match catalogue.created(definition, now_ms) {
                Ok(Created::New(next)) => Outcome::New(next),
                Ok(Created::Same) => Outcome::Same,
                Err(error) => Outcome::Refused(error.to_string()),
            }
        }
        Change::Alter(name, aggregate, is_added) => {
            let words = [if is_added { "ADD" } else { "DROP" }, "AGGREGATE", aggregate.text()];
            let words = words.map(str::as_bytes);
            let altered = catalogue.altered(name.as_bytes(), now_ms, |definition| {
                definition.altered(&words).map_err(|error| error.to_string())
            });
            match altered {
                Ok(Altered::New(next)) => Outcome::New(next),
                Ok(Altered::Same) => Outcome::Same,
                Err(error) => Outcome::Refused(error.to_string()),
            }
        }
        Change::CreateFrom(name, kind, source) => {
            let definition = Definition::parse_text(name, &KINDS[kind].words()).expect("a definition");
            match catalogue.created_from(definition, source.as_bytes(), now_ms) {
                Ok(Created::New(next)) => Outcome::New(next),
                Ok(Created::Same) => Outcome::Same,
                Err(error) => Outcome::Refused(error.to_string()),
            }
        }
        Change::Fill(name, aggregate) => {
            let words = ["ADD", "AGGREGATE", aggregate.text(), "BACKFILL"].map(str::as_bytes);
            let altered = catalogue.altered_with(name.as_bytes(), now_ms, |definition| {
                definition.altered_with(&words).map_err(|error| error.to_string())
            });
            match altered {
                Ok(Altered::New(next)) => Outcome::New(next),
                Ok(Altered::Same) => Outcome::Same,
                Err(error) => Outcome::Refused(error.to_string()),
            }
        }
        Change::Drop(name) if is_source(catalogue, name) => Outcome::Refused("it is filled from".to_owned()),
        Change::Drop(name) => match catalogue.dropped(name.as_bytes()) {
            Some(next) => Outcome::New(next),
            None => Outcome::Refused("no such stream".to_owned()),
        },
        Change::Flush => catalogue.flushed(now_ms).map_or(Outcome::Same, Outcome::New),
    }
}

/// Whether a stream is being filled from it.
fn is_source(catalogue: &Catalogue, name: &str) -> bool {
    let stream = catalogue.stream(name.as_bytes());
    stream.is_some_and(|stream| catalogue.filled_from(stream.id).is_some())
}

/// What the model makes of it.
fn expected(streams: &Streams, change: Change) -> Expected {
    let of = |name: &str| streams.values().find(|stream| stream.name == name);
    let is_same = |stream: &StreamModel, kind: usize| {
        // In whatever order.
        let is_there = |(aggregate, _): &(_, usize)| KINDS[kind].aggregates.contains(aggregate);
        std::ptr::eq(stream.kind, &KINDS[kind])
            && stream.aggregates.len() == KINDS[kind].aggregates.len()
            && stream.aggregates.iter().all(is_there)
    };
    match change {
        Change::Create(name, kind) => match of(name) {
            None => Expected::New,
            Some(stream) if is_same(stream, kind) => Expected::Same,
            Some(_) => Expected::Refused,
        },
        Change::CreateFrom(name, kind, source) => match (of(name), of(source)) {
            (None, Some(_)) => Expected::New,
            (Some(stream), Some(source)) if is_same(stream, kind) && stream.source == Some(source.id) => {
                Expected::Same
            }
            _ => Expected::Refused,
        },
        Change::Alter(name, ..) | Change::Fill(name, _)
            if of(name).is_none_or(|stream| stream.filling.is_some()) =>
        {
            Expected::Refused
        }
        Change::Alter(name, aggregate, is_added) => {
            let has = |stream: &StreamModel| stream.aggregates.iter().any(|(there, _)| *there == aggregate);
            if of(name).is_some_and(has) == is_added { Expected::Refused } else { Expected::New }
        }
        Change::Fill(name, aggregate) => {
            let has = |stream: &StreamModel| stream.aggregates.iter().any(|(there, _)| *there == aggregate);
            if of(name).is_some_and(has) { Expected::Refused } else { Expected::New }
        }
        Change::Drop(name) => match of(name) {
            None => Expected::Refused,
            Some(stream) => {
                let is_from = |other: &StreamModel| {
                    other.filling.as_ref().is_some_and(|filling| filling.source == Some(stream.id))
                };
                if streams.values().any(is_from) { Expected::Refused } else { Expected::New }
            }
        },
        Change::Flush if streams.is_empty() => Expected::Same,
        Change::Flush => Expected::New,
    }
}

fn next_streams(streams: &Streams, catalogue: &Catalogue, change: Change) -> Streams {
    let mut next: BTreeMap<u32, StreamModel> = (**streams).clone();
    let id_of = |name: &str| catalogue.stream(name.as_bytes()).map(|stream| stream.id.0);
    match change {
        Change::Create(name, kind) | Change::CreateFrom(name, kind, _) => {
            let id = id_of(name).expect("it was created");
            let kind = &KINDS[kind];
            let aggregates = kind.aggregates.iter().map(|aggregate| (*aggregate, 0)).collect();
            let source = match change {
                Change::CreateFrom(_, _, source) => streams.values().find(|stream| stream.name == source),
                _ => None,
            };
            let source = source.map(|source| source.id);
            let stream = StreamModel {
                id,
                name,
                kind,
                generation: 0,
                aggregates,
                dead_before_ms: vec![i64::MIN],
                source,
                filling: source.map(|source| Filling { source: Some(source), generation: 0 }),
            };
            assert!(next.insert(id, stream).is_none(), "ids of streams are never used again");
        }
        Change::Alter(name, aggregate, is_added) => {
            let id = id_of(name).expect("it is there");
            let stream = next.get_mut(&id).expect("it is there");
            stream.generation += 1;
            stream.source = None;
            if is_added {
                stream.aggregates.push((aggregate, stream.generation));
            } else {
                stream.aggregates.retain(|(there, _)| *there != aggregate);
            }
        }
        Change::Fill(name, aggregate) => {
            let id = id_of(name).expect("it is there");
            let stream = next.get_mut(&id).expect("it is there");
            stream.generation += 1;
            stream.source = None;
            stream.aggregates.push((aggregate, stream.generation));
            // Where nothing is added that was not there, there is nothing to find.
            let is_filling = catalogue.stream(name.as_bytes()).is_some_and(|stream| stream.is_filling());
            stream.filling = is_filling.then_some(Filling { source: None, generation: stream.generation });
        }
        Change::Drop(name) => next.retain(|_, stream| stream.name != name),
        Change::Flush => {
            // Each begins anew, with what it was altered to.
            let begun = std::mem::take(&mut next).into_values().map(|stream| {
                let id = id_of(stream.name).expect("it is there");
                let aggregates = stream.aggregates.iter().map(|(aggregate, _)| (*aggregate, 0)).collect();
                let dead_before_ms = vec![i64::MIN];
                let (source, filling) = (None, None);
                (id, StreamModel { id, generation: 0, aggregates, dead_before_ms, source, filling, ..stream })
            });
            next = begun.collect();
            assert!(next.keys().all(|id| !streams.contains_key(id)), "ids of streams are never used again");
        }
    }
    Rc::new(next)
}
