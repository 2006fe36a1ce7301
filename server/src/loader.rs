//! From image and log to running shards: start, the next epoch. Runs beside the shards, which already answer -LOADING.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use windrow_durability::start::{self, OnLost, Phase, Progress, Setup, Watch};
use windrow_engine::{HashKey, Shard, ShardReader};
use windrow_memory::{Adopter, ChunkLost, Domain, Participant, Populator, STORE_BYTES_MAX, STORE_BYTES_MIN};
use windrow_storage::image::{ImageError, ImageName, quarantine};
use windrow_storage::{LogSyncer, Recovery, Report, Started};

use crate::anew;
use crate::error::ServerError;
use crate::replay::Threads;
use crate::shard::{Loaded, Message, Peers, maxmemory_share};
use crate::shared::Shared;

/// What loading leaves for others to keep.
pub(crate) struct LoadedDirectory {
    pub(crate) directory: windrow_storage::DataDir,
    /// One for each shard.
    pub(crate) syncers: Vec<LogSyncer>,
    /// One for each shard.
    pub(crate) populators: Vec<Populator>,
    /// One for each shard.
    pub(crate) adopters: Vec<Adopter>,
    /// The image was of another number of shards: a new one saves dealing it again.
    pub(crate) is_redealt: bool,
    /// For the thread that writes images: of every shard.
    pub(crate) readers: Arc<[ShardReader]>,
    pub(crate) participant: Participant,
    pub(crate) hash_key: HashKey,
}

/// Brings what the directory holds into `shared.shards.len()` shards, however many wrote it, and hands each shard its part.
pub(crate) fn load(shared: &Arc<Shared>, recovery: Recovery) -> Result<LoadedDirectory, ServerError> {
    let started = Instant::now();
    let catalogue = shared.catalogue();
    let shard_count = shared.shards.len();
    let key = recovery.manifest().hash_key;
    let hash_key = HashKey([(key >> 64) as u64, key as u64]);
    // Every shard's thread reads every shard's records, and so does the snapshot thread.
    let (domain, mut participants) = Domain::with_participants(shard_count + 1);
    let participant = participants.pop().expect("there is one more than shards");
    let epoch_shards = u16::try_from(shard_count).expect("shards are bounded by SHARDS_MAX");
    let config = shared.config();
    // Addresses cost nothing, and `maxmemory` may be raised while the server runs.
    let ram_bytes = usize::try_from(rustix::system::sysinfo().totalram).unwrap_or(usize::MAX);
    let most_bytes = ram_bytes.max(usize::try_from(config.maxmemory_bytes).unwrap_or(usize::MAX));
    let setup = Setup {
        catalogue: &catalogue,
        shards: epoch_shards,
        maxmemory_bytes: maxmemory_share(config.maxmemory_bytes, shard_count),
        reserved_bytes: most_bytes.clamp(STORE_BYTES_MIN, STORE_BYTES_MAX),
        domain: &domain,
        on_lost: Arc::new(StartAnew { shared: Arc::clone(shared), images: recovery.images() }),
    };
    let loading = Loading { shared, said_percent: AtomicU64::new(0) };
    let loaded = start::load(recovery, &setup, &Threads, &loading).map_err(ServerError::Start)?;
    for unusable in &loaded.unusable {
        tracing::error!("{unusable}; an older image, or the log alone, serves as well");
    }
    report(loaded.replayed.report(), loaded.image, started);
    shared.loading.operations.store(loaded.replayed.report().operations, Relaxed);
    if let Some(latest_ms) = loaded.latest_now_ms {
        shared.clock.not_before(latest_ms);
    }
    let (is_redealt, shards) = (loaded.is_redealt, loaded.shards);
    let Started { directory, logs, warnings } = loaded.replayed.start(epoch_shards, shared.clock.now_ms())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    shared.set_poison(directory.poison().clone());
    shared.note_files(directory.files(), directory.manifest(), loaded.image);
    let mut syncers = Vec::with_capacity(shard_count);
    let readers: Arc<[ShardReader]> = shards.iter().map(Shard::reader).collect();
    let populators = shards.iter().map(Shard::populator).collect();
    let adopters = shards.iter().map(Shard::adopter).collect();
    shared.note_adopters(shards.iter().map(Shard::adopter).collect());
    let parts = shards.into_iter().zip(logs).zip(participants);
    for (shard, ((engine, (log, syncer)), participant)) in parts.enumerate() {
        syncers.push(syncer);
        let poison = directory.poison().clone();
        let peers = Peers::new(Arc::clone(&readers), participant, hash_key);
        shared.shards[shard].send(Message::Loaded(Box::new(Loaded { engine, peers, log, poison })));
    }
    Ok(LoadedDirectory {
        directory,
        syncers,
        populators,
        adopters,
        is_redealt,
        readers,
        participant,
        hash_key,
    })
}

