//! After a start: everything that the model says must have come back has, and nothing else.

use windrow_engine::{Hashed, Hint, StreamId};
use windrow_window::{Query, Rows};

use crate::model::fold;
use crate::model::when::{Times, When};
use crate::server::Life;
use crate::server::read::query_words;
use crate::world::{Broken, World, entity_name};

impl Life {
    /// Compares every entity of every stream, clocks and counters with the model.
    ///
    /// # Errors
    /// What is different.
    pub fn check(&mut self, world: &mut World) -> Result<(), Broken> {
        let streams = self.shards[0].streams.clone();
        let now_ms = world.clocks.now_ms();
        let names = self.catalogue.iter().count();
        if names != streams.len() {
            return Err(format!("{names} streams came back, and {} were there", streams.len()));
        }
        for model in streams.values() {
            let Some(stream) = self.catalogue.by_id(StreamId(model.id)).cloned() else {
                return Err(format!("stream {} is gone", model.name));
            };
            if &*stream.definition.name != model.name {
                return Err(format!("stream {} is now {}", model.name, stream.definition.name));
            }
            let times = stream.times(now_ms);
            let page = world.history.page().streams.get(&model.id);
            let clock_ms = self.stream_clock_ms(model.kind.clock, model.id, now_ms);
            let newest_ms = page.and_then(|page| page.newest_ms);
            if (times.clock, times.newest) != (clock_ms, newest_ms) {
                return Err(format!(
                    "stream {} came back with {times:?}, and had clock {clock_ms:?} and newest {newest_ms:?}",
                    model.name
                ));
            }
            let counted = page.map_or((0, 0, 0), |page| (page.ok, page.clamped, page.evicted));
            let stats = self.shards.iter().map(|shard| shard.engine.stream_stats(stream.id));
            let found = stats.fold((0, 0, 0), |(ok, clamped, evicted), stats| {
                (ok + stats.ok, clamped + stats.clamped, evicted + stats.evicted)
            });
            if found != counted {
                return Err(format!(
                    "stream {} came back with {found:?} events counted, events clamped and entities evicted, and had {counted:?}",
                    model.name
                ));
            }
            let when = When::default();
            let words = query_words(model, &when);
            let query = Query::parse(&stream.layout, words.iter().map(String::as_bytes));
            let query = query.map_err(|error| format!("stream {} lost a feature: {error}", model.name))?;
            let time = query.read_time(&stream.layout, times).map_err(|error| error.to_string())?;
            for entity in 0..world.plan.entities as usize {
                let name = entity_name(entity);
                let hash = self.hash_key.hash(stream.id, &name);
                let owner = self.owner(&name);
                let shard = &self.shards[owner];
                let mut rows = Rows::default();
                let read = shard.engine.read(
                    &shard.catalogue,
                    &stream,
                    &name,
                    Hint::of(hash),
                    &query,
                    time,
                    &mut rows,
                );
                let row = rows.values;
                let page = world.history.page().entity(model.id, entity);
                let expected = fold::row(model, page, when, Times { clock_ms, newest_ms });
                if read.is_err() || row != expected {
                    return Err(format!(
                        "entity {entity} of stream {} at {clock_ms:?} came back as {row:?}, and was {expected:?}; {page:?}",
                        model.name
                    ));
                }
                let mut elsewhere = Rows::default();
                let hashed = Hashed { name: &name, hash };
                let participant = &self.shards[0].participant;
                let read =
                    self.readers[owner].read(participant, &stream, hashed, &query, time, &mut elsewhere);
                if read.is_ok() && elsewhere.values != row {
                    return Err(format!(
                        "entity {entity} of stream {} is another elsewhere: {:?}",
                        model.name, elsewhere.values
                    ));
                }
            }
        }
        Ok(())
    }
}
