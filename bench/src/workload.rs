//! What is sent: the same work in the words of each server.

use crate::error::BenchError;
use crate::replies::Expect;
use crate::template::{KeyFormat, Piece, Template};
use std::fmt;
use std::str::FromStr;

/// The window of reads, and the time that the sorted-set pattern keeps.
const WINDOW_MS: u64 = 3_600_000;

/// Buckets of the stream below, each to hold an event after a fill.
pub const FILL_BUCKETS: u64 = 60;

/// Width of its buckets.
const BUCKET_MS: u64 = 60_000;

/// Most rows of one request.
const ROWS_MAX: usize = 100_000;

/// Name of the stream that is measured.
pub const STREAM: &str = "bench";

/// Its definition, behind `STREAM.CREATE bench`.
pub const STREAM_DEFINITION: &str = "FIELDS amount FLOAT WINDOWS 5m@1m 1h@1m AGGREGATE count sum(amount)";

/// The features that reads ask for.
const FEATURES: [&str; 2] = ["count:1h", "sum(amount):1h"];

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// One event a request.
    Events,
    /// So many events a request, each a command of its own, sent together.
    Pipelined(usize),
    /// So many events a request.
    Madd(usize),
    /// Two features of one entity.
    Reads,
    /// Two features of so many entities.
    Mget(usize),
    /// Reads in this share, events otherwise.
    Mixed(f64),
    /// Redis SET: a landmark.
    Set,
    /// Redis GET: a landmark.
    Get,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let rows = || {
            let rows = number.and_then(|number| number.parse().ok());
            rows.filter(|rows| (1..=ROWS_MAX).contains(rows))
                .ok_or_else(|| format!("{text:?} needs a count of 1 to {ROWS_MAX}, such as {name}:64"))
        };
        match (name, number) {
            ("events", None) => Ok(Self::Events),
            ("reads", None) => Ok(Self::Reads),
            ("set", None) => Ok(Self::Set),
            ("get", None) => Ok(Self::Get),
            ("events", _) => Ok(Self::Pipelined(rows()?)),
            ("madd", _) => Ok(Self::Madd(rows()?)),
            ("mget", _) => Ok(Self::Mget(rows()?)),
            ("mixed", Some(share)) => match share.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => Ok(Self::Mixed(share)),
                _ => Err(format!("{text:?} needs a share of reads from 0 to 1, such as mixed:0.5")),
            },
            _ => Err(format!(
                "{text:?} is none of events, events:<n>, madd:<n>, reads, mget:<n>, mixed:<read share>, set, get"
            )),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events => f.write_str("events"),
            Self::Pipelined(rows) => write!(f, "events:{rows}"),
            Self::Madd(rows) => write!(f, "madd:{rows}"),
            Self::Reads => f.write_str("reads"),
            Self::Mget(rows) => write!(f, "mget:{rows}"),
            Self::Mixed(share) => write!(f, "mixed:{share}"),
            Self::Set => f.write_str("set"),
            Self::Get => f.write_str("get"),
        }
    }
}

/// Whom the requests are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Windrow's commands, and its answers to them.
    Windrow,
    /// The sorted-set pattern: an event is ZADD, ZREMRANGEBYSCORE and EXPIRE; a read is ZRANGEBYSCORE and a sum.
    Redis,
    /// Windrow's commands to the null responder, which answers +OK to anything.
    Null,
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
}

/// What a run sends.
#[derive(Clone, Debug)]
pub struct Workload {
    /// One kind of request, or events and reads.
    pub requests: Vec<Request>,
    /// Share of the second kind; 0 without one.
    pub second_share: f64,
    /// How many of the kinds are what is measured; the rest is background.
    pub foreground: usize,
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
        let second_share = if let Mode::Mixed(share) = mode { share } else { 0.0 };
        Ok(Self { foreground: requests.len(), requests, second_share })
    }

    /// Requests that give each entity an event in every bucket, one request an entity; or its value, for GET.
    ///
    /// # Errors
    ///
    /// As [`Workload::new`].
    pub fn fill(target: Target, mode: Mode, key: &KeyFormat) -> Result<Self, BenchError> {
        let request = match (target, mode) {
            (Target::Redis, Mode::Set | Mode::Get) => request(target, Mode::Set, key)?,
            (Target::Redis, _) => redis_fill(key),
            (Target::Windrow | Target::Null, Mode::Set | Mode::Get) => return Err(no_such(mode)),
            (Target::Windrow | Target::Null, _) => windrow_fill(target, key),
        };
        Ok(Self { requests: vec![request], second_share: 0.0, foreground: 1 })
    }

    /// The same with another workload's requests behind it, as background.
    #[must_use]
    pub fn with_background(mut self, background: Self) -> Self {
        self.requests.extend(background.requests);
        self
    }
}

