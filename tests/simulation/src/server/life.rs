//! The server: its parts, and what crosses between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use windrow_durability::CatalogueStore;
use windrow_engine::{Catalogue, HashKey, ShardReader};
use windrow_memory::Adopter;
use windrow_storage::Poison;

use super::admin::Admin;
use super::backfill::Backfiller;
use super::connection::Connection;
use super::link::Wire;
use super::shard::SimShard;
use super::snapshots::Snapshots;
use super::sync::Sync;
use crate::coverage::Tried;
use crate::model::history::LogAtEnd;
use crate::model::judge::Undecided;
use crate::model::stream::Clock;
use crate::world::{Broken, World};

/// A server that runs.
pub struct Life {
    /// The epoch of its logs.
    pub epoch: u32,
    /// What entities are hashed with.
    pub hash_key: HashKey,
    /// The shards.
    pub shards: Vec<SimShard>,
    /// Their records, for the others to read.
    pub readers: Vec<ShardReader>,
    /// Their sync threads.
    pub syncs: Vec<Sync>,
    /// Questions by asker and owner.
    pub questions: Vec<Vec<Wire>>,
    /// Answers by owner and asker.
    pub answers: Vec<Vec<Wire>>,
    /// The catalogue that is published.
    pub catalogue: Arc<Catalogue>,
    /// The catalogue on disk, and the directory's lock.
    pub store: CatalogueStore,
    /// The admin thread.
    pub admin: Admin,
    /// Who takes over chunks of the image in the background, by shard.
    pub adopters: Vec<Adopter>,
    /// The backfill thread.
    pub backfiller: Backfiller,
    /// The snapshot thread.
    pub snapshots: Snapshots,
    /// Nothing fails in this life.
    pub is_calm: bool,
    /// One connection a client.
    pub connections: Vec<Connection>,
    /// Whether the log has failed.
    pub poison: Poison,
    /// The largest event time that each stream with CLOCK EVENT has received.
    pub live_clocks: BTreeMap<u32, i64>,
    /// Sequence numbers that were refused.
    pub undecided: Undecided,
}

impl Life {
    /// The clock of a stream by the model.
    pub fn stream_clock_ms(&self, clock: Clock, stream: u32, now_ms: i64) -> Option<i64> {
        match clock {
            Clock::Wall => Some(now_ms),
            Clock::Event => self.live_clocks.get(&stream).copied(),
        }
    }

    /// The shard that owns an entity.
    pub fn owner(&self, name: &[u8]) -> usize {
        windrow_engine::slot::shard_of(windrow_engine::slot::hash_slot(name), self.shards.len())
    }

    /// What the logs have come to.
    pub fn logs_at_end(&mut self) -> Vec<LogAtEnd> {
        let state = |shard: &mut SimShard| {
            let state = shard.group.state().expect("a log that runs");
            LogAtEnd { written: state.written, durable: state.durable }
        };
        self.shards.iter_mut().map(state).collect()
    }

    /// A client's connection breaks, and it makes another one.
    pub fn reconnect(&mut self, client: usize, world: &mut World) {
        let home = world.links.index(self.shards.len());
        let generation = self.connections[client].generation + 1;
        self.connections[client] = Connection::new(generation, home, self.shards.len());
        world.clients[client].disconnect();
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.connections.iter().all(|connection| {
            connection.incoming.is_empty()
                && connection.job.is_none()
                && connection.slots.is_empty()
                && connection.outgoing.is_empty()
        }) && self.admin.is_idle()
            && self.questions.iter().flatten().all(Wire::is_empty)
            && self.answers.iter().flatten().all(Wire::is_empty)
            && self.shards.iter().all(SimShard::is_quiet)
    }

    /// A client looks at what came, and may ask something.
    ///
    /// # Errors
    /// A reply that it may not get.
    pub fn step_client(&mut self, client: usize, world: &mut World, may_ask: bool) -> Result<(), Broken> {
        let connection = &mut self.connections[client];
        while let Some((command, reply)) = connection.outgoing.pop_front() {
            world.clients[client]
                .receive(command, &reply)
                .map_err(|what| format!("client {client}: {what}"))?;
        }
        if !may_ask || world.clients[client].pending.len() >= world.plan.pipeline_max {
            return Ok(());
        }
        let now_ms = world.clocks.now_ms();
        let live = world.live_streams(self.catalogue.version);
        let (entities, extras) = (world.plan.entities, world.plan.extras);
        let again = world.clients[client].again.len();
        let dice = (&mut world.asking, &mut world.asking_extras);
        let number = &mut world.event_number;
        let next = world.clients[client].next(dice, (entities, &extras), now_ms, number, &live);
        if world.clients[client].again.len() < again {
            world.note(Tried::Retry);
        }
        if let Some(command) = next {
            self.send(client, command, world);
        }
        Ok(())
    }

    /// A client sends a command.
    pub fn send(&mut self, client: usize, command: crate::client::Command, world: &mut World) {
        world.command_number += 1;
        let number = world.command_number;
        world.say(format_args!("client {client}: {number} {command:?}"));
        world.clients[client].pending.push_back((number, command.clone()));
        let arrives = world.step + world.links.below(world.plan.delay_max + 1);
        self.connections[client].incoming.push_back((arrives, number, command));
    }
}
