//! A frame: the operations of one tick of one shard, as they stand in a segment.
//!
//! All numbers are little-endian; a frame begins at a multiple of 8 and its length is one.
//!
//! ```text
//!  0              4              8              12             16     18     20             24
//! +--------------+--------------+--------------+--------------+------+------+--------------+
//! | magic "WFRM" | header CRC   | epoch        | segment      |shard | zero |payload bytes |
//! +--------------+--------------+--------------+--------------+------+------+--------------+
//!  24             28             32                            40                           48
//! +--------------+--------------+-----------------------------+----------------------------+
//! | op count     | payload CRC  | count of first operation    | now, ms                    |
//! +--------------+--------------+-----------------------------+----------------------------+
//!  48                            56
//! +-----------------------------+-----------------+----------------------+------------------------------+
//! | durable position (packed)   | payload ...     | zeros to 8           | magic "MRFW" | header CRC    |
//! +-----------------------------+-----------------+----------------------+------------------------------+
//!  header                        operations        padding                trailer
//! ```
//!
//! - Both CRC-32s are seeded with the segment's random 64-bit salt: what an earlier life of a recycled segment left behind fails them,
//!   and a client cannot send a payload that looks like a frame. They are two so that a header can be trusted (its length, the durable
//!   position it states) where the payload is damaged, and so that looking for frames behind damage costs 56 bytes a candidate.
//! - The header CRC covers bytes 8 to 56, the payload CRC operations and padding; the trailer repeats the header CRC, so that a
//!   frame whose end never reached the disk is found without reading the rest.
//! - *Durable position*: operations up to it were synced when this frame was written. Recovery decides by it what is torn and what is
//!   corrupt. It never exceeds the position before the frame's own first operation.
//! - An *empty frame* (no operations) states a durable position; its first operation is the one that will come next.

mod reader;
#[cfg(test)]
mod tests;

pub use reader::{SegmentReader, Step};

use std::fmt;

use crc32fast::Hasher;

use crate::Position;
use crate::planted::{Mistake, is_planted};
use crate::position::{EPOCH_MAX, OPS_MAX};

/// Alignment of frames.
pub const FRAME_ALIGN: usize = 8;
/// Bytes before the operations.
pub const FRAME_HEADER_BYTES: usize = 56;
/// Bytes after operations and padding.
pub const FRAME_TRAILER_BYTES: usize = 8;
/// Length of an empty frame, the shortest there is.
pub const FRAME_BYTES_MIN: usize = FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES;
/// Most bytes of a frame that are not operations.
pub const FRAME_OVERHEAD_BYTES_MAX: usize = FRAME_BYTES_MIN + FRAME_ALIGN - 1;
/// Most bytes of operations that the format allows in a frame; a larger length is damage.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

const MAGIC: [u8; 4] = *b"WFRM";
const TRAILER_MAGIC: [u8; 4] = *b"MRFW";

/// What a frame says about itself, apart from its lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Epoch of the operations.
    pub epoch: u32,
    /// Shard of the operations in that epoch.
    pub shard: u16,
    /// Number of the segment that the frame was written to.
    pub segment: u32,
    /// Count of the first operation; of the next one to come, if the frame is empty.
    pub first_ops: u64,
    /// Number of operations.
    pub op_count: u32,
    /// The time that the operations were judged at.
    pub now_ms: i64,
    /// Durable position when the frame was written.
    pub durable: Position,
}

impl FrameHeader {
    /// Count of the last operation up to and including this frame.
    pub fn last_ops(&self) -> u64 {
        self.first_ops - 1 + u64::from(self.op_count)
    }
}

/// A frame that passed every check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Its operations.
    pub ops: &'a [u8],
    /// Where it begins in the segment.
    pub offset: u64,
    /// Where the next one begins.
    pub end_offset: u64,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageReason {
    /// The file ends before the segment does.
    FileTooShort,
    /// Zeros, but bytes that are not zero follow.
    ZerosBeforeData,
    /// No frame begins here.
    Magic,
    /// The header fails its checksum.
    HeaderChecksum,
    /// The header passes its checksum but belongs elsewhere, or its numbers contradict each other.
    HeaderValues,
    /// The frame would end beyond the segment.
    BeyondSegment,
    /// The end of the frame is not there.
    Trailer,
    /// The operations fail their checksum.
    PayloadChecksum,
}

