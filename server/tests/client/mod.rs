//! A client of the server under test, and what its process takes.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use windrow_server::{Config, Running, Server};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Rows of one EVENT.MADD.
const ROWS: usize = 500;

/// A server that serves.
pub fn start(directory: &Path, shards: usize) -> Running {
    let config = Config { port: 0, shards, dir: directory.into(), pin_shards: false, ..Config::default() };
    let running = Server::start(config).unwrap();
    wait_until("the server is ready", || running.is_serving());
    running
}

pub fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// VmRSS of this process.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

pub struct Client {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(running: &Running) -> Self {
        let socket = TcpStream::connect(running.addr()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { reader: BufReader::new(socket.try_clone().unwrap()), socket }
    }

    /// One event at `ts` for each entity of a range, in `stream` without fields.
    pub fn add_events(&mut self, stream: &str, entities: std::ops::Range<usize>, ts: &str) {
        for from in entities.clone().step_by(ROWS) {
            let mut words = format!("EVENT.MADD {stream} FIELDS 0 EVENTS");
            for entity in from..(from + ROWS).min(entities.end) {
                write!(words, " user:{entity:07} {ts}").unwrap();
            }
            self.ask(&words);
        }
    }

    fn send(&mut self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            write!(bytes, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
        self.socket.write_all(&bytes).unwrap();
    }

    /// The reply as it came, nested ones included.
    pub fn reply(&mut self, words: &str) -> String {
        self.send(words);
        let mut text = String::new();
        let mut left = 1;
        while left > 0 {
            left -= 1;
            let start = text.len();
            self.reader.read_line(&mut text).unwrap();
            let (kind, rest) = text[start..].split_at(1);
            let number = || rest.trim_end().parse::<i64>().unwrap();
            match kind {
                "*" => left += number(),
                "$" if number() >= 0 => {
                    let mut bytes = vec![0; number() as usize + 2];
                    self.reader.read_exact(&mut bytes).unwrap();
                    text += std::str::from_utf8(&bytes).unwrap();
                }
                _ => {}
            }
        }
        text
    }

    /// Asks for what no part of the reply may be an error.
    pub fn ask(&mut self, words: &str) {
        let reply = self.reply(words);
        assert!(!reply.lines().any(|line| line.starts_with('-')), "{reply}");
    }

    /// VmRSS without what is populated ahead of use: that is 16 MiB a shard, which a helper's thread has populated or has not yet.
    pub fn resident_in_use_bytes(&mut self) -> u64 {
        let mut bytes = 0;
        wait_until("no memory is populated for a moment", || {
            let ahead_bytes = self.map("MEMORY STATS")["chunks.populated-ahead"];
            bytes = resident_bytes().saturating_sub(ahead_bytes);
            self.map("MEMORY STATS")["chunks.populated-ahead"] == ahead_bytes
        });
        bytes
    }

    pub fn number(&mut self, words: &str) -> u64 {
        let reply = self.reply(words);
        reply
            .trim_end()
            .strip_prefix(':')
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{reply}"))
    }

    /// The integers of a map; those of a map within it as `outer.inner`.
    pub fn map(&mut self, words: &str) -> HashMap<String, u64> {
        let reply = self.reply(words);
        let mut numbers = HashMap::new();
        let (mut outer, mut last) = (String::new(), String::new());
        for line in reply.lines().skip(1) {
            match line.split_at(1) {
                (":", number) => {
                    if let Ok(number) = number.parse() {
                        let name = if last == "bytes" || last == "entities" {
                            format!("{outer}{last}")
                        } else {
                            last.clone()
                        };
                        numbers.insert(name, number);
                    }
                }
                ("$", _) => {}
                ("*", _) => {
                    outer = if last.starts_with("stream.") { format!("{last}.") } else { String::new() }
                }
                _ => line.clone_into(&mut last),
            }
        }
        numbers
    }
}
