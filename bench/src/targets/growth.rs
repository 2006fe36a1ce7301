//! C8: from no entities to many, and from one bucket to sixty.

use super::finding::{Bound, Reading, Unit};
use super::memory::FULL_BYTES;
use super::session::{Entrant, Member, Session, once};
use super::{Finding, Row};
use crate::error::BenchError;
use crate::report::grouped;
use crate::run::{self, Load, SWEEP_UNDER_WAY};
use crate::spread::Spread;
use crate::workload::{BUCKET_MS, FILL_BUCKETS, Mode};
use std::time::{SystemTime, UNIX_EPOCH};

/// Entities that fit into caches: what an event costs without misses.
const FEW_ENTITIES: u64 = 10_000;

/// Entities that get their next bucket in one request.
const STEP_ROWS: usize = 64;

/// Steps between two lines of progress.
const STEPS_SHOWN: u64 = 5;

/// Longest tick while entities are made.
const TICK_US_MAX: f64 = 500.0;

/// Bytes an entity, everything that the process holds included: 8.2 GB for ten million.
pub(super) const RESIDENT_BYTES: f64 = 820.0;

/// Grows a server, and compares it with one of few entities.
pub(super) fn measure(session: &mut Session<'_>) -> Result<(), BenchError> {
    let load = Load { entities: session.plan.large_entities, ..session.plan.load.clone() };
    let entities = load.entities;
    let large = session.start_windrow(1, &[])?;
    let newest_bucket = now_ms()? / BUCKET_MS;
    let bucket_ms = |step: u64| (newest_bucket + 1 - FILL_BUCKETS + step) * BUCKET_MS;

    session.say(&format!("C8 grow from 0 to {entities} entities of one bucket"));
    large.ask(&["CONFIG", "RESETSTAT"])?;
    let grown = run::step(&large.server, &load, bucket_ms(0), 1)?;
    let workload = format!(
        "growing from 0 to {} entities, at most {SWEEP_UNDER_WAY} events under way: longest tick",
        grouped(entities as f64)
    );
    let ticks = longest_tick_us(&large.ask(&["INFO", "everything"])?).and_then(once);
    session.findings.push(Finding {
        windrow: Reading::rates(&[grown]),
        ..Finding::value(Row::C8, &workload, Unit::Us, ticks, Some(Bound::AtMost(TICK_US_MAX)))
    });

    for step in 1..FILL_BUCKETS {
        let grown = run::step(&large.server, &load, bucket_ms(step), STEP_ROWS)?;
        if step % STEPS_SHOWN == 0 {
            let rate = grouped(grown.total.rate_per_s);
            session.say(&format!("C8 bucket {step} of {FILL_BUCKETS}, {rate} events/s"));
        }
    }
    note_bytes(session, &large, entities)?;
    compare_costs(session, &large, load)
}

fn note_bytes(session: &mut Session<'_>, large: &Member, entities: u64) -> Result<(), BenchError> {
    let shown = grouped(entities as f64);
    let bytes = once(large.bytes_an_entity(entities)?);
    let workload = format!("an entity, {shown} grown from 1 to 60 buckets in step");
    let bound = Some(Bound::AtMost(FULL_BYTES));
    session.findings.push(Finding::value(Row::C8, &workload, Unit::Bytes, bytes, bound));
    let resident = once(large.rss_bytes()? as f64);
    let workload = format!("{shown} entities full, resident in all");
    let bound = Some(Bound::AtMost(RESIDENT_BYTES * entities as f64));
    session.findings.push(Finding::value(Row::C7, &workload, Unit::Bytes, resident, bound));
    Ok(())
}

fn compare_costs(session: &mut Session<'_>, large: &Member, load: Load) -> Result<(), BenchError> {
    let few = Load { entities: FEW_ENTITIES.min(load.entities), ..load.clone() };
    let small = session.start_windrow(1, &[])?;
    session.fill(&small, &few, FILL_BUCKETS)?;
    let workload = format!("CPU time an event, pipeline 64, {} entities", grouped(load.entities as f64));
    let title = format!("{} entities", grouped(few.entities as f64));
    let entrants = [(large, load), (&small, few)].map(|(member, load)| Entrant {
        member,
        mode: Mode::Events,
        load: Load { pipeline: 64, ..load },
    });
    let rounds = session.turns(Row::C8, &workload, &entrants)?;
    let (many, few) = (&rounds[0], &rounds[1]);
    // Time an event: the inverse of events per CPU-second.
    let ratio = Spread::of_ratios(few, many, |round| round.rate_per_cpu_s);
    session.findings.push(Finding {
        windrow: Reading::rates(many),
        against: Some((title, Reading::rates(few))),
        ..Finding::value(Row::C8, &workload, Unit::Ratio, ratio, Some(Bound::AtMost(1.6)))
    });
    Ok(())
}

fn now_ms() -> Result<u64, BenchError> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    let unix = unix.map_err(|error| BenchError::Settings(format!("the clock is before 1970: {error}")))?;
    Ok(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX))
}

/// The longest tick of any shard, from INFO; none if it is not there.
fn longest_tick_us(info: &str) -> Option<f64> {
    let figures = info.split(['\r', '\n', ',', ':']).filter_map(|field| field.strip_prefix("tick_us_max="));
    figures.filter_map(|figure| figure.parse::<f64>().ok()).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_tick_is_that_of_the_slowest_shard() {
        let info = "# Shards\r\nshard0:connections=1,ticks=9,tick_us_max=120\r\nshard1:connections=0,tick_us_max=480,x=1\r\n";
        assert_eq!(longest_tick_us(info), Some(480.0));
        assert_eq!(longest_tick_us("# Server\r\nredis_version:7\r\n"), None);
    }
}
