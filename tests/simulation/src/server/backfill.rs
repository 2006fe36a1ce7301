//! The backfill thread (`server/src/backfill`): reads the log that is kept into a shadow, hands what it found to the owners, and has it
//! noted that a stream is filled. What it finds, and who takes it, is compared with the model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use windrow_durability::kept_log::{KeptLog, KeptLogReader, Met};
use windrow_engine::Stream;
use windrow_engine::backfill::{Boundary, Merged, Shadow};
use windrow_engine::op::{self, AnyOp};
use windrow_engine::slot::SLOTS;
use windrow_storage::{LogPin, Manifest, StorageError};

use super::admin::Request;
use super::life::Life;
use crate::coverage::Tried;
use crate::model::backfill::{Met as Told, found, is_taken};
use crate::model::page::Decision;
use crate::model::stream::Clock;
use crate::model::{Event, Place, StreamModel};
use crate::world::{Broken, World, entity_name};

/// Groups that are read in a step.
const GROUPS_PER_STEP: usize = 4;
/// Operations that wait for their owners at most.
const WAITING_MAX: usize = 6;
/// Operations that a shard takes in a tick.
const OPS_AT_ONCE: usize = 2;

/// The backfill thread.
pub struct Backfiller {
    log: KeptLog,
    pin: Option<LogPin>,
    running: Option<Running>,
    /// Operations on their way to each shard.
    lanes: Vec<VecDeque<Found>>,
}

/// A backfill.
struct Running {
    stream: Arc<Stream>,
    until: Boundary,
    shadow: Shadow,
    reader: KeptLogReader,
    told: Vec<Told>,
    phase: Phase,
    /// Entities that this pass must still find.
    expected: BTreeMap<usize, Vec<Event>>,
    reached_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Read,
    Merge,
    Drain,
    Sync,
    Noted,
}

/// An operation on its way to its owner.
struct Found {
    op: Vec<u8>,
    stream: u32,
    /// Whose, and its events; `None`: it brings the time.
    entity: Option<(usize, Vec<Event>)>,
}

impl Backfiller {
    /// For the directory that was started with this manifest. The log is held from now on if there is something to fill.
    pub fn new(log: KeptLog, is_needed: bool, shards: usize) -> Backfiller {
        let pin = is_needed.then(|| log.files().pin(None));
        Backfiller { log, pin, running: None, lanes: (0..shards).map(|_| VecDeque::new()).collect() }
    }

    /// The log as a start left it.
    pub fn kept(files: &windrow_storage::LogFiles, manifest: &Manifest) -> KeptLog {
        KeptLog::new(files.clone(), manifest)
    }

    fn is_drained(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    fn give_up(&mut self) {
        self.running = None;
        self.lanes.iter_mut().for_each(VecDeque::clear);
    }
}

impl Life {
    /// The backfill thread takes a step.
    ///
    /// # Errors
    /// Something was found that is not there, or the reverse.
    pub fn step_backfill(&mut self, world: &mut World) -> Result<(), Broken> {
        if self.poison.reason().is_some() {
            return Ok(());
        }
        let Some(mut running) = self.backfiller.running.take() else { return self.begin_backfill(world) };
        let layout = running.stream.layout_id;
        let now = self.catalogue.by_layout(layout);
        if !now.is_some_and(|stream| stream.layout_id == layout && stream.is_filling()) {
            world.say(format_args!("backfill: stream {} is filled or gone", running.stream.definition.name));
            self.backfiller.give_up();
            return Ok(());
        }
        match running.phase {
            Phase::Read => {
                if !self.read_log(&mut running, world)? {
                    self.backfiller.give_up();
                    return Ok(());
                }
            }
            Phase::Merge => self.take_found(&mut running)?,
            Phase::Drain if self.backfiller.is_drained() => {
                if running.shadow.begin_pass() {
                    running.reader = self.backfiller.log.read(&running.until);
                    running.told.clear();
                    running.phase = Phase::Read;
                } else {
                    running.phase = Phase::Sync;
                }
            }
            Phase::Drain => {}
            Phase::Sync => {
                if self.has_synced_all() {
                    let reached_ms = running.reached_ms.min(running.stream.counts_from_ms());
                    self.admin.note(Request::Filled { layout_id: layout, reached_ms });
                    running.phase = Phase::Noted;
                }
            }
            // Where it could not be noted, all is looked at once more.
            Phase::Noted if self.admin.is_idle() => {
                self.backfiller.give_up();
                return Ok(());
            }
            Phase::Noted => {}
        }
        self.backfiller.running = Some(running);
        Ok(())
    }

