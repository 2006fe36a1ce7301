//! Starting, stopping and starting again, without faults; crashes are in `crash_tests`.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::{MemDisk, write_all_at};
use crate::frame::{FRAME_BYTES_MIN, frame_bytes};
use crate::{Idle, OnCorruption, StreamEntry};

mod image;
mod survey;
mod table;

const DIR: &str = "/data";
const LOG_DIR: &str = "/data/log";
const HASH_KEY: u128 = 77;

/// What replay gave: (shard, first position, time, operations) for each group.
type History = Vec<(u16, Position, i64, Vec<u8>)>;

fn options() -> StorageOptions {
    StorageOptions { segment_bytes: 8192, first_segment_bytes: 8192, ..StorageOptions::new(1) }
}

fn replay(disk: &MemDisk) -> Result<(Replayed, History), StorageError> {
    replay_with(disk, options())
}

fn replay_with(disk: &MemDisk, options: StorageOptions) -> Result<(Replayed, History), StorageError> {
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options, HASH_KEY)?;
    let mut history = History::new();
    let replayed = recovery.replay(
        None,
        &mut |frame| {
            assert_eq!(frame.ops.len(), frame.op_count as usize * 10);
            history.push((frame.shard, frame.first, frame.now_ms, frame.ops.to_vec()));
            Ok(())
        },
        &mut |_, _| {},
    )?;
    Ok((replayed, history))
}

#[test]
fn what_was_appended_is_replayed_in_order_after_a_process_crash() {
    let disk = MemDisk::new();
    let mut expected = History::new();
    for shards in [2_u16, 3, 1] {
        let (replayed, history) = replay(&disk).unwrap();
        assert_eq!(history, expected);
        let mut started = replayed.start(shards, 5).unwrap();
        for round in 0..4_u8 {
            for (log, syncer) in &mut started.logs {
                let ops = vec![round; 500];
                let last = log.append(i64::from(round), 50, &ops).unwrap();
                let first = Position::new(last.epoch(), last.ops() - 49).unwrap();
                expected.push((log.shard(), first, i64::from(round), ops));
                if round == 1 {
                    syncer.step().unwrap();
                }
            }
        }
        expected.sort_by_key(|group| (group.1.epoch(), group.0, group.1));
    }
    let (replayed, history) = replay(&disk).unwrap();
    assert_eq!(history, expected);
    assert_eq!(replayed.report().operations, 6 * 200);
    assert_eq!(replayed.report().latest_now_ms, Some(3));
    assert!(replayed.report().torn.is_empty());
}

/// A start with one shard whose log gets groups of one operation of ten bytes; `durable` of them are synced and stated.
fn log_of(disk: &MemDisk, durable: u64, unsynced: u64) {
    let (replayed, _) = replay(disk).unwrap();
    let mut started = replayed.start(1, 0).unwrap();
    let (log, syncer) = &mut started.logs[0];
    for n in 0..durable {
        log.append(n as i64, 1, &[n as u8; 10]).unwrap();
    }
    while durable > 0 && log.state_durable(9).unwrap() == Idle::Sync {
        syncer.sync().unwrap();
    }
    for n in durable..durable + unsynced {
        log.append(n as i64, 1, &[n as u8; 10]).unwrap();
    }
}

fn first_segment(epoch: u32) -> PathBuf {
    Path::new(LOG_DIR).join(SegmentName::Log { epoch, shard: 0, segment: 0 }.to_string())
}

fn refusal(disk: &MemDisk) -> StorageError {
    match replay(disk) {
        Ok((_, history)) => panic!("it started, with {} groups", history.len()),
        Err(error) => error,
    }
}

