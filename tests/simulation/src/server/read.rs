//! Reads, on the owner's thread and on others', compared with the model at once.

use std::sync::Arc;

use windrow_durability::AppendFsync;
use windrow_engine::{Hashed, Hint};
use windrow_window::{Query, Rows, Value};

use super::connection::Answer;
use super::life::Life;
use super::link::{Question, Read};
use crate::client::Reply;
use crate::coverage::Tried;
use crate::model::{StreamModel, fold};
use crate::world::{Broken, World, entity_name};

/// A read that waited is compared as long as no bucket that it needs can have left meanwhile: RETAIN is a bucket at least, of 500 ms at least.
const WAITED_MS_MAX: i64 = 500;

/// The query of all features, in the model's order.
pub fn query_words(model: &StreamModel) -> Vec<String> {
    let length = |text: &'static str| text.split('@').next().unwrap_or(text);
    model
        .features()
        .map(|(aggregate, _, window)| format!("{}:{}", aggregate.text(), length(window.text)))
        .collect()
}

impl Life {
    /// Prepares a read where it is received.
    ///
    /// # Errors
    /// A read that is right and was refused.
    pub fn prepare_read(
        &mut self,
        s: usize,
        name: &str,
        entity: usize,
        _world: &mut World,
    ) -> Result<Result<Question, Reply>, Broken> {
        let shard = &self.shards[s];
        let Some(stream) = shard.catalogue.stream(name.as_bytes()) else {
            return Ok(Err(Reply::Error("no such stream".to_owned())));
        };
        let model = shard.streams[&stream.id.0].clone();
        let words = query_words(&model);
        let query = Query::parse(&stream.layout, words.iter().map(String::as_bytes));
        let query = query.map_err(|error| format!("a read of {words:?} was refused: {error}"))?;
        let time = query.read_time(&stream.layout, stream.times(shard.now_ms));
        let time = time.map_err(|error| format!("a read of the present was refused: {error}"))?;
        let clock_ms = self.stream_clock_ms(model.kind.clock, model.id, shard.now_ms);
        if time.clock != clock_ms {
            return Err(format!("stream {name} reads by clock {:?}, and should by {clock_ms:?}", time.clock));
        }
        Ok(Ok(Question::Read(Box::new(Read { stream: Arc::clone(stream), model, query, time, entity }))))
    }

    /// Reads an entity of this shard.
    ///
    /// # Errors
    /// A row that is not the model's.
    pub fn read_own(&mut self, s: usize, read: &Read, world: &mut World) -> Result<Answer, Broken> {
        let name = entity_name(read.entity);
        let shard = &self.shards[s];
        let hint = Hint::of(self.hash_key.hash(read.stream.id, &name));
        let mut row = Rows::default();
        let engine = &shard.engine;
        if engine.read(&shard.catalogue, &read.stream, &name, hint, &read.query, read.time, &mut row).is_err()
        {
            // It was made for a layout that has since lost something.
            let now = shard.streams.get(&read.model.id).map(|model| model.generation);
            if now == Some(read.model.generation) {
                return Err("a read of the present layout was called superseded".to_owned());
            }
            return Ok(Answer::plain(Reply::TryAgain));
        }
        self.compare(s, read, &row.values, world)
    }

    /// Reads an entity of another shard out of its memory; `None`: its owner must be asked.
    ///
    /// # Errors
    /// A row that is not the model's.
    pub fn read_elsewhere(
        &mut self,
        s: usize,
        owner: usize,
        read: &Read,
        world: &mut World,
    ) -> Result<Option<Answer>, Broken> {
        let name = entity_name(read.entity);
        let hashed = Hashed { name: &name, hash: self.hash_key.hash(read.stream.id, &name) };
        let participant = &self.shards[s].participant;
        let mut row = Rows::default();
        let position =
            self.readers[owner].read(participant, &read.stream, hashed, &read.query, read.time, &mut row);
        let Ok(position) = position else { return Ok(None) };
        if world.plan.mode == AppendFsync::Always {
            let durable = self.shards[owner].published_durable;
            // A miss may be the work of a removal that is not safe yet.
            if position == 0 || !self.shards[s].group.is_durable(position, durable) {
                return Ok(None);
            }
        }
        self.compare(owner, read, &row.values, world).map(Some)
    }

    fn compare(&self, owner: usize, read: &Read, row: &[Value], world: &mut World) -> Result<Answer, Broken> {
        let page = world.history.page().entity(read.model.id, read.entity);
        let shows = page.and_then(|page| page.last);
        let now_ms = world.clocks.now_ms();
        let clock_ms = self.stream_clock_ms(read.model.kind.clock, read.model.id, now_ms);
        let waited_ms = clock_ms.zip(read.time.clock).map_or(0, |(now_ms, then_ms)| now_ms - then_ms);
        // The stream may be gone, or another one, where its records are.
        let there = self.shards[owner].streams.get(&read.model.id).map(|model| model.generation);
        let is_comparable = waited_ms <= WAITED_MS_MAX && there == Some(read.model.generation);
        if is_comparable && (clock_ms.is_some() == read.time.clock.is_some()) {
            let page = world.history.page().entity(read.model.id, read.entity);
            let expected = fold::row(&read.model, page, read.time.clock);
            if row != expected {
                return Err(format!(
                    "entity {} of stream {} at {:?} reads {row:?}, and should {expected:?}; {page:?}",
                    read.entity, read.model.name, read.time.clock
                ));
            }
            world.note(Tried::Read);
        }
        Ok(Answer { reply: Reply::Row, acknowledges: None, shows })
    }
}
