//! What a shard counts for each stream.

use hashbrown::HashMap;
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
    /// The delay of the newest of these, and how many like it, one after the other, are not in the histogram yet.
    latest_delay_ms: u64,
    unsettled: u64,
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
            latest_delay_ms: 0,
            unsettled: 0,
        }
    }
}

impl StreamStats {
    /// Adds another shard's counters, as [`Shard::stream_stats`](crate::Shard::stream_stats) gives them.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(other.unsettled, 0, "events that are counted are in the histogram");
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

    #[inline]
    pub(crate) fn counted(&mut self, ts: i64, clamped: bool) {
        *(if clamped { &mut self.clamped } else { &mut self.ok }) += 1;
        self.newest_ms = self.newest_ms.max(Some(ts));
    }

    /// Counts an event's delay. Delays are mostly those of the event before, so these are counted first and put into the histogram
    /// together.
    #[inline]
    pub(crate) fn received(&mut self, now_ms: i64, ts: i64) {
        let delay_ms = now_ms.saturating_sub(ts).max(0).cast_unsigned();
        if delay_ms != self.latest_delay_ms {
            self.settle();
            self.latest_delay_ms = delay_ms;
        }
        self.unsettled += 1;
    }

    /// Puts the delays counted so far into the histogram.
    pub(crate) fn settle(&mut self) {
        self.freshness.saturating_record_n(self.latest_delay_ms, std::mem::take(&mut self.unsettled));
    }
}

/// The counters of every stream that has any.
#[derive(Debug, Default)]
pub(crate) struct StatsTable {
    places: HashMap<StreamId, usize>,
    rows: Vec<(StreamId, StreamStats)>,
    /// The row that was asked for last: mostly the next one, too.
    last: usize,
}

impl StatsTable {
    /// A stream's counters, made where there are none.
    #[inline]
    pub(crate) fn of(&mut self, stream: StreamId) -> &mut StreamStats {
        if self.rows.get(self.last).is_none_or(|(last, _)| *last != stream) {
            self.turn_to(stream);
        }
        &mut self.rows[self.last].1
    }

    #[inline(never)]
    fn turn_to(&mut self, stream: StreamId) {
        self.last = *self.places.entry(stream).or_insert_with(|| {
            self.rows.push((stream, StreamStats::default()));
            self.rows.len() - 1
        });
    }

    pub(crate) fn get(&self, stream: StreamId) -> Option<&StreamStats> {
        self.places.get(&stream).map(|&place| &self.rows[place].1)
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &StreamStats)> {
        self.rows.iter().map(|(stream, stats)| (*stream, stats))
    }

    /// Forgets those of the other streams.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(StreamId) -> bool) {
        self.rows.retain(|(stream, _)| is_kept(*stream));
        self.places = self.rows.iter().enumerate().map(|(place, (stream, _))| (*stream, place)).collect();
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{StatsTable, StreamStats};
    use crate::catalogue::StreamId;

    #[test]
    fn delays_are_in_the_histogram_once_they_are_settled_whatever_came_between() {
        let mut stats = StreamStats::default();
        for delay_ms in [0, 0, 5, 5, 5, 0, 7] {
            stats.received(1_000, 1_000 - delay_ms);
        }
        stats.settle();
        stats.settle();
        let counts = [0, 5, 7].map(|delay_ms| stats.freshness.count_at(delay_ms));
        assert_eq!((counts, stats.freshness.len()), ([3, 3, 1], 7));
    }

    #[test]
    fn each_stream_keeps_its_counters_while_others_come_and_go() {
        let mut table = StatsTable::default();
        for id in [1, 2, 1, 3, 2, 1] {
            table.of(StreamId(id)).ok += 1;
        }
        table.retain(|stream| stream != StreamId(1));
        for id in [3, 4, 2] {
            table.of(StreamId(id)).ok += 1;
        }
        let ok = [1, 2, 3, 4].map(|id| table.get(StreamId(id)).map(|stats| stats.ok));
        assert_eq!(ok, [None, Some(3), Some(2), Some(1)]);
        assert_eq!(table.iter().map(|(_, stats)| stats.ok).sum::<u64>(), 6);
    }
}
