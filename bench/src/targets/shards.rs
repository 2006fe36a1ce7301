//! C9: what it costs that half of the traffic is another shard's.

use super::finding::Bound;
use super::session::{Entrant, Member, Session};
use super::{Finding, Row};
use crate::error::BenchError;
use crate::run::Load;
use crate::workload::{FILL_BUCKETS, Mode};

/// Measures a server of two shards in turns with one of one shard, which is filled already. Keys are spread over hash
/// slots, so that half of what a connection sends is for the shard that it is not on.
pub(super) fn measure(session: &mut Session<'_>, one: &Member) -> Result<(), BenchError> {
    let two = session.start_windrow(2, &[])?;
    session.fill(&two, &session.plan.load, FILL_BUCKETS)?;
    for (mode, bound) in [(Mode::Events, Bound::AtLeast(0.75)), (Mode::Reads, Bound::AtLeast(0.9))] {
        let load = Load { pipeline: 64, ..session.plan.load.clone() };
        let workload = format!("{mode}, pipeline 64, two shards");
        let entrants = [&two, one].map(|member| Entrant { member, mode, load: load.clone() });
        let rounds = session.turns(Row::C9, &workload, &entrants)?;
        let against = ("one shard", &rounds[1][..]);
        session.findings.push(Finding::rate_ratio(Row::C9, &workload, &rounds[0], against, bound));
    }
    Ok(())
}
