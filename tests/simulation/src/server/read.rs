//! Reads, on the owner's thread and on others', compared with the model at once.

use std::fmt::Debug;
use std::sync::Arc;

use windrow_durability::AppendFsync;
use windrow_engine::{Hashed, Hint, Stream};
use windrow_window::{Query, RangeQuery, Rows};

use super::connection::Answer;
use super::life::Life;
use super::link::{Question, Read, What};
use crate::client::Reply;
use crate::coverage::Tried;
use crate::model::page::EntityPage;
use crate::model::when::{Range, Times, When};
use crate::model::{StreamModel, fold};
use crate::world::{Broken, World, entity_name};

/// A read of the present that waited is compared as long as no bucket that it needs can have left meanwhile: RETAIN is a bucket at least, of
/// 500 ms at least.
const WAITED_MS_MAX: i64 = 500;

fn no_such_stream() -> Reply {
    Reply::Error("no such stream".to_owned())
}

/// The query of all features that can be asked, in the model's order.
pub fn query_words(model: &StreamModel, when: &When) -> Vec<String> {
    let length = |text: &'static str| text.split('@').next().unwrap_or(text);
    let features = model
        .features(when.is_present())
        .map(|(aggregate, _, window)| format!("{}:{}", aggregate.text(), length(window.text)));
    when.words().into_iter().chain(features).collect()
}

impl Life {
    /// Prepares a WINDOW.GET where it is received.
    ///
    /// # Errors
    /// A read that is right and was refused, or the reverse.
    pub fn prepare_read(
        &mut self,
        s: usize,
        name: &str,
        entity: usize,
        when: When,
        world: &mut World,
    ) -> Result<Result<Question, Reply>, Broken> {
        let Some((stream, model, times)) = self.stream_read(s, name, world)? else {
            return Ok(Err(no_such_stream()));
        };
        let found = stream.times(self.shards[s].now_ms);
        let words = query_words(&model, &when);
        let query = Query::parse(&stream.layout, words.iter().map(String::as_bytes));
        let read = query.and_then(|query| Ok((query.read_time(&stream.layout, found)?, query)));
        if read.is_err() != when.is_refused(model.kind, times) {
            let read = read.map(|(time, _)| time);
            return Err(format!("a read of {words:?} at {times:?} came to {read:?}, and should not"));
        }
        if !when.is_present() {
            world.note(if read.is_ok() { Tried::PastAsked } else { Tried::PastRefused });
        }
        Ok(match read {
            Err(error) => Err(Reply::Error(error.to_string())),
            Ok((time, query)) => {
                let what = What::Row { query, time, when };
                Ok(Question::Read(Box::new(Read { stream, model, what, times, entity })))
            }
        })
    }

    /// Prepares a WINDOW.RANGE where it is received.
    ///
    /// # Errors
    /// A read that is right and was refused, or the reverse.
    pub fn prepare_range(
        &mut self,
        s: usize,
        name: &str,
        entity: usize,
        range: Range,
        world: &mut World,
    ) -> Result<Result<Question, Reply>, Broken> {
        let Some((stream, model, times)) = self.stream_read(s, name, world)? else {
            return Ok(Err(no_such_stream()));
        };
        let words = range.words();
        let query = RangeQuery::parse(&stream.layout, words.iter().map(String::as_bytes));
        let plan = query.and_then(|query| query.plan(&stream.layout, stream.clock_ms(self.shards[s].now_ms)));
        match (plan, range.pairs(&model, times.clock_ms)) {
            (Ok(plan), Some(pairs)) if plan.pairs as i64 == pairs.count => {
                let what = What::Pairs { plan, range, pairs };
                let read = Read { stream, model, what, times, entity };
                Ok(Ok(Question::Read(Box::new(read))))
            }
            (Err(error), None) => {
                world.note(Tried::PastRefused);
                Ok(Err(Reply::Error(error.to_string())))
            }
            (plan, pairs) => Err(format!(
                "a range of {words:?} at {times:?} came to {plan:?}, and should have to {pairs:?}"
            )),
        }
    }

    /// A stream that is read, its model, and the times that it is read by; `None` where there is no such stream.
    fn stream_read(
        &self,
        s: usize,
        name: &str,
        world: &World,
    ) -> Result<Option<(Arc<Stream>, StreamModel, Times)>, Broken> {
        let shard = &self.shards[s];
        let Some(stream) = shard.catalogue.stream(name.as_bytes()) else { return Ok(None) };
        let model = shard.streams[&stream.id.0].clone();
        let found = stream.times(shard.now_ms);
        let times = self.times(&model, shard.now_ms, world);
        if (found.clock, found.newest) != (times.clock_ms, times.newest_ms) {
            return Err(format!("stream {name} reads by {found:?}, and should by {times:?}"));
        }
        Ok(Some((Arc::clone(stream), model, times)))
    }

