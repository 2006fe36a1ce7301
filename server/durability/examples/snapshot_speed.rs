//! How fast one thread makes an image: of records with full rings, none of them in the processor's caches.
//!
//! ```text
//! cargo run --release -p windrow-durability --example snapshot_speed -- <directory> [records]
//! ```
//!
//! Each figure is the median of three rounds of wall time: records copied and thrown away; an image on a disk that forgets what it is
//! told, so the price of copying, sorting into chunks and checksums; an image on the disk of the directory, synced at its end; and its
//! chunks, read from there into memory that a disk can write to itself, and into memory that takes a copy.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures time")]

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use windrow_durability::snapshot::{Next, Snapshot, SnapshotPlan};
use windrow_engine::catalogue::Created;
use windrow_engine::copy::Copies;
use windrow_engine::state::Share;
use windrow_engine::{Catalogue, Cursor, HashKey, Hint, Shard, ShardConfig, StreamId, form};
use windrow_memory::{CHUNK_BYTES, Domain, Participant, SCAN_ROWS_MAX};
use windrow_storage::disk::{DIRECT_ALIGN, DirLock, OpenMode, RealDisk};
use windrow_storage::image::ImageReader;
use windrow_storage::{Disk, DiskFile, Position};
use windrow_window::Definition;

const KEY: HashKey = HashKey([1, 2]);
/// Not epoch 0: a record at position 0 has no operation yet.
const EPOCH: u32 = 1;
const ROUNDS: usize = 3;
const MINUTE_MS: i64 = 60_000;
const SHARE: Share = Share { shard: 0, shards: 1 };

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("give a directory for the image's file")?);
    let records: u64 = args.next().map_or(Ok(1_000_000), |records| records.parse())?;
    let (domain, mut participants) = Domain::with_participants(1);
    let mut participant = participants.pop().expect("one was made");
    let catalogue = catalogue();
    let shard = filled(&catalogue, &domain, records)?;
    let bytes = shard.usage().record_bytes as f64;
    println!("{records} records of {:.0} bytes", bytes / records as f64);
    let mut copied = || copy(&shard, &mut participant);
    report("copied", bytes, &mut copied);
    let (nothing, real): (Arc<dyn Disk>, Arc<dyn Disk>) = (Arc::new(Nothing), Arc::new(RealDisk));
    report("imaged on no disk", bytes, &mut || image(&shard, &catalogue, &mut participant, &nothing, &dir));
    report("imaged and synced", bytes, &mut || image(&shard, &catalogue, &mut participant, &real, &dir));
    std::fs::rename(dir.join("00000001-0000.img.tmp"), dir.join("00000001-0000.img"))?;
    let mut memory = vec![0; CHUNK_BYTES + 2 * DIRECT_ALIGN];
    let aligned = memory.as_ptr().align_offset(DIRECT_ALIGN);
    report("read straight from disk", bytes, &mut || {
        read(&real, &dir, &mut memory[aligned..][..CHUNK_BYTES]);
    });
    let copied = aligned + size_of::<u64>();
    report("read by the page cache", bytes, &mut || read(&real, &dir, &mut memory[copied..][..CHUNK_BYTES]));
    std::fs::remove_file(dir.join("00000001-0000.img"))?;
    Ok(())
}

fn report(what: &str, bytes: f64, run: &mut dyn FnMut()) {
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[ROUNDS / 2];
    println!("{what:>18}: {:>6.0} ms, {:>6.0} MB/s", median * 1e3, bytes / median / 1e6);
}

fn catalogue() -> Catalogue {
    let definition = "FIELDS amount FLOAT WINDOWS 1h@1m AGGREGATE count sum(amount)";
    let definition = Definition::parse_text("s", definition).expect("a definition");
    match Catalogue::default().created(definition, 0).expect("a stream") {
        Created::New(catalogue) => catalogue,
        Created::Same => unreachable!("the catalogue was empty"),
    }
}

fn name(entity: u64) -> String {
    format!("user:{entity:011}")
}

