//! From the log to running shards: replay, the next epoch, streams of the streams file. Runs beside the shards, which
//! already answer -LOADING.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use windrow_engine::{Catalogue, Shard, ShardConfig};
use windrow_storage::{LogSyncer, Recovery, Replayed, ReplayedFrame, Report, Started};

use crate::error::ServerError;
use crate::replay::{self, Dealer};
use crate::shard::{Loaded, Message, maxmemory_share};
use crate::shared::Shared;

/// What loading leaves for others to keep.
pub(crate) struct LoadedDirectory {
    pub(crate) directory: windrow_storage::DataDir,
    /// One for each shard.
    pub(crate) syncers: Vec<LogSyncer>,
}

/// Replays the log into `shared.shards.len()` shards, however many wrote it, and hands each shard its part.
pub(crate) fn load(shared: &Arc<Shared>, recovery: Recovery) -> Result<LoadedDirectory, ServerError> {
    let started = Instant::now();
    let catalogue = shared.catalogue();
    let shard_count = shared.shards.len();
    let shards = new_shards(shared, &recovery);
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
    let mut syncers = Vec::with_capacity(shard_count);
    for (shard, (engine, (log, syncer))) in shards.into_iter().zip(logs).enumerate() {
        syncers.push(syncer);
        let poison = directory.poison().clone();
        shared.shards[shard].send(Message::Loaded(Box::new(Loaded { engine, log, poison })));
    }
    Ok(LoadedDirectory { directory, syncers })
}

fn new_shards(shared: &Shared, recovery: &Recovery) -> Vec<Shard> {
    let key = recovery.manifest().hash_key;
    let config = ShardConfig {
        hash_key: [(key >> 64) as u64, key as u64],
        maxmemory_bytes: maxmemory_share(shared.config().maxmemory_bytes, shared.shards.len()),
    };
    shared.shards.iter().map(|_| Shard::new(config)).collect()
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
    let read = |dealer: &mut Dealer| {
        let mut on_frame = |frame: ReplayedFrame<'_>| {
            if shared.ending.is_requested() {
                return Err("the server was asked to end".into());
            }
            dealer.deal(frame.ops)?;
            loading.operations.fetch_add(u64::from(frame.op_count), Relaxed);
            Ok(())
        };
        Ok(recovery.replay(&mut on_frame, &mut on_progress)?)
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
