//! A shard's tick, in the phases of the real one (`server/src/shard/tick.rs`), each of which is a step of its own here, so that sync threads,
//! other shards and crashes come between them.

use std::collections::VecDeque;
use std::sync::Arc;

use windrow_durability::{AppendFsync, LogGroup};
use windrow_engine::{Catalogue, Shard};
use windrow_memory::Participant;
use windrow_storage::Idle;

use super::admin::Asker;
use super::connection::{Answer, failed};
use super::life::Life;
use super::link::{BATCH_MAX, Batch, CREDITS, Item, Question};
use crate::client::{Command, Reply};
use crate::coverage::Tried;
use crate::model::Streams;
use crate::world::{Broken, World, entity_name};

/// Commands that a connection gets done in one tick.
const COMMANDS_PER_TICK: usize = 8;
/// Records that a slice of upkeep looks at.
const UPKEEP_RECORDS: usize = 4;

/// What a shard's tick does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Commands, questions, answers.
    Work,
    /// The group is written.
    Write,
    /// Questions are sent, answers and replies released, upkeep.
    Release,
}

/// A shard.
pub struct SimShard {
    /// Its records.
    pub engine: Shard,
    /// The operations of its tick, and its log.
    pub group: LogGroup,
    /// The catalogue that it uses.
    pub catalogue: Arc<Catalogue>,
    /// The same, to the model.
    pub streams: Streams,
    /// As a reader of the others' records.
    pub participant: Participant,
    /// The time of its tick.
    pub now_ms: i64,
    /// What others know of its log.
    pub published_durable: u64,
    /// Until this step it does not run.
    pub paused_until: u64,
    phase: Phase,
    open: Vec<Batch>,
    away: Vec<usize>,
    held: VecDeque<(usize, Batch, u64)>,
    has_failed: bool,
}

impl SimShard {
    /// A shard that has its records.
    pub fn new(
        engine: Shard,
        group: LogGroup,
        catalogue: Arc<Catalogue>,
        streams: Streams,
        participant: Participant,
        shards: usize,
    ) -> SimShard {
        SimShard {
            engine,
            group,
            catalogue,
            streams,
            participant,
            now_ms: 0,
            published_durable: 0,
            paused_until: 0,
            phase: Phase::Work,
            open: (0..shards).map(|_| Batch::default()).collect(),
            away: vec![0; shards],
            held: VecDeque::new(),
            has_failed: false,
        }
    }

    /// Whether nothing waits here.
    pub fn is_quiet(&self) -> bool {
        self.held.is_empty() && self.open.iter().all(|batch| batch.items.is_empty())
    }

    /// Whether its log has failed.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }
}

impl Life {
    /// A shard does the next phase of its tick.
    ///
    /// # Errors
    /// Something that must not happen.
    pub fn step_shard(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        match self.shards[s].phase {
            Phase::Work => {
                self.begin_tick(s, world)?;
                self.answer_snapshot(s);
                self.take_turns(s, world)?;
                self.answer_questions(s, world)?;
                self.take_answers(s, world);
                self.shards[s].phase = Phase::Write;
            }
            Phase::Write => {
                self.write_group(s, world);
                self.shards[s].phase = Phase::Release;
            }
            Phase::Release => {
                self.send_questions(s, world);
                self.release(s, world);
                self.upkeep(s, world);
                self.shards[s].phase = Phase::Work;
            }
        }
        Ok(())
    }

    fn begin_tick(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        let shard = &mut self.shards[s];
        shard.now_ms = world.clocks.now_ms();
        shard.participant.quiescent();
        shard.engine.collect();
        self.adopt_catalogue(s, world)
    }

    fn adopt_catalogue(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        let shard = &mut self.shards[s];
        if shard.catalogue.version < self.catalogue.version {
            shard.catalogue = Arc::clone(&self.catalogue);
            shard.streams = world.streams(shard.catalogue.version)?;
            shard.engine.adopt(&shard.catalogue);
        }
        Ok(())
    }

    // 2. Commands.

