//! The connections of a thread: which have room for a request, and which have bytes to send. A turn of the loop visits those alone
//! that have something to do, however many others there are.

use crate::error::BenchError;
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, Write};
use windrow_client::scan::ReplyScanner;

/// So many bytes that the kernel has taken may stand before those that it has not, if these are no more.
const WRITTEN_BYTES_MAX: usize = 256 << 10;

/// A request that was sent, or is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    /// Sent (closed loop) or due (open loop).
    pub since_ns: u64,
    /// Index of the workload's request.
    pub request: usize,
}

/// How it stood with a connection when it last made progress: bytes came, or it got a request and had none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// When that was.
    pub at_ns: u64,
    /// Requests that the thread had replies to.
    pub answered: u64,
    /// Requests that were under way on all connections of the thread.
    pub in_flight: usize,
}

pub(super) struct Connection {
    pub stream: TcpStream,
    /// Written as far as `out_at`. What is not written is bounded by the pipeline, what is by that and [`WRITTEN_BYTES_MAX`].
    pub out: Vec<u8>,
    out_at: usize,
    /// The beginning of a reply whose rest has not come.
    pub partial: Vec<u8>,
    pub scanner: ReplyScanner,
    pub in_flight: VecDeque<InFlight>,
    /// Replies that the oldest request has got already.
    pub replies_got: usize,
    pub progress: Progress,
    group: usize,
    /// It stands in its group's queue of those with room.
    is_queued: bool,
    /// It stands among those with bytes to send.
    is_unsent: bool,
}

impl Connection {
    /// Writes as much as the socket takes. The kernel says when it takes the rest.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.out_at < self.out.len() {
            match self.stream.write(&self.out[self.out_at..]) {
                Ok(count) => self.out_at += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.forget_written();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out_at = 0;
        Ok(())
    }

    /// Frees what the kernel has taken once it is much, so that a connection that is never wholly written does not grow for ever. No
    /// more is moved than was written: each byte once on average.
    fn forget_written(&mut self) {
        let unwritten = self.out.len() - self.out_at;
        if self.out_at > WRITTEN_BYTES_MAX && self.out_at >= unwritten {
            self.out.drain(..self.out_at);
            self.out_at = 0;
        }
    }
}

/// All connections of a thread.
pub(super) struct Connections {
    all: Vec<Connection>,
    /// Most requests under way on each.
    pipeline: usize,
    /// By group: those with room, the next one in front.
    with_room: Vec<VecDeque<usize>>,
    /// Those with bytes that the kernel was not given yet.
    unsent: Vec<usize>,
    /// How often one was looked at.
    visits: u64,
}

impl Connections {
    /// Takes sockets by groups, and has them polled.
    pub(super) fn new(
        groups: Vec<Vec<std::net::TcpStream>>,
        pipeline: usize,
        poll: &Poll,
    ) -> Result<Self, BenchError> {
        let mut all = Vec::with_capacity(groups.iter().map(Vec::len).sum());
        let mut with_room = Vec::with_capacity(groups.len());
        for (group, streams) in groups.into_iter().enumerate() {
            with_room.push((all.len()..all.len() + streams.len()).collect());
            for stream in streams {
                stream.set_nonblocking(true).map_err(BenchError::io("set a socket to nonblocking"))?;
                let mut stream = TcpStream::from_std(stream);
                poll.registry()
                    .register(&mut stream, Token(all.len()), Interest::READABLE | Interest::WRITABLE)
                    .map_err(BenchError::io("poll a socket"))?;
                all.push(Connection {
                    stream,
                    out: Vec::new(),
                    out_at: 0,
                    partial: Vec::new(),
                    scanner: ReplyScanner::new(),
                    in_flight: VecDeque::with_capacity(pipeline),
                    replies_got: 0,
                    progress: Progress::default(),
                    group,
                    is_queued: true,
                    is_unsent: false,
                });
            }
        }
        Ok(Self { all, pipeline, with_room, unsent: Vec::new(), visits: 0 })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// How often one was looked at so far.
    pub(super) fn visits(&self) -> u64 {
        self.visits
    }

    /// One of them. There is no other way to one while a run lasts, so that visits are all the work there is.
    #[inline]
    pub(super) fn visit(&mut self, at: usize) -> &mut Connection {
        self.visits += 1;
        &mut self.all[at]
    }

    /// The connection of a group whose turn it is, among those with room; it is to be given back with [`Self::pushed`].
    #[inline]
    pub(super) fn next_with_room(&mut self, group: usize) -> Option<usize> {
        self.with_room[group].pop_front()
    }

    /// What [`Self::next_with_room`] gave has got a request: its turn comes again behind the others, if it has more room.
    #[inline]
    pub(super) fn pushed(&mut self, at: usize) {
        let pipeline = self.pipeline;
        let connection = self.visit(at);
        let (has_room, group) = (connection.in_flight.len() < pipeline, connection.group);
        connection.is_queued = has_room;
        let was_unsent = std::mem::replace(&mut connection.is_unsent, true);
        if has_room {
            self.with_room[group].push_back(at);
        }
        if !was_unsent {
            self.unsent.push(at);
        }
    }

    /// Requests of a connection were answered: if it was full, its turn comes again.
    #[inline]
    pub(super) fn answered(&mut self, at: usize) {
        let pipeline = self.pipeline;
        let connection = self.visit(at);
        if !connection.is_queued && connection.in_flight.len() < pipeline {
            connection.is_queued = true;
            let group = connection.group;
            self.with_room[group].push_back(at);
        }
    }

    /// Gives the kernel what was pushed since the last time.
    pub(super) fn flush_unsent(&mut self) -> io::Result<()> {
        let mut unsent = std::mem::take(&mut self.unsent);
        for at in unsent.drain(..) {
            let connection = self.visit(at);
            connection.is_unsent = false;
            connection.flush()?;
        }
        // Its memory is used again.
        self.unsent = unsent;
        Ok(())
    }

    /// Those with requests that have no reply, at the end of a run.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = &Connection> {
        self.all.iter().filter(|connection| !connection.in_flight.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    #[test]
    fn a_connection_that_is_never_wholly_written_keeps_no_more_than_its_backlog_and_a_constant() {
        // More than the kernel holds; then as much comes as goes.
        const BACKLOG_BYTES: usize = 24 << 20;
        const STEP_BYTES: usize = 64 << 10;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let poll = Poll::new().unwrap();
        let mut connections = Connections::new(vec![vec![stream]], 1, &poll).unwrap();
        let connection = connections.visit(0);
        connection.out.resize(BACKLOG_BYTES, b'x');
        connection.flush().unwrap();
        let mut step = vec![0; STEP_BYTES];
        for _ in 0..4 * BACKLOG_BYTES / STEP_BYTES {
            server.read_exact(&mut step).unwrap();
            connection.out.extend_from_slice(&step);
            connection.flush().unwrap();
            assert!(!connection.out.is_empty(), "the kernel has taken all of it");
            assert!(connection.out.len() <= 2 * (BACKLOG_BYTES + STEP_BYTES) + WRITTEN_BYTES_MAX);
        }
    }
}
