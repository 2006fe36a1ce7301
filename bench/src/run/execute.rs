//! One run: everything is made ready, then the clock starts and with it the threads.

use super::watch::{total, watch};
use super::{LanePlan, Load, Schedule, Server};
use crate::arrivals::Arrivals;
use crate::control::Control;
use crate::entities::{EntitySource, Order};
use crate::error::BenchError;
use crate::measure::{Machine, Measured, Summary};
use crate::open_files;
use crate::progress::Progress;
use crate::template::{Draw, IDS};
use crate::worker::{Job, Lane, Pace, Phases, RunClock, Worker, ns};
use crate::workload::Workload;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A run's ids begin one further for each such time: no thread sends as many as 10 million events a second.
const ID_NS: u128 = 100;

pub(super) fn execute(
    server: &Server,
    workload: &Workload,
    load: &Load,
    schedule: &Schedule,
    entities: Option<Vec<EntitySource>>,
    title: &str,
) -> Result<Summary, BenchError> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let draws = draws(workload, load, entities, unix.as_nanos())?;
    open_files::allow(schedule.groups.iter().sum())?;
    let mut groups = Vec::with_capacity(schedule.groups.len());
    for &count in &schedule.groups {
        groups.push(share_out(connect(server, count)?, load.threads));
    }
    let progress = AtomicU64::new(0);
    let ended = AtomicUsize::new(0);
    let phases = phases(load);
    let mut workers = Vec::with_capacity(load.threads);
    for (n, draw) in draws.into_iter().enumerate() {
        let seed = load.seed.wrapping_add(n as u64 + 1);
        let streams = groups.iter_mut().map(|group| std::mem::take(&mut group[n])).collect();
        let pace = match lanes(load, schedule, seed) {
            lanes if lanes.is_empty() => Pace::Closed,
            lanes => Pace::Open(lanes),
        };
        let requests_max = load.requests.map_or(u64::MAX, |all| share(all, n, load.threads));
        let job = Job {
            addr: &server.addr,
            workload,
            pipeline: load.pipeline,
            pace,
            phases: Phases { requests_max, ..phases },
            draw,
            seed,
            progress: &progress,
        };
        workers.push(Worker::new(job, streams)?);
    }
    // The clock starts when everything is ready: what it took is no part of the run.
    let clock = RunClock::start();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for worker in workers {
            let (watcher, ended) = (thread::current(), &ended);
            threads.push(scope.spawn(move || {
                let outcome = worker.run(clock);
                ended.fetch_add(1, Ordering::Release);
                watcher.unpark();
                outcome
            }));
        }
        let mut bar = Progress::new(title, total(load, workload, phases));
        let watched = watch(server, load, &clock, phases, &progress, &mut bar, || {
            // The count is there when the watcher is woken; a thread that panicked is not in it.
            ended.load(Ordering::Acquire) == load.threads
                || threads.iter().all(thread::ScopedJoinHandle::is_finished)
        });
        bar.finish();
        let mut measured = Measured::new(workload.requests.len());
        for thread in threads {
            let part =
                thread.join().map_err(|_| BenchError::Server("a thread of the generator panicked".into()))?;
            measured.merge(part?);
        }
        let (server, generator) = watched?;
        // Threads keep to the phases; only a count of requests ends when it ends.
        let span = load.requests.map_or(load.duration, |_| Duration::from_nanos(measured.finished_ns));
        Ok(Summary::new(&measured, workload, Machine { seconds: span.as_secs_f64(), server, generator }))
    })
}

