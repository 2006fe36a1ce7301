//! Workloads as TOML files: streams, names, kinds of requests with their rates, and what makes a run of them acceptable. The files in
//! `bench/workloads` are the manual.

mod unused;

use crate::arrivals::Spacing;
use crate::entities::{Distribution, Order};
use crate::error::BenchError;
use crate::models::{NumberModel, Offsets, Texts, TimeModel};
use crate::replies::Expect;
use crate::run::{LanePlan, Load, Schedule};
use crate::template::{KeyFormat, Piece, Template};
use crate::workload::{Request, Space, Workload};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Largest file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most kinds of requests, streams, and spaces of names.
const ITEMS_MAX: usize = 64;

/// Most rows of one request.
const ROWS_MAX: usize = 100_000;

/// A workload file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadFile {
    /// One line.
    pub title: String,
    /// Created before the run, where they do not exist.
    #[serde(default)]
    pub stream: Vec<StreamDefinition>,
    /// Spaces of names: of entities, and of values of STRING fields.
    pub names: BTreeMap<String, Names>,
    /// Sent before the run, one after the other, each in a closed loop: so many `requests` of it.
    #[serde(default)]
    pub fill: Vec<RequestPlan>,
    /// What is sent.
    pub request: Vec<RequestPlan>,
    /// Connections and times.
    #[serde(default)]
    pub load: LoadPlan,
    /// What the server's memory must be, where its process is known.
    pub memory: Option<MemoryBound>,
}

/// A bound of the memory that came since the server was empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryBound {
    /// For each of these names.
    pub names: String,
    /// So many bytes.
    pub bytes_max: f64,
}

/// A stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamDefinition {
    /// Its name.
    pub name: String,
    /// What stands behind the name in STREAM.CREATE.
    pub definition: String,
}

/// A space of names: `prefix` and a number, of fixed length.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// How many.
    pub count: u64,
    /// What each begins with.
    pub prefix: String,
    /// Length of each.
    pub bytes: usize,
    /// uniform, zipf:<theta> or hot:<names>:<share>.
    #[serde(default = "uniform")]
    pub distribution: String,
}

fn uniform() -> String {
    Distribution::Uniform.to_string()
}

/// The command of a kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandName {
    /// EVENT.ADD, `rows` of them sent together.
    Add,
    /// EVENT.MADD of `rows` events.
    Madd,
    /// WINDOW.GET, `rows` of them sent together.
    Get,
    /// WINDOW.MGET of `rows` entities.
    Mget,
    /// WINDOW.TOP of the `rows` largest.
    Top,
}

/// One kind of request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestPlan {
    /// Its name in the report.
    pub name: String,
    /// What it does.
    pub command: CommandName,
    /// The stream.
    pub stream: String,
    /// The space of names of its entities.
    pub entities: String,
    /// Events, entities or results in it.
    #[serde(default = "one")]
    pub rows: usize,
    /// Whether an entity may occur more than once in one request.
    #[serde(default = "yes")]
    pub repeats: bool,
    /// Open loop: requests a second. All kinds have one, or none.
    pub rate: Option<f64>,
    /// Closed loop: the part of the requests that are of this kind, in proportion to the others'.
    pub share: Option<f64>,
    /// Connections of its own; without, it takes those of the load.
    pub connections: Option<usize>,
    /// The fields of its events.
    #[serde(default)]
    pub values: BTreeMap<String, ValuePlan>,
    /// When its events happened.
    #[serde(default)]
    pub time: TimeModel,
    /// Whether each event has an id of its own.
    #[serde(default)]
    pub id: bool,
    /// The part of its requests that is one sent before, byte for byte.
    #[serde(default)]
    pub duplicate_share: f64,
    /// What it reads.
    #[serde(default)]
    pub features: Vec<String>,
    /// Further words of a read, such as ["HOP", "30s"].
    #[serde(default)]
    pub options: Vec<String>,
    /// What its latency must be.
    pub accept: Option<Accept>,
    /// Of a fill: how many.
    pub requests: Option<u64>,
    /// Of a fill: whether its entities are drawn, or come each in its turn.
    pub order: Option<Order>,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

