//! One run: connections, threads, phases, and the server's CPU time between them.

use crate::arrivals::{Arrivals, Spacing};
use crate::control::{Control, Greeting};
use crate::cpu;
use crate::entities::{Distribution, EntitySource, Order};
use crate::error::BenchError;
use crate::measure::{Machine, Measured, ProcessUse, Summary};
use crate::progress::Progress;
use crate::template::{Draw, IDS, KeyFormat};
use crate::worker::{Job, Lane, Pace, Phases, RunClock, Worker, ns};
use crate::workload::{Mode, SCRIPT_LIBRARY, STREAM, STREAM_DEFINITION, Target, Workload};
use crate::workload_file::WorkloadFile;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most connections of one run.
pub const CONNECTIONS_MAX: usize = 60_000;

/// Most requests under way on a connection: what a server must let a client pipeline.
pub const PIPELINE_MAX: usize = 100_000;

/// Connections and pipeline that fill: few and deep, since only the sum matters.
const SWEEP_CONNECTIONS: usize = 8;
const SWEEP_PIPELINE: usize = 16;

/// Most requests under way while every entity is visited.
pub const SWEEP_UNDER_WAY: usize = SWEEP_CONNECTIONS * SWEEP_PIPELINE;

/// How often the main thread looks at a run, unless its end wakes it.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// A run's ids begin one further for each such time: no thread sends as many as 10 million events a second.
const ID_NS: u128 = 100;

/// The shape of the load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Sockets, shared out among threads.
    pub connections: usize,
    /// Most requests under way on each.
    pub pipeline: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Count of entities.
    pub entities: u64,
    /// How often each occurs.
    pub distribution: Distribution,
    /// What an entity's key begins with.
    pub key_prefix: String,
    /// Length of a key.
    pub key_bytes: usize,
    /// Requests per second, all threads together, and their spacing; none: closed loop.
    pub rate: Option<(f64, Spacing)>,
    /// Other requests meanwhile, on connections of their own; only beside an open loop.
    pub background: Option<Background>,
    /// Not measured, at the beginning.
    pub warmup: Duration,
    /// Within the warm-up: the rates of an open loop rise to what they are.
    pub ramp: Duration,
    /// Measured time.
    pub duration: Duration,
    /// Longest wait for replies after the end.
    pub drain: Duration,
    /// Instead of a duration: a count of requests, measured from the start.
    pub requests: Option<u64>,
    /// Of every random choice.
    pub seed: u64,
}

/// Requests beside those that are measured, evenly spaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Background {
    /// What they do.
    pub mode: Mode,
    /// How many a second.
    pub rate_per_s: f64,
    /// Their connections.
    pub connections: usize,
}

/// Whom to measure.
#[derive(Clone, Debug)]
pub struct Server {
    /// host:port.
    pub addr: String,
    /// Its protocol of choice.
    pub target: Target,
    /// How connections introduce themselves.
    pub greeting: Greeting,
    /// Its process, if it runs on this machine.
    pub pid: Option<u32>,
}

impl Load {
    /// Closed or open loop, in words.
    pub fn pace(&self) -> String {
        match self.rate {
            None => format!("pipeline {}", self.pipeline),
            Some((rate, Spacing::Constant)) => format!("open loop of {rate} requests/s"),
            Some((rate, Spacing::Poisson)) => format!("open loop of {rate} requests/s (Poisson)"),
        }
    }

    /// The keys.
    ///
    /// # Errors
    ///
    /// Settings that make no sense.
    pub fn check(&self) -> Result<KeyFormat, BenchError> {
        let complain = |text: String| Err(BenchError::Settings(text));
        if self.connections == 0 || self.connections > CONNECTIONS_MAX {
            return complain(format!("{} connections; it must be 1 to {CONNECTIONS_MAX}", self.connections));
        }
        if self.pipeline == 0 || self.pipeline > PIPELINE_MAX {
            return complain(format!("a pipeline of {}; it must be 1 to {PIPELINE_MAX}", self.pipeline));
        }
        if self.threads == 0 || self.threads > self.connections {
            return complain(format!(
                "{} threads for {} connections; each thread needs one",
                self.threads, self.connections
            ));
        }
        if let Some((rate, _)) = self.rate
            && !(rate.is_finite() && rate > 0.0)
        {
            return complain(format!("a rate of {rate} requests a second"));
        }
        if let Some(background) = self.background {
            if self.rate.is_none() || matches!(background.mode, Mode::Mixed(_)) {
                return complain(
                    "a background is one kind of request, beside an open loop (--rate)".to_owned(),
                );
            }
            let rate = background.rate_per_s;
            if !(rate.is_finite() && rate > 0.0) || background.connections < self.threads {
                return complain(format!(
                    "a background of {rate} requests/s on {} connections; each of {} threads needs one",
                    background.connections, self.threads
                ));
            }
        }
        if self.ramp > self.warmup {
            return complain(format!(
                "a ramp of {:?} in a warm-up of {:?}: what is measured must have the whole rate",
                self.ramp, self.warmup
            ));
        }
        if self.requests.is_some() && !self.ramp.is_zero() {
            return complain(format!(
                "a ramp of {:?} for a count of requests, which are measured from the start",
                self.ramp
            ));
        }
        if self.duration.is_zero() && self.requests.is_none() {
            return complain("a run of no duration measures nothing".to_owned());
        }
        KeyFormat::new(&self.key_prefix, self.key_bytes, self.entities).ok_or_else(|| {
            BenchError::Settings(format!(
                "keys of {} bytes beginning with {:?} do not tell {} entities apart; take longer keys",
                self.key_bytes, self.key_prefix, self.entities
            ))
        })
    }
}

