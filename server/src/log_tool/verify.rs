//! `windrow log verify`: reads every log to its end and says what is there.

use std::io::{self, Write};
use std::path::Path;

use windrow_storage::{LogDamage, LogSurvey, OnCorruption, Reading};

use super::written;
use crate::error::ServerError;

#[derive(Default)]
struct Totals {
    logs: u64,
    operations: u64,
    needed: usize,
    older: usize,
}

pub(super) fn verify(dir: &Path, out: &mut dyn Write) -> Result<(), ServerError> {
    let recovery = super::open(dir, OnCorruption::Refuse)?;
    let mut totals = Totals::default();
    let mut outcome = Ok(());
    recovery.survey(Reading::default(), &mut |_| Ok(()), &mut |_, _| {}, &mut |log| {
        totals.logs += 1;
        totals.operations += log.report.operations;
        totals.needed += log.report.given_up.len();
        totals.older += log.report.older.len();
        if outcome.is_ok() {
            outcome = print(&log, out);
        }
    })?;
    let Totals { logs, operations, needed, older } = totals;
    if outcome.is_ok() {
        outcome = writeln!(out, "{operations} operations in {logs} logs");
    }
    written(outcome)?;
    recovery.check_beginning()?;
    if needed > 0 {
        return Err(ServerError::Config(format!(
            "the log is corrupt in {needed} places that a start may need: restore these files, or see what \
             `windrow log repair {}` would give up",
            dir.display()
        )));
    }
    if older > 0 {
        return Err(ServerError::Config(format!(
            "the log is damaged in {older} places, all of them older than the images: the server starts, and a \
             BACKFILL passes over them"
        )));
    }
    Ok(())
}

/// What is said of one log.
fn print(log: &LogSurvey, out: &mut dyn Write) -> io::Result<()> {
    let LogSurvey { epoch, shard, first_ops, last_ops, report } = log;
    write!(out, "epoch {epoch} shard {shard}: ")?;
    match first_ops {
        Some(first) => writeln!(out, "{} operations, {first} to {last_ops}", report.operations)?,
        None => writeln!(out, "no operations")?,
    }
    let kinds: [(&str, &[LogDamage]); 4] = [
        ("corrupt", &report.given_up),
        ("damaged, older than the images", &report.older),
        ("a torn end, nothing durable is missing", &report.torn),
        ("damaged, no operation was there", &report.harmless),
    ];
    for (kind, damages) in kinds {
        for damage in damages {
            writeln!(out, "  {kind}: {damage}")?;
        }
    }
    Ok(())
}