/// The values of a field: numbers, or names.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum ValuePlan {
    /// Of a STRING field.
    Name {
        /// The space of names.
        names: String,
    },
    /// Of an INT field.
    Int {
        /// The numbers, without decimals.
        int: NumberModel,
    },
    /// Of a FLOAT field.
    Float {
        /// The numbers, with two decimals.
        float: NumberModel,
    },
}

/// Bounds of a latency, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accept {
    /// 99 % are no slower.
    pub p99_ms: Option<f64>,
    /// 99.9 % are no slower.
    pub p999_ms: Option<f64>,
    /// Least part of the rate asked for that was answered within the measured time.
    pub rate_part: Option<f64>,
}

/// Connections and times.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadPlan {
    /// Connections that kinds of requests share.
    pub connections: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Requests under way on a connection at most.
    pub pipeline: usize,
    /// Of an open loop: Poisson, unless constant gaps are asked for.
    pub arrivals: Option<Arrival>,
    /// Seconds before the measuring.
    pub warmup: f64,
    /// Of these, seconds in which rates rise to what they are.
    pub ramp: f64,
    /// Seconds of measuring.
    pub duration: f64,
    /// Longest wait for replies after the end, in seconds.
    pub drain: f64,
    /// Of every random choice.
    pub seed: u64,
}

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "as in the crate's arrivals")]
pub enum Arrival {
    #[default]
    Poisson,
    Constant,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self {
            connections: 50,
            threads: 1,
            pipeline: 64,
            arrivals: None,
            warmup: 2.0,
            ramp: 0.0,
            duration: 10.0,
            drain: 10.0,
            seed: 1,
        }
    }
}

