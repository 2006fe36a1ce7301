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

/// How many chunks are compared when there is no whole one.
const TIGHT_CHUNKS_LOOKED_AT_MAX: usize = 256;

/// How many slots one call looks at for each record it may move: most may be retired and not yet collected.
const SLOTS_LOOKED_AT_PER_MOVE: usize = 4;

/// Where upkeep has come to.
#[derive(Default)]
pub(super) struct Evacuation {
    /// The chunk to look at next.
    next_chunk: usize,
    /// The chunk being emptied, and the slot in it to go on with.
    current: Option<(u32, u32)>,
    /// The chunk that was last chosen because there was no whole one.
    squeezed: Option<u32>,
}

/// What a step of [`Store::squeeze`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squeezed {
    /// Something was moved, or looked at: another step may do more.
    Went,
    /// There is no room for this record elsewhere: it is to be removed, or [`Store::stop_squeezing`] called.
    Stuck(Handle),
    /// A chunk is empty and will be whole once its slots are collected.
    Waiting,
    /// There is no such chunk.
    Nothing,
}

impl Store {
    /// Moves at most `moves_max` records out of sparse chunks; returns how many. Chunks of an image that are not there yet
    /// are left alone. 0 does not mean that there are none: each call
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

    /// One step towards a whole chunk, for when there is none: records of one size lie in chunks with room for many more, while
    /// another size has no chunk. Empties the chunk that has least to move; with `may_displace`, also one whose records have
    /// no room elsewhere. Chunks of an image that are not adopted yet are not emptied, though a record may move to one.
    pub fn squeeze(&mut self, may_displace: bool) -> Squeezed {
        for _ in 0..SLOTS_LOOKED_AT_PER_MOVE {
            let current = self.evacuation.current.or_else(|| self.choose_tight_chunk(may_displace));
            let Some((chunk, from)) = current else {
                return if self.is_squeezed_chunk_pending() { Squeezed::Waiting } else { Squeezed::Nothing };
            };
            let Some((handle, slot)) = self.slots.next_in_use(chunk, from) else {
                self.evacuation.current = None;
                return Squeezed::Waiting;
            };
            self.evacuation.current = Some((chunk, slot + 1));
            if !self.is_record(handle) {
                continue;
            }
            match self.move_as_it_is(handle) {
                Ok(_moved) => {}
                Err(_no_room) if may_displace => return Squeezed::Stuck(handle),
                Err(_no_room) => {
                    self.stop_squeezing();
                    return Squeezed::Nothing;
                }
            }
        }
        Squeezed::Went
    }

    /// The chunk that is being emptied stays after all.
    pub fn stop_squeezing(&mut self) {
        if let Some((chunk, _)) = self.evacuation.current.take() {
            self.slots.stop_evacuation(chunk);
        }
    }

    /// What the last chunk gave is not collected yet.
    fn is_squeezed_chunk_pending(&self) -> bool {
        self.evacuation.squeezed.is_some_and(|chunk| self.slots.is_evacuated(chunk))
    }

    fn choose_tight_chunk(&mut self, may_displace: bool) -> Option<(u32, u32)> {
        if self.is_squeezed_chunk_pending() {
            return None;
        }
        let from = self.evacuation.next_chunk;
        let (found, next) = self.slots.find_emptiest(from, TIGHT_CHUNKS_LOOKED_AT_MAX, may_displace);
        self.evacuation.next_chunk = next;
        let chunk = found?;
        self.slots.start_evacuation(chunk);
        self.evacuation.squeezed = found;
        Some((chunk, 0))
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
