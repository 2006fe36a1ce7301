//! C7: resident memory for each entity, key and index included.

use super::finding::{Bound, Unit};
use super::session::{Member, Session, once};
use super::{Finding, Row};
use crate::error::BenchError;

/// Buckets of an entity that is seen now and then.
const FEW_BUCKETS: u64 = 3;

/// Most bytes an entity with few buckets.
const FEW_BUCKETS_BYTES: f64 = 200.0;

/// Most bytes an entity with every bucket full.
pub(super) const FULL_BYTES: f64 = 800.0;

/// Entities with few buckets, on a server of their own.
pub(super) fn measure_few_buckets(session: &mut Session<'_>) -> Result<(), BenchError> {
    let windrow = session.start_windrow(1, &[])?;
    session.fill(&windrow, &session.plan.load, FEW_BUCKETS)?;
    note(session, &windrow, &format!("an entity, {FEW_BUCKETS} buckets"), FEW_BUCKETS_BYTES)
}

/// Entities with every bucket full, on a server that has just been filled.
pub(super) fn note_full_records(session: &mut Session<'_>, windrow: &Member) -> Result<(), BenchError> {
    note(session, windrow, "an entity, 60 full buckets", FULL_BYTES)
}

fn note(session: &mut Session<'_>, windrow: &Member, what: &str, bytes_max: f64) -> Result<(), BenchError> {
    let bytes = once(windrow.bytes_an_entity(session.plan.load.entities)?);
    let bound = Some(Bound::AtMost(bytes_max));
    session.findings.push(Finding::value(Row::C7, what, Unit::Bytes, bytes, bound));
    Ok(())
}