#[test]
fn an_empty_directory_starts_at_epoch_one_with_the_given_key() {
    let disk = MemDisk::new();
    let (replayed, history) = replay(&disk).unwrap();
    assert!(history.is_empty());
    let started = replayed.start(2, 7).unwrap();
    assert_eq!(started.directory.manifest().epoch, 1);
    assert_eq!(started.directory.manifest().hash_key, HASH_KEY);
    assert_eq!(started.logs.len(), 2);
    assert_eq!(started.warnings, [] as [&str; 0]);
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_let_go() {
    let disk = MemDisk::new();
    let (replayed, _) = replay(&disk).unwrap();
    let started = replayed.start(1, 0).unwrap();
    assert!(matches!(refusal(&disk), StorageError::Locked { .. }));
    drop(started);
    assert!(replay(&disk).is_ok());
}

#[test]
fn an_unreadable_manifest_is_never_taken_for_an_empty_directory() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 0);
    disk.corrupt(&Path::new(DIR).join(MANIFEST_FILE), 40, |byte| *byte ^= 1).unwrap();
    let error = refusal(&disk);
    assert!(matches!(error, StorageError::ManifestUnreadable { .. }), "{error}");
    assert!(error.to_string().contains("/data/manifest"), "{error}");
}

#[test]
fn a_log_without_its_manifest_is_refused() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 0);
    disk.remove(&Path::new(DIR).join(MANIFEST_FILE)).unwrap();
    assert!(matches!(refusal(&disk), StorageError::LogWithoutManifest { .. }));
}

#[test]
fn images_without_manifest_and_log_are_refused_and_stay() {
    for name in ["00000003-0000.img", "00000003-0001.img.damaged"] {
        let disk = MemDisk::new();
        let images = Path::new(DIR).join("images");
        for dir in [Path::new(DIR), &images] {
            disk.create_dir(dir).unwrap();
        }
        disk.open(&images.join(name), OpenMode::CreateNew).unwrap();
        let error = refusal(&disk);
        assert!(matches!(error, StorageError::LogWithoutManifest { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(disk.list(&images).unwrap(), [name]);
        assert!(disk.open(&Path::new(DIR).join(MANIFEST_FILE), OpenMode::Read).is_err());
    }
}

#[test]
fn a_manifest_that_is_older_than_the_log_is_refused() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 0);
    let path = Path::new(DIR).join(MANIFEST_FILE);
    let file = disk.open(&path, OpenMode::Read).unwrap();
    let mut old = vec![0; file.len().unwrap() as usize];
    crate::disk::read_full_at(file.as_ref(), &mut old, 0).unwrap();
    log_of(&disk, 2, 0);
    disk.remove(&path).unwrap();
    let file = disk.open(&path, OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), &old, 0).unwrap();
    let error = refusal(&disk);
    assert!(matches!(error, StorageError::ManifestOutdated { manifest_epoch: 1, .. }), "{error}");
}

#[test]
fn starts_without_a_write_leave_nothing_behind() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 0);
    for _ in 0..10 {
        log_of(&disk, 0, 0);
    }
    let (replayed, history) = replay(&disk).unwrap();
    assert_eq!(history.len(), 3);
    let epochs: Vec<u32> = replayed.manifest().epochs.iter().map(|entry| entry.epoch).collect();
    assert_eq!(epochs, [1, 11], "the first, and the one being written");
    let files = disk.list(Path::new(LOG_DIR)).unwrap();
    assert_eq!(files.len(), 3, "one of each, and one to be recycled: {files:?}");
}

#[test]
fn a_closed_log_takes_the_room_of_its_frames_only() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 0);
    log_of(&disk, 0, 0);
    let file = disk.open(&first_segment(1), OpenMode::Read).unwrap();
    let frames = 3 * frame_bytes(10) + FRAME_BYTES_MIN;
    assert_eq!(file.len().unwrap(), SEGMENT_HEADER_BYTES + frames as u64);
}

#[test]
fn a_flipped_byte_below_the_stated_position_is_corruption_at_its_frame() {
    let frame = frame_bytes(10) as u64;
    for at in SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + 3 * frame {
        let disk = MemDisk::new();
        log_of(&disk, 3, 2);
        disk.corrupt(&first_segment(1), at, |byte| *byte ^= 0x10).unwrap();
        let error = refusal(&disk);
        let damage = error.corruption().unwrap_or_else(|| panic!("byte {at}: {error}"));
        let begin = at - (at - SEGMENT_HEADER_BYTES) % frame;
        assert_eq!((&damage.file, damage.offset), (&first_segment(1), begin), "byte {at}");
        assert_eq!(damage.durable_ops, 3);
        let text = error.to_string();
        assert!(text.contains(&format!("00000001-0000-00000000.wal at byte {begin}")), "{text}");
        assert!(text.contains("windrow log repair /data"), "{text}");
    }
}