impl WorkloadFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no TOML, or describes no workload; the error says where.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let reading = || BenchError::io(format!("read {}", path.display()));
        let bytes = std::fs::metadata(path).map_err(reading())?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(BenchError::Settings(format!(
                "{} has {bytes} bytes; a workload file has at most {FILE_BYTES_MAX}",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(reading())?;
        Self::parse(&text).map_err(|error| BenchError::Settings(format!("{}: {error}", path.display())))
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// As [`WorkloadFile::read`].
    pub fn parse(text: &str) -> Result<Self, BenchError> {
        let file: Self = toml::from_str(text).map_err(|error| BenchError::Settings(error.to_string()))?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), BenchError> {
        let complain = |text: String| Err(BenchError::Settings(text));
        if self.request.is_empty() {
            return complain("there is no [[request]]: nothing would be sent".to_owned());
        }
        for (what, count) in [
            ("[[request]]", self.request.len()),
            ("[[stream]]", self.stream.len()),
            ("[names]", self.names.len()),
        ] {
            if count > ITEMS_MAX {
                return complain(format!("{count} of {what}; there are at most {ITEMS_MAX}"));
            }
        }
        let with_rate = self.request.iter().filter(|request| request.rate.is_some()).count();
        if with_rate != 0 && with_rate != self.request.len() {
            return complain(
                "either every [[request]] has a rate (open loop), or none (closed loop)".to_owned(),
            );
        }
        for fill in &self.fill {
            if fill.requests.is_none_or(|requests| requests == 0) || fill.rate.is_some() {
                return complain(format!(
                    "fill {}: it has a count of requests, and no rate: it goes as fast as the server answers",
                    fill.name
                ));
            }
        }
        if let Some(request) = self.request.iter().find(|request| request.requests.is_some()) {
            return complain(format!("request {}: only a [[fill]] has a count of requests", request.name));
        }
        if let Some(memory) = &self.memory {
            self.space(&memory.names, "memory")?;
        }
        for request in self.request.iter().chain(&self.fill) {
            let RequestPlan { name, rate, share, connections, rows, duplicate_share, command, .. } = request;
            let is_amount = |number: &f64| number.is_finite() && *number > 0.0;
            if rate.is_some() && share.is_some() {
                return complain(format!("request {name}: rate is for an open loop, share for a closed one"));
            }
            if !rate.iter().chain(share).all(is_amount) {
                return complain(format!("request {name}: a rate or share is above 0"));
            }
            if rate.is_none() && connections.is_some() {
                return complain(format!(
                    "request {name}: only an open loop (rate) has connections of its own"
                ));
            }
            if !(1..=ROWS_MAX).contains(rows) {
                return complain(format!("request {name}: {rows} rows; there are 1 to {ROWS_MAX}"));
            }
            let names = self.names.get(&request.entities).map_or(0, |space| space.count);
            if !request.repeats && *rows as u64 > names / 2 {
                return complain(format!(
                    "request {name}: {rows} different ones of {names} {}: without repeats, at most half of them",
                    request.entities
                ));
            }
            if !(0.0..1.0).contains(duplicate_share) {
                return complain(format!("request {name}: duplicate_share is from 0 to below 1"));
            }
            let is_read = matches!(command, CommandName::Get | CommandName::Mget | CommandName::Top);
            if is_read && (!request.values.is_empty() || request.id || *duplicate_share > 0.0) {
                return complain(format!("request {name}: a read has no values, ids or duplicates"));
            }
            let has_read_words = !request.features.is_empty() || !request.options.is_empty();
            if !is_read && has_read_words {
                return complain(format!("request {name}: an event has no features or options"));
            }
            if *command == CommandName::Top && request.features.len() != 1 {
                return complain(format!("request {name}: top is by one feature"));
            }
            self.space(&request.entities, name)?;
        }
        if let Some(request) = self.request.iter().find(|request| request.order.is_some()) {
            return complain(format!("request {}: only a [[fill]] has an order", request.name));
        }
        unused::refuse(self)?;
        self.load()?;
        self.schedule()?;
        self.workload(&self.request)?;
        self.workload(&self.fill)?;
        Ok(())
    }

    /// Multiplies all rates.
    pub fn scale_rates(&mut self, factor: f64) {
        for rate in self.request.iter_mut().filter_map(|request| request.rate.as_mut()) {
            *rate *= factor;
        }
    }

    /// Connections and times.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub fn load(&self) -> Result<Load, BenchError> {
        let LoadPlan { connections, threads, pipeline, warmup, ramp, duration, drain, seed, .. } = self.load;
        let seconds = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| BenchError::Settings(format!("load.{name} = {seconds}: {error}")))
        };
        let load = Load {
            connections,
            pipeline,
            threads,
            entities: 1,
            distribution: Distribution::Uniform,
            key_prefix: String::new(),
            key_bytes: 1,
            rate: None,
            background: None,
            warmup: seconds("warmup", warmup)?,
            ramp: seconds("ramp", ramp)?,
            duration: seconds("duration", duration)?,
            drain: seconds("drain", drain)?,
            requests: None,
            seed,
        };
        load.check()?;
        Ok(load)
    }

    /// Which connections there are, and what is due on them when.
    ///
    /// # Errors
    ///
    /// Fewer connections than threads.
    pub fn schedule(&self) -> Result<Schedule, BenchError> {
        let spacing = match self.load.arrivals.unwrap_or_default() {
            Arrival::Poisson => Spacing::Poisson,
            Arrival::Constant => Spacing::Constant,
        };
        let mut schedule = Schedule { groups: vec![self.load.connections], lanes: Vec::new() };
        for (request, plan) in self.request.iter().enumerate() {
            let Some(rate_per_s) = plan.rate else { continue };
            let group = match plan.connections {
                None => 0,
                Some(count) if count < self.load.threads => {
                    return Err(BenchError::Settings(format!(
                        "request {}: {count} connections for {} threads; each needs one",
                        plan.name, self.load.threads
                    )));
                }
                Some(count) => {
                    schedule.groups.push(count);
                    schedule.groups.len() - 1
                }
            };
            schedule.lanes.push(LanePlan { request, rate_per_s, spacing, group });
        }
        Ok(schedule)
    }

    /// These kinds of requests of the file.
    ///
    /// # Errors
    ///
    /// Names or values that are described wrongly.
    pub fn workload(&self, plans: &[RequestPlan]) -> Result<Workload, BenchError> {
        // The space in front is the run's own, of which nothing here draws.
        let mut formats = vec![KeyFormat::new("", 1, 1).expect("one digit tells one apart")];
        let mut spaces = Vec::new();
        for (name, names) in &self.names {
            let Names { count, prefix, bytes, distribution } = names;
            let format = KeyFormat::new(prefix, *bytes, *count).ok_or_else(|| {
                BenchError::Settings(format!(
                    "names.{name}: {bytes} bytes beginning with {prefix:?} do not tell {count} apart"
                ))
            })?;
            let distribution: Distribution = distribution
                .parse()
                .map_err(|error| BenchError::Settings(format!("names.{name}.distribution: {error}")))?;
            formats.push(format);
            spaces.push(Space { count: *count, distribution, order: Order::Drawn });
        }
        let mut workload = Workload {
            requests: Vec::new(),
            shares: Vec::new(),
            spaces,
            texts: Vec::new(),
            offsets: Vec::new(),
        };
        let total_share: f64 = plans.iter().map(|request| request.share.unwrap_or(1.0)).sum();
        for plan in plans {
            let mut space = self.space(&plan.entities, &plan.name)?;
            if plan.order == Some(Order::Sequential) {
                // A space of its own: fields whose values are the same names do not take the entities' turns.
                workload.spaces.push(Space { order: Order::Sequential, ..workload.spaces[space - 1] });
                formats.push(formats[space].clone());
                space = workload.spaces.len();
            }
            let template = Template::of_space(formats.clone(), space);
            let request = self.request(plan, template, &mut workload)?;
            workload.requests.push(request);
            workload.shares.push(plan.share.unwrap_or(1.0) / total_share);
        }
        Ok(workload)
    }

    /// The index of a space among those that requests draw from.
    fn space(&self, name: &str, of: &str) -> Result<usize, BenchError> {
        let at = self.names.keys().position(|known| known == name);
        at.map(|at| at + 1).ok_or_else(|| {
            let known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            BenchError::Settings(format!(
                "request {of}: there are no [names.{name}], only {}",
                known.join(", ")
            ))
        })
    }

    fn request(
        &self,
        plan: &RequestPlan,
        mut template: Template,
        workload: &mut Workload,
    ) -> Result<Request, BenchError> {
        if !plan.repeats {
            template.without_repeats();
        }
        let fields = self.fields(plan, workload)?;
        let time = if plan.time.is_in_order() {
            Piece::TimeMs { back_ms: 0 }
        } else {
            let seed = self.seed_of(Salt::Offsets, workload.offsets.len());
            workload.offsets.push(Offsets::new(&plan.time, seed)?);
            Piece::Moved(workload.offsets.len() - 1)
        };
        let rows = plan.rows;
        let expects = match plan.command {
            CommandName::Add => (0..rows).map(|_| add(&mut template, plan, &fields, time)).collect(),
            CommandName::Madd => vec![madd(&mut template, plan, &fields, time)],
            CommandName::Get => (0..rows).map(|_| get(&mut template, plan)).collect(),
            CommandName::Mget => vec![mget(&mut template, plan)],
            CommandName::Top => vec![top(&mut template, plan)],
        };
        let operations = if plan.command == CommandName::Top { 1 } else { rows as u64 };
        let duplicate_share = plan.duplicate_share;
        Ok(Request { name: plan.name.clone(), template, expects, operations, duplicate_share })
    }

    /// The fields of a request's events, and what fills them.
    fn fields<'a>(
        &self,
        plan: &'a RequestPlan,
        workload: &mut Workload,
    ) -> Result<Vec<(&'a str, Piece<'static>)>, BenchError> {
        let mut fields = Vec::with_capacity(plan.values.len());
        for (field, value) in &plan.values {
            let (model, is_int) = match value {
                ValuePlan::Name { names } => {
                    fields.push((field.as_str(), Piece::Name(self.space(names, &plan.name)?)));
                    continue;
                }
                ValuePlan::Int { int } => (int, true),
                ValuePlan::Float { float } => (float, false),
            };
            let seed = self.seed_of(Salt::Texts, workload.texts.len());
            let texts = Texts::numbers(field, model, is_int, seed)?;
            fields.push((field, Piece::Drawn { texts: workload.texts.len(), width: texts.width() }));
            workload.texts.push(texts);
        }
        Ok(fields)
    }

    /// The seed of the n-th of what is drawn of one kind: no two of a workload have the same.
    fn seed_of(&self, salt: Salt, n: usize) -> u64 {
        self.load.seed.wrapping_mul(1_000_003).wrapping_add(((salt as u64) << 32) + n as u64)
    }
}

