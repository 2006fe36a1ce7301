//! D1: what the log costs. D2: what a snapshot costs while it is taken. D3: how long a start takes.

use super::finding::{Bound, Percentile, Reading, Unit};
use super::growth::RESIDENT_BYTES;
use super::session::{Entrant, Member, Session, once};
use super::{Finding, Row};
use crate::arrivals::Spacing;
use crate::control::Control;
use crate::cpu;
use crate::error::BenchError;
use crate::interrupt;
use crate::measure::Summary;
use crate::report::grouped;
use crate::run::{Background, Load};
use crate::spread::Spread;
use crate::workload::{Mode, STREAM};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Requests under way on each connection while the log is measured.
const LOG_PIPELINE: usize = 16;

/// Rates of row D2: those of C6.
const READS_PER_S: f64 = 25_000.0;
const EVENTS_PER_S: f64 = 500_000.0;
const EVENTS_TOGETHER: u32 = 64;
const EVENT_CONNECTIONS: usize = 10;

/// How often memory is looked at while a snapshot is taken.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// Longest wait for a snapshot, and for all chunks after a start.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Pause between looks at a server that starts.
const START_PAUSE: Duration = Duration::from_millis(1);

/// Of so many entities the first answers after a start are compared with those before.
const ANSWERS_COMPARED: u64 = 100;

/// The log: the three ways to sync it against no log at all.
pub(super) fn measure_log(session: &mut Session<'_>) -> Result<(), BenchError> {
    let mut members = Vec::new();
    for args in [
        &["--unlogged-for-measurement"][..],
        &["--appendfsync", "no"],
        &["--appendfsync", "everysec"],
        &["--appendfsync", "always"],
    ] {
        let args = [&["--shards", "1", "--save", "0"][..], args].concat();
        members
            .push(session.start(crate::contender::Contender::Windrow, &args)?.map_err(BenchError::Server)?);
    }
    for member in &members {
        session.fill(member, &session.plan.load, 1)?;
    }
    let load = Load { pipeline: LOG_PIPELINE, ..session.plan.load.clone() };
    let mode = Mode::Events;
    let entrants: Vec<Entrant<'_>> =
        members.iter().map(|member| Entrant { member, mode, load: load.clone() }).collect();
    let workload = format!("{mode}, pipeline {LOG_PIPELINE}");
    let rounds = session.turns(Row::D1, &workload, &entrants)?;
    let [unlogged, never, everysec, always] = &rounds[..] else { unreachable!("four servers take part") };
    let unlogged = ("no log at all", &unlogged[..]);
    let lines = [
        (format!("{workload}, everysec"), everysec, unlogged, 0.9, false),
        (format!("{workload}, everysec"), everysec, unlogged, 0.9, true),
        (format!("{workload}, no sync"), never, unlogged, 0.9, false),
        (format!("{workload}, always"), always, ("everysec", &everysec[..]), 0.85, true),
    ];
    for (workload, these, those, bound, is_plain) in lines {
        let ratio = if is_plain { Finding::plain_rate_ratio } else { Finding::rate_ratio };
        session.findings.push(ratio(Row::D1, &workload, these, those, Bound::AtLeast(bound)));
    }
    Ok(())
}

/// A snapshot of many entities while they are read and written, and a start from it.
pub(super) fn measure_images(session: &mut Session<'_>) -> Result<(), BenchError> {
    let plan = session.plan;
    let load = Load { entities: plan.large_entities, ..plan.load.clone() };
    let mut member = session.start_windrow(1, &["--save", "0", "--save-rate-limit", "0"])?;
    let filled = session.fill(&member, &load, plan.large_buckets)?;
    if plan.rows.contains(&Row::Capacity) {
        measure_capacity(session, &member, &load, filled)?;
    }
    if plan.rows.contains(&Row::D2) {
        measure_snapshot(session, &member, &load)?;
    }
    if plan.rows.contains(&Row::D3) {
        measure_start(session, &mut member, &load)?;
    }
    Ok(())
}