    fn begin_backfill(&mut self, world: &mut World) -> Result<(), Broken> {
        let filling = self.catalogue.filling();
        let has_boundary = |stream: &&&Arc<Stream>| {
            stream.backfill.as_ref().is_some_and(|backfill| backfill.until.is_some())
        };
        let Some(stream) = filling.iter().find(has_boundary).map(|stream| Arc::clone(stream)) else {
            if filling.is_empty() {
                self.backfiller.pin = None;
            }
            return Ok(());
        };
        let log = &self.backfiller.log;
        self.backfiller.pin.get_or_insert_with(|| log.files().pin(None));
        let backfill = stream.backfill.as_ref().expect("it is being filled");
        let until = backfill.until.clone().expect("it was looked at");
        let source = backfill.source.and_then(|source| self.catalogue.by_id(source)).unwrap_or(&stream);
        let reached_ms = source.created_ms;
        let mut shadow = Shadow::new(&self.catalogue, &stream, world.plan.extras.shadow_bytes)
            .map_err(|_| "the stream that another one is filled from is gone")?;
        shadow.begin_pass();
        world.note(Tried::BackfillBegun);
        world.say(format_args!("backfill: stream {} begins", stream.definition.name));
        self.backfiller.running = Some(Running {
            reader: log.read(&until),
            until,
            stream,
            shadow,
            told: Vec::new(),
            phase: Phase::Read,
            expected: BTreeMap::new(),
            reached_ms,
        });
        Ok(())
    }

    /// Reads some groups; false: the disk does not read, and it has to begin again.
    fn read_log(&mut self, running: &mut Running, world: &mut World) -> Result<bool, Broken> {
        for _ in 0..GROUPS_PER_STEP {
            let mut gap_met = None;
            match running.reader.next() {
                Met::Group { frame, gap, .. } => {
                    if let Some(gap) = gap {
                        running.shadow.pass_over(gap.shard, gap.shards);
                        running.told.push(Told::Gap { shard: gap.shard, shards: gap.shards });
                        world.note(Tried::BackfillGap);
                    }
                    let (epoch, first) = (frame.first.epoch(), frame.first.ops());
                    for (op, ops) in op::iter(frame.ops).zip(first..) {
                        let is_behind = running.until.is_behind(epoch, frame.shard, ops);
                        let fed = op
                            .and_then(|op| running.shadow.feed(&self.catalogue, op, is_behind, frame.now_ms));
                        fed.map_err(|error| format!("the log that is kept is not one: {error}"))?;
                    }
                    running.told.push(Told::Group {
                        log: (epoch, frame.shard),
                        first,
                        count: u64::from(frame.op_count),
                        now_ms: frame.now_ms,
                    });
                }
                Met::Gap(gap) => gap_met = Some(gap),
                Met::NotDurable { shard } => {
                    self.syncs[usize::from(shard)].is_requested = true;
                    return Ok(true);
                }
                Met::Unreadable(StorageError::Corrupt(damage)) => {
                    world.say(format_args!("backfill: passes over {damage}"));
                }
                Met::Unreadable(error) => {
                    world.say(format_args!("backfill: begins again: {error}"));
                    return Ok(false);
                }
                Met::Nothing => {}
                Met::End => {
                    self.log_is_read(running, world)?;
                    return Ok(true);
                }
            }
            if let Some(gap) = gap_met {
                running.shadow.pass_over(gap.shard, gap.shards);
                running.told.push(Told::Gap { shard: gap.shard, shards: gap.shards });
                world.note(Tried::BackfillGap);
            }
        }
        Ok(true)
    }

