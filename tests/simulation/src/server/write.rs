//! Writes: what the owner does with them, compared with the model at once.

use std::sync::Arc;

use windrow_engine::entity::NoRoom;
use windrow_engine::op::{self, AnyOp, EVERY_STREAM, Op};
use windrow_engine::slot::{group_of, hash_slot};
use windrow_engine::{Hint, Outcome, form};

use super::connection::{Answer, Job};
use super::life::Life;
use super::link::{Question, Write};
use crate::client::{ClientEvent, Command, Reply};
use crate::coverage::Tried;
use crate::model::fold::is_dead;
use crate::model::judge::{self, Arriving};
use crate::model::page::Decision;
use crate::model::stream::Clock;
use crate::model::{Event, Place, StreamModel};
use crate::world::{Broken, World, entity_name, source_name};

impl Life {
    /// What a command becomes where it is received: a question for the owner, or an error.
    ///
    /// # Errors
    /// A form that is right and was refused, or a clock that is not the model's.
    pub fn prepare(
        &mut self,
        s: usize,
        command: &Command,
        world: &mut World,
    ) -> Result<Result<Question, Reply>, Broken> {
        match command {
            Command::Add(event) => self.prepare_event(s, event, world),
            Command::Read { stream, entity, when } => self.prepare_read(s, stream, *entity, *when, world),
            Command::Range { stream, entity, range } => self.prepare_range(s, stream, *entity, *range, world),
            Command::Delete { entity, stream } => {
                let shard = &self.shards[s];
                let of = |name: &str| shard.catalogue.stream(name.as_bytes());
                let (layout, id) = match stream {
                    None => (EVERY_STREAM, None),
                    Some(name) => match of(name) {
                        Some(stream) => (stream.layout_id, Some(stream.id.0)),
                        None => return Ok(Err(Reply::Error("no such stream".to_owned()))),
                    },
                };
                let mut op = Vec::new();
                op::encode_remove(&mut op, layout, &entity_name(*entity), true);
                Ok(Ok(Question::Remove { op, entity: *entity, stream: id }))
            }
            Command::Madd(_) => unreachable!("its rows are prepared one by one"),
            Command::Change(_) => unreachable!("the admin thread is asked"),
        }
    }

    fn prepare_event(
        &mut self,
        s: usize,
        event: &ClientEvent,
        world: &mut World,
    ) -> Result<Result<Question, Reply>, Broken> {
        let shard = &self.shards[s];
        let Some(stream) = shard.catalogue.stream(event.stream.as_bytes()) else {
            return Ok(Err(Reply::Error("no such stream".to_owned())));
        };
        let model = &shard.streams[&stream.id.0];
        let name = entity_name(event.entity);
        let mut words: Vec<Vec<u8>> = Vec::new();
        // The stream may have become another one under the same name.
        let id = event.id.filter(|_| model.kind.dedup_ms.is_some());
        if let Some(id) = id {
            words.extend([b"ID".to_vec(), id.to_string().into_bytes()]);
        }
        if let Some((source, seq)) = event.source {
            words.extend([
                b"SOURCE".to_vec(),
                source_name(source).into_bytes(),
                seq.to_string().into_bytes(),
            ]);
        }
        words.push(event.ts.to_string().into_bytes());
        words.extend([
            b"n".to_vec(),
            event.n.to_string().into_bytes(),
            b"s".to_vec(),
            event.s.as_bytes().to_vec(),
        ]);
        let (stream, model) = (Arc::clone(stream), model.clone());
        let (mut op, now_ms) = (Vec::new(), shard.now_ms);
        let before_ms = self.stream_clock_ms(model.kind.clock, model.id, now_ms);
        let words = words.iter().map(Vec::as_slice);
        form::encode_add(&mut op, &stream, &name, words, now_ms, &self.hash_key)
            .map_err(|error| format!("event {} was refused: {error}", event.number))?;
        self.received(&model, event, id, op, (now_ms, before_ms), world).map(Ok)
    }

