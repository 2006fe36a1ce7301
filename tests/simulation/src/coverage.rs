//! What was tried, and how often: a simulator that tries nothing finds nothing.

use std::fmt;

/// Things that histories try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Histories.
    History,
    /// Steps of the scheduler.
    Step,
    /// Events that were counted.
    EventCounted,
    /// Events that were not: DUPLICATE.
    EventDuplicate,
    /// Events that were not: LATE or SKEWED.
    EventLate,
    /// Events that had to wait for their source's earlier one.
    EventSeqGap,
    /// Writes sent again after their reply was lost.
    Retry,
    /// Reads that were compared.
    Read,
    /// Entities deleted.
    EntityDeleted,
    /// Streams created, altered or dropped.
    CatalogueChange,
    /// Connections that broke.
    ConnectionLost,
    /// Starts of a server that served.
    Start,
    /// Starts with another number of shards than before.
    StartOtherShards,
    /// Starts that were cut short.
    StartCrashed,
    /// Starts that refused a damaged directory.
    StartRefused,
    /// Clean stops.
    Stop,
    /// Process crashes.
    ProcessCrash,
    /// Power losses.
    PowerLoss,
    /// Crashes in the middle of a call of the disk.
    HaltInCall,
    /// Operations that a power loss took.
    OperationLost,
    /// Writes to the disk that failed.
    WriteError,
    /// Syncs that failed and lost what they should have synced.
    SyncLost,
    /// Reads from the disk that failed.
    ReadError,
    /// Writes that were short.
    ShortWrite,
    /// Reads that were short.
    ShortRead,
    /// Times when the disk was full.
    DiskFull,
    /// Writes refused with -MISCONF.
    Misconf,
    /// Servers whose log failed for good.
    LogFailed,
    /// Bits flipped in log files.
    FlipInLog,
    /// Bits flipped in manifests.
    FlipInManifest,
    /// Bits flipped in images.
    FlipInImage,
    /// Damage that was told of as a torn tail.
    TornTail,
    /// Clocks set forward.
    ClockForward,
    /// Clocks set back.
    ClockBack,
    /// Pauses of a shard or of its sync thread.
    Pause,
    /// Snapshots begun.
    SnapshotBegun,
    /// Images published.
    ImagePublished,
    /// Starts from an image.
    StartFromImage,
    /// Starts that had to take an older image.
    StartFromOlderImage,
    /// Chunks of an image that were found damaged when they were first needed.
    ChunkLost,
    /// Log segments that retention let go.
    SegmentRetired,
    /// EVENT.MADDs of which every row was issued.
    RowsIssued,
    /// Reads of another time than now.
    PastAsked,
    /// Reads that were refused, since what they ask is not kept.
    PastRefused,
    /// Ranges that were compared.
    RangeRead,
    /// FLUSHALLs.
    Flushed,
    /// Entities removed to make room.
    Evicted,
    /// Events refused with -OOM.
    OutOfMemory,
    /// Changes of `maxmemory`.
    MemoryChanged,
    /// Backfills begun, those that began again among them.
    BackfillBegun,
    /// Places where log was missing that a backfill should have read.
    BackfillGap,
    /// Records that took what a backfill found.
    Merged,
    /// What a backfill found and there was no room for.
    MergeRefused,
    /// Backfills that finished.
    Filled,
}

const NAMES: [&str; COUNT] = [
    "histories",
    "steps",
    "events counted",
    "events answered DUPLICATE",
    "events answered LATE or SKEWED",
    "events answered -SEQGAP",
    "events sent again",
    "reads compared",
    "entities deleted",
    "catalogue changes",
    "connections lost",
    "starts",
    "starts with another number of shards",
    "starts cut short by a crash",
    "starts that refused a damaged directory",
    "clean stops",
    "process crashes",
    "power losses",
    "crashes within a call of the disk",
    "operations taken back by power losses",
    "failed writes",
    "failed syncs that lost their sectors",
    "failed reads",
    "short writes",
    "short reads",
    "full disks",
    "writes refused with -MISCONF",
    "logs failed for good",
    "bits flipped in log files",
    "bits flipped in manifests",
    "bits flipped in images",
    "damage told of as a torn tail",
    "clocks set forward",
    "clocks set back",
    "pauses of a shard or sync thread",
    "snapshots begun",
    "images published",
    "starts from an image",
    "starts from an older image",
    "chunks of an image lost when first needed",
    "log segments let go",
    "commands of rows issued whole",
    "reads of another time than now",
    "reads of what is not kept refused",
    "ranges compared",
    "FLUSHALLs",
    "entities removed to make room",
    "events refused with -OOM",
    "changes of maxmemory",
    "backfills begun",
    "gaps in the log that a backfill met",
    "records that took what a backfill found",
    "times there was no room for that",
    "backfills finished",
];
const COUNT: usize = Tried::Filled as usize + 1;

/// How often each was tried.
#[derive(Debug, Clone)]
pub struct Coverage([u64; COUNT]);

impl Default for Coverage {
    fn default() -> Self {
        Coverage([0; COUNT])
    }
}

impl Coverage {
    /// Once more.
    pub fn note(&mut self, what: Tried) {
        self.add(what, 1);
    }

    /// So many times more.
    pub fn add(&mut self, what: Tried, times: u64) {
        self.0[what as usize] += times;
    }

    /// How often.
    pub fn of(&self, what: Tried) -> u64 {
        self.0[what as usize]
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Coverage) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine += others;
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| tried | times |\n| --- | ---: |")?;
        for (name, times) in NAMES.iter().zip(self.0) {
            writeln!(f, "| {name} | {times} |")?;
        }
        Ok(())
    }
}
