//! Sync threads: when one syncs, as `appendfsync` says, and when it prepares the next segment.

use windrow_durability::AppendFsync;
use windrow_storage::{LogSyncer, SpareState};

use super::life::Life;
use crate::world::World;

/// Under everysec a sync begins this long after the one before.
const EVERYSEC_INTERVAL_MS: u64 = 500;
/// After a segment could not be prepared, wait so long.
const SPARE_RETRY_MS: u64 = 200;

/// One shard's sync thread.
pub struct Sync {
    /// The syncing half of its log.
    pub syncer: LogSyncer,
    /// Something is to be synced whatever the mode.
    pub is_requested: bool,
    /// Until this step it does not run.
    pub paused_until: u64,
    last_sync_ms: u64,
    spare_after_ms: u64,
}

impl Sync {
    /// The sync thread of a log.
    pub fn new(syncer: LogSyncer, uptime_ms: u64) -> Sync {
        Sync { syncer, is_requested: false, paused_until: 0, last_sync_ms: uptime_ms, spare_after_ms: 0 }
    }
}

impl Life {
    /// A sync thread takes a step. Its errors are those that poison the log: the shards find that out.
    pub fn step_sync(&mut self, shard: usize, world: &mut World) {
        let uptime_ms = world.clocks.uptime_ms();
        let mode = world.plan.mode;
        let sync = &mut self.syncs[shard];
        let requested = std::mem::take(&mut sync.is_requested);
        let wants_sync = sync.syncer.needs_sync()
            && (requested
                || match mode {
                    AppendFsync::Always => true,
                    AppendFsync::EverySec => uptime_ms >= sync.last_sync_ms + EVERYSEC_INTERVAL_MS,
                    AppendFsync::No => false,
                });
        if wants_sync {
            match sync.syncer.sync() {
                Ok(_) => {
                    sync.last_sync_ms = uptime_ms;
                    world.say(format_args!("sync {shard}: synced"));
                }
                Err(error) => {
                    world.say(format_args!("sync {shard}: {error}"));
                    return;
                }
            }
        }
        if sync.syncer.wants_spare() && uptime_ms >= sync.spare_after_ms {
            match sync.syncer.prepare_spare() {
                Ok(SpareState::Failed { reason }) => {
                    sync.spare_after_ms = uptime_ms + SPARE_RETRY_MS;
                    world.say(format_args!("sync {shard}: no segment: {reason}"));
                }
                Ok(SpareState::MadeReady) => world.say(format_args!("sync {shard}: a segment is ready")),
                Ok(_) => {}
                Err(error) => world.say(format_args!("sync {shard}: {error}")),
            }
        }
    }
}