    /// The next row of an EVENT.MADD where it is received.
    ///
    /// # Errors
    /// As [`Life::prepare`].
    pub fn prepare_row(&mut self, s: usize, job: &Job, world: &mut World) -> Result<Question, Broken> {
        let event = &job.rows[job.next];
        let (mut op, now_ms) = (Vec::new(), self.shards[s].now_ms);
        let before_ms = self.stream_clock_ms(job.model.kind.clock, job.model.id, now_ms);
        job.header
            .encode_row(&mut op, &job.stream, &job.args, job.next, now_ms, &self.hash_key)
            .map_err(|error| format!("event {} was refused: {error}", event.number))?;
        self.received(&job.model, event, event.id.filter(|_| job.has_ids), op, (now_ms, before_ms), world)
    }

    /// An event that was encoded, and what the model knows of it.
    fn received(
        &mut self,
        model: &StreamModel,
        event: &ClientEvent,
        id: Option<u64>,
        op: Vec<u8>,
        (now_ms, before_ms): (i64, Option<i64>),
        world: &mut World,
    ) -> Result<Question, Broken> {
        let (ts, outcome) = judge::skewed(model, event.ts, now_ms);
        let stamp_ms = match (model.kind.clock, outcome) {
            (Clock::Wall, _) => now_ms,
            (Clock::Event, Outcome::Skewed) => before_ms.unwrap_or(ts),
            (Clock::Event, _) => before_ms.map_or(ts, |before_ms| before_ms.max(ts)),
        };
        let encoded = Op::decode(&op).map_err(|error| error.to_string())?;
        if (encoded.ts, encoded.clock_ms) != (ts, stamp_ms) {
            return Err(format!(
                "event {} has time {} by {}, and should have {ts} by {stamp_ms}",
                event.number, encoded.ts, encoded.clock_ms
            ));
        }
        if model.kind.clock == Clock::Event && outcome != Outcome::Skewed {
            self.live_clocks.insert(model.id, stamp_ms);
            let received_ms = world.clocks_received.entry(model.id).or_insert(stamp_ms);
            *received_ms = stamp_ms.max(*received_ms);
        }
        let group = group_of(hash_slot(&entity_name(event.entity)));
        let write = Write {
            op,
            stream: model.id,
            arriving: Arriving {
                entity: event.entity,
                sent_ts: event.ts,
                received_ms: now_ms,
                stamp_ms,
                id,
                source: event.source.map(|(source, seq)| (group, source, seq)),
            },
            event: Event {
                number: event.number,
                ts,
                clock_ms: 0,
                newest_ms: None,
                n: event.n,
                s: event.s,
                generation: 0,
            },
        };
        Ok(Question::Add(Box::new(write)))
    }

    /// What the owner answers, and the position that the answer waits for.
    ///
    /// # Errors
    /// An answer that the model does not give.
    pub fn answer(
        &mut self,
        s: usize,
        question: Question,
        world: &mut World,
    ) -> Result<(Answer, u64), Broken> {
        match question {
            Question::Add(write) => self.add(s, *write, world),
            Question::Remove { op, entity, stream } => self.remove(s, &op, entity, stream, world),
            Question::Read(read) => Ok((self.read_own(s, &read, world)?, 0)),
        }
    }

