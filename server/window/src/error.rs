//! What can be wrong with a definition or a query, with the values that are wrong in the message.

use std::fmt;

/// Why a stream definition is refused. Its `Display` is the message for the client, without an error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionError(pub(crate) String);

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DefinitionError {}

/// Why a read is refused. Its `Display` is the message for the client, without an error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// An option that is not one, lacks its value, or has a wrong one.
    Syntax(String),
    /// A feature that the stream does not keep.
    UnknownFeature(String),
    /// The window begins before what is kept.
    NotKept(String),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Syntax(message) | Self::UnknownFeature(message) | Self::NotKept(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for QueryError {}

/// What is wrong with words that claim to be a record's: it has not been made by adding events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt(pub(crate) String);

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Corrupt {}

/// Bytes of the client as text for a message: lossy, bounded.
pub(crate) fn quote(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]).escape_debug().to_string();
    if bytes.len() > SHOWN_MAX { format!("'{shown}…'") } else { format!("'{shown}'") }
}
