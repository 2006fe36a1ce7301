//! Why a server does not start, or has ended.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use windrow_durability::start::StartError;
use windrow_engine::catalogue::CatalogueError;
use windrow_memory::MemoryError;
use windrow_storage::StorageError;

use crate::streams_file::StreamsFileError;

/// Everything that keeps a server from running.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// A setting that cannot work.
    Config(String),
    /// An address that cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a thread, a poll or a random number.
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The system gives no memory for records.
    Memory(MemoryError),
    /// The data directory cannot be used.
    Storage(StorageError),
    /// What is in the data directory cannot be loaded.
    Start(StartError),
    /// The catalogue in the manifest cannot be used.
    Catalogue(CatalogueError),
    /// The streams file cannot be used.
    Streams(StreamsFileError),
    /// The ACL file cannot be used.
    AclFile(String),
    /// A stream of the streams file cannot be made.
    StreamOfFile(String),
}

impl ServerError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| ServerError::System { what, source }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(reason) | Self::AclFile(reason) => f.write_str(reason),
            Self::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::System { what, source } => write!(f, "cannot get {what} from the system: {source}"),
            Self::Memory(error) => write!(f, "record memory: {error}"),
            Self::Storage(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
            Self::Catalogue(error) => write!(f, "the catalogue in the manifest: {error}"),
            Self::Streams(error) => error.fmt(f),
            Self::StreamOfFile(reason) => write!(f, "the streams file cannot be applied: {reason}"),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::System { source, .. } => Some(source),
            Self::Storage(error) => Some(error),
            Self::Start(error) => Some(error),
            Self::Catalogue(error) => Some(error),
            Self::Streams(error) => Some(error),
            Self::Memory(error) => Some(error),
            Self::Config(_) | Self::AclFile(_) | Self::StreamOfFile(_) => None,
        }
    }
}

impl From<StorageError> for ServerError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<CatalogueError> for ServerError {
    fn from(error: CatalogueError) -> Self {
        Self::Catalogue(error)
    }
}

impl From<StreamsFileError> for ServerError {
    fn from(error: StreamsFileError) -> Self {
        Self::Streams(error)
    }
}
