//! What a server says of a stream.

use super::Clock;
use crate::error::Error;
use crate::value::Value;

/// What `STREAM.INFO` says. The map grows with the server's versions: what has no field here stands in
/// [`entries`](Self::entries).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The stream's name.
    pub name: String,
    /// The definition, as the arguments of a `STREAM.CREATE` that would make the same stream.
    pub definition: String,
    /// When it was created, in Unix milliseconds.
    pub created_ms: i64,
    /// Entities that are kept.
    pub entities: i64,
    /// Bytes of memory that they take.
    pub bytes: i64,
    /// What became of the events received.
    pub counters: StreamCounters,
    /// What "now" is.
    pub clock_mode: Clock,
    /// Now; `None`: no event has set the clock yet.
    pub clock_ms: Option<i64>,
    /// The clock less LATENESS; `None` without either.
    pub watermark_ms: Option<i64>,
    /// The newest event time; `None` without events.
    pub newest_ms: Option<i64>,
    /// Rings of buckets, the finest first.
    pub tiers: Vec<Tier>,
    /// Since when each feature is complete, in the order of their declaration.
    pub covered_from_ms: Vec<(String, Option<i64>)>,
    /// How the stream is filled with earlier events; `None`: it never was.
    pub backfill: Option<Backfill>,
    entries: Value,
}

/// What became of a stream's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamCounters {
    /// Counted in the bucket of their time.
    pub ok: i64,
    /// Counted at the server's time.
    pub clamped: i64,
    /// Too far ahead: not counted.
    pub skewed: i64,
    /// Too old: not counted.
    pub late: i64,
    /// Counted before.
    pub duplicate: i64,
    /// Refused for their form.
    pub errors: i64,
    /// Entities that were removed to make room.
    pub evicted: i64,
}

/// The buckets of one width.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tier {
    /// Their width, such as `1m`.
    pub bucket: String,
    /// The longest window over them, such as `1h`.
    pub longest_window: String,
    /// How much longer they are kept.
    pub retain: String,
    /// How many there are in a full ring.
    pub buckets: i64,
}

/// How far a backfill is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backfill {
    /// What it is doing, in words.
    pub state: String,
    /// How much of the work is done.
    pub percent: i64,
    /// Events that were read from the log.
    pub events: i64,
    /// Entities that have what was found of them.
    pub entities: i64,
    /// Records that would have become too large, and stay without.
    pub too_large: i64,
}

impl Backfill {
    /// Whether everything that was to be filled is.
    pub fn is_finished(&self) -> bool {
        self.state == "finished"
    }
}

impl StreamInfo {
    pub(super) fn from_value(reply: Value) -> Result<Self, Error> {
        let map = Map(&reply);
        let counters = StreamCounters {
            ok: map.int("ok")?,
            clamped: map.int("clamped")?,
            skewed: map.int("skewed")?,
            late: map.int("late")?,
            duplicate: map.int("duplicate")?,
            errors: map.int("errors")?,
            evicted: map.int("evicted")?,
        };
        let tiers = map.value("tiers")?.as_array().ok_or_else(|| map.wrong())?;
        let covered = map.value("covered_from")?.clone().into_pairs()?;
        let covered = covered.into_iter().map(|(name, from_ms)| Ok((name.into_text()?, from_ms.as_i64())));
        let backfill = map.value("backfill")?;
        Ok(Self {
            name: map.text("stream")?,
            definition: map.text("definition")?,
            created_ms: map.int("created")?,
            entities: map.int("entities")?,
            bytes: map.int("bytes")?,
            counters,
            clock_mode: match &*map.text("clock_mode")? {
                "WALL" => Clock::Wall,
                "EVENT" => Clock::Event,
                _ => return Err(map.wrong()),
            },
            clock_ms: map.value("clock")?.as_i64(),
            watermark_ms: map.value("watermark")?.as_i64(),
            newest_ms: map.value("newest")?.as_i64(),
            tiers: tiers.iter().map(tier).collect::<Result<_, _>>()?,
            covered_from_ms: covered.collect::<Result<_, Error>>()?,
            backfill: if backfill.is_null() { None } else { Some(progress(backfill)?) },
            entries: Value::Null,
        }
        .with_entries(reply))
    }

    fn with_entries(mut self, entries: Value) -> Self {
        self.entries = entries;
        self
    }

    /// An entry by name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)
    }

    /// An integer entry by name, such as `entities`.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name)?.as_i64()
    }

    /// All entries, in order.
    pub fn entries(&self) -> &Value {
        &self.entries
    }

    /// Since when a feature is complete, in Unix milliseconds; `None`: there is no such feature, or it is not known.
    pub fn covered_from_ms(&self, feature: &str) -> Option<i64> {
        self.covered_from_ms.iter().find(|(name, _)| name == feature)?.1
    }
}

fn tier(value: &Value) -> Result<Tier, Error> {
    let map = Map(value);
    Ok(Tier {
        bucket: map.text("bucket")?,
        longest_window: map.text("longest_window")?,
        retain: map.text("retain")?,
        buckets: map.int("buckets")?,
    })
}

fn progress(value: &Value) -> Result<Backfill, Error> {
    let map = Map(value);
    Ok(Backfill {
        state: map.text("state")?,
        percent: map.int("percent")?,
        events: map.int("events")?,
        entities: map.int("entities")?,
        too_large: map.int("too_large")?,
    })
}

/// A map of a reply, all of whose entries asked for must be there.
#[derive(Clone, Copy)]
pub(crate) struct Map<'a>(pub(crate) &'a Value);

impl<'a> Map<'a> {
    pub(crate) fn value(self, name: &str) -> Result<&'a Value, Error> {
        self.0.get(name).ok_or_else(|| self.wrong())
    }

    pub(crate) fn int(self, name: &str) -> Result<i64, Error> {
        self.value(name)?.as_i64().ok_or_else(|| self.wrong())
    }

    pub(crate) fn text(self, name: &str) -> Result<String, Error> {
        self.value(name)?.as_str().map(str::to_owned).ok_or_else(|| self.wrong())
    }

    pub(crate) fn wrong(self) -> Error {
        self.0.unexpected("a map with the entries of a Windrow server")
    }
}
