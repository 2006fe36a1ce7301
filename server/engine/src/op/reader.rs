//! A place in an operation's bytes that moves on.

use super::OpError;

/// Reads an operation's parts one after another.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], OpError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(OpError { reason: "it ends early", at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(super) fn word(&mut self) -> Result<u64, OpError> {
        let word = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk);
        let word = word.ok_or(OpError { reason: "it ends early", at: self.at })?;
        self.at += word.len();
        Ok(u64::from_le_bytes(*word))
    }

    pub(super) fn varint(&mut self) -> Result<u32, OpError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .map_err(|_| OpError { reason: "a number is too large", at: self.at });
            }
        }
        Err(OpError { reason: "a number has no end", at: self.at })
    }
}
