//! The command line.

use crate::arrivals::Spacing;
use crate::compare::Comparison;
use crate::contender::{Contender, Programs, server_core};
use crate::control::Greeting;
use crate::entities::Distribution;
use crate::error::BenchError;
use crate::run::{Background, Load, Server};
use crate::scenario::{self, Scale, Scenario};
use crate::sweep::{self, Axis};
use crate::targets::{Plan, Row};
use crate::workload::{FILL_BUCKETS, Mode, Target};
use crate::workload_file::WorkloadFile;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Requests under way on a connection in an open loop, unless said otherwise: enough that a server that keeps
/// up never runs into it.
const OPEN_LOOP_PIPELINE: usize = 64;

/// Keys, unless said otherwise.
const KEY_PREFIX: &str = "user:";
const KEY_BYTES: usize = 12;

/// Times in seconds and the seed, unless said otherwise.
const WARMUP_S: f64 = 2.0;
const DURATION_S: f64 = 10.0;
const DRAIN_S: f64 = 10.0;
const SEED: u64 = 1;

/// Longest wait for replies after each round of the targets.
const TARGETS_DRAIN: Duration = Duration::from_secs(10);

/// Load generator for Windrow, and for Redis doing the same work.
#[derive(Debug, Parser)]
#[command(name = "windrow-bench", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure one server that is running already.
    Run(RunArgs),
    /// Start several servers and give them the same load in turns: medians and ratios.
    Compare(CompareArgs),
    /// Change one property of the load at a time and measure how cost grows: CSV, and an HTML report with plots.
    Sweep(SweepArgs),
    /// Run a known production shape against a Windrow of its own, and say whether its bounds were kept.
    Scenario(ScenarioArgs),
    /// Measure what Windrow is to reach, row by row: against contenders in turns, or against a bound.
    Targets(TargetsArgs),
    /// Answer +OK to every command: what the machine allows a server that does no work.
    Null(NullArgs),
}

/// The shape of the load.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Connections, shared out among threads.
    #[arg(long, short = 'c', default_value_t = 50)]
    connections: usize,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Count of entities.
    #[arg(long, short = 'e', default_value_t = 1_000_000)]
    entities: u64,
    /// How often each entity occurs: uniform, zipf:<theta>, or hot:<entities>:<share of the traffic>.
    #[arg(long, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// What keys begin with.
    #[arg(long, default_value = KEY_PREFIX)]
    key_prefix: String,
    /// Length of a key in bytes.
    #[arg(long, default_value_t = KEY_BYTES)]
    key_size: usize,
    /// Measured time in seconds [default: 10, or as the workload file says].
    #[arg(long, short = 'd')]
    duration: Option<f64>,
    /// A count of requests, measured from the first, instead of a time.
    #[arg(long, short = 'n', conflicts_with = "duration", conflicts_with = "warmup")]
    requests: Option<u64>,
    /// Time before the measuring, in seconds [default: 2, or as the workload file says].
    #[arg(long)]
    warmup: Option<f64>,
    /// Seconds of the warm-up in which the rate of an open loop rises to what it is.
    #[arg(long, default_value_t = 0.0, requires = "rate")]
    ramp: f64,
    /// Longest wait for replies after the end, in seconds [default: 10, or as the workload file says].
    #[arg(long)]
    drain: Option<f64>,
    /// Open loop: requests a second, all together. Latency counts from when a request was due, however late it
    /// could be sent. Without: closed loop.
    #[arg(long)]
    rate: Option<f64>,
    /// How arrivals of an open loop are spaced.
    #[arg(long, default_value = "poisson", requires = "rate")]
    arrivals: Spacing,
    /// Other requests meanwhile, evenly spaced: <mode>@<requests a second>, such as events:64@7812.
    #[arg(long, requires = "rate", value_parser = background)]
    background: Option<(Mode, f64)>,
    /// Connections of the background.
    #[arg(long, default_value_t = 10)]
    background_connections: usize,
    /// Of every random choice [default: 1, or as the workload file says].
    #[arg(long)]
    seed: Option<u64>,
    /// Give each entity an event in every bucket before the measuring.
    #[arg(long)]
    fill: bool,
    /// Write the results to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl LoadArgs {
    fn load(&self, pipeline: Option<usize>) -> Result<Load, String> {
        Ok(Load {
            connections: self.connections,
            pipeline: pipeline.unwrap_or(if self.rate.is_some() { OPEN_LOOP_PIPELINE } else { 1 }),
            threads: self.threads,
            entities: self.entities,
            distribution: self.distribution,
            key_prefix: self.key_prefix.clone(),
            key_bytes: self.key_size,
            rate: self.rate.map(|rate| (rate, self.arrivals)),
            background: self.background.map(|(mode, rate_per_s)| Background {
                mode,
                rate_per_s,
                connections: self.background_connections,
            }),
            warmup: seconds("warmup", self.warmup.unwrap_or(WARMUP_S))?,
            ramp: seconds("ramp", self.ramp)?,
            duration: seconds("duration", self.duration.unwrap_or(DURATION_S))?,
            drain: seconds("drain", self.drain.unwrap_or(DRAIN_S))?,
            requests: self.requests,
            seed: self.seed.unwrap_or(SEED),
        })
    }
}

