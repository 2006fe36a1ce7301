//! In-process servers and raw clients for the tests of this crate.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windrow_storage::Disk;
use windrow_storage::disk::{DirLock, DiskFile, MemDisk, OpenMode};

use crate::clock::Clock;
use crate::snapshot::FreeSpace;
use crate::{Config, Running, Server};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The settings of a test server: any port, a directory of a disk in memory, small segments, threads where the system likes.
pub(super) fn config(shards: usize) -> Config {
    Config {
        port: 0,
        shards,
        dir: "/data".into(),
        pin_shards: false,
        log_segment_bytes: 1 << 20,
        ..Config::default()
    }
}

/// A server on a disk in memory, serving.
pub(super) fn start(shards: usize) -> Running {
    start_on(config(shards), Arc::new(MemDisk::new()))
}

/// The same with settings and disk of the test's choice.
pub(super) fn start_on(config: Config, disk: Arc<dyn Disk>) -> Running {
    start_at(config, disk, Clock::system())
}

/// And with a clock of its choice.
pub(super) fn start_at(config: Config, disk: Arc<dyn Disk>, clock: Clock) -> Running {
    serving(Server::start_on(config, disk, clock).unwrap())
}

/// With a look of the test's choice at the room on the disk.
pub(super) fn start_with(config: Config, disk: Arc<dyn Disk>, free_space: FreeSpace) -> Running {
    serving(Server::start_with(config, disk, Clock::system(), free_space).unwrap())
}

fn serving(running: Running) -> Running {
    let started = Instant::now();
    while !running.is_serving() {
        assert!(started.elapsed() < PATIENCE, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    running
}

/// A disk whose syncs take a while, so that what was written is seldom durable.
pub(super) struct SlowSync(pub(super) MemDisk);

struct SlowFile(Arc<dyn DiskFile>);

impl Disk for SlowSync {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(self.0.open(path, mode)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        self.0.lock_dir(dir)
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn allocate_zeros(&self, len: u64) -> io::Result<bool> {
        self.0.allocate_zeros(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(3));
        self.0.sync_data()
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

impl Reply {
    #[track_caller]
    pub(super) fn assert_error(&self, part: &str) {
        assert!(
            matches!(self, Reply::Error(text) if text.contains(part)),
            "expected an error with '{part}', got {self:?}"
        );
    }

    #[track_caller]
    pub(super) fn assert_ok(&self) {
        assert_eq!(*self, Reply::Simple("OK".to_owned()));
    }

    #[track_caller]
    pub(super) fn array(self) -> Vec<Reply> {
        match self {
            Reply::Array(values) => values,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn text(self) -> String {
        match self {
            Reply::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
            other => panic!("expected a bulk string, got {other:?}"),
        }
    }
}

/// A client: RESP2 over a blocking socket.
pub(super) struct Client {
    pub(super) socket: TcpStream,
    received: Vec<u8>,
    at: usize,
}

impl Client {
    pub(super) fn connect(running: &Running) -> Self {
        let socket = TcpStream::connect(running.addr()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Client { socket, received: Vec::new(), at: 0 }
    }

    /// Sends bytes as they are.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends a command of words separated by spaces and reads its reply.
    #[track_caller]
    pub(super) fn ask(&mut self, words: &str) -> Reply {
        let mut bytes = Vec::new();
        command(&mut bytes, words);
        self.send(&bytes);
        self.read()
    }

    /// Reads one reply.
    #[track_caller]
    pub(super) fn read(&mut self) -> Reply {
        self.try_read().expect("the server closed the connection")
    }

    /// Reads one reply; `None`: the connection is closed.
    pub(super) fn try_read(&mut self) -> Option<Reply> {
        let line = self.line()?;
        let rest = line[1..].to_owned();
        Some(match line.as_bytes()[0] {
            b'+' => Reply::Simple(rest),
            b'-' => Reply::Error(rest),
            b':' => Reply::Int(rest.parse().unwrap()),
            b'$' => match rest.parse::<i64>().unwrap() {
                -1 => Reply::Null,
                len => {
                    let bytes = self.bytes(len as usize + 2)?;
                    Reply::Bulk(bytes[..len as usize].to_vec())
                }
            },
            b'*' => {
                let len: usize = rest.parse().unwrap();
                Reply::Array((0..len).map(|_| self.try_read()).collect::<Option<_>>()?)
            }
            other => panic!("no RESP2 reply begins with {:?}: {line}", char::from(other)),
        })
    }

    /// Whether the server has closed the connection, after reading what there is.
    pub(super) fn is_closed(&mut self) -> bool {
        while self.try_read().is_some() {}
        true
    }

    fn line(&mut self) -> Option<String> {
        loop {
            let pending = &self.received[self.at..];
            if let Some(end) = pending.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8(pending[..end].to_vec()).unwrap();
                self.at += end + 2;
                return Some(line);
            }
            self.receive()?;
        }
    }

    fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.received.len() - self.at < count {
            self.receive()?;
        }
        let bytes = self.received[self.at..self.at + count].to_vec();
        self.at += count;
        Some(bytes)
    }

    fn receive(&mut self) -> Option<()> {
        if self.at > 1 << 20 {
            self.received.drain(..self.at);
            self.at = 0;
        }
        let mut buffer = [0; 64 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                Some(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("reading a reply: {error}"),
        }
    }
}

/// Appends a command of words separated by spaces.
pub(super) fn command(out: &mut Vec<u8>, words: &str) {
    let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// Asks again until the reply fits: for what happens after a while.
#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "it does not come about: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
