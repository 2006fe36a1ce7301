//! The hot path allocates nothing: events and reads of a server that has warmed up. A process of its own, since it counts the
//! allocations of all threads; the client's side is prepared before counting begins.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use windrow_engine::slot::{hash_slot, shard_of};
use windrow_server::{Config, Running, Server};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Entities of each shard.
const ENTITIES: usize = 256;
/// Commands sent before replies are read.
const PIPELINE: usize = 256;
/// Rows of EVENT.MADD and WINDOW.MGET.
const ROWS: usize = 64;
/// Passes over all entities that are counted.
const PASSES: usize = 40;
/// Features of a read: their number is the number of lines behind the array's header.
const FEATURES: [&str; 3] = ["count:1m", "sum(v):1m", "count:1h"];
/// Of commands on single entities, at most one in so many may meet a rare allocation: a chunk that is cut, a list that grows.
const COMMANDS_PER_ALLOCATION: u64 = 1_000;
/// The same of commands that let records grow: for sizes of slots that are new, and for what is freed later.
const GROWING_COMMANDS_PER_ALLOCATION: u64 = 200;
/// What one command over rows may allocate, however many rows it has.
const ALLOCATIONS_PER_ROWS_COMMAND: u64 = 6;

#[test]
fn the_hot_path_of_a_warm_server_allocates_nothing() {
    for shards in [1, 2] {
        let directory = tempfile::tempdir().unwrap();
        let running = start(shards, directory.path());
        let socket = TcpStream::connect(running.addr()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut client = Client { socket, buffer: vec![0; 1 << 20] };
        client.run(&Batch::one(
            "STREAM.CREATE s FIELDS v INT WINDOWS 1m@1s 1h@1m AGGREGATE count sum(v)".split(' '),
            1,
        ));
        for batch in full_rings(shards) {
            client.run(&batch);
        }
        // Which shard a client is served by does not show; each is someone's own.
        for shard in 0..shards {
            let entities = entities_of(shard, shards);
            let adds =
                batches(&entities, PIPELINE, |entity| (vec!["EVENT.ADD", entity, "s", "*", "v", "7"], 1));
            let gets = batches(&entities, PIPELINE, |entity| {
                ([&["WINDOW.GET", entity, "s"][..], &FEATURES].concat(), 1 + FEATURES.len())
            });
            for (name, single) in [("EVENT.ADD", &adds), ("WINDOW.GET", &gets)] {
                let (commands, allocated) = measure(&mut client, single, PIPELINE);
                assert!(
                    allocated <= commands / COMMANDS_PER_ALLOCATION,
                    "{shards} shards, entities of shard {shard}: {commands} {name} allocated {allocated} times"
                );
            }
        }
        let mixed: Vec<String> = (0..shards).flat_map(|shard| entities_of(shard, shards)).collect();
        let rows = |count: usize| {
            let madds = mixed.chunks_exact(count).map(|chunk| {
                let events = chunk.iter().flat_map(|entity| [entity, "*", "7"]);
                let head = ["EVENT.MADD", "s", "FIELDS", "1", "v", "EVENTS"];
                Batch::one(head.into_iter().chain(events), 1 + count)
            });
            let number = count.to_string();
            let mgets = mixed.chunks_exact(count).map(|chunk| {
                let words = ["WINDOW.MGET", &number].into_iter().chain(chunk.iter().map(String::as_str));
                Batch::one(words.chain(["s"]).chain(FEATURES), 1 + count * (1 + FEATURES.len()))
            });
            [("EVENT.MADD", madds.collect::<Vec<_>>()), ("WINDOW.MGET", mgets.collect())]
        };
        for count in [8, ROWS] {
            for (name, batches) in rows(count) {
                let (commands, allocated) = measure(&mut client, &batches, 1);
                assert!(
                    allocated <= commands * ALLOCATIONS_PER_ROWS_COMMAND,
                    "{shards} shards: {commands} {name} of {count} rows allocated {allocated} times"
                );
            }
        }
        sketches_allocate_nothing(&mut client, shards);
        running.shutdown().unwrap();
    }
}

/// Values that no bucket has seen, one for each entity in each pass: blocks grow, and records with them.
fn sketches_allocate_nothing(client: &mut Client, shards: usize) {
    client.run(&Batch::one(
        "STREAM.CREATE d FIELDS v INT u STRING WINDOWS 1h@1m AGGREGATE count sum(v) distinct(u)".split(' '),
        1,
    ));
    let entities: Vec<String> = (0..shards).flat_map(|shard| entities_of(shard, shards)).collect();
    let passes: Vec<Batch> = (0..PASSES)
        .flat_map(|pass| {
            let value = format!("value-{pass}");
            batches(&entities, PIPELINE, |entity| {
                (vec!["EVENT.ADD", entity, "d", "*", "v", "7", "u", &value], 1)
            })
        })
        .collect();
    let (warming, counted) = passes.split_at(passes.len() / 4);
    warming.iter().for_each(|batch| client.run(batch));
    let allocated = allocations(|| counted.iter().for_each(|batch| client.run(batch)));
    let commands = (counted.len() * PIPELINE) as u64;
    assert!(
        allocated <= commands / GROWING_COMMANDS_PER_ALLOCATION,
        "{shards} shards: {commands} EVENT.ADD of new values allocated {allocated} times"
    );
    let gets = batches(&entities, PIPELINE, |entity| (vec!["WINDOW.GET", entity, "d", "distinct(u):1h"], 2));
    let (commands, allocated) = measure(client, &gets, PIPELINE);
    assert!(
        allocated <= commands / COMMANDS_PER_ALLOCATION,
        "{shards} shards: {commands} WINDOW.GET of distinct counts allocated {allocated} times"
    );
}

fn start(shards: usize, directory: &std::path::Path) -> Running {
    let config = Config { port: 0, shards, dir: directory.into(), pin_shards: false, ..Config::default() };
    let running = Server::start(config).unwrap();
    let started = Instant::now();
    while !running.is_serving() {
        assert!(started.elapsed() < PATIENCE, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    running
}

fn entities_of(shard: usize, shards: usize) -> Vec<String> {
    let named = (0..).map(|number| format!("user:{number}"));
    named.filter(|name| shard_of(hash_slot(name.as_bytes()), shards) == shard).take(ENTITIES).collect()
}

/// Events that fill the rings of every entity, up to the present.
fn full_rings(shards: usize) -> Vec<Batch> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let minutes = (1..60).rev().map(|minute| now_ms - minute * 60_000);
    let seconds = (0..60).rev().map(|second| now_ms - second * 1_000);
    let times: Vec<String> = minutes.chain(seconds).map(|ms| ms.to_string()).collect();
    let mut all = Vec::new();
    for entity in (0..shards).flat_map(|shard| entities_of(shard, shards)) {
        let events = times.iter().flat_map(|time| [&entity, time.as_str(), "7"]);
        let head = ["EVENT.MADD", "s", "FIELDS", "1", "v", "EVENTS"];
        all.push(Batch::one(head.into_iter().chain(events), 1 + times.len()));
    }
    all
}

/// Commands to send at once, and how many lines their replies have.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: usize,
}

impl Batch {
    fn one<'a>(words: impl IntoIterator<Item = &'a str>, lines: usize) -> Self {
        let mut batch = Batch::default();
        batch.push(&words.into_iter().collect::<Vec<_>>(), lines);
        batch
    }

    fn push(&mut self, words: &[&str], lines: usize) {
        write!(self.bytes, "*{}\r\n", words.len()).unwrap();
        for word in words {
            write!(self.bytes, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
        self.lines += lines;
    }
}

/// Batches of `size` commands each, one command an entity.
fn batches<'a>(
    entities: &'a [String],
    size: usize,
    command: impl Fn(&'a str) -> (Vec<&'a str>, usize),
) -> Vec<Batch> {
    let batch = |chunk: &'a [String]| {
        let mut batch = Batch::default();
        for entity in chunk {
            let (words, lines) = command(entity);
            batch.push(&words, lines);
        }
        batch
    };
    entities.chunks_exact(size).map(batch).collect()
}

