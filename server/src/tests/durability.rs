//! What the log promises: room first, failures final, -LOADING until it is read.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use windrow_storage::disk::{Call, DirLock, Fault, FaultyDisk, MemDisk, OpenMode};
use windrow_storage::{Disk, DiskFile};

use super::harness::{Client, Reply, command, config, eventually, start_on};
use crate::clock::Clock;
use crate::config::AppendFsync;
use crate::{Config, Server};

const STREAM: &str = "STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count";

fn small_segments(shards: usize, appendfsync: AppendFsync) -> Config {
    Config { log_segment_bytes: 64 << 10, appendfsync, ..config(shards) }
}

#[test]
fn without_room_writes_are_refused_before_they_are_applied_and_resume_with_room() {
    for shards in [1, 2] {
        let disk = MemDisk::new();
        let running = start_on(small_segments(shards, AppendFsync::EverySec), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        disk.set_capacity_bytes(Some(disk.used_bytes()));
        let mut counted = 0;
        loop {
            match client.ask("EVENT.ADD e s * v 1") {
                Reply::Simple(_) => counted += 1,
                error => {
                    error.assert_error("MISCONF");
                    break;
                }
            }
        }
        assert!(counted > 100, "the segment that was there took {counted} events");
        assert_eq!(client.ask("WINDOW.GET e s count:1h"), Reply::Array(vec![Reply::Int(counted)]));
        disk.set_capacity_bytes(None);
        eventually("writing resumes", || client.ask("EVENT.ADD e s * v 1") == Reply::Simple("OK".to_owned()));
        assert_eq!(client.ask("WINDOW.GET e s count:1h"), Reply::Array(vec![Reply::Int(counted + 1)]));
    }
}

#[test]
fn a_healthy_disk_never_refuses_however_fast_segments_fill() {
    for shards in [1, 2] {
        for segment_bytes in [64 << 10, 1 << 20] {
            let config = Config { log_segment_bytes: segment_bytes, ..config(shards) };
            let running = start_on(config, Arc::new(MemDisk::new()));
            let mut client = Client::connect(&running);
            client.ask(STREAM).assert_ok();
            let rows: String = (0..1000).map(|i| format!(" e{} * 1", i % 50)).collect();
            let mut batch = Vec::new();
            command(&mut batch, &format!("EVENT.MADD s FIELDS 1 v EVENTS{rows}"));
            const BATCHES: usize = 100;
            for _ in 0..BATCHES / 4 {
                client.send(&batch.repeat(4));
                for _ in 0..4 {
                    let replies = client.read().array();
                    let refused = replies.iter().find(|reply| **reply != Reply::Simple("OK".to_owned()));
                    assert_eq!(refused, None, "{shards} shards, segments of {segment_bytes} bytes");
                }
            }
            let counted = client.ask("WINDOW.GET e7 s count:1h");
            assert_eq!(counted, Reply::Array(vec![Reply::Int(BATCHES as i64 * 20)]));
        }
    }
}

#[test]
fn a_failed_log_write_leaves_the_outcome_unknown_and_refuses_writes_for_good() {
    for shards in [1, 4] {
        let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
        let running = start_on(config(shards), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        for i in 0..20 {
            client.ask(&format!("EVENT.ADD e{i} s *")).assert_ok();
        }
        // Whichever write of the log comes first fails: that of the event, or one that refuses it.
        disk.inject(Call::Write, disk.calls(Call::Write), u64::MAX, Fault::Io);
        let mut bytes = Vec::new();
        command(&mut bytes, "EVENT.ADD e1 s *");
        command(&mut bytes, "WINDOW.GET nobody s count:1h");
        client.send(&bytes);
        client.read().assert_error("MISCONF");
        assert_eq!(client.read(), Reply::Array(vec![Reply::Int(0)]));
        disk.heal();
        for i in 0..20 {
            client.ask(&format!("EVENT.ADD e{i} s *")).assert_error("MISCONF");
        }
        assert_eq!(client.ask("WINDOW.GET e7 s count:1h"), Reply::Array(vec![Reply::Int(1)]));
        client.ask("EVENT.MADD s FIELDS 0 EVENTS e1 * e2 *").array()[1].assert_error("MISCONF");
    }
}

#[test]
fn under_always_a_failed_sync_answers_outcome_unknown() {
    for shards in [1, 4] {
        let disk = MemDisk::new();
        let running = start_on(small_segments(shards, AppendFsync::Always), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        for i in 0..20 {
            client.ask(&format!("EVENT.ADD e{i} s *")).assert_ok();
        }
        disk.lose_syncs(0, 1 << 40);
        // A sync of something else may fail first; then the write is refused instead. Either way it is not acknowledged.
        client.ask("EVENT.ADD e3 s *").assert_error("MISCONF");
        client.ask("EVENT.ADD e3 s *").assert_error("not applied");
        assert!(matches!(client.ask("WINDOW.GET e5 s count:1h"), Reply::Array(_)));
    }
}

#[test]
fn under_always_what_was_acknowledged_survives_a_power_loss() {
    for seed in 0..5 {
        let disk = MemDisk::new();
        let running = start_on(small_segments(2, AppendFsync::Always), Arc::new(disk.clone()));
        let mut client = Client::connect(&running);
        client.ask(STREAM).assert_ok();
        let mut bytes = Vec::new();
        for i in 0..500 {
            command(&mut bytes, &format!("EVENT.ADD e{} s * v {i}", i % 50));
        }
        client.send(&bytes);
        for _ in 0..500 {
            client.read().assert_ok();
        }
        let after = disk.crash(seed);
        let running_after = start_on(small_segments(1, AppendFsync::Always), Arc::new(after));
        let mut client = Client::connect(&running_after);
        for i in 0..50 {
            let row = client.ask(&format!("WINDOW.GET e{i} s count:1h"));
            assert_eq!(row, Reply::Array(vec![Reply::Int(10)]), "seed {seed}, entity {i}");
        }
    }
}

#[test]
fn every_mode_acknowledges_and_switches_at_run_time() {
    let running = start_on(config(2), Arc::new(MemDisk::new()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    for mode in ["always", "no", "everysec", "always"] {
        client.ask(&format!("CONFIG SET appendfsync {mode}")).assert_ok();
        for i in 0..50 {
            client.ask(&format!("EVENT.ADD e{i} s *")).assert_ok();
        }
    }
    assert_eq!(client.ask("WINDOW.GET e1 s count:1h"), Reply::Array(vec![Reply::Int(4)]));
}

#[test]
fn until_the_log_is_read_data_commands_answer_loading() {
    let disk = GatedDisk::default();
    let running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    for i in 0..50 {
        client.ask(&format!("EVENT.ADD e{i} s *")).assert_ok();
    }
    running.shutdown().unwrap();
    disk.close_log();
    let running = Server::start_on(config(3), Arc::new(disk.clone()), Clock::system()).unwrap();
    let mut client = Client::connect(&running);
    for words in ["PING", "EVENT.ADD e s *", "WINDOW.GET e s count:1h", "STREAM.LIST", "DBSIZE"] {
        client.ask(words).assert_error("LOADING Windrow is loading the log: ");
    }
    let info = client.ask("INFO persistence").text();
    assert!(info.contains("loading:1\r\n"), "{info}");
    assert!(matches!(client.ask("COMMAND COUNT"), Reply::Int(_)));
    disk.open_log();
    eventually("the log is loaded", || client.ask("PING") == Reply::Simple("PONG".to_owned()));
    assert_eq!(client.ask("WINDOW.GET e49 s count:1h"), Reply::Array(vec![Reply::Int(1)]));
    assert_eq!(client.ask("DBSIZE"), Reply::Int(50));
}

#[test]
fn until_the_image_is_linked_data_commands_answer_loading() {
    let disk = GatedDisk::default();
    let running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    for i in 0..50 {
        client.ask(&format!("EVENT.ADD e{i} s *")).assert_ok();
    }
    client.ask("SAVE").assert_ok();
    running.shutdown().unwrap();
    disk.close_log();
    for shards in [2, 3] {
        let running = Server::start_on(config(shards), Arc::new(disk.clone()), Clock::system()).unwrap();
        let mut client = Client::connect(&running);
        for words in ["PING", "EVENT.ADD e s *", "SAVE", "BGSAVE", "FLUSHALL"] {
            client.ask(words).assert_error("LOADING Windrow is loading ");
        }
        assert!(matches!(client.ask("LASTSAVE"), Reply::Int(_)), "answered while loading, as in Redis");
        disk.open_log();
        eventually("it is loaded", || client.ask("PING") == Reply::Simple("PONG".to_owned()));
        assert_eq!(client.ask("WINDOW.GET e49 s count:1h"), Reply::Array(vec![Reply::Int(1)]));
        assert_eq!(client.ask("DBSIZE"), Reply::Int(50));
        eventually("all of it is in memory", || {
            client.ask("INFO persistence").text().contains("image_chunks_pending:0\r\n")
        });
        running.shutdown().unwrap();
        disk.close_log();
    }
    disk.open_log();
}

#[test]
fn a_server_that_is_loading_can_be_ended() {
    let disk = GatedDisk::default();
    let running = start_on(config(2), Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    client.ask("EVENT.ADD e s *").assert_ok();
    running.shutdown().unwrap();
    disk.close_log();
    let running = Server::start_on(config(2), Arc::new(disk.clone()), Clock::system()).unwrap();
    let mut client = Client::connect(&running);
    client.send(b"SHUTDOWN\r\n");
    assert!(client.is_closed());
    disk.open_log();
    running.wait().unwrap();
    let running = start_on(config(1), Arc::new(disk));
    assert_eq!(Client::connect(&running).ask("WINDOW.GET e s count:1h"), Reply::Array(vec![Reply::Int(1)]));
}

#[test]
fn a_second_server_does_not_get_the_directory() {
    let disk = MemDisk::new();
    let running = start_on(config(1), Arc::new(disk.clone()));
    assert!(Server::start_on(config(1), Arc::new(disk.clone()), Clock::system()).is_err());
    running.shutdown().unwrap();
    start_on(config(1), Arc::new(disk)).shutdown().unwrap();
}

#[test]
fn under_always_no_core_shows_a_removal_that_is_not_durable() {
    let disk = GatedDisk::default();
    let running = start_on(Config { appendfsync: AppendFsync::Always, ..config(4) }, Arc::new(disk.clone()));
    let mut client = Client::connect(&running);
    client.ask(STREAM).assert_ok();
    client.ask("EVENT.ADD e s * v 1").assert_ok();
    // Connections are dealt to all shards.
    let others: Vec<Client> = (0..8).map(|_| Client::connect(&running)).collect();
    disk.close_log();
    let removal = std::thread::spawn(move || client.ask("ENTITY.DEL e"));
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (sender, replies) = std::sync::mpsc::channel();
    let readers: Vec<_> = others
        .into_iter()
        .map(|mut other| {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(other.ask("WINDOW.GET e s count:1h")).unwrap())
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let shown: Vec<Reply> = replies.try_iter().collect();
    // A server that waits for its log could not end.
    disk.open_log();
    for reply in shown {
        assert_eq!(reply, Reply::Array(vec![Reply::Int(1)]), "a power loss would bring the entity back");
    }
    assert_eq!(removal.join().unwrap(), Reply::Int(1));
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    for reply in replies.try_iter() {
        assert_eq!(reply, Reply::Array(vec![Reply::Int(0)]));
    }
}

const DEDUP_STREAM: &str = "STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m AGGREGATE count DEDUP 10m";

/// Two clients send the same event while the log cannot be synced; gives their replies, those that came before `then` had its turn
/// apart.
fn sent_twice_while_the_log_waits(shards: usize, then: impl FnOnce(&GatedDisk)) -> (Vec<Reply>, Vec<Reply>) {
    let disk = GatedDisk::default();
    let always = Config { appendfsync: AppendFsync::Always, ..config(shards) };
    let running = start_on(always, Arc::new(disk.clone()));
    Client::connect(&running).ask(DEDUP_STREAM).assert_ok();
    let clients = [Client::connect(&running), Client::connect(&running)];
    disk.close_log();
    let (sender, replies) = std::sync::mpsc::channel();
    let senders: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let sender = sender.clone();
            let thread = std::thread::spawn(move || sender.send(client.ask("EVENT.ADD e s ID x *")).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(50));
            thread
        })
        .collect();
    let early: Vec<Reply> = replies.try_iter().collect();
    then(&disk);
    // A server that waits for its log could not end.
    disk.open_log();
    senders.into_iter().for_each(|thread| thread.join().unwrap());
    (early, replies.try_iter().collect())
}

#[test]
fn under_always_a_duplicate_is_answered_only_when_what_it_repeats_is_durable() {
    for shards in [1, 4] {
        let (early, late) = sent_twice_while_the_log_waits(shards, |_| ());
        assert_eq!(early, [], "a power loss would make these untrue");
        let duplicate = Reply::Simple("DUPLICATE".to_owned());
        let duplicates = late.iter().filter(|reply| **reply == duplicate).count();
        assert_eq!((late.len(), duplicates), (2, 1), "{late:?}");
    }
}

#[test]
fn the_outcome_of_a_duplicate_is_as_unknown_as_that_of_the_event_that_could_not_be_synced() {
    for shards in [1, 4] {
        let (early, late) = sent_twice_while_the_log_waits(shards, |disk| disk.disk.lose_syncs(0, 1 << 40));
        assert_eq!((early.len(), late.len()), (0, 2));
        late.iter().for_each(|reply| reply.assert_error("unknown"));
    }
}

/// A disk in memory whose log files can be neither read nor synced while a gate is closed.
#[derive(Clone, Default)]
struct GatedDisk {
    disk: MemDisk,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl GatedDisk {
    fn close_log(&self) {
        *self.gate.0.lock().unwrap() = true;
    }

    fn open_log(&self) {
        *self.gate.0.lock().unwrap() = false;
        self.gate.1.notify_all();
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        // Under the names that they are prepared with, too.
        let is_gated = path.to_str().is_some_and(|path| path.contains(".wal") || path.contains(".img"));
        Ok(if is_gated { Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) }) } else { file })
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock_dir(&self, dir: &Path) -> std::io::Result<DirLock> {
        self.disk.lock_dir(dir)
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let closed = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(closed, |closed| *closed).unwrap());
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate_zeros(&self, len: u64) -> std::io::Result<bool> {
        self.file.allocate_zeros(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let closed = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(closed, |closed| *closed).unwrap());
        self.file.sync_data()
    }
}
