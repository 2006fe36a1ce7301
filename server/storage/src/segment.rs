//! A segment: one log file whose bytes are allocated, read as zeros and are synced before its first frame. Where zeros were written, a
//! later fdatasync writes data and no metadata.
//!
//! It begins with a block of 4,096 bytes; frames (see [`crate::frame`]) follow. All numbers are little-endian.
//!
//! ```text
//!  0                             8              12             16                           24
//! +-----------------------------+--------------+--------------+----------------------------+
//! | magic "WINDROWL"            | format = 1   | CRC-32       | salt                       |
//! +-----------------------------+--------------+--------------+----------------------------+
//!  24             28             32     34      36             40                           48
//! +--------------+--------------+------+-------+--------------+----------------------------+
//! | epoch        | segment      |shard | zero  | opened epoch | segment bytes              |
//! +--------------+--------------+------+-------+--------------+----------------------------+
//!  48                            56                                                          4096
//! +-----------------------------+------------------------------------------------------------+
//! | created, ms                 | zeros                                                      |
//! +-----------------------------+------------------------------------------------------------+
//! ```
//!
//! The CRC covers the whole block but itself. `epoch` is that of the operations; `opened epoch` that of the start that wrote the file.
//! They differ in *tails* alone: the operations that recovery carries over from a log whose end was not stated durable.
//!
//! | file | holds |
//! | --- | --- |
//! | `<epoch:08x>-<shard:04x>-<segment:08x>.wal` | a segment of a shard's log, numbered from 0 |
//! | `<opened epoch:08x>-<shard:04x>-tail.wal` | the tail of that shard of the epoch before, segment number [`TAIL_SEGMENT`], segment bytes 0 |
//! | `*.tmp` | one of these in preparation; means nothing |

mod prepare;

pub(crate) use prepare::Preparation;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{DiskFile, read_full_at};
use crate::frame::{self, FRAME_HEADER_BYTES, FrameHeader, FramePlace, FrameSeal, SegmentReader};

/// Bytes before the first frame: a block of its own, so that no later write shares a sector with it.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;
/// Version of the segment and frame format.
pub const SEGMENT_FORMAT: u32 = 1;
/// Segment number of a tail.
pub const TAIL_SEGMENT: u32 = u32::MAX;

const MAGIC: &[u8; 8] = b"WINDROWL";
const SUFFIX: &str = ".wal";
/// Suffix of files in preparation.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Which log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentName {
    /// A segment of a shard's log.
    Log {
        /// Epoch of the log.
        epoch: u32,
        /// Shard in that epoch.
        shard: u16,
        /// Number in that log, from 0.
        segment: u32,
    },
    /// What recovery carried over.
    Tail {
        /// Epoch of the start that wrote it.
        opened_epoch: u32,
        /// Shard in the epoch before.
        shard: u16,
    },
}

impl SegmentName {
    /// The epoch in the name: of the start that wrote the file.
    pub fn opened_epoch(self) -> u32 {
        match self {
            SegmentName::Log { epoch, .. } => epoch,
            SegmentName::Tail { opened_epoch, .. } => opened_epoch,
        }
    }

    /// The name's meaning; `None` for files that are no log files.
    pub fn parse(name: &str) -> Option<SegmentName> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('-');
        let (epoch, shard, last) = (parts.next()?, parts.next()?, parts.next()?);
        let epoch = u32::from_str_radix(epoch, 16).ok()?;
        let shard = u16::from_str_radix(shard, 16).ok()?;
        let parsed = match last {
            "tail" => SegmentName::Tail { opened_epoch: epoch, shard },
            number => SegmentName::Log { epoch, shard, segment: u32::from_str_radix(number, 16).ok()? },
        };
        // One spelling for each name: what parses otherwise ("+1-…") is not ours.
        (parts.next().is_none() && parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SegmentName::Log { epoch, shard, segment } => {
                write!(out, "{epoch:08x}-{shard:04x}-{segment:08x}{SUFFIX}")
            }
            SegmentName::Tail { opened_epoch, shard } => {
                write!(out, "{opened_epoch:08x}-{shard:04x}-tail{SUFFIX}")
            }
        }
    }
}

/// The first block of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Seeds the checksums of the frames.
    pub salt: u64,
    /// Epoch of the operations.
    pub epoch: u32,
    /// Number in its log.
    pub segment: u32,
    /// Shard of the operations, in their epoch.
    pub shard: u16,
    /// Epoch of the start that wrote the file.
    pub opened_epoch: u32,
    /// Length of the file; 0 for a tail, whose length the manifest states.
    pub segment_bytes: u64,
    /// When it was prepared.
    pub created_ms: i64,
}

impl SegmentHeader {
    /// Where the segment's frames have to say they are.
    pub fn place(&self) -> FramePlace {
        FramePlace { epoch: self.epoch, shard: self.shard, segment: self.segment }
    }

