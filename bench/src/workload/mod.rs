//! What is sent: the same work in the words of each server.

mod hash;
mod mode;
mod plain;
mod script;
mod sorted_set;
mod time_series;
mod windrow;

pub use mode::Mode;
pub use script::LIBRARY as SCRIPT_LIBRARY;
pub use time_series::MODULE_ARGUMENTS as TIME_SERIES_ARGUMENTS;
pub use windrow::{STREAM, STREAM_DEFINITION};

use crate::entities::{Distribution, Order};
use crate::error::BenchError;
use crate::models::{Offsets, Texts};
use crate::replies::Expect;
use crate::template::{KeyFormat, Piece, Template};

/// The window of reads, and the time that Redis keeps events for.
const WINDOW_MS: u64 = 3_600_000;

/// Buckets of the stream that is measured, each to hold an event after a fill.
pub const FILL_BUCKETS: u64 = 60;

/// Width of its buckets.
pub const BUCKET_MS: u64 = 60_000;

/// The time of the request.
const NOW: Piece<'static> = Piece::TimeMs { back_ms: 0 };

/// Whom the requests are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Windrow's commands, and its answers to them.
    Windrow,
    /// The sorted-set pattern: an event is ZADD, ZREMRANGEBYSCORE and EXPIRE; a read is ZRANGEBYSCORE and a sum.
    Redis,
    /// A hash of buckets: an event is HINCRBYFLOAT, HINCRBY, HDEL of the bucket that left the window, EXPIRE; a read is HGETALL.
    Hash,
    /// Redis (7 or later) with a hash of buckets, which functions in Lua add to and sum up.
    Lua,
    /// RedisTimeSeries: an event is TS.ADD, a read is TS.RANGE with an aggregation.
    Ts,
    /// Windrow's commands to the null responder, which answers +OK to anything.
    Null,
}

impl Target {
    /// SET and GET are commands of it.
    fn is_redis(self) -> bool {
        matches!(self, Self::Redis | Self::Hash | Self::Lua | Self::Ts)
    }
}

/// One kind of request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it does, as in the mode.
    pub name: String,
    /// Its bytes.
    pub template: Template,
    /// The replies it gets, in order.
    pub expects: Vec<Expect>,
    /// Events or rows in it.
    pub operations: u64,
    /// Share of these that are one sent before, byte for byte.
    pub duplicate_share: f64,
}

/// What a run sends.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The kinds of requests: those that are measured, then the background.
    pub requests: Vec<Request>,
    /// The share of each measured kind; together 1.
    pub shares: Vec<f64>,
    /// The spaces of names beside the entities of a run, that requests draw from.
    pub spaces: Vec<Space>,
    /// The drawn values that requests replay.
    pub texts: Vec<Texts>,
    /// The drawn moves of event times that requests replay.
    pub offsets: Vec<Offsets>,
}

/// Names that requests draw from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Space {
    /// How many.
    pub count: u64,
    /// How often each occurs.
    pub distribution: Distribution,
    /// Drawn by it, or each in its turn.
    pub order: Order,
}

impl Workload {
    /// The requests of a mode in a server's words.
    ///
    /// # Errors
    ///
    /// SET and GET are no commands of Windrow.
    pub fn new(target: Target, mode: Mode, key: &KeyFormat) -> Result<Self, BenchError> {
        let requests = match mode {
            Mode::Mixed(_) => vec![request(target, Mode::Events, key)?, request(target, Mode::Reads, key)?],
            mode => vec![request(target, mode, key)?],
        };
        let shares = if let Mode::Mixed(share) = mode { vec![1.0 - share, share] } else { vec![1.0] };
        Ok(Self { shares, ..Self::of_all(requests) })
    }

    /// How many of the kinds are what is measured; the rest is background.
    pub fn foreground(&self) -> usize {
        self.shares.len()
    }

