//! The task that owns the socket: writes commands of all handles together, matches replies in order, and
//! reconnects.

use crate::backoff::Backoff;
use crate::codec::{Command, Decoder};
use crate::error::Error;
use crate::options::ClientBuilder;
use crate::value::Value;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// Commands taken from the queue at once.
const TAKEN_MAX: usize = 256;

/// Commands are taken from the queue while fewer bytes than this wait to be written.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// Room made for a read.
const READ_BYTES: usize = 64 << 10;

/// A read buffer that grew beyond this for one large reply is given back afterwards.
const READ_BUFFER_KEPT_BYTES: usize = 1 << 20;

/// A command on its way, with what it holds of the client's bound until the reply is there.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Bytes,
    pub(crate) reply: oneshot::Sender<Result<Value, Error>>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What the connection is doing, for error messages: `None` when connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<Mutex<Option<String>>>);

impl Health {
    pub(crate) fn describe(&self) -> String {
        let trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().map_or_else(|| "connected".to_owned(), |why| format!("reconnecting: {why}"))
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// A socket past its handshake.
pub(crate) struct Link {
    stream: TcpStream,
    read: BytesMut,
    decoder: Decoder,
}

/// Connects and says HELLO, all within the connect timeout.
pub(crate) async fn connect(options: &ClientBuilder) -> Result<Link, Error> {
    let failed = |reason: String| Error::Connect { addr: options.addr.clone(), reason };
    match timeout(options.connect_timeout, open(options)).await {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(OpenError::Io(error))) => Err(failed(error.to_string())),
        Ok(Err(OpenError::Reply(error))) => Err(error),
        Err(_) => Err(failed(format!("no answer within {:?}", options.connect_timeout))),
    }
}

enum OpenError {
    Io(io::Error),
    Reply(Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

async fn open(options: &ClientBuilder) -> Result<Link, OpenError> {
    let mut stream = TcpStream::connect(&options.addr).await?;
    stream.set_nodelay(true)?;
    let hello = hello(options).map_err(OpenError::Reply)?;
    stream.write_all(&hello).await?;
    let mut link = Link { stream, read: BytesMut::new(), decoder: Decoder::new(options.protocol) };
    loop {
        link.read.reserve(READ_BYTES);
        if link.stream.read_buf(&mut link.read).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the handshake").into());
        }
        match link.decoder.next(&mut link.read).map_err(OpenError::Reply)? {
            None => {}
            Some(Value::Error(error)) => {
                return Err(OpenError::Reply(Error::Handshake { addr: options.addr.clone(), error }));
            }
            Some(_) => return Ok(link),
        }
    }
}

fn hello(options: &ClientBuilder) -> Result<Bytes, Error> {
    let mut hello = Command::new("HELLO");
    hello.arg(options.protocol.version());
    if let Some(password) = &options.password {
        hello.arg("AUTH").arg(options.username.as_deref().unwrap_or("default")).arg(password);
    }
    if let Some(name) = &options.client_name {
        hello.arg("SETNAME").arg(name);
    }
    hello.finish()
}

/// A command whose bytes were handed to the socket, or stand in the write buffer.
struct InFlight {
    reply: oneshot::Sender<Result<Value, Error>>,
    /// Count of bytes written on this link when the command is out entirely.
    end_bytes: u64,
    _permit: OwnedSemaphorePermit,
}

/// Why [`Connection::serve`] returned.
enum Ended {
    /// All handles are gone and every reply is delivered.
    Finished,
    Lost(String),
}

/// The connection task. Everything it holds is bounded by the permits that requests carry.
pub(crate) struct Connection {
    options: ClientBuilder,
    queue: mpsc::Receiver<Request>,
    health: Health,
}

impl Connection {
    pub(crate) fn new(options: ClientBuilder, queue: mpsc::Receiver<Request>, health: Health) -> Self {
        Self { options, queue, health }
    }

    /// Runs until all handles are gone.
    pub(crate) async fn run(mut self, mut link: Link) {
        loop {
            match self.serve(link).await {
                Ended::Finished => return,
                Ended::Lost(reason) => self.health.set(Some(reason)),
            }
            match self.reconnect().await {
                Some(new) => link = new,
                None => return,
            }
            self.health.set(None);
        }
    }

