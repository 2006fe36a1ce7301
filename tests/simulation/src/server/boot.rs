//! From a disk to a server, as the real one starts.

use std::path::Path;
use std::sync::Arc;

use windrow_durability::replay::{Dealer, Portion, Stopped};
use windrow_durability::{AppendFsync, CatalogueStore, LogGroup, catalogue};
use windrow_engine::{HashKey, Shard, ShardConfig};
use windrow_memory::Domain;
use windrow_storage::{Disk, Manifest, Recovery, ReplayedFrame, SegmentFill, Started, StorageError, StorageOptions};

use super::admin::Admin;
use super::connection::Connection;
use super::life::Life;
use super::link::Wire;
use super::shard::SimShard;
use super::snapshots::Snapshots;
use super::sync::Sync;
use crate::coverage::Tried;
use crate::model::stream::Clock;
use crate::world::{Broken, World};

/// The data directory.
pub const DIR: &str = "/data";

/// Addresses for each shard's records.
const RESERVED_BYTES: usize = 512 << 20;

/// Why there is no server.
#[derive(Debug)]
pub enum BootError {
    /// The disk, or what is on it.
    Storage(StorageError),
    /// Something that must not happen.
    Broken(Broken),
}

impl From<StorageError> for BootError {
    fn from(error: StorageError) -> Self {
        BootError::Storage(error)
    }
}

/// A server, and what its start found.
pub struct Booted {
    /// The server.
    pub life: Life,
    /// Whether damage was told of.
    pub has_damage: bool,
    /// The manifest after the start.
    pub manifest: Manifest,
}

/// Starts a server with `shards` shards.
///
/// # Errors
/// See [`BootError`].
pub fn boot(disk: Arc<dyn Disk>, shards: usize, salt: u64, world: &mut World) -> Result<Booted, BootError> {
    let options = StorageOptions {
        segment_bytes: world.plan.segment_bytes,
        first_segment_bytes: world.plan.segment_bytes,
        fill: if world.plan.mode == AppendFsync::Always { SegmentFill::Write } else { SegmentFill::Allocate },
        ..StorageOptions::new(salt)
    };
    world.clocks.restart();
    let recovery = Recovery::open(disk, Path::new(DIR), options, u128::from(salt) << 64 | u128::from(!salt))?;
    let catalogue = catalogue::load(recovery.manifest()).map_err(|error| broken(&error))?;
    let key = recovery.manifest().hash_key;
    let hash_key = HashKey([(key >> 64) as u64, key as u64]);
    let (domain, mut participants) = Domain::with_participants(shards + 1);
    let snapshot_participant = participants.remove(shards);
    let config = ShardConfig { hash_key, maxmemory_bytes: 0, reserved_bytes: RESERVED_BYTES };
    let engines = (0..shards).map(|_| Shard::new(config, &domain)).collect::<Result<Vec<_>, _>>();
    let mut engines = engines.map_err(|error| broken(&error))?;
    let mut damaged = None;
    let replayed = {
        let mut apply = |shard: usize, portion: Portion| {
            portion.apply(&catalogue, &mut engines[shard]).map_err(|error| {
                damaged = Some(error);
                Stopped
            })
        };
        let mut dealer = Dealer::new(shards, &mut apply);
        let mut on_frame = |frame: ReplayedFrame<'_>| dealer.deal(frame.first.pack(), frame.ops);
        let replayed = recovery.replay(None, &mut on_frame, &mut |_, _| {})?;
        dealer.finish().map_err(|error| broken(&error))?;
        replayed
    };
    if let Some(error) = damaged {
        return Err(broken(&error));
    }
    let report = replayed.report();
    let has_damage = !report.torn.is_empty() || !report.harmless.is_empty();
    world.coverage.add(Tried::TornTail, report.torn.len() as u64);
    if let Some(latest_ms) = report.latest_now_ms {
        world.clocks.not_before(latest_ms);
    }
    let now_ms = world.clocks.now_ms();
    let Started { directory, logs, .. } = replayed.start(shards as u16, now_ms)?;
    let manifest = directory.manifest().clone();
    let poison = directory.poison().clone();
    let catalogue = Arc::new(catalogue);
    let streams = world.streams(catalogue.version).map_err(BootError::Broken)?;
    let mut syncs = Vec::new();
    let readers = engines.iter().map(Shard::reader).collect();
    let mut sim_shards = Vec::new();
    for ((engine, (log, syncer)), participant) in engines.into_iter().zip(logs).zip(participants) {
        syncs.push(Sync::new(syncer, world.clocks.uptime_ms()));
        let mut group = LogGroup::new();
        group.start(log, poison.clone());
        let (catalogue, streams) = (Arc::clone(&catalogue), streams.clone());
        sim_shards.push(SimShard::new(engine, group, catalogue, streams, participant, shards));
    }
    for shard in &mut sim_shards {
        shard.participant.quiescent();
    }
    let connections = (0..world.clients.len()).map(|_| Connection::new(0, world.links.index(shards), shards)).collect();
    let wires = || (0..shards).map(|_| (0..shards).map(|_| Wire::default()).collect()).collect();
    let life = Life {
        epoch: manifest.epoch,
        hash_key,
        shards: sim_shards,
        readers,
        syncs,
        questions: wires(),
        answers: wires(),
        catalogue,
        store: CatalogueStore::new(directory),
        admin: Admin::default(),
        snapshots: Snapshots::new(snapshot_participant),
        is_calm: false,
        connections,
        poison,
        live_clocks: std::collections::BTreeMap::new(),
        undecided: crate::model::judge::Undecided::new(),
    };
    Ok(Booted { life, has_damage, manifest })
}

impl Life {
    /// Takes over the clocks that the model says must have come back.
    pub fn adopt_clocks(&mut self, world: &World) {
        for stream in self.shards[0].streams.values().filter(|stream| stream.kind.clock == Clock::Event) {
            let page = world.history.page().streams.get(&stream.id);
            if let Some(clock_ms) = page.and_then(|page| page.clock_ms) {
                self.live_clocks.insert(stream.id, clock_ms);
            }
        }
    }
}

fn broken(error: &dyn std::fmt::Display) -> BootError {
    BootError::Broken(error.to_string())
}