/// A shard whose records are all as that of one entity which had an event in every minute of an hour.
fn filled(catalogue: &Catalogue, domain: &Arc<Domain>, records: u64) -> Result<Shard, Box<dyn Error>> {
    let config = ShardConfig {
        hash_key: KEY,
        maxmemory_bytes: 0,
        reserved_bytes: (64 << 20) + records as usize * 4096,
    };
    let stream = catalogue.stream(b"s").expect("the stream");
    let template = name(0);
    let mut first = Shard::new(config, domain)?;
    let hint = Hint::of(KEY.hash(stream.id, template.as_bytes()));
    for minute in 0..61 {
        let mut op = Vec::new();
        let now_ms = minute * MINUTE_MS;
        let event = [&b"*"[..], b"amount", b"1.5"];
        form::encode_add(&mut op, stream, template.as_bytes(), event.into_iter(), now_ms, &KEY)?;
        let position = Position::new(EPOCH, 1 + minute as u64)?.pack();
        assert!(first.apply(catalogue, &op, hint, now_ms, position).counted());
    }
    let mut copies = Copies::default();
    first.copy_rows(Cursor::START, 1, &mut copies);
    let mut cursor = Some(Cursor::START);
    while copies.is_empty() {
        cursor = first.copy_rows(cursor.expect("there is a record"), 1, &mut copies);
    }
    let words: Vec<u64> = copies
        .rows()
        .flat_map(|(_, bytes)| bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())))
        .collect();
    let mut shard = Shard::new(config, domain)?;
    for entity in 0..records {
        shard.insert_copied(catalogue, SHARE, &renamed(&words, stream.id, &name(entity)))?;
    }
    Ok(shard)
}

/// The same record of another entity: word 2 is the hash, the key follows.
fn renamed(words: &[u64], stream: StreamId, name: &str) -> Vec<u64> {
    let mut key: Vec<u8> = stream.0.to_le_bytes().into_iter().chain(name.bytes()).collect();
    key.resize(key.len().next_multiple_of(8), 0);
    let mut words = words.to_vec();
    words[2] = KEY.hash(stream, name.as_bytes());
    for (word, bytes) in words[3..].iter_mut().zip(key.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    }
    words
}

fn copy(shard: &Shard, participant: &mut Participant) {
    let reader = shard.reader();
    let mut copies = Copies::default();
    let mut cursor = Some(Cursor::START);
    while let Some(at) = cursor {
        participant.quiescent();
        cursor = reader.copy_rows(participant, at, SCAN_ROWS_MAX, &mut copies).expect("nobody writes");
        participant.sleep();
    }
}

fn image(
    shard: &Shard,
    catalogue: &Catalogue,
    participant: &mut Participant,
    disk: &Arc<dyn Disk>,
    dir: &Path,
) {
    let plan = SnapshotPlan { image: 1, epoch: EPOCH, hash_key: KEY, created_ms: 0 };
    let images = (Arc::clone(disk), dir.to_path_buf());
    let mut snapshot = Snapshot::begin(images, plan, vec![shard.reader()]);
    let position = Position::new(EPOCH, 61).expect("a position");
    loop {
        match snapshot.step(participant).expect("the disk works").next {
            Next::Step => {}
            Next::Ask(question) => {
                snapshot.answered(question.answer(shard, catalogue, position)).expect("the disk works");
            }
            Next::Written => break,
        }
    }
}

/// Every chunk of the image, checked, one over the other.
fn read(disk: &Arc<dyn Disk>, dir: &Path, chunk: &mut [u8]) {
    // Asks the system to forget what it has of the file.
    let file = disk.open(&dir.join("00000001-0000.img"), OpenMode::ReadWrite).expect("the image");
    let len = file.len().expect("the image");
    file.write_behind(0..0, 0..len).expect("a hint");
    let reader = ImageReader::open(disk, dir, 1, 0).expect("the image");
    for number in 0..reader.chunks().len() as u32 {
        reader.fill_chunk(number, chunk).expect("the image");
    }
}

/// A disk that takes everything and keeps nothing.
struct Nothing;

impl Disk for Nothing {
    fn open(&self, _path: &Path, _mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Nothing))
    }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, _dir: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock_dir(&self, _dir: &Path) -> io::Result<DirLock> {
        Ok(DirLock::new(()))
    }
}

impl DiskFile for Nothing {
    fn read_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
        Ok(0)
    }
    fn write_at(&self, bytes: &[u8], _offset: u64) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }
    fn allocate_zeros(&self, _len: u64) -> io::Result<bool> {
        Ok(false)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