fn no_such(mode: Mode) -> BenchError {
    BenchError::Settings(format!("mode {mode} is a landmark of Redis; use --target redis"))
}

fn request(target: Target, mode: Mode, key: &KeyFormat) -> Result<Request, BenchError> {
    let mut template = Template::new(key.clone());
    let (expects, operations) = match (target, mode) {
        (Target::Redis, Mode::Set) => {
            template.command(&[&[Piece::Text("SET")], &[Piece::NextKey], &[Piece::Amount]]);
            (vec![Expect::ok()], 1)
        }
        (Target::Redis, Mode::Get) => {
            template.command(&[&[Piece::Text("GET")], &[Piece::NextKey]]);
            (vec![Expect::kind(b"$")], 1)
        }
        (Target::Redis, Mode::Events) => (redis_events(&mut template, 1), 1),
        (Target::Redis, Mode::Madd(rows) | Mode::Pipelined(rows)) => {
            (redis_events(&mut template, rows), rows)
        }
        (Target::Redis, Mode::Reads) => (redis_reads(&mut template, 1), 1),
        (Target::Redis, Mode::Mget(rows)) => (redis_reads(&mut template, rows), rows),
        (_, Mode::Events) => (vec![windrow_event(&mut template)], 1),
        (_, Mode::Pipelined(rows)) => ((0..rows).map(|_| windrow_event(&mut template)).collect(), rows),
        (_, Mode::Madd(rows)) => (vec![windrow_madd(&mut template, rows)], rows),
        (_, Mode::Reads) => (vec![windrow_read(&mut template)], 1),
        (_, Mode::Mget(rows)) => (vec![windrow_mget(&mut template, rows)], rows),
        (_, Mode::Set | Mode::Get) => return Err(no_such(mode)),
        (_, Mode::Mixed(_)) => unreachable!("a mix is made of two kinds"),
    };
    let expects = for_target(target, expects);
    Ok(Request { name: mode.to_string(), template, expects, operations: operations as u64 })
}

/// The null responder knows no answer but +OK.
fn for_target(target: Target, expects: Vec<Expect>) -> Vec<Expect> {
    if target == Target::Null { vec![Expect::ok(); expects.len()] } else { expects }
}

const NOW: Piece<'static> = Piece::TimeMs { back_ms: 0 };

fn windrow_event(template: &mut Template) -> Expect {
    let name = [Piece::Text("EVENT.ADD")];
    template.command(&[
        &name,
        &[Piece::NextKey],
        &[Piece::Text(STREAM)],
        &[NOW],
        &[Piece::Text("amount")],
        &[Piece::Amount],
    ]);
    Expect::ok()
}

/// `EVENT.MADD bench FIELDS 1 amount EVENTS`, before the rows.
const MADD: [&[Piece<'static>]; 6] = [
    &[Piece::Text("EVENT.MADD")],
    &[Piece::Text(STREAM)],
    &[Piece::Text("FIELDS")],
    &[Piece::Text("1")],
    &[Piece::Text("amount")],
    &[Piece::Text("EVENTS")],
];

fn windrow_madd(template: &mut Template, rows: usize) -> Expect {
    let row: [&[Piece<'_>]; 3] = [&[Piece::NextKey], &[NOW], &[Piece::Amount]];
    template.command(&[&MADD[..], &row.repeat(rows)].concat());
    Expect::ok_array(rows)
}

fn windrow_fill(target: Target, key: &KeyFormat) -> Request {
    let buckets = fill_buckets();
    let mut args = MADD.to_vec();
    for (at, time) in buckets.iter().enumerate() {
        args.push(if at == 0 { &[Piece::NextKey] } else { &[Piece::SameKey] });
        args.push(std::slice::from_ref(time));
        args.push(&[Piece::Amount]);
    }
    let mut template = Template::new(key.clone());
    template.command(&args);
    let expects = for_target(target, vec![Expect::ok_array(buckets.len())]);
    Request { name: "fill".to_owned(), template, expects, operations: FILL_BUCKETS }
}

/// A time in each bucket, oldest first.
fn fill_buckets() -> Vec<Piece<'static>> {
    (0..FILL_BUCKETS).rev().map(|bucket| Piece::TimeMs { back_ms: bucket * BUCKET_MS }).collect()
}

fn windrow_read(template: &mut Template) -> Expect {
    let [count, sum] = FEATURES.map(|feature| [Piece::Text(feature)]);
    template.command(&[
        &[Piece::Text("WINDOW.GET")],
        &[Piece::NextKey],
        &[Piece::Text(STREAM)],
        &count,
        &sum,
    ]);
    Expect::kind(b"*")
}

fn windrow_mget(template: &mut Template, rows: usize) -> Expect {
    let count_text = rows.to_string();
    let count = [Piece::Text(&count_text)];
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("WINDOW.MGET")], &count];
    args.extend(std::iter::repeat_n(&[Piece::NextKey][..], rows));
    args.push(&[Piece::Text(STREAM)]);
    let features = FEATURES.map(|feature| [Piece::Text(feature)]);
    args.extend(features.iter().map(|feature| &feature[..]));
    template.command(&args);
    Expect::kind(b"*")
}

