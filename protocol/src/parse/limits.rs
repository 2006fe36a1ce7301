//! How much a client may send.

use super::ProtocolError;

/// Upper bounds on one command. Byte limits are u32, so that offsets within a command are too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one command, its name included.
    pub args_max: u32,
    /// Bytes of one argument.
    pub bulk_bytes_max: u32,
    /// Bytes of an inline command, without its line end.
    pub inline_bytes_max: u32,
    /// Bytes of one command, lengths and line ends included.
    pub command_bytes_max: u32,
    /// Whether the client has authenticated (or need not): which of Redis' two errors a limit is reported with.
    pub is_authenticated: bool,
}

impl Limits {
    /// For a client that has yet to authenticate: enough for `HELLO 3 AUTH user password SETNAME name`. Arguments and
    /// bytes of an argument as in Redis.
    pub const BEFORE_AUTH: Self = Self {
        args_max: 10,
        bulk_bytes_max: 16 << 10,
        inline_bytes_max: 16 << 10,
        command_bytes_max: 256 << 10,
        is_authenticated: false,
    };

    /// For everybody else.
    pub const DEFAULT: Self = Self {
        args_max: 1 << 20,
        bulk_bytes_max: 1 << 20,
        inline_bytes_max: 64 << 10,
        command_bytes_max: 64 << 20,
        is_authenticated: true,
    };

    pub(super) const fn too_many_args(&self) -> ProtocolError {
        if self.is_authenticated {
            ProtocolError::InvalidMultibulkLength
        } else {
            ProtocolError::UnauthenticatedMultibulkLength
        }
    }

    pub(super) const fn too_long_bulk(&self) -> ProtocolError {
        if self.is_authenticated {
            ProtocolError::InvalidBulkLength
        } else {
            ProtocolError::UnauthenticatedBulkLength
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
