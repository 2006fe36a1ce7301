//! Streams: defining, altering, listing, describing.

mod alteration;
mod info;

pub use alteration::StreamAlteration;
pub(crate) use info::Map;
pub use info::{Backfill, StreamCounters, StreamInfo, Tier};

use crate::client::Client;
use crate::codec::Command;
use crate::error::Error;
use crate::value::Value;
use crate::window::duration;
use std::time::Duration;

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A finite 64-bit float.
    Float,
    /// A 64-bit signed integer.
    Int,
    /// Up to 1,024 bytes.
    String,
}

/// What to do with an event too far ahead of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkewPolicy {
    /// Count it at the server's time.
    Clamp,
    /// Do not count it.
    Reject,
}

impl SkewPolicy {
    fn keyword(self) -> &'static str {
        match self {
            SkewPolicy::Clamp => "CLAMP",
            SkewPolicy::Reject => "REJECT",
        }
    }
}

/// What "now" is for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The server's clock.
    Wall,
    /// The newest event time seen.
    Event,
}

/// A stream to be created.
///
/// ```
/// use windrow_client::{FieldType, StreamDefinition};
///
/// let purchases = StreamDefinition::new("purchases")
///     .field("amount", FieldType::Float)
///     .windows(["5m@5s", "1h@1m"])
///     .aggregates(["count", "sum(amount)"]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StreamDefinition {
    name: String,
    fields: Vec<(String, FieldType)>,
    windows: Vec<String>,
    aggregates: Vec<String>,
    clock: Option<Clock>,
    lateness: Option<Duration>,
    skew: Option<(Duration, SkewPolicy)>,
    dedup: Option<Duration>,
    retain: Vec<String>,
    ttl: Option<Duration>,
    backfill_from: Option<String>,
}

impl StreamDefinition {
    /// A stream without windows or aggregates yet; it needs at least one of each.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fields: Vec::new(),
            windows: Vec::new(),
            aggregates: Vec::new(),
            clock: None,
            lateness: None,
            skew: None,
            dedup: None,
            retain: Vec::new(),
            ttl: None,
            backfill_from: None,
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, field_type: FieldType) -> Self {
        self.fields.push((name.into(), field_type));
        self
    }

    /// Adds windows: `<length>[@<bucket>]`, such as `1h@1m`.
    #[must_use]
    pub fn windows<W: Into<String>>(mut self, windows: impl IntoIterator<Item = W>) -> Self {
        self.windows.extend(windows.into_iter().map(Into::into));
        self
    }

    /// Adds aggregates: `count`, `sum(amount)`, `distinct(merchant):7d`.
    #[must_use]
    pub fn aggregates<A: Into<String>>(mut self, aggregates: impl IntoIterator<Item = A>) -> Self {
        self.aggregates.extend(aggregates.into_iter().map(Into::into));
        self
    }

    /// Sets the clock. Default: the server's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Accepts events this much older than the clock, and no older ones.
    #[must_use]
    pub fn lateness(mut self, lateness: Duration) -> Self {
        self.lateness = Some(lateness);
        self
    }

    /// What happens to events more than this ahead of the server's clock.
    #[must_use]
    pub fn skew(mut self, skew: Duration, policy: SkewPolicy) -> Self {
        self.skew = Some((skew, policy));
        self
    }

    /// Remembers ids of events for this long.
    #[must_use]
    pub fn dedup(mut self, dedup: Duration) -> Self {
        self.dedup = Some(dedup);
        self
    }

    /// Keeps more than the windows need: `<duration>[@<bucket>]`.
    #[must_use]
    pub fn retain(mut self, retain: impl Into<String>) -> Self {
        self.retain.push(retain.into());
        self
    }

    /// Forgets an entity this long after its newest event.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Fills the new stream with the events that another one counted until now, as far as the server's log holds them. That goes on in
    /// the background: see [`StreamInfo::backfill`].
    #[must_use]
    pub fn backfill_from(mut self, stream: impl Into<String>) -> Self {
        self.backfill_from = Some(stream.into());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new("STREAM.CREATE");
        command.arg(&self.name);
        fields(&mut command, &self.fields);
        words(&mut command, "WINDOWS", &self.windows);
        words(&mut command, "AGGREGATE", &self.aggregates);
        if let Some(clock) = self.clock {
            command.arg("CLOCK").arg(match clock {
                Clock::Wall => "WALL",
                Clock::Event => "EVENT",
            });
        }
        if let Some(lateness) = self.lateness {
            command.arg("LATENESS").arg(duration(lateness));
        }
        if let Some((skew, policy)) = self.skew {
            command.arg("SKEW").arg(duration(skew)).arg(policy.keyword());
        }
        if let Some(dedup) = self.dedup {
            command.arg("DEDUP").arg(duration(dedup));
        }
        words(&mut command, "RETAIN", &self.retain);
        if let Some(ttl) = self.ttl {
            command.arg("TTL").arg(duration(ttl));
        }
        if let Some(source) = &self.backfill_from {
            command.arg("BACKFILL").arg("FROM").arg(source);
        }
        command
    }
}

