//! Upkeep: memory of the dead, of sparse chunks and of what nobody reads any more is given back, a little at a time.

use windrow_memory::{Cursor, Scan};
use windrow_window::body;

use super::Shard;
use crate::catalogue::{Catalogue, LayoutId, StreamId};
use crate::record::Body;

/// Where upkeep has come to.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    cursor: Option<Cursor>,
    scan: Scan,
}

/// Slots that are freed in one tick.
const COLLECTED_MAX: usize = 1024;

/// Slots that one step of upkeep frees beside these.
const COLLECTED_IN_UPKEEP_MAX: usize = 128;

/// Records that one step of upkeep moves out of sparse chunks.
pub(super) const EVACUATED_MAX: usize = 16;

/// Records that one slice of upkeep gives their stream's present layout.
const UPGRADED_MAX: usize = 8;

/// Larger ones wait for their next event: they take long, and whether one has room for what is added is for the log to see.
const UPGRADED_BYTES_MAX: usize = 64 << 10;

impl Shard {
    /// A small step of upkeep, some tens of microseconds: reclaims dead entities and records of dropped streams among the next
    /// `records_max` records, empties sparse chunks, and frees what no reader can reach any more. Gives how many records it removed
    /// or moved: where that is not 0, another step soon may find more. Nothing that a command can see depends on when this happens.
    pub fn upkeep(&mut self, catalogue: &Catalogue, now_ms: i64, records_max: usize) -> usize {
        self.eviction.forget_drawn();
        self.store.collect(COLLECTED_IN_UPKEEP_MAX);
        self.sweep_remembered(catalogue, now_ms);
        let cursor = self.sweep.cursor.unwrap_or(Cursor::START);
        self.sweep.cursor = self.store.scan(&mut self.sweep.scan, cursor, records_max);
        self.store.prefetch_rows(&self.sweep.scan);
        let (mut removed, mut upgraded) = (0, 0);
        for index in 0..self.sweep.scan.rows().len() {
            let place = self.sweep.scan.rows()[index];
            // What is still in the image is left for a later round, rather than brought in the midst of a tick.
            let Some(record) = self.store.peek(place) else { continue };
            let stream = StreamId(record.stream());
            match catalogue.by_id(stream) {
                None => {
                    self.store.remove(place);
                    removed += 1;
                }
                // Shards do not agree yet who is dead.
                Some(stream) if stream.is_pending() => {}
                // Who is dead says that nothing comes of earlier events.
                Some(stream) if stream.keeps_the_dead() => {}
                Some(stream) => {
                    let (layout, newest_ms) = (LayoutId(record.layout()), body::newest_ms(&Body(record)));
                    let is_small = record.slot_bytes() <= UPGRADED_BYTES_MAX;
                    let clock = stream.clock_ms(now_ms);
                    if clock.is_some_and(|clock_ms| stream.is_dead(layout, newest_ms, clock_ms)) {
                        self.remove_counted(stream.id, place);
                        removed += 1;
                    } else if !stream.has(layout) && is_small && upgraded < UPGRADED_MAX && !self.is_tight() {
                        // So that other cores can read it. Without memory for it, it waits for its next event.
                        upgraded += usize::from(self.upgrade(stream, place).is_ok());
                    }
                }
            }
        }
        removed + upgraded + self.store.evacuate(EVACUATED_MAX, |_, _| ())
    }

    /// Gives one empty chunk back to the system, if there are more than a small reserve, or than the budget allows; whether it did.
    pub fn release_chunk(&mut self) -> bool {
        self.store.release_chunk()
    }

    /// Frees memory that no reader can reach any more, a bounded amount. Once a tick.
    pub fn collect(&mut self) {
        self.eviction.forget_drawn();
        self.store.collect(COLLECTED_MAX);
        self.free_forgotten();
    }
}
