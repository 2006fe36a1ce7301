//! Operations of the log applied again.

use super::upkeep::EVACUATED_MAX;
use super::{Hint, Mode, Outcome, Shard};
use crate::catalogue::{Catalogue, StreamId};
use crate::eviction::is_buried;
use crate::form::quote;
use crate::op::{AnyOp, Judged, OpError, Remove};
use crate::planted::{Mistake, is_planted};
use crate::state::Covered;

/// So often, replay frees what no one reads any more: no tick does it.
const REPLAYED_PER_COLLECTION: usize = 64;

impl Shard {
    /// Applies an operation of the log again, as far as the image that the shard was made from has not seen it. Never refuses for memory
    /// below what the system has; operations of streams that are gone are skipped.
    ///
    /// # Errors
    /// When the bytes are not an operation: the log is damaged.
    ///
    /// # Panics
    /// When the system has no memory left: what was acknowledged cannot be served.
    pub fn replay(&mut self, catalogue: &Catalogue, op: &[u8], position: u64) -> Result<(), OpError> {
        self.replayed += 1;
        if self.replayed == REPLAYED_PER_COLLECTION {
            self.replayed = 0;
            self.collect();
            self.store.evacuate(EVACUATED_MAX, |_, _| ());
        }
        let op = match AnyOp::decode(op)? {
            AnyOp::Event(op) => op,
            AnyOp::Remove(remove) => {
                self.replay_remove(catalogue, &remove, position);
                return Ok(());
            }
            AnyOp::Merge(merge) => return self.replay_merge(catalogue, &merge, position),
        };
        // As the stream was when its owner applied the operation.
        let Some(stream) = catalogue.as_of(op.layout) else { return Ok(()) };
        stream.observe(op.clock_ms, op.clock_ms);
        self.note_clock(stream, op.clock_ms);
        if op.judged == Judged::Noted {
            return Ok(());
        }
        self.store.set_bytes_max(usize::MAX);
        let hint = Hint::of(self.hash_key.key(stream.id, op.entity).hash);
        let covered = self.covered(stream.id, op.entity, position);
        let outcome = self.change(stream, &op, hint, Mode::Replay { position, covered });
        self.set_maxmemory_bytes(self.maxmemory_bytes);
        match outcome? {
            Outcome::OutOfMemory => panic!("the system has no memory for what the log holds"),
            // Whether a record is full is decided by what it holds alone.
            Outcome::Full => panic!("the record of {:?} is full at {position}", quote(op.entity)),
            _ => Ok(()),
        }
    }

    /// What an image had seen of an operation.
    fn covered(&self, stream: StreamId, entity: &[u8], position: u64) -> Covered {
        self.seen.as_ref().map_or(Covered::default(), |seen| seen.covers(stream, entity, position))
    }

    /// Removes a record again, unless it has seen operations since.
    fn replay_remove(&mut self, catalogue: &Catalogue, remove: &Remove<'_>, position: u64) {
        let Some(stream) = catalogue.by_layout(remove.layout) else { return };
        let key = self.hash_key.key(stream.id, remove.entity);
        let place = self.store.find(&key);
        if stream.keeps_the_dead() && remove.is_asked {
            if place.is_none_or(|place| self.store.record(place).position() < position) {
                self.store.set_bytes_max(usize::MAX);
                let place = place.map_or_else(|| self.dig(stream, &key), Ok);
                let place = place.expect("the system has memory for what the log holds");
                self.bury(stream, place, position);
                self.set_maxmemory_bytes(self.maxmemory_bytes);
            }
            return;
        }
        let Some(place) = place else { return };
        if !remove.is_asked && is_planted(Mistake::EvictionNotReplayed) {
            return;
        }
        if self.store.record(place).position() < position || is_planted(Mistake::AppliedPositionIgnored) {
            let is_entity = !is_buried(self.store.record(place));
            self.remove_counted(stream.id, place);
            let is_counted =
                remove.is_asked || !is_entity || self.covered(stream.id, remove.entity, position).is_counted;
            self.stats.of(stream.id).evicted += u64::from(!is_counted);
        }
    }
}
