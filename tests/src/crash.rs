//! Faults of the real server, each with a ledger of what was sent and acknowledged that is compared with what a restart brings back.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`kill`] | kill -9 at random moments, also of a start |
//! | [`power`] | a power cut of the file system (ext4, xfs) under the data directory |
//! | [`calls`] | system calls that fail or take long |
//! | [`full`] | a disk without room |
//! | [`load`], [`writer`], [`shown`], [`changes`] | the connections under which all this happens |
//! | [`entity`], [`findings`], [`outcome`] | the ledger, and what is found in it |
//! | [`mount`] | file systems of our own |

pub mod calls;
pub mod changes;
pub mod entity;
pub mod findings;
pub mod full;
pub mod kill;
pub mod load;
pub mod mount;
pub mod outcome;
pub mod power;
mod probe;
pub mod shown;
pub mod writer;
