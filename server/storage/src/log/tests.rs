//! The two halves of a log, over a disk in memory.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::*;
use crate::disk::{Call, DirLock, Disk, DiskFile, Fault, FaultyDisk, MemDisk, OpenMode, read_full_at};
use crate::segment::{Preparation, SegmentHeader, SegmentName};
use crate::{DataDir, Recovery, SegmentFill, StorageOptions};

const SEGMENT_BYTES: u64 = 8192;

fn options() -> StorageOptions {
    StorageOptions {
        segment_bytes: SEGMENT_BYTES,
        first_segment_bytes: SEGMENT_BYTES,
        ..StorageOptions::new(5)
    }
}

fn start(disk: Arc<dyn Disk>) -> (DataDir, ShardLog, LogSyncer) {
    start_with(disk, options())
}

/// With segments that are large enough for [`LogSyncer::write_behind`].
fn start_large(disk: Arc<dyn Disk>) -> (DataDir, ShardLog, LogSyncer) {
    start_with(disk, StorageOptions { segment_bytes: 1 << 20, first_segment_bytes: 1 << 20, ..options() })
}

fn start_with(disk: Arc<dyn Disk>, options: StorageOptions) -> (DataDir, ShardLog, LogSyncer) {
    let recovery = Recovery::open(disk, Path::new("/data"), options, 0).unwrap();
    let replayed = recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap();
    let mut started = replayed.start(1, 1000).unwrap();
    let (log, syncer) = started.logs.pop().unwrap();
    (started.directory, log, syncer)
}

fn step_until_spare(syncer: &mut LogSyncer) {
    for _ in 0..10 {
        if syncer.step().unwrap().spare == SpareState::MadeReady {
            return;
        }
    }
    panic!("a spare of {SEGMENT_BYTES} bytes takes a few steps");
}

fn operations_of(disk: &MemDisk) -> u64 {
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new("/data"), options(), 0).unwrap();
    recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap().report().operations
}

#[test]
fn each_half_can_move_to_its_thread() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<ShardLog>();
    moves::<LogSyncer>();
    moves::<DataDir>();
    is_shared::<LogWatch>();
    is_shared::<Poison>();
}

#[test]
fn room_is_what_one_append_takes_and_not_a_byte_more() {
    let (_directory, mut log, mut syncer) = start(Arc::new(MemDisk::new()));
    let whole = (SEGMENT_BYTES - SEGMENT_HEADER_BYTES) as usize - FRAME_BYTES_MIN;
    assert_eq!(log.room(), whole);
    let refused = log.append(1, 1, &vec![1; whole + 1]).unwrap_err();
    assert!(refused.is_no_room(), "{refused}");
    assert_eq!(log.append(1, 1, &vec![1; whole]).unwrap().ops(), 1, "a refusal writes nothing");
    assert_eq!(log.room(), 0, "the segment is full and there is no spare");
    assert!(log.append(1, 1, &[1]).unwrap_err().is_no_room());
    assert!(log.wants_spare() && syncer.wants_spare());
    step_until_spare(&mut syncer);
    assert_eq!(log.room(), whole, "the spare counts");
    assert_eq!(log.append(1, 2, &[1, 2]).unwrap().ops(), 3);
}

#[test]
fn the_group_limit_bounds_the_room() {
    let limited = StorageOptions { group_bytes_max: 100, ..options() };
    let recovery = Recovery::open(Arc::new(MemDisk::new()), Path::new("/data"), limited, 0).unwrap();
    let started = recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap().start(1, 1).unwrap();
    assert_eq!(started.logs[0].0.room(), 100);
}

#[test]
fn positions_count_operations_and_become_durable_by_a_step() {
    let (_directory, mut log, mut syncer) = start(Arc::new(MemDisk::new()));
    assert_eq!((log.written(), log.durable()), (Position::start_of(1), Position::start_of(1)));
    assert!(!log.needs_sync());
    assert_eq!(log.append(10, 3, b"abc").unwrap(), Position::new(1, 3).unwrap());
    assert_eq!(log.append(11, 2, b"de").unwrap(), Position::new(1, 5).unwrap());
    let watch = log.watch();
    assert_eq!((watch.written().ops(), watch.durable().ops(), watch.needs_sync()), (5, 0, true));
    assert_eq!(log.oldest_unsynced_ms(), Some(10));
    let progress = syncer.step().unwrap();
    assert!(progress.synced);
    assert_eq!(progress.durable, log.written());
    assert_eq!((watch.durable().ops(), watch.needs_sync()), (5, false));
    assert_eq!(log.oldest_unsynced_ms(), None);
    assert!(!syncer.step().unwrap().synced, "nothing new");
}

