//! Servers that serve while the rest of their image is not in memory yet, held there by a disk that waits.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use windrow_storage::Disk;
use windrow_storage::disk::{DirLock, DiskFile, MemDisk, OpenMode};

use super::harness::{Client, Reply, command, config, eventually, start_on};
use crate::Running;
use crate::adoption::HELPERS;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const IMAGES: &str = "/data/images";

/// Whether a thread is one of those that bring images into memory.
fn is_helper(name: &str) -> bool {
    name == "adopt" || name.starts_with("adopt-")
}

fn is_shard(name: &str) -> bool {
    name.starts_with("shard-")
}

/// Opened once.
#[derive(Default)]
struct Gate {
    at: Mutex<At>,
    changed: Condvar,
}

#[derive(Default)]
struct At {
    is_open: bool,
    /// Shards have to wait, too.
    holds_shards: bool,
    /// Helpers do not wait any more.
    lets_helpers_through: bool,
    /// Helpers, and threads that had to wait, in the sequence in which they came, and where in a file each wanted to read.
    came: Vec<(String, u64)>,
}

impl Gate {
    fn open(&self) {
        self.at.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }

    /// From now on shards wait before it, too, when they read.
    fn hold_shards(&self) {
        self.at.lock().unwrap().holds_shards = true;
    }

    fn pass(&self, name: &str, offset: u64) {
        let mut at = self.at.lock().unwrap();
        let is_held =
            if is_helper(name) { !at.lets_helpers_through } else { at.holds_shards && is_shard(name) };
        if is_helper(name) || is_held {
            at.came.push((name.to_owned(), offset));
        }
        drop(at);
        if is_held {
            self.changed.notify_all();
            let helper = is_helper(name);
            self.wait_until("nobody opens the gate", |at| at.is_open || (helper && at.lets_helpers_through));
        }
    }

    /// From now on helpers pass.
    fn let_helpers_through(&self) {
        self.at.lock().unwrap().lets_helpers_through = true;
        self.changed.notify_all();
    }

    /// Where such threads wanted to read that came.
    fn offsets(&self, who: fn(&str) -> bool) -> Vec<u64> {
        let at = self.at.lock().unwrap();
        at.came.iter().filter(|(name, _)| who(name)).map(|(_, offset)| *offset).collect()
    }

    /// Waits until so many such threads came; says where each wants to read.
    fn is_reached_by(&self, who: fn(&str) -> bool, count: usize) -> Vec<u64> {
        let came = |at: &At| at.came.iter().filter(|(name, _)| who(name)).count();
        self.wait_until("nobody comes to the gate", |at| came(at) >= count);
        self.offsets(who)
    }

    fn wait_until(&self, complaint: &str, holds: impl Fn(&At) -> bool) {
        let (_at, waited) =
            self.changed.wait_timeout_while(self.at.lock().unwrap(), PATIENCE, |at| !holds(at)).unwrap();
        assert!(!waited.timed_out(), "{complaint}");
    }
}

/// Opens a gate when a test ends, also by a failure: a server waits for its threads.
struct OpenAtEnd<'a>(&'a Gate);

impl Drop for OpenAtEnd<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A disk where the threads that bring images into memory read nothing before the gate is open, nor shards that are held.
struct Gated {
    disk: MemDisk,
    gate: Arc<Gate>,
}

struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl Disk for Gated {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(GatedFile { file: self.disk.open(path, mode)?, gate: Arc::clone(&self.gate) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        self.disk.lock_dir(dir)
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.gate.pass(thread::current().name().unwrap_or_default(), offset);
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn allocate_zeros(&self, len: u64) -> io::Result<bool> {
        self.file.allocate_zeros(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn images(disk: &MemDisk) -> Vec<PathBuf> {
    disk.list(Path::new(IMAGES)).unwrap().iter().map(|name| Path::new(IMAGES).join(name)).collect()
}

fn number(client: &mut Client, name: &str) -> i64 {
    let text = client.ask("INFO persistence").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

const ENTITIES: usize = 50;

/// What a server leaves that was killed after two images of fifty entities.
fn saved(shards: usize) -> MemDisk {
    let disk = MemDisk::new();
    let running = start_on(config(shards), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1d all AGGREGATE count").assert_ok();
    for _ in 0..2 {
        let mut bytes = Vec::new();
        (0..ENTITIES).for_each(|e| command(&mut bytes, &format!("EVENT.ADD e{e} s *")));
        client.send(&bytes);
        (0..ENTITIES).for_each(|_| client.read().assert_ok());
        client.ask("SAVE").assert_ok();
    }
    disk.fork()
}

fn assert_has_all(client: &mut Client) {
    for e in 0..ENTITIES {
        let row = client.ask(&format!("WINDOW.GET e{e} s count:all"));
        assert_eq!(row, Reply::Array(vec![Reply::Int(2)]), "e{e}");
    }
}

#[test]
fn no_image_is_begun_before_the_last_one_is_in_memory() {
    let disk = saved(2);
    let before = images(&disk);
    let gate = Arc::new(Gate::default());
    let running = start_on(config(2), Arc::new(Gated { disk: disk.clone(), gate: Arc::clone(&gate) }));
    let _opened = OpenAtEnd(&gate);
    let mut client = Client::connect(&running);
    assert!(number(&mut client, "image_chunks_pending") > 0);
    assert_eq!(client.ask("BGSAVE"), Reply::Simple("Background saving started".to_owned()));
    // Long enough for one that does not wait to be begun.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(images(&disk), before, "an image is being written by a thread that fetches chunks for it");
    assert_eq!(number(&mut client, "rdb_bgsave_in_progress"), 1, "it waits");
    gate.open();
    eventually("the image is written", || number(&mut client, "image_number") == 3);
    assert_eq!(number(&mut client, "image_chunks_pending"), 0);
    assert_has_all(&mut client);
}

/// A server whose newest image has a damaged chunk, its only one, which a thread that brings it into memory is about to read.
fn before_damage(disk: &MemDisk, gate: &Arc<Gate>) -> Running {
    let damaged = images(disk).pop().unwrap();
    // In its first chunk, which follows a header of 4,096 bytes.
    disk.corrupt(&damaged, 4096 + 100, |byte| *byte ^= 1).unwrap();
    let running = start_on(config(1), Arc::new(Gated { disk: disk.clone(), gate: Arc::clone(gate) }));
    gate.is_reached_by(is_helper, 1);
    running
}

/// Whoever met the damage has put the image aside, and waits for the end of the process: so its server is left as it is.
fn assert_is_put_aside_and_has_all_after(running: Running, disk: &MemDisk) {
    let names = disk.list(Path::new(IMAGES)).unwrap();
    assert_eq!(names.iter().filter(|name| name.ends_with(".damaged")).count(), 1, "{names:?}");
    let left = disk.fork();
    std::mem::forget(running);
    assert_has_all(&mut Client::connect(&start_on(config(1), Arc::new(left))));
}

#[test]
fn a_damaged_chunk_met_while_serving_asks_for_a_start_anew() {
    let (disk, gate) = (saved(1), Arc::new(Gate::default()));
    let running = before_damage(&disk, &gate);
    let lost_image = running.lost_image();
    gate.open();
    let lost = lost_image.recv_timeout(PATIENCE).unwrap();
    assert!(!lost.is_ending && lost.reason.contains("damaged"), "{lost:?}");
    assert_is_put_aside_and_has_all_after(running, &disk);
}

#[test]
fn a_damaged_chunk_met_while_ending_ends_the_server_rather_than_start_it_anew() {
    let (disk, gate) = (saved(1), Arc::new(Gate::default()));
    let running = before_damage(&disk, &gate);
    let lost_image = running.lost_image();
    running.stopper().stop();
    gate.open();
    let lost = lost_image.recv_timeout(PATIENCE).unwrap();
    assert!(lost.is_ending && lost.reason.contains("damaged"), "{lost:?}");
    assert_is_put_aside_and_has_all_after(running, &disk);
}

const ROWS: usize = 2_000;
/// In a later slice of the command than the first.
const SLOW_ROW: usize = 1_000;
/// Bytes of the names of entities whose records are so different in size that each lies in a chunk of its own.
const NAMES_BYTES: [usize; HELPERS + 2] = [8, 100, 250, 500, 1_000];

/// Such entities, each with the number of its events.
fn entities_of_all_sizes() -> Vec<(String, i64)> {
    let name = |(letter, bytes): (char, usize)| letter.to_string().repeat(bytes);
    ('a'..).zip(NAMES_BYTES).map(name).zip(1..).collect()
}

/// A shard in the midst of a long command, behind a PING: it reads a row whose record the disk does not give. Gives the row, too.
fn amid_a_long_command(gate: &Arc<Gate>) -> (Running, TcpStream, String) {
    let disk = MemDisk::new();
    let running = start_on(config(1), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 1d@1h all AGGREGATE count").assert_ok();
    let now_ms = client.ask("TIME").array()[0].clone().text().parse::<i64>().unwrap() * 1000;
    for (entity, hours) in entities_of_all_sizes() {
        let add = |hour: i64| format!("EVENT.ADD {entity} s {}", now_ms - hour * 3_600_000);
        (0..hours).for_each(|hour| client.ask(&add(hour)).assert_ok());
    }
    client.ask("SAVE").assert_ok();
    let left = disk.fork();
    drop(running);
    let image = images(&left).pop().unwrap();
    let running = start_on(config(1), Arc::new(Gated { disk: left.clone(), gate: Arc::clone(gate) }));
    // Not one whose chunk a helper is at: the shard has to read another itself.
    let held_from = gate.is_reached_by(is_helper, HELPERS);
    let mut places: Vec<(u64, String, i64)> = entities_of_all_sizes()
        .into_iter()
        .map(|(entity, count)| (place_of(&left, &image, &entity), entity, count))
        .collect();
    places.sort_unstable();
    // In each chunk there is one entity: the first behind its begin.
    let in_chunk = |from: u64| places.iter().position(|(place, ..)| *place >= from).expect("an entity");
    let held: Vec<usize> = held_from.into_iter().map(in_chunk).collect();
    let free = (0..places.len()).find(|index| !held.contains(index)).expect("more chunks than helpers");
    let (_, slow, count) = &places[free];
    gate.hold_shards();
    let name = |row: usize| if row == SLOW_ROW { slow.clone() } else { format!("none{row}") };
    let names: Vec<String> = (0..ROWS).map(name).collect();
    let mut bytes = Vec::new();
    command(&mut bytes, "PING");
    command(&mut bytes, &format!("WINDOW.MGET {ROWS} {} s count:all", names.join(" ")));
    let mut socket = TcpStream::connect(running.addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&bytes).unwrap();
    gate.is_reached_by(is_shard, 1);
    (running, socket, format!("*1\r\n:{count}\r\n"))
}

/// Where an entity's record stands in a file.
fn place_of(disk: &MemDisk, path: &Path, entity: &str) -> u64 {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    let (mut read, len) = (0, bytes.len());
    while read < len {
        read += file.read_at(&mut bytes[read..], read as u64).unwrap();
    }
    bytes.windows(entity.len()).position(|found| found == entity.as_bytes()).unwrap() as u64
}

#[test]
fn replies_in_front_of_a_long_command_leave_while_it_is_not_done() {
    let gate = Arc::new(Gate::default());
    let (_running, mut socket, slow) = amid_a_long_command(&gate);
    let _opened = OpenAtEnd(&gate);
    let mut pong = [0; 7];
    socket.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
    gate.open();
    let row = |row: usize| if row == SLOW_ROW { slow.as_str() } else { "*1\r\n:0\r\n" }.to_owned();
    let expected: String = std::iter::once(format!("*{ROWS}\r\n")).chain((0..ROWS).map(row)).collect();
    let mut found = vec![0; expected.len()];
    socket.read_exact(&mut found).unwrap();
    assert_eq!(String::from_utf8(found).unwrap(), expected);
}

#[test]
fn helpers_begin_no_further_chunk_while_a_shard_waits_for_one() {
    let gate = Arc::new(Gate::default());
    let (running, _socket, _slow) = amid_a_long_command(&gate);
    let _opened = OpenAtEnd(&gate);
    gate.let_helpers_through();
    // Long enough for one that does not wait to be begun.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(gate.offsets(is_helper).len(), HELPERS, "those that they had begun");
    gate.open();
    let mut client = Client::connect(&running);
    eventually("all chunks are there", || number(&mut client, "image_chunks_pending") == 0);
    assert_eq!(gate.offsets(is_helper).len(), HELPERS + 1, "all but the shard's");
}

#[test]
fn a_server_that_ends_sends_the_rows_that_waited_for_more_of_their_command() {
    let gate = Arc::new(Gate::default());
    let (running, mut socket, slow) = amid_a_long_command(&gate);
    let _opened = OpenAtEnd(&gate);
    running.stopper().stop();
    gate.open();
    let mut found = Vec::new();
    socket.read_to_end(&mut found).unwrap();
    let found = String::from_utf8(found).unwrap();
    assert!(found.starts_with(&format!("+PONG\r\n*{ROWS}\r\n")), "{}", &found[..40]);
    let rows = found.matches("*1\r\n").count();
    assert!(found.contains(&slow), "the row that was read last is missing: {rows} came");
    assert!(SLOW_ROW < rows && rows < ROWS, "{rows} rows came of a command that was cut short");
    running.wait().unwrap();
}
