//! The stream, and the events on their way into it: over one connection, because the order of one connection is what
//! `CLOCK EVENT` goes by.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use windrow_client::{Client, Clock, FieldType, StreamDefinition, Value};

use super::arguments::DemoArgs;
use super::error::DemoError;
use super::progress::Progress;
use super::source::{LeftOut, Sample, Source};

/// Events of one EVENT.MADD.
const BATCH_EVENTS: usize = 512;
/// Stands for a missing value.
const NULL_TOKEN: &[u8] = b"\0";
/// Entities whose events are counted to find the busiest; those that come later are not in the table.
const ENTITIES_COUNTED_MAX: usize = 1_000_000;
/// A start with a long log to read can take this long.
const START_WAIT: Duration = Duration::from_secs(600);

/// A connection, and the stream made for a source.
pub(super) struct Loader {
    pub(super) client: Client,
    pub(super) stream: String,
    /// Lengths of the windows, in the order given.
    pub(super) lengths: Vec<String>,
    /// The stream had events before: they are not sent again.
    had_events: bool,
}

/// What was sent, and what the table needs to know of it.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Nothing was sent: the stream had events before.
    pub(super) was_there: bool,
    /// Events counted, by what the server said, or by the source when they were there before.
    pub(super) counted: u64,
    /// Events that the server did not count, by its reply.
    pub(super) not_counted: HashMap<String, u64>,
    /// Events that it could not understand.
    pub(super) refused: LeftOut,
    /// Rows that did not become events.
    pub(super) left_out: LeftOut,
    pub(super) took: Duration,
    /// Events of the entities that the table is about.
    pub(super) headline: HashMap<Vec<u8>, u64>,
    /// The busiest entity that the table is not about.
    pub(super) other: HashMap<Vec<u8>, u64>,
    /// The newest event time counted.
    pub(super) clock_ms: Option<i64>,
    /// For the table: what its entities and their events are called, and the field that it sums.
    pub(super) headline_entity: String,
    pub(super) headline_count: &'static str,
    pub(super) origin_name: &'static str,
    pub(super) headline_field: Option<String>,
}

impl Loader {
    /// Connects and makes the stream, or finds it.
    pub(super) async fn connect(
        addr: SocketAddr,
        args: &DemoArgs,
        source: &dyn Source,
    ) -> Result<Loader, DemoError> {
        let windows: Vec<String> =
            args.windows.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let mut definition = StreamDefinition::new(&args.stream)
            .windows(windows.clone())
            .aggregates(["count", "since"])
            .clock(Clock::Event);
        for field in source.fields() {
            let aggregate = if field.kind == FieldType::String { "count" } else { "sum" };
            definition = definition
                .field(&field.name, field.kind)
                .aggregates([format!("{aggregate}({})", field.name)]);
        }
        if let Some(retain) = &args.retain {
            definition = definition.retain(retain);
        }
        let client = Client::builder(addr.to_string()).client_name("windrow-demo").connect().await?;
        wait_until_loaded(&client).await?;
        let exists = client.list_streams().await?.contains(&args.stream);
        if exists && args.reload {
            client.drop_stream(&args.stream).await?;
        }
        client
            .create_stream(&definition)
            .await
            .map_err(|error| DemoError::Stream { name: args.stream.clone(), reason: error.to_string() })?;
        // Counters start anew with the process; entities are what is there.
        let entities = client.stream_info(&args.stream).await?.int("entities").unwrap_or(0);
        let lengths =
            windows.iter().map(|window| window.split('@').next().unwrap_or(window).to_owned()).collect();
        Ok(Loader { client, stream: args.stream.clone(), lengths, had_events: entities > 0 })
    }