#[test]
fn a_sync_covers_the_segments_left_behind() {
    let disk = MemDisk::new();
    let (directory, mut log, mut syncer) = start(Arc::new(disk.clone()));
    step_until_spare(&mut syncer);
    for _ in 0..3 {
        log.append(1, 1, &[7; 1900]).unwrap();
    }
    assert!(log.full_segment_needs_sync());
    assert_eq!(syncer.step().unwrap().durable.ops(), 3);
    assert!(!log.full_segment_needs_sync());
    drop(directory);
    for seed in 0..20 {
        assert_eq!(operations_of(&disk.crash(seed)), 3, "seed {seed}");
    }
}

#[test]
fn a_full_disk_costs_room_until_there_is_space_again() {
    for (fill, action) in [(SegmentFill::Write, "zero-fill"), (SegmentFill::Allocate, "allocate")] {
        let mem = MemDisk::new();
        let (directory, mut log, mut syncer) = start(Arc::new(mem.clone()));
        syncer.set_fill(fill);
        mem.set_capacity_bytes(Some(mem.used_bytes() + SEGMENT_BYTES / 2));
        let full = log.room();
        log.append(1, 1, &vec![1; full]).unwrap();
        let failed =
            (0..5).map(|_| syncer.step().unwrap().spare).find(|spare| *spare != SpareState::Preparing);
        assert!(matches!(failed, Some(SpareState::Failed { .. })), "{failed:?}");
        assert_eq!(log.room(), 0);
        assert!(log.spare_failure().unwrap().contains(action), "{:?}", log.spare_failure());
        assert_eq!(log.durable().ops(), 1, "what was admitted is synced all the same");
        assert!(directory.poison().reason().is_none(), "a full disk is no poison");
        mem.set_capacity_bytes(None);
        step_until_spare(&mut syncer);
        assert_eq!(log.room(), full);
        assert_eq!(log.spare_failure(), None);
        assert_eq!(log.append(2, 1, b"x").unwrap().ops(), 2);
    }
}

#[test]
fn a_failed_attempt_at_a_spare_leaves_no_file_behind() {
    let mem = MemDisk::new();
    let (_directory, _log, mut syncer) = start(Arc::new(mem.clone()));
    let used = mem.used_bytes();
    mem.set_capacity_bytes(Some(used + SEGMENT_BYTES / 2));
    for _ in 0..4 {
        syncer.step().unwrap();
    }
    assert_eq!(mem.used_bytes(), used);
}

#[test]
fn a_failed_write_poisons_every_log_for_good() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let (directory, mut log, mut syncer) = start(Arc::new(disk.clone()));
    log.append(1, 1, b"a").unwrap();
    disk.inject(Call::Write, disk.calls(Call::Write), 1, Fault::Io);
    assert!(log.append(1, 1, b"b").unwrap_err().is_poisoned());
    disk.heal();
    assert!(log.append(1, 1, b"c").unwrap_err().is_poisoned());
    assert_eq!(log.room(), 0);
    assert!(log.idle(10_000).unwrap_err().is_poisoned());
    let error = syncer.step().unwrap_err();
    assert!(error.is_poisoned() && error.to_string().contains("00000001-0000-00000000.wal"), "{error}");
    assert!(directory.poison().reason().is_some());
    assert_eq!(log.durable().ops(), 0);
}

#[test]
fn a_failure_of_one_shards_log_stops_all_that_writes_to_the_directory() {
    type Failure = fn(&FaultyDisk, &mut Vec<(ShardLog, LogSyncer)>);
    let failures: [(&str, Failure); 4] = [
        ("a write", |disk, logs| {
            disk.inject(Call::Write, disk.calls(Call::Write), 1, Fault::Io);
            assert!(logs[1].0.append(1, 1, b"b").is_err());
        }),
        ("a write that finds no room where it was allocated", |disk, logs| {
            disk.inject(Call::Write, disk.calls(Call::Write), 1, Fault::NoSpace);
            assert!(logs[1].0.append(1, 1, b"b").is_err());
        }),
        ("a sync", |disk, logs| {
            logs[1].0.append(1, 1, b"b").unwrap();
            disk.inject(Call::Sync, disk.calls(Call::Sync), 1, Fault::Io);
            assert!(logs[1].1.sync().is_err());
        }),
        ("a sync of the directory, with a spare in it", |disk, logs| {
            disk.inject(Call::SyncDir, disk.calls(Call::SyncDir), 1, Fault::Io);
            assert!((0..5).find_map(|_| logs[1].1.prepare_spare().err()).is_some());
        }),
    ];
    for (what, fail) in failures {
        let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
        let recovery = Recovery::open(Arc::new(disk.clone()), Path::new("/data"), options(), 0).unwrap();
        let replayed = recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap();
        let mut started = replayed.start(2, 1).unwrap();
        started.logs[0].0.append(1, 1, b"a").unwrap();
        fail(&disk, &mut started.logs);
        disk.heal();
        let (log, syncer) = &mut started.logs[0];
        assert_eq!(log.room(), 0, "{what}");
        let outcomes = [
            log.append(2, 1, b"c").map(|_| ()),
            log.idle(10_000).map(|_| ()),
            syncer.sync().map(|_| ()),
            syncer.prepare_spare().map(|_| ()),
            started.directory.update_catalogue(|_| ()).map(|_| ()),
            started.directory.retain(10_000).map(|_| ()),
        ];
        for outcome in outcomes {
            assert!(outcome.unwrap_err().is_poisoned(), "{what}");
        }
        assert_eq!(log.durable().ops(), 0, "{what}");
    }
}