    /// What this pass must find is known now.
    fn log_is_read(&mut self, running: &mut Running, world: &mut World) -> Result<(), Broken> {
        if let Some(since_ms) = running.reader.complete_since() {
            running.reached_ms = running.reached_ms.max(since_ms);
        }
        let part = |part: f64| (part * f64::from(SLOTS)).round() as u16;
        let (end, start) = running.shadow.slots();
        let streams = world.streams(self.catalogue.version)?;
        let target = streams.get(&running.stream.id.0).ok_or("a stream that is filled is unknown")?;
        let slots = part(start)..part(end);
        running.expected = found(&world.history, &running.told, target, &running.until, &slots);
        world.say(format_args!("backfill: of slots {slots:?} {} entities are found", running.expected.len()));
        // The stream's time goes first: by it, owners say who is alive.
        let mut op = Vec::new();
        if running.shadow.write_note(&mut op) {
            self.send_found(Found { op, stream: target.id, entity: None });
        }
        running.phase = Phase::Merge;
        Ok(())
    }

    fn send_found(&mut self, found: Found) {
        let entity = AnyOp::decode(&found.op).expect("an operation as it was encoded").entity();
        let owner = self.owner(entity);
        self.backfiller.lanes[owner].push_back(found);
    }

    /// Takes entities out of the shadow, as long as few wait for their owners.
    fn take_found(&mut self, running: &mut Running) -> Result<(), Broken> {
        let is_note = |found: &Found| found.entity.is_none();
        while self.backfiller.lanes.iter().map(VecDeque::len).sum::<usize>() < WAITING_MAX
            && !self.backfiller.lanes.iter().flatten().any(is_note)
        {
            let mut op = Vec::new();
            if !running.shadow.take_merge(&mut op) {
                if !running.expected.is_empty() {
                    return Err(format!("a backfill did not find {:?}", running.expected));
                }
                running.phase = Phase::Drain;
                return Ok(());
            }
            let name = AnyOp::decode(&op).map_err(|error| error.to_string())?.entity().to_vec();
            let entity = running.expected.keys().copied().find(|entity| entity_name(*entity) == name);
            let Some((entity, events)) = entity.and_then(|entity| running.expected.remove_entry(&entity))
            else {
                return Err(format!(
                    "a backfill found {:?}, of which nothing is to be found",
                    String::from_utf8_lossy(&name)
                ));
            };
            self.send_found(Found { op, stream: running.stream.id.0, entity: Some((entity, events)) });
        }
        Ok(())
    }

    /// Whether all that was merged would survive a power loss.
    fn has_synced_all(&mut self) -> bool {
        let mut is_synced = true;
        for (shard, sync) in self.shards.iter_mut().zip(&mut self.syncs) {
            let end = shard.group.end();
            if shard.group.state().is_none_or(|state| state.durable < end) {
                sync.is_requested = true;
                is_synced = false;
            }
        }
        is_synced
    }

    /// What a manifest says that is filled must not be lost.
    pub fn promise_filled(&mut self, world: &mut World) {
        for (number, shard) in self.shards.iter_mut().enumerate() {
            if let Some(state) = shard.group.state() {
                world.history.promise_durable(Place { log: (self.epoch, number as u16), ops: state.durable });
            }
        }
    }