    fn times(&self, model: &StreamModel, now_ms: i64, world: &World) -> Times {
        let page = world.history.page().streams.get(&model.id);
        Times {
            clock_ms: self.stream_clock_ms(model.kind.clock, model.id, now_ms),
            newest_ms: page.and_then(|page| page.newest_ms),
        }
    }

    /// Reads an entity of this shard.
    ///
    /// # Errors
    /// A row that is not the model's.
    pub fn read_own(&mut self, s: usize, read: &Read, world: &mut World) -> Result<Answer, Broken> {
        let name = entity_name(read.entity);
        let shard = &self.shards[s];
        let hint = Hint::of(self.hash_key.hash(read.stream.id, &name));
        let mut rows = Rows::default();
        let (engine, catalogue, stream) = (&shard.engine, &shard.catalogue, &read.stream);
        let found = match &read.what {
            What::Row { query, time, .. } => {
                engine.read(catalogue, stream, &name, hint, query, *time, &mut rows)
            }
            What::Pairs { plan, .. } => {
                engine.range(catalogue, stream, &name, hint, plan, 0..plan.pairs, &mut rows)
            }
        };
        if found.is_err() {
            // It was made for a layout that has since lost something.
            let now = shard.streams.get(&read.model.id).map(|model| model.generation);
            if now == Some(read.model.generation) {
                return Err("a read of the present layout was called superseded".to_owned());
            }
            return Ok(Answer::plain(Reply::TryAgain));
        }
        self.compare(s, read, &rows, world)
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
        let mut rows = Rows::default();
        let reader = &self.readers[owner];
        let position = match &read.what {
            What::Row { query, time, .. } => {
                reader.read(participant, &read.stream, hashed, query, *time, &mut rows)
            }
            What::Pairs { plan, .. } => {
                reader.range(participant, &read.stream, hashed, plan, 0..plan.pairs, &mut rows)
            }
        };
        let Ok(position) = position else { return Ok(None) };
        if world.plan.mode == AppendFsync::Always {
            let durable = self.shards[owner].published_durable;
            // A miss may be the work of a removal that is not safe yet.
            if position == 0 || !self.shards[s].group.is_durable(position, durable) {
                return Ok(None);
            }
        }
        self.compare(owner, read, &rows, world).map(Some)
    }

    fn compare(&self, owner: usize, read: &Read, rows: &Rows, world: &mut World) -> Result<Answer, Broken> {
        let (model, times) = (&read.model, read.times);
        let page = world.history.page().entity(model.id, read.entity);
        let shows = page.and_then(|page| page.last);
        let now_ms = world.clocks.now_ms();
        let clock_ms = self.stream_clock_ms(model.kind.clock, model.id, now_ms);
        // The stream may be gone, or another one, where its records are.
        let there = self.shards[owner].streams.get(&model.id).map(|model| model.generation);
        if there == Some(model.generation) && is_kept_still(read, clock_ms) {
            match &read.what {
                What::Row { when, .. } => {
                    equal(read, when, &rows.values, &fold::row(model, page, *when, times), page)?;
                    world.note(Tried::Read);
                }
                What::Pairs { range, pairs, .. } => {
                    let expected = fold::pairs(model, page, range, *pairs, times.clock_ms);
                    equal(read, range, &rows.pairs, &expected, page)?;
                    world.note(Tried::RangeRead);
                }
            }
        }
        Ok(Answer { reply: Reply::Row, acknowledges: None, shows })
    }
}

/// Whether no bucket that the read needs can have left since it was received.
fn is_kept_still(read: &Read, clock_ms: Option<i64>) -> bool {
    let (Some(now_ms), Some(then_ms)) = (clock_ms, read.times.clock_ms) else {
        return clock_ms.is_some() == read.times.clock_ms.is_some();
    };
    match &read.what {
        What::Row { when, .. } if when.is_present() => now_ms - then_ms <= WAITED_MS_MAX,
        What::Row { when, .. } => {
            let starts = when.starts(read.model.kind, read.times);
            starts.iter().all(|(tier, from_ms)| *from_ms >= tier.kept_from_ms(now_ms))
        }
        What::Pairs { pairs, .. } => pairs.first_ms >= pairs.tier.kept_from_ms(now_ms),
    }
}

fn equal<T: PartialEq + Debug>(
    read: &Read,
    what: &dyn Debug,
    found: &[T],
    expected: &[T],
    page: Option<&EntityPage>,
) -> Result<(), Broken> {
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "entity {} of stream {} at {:?} reads {found:?}, and should {expected:?}, by {what:?}; {page:?}",
        read.entity, read.model.name, read.times
    ))
}