#[test]
fn a_flipped_byte_above_the_stated_position_is_a_torn_tail() {
    let frame = frame_bytes(10) as u64;
    // Three durable frames, the statement, then two frames that nothing states durable.
    let unstated = SEGMENT_HEADER_BYTES + 3 * frame + FRAME_BYTES_MIN as u64;
    for at in unstated..unstated + 2 * frame {
        let disk = MemDisk::new();
        log_of(&disk, 3, 2);
        disk.corrupt(&first_segment(1), at, |byte| *byte ^= 0x10).unwrap();
        let (replayed, history) = replay(&disk).unwrap();
        let whole = 3 + (at - unstated) / frame;
        assert_eq!(history.len() as u64, whole, "byte {at}");
        let torn = &replayed.report().torn;
        assert_eq!(torn.len(), 1);
        assert_eq!((torn[0].readable_ops, torn[0].durable_ops), (whole, 3));
    }
}

#[test]
fn a_frame_with_torn_operations_still_states_what_was_durable() {
    let disk = MemDisk::new();
    // Synced, but the next frame is the only one to say so, and its operations are torn.
    let (replayed, _) = replay(&disk).unwrap();
    let mut started = replayed.start(1, 0).unwrap();
    let (log, syncer) = &mut started.logs[0];
    log.append(0, 1, &[1; 10]).unwrap();
    syncer.sync().unwrap();
    log.append(0, 1, &[2; 10]).unwrap();
    drop(started);
    let second = SEGMENT_HEADER_BYTES + frame_bytes(10) as u64;
    disk.corrupt(&first_segment(1), second + 60, |byte| *byte = 0).unwrap();
    assert_eq!(replay(&disk).unwrap().1.len(), 1, "by itself it is a torn tail");
    disk.corrupt(&first_segment(1), SEGMENT_HEADER_BYTES + 60, |byte| *byte = 0).unwrap();
    let error = refusal(&disk);
    assert_eq!(
        error.corruption().map(|damage| (damage.offset, damage.durable_ops)),
        Some((4096, 1)),
        "{error}"
    );
}

#[test]
fn damage_in_a_statement_or_behind_the_last_frame_loses_nothing() {
    let statement = SEGMENT_HEADER_BYTES + 3 * frame_bytes(10) as u64;
    let behind = statement + FRAME_BYTES_MIN as u64;
    for (at, torn, harmless) in [(statement + 9, 0, 1), (8191, 1, 0)] {
        let disk = MemDisk::new();
        log_of(&disk, 3, 2);
        disk.corrupt(&first_segment(1), at, |byte| *byte ^= 0x10).unwrap();
        let (replayed, history) = replay(&disk).unwrap();
        assert_eq!(history.len(), 5, "byte {at}");
        assert_eq!(
            (replayed.report().torn.len(), replayed.report().harmless.len()),
            (torn, harmless),
            "byte {at}"
        );
        assert!(at < behind || replayed.report().torn[0].offset > behind);
    }
}

#[test]
fn a_closed_log_is_held_to_the_end_that_its_manifest_states() {
    // Nothing in the log itself states the last two durable; the manifest does, once they were served again.
    let tail = Path::new(LOG_DIR).join("00000002-0000-tail.wal");
    for (path, ops_before) in [(first_segment(1), 0), (tail, 3)] {
        let disk = MemDisk::new();
        log_of(&disk, 3, 2);
        log_of(&disk, 0, 0);
        let at = SEGMENT_HEADER_BYTES + 20;
        disk.corrupt(&path, at, |byte| *byte ^= 0x10).unwrap();
        let error = refusal(&disk);
        let damage = error.corruption().unwrap_or_else(|| panic!("{error}"));
        assert_eq!((&damage.file, damage.offset), (&path, SEGMENT_HEADER_BYTES));
        assert_eq!((damage.readable_ops, damage.durable_ops), (ops_before, 5));
    }
}

