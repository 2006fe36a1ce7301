//! Sections: how they are written, and how they are read when they may be damaged.

use super::StateError;
use crate::catalogue::StreamId;
use crate::slot::SLOT_GROUPS;

/// The version of the state's format.
pub(super) const VERSION: u32 = 1;

pub(crate) const HEAD: u32 = 1;
pub(crate) const GROUP: u32 = 2;
pub(crate) const IDS: u32 = 3;
pub(crate) const SOURCES: u32 = 4;
pub(crate) const COUNTERS: u32 = 5;
pub(crate) const USAGE: u32 = 6;

/// Fingerprints in one section.
pub(crate) const IDS_MAX: usize = 4096;
/// Most generations of a group: each change of DEDUP may leave two.
pub(super) const GENERATIONS_MAX: usize = 4096;
/// Kind and bytes.
const HEAD_BYTES: usize = 8;

/// Writes a section at the end of `out`.
pub(crate) fn write(out: &mut Vec<u8>, kind: u32, payload: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&kind.to_le_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    payload(out);
    let bytes = u32::try_from(out.len() - at - 4).expect("a section is small");
    out[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
}

pub(crate) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_i64(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// One section, to be read from its start.
#[derive(Debug)]
pub(super) struct Section<'b> {
    pub(super) kind: u32,
    payload: &'b [u8],
    /// Where the payload begins in its piece.
    start: usize,
    at: usize,
}

/// The sections of a piece; ends behind the first that is damaged.
pub(super) fn sections(bytes: &[u8]) -> impl Iterator<Item = Result<Section<'_>, StateError>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == bytes.len() {
            return None;
        }
        let start = at + HEAD_BYTES;
        let section = bytes.get(at..start).and_then(|head| {
            let (kind, length) = head.split_first_chunk()?;
            let length = u32::from_le_bytes(*length.first_chunk()?) as usize;
            let payload = bytes.get(start..start.checked_add(length)?)?;
            Some(Section { kind: u32::from_le_bytes(*kind), payload, start, at: 0 })
        });
        let begun = at;
        at = section.as_ref().map_or(bytes.len(), |section| start + section.payload.len());
        Some(section.ok_or_else(|| corrupt("a section ends behind its piece", begun)))
    })
}

pub(super) fn corrupt(reason: impl Into<String>, at: usize) -> StateError {
    StateError::Corrupt { reason: reason.into(), at }
}

impl Section<'_> {
    /// What is wrong here.
    pub(super) fn corrupt(&self, reason: impl Into<String>) -> StateError {
        corrupt(reason, self.start + self.at)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let chunk = self.payload.get(self.at..).and_then(<[u8]>::first_chunk);
        let chunk = *chunk.ok_or_else(|| self.corrupt("a section ends early"))?;
        self.at += N;
        Ok(chunk)
    }

    pub(super) fn u16(&mut self) -> Result<u16, StateError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, StateError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, StateError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, StateError> {
        self.take().map(i64::from_le_bytes)
    }

    /// A stream and a group of hash slots.
    pub(super) fn of(&mut self) -> Result<(StreamId, u8), StateError> {
        let (stream, group) = (self.u32()?, self.u32()?);
        match u8::try_from(group) {
            Ok(group) => Ok((StreamId(stream), group)),
            Err(_) => Err(self.corrupt(format!("group {group} of {SLOT_GROUPS}"))),
        }
    }

    /// Whether all of it was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.payload.len()
    }

    /// How many items of `bytes` each are left.
    ///
    /// # Errors
    /// When they are not whole, or more than `most`.
    pub(super) fn items(&self, bytes: usize, most: usize) -> Result<usize, StateError> {
        let left = self.payload.len() - self.at;
        if !left.is_multiple_of(bytes) || left / bytes > most {
            return Err(self.corrupt(format!("{left} bytes are no up to {most} items of {bytes}")));
        }
        Ok(left / bytes)
    }
}