    /// Tries until a link stands; `None` if meanwhile nobody is left to use it.
    async fn reconnect(&mut self) -> Option<Link> {
        let mut backoff = Backoff::new(self.options.backoff_initial, self.options.backoff_max);
        loop {
            sleep(backoff.pause()).await;
            if self.queue.is_closed() && self.queue.is_empty() {
                return None;
            }
            match connect(&self.options).await {
                Ok(link) => return Some(link),
                Err(error) => self.health.set(Some(error.to_string())),
            }
        }
    }

    async fn serve(&mut self, link: Link) -> Ended {
        let mut wire =
            Wire { in_flight: VecDeque::new(), write: BytesMut::new(), queued_bytes: 0, written_bytes: 0 };
        let ended = self.exchange(link, &mut wire).await;
        if let Ended::Lost(reason) = &ended {
            wire.fail_all(reason);
        }
        ended
    }

    /// Moves bytes both ways until the link breaks or the work is done.
    async fn exchange(&mut self, link: Link, wire: &mut Wire) -> Ended {
        let Link { mut stream, mut read, mut decoder } = link;
        let (mut reader, mut writer) = stream.split();
        let mut taken = Vec::with_capacity(TAKEN_MAX);
        let mut open = true;
        let mut progress_at = Instant::now();
        let mut stall_check = interval(stall_check_period(self.options.response_timeout));
        stall_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if !open && wire.in_flight.is_empty() {
                return Ended::Finished;
            }
            read.reserve(READ_BYTES);
            tokio::select! {
                got = reader.read_buf(&mut read) => {
                    match got {
                        Ok(0) => return Ended::Lost("closed by the server".to_owned()),
                        Ok(_) => progress_at = Instant::now(),
                        Err(error) => return Ended::Lost(error.to_string()),
                    }
                    if let Err(reason) = wire.deliver(&mut decoder, &mut read) {
                        return Ended::Lost(reason);
                    }
                    if read.is_empty() && read.capacity() > READ_BUFFER_KEPT_BYTES {
                        read = BytesMut::new();
                    }
                }
                wrote = writer.write_buf(&mut wire.write), if !wire.write.is_empty() => match wrote {
                    Ok(bytes) => wire.written_bytes += bytes as u64,
                    Err(error) => return Ended::Lost(error.to_string()),
                },
                count = self.queue.recv_many(&mut taken, TAKEN_MAX), if open && wire.write.len() < WRITE_BUFFER_BYTES => {
                    open = count > 0;
                    if wire.in_flight.is_empty() {
                        progress_at = Instant::now();
                    }
                    wire.enqueue(&mut taken);
                }
                _ = stall_check.tick(), if !wire.in_flight.is_empty() => {
                    if progress_at.elapsed() > self.options.response_timeout {
                        return Ended::Lost(format!("nothing received for {:?}", self.options.response_timeout));
                    }
                }
            }
        }
    }
}

fn stall_check_period(response_timeout: Duration) -> Duration {
    (response_timeout / 4).max(Duration::from_millis(1))
}

/// Commands between the queue and their replies, on one link.
struct Wire {
    in_flight: VecDeque<InFlight>,
    write: BytesMut,
    queued_bytes: u64,
    written_bytes: u64,
}

impl Wire {
    fn enqueue(&mut self, requests: &mut Vec<Request>) {
        for request in requests.drain(..) {
            // Whoever asked has gone (timed out, or its future was dropped): withdrawn before it was sent.
            if request.reply.is_closed() {
                continue;
            }
            self.write.extend_from_slice(&request.bytes);
            self.queued_bytes += request.bytes.len() as u64;
            self.in_flight.push_back(InFlight {
                reply: request.reply,
                end_bytes: self.queued_bytes,
                _permit: request.permit,
            });
        }
    }

    fn deliver(&mut self, decoder: &mut Decoder, read: &mut BytesMut) -> Result<(), String> {
        while let Some(value) = decoder.next(read).map_err(|error| error.to_string())? {
            let Some(waiting) = self.in_flight.pop_front() else {
                return Err(format!("a reply that nobody asked for: {}", value.unexpected("nothing")));
            };
            let outcome = match value {
                Value::Error(error) => Err(Error::Server(error)),
                value => Ok(value),
            };
            // The receiver may have gone; its reply still had to be taken off the wire.
            let _ = waiting.reply.send(outcome);
        }
        Ok(())
    }

    fn fail_all(&mut self, reason: &str) {
        for waiting in self.in_flight.drain(..) {
            let maybe_applied = waiting.end_bytes <= self.written_bytes;
            let _ =
                waiting.reply.send(Err(Error::ConnectionLost { maybe_applied, reason: reason.to_owned() }));
        }
    }
}