fn seconds(name: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name} {seconds}: {error}"))
}

fn background(text: &str) -> Result<(Mode, f64), String> {
    let (mode, rate) =
        text.split_once('@').ok_or_else(|| format!("{text:?} needs a rate, such as events:64@7812"))?;
    Ok((mode.parse()?, rate.parse().map_err(|error| format!("{rate:?} is no rate: {error}"))?))
}

/// `windrow-bench run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Whose commands to send.
    #[arg(long, default_value = "windrow")]
    target: Target,
    /// The server.
    #[arg(long, default_value = "127.0.0.1:7379")]
    addr: String,
    /// The ACL user.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password.
    #[arg(long)]
    password: Option<String>,
    /// Speak RESP3 instead of RESP2.
    #[arg(long)]
    resp3: bool,
    /// Its process id on this machine: its CPU time and memory are shown.
    #[arg(long)]
    server_pid: Option<u32>,
    /// events, events:<n> (pipelined in one go), madd:<n>, reads, mget:<n>, mixed:<share of reads>; of Redis also set, set:<n>, get.
    #[arg(long, short = 'm', default_value_t = Mode::Events)]
    mode: Mode,
    /// Requests under way on each connection; in an open loop, the most [default: 1, open loop 64].
    #[arg(long, short = 'P')]
    pipeline: Option<usize>,
    /// Send what this file describes instead: streams, names, kinds of requests with rates, values and times (see bench/workloads).
    #[arg(long, conflicts_with_all = ["mode", "pipeline", "connections", "threads", "entities", "distribution", "rate", "arrivals", "ramp", "background", "background_connections", "key_prefix", "key_size", "fill", "requests"])]
    pub workload: Option<PathBuf>,
    /// Multiplies all rates of the workload file.
    #[arg(long, requires = "workload")]
    pub scale: Option<f64>,
    /// Bind the generator to this core.
    #[arg(long)]
    pub core: Option<usize>,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl RunArgs {
    /// Server, mode, load, and whether to fill.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn plan(&self) -> Result<(Server, Mode, Load, bool), String> {
        Ok((self.server(), self.mode, self.load.load(self.pipeline)?, self.load.fill))
    }

    /// The workload file with what the command line changes of it, if one is named.
    ///
    /// # Errors
    ///
    /// It cannot be read or describes no workload, or what is to be changed makes no sense.
    pub fn file(&self) -> Result<Option<WorkloadFile>, BenchError> {
        let Some(path) = &self.workload else { return Ok(None) };
        let mut file = WorkloadFile::read(path)?;
        let LoadArgs { duration, warmup, drain, seed, .. } = &self.load;
        let load = &mut file.load;
        for (time, given) in
            [(&mut load.duration, duration), (&mut load.warmup, warmup), (&mut load.drain, drain)]
        {
            *time = given.unwrap_or(*time);
        }
        load.seed = seed.unwrap_or(load.seed);
        file.load()?;
        if let Some(scale) = self.scale {
            if !(scale.is_finite() && scale > 0.0) {
                return Err(BenchError::Settings(format!("--scale {scale}: it must be above 0")));
            }
            if file.request.iter().all(|request| request.rate.is_none()) {
                return Err(BenchError::Settings(format!(
                    "--scale {scale}: {} is a closed loop, which has no rates to multiply",
                    path.display()
                )));
            }
            file.scale_rates(scale);
        }
        Ok(Some(file))
    }

    /// Whom to measure.
    pub fn server(&self) -> Server {
        Server {
            addr: self.addr.clone(),
            target: self.target,
            greeting: Greeting {
                username: self.user.clone(),
                password: self.password.clone(),
                resp3: self.resp3,
            },
            pid: self.server_pid,
        }
    }
}

