//! A shard's tick, in the phases of the real one (`server/src/shard/tick.rs`), each of which is a step of its own here, so that sync threads,
//! other shards and crashes come between them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use windrow_durability::{AppendFsync, LogGroup};
use windrow_engine::madd::MaddHeader;
use windrow_engine::{Catalogue, Shard};
use windrow_memory::Participant;
use windrow_storage::Idle;

use super::admin::Asker;
use super::connection::{Answer, Job, ReplyTo, Words, failed};
use super::life::Life;
use super::link::{BATCH_MAX, Batch, CREDITS, Item, Question};
use crate::client::{ClientEvent, Command, Reply};
use crate::coverage::Tried;
use crate::model::Streams;
use crate::world::{Broken, World, entity_name, source_name};

/// Commands that a connection gets done in one tick.
const COMMANDS_PER_TICK: usize = 8;
/// Rows of one command that a connection gets done before others have their turn.
const ROWS_PER_TURN: usize = 3;
/// Where the header of an EVENT.MADD begins.
const MADD_HEADER_AT: usize = 2;
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
    /// The last operation of its log before it used the catalogue that it uses.
    pub adopted_at: u64,
    /// Whether `maxmemory` is set.
    pub has_limit: bool,
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
            adopted_at: 0,
            has_limit: false,
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
                self.take_merges(s, world)?;
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
        self.make_room(s, world)?;
        self.adopt_catalogue(s, world)
    }

    fn adopt_catalogue(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        let shard = &mut self.shards[s];
        if shard.catalogue.version < self.catalogue.version {
            shard.catalogue = Arc::clone(&self.catalogue);
            shard.streams = world.streams(shard.catalogue.version)?;
            shard.engine.adopt(&shard.catalogue);
            shard.adopted_at = shard.group.end();
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
        if self.connections[index].job.is_some() {
            return self.issue_rows(s, index, world);
        }
        let connection = &self.connections[index];
        let Some((arrives, number, command)) = connection.incoming.front() else { return Ok(false) };
        if *arrives > world.step || connection.waits_for_change {
            return Ok(false);
        }
        let (number, command) = (*number, command.clone());
        let owner = match &command {
            Command::Add(event) => self.owner(&entity_name(event.entity)),
            Command::Read { entity, .. } | Command::Range { entity, .. } | Command::Delete { entity, .. } => {
                self.owner(&entity_name(*entity))
            }
            Command::Madd(rows) => {
                self.connections[index].incoming.pop_front();
                self.begin_rows(s, index, number, rows, world)?;
                return Ok(true);
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
        let is_write = !matches!(command, Command::Read { .. } | Command::Range { .. });
        if owner == s && is_write && self.shards[s].group.should_wait(0) {
            return Ok(false);
        }
        if owner != s && !self.has_credit(s, owner) {
            return Ok(false);
        }
        let connection = &mut self.connections[index];
        connection.incoming.pop_front();
        let reply_to = (connection.open(number), 0);
        match self.prepare(s, &command, world)? {
            Err(reply) => self.connections[index].fill(reply_to, Answer::plain(reply), 0),
            Ok(question) => self.put((s, owner), (index, reply_to), is_write, question, world)?,
        }
        Ok(true)
    }

    /// Answers a question of an own entity, or one that can be read here; the others go to their owner.
    fn put(
        &mut self,
        (s, owner): (usize, usize),
        (index, reply_to): (usize, ReplyTo),
        is_write: bool,
        question: Question,
        world: &mut World,
    ) -> Result<(), Broken> {
        match question {
            question if owner == s => {
                let (answer, position) = self.answer(s, question, world)?;
                // Under always a reply with nothing but a read waits for what it may show.
                let position = match position {
                    0 if world.plan.mode == AppendFsync::Always => self.shards[s].group.end(),
                    position => position,
                };
                self.connections[index].fill(reply_to, answer, position);
            }
            Question::Read(read) if self.connections[index].writes_away[owner] == 0 => {
                match self.read_elsewhere(s, owner, &read, world)? {
                    Some(answer) => {
                        let always = world.plan.mode == AppendFsync::Always;
                        let position = if always { self.shards[s].group.end() } else { 0 };
                        self.connections[index].fill(reply_to, answer, position);
                    }
                    None => self.ask(s, owner, (index, reply_to), false, Question::Read(read)),
                }
            }
            question => self.ask(s, owner, (index, reply_to), is_write, question),
        }
        Ok(())
    }

    /// Begins an EVENT.MADD: a bad header fails it as a whole.
    fn begin_rows(
        &mut self,
        s: usize,
        index: usize,
        number: u64,
        rows: &Rc<[Rc<ClientEvent>]>,
        world: &mut World,
    ) -> Result<(), Broken> {
        let shard = &self.shards[s];
        let first = rows.first().ok_or("a command of no rows")?;
        let Some(stream) = shard.catalogue.stream(first.stream.as_bytes()) else {
            let slot = self.connections[index].open(number);
            let reply = Reply::Error("no such stream".to_owned());
            self.connections[index].fill((slot, 0), Answer::plain(reply), 0);
            return Ok(());
        };
        let (stream, model) = (Arc::clone(stream), shard.streams[&stream.id.0].clone());
        // The stream may have become another one under the same name.
        let has_ids = model.kind.dedup_ms.is_some() && rows.iter().all(|row| row.id.is_some());
        let args = Words(madd_words(rows, has_ids));
        let header = MaddHeader::parse(&stream, &args, MADD_HEADER_AT)
            .map_err(|error| format!("rows from event {} on were refused: {error}", first.number))?;
        if header.rows() != rows.len() {
            return Err(format!("{} rows were taken for {}", rows.len(), header.rows()));
        }
        let connection = &mut self.connections[index];
        let slot = connection.open_rows(number, rows.len(), true);
        world.say(format_args!("shard {s}: {} rows of command {number} begin", rows.len()));
        let rows = Rc::clone(rows);
        connection.job = Some(Box::new(Job { rows, args, header, stream, model, has_ids, slot, next: 0 }));
        Ok(())
    }

    /// Issues some rows of an EVENT.MADD; false: the rest has to wait.
    fn issue_rows(&mut self, s: usize, index: usize, world: &mut World) -> Result<bool, Broken> {
        let Some(mut job) = self.connections[index].job.take() else { return Ok(false) };
        let last = (job.next + ROWS_PER_TURN).min(job.rows.len());
        while job.next < last {
            let owner = self.owner(&entity_name(job.rows[job.next].entity));
            let waits =
                if owner == s { self.shards[s].group.should_wait(0) } else { !self.has_credit(s, owner) };
            if waits {
                break;
            }
            let reply_to = (job.slot, job.next);
            let question = self.prepare_row(s, &job, world)?;
            self.put((s, owner), (index, reply_to), true, question, world)?;
            job.next += 1;
        }
        let is_issued = job.next == job.rows.len();
        if is_issued {
            world.note(Tried::RowsIssued);
        } else {
            self.connections[index].job = Some(job);
        }
        Ok(is_issued)
    }

    fn has_credit(&self, s: usize, owner: usize) -> bool {
        self.shards[s].away[owner] < CREDITS && self.shards[s].open[owner].items.len() < BATCH_MAX
    }

    fn ask(
        &mut self,
        s: usize,
        owner: usize,
        (connection, reply_to): (usize, ReplyTo),
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
            reply_to,
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
                        connection.fill(item.reply_to, item.answer.expect("it was answered"), 0);
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
            while let Some((command, answers, is_array)) = connection.release(releasable) {
                for answer in &answers {
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
                }
                let mut replies = answers.into_iter().map(|answer| answer.reply);
                let reply = if is_array { Some(Reply::Rows(replies.collect())) } else { replies.next() };
                connection.outgoing.push_back((command, reply.expect("a reply has a row")));
            }
        }
    }

    // 7. Upkeep, and what the log wants while nothing happens.

    fn upkeep(&mut self, s: usize, world: &mut World) {
        let shard = &mut self.shards[s];
        if world.schedule.chance(20) {
            shard.engine.upkeep(&shard.catalogue, shard.now_ms, UPKEEP_RECORDS);
            shard.engine.release_chunk();
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

/// An EVENT.MADD as it is sent.
fn madd_words(rows: &[Rc<ClientEvent>], has_ids: bool) -> Vec<Vec<u8>> {
    let mut words: Vec<String> =
        ["EVENT.MADD", rows[0].stream, "FIELDS", "2", "n", "s"].map(str::to_owned).to_vec();
    if has_ids {
        words.push("WITHIDS".to_owned());
    }
    if let Some((source, seq)) = rows[0].source {
        words.extend(["SOURCE".to_owned(), source_name(source), seq.to_string()]);
    }
    words.push("EVENTS".to_owned());
    let mut words: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
    for row in rows {
        words.extend([entity_name(row.entity), row.ts.to_string().into_bytes()]);
        words.extend(row.id.filter(|_| has_ids).map(|id| id.to_string().into_bytes()));
        words.extend([row.n.to_string().into_bytes(), row.s.as_bytes().to_vec()]);
    }
    words
}
