//! The memory that the server reports is the memory that the process takes. A process of its own, since it looks at that.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use windrow_server::{Config, Server};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Entities of each of two streams.
const ENTITIES: usize = 500_000;
/// Rows of one EVENT.MADD.
const ROWS: usize = 500;

#[test]
fn reported_memory_is_within_five_percent_of_what_is_resident() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        Config { port: 0, shards: 2, dir: directory.path().into(), pin_shards: false, ..Config::default() };
    let running = Server::start(config).unwrap();
    let started = Instant::now();
    while !running.is_serving() {
        assert!(started.elapsed() < PATIENCE, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    let socket = TcpStream::connect(running.addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client { reader: BufReader::new(socket.try_clone().unwrap()), socket };
    client.ask("STREAM.CREATE narrow WINDOWS 1h@1m AGGREGATE count");
    client.ask("STREAM.CREATE wide FIELDS v FLOAT WINDOWS 5m@5s 1h@1m AGGREGATE count sum(v) max(v)");
    for from in (0..ENTITIES).step_by(ROWS) {
        let mut narrow = "EVENT.MADD narrow FIELDS 0 EVENTS".to_owned();
        let mut wide = "EVENT.MADD wide FIELDS 1 v EVENTS".to_owned();
        for entity in from..from + ROWS {
            narrow += &format!(" user:{entity} *");
            wide += &format!(" user:{entity} * 1.5");
        }
        client.ask(&narrow);
        client.ask(&wide);
    }
    let stats = client.map("MEMORY STATS");
    let resident_bytes = resident_bytes();
    let total_bytes = stats["total.allocated"];
    assert!(
        total_bytes.abs_diff(resident_bytes) <= resident_bytes / 20,
        "{total_bytes} bytes are reported, {resident_bytes} are resident: {stats:?}"
    );
    assert!(stats["peak.allocated"] >= total_bytes);
    assert_eq!(stats["keys.count"], 2 * ENTITIES as u64);

    // By stream: the same number wherever it is shown, and no more than all.
    let mut all_bytes = 0;
    for stream in ["narrow", "wide"] {
        let (bytes, entities) =
            (stats[&format!("stream.{stream}.bytes")], stats[&format!("stream.{stream}.entities")]);
        let info = client.map(&format!("STREAM.INFO {stream}"));
        assert_eq!((info["bytes"], info["entities"]), (bytes, ENTITIES as u64));
        assert_eq!(entities, ENTITIES as u64);
        // Names have one length from here on, so that all records of a stream have one size.
        let entity_bytes = client.number(&format!("MEMORY USAGE user:100000 {stream}"));
        assert!(
            bytes.abs_diff(entity_bytes * entities) <= bytes / 10,
            "{stream}: {bytes}, {entity_bytes} each"
        );
        all_bytes += bytes;
    }
    assert_eq!(stats["dataset.bytes"], all_bytes);
    let one = client.number("MEMORY USAGE user:7");
    let parts =
        client.number("MEMORY USAGE user:7 narrow") + client.number("MEMORY USAGE user:7 wide SAMPLES 5");
    assert_eq!(one, parts);
    let in_use = all_bytes + stats["index.bytes"] + stats["pool.bytes"];
    assert!(in_use <= stats["chunks.taken"], "{stats:?}");
    assert!(in_use >= stats["chunks.taken"] * 8 / 10, "{stats:?}");
    assert_eq!(client.reply("MEMORY USAGE nobody"), "$-1\r\n");
    assert!(client.reply("MEMORY USAGE user:7 nostream").starts_with("-ERR no such stream"));

    let info = client.reply("INFO memory");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let used: u64 = line.parse().unwrap();
    assert!(used.abs_diff(total_bytes) <= total_bytes / 50, "INFO says {used}, MEMORY STATS {total_bytes}");
    running.shutdown().unwrap();
}

/// VmRSS of this process.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

struct Client {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    fn send(&mut self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            write!(bytes, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
        self.socket.write_all(&bytes).unwrap();
    }

    /// The reply as it came, nested ones included.
    fn reply(&mut self, words: &str) -> String {
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
    fn ask(&mut self, words: &str) {
        let reply = self.reply(words);
        assert!(!reply.lines().any(|line| line.starts_with('-')), "{reply}");
    }

    fn number(&mut self, words: &str) -> u64 {
        let reply = self.reply(words);
        reply
            .trim_end()
            .strip_prefix(':')
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{reply}"))
    }

    /// The integers of a map; those of a map within it as `outer.inner`.
    fn map(&mut self, words: &str) -> HashMap<String, u64> {
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
