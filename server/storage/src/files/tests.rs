//! What may go goes, what must stay stays, and what is there can be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::disk::{Call, Fault, FaultyDisk, MemDisk};
use crate::manifest::ImageEntry;
use crate::{DataDir, Idle, LogSyncer, Recovery, Retention, ShardLog, SpareState, Started, StorageOptions};

mod reader;

const DIR: &str = "/data";
const LOG_DIR: &str = "/data/log";
const SEGMENT: u64 = 8192;
/// Bytes of an operation; two fit a segment.
const OP_BYTES: usize = 1900;
const KEEP_NOTHING: Retention = Retention { keep_ms: 0, keep_bytes: 0, max_bytes: 0 };
const KEEP_ALL: Retention = Retention { keep_ms: u64::MAX, keep_bytes: 0, max_bytes: 0 };

fn options(retention: Retention) -> StorageOptions {
    StorageOptions {
        segment_bytes: SEGMENT,
        first_segment_bytes: SEGMENT,
        retention,
        ..StorageOptions::new(1)
    }
}

fn open(disk: Arc<dyn Disk>, retention: Retention) -> Result<Recovery, StorageError> {
    Recovery::open(disk, Path::new(DIR), options(retention), 7)
}

/// A start from the newest image, if there is one.
fn start(disk: &MemDisk, shards: u16, retention: Retention, now_ms: i64) -> Started {
    let recovery = open(Arc::new(disk.clone()), retention).unwrap();
    let from = recovery.manifest().images.last().map(ReplayFrom::from);
    recovery.replay(from.as_ref(), &mut |_| Ok(()), &mut |_, _| {}).unwrap().start(shards, now_ms).unwrap()
}

/// Appends an operation, all of whose bytes tell its number; makes room and syncs.
fn append((log, syncer): &mut (ShardLog, LogSyncer), now_ms: i64) {
    while log.room() < OP_BYTES {
        let state = syncer.prepare_spare().unwrap();
        assert!(!matches!(state, SpareState::Failed { .. }), "{state:?}");
    }
    let number = log.written().ops() + 1;
    log.append(now_ms, 1, &[number as u8; OP_BYTES]).unwrap();
    syncer.sync().unwrap();
}

fn settle((log, syncer): &mut (ShardLog, LogSyncer), now_ms: i64) {
    while log.state_durable(now_ms).unwrap() == Idle::Sync {
        syncer.sync().unwrap();
    }
}

/// Names an image that was begun at `starts`.
fn publish(directory: &mut DataDir, starts: &[u64]) {
    let mut manifest = directory.manifest().clone();
    manifest.images.push(ImageEntry {
        image: manifest.images.last().map_or(1, |image| image.image + 1),
        epoch: manifest.epoch,
        shards: starts.len() as u16,
        created_ms: 0,
        ended_ms: None,
        starts: starts.to_vec(),
        ends: starts.to_vec(),
        bytes: 0,
        records: 0,
    });
    directory.replace_manifest(manifest).unwrap();
}

fn retain(directory: &mut DataDir, now_ms: i64) -> usize {
    let mut gone = 0;
    loop {
        let step = directory.retain(now_ms).unwrap();
        gone += step.removed + step.freed;
        if !step.more {
            return gone;
        }
    }
}

fn log_files(disk: &MemDisk) -> Vec<String> {
    disk.list(Path::new(LOG_DIR)).unwrap()
}

fn length_of_all(disk: &MemDisk) -> u64 {
    let length =
        |name: &String| disk.open(&Path::new(LOG_DIR).join(name), OpenMode::Read).unwrap().len().unwrap();
    log_files(disk).iter().map(length).sum()
}

