//! The shape of a history, drawn from its seed: some histories are calm in one way and wild in another ("swarm testing": Groce et
//! al., 2012).

use windrow_durability::AppendFsync;

use crate::dice::{Dice, Subject};

/// What a history is like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its seed.
    pub seed: u64,
    /// `appendfsync`.
    pub mode: AppendFsync,
    /// How often the server is started and made to end.
    pub lives: u64,
    /// Steps of each life, at most.
    pub steps_max: u64,
    /// Shards at most.
    pub shards_max: u64,
    /// Clients.
    pub clients: usize,
    /// Different entities.
    pub entities: u64,
    /// Size of a log segment.
    pub segment_bytes: u64,
    /// Time that passes in a step, at most.
    pub step_ms_max: u64,
    /// How likely a life has faults of the disk, of a hundred.
    pub fault_percent: u64,
    /// How likely a bit is flipped between two lives, of a hundred.
    pub flip_percent: u64,
    /// How likely a step sets the clock, of a thousand.
    pub clock_permille: u64,
    /// How likely a step breaks a connection, of a thousand.
    pub lost_permille: u64,
    /// Commands that a client has under way at most.
    pub pipeline_max: usize,
    /// How long messages between shards take at most, in steps.
    pub delay_max: u64,
    /// How likely a shard steps rather than anybody else.
    pub shard_weight: u64,
    /// How likely a sync thread steps.
    pub sync_weight: u64,
    /// How likely a snapshot steps; 0: there are none.
    pub snapshot_weight: u64,
    /// Whether old log may go.
    pub has_retention: bool,
    /// How old it has to be for that.
    pub keep_ms: u64,
    /// How much log there may be at most, in segments; 0: no limit.
    pub log_segments_max: u64,
    /// The rest.
    pub extras: Extras,
}

/// What a history may hold beside plain events, reads and changes: drawn apart, so that a seed's other draws are what they always were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// How likely a client asks one of these, of a hundred.
    pub percent: u64,
    /// Weight of EVENT.MADD among them.
    pub madd_weight: u64,
    /// Weight of reads of the past.
    pub past_weight: u64,
    /// Weight of WINDOW.RANGE.
    pub range_weight: u64,
    /// Weight of BACKFILL.
    pub fill_weight: u64,
    /// What a backfill may take of memory in one pass.
    pub shadow_bytes: usize,
    /// Weight of FLUSHALL.
    pub flush_weight: u64,
    /// `maxmemory` of each shard at most, in chunks; 0: there is no limit.
    pub chunks_max: u64,
    /// Whether room is made by removing entities (`allkeys-lru`), or writes are refused.
    pub has_eviction: bool,
}

impl Extras {
    fn of(seed: u64) -> Extras {
        let mut dice = Dice::new(seed, Subject::Extras);
        Extras {
            percent: dice.pick(&[0, 10, 25, 50]),
            madd_weight: dice.pick(&[0, 20, 40]),
            past_weight: dice.pick(&[0, 10, 20]),
            range_weight: dice.pick(&[0, 10, 20]),
            flush_weight: dice.pick(&[0, 0, 1, 2]),
            chunks_max: dice.pick(&[0, 0, 4, 8, 12]),
            has_eviction: dice.chance(75),
            fill_weight: dice.pick(&[0, 3, 10]),
            shadow_bytes: dice.pick(&[1, 3_000, 1 << 20]),
        }
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, Subject::Plan);
        Plan {
            seed,
            mode: dice.pick(&[
                AppendFsync::Always,
                AppendFsync::Always,
                AppendFsync::EverySec,
                AppendFsync::EverySec,
                AppendFsync::No,
            ]),
            lives: 2 + dice.below(4),
            steps_max: dice.pick(&[50, 100, 200, 500]),
            shards_max: dice.pick(&[1, 2, 2, 3]),
            clients: 1 + dice.index(3),
            // With many, a snapshot walks in several slices.
            entities: dice.pick(&[1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16, 600]),
            segment_bytes: dice.pick(&[8, 8, 12, 16, 32]) * 1024,
            step_ms_max: dice.pick(&[2, 10, 40, 200]),
            fault_percent: dice.pick(&[0, 30, 60, 90]),
            flip_percent: dice.pick(&[0, 0, 15, 40]),
            clock_permille: dice.pick(&[0, 2, 10]),
            lost_permille: dice.pick(&[0, 2, 10]),
            pipeline_max: dice.pick(&[1, 4, 16]),
            delay_max: dice.pick(&[0, 3, 15]),
            shard_weight: dice.pick(&[4, 8, 16]),
            sync_weight: dice.pick(&[1, 2, 6]),
            snapshot_weight: dice.pick(&[0, 3, 8, 16]),
            has_retention: dice.chance(60),
            keep_ms: dice.pick(&[0, 0, 2_000, 60_000]),
            log_segments_max: dice.pick(&[0, 0, 0, 8, 16]),
            extras: Extras::of(seed),
        }
    }

    /// The same without what a history may hold beside plain events, reads and changes.
    pub fn plain(seed: u64) -> Plan {
        Plan { extras: Extras::default(), ..Plan::of(seed) }
    }
}
