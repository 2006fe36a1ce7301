//! Why a stream of bytes is not a stream of commands.

use std::fmt;

/// The stream cannot be understood any further: reply `-ERR ` and this text, then close the connection. The words are
/// Redis' own wherever Redis has a word for it, since clients and their tests look for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// `*` is not followed by an integer, or by one above [`Limits::args_max`](super::Limits::args_max).
    InvalidMultibulkLength,
    /// `$` is not followed by an integer of 0 to [`Limits::bulk_bytes_max`](super::Limits::bulk_bytes_max).
    InvalidBulkLength,
    /// More arguments than are taken before authentication.
    UnauthenticatedMultibulkLength,
    /// A longer argument than is taken before authentication.
    UnauthenticatedBulkLength,
    /// An argument of an array is not a bulk string.
    ExpectedBulk {
        /// The byte in the place of `$`.
        got: u8,
    },
    /// The bytes of a bulk string are not followed by CR LF: its length is wrong.
    MissingBulkEnd,
    /// A command of more bytes than are taken in one piece.
    TooBigCommand {
        /// The limit.
        bytes_max: u32,
    },
    /// An inline command of more bytes than [`Limits::inline_bytes_max`](super::Limits::inline_bytes_max).
    TooBigInline,
    /// An inline command with an open quote, or with text right behind a closing one.
    UnbalancedQuotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match *self {
            Self::InvalidMultibulkLength => f.write_str("invalid multibulk length"),
            Self::InvalidBulkLength => f.write_str("invalid bulk length"),
            Self::UnauthenticatedMultibulkLength => f.write_str("unauthenticated multibulk length"),
            Self::UnauthenticatedBulkLength => f.write_str("unauthenticated bulk length"),
            Self::ExpectedBulk { got } if got == b' ' || got.is_ascii_graphic() => {
                write!(f, "expected '$', got '{}'", char::from(got))
            }
            Self::ExpectedBulk { got } => write!(f, "expected '$', got '\\x{got:02x}'"),
            Self::MissingBulkEnd => f.write_str("expected CRLF after a bulk string of the announced length"),
            Self::TooBigCommand { bytes_max } => {
                write!(f, "too big request: more than {bytes_max} bytes in one command, send several")
            }
            Self::TooBigInline => f.write_str("too big inline request"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
        }
    }
}

impl std::error::Error for ProtocolError {}
