//! Batching: events of many tasks become one `EVENT.MADD`, and each gets its own reply.

use crate::client::Client;
use crate::codec::Command;
use crate::error::Error;
use crate::event::{Event, EventReply, FieldValue, timestamp};
use crate::value::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Most events that one batch may be set to hold.
pub const BATCH_EVENTS_MAX: usize = 10_000;

/// A batch that has grown to so many bytes is sent, however few events it holds.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Stands for an absent field on the wire. A STRING of exactly this byte cannot be sent in a batch.
const NULL_TOKEN: &[u8] = b"\0";

/// When a batch is sent, and how many may be under way.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// A batch is sent when it holds this many events: 1 to [`BATCH_EVENTS_MAX`]. Default 64.
    pub max_events: usize,
    /// … or when its first event has waited so long. Default 1 ms.
    pub max_delay: Duration,
    /// Batches whose replies are still to come; at this many, events wait. Default 8.
    pub max_batches_in_flight: usize,
    /// Every event carries an id ([`Event::id`]), by which the server recognises a retry. Default no.
    pub with_ids: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            max_events: 64,
            max_delay: Duration::from_millis(1),
            max_batches_in_flight: 8,
            with_ids: false,
        }
    }
}

impl Client {
    /// Starts batching events of one stream with the given fields.
    ///
    /// Events may leave fields out. Events that say [`Event::now`] get the time at which their batch arrives,
    /// up to `max_delay` later.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for options out of range.
    pub fn batcher<F: Into<String>>(
        &self,
        stream: impl Into<String>,
        fields: impl IntoIterator<Item = F>,
        options: BatchOptions,
    ) -> Result<Batcher, Error> {
        if options.max_events == 0
            || options.max_events > BATCH_EVENTS_MAX
            || options.max_batches_in_flight == 0
        {
            return Err(Error::InvalidArgument(format!(
                "{options:?}: max_events must be 1 to {BATCH_EVENTS_MAX}, max_batches_in_flight at least 1"
            )));
        }
        let layout = Arc::new(Layout {
            stream: stream.into(),
            fields: fields.into_iter().map(Into::into).collect(),
            with_ids: options.with_ids,
        });
        let (sender, receiver) = mpsc::channel(options.max_events);
        let batching = Batching {
            client: self.clone(),
            layout: layout.clone(),
            in_flight: Arc::new(Semaphore::new(options.max_batches_in_flight)),
            queue: receiver,
            options,
        };
        tokio::spawn(batching.run());
        Ok(Batcher { layout, queue: sender })
    }
}

/// Collects events of one stream into batches. Clones share batches; when the last one is dropped, what is
/// still waiting is sent.
#[derive(Clone, Debug)]
pub struct Batcher {
    layout: Arc<Layout>,
    queue: mpsc::Sender<Message>,
}

impl Batcher {
    /// Adds an event to the current batch and waits for its own reply.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an event that does not fit the batcher. [`Error::Server`] when the server
    /// refused this event alone (its neighbours are not affected) or the whole batch (`-OOM`, `-MISCONF`).
    /// The connection's errors, for every event of the batch.
    pub async fn add(&self, event: Event) -> Result<EventReply, Error> {
        let row = self.layout.row(&event)?;
        let (reply, pending) = oneshot::channel();
        self.queue.send(Message::Event { row, reply }).await.map_err(|_| Error::Closed)?;
        pending.await.map_err(|_| Error::Closed)?
    }

    /// Sends what has been collected and waits until every event added before is answered.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the batching task is gone.
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, pending) = oneshot::channel();
        self.queue.send(Message::Flush { done }).await.map_err(|_| Error::Closed)?;
        pending.await.map_err(|_| Error::Closed)
    }
}

/// What all events of a batcher have in common.
#[derive(Debug)]
struct Layout {
    stream: String,
    fields: Vec<String>,
    with_ids: bool,
}