#[test]
fn a_failed_sync_poisons_and_the_durable_position_stays() {
    let mem = MemDisk::new();
    let (mut directory, mut log, mut syncer) = start(Arc::new(mem.clone()));
    log.append(1, 1, b"a").unwrap();
    syncer.step().unwrap();
    log.append(1, 1, b"b").unwrap();
    mem.lose_syncs(0, 1);
    assert!(syncer.step().unwrap_err().is_poisoned());
    assert!(syncer.step().unwrap_err().is_poisoned(), "the retry would succeed, and lie");
    assert_eq!(log.durable().ops(), 1);
    assert!(log.append(1, 1, b"c").unwrap_err().is_poisoned());
    assert!(directory.update_catalogue(|_| ()).unwrap_err().is_poisoned());
}

#[test]
fn what_is_logged_is_begun_to_be_written_once_in_whole_blocks_and_is_not_durable_by_that() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let (_directory, mut log, mut syncer) = start_large(Arc::new(disk.clone()));
    for _ in 0..10 {
        syncer.step().unwrap();
    }
    assert!(!log.wants_spare());
    let block = [1; 100_000];
    log.append(1, 1, &block).unwrap();
    assert!(!syncer.write_behind().unwrap(), "no block is full");
    log.append(1, 1, &block).unwrap();
    log.append(1, 1, &block).unwrap();
    let before = disk.calls(Call::WriteBehind);
    assert!(syncer.write_behind().unwrap());
    assert!(!syncer.write_behind().unwrap(), "the rest of it is no whole block");
    assert_eq!(disk.calls(Call::WriteBehind), before + 1);
    assert_eq!(log.durable().ops(), 0, "only a sync makes it durable");
    assert!(log.needs_sync());
    // The next segment begins anew.
    for _ in 0..9 {
        log.append(2, 1, &block).unwrap();
    }
    assert!(log.full_segment_needs_sync() && !syncer.write_behind().unwrap());
    for _ in 0..3 {
        log.append(3, 1, &block).unwrap();
    }
    assert!(syncer.write_behind().unwrap());
    syncer.sync().unwrap();
    assert_eq!(log.durable().ops(), 15, "what was not begun in the segment before is synced all the same");
}

#[test]
fn bytes_that_the_disk_refuses_to_begin_poison_the_log() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let (_directory, mut log, mut syncer) = start_large(Arc::new(disk.clone()));
    log.append(1, 1, &[1; 300_000]).unwrap();
    disk.inject(Call::WriteBehind, 0, u64::MAX, Fault::Io);
    assert!(syncer.write_behind().unwrap_err().is_poisoned());
    disk.heal();
    assert!(syncer.step().unwrap_err().is_poisoned(), "a sync that succeeds now would lie");
    assert_eq!(log.durable().ops(), 0);
    assert!(log.append(1, 1, b"b").unwrap_err().is_poisoned());
}

#[test]
fn a_disk_that_fails_to_sync_a_spare_is_not_trusted_with_the_log() {
    let mem = MemDisk::new();
    let (_directory, mut log, mut syncer) = start(Arc::new(mem.clone()));
    log.append(1, 1, b"a").unwrap();
    syncer.sync().unwrap();
    mem.lose_syncs(0, 1);
    let failed = (0..5).find_map(|_| syncer.prepare_spare().err());
    assert!(failed.is_some_and(|error| error.is_poisoned()));
    assert!(log.append(1, 1, b"b").unwrap_err().is_poisoned());
}

