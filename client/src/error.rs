//! What can go wrong, as one enum, and the server's own error replies.

use crate::scan::ScanError;
use std::fmt;
use thiserror::Error;

/// Everything a call of this crate can fail with.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with an error reply. The connection goes on.
    #[error("the server refused: {0}")]
    Server(#[from] ServerError),

    /// No connection could be made, or its handshake failed.
    #[error("cannot connect to {addr}: {reason}")]
    Connect {
        /// The address as it was given.
        addr: String,
        /// What the operating system or the handshake said.
        reason: String,
    },

    /// The server refused the handshake of the first connection (wrong password, unknown protocol).
    #[error("{addr} refused the handshake: {error}")]
    Handshake {
        /// The address as it was given.
        addr: String,
        /// The server's words.
        error: ServerError,
    },

    /// The connection broke before the reply came. Nothing was sent again: an event may have been counted.
    ///
    /// To retry without counting twice, give events an id (`DEDUP` on the stream) or a source with sequence
    /// numbers; the retry is then answered [`Duplicate`](crate::EventReply::Duplicate) if the first try counted.
    #[error("the connection was lost before the reply ({reason}); {}",
        if *.maybe_applied { "the command may have been applied" } else { "the command was not applied" })]
    ConnectionLost {
        /// False: not all bytes of the command left this process, so the server cannot have executed it.
        maybe_applied: bool,
        /// Why the connection ended.
        reason: String,
    },

    /// No reply within the response timeout.
    #[error("no reply within {timeout_ms} ms ({state}); {}",
        if *.maybe_applied { "the command may have been applied" } else { "the command was not applied" })]
    Timeout {
        /// The response timeout that ran out.
        timeout_ms: u64,
        /// What the connection was doing: connected, or why it is not.
        state: String,
        /// False: the command was still waiting for its turn and has been withdrawn.
        maybe_applied: bool,
    },

    /// The client was shut down: its connection task has ended.
    #[error("the client is closed; make a new one")]
    Closed,

    /// The bytes received are no RESP, or beyond the limits.
    #[error("the server's reply cannot be understood: {0}")]
    Protocol(String),

    /// A reply is well formed but not of the shape this command answers with.
    #[error("unexpected reply: expected {expected}, got {got}")]
    UnexpectedReply {
        /// What the command's contract says.
        expected: &'static str,
        /// The reply, shortened.
        got: String,
    },

    /// An argument that the server would refuse, or that cannot be sent; nothing was sent.
    #[error("{0}")]
    InvalidArgument(String),
}

impl Error {
    /// The server's error reply, if this is one.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) | Self::Handshake { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The command may have taken effect although it failed here: the connection broke, or time ran out.
    pub fn maybe_applied(&self) -> bool {
        matches!(
            self,
            Self::ConnectionLost { maybe_applied: true, .. } | Self::Timeout { maybe_applied: true, .. }
        )
    }

    /// `-OOM`: `maxmemory` is reached; writes are refused, reads go on.
    pub fn is_oom(&self) -> bool {
        self.has_code(ErrorCode::Oom)
    }

    /// `-MISCONF`: the log cannot take writes; reads go on.
    pub fn is_misconf(&self) -> bool {
        self.has_code(ErrorCode::Misconf)
    }

    /// `-LOADING`: the server is starting up; ask again soon.
    pub fn is_loading(&self) -> bool {
        self.has_code(ErrorCode::Loading)
    }

    /// `-BUSY`: the one slot for this kind of work (a scan of all entities) is taken.
    pub fn is_busy(&self) -> bool {
        self.has_code(ErrorCode::Busy)
    }

    /// `-SEQGAP`: an earlier sequence number of this source is undecided and must be retried first.
    pub fn is_seq_gap(&self) -> bool {
        self.has_code(ErrorCode::SeqGap)
    }

