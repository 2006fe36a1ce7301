//! Reading features: one entity, many entities, a range of buckets.

use crate::client::Client;
use crate::codec::Command;
use crate::error::Error;
use crate::value::{Row, Value};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

impl Client {
    /// Features of one entity, to be described further and then fetched.
    ///
    /// ```no_run
    /// # async fn example(client: windrow_client::Client) -> Result<(), windrow_client::Error> {
    /// let row = client.window("user:42", "purchases").features(["count:5m", "sum(amount):1h"]).get().await?;
    /// let (count, sum) = (row.int("count:5m"), row.float("sum(amount):1h"));
    /// # Ok(()) }
    /// ```
    pub fn window(&self, entity: impl AsRef<[u8]>, stream: impl Into<String>) -> WindowQuery {
        WindowQuery { entity: Bytes::copy_from_slice(entity.as_ref()), query: Query::new(self, stream) }
    }

    /// The same features of many entities, in one command and at one instant.
    pub fn mget<E: AsRef<[u8]>>(
        &self,
        entities: impl IntoIterator<Item = E>,
        stream: impl Into<String>,
    ) -> ManyQuery {
        let entities = entities.into_iter().map(|entity| Bytes::copy_from_slice(entity.as_ref())).collect();
        ManyQuery { entities, query: Query::new(self, stream) }
    }

    /// An aggregate bucket by bucket over `[from_ms, to_ms)`, in Unix milliseconds.
    pub fn range(
        &self,
        entity: impl AsRef<[u8]>,
        stream: impl Into<String>,
        aggregate: impl Into<String>,
        from_ms: i64,
        to_ms: i64,
    ) -> RangeQuery {
        RangeQuery {
            client: self.clone(),
            entity: Bytes::copy_from_slice(entity.as_ref()),
            stream: stream.into(),
            aggregate: aggregate.into(),
            from_ms,
            to_ms,
            bucket: None,
        }
    }
}

/// Which side a window errs on where its edge falls inside a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Never misses an event; reaches back at most a bucket too far. The server's default.
    Include,
    /// Never holds an event from outside the window: for training data.
    Exclude,
}

#[derive(Clone, Debug)]
enum At {
    Now,
    Timestamp(i64),
    NewestEvent,
}

/// What single and many reads have in common.
#[derive(Clone, Debug)]
struct Query {
    client: Client,
    stream: String,
    at: At,
    offset: Option<Duration>,
    hop: Option<Duration>,
    closed_only: bool,
    edge: Option<Edge>,
    features: Vec<String>,
}

impl Query {
    fn new(client: &Client, stream: impl Into<String>) -> Self {
        Self {
            client: client.clone(),
            stream: stream.into(),
            at: At::Now,
            offset: None,
            hop: None,
            closed_only: false,
            edge: None,
            features: Vec::new(),
        }
    }

    /// `<stream> [AT <ts>|EVENT] [OFFSET <dur>] [HOP <dur>] [FINAL] [EDGE …] [<feature> ...]`
    fn write(&self, command: &mut Command) {
        command.arg(&self.stream);
        match self.at {
            At::Now => {}
            At::Timestamp(ts_ms) => {
                command.arg("AT").num(ts_ms);
            }
            At::NewestEvent => {
                command.arg("AT").arg("EVENT");
            }
        }
        if let Some(offset) = self.offset {
            command.arg("OFFSET").arg(duration(offset));
        }
        if let Some(hop) = self.hop {
            command.arg("HOP").arg(duration(hop));
        }
        if self.closed_only {
            command.arg("FINAL");
        }
        match self.edge {
            None => {}
            Some(Edge::Include) => {
                command.arg("EDGE").arg("INCLUDE");
            }
            Some(Edge::Exclude) => {
                command.arg("EDGE").arg("EXCLUDE");
            }
        }
        for feature in &self.features {
            command.arg(feature);
        }
    }

    fn check(&self) -> Result<(), Error> {
        // What holds no colon could be read as an option.
        match self.features.iter().find(|feature| !feature.contains(':')) {
            Some(feature) => Err(Error::InvalidArgument(format!(
                "{feature:?} is no feature; a feature is an aggregate over a window, such as sum(amount):5m"
            ))),
            None => Ok(()),
        }
    }

    /// Rows of the given replies. All rows of features asked for by name share one list of names.
    fn rows(&self, replies: Vec<Value>) -> Result<Vec<Row>, Error> {
        let names: Arc<[String]> = self.features.clone().into();
        replies
            .into_iter()
            .map(|reply| {
                if names.is_empty() { named_row(reply) } else { Row::new(names.clone(), reply.into_array()?) }
            })
            .collect()
    }
}

