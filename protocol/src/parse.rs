//! Requests: finds commands and their arguments in a buffer, without copying and without reading a byte twice.
//!
//! ```text
//! *2\r\n $4\r\n ECHO\r\n $2\r\n hi\r\n      an array of bulk strings: what every client library sends
//! ECHO "hi"\r\n                             an inline command: what a person at a terminal sends
//! ```
//!
//! The caller owns the buffer. It calls [`Parser::parse`] with the bytes from the first byte of the oldest unfinished
//! command on, drops what a finished command `consumed`, and calls again. All state is relative to that first byte, so
//! the buffer may move or be compacted between calls.
//!
//! Deliberate differences from Redis, all on the strict side: the two bytes after a length and after a bulk string must
//! be CR LF (Redis skips them unseen, and so runs on with a client that has lost count); a length of more than
//! [`LENGTH_LINE_BYTES_MAX`] bytes is refused at once (Redis waits for 64 KiB); a NUL byte in an inline command is a
//! byte like any other (Redis waits for ever).

mod args;
mod error;
mod inline;
mod length;
mod limits;

pub use args::{Args, Request};
pub use error::ProtocolError;
pub use length::LENGTH_LINE_BYTES_MAX;
pub use limits::Limits;

use length::Length;

/// What [`Parser::parse`] found at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole command of at least one argument, in the first `consumed` bytes of the buffer.
    Command {
        /// Bytes of the command: the next one begins there.
        consumed: usize,
    },
    /// Nothing to execute and nothing to answer: a blank line, or an array of no (or a negative count of) strings.
    Empty {
        /// Bytes to drop.
        consumed: usize,
    },
    /// More bytes are needed. Call again with at least the same bytes and the same [`Args`].
    Incomplete,
}

/// Where in an unfinished command the parser is. One per connection; eight bytes.
#[derive(Debug, Default)]
pub struct Parser {
    /// Bytes of the command that are understood. In an array: up to the header of the next bulk string; in an inline
    /// command: bytes already searched for the end of the line.
    read_bytes: u32,
    /// Bulk strings still to come; 0 as long as the header of the array is not read.
    args_left: u32,
}

impl Parser {
    /// A parser at the start of a command.
    pub const fn new() -> Self {
        Self { read_bytes: 0, args_left: 0 }
    }

    /// Forgets an unfinished command: the next call starts at the first byte of a new one.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Whether a command has been begun and not finished by the calls so far.
    pub fn is_mid_command(&self) -> bool {
        self.read_bytes > 0 || self.args_left > 0
    }

    /// Looks for one command at the start of `buf`, whose first byte is the command's first byte.
    ///
    /// After [`Parsed::Command`], `args` holds the ranges of its arguments (read them with [`Args::bind`] or
    /// [`Args::get`] and the same buffer); they stay valid until the next call. After [`Parsed::Incomplete`], `args`
    /// holds the arguments so far and must come back unchanged.
    ///
    /// The result does not depend on how the bytes were cut into calls. Work and memory are proportional to bytes
    /// received, never to a length that the client claims.
    ///
    /// # Errors
    ///
    /// The stream cannot be understood from here on: report the error and close the connection.
    ///
    /// # Panics
    ///
    /// If bytes of an unfinished command are missing from the front of `buf`.
    #[inline]
    pub fn parse(&mut self, buf: &[u8], limits: &Limits, args: &mut Args) -> Result<Parsed, ProtocolError> {
        assert!(self.read_bytes as usize <= buf.len(), "bytes of an unfinished command were dropped");
        let parsed = match buf.first() {
            None => Ok(Parsed::Incomplete),
            Some(b'*') => self.parse_array(buf, limits, args),
            Some(_) => self.parse_inline(buf, limits, args),
        };
        if !matches!(parsed, Ok(Parsed::Incomplete)) {
            self.reset();
        }
        parsed
    }