/// Bytes, ingest and reads of many entities.
fn measure_capacity(
    session: &mut Session<'_>,
    member: &Member,
    load: &Load,
    filled: Option<Summary>,
) -> Result<(), BenchError> {
    let row = Row::Capacity;
    let shown = grouped(load.entities as f64);
    let resident = once(member.rss_bytes()? as f64);
    let bound = Some(Bound::AtMost(RESIDENT_BYTES * load.entities as f64));
    let buckets = session.plan.large_buckets;
    let workload = format!("{shown} entities, {buckets} buckets full, resident in all");
    session.findings.push(Finding::value(row, &workload, Unit::Bytes, resident, bound));
    if let Some(filled) = filled {
        let rate = once(filled.total.rate_per_s);
        let workload = format!("events while they are filled, {buckets} in a command");
        session.findings.push(Finding::value(row, &workload, Unit::PerSecond, rate, None));
    }
    for (mode, pipeline) in [(Mode::Reads, 1), (Mode::Reads, 16), (Mode::Events, 16), (Mode::Mget(1000), 1)] {
        let load = Load { pipeline, ..load.clone() };
        let workload = format!("{mode}, pipeline {pipeline}, {shown} entities");
        let rounds = session.turns(row, &workload, &[Entrant { member, mode, load }])?;
        let rate = Spread::of_rounds(&rounds[0], |round| Some(round.total.rate_per_s));
        session.findings.push(Finding {
            windrow: Reading::rates(&rounds[0]),
            ..Finding::value(row, &workload, Unit::PerSecond, rate, None)
        });
        let percentile = Percentile::P99;
        session.findings.push(Finding::latency(
            row,
            &format!("{workload}: p99"),
            percentile,
            &rounds[0],
            None,
        ));
    }
    Ok(())
}

/// What is known of a snapshot.
struct Snapshot {
    /// Written in so many seconds.
    seconds: f64,
    bytes: f64,
    /// The most memory seen meanwhile.
    peak_bytes: u64,
}