/// Makes a server ready: creates the stream that Windrow's modes use, loads the functions in Lua.
///
/// # Errors
///
/// The server refuses.
pub fn prepare(server: &Server) -> Result<(), BenchError> {
    let args = match server.target {
        Target::Windrow => {
            ["STREAM.CREATE", STREAM].into_iter().chain(STREAM_DEFINITION.split(' ')).collect()
        }
        Target::Lua => vec!["FUNCTION", "LOAD", "REPLACE", SCRIPT_LIBRARY],
        Target::Redis | Target::Hash | Target::Ts | Target::Null => return Ok(()),
    };
    Control::connect(&server.addr, &server.greeting)?.expect(&args)?;
    Ok(())
}

/// Creates the streams of a workload file; those that are there with the same definition stay.
///
/// # Errors
///
/// The server refuses.
pub fn create_streams(server: &Server, file: &WorkloadFile) -> Result<(), BenchError> {
    if server.target != Target::Windrow {
        return Ok(());
    }
    let mut control = Control::connect(&server.addr, &server.greeting)?;
    for stream in &file.stream {
        let words = stream.definition.split_whitespace();
        let args: Vec<&str> = ["STREAM.CREATE", &stream.name].into_iter().chain(words).collect();
        control.expect(&args)?;
    }
    Ok(())
}

/// How many entities of a space of names the server holds: in the stream that holds most of them.
///
/// # Errors
///
/// The server refuses, or its answer is not what STREAM.INFO gives.
pub fn count_entities(server: &Server, file: &WorkloadFile, names: &str) -> Result<u64, BenchError> {
    let mut control = Control::connect(&server.addr, &server.greeting)?;
    let mut most = 0;
    for plan in file.fill.iter().chain(&file.request).filter(|plan| plan.entities == names) {
        let reply = control.expect(&["STREAM.INFO", &plan.stream])?;
        let count = entities_of_info(&reply).ok_or_else(|| {
            BenchError::Server(format!(
                "STREAM.INFO {} does not say how many entities there are",
                plan.stream
            ))
        })?;
        most = most.max(count);
    }
    Ok(most)
}

/// The number of entities in the reply to STREAM.INFO.
fn entities_of_info(reply: &str) -> Option<u64> {
    let (_, number) = reply.split_once("$8\r\nentities\r\n:")?;
    number.split_once("\r\n")?.0.parse().ok()
}

/// Gives each entity an event in each of its newest `buckets`.
///
/// # Errors
///
/// As [`measure`]; wrong replies too, since what follows would measure nothing.
pub fn fill(server: &Server, mode: Mode, load: &Load, buckets: u64) -> Result<Summary, BenchError> {
    let workload = Workload::fill(server.target, mode, &load.check()?, buckets)?;
    sweep(server, &workload, load, &format!("fill {}", server.addr))
}

/// Gives each entity of a Windrow server one event at a time, so many in a request.
///
/// # Errors
///
/// As [`fill`].
pub fn step(server: &Server, load: &Load, unix_ms: u64, rows: usize) -> Result<Summary, BenchError> {
    let workload = Workload::step(&load.check()?, unix_ms, rows);
    sweep(server, &workload, load, &format!("step {}", server.addr))
}

