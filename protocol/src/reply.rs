//! Replies: each function appends one value, or the header of a collection, to a buffer.
//!
//! Functions that take a [`Proto`] write different bytes in RESP2 and RESP3; the others write the same in both.
//! Formats: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//!
//! | value | RESP2 | RESP3 |
//! | --- | --- | --- |
//! | null, null array | `$-1`, `*-1` | `_` |
//! | double | bulk string | `,1.5` |
//! | boolean | `:1` | `#t` |
//! | map of n pairs | `*2n` | `%n` |
//! | set, push of n | `*n` | `~n`, `>n` |
//! | verbatim text | bulk string | `=15\r\ntxt:Some string` |

mod number;

pub use number::format_f64;

use std::fmt::{self, Write};

/// An error reply is cut to so many bytes, `-` and line end not counted.
pub const ERROR_BYTES_MAX: usize = 1024;

/// `+OK\r\n`.
pub const OK: &[u8] = b"+OK\r\n";

/// The version of the protocol that a connection has chosen with `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// A simple string, such as `OK`. A line end in `text` becomes a space.
#[inline]
pub fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    line(out, text);
}

/// An error. `text` begins with its code: `ERR no such stream 'x'`. Line ends become spaces, and what exceeds
/// [`ERROR_BYTES_MAX`] is cut.
pub fn error(out: &mut Vec<u8>, text: &str) {
    error_display(out, text);
}

/// An error whose text is formatted straight into the reply: `format_args!("ERR {problem}")`.
pub fn error_display(out: &mut Vec<u8>, text: impl fmt::Display) {
    out.push(b'-');
    let mut sink = ErrorText { left_bytes: ERROR_BYTES_MAX, out };
    // The sink itself never fails; a Display that does has still written what could be said.
    let _ = write!(sink, "{text}");
    out.extend_from_slice(b"\r\n");
}

/// An integer.
#[inline]
pub fn integer(out: &mut Vec<u8>, value: i64) {
    header(out, b':', value);
}

/// A floating-point number, exact: it reads back to the same f64 (but −0 is written as 0). See [`format_f64`].
pub fn double(out: &mut Vec<u8>, proto: Proto, value: f64) {
    let mut text = number::F64Text::new();
    let text = text.format(value);
    match proto {
        Proto::Resp2 => bulk(out, text.as_bytes()),
        Proto::Resp3 => {
            out.push(b',');
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A bulk string: any bytes.
#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', length(bytes.len()));
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// No value.
#[inline]
pub fn null(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"$-1\r\n",
        Proto::Resp3 => b"_\r\n",
    });
}

/// No value where an array would stand.
#[inline]
pub fn null_array(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"*-1\r\n",
        Proto::Resp3 => b"_\r\n",
    });
}

/// The header of an array: `len` values follow.
#[inline]
pub fn array(out: &mut Vec<u8>, len: usize) {
    header(out, b'*', length(len));
}

/// The header of a map: `len` pairs follow, key then value.
#[inline]
pub fn map(out: &mut Vec<u8>, proto: Proto, len: usize) {
    match proto {
        Proto::Resp2 => header(out, b'*', length(len) * 2),
        Proto::Resp3 => header(out, b'%', length(len)),
    }
}

/// The header of a set: `len` values follow.
#[inline]
pub fn set(out: &mut Vec<u8>, proto: Proto, len: usize) {
    header(out, if proto == Proto::Resp3 { b'~' } else { b'*' }, length(len));
}

/// The header of a message that is not a reply: `len` values follow, the first of which is its kind.
#[inline]
pub fn push(out: &mut Vec<u8>, proto: Proto, len: usize) {
    header(out, if proto == Proto::Resp3 { b'>' } else { b'*' }, length(len));
}

/// A truth value.
#[inline]
pub fn boolean(out: &mut Vec<u8>, proto: Proto, value: bool) {
    out.extend_from_slice(match (proto, value) {
        (Proto::Resp2, true) => b":1\r\n",
        (Proto::Resp2, false) => b":0\r\n",
        (Proto::Resp3, true) => b"#t\r\n",
        (Proto::Resp3, false) => b"#f\r\n",
    });
}

/// Text for people: clients show it as it is. `format` is its three letters, `txt` or `mkd`.
pub fn verbatim(out: &mut Vec<u8>, proto: Proto, format: [u8; 3], text: &[u8]) {
    match proto {
        Proto::Resp2 => bulk(out, text),
        Proto::Resp3 => {
            debug_assert!(format.iter().all(u8::is_ascii_alphanumeric));
            header(out, b'=', length(text.len()) + 4);
            out.extend_from_slice(&format);
            out.push(b':');
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// No buffer in memory is longer than `isize::MAX`.
#[inline]
fn length(len: usize) -> i64 {
    debug_assert!(i64::try_from(len).is_ok());
    len as i64
}

/// `marker`, `value`, line end.
#[inline]
fn header(out: &mut Vec<u8>, marker: u8, value: i64) {
    if let 0..=9 = value {
        out.extend_from_slice(&[marker, b'0' + value as u8, b'\r', b'\n']);
    } else if let 10..=99 = value {
        let value = value as u8;
        out.extend_from_slice(&[marker, b'0' + value / 10, b'0' + value % 10, b'\r', b'\n']);
    } else {
        out.push(marker);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// `text` and a line end, with any line end within replaced.
#[inline]
fn line(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    blank_line_ends(&mut out[start..]);
    out.extend_from_slice(b"\r\n");
}

/// Nothing in a line may end it: what follows would be read as the next reply.
fn blank_line_ends(text: &mut [u8]) {
    for byte in text {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}

/// Takes formatted text, without line ends, up to a bound.
struct ErrorText<'a> {
    left_bytes: usize,
    out: &'a mut Vec<u8>,
}

impl Write for ErrorText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut taken = text.len().min(self.left_bytes);
        while !text.is_char_boundary(taken) {
            taken -= 1;
        }
        // Once something was cut, nothing that comes later may close the gap.
        self.left_bytes = if taken < text.len() { 0 } else { self.left_bytes - taken };
        let start = self.out.len();
        self.out.extend_from_slice(&text.as_bytes()[..taken]);
        blank_line_ends(&mut self.out[start..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