fn fields(command: &mut Command, fields: &[(String, FieldType)]) {
    if !fields.is_empty() {
        command.arg("FIELDS");
        for (name, field_type) in fields {
            command.arg(name).arg(match field_type {
                FieldType::Float => "FLOAT",
                FieldType::Int => "INT",
                FieldType::String => "STRING",
            });
        }
    }
}

fn words(command: &mut Command, keyword: &str, words: &[String]) {
    if !words.is_empty() {
        command.arg(keyword);
        for word in words {
            command.arg(word);
        }
    }
}

impl Client {
    /// Creates a stream. One that exists with the same definition is fine.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] for a definition the server refuses, or one that differs from the existing stream's.
    pub async fn create_stream(&self, definition: &StreamDefinition) -> Result<(), Error> {
        ok(&self.write(definition.command()).await?)
    }

    /// Drops a stream and everything it holds.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] when there is none.
    pub async fn drop_stream(&self, name: &str) -> Result<(), Error> {
        let mut command = Command::new("STREAM.DROP");
        command.arg(name);
        ok(&self.write(command).await?)
    }

    /// The names of all streams.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub async fn list_streams(&self) -> Result<Vec<String>, Error> {
        let names = self.read(Command::new("STREAM.LIST")).await?.into_array()?;
        names.into_iter().map(Value::into_text).collect()
    }

    /// Definition, counters, clock and backfill of a stream.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] when there is none; [`Error::UnexpectedReply`] from a server that leaves entries out.
    pub async fn stream_info(&self, name: &str) -> Result<StreamInfo, Error> {
        let mut command = Command::new("STREAM.INFO");
        command.arg(name);
        let pairs = self.read(command).await?.into_pairs()?;
        StreamInfo::from_value(Value::Map(pairs))
    }
}

fn ok(reply: &Value) -> Result<(), Error> {
    if reply.as_str() == Some("OK") { Ok(()) } else { Err(reply.unexpected("OK")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_sent_in_the_order_of_the_contract() {
        let definition = StreamDefinition::new("buys")
            .field("amount", FieldType::Float)
            .field("shop", FieldType::String)
            .windows(["5m@1m", "1h"])
            .aggregates(["count", "distinct(shop):1h"])
            .clock(Clock::Event)
            .lateness(Duration::from_secs(30))
            .skew(Duration::from_secs(60), SkewPolicy::Reject)
            .dedup(Duration::from_secs(600))
            .retain("1d@1m")
            .ttl(Duration::from_secs(7200))
            .backfill_from("swipes");
        let bytes = definition.command().finish().unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let words: Vec<_> = text.split("\r\n").skip(2).step_by(2).collect();
        assert_eq!(
            words.join(" ").trim_end(),
            "STREAM.CREATE buys FIELDS amount FLOAT shop STRING WINDOWS 5m@1m 1h AGGREGATE count \
             distinct(shop):1h CLOCK EVENT LATENESS 30000ms SKEW 60000ms REJECT DEDUP 600000ms RETAIN 1d@1m \
             TTL 7200000ms BACKFILL FROM swipes"
        );
    }
}
