//! Walks the frames of a segment and says what stands at each place.

use std::io;
use std::sync::Arc;

use super::{
    CheckedHeader, DamageReason, FRAME_ALIGN, FRAME_BYTES_MIN, FRAME_HEADER_BYTES, Frame, FramePlace,
    FrameSeal, check_body, decode_header, frame_bytes,
};
use crate::Position;
use crate::disk::{DiskFile, read_full_at};

/// Bytes read at once. A frame that is longer makes the buffer grow to it, so the buffer is bounded by the longest frame.
const READ_BYTES: usize = 1024 * 1024;

/// Where reading in one piece fails, so much is read at a time: a sector, so that no more is lost than must be.
const BLOCK_BYTES: usize = 512;
/// Stands for bytes that cannot be read: no frame, and no end either.
const UNREADABLE: u8 = 0xA5;

/// What stands at the reader's place.
#[derive(Debug)]
pub enum Step<'a> {
    /// A whole frame; the reader stands behind it now.
    Frame(Frame<'a>),
    /// Only zeros from here to the end of the segment.
    CleanEnd,
    /// Something else; the reader stays. [`SegmentReader::skip_to_next_header`] goes on.
    Damage {
        /// Where it begins.
        offset: u64,
        /// Which check failed.
        reason: DamageReason,
        /// The durable position that the frame's header states, where the header is whole.
        stated: Option<Position>,
    },
}

/// Reads the frames of one segment in order.
pub struct SegmentReader {
    file: Arc<dyn DiskFile>,
    place: FramePlace,
    seal: FrameSeal,
    offset: u64,
    limit: u64,
    buffer: Vec<u8>,
    buffer_offset: u64,
    passes_over_unreadable: bool,
    unreadable: Option<io::Error>,
}

impl SegmentReader {
    /// Reads `file` from byte `offset` to `limit`, expecting frames of `place` under `seal`.
    pub fn new(
        file: Arc<dyn DiskFile>,
        place: FramePlace,
        seal: FrameSeal,
        offset: u64,
        limit: u64,
    ) -> SegmentReader {
        assert!(
            offset.is_multiple_of(FRAME_ALIGN as u64),
            "frames begin at multiples of {FRAME_ALIGN}, not at {offset}"
        );
        SegmentReader {
            file,
            place,
            seal,
            offset,
            limit,
            buffer: Vec::new(),
            buffer_offset: 0,
            passes_over_unreadable: false,
            unreadable: None,
        }
    }

    /// Where the next step will look.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Forgets what was read ahead: the file may have got frames since.
    pub fn refresh(&mut self) {
        self.buffer.clear();
    }

    /// From now on bytes that the disk cannot read are damage, and no error: for what nobody needs.
    pub fn pass_over_unreadable(&mut self, passes_over: bool) {
        if self.passes_over_unreadable && !passes_over {
            // What was made up for them must not be taken for what is there.
            self.refresh();
        }
        self.passes_over_unreadable = passes_over;
    }

    /// The first error that was passed over since the last call.
    pub fn take_unreadable(&mut self) -> Option<io::Error> {
        self.unreadable.take()
    }

    /// Goes back to `offset`, where a frame began.
    pub fn go_back(&mut self, offset: u64) {
        assert!(offset <= self.offset, "{offset} is not before {}", self.offset);
        self.offset = offset;
    }