fn measure_snapshot(session: &mut Session<'_>, member: &Member, load: &Load) -> Result<(), BenchError> {
    let scale = session.plan.open_loop_scale;
    let (reads_per_s, events_per_s) = (READS_PER_S * scale, EVENTS_PER_S * scale);
    let load = Load {
        pipeline: 64,
        rate: Some((reads_per_s, Spacing::Poisson)),
        background: Some(Background {
            mode: Mode::Pipelined(EVENTS_TOGETHER as usize),
            rate_per_s: events_per_s / f64::from(EVENTS_TOGETHER),
            connections: EVENT_CONNECTIONS,
        }),
        ..load.clone()
    };
    let workload = format!(
        "{} reads/s beside {} events/s, {} entities of {} buckets",
        grouped(reads_per_s),
        grouped(events_per_s),
        grouped(load.entities as f64),
        session.plan.large_buckets
    );
    let entrant = Entrant { member, mode: Mode::Reads, load };
    let (mut without, mut during, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..session.plan.rounds {
        without.push(session.measure(Row::D2, &workload, round, &entrant)?);
        let before_bytes = member.rss_bytes()?;
        let (snapshot, summary) =
            while_saving(member, || session.measure(Row::D2, &workload, round, &entrant))?;
        session.say(&format!(
            "D2 a snapshot of {:.0} bytes in {:.1} s, {} bytes more memory",
            snapshot.bytes,
            snapshot.seconds,
            snapshot.peak_bytes.saturating_sub(before_bytes)
        ));
        during.push(summary);
        snapshots.push((snapshot, before_bytes));
    }
    note_snapshot(session, &workload, &without, &during, &snapshots);
    Ok(())
}

/// Why the last snapshot came to nothing, if it did and none is being taken, by what INFO says.
fn save_failure(info: &str) -> Option<&str> {
    let field =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let is_over =
        field("rdb_bgsave_in_progress") == Some("0") && field("rdb_last_bgsave_status") == Some("err");
    is_over.then(|| field("image_failure").unwrap_or("INFO does not say why"))
}

/// Runs `body` while a snapshot is taken, over and over until it ends; waits for the last.
fn while_saving<T>(
    member: &Member,
    body: impl FnOnce() -> Result<T, BenchError>,
) -> Result<(Snapshot, T), BenchError> {
    let is_over = AtomicBool::new(false);
    let peak_bytes = AtomicU64::new(0);
    let began = member.info("rdb_saves")?;
    thread::scope(|scope| {
        let watcher = scope.spawn(|| -> Result<Snapshot, BenchError> {
            let started = Instant::now();
            let mut first = None;
            loop {
                member.ask(&["BGSAVE"])?;
                let saves = member.info("rdb_saves")?;
                while member.info("rdb_saves")? == saves {
                    if let Some(failure) = save_failure(&member.ask(&["INFO", "persistence"])?) {
                        return Err(BenchError::Server(format!("BGSAVE failed: {failure}")));
                    }
                    if started.elapsed() > WAIT_MAX {
                        return Err(BenchError::Server(format!("BGSAVE is not done after {WAIT_MAX:?}")));
                    }
                    peak_bytes.fetch_max(member.rss_bytes()?, Ordering::Relaxed);
                    thread::sleep(LOOK_PERIOD);
                }
                first.get_or_insert_with(|| started.elapsed().as_secs_f64());
                if is_over.load(Ordering::Acquire) {
                    break;
                }
            }
            let seconds = first.unwrap_or_default();
            Ok(Snapshot {
                seconds,
                bytes: member.info("image_bytes")?,
                peak_bytes: peak_bytes.load(Ordering::Relaxed),
            })
        });
        let outcome = body();
        is_over.store(true, Ordering::Release);
        let snapshot =
            watcher.join().map_err(|_| BenchError::Server("the thread that saves panicked".to_owned()))??;
        debug_assert!(member.info("rdb_saves")? > began, "a snapshot was taken");
        Ok((snapshot, outcome?))
    })
}

fn note_snapshot(
    session: &mut Session<'_>,
    workload: &str,
    without: &[Summary],
    during: &[Summary],
    snapshots: &[(Snapshot, u64)],
) {
    let percentile = Percentile::P999;
    let worst = without.iter().map(|round| percentile.of(round)).collect::<Vec<_>>();
    let bound = Spread::of(&worst).map(|without| Bound::AtMost(1.5 * without.median + 200.0));
    let mut finding =
        Finding::latency(Row::D2, &format!("{workload}: p99.9 during snapshots"), percentile, during, bound);
    let own = Spread::of(&worst).map_or(Reading::None, |without| Reading::LatencyUs(without.median));
    finding.against = Some(("without".to_owned(), own));
    finding.note = Some("at most 1.5 times that without, plus 0.2 ms".to_owned());
    session.findings.push(finding);
    let more: Vec<f64> = snapshots
        .iter()
        .map(|(snapshot, before_bytes)| {
            snapshot.peak_bytes.saturating_sub(*before_bytes) as f64 / *before_bytes as f64
        })
        .collect();
    let bound = Some(Bound::AtMost(0.03));
    session.findings.push(Finding::value(
        Row::D2,
        "memory beyond that before",
        Unit::Ratio,
        Spread::of(&more),
        bound,
    ));
    let speed: Vec<f64> = snapshots.iter().map(|(snapshot, _)| snapshot.bytes / snapshot.seconds).collect();
    let bound = Some(Bound::AtLeast(500e6));
    session.findings.push(Finding::value(
        Row::D2,
        "written under load",
        Unit::BytesPerSecond,
        Spread::of(&speed),
        bound,
    ));
}

/// Kills the server behind an image without a tail, and starts it with a cold cache.
fn measure_start(session: &mut Session<'_>, member: &mut Member, load: &Load) -> Result<(), BenchError> {
    let (mut first, mut speed) = (Vec::new(), Vec::new());
    for round in 0..session.plan.rounds {
        session.say("D3 SAVE");
        member.ask(&["SAVE"])?;
        let bytes = member.info("image_bytes")?;
        let expected = answers(member, load)?;
        let directory = member.process_mut().directory().to_path_buf();
        let started = member.process_mut().kill_and_start(|| forget_cache(&directory))?;
        member.server.pid = Some(member.process_mut().pid());
        let answer_s = first_answer(member, load, started)?;
        let adopted_s = all_adopted(member, started)?;
        session.say(&format!(
            "D3 round {}: first answer after {answer_s:.2} s, all of {bytes:.0} bytes after {adopted_s:.2} s",
            round + 1
        ));
        if answers(member, load)? != expected {
            session.complaints.push("D3: answers after the start are not those before".to_owned());
        }
        first.push(answer_s * 1e6);
        speed.push(bytes / (adopted_s - answer_s).max(0.001));
    }
    let workload = format!(
        "start with {} entities of {} buckets, cold cache, no tail: first answer",
        grouped(load.entities as f64),
        session.plan.large_buckets
    );
    let bound = Some(Bound::AtMost(1e6));
    session.findings.push(Finding::value(Row::D3, &workload, Unit::Us, Spread::of(&first), bound));
    let bound = Some(Bound::AtLeast(2e9));
    let workload = "chunks adopted meanwhile";
    session.findings.push(Finding::value(Row::D3, workload, Unit::BytesPerSecond, Spread::of(&speed), bound));
    let resident = once(member.rss_bytes()? as f64);
    session.findings.push(Finding::value(Row::D3, "resident after the start", Unit::Bytes, resident, None));
    Ok(())
}

fn key(load: &Load, entity: u64) -> Result<String, BenchError> {
    Ok(load.check()?.key(entity))
}

/// The lifetime of nothing changes between the look before and the look after but time: counts of an hour that ended before.
fn answers(member: &Member, load: &Load) -> Result<Vec<String>, BenchError> {
    let mut control = Control::connect(&member.server.addr, &member.server.greeting)?;
    let compared = ANSWERS_COMPARED.min(load.entities);
    (0..compared)
        .map(|at| {
            let entity = key(load, at * (load.entities / compared))?;
            control.expect(&["ENTITY.INFO", &entity, STREAM])
        })
        .collect()
}

/// Seconds until the server answers a read.
fn first_answer(member: &Member, load: &Load, started: Instant) -> Result<f64, BenchError> {
    let entity = key(load, load.entities / 2)?;
    while started.elapsed() < WAIT_MAX {
        if let Ok(mut control) = Control::connect(&member.server.addr, &member.server.greeting)
            && control.expect(&["WINDOW.GET", &entity, STREAM, "count:1h"]).is_ok()
        {
            return Ok(started.elapsed().as_secs_f64());
        }
        interrupt::check()?;
        thread::sleep(START_PAUSE);
    }
    Err(BenchError::Server(format!("the server does not answer {WAIT_MAX:?} after its start")))
}

/// Seconds until every chunk of the image is memory.
fn all_adopted(member: &Member, started: Instant) -> Result<f64, BenchError> {
    while started.elapsed() < WAIT_MAX {
        if member.info("image_chunks_pending")? == 0.0 {
            return Ok(started.elapsed().as_secs_f64());
        }
        thread::sleep(LOOK_PERIOD);
    }
    Err(BenchError::Server(format!("chunks are pending {WAIT_MAX:?} after the start")))
}

/// Has the system forget what it keeps of the files below a directory.
fn forget_cache(directory: &Path) -> Result<(), BenchError> {
    for entry in std::fs::read_dir(directory).map_err(BenchError::io("list the data directory"))? {
        let path = entry.map_err(BenchError::io("list the data directory"))?.path();
        if path.is_dir() {
            forget_cache(&path)?;
        } else {
            cpu::forget_cached(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::save_failure;

    #[test]
    fn a_snapshot_that_failed_is_not_waited_for() {
        let info = |running, status| {
            format!(
                "rdb_bgsave_in_progress:{running}\r\nrdb_last_bgsave_status:{status}\r\nimage_failure:the disk is full\r\n"
            )
        };
        assert_eq!(save_failure(&info(0, "err")), Some("the disk is full"));
        assert_eq!(save_failure(&info(1, "err")), None, "the next one is under way");
        assert_eq!(save_failure(&info(0, "ok")), None);
    }
}
