//! Changing a stream that exists.

use super::{FieldType, SkewPolicy, ok, words};
use crate::client::Client;
use crate::codec::Command;
use crate::error::Error;
use crate::window::duration;
use std::time::Duration;

/// A `STREAM.ALTER` in the making: all that it says happens in one step, or nothing does.
///
/// ```
/// use std::time::Duration;
/// use windrow_client::StreamAlteration;
///
/// let wider = StreamAlteration::new("purchases")
///     .add_windows(["7d@1h"])
///     .add_aggregates(["distinct(merchant):7d"])
///     .backfill()
///     .set_ttl(Some(Duration::from_secs(30 * 86_400)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StreamAlteration {
    name: String,
    fields: Vec<(String, FieldType)>,
    windows: Vec<String>,
    aggregates: Vec<String>,
    backfill: bool,
    dropped_windows: Vec<String>,
    dropped_aggregates: Vec<String>,
    /// Keyword and words behind it, in the order given; the last of a keyword counts.
    settings: Vec<(&'static str, Vec<String>)>,
}

impl StreamAlteration {
    /// Of a stream of this name, which nothing is changed of yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            fields: Vec::new(),
            windows: Vec::new(),
            aggregates: Vec::new(),
            backfill: false,
            dropped_windows: Vec::new(),
            dropped_aggregates: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Adds a field. Fields are never removed.
    #[must_use]
    pub fn add_field(mut self, name: impl Into<String>, field_type: FieldType) -> Self {
        self.fields.push((name.into(), field_type));
        self
    }

    /// Adds windows: `<length>[@<bucket>]`.
    #[must_use]
    pub fn add_windows<W: Into<String>>(mut self, windows: impl IntoIterator<Item = W>) -> Self {
        self.windows.extend(windows.into_iter().map(Into::into));
        self
    }

    /// Adds aggregates, over all windows or those named behind them.
    #[must_use]
    pub fn add_aggregates<A: Into<String>>(mut self, aggregates: impl IntoIterator<Item = A>) -> Self {
        self.aggregates.extend(aggregates.into_iter().map(Into::into));
        self
    }

    /// Has added windows and aggregates count the stream's earlier events, too, as far as the server's log holds them. That goes on in
    /// the background: see [`StreamInfo::backfill`](crate::StreamInfo::backfill).
    #[must_use]
    pub fn backfill(mut self) -> Self {
        self.backfill = true;
        self
    }

    /// Drops windows, with all that is counted over them.
    #[must_use]
    pub fn drop_windows<W: Into<String>>(mut self, windows: impl IntoIterator<Item = W>) -> Self {
        self.dropped_windows.extend(windows.into_iter().map(Into::into));
        self
    }

    /// Drops aggregates, of all windows or those named behind them.
    #[must_use]
    pub fn drop_aggregates<A: Into<String>>(mut self, aggregates: impl IntoIterator<Item = A>) -> Self {
        self.dropped_aggregates.extend(aggregates.into_iter().map(Into::into));
        self
    }

    /// Keeps more than the windows need, as these say: `<duration>[@<bucket>]`. None: no more than by default.
    #[must_use]
    pub fn set_retain<R: Into<String>>(self, retain: impl IntoIterator<Item = R>) -> Self {
        let words: Vec<String> = retain.into_iter().map(Into::into).collect();
        self.set("RETAIN", if words.is_empty() { vec!["NONE".to_owned()] } else { words })
    }

    /// Accepts events this much older than the clock, and no older ones; `None`: as old as buckets are kept for.
    #[must_use]
    pub fn set_lateness(self, lateness: Option<Duration>) -> Self {
        self.set("LATENESS", vec![duration_or_none(lateness)])
    }

    /// What happens to events more than this ahead of the server's clock.
    #[must_use]
    pub fn set_skew(self, skew: Duration, policy: SkewPolicy) -> Self {
        self.set("SKEW", vec![duration(skew), policy.keyword().to_owned()])
    }