/// Keeps the seeds of different kinds of draws apart; 0 is the spaces of names.
#[derive(Clone, Copy)]
enum Salt {
    Texts = 1,
    Offsets = 2,
}

/// Texts as arguments.
fn words(texts: &[String]) -> Vec<[Piece<'_>; 1]> {
    texts.iter().map(|text| [Piece::Text(text)]).collect()
}

/// One EVENT.ADD.
fn add(template: &mut Template, plan: &RequestPlan, fields: &[(&str, Piece<'_>)], time: Piece<'_>) -> Expect {
    let (stream, time) = ([Piece::Text(&plan.stream)], [time]);
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("EVENT.ADD")], &[Piece::NextKey], &stream];
    if plan.id {
        args.extend([&[Piece::Text("ID")][..], &[Piece::Id]]);
    }
    args.push(&time);
    let pairs: Vec<[[Piece<'_>; 1]; 2]> =
        fields.iter().map(|&(field, value)| [[Piece::Text(field)], [value]]).collect();
    args.extend(pairs.iter().flatten().map(|piece| &piece[..]));
    template.command(&args);
    Expect::outcome()
}

/// One EVENT.MADD.
fn madd(
    template: &mut Template,
    plan: &RequestPlan,
    fields: &[(&str, Piece<'_>)],
    time: Piece<'_>,
) -> Expect {
    let count = fields.len().to_string();
    let (stream, time, count) = ([Piece::Text(&plan.stream)], [time], [Piece::Text(&count)]);
    let mut args: Vec<&[Piece<'_>]> =
        vec![&[Piece::Text("EVENT.MADD")], &stream, &[Piece::Text("FIELDS")], &count];
    let names: Vec<[Piece<'_>; 1]> = fields.iter().map(|&(field, _)| [Piece::Text(field)]).collect();
    let values: Vec<[Piece<'_>; 1]> = fields.iter().map(|&(_, value)| [value]).collect();
    args.extend(names.iter().map(|piece| &piece[..]));
    if plan.id {
        args.push(&[Piece::Text("WITHIDS")]);
    }
    args.push(&[Piece::Text("EVENTS")]);
    for _ in 0..plan.rows {
        args.extend([&[Piece::NextKey][..], &time]);
        if plan.id {
            args.push(&[Piece::Id]);
        }
        args.extend(values.iter().map(|piece| &piece[..]));
    }
    template.command(&args);
    Expect::outcomes(plan.rows)
}

/// One WINDOW.GET.
fn get(template: &mut Template, plan: &RequestPlan) -> Expect {
    let stream = [Piece::Text(&plan.stream)];
    let (options, features) = (words(&plan.options), words(&plan.features));
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("WINDOW.GET")], &[Piece::NextKey], &stream];
    args.extend(options.iter().chain(&features).map(|piece| &piece[..]));
    template.command(&args);
    Expect::kind(b"*")
}

/// One WINDOW.MGET.
fn mget(template: &mut Template, plan: &RequestPlan) -> Expect {
    let count = plan.rows.to_string();
    let (stream, count) = ([Piece::Text(&plan.stream)], [Piece::Text(&count)]);
    let (options, features) = (words(&plan.options), words(&plan.features));
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("WINDOW.MGET")], &count];
    args.extend(std::iter::repeat_n(&[Piece::NextKey][..], plan.rows));
    args.push(&stream);
    args.extend(options.iter().chain(&features).map(|piece| &piece[..]));
    template.command(&args);
    Expect::kind(b"*")
}

/// One WINDOW.TOP.
fn top(template: &mut Template, plan: &RequestPlan) -> Expect {
    let count = plan.rows.to_string();
    template.command(&[
        &[Piece::Text("WINDOW.TOP")],
        &[Piece::Text(&plan.stream)],
        &[Piece::Text(&plan.features[0])],
        &[Piece::Text(&count)],
    ]);
    Expect::kind(b"*")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entities::EntitySource;
    use crate::template::Draw;

    const FILE: &str = r#"
        title = "rides"
        [[stream]]
        name = "rides"
        definition = "FIELDS fare FLOAT rider STRING WINDOWS 10m@30s AGGREGATE count sum(fare) distinct(rider) DEDUP 1m"
        [names.zone]
        count = 100
        prefix = "z"
        bytes = 3
        [names.rider]
        count = 1000
        prefix = "r"
        bytes = 4
        distribution = "zipf:0.99"
        [[request]]
        name = "events"
        command = "madd"
        stream = "rides"
        entities = "zone"
        rows = 2
        rate = 1000.0
        id = true
        duplicate_share = 0.5
        values.fare = { float = { from = 5.0, to = 5.0 } }
        values.rider = { names = "rider" }
        time = { late_share = 1.0, late_mean_ms = 0.001 }
        [[request]]
        name = "reads"
        command = "get"
        stream = "rides"
        entities = "zone"
        rate = 500
        connections = 3
        options = ["HOP", "30s"]
        features = ["count:10m"]
        accept = { p99_ms = 3 }
    "#;

    fn sent(file: &WorkloadFile, request: usize) -> String {
        let workload = file.workload(&file.request).unwrap();
        let spaces = std::iter::repeat_n(EntitySource::sequential(7, 50), 1 + workload.spaces.len());
        let mut draw = Draw::with(spaces.collect(), workload.texts, workload.offsets, 0);
        draw.set_now_ms(1_700_000_000_000);
        let mut out = Vec::new();
        workload.requests[request].template.write(&mut out, &mut draw);
        let text = String::from_utf8(out).unwrap();
        text.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn requests_say_what_the_file_says() {
        let file = WorkloadFile::parse(FILE).unwrap();
        assert_eq!(
            sent(&file, 0),
            "EVENT.MADD rides FIELDS 2 fare rider WITHIDS EVENTS z07 1700000000000 0000000000000001 5.00 r007 \
             z08 1700000000000 0000000000000002 5.00 r008"
        );
        assert_eq!(sent(&file, 1), "WINDOW.GET z07 rides HOP 30s count:10m");
        let schedule = file.schedule().unwrap();
        assert_eq!(schedule.groups, [50, 3]);
        let lanes: Vec<_> =
            schedule.lanes.iter().map(|lane| (lane.request, lane.rate_per_s, lane.group)).collect();
        assert_eq!(lanes, [(0, 1000.0, 0), (1, 500.0, 1)]);
        assert_eq!(file.request[1].accept.unwrap().p99_ms, Some(3.0));
    }

    #[test]
    fn the_other_commands_are_made_too() {
        let file = |command: &str, more: &str| {
            let text = format!(
                "title = 't'\n[names.e]\ncount = 100\nprefix = 'e'\nbytes = 3\n[[request]]\nname = 'r'\nstream = 's'\n\
                 entities = 'e'\ncommand = '{command}'\n{more}"
            );
            WorkloadFile::parse(&text).unwrap()
        };
        let int = "values.n = { int = { from = 3, to = 3 } }";
        assert_eq!(sent(&file("add", int), 0), "EVENT.ADD e07 s 1700000000000 n 3");
        assert_eq!(
            sent(&file("mget", "rows = 2\nfeatures = ['count:1h']"), 0),
            "WINDOW.MGET 2 e07 e08 s count:1h"
        );
        let unlike = |rows: u32| format!("rows = {rows}\nrepeats = false\nfeatures = ['count:1h']");
        let sent_unlike = sent(&file("mget", &unlike(50)), 0);
        let met: std::collections::BTreeSet<&str> =
            sent_unlike.split(' ').filter(|word| word.starts_with('e')).collect();
        assert_eq!(met.len(), 50, "{sent_unlike}");
        assert_eq!(sent(&file("top", "rows = 9\nfeatures = ['count:1h']"), 0), "WINDOW.TOP s count:1h 9");
    }

    #[test]
    fn a_fill_has_a_count_and_no_rate() {
        let fill = "[[fill]]\nname = 'f'\ncommand = 'add'\nstream = 'rides'\nentities = 'zone'\n";
        let with = |more: &str| {
            WorkloadFile::parse(&FILE.replace(
                "[[request]]\n        name = \"events\"",
                &format!("{fill}{more}\n[[request]]\nname = \"events\""),
            ))
        };
        assert_eq!(with("requests = 10").unwrap().fill[0].requests, Some(10));
        for more in ["", "requests = 0", "requests = 10\nrate = 5"] {
            assert!(with(more).unwrap_err().to_string().contains("fill f"), "{more}");
        }
    }

    #[test]
    fn a_sequential_fill_visits_each_entity_once_whatever_its_values_are() {
        let fill = "[[fill]]\nname = 'f'\ncommand = 'madd'\nstream = 'rides'\nentities = 'rider'\nrows = 50\nrequests = 20\n\
                    order = 'sequential'\nvalues.rider = { names = 'rider' }\n";
        let request = "[[request]]\n        name = \"events\"";
        let text = FILE.replace(request, &format!("{fill}{request}"));
        let file = WorkloadFile::parse(&text).unwrap();
        let workload = file.workload(&file.fill).unwrap();
        let mut draws = crate::run::draws(&workload, &file.load().unwrap(), None, 0).unwrap();
        let mut out = Vec::new();
        for _ in 0..20 {
            workload.requests[0].template.write(&mut out, &mut draws[0]);
        }
        let text = String::from_utf8(out).unwrap();
        // Each row is the entity, the time and the value.
        let words: Vec<&str> = text.split("\r\n").collect();
        let entities = words.iter().zip(words.iter().skip(2)).filter(|(_, next)| next.len() == 13);
        let found: Vec<String> = entities.map(|(entity, _)| (*entity).to_owned()).collect();
        let expected: Vec<String> = (0..1000).map(|n| format!("r{n:03}")).collect();
        assert_eq!(found, expected);
        let drawn = FILE.replace("rate = 500", "rate = 500\norder = 'drawn'");
        assert!(WorkloadFile::parse(&drawn).unwrap_err().to_string().contains("only a [[fill]]"));
    }

    #[test]
    fn like_fields_do_not_have_like_values() {
        let fields = "values.fare = { float = { from = 1.0, to = 9.0 } }\n values.tip = { float = { from = 1.0, to = 9.0 } }";
        let text = FILE.replace("values.fare = { float = { from = 5.0, to = 5.0 } }", fields);
        let mut texts =
            WorkloadFile::parse(&text).and_then(|file| file.workload(&file.request)).unwrap().texts;
        let (mut tip, mut fare) = (texts.pop().unwrap(), texts.pop().unwrap());
        let same = (0..1000).filter(|_| fare.next() == tip.next()).count();
        assert!(same < 100, "{same} of 1,000 are the same");
    }

    #[test]
    fn every_file_that_comes_with_the_generator_is_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let count = files.inspect(|path| drop(WorkloadFile::read(path).unwrap())).count();
        assert!(count >= 5, "only {count} files");
    }

    #[test]
    fn scaled_rates_are_all_multiplied() {
        let mut file = WorkloadFile::parse(FILE).unwrap();
        file.scale_rates(0.5);
        assert_eq!(
            file.request.iter().map(|request| request.rate).collect::<Vec<_>>(),
            [Some(500.0), Some(250.0)]
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_place() {
        for (old, new, expected) in [
            ("rate = 500", "", "either every"),
            ("rate = 500", "rate = -1", "above 0"),
            ("entities = \"zone\"", "entities = \"town\"", "names.town"),
            ("names = \"rider\"", "names = \"driver\"", "names.driver"),
            ("count = 1000", "count = 100000", "do not tell 100000 apart"),
            ("zipf:0.99", "zip:1", "names.rider.distribution"),
            ("from = 5.0", "from = 6.0", "fare"),
            ("rows = 2", "rows = 0", "0 rows"),
            ("rows = 2", "rows = 51\nrepeats = false", "51 different ones of 100 zone"),
            ("duplicate_share = 0.5", "duplicate_share = 1.0", "duplicate_share"),
            ("features = [\"count:10m\"]", "id = true", "a read has no"),
            ("title = \"rides\"", "titel = \"rides\"", "titel"),
            ("connections = 3", "connections = 0", "each needs one"),
        ] {
            assert!(FILE.contains(old), "{old}");
            let outcome = WorkloadFile::parse(&FILE.replace(old, new));
            let error = outcome.expect_err(new).to_string();
            assert!(error.contains(expected), "{new}: {error}");
        }
    }
}
