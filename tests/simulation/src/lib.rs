//! Deterministic simulation: clients, shards, sync threads, log, recovery and a disk that fails, in one thread, from a seed.
//!
//! The engine, the log group, the log, images and recovery are those that ship. What is made here is what the server makes of threads,
//! sockets and rings, and a model that knows nothing of either (`model`). A seed decides everything; the same seed gives the same
//! history, step by step.
//!
//! | module | one job |
//! | --- | --- |
//! | [`campaign`] | many seeds, with progress |
//! | [`history`] | one seed: a server started, used and ended again and again on one disk |
//! | [`plan`], [`dice`] | the shape of a history; chance, by subject |
//! | [`server`] | a server that takes steps |
//! | [`client`] | who asks, and asks again |
//! | [`model`] | what must be true |
//! | [`check`] | what must be there after a start |
//! | [`faults`], [`flip`], [`clock`] | what fails, what rots, what jumps |
//! | [`coverage`], [`trace`] | what was tried; what happens, line by line |

pub mod campaign;
pub mod check;
pub mod client;
pub mod clock;
pub mod coverage;
pub mod dice;
pub mod faults;
pub mod flip;
pub mod history;
pub mod model;
pub mod plan;
pub mod server;
pub mod trace;
pub mod world;