/// What each thread draws from: the entities first, then what the workload has beside them. Without entities, as in a
/// workload file, whose entities are names as all others are, a space that nobody draws from stands in front.
pub(crate) fn draws(
    workload: &Workload,
    load: &Load,
    entities: Option<Vec<EntitySource>>,
    unix_ns: u128,
) -> Result<Vec<Draw>, BenchError> {
    let nobodys = || vec![EntitySource::sequential(0, 1); load.threads];
    let mut of_threads: Vec<Vec<EntitySource>> =
        entities.unwrap_or_else(nobodys).into_iter().map(|entities| vec![entities]).collect();
    for (at, space) in workload.spaces.iter().enumerate() {
        let seed = load.seed.wrapping_mul(1_000_003).wrapping_add(at as u64);
        let sources = match space.order {
            Order::Drawn => EntitySource::for_threads(space.distribution, space.count, load.threads, seed)?,
            Order::Sequential => {
                let start = |n: usize| space.count / load.threads as u64 * n as u64;
                (0..load.threads).map(|n| EntitySource::sequential(start(n), space.count)).collect()
            }
        };
        for (spaces, source) in of_threads.iter_mut().zip(sources) {
            spaces.push(source);
        }
    }
    let draw = |(n, spaces)| {
        let texts = workload.texts.iter().map(|texts| texts.for_thread(n, load.threads)).collect();
        let offsets = workload.offsets.iter().map(|offsets| offsets.for_thread(n, load.threads)).collect();
        Draw::with(spaces, texts, offsets, load.seed.wrapping_add(n as u64)).with_ids_behind(first_id(
            unix_ns,
            n,
            load.threads,
        ))
    };
    Ok(of_threads.into_iter().enumerate().map(draw).collect())
}

/// Where the ids of a thread begin: threads far apart, and later runs behind what earlier ones can have sent.
fn first_id(unix_ns: u128, n: usize, threads: usize) -> u64 {
    let of_run = u64::try_from(unix_ns / ID_NS % u128::from(IDS)).expect("below the count of ids");
    (of_run + IDS / threads as u64 * n as u64) % IDS
}

/// The schedules of one thread.
fn lanes(load: &Load, schedule: &Schedule, seed: u64) -> Vec<Lane> {
    let lane = |plan: &LanePlan| {
        let LanePlan { request, rate_per_s, spacing, group } = *plan;
        let seed = seed.wrapping_mul(31) + request as u64;
        let arrivals = Arrivals::new(rate_per_s / load.threads as f64, spacing, seed);
        Lane { request, arrivals: arrivals.ramped(ns(load.ramp)), group }
    };
    schedule.lanes.iter().map(lane).collect()
}

pub(super) fn phases(load: &Load) -> Phases {
    let (measure_from_ns, end_ns) = match load.requests {
        Some(_) => (0, u64::MAX),
        None => (ns(load.warmup), ns(load.warmup + load.duration)),
    };
    Phases { measure_from_ns, end_ns, due_until_ns: end_ns, requests_max: u64::MAX, drain_ns: ns(load.drain) }
}

fn connect(server: &Server, count: usize) -> Result<Vec<TcpStream>, BenchError> {
    let connect = |n: usize| match Control::connect(&server.addr, &server.greeting) {
        Ok(control) => Ok(control.into_stream()),
        Err(error) if n == 0 => Err(error),
        Err(error) => Err(BenchError::Server(format!("connection {} of {count}: {error}", n + 1))),
    };
    (0..count).map(connect).collect()
}

fn share_out(streams: Vec<TcpStream>, threads: usize) -> Vec<Vec<TcpStream>> {
    let mut shares: Vec<Vec<TcpStream>> = (0..threads).map(|_| Vec::new()).collect();
    for (n, stream) in streams.into_iter().enumerate() {
        shares[n % threads].push(stream);
    }
    shares
}

/// The n-th part of `all`; the parts add up.
fn share(all: u64, n: usize, parts: usize) -> u64 {
    let (n, parts) = (n as u64, parts as u64);
    all / parts + u64::from(n < all % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_threads_and_of_later_runs_do_not_meet() {
        const SENT_MAX: u64 = 10_000_000;
        let unix_ns = 1_700_000_000_000_000_000;
        let firsts = [(unix_ns, 0), (unix_ns, 1), (unix_ns + 1_000_000_000, 0), (unix_ns + 1_000_000_000, 1)];
        let firsts = firsts.map(|(unix_ns, n)| first_id(unix_ns, n, 2));
        for (at, one) in firsts.iter().enumerate() {
            for other in &firsts[..at] {
                assert!(one.abs_diff(*other) >= SENT_MAX, "{one} and {other}");
            }
        }
        assert_eq!(first_id(0, 0, 1), 0);
    }

    #[test]
    fn shares_add_up() {
        for (all, parts) in [(10, 3), (2, 5), (7, 7)] {
            assert_eq!((0..parts).map(|n| share(all, n, parts)).sum::<u64>(), all);
        }
    }
}