    fn parse_array(&mut self, buf: &[u8], limits: &Limits, args: &mut Args) -> Result<Parsed, ProtocolError> {
        let mut at = self.read_bytes as usize;
        let mut left = self.args_left;
        if left == 0 {
            let (count, header_bytes) = match buf {
                [b'*', digit @ b'0'..=b'9', b'\r', b'\n', ..] => (i64::from(digit - b'0'), 4),
                _ => match length::read(buf) {
                    Length::Is { value, line_bytes } => (value, line_bytes),
                    Length::Unfinished => return Ok(Parsed::Incomplete),
                    Length::Invalid => return Err(ProtocolError::InvalidMultibulkLength),
                },
            };
            // Redis takes a negative count for an empty command.
            if count <= 0 {
                return Ok(Parsed::Empty { consumed: header_bytes });
            }
            if count > i64::from(limits.args_max) {
                return Err(limits.too_many_args());
            }
            left = count as u32;
            at = header_bytes;
            args.clear();
        }
        // Bulk strings that lie in this part and are shorter than 100 bytes are within the limits.
        let within: &[u8] = match limits.bulk_bytes_max {
            0..SHORT_BULK_BYTES => &[],
            _ => &buf[..buf.len().min(limits.command_bytes_max as usize)],
        };
        while left > 0 {
            if let Some((start, bulk_bytes)) = short_bulk(within, at) {
                // Both fit: the end is at most `command_bytes_max`, a u32.
                args.push(start as u32, bulk_bytes as u32);
                at = start + bulk_bytes + END_BYTES;
                left -= 1;
                continue;
            }
            let Some((bulk_bytes, header_bytes)) = read_bulk_header(&buf[at..])? else { break };
            if bulk_bytes > limits.bulk_bytes_max as usize {
                return Err(limits.too_long_bulk());
            }
            let start = at + header_bytes;
            let end = start + bulk_bytes;
            if end + END_BYTES > limits.command_bytes_max as usize {
                return Err(ProtocolError::TooBigCommand { bytes_max: limits.command_bytes_max });
            }
            match buf.get(end..end + END_BYTES) {
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::MissingBulkEnd),
                None => break,
            }
            // Both fit: `end` is at most `command_bytes_max`, a u32.
            args.push(start as u32, bulk_bytes as u32);
            at = end + END_BYTES;
            left -= 1;
        }
        if left == 0 {
            return Ok(Parsed::Command { consumed: at });
        }
        self.read_bytes = at as u32;
        self.args_left = left;
        Ok(Parsed::Incomplete)
    }

    fn parse_inline(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        args: &mut Args,
    ) -> Result<Parsed, ProtocolError> {
        let line_bytes_max = limits.inline_bytes_max as usize;
        let seen = self.read_bytes as usize;
        // The line itself may have `inline_bytes_max` bytes; its line feed is one more.
        let searched = buf.len().min(line_bytes_max + 1);
        let Some(found) = buf[seen.min(searched)..searched].iter().position(|&byte| byte == b'\n') else {
            if buf.len() > line_bytes_max {
                return Err(ProtocolError::TooBigInline);
            }
            self.read_bytes = buf.len() as u32;
            return Ok(Parsed::Incomplete);
        };
        let line_feed = seen + found;
        let line = &buf[..line_feed];
        inline::split(line.strip_suffix(b"\r").unwrap_or(line), limits, args)?;
        let consumed = line_feed + 1;
        Ok(if args.is_empty() { Parsed::Empty { consumed } } else { Parsed::Command { consumed } })
    }
}

/// A bulk string that needs no check of its limits has fewer bytes.
const SHORT_BULK_BYTES: u32 = 100;
/// Bytes of the CR LF behind a bulk string.
const END_BYTES: usize = 2;

/// Finds the whole bulk string at `at` in `buf` if its length has one digit or two, as nearly every argument's has: where it begins
/// and how many bytes it has. Anything else, and what is nearer to the end of `buf` than one word, is left to the other reader.
#[inline]
fn short_bulk(buf: &[u8], at: usize) -> Option<(usize, usize)> {
    const ONE: u64 = u64::from_le_bytes(*b"$\0\r\n\0\0\0\0");
    const ONE_MASK: u64 = u64::from_le_bytes(*b"\xff\0\xff\xff\0\0\0\0");
    const TWO: u64 = u64::from_le_bytes(*b"$\0\0\r\n\0\0\0");
    const TWO_MASK: u64 = u64::from_le_bytes(*b"\xff\0\0\xff\xff\0\0\0");
    let rest = buf.get(at..)?;
    let word = u64::from_le_bytes(*rest.first_chunk()?);
    let (first, second) = ((word >> 8) as u8, (word >> 16) as u8);
    let (header_bytes, bulk_bytes) = if word & TWO_MASK == TWO {
        // No length has a leading zero.
        if !matches!(first, b'1'..=b'9') || !second.is_ascii_digit() {
            return None;
        }
        (5, usize::from(first) * 10 + usize::from(second) - usize::from(b'0') * 11)
    } else if word & ONE_MASK == ONE && first.is_ascii_digit() {
        (4, usize::from(first - b'0'))
    } else {
        return None;
    };
    let end = header_bytes + bulk_bytes;
    (rest.get(end..end + END_BYTES)? == b"\r\n").then_some((at + header_bytes, bulk_bytes))
}

/// Reads `$<length>\r\n`: the length and the bytes of the header, or nothing yet.
#[cold]
fn read_bulk_header(rest: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    match rest.first() {
        None => return Ok(None),
        Some(b'$') => {}
        Some(&got) => return Err(ProtocolError::ExpectedBulk { got }),
    }
    match length::read(rest) {
        Length::Is { value, line_bytes } => match usize::try_from(value) {
            Ok(bulk_bytes) => Ok(Some((bulk_bytes, line_bytes))),
            Err(_) => Err(ProtocolError::InvalidBulkLength),
        },
        Length::Unfinished => Ok(None),
        Length::Invalid => Err(ProtocolError::InvalidBulkLength),
    }
}

#[cfg(test)]
mod tests;