    fn add(&mut self, s: usize, write: Write, world: &mut World) -> Result<(Answer, u64), Broken> {
        let Write { op, stream: id, arriving, event } = write;
        self.make_room_for_event(s, world)?;
        let model = self.shards[s].streams.get(&id).cloned();
        let clock_ms = model
            .as_ref()
            .and_then(|model| self.stream_clock_ms(model.kind.clock, id, self.shards[s].now_ms));
        let log = (self.epoch, s as u16);
        let shard = &mut self.shards[s];
        let relabelled = shard.catalogue.relabelled(&op);
        let op = relabelled.as_deref().unwrap_or(&op);
        if shard.group.admit(op.len(), shard.now_ms).is_err() {
            shard.engine.refuse(&shard.catalogue, op);
            world.note(Tried::Misconf);
            self.leave_undecided(model.as_ref(), &arriving, world);
            return Ok((Answer::plain(Reply::Misconf), 0));
        }
        let hint = Hint::of(self.hash_key.hash(windrow_engine::StreamId(id), &entity_name(arriving.entity)));
        let position = shard.group.next_position();
        let outcome = shard.engine.apply(&shard.catalogue, op, hint, shard.now_ms, position);
        let Some(model) = model else {
            if outcome != Outcome::Dropped {
                return Err(format!("event {} of a stream that is gone was {outcome:?}", event.number));
            }
            return Ok((Answer::plain(Reply::Event(outcome)), 0));
        };
        let judged_at = clock_ms.unwrap_or(arriving.stamp_ms);
        let (verdict, anew) =
            judge::judge(&model, world.history.page(), &self.undecided, &arriving, judged_at);
        // Memory may be short wherever it is not known that none is needed.
        let is_short =
            outcome == Outcome::OutOfMemory && self.shards[s].has_limit && verdict.may_need_memory();
        if !verdict.admits(outcome) && !is_short {
            return Err(format!(
                "event {} ({arriving:?}) was {outcome:?} by clock {judged_at}, and should have been {verdict:?}",
                event.number
            ));
        }
        world.say(format_args!(
            "shard {s}: event {} of entity {}: {outcome:?}",
            event.number, arriving.entity
        ));
        self.settle_source(id, &arriving, outcome);
        let shard = &mut self.shards[s];
        if shard.engine.moved_clock() {
            shard.group.note(op);
            let place = Place { log, ops: shard.group.end() };
            world.history.decide(id, Decision::Note { stamp_ms: arriving.stamp_ms }, place, shard.now_ms);
        }
        let reply = Reply::Event(outcome);
        match outcome {
            Outcome::Ok | Outcome::Clamped => {
                if shard.engine.started_anew() != anew {
                    return Err(format!(
                        "event {} started its entity anew: {}, not {anew}",
                        event.number, !anew
                    ));
                }
                let ops = shard.group.push(op, anew);
                let place = Place { log, ops };
                let (clock_ms, newest_ms) = judge::buckets_by(&model, world.history.page(), &arriving, anew);
                let event = Event { clock_ms, newest_ms, generation: model.generation, ..event };
                let decision = Decision::Count {
                    entity: arriving.entity,
                    event,
                    stamp_ms: arriving.stamp_ms,
                    source_clock: model.kind.clock,
                    applied_ms: judged_at.max(arriving.stamp_ms),
                    id: arriving.id,
                    source: arriving.source,
                    anew,
                    clamped: outcome == Outcome::Clamped,
                };
                world.history.decide(id, decision, place, shard.now_ms);
                world.note(Tried::EventCounted);
                Ok((Answer { reply, acknowledges: Some(place), shows: Some(place) }, ops))
            }
            Outcome::Duplicate => {
                world.note(Tried::EventDuplicate);
                let original = original(world, id, &arriving);
                Ok((Answer { reply, acknowledges: original, shows: original }, shard.group.end()))
            }
            Outcome::Late | Outcome::Skewed => {
                world.note(Tried::EventLate);
                Ok((Answer::plain(reply), 0))
            }
            Outcome::SeqGap { .. } => {
                world.note(Tried::EventSeqGap);
                Ok((Answer::plain(reply), 0))
            }
            Outcome::OutOfMemory => {
                world.note(Tried::OutOfMemory);
                self.leave_undecided(Some(&model), &arriving, world);
                Ok((Answer::plain(Reply::OutOfMemory), 0))
            }
            _ => Ok((Answer::plain(reply), 0)),
        }
    }

    /// A write was refused before anything was decided: higher numbers of its source wait for it.
    fn leave_undecided(&mut self, model: Option<&StreamModel>, arriving: &Arriving, world: &World) {
        if let (Some(model), Some((group, source, seq))) = (model, arriving.source)
            && judge::must_come_first(model, world.history.page(), &self.undecided, arriving)
        {
            self.undecided.insert((model.id, group, source), seq);
        }
    }

    /// What a decided sequence number means for those that wait.
    fn settle_source(&mut self, stream: u32, arriving: &Arriving, outcome: Outcome) {
        let Some((group, source, seq)) = arriving.source else { return };
        let key = (stream, group, source);
        let Some(&first) = self.undecided.get(&key) else { return };
        let is_over = match outcome {
            Outcome::Ok | Outcome::Clamped => first <= seq,
            Outcome::Duplicate | Outcome::Late | Outcome::Skewed => first == seq,
            _ => false,
        };
        if is_over {
            self.undecided.remove(&key);
        }
    }

