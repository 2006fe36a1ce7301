//! The stages of a batch: what the operations to come will touch starts to be loaded while others are applied.

use windrow_window::lookahead::{self, Lookahead};

use super::{Hint, Shard};
use crate::catalogue::{Catalogue, Stream};
use crate::op::OpHead;
use crate::record::Body;

impl Shard {
    /// Stage one of a batch: starts to load what finds the operation's record.
    #[inline]
    pub fn prefetch_index(&self, hash: u64) {
        self.store.prefetch_index(hash);
    }

    /// Stage two of a batch: starts to load the record itself.
    #[inline]
    pub fn prefetch_record(&self, hash: u64, lines: usize) -> Hint {
        Hint { hash, place: self.store.prefetch_record(hash, lines) }
    }

    /// Between the stages: starts to load more cache lines of the record, if stage two has found it.
    #[inline]
    pub fn prefetch_lines(&self, hint: Hint, lines: std::ops::Range<usize>) {
        if let Some(place) = hint.place {
            self.store.prefetch_lines(place, lines);
        }
    }

    /// Stage three of a batch, for an operation whose record stage two has brought: starts to load the cells that it will change.
    /// Whether it is worth while to go on to stage four.
    #[inline]
    pub fn prefetch_cells(&self, catalogue: &Catalogue, op: &[u8], hint: Hint) -> bool {
        let Some(record) = hint.place.and_then(|place| self.store.peek(place)) else { return false };
        let Some(op) = OpHead::peek(op) else { return false };
        let Some(stream) = catalogue.by_layout(op.layout) else { return false };
        // A record of another layout would be asked for the wrong words: harmless, and as good as none.
        lookahead::ask_for_cells(&stream.layout, &Body(record), op.ts);
        stream.layout.has_sketches
    }

    /// Stage four, for an operation whose cells stage three has brought: starts to load the sketches that it will look at.
    pub fn prefetch_blocks(&self, catalogue: &Catalogue, op: &[u8], hint: Hint) {
        let Some(record) = hint.place.and_then(|place| self.store.peek(place)) else { return };
        let Some(op) = OpHead::peek(op) else { return };
        let Some(stream) = catalogue.by_layout(op.layout) else { return };
        lookahead::ask_for_blocks(&stream.layout, &Body(record), op.ts);
    }

    /// Stage three of a batch for a read whose record stage two has brought: starts to load what lies beyond its first lines.
    #[inline]
    pub fn prefetch_columns(&self, stream: &Stream, ahead: &Lookahead, hint: Hint) {
        if let Some(record) = hint.place.and_then(|place| self.store.peek(place)) {
            ahead.ask(&stream.layout, &Body(record));
        }
    }
}
