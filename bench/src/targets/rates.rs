//! C1 to C5: rates of events and reads, against contenders that get the same load in the same turns.

use super::finding::{Bound, Percentile, Reading, Unit};
use super::session::{Entrant, Member, Session};
use super::{Finding, Row};
use crate::contender::Contender;
use crate::entities::Distribution;
use crate::error::BenchError;
use crate::run::Load;
use crate::spread::Spread;
use crate::workload::Mode;

/// Rows in the one large MGET whose latency counts.
const LARGE_MGET_ROWS: usize = 10_000;

/// A workload, and what it must reach against whom.
struct Contest {
    row: Row,
    mode: Mode,
    pipeline: usize,
    distribution: Distribution,
    against: &'static [(Contender, Bound)],
    /// What p99 over that of [`Contender::Plain`] may be.
    p99: Option<Bound>,
}

const ZIPF: Distribution = Distribution::Zipf { theta: 0.99 };

const EVENTS_64: &[(Contender, Bound)] = &[
    (Contender::Zset, Bound::AtLeast(10.0)),
    (Contender::Ts, Bound::AtLeast(7.0)),
    (Contender::Null, Bound::AtLeast(0.4)),
];

#[rustfmt::skip]
const CONTESTS: [Contest; 7] = [
    contest(Row::C1, Mode::Events, 64, Distribution::Uniform, EVENTS_64),
    contest(Row::C1, Mode::Events, 64, ZIPF, EVENTS_64),
    contest(Row::C2, Mode::Events, 1, Distribution::Uniform, &[(Contender::Null, Bound::AtLeast(0.9)), (Contender::Plain, Bound::AtLeast(1.0))]),
    contest(Row::C3, Mode::Madd(64), 1, Distribution::Uniform, &[(Contender::Null, Bound::AtLeast(0.5))]),
    Contest {
        p99: Some(Bound::AtMost(1.0)),
        ..contest(Row::C4, Mode::Reads, 1, Distribution::Uniform, &[(Contender::Null, Bound::AtLeast(0.9))])
    },
    contest(Row::C4, Mode::Reads, 16, Distribution::Uniform, &[(Contender::Plain, Bound::AtLeast(1.0))]),
    contest(Row::C4, Mode::Reads, 64, Distribution::Uniform, &[(Contender::Plain, Bound::AtLeast(2.0))]),
];

const fn contest(
    row: Row,
    mode: Mode,
    pipeline: usize,
    distribution: Distribution,
    against: &'static [(Contender, Bound)],
) -> Contest {
    Contest { row, mode, pipeline, distribution, against, p99: None }
}

/// Whom these rows need beside Windrow.
pub(super) fn contenders(rows: &[Row]) -> Vec<Contender> {
    let mut needed: Vec<Contender> = Vec::new();
    for contest in CONTESTS.iter().filter(|contest| rows.contains(&contest.row)) {
        let p99 = contest.p99.map(|_| Contender::Plain);
        for contender in contest.against.iter().map(|(contender, _)| *contender).chain(p99) {
            if !needed.contains(&contender) {
                needed.push(contender);
            }
        }
    }
    needed
}

/// C1 to C4: one row's contests.
pub(super) fn measure(
    session: &mut Session<'_>,
    row: Row,
    windrow: &Member,
    others: &[Result<Member, (Contender, String)>],
) -> Result<(), BenchError> {
    for contest in CONTESTS.iter().filter(|contest| contest.row == row) {
        measure_contest(session, contest, windrow, others)?;
    }
    Ok(())
}

