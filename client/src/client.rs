//! The handle: cheap to clone, one multiplexed connection behind it.

use crate::codec::Command;
use crate::connection::{Connection, Health, Request, connect};
use crate::error::Error;
use crate::event::{Event, EventReply};
use crate::options::ClientBuilder;
use crate::value::Value;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// A connection to one Windrow server, shared by all clones of this handle.
///
/// Commands of many tasks are written together and answered in order, so concurrency is pipelining. A call
/// waits while [`ClientBuilder::max_in_flight`] commands are under way. When the connection breaks, commands
/// under way fail with [`Error::ConnectionLost`], new ones wait for the reconnect up to their timeout.
/// The connection closes when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    queue: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    health: Health,
    response_timeout: Duration,
    retry_reads: bool,
}

impl Client {
    /// Connects with default settings to `host:port`.
    ///
    /// # Errors
    ///
    /// See [`ClientBuilder::connect`].
    pub async fn connect(addr: impl Into<String>) -> Result<Self, Error> {
        Self::builder(addr).connect().await
    }

    /// Settings for a connection to `host:port`.
    pub fn builder(addr: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(addr)
    }

    pub(crate) async fn start(options: ClientBuilder) -> Result<Self, Error> {
        let link = connect(&options).await?;
        let (sender, receiver) = mpsc::channel(options.max_in_flight);
        let client = Self {
            queue: sender,
            room: Arc::new(Semaphore::new(options.max_in_flight)),
            health: Health::default(),
            response_timeout: options.response_timeout,
            retry_reads: options.retry_reads,
        };
        tokio::spawn(Connection::new(options, receiver, client.health.clone()).run(link));
        Ok(client)
    }

    /// Sends any command, name first, and gives back its reply as it is.
    ///
    /// Commands that change what the connection means (`HELLO`, `RESET`, `CLIENT REPLY`, `QUIT`) would break
    /// the matching of replies for every user of this handle; do not send them.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] for an error reply, and the connection's errors.
    pub async fn command<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Result<Value, Error> {
        let mut command = Command::default();
        for arg in args {
            command.arg(arg);
        }
        self.write(command).await
    }

    /// Counts one event. Many calls at once are pipelined; for the highest rate see [`Client::batcher`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a value that is no finite number or an entity of no allowed length,
    /// [`Error::Server`] when the server refuses the event, and the connection's errors; after
    /// [`Error::ConnectionLost`] with `maybe_applied`, the event may have been counted.
    pub async fn add(&self, event: Event) -> Result<EventReply, Error> {
        EventReply::from_value(&self.write(event.into_command()?).await?)
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    ///
    /// The connection's errors, and the server's (`-LOADING` while it starts).
    pub async fn ping(&self) -> Result<(), Error> {
        let reply = self.read(Command::new("PING")).await?;
        if reply.as_str() == Some("PONG") { Ok(()) } else { Err(reply.unexpected("PONG")) }
    }

    /// A command that changes something: sent once, whatever happens.
    pub(crate) async fn write(&self, command: Command) -> Result<Value, Error> {
        self.send(command.finish()?).await
    }

    /// A command that can be repeated without harm.
    pub(crate) async fn read(&self, command: Command) -> Result<Value, Error> {
        let bytes = command.finish()?;
        match self.send(bytes.clone()).await {
            Err(Error::ConnectionLost { .. }) if self.retry_reads => self.send(bytes).await,
            outcome => outcome,
        }
    }

    async fn send(&self, bytes: Bytes) -> Result<Value, Error> {
        let deadline = Instant::now() + self.response_timeout;
        let pending = self.submit(bytes, deadline).await?;
        self.outcome(pending, deadline).await
    }

    /// Puts a command in the queue, in the order of calls; waits for room.
    pub(crate) async fn submit(&self, bytes: Bytes, deadline: Instant) -> Result<Pending, Error> {
        let room = timeout_at(deadline, self.room.clone().acquire_owned()).await;
        let permit: OwnedSemaphorePermit =
            room.map_err(|_| self.timed_out(false))?.map_err(|_| Error::Closed)?;
        let (reply, pending) = oneshot::channel();
        // The channel has a place for every permit, so this does not wait.
        self.queue.send(Request { bytes, reply, permit }).await.map_err(|_| Error::Closed)?;
        Ok(pending)
    }

    /// The reply of a submitted command.
    pub(crate) async fn outcome(&self, pending: Pending, deadline: Instant) -> Result<Value, Error> {
        match timeout_at(deadline, pending).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(self.timed_out(true)),
        }
    }

    pub(crate) fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    fn timed_out(&self, maybe_applied: bool) -> Error {
        let timeout_ms = u64::try_from(self.response_timeout.as_millis()).unwrap_or(u64::MAX);
        Error::Timeout { timeout_ms, state: self.health.describe(), maybe_applied }
    }
}

/// A reply that is still to come.
pub(crate) type Pending = oneshot::Receiver<Result<Value, Error>>;
