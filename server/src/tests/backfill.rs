//! BACKFILL beside a server that serves: what comes of it, how far it says it is, what else may happen to its streams meanwhile.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use windrow_storage::Disk;
use windrow_storage::disk::{DirLock, DiskFile, MemDisk, OpenMode};

use super::harness::{Client, Reply, command, config, eventually, start_on};
use crate::Config;
use crate::config::AppendFsync;

const ENTITIES: usize = 60;

fn value(map: &[Reply], key: &str) -> Reply {
    let at = map.iter().step_by(2).position(|name| *name == Reply::Bulk(key.as_bytes().to_vec()));
    map[2 * at.unwrap_or_else(|| panic!("there is no {key} in {map:?}")) + 1].clone()
}

fn info(client: &mut Client, stream: &str) -> Vec<Reply> {
    client.ask(&format!("STREAM.INFO {stream}")).array()
}

fn state(client: &mut Client, stream: &str) -> String {
    value(&value(&info(client, stream), "backfill").array(), "state").text()
}

fn wait_until_filled(client: &mut Client, stream: &str) {
    eventually("the backfill finishes", || state(client, stream) == "finished");
    let info = info(client, stream);
    assert_eq!(value(&value(&info, "backfill").array(), "percent"), Reply::Int(100));
}

fn add(client: &mut Client, streams: &[&str], entity: usize, v: usize) {
    for stream in streams {
        client.ask(&format!("EVENT.ADD e{entity} {stream} * v {v} w x{}", v % 7)).assert_ok();
    }
}

/// Rows of two streams by the same features.
fn assert_same(client: &mut Client, stream: &str, oracle: &str, features: &str) {
    for entity in 0..ENTITIES {
        let found = client.ask(&format!("WINDOW.GET e{entity} {stream} {features}"));
        let expected = client.ask(&format!("WINDOW.GET e{entity} {oracle} {features}"));
        assert_eq!(found, expected, "e{entity} of {stream}");
    }
}

#[test]
fn what_an_alter_adds_counts_earlier_events_too_and_survives_restarts_with_other_shards() {
    let features = "count:1h sum(v):1h max(v):1h distinct(w):1h count:all sum(v):all";
    let disk = MemDisk::new();
    let mut running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT w STRING WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client
        .ask("STREAM.CREATE o FIELDS v INT w STRING WINDOWS 1h@1m all AGGREGATE count sum(v) max(v) distinct(w)")
        .assert_ok();
    (0..300).for_each(|i| add(&mut client, &["s", "o"], i % ENTITIES, i));
    for stream in ["s", "o"] {
        assert_eq!(client.ask(&format!("ENTITY.DEL e3 {stream}")), Reply::Int(1));
    }
    let created = value(&info(&mut client, "s"), "created");
    client.ask("STREAM.ALTER s ADD WINDOWS all AGGREGATE sum(v) max(v) distinct(w) BACKFILL").assert_ok();
    (0..300).for_each(|i| add(&mut client, &["s", "o"], i % ENTITIES, 7 * i));
    wait_until_filled(&mut client, "s");
    for shards in [3, 1] {
        let mut client = Client::connect(&running);
        assert_same(&mut client, "s", "o", features);
        let covered = value(&info(&mut client, "s"), "covered_from").array();
        assert_eq!(
            (value(&covered, "sum(v):1h"), value(&covered, "count:all")),
            (created.clone(), created.clone())
        );
        running.shutdown().unwrap();
        running = start_on(config(shards), Arc::new(disk.clone()));
    }
    let mut client = Client::connect(&running);
    add(&mut client, &["s", "o"], 5, 11);
    assert_same(&mut client, "s", "o", features);
    client.ask("STREAM.ALTER s ADD AGGREGATE avg(v) BACKFILL").assert_ok();
    assert_eq!(value(&info(&mut client, "s"), "backfill"), Reply::Null, "all that it needs is there");
    client.ask("STREAM.ALTER s ADD AGGREGATE first(v) BACKFILL").assert_ok();
    wait_until_filled(&mut client, "s");
    assert_same(&mut client, "s", "o", features);
}

