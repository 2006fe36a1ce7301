//! What may stand in a workload file.

use crate::entities::{Distribution, Order};
use crate::models::{NumberModel, TimeModel};
use serde::Deserialize;
use std::collections::BTreeMap;

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