    /// `-NOAUTH`, `-WRONGPASS` or `-NOPERM`: credentials are missing, wrong, or do not allow this.
    pub fn is_auth(&self) -> bool {
        [ErrorCode::NoAuth, ErrorCode::WrongPass, ErrorCode::NoPerm]
            .into_iter()
            .any(|code| self.has_code(code))
    }

    /// The same command may succeed later without any change to it, and was certainly not applied.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Server(error) => error.code().is_transient(),
            Self::ConnectionLost { maybe_applied, .. } | Self::Timeout { maybe_applied, .. } => {
                !maybe_applied
            }
            Self::Connect { .. } => true,
            _ => false,
        }
    }

    fn has_code(&self, code: ErrorCode) -> bool {
        self.server().is_some_and(|error| error.code() == code)
    }
}

impl From<ScanError> for Error {
    fn from(error: ScanError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// The first word of an error reply, which programs may rely on (the text behind it is for people).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `ERR`: wrong syntax, unknown stream, bad value, …
    Err,
    /// `OOM`: `maxmemory` reached.
    Oom,
    /// `MISCONF`: the log cannot take writes.
    Misconf,
    /// `LOADING`: starting up.
    Loading,
    /// `BUSY`: the one slot for this work is taken.
    Busy,
    /// `SEQGAP`: an earlier sequence number of the source must be retried first.
    SeqGap,
    /// `NOAUTH`: not authenticated.
    NoAuth,
    /// `WRONGPASS`: wrong user name or password.
    WrongPass,
    /// `NOPERM`: the user may not do this.
    NoPerm,
    /// `NOPROTO`: the protocol version is not supported.
    NoProto,
    /// Any other word.
    Other,
}

impl ErrorCode {
    fn parse(word: &str) -> Self {
        match word {
            "ERR" => Self::Err,
            "OOM" => Self::Oom,
            "MISCONF" => Self::Misconf,
            "LOADING" => Self::Loading,
            "BUSY" => Self::Busy,
            "SEQGAP" => Self::SeqGap,
            "NOAUTH" => Self::NoAuth,
            "WRONGPASS" => Self::WrongPass,
            "NOPERM" => Self::NoPerm,
            "NOPROTO" => Self::NoProto,
            _ => Self::Other,
        }
    }

    /// The cause passes by itself or by the operator's hand; the command itself is fine.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Oom | Self::Misconf | Self::Loading | Self::Busy)
    }
}

/// An error reply of the server: `-CODE text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    line: String,
}

impl ServerError {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { line: line.into() }
    }

    /// What programs may rely on.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::parse(self.code_text())
    }

    /// The first word as sent.
    pub fn code_text(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The text for people, without the code.
    pub fn message(&self) -> &str {
        self.line.split_once(' ').map_or("", |(_, text)| text)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(line: &str) -> Error {
        Error::Server(ServerError::new(line))
    }

    #[test]
    fn codes_are_recognised_by_predicates_not_by_text() {
        assert!(server("OOM command not allowed").is_oom());
        assert!(server("MISCONF no room for the log").is_misconf());
        assert!(server("LOADING 40 %").is_loading());
        assert!(server("BUSY another scan").is_busy());
        assert!(server("SEQGAP retry 7 first").is_seq_gap());
        for line in ["NOAUTH x", "WRONGPASS x", "NOPERM x"] {
            assert!(server(line).is_auth());
        }
        assert!(!server("ERR OOM is only mentioned").is_oom());
        assert_eq!(ServerError::new("ERR unknown stream").message(), "unknown stream");
    }

    #[test]
    fn only_what_was_certainly_not_applied_is_retryable() {
        let lost = |maybe_applied| Error::ConnectionLost { maybe_applied, reason: "reset".into() };
        assert!(lost(false).is_retryable() && !lost(false).maybe_applied());
        assert!(!lost(true).is_retryable() && lost(true).maybe_applied());
        assert!(server("LOADING").is_retryable());
        assert!(!server("ERR syntax").is_retryable());
    }
}
