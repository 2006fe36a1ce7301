//! The Windrow server: connections, routing, shard loops. The binary is `windrow`.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`server`] | starting and ending a server |
//! | [`config`] | the table of settings: command line, TOML, CONFIG |
//! | [`streams_file`] | stream definitions in TOML |
//! | [`clock`] | the server's clock |
//! | [`logging`] | messages to standard error |
//! | [`error`] | why a server does not run |
//! | [`demo`] | `windrow demo`: a server with real events in it |
//! | `shard` | a shard's thread: the phases of a tick |
//! | `connection` | one client's input, output, reply slots |
//! | `commands` | what each command does with its arguments |
//! | `timing` | how long commands take: SLOWLOG and LATENCY |
//! | `route` | batches, rings and credits between shards |
//! | `loader`, `replay`, `sync_thread` | from the log to shards, on all cores; syncing the log |
//! | `snapshot` | images while the server runs |
//! | [`anew`] | starting over when an image is found damaged |
//! | [`open_files`] | the limit of open files |
//! | `acl` | users, and what they may do |
//! | `admin` | changes of the catalogue |
//! | `backfill` | streams filled with earlier events, out of the log |
//! | `watchdog`, `affinity`, `shared` | stuck ticks; pinning; what all threads share |

mod acl;
mod admin;
mod adoption;
mod affinity;
pub mod anew;
mod backfill;
pub mod clock;
mod commands;
pub mod config;
mod connection;
pub mod demo;
pub mod error;
mod loader;
pub mod log_tool;
pub mod logging;
pub mod open_files;
mod populate;
mod replay;
mod route;
pub mod server;
mod shard;
mod shared;
mod snapshot;
pub mod streams_file;
mod sync_thread;
#[cfg(test)]
mod tests;
mod timing;
mod watchdog;

pub use config::Config;
pub use error::ServerError;
pub use server::{Running, Server};
