//! What the end-to-end tests share: the real binary under test ([`server`]), a connection that shows every byte
//! ([`resp`]), the naive model of the specification ([`oracle`]), the real events ([`commits`]), faults with a ledger ([`crash`]) and seeds
//! that can be repeated ([`seed`]).
//!
//! The tests themselves stand in `tests/e2e/` (Rust), `python/` and `node/`; `./test` at the top runs them all.

pub mod commits;
pub mod crash;
pub mod oracle;
pub mod resp;
pub mod seed;
pub mod server;
