//! C10: connections that are open and say nothing, beside busy ones.

use super::finding::{Bound, Unit};
use super::session::{Entrant, Session, once};
use super::{Finding, Row};
use crate::control::Control;
use crate::error::BenchError;
use crate::open_files::{self, OTHER_FILES};
use crate::run::Load;
use crate::workload::{FILL_BUCKETS, Mode};

/// The rate with and without idle connections, in turns, and the memory that the first of them take.
pub(super) fn measure(session: &mut Session<'_>) -> Result<(), BenchError> {
    let idle = session.plan.idle_connections;
    let load = Load { pipeline: 1, ..session.plan.load.clone() };
    // Before the start of the server, which inherits the limit.
    open_files::allow(idle + load.connections)?;
    let maxclients = (idle + load.connections + OTHER_FILES).to_string();
    let windrow = session.start_windrow(1, &["--maxclients", &maxclients])?;
    session.fill(&windrow, &load, FILL_BUCKETS)?;

    let workload = format!("events, pipeline 1, beside {idle} idle connections");
    let entrant = Entrant { member: &windrow, mode: Mode::Events, load };
    let (mut with, mut without, mut bytes_each) = (Vec::new(), Vec::new(), None);
    for round in 0..session.plan.rounds {
        without.push(session.measure(Row::C10, "events, pipeline 1", round, &entrant)?);
        let before = windrow.rss_bytes()?;
        let connections = (0..idle)
            .map(|_| {
                let mut control = Control::connect(&windrow.server.addr, &windrow.server.greeting)?;
                control.expect(&["PING"])?;
                Ok(control)
            })
            .collect::<Result<Vec<_>, BenchError>>()?;
        // Later rounds use the memory that the first has left behind.
        #[expect(clippy::cast_precision_loss, reason = "memory is below 2^53 bytes")]
        let grown = windrow.rss_bytes()?.saturating_sub(before) as f64 / idle.max(1) as f64;
        bytes_each.get_or_insert(grown);
        with.push(session.measure(Row::C10, &workload, round, &entrant)?);
        drop(connections);
    }
    let against = ("none idle", &without[..]);
    session.findings.push(Finding::rate_ratio(Row::C10, &workload, &with, against, Bound::AtLeast(0.9)));
    let bytes_each = bytes_each.and_then(once);
    let bound = Some(Bound::AtMost(4096.0));
    session.findings.push(Finding::value(Row::C10, "an idle connection", Unit::Bytes, bytes_each, bound));
    Ok(())
}