    /// What stands at the reader's place.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        let offset = self.offset;
        let head_bytes = self.limit.saturating_sub(offset).min(FRAME_HEADER_BYTES as u64) as usize;
        let head = self.view(offset, head_bytes)?;
        if head.len() < head_bytes {
            return Ok(Step::Damage { offset, reason: DamageReason::FileTooShort, stated: None });
        }
        if is_zero(head) {
            return self.zeros(offset);
        }
        if self.limit - offset < FRAME_BYTES_MIN as u64 {
            return Ok(Step::Damage { offset, reason: DamageReason::BeyondSegment, stated: None });
        }
        let head = self.view(offset, FRAME_HEADER_BYTES)?;
        let head = <[u8; FRAME_HEADER_BYTES]>::try_from(head).expect("as long as asked for");
        match decode_header(&head, &self.seal, self.place) {
            Err(reason) => Ok(Step::Damage { offset, reason, stated: None }),
            Ok(checked_header) => self.body(offset, checked_header),
        }
    }

    fn body(&mut self, offset: u64, checked_header: CheckedHeader) -> io::Result<Step<'_>> {
        let header = checked_header.header;
        let stated = Some(header.durable);
        let bytes = frame_bytes(checked_header.payload_bytes);
        let end_offset = offset + bytes as u64;
        if end_offset > self.limit {
            return Ok(Step::Damage { offset, reason: DamageReason::BeyondSegment, stated });
        }
        let whole = self.view(offset, bytes)?.len() == bytes;
        let seal = self.seal.clone();
        let frame = self.view(offset, bytes)?;
        let checked =
            if whole { check_body(frame, &seal, &checked_header) } else { Err(DamageReason::FileTooShort) };
        if let Err(reason) = checked {
            return Ok(Step::Damage { offset, reason, stated });
        }
        self.offset = end_offset;
        let from = (offset - self.buffer_offset) as usize + FRAME_HEADER_BYTES;
        let ops = &self.buffer[from..from + checked_header.payload_bytes];
        Ok(Step::Frame(Frame { header, ops, offset, end_offset }))
    }

    /// Goes from the reader's place to the next frame header that passes its checks; false if there is none.
    pub fn skip_to_next_header(&mut self) -> io::Result<bool> {
        let mut offset = self.offset + FRAME_ALIGN as u64;
        while offset + FRAME_BYTES_MIN as u64 <= self.limit {
            let window_bytes = (self.limit - offset).min(READ_BYTES as u64) as usize;
            let (seal, place) = (self.seal.clone(), self.place);
            let window = self.view(offset, window_bytes)?;
            if window.len() < FRAME_BYTES_MIN {
                break;
            }
            let places = window.len() - FRAME_HEADER_BYTES;
            let found = (0..=places)
                .step_by(FRAME_ALIGN)
                .find(|at| decode_header(&window[*at..*at + FRAME_HEADER_BYTES], &seal, place).is_ok());
            if let Some(at) = found {
                self.offset = offset + at as u64;
                return Ok(true);
            }
            offset += (places / FRAME_ALIGN * FRAME_ALIGN + FRAME_ALIGN) as u64;
        }
        self.offset = self.limit;
        Ok(false)
    }

    fn zeros(&mut self, offset: u64) -> io::Result<Step<'_>> {
        let mut at = offset;
        while at < self.limit {
            let wanted = (self.limit - at).min(READ_BYTES as u64) as usize;
            let window = self.view(at, wanted)?;
            if !is_zero(window) {
                return Ok(Step::Damage { offset, reason: DamageReason::ZerosBeforeData, stated: None });
            }
            if window.len() < wanted {
                return Ok(Step::Damage { offset, reason: DamageReason::FileTooShort, stated: None });
            }
            at += wanted as u64;
        }
        Ok(Step::CleanEnd)
    }

    /// Bytes `offset .. offset + bytes` of the file; fewer only where the file ends.
    fn view(&mut self, offset: u64, bytes: usize) -> io::Result<&[u8]> {
        let buffered = offset >= self.buffer_offset
            && offset + bytes as u64 <= self.buffer_offset + self.buffer.len() as u64;
        if !buffered {
            let within_limit = usize::try_from(self.limit.saturating_sub(offset)).unwrap_or(usize::MAX);
            let wanted = bytes.max(READ_BYTES.min(within_limit));
            self.fill(offset, wanted)?;
        }
        let from = (offset - self.buffer_offset) as usize;
        let to = (from + bytes).min(self.buffer.len());
        Ok(&self.buffer[from..to])
    }

    fn fill(&mut self, offset: u64, wanted: usize) -> io::Result<()> {
        self.buffer.resize(wanted, 0);
        self.buffer_offset = offset;
        let read = match read_full_at(self.file.as_ref(), &mut self.buffer, offset) {
            Ok(read) => read,
            Err(error) if self.passes_over_unreadable => {
                self.unreadable.get_or_insert(error);
                self.fill_by_blocks(offset)?
            }
            Err(error) => {
                self.buffer.clear();
                return Err(error);
            }
        };
        self.buffer.truncate(read);
        Ok(())
    }

    /// Reads what can be read of the buffer's place; gives how much of it the file has.
    fn fill_by_blocks(&mut self, offset: u64) -> io::Result<usize> {
        let file_bytes = usize::try_from(self.file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let there = file_bytes.min(self.buffer.len());
        for (block, at) in self.buffer[..there].chunks_mut(BLOCK_BYTES).zip((offset..).step_by(BLOCK_BYTES)) {
            if !read_full_at(self.file.as_ref(), block, at).is_ok_and(|read| read == block.len()) {
                block.fill(UNREADABLE);
            }
        }
        Ok(there)
    }
}

/// Folding without an early exit lets the compiler use wide registers; segments end in megabytes of zeros.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
}