/// `windrow-bench compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Who takes part, in the order of each round; ratios are of the first.
    #[arg(long, value_delimiter = ',', default_values = ["windrow", "zset", "hash", "lua", "plain", "null"])]
    contenders: Vec<Contender>,
    /// Modes to compare, as for run.
    #[arg(long, short = 'm', value_delimiter = ',', default_values_t = [Mode::Events, Mode::Reads])]
    mode: Vec<Mode>,
    /// Pipelines to compare, each with each mode [default: 1,16,64; open loop 64].
    #[arg(long, short = 'P', value_delimiter = ',')]
    pipeline: Vec<usize>,
    /// Rounds of each line.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Further arguments of Windrow, split at spaces.
    #[arg(long, default_value = "--shards 1", allow_hyphen_values = true)]
    windrow_args: String,
    /// What to start.
    #[command(flatten)]
    programs: ProgramArgs,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl CompareArgs {
    /// The comparison described.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn comparison(&self) -> Result<Comparison, BenchError> {
        let pipelines = match (&self.pipeline[..], self.load.rate) {
            ([], Some(_)) => vec![OPEN_LOOP_PIPELINE],
            ([], None) => vec![1, 16, 64],
            (pipelines, _) => pipelines.to_vec(),
        };
        Ok(Comparison {
            contenders: self.contenders.clone(),
            modes: self.mode.clone(),
            pipelines,
            rounds: self.rounds,
            fill: self.load.fill,
            load: self.load.load(None).map_err(BenchError::Settings)?,
            programs: self.programs.programs(&self.windrow_args),
            server_core: server_core()?,
        })
    }
}

/// Programs to start.
#[derive(Debug, Args)]
pub struct ProgramArgs {
    /// The Windrow binary.
    #[arg(long, default_value = "windrow")]
    windrow_bin: PathBuf,
    /// The Redis binary. It runs without persistence unless --redis-args says otherwise.
    #[arg(long, default_value = "redis-server")]
    redis_bin: PathBuf,
    /// Further arguments of Redis, split at spaces, such as "--appendonly yes".
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    redis_args: String,
}

impl ProgramArgs {
    fn programs(&self, windrow_args: &str) -> Programs {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Programs {
            windrow_bin: self.windrow_bin.clone(),
            windrow_args: words(windrow_args),
            redis_bin: self.redis_bin.clone(),
            redis_args: words(&self.redis_args),
        }
    }
}

/// `windrow-bench targets`
#[derive(Debug, Args)]
#[command(after_help = TARGETS_HELP)]
pub struct TargetsArgs {
    /// Rows to measure [default: all but C8, D2 and D3].
    #[arg(long, value_delimiter = ',', ignore_case = true)]
    rows: Vec<Row>,
    /// Rounds of each line.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Count of entities, all buckets full.
    #[arg(long, short = 'e', default_value_t = 1_000_000)]
    entities: u64,
    /// Count of entities of rows C8, D2 and D3.
    #[arg(long, default_value_t = 10_000_000)]
    large_entities: u64,
    /// Measured time of each round, in seconds.
    #[arg(long, short = 'd', default_value_t = 2.0)]
    duration: f64,
    /// Time before the measuring of each round, in seconds.
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Busy connections.
    #[arg(long, short = 'c', default_value_t = 50)]
    connections: usize,
    /// Buckets that each of these has an event in, in rows D2, D3 and capacity; fewer take less time and disk.
    #[arg(long, default_value_t = FILL_BUCKETS)]
    large_buckets: u64,
    /// Idle connections of row C10.
    #[arg(long, default_value_t = 10_000)]
    idle_connections: usize,
    /// What the rates of row C6 are multiplied with, for machines that cannot.
    #[arg(long, default_value_t = 1.0)]
    open_loop_scale: f64,
    /// Of every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Further arguments of Windrow, split at spaces.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    windrow_args: String,
    /// What to start.
    #[command(flatten)]
    programs: ProgramArgs,
    /// Write the results to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

const TARGETS_HELP: &str = "\
Servers keep their data in temporary directories (TMPDIR): Windrow's log takes about 3 GB for 1M entities, and 30 GB \
for the 10M of rows C8, D2 and D3, which also take 9 GB of memory. Without these, all rows take about 10 minutes.";

impl TargetsArgs {
    /// The plan described.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn plan(&self) -> Result<Plan, BenchError> {
        let seconds = |name, number| seconds(name, number).map_err(BenchError::Settings);
        Ok(Plan {
            rows: if self.rows.is_empty() { Row::QUICK.to_vec() } else { self.rows.clone() },
            rounds: self.rounds,
            load: Load {
                connections: self.connections,
                pipeline: 1,
                threads: 1,
                entities: self.entities,
                distribution: Distribution::Uniform,
                key_prefix: KEY_PREFIX.to_owned(),
                key_bytes: KEY_BYTES,
                rate: None,
                background: None,
                warmup: seconds("warmup", self.warmup)?,
                ramp: Duration::ZERO,
                duration: seconds("duration", self.duration)?,
                drain: TARGETS_DRAIN,
                requests: None,
                seed: self.seed,
            },
            large_entities: self.large_entities,
            large_buckets: self.large_buckets,
            idle_connections: self.idle_connections,
            open_loop_scale: self.open_loop_scale,
            programs: self.programs.programs(&self.windrow_args),
            server_core: server_core()?,
        })
    }
}

