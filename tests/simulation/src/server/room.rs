//! Room in memory: `maxmemory` as it is set and changed, and the entities that go to make room.

use windrow_durability::LogGroup;
use windrow_engine::op::AnyOp;
use windrow_memory::CHUNK_BYTES;

use super::life::Life;
use crate::coverage::Tried;
use crate::model::Place;
use crate::model::page::Decision;
use crate::world::{Broken, World, entity_name};

/// Entities that went, and the operations that say so.
type Gone = Vec<(Vec<u8>, u64)>;

impl Life {
    /// Each shard has so many chunks from now on; 0: as many as it wants.
    pub fn set_maxmemory(&mut self, chunks: u64, world: &World) {
        for shard in &mut self.shards {
            shard.engine.set_maxmemory_bytes(chunks as usize * CHUNK_BYTES);
            shard.engine.set_eviction(chunks > 0 && world.plan.extras.has_eviction);
            shard.has_limit = chunks > 0;
        }
        world.say(format_args!("maxmemory is {chunks} chunks"));
    }

    /// Somebody sets `maxmemory`.
    pub fn change_maxmemory(&mut self, world: &mut World) {
        let chunks_max = world.plan.extras.chunks_max;
        let chunks = world.memory.below(chunks_max + 1);
        world.note(Tried::MemoryChanged);
        self.set_maxmemory(chunks, world);
    }

    /// Makes room for the next tick.
    ///
    /// # Errors
    /// Something went that was not there.
    pub fn make_room(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        let shard = &mut self.shards[s];
        let mut gone = Gone::new();
        let group = &mut shard.group;
        let count = shard.engine.make_room(&shard.catalogue, |op| log_removal(group, op, &mut gone));
        self.went(s, count, gone, world)
    }

    /// Makes room for one event.
    ///
    /// # Errors
    /// Something went that was not there.
    pub fn make_room_for_event(&mut self, s: usize, world: &mut World) -> Result<(), Broken> {
        let shard = &mut self.shards[s];
        let mut gone = Gone::new();
        let group = &mut shard.group;
        let count =
            shard.engine.make_room_for_event(&shard.catalogue, |op| log_removal(group, op, &mut gone));
        self.went(s, count, gone, world)
    }

    fn went(&mut self, s: usize, count: usize, gone: Gone, world: &mut World) -> Result<(), Broken> {
        if count != gone.len() {
            return Err(format!("{count} entities went, and the log was told of {}", gone.len()));
        }
        let shard = &self.shards[s];
        let may_go = shard.has_limit && world.plan.extras.has_eviction;
        if !gone.is_empty() && !may_go {
            return Err("entities went, and nobody asked for room".to_owned());
        }
        for (op, ops) in gone {
            let Ok(AnyOp::Remove(remove)) = AnyOp::decode(&op) else {
                return Err("a removal is none".to_owned());
            };
            let stream = shard.catalogue.by_layout(remove.layout).map(|stream| stream.id.0);
            let stream = stream.ok_or("what went was of a stream that is gone")?;
            let generation = shard.streams[&stream].generation;
            let page = world.history.page().streams.get(&stream);
            let mut known = page.into_iter().flat_map(|page| page.entities.keys());
            let entity = known.find(|entity| entity_name(**entity) == remove.entity).copied();
            let Some(entity) = entity.filter(|_| !remove.is_asked) else {
                return Err(format!("{remove:?} went, and was not there"));
            };
            world.say(format_args!("shard {s}: entity {entity} of stream {stream} goes to make room"));
            world.note(Tried::Evicted);
            let place = Place { log: (self.epoch, s as u16), ops };
            world.history.decide(stream, Decision::Evict { entity, generation }, place, shard.now_ms);
        }
        Ok(())
    }
}

fn log_removal(group: &mut LogGroup, op: &[u8], gone: &mut Gone) -> bool {
    let is_logged = group.log_removal(op);
    if is_logged {
        gone.push((op.to_vec(), group.end()));
    }
    is_logged
}
