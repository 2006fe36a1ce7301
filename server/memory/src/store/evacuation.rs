//! Emptying sparse chunks.
//!
//! A chunk returns to the pool when its last slot is free, so one record in it holds 2 MiB. Upkeep moves the records out of chunks
//! that are under a quarter full, by the ordinary move, a few a tick.

use super::Store;
use crate::{
    error::MemoryError,
    handle::Handle,
    record::{Edit, Record},
};

/// How many chunks one call looks at in search of a sparse one.
const CHUNKS_LOOKED_AT_MAX: usize = 16;

/// How many slots one call looks at for each record it may move: most may be retired and not yet collected.
const SLOTS_LOOKED_AT_PER_MOVE: usize = 4;

/// Where upkeep has come to.
#[derive(Default)]
pub(super) struct Evacuation {
    /// The chunk to look at next.
    next_chunk: usize,
    /// The chunk being emptied, and the slot in it to go on with.
    current: Option<(u32, u32)>,
}

impl Store {
    /// Moves at most `moves_max` records out of sparse chunks; returns how many. 0 does not mean that there are none: each call
    /// looks at a bounded number of chunks. A slice of upkeep, once a tick; `moved` is told of every record that has a new
    /// handle (old, new).
    pub fn evacuate(&mut self, moves_max: usize, mut moved: impl FnMut(Handle, Handle)) -> usize {
        let mut moves = 0;
        for _ in 0..moves_max.saturating_mul(SLOTS_LOOKED_AT_PER_MOVE) {
            if moves == moves_max {
                break;
            }
            let Some((chunk, from)) = self.evacuation.current.or_else(|| self.choose_chunk()) else { break };
            let Some((handle, slot)) = self.slots.next_in_use(chunk, from) else {
                // Its slots are retired now; the last one to be collected returns it to the pool.
                self.evacuation.current = None;
                continue;
            };
            self.evacuation.current = Some((chunk, slot + 1));
            if !self.is_record(handle) {
                continue; // retired before, and not yet collected
            }
            match self.move_as_it_is(handle) {
                Ok(new) => moved(handle, new),
                Err(_no_room_after_all) => {
                    self.slots.stop_evacuation(chunk);
                    self.evacuation.current = None;
                    break;
                }
            }
            moves += 1;
        }
        moves
    }

    fn choose_chunk(&mut self) -> Option<(u32, u32)> {
        let (found, next) = self.slots.find_sparse(self.evacuation.next_chunk, CHUNKS_LOOKED_AT_MAX);
        self.evacuation.next_chunk = next;
        let chunk = found?;
        self.slots.start_evacuation(chunk);
        Some((chunk, 0))
    }

    fn is_record(&self, handle: Handle) -> bool {
        let region = &*self.shared.region;
        Record::new(super::slot(region, handle), region).is_there()
    }

    fn move_as_it_is(&mut self, handle: Handle) -> Result<Handle, MemoryError> {
        let record = self.record(handle);
        let (layout, body_words) = (record.layout(), record.body_words());
        self.relocate(handle, layout, body_words, |old: Record<'_>, new: &mut Edit<'_>| {
            for index in 0..body_words {
                new.set(index, old.get(index));
            }
        })
    }
}