/// `windrow-bench sweep`
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// What is changed, one after the other.
    #[arg(long, value_delimiter = ',', default_values = ["pipeline", "connections", "entities", "shards", "rate"])]
    axes: Vec<Axis>,
    /// Who takes part.
    #[arg(long, value_delimiter = ',', default_values = ["windrow", "zset", "hash", "lua", "plain", "null"])]
    contenders: Vec<Contender>,
    /// Modes, as for run.
    #[arg(long, short = 'm', value_delimiter = ',', default_values_t = [Mode::Events, Mode::Reads])]
    mode: Vec<Mode>,
    /// Rounds of each point.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The largest count of entities; 10M take some 20 GB with every contender.
    #[arg(long, default_value_t = 1_000_000)]
    entities_max: u64,
    /// Further arguments of Windrow, split at spaces; it gets --shards 1, but where shards are what is changed.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    windrow_args: String,
    /// Write the points to this file as CSV.
    #[arg(long, default_value = "sweep.csv")]
    pub csv: PathBuf,
    /// Write the report to this file.
    #[arg(long, default_value = "sweep.html")]
    pub html: PathBuf,
    /// Write each plot to an SVG file in this folder, too
    #[arg(long)]
    pub pictures: Option<PathBuf>,
    /// What to start.
    #[command(flatten)]
    programs: ProgramArgs,
    /// What is not changed.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl SweepArgs {
    /// The sweep described.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn plan(&self) -> Result<sweep::Plan, BenchError> {
        Ok(sweep::Plan {
            axes: self.axes.clone(),
            contenders: self.contenders.clone(),
            modes: self.mode.clone(),
            rounds: self.rounds,
            entities_max: self.entities_max,
            load: self.load.load(None).map_err(BenchError::Settings)?,
            programs: self.programs.programs(&self.windrow_args),
            server_core: server_core()?,
        })
    }
}

