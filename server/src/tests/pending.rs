//! Servers that serve while the rest of their image is not in memory yet, held there by a disk that waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use windrow_storage::Disk;
use windrow_storage::disk::{DirLock, DiskFile, MemDisk, OpenMode};

use super::harness::{Client, Reply, command, config, eventually, start_on};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const IMAGES: &str = "/data/images";

/// Opened once.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_closed = |is_open: &mut bool| !*is_open;
        let (_is_open, waited) =
            self.opened.wait_timeout_while(self.is_open.lock().unwrap(), PATIENCE, is_closed).unwrap();
        assert!(!waited.timed_out(), "nobody opens the gate");
    }
}

/// Opens a gate when a test ends, also by a failure: a server waits for its threads.
struct OpenAtEnd<'a>(&'a Gate);

impl Drop for OpenAtEnd<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A disk where the thread that brings images into memory reads nothing before the gate is open.
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
        if thread::current().name() == Some("adopt") {
            self.gate.pass();
        }
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