#[test]
fn what_is_behind_a_cut_is_never_read_again() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 2);
    log_of(&disk, 0, 0);
    // The two operations are in the tail now. A late write-back of the old file brings them back behind the cut.
    let path = first_segment(1);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    let cut = file.len().unwrap();
    let junk = vec![0x5A; 300];
    write_all_at(file.as_ref(), &junk, cut).unwrap();
    let (replayed, history) = replay(&disk).unwrap();
    assert_eq!(history.len(), 5);
    assert_eq!(replayed.report().harmless, []);
    assert_eq!(replayed.report().torn, []);
}

#[test]
fn a_missing_segment_and_a_damaged_segment_header_are_corruption() {
    for number in [0_u32, 1] {
        for missing in [true, false] {
            let disk = MemDisk::new();
            let (replayed, _) = replay(&disk).unwrap();
            let mut started = replayed.start(1, 0).unwrap();
            let (log, syncer) = &mut started.logs[0];
            while log.written().ops() < 900 {
                while log.wants_spare() {
                    syncer.prepare_spare().unwrap();
                }
                log.append(1, 100, &[1; 1000]).unwrap();
            }
            drop(started);
            let name = SegmentName::Log { epoch: 1, shard: 0, segment: number };
            let path = Path::new(LOG_DIR).join(name.to_string());
            if missing {
                disk.remove(&path).unwrap();
            } else {
                disk.corrupt(&path, 700, |byte| *byte = 1).unwrap();
            }
            let error = refusal(&disk);
            let damage = error.corruption().unwrap_or_else(|| panic!("{number} {missing}: {error}"));
            assert_eq!((&damage.file, damage.offset), (&path, 0));
        }
    }
}

#[test]
fn a_segment_under_another_name_is_corruption() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 0);
    let other = Path::new(LOG_DIR).join(SegmentName::Log { epoch: 1, shard: 0, segment: 1 }.to_string());
    let from = disk.open(&first_segment(1), OpenMode::Read).unwrap();
    let mut bytes = vec![0; 8192];
    crate::disk::read_full_at(from.as_ref(), &mut bytes, 0).unwrap();
    let copy = disk.open(&other, OpenMode::CreateNew).unwrap();
    write_all_at(copy.as_ref(), &bytes, 0).unwrap();
    let error = refusal(&disk);
    assert!(error.to_string().contains("belongs elsewhere"), "{error}");
}

#[test]
fn repair_gives_up_what_follows_the_damage_and_says_so_once() {
    let give_up = StorageOptions { on_corruption: OnCorruption::GiveUp, ..options() };
    let frame = frame_bytes(10) as u64;
    // In the open epoch, in a closed one, in a tail; and a whole segment.
    let tail = Path::new(LOG_DIR).join("00000002-0000-tail.wal");
    let cases = [
        (1, first_segment(1), SEGMENT_HEADER_BYTES + frame + 5, 1),
        (2, first_segment(1), SEGMENT_HEADER_BYTES + frame + 5, 1),
        (2, tail, SEGMENT_HEADER_BYTES + frame + 5, 4),
        (1, first_segment(1), 12, 0),
        (2, first_segment(1), 12, 0),
    ];
    for (starts, path, at, left) in cases {
        let disk = MemDisk::new();
        log_of(&disk, 3, 2);
        if starts == 2 {
            log_of(&disk, 1, 0);
        }
        disk.corrupt(&path, at, |byte| *byte ^= 0x10).unwrap();
        assert!(refusal(&disk).corruption().is_some());
        let (replayed, history) = replay_with(&disk, give_up.clone()).unwrap();
        let of_first_epoch = |history: &History| history.iter().filter(|group| group.1.epoch() == 1).count();
        assert_eq!(of_first_epoch(&history), left, "{}", path.display());
        assert_eq!(replayed.report().given_up.len(), 1);
        assert_eq!(replayed.report().given_up[0].file, path);
        replayed.start(1, 0).unwrap();
        let (replayed, again) = replay(&disk).unwrap();
        assert_eq!(again, history, "{}", path.display());
        assert_eq!(replayed.report().given_up, []);
    }
}