    /// A shard takes some of what was found for its entities.
    ///
    /// # Errors
    /// A record that takes what it should not, or the reverse.
    pub fn take_merges(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        for _ in 0..OPS_AT_ONCE {
            let Some(found) = self.backfiller.lanes[s].pop_front() else { return Ok(()) };
            if !self.merge(s, &found, world)? {
                // Sent again later, as one that found no room.
                self.backfiller.lanes[s].push_front(found);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether it is decided.
    fn merge(&mut self, s: usize, found: &Found, world: &mut World) -> Result<bool, Broken> {
        self.make_room_for_event(s, world)?;
        let shard = &mut self.shards[s];
        let (now_ms, op) = (shard.now_ms, &found.op);
        if shard.group.admit(op.len(), now_ms).is_err() {
            world.note(Tried::MergeRefused);
            return Ok(false);
        }
        let position = shard.group.next_position();
        let merged = match AnyOp::decode(op).map_err(|error| error.to_string())? {
            AnyOp::Merge(merge) => shard.engine.merge(&shard.catalogue, &merge, now_ms, position),
            AnyOp::Event(note) => {
                if shard.engine.note(&shard.catalogue, &note) {
                    let place = Place { log: (self.epoch, s as u16), ops: shard.group.push(op, false) };
                    let decision = Decision::Note { stamp_ms: note.clock_ms };
                    world.history.decide(found.stream, decision, place, now_ms);
                    self.observe(found.stream, note.clock_ms, world);
                }
                return Ok(true);
            }
            AnyOp::Remove(_) => return Err("a backfill removes nothing".to_owned()),
        };
        let (entity, events) = found.entity.as_ref().ok_or("a MERGE of no entity")?;
        let model = shard.streams.get(&found.stream).filter(|model| model.filling.is_some()).cloned();
        let Some(model) = model else {
            let outcome = if merged == Merged::Nothing { Ok(true) } else { Err(merged) };
            return outcome.map_err(|merged| format!("a stream that is not filled took a MERGE: {merged:?}"));
        };
        let clock_ms = self.stream_clock_ms(model.kind.clock, model.id, now_ms);
        let is_taken = is_taken(&model, world.history.page().entity(model.id, *entity), events, clock_ms);
        world.say(format_args!("shard {s}: MERGE of entity {entity} of stream {}: {merged:?}", model.name));
        match merged {
            Merged::OutOfMemory if is_taken && self.shards[s].has_limit => {
                world.note(Tried::MergeRefused);
                Ok(false)
            }
            Merged::Nothing if !is_taken => Ok(true),
            Merged::Done if is_taken => {
                self.merged(s, &model, (*entity, events), op, world);
                Ok(true)
            }
            merged => Err(format!(
                "entity {entity} of stream {} with {:?} was offered {events:?}: {merged:?}, and should have taken it: {is_taken}",
                model.name,
                world.history.page().entity(model.id, *entity)
            )),
        }
    }

    /// A record took what was found.
    fn merged(
        &mut self,
        s: usize,
        model: &StreamModel,
        (entity, events): (usize, &[Event]),
        op: &[u8],
        world: &mut World,
    ) {
        let shard = &mut self.shards[s];
        let place = Place { log: (self.epoch, s as u16), ops: shard.group.push(op, false) };
        let now_ms = shard.now_ms;
        let filling = model.filling.as_ref().expect("it was looked at");
        let page = world.history.page().entity(model.id, entity).filter(|page| page.has_record);
        let own = page.into_iter().flat_map(|page| &page.events);
        let newest_ms = events.iter().chain(own).map(|event| event.ts).max();
        let is_copied = filling.source.is_some();
        let clock_ms = newest_ms.filter(|_| is_copied && model.kind.clock == Clock::Event);
        let decision = Decision::Merge {
            entity,
            generation: filling.generation,
            found: events.to_vec(),
            copied: is_copied.then_some(clock_ms),
        };
        world.history.decide(model.id, decision, place, now_ms);
        world.note(Tried::Merged);
        if let Some(clock_ms) = clock_ms {
            self.observe(model.id, clock_ms, world);
        }
    }

    /// A stream with CLOCK EVENT learns of a time.
    fn observe(&mut self, stream: u32, clock_ms: i64, world: &mut World) {
        let live_ms = self.live_clocks.entry(stream).or_insert(clock_ms);
        *live_ms = clock_ms.max(*live_ms);
        let received_ms = world.clocks_received.entry(stream).or_insert(clock_ms);
        *received_ms = clock_ms.max(*received_ms);
    }
}