/// `<ts>-<seq>:<amount>`: unique, and carries the value that the sum needs.
fn member(time: Piece<'static>) -> [Piece<'static>; 5] {
    [time, Piece::Text("-"), Piece::Seq, Piece::Text(":"), Piece::Amount]
}

fn redis_events(template: &mut Template, rows: usize) -> Vec<Expect> {
    let mut expects = Vec::new();
    for _ in 0..rows {
        template.command(&[&[Piece::Text("ZADD")], &[Piece::NextKey], &[NOW], &member(NOW)]);
        let oldest = [Piece::TimeMs { back_ms: WINDOW_MS }];
        template.command(&[
            &[Piece::Text("ZREMRANGEBYSCORE")],
            &[Piece::SameKey],
            &[Piece::Text("-inf")],
            &oldest,
        ]);
        template.command(&[&[Piece::Text("EXPIRE")], &[Piece::SameKey], &[Piece::Text("3600")]]);
        expects.extend([Expect::kind(b":"), Expect::kind(b":"), Expect::kind(b":")]);
    }
    expects
}

fn redis_reads(template: &mut Template, rows: usize) -> Vec<Expect> {
    for _ in 0..rows {
        let from = [Piece::TimeMs { back_ms: WINDOW_MS }];
        template.command(&[&[Piece::Text("ZRANGEBYSCORE")], &[Piece::NextKey], &from, &[NOW]]);
    }
    vec![Expect::members(); rows]
}

fn redis_fill(key: &KeyFormat) -> Request {
    let buckets = fill_buckets();
    let members: Vec<[Piece<'_>; 5]> = buckets.iter().map(|time| member(*time)).collect();
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("ZADD")], &[Piece::NextKey]];
    for (time, member) in buckets.iter().zip(&members) {
        args.extend([std::slice::from_ref(time), &member[..]]);
    }
    let mut template = Template::new(key.clone());
    template.command(&args);
    template.command(&[&[Piece::Text("EXPIRE")], &[Piece::SameKey], &[Piece::Text("3600")]]);
    let expects = vec![Expect::kind(b":"), Expect::kind(b":")];
    Request { name: "fill".to_owned(), template, expects, operations: FILL_BUCKETS }
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
    fn a_fill_puts_an_event_in_every_bucket_of_one_entity() {
        let key = KeyFormat::new("user:", 12, 1000).unwrap();
        for (target, first, last) in [
            (Target::Windrow, "1699996460000 10.37", "user:0000007 1700000000000 "),
            (Target::Redis, "ZADD user:0000007 1699996460000 ", "1700000000000 1700000000000-00000060:"),
        ] {
            let fill = Workload::fill(target, Mode::Events, &key).unwrap().requests.swap_remove(0);
            let commands = sent(&fill);
            assert_eq!((commands.len(), fill.operations), (fill.expects.len(), FILL_BUCKETS));
            assert!(commands[0].contains(first) && commands[0].contains(last), "{}", commands[0]);
            assert!(!commands[0].contains("user:0000008"));
        }
    }

    #[test]
    fn modes_parse_and_print_alike() {
        for text in ["events", "events:64", "madd:64", "reads", "mget:1000", "mixed:0.5", "set", "get"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        for bad in ["event", "events:0", "madd", "madd:0", "mget:x", "mixed", "mixed:1.5", "mget:1000000"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn landmarks_of_redis_are_refused_elsewhere() {
        let key = KeyFormat::new("user:", 12, 1000).unwrap();
        assert!(Workload::new(Target::Windrow, Mode::Set, &key).is_err());
        assert!(Workload::fill(Target::Windrow, Mode::Get, &key).is_err());
    }
}
