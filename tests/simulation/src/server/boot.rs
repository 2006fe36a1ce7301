//! From a disk to a server, as the real one starts.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;

use windrow_durability::start::{OnLost, Progress, Sequential, Setup, Watch, load};
use windrow_durability::{AppendFsync, CatalogueStore, LogGroup, catalogue};
use windrow_engine::{HashKey, Shard, StreamId};
use windrow_memory::{CHUNK_BYTES, ChunkLost, Domain};
use windrow_storage::image::{ChunkBuffer, ImageError, ImageName, ImageReader, quarantine};
use windrow_storage::{
    Disk, Manifest, Recovery, Retention, SegmentFill, Started, StorageError, StorageOptions,
};

use super::admin::Admin;
use super::backfill::Backfiller;
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
    /// What the start said.
    Refused(String),
    /// A chunk of the image was lost after all: the server starts again.
    Again(String),
    /// Something that must not happen.
    Broken(Broken),
}

impl From<StorageError> for BootError {
    fn from(error: StorageError) -> Self {
        BootError::Refused(error.to_string())
    }
}

/// What unwinds a server that has lost a chunk of its image.
#[derive(Debug)]
pub struct Lost {
    /// The file.
    pub image: ImageName,
    /// Why.
    pub why: String,
}

/// Puts a damaged image aside and ends the server, as the real one does before it executes itself anew.
struct Unwind {
    disk: Arc<dyn Disk>,
}

impl OnLost for Unwind {
    fn lost(&self, image: ImageName, why: ChunkLost) -> ! {
        if matches!(why, ChunkLost::Damaged { .. }) {
            // If that fails too, the next start meets the damage again.
            let _ = quarantine(self.disk.as_ref(), &Path::new(DIR).join("images"), image);
        }
        resume_unwind(Box::new(Lost { image, why: format!("{why:?}") }))
    }

    fn wait_for_disk(&self, _: u32) {}

    fn unreadable(&self, image: ImageName, error: &ImageError) -> ! {
        resume_unwind(Box::new(Lost { image, why: error.to_string() }))
    }
}

/// Nobody looks on.
struct Unwatched;

impl Watch for Unwatched {
    fn progress(&self, _: Progress) {}
}

/// A server, and what its start found.
pub struct Booted {
    /// The server.
    pub life: Life,
    /// Whether damage was told of.
    pub has_damage: bool,
    /// The image that it was made from.
    pub image: Option<u64>,
    /// The manifest after the start.
    pub manifest: Manifest,
}

/// Starts a server with `shards` shards.
///
/// # Errors
/// See [`BootError`].
pub fn boot(disk: &Arc<dyn Disk>, shards: usize, salt: u64, world: &mut World) -> Result<Booted, BootError> {
    match catch_unwind(AssertUnwindSafe(|| start(Arc::clone(disk), shards, salt, &mut *world))) {
        Ok(booted) => booted,
        Err(panic) => match panic.downcast::<Lost>() {
            Ok(lost) => Err(BootError::Again(format!("{lost:?}"))),
            Err(panic) => resume_unwind(panic),
        },
    }
}

