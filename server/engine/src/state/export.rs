//! Writing the state, a slice at a time.

use super::Share;
use super::section::{COUNTERS, HEAD, USAGE, VERSION, put_i64, put_u32, put_u64, write};
use crate::catalogue::{Catalogue, StreamId};
use crate::dedup::ExportPlace;
use crate::shard::Shard;
use crate::stats::StreamUsage;

/// COUNTERS has a newest event time.
pub(super) const HAS_NEWEST: u32 = 1;
/// COUNTERS has a clock.
pub(super) const HAS_CLOCK: u32 = 2;

/// How far an export has come.
#[derive(Debug)]
pub struct ExportCursor {
    share: Share,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Head,
    Dedup(ExportPlace),
    Counters,
    End,
}

impl ExportCursor {
    /// Before the first slice of this shard's state.
    pub fn new(share: Share) -> Self {
        Self { share, step: Step::Head }
    }
}

impl Shard {
    /// Adds the next slice of the state to `out`: about `bytes_max`, at most a quarter of a mebibyte more. `position` is that of the last
    /// operation that was applied. Gives whether there is more; the last slice is the one after which all records were copied, or the
    /// counters would have seen less than the records.
    ///
    /// # Panics
    /// When the last slice was exported before.
    pub fn export(
        &self,
        catalogue: &Catalogue,
        cursor: &mut ExportCursor,
        position: u64,
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> bool {
        let end = out.len().saturating_add(bytes_max);
        if let Step::Head = cursor.step {
            write(out, HEAD, |out| {
                put_u32(out, VERSION);
                out.extend_from_slice(&cursor.share.shard.to_le_bytes());
                out.extend_from_slice(&cursor.share.shards.to_le_bytes());
            });
            cursor.step = Step::Dedup(ExportPlace::default());
        }
        if let Step::Dedup(place) = &mut cursor.step {
            if !self.dedup.export(place, position, out, end) {
                // A slice of its own: the caller may have to wait for something before it.
                cursor.step = Step::Counters;
            }
            return true;
        }
        assert!(matches!(cursor.step, Step::Counters), "the state was exported to its end");
        write(out, COUNTERS, |out| self.export_counters(catalogue, position, out));
        cursor.step = Step::End;
        false
    }

    fn export_counters(&self, catalogue: &Catalogue, position: u64, out: &mut Vec<u8>) {
        put_u64(out, position);
        let mut streams: Vec<_> = catalogue.iter().collect();
        streams.sort_unstable_by_key(|stream| stream.id);
        for stream in streams {
            let stats = self.stats.get(stream.id);
            // Both of this shard's own operations: what other shards have seen may be of events that are not durable yet.
            let clock_ms = stats.and_then(|stats| stats.clock_ms);
            let newest_ms = stats.and_then(|stats| stats.newest_ms);
            let flag = |is_there: bool, flag| if is_there { flag } else { 0 };
            put_u32(out, stream.id.0);
            put_u32(out, flag(newest_ms.is_some(), HAS_NEWEST) | flag(clock_ms.is_some(), HAS_CLOCK));
            let counters = stats.map_or([0; 7], |stats| {
                let judged = [stats.ok, stats.clamped, stats.skewed, stats.late, stats.duplicate];
                [judged[0], judged[1], judged[2], judged[3], judged[4], stats.errors, stats.evicted]
            });
            counters.into_iter().for_each(|count| put_u64(out, count));
            put_i64(out, newest_ms.unwrap_or(0));
            put_i64(out, clock_ms.unwrap_or(0));
        }
    }
}

/// Writes how many records of each stream an image of a shard has, and the bytes of their slots.
pub fn encode_usage(out: &mut Vec<u8>, usage: &[StreamUsage]) {
    let mut usage = usage.to_vec();
    usage.sort_unstable_by_key(|usage| usage.stream);
    write(out, USAGE, |out| {
        for StreamUsage { stream: StreamId(stream), entities, bytes } in usage {
            put_u32(out, stream);
            put_u32(out, 0);
            put_u64(out, entities);
            put_u64(out, bytes);
        }
    });
}
