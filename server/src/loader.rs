//! From the log to running shards: replay, the next epoch, streams of the streams file. Runs beside the shards, which
//! already answer -LOADING.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use windrow_durability::replay::Dealer;
use windrow_engine::{Catalogue, HashKey, Shard, ShardConfig, ShardReader};
use windrow_memory::{Domain, Participant, Populator, STORE_BYTES_MAX, STORE_BYTES_MIN};
use windrow_storage::{LogSyncer, Recovery, Replayed, ReplayedFrame, Report, Started};

use crate::error::ServerError;
use crate::replay;
use crate::shard::{Loaded, Message, Peers, maxmemory_share};
use crate::shared::Shared;

/// What loading leaves for others to keep.
pub(crate) struct LoadedDirectory {
    pub(crate) directory: windrow_storage::DataDir,
    /// One for each shard.
    pub(crate) syncers: Vec<LogSyncer>,
    /// One for each shard.
    pub(crate) populators: Vec<Populator>,
    /// For the thread that writes images: of every shard.
    pub(crate) readers: Arc<[ShardReader]>,
    pub(crate) participant: Participant,
    pub(crate) hash_key: HashKey,
}

/// Replays the log into `shared.shards.len()` shards, however many wrote it, and hands each shard its part.
pub(crate) fn load(shared: &Arc<Shared>, recovery: Recovery) -> Result<LoadedDirectory, ServerError> {
    let started = Instant::now();
    let catalogue = shared.catalogue();
    let shard_count = shared.shards.len();
    let key = recovery.manifest().hash_key;
    let hash_key = HashKey([(key >> 64) as u64, key as u64]);
    // Every shard's thread reads every shard's records, and so does the snapshot thread.
    let (domain, mut participants) = Domain::with_participants(shard_count + 1);
    let participant = participants.pop().expect("there is one more than shards");
    let shards = new_shards(shared, hash_key, &domain)?;
    let (replayed, shards) = replay(shared, recovery, &catalogue, shards)?;
    report(replayed.report(), started);
    if let Some(latest_ms) = replayed.report().latest_now_ms {
        shared.clock.not_before(latest_ms);
    }
    let epoch_shards = u16::try_from(shard_count).expect("shards are bounded by SHARDS_MAX");
    let Started { directory, logs, warnings } = replayed.start(epoch_shards, shared.clock.now_ms())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    shared.set_poison(directory.poison().clone());
    shared.note_files(directory.files(), directory.manifest());
    let mut syncers = Vec::with_capacity(shard_count);
    let readers: Arc<[ShardReader]> = shards.iter().map(Shard::reader).collect();
    let populators = shards.iter().map(Shard::populator).collect();
    let parts = shards.into_iter().zip(logs).zip(participants);
    for (shard, ((engine, (log, syncer)), participant)) in parts.enumerate() {
        syncers.push(syncer);
        let poison = directory.poison().clone();
        let peers = Peers::new(Arc::clone(&readers), participant, hash_key);
        shared.shards[shard].send(Message::Loaded(Box::new(Loaded { engine, peers, log, poison })));
    }
    Ok(LoadedDirectory { directory, syncers, populators, readers, participant, hash_key })
}

fn new_shards(shared: &Shared, hash_key: HashKey, domain: &Arc<Domain>) -> Result<Vec<Shard>, ServerError> {
    let config = shared.config();
    // Addresses cost nothing, and `maxmemory` may be raised while the server runs.
    let ram_bytes = usize::try_from(rustix::system::sysinfo().totalram).unwrap_or(usize::MAX);
    let most_bytes = ram_bytes.max(usize::try_from(config.maxmemory_bytes).unwrap_or(usize::MAX));
    let config = ShardConfig {
        hash_key,
        maxmemory_bytes: maxmemory_share(config.maxmemory_bytes, shared.shards.len()),
        reserved_bytes: most_bytes.clamp(STORE_BYTES_MIN, STORE_BYTES_MAX),
    };
    let shards = shared.shards.iter().map(|_| Shard::new(config, domain));
    shards.collect::<Result<_, _>>().map_err(ServerError::Memory)
}

fn replay(
    shared: &Shared,
    recovery: Recovery,
    catalogue: &Catalogue,
    shards: Vec<Shard>,
) -> Result<(Replayed, Vec<Shard>), ServerError> {
    let loading = &shared.loading;
    let mut said_percent = 0;
    let mut on_progress = |done_bytes: u64, total_bytes: u64| {
        loading.done_bytes.store(done_bytes, Relaxed);
        loading.total_bytes.store(total_bytes, Relaxed);
        let percent = loading.progress().percent;
        if percent >= said_percent + PROGRESS_STEP_PERCENT {
            said_percent = percent;
            tracing::info!("loading the log: {}", loading.progress());
        }
    };
    let read = |dealer: &mut Dealer<'_>| {
        let mut on_frame = |frame: ReplayedFrame<'_>| {
            if shared.ending.is_requested() {
                return Err("the server was asked to end".into());
            }
            dealer.deal(frame.first.pack(), frame.ops)?;
            loading.operations.fetch_add(u64::from(frame.op_count), Relaxed);
            Ok(())
        };
        Ok(recovery.replay(None, &mut on_frame, &mut on_progress)?)
    };
    replay::replay(catalogue, shards, read, ServerError::DamagedOperation)
}

/// Progress is logged every so many percent.
const PROGRESS_STEP_PERCENT: u64 = 10;

fn report(report: &Report, started: Instant) {
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
    tracing::info!(
        "loaded {} operations in {} groups in {:.3} s",
        report.operations,
        report.frames,
        started.elapsed().as_secs_f64()
    );
}