/// A chunk of the image cannot be had: the next start takes the image before.
struct StartAnew {
    shared: Arc<Shared>,
    images: (Arc<dyn windrow_storage::Disk>, std::path::PathBuf),
}

impl OnLost for StartAnew {
    fn lost(&self, image: ImageName, why: ChunkLost) -> ! {
        let (disk, dir) = &self.images;
        let reason = match why {
            // Whoever met it first sees to everything, or panics and ends the process.
            ChunkLost::Abandoned => loop {
                std::thread::park();
            },
            ChunkLost::Damaged { why } => format!("the image {image} is damaged: {why}"),
            // The image may be good, and a start would have as little memory.
            ChunkLost::Memory(error) => {
                anew::end(&format!("no memory for records of the image {image}: {error}"))
            }
        };
        match quarantine(disk.as_ref(), dir, image) {
            Ok(path) => tracing::error!("{reason}; it is put aside as {}", path.display()),
            // The next start would meet it again.
            Err(error) => anew::end(&format!("{reason}; and it cannot be put aside: {error}")),
        }
        self.shared.anew.cannot_go_on(&reason)
    }

    fn wait_for_disk(&self, failures: u32) {
        std::thread::sleep(DISK_WAIT * 4_u32.saturating_pow(failures));
    }

    fn unreadable(&self, image: ImageName, error: &ImageError) -> ! {
        // Put aside, a file that is whole would be missing where the image before cannot be used either.
        anew::end(&format!(
            "{error}, however often it is tried; what it holds may be whole. Look after the disk and start again; if it never reads \
             the image {image} again, rename that file, and the start takes the image before"
        ))
    }
}

/// Waits for the disk are longer from one to the next: 20 ms, 80 ms, 320 ms, 1.28 s.
const DISK_WAIT: Duration = Duration::from_millis(5);

/// Shows how far it is.
struct Loading<'a> {
    shared: &'a Shared,
    said_percent: AtomicU64,
}

impl Watch for Loading<'_> {
    fn progress(&self, progress: Progress) {
        let loading = &self.shared.loading;
        loading.done_bytes.store(progress.done_bytes, Relaxed);
        loading.total_bytes.store(progress.total_bytes, Relaxed);
        loading.operations.store(progress.operations, Relaxed);
        loading.is_image.store(progress.phase == Phase::Image, Relaxed);
        let percent = loading.progress().percent;
        let said_percent = self.said_percent.load(Relaxed);
        // The log begins at nothing again.
        if percent < said_percent || percent >= said_percent + PROGRESS_STEP_PERCENT {
            self.said_percent.store(percent, Relaxed);
            tracing::info!("{}", loading.progress());
        }
    }

    fn is_cancelled(&self) -> bool {
        self.shared.ending.is_requested()
    }
}

/// Progress is logged every so many percent.
const PROGRESS_STEP_PERCENT: u64 = 10;

fn report(report: &Report, image: Option<u64>, started: Instant) {
    for damage in &report.older {
        tracing::warn!("damage in log older than the image, which nothing needs: {damage:?}");
    }
    for damage in &report.harmless {
        tracing::warn!("damage that no event was lost by: {damage:?}");
    }
    for damage in &report.torn {
        tracing::info!(
            "the last writes before the stop were not finished, and none of them was acknowledged as durable: {damage:?}"
        );
    }
    for damage in &report.given_up {
        tracing::error!("durable events were given up: {damage:?}");
    }
    let from = image.map_or_else(String::new, |image| format!("image {image:08x} and "));
    tracing::info!(
        "loaded {from}{} operations in {} groups in {:.3} s",
        report.operations,
        report.frames,
        started.elapsed().as_secs_f64()
    );
}
