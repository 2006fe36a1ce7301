//! `windrow log repair`: gives up what a corrupt log cannot give back, after it has said what that is.

use std::fmt;
use std::path::Path;

use windrow_storage::{OnCorruption, ReplayFrom};

use crate::error::ServerError;

/// What `windrow log repair` found, and did.
#[derive(Debug)]
pub struct Repair {
    /// Operations that can be read.
    pub operations: u64,
    /// Each damage to durable operations: the file, where, and what is wrong.
    pub given_up: Vec<String>,
    /// Whether the directory was changed.
    pub is_done: bool,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.given_up.is_empty() {
            return write!(f, "nothing to repair: {} operations can be read", self.operations);
        }
        let verb = if self.is_done { "gave up" } else { "would give up" };
        writeln!(f, "{verb} what follows this damage in its log; {} operations remain:", self.operations)?;
        for damage in &self.given_up {
            writeln!(f, "  {damage}")?;
        }
        f.write_str(if self.is_done {
            "The server starts on this directory again."
        } else {
            "Nothing was changed. Copy the directory first; then run this again with --yes."
        })
    }
}

/// Reads the log of a data directory that no server uses; with `confirmed`, gives up what follows damage to durable operations.
///
/// # Errors
/// When the directory is no data directory, is in use, or cannot be read or written.
pub fn repair(dir: &Path, confirmed: bool) -> Result<Repair, ServerError> {
    let recovery = super::open(dir, OnCorruption::GiveUp)?;
    // As a start would: what an image holds need not be read.
    let from = recovery.newest_whole_image().map(ReplayFrom::from);
    let has_lost_images = from.is_none() && !recovery.manifest().images.is_empty();
    let replayed = recovery.replay(from.as_ref(), &mut |_| Ok(()), &mut |_, _| {})?;
    let report = replayed.report();
    if has_lost_images && report.given_up.iter().any(|damage| damage.readable_ops == 0) {
        return Err(ServerError::Config(format!(
            "no image in {} is whole, and without one a log would be given up from its beginning: bring one back from a copy first",
            dir.join("images").display()
        )));
    }
    let given_up: Vec<String> = report.given_up.iter().map(ToString::to_string).collect();
    let (operations, now_ms) = (report.operations, report.latest_now_ms.unwrap_or(0));
    let is_done = confirmed && !given_up.is_empty();
    if is_done {
        // The next epoch records where the logs end now; what is behind is never read again.
        replayed.start(1, now_ms)?;
    }
    Ok(Repair { operations, given_up, is_done })
}