/// The operations that a replay from the image `nth` from the newest gives: (epoch, shard, number).
fn replayed(disk: &MemDisk, nth: usize) -> Result<Vec<(u32, u16, u64)>, StorageError> {
    let recovery = open(Arc::new(disk.clone()), KEEP_ALL)?;
    let from = recovery.manifest().images.iter().rev().nth(nth).map(ReplayFrom::from);
    let mut came = Vec::new();
    let mut on_frame = |frame: crate::ReplayedFrame<'_>| {
        assert_eq!(frame.ops, [frame.first.ops() as u8; OP_BYTES]);
        came.push((frame.first.epoch(), frame.shard, frame.first.ops()));
        Ok(())
    };
    recovery.replay(from.as_ref(), &mut on_frame, &mut |_, _| {})?;
    Ok(came)
}

#[test]
fn what_is_behind_the_start_of_the_second_newest_image_never_goes() {
    // Whatever the settings: the most impatient, and a limit that was passed long ago.
    let limit = Retention { max_bytes: 1, ..KEEP_NOTHING };
    for (second_newest, settings) in (0..=12).flat_map(|start| [(start, KEEP_NOTHING), (start, limit)]) {
        let disk = MemDisk::new();
        let mut started = start(&disk, 1, KEEP_ALL, 0);
        for now_ms in 0..12 {
            append(&mut started.logs[0], now_ms);
        }
        let all = log_files(&disk);
        started.directory.files().set_retention(settings);
        assert_eq!(retain(&mut started.directory, i64::MAX), 0, "no image");
        publish(&mut started.directory, &[second_newest]);
        assert_eq!(retain(&mut started.directory, i64::MAX), 0, "one image");
        publish(&mut started.directory, &[12]);
        // Two operations a segment; the last is still being written.
        let gone = retain(&mut started.directory, i64::MAX);
        assert_eq!(gone as u64, (second_newest / 2).min(5), "start {second_newest}");
        settle(&mut started.logs[0], 12);
        drop(started);
        let expected: Vec<_> = (second_newest + 1..=12).map(|ops| (1, 0, ops)).collect();
        assert_eq!(replayed(&disk, 1).unwrap(), expected, "start {second_newest}");
        assert_eq!(replayed(&disk, 0).unwrap(), []);
        assert!(gone < 2 || log_files(&disk).len() < all.len(), "more than one file is not kept for later");
    }
}

#[test]
fn an_image_that_the_start_could_not_use_lets_no_log_go() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_NOTHING, 0);
    for now_ms in 0..12 {
        append(&mut started.logs[0], now_ms);
    }
    for begun in [4, 8] {
        publish(&mut started.directory, &[begun]);
    }
    started.directory.note_unusable(2);
    assert_eq!(retain(&mut started.directory, i64::MAX), 0, "one image is usable");
    publish(&mut started.directory, &[12]);
    assert_eq!(retain(&mut started.directory, i64::MAX), 2, "behind the older of the two that are");
    settle(&mut started.logs[0], 12);
    drop(started);
    assert_eq!(replayed(&disk, 2).unwrap(), (5..=12).map(|ops| (1, 0, ops)).collect::<Vec<_>>());
}

#[test]
fn old_epochs_go_whole_and_leave_the_manifest() {
    let disk = MemDisk::new();
    for now_ms in 0..3 {
        let mut started = start(&disk, 2, KEEP_ALL, now_ms);
        for shard in 0..2 {
            for _ in 0..5 {
                append(&mut started.logs[shard], now_ms);
            }
        }
    }
    let mut started = start(&disk, 1, KEEP_NOTHING, 3);
    append(&mut started.logs[0], 4);
    publish(&mut started.directory, &[1]);
    publish(&mut started.directory, &[1]);
    assert!(retain(&mut started.directory, 1000) >= 2 * 3 * 3);
    let manifest = started.directory.manifest();
    assert_eq!(manifest.epochs.iter().map(|entry| entry.epoch).collect::<Vec<_>>(), [4]);
    assert_eq!((manifest.epochs_given_back, manifest.format), (3, 2));
    append(&mut started.logs[0], 5);
    drop(started);
    assert_eq!(replayed(&disk, 1).unwrap(), [(4, 0, 2)]);
    drop(start(&disk, 1, KEEP_NOTHING, 6));
    assert_eq!(replayed(&disk, 1).unwrap(), [(4, 0, 2)], "after a start that closes the epoch");
}