    fn remove(
        &mut self,
        s: usize,
        op: &[u8],
        entity: usize,
        stream: Option<u32>,
        world: &mut World,
    ) -> Result<(Answer, u64), Broken> {
        let log = (self.epoch, s as u16);
        let Ok(AnyOp::Remove(remove)) = AnyOp::decode(op) else { return Err("a REMOVE is none".to_owned()) };
        let now_ms = self.shards[s].now_ms;
        let is_alive = |model: &StreamModel| {
            let clock_ms = self.stream_clock_ms(model.kind.clock, model.id, now_ms);
            let page = world.history.page().entity(model.id, entity);
            page.zip(clock_ms).is_some_and(|(page, clock_ms)| !is_dead(model, page, clock_ms))
        };
        // Each with its generation, and whether it is alive: the others are remembered all the same.
        let asked = self.shards[s].streams.values().filter(|model| stream.is_none_or(|id| model.id == id));
        let looked_at =
            asked.map(|model| (model.id, model.generation, is_alive(model), model.keeps_the_dead()));
        let gone: Vec<(u32, usize, bool)> = looked_at
            .filter(|(.., is_alive, keeps_the_dead)| *is_alive || *keeps_the_dead)
            .map(|(id, generation, is_alive, _)| (id, generation, is_alive))
            .collect();
        let shard = &mut self.shards[s];
        let position = shard.group.next_position();
        let group = std::cell::RefCell::new(&mut shard.group);
        let mut ops = Vec::new();
        let removed = shard.engine.remove_entity(
            &shard.catalogue,
            &remove,
            now_ms,
            position,
            |bytes| group.borrow_mut().admit(bytes, now_ms).is_ok(),
            |op| ops.push(group.borrow_mut().push(op, false)),
        );
        for (&(id, generation, _), &ops) in gone.iter().zip(&ops) {
            let place = Place { log, ops };
            world.history.decide(id, Decision::Remove { entity, generation }, place, now_ms);
            world.note(Tried::EntityDeleted);
        }
        let removed = match removed {
            Ok(removed) => removed,
            Err(NoRoom::Log) => {
                world.note(Tried::Misconf);
                return Ok((Answer::plain(Reply::Misconf), 0));
            }
            Err(NoRoom::Memory) if !self.shards[s].has_limit => {
                return Err(format!("DEL of entity {entity} was refused for memory, and there is no limit"));
            }
            Err(NoRoom::Memory) => return Ok((Answer::plain(Reply::OutOfMemory), 0)),
        };
        if removed != gone.iter().filter(|(.., is_alive)| *is_alive).count() || ops.len() != gone.len() {
            return Err(format!(
                "DEL of entity {entity} removed {removed}, and should have removed {gone:?}"
            ));
        }
        world.say(format_args!("shard {s}: DEL of entity {entity}: {gone:?}"));
        // That there is nothing must not be taken back either, unless the log has failed: then it is a read.
        let asked = self.shards[s].streams.keys().filter(|id| stream.is_none_or(|asked| asked == **id));
        let last = asked.filter_map(|id| world.history.page().entity(*id, entity)?.last).max();
        let last = last.filter(|_| self.poison.reason().is_none());
        let answer = Answer { reply: Reply::Removed(removed), acknowledges: last, shows: last };
        Ok((answer, self.shards[s].group.end()))
    }
}

/// Where the event stands that another one repeats.
fn original(world: &World, stream: u32, arriving: &Arriving) -> Option<Place> {
    let page = world.history.page().streams.get(&stream)?;
    let by_id = arriving.id.and_then(|id| page.ids.get(&(arriving.entity, id))).map(|counted| counted.place);
    let by_source = arriving.source.and_then(|(group, source, seq)| {
        page.sources.get(&(group, source)).filter(|counted| seq <= counted.last).map(|counted| counted.place)
    });
    by_source.or(by_id)
}