/// `windrow-bench scenario`
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    /// Which.
    name: Scenario,
    /// What its rates are multiplied with; auto: the largest of some parts at which its bounds are kept.
    #[arg(long, default_value_t = Scale::Fixed(1.0))]
    scale: Scale,
    /// Measured seconds [default: as the file says].
    #[arg(long, short = 'd')]
    duration: Option<f64>,
    /// Entities of capacity.
    #[arg(long, default_value_t = 10_000_000)]
    entities: u64,
    /// The Windrow binary.
    #[arg(long, default_value = "windrow")]
    windrow_bin: PathBuf,
    /// Further arguments of Windrow, split at spaces. With one shard, it is bound to one core.
    #[arg(long, default_value = "--shards 1", allow_hyphen_values = true)]
    windrow_args: String,
    /// Write the results to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl ScenarioArgs {
    /// The run described.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn plan(&self) -> Result<ScenarioPlan, BenchError> {
        let Some(mut file) = self.name.file()? else { return self.capacity().map(ScenarioPlan::Rows) };
        if let Some(duration) = self.duration {
            seconds("duration", duration).map_err(BenchError::Settings)?;
            file.load.duration = duration;
        }
        let words: Vec<String> = self.windrow_args.split_whitespace().map(str::to_owned).collect();
        let is_one_shard = words.windows(2).any(|pair| pair == ["--shards", "1"]);
        let core = server_core()?.filter(|_| is_one_shard);
        let programs = Programs {
            windrow_bin: self.windrow_bin.clone(),
            windrow_args: words,
            redis_bin: PathBuf::new(),
            redis_args: Vec::new(),
        };
        Ok(ScenarioPlan::File(scenario::Plan { file, scale: self.scale, programs, core }))
    }

    /// Capacity as rows of the targets.
    fn capacity(&self) -> Result<Plan, BenchError> {
        let Scale::Fixed(scale) = self.scale else {
            return Err(BenchError::Settings(
                "capacity has no --scale auto, since most of its rows have no rate; give a number".to_owned(),
            ));
        };
        let mut line = vec!["targets".to_owned(), "--rows".to_owned(), "capacity,D2,D3".to_owned()];
        line.extend(["--large-entities".to_owned(), self.entities.to_string()]);
        line.extend(self.duration.map(|duration| format!("--duration={duration}")));
        line.push(format!("--windrow-bin={}", self.windrow_bin.display()));
        line.push(format!("--windrow-args={}", self.args_without_shards()?.join(" ")));
        line.push(format!("--open-loop-scale={scale}"));
        let targets =
            TargetsOnly::try_parse_from(line).map_err(|error| BenchError::Settings(error.to_string()))?;
        targets.args.plan()
    }

    /// Windrow's arguments without `--shards 1`, which rows of the targets say themselves.
    fn args_without_shards(&self) -> Result<Vec<&str>, BenchError> {
        let mut words: Vec<&str> = self.windrow_args.split_whitespace().collect();
        if let Some(at) = words.windows(2).position(|pair| pair == ["--shards", "1"]) {
            words.drain(at..at + 2);
        }
        if words.iter().any(|word| word.starts_with("--shards")) {
            return Err(BenchError::Settings(format!(
                "capacity is measured with --shards 1, not with {:?}",
                self.windrow_args
            )));
        }
        Ok(words)
    }
}

/// A scenario is a workload file, or rows of the targets.
#[derive(Clone, Debug)]
pub enum ScenarioPlan {
    /// A file.
    File(scenario::Plan),
    /// Rows.
    Rows(Plan),
}

#[derive(Debug, Parser)]
struct TargetsOnly {
    #[command(flatten)]
    args: TargetsArgs,
}