    /// Requests that give each entity an event in each of its newest `buckets`, one request an entity; or its
    /// value, for GET.
    ///
    /// # Errors
    ///
    /// As [`Workload::new`].
    pub fn fill(target: Target, mode: Mode, key: &KeyFormat, buckets: u64) -> Result<Self, BenchError> {
        let landmark = matches!(mode, Mode::Set | Mode::PipelinedSet(_) | Mode::Get);
        if landmark {
            return Ok(Self::of(request(target, Mode::Set, key)?));
        }
        let mut template = Template::new(key.clone());
        let times: Vec<Piece<'_>> =
            (0..buckets).rev().map(|bucket| Piece::TimeMs { back_ms: bucket * BUCKET_MS }).collect();
        let expects = match target {
            Target::Windrow | Target::Null => vec![windrow::fill(&mut template, &times)],
            Target::Redis => sorted_set::fill(&mut template, &times),
            Target::Hash => hash::fill(&mut template, buckets),
            Target::Lua => vec![script::fill(&mut template, &times)],
            Target::Ts => time_series::fill(&mut template, &times),
        };
        let expects = for_target(target, expects);
        Ok(Self::of(Request {
            name: "fill".to_owned(),
            template,
            expects,
            operations: buckets,
            duplicate_share: 0.0,
        }))
    }

    /// Requests of Windrow that give so many entities an event each, all at one time: EVENT.ADD for one, EVENT.MADD
    /// for more.
    pub fn step(key: &KeyFormat, unix_ms: u64, rows: usize) -> Self {
        let mut template = Template::new(key.clone());
        let time = unix_ms.to_string();
        let expect = match rows {
            1 => windrow::event(&mut template, Piece::Text(&time)),
            rows => windrow::madd(&mut template, rows, Piece::Text(&time)),
        };
        let name = "step".to_owned();
        Self::of(Request {
            name,
            template,
            expects: vec![expect],
            operations: rows as u64,
            duplicate_share: 0.0,
        })
    }

    fn of(request: Request) -> Self {
        Self { shares: vec![1.0], ..Self::of_all(vec![request]) }
    }

    fn of_all(requests: Vec<Request>) -> Self {
        Self { requests, shares: Vec::new(), spaces: Vec::new(), texts: Vec::new(), offsets: Vec::new() }
    }

    /// The same for a server of this kind: the null responder knows no answer but +OK.
    #[must_use]
    pub fn answered_by(mut self, target: Target) -> Self {
        if target == Target::Null {
            for expect in self.requests.iter_mut().flat_map(|request| &mut request.expects) {
                *expect = expect.of_null();
            }
        }
        self
    }

    /// The same with another workload's requests behind it, as background.
    #[must_use]
    pub fn with_background(mut self, background: Self) -> Self {
        self.requests.extend(background.requests);
        self
    }
}

fn request(target: Target, mode: Mode, key: &KeyFormat) -> Result<Request, BenchError> {
    let mut template = Template::new(key.clone());
    let rows = match mode {
        Mode::Pipelined(rows) | Mode::Madd(rows) | Mode::Mget(rows) | Mode::PipelinedSet(rows) => rows,
        Mode::Events | Mode::Reads | Mode::Mixed(_) | Mode::Set | Mode::Get => 1,
    };
    let expects = match mode {
        Mode::Set | Mode::PipelinedSet(_) if target.is_redis() => plain::set(&mut template, rows),
        Mode::Get if target.is_redis() => plain::get(&mut template),
        Mode::Set | Mode::PipelinedSet(_) | Mode::Get => {
            return Err(BenchError::Settings(format!(
                "mode {mode} is a landmark of Redis; use --target redis"
            )));
        }
        Mode::Mixed(_) => unreachable!("a mix is made of two kinds"),
        Mode::Madd(_) if !target.is_redis() => vec![windrow::madd(&mut template, rows, NOW)],
        Mode::Mget(_) if !target.is_redis() => vec![windrow::mget(&mut template, rows)],
        Mode::Events | Mode::Pipelined(_) | Mode::Madd(_) => each(rows, || match target {
            Target::Windrow | Target::Null => vec![windrow::event(&mut template, NOW)],
            Target::Redis => sorted_set::event(&mut template),
            Target::Hash => hash::event(&mut template),
            Target::Lua => vec![script::event(&mut template)],
            Target::Ts => vec![time_series::event(&mut template, NOW)],
        }),
        Mode::Reads | Mode::Mget(_) => each(rows, || match target {
            Target::Windrow | Target::Null => vec![windrow::read(&mut template)],
            Target::Redis => vec![sorted_set::read(&mut template)],
            Target::Hash => vec![hash::read(&mut template)],
            Target::Lua => vec![script::read(&mut template)],
            Target::Ts => vec![time_series::read(&mut template)],
        }),
    };
    let expects = for_target(target, expects);
    Ok(Request { name: mode.to_string(), template, expects, operations: rows as u64, duplicate_share: 0.0 })
}

