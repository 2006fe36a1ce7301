//! Settings of the log, and what they may be.

use crate::StorageError;
use crate::frame::{FRAME_OVERHEAD_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::segment::SEGMENT_HEADER_BYTES;

/// Smallest segment: a header and a few frames. Production uses megabytes; tests use little ones to rotate often.
pub const SEGMENT_BYTES_MIN: u64 = 8 * 1024;
/// Largest segment.
pub const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Settings of the log of a data directory.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// Size of a segment file. A multiple of 4096.
    pub segment_bytes: u64,
    /// Size of the first segment of each epoch: small, because the server waits for it at start. A multiple of 4096.
    pub first_segment_bytes: u64,
    /// Most bytes of operations in one frame.
    pub group_bytes_max: usize,
    /// Seed of the segments' salts. Must be random for each start of a real server.
    pub salt_seed: u64,
    /// What to do about damage to operations that were durable.
    pub on_corruption: OnCorruption,
    /// Which log is kept beyond what recovery needs.
    pub retention: Retention,
    /// How segments are prepared.
    pub fill: SegmentFill,
}

/// How a segment gets its bytes before the first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SegmentFill {
    /// Zeros are written: a sync of the log then writes data and no metadata. For a log that is synced for every group.
    #[default]
    Write,
    /// Room is allocated that reads as zeros, where the file system can (fallocate): half the bytes written, but a sync of the log
    /// also writes which of them are no zeros any more. For a log that is synced now and then.
    Allocate,
}

/// What recovery does about damage to operations that were durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCorruption {
    /// Refuse to start, saying file and offset.
    #[default]
    Refuse,
    /// The repair command: give up that shard's operations of that epoch from the damage on, and say so in the report.
    GiveUp,
}

/// Which log is kept beyond what recovery needs, which is kept always: everything behind the start of the second-newest image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A file whose last operation is older may go. 0: as soon as recovery does not need it.
    pub keep_ms: u64,
    /// The oldest files may go while the log takes more. 0: no matter how much it takes.
    pub keep_bytes: u64,
    /// The log takes no more than this, as long as the first segments of an epoch fit: at the limit what recovery does not need goes,
    /// however young, and then no spare segment is prepared. 0: no limit.
    pub max_bytes: u64,
}

impl Default for Retention {
    /// A day.
    fn default() -> Retention {
        Retention { keep_ms: 24 * 60 * 60 * 1000, keep_bytes: 0, max_bytes: 0 }
    }
}

impl StorageOptions {
    /// Defaults of a real server, with a random `salt_seed`.
    pub fn new(salt_seed: u64) -> StorageOptions {
        StorageOptions {
            segment_bytes: 64 * 1024 * 1024,
            first_segment_bytes: 16 * 1024 * 1024,
            group_bytes_max: 8 * 1024 * 1024,
            salt_seed,
            on_corruption: OnCorruption::Refuse,
            retention: Retention::default(),
            fill: SegmentFill::Write,
        }
    }

    /// Bytes of operations that one frame can ever carry: the smaller of the setting and what a segment holds. A single operation
    /// above this can never be logged.
    pub fn group_bytes(&self) -> usize {
        let fits = self.segment_bytes - SEGMENT_HEADER_BYTES - FRAME_OVERHEAD_BYTES_MAX as u64;
        self.group_bytes_max.min(usize::try_from(fits).unwrap_or(usize::MAX))
    }

    /// An error that names the setting which cannot work.
    pub fn check(&self) -> Result<(), StorageError> {
        for (name, bytes) in
            [("segment_bytes", self.segment_bytes), ("first_segment_bytes", self.first_segment_bytes)]
        {
            let in_range = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes);
            if !in_range || !bytes.is_multiple_of(SEGMENT_HEADER_BYTES) {
                let reason = format!(
                    "{name} is {bytes}; it must be a multiple of {SEGMENT_HEADER_BYTES} from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
                );
                return Err(StorageError::Options { reason });
            }
        }
        if self.group_bytes_max == 0 || self.group_bytes_max > PAYLOAD_BYTES_MAX {
            let reason = format!(
                "group_bytes_max is {}; it must be from 1 to {PAYLOAD_BYTES_MAX}",
                self.group_bytes_max
            );
            return Err(StorageError::Options { reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let good = StorageOptions::new(1);
        assert!(good.check().is_ok());
        let bad = StorageOptions { segment_bytes: 10_000, ..good.clone() };
        assert!(bad.check().unwrap_err().to_string().contains("segment_bytes is 10000"));
        let bad = StorageOptions { first_segment_bytes: 4096, ..good.clone() };
        assert!(bad.check().unwrap_err().to_string().contains("first_segment_bytes"));
        let bad = StorageOptions { group_bytes_max: 0, ..good };
        assert!(bad.check().unwrap_err().to_string().contains("group_bytes_max"));
    }

    #[test]
    fn a_group_never_exceeds_what_a_segment_holds() {
        let options = StorageOptions { segment_bytes: SEGMENT_BYTES_MIN, ..StorageOptions::new(1) };
        assert!((options.group_bytes() as u64) < SEGMENT_BYTES_MIN);
    }
}
