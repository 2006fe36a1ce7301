//! What can go wrong with a run.

use std::io;
use thiserror::Error;

/// Everything a run can fail with. Error *replies* do not end a run; they are counted and make it fail at its end.
#[derive(Debug, Error)]
pub enum BenchError {
    /// A setting, or a combination of settings, that makes no sense.
    #[error("{0}")]
    Settings(String),
    /// A socket failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's words.
        source: io::Error,
    },
    /// The server closed a connection.
    #[error(
        "{addr} closed a connection with {in_flight} requests under way: it ended, or refused what it was sent; its log says why"
    )]
    Closed {
        /// The server.
        addr: String,
        /// Requests whose replies will not come.
        in_flight: usize,
    },
    /// The server keeps a count of requests from being sent.
    #[error(
        "{addr} sent nothing for {waited_s:.1} s with {in_flight} requests under way; if it needs longer, raise the drain time"
    )]
    Silent {
        /// The server.
        addr: String,
        /// How long it was waited for.
        waited_s: f64,
        /// Requests whose replies did not come.
        in_flight: usize,
    },
    /// What came back is no RESP.
    #[error("the reply is no RESP: {0}; does the server speak Redis' protocol there, without TLS?")]
    Protocol(#[from] windrow_client::scan::ScanError),
    /// A reply nobody asked for.
    #[error("{0} more bytes came than replies were asked for")]
    Unasked(usize),
    /// Ctrl-C, or the like.
    #[error("interrupted by {0}")]
    Interrupted(&'static str),
    /// Nobody reads standard output any more; nobody is told.
    #[error("nobody reads standard output any more")]
    ReaderGone,
    /// A server could not be prepared or started.
    #[error("{0}")]
    Server(String),
}

impl BenchError {
    /// Wraps an I/O error with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
