//! The Redis protocol as Windrow speaks it: bytes in, bytes out, nothing else.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`parse`] | requests: RESP arrays of bulk strings and inline commands, found in place in the caller's buffer |
//! | [`reply`] | replies in RESP2 and RESP3, appended to the caller's buffer |
//! | [`command`] | the one table of commands: arity, flags, keys, ACL categories, documentation, and what `COMMAND` answers from it |
//! | [`glob`] | Redis' glob patterns, as key patterns, `MATCH` and `CONFIG GET` take them; none of them is slow |
//!
//! What is absent: I/O, a clock, threads, unsafe code, any other crate of ours, and the meaning of arguments.

pub mod command;
pub mod glob;
pub mod parse;
pub mod reply;

pub use parse::{Args, Limits, Parsed, Parser, ProtocolError, Request};
pub use reply::Proto;