fn measure_contest(
    session: &mut Session<'_>,
    contest: &Contest,
    windrow: &Member,
    others: &[Result<Member, (Contender, String)>],
) -> Result<(), BenchError> {
    let Contest { row, mode, pipeline, distribution, against, p99 } = *contest;
    let workload = match distribution {
        Distribution::Uniform => format!("{mode}, pipeline {pipeline}"),
        skewed => format!("{mode}, pipeline {pipeline}, {skewed}"),
    };
    let load = Load { pipeline, distribution, ..session.plan.load.clone() };
    let takes_part = |contender: Contender| {
        against.iter().any(|(other, _)| *other == contender)
            || (p99.is_some() && contender == Contender::Plain)
    };
    let mut entrants = vec![Entrant { member: windrow, mode, load: load.clone() }];
    for member in others.iter().filter_map(|other| other.as_ref().ok()) {
        if let Some(mode) = member.contender.mode(mode).filter(|_| takes_part(member.contender)) {
            entrants.push(Entrant { member, mode, load: load.clone() });
        }
    }
    let rounds = session.turns(row, &workload, &entrants)?;
    let of = |contender: Contender| {
        let at = entrants.iter().position(|entrant| entrant.member.contender == contender)?;
        Some((title(contender, entrants[at].mode), &rounds[at][..]))
    };
    let mut findings = Vec::new();
    for &(contender, bound) in against {
        findings.push(match of(contender) {
            Some((title, those)) => Finding::rate_ratio(row, &workload, &rounds[0], (&title, those), bound),
            None => {
                let why =
                    others.iter().find_map(|other| other.as_ref().err().filter(|(of, _)| *of == contender));
                let why = why.map_or("it takes no part", |(_, why)| why);
                Finding::absent(row, &workload, contender.title(), bound, why)
            }
        });
    }
    if let (Some(bound), Some((title, those))) = (p99, of(Contender::Plain)) {
        let workload = format!("{workload}: p99");
        let against = (&title[..], those);
        let bound = Some(bound);
        findings.push(Finding::latency_ratio(row, &workload, Percentile::P99, &rounds[0], against, bound));
    }
    session.findings.extend(findings);
    Ok(())
}

/// "Redis GET" rather than "Redis SET/GET".
pub(super) fn title(contender: Contender, mode: Mode) -> String {
    match (contender, mode) {
        (Contender::Plain, Mode::Get) => "Redis GET".to_owned(),
        (Contender::Plain, _) => "Redis SET".to_owned(),
        (contender, _) => contender.title().to_owned(),
    }
}

/// C5: rows of MGET per CPU-second, and the latency of a large one.
pub(super) fn measure_mget(session: &mut Session<'_>, windrow: &Member) -> Result<(), BenchError> {
    let load = Load { pipeline: 1, ..session.plan.load.clone() };
    let (mode, workload) = (Mode::Mget(1000), "mget:1000, rows");
    let rounds = session
        .turns(Row::C5, workload, &[Entrant { member: windrow, mode, load: load.clone() }])?
        .swap_remove(0);
    let per_cpu_s = Spread::of_rounds(&rounds, |round| round.rate_per_cpu_s);
    let per_s = || Spread::of_rounds(&rounds, |round| Some(round.total.rate_per_s));
    let unit = if per_cpu_s.is_some() { Unit::PerCpuSecond } else { Unit::PerSecond };
    let bound = Some(Bound::AtLeast(3e6));
    session.findings.push(Finding {
        windrow: Reading::rates(&rounds),
        ..Finding::value(Row::C5, workload, unit, per_cpu_s.or_else(per_s), bound)
    });

    let (mode, workload) = (Mode::Mget(LARGE_MGET_ROWS), format!("mget:{LARGE_MGET_ROWS}, one at a time"));
    let load = Load { connections: 1, ..load };
    let rounds =
        session.turns(Row::C5, &workload, &[Entrant { member: windrow, mode, load }])?.swap_remove(0);
    for (percentile, name, bound) in
        [(Percentile::P50, "p50", None), (Percentile::P99, "p99", Some(Bound::AtMost(5000.0)))]
    {
        let workload = format!("{workload}: {name}");
        session.findings.push(Finding::latency(Row::C5, &workload, percentile, &rounds, bound));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_are_needed_are_started() {
        assert_eq!(contenders(&[Row::C5]), []);
        assert_eq!(contenders(&[Row::C4]), [Contender::Null, Contender::Plain]);
        assert_eq!(
            contenders(&[Row::C1, Row::C2]),
            [Contender::Zset, Contender::Ts, Contender::Null, Contender::Plain]
        );
    }
}