/// A row of all declared features: names come with the reply.
fn named_row(reply: Value) -> Result<Row, Error> {
    let pairs = reply.into_pairs()?;
    let mut names = Vec::with_capacity(pairs.len());
    let mut values = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        names.push(name.into_text()?);
        values.push(value);
    }
    Row::new(names.into(), values)
}

/// A duration as the server reads it; sub-millisecond parts are cut.
pub(crate) fn duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

macro_rules! query_options {
    () => {
        /// Asks for these features, such as `count:5m`; without any, all declared ones come.
        pub fn features<F: Into<String>>(mut self, features: impl IntoIterator<Item = F>) -> Self {
            self.query.features.extend(features.into_iter().map(Into::into));
            self
        }

        /// As of this time in Unix milliseconds, instead of now.
        pub fn at(mut self, ts_ms: i64) -> Self {
            self.query.at = At::Timestamp(ts_ms);
            self
        }

        /// As of the stream's newest event, for pipelines that lag.
        pub fn at_newest_event(mut self) -> Self {
            self.query.at = At::NewestEvent;
            self
        }

        /// That much earlier.
        pub fn offset(mut self, offset: Duration) -> Self {
            self.query.offset = Some(offset);
            self
        }

        /// As of the last multiple of this: hopping windows; tumbling when it is the window's length.
        pub fn hop(mut self, hop: Duration) -> Self {
            self.query.hop = Some(hop);
            self
        }

        /// Only buckets that can no longer change (`FINAL`; needs LATENESS on the stream).
        pub fn closed_buckets_only(mut self) -> Self {
            self.query.closed_only = true;
            self
        }

        /// Which side to err on at the windows' edges.
        pub fn edge(mut self, edge: Edge) -> Self {
            self.query.edge = Some(edge);
            self
        }
    };
}

/// A `WINDOW.GET` in the making.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before get()"]
pub struct WindowQuery {
    entity: Bytes,
    query: Query,
}

impl WindowQuery {
    query_options!();

    /// Fetches the row. An unknown entity reads as an empty window.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] for an unknown stream or feature, or a time that is no longer kept; the connection's.
    pub async fn get(self) -> Result<Row, Error> {
        self.query.check()?;
        let mut command = Command::new("WINDOW.GET");
        command.arg(&self.entity);
        self.query.write(&mut command);
        let reply = self.query.client.read(command).await?;
        let mut rows = self.query.rows(vec![reply])?;
        rows.pop().ok_or(Error::Closed)
    }
}

/// A `WINDOW.MGET` in the making.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before get()"]
pub struct ManyQuery {
    entities: Vec<Bytes>,
    query: Query,
}

impl ManyQuery {
    query_options!();

    /// Fetches the rows, in the order of the entities.
    ///
    /// # Errors
    ///
    /// As [`WindowQuery::get`].
    pub async fn get(self) -> Result<Vec<Row>, Error> {
        self.query.check()?;
        if self.entities.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Command::new("WINDOW.MGET");
        command.num(self.entities.len());
        for entity in &self.entities {
            command.arg(entity);
        }
        self.query.write(&mut command);
        let replies = self.query.client.read(command).await?.into_array()?;
        if replies.len() != self.entities.len() {
            return Err(Value::Array(replies).unexpected("one row for each entity"));
        }
        self.query.rows(replies)
    }
}

/// A `WINDOW.RANGE` in the making.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before get()"]
pub struct RangeQuery {
    client: Client,
    entity: Bytes,
    stream: String,
    aggregate: String,
    from_ms: i64,
    to_ms: i64,
    bucket: Option<Duration>,
}

impl RangeQuery {
    /// Width of the buckets: a multiple of a declared one. Default: the finest that keeps the range.
    pub fn bucket(mut self, width: Duration) -> Self {
        self.bucket = Some(width);
        self
    }

    /// Fetches start (Unix milliseconds) and value of each bucket, empty ones included.
    ///
    /// # Errors
    ///
    /// As [`WindowQuery::get`]; the server also refuses more than 100,000 buckets.
    pub async fn get(self) -> Result<Vec<(i64, Value)>, Error> {
        let mut command = Command::new("WINDOW.RANGE");
        command.arg(&self.entity).arg(&self.stream).arg(&self.aggregate).num(self.from_ms).num(self.to_ms);
        if let Some(width) = self.bucket {
            command.arg("BUCKET").arg(duration(width));
        }
        let pairs = self.client.read(command).await?.into_array()?;
        pairs.into_iter().map(bucket_pair).collect()
    }
}

fn bucket_pair(pair: Value) -> Result<(i64, Value), Error> {
    let mut pair = pair.into_array()?;
    match (pair.len(), pair.first().and_then(Value::as_i64), pair.pop()) {
        (2, Some(start_ms), Some(value)) => Ok((start_ms, value)),
        _ => Err(Value::Array(pair).unexpected("a pair of bucket start and value")),
    }
}