#[test]
fn a_stream_made_from_another_one_has_its_events_as_far_as_they_were_counted() {
    for shards in [1, 3] {
        let disk = MemDisk::new();
        let running = start_on(config(shards), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client
            .ask("STREAM.CREATE s FIELDS v INT w STRING WINDOWS 1h@1m AGGREGATE count DEDUP 1h")
            .assert_ok();
        client
            .ask("STREAM.CREATE o FIELDS w STRING v INT WINDOWS 2h@1m AGGREGATE count sum(v) lastk(w,3)")
            .assert_ok();
        for i in 0..200 {
            add(&mut client, &["s", "o"], i % ENTITIES, i);
        }
        client.ask("EVENT.ADD e1 s ID once * v 1000 w y").assert_ok();
        assert_eq!(client.ask("EVENT.ADD e1 s ID once * v 1000 w y"), Reply::Simple("DUPLICATE".to_owned()));
        client.ask("EVENT.ADD e1 o * v 1000 w y").assert_ok();
        for stream in ["s", "o"] {
            assert_eq!(client.ask(&format!("ENTITY.DEL e3 {stream}")), Reply::Int(1));
        }
        let made = "STREAM.CREATE t FIELDS w STRING v INT WINDOWS 2h@1m AGGREGATE count sum(v) lastk(w,3)";
        client.ask(&format!("{made} BACKFILL FROM s")).assert_ok();
        // No longer its events.
        add(&mut client, &["s"], 1, 1);
        add(&mut client, &["t", "o"], 2, 2);
        client.ask("ENTITY.DEL e4 t");
        client.ask("ENTITY.DEL e4 o");
        wait_until_filled(&mut client, "t");
        let features = "count:2h sum(v):2h lastk(w,3):2h";
        assert_same(&mut client, "t", "o", features);
        assert_eq!(client.ask("ENTITY.DEL e5 t"), Reply::Int(1));
        assert_eq!(client.ask("ENTITY.DEL e5 o"), Reply::Int(1));
        client.ask(&format!("{made} BACKFILL FROM s")).assert_ok();
        client.ask(&format!("{made} BACKFILL FROM o")).assert_error("was not made from 'o'");
        client.ask("STREAM.DROP s").assert_ok();
        running.shutdown().unwrap();
        let running = start_on(config(4 - shards), Arc::new(disk));
        assert_same(&mut Client::connect(&running), "t", "o", features);
    }
}

#[test]
fn a_field_that_the_source_lacks_is_named_at_once() {
    let running = start_on(config(1), Arc::new(MemDisk::new()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count").assert_ok();
    let made = |fields: &str| {
        format!("STREAM.CREATE t FIELDS {fields} WINDOWS 1h@1m AGGREGATE count BACKFILL FROM s")
    };
    client.ask(&made("v INT other INT")).assert_error("field 'other' is not a field of 's'");
    client.ask(&made("v FLOAT")).assert_error("field 'v' is FLOAT here and INT in 's'");
    assert_eq!(client.ask("STREAM.LIST"), Reply::Array(vec![Reply::Bulk(b"s".to_vec())]));
}

/// A disk on which syncing the log does not come to an end while it is stuck.
#[derive(Clone)]
struct StuckSync {
    disk: MemDisk,
    is_stuck: Arc<AtomicBool>,
}

struct StuckFile {
    file: Arc<dyn DiskFile>,
    is_stuck: Arc<AtomicBool>,
}

impl Disk for StuckSync {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        let is_log = path.extension().is_some_and(|extension| extension == "wal");
        let is_stuck = if is_log { Arc::clone(&self.is_stuck) } else { Arc::default() };
        Ok(Arc::new(StuckFile { file, is_stuck }))
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

impl DiskFile for StuckFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
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
        while self.is_stuck.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.file.sync_data()
    }
}

#[test]
fn while_a_stream_is_filled_it_cannot_be_altered_and_its_source_not_dropped_but_itself_it_can() {
    let disk = StuckSync { disk: MemDisk::new(), is_stuck: Arc::default() };
    let config = Config { appendfsync: AppendFsync::No, ..config(2) };
    let running = start_on(config, Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT w STRING WINDOWS 1h@1m AGGREGATE count").assert_ok();
    disk.is_stuck.store(true, Ordering::Release);
    (0..100).for_each(|i| add(&mut client, &["s"], i % ENTITIES, i));
    client.ask("STREAM.CREATE t FIELDS v INT WINDOWS 1h@1m AGGREGATE count BACKFILL FROM s").assert_ok();
    client.ask("STREAM.CREATE u FIELDS v INT WINDOWS 1h@1m AGGREGATE count BACKFILL FROM s").assert_ok();
    eventually("it begins", || state(&mut client, "t") == "reading the log");
    assert_eq!(state(&mut client, "u"), "waiting for its turn");
    client.ask("STREAM.ALTER t ADD AGGREGATE sum(v)").assert_error("a backfill of it is running");
    client.ask("STREAM.DROP s").assert_error("stream 't' is being filled from it");
    // What is removed meanwhile stays so, known or not.
    client.ask("EVENT.ADD e7 t * v 1").assert_ok();
    assert_eq!(client.ask("ENTITY.DEL e7 t"), Reply::Int(1));
    assert_eq!(client.ask("ENTITY.DEL e8 t"), Reply::Int(0));
    client.ask("EVENT.ADD e8 t * v 1").assert_ok();
    client.ask("EVENT.ADD e9 t * v 1").assert_ok();
    client.ask("STREAM.DROP u").assert_ok();
    disk.is_stuck.store(false, Ordering::Release);
    wait_until_filled(&mut client, "t");
    let count = |client: &mut Client, entity: usize| client.ask(&format!("WINDOW.GET e{entity} t count:1h"));
    let expected = |count: i64| Reply::Array(vec![Reply::Int(count)]);
    assert_eq!(count(&mut client, 7), expected(0));
    assert_eq!(client.ask("ENTITY.INFO e7 t"), Reply::Null);
    assert_eq!(count(&mut client, 8), expected(1));
    assert_eq!(count(&mut client, 9), expected(3));
    assert_eq!(count(&mut client, 10), expected(2));
    client.ask("STREAM.ALTER t ADD AGGREGATE sum(v)").assert_ok();
    client.ask("STREAM.DROP s").assert_ok();
}

#[test]
fn a_backfill_that_was_cut_short_begins_again_with_the_next_start() {
    let disk = StuckSync { disk: MemDisk::new(), is_stuck: Arc::default() };
    let quick = Config { appendfsync: AppendFsync::No, ..config(2) };
    let running = start_on(quick, Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT w STRING WINDOWS 1h@1m AGGREGATE count").assert_ok();
    client.ask("STREAM.CREATE o FIELDS v INT w STRING WINDOWS 1h@1m AGGREGATE count sum(v)").assert_ok();
    disk.is_stuck.store(true, Ordering::Release);
    (0..200).for_each(|i| add(&mut client, &["s", "o"], i % ENTITIES, i));
    client.ask("STREAM.ALTER s ADD AGGREGATE sum(v) BACKFILL").assert_ok();
    eventually("it begins", || state(&mut client, "s") == "reading the log");
    running.stopper().stop();
    disk.is_stuck.store(false, Ordering::Release);
    running.wait().unwrap();
    let running = start_on(config(3), Arc::new(disk));
    let mut client = Client::connect(&running);
    wait_until_filled(&mut client, "s");
    assert_same(&mut client, "s", "o", "count:1h sum(v):1h");
}

/// Sends commands at once and reads their replies.
fn ask_all(client: &mut Client, commands: impl Iterator<Item = String>) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for words in commands {
        command(&mut bytes, &words);
        count += 1;
    }
    client.send(&bytes);
    (0..count).for_each(|_| client.read().assert_ok());
}

#[test]
fn damaged_log_is_passed_over_and_covered_from_begins_behind_it() {
    let disk = MemDisk::new();
    let settings = Config { log_segment_bytes: 64 << 10, ..config(1) };
    let running = start_on(settings.clone(), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1d@1m AGGREGATE count").assert_ok();
    client.ask("EVENT.ADD removed s * v 1").assert_ok();
    client.ask("EVENT.ADD cut s * v 1").assert_ok();
    // Each in a group of its own, so that damage hits few of them.
    for i in 0..3000 {
        client.ask(&format!("EVENT.ADD other{} s * v 1", i % 10)).assert_ok();
        if i == 20 {
            assert_eq!(client.ask("ENTITY.DEL removed s"), Reply::Int(1));
            client.ask("EVENT.ADD removed s * v 5").assert_ok();
        }
    }
    for entity in ["cut", "whole", "removed"] {
        client.ask(&format!("EVENT.ADD {entity} s * v 10")).assert_ok();
    }
    client.ask("SAVE").assert_ok();
    client.ask("SAVE").assert_ok();
    running.shutdown().unwrap();
    // From the beginning to behind the removal: groups that cannot be read are forgotten with all before them.
    let file = Path::new("/data/log/00000001-0000-00000000.wal");
    for offset in (4096 + 400..4096 + 8000).step_by(16) {
        disk.corrupt(file, offset, |byte| *byte ^= 0x55).unwrap();
    }
    let running = start_on(settings, Arc::new(disk));
    let mut client = Client::connect(&running);
    client.ask("STREAM.ALTER s ADD AGGREGATE sum(v) BACKFILL").assert_ok();
    wait_until_filled(&mut client, "s");
    let sum = |client: &mut Client, entity: &str| client.ask(&format!("WINDOW.GET {entity} s sum(v):1d"));
    for entity in ["cut", "whole", "removed"] {
        assert_eq!(sum(&mut client, entity), Reply::Array(vec![Reply::Int(10)]), "{entity}");
    }
    let Reply::Array(values) = sum(&mut client, "other1") else { panic!("it is a row") };
    assert!(matches!(values[0], Reply::Int(sum) if (100..300).contains(&sum)), "{values:?}");
    let info = info(&mut client, "s");
    let (covered, created) = (value(&info, "covered_from").array(), value(&info, "created"));
    let (Reply::Int(covered), Reply::Int(created)) = (value(&covered, "sum(v):1d"), created) else {
        panic!("they are times: {info:?}")
    };
    assert!(covered > created, "{covered} {created}");
    client.ask("STREAM.ALTER s ADD AGGREGATE max(v)").assert_ok();
}

#[test]
fn a_backfill_lets_the_log_go_where_it_can_grow_no_more_rather_than_stop_all_writes() {
    const MANY: usize = 12_000;
    let disk = StuckSync { disk: MemDisk::new(), is_stuck: Arc::default() };
    let large = Config { log_segment_bytes: 64 << 10, appendfsync: AppendFsync::No, ..config(1) };
    let running = start_on(large.clone(), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count").assert_ok();
    for some in 0..MANY / 500 {
        ask_all(&mut client, (0..500).map(|i| format!("EVENT.ADD e{} s * v 1", some * 500 + i)));
    }
    client.ask("SAVE").assert_ok();
    client.ask("EVENT.ADD e0 s * v 1").assert_ok();
    client.ask("SAVE").assert_ok();
    disk.is_stuck.store(true, Ordering::Release);
    client.ask("EVENT.ADD e0 s * v 1").assert_ok();
    client.ask("STREAM.ALTER s ADD AGGREGATE sum(v) BACKFILL").assert_ok();
    eventually("it begins", || state(&mut client, "s") == "reading the log");
    running.stopper().stop();
    disk.is_stuck.store(false, Ordering::Release);
    running.wait().unwrap();
    // Less than it takes already, and than what is merged would take.
    let small = Config { log_max_bytes: 256 << 10, ..large };
    let running = start_on(small, Arc::new(disk));
    let mut client = Client::connect(&running);
    wait_until_filled(&mut client, "s");
    eventually("writes are taken", || client.ask("EVENT.ADD e0 s * v 1") == Reply::Simple("OK".to_owned()));
}

#[test]
fn what_the_manifest_says_is_filled_is_durable_also_where_nothing_is_synced() {
    for seed in 0..3 {
        let disk = MemDisk::new();
        let settings = Config { appendfsync: AppendFsync::No, ..config(2) };
        let running = start_on(settings.clone(), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1d@1m AGGREGATE count").assert_ok();
        (0..ENTITIES).for_each(|entity| client.ask(&format!("EVENT.ADD e{entity} s * v 3")).assert_ok());
        client.ask("STREAM.ALTER s ADD AGGREGATE sum(v) BACKFILL").assert_ok();
        wait_until_filled(&mut client, "s");
        let left = disk.crash(seed);
        drop(running);
        let running = start_on(settings, Arc::new(left));
        let mut client = Client::connect(&running);
        assert_eq!(state(&mut client, "s"), "finished");
        for entity in 0..ENTITIES {
            let sum = client.ask(&format!("WINDOW.GET e{entity} s sum(v):1d"));
            assert_eq!(sum, Reply::Array(vec![Reply::Int(3)]), "e{entity} after crash {seed}");
        }
    }
}

/// A backfill finds what its records have no memory for: it must not try for ever, nor hold the log, nor be lost.
#[test]
fn a_backfill_without_memory_stops_says_so_and_begins_again_when_asked_and_with_the_next_start() {
    let least = Config { maxmemory_bytes: 6 << 20, ..config(1) };
    let disk = MemDisk::new();
    let running = start_on(least.clone(), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1d@1m AGGREGATE count").assert_ok();
    let add = |entity: usize| format!("EVENT.ADD e{entity} s * v 3");
    let counted =
        (0..).take_while(|&entity| client.ask(&add(entity)) == Reply::Simple("OK".to_owned())).count();
    client
        .ask("STREAM.CREATE t FIELDS v INT WINDOWS 1d@1m all AGGREGATE count sum(v) BACKFILL FROM s")
        .assert_ok();
    eventually("it stops", || state(&mut client, "t").starts_with("stopped"));
    assert!(state(&mut client, "t").contains("maxmemory"), "it says what to do");
    let found = value(&value(&info(&mut client, "t"), "backfill").array(), "events");
    assert_eq!(found, Reply::Int(counted as i64), "how far it was is still to be seen");
    running.shutdown().unwrap();
    // The next start asks by itself.
    let running = start_on(least, Arc::new(disk));
    let mut client = Client::connect(&running);
    eventually("it stops again", || state(&mut client, "t").starts_with("stopped"));
    client.ask("CONFIG SET maxmemory 64mb").assert_ok();
    wait_until_filled(&mut client, "t");
    for entity in [0, counted / 2, counted - 1] {
        let row = client.ask(&format!("WINDOW.GET e{entity} t count:1d sum(v):all"));
        assert_eq!(row, Reply::Array(vec![Reply::Int(1), Reply::Int(3)]), "e{entity} of {counted}");
    }
}

#[test]
fn a_backfill_that_has_stopped_holds_up_no_other_one() {
    let running = start_on(Config { maxmemory_bytes: 6 << 20, ..config(1) }, Arc::new(MemDisk::new()));
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s FIELDS v INT WINDOWS 1d@1m AGGREGATE count").assert_ok();
    client.ask("STREAM.CREATE few FIELDS v INT WINDOWS 1d@1m AGGREGATE count").assert_ok();
    client.ask("EVENT.ADD e0 few * v 1").assert_ok();
    let add = |entity: usize| format!("EVENT.ADD e{entity} s * v 3");
    let counted =
        (0..).take_while(|&entity| client.ask(&add(entity)) == Reply::Simple("OK".to_owned())).count();
    assert!(counted > 0);
    client.ask("STREAM.CREATE t FIELDS v INT WINDOWS 1d@1m AGGREGATE count BACKFILL FROM s").assert_ok();
    // There is nothing to find, so it needs no memory.
    client.ask("ENTITY.DEL e0 few");
    client.ask("STREAM.CREATE u FIELDS v INT WINDOWS 1d@1m AGGREGATE count BACKFILL FROM few").assert_ok();
    wait_until_filled(&mut client, "u");
    assert!(state(&mut client, "t").starts_with("stopped"));
    client.ask("STREAM.DROP t").assert_ok();
}