#[test]
fn an_epoch_of_which_an_image_is_needed_stays_in_the_manifest() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_NOTHING, 0);
    for now_ms in 0..4 {
        append(&mut started.logs[0], now_ms);
    }
    publish(&mut started.directory, &[4]);
    publish(&mut started.directory, &[4]);
    drop(started);
    let mut started = start(&disk, 1, KEEP_NOTHING, 5);
    retain(&mut started.directory, 1000);
    assert!(!started.directory.files().logs().contains(&(1, 0)), "none of its files is needed");
    assert_eq!(started.directory.manifest().epochs_given_back, 0);
    append(&mut started.logs[0], 6);
    drop(started);
    assert_eq!(replayed(&disk, 1).unwrap(), [(2, 0, 1)]);
}

#[test]
fn what_is_young_enough_and_fits_is_kept_beyond_need() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, Retention { keep_ms: 100, ..KEEP_ALL }, 0);
    for now_ms in [0, 10, 20, 30, 40, 50, 60, 70] {
        append(&mut started.logs[0], now_ms);
    }
    publish(&mut started.directory, &[8]);
    publish(&mut started.directory, &[8]);
    // The first file ends with the operation of 10, the second with that of 30.
    for (now_ms, gone) in [(110, 0), (111, 1), (130, 0), (131, 1), (150, 0)] {
        assert_eq!(retain(&mut started.directory, now_ms), gone, "at {now_ms}");
    }
    started.directory.files().set_retention(Retention { keep_bytes: 3 * SEGMENT, ..KEEP_ALL });
    // One of the two that went became a spare: two closed files and the one being written make three.
    for (appended, begins) in [(0, 5), (2, 5), (4, 7), (6, 9)] {
        while started.logs[0].0.written().ops() < 8 + appended {
            append(&mut started.logs[0], 80);
        }
        publish(&mut started.directory, &[8 + appended]);
        publish(&mut started.directory, &[8 + appended]);
        retain(&mut started.directory, 130);
        let mut reader = started.directory.files().reader(1, 0, 0).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().first.ops(), begins, "{appended} more");
    }
}

#[test]
fn the_age_of_an_epochs_last_file_is_that_of_the_start_after_it() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_ALL, 0);
    append(&mut started.logs[0], 0);
    drop(started);
    drop(start(&disk, 1, KEEP_ALL, 500));
    let mut started = start(&disk, 1, KEEP_ALL, 900);
    append(&mut started.logs[0], 900);
    settle(&mut started.logs[0], 900);
    drop(started);
    let mut started = start(&disk, 1, Retention { keep_ms: 100, ..KEEP_ALL }, 1000);
    publish(&mut started.directory, &[0]);
    publish(&mut started.directory, &[0]);
    // The second epoch had no operation and is not listed, so the third one's opening speaks for the first.
    for (now_ms, gone) in [(1000, 0), (1001, 1), (1100, 0), (1101, 1)] {
        assert_eq!(retain(&mut started.directory, now_ms), gone, "at {now_ms}");
    }
}

#[test]
fn a_pin_holds_what_is_behind_it_until_it_is_dropped() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_NOTHING, 0);
    for now_ms in 0..12 {
        append(&mut started.logs[0], now_ms);
    }
    publish(&mut started.directory, &[12]);
    publish(&mut started.directory, &[12]);
    let files = started.directory.files().clone();
    let all = files.pin(None);
    assert_eq!(retain(&mut started.directory, 100), 0);
    let some = files.pin(Some(ReplayFrom { epoch: 1, starts: vec![5] }));
    drop(all);
    assert_eq!(retain(&mut started.directory, 100), 2, "operations 1 to 4");
    let mut reader = files.reader(1, 0, 0).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().first.ops(), 5);
    drop(some);
    assert_eq!(retain(&mut started.directory, 100), 0, "the reader has not read it");
    for ops in 6..=12 {
        assert_eq!(reader.next().unwrap().unwrap().first.ops(), ops);
    }
    assert_eq!(reader.next().unwrap(), None);
    assert!(retain(&mut started.directory, 100) >= 2, "what it has read may go");
}