/// One event as it stands behind `EVENTS`.
#[derive(Debug)]
struct Row {
    args: Command,
    has_null: bool,
}

impl Layout {
    fn row(&self, event: &Event) -> Result<Row, Error> {
        event.check()?;
        self.check(event)?;
        let mut args = Command::default();
        args.arg(&event.entity);
        timestamp(&mut args, event.at_ms);
        if let Some(id) = &event.id {
            args.arg(id);
        }
        let mut has_null = false;
        for name in &self.fields {
            match event.fields.iter().find(|(field, _)| field == name) {
                Some((_, value)) => value.write(&mut args),
                None => {
                    has_null = true;
                    args.arg(NULL_TOKEN);
                }
            }
        }
        Ok(Row { args, has_null })
    }

    fn check(&self, event: &Event) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::InvalidArgument(why));
        if event.stream != self.stream {
            return refuse(format!("an event of stream {} in a batcher of {}", event.stream, self.stream));
        }
        if event.source.is_some() {
            return refuse("a batcher sends no SOURCE; use ids, or Client::add".to_owned());
        }
        if event.id.is_some() != self.with_ids {
            return refuse(if self.with_ids {
                "the batcher is set to with_ids, but the event has none".to_owned()
            } else {
                "the event has an id, but the batcher is not set to with_ids".to_owned()
            });
        }
        for (at, (name, value)) in event.fields.iter().enumerate() {
            if !self.fields.contains(name) {
                return refuse(format!("field {name} is not among the batcher's: {:?}", self.fields));
            }
            if event.fields[..at].iter().any(|(earlier, _)| earlier == name) {
                return refuse(format!("field {name} is given twice"));
            }
            if matches!(value, FieldValue::Bytes(bytes) if bytes == NULL_TOKEN) {
                return refuse(format!(
                    "field {name} is a single zero byte, which stands for absent in a batch"
                ));
            }
        }
        Ok(())
    }

    /// `EVENT.MADD <stream> FIELDS <n> <field> ... [WITHIDS] [NULL <token>] EVENTS <row> ...`
    fn command(&self, rows: &[Row]) -> Command {
        let mut command = Command::new("EVENT.MADD");
        command.arg(&self.stream).arg("FIELDS").num(self.fields.len());
        for field in &self.fields {
            command.arg(field);
        }
        if self.with_ids {
            command.arg("WITHIDS");
        }
        if rows.iter().any(|row| row.has_null) {
            command.arg("NULL").arg(NULL_TOKEN);
        }
        command.arg("EVENTS");
        for row in rows {
            command.append(&row.args);
        }
        command
    }
}

type Reply = oneshot::Sender<Result<EventReply, Error>>;

#[derive(Debug)]
enum Message {
    Event { row: Row, reply: Reply },
    Flush { done: oneshot::Sender<()> },
}

/// The task behind a batcher.
struct Batching {
    client: Client,
    layout: Arc<Layout>,
    in_flight: Arc<Semaphore>,
    queue: mpsc::Receiver<Message>,
    options: BatchOptions,
}

#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    replies: Vec<Reply>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, row: Row, reply: Reply) {
        self.bytes += row.args.bytes();
        self.rows.push(row);
        self.replies.push(reply);
    }
}

impl Batching {
    async fn run(mut self) {
        while let Some(message) = self.queue.recv().await {
            let mut batch = Batch::default();
            let flush = match message {
                Message::Event { row, reply } => {
                    batch.push(row, reply);
                    self.collect(&mut batch).await
                }
                Message::Flush { done } => Some(done),
            };
            if !batch.rows.is_empty() {
                self.dispatch(batch).await;
            }
            if let Some(done) = flush {
                self.settle().await;
                let _ = done.send(());
            }
        }
    }

