//! What only the owner of a shard can do for a snapshot.

use windrow_engine::copy::Copies;
use windrow_engine::state::ExportCursor;
use windrow_engine::{Catalogue, Cursor, Shard};
use windrow_storage::Position;

/// Bytes of state that the owner exports at once, or up to a quarter of a mebibyte more.
const STATE_SLICE_BYTES: usize = 64 << 10;

/// A question to the owner of a shard, who answers it between two operations, in well under a millisecond.
#[derive(Debug)]
pub struct Question {
    shard: u16,
    pub(super) asked: Asked,
}

/// Its answer, for [`Snapshot::answered`](super::Snapshot::answered).
#[derive(Debug)]
pub struct Answer {
    pub(super) shard: u16,
    /// The last operation that the owner has applied.
    pub(super) position: Position,
    pub(super) told: Told,
}

#[derive(Debug)]
pub(super) enum Asked {
    /// How far it has come.
    Position,
    /// The record at the cursor, which does not hold still.
    Rows { cursor: Cursor, copies: Copies },
    /// What it knows beside its records.
    State(ExportCursor),
}

#[derive(Debug)]
pub(super) enum Told {
    Position,
    Rows { copies: Copies, next: Option<Cursor> },
    State { piece: Vec<u8>, cursor: ExportCursor, is_last: bool },
}

impl Question {
    pub(super) fn new(shard: u16, asked: Asked) -> Question {
        Question { shard, asked }
    }

    /// Who is asked.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// Answers it. `position` is that of the last operation that the shard has applied, whether or not it is in the log yet.
    pub fn answer(self, shard: &Shard, catalogue: &Catalogue, position: Position) -> Answer {
        let told = match self.asked {
            Asked::Position => Told::Position,
            Asked::Rows { cursor, mut copies } => {
                let next = shard.copy_rows(cursor, 1, &mut copies);
                Told::Rows { copies, next }
            }
            Asked::State(mut cursor) => {
                let mut piece = Vec::new();
                let has_more =
                    shard.export(catalogue, &mut cursor, position.pack(), &mut piece, STATE_SLICE_BYTES);
                Told::State { piece, cursor, is_last: !has_more }
            }
        };
        Answer { shard: self.shard, position, told }
    }
}