#[test]
fn a_pin_that_comes_while_a_file_is_being_chosen_still_holds_it() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_NOTHING, 0);
    for now_ms in 0..6 {
        append(&mut started.logs[0], now_ms);
    }
    publish(&mut started.directory, &[6]);
    publish(&mut started.directory, &[6]);
    let files = started.directory.files();
    let chosen = files.candidate().unwrap().expect("the first file may go");
    let pin = files.pin(None);
    assert!(files.claim(&chosen, 100).is_none());
    drop(pin);
    assert!(files.claim(&chosen, 100).is_some());
    assert!(files.claim(&chosen, 100).is_none(), "it is gone");
}

#[test]
fn files_that_go_become_spares() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_NOTHING, 0);
    let mut lengths = Vec::new();
    for now_ms in 0..60 {
        append(&mut started.logs[0], now_ms);
        let written = started.logs[0].0.written().ops();
        publish(&mut started.directory, &[written]);
        if started.directory.manifest().images.len() > 2 {
            let mut manifest = started.directory.manifest().clone();
            manifest.images.remove(0);
            started.directory.replace_manifest(manifest).unwrap();
        }
        retain(&mut started.directory, now_ms + 10);
        lengths.push(length_of_all(&disk));
        assert_eq!(started.directory.files().bytes(), *lengths.last().unwrap());
    }
    assert!(lengths[10..].iter().all(|bytes| *bytes <= 4 * SEGMENT), "{lengths:?}");
}

#[test]
fn at_log_max_bytes_there_is_no_room_until_an_image_lets_log_go_and_nothing_else_is_deleted() {
    let disk = MemDisk::new();
    let max_bytes = 4 * SEGMENT;
    let mut started = start(&disk, 1, Retention { max_bytes, ..KEEP_ALL }, 0);
    let mut appended = 0;
    let reason = loop {
        let (log, syncer) = &mut started.logs[0];
        if log.room() >= OP_BYTES {
            log.append(appended, 1, &[appended as u8 + 1; OP_BYTES]).unwrap();
            syncer.sync().unwrap();
            appended += 1;
            continue;
        }
        if let SpareState::Failed { reason } = syncer.prepare_spare().unwrap() {
            break reason;
        }
        assert_eq!(retain(&mut started.directory, i64::MAX), 0);
    };
    assert_eq!(appended, 8, "four segments of two operations");
    assert!(started.logs[0].0.room() < OP_BYTES, "refused before anything is applied");
    assert_eq!(started.logs[0].0.spare_failure().as_ref(), Some(&reason));
    assert!(reason.contains("log-max-bytes") && reason.contains("two images"), "{reason}");
    publish(&mut started.directory, &[3]);
    publish(&mut started.directory, &[8]);
    assert_eq!(retain(&mut started.directory, 0), 1, "needed by no recovery: however young, it goes now");
    append(&mut started.logs[0], 9);
    append(&mut started.logs[0], 9);
    let SpareState::Failed { reason } = started.logs[0].1.prepare_spare().unwrap() else {
        panic!("no limit")
    };
    assert!(reason.contains("another image"), "{reason}");
    assert!(length_of_all(&disk) <= max_bytes);
    settle(&mut started.logs[0], 10);
    drop(started);
    assert_eq!(replayed(&disk, 1).unwrap(), (4..=10).map(|ops| (1, 0, ops)).collect::<Vec<_>>());
}

#[test]
fn one_step_lets_a_bounded_number_of_files_go() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_NOTHING, 0);
    for now_ms in 0..100 {
        append(&mut started.logs[0], now_ms);
    }
    publish(&mut started.directory, &[100]);
    publish(&mut started.directory, &[100]);
    let mut steps = Vec::new();
    while started.directory.files().logs().len() == 1 {
        let step = started.directory.retain(1000).unwrap();
        steps.push(step.removed + step.freed);
        if !step.more {
            break;
        }
    }
    assert_eq!(steps, [16, 16, 16, 1]);
}