    /// Fills the batch until it is full, its time is up, or a flush is asked for.
    async fn collect(&mut self, batch: &mut Batch) -> Option<oneshot::Sender<()>> {
        let deadline = Instant::now() + self.options.max_delay;
        while batch.rows.len() < self.options.max_events && batch.bytes < BATCH_BYTES_MAX {
            match timeout_at(deadline, self.queue.recv()).await {
                Ok(Some(Message::Event { row, reply })) => batch.push(row, reply),
                Ok(Some(Message::Flush { done })) => return Some(done),
                // No handle is left, or the time is up.
                Ok(None) | Err(_) => break,
            }
        }
        None
    }

    /// Puts a batch on the wire, behind those before it; its replies are awaited aside.
    async fn dispatch(&self, batch: Batch) {
        let Ok(permit) = self.in_flight.clone().acquire_owned().await else { return };
        let deadline = Instant::now() + self.client.response_timeout();
        let submitted = match self.layout.command(&batch.rows).finish() {
            Ok(bytes) => self.client.submit(bytes, deadline).await,
            Err(error) => Err(error),
        };
        match submitted {
            Ok(pending) => {
                let client = self.client.clone();
                tokio::spawn(async move {
                    answer(batch.replies, client.outcome(pending, deadline).await);
                    drop::<OwnedSemaphorePermit>(permit);
                });
            }
            Err(error) => answer(batch.replies, Err(error)),
        }
    }

    /// Waits until no batch is under way.
    async fn settle(&self) {
        let all = u32::try_from(self.options.max_batches_in_flight).unwrap_or(u32::MAX);
        let _ = self.in_flight.acquire_many(all).await;
    }
}

/// Gives each event its part of the batch's outcome. An event whose caller has gone is passed over.
fn answer(replies: Vec<Reply>, outcome: Result<Value, Error>) {
    let outcome = outcome.and_then(|value| match value {
        Value::Array(rows) if rows.len() == replies.len() => Ok(rows),
        other => Err(other.unexpected("one reply for each event of the batch")),
    });
    match outcome {
        Ok(rows) => {
            for (reply, row) in replies.into_iter().zip(&rows) {
                let _ = reply.send(EventReply::from_value(row));
            }
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(with_ids: bool) -> Layout {
        Layout { stream: "buys".into(), fields: vec!["amount".into(), "shop".into()], with_ids }
    }

    fn text(command: Command) -> String {
        let bytes = command.finish().unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn rows_list_values_in_the_order_of_the_header() {
        let layout = layout(false);
        let rows = [
            layout.row(&Event::new("a", "buys").at(5).field("shop", "x").field("amount", 1.5)).unwrap(),
            layout.row(&Event::new("b", "buys").field("amount", 2.0).field("shop", "y")).unwrap(),
        ];
        assert_eq!(
            text(layout.command(&rows)),
            "EVENT.MADD|buys|FIELDS|2|amount|shop|EVENTS|a|5|1.5|x|b|*|2|y"
        );
    }

    #[test]
    fn an_absent_field_is_the_null_token_and_the_header_says_so() {
        let layout = layout(true);
        let rows = [layout.row(&Event::new("a", "buys").at(5).id("i1").field("shop", "x")).unwrap()];
        assert_eq!(
            text(layout.command(&rows)),
            "EVENT.MADD|buys|FIELDS|2|amount|shop|WITHIDS|NULL|\0|EVENTS|a|5|i1|\0|x"
        );
    }

    #[test]
    fn an_event_that_does_not_fit_is_refused_alone() {
        let event = || Event::new("a", "buys");
        for bad in [
            Event::new("a", "clicks"),
            event().field("colour", "red"),
            event().field("amount", 1.0).field("amount", 2.0),
            event().field("shop", "\0"),
            event().id("i"),
            event().source("s", 1),
            event().field("amount", f64::NAN),
        ] {
            assert!(matches!(layout(false).row(&bad), Err(Error::InvalidArgument(_))), "{bad:?}");
        }
        assert!(matches!(layout(true).row(&event()), Err(Error::InvalidArgument(_))));
    }
}