#[test]
fn what_a_failed_sync_lost_is_carried_over_before_it_is_served_again() {
    let mem = MemDisk::new();
    let (directory, mut log, mut syncer) = start(Arc::new(mem.clone()));
    log.append(1, 1, b"a").unwrap();
    mem.lose_syncs(0, 1);
    assert!(syncer.step().is_err());
    drop((directory, log, syncer));
    // The process restarts, the machine does not: the page cache still shows the operation, and the server serves it.
    let (directory, ..) = start(Arc::new(mem.clone()));
    drop(directory);
    for seed in 0..20 {
        assert_eq!(operations_of(&mem.crash(seed)), 1, "seed {seed}");
    }
}

#[test]
fn short_writes_are_continued() {
    let mem = MemDisk::new();
    let disk = FaultyDisk::new(Arc::new(mem.clone()));
    let (directory, mut log, mut syncer) = start(Arc::new(disk.clone()));
    disk.inject(Call::Write, disk.calls(Call::Write), 4, Fault::Short);
    log.append(1, 100, &[9; 1000]).unwrap();
    syncer.step().unwrap();
    drop(directory);
    assert_eq!(operations_of(&mem), 100);
}

#[test]
fn an_idle_log_is_synced_and_says_so_once() {
    let (_directory, mut log, mut syncer) = start(Arc::new(MemDisk::new()));
    assert_eq!(log.idle(5000).unwrap(), Idle::Nothing, "nothing was ever logged");
    log.append(5000, 1, b"a").unwrap();
    assert_eq!(log.idle(5099).unwrap(), Idle::Nothing, "not idle yet");
    assert_eq!(log.idle(5100).unwrap(), Idle::Sync, "the operation is not synced");
    syncer.step().unwrap();
    assert_eq!(log.idle(5100).unwrap(), Idle::Sync, "the statement is written, not synced");
    assert!(log.needs_sync());
    assert_eq!(log.written().ops(), 1, "a statement is no operation");
    syncer.step().unwrap();
    for now_ms in [5150, 6000, 9000] {
        assert_eq!(log.idle(now_ms).unwrap(), Idle::Nothing);
        assert!(!log.needs_sync());
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_carry_over() {
    let mem = MemDisk::new();
    let (directory, mut log, mut syncer) = start(Arc::new(mem.clone()));
    log.append(1, 1, b"a").unwrap();
    while log.state_durable(2).unwrap() == Idle::Sync {
        syncer.step().unwrap();
    }
    drop((directory, log, syncer));
    let (directory, ..) = start(Arc::new(mem.clone()));
    let end = directory.manifest().epochs[0].ends[0];
    assert_eq!((end.ops, end.tail), (1, None));
}

#[test]
fn where_zeros_cannot_be_allocated_they_are_written() {
    let mem = MemDisk::new();
    mem.set_cannot_allocate(true);
    let (_directory, mut log, mut syncer) = start(Arc::new(mem.clone()));
    syncer.set_fill(SegmentFill::Allocate);
    step_until_spare(&mut syncer);
    let spare = bytes_of(&mem, Path::new("/data/log/00000001-0000-00000001.wal")).expect("there is a spare");
    assert_eq!(spare.len() as u64, SEGMENT_BYTES);
    for _ in 0..3 {
        log.append(1, 1, &[3; 1900]).unwrap();
    }
    syncer.sync().unwrap();
    assert_eq!(operations_of(&mem.crash(1)), 3);
}

#[test]
fn an_unused_spare_of_the_epoch_before_is_recycled() {
    let mem = MemDisk::new();
    let (directory, log, mut syncer) = start(Arc::new(mem.clone()));
    step_until_spare(&mut syncer);
    drop((directory, log, syncer));
    let (_directory, mut log, mut syncer) = start(Arc::new(mem.clone()));
    let files = || mem.list(Path::new("/data/log")).unwrap();
    assert_eq!(files(), ["00000001-0000-00000000.wal", "00000002-0000-00000000.wal"], "one is kept");
    step_until_spare(&mut syncer);
    assert_eq!(files(), ["00000002-0000-00000000.wal", "00000002-0000-00000001.wal"]);
    for _ in 0..3 {
        log.append(1, 1, &[3; 1900]).unwrap();
    }
    drop((_directory, syncer));
    assert_eq!(operations_of(&mem), 3);
}

#[test]
fn a_recycled_file_is_whole_under_either_name_at_every_crash() {
    let log_dir = Path::new("/data/log");
    let old = log_dir.join("00000001-0000-00000001.wal");
    let name = SegmentName::Log { epoch: 1, shard: 0, segment: 2 };
    /// Calls of a disk that preparing a segment takes, and more.
    const HALTS_MAX: u64 = 12;
    for (fill, halt) in [SegmentFill::Write, SegmentFill::Allocate]
        .into_iter()
        .flat_map(|fill| (0..HALTS_MAX).map(move |halt| (fill, halt)))
    {
        // A file full of valid frames is to become a spare.
        let mem = MemDisk::new();
        let (_directory, mut log, mut syncer) = start(Arc::new(mem.clone()));
        step_until_spare(&mut syncer);
        for _ in 0..3 {
            log.append(1, 1, &[3; 1900]).unwrap();
        }
        syncer.sync().unwrap();
        let before = bytes_of(&mem, &old).unwrap();
        let header = SegmentHeader { segment: 2, salt: 99, ..SegmentHeader::decode(&before).unwrap() };
        let mut expected = header.encode().to_vec();
        expected.resize(SEGMENT_BYTES as usize, 0);
        let disk = FaultyDisk::new(Arc::new(mem.clone()));
        disk.halt_at(halt);
        let recycled = Some(old.clone());
        let prepared =
            Preparation::new(Arc::new(disk), log_dir, name, header, recycled, fill).finish().is_ok();
        for seed in 0..20 {
            let after = mem.crash(seed);
            let (old, new) = (bytes_of(&after, &old), bytes_of(&after, &log_dir.join(name.to_string())));
            assert!(old.as_ref().is_none_or(|bytes| *bytes == before), "halt {halt}, seed {seed}");
            assert!(new.as_ref().is_none_or(|bytes| *bytes == expected), "halt {halt}, seed {seed}");
            assert!(!prepared || (old.is_none() && new.is_some()), "halt {halt}, seed {seed}");
        }
        assert!(prepared || halt + 1 < HALTS_MAX, "{fill:?}: no try came to its end");
    }
}

fn bytes_of(disk: &MemDisk, path: &Path) -> Option<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_full_at(file.as_ref(), &mut bytes, 0).unwrap();
    Some(bytes)
}

/// A disk whose syncs wait until the test lets them go.
struct GatedDisk {
    inner: MemDisk,
    gate: Arc<Gate>,
}

struct Gate {
    entered: Sender<()>,
    released: Mutex<Option<Receiver<()>>>,
}

struct GatedFile {
    inner: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(GatedFile { inner, gate: Arc::clone(&self.gate) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.inner.remove(path)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.inner.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn lock_dir(&self, dir: &Path) -> std::io::Result<DirLock> {
        self.inner.lock_dir(dir)
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<usize> {
        self.inner.write_at(bytes, offset)
    }
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }
    fn allocate_zeros(&self, len: u64) -> std::io::Result<bool> {
        self.inner.allocate_zeros(len)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        // Only the first sync after the gate was closed waits.
        if let Some(released) = self.gate.released.lock().unwrap().take() {
            self.gate.entered.send(()).unwrap();
            released.recv().unwrap();
        }
        self.inner.sync_data()
    }
}

#[test]
fn appends_and_a_rotation_go_on_while_a_sync_hangs_and_are_not_called_durable_by_it() {
    let (entered, sync_entered) = channel();
    let gate = Arc::new(Gate { entered, released: Mutex::new(None) });
    let mem = MemDisk::new();
    let disk = GatedDisk { inner: mem.clone(), gate: Arc::clone(&gate) };
    let (directory, mut log, mut syncer) = start(Arc::new(disk));
    step_until_spare(&mut syncer);
    log.append(1, 1, &[1; 1900]).unwrap();
    let (release, released) = channel();
    *gate.released.lock().unwrap() = Some(released);
    let sync_thread = std::thread::spawn(move || {
        let durable = syncer.step().unwrap().durable;
        (syncer, durable)
    });
    sync_entered.recv().unwrap();
    // The sync hangs now. If an append waited for it, this test would never end.
    log.append(2, 1, &[2; 1900]).unwrap();
    log.append(3, 1, &[3; 1900]).unwrap();
    assert!(log.full_segment_needs_sync(), "the first segment was left behind during its sync");
    assert_eq!((log.written().ops(), log.durable().ops()), (3, 0));
    assert_eq!(log.oldest_unsynced_ms(), Some(1));
    release.send(()).unwrap();
    let (mut syncer, durable) = sync_thread.join().unwrap();
    assert_eq!(durable.ops(), 1, "only what was written when the sync began");
    assert_eq!(log.oldest_unsynced_ms(), Some(2));
    assert!(log.needs_sync() && log.full_segment_needs_sync());
    assert_eq!(syncer.step().unwrap().durable.ops(), 3);
    drop(directory);
    for seed in 0..20 {
        assert_eq!(operations_of(&mem.crash(seed)), 3, "seed {seed}");
    }
}