    /// Sends everything, unless the stream had events before: then it only looks at what is there.
    pub(super) async fn load(&self, source: &mut dyn Source) -> Result<Loaded, DemoError> {
        let fields: Vec<String> = source.fields().iter().map(|field| field.name.clone()).collect();
        let mut loaded = Loaded {
            was_there: self.had_events,
            headline_entity: source.headline_entity().to_owned(),
            headline_count: source.headline_count(),
            origin_name: source.origin_name(),
            headline_field: headline_field(source),
            ..Loaded::default()
        };
        if self.had_events {
            eprintln!(
                "The stream {} already has events: not loaded again (--reload drops and loads it anew).",
                self.stream
            );
        }
        let headline = format!("{}:", source.headline_entity()).into_bytes();
        let verb = if self.had_events { "Reading" } else { "Loading" };
        let mut progress = Progress::start(&format!("{verb} {}", source.title()));
        let started = Instant::now();
        let mut batch: Vec<Sample> = Vec::with_capacity(BATCH_EVENTS);
        loop {
            let more = source.next_row(&mut batch)?;
            if !batch.is_empty() && (!more || batch.len() >= BATCH_EVENTS) {
                let replies = if self.had_events { None } else { Some(self.send(&fields, &batch).await?) };
                for (place, sample) in batch.drain(..).enumerate() {
                    let reply = replies.as_ref().map(|replies| &replies[place]);
                    loaded.note(sample, reply, &headline);
                }
                progress.show(source.position(), loaded.counted);
            }
            if !more {
                break;
            }
        }
        progress.finish();
        loaded.took = started.elapsed();
        loaded.left_out = source.left_out().clone();
        if loaded.counted == 0 {
            let first = loaded.refused.first().or_else(|| loaded.left_out.first()).map(str::to_owned);
            let replies = || format!("the server answered {:?}", loaded.not_counted);
            return Err(DemoError::NothingCounted { first: first.unwrap_or_else(replies) });
        }
        Ok(loaded)
    }

    /// One EVENT.MADD; a reply for each event.
    async fn send(&self, fields: &[String], batch: &[Sample]) -> Result<Vec<Value>, DemoError> {
        let mut args: Vec<Vec<u8>> = Vec::with_capacity(8 + fields.len() + batch.len() * (2 + fields.len()));
        args.extend(
            ["EVENT.MADD", &self.stream, "FIELDS", &fields.len().to_string()]
                .map(|word| word.as_bytes().to_vec()),
        );
        args.extend(fields.iter().map(|field| field.as_bytes().to_vec()));
        if batch.iter().any(|sample| sample.values.iter().any(Option::is_none)) {
            args.extend([b"NULL".to_vec(), NULL_TOKEN.to_vec()]);
        }
        args.push(b"EVENTS".to_vec());
        for sample in batch {
            args.push(sample.entity.clone());
            args.push(sample.time_ms.to_string().into_bytes());
            args.extend(
                sample.values.iter().map(|value| value.clone().unwrap_or_else(|| NULL_TOKEN.to_vec())),
            );
        }
        match self.client.command(args).await? {
            Value::Array(replies) if replies.len() == batch.len() => Ok(replies),
            other => {
                Err(DemoError::Server(format!("EVENT.MADD of {} events was answered {other:?}", batch.len())))
            }
        }
    }
}

impl Loaded {
    fn note(&mut self, sample: Sample, reply: Option<&Value>, headline: &[u8]) {
        match reply {
            Some(Value::Error(error)) => {
                let (origin_name, origin) = (self.origin_name, sample.origin);
                self.refused.add(|| format!("{origin_name} {origin}: {error}"));
                return;
            }
            Some(reply) if reply.as_str() != Some("OK") => {
                let reply = reply.as_str().map_or_else(|| format!("{reply:?}"), str::to_owned);
                *self.not_counted.entry(reply).or_default() += 1;
                return;
            }
            _ => {}
        }
        self.counted += 1;
        self.clock_ms = self.clock_ms.max(Some(sample.time_ms));
        let counts = if sample.entity.starts_with(headline) { &mut self.headline } else { &mut self.other };
        if let Some(count) = counts.get_mut(&sample.entity) {
            *count += 1;
        } else if counts.len() < ENTITIES_COUNTED_MAX {
            counts.insert(sample.entity, 1);
        }
    }
}

/// The field whose sum stands in the table: lines added, an amount, else the first of numbers.
fn headline_field(source: &dyn Source) -> Option<String> {
    let numbers = || source.fields().iter().filter(|field| field.kind != FieldType::String);
    let preferred = numbers().find(|field| matches!(field.name.as_str(), "added" | "amount"));
    preferred.or_else(|| numbers().next()).map(|field| field.name.clone())
}

/// A directory with a long log answers -LOADING for a while.
async fn wait_until_loaded(client: &Client) -> Result<(), DemoError> {
    let started = Instant::now();
    loop {
        match client.ping().await {
            Err(error) if error.is_loading() && started.elapsed() < START_WAIT => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}
