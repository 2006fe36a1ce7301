//! The null responder: what this machine allows a server that does no work.
//!
//! One thread, one epoll loop. It counts the arguments of each command, looks at none, and answers `+OK`.

use crate::error::BenchError;
use crate::open_files;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

const LISTENER: Token = Token(usize::MAX);

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// Most connections at a time; further ones are closed.
const CONNECTIONS_MAX: usize = 60_000;

/// Replies that a connection may leave unread before its commands are left unread too.
const UNSENT_BYTES_MAX: usize = 4 << 20;

/// Largest number a header may hold: arguments of a command, bytes of an argument.
const NUMBER_MAX: usize = 512 << 20;

/// A responder that is bound and not yet running.
#[derive(Debug)]
pub struct NullResponder {
    poll: Poll,
    listener: TcpListener,
    service: Duration,
}

impl NullResponder {
    /// Binds to an address; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub fn bind(addr: SocketAddr) -> Result<Self, BenchError> {
        open_files::allow_all();
        let mut listener = TcpListener::bind(addr).map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => " (another program has it; --listen names another)",
                ErrorKind::AddrNotAvailable => " (it is no address of this machine; --listen names another)",
                _ => "",
            };
            BenchError::io(format!("listen on {addr}{hint}"))(error)
        })?;
        let poll = Poll::new().map_err(BenchError::io("poll"))?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .map_err(BenchError::io("poll"))?;
        Ok(Self { poll, listener, service: Duration::ZERO })
    }

    /// The same, but each command takes so long, one after the other.
    #[must_use]
    pub fn serving_for(self, service: Duration) -> Self {
        Self { service, ..self }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn local_addr(&self) -> Result<SocketAddr, BenchError> {
        self.listener.local_addr().map_err(BenchError::io("ask for the address"))
    }

    /// Answers until the process ends.
    ///
    /// # Errors
    ///
    /// Polling fails. Connections that fail are closed.
    pub fn run(mut self) -> Result<(), BenchError> {
        let mut events = Events::with_capacity(1024);
        let mut peers: HashMap<usize, Peer> = HashMap::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut next = 0;
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.map_err(BenchError::io("poll"))?,
            }
            for event in &events {
                let token = event.token();
                if token == LISTENER {
                    self.accept(&mut peers, &mut next)?;
                } else if let Some(peer) = peers.get_mut(&token.0)
                    && peer.serve(&mut buffer, self.service, event.is_read_closed()).is_err()
                {
                    peers.remove(&token.0);
                }
            }
        }
    }

    fn accept(&mut self, peers: &mut HashMap<usize, Peer>, next: &mut usize) -> Result<(), BenchError> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    if peers.len() == CONNECTIONS_MAX {
                        continue;
                    }
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    let ready = stream
                        .set_nodelay(true)
                        .and_then(|()| self.poll.registry().register(&mut stream, Token(*next), interest));
                    if ready.is_ok() {
                        peers.insert(*next, Peer { stream, counter: Counter::default(), out: Vec::new() });
                        *next += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(BenchError::io("accept")(error)),
            }
        }
    }
}

struct Peer {
    stream: TcpStream,
    counter: Counter,
    out: Vec<u8>,
}

impl Peer {
    /// Reads, answers, writes; an error closes the connection, and so does its end.
    fn serve(&mut self, buffer: &mut [u8], service: Duration, is_closed: bool) -> io::Result<()> {
        self.flush()?;
        while self.out.len() < UNSENT_BYTES_MAX {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let commands = self.counter.count(&buffer[..count]).ok_or(ErrorKind::InvalidData)?;
            for _ in 0..commands {
                self.out.extend_from_slice(b"+OK\r\n");
                if !service.is_zero() {
                    std::thread::sleep(service);
                    self.flush()?;
                }
            }
            self.flush()?;
            // A short read has emptied the socket: the kernel reports what comes after it. An end that came with the bytes was
            // reported with them, and is not again.
            if count < buffer.len() && !is_closed {
                break;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut at = 0;
        while at < self.out.len() {
            match self.stream.write(&self.out[at..]) {
                Ok(count) => at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if at == self.out.len() {
            self.out.clear();
        } else {
            self.out.drain(..at);
        }
        Ok(())
    }
}

/// Counts commands in a stream of bytes that may be cut anywhere.
#[derive(Clone, Debug, Default)]
struct Counter {
    state: State,
    /// The number of the header being read.
    number: usize,
    /// Arguments of the command still to come.
    args: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    /// At the start of a command.
    #[default]
    Command,
    /// Inside `*<n>\r\n`, behind the star.
    Count,
    /// At the start of an argument.
    Argument,
    /// Inside `$<n>\r\n`, behind the dollar.
    Length,
    /// So many bytes of an argument and its CRLF are to be passed over.
    Body(usize),
}

impl Counter {
    /// Commands that end in `bytes`; `None` if these are no commands.
    fn count(&mut self, bytes: &[u8]) -> Option<usize> {
        let (mut at, mut commands) = (0, 0);
        while at < bytes.len() {
            match self.state {
                State::Command | State::Argument => {
                    let (prefix, next) = if self.state == State::Command {
                        (b'*', State::Count)
                    } else {
                        (b'$', State::Length)
                    };
                    if bytes[at] != prefix {
                        return None;
                    }
                    at += 1;
                    (self.number, self.state) = (0, next);
                }
                State::Count | State::Length => {
                    let byte = bytes[at];
                    at += 1;
                    match byte {
                        b'0'..=b'9' => self.number = self.number * 10 + usize::from(byte - b'0'),
                        b'\r' => {}
                        b'\n' if self.state == State::Length => self.state = State::Body(self.number + 2),
                        b'\n' => {
                            self.args = self.number;
                            self.state = if self.args == 0 { State::Command } else { State::Argument };
                        }
                        _ => return None,
                    }
                    if self.number > NUMBER_MAX {
                        return None;
                    }
                }
                State::Body(left) => {
                    let passed = left.min(bytes.len() - at);
                    at += passed;
                    if passed < left {
                        self.state = State::Body(left - passed);
                        break;
                    }
                    self.args -= 1;
                    self.state = State::Argument;
                    if self.args == 0 {
                        commands += 1;
                        self.state = State::Command;
                    }
                }
            }
        }
        Some(commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &[u8] =
        b"*2\r\n$4\r\nECHO\r\n$7\r\na\r\n*1\r\n\r\n*1\r\n$4\r\nPING\r\n*2\r\n$0\r\n\r\n$1\r\nx\r\n";

    #[test]
    fn commands_are_counted_wherever_they_are_cut() {
        assert_eq!(Counter::default().count(THREE), Some(3));
        for cut in 0..THREE.len() {
            let mut counter = Counter::default();
            let first = counter.count(&THREE[..cut]).unwrap();
            assert_eq!(first + counter.count(&THREE[cut..]).unwrap(), 3, "cut at {cut}");
        }
    }

    #[test]
    fn a_connection_whose_end_came_with_its_last_command_is_answered_and_closed() {
        let responder = NullResponder::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut stream = std::net::TcpStream::connect(responder.local_addr().unwrap()).unwrap();
        stream.write_all(THREE).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // It looks for the first time when everything is there.
        std::thread::spawn(move || responder.run());
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        assert_eq!(replies, "+OK\r\n".repeat(3));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for bad in [&b"GET x\r\n"[..], b"*1\r\n+OK\r\n", b"*x\r\n", b"*1\r\n$99999999999\r\n"] {
            assert_eq!(Counter::default().count(bad), None, "{bad:?}");
        }
    }
}