    /// The block.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut block = [0; SEGMENT_HEADER_BYTES as usize];
        block[..8].copy_from_slice(MAGIC);
        block[8..12].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        block[16..24].copy_from_slice(&self.salt.to_le_bytes());
        block[24..28].copy_from_slice(&self.epoch.to_le_bytes());
        block[28..32].copy_from_slice(&self.segment.to_le_bytes());
        block[32..34].copy_from_slice(&self.shard.to_le_bytes());
        block[36..40].copy_from_slice(&self.opened_epoch.to_le_bytes());
        block[40..48].copy_from_slice(&self.segment_bytes.to_le_bytes());
        block[48..56].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = block_checksum(&block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the block; the error is for people.
    pub fn decode(block: &[u8]) -> Result<SegmentHeader, String> {
        if block.len() < SEGMENT_HEADER_BYTES as usize {
            return Err(format!(
                "the file has only {} bytes, its header takes {SEGMENT_HEADER_BYTES}",
                block.len()
            ));
        }
        if &block[..8] != MAGIC {
            return Err("this is not the beginning of a log segment".to_owned());
        }
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"));
        if block_checksum(block) != word(12) {
            return Err("the segment's header fails its checksum".to_owned());
        }
        if word(8) != SEGMENT_FORMAT {
            return Err(format!(
                "segment format {} is not {SEGMENT_FORMAT}, the one this server reads",
                word(8)
            ));
        }
        Ok(SegmentHeader {
            salt: long(16),
            epoch: word(24),
            segment: word(28),
            shard: u16::from_le_bytes([block[32], block[33]]),
            opened_epoch: word(36),
            segment_bytes: long(40),
            created_ms: long(48) as i64,
        })
    }
}

fn block_checksum(block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..12]);
    hasher.update(&block[16..SEGMENT_HEADER_BYTES as usize]);
    hasher.finalize()
}

/// An open segment.
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) seal: FrameSeal,
    /// Where the last frame that this process wrote ends; 0 before the first.
    written_end: AtomicU64,
}

impl Segment {
    pub(crate) fn new(file: Arc<dyn DiskFile>, path: PathBuf, header: SegmentHeader) -> Segment {
        let seal = FrameSeal::new(header.salt);
        Segment { file, path, header, seal, written_end: AtomicU64::new(0) }
    }

    /// Frames are written up to there.
    pub(crate) fn note_written(&self, end: u64) {
        self.written_end.store(end, Ordering::Release);
    }

    /// See [`Segment::note_written`].
    pub(crate) fn written_end(&self) -> u64 {
        self.written_end.load(Ordering::Acquire)
    }

    /// Reads the header of `file`. Outer error: the disk; inner error: the header cannot be trusted.
    pub(crate) fn read(file: Arc<dyn DiskFile>, path: PathBuf) -> std::io::Result<Result<Segment, String>> {
        let mut block = [0; SEGMENT_HEADER_BYTES as usize];
        let read = read_full_at(file.as_ref(), &mut block, 0)?;
        Ok(SegmentHeader::decode(&block[..read]).map(|header| Segment::new(file, path, header)))
    }

    /// The header of the frame that the segment begins with, if there is one that passes its checks.
    pub(crate) fn first_frame(&self) -> std::io::Result<Option<FrameHeader>> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let read = read_full_at(self.file.as_ref(), &mut bytes, SEGMENT_HEADER_BYTES)?;
        Ok((read == bytes.len()).then(|| frame::header_of(&bytes, &self.seal, self.header.place())).flatten())
    }

    /// A reader of the frames from `offset` (at least the header's end) to `limit`.
    pub(crate) fn reader(&self, offset: u64, limit: u64) -> SegmentReader {
        assert!(offset >= SEGMENT_HEADER_BYTES, "frames begin behind the header, not at {offset}");
        SegmentReader::new(Arc::clone(&self.file), self.header.place(), self.seal.clone(), offset, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        salt: 0x0123_4567_89AB_CDEF,
        epoch: 7,
        segment: 9,
        shard: 3,
        opened_epoch: 7,
        segment_bytes: 65536,
        created_ms: -5,
    };

    #[test]
    fn every_flipped_bit_of_a_segment_header_is_noticed() {
        let block = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(HEADER));
        for bit in 0..block.len() * 8 {
            let mut flipped = block;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        assert!(SegmentHeader::decode(&block[..4095]).is_err());
    }

    #[test]
    fn names_have_one_spelling() {
        let names = [
            (SegmentName::Log { epoch: 1, shard: 2, segment: 0xABC }, "00000001-0002-00000abc.wal"),
            (SegmentName::Tail { opened_epoch: 16, shard: 0 }, "00000010-0000-tail.wal"),
        ];
        for (name, spelling) in names {
            assert_eq!(name.to_string(), spelling);
            assert_eq!(SegmentName::parse(spelling), Some(name));
        }
        for other in
            ["", "manifest", "1-2-3.wal", "00000001-0002-00000ABC.wal", "00000001-0002-00000abc.wal.tmp"]
        {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