#[test]
fn an_error_of_the_caller_stops_the_replay_and_names_the_operation() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 0);
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY).unwrap();
    let mut seen = 0;
    let error = recovery
        .replay(
            None,
            &mut |frame| {
                seen += 1;
                if frame.first.ops() == 2 { Err("no such stream".into()) } else { Ok(()) }
            },
            &mut |_, _| {},
        )
        .err()
        .expect("the callback refused");
    assert_eq!(seen, 2);
    assert_eq!(error.to_string(), "replay of epoch 1, shard 0, operation 2 failed: no such stream");
}

#[test]
fn progress_ends_at_all_bytes() {
    let disk = MemDisk::new();
    log_of(&disk, 3, 0);
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY).unwrap();
    let mut reports = Vec::new();
    recovery.replay(None, &mut |_| Ok(()), &mut |done, total| reports.push((done, total))).unwrap();
    assert!(reports.is_sorted());
    assert_eq!(reports.last(), Some(&(8192, 8192)));
}

#[test]
fn a_change_of_the_catalogue_is_durable_when_it_returns_and_outlives_starts() {
    let disk = MemDisk::new();
    let (replayed, _) = replay(&disk).unwrap();
    let mut started = replayed.start(1, 0).unwrap();
    let entry = StreamEntry {
        id: 1,
        layout_id: 1,
        name: "purchases".to_owned(),
        definition: "WINDOWS 5m".to_owned(),
        created_ms: 3,
        settled: None,
        backfill: None,
        narrow_sums: false,
        older: Vec::new(),
    };
    let version = started.directory.update_catalogue(|catalogue| {
        catalogue.next_stream_id = 2;
        catalogue.streams.push(entry.clone());
    });
    assert_eq!(version.unwrap(), 1);
    for seed in 0..20 {
        let after = disk.crash(seed);
        for _ in 0..2 {
            let (replayed, _) = replay(&after).unwrap();
            assert_eq!(replayed.manifest().catalogue.streams, std::slice::from_ref(&entry), "seed {seed}");
            assert_eq!(replayed.manifest().catalogue.version, 1);
            replayed.start(1, 0).unwrap();
        }
    }
}

#[test]
fn a_catalogue_change_without_room_on_the_disk_is_not_made() {
    let disk = MemDisk::new();
    let (replayed, _) = replay(&disk).unwrap();
    let mut started = replayed.start(1, 0).unwrap();
    disk.set_capacity_bytes(Some(disk.used_bytes() + 10));
    let error = started.directory.update_catalogue(|catalogue| catalogue.next_stream_id = 9).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(started.directory.manifest().catalogue.next_stream_id, 1);
    disk.set_capacity_bytes(None);
    assert_eq!(started.directory.update_catalogue(|catalogue| catalogue.next_stream_id = 2).unwrap(), 1);
}

#[test]
fn the_same_promises_hold_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let disk = Arc::new(crate::disk::RealDisk);
        Recovery::open(disk, &dir.path().join("data"), options(), HASH_KEY)
    };
    let mut expected = Vec::new();
    for start in 0..3_u8 {
        let mut seen = Vec::new();
        let mut collect = |frame: ReplayedFrame<'_>| -> Result<(), ReplayError> {
            seen.push(frame.ops.to_vec());
            Ok(())
        };
        let replayed = open().unwrap().replay(None, &mut collect, &mut |_, _| {}).unwrap();
        assert_eq!(seen, expected);
        let mut started = replayed.start(1, 0).unwrap();
        assert_eq!(started.warnings, [] as [&str; 0]);
        assert!(matches!(open().err(), Some(StorageError::Locked { .. })));
        let (log, syncer) = &mut started.logs[0];
        for group in 0..20_u8 {
            while log.room() < 700 {
                syncer.step().unwrap();
            }
            let ops = vec![start * 50 + group; 700];
            log.append(1, 7, &ops).unwrap();
            expected.push(ops);
        }
        if start != 1 {
            syncer.sync().unwrap();
        }
    }
}