    fn take_turns(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        for connection in 0..self.connections.len() {
            if self.connections[connection].home != s {
                continue;
            }
            for _ in 0..COMMANDS_PER_TICK {
                if !self.take_command(s, connection, world)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Executes or routes a connection's next command; false: there is none, or it must wait.
    fn take_command(&mut self, s: usize, index: usize, world: &mut World) -> Result<bool, Broken> {
        let connection = &self.connections[index];
        let Some((arrives, number, command)) = connection.incoming.front() else { return Ok(false) };
        if *arrives > world.step || connection.waits_for_change {
            return Ok(false);
        }
        let (number, command) = (*number, command.clone());
        let owner = match &command {
            Command::Add(event) => self.owner(&entity_name(event.entity)),
            Command::Read { entity, .. } | Command::Delete { entity, .. } => {
                self.owner(&entity_name(*entity))
            }
            Command::Change(change) => {
                let connection = &mut self.connections[index];
                connection.incoming.pop_front();
                connection.waits_for_change = true;
                let asker = Asker {
                    connection: index,
                    generation: connection.generation,
                    slot: connection.open(number),
                };
                self.admin.ask(*change, asker);
                return Ok(false);
            }
        };
        let is_write = !matches!(command, Command::Read { .. });
        if owner == s && is_write && self.shards[s].group.should_wait(0) {
            return Ok(false);
        }
        if owner != s && !self.has_credit(s, owner) {
            return Ok(false);
        }
        let connection = &mut self.connections[index];
        connection.incoming.pop_front();
        let slot = connection.open(number);
        match self.prepare(s, &command, world)? {
            Err(reply) => self.connections[index].fill(slot, Answer::plain(reply), 0),
            Ok(question) if owner == s => {
                let (answer, position) = self.answer(s, question, world)?;
                // Under always a reply with nothing but a read waits for what it may show.
                let position = match position {
                    0 if world.plan.mode == AppendFsync::Always => self.shards[s].group.end(),
                    position => position,
                };
                self.connections[index].fill(slot, answer, position);
            }
            Ok(Question::Read(read)) if self.connections[index].writes_away[owner] == 0 => {
                match self.read_elsewhere(s, owner, &read, world)? {
                    Some(answer) => {
                        let always = world.plan.mode == AppendFsync::Always;
                        let position = if always { self.shards[s].group.end() } else { 0 };
                        self.connections[index].fill(slot, answer, position);
                    }
                    None => self.ask(s, owner, index, slot, false, Question::Read(read)),
                }
            }
            Ok(question) => self.ask(s, owner, index, slot, is_write, question),
        }
        Ok(true)
    }

    fn has_credit(&self, s: usize, owner: usize) -> bool {
        self.shards[s].away[owner] < CREDITS && self.shards[s].open[owner].items.len() < BATCH_MAX
    }

    fn ask(
        &mut self,
        s: usize,
        owner: usize,
        connection: usize,
        slot: u64,
        is_write: bool,
        question: Question,
    ) {
        let generation = self.connections[connection].generation;
        if is_write {
            self.connections[connection].writes_away[owner] += 1;
        }
        let shard = &mut self.shards[s];
        let batch = &mut shard.open[owner];
        batch.version = shard.catalogue.version;
        batch.items.push(Item {
            connection,
            generation,
            slot,
            is_write,
            question: Some(question),
            answer: None,
        });
    }

    // 3. Questions and answers.

    fn answer_questions(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        self.shards[s].now_ms = world.clocks.now_ms();
        for asker in 0..self.shards.len() {
            if self.shards[s].group.should_wait(0) {
                return Ok(());
            }
            let Some(mut batch) = self.questions[asker][s].receive(world.step) else { continue };
            if batch.version > self.shards[s].catalogue.version {
                self.adopt_catalogue(s, world)?;
            }
            let mut last = 0;
            for item in &mut batch.items {
                let question = item.question.take().expect("a question is answered once");
                let (answer, position) = self.answer(s, question, world)?;
                last = last.max(position);
                item.answer = Some(answer);
            }
            let has_to_wait = last > 0 || world.plan.mode == AppendFsync::Always;
            let shard = &mut self.shards[s];
            let position = if has_to_wait { shard.group.end() } else { 0 };
            shard.held.push_back((asker, batch, position));
        }
        Ok(())
    }

    fn take_answers(&mut self, s: usize, world: &mut World) {
        for owner in 0..self.shards.len() {
            while let Some(batch) = self.answers[owner][s].receive(world.step) {
                self.shards[s].away[owner] -= 1;
                for item in batch.items {
                    let connection = &mut self.connections[item.connection];
                    if connection.generation == item.generation {
                        connection.writes_away[owner] -= usize::from(item.is_write);
                        connection.fill(item.slot, item.answer.expect("it was answered"), 0);
                    }
                }
            }
        }
    }

    // 4. The log.

    fn write_group(&mut self, s: usize, world: &mut World) {
        let shard = &mut self.shards[s];
        if let Err(error) = shard.group.write(shard.now_ms) {
            world.say(format_args!("shard {s}: {error}"));
        }
        if let Some(kept) = shard.group.take_failure() {
            world.say(format_args!("shard {s}: the log has failed, replies up to {kept} had left"));
            world.note(Tried::LogFailed);
            shard.has_failed = true;
            for (_, batch, position) in &mut shard.held {
                if *position > kept {
                    for item in &mut batch.items {
                        let reply =
                            item.answer.as_ref().map_or(Reply::Unknown, |answer| failed(&answer.reply));
                        item.answer = Some(Answer::plain(reply));
                    }
                }
                *position = 0;
            }
            for connection in self.connections.iter_mut().filter(|connection| connection.home == s) {
                connection.fail_writes(kept);
            }
        }
    }

    // 5 and 6. What leaves.

    fn send_questions(&mut self, s: usize, world: &mut World) {
        for owner in 0..self.shards.len() {
            let shard = &mut self.shards[s];
            if shard.open[owner].items.is_empty() || shard.away[owner] >= CREDITS {
                continue;
            }
            let batch = std::mem::take(&mut shard.open[owner]);
            shard.away[owner] += 1;
            let arrives = world.step + world.links.below(world.plan.delay_max + 1);
            self.questions[s][owner].send(arrives, batch);
        }
    }

    fn release(&mut self, s: usize, world: &mut World) {
        let shard = &mut self.shards[s];
        if let Some(state) = shard.group.state() {
            shard.published_durable = state.durable;
        }
        let releasable = shard.group.releasable(world.plan.mode, shard.now_ms);
        while shard.held.front().is_some_and(|(_, _, position)| *position <= releasable) {
            let Some((asker, batch, _)) = shard.held.pop_front() else { break };
            let arrives = world.step + world.links.below(world.plan.delay_max + 1);
            self.answers[s][asker].send(arrives, batch);
        }
        let has_failed = shard.has_failed;
        for connection in self.connections.iter_mut().filter(|connection| connection.home == s) {
            while let Some((command, answer)) = connection.release(releasable) {
                world.say(format_args!("shard {s}: reply of {command}: {:?}", answer.reply));
                if let Some(place) = answer.acknowledges {
                    world.history.promise_written(place);
                }
                // What was read of a log that has failed is promised to nobody.
                let is_promised = answer.acknowledges.is_some() || !has_failed;
                if let Some(place) =
                    answer.shows.filter(|_| is_promised && world.plan.mode == AppendFsync::Always)
                {
                    world.history.promise_durable(place);
                }
                connection.outgoing.push_back((command, answer.reply));
            }
        }
    }

    // 7. Upkeep, and what the log wants while nothing happens.

    fn upkeep(&mut self, s: usize, world: &mut World) {
        let shard = &mut self.shards[s];
        if world.schedule.chance(20) {
            shard.engine.upkeep(&shard.catalogue, shard.now_ms, UPKEEP_RECORDS);
        }
        let Some(log) = shard.group.log_mut() else { return };
        if log.full_segment_needs_sync() {
            self.syncs[s].is_requested = true;
        }
        if let Ok(Idle::Sync) = log.idle(shard.now_ms) {
            self.syncs[s].is_requested = true;
        }
    }
}