fn start(disk: Arc<dyn Disk>, shards: usize, salt: u64, world: &mut World) -> Result<Booted, BootError> {
    let options = StorageOptions {
        segment_bytes: world.plan.segment_bytes,
        first_segment_bytes: world.plan.segment_bytes,
        fill: if world.plan.mode == AppendFsync::Always { SegmentFill::Write } else { SegmentFill::Allocate },
        ..StorageOptions::new(salt)
    };
    world.clocks.restart();
    let on_lost = Arc::new(Unwind { disk: Arc::clone(&disk) });
    let hash_key = u128::from(salt) << 64 | u128::from(!salt);
    let recovery = Recovery::open(Arc::clone(&disk), Path::new(DIR), options, hash_key)?;
    let catalogue = catalogue::load(recovery.manifest()).map_err(|error| broken(&error))?;
    let key = recovery.manifest().hash_key;
    let hash_key = HashKey([(key >> 64) as u64, key as u64]);
    let images: Vec<u64> = recovery.manifest().images.iter().map(|entry| entry.image).collect();
    if cfg!(panic = "abort") {
        check_chunks(&disk, recovery.manifest())?;
    }
    let (domain, mut participants) = Domain::with_participants(shards + 1);
    let snapshot_participant = participants.remove(shards);
    let setup = Setup {
        catalogue: &catalogue,
        shards: shards as u16,
        // The replay takes what it needs.
        maxmemory_bytes: world.plan.extras.chunks_max as usize * CHUNK_BYTES,
        reserved_bytes: RESERVED_BYTES,
        domain: &domain,
        on_lost,
    };
    let loaded = load(recovery, &setup, &Sequential, &Unwatched)
        .map_err(|error| BootError::Refused(error.to_string()))?;
    for unusable in &loaded.unusable {
        world.say(format_args!("start: {unusable}"));
    }
    match loaded.image {
        Some(image) if images.last() == Some(&image) => world.note(Tried::StartFromImage),
        Some(_) => world.note(Tried::StartFromOlderImage),
        None => {}
    }
    let (engines, replayed) = (loaded.shards, loaded.replayed);
    let report = replayed.report();
    let has_damage = !report.torn.is_empty() || !report.harmless.is_empty();
    world.coverage.add(Tried::TornTail, report.torn.len() as u64);
    if let Some(latest_ms) = loaded.latest_now_ms {
        world.clocks.not_before(latest_ms);
    }
    let now_ms = world.clocks.now_ms();
    let Started { directory, logs, .. } = replayed.start(shards as u16, now_ms)?;
    let manifest = directory.manifest().clone();
    if world.plan.has_retention {
        let max_bytes = world.plan.log_segments_max * world.plan.segment_bytes;
        directory.files().set_retention(Retention { keep_ms: world.plan.keep_ms, keep_bytes: 0, max_bytes });
    }
    let poison = directory.poison().clone();
    let kept = Backfiller::kept(directory.files(), &manifest);
    let backfiller = Backfiller::new(kept, !catalogue.filling().is_empty(), shards);
    let catalogue = Arc::new(catalogue);
    let streams = world.streams(catalogue.version).map_err(BootError::Broken)?;
    let mut syncs = Vec::new();
    let readers = engines.iter().map(Shard::reader).collect();
    let adopters = engines.iter().map(Shard::adopter).collect();
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
    let connections =
        (0..world.clients.len()).map(|_| Connection::new(0, world.links.index(shards), shards)).collect();
    let wires = || (0..shards).map(|_| (0..shards).map(|_| Wire::default()).collect()).collect();
    let mut life = Life {
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
        adopters,
        backfiller,
        snapshots: Snapshots::new(snapshot_participant),
        is_calm: false,
        connections,
        poison,
        live_clocks: std::collections::BTreeMap::new(),
        undecided: crate::model::judge::Undecided::new(),
    };
    life.set_maxmemory(world.plan.extras.chunks_max, world);
    Ok(Booted { life, has_damage, image: loaded.image, manifest })
}

impl Life {
    /// Takes over the clocks that came back: at least those of the operations that did. An image may also know of events that were
    /// received and never counted.
    ///
    /// # Errors
    /// A clock that nobody saw.
    pub fn adopt_clocks(&mut self, world: &World) -> Result<(), Broken> {
        for model in self.shards[0].streams.values().filter(|stream| stream.kind.clock == Clock::Event) {
            let found = self.catalogue.by_id(StreamId(model.id)).and_then(|stream| stream.clock_ms(0));
            let counted = world.history.page().streams.get(&model.id).and_then(|page| page.clock_ms);
            let received = world.clocks_received.get(&model.id).copied();
            if found < counted || found > received {
                return Err(format!(
                    "the clock of stream {} came back as {found:?}: events counted go to {counted:?}, received to {received:?}",
                    model.name
                ));
            }
            if let Some(clock_ms) = found {
                self.live_clocks.insert(model.id, clock_ms);
            }
        }
        Ok(())
    }
}

/// Where a panic aborts, nothing can unwind a server that has lost a chunk: so the chunks of the image that will be taken are looked at
/// before it is.
fn check_chunks(disk: &Arc<dyn Disk>, manifest: &Manifest) -> Result<(), BootError> {
    let dir = Path::new(DIR).join("images");
    for entry in manifest.images.iter().rev() {
        let mut is_whole = true;
        for shard in 0..entry.shards {
            let opened = ImageReader::open(disk, &dir, entry.image, shard);
            let read = opened.and_then(|reader| {
                reader.table(&mut |_| ())?;
                reader.state(&mut |_| ())?;
                Ok(reader)
            });
            let Ok(reader) = read else {
                is_whole = false;
                continue;
            };
            let mut chunks = 0..reader.chunks().len() as u32;
            let mut buffer = ChunkBuffer::default();
            let look = |chunk| reader.chunk_words(chunk, &mut buffer).map(|_words| ());
            let Err(error) = chunks.try_for_each(look) else {
                continue;
            };
            if error.is_damage() {
                // If that fails too, the next start meets the damage again.
                let _ = quarantine(disk.as_ref(), &dir, ImageName { image: entry.image, shard });
            }
            return Err(BootError::Again(error.to_string()));
        }
        if is_whole {
            break;
        }
    }
    Ok(())
}

fn broken(error: &dyn std::fmt::Display) -> BootError {
    BootError::Broken(error.to_string())
}
