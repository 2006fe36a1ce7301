//! C6: latency of reads in an open loop while events come in pipelined.

use super::finding::{Bound, Percentile};
use super::rates::title;
use super::session::{Entrant, Member, Session};
use super::{Finding, Row};
use crate::arrivals::Spacing;
use crate::contender::Contender;
use crate::error::BenchError;
use crate::report::grouped;
use crate::run::{Background, Load};
use crate::workload::Mode;

/// What the machine allows, and Redis with the cheapest commands that it has: landmarks.
pub(super) const CONTENDERS: [Contender; 2] = [Contender::Null, Contender::Plain];

const READS_PER_S: f64 = 25_000.0;

const EVENTS_PER_S: f64 = 500_000.0;

/// Events that come in one go.
const EVENTS_TOGETHER: u32 = 64;

/// Connections that events come on.
const EVENT_CONNECTIONS: usize = 10;

/// Most reads under way on a connection; a server that keeps up is never near it.
const READS_UNDER_WAY: usize = 64;

/// Measures Windrow in turns with the landmarks.
pub(super) fn measure(
    session: &mut Session<'_>,
    windrow: &Member,
    others: &[Result<Member, (Contender, String)>],
) -> Result<(), BenchError> {
    let scale = session.plan.open_loop_scale;
    let (reads_per_s, events_per_s) = (READS_PER_S * scale, EVENTS_PER_S * scale);
    let events = Mode::Pipelined(EVENTS_TOGETHER as usize);
    let landmarks = others.iter().filter_map(|other| other.as_ref().ok());
    let landmarks = landmarks.filter(|member| CONTENDERS.contains(&member.contender));
    let mut entrants = Vec::new();
    for member in [windrow].into_iter().chain(landmarks) {
        let contender = member.contender;
        let (Some(mode), Some(background)) = (contender.mode(Mode::Reads), contender.mode(events)) else {
            continue;
        };
        let load = Load {
            pipeline: READS_UNDER_WAY,
            rate: Some((reads_per_s, Spacing::Poisson)),
            background: Some(Background {
                mode: background,
                rate_per_s: events_per_s / f64::from(EVENTS_TOGETHER),
                connections: EVENT_CONNECTIONS,
            }),
            ..session.plan.load.clone()
        };
        entrants.push(Entrant { member, mode, load });
    }
    let workload = format!("{} reads/s beside {} events/s", grouped(reads_per_s), grouped(events_per_s));
    let rounds = session.turns(Row::C6, &workload, &entrants)?;
    for (percentile, name, below_us) in
        [(Percentile::P99, "p99", 1000.0), (Percentile::P999, "p99.9", 2000.0)]
    {
        let workload = format!("{workload}: {name}");
        let bound = Some(Bound::Below(below_us));
        session.findings.push(Finding::latency(Row::C6, &workload, percentile, &rounds[0], bound));
        for (entrant, those) in entrants.iter().zip(&rounds).skip(1) {
            let against = (&*title(entrant.member.contender, entrant.mode), &those[..]);
            let landmark = Finding::latency_ratio(Row::C6, &workload, percentile, &rounds[0], against, None);
            session.findings.push(landmark);
        }
    }
    Ok(())
}
