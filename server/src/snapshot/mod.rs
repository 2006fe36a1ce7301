//! Images while the server runs: who asks for one, who writes it, and what is known of those that are there.
//!
//! | file | what it does |
//! | --- | --- |
//! | `saving` | what other threads ask for and see |
//! | `thread` | the snapshot thread: when an image is written |
//! | `write` | one image, from its start positions to the manifest |
//! | `pace` | how fast, so that nobody notices and it is done in the end |
//! | `room` | whether the disk has room for it, and for the log meanwhile |
//! | `tries` | when the next one may be tried |

mod pace;
mod room;
mod saving;
mod thread;
mod tries;
mod write;

pub(crate) use room::{FreeSpace, free_bytes};
pub(crate) use saving::{EndWith, NewestImage, SaveRequest, Saving};
pub(crate) use thread::run;
pub(crate) use write::{Loans, SnapshotQuestion};