/// Requests over all entities in order, each entity at least once.
fn sweep(server: &Server, workload: &Workload, load: &Load, title: &str) -> Result<Summary, BenchError> {
    let rows = workload.requests[0].template.entities() as u64;
    let sweeping = Load {
        connections: SWEEP_CONNECTIONS,
        pipeline: SWEEP_PIPELINE,
        threads: 1,
        rate: None,
        background: None,
        warmup: Duration::ZERO,
        ramp: Duration::ZERO,
        requests: Some(load.entities.div_ceil(rows)),
        ..load.clone()
    };
    let sources = vec![EntitySource::sequential(0, load.entities)];
    let schedule = Schedule::of(&sweeping, workload);
    let summary = execute(server, workload, &sweeping, &schedule, Some(sources), title)?;
    if summary.is_clean() {
        return Ok(summary);
    }
    Err(unclean(title, &summary))
}

/// Runs a mode against a server.
///
/// # Errors
///
/// Settings that make no sense, connections that fail. Wrong replies are in the summary.
pub fn measure(server: &Server, mode: Mode, load: &Load) -> Result<Summary, BenchError> {
    let key = load.check()?;
    let mut workload = Workload::new(server.target, mode, &key)?;
    if let Some(background) = load.background {
        workload = workload.with_background(Workload::new(server.target, background.mode, &key)?);
    }
    let sources = EntitySource::for_threads(load.distribution, load.entities, load.threads, load.seed)?;
    execute(
        server,
        &workload,
        load,
        &Schedule::of(load, &workload),
        Some(sources),
        &format!("{mode} {}", server.addr),
    )
}

/// Runs a workload that a file describes.
///
/// # Errors
///
/// As [`measure`].
pub fn measure_file(server: &Server, file: &WorkloadFile) -> Result<Summary, BenchError> {
    let load = file.load()?;
    let workload = file.workload(&file.request)?.answered_by(server.target);
    let title = format!("{} {}", file.title, server.addr);
    execute(server, &workload, &load, &file.schedule()?, None, &title)
}

/// Sends what a workload file wants sent before its run.
///
/// # Errors
///
/// As [`measure`]; wrong replies too, since what follows would measure something else.
pub fn fill_file(server: &Server, file: &WorkloadFile) -> Result<(), BenchError> {
    for plan in &file.fill {
        let load = Load {
            connections: SWEEP_CONNECTIONS,
            pipeline: SWEEP_PIPELINE,
            threads: 1,
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            requests: plan.requests,
            ..file.load()?
        };
        let workload = file.workload(std::slice::from_ref(plan))?.answered_by(server.target);
        let title = format!("fill {} {}", plan.name, server.addr);
        let schedule = Schedule { groups: vec![load.connections], lanes: Vec::new() };
        let summary = execute(server, &workload, &load, &schedule, None, &title)?;
        if !summary.is_clean() {
            return Err(unclean(&title, &summary));
        }
    }
    Ok(())
}

fn unclean(title: &str, summary: &Summary) -> BenchError {
    let first = summary.first_error.as_deref().unwrap_or("none");
    BenchError::Server(format!(
        "{title}: {} wrong replies, {} missing; the first: {first}",
        summary.errors, summary.unfinished
    ))
}

/// Which connections there are, and which requests are due on them when.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Counts of connections: each group has its own.
    pub groups: Vec<usize>,
    /// Empty: a closed loop on the connections of the first group.
    pub lanes: Vec<LanePlan>,
}

/// The schedule of one kind of request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LanePlan {
    /// Index of the workload's request.
    pub request: usize,
    /// All threads together.
    pub rate_per_s: f64,
    /// How arrivals are spaced.
    pub spacing: Spacing,
    /// Whose connections it takes.
    pub group: usize,
}

impl Schedule {
    /// Of requests that share connections and a rate, and a background with its own.
    fn of(load: &Load, workload: &Workload) -> Self {
        let mut schedule = Self { groups: vec![load.connections], lanes: Vec::new() };
        let Some((rate, spacing)) = load.rate else { return schedule };
        for (request, share) in workload.shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            schedule.lanes.push(LanePlan { request, rate_per_s: rate * share, spacing, group: 0 });
        }
        if let Some(Background { rate_per_s, connections, .. }) = load.background {
            let (request, spacing) = (workload.foreground(), Spacing::Constant);
            schedule.groups.push(connections);
            schedule.lanes.push(LanePlan { request, rate_per_s, spacing, group: 1 });
        }
        schedule
    }
}