/// Runs all batches once to warm up, then counts. Gives the number of commands counted, and of allocations meanwhile.
fn measure(client: &mut Client, batches: &[Batch], commands_per_batch: usize) -> (u64, u64) {
    for _ in 0..3 {
        batches.iter().for_each(|batch| client.run(batch));
    }
    let allocated = allocations(|| {
        for _ in 0..PASSES {
            batches.iter().for_each(|batch| client.run(batch));
        }
    });
    ((PASSES * batches.len() * commands_per_batch) as u64, allocated)
}

/// How often the process allocates meanwhile.
fn allocations(run: impl FnOnce()) -> u64 {
    let profiler = dhat::Profiler::builder().testing().build();
    run();
    let allocated = dhat::HeapStats::get().total_blocks;
    drop(profiler);
    allocated
}

struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Sends a batch and reads its replies, none of which may be an error. Allocates nothing.
    fn run(&mut self, batch: &Batch) {
        self.socket.write_all(&batch.bytes).unwrap();
        let mut lines = 0;
        while lines < batch.lines {
            let count = self.socket.read(&mut self.buffer).unwrap();
            let received = &self.buffer[..count];
            assert!(count > 0 && !received.contains(&b'-'), "{}", String::from_utf8_lossy(received));
            lines += received.iter().filter(|&&byte| byte == b'\n').count();
        }
        assert_eq!(lines, batch.lines);
    }
}