    /// Remembers ids of events for this long; `None`: takes none any more.
    #[must_use]
    pub fn set_dedup(self, dedup: Option<Duration>) -> Self {
        self.set("DEDUP", vec![duration_or_none(dedup)])
    }

    /// Forgets an entity this long after its newest event; `None`: as long as its windows need.
    #[must_use]
    pub fn set_ttl(self, ttl: Option<Duration>) -> Self {
        self.set("TTL", vec![duration_or_none(ttl)])
    }

    fn set(mut self, keyword: &'static str, words: Vec<String>) -> Self {
        self.settings.retain(|(other, _)| *other != keyword);
        self.settings.push((keyword, words));
        self
    }

    fn command(&self) -> Result<Command, Error> {
        let adds = !self.windows.is_empty() || !self.aggregates.is_empty();
        if self.backfill && !adds {
            return Err(Error::InvalidArgument(format!(
                "backfill() of {} without windows or aggregates that are added",
                self.name
            )));
        }
        let mut command = Command::new("STREAM.ALTER");
        command.arg(&self.name);
        if adds || !self.fields.is_empty() {
            command.arg("ADD");
            super::fields(&mut command, &self.fields);
            words(&mut command, "WINDOWS", &self.windows);
            words(&mut command, "AGGREGATE", &self.aggregates);
        }
        if self.backfill {
            command.arg("BACKFILL");
        }
        if !self.dropped_windows.is_empty() || !self.dropped_aggregates.is_empty() {
            command.arg("DROP");
            words(&mut command, "WINDOWS", &self.dropped_windows);
            words(&mut command, "AGGREGATE", &self.dropped_aggregates);
        }
        if !self.settings.is_empty() {
            command.arg("SET");
            for (keyword, behind) in &self.settings {
                words(&mut command, keyword, behind);
            }
        }
        Ok(command)
    }
}

fn duration_or_none(given: Option<Duration>) -> String {
    given.map_or_else(|| "NONE".to_owned(), duration)
}

impl Client {
    /// Changes a stream that exists. When this returns, the change is durable and every event counts by it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a backfill of nothing; [`Error::Server`] for a change that the server refuses, and while a backfill
    /// of the stream is running.
    pub async fn alter_stream(&self, alteration: &StreamAlteration) -> Result<(), Error> {
        ok(&self.write(alteration.command()?).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(alteration: &StreamAlteration) -> String {
        let bytes = alteration.command().unwrap().finish().unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }

    #[test]
    fn an_alteration_is_sent_in_the_order_of_the_contract() {
        let alteration = StreamAlteration::new("buys")
            .set_lateness(Some(Duration::from_secs(30)))
            .drop_aggregates(["max(amount)"])
            .drop_windows(["5m"])
            .add_aggregates(["distinct(shop):7d"])
            .add_windows(["7d@1h"])
            .add_field("shop", FieldType::String)
            .backfill()
            .set_skew(Duration::from_secs(5), SkewPolicy::Clamp)
            .set_dedup(None)
            .set_ttl(Some(Duration::from_secs(1)))
            .set_ttl(None)
            .set_retain(["1d@1m", "2d@1h"]);
        assert_eq!(
            sent(&alteration),
            "STREAM.ALTER buys ADD FIELDS shop STRING WINDOWS 7d@1h AGGREGATE distinct(shop):7d BACKFILL DROP \
             WINDOWS 5m AGGREGATE max(amount) SET LATENESS 30000ms SKEW 5000ms CLAMP DEDUP NONE TTL NONE \
             RETAIN 1d@1m 2d@1h"
        );
        let none = StreamAlteration::new("buys").set_retain(Vec::<String>::new());
        assert_eq!(sent(&none), "STREAM.ALTER buys SET RETAIN NONE");
    }

    #[test]
    fn a_backfill_of_nothing_is_refused_before_it_is_sent() {
        let nothing = StreamAlteration::new("buys").add_field("shop", FieldType::String).backfill();
        assert!(matches!(nothing.command(), Err(Error::InvalidArgument(_))));
    }
}
