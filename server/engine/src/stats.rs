//! What a shard counts for each stream.

use hdrhistogram::Histogram;

use crate::catalogue::StreamId;
use crate::dedup::DedupUsage;

/// Longest delay that the freshness histogram tells apart: a year, in milliseconds.
const FRESHNESS_MS_MAX: u64 = 366 * 24 * 3_600_000;

/// Counters of one stream, on one shard or merged.
#[derive(Clone, Debug)]
pub struct StreamStats {
    /// Records.
    pub entities: u64,
    /// Bytes that the records take.
    pub bytes: u64,
    /// Events counted at their own time.
    pub ok: u64,
    /// Events counted at the server's time.
    pub clamped: u64,
    /// Events not counted, since they are too far ahead.
    pub skewed: u64,
    /// Events not counted, since they are too old.
    pub late: u64,
    /// Events not counted, since they were before.
    pub duplicate: u64,
    /// Events refused for their form.
    pub errors: u64,
    /// Records removed to make room.
    pub evicted: u64,
    /// What is remembered to count events once.
    pub dedup: DedupUsage,
    /// Newest event time counted.
    pub newest_ms: Option<i64>,
    /// The latest clock that an operation of this shard's log says; of streams with CLOCK EVENT.
    pub(crate) clock_ms: Option<i64>,
    /// Receipt − event time of counted events, in milliseconds; 0 for events ahead of the clock.
    pub freshness: Histogram<u64>,
}

/// What a stream takes on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamUsage {
    /// Which stream.
    pub stream: StreamId,
    /// Records.
    pub entities: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

impl Default for StreamStats {
    fn default() -> Self {
        let freshness = Histogram::new_with_bounds(1, FRESHNESS_MS_MAX, 2).expect("the bounds are valid");
        Self {
            entities: 0,
            bytes: 0,
            ok: 0,
            clamped: 0,
            skewed: 0,
            late: 0,
            duplicate: 0,
            errors: 0,
            evicted: 0,
            dedup: DedupUsage::default(),
            newest_ms: None,
            clock_ms: None,
            freshness,
        }
    }
}

impl StreamStats {
    /// Adds another shard's counters.
    pub fn merge(&mut self, other: &Self) {
        self.entities += other.entities;
        self.bytes += other.bytes;
        self.ok += other.ok;
        self.clamped += other.clamped;
        self.skewed += other.skewed;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.errors += other.errors;
        self.evicted += other.evicted;
        self.dedup.merge(other.dedup);
        self.newest_ms = self.newest_ms.max(other.newest_ms);
        self.clock_ms = self.clock_ms.max(other.clock_ms);
        self.freshness.add(&other.freshness).expect("all have the same bounds");
    }

    pub(crate) fn counted(&mut self, ts: i64, clamped: bool) {
        *(if clamped { &mut self.clamped } else { &mut self.ok }) += 1;
        self.newest_ms = self.newest_ms.max(Some(ts));
    }

    pub(crate) fn received(&mut self, now_ms: i64, ts: i64) {
        self.freshness.saturating_record(now_ms.saturating_sub(ts).max(0).cast_unsigned());
    }
}