fn execute(
    server: &Server,
    workload: &Workload,
    load: &Load,
    schedule: &Schedule,
    entities: Option<Vec<EntitySource>>,
    title: &str,
) -> Result<Summary, BenchError> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let draws = draws(workload, load, entities, unix.as_nanos())?;
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
        let (mut streams, mut ranges) = (Vec::new(), Vec::new());
        for group in &mut groups {
            let start = streams.len();
            streams.append(&mut group[n]);
            ranges.push(start..streams.len());
        }
        let pace = match lanes(load, schedule, &ranges, seed) {
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

/// The schedules of one thread, whose connections of each group are `ranges`.
fn lanes(load: &Load, schedule: &Schedule, ranges: &[Range<usize>], seed: u64) -> Vec<Lane> {
    let lane = |plan: &LanePlan| {
        let LanePlan { request, rate_per_s, spacing, group } = *plan;
        let seed = seed.wrapping_mul(31) + request as u64;
        let arrivals = Arrivals::new(rate_per_s / load.threads as f64, spacing, seed);
        Lane { request, arrivals: arrivals.ramped(ns(load.ramp)), connections: ranges[group].clone() }
    };
    schedule.lanes.iter().map(lane).collect()
}

fn phases(load: &Load) -> Phases {
    let (measure_from_ns, end_ns) = match load.requests {
        Some(_) => (0, u64::MAX),
        None => (ns(load.warmup), ns(load.warmup + load.duration)),
    };
    Phases { measure_from_ns, end_ns, requests_max: u64::MAX, drain_ns: ns(load.drain) }
}

fn connect(server: &Server, count: usize) -> Result<Vec<TcpStream>, BenchError> {
    (0..count).map(|_| Ok(Control::connect(&server.addr, &server.greeting)?.into_stream())).collect()
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

/// What the bar goes up to: milliseconds, or with a count of requests the operations in these.
fn total(load: &Load, workload: &Workload, phases: Phases) -> u64 {
    let Some(requests) = load.requests else { return phases.end_ns / 1_000_000 };
    let shares = workload.shares.iter().zip(&workload.requests);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let each: f64 = shares.map(|(share, request)| share * request.operations as f64).sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for people"
    )]
    let operations = (requests as f64 * each).round() as u64;
    operations
}

/// Shows how the run goes, and takes the CPU time of server and generator over the measured phase.
fn watch(
    server: &Server,
    load: &Load,
    clock: &RunClock,
    phases: Phases,
    progress: &AtomicU64,
    bar: &mut Progress,
    finished: impl Fn() -> bool,
) -> Result<(Option<ProcessUse>, ProcessUse), BenchError> {
    let look = || -> Result<(Option<ProcessUse>, ProcessUse), BenchError> {
        Ok((server.pid.map(cpu::process_use).transpose()?, cpu::process_use(std::process::id())?))
    };
    let mut look_until = |until_ns: u64| {
        loop {
            let now_ns = clock.now_ns();
            if now_ns >= until_ns || finished() {
                return;
            }
            let operations = progress.load(Ordering::Relaxed);
            bar.update(
                if load.requests.is_some() { operations } else { now_ns / 1_000_000 },
                operations,
                now_ns,
            );
            thread::park_timeout(LOOK_PERIOD.min(Duration::from_nanos(until_ns - now_ns)));
        }
    };
    look_until(phases.measure_from_ns);
    let (server_before, own_before) = look()?;
    look_until(phases.end_ns);
    let (server_after, own_after) = look()?;
    let server = server_before.zip(server_after).map(|(before, after)| after.since(before));
    Ok((server, own_after.since(own_before)))
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
    fn the_server_says_how_many_entities_there_are() {
        let reply =
            "*6\r\n$4\r\nname\r\n$8\r\nproducts\r\n$8\r\nentities\r\n:541000\r\n$5\r\nbytes\r\n:7\r\n";
        assert_eq!(entities_of_info(reply), Some(541_000));
        assert_eq!(entities_of_info("*0\r\n"), None);
    }

    #[test]
    fn the_bar_of_a_count_goes_up_to_the_operations_in_it() {
        let load = Load {
            connections: 1,
            pipeline: 1,
            threads: 1,
            entities: 1000,
            distribution: Distribution::Uniform,
            key_prefix: "user:".to_owned(),
            key_bytes: 12,
            rate: None,
            background: None,
            warmup: Duration::from_secs(1),
            ramp: Duration::ZERO,
            duration: Duration::from_secs(2),
            drain: Duration::from_secs(1),
            requests: Some(100),
            seed: 1,
        };
        let workload = |mode| Workload::new(Target::Windrow, mode, &load.check().unwrap()).unwrap();
        let total = |load: &Load, mode| total(load, &workload(mode), phases(load));
        assert_eq!((total(&load, Mode::Madd(64)), total(&load, Mode::Mixed(0.3))), (6_400, 100));
        assert_eq!(total(&Load { requests: None, ..load.clone() }, Mode::Madd(64)), 3_000);
    }

    #[test]
    fn shares_add_up() {
        for (all, parts) in [(10, 3), (2, 5), (7, 7)] {
            assert_eq!((0..parts).map(|n| share(all, n, parts)).sum::<u64>(), all);
        }
    }
}
