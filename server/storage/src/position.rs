//! Where an operation stands: the epoch, and its number within the shard's log of that epoch. Never bytes, so that segments can be
//! recycled, cut and copied without any position changing.
//!
//! ```text
//!  63            44 43                                         0
//! +----------------+--------------------------------------------+
//! |  epoch (20)    |  operation count (44)                      |
//! +----------------+--------------------------------------------+
//! ```

use std::fmt;

use crate::StorageError;

/// Bits of the operation count in a packed position.
const OPS_BITS: u32 = 44;
/// The last epoch: a data directory can be started about a million times.
pub const EPOCH_MAX: u32 = (1 << (u64::BITS - OPS_BITS)) - 1;
/// The last operation of one shard in one epoch.
pub const OPS_MAX: u64 = (1 << OPS_BITS) - 1;

/// A place in one shard's history. Operation `n` of an epoch (the first is 1) has position `(epoch, n)`; `(epoch, 0)` is before all
/// of them. Ordered by epoch, then count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    epoch: u32,
    ops: u64,
}

impl Position {
    /// Fails if either part does not fit its bits.
    pub fn new(epoch: u32, ops: u64) -> Result<Position, StorageError> {
        if epoch > EPOCH_MAX || ops > OPS_MAX {
            return Err(StorageError::PositionOverflow { epoch, ops });
        }
        Ok(Position { epoch, ops })
    }

    /// Before the first operation of `epoch`. The epoch must be at most [`EPOCH_MAX`].
    pub fn start_of(epoch: u32) -> Position {
        assert!(epoch <= EPOCH_MAX, "epoch {epoch} is beyond {EPOCH_MAX}");
        Position { epoch, ops: 0 }
    }

    /// The epoch: one per start of the server.
    pub fn epoch(self) -> u32 {
        self.epoch
    }

    /// The operation count within the epoch.
    pub fn ops(self) -> u64 {
        self.ops
    }

    /// The position `count` operations later.
    pub fn advanced(self, count: u64) -> Result<Position, StorageError> {
        Position::new(self.epoch, self.ops.saturating_add(count))
    }

    /// One word, ordered as positions are.
    pub fn pack(self) -> u64 {
        u64::from(self.epoch) << OPS_BITS | self.ops
    }

    /// The reverse of [`Position::pack`]; every word is a position.
    pub fn unpack(word: u64) -> Position {
        Position { epoch: (word >> OPS_BITS) as u32, ops: word & OPS_MAX }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.epoch, self.ops)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn beyond_twenty_bits_of_epoch_or_forty_four_of_count_is_an_error() {
        assert!(Position::new(EPOCH_MAX, OPS_MAX).is_ok());
        assert!(Position::new(EPOCH_MAX + 1, 0).is_err());
        assert!(Position::new(0, OPS_MAX + 1).is_err());
        assert!(Position::new(3, OPS_MAX).unwrap().advanced(1).is_err());
        assert!(Position::new(3, OPS_MAX).unwrap().advanced(u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn packed_positions_order_as_positions(a in (0..=EPOCH_MAX, 0..=OPS_MAX), b in (0..=EPOCH_MAX, 0..=OPS_MAX)) {
            let a = Position::new(a.0, a.1).unwrap();
            let b = Position::new(b.0, b.1).unwrap();
            prop_assert_eq!(a.cmp(&b), a.pack().cmp(&b.pack()));
            prop_assert_eq!(Position::unpack(a.pack()), a);
        }
    }
}