impl fmt::Display for DamageReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            DamageReason::FileTooShort => "the file ends here, the segment does not",
            DamageReason::ZerosBeforeData => "zeros where a frame should be, with data behind them",
            DamageReason::Magic => "no frame begins here",
            DamageReason::HeaderChecksum => "the frame's header fails its checksum",
            DamageReason::HeaderValues => "the frame's header contradicts its place or itself",
            DamageReason::BeyondSegment => "the frame would end beyond its segment",
            DamageReason::Trailer => "the end of the frame is missing",
            DamageReason::PayloadChecksum => "the frame's operations fail their checksum",
        })
    }
}

/// The seeded checksum of a segment's frames.
#[derive(Debug, Clone)]
pub struct FrameSeal {
    seeded: Hasher,
}

impl FrameSeal {
    /// The checksum that `salt` seeds.
    pub fn new(salt: u64) -> FrameSeal {
        let mut seeded = Hasher::new();
        seeded.update(&salt.to_le_bytes());
        FrameSeal { seeded }
    }

    fn checksum(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.seeded.clone();
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// Length of a frame with `payload_bytes` of operations.
pub fn frame_bytes(payload_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + payload_bytes.next_multiple_of(FRAME_ALIGN) + FRAME_TRAILER_BYTES
}

/// Most bytes of operations that fit a frame of at most `bytes`; 0 if not even an operation of one byte does.
pub fn payload_room(bytes: u64) -> usize {
    let room = (bytes / FRAME_ALIGN as u64 * FRAME_ALIGN as u64).saturating_sub(FRAME_BYTES_MIN as u64);
    usize::try_from(room).unwrap_or(usize::MAX).min(PAYLOAD_BYTES_MAX)
}

/// Puts one whole frame into `buffer`, replacing what was there.
pub fn encode(buffer: &mut Vec<u8>, seal: &FrameSeal, header: &FrameHeader, ops: &[u8]) {
    assert!(ops.len() <= PAYLOAD_BYTES_MAX, "{} bytes of operations in one frame", ops.len());
    assert!(values_are_sound(header, ops.len()), "frame header contradicts itself: {header:?}");
    buffer.clear();
    buffer.reserve(frame_bytes(ops.len()));
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&header.epoch.to_le_bytes());
    buffer.extend_from_slice(&header.segment.to_le_bytes());
    buffer.extend_from_slice(&header.shard.to_le_bytes());
    buffer.extend_from_slice(&[0; 2]);
    buffer.extend_from_slice(&(ops.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&header.op_count.to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&header.first_ops.to_le_bytes());
    buffer.extend_from_slice(&header.now_ms.to_le_bytes());
    buffer.extend_from_slice(&header.durable.pack().to_le_bytes());
    buffer.extend_from_slice(ops);
    buffer.resize(FRAME_HEADER_BYTES + ops.len().next_multiple_of(FRAME_ALIGN), 0);
    let payload_crc = seal.checksum(&buffer[FRAME_HEADER_BYTES..]);
    buffer[28..32].copy_from_slice(&payload_crc.to_le_bytes());
    let header_crc = seal.checksum(&buffer[8..FRAME_HEADER_BYTES]);
    buffer[4..8].copy_from_slice(&header_crc.to_le_bytes());
    buffer.extend_from_slice(&TRAILER_MAGIC);
    buffer.extend_from_slice(&header_crc.to_le_bytes());
    assert_eq!(buffer.len(), frame_bytes(ops.len()));
}

/// A header that passed its own checks; the payload is still to be read.
#[derive(Debug, Clone, Copy)]
struct CheckedHeader {
    header: FrameHeader,
    payload_bytes: usize,
    payload_crc: u32,
    header_crc: u32,
}

/// Where a frame has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace {
    /// Epoch of the segment's operations.
    pub epoch: u32,
    /// Shard of the segment.
    pub shard: u16,
    /// Number of the segment.
    pub segment: u32,
}

/// What a header says that passes its checks; the operations behind it are not looked at.
pub(crate) fn header_of(
    bytes: &[u8; FRAME_HEADER_BYTES],
    seal: &FrameSeal,
    place: FramePlace,
) -> Option<FrameHeader> {
    decode_header(bytes, seal, place).ok().map(|checked| checked.header)
}

fn decode_header(bytes: &[u8], seal: &FrameSeal, place: FramePlace) -> Result<CheckedHeader, DamageReason> {
    assert!(bytes.len() >= FRAME_HEADER_BYTES, "a frame header takes {FRAME_HEADER_BYTES} bytes");
    if bytes[..4] != MAGIC {
        return Err(DamageReason::Magic);
    }
    let header_crc = u32_at(bytes, 4);
    if checked(seal.checksum(&bytes[8..FRAME_HEADER_BYTES]) != header_crc) {
        return Err(DamageReason::HeaderChecksum);
    }
    let header = FrameHeader {
        epoch: u32_at(bytes, 8),
        segment: u32_at(bytes, 12),
        shard: u16::from_le_bytes([bytes[16], bytes[17]]),
        op_count: u32_at(bytes, 24),
        first_ops: u64_at(bytes, 32),
        now_ms: u64_at(bytes, 40) as i64,
        durable: Position::unpack(u64_at(bytes, 48)),
    };
    let payload_bytes = u32_at(bytes, 20) as usize;
    let found = FramePlace { epoch: header.epoch, shard: header.shard, segment: header.segment };
    if found != place || bytes[18..20] != [0; 2] || !values_are_sound(&header, payload_bytes) {
        return Err(DamageReason::HeaderValues);
    }
    Ok(CheckedHeader { header, payload_bytes, payload_crc: u32_at(bytes, 28), header_crc })
}

/// Whether the numbers of a header can be true together.
fn values_are_sound(header: &FrameHeader, payload_bytes: usize) -> bool {
    let FrameHeader { epoch, first_ops, op_count, durable, .. } = *header;
    epoch <= EPOCH_MAX
        && (1..=OPS_MAX).contains(&first_ops)
        && first_ops - 1 + u64::from(op_count) <= OPS_MAX
        && durable.epoch() == epoch
        && durable.ops() < first_ops
        && payload_bytes <= PAYLOAD_BYTES_MAX
        && op_count as usize <= payload_bytes
        && (op_count == 0) == (payload_bytes == 0)
}

/// Checks what follows the header. `bytes` is the whole frame.
fn check_body(bytes: &[u8], seal: &FrameSeal, checked_header: &CheckedHeader) -> Result<(), DamageReason> {
    let (body, trailer) = bytes.split_at(bytes.len() - FRAME_TRAILER_BYTES);
    if is_planted(Mistake::FrameBodyUnchecked) {
        return Ok(());
    }
    let trailer_is_there = trailer[..4] == TRAILER_MAGIC && u32_at(trailer, 4) == checked_header.header_crc;
    if checked(!trailer_is_there) {
        return Err(DamageReason::Trailer);
    }
    if checked(seal.checksum(&body[FRAME_HEADER_BYTES..]) != checked_header.payload_crc) {
        return Err(DamageReason::PayloadChecksum);
    }
    Ok(())
}

/// Passes the outcome of a check on, except where a test has planted the mistake of ignoring it.
fn checked(failed: bool) -> bool {
    #[cfg(test)]
    if planted::CHECKS_ARE_IGNORED.get() {
        return false;
    }
    failed
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
pub(crate) mod planted {
    //! The mistake that the crash test must be able to find.

    use std::cell::Cell;

    thread_local! {
        /// Set: checksums and trailers are not looked at on this thread.
        pub(crate) static CHECKS_ARE_IGNORED: Cell<bool> = const { Cell::new(false) };
    }
}