/// The replies to so many commands, or groups of commands.
fn each(rows: usize, mut add: impl FnMut() -> Vec<Expect>) -> Vec<Expect> {
    (0..rows).flat_map(|_| add()).collect()
}

/// The null responder knows no answer but +OK.
fn for_target(target: Target, expects: Vec<Expect>) -> Vec<Expect> {
    if target == Target::Null { vec![Expect::ok(); expects.len()] } else { expects }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entities::EntitySource;
    use crate::template::Draw;

    fn sent(request: &Request) -> Vec<String> {
        let mut draw = Draw::new(EntitySource::sequential(7, 1000), 0);
        draw.set_now_ms(1_700_000_000_000);
        let mut out = Vec::new();
        request.template.write(&mut out, &mut draw);
        let text = String::from_utf8(out).unwrap();
        let words = |command: &str| command.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ");
        text.split('*').skip(1).map(|command| words(command).trim_end().to_owned()).collect()
    }

    fn of(target: Target, mode: Mode) -> Request {
        let key = KeyFormat::new("user:", 12, 1000).unwrap();
        Workload::new(target, mode, &key).unwrap().requests.swap_remove(0)
    }

    #[test]
    fn windrow_gets_its_commands() {
        let event = of(Target::Windrow, Mode::Events);
        assert_eq!(sent(&event), ["EVENT.ADD user:0000007 bench 1700000000000 amount 10.37"]);
        let pipelined = of(Target::Windrow, Mode::Pipelined(2));
        assert_eq!((sent(&pipelined).len(), pipelined.expects.len(), pipelined.operations), (2, 2, 2));
        let madd = of(Target::Windrow, Mode::Madd(2));
        assert_eq!(
            sent(&madd),
            ["EVENT.MADD bench FIELDS 1 amount EVENTS user:0000007 1700000000000 10.37 user:0000008 \
              1700000000000 10.74"]
        );
        assert_eq!((madd.expects.len(), madd.operations), (1, 2));
        let read = of(Target::Windrow, Mode::Reads);
        assert_eq!(sent(&read), ["WINDOW.GET user:0000007 bench count:1h sum(amount):1h"]);
        let mget = of(Target::Windrow, Mode::Mget(2));
        assert_eq!(sent(&mget), ["WINDOW.MGET 2 user:0000007 user:0000008 bench count:1h sum(amount):1h"]);
    }

    #[test]
    fn redis_does_the_same_work_in_its_own_words() {
        let event = of(Target::Redis, Mode::Events);
        assert_eq!(
            sent(&event),
            [
                "ZADD user:0000007 1700000000000 1700000000000-00000001:10.37",
                "ZREMRANGEBYSCORE user:0000007 -inf 1699996400000",
                "EXPIRE user:0000007 3600"
            ]
        );
        assert_eq!((event.expects.len(), event.operations), (3, 1));
        let reads = of(Target::Redis, Mode::Mget(2));
        assert_eq!(
            sent(&reads),
            [
                "ZRANGEBYSCORE user:0000007 1699996400000 1700000000000",
                "ZRANGEBYSCORE user:0000008 1699996400000 1700000000000"
            ]
        );
        assert_eq!((reads.expects.len(), reads.operations), (2, 2));
    }

    #[test]
    fn a_hash_of_buckets_is_kept_by_the_client() {
        let event = of(Target::Hash, Mode::Events);
        assert_eq!(
            sent(&event),
            [
                "HINCRBYFLOAT user:0000007 s28333333 10.37",
                "HINCRBY user:0000007 c28333333 1",
                "HDEL user:0000007 s28333273 c28333273",
                "EXPIRE user:0000007 3660"
            ]
        );
        assert_eq!((event.expects.len(), event.operations), (4, 1));
        assert_eq!(sent(&of(Target::Hash, Mode::Reads)), ["HGETALL user:0000007"]);
    }

    #[test]
    fn functions_in_lua_are_called_with_pairs_of_time_and_amount() {
        let event = of(Target::Lua, Mode::Events);
        assert_eq!(sent(&event), ["FCALL bench_add 1 user:0000007 1700000000000 10.37"]);
        assert_eq!(sent(&of(Target::Lua, Mode::Reads)), ["FCALL bench_read 1 user:0000007 1700000000000"]);
        let madd = of(Target::Lua, Mode::Madd(2));
        assert_eq!((sent(&madd).len(), madd.expects.len(), madd.operations), (2, 2, 2));
    }

    #[test]
    fn time_series_get_samples_and_give_a_sum() {
        let event = of(Target::Ts, Mode::Events);
        assert_eq!(sent(&event), ["TS.ADD user:0000007 1700000000000 10.37"]);
        let read = "TS.RANGE user:0000007 1699996400000 1700000000000 AGGREGATION sum 3600000";
        assert_eq!(sent(&of(Target::Ts, Mode::Reads)), [read]);
    }

    #[test]
    fn landmarks_are_the_same_for_every_kind_of_redis() {
        for target in [Target::Redis, Target::Hash, Target::Lua, Target::Ts] {
            assert_eq!(
                sent(&of(target, Mode::PipelinedSet(2))),
                ["SET user:0000007 10.37", "SET user:0000008 10.74"]
            );
            assert_eq!(sent(&of(target, Mode::Get)), ["GET user:0000007"]);
        }
    }

    #[test]
    fn a_step_gives_several_entities_one_event_each_at_one_time() {
        let key = KeyFormat::new("user:", 12, 1000).unwrap();
        let one = Workload::step(&key, 1_699_999_980_000, 1).requests.swap_remove(0);
        assert_eq!(sent(&one), ["EVENT.ADD user:0000007 bench 1699999980000 amount 10.37"]);
        let two = Workload::step(&key, 1_699_999_980_000, 2).requests.swap_remove(0);
        assert_eq!(
            sent(&two),
            ["EVENT.MADD bench FIELDS 1 amount EVENTS user:0000007 1699999980000 10.37 user:0000008 \
              1699999980000 10.74"]
        );
        assert_eq!((two.template.entities(), two.operations), (2, 2));
    }

    #[test]
    fn a_fill_puts_an_event_in_every_bucket_of_one_entity() {
        let key = KeyFormat::new("user:", 12, 1000).unwrap();
        for (target, first, last) in [
            (Target::Windrow, "1699996460000 10.37", "user:0000007 1700000000000 "),
            (Target::Redis, "ZADD user:0000007 1699996460000 ", "1700000000000 1700000000000-00000060:"),
            (Target::Hash, "HINCRBYFLOAT user:0000007 s28333274 10.37", "EXPIRE user:0000007 3660"),
            (Target::Lua, "FCALL bench_add 1 user:0000007 1699996460000 10.37", " 1700000000000 "),
        ] {
            let fill =
                Workload::fill(target, Mode::Events, &key, FILL_BUCKETS).unwrap().requests.swap_remove(0);
            let commands = sent(&fill);
            assert_eq!((commands.len(), fill.operations), (fill.expects.len(), FILL_BUCKETS));
            let whole = commands.join(" ");
            assert!(commands[0].contains(first) && whole.contains(last), "{whole}");
            assert!(!whole.contains("user:0000008"));
        }
    }

    #[test]
    fn landmarks_of_redis_are_refused_elsewhere() {
        let key = KeyFormat::new("user:", 12, 1000).unwrap();
        assert!(Workload::new(Target::Windrow, Mode::Set, &key).is_err());
        assert!(Workload::fill(Target::Windrow, Mode::Get, &key, FILL_BUCKETS).is_err());
    }
}
