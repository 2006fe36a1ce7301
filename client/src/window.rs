//! Reading features: one entity, many entities, several streams, a range of buckets, the largest.

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

    /// Features of several entities in several streams, in one command and with one instant for each stream: pairs of entity and
    /// stream.
    ///
    /// ```no_run
    /// # async fn example(client: windrow_client::Client) -> Result<(), windrow_client::Error> {
    /// let query = client.join([("user:42", "purchases"), ("card:7", "swipes")]);
    /// let rows = query.features_each([vec!["sum(amount):1h"], vec!["count:5m", "max(amount):1h"]]).get().await?;
    /// # Ok(()) }
    /// ```
    pub fn join<E: AsRef<[u8]>, S: Into<String>>(
        &self,
        pairs: impl IntoIterator<Item = (E, S)>,
    ) -> JoinQuery {
        let pairs = pairs
            .into_iter()
            .map(|(entity, stream)| (Bytes::copy_from_slice(entity.as_ref()), stream.into()))
            .collect();
        JoinQuery { pairs, each: None, query: Query::new(self, "") }
    }

    /// The `k` entities with the largest values of a feature, the largest first. The server scans all entities, which takes up to
    /// seconds, and does one such scan at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] with the code `BUSY` while another scan is running; for an unknown stream, or a feature that is no number.
    pub async fn top(
        &self,
        stream: impl Into<String>,
        feature: impl Into<String>,
        k: usize,
    ) -> Result<Vec<(Bytes, Value)>, Error> {
        let mut command = Command::new("WINDOW.TOP");
        command.arg(stream.into()).arg(feature.into()).num(k);
        let pairs = self.read(command).await?.into_array()?;
        pairs.into_iter().map(ranked_pair).collect()
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

/// What a row was read over.
#[derive(Clone, Debug, PartialEq)]
pub struct RowMeta {
    /// Start and end of each feature's window in Unix milliseconds, in the order of the row; `None` for `all`, and while the stream
    /// has no clock.
    pub bounds: Vec<Option<(i64, i64)>>,
    /// The stream's clock − LATENESS; `None` without either.
    pub watermark_ms: Option<i64>,
    /// The newest event time of the entity; `None` for one that is unknown.
    pub newest_ms: Option<i64>,
    /// Since when each feature is complete, in the order of the row.
    pub covered_from_ms: Vec<Option<i64>>,
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

    /// `<stream> [AT <ts>|EVENT] [OFFSET <dur>] [HOP <dur>] [FINAL] [EDGE …] [WITHMETA] [<feature> ...]`
    fn write(&self, command: &mut Command, with_meta: bool) {
        command.arg(&self.stream);
        self.write_options(command, with_meta);
        for feature in &self.features {
            command.arg(feature);
        }
    }

    fn write_options(&self, command: &mut Command, with_meta: bool) {
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
        if with_meta {
            command.arg("WITHMETA");
        }
    }

    fn check(&self) -> Result<(), Error> {
        check(&self.features)
    }

    /// Rows of the given replies. All rows of features asked for by name share one list of names.
    fn rows(&self, replies: Vec<Value>) -> Result<Vec<Row>, Error> {
        let names: Arc<[String]> = self.features.clone().into();
        replies.into_iter().map(|reply| row(&names, reply)).collect()
    }

    fn rows_with_meta(&self, replies: Vec<Value>) -> Result<Vec<(Row, RowMeta)>, Error> {
        let names: Arc<[String]> = self.features.clone().into();
        replies.into_iter().map(|reply| row_with_meta(&names, reply)).collect()
    }
}

fn check(features: &[String]) -> Result<(), Error> {
    // What holds no colon could be read as an option.
    match features.iter().find(|feature| !feature.contains(':')) {
        Some(feature) => Err(Error::InvalidArgument(format!(
            "{feature:?} is no feature; a feature is an aggregate over a window, such as sum(amount):5m"
        ))),
        None => Ok(()),
    }
}

fn row(names: &Arc<[String]>, reply: Value) -> Result<Row, Error> {
    if names.is_empty() { named_row(reply) } else { Row::new(names.clone(), reply.into_array()?) }
}

/// `[values, map]`
fn row_with_meta(names: &Arc<[String]>, reply: Value) -> Result<(Row, RowMeta), Error> {
    const EXPECTED: &str = "a row and what it was read over";
    let mut parts = reply.into_array()?;
    let (Some(meta), Some(values), true) = (parts.pop(), parts.pop(), parts.is_empty()) else {
        return Err(Value::Array(parts).unexpected(EXPECTED));
    };
    let row = row(names, values)?;
    let of_features = |name: &str| -> Result<Vec<Value>, Error> {
        let by_feature = meta.get(name).cloned().ok_or_else(|| meta.unexpected(EXPECTED))?;
        Ok(by_feature.into_pairs()?.into_iter().map(|(_, value)| value).collect())
    };
    let bounds = of_features("bounds")?.into_iter().map(|bounds| {
        let bounds = bounds.as_array()?;
        Some((bounds.first()?.as_i64()?, bounds.get(1)?.as_i64()?))
    });
    let meta = RowMeta {
        bounds: bounds.collect(),
        watermark_ms: meta.get("watermark").and_then(Value::as_i64),
        newest_ms: meta.get("newest").and_then(Value::as_i64),
        covered_from_ms: of_features("covered_from")?.iter().map(Value::as_i64).collect(),
    };
    Ok((row, meta))
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
        /// Asks for these features, such as `count:5m`, of every entity; without any, all declared ones come.
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

// Behind the macro that it uses.
mod join;
pub use join::JoinQuery;

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
        let reply = self.ask(false).await?;
        let mut rows = self.query.rows(vec![reply])?;
        rows.pop().ok_or(Error::Closed)
    }

    /// Fetches the row and what it was read over.
    ///
    /// # Errors
    ///
    /// As [`WindowQuery::get`].
    pub async fn get_with_meta(self) -> Result<(Row, RowMeta), Error> {
        let reply = self.ask(true).await?;
        let mut rows = self.query.rows_with_meta(vec![reply])?;
        rows.pop().ok_or(Error::Closed)
    }

    async fn ask(&self, with_meta: bool) -> Result<Value, Error> {
        self.query.check()?;
        let mut command = Command::new("WINDOW.GET");
        command.arg(&self.entity);
        self.query.write(&mut command, with_meta);
        self.query.client.read(command).await
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
        let replies = self.ask(false).await?;
        self.query.rows(replies)
    }

    /// Fetches the rows and what each was read over.
    ///
    /// # Errors
    ///
    /// As [`WindowQuery::get`].
    pub async fn get_with_meta(self) -> Result<Vec<(Row, RowMeta)>, Error> {
        let replies = self.ask(true).await?;
        self.query.rows_with_meta(replies)
    }

    async fn ask(&self, with_meta: bool) -> Result<Vec<Value>, Error> {
        self.query.check()?;
        if self.entities.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = Command::new("WINDOW.MGET");
        command.num(self.entities.len());
        for entity in &self.entities {
            command.arg(entity);
        }
        self.query.write(&mut command, with_meta);
        rows_of(self.query.client.read(command).await?, self.entities.len())
    }
}

fn rows_of(reply: Value, count: usize) -> Result<Vec<Value>, Error> {
    let replies = reply.into_array()?;
    if replies.len() != count {
        return Err(Value::Array(replies).unexpected("one row for each entity"));
    }
    Ok(replies)
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

fn ranked_pair(pair: Value) -> Result<(Bytes, Value), Error> {
    let mut pair = pair.into_array()?;
    match (pair.len(), pair.pop(), pair.pop()) {
        (2, Some(value), Some(Value::Bytes(entity))) => Ok((entity, value)),
        _ => Err(Value::Array(pair).unexpected("a pair of entity and value")),
    }
}
