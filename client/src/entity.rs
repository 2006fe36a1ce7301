//! Entities as such: deleting, listing, describing.

use crate::client::Client;
use crate::codec::Command;
use crate::error::Error;
use crate::stream::Map;
use crate::value::Value;
use bytes::Bytes;

/// What `ENTITY.INFO` says of an entity in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityInfo {
    /// Its newest event time, in Unix milliseconds.
    pub newest_ms: i64,
    /// Bytes of memory that its record takes.
    pub bytes: i64,
    /// When it dies by the stream's clock, if no event comes; `None`: never.
    pub dies_ms: Option<i64>,
    /// What its rings hold, the finest first.
    pub tiers: Vec<EntityTier>,
}

/// One ring of an entity's record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityTier {
    /// The width of its buckets, such as `1m`.
    pub bucket: String,
    /// Buckets that hold something.
    pub buckets: i64,
    /// Buckets that it has room for as it is.
    pub capacity: i64,
}

impl Client {
    /// Deletes an entity from all streams; gives how many it was in.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] without room in the server's log or memory; then nothing was deleted.
    pub async fn delete_entity(&self, entity: impl AsRef<[u8]>) -> Result<u64, Error> {
        let mut command = Command::new("ENTITY.DEL");
        command.arg(entity);
        count(&self.write(command).await?)
    }

    /// Deletes an entity from one stream; gives whether it was there.
    ///
    /// # Errors
    ///
    /// As [`Client::delete_entity`]; [`Error::Server`] for an unknown stream.
    pub async fn delete_entity_of(
        &self,
        entity: impl AsRef<[u8]>,
        stream: impl Into<String>,
    ) -> Result<bool, Error> {
        let mut command = Command::new("ENTITY.DEL");
        command.arg(entity).arg(stream.into());
        Ok(count(&self.write(command).await?)? > 0)
    }

    /// What the server knows of an entity in a stream; `None`: nothing, or it is dead.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] for an unknown stream.
    pub async fn entity_info(
        &self,
        entity: impl AsRef<[u8]>,
        stream: impl Into<String>,
    ) -> Result<Option<EntityInfo>, Error> {
        let mut command = Command::new("ENTITY.INFO");
        command.arg(entity).arg(stream.into());
        let reply = self.read(command).await?;
        if reply.is_null() { Ok(None) } else { info(&reply).map(Some) }
    }

    /// Lists the entities of a stream, a page at a time.
    ///
    /// ```no_run
    /// # async fn example(client: windrow_client::Client) -> Result<(), windrow_client::Error> {
    /// let mut pages = client.scan_entities("purchases").matching("user:*").page_hint(500);
    /// while let Some(entities) = pages.next_page().await? {
    ///     for entity in entities {
    ///         client.delete_entity_of(entity, "purchases").await?;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn scan_entities(&self, stream: impl Into<String>) -> EntityScan {
        EntityScan {
            client: self.clone(),
            stream: stream.into(),
            pattern: None,
            count: None,
            cursor: Some("0".to_owned()),
        }
    }
}

/// A walk over the entities of a stream. Every entity that is there from its first page to its last is found, at least once; one that
/// comes or goes meanwhile may be.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before next_page()"]
pub struct EntityScan {
    client: Client,
    stream: String,
    pattern: Option<Bytes>,
    count: Option<usize>,
    /// `None`: it has ended.
    cursor: Option<String>,
}

impl EntityScan {
    /// Only entities that match a glob pattern, such as `user:*`. It can have 1,024 bytes: with a longer one the server answers
    /// [`next_page`](Self::next_page) with an error.
    pub fn matching(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.pattern = Some(Bytes::copy_from_slice(pattern.as_ref()));
        self
    }

    /// About how many entities to look at for a page; the server's default is 10.
    pub fn page_hint(mut self, entities: usize) -> Self {
        self.count = Some(entities);
        self
    }

    /// The next page, which may be empty; `None`: that was all. After an error, the same page is asked for again.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] for an unknown stream, or when the server was started again with another number of shards: begin a new scan.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        const EXPECTED: &str = "a cursor and a list of entities";
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let mut command = Command::new("ENTITY.SCAN");
        command.arg(&self.stream).arg(cursor);
        if let Some(pattern) = &self.pattern {
            command.arg("MATCH").arg(pattern);
        }
        if let Some(count) = self.count {
            command.arg("COUNT").num(count);
        }
        let mut parts = self.client.read(command).await?.into_array()?;
        let (Some(entities), Some(next), true) = (parts.pop(), parts.pop(), parts.is_empty()) else {
            return Err(Value::Array(parts).unexpected(EXPECTED));
        };
        let next = next.into_text()?;
        let entities = entities.into_array()?.into_iter().map(|entity| match entity {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(other.unexpected(EXPECTED)),
        });
        let entities = entities.collect::<Result<_, _>>()?;
        self.cursor = (next != "0").then_some(next);
        Ok(Some(entities))
    }
}

fn count(reply: &Value) -> Result<u64, Error> {
    let count = reply.as_i64().and_then(|count| u64::try_from(count).ok());
    count.ok_or_else(|| reply.unexpected("a count"))
}

fn info(reply: &Value) -> Result<EntityInfo, Error> {
    let map = Map(reply);
    let tier = |value: &Value| {
        let map = Map(value);
        Ok(EntityTier {
            bucket: map.text("bucket")?,
            buckets: map.int("buckets")?,
            capacity: map.int("capacity")?,
        })
    };
    let tiers = map.value("tiers")?.as_array().ok_or_else(|| map.wrong())?;
    Ok(EntityInfo {
        newest_ms: map.int("newest")?,
        bytes: map.int("bytes")?,
        dies_ms: map.value("dies")?.as_i64(),
        tiers: tiers.iter().map(tier).collect::<Result<_, Error>>()?,
    })
}