/// `windrow-bench null`
#[derive(Debug, Args)]
pub struct NullArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:7380")]
    pub listen: SocketAddr,
    /// Microseconds that each command takes it, one after the other: a server whose capacity is known, to hold a load generator against.
    #[arg(long, default_value_t = 0)]
    pub service_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Command {
        Cli::try_parse_from(line.split(' ')).unwrap().command
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_run_takes_its_settings_from_the_flags() {
        let line = "windrow-bench run --target redis --addr h:1 -m mget:100 -P 16 -c 8 --entities 500 --distribution \
                    zipf:0.99 --rate 20000 --arrivals constant --background events:64@500 --duration 0.5 --warmup 0 --fill --server-pid 42";
        let Command::Run(args) = parse(line) else { panic!("not a run") };
        let (server, mode, load, fill) = args.plan().unwrap();
        assert_eq!((server.target, server.addr.as_str(), server.pid), (Target::Redis, "h:1", Some(42)));
        assert_eq!((mode, load.pipeline, load.connections, load.entities), (Mode::Mget(100), 16, 8, 500));
        assert_eq!(load.distribution, Distribution::Zipf { theta: 0.99 });
        assert_eq!(load.rate, Some((20_000.0, Spacing::Constant)));
        let background = Background { mode: Mode::Pipelined(64), rate_per_s: 500.0, connections: 10 };
        assert_eq!(load.background, Some(background));
        assert_eq!((load.duration, load.warmup, fill), (Duration::from_millis(500), Duration::ZERO, true));
    }

    fn workload(name: &str, more: &str) -> Result<WorkloadFile, String> {
        let path = format!("{}/workloads/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let line = format!("windrow-bench run --workload {path} {more}");
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let Command::Run(args) = cli.command else { panic!("not a run") };
        args.file().map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn times_and_the_seed_of_a_workload_file_yield_to_those_given() {
        let (file, given) =
            (workload("fraud", "").unwrap(), "-d 2.5 --warmup 1.5 --drain 0.5 --seed 9 --scale 0.5");
        let changed = workload("fraud", given).unwrap();
        let load = &changed.load;
        assert_eq!((load.duration, load.warmup, load.drain, load.seed), (2.5, 1.5, 0.5, 9));
        assert_eq!(changed.request[0].rate, file.request[0].rate.map(|rate| rate / 2.0));
        assert_eq!((file.load.duration, file.load.warmup, file.load.seed), (10.0, 3.0, 1));
    }

    #[test]
    fn what_a_workload_file_has_no_place_for_is_refused() {
        for more in ["--key-prefix k", "--key-size 20", "--background-connections 3", "-n 5", "--ramp 1"] {
            assert!(workload("fraud", more).is_err(), "{more}");
        }
        for (name, more, expected) in [
            ("fraud", "--scale 0", "above 0"),
            ("fraud", "--warmup 0.5", "a ramp of 1s in a warm-up of 500ms"),
            ("closed-loop", "--scale 2", "closed loop"),
        ] {
            let error = workload(name, more).unwrap_err();
            assert!(error.contains(expected), "{more}: {error}");
        }
    }

    #[test]
    fn a_closed_loop_has_a_pipeline_of_one_and_an_open_loop_room() {
        for (line, pipeline) in
            [("windrow-bench run", 1), ("windrow-bench run --rate 100", OPEN_LOOP_PIPELINE)]
        {
            let Command::Run(args) = parse(line) else { panic!("not a run") };
            assert_eq!(args.plan().unwrap().2.pipeline, pipeline);
        }
    }

    #[test]
    fn a_comparison_lists_modes_and_pipelines() {
        let line = "windrow-bench compare --contenders windrow,zset -m events,madd:64 -P 1,64 --rounds 5";
        let Command::Compare(args) = parse(line) else { panic!("not a comparison") };
        let comparison = args.comparison().unwrap();
        assert_eq!(comparison.contenders, [Contender::Windrow, Contender::Zset]);
        assert_eq!(comparison.modes, [Mode::Events, Mode::Madd(64)]);
        assert_eq!((comparison.pipelines, comparison.rounds), (vec![1, 64], 5));
        assert_eq!(comparison.programs.windrow_args, ["--shards", "1"]);
    }

    #[test]
    fn targets_are_all_quick_rows_unless_named() {
        let Command::Targets(args) = parse("windrow-bench targets") else { panic!("no targets") };
        assert_eq!(args.plan().unwrap().rows, Row::QUICK);
        let line = "windrow-bench targets --rows C1,c8 --rounds 1 -d 0.5 --large-entities 5000";
        let Command::Targets(args) = parse(line) else { panic!("no targets") };
        let plan = args.plan().unwrap();
        assert_eq!((plan.rows, plan.rounds, plan.large_entities), (vec![Row::C1, Row::C8], 1, 5000));
        assert_eq!(plan.load.duration, Duration::from_millis(500));
    }

    #[test]
    fn capacity_takes_the_scale_and_the_arguments_it_is_given() {
        let plan = |more: &[&str]| {
            let line = [&["windrow-bench", "scenario", "capacity"], more].concat();
            let Command::Scenario(args) = Cli::try_parse_from(line).unwrap().command else {
                panic!("no scenario")
            };
            args.plan().map(|plan| match plan {
                ScenarioPlan::Rows(plan) => (plan.programs.windrow_args, plan.open_loop_scale),
                ScenarioPlan::File(_) => panic!("a file"),
            })
        };
        assert_eq!(plan(&[]).unwrap(), (Vec::new(), 1.0));
        let given = plan(&["--scale", "0.5", "--windrow-args", "--maxmemory 9gb --shards 1"]).unwrap();
        assert_eq!(given, (vec!["--maxmemory".to_owned(), "9gb".to_owned()], 0.5));
        for (bad, expected) in
            [(["--scale", "auto"], "auto"), (["--windrow-args", "--shards 2"], "--shards 1, not with")]
        {
            assert!(plan(&bad).unwrap_err().to_string().contains(expected), "{bad:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "windrow-bench",
            "windrow-bench run -m nonsense",
            "windrow-bench run --distribution zipf",
            "windrow-bench run --arrivals constant",
            "windrow-bench run -n 5 -d 5",
            "windrow-bench run --background events@5",
            "windrow-bench run --rate 5 --background events",
            "windrow-bench run --user risk",
            "windrow-bench targets --rows C11",
        ] {
            assert!(Cli::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
        let Command::Run(args) = parse("windrow-bench run --duration=-1") else { panic!("not a run") };
        assert!(args.plan().is_err());
    }
}