#[test]
fn a_file_that_cannot_be_removed_stays_in_the_books() {
    let mem = MemDisk::new();
    let disk = FaultyDisk::new(Arc::new(mem.clone()));
    let recovery = open(Arc::new(disk.clone()), KEEP_NOTHING).unwrap();
    let mut started = recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap().start(1, 0).unwrap();
    for now_ms in 0..10 {
        append(&mut started.logs[0], now_ms);
    }
    publish(&mut started.directory, &[10]);
    publish(&mut started.directory, &[10]);
    disk.inject(Call::Change, disk.calls(Call::Change), 1, Fault::Io);
    assert!(started.directory.retain(1000).is_err());
    assert_eq!(started.directory.files().bytes(), length_of_all(&mem));
    assert_eq!(retain(&mut started.directory, 1000), 3, "one was freed, the other three go now");
    assert_eq!(started.directory.files().bytes(), length_of_all(&mem));
}

#[test]
fn a_crash_at_any_moment_of_a_deletion_is_harmless() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 2, KEEP_ALL, 0);
    for (shard, now_ms) in (0..2).flat_map(|shard| (0..9).map(move |now_ms| (shard, now_ms))) {
        append(&mut started.logs[shard], now_ms);
    }
    drop(started);
    let mut started = start(&disk, 1, KEEP_ALL, 10);
    for now_ms in 0..20 {
        append(&mut started.logs[0], now_ms);
    }
    settle(&mut started.logs[0], 20);
    publish(&mut started.directory, &[11]);
    publish(&mut started.directory, &[15]);
    drop(started);
    let before = [replayed(&disk, 0).unwrap(), replayed(&disk, 1).unwrap()];
    for halt in 0.. {
        let image = disk.fork();
        let faulty = FaultyDisk::new(Arc::new(image.clone()));
        let recovery = open(Arc::new(faulty.clone()), KEEP_NOTHING).unwrap();
        let from = recovery.manifest().images.last().map(ReplayFrom::from);
        let read = recovery.replay(from.as_ref(), &mut |_| Ok(()), &mut |_, _| {}).unwrap();
        let mut started = read.start(1, 30).unwrap();
        faulty.halt_at(faulty.calls(Call::Any) + halt);
        let (mut went, mut halted) = (0, false);
        // Spares are made of what goes, too.
        for round in 0..12 {
            match started.directory.retain(1000 + round) {
                Ok(step) => went += step.removed + step.freed,
                Err(_) => halted = true,
            }
            if started.logs[0].0.room() >= OP_BYTES {
                halted |= started.logs[0].0.append(round, 1, &[1; OP_BYTES]).is_err();
            }
            halted |= started.logs[0].1.step().is_err();
            if halted {
                break;
            }
        }
        drop(started);
        for seed in 0..4 {
            let after = image.crash(seed);
            for (nth, before) in before.iter().enumerate() {
                let came = replayed_of_epochs(&after, nth, 2);
                assert_eq!(&came, before, "halted at {halt}, image {nth}, seed {seed}");
            }
        }
        if !halted {
            assert!(went > 10, "{went} files went");
            break;
        }
    }
}

/// [`replayed`] up to an epoch; later operations are of no interest.
fn replayed_of_epochs(disk: &MemDisk, nth: usize, last_epoch: u32) -> Vec<(u32, u16, u64)> {
    let recovery = open(Arc::new(disk.clone()), KEEP_ALL).unwrap();
    let from = recovery.manifest().images.iter().rev().nth(nth).map(ReplayFrom::from);
    let mut came = Vec::new();
    let mut on_frame = |frame: crate::ReplayedFrame<'_>| {
        came.push((frame.first.epoch(), frame.shard, frame.first.ops()));
        Ok(())
    };
    recovery.replay(from.as_ref(), &mut on_frame, &mut |_, _| {}).unwrap();
    came.retain(|op| op.0 <= last_epoch);
    came
}
