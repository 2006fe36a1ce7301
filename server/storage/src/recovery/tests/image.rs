//! Replays that begin behind an image.

use super::*;
use crate::ImageEntry;
use crate::disk::read_full_at;
use crate::image::{ImageHeader, ImageWriter};

/// Bytes of a frame of [`long_log`], and how many a segment takes.
const FRAME: u64 = 80;
pub(super) const A_SEGMENT: u64 = (8192 - SEGMENT_HEADER_BYTES) / FRAME;

/// A start with one shard that logs `count` groups of one operation over several segments; all but the last `unsynced` are stated
/// durable.
pub(super) fn long_log(disk: &MemDisk, from: Option<&ReplayFrom>, count: u64, unsynced: u64) -> Started {
    assert_eq!(FRAME, frame_bytes(10) as u64);
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY).unwrap();
    let replayed = recovery.replay(from, &mut |_| Ok(()), &mut |_, _| {}).unwrap();
    let mut started = replayed.start(1, 0).unwrap();
    let (log, syncer) = &mut started.logs[0];
    for n in 1..=count + 1 {
        while log.room() < 10 {
            syncer.prepare_spare().unwrap();
        }
        while n == count - unsynced + 1 && log.state_durable(9).unwrap() == Idle::Sync {
            syncer.sync().unwrap();
        }
        if n <= count {
            log.append(n as i64, 1, &[n as u8; 10]).unwrap();
        }
    }
    started
}

/// Names an image in the manifest.
pub(super) fn publish(started: &mut Started, start: u64, end: u64) -> ReplayFrom {
    let mut manifest = started.directory.manifest().clone();
    let entry = ImageEntry {
        image: manifest.images.last().map_or(1, |image| image.image + 1),
        epoch: manifest.epoch,
        shards: 1,
        created_ms: 0,
        ended_ms: None,
        starts: vec![start],
        ends: vec![end],
        bytes: 0,
        records: 0,
    };
    manifest.images.push(entry.clone());
    started.directory.replace_manifest(manifest).unwrap();
    ReplayFrom::from(&entry)
}

/// Replays; gives the operations of each epoch that came, and the outcome.
fn replay_from(
    disk: &MemDisk,
    options: StorageOptions,
    from: Option<&ReplayFrom>,
) -> Result<(Replayed, Vec<(u32, u64)>), StorageError> {
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options, HASH_KEY)?;
    let mut came = Vec::new();
    let replayed = recovery.replay(
        from,
        &mut |frame| {
            came.extend(
                (frame.first.ops()..).take(frame.op_count as usize).map(|ops| (frame.first.epoch(), ops)),
            );
            Ok(())
        },
        &mut |_, _| {},
    )?;
    Ok((replayed, came))
}

pub(super) fn segment_file(epoch: u32, segment: u32) -> PathBuf {
    Path::new(LOG_DIR).join(SegmentName::Log { epoch, shard: 0, segment }.to_string())
}

fn ops_of(epoch: u32, ops: std::ops::RangeInclusive<u64>) -> Vec<(u32, u64)> {
    ops.map(|ops| (epoch, ops)).collect()
}

#[test]
fn every_start_gives_exactly_what_is_behind_it_before_and_after_the_next_start() {
    let disk = MemDisk::new();
    drop(long_log(&disk, None, 2 * A_SEGMENT + 5, 3));
    drop(long_log(&disk, None, A_SEGMENT + 9, 4));
    drop(long_log(&disk, None, 7, 2));
    let (_, all) = replay_from(&disk, options(), None).unwrap();
    assert_eq!(all.len() as u64, 3 * A_SEGMENT + 21);
    for epoch in 1..=3 {
        let last = all.iter().filter(|op| op.0 == epoch).map(|op| op.1).max().unwrap();
        for start in 0..=last {
            let from = ReplayFrom { epoch, starts: vec![start] };
            let expected: Vec<_> = all.iter().copied().filter(|op| *op > (epoch, start)).collect();
            let (replayed, came) = replay_from(&disk, options(), Some(&from)).unwrap();
            assert_eq!(came, expected, "epoch {epoch} from {start}");
            assert_eq!(replayed.report().operations, expected.len() as u64);
            // The epoch after: what was open is closed, wherever it was begun to be read.
            let after = disk.fork();
            let (replayed, _) = replay_from(&after, options(), Some(&from)).unwrap();
            replayed.start(2, 0).unwrap();
            for whole in [None, Some(&from)] {
                let (_, again) = replay_from(&after, options(), whole).unwrap();
                let expected = if whole.is_none() { &all } else { &expected };
                assert_eq!(
                    &again, expected,
                    "epoch {epoch} from {start}, after a start from there, {whole:?}"
                );
            }
        }
    }
}

#[test]
fn a_group_that_straddles_the_start_is_given_whole() {
    let disk = MemDisk::new();
    let (replayed, _) = replay(&disk).unwrap();
    let mut started = replayed.start(1, 0).unwrap();
    for _ in 0..3 {
        started.logs[0].0.append(0, 4, &[1; 40]).unwrap();
    }
    drop(started);
    for (start, first) in [(3, 1), (4, 5), (5, 5), (7, 5), (8, 9), (11, 9)] {
        let from = ReplayFrom { epoch: 1, starts: vec![start] };
        let (_, came) = replay_from(&disk, options(), Some(&from)).unwrap();
        assert_eq!(came, ops_of(1, first..=12), "from {start}");
    }
}

#[test]
fn log_that_the_image_holds_is_not_opened_and_may_be_gone() {
    let disk = MemDisk::new();
    drop(long_log(&disk, None, A_SEGMENT + 3, 2));
    let mut started = long_log(&disk, None, 3 * A_SEGMENT, 0);
    let start = 2 * A_SEGMENT + 1;
    let from = publish(&mut started, start, start);
    drop(started);
    let mut gone = vec![Path::new(LOG_DIR).join("00000002-0000-tail.wal")];
    gone.extend((0..2).map(|segment| segment_file(1, segment)));
    gone.extend((0..2).map(|segment| segment_file(2, segment)));
    for path in &gone {
        disk.remove(path).unwrap();
        let (replayed, came) = replay_from(&disk, options(), Some(&from)).unwrap();
        assert_eq!(came, ops_of(2, start + 1..=3 * A_SEGMENT), "without {}", path.display());
        let report = replayed.report();
        assert_eq!((&report.older, &report.harmless, &report.torn), (&vec![], &vec![], &vec![]));
    }
    // The next start, and the one after it: a closed epoch of which the beginning is missing.
    drop(long_log(&disk, Some(&from), 2, 0));
    let (_, came) = replay_from(&disk, options(), Some(&from)).unwrap();
    assert_eq!(came, [ops_of(2, start + 1..=3 * A_SEGMENT), ops_of(3, 1..=2)].concat());
    let missing = replay_from(&disk, options(), None).err().unwrap();
    assert!(missing.corruption().unwrap().reason.contains("missing"), "{missing}");
}

#[test]
fn a_segment_missing_above_the_start_is_corruption() {
    for closed in [false, true] {
        for missing in 1..=2 {
            let disk = MemDisk::new();
            let mut started = long_log(&disk, None, 3 * A_SEGMENT, 0);
            let start = A_SEGMENT + 4;
            let from = publish(&mut started, start, start);
            drop(started);
            if closed {
                drop(long_log(&disk, Some(&from), 0, 0));
            }
            disk.remove(&segment_file(1, 0)).unwrap();
            assert!(replay_from(&disk, options(), Some(&from)).is_ok());
            disk.remove(&segment_file(1, missing)).unwrap();
            let error = replay_from(&disk, options(), Some(&from)).err().expect("operations are missing");
            let damage = error.corruption().unwrap_or_else(|| panic!("{error}"));
            assert_eq!(damage.durable_ops, 3 * A_SEGMENT, "closed: {closed}, without {missing}");
        }
    }
}

#[test]
fn damage_older_than_the_image_is_a_warning_and_damage_above_it_is_not() {
    let start = A_SEGMENT + 10;
    // (segment, operation in it, verdict): the image is of the second segment's tenth operation.
    let cases = [(1, 0, "older"), (1, 4, "older"), (1, 9, "older"), (1, 10, "corrupt"), (2, 0, "corrupt")];
    for closed in [false, true] {
        for (segment, operation, verdict) in cases {
            let disk = MemDisk::new();
            let mut started = long_log(&disk, None, 3 * A_SEGMENT, 0);
            let from = publish(&mut started, start, start + 1);
            drop(started);
            if closed {
                drop(long_log(&disk, Some(&from), 0, 0));
            }
            for at in [2, FRAME - 12] {
                // The header, and the operation.
                let offset = SEGMENT_HEADER_BYTES + operation * FRAME + at;
                let damaged = disk.fork();
                damaged.corrupt(&segment_file(1, segment), offset, |byte| *byte ^= 4).unwrap();
                let outcome = replay_from(&damaged, options(), Some(&from));
                let case = format!("closed: {closed}, segment {segment}, operation {operation}, byte {at}");
                if verdict == "corrupt" {
                    let error = outcome.err().unwrap_or_else(|| panic!("{case}: it started"));
                    assert_eq!(
                        error.corruption().unwrap().readable_ops,
                        (start).max(u64::from(segment) * A_SEGMENT)
                    );
                    continue;
                }
                let (replayed, came) = outcome.unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!(came, ops_of(1, start + 1..=3 * A_SEGMENT), "{case}");
                assert_eq!(replayed.report().older.len(), 1, "{case}");
                assert_eq!(replayed.report().older[0].file, segment_file(1, segment), "{case}");
                replayed.start(1, 0).unwrap();
                let (_, again) = replay_from(&damaged, options(), Some(&from)).unwrap();
                assert_eq!(again, came, "{case}");
                assert!(replay_from(&damaged, options(), None).is_err(), "{case}: not without the image");
            }
        }
    }
}

#[test]
fn a_torn_tail_below_the_images_start_loses_nothing() {
    let disk = MemDisk::new();
    let mut started = long_log(&disk, None, 20, 5);
    // A damaged operation that no frame states durable, and that the image holds.
    let from = publish(&mut started, 18, 18);
    drop(started);
    let at = |operation: u64| SEGMENT_HEADER_BYTES + (operation + 1) * FRAME - 12;
    disk.corrupt(&segment_file(1, 0), at(16), |byte| *byte ^= 4).unwrap();
    let (_, came) = replay_from(&disk, options(), Some(&from)).unwrap();
    assert_eq!(came, ops_of(1, 19..=20));
    // Without it the image's end still says that the operation was durable.
    let error = replay_from(&disk, options(), None).err().unwrap();
    assert_eq!(error.corruption().unwrap().durable_ops, 18);
}

#[test]
fn an_image_states_durable_what_it_may_hold() {
    for (end, is_corrupt) in [(17, false), (18, true)] {
        let disk = MemDisk::new();
        let mut started = long_log(&disk, None, 20, 5);
        let from = publish(&mut started, 3, end);
        drop(started);
        let torn = SEGMENT_HEADER_BYTES + 18 * FRAME + FRAME_BYTES_MIN as u64 - 12;
        disk.corrupt(&segment_file(1, 0), torn, |byte| *byte ^= 4).unwrap();
        let outcome = replay_from(&disk, options(), Some(&from));
        match outcome {
            Err(error) => assert!(is_corrupt && error.corruption().is_some(), "end {end}: {error}"),
            Ok((replayed, came)) => {
                assert!(!is_corrupt, "end {end}");
                assert_eq!(came, ops_of(1, 4..=17));
                assert_eq!(replayed.report().torn.len(), 1);
            }
        }
    }
}

#[test]
fn an_images_end_within_a_group_is_cut_before_that_group() {
    let disk = MemDisk::new();
    let (replayed, _) = replay(&disk).unwrap();
    let mut started = replayed.start(1, 0).unwrap();
    for _ in 0..3 {
        started.logs[0].0.append(0, 4, &[1; 40]).unwrap();
    }
    let from = publish(&mut started, 2, 6);
    drop(started);
    let (replayed, came) = replay_from(&disk, options(), Some(&from)).unwrap();
    assert_eq!(came, ops_of(1, 1..=12));
    let started = replayed.start(1, 0).unwrap();
    let end = started.directory.manifest().epochs[0].ends[0];
    assert_eq!((end.ops, end.last_ops()), (4, 12));
    drop(started);
    for from in [None, Some(&from)] {
        assert_eq!(replay_from(&disk, options(), from).unwrap().1, ops_of(1, 1..=12));
    }
}

#[test]
fn a_log_whose_beginning_was_given_back_needs_an_image_behind_it() {
    let disk = MemDisk::new();
    drop(long_log(&disk, None, 5, 0));
    let mut started = long_log(&disk, None, 5, 0);
    let from = publish(&mut started, 2, 2);
    let mut manifest = started.directory.manifest().clone();
    manifest.epochs.remove(0);
    manifest.epochs_given_back = 1;
    started.directory.replace_manifest(manifest).unwrap();
    drop(started);
    assert_eq!(replay_from(&disk, options(), Some(&from)).unwrap().1, ops_of(2, 3..=5));
    for (from, words) in
        [(None, "there is no image"), (Some(ReplayFrom { epoch: 1, starts: vec![5] }), "of epoch 1")]
    {
        let error = replay_from(&disk, options(), from.as_ref()).err().unwrap().to_string();
        assert!(error.contains(words) && error.contains("up to epoch 1"), "{error}");
    }
    let check = |disk: &MemDisk| {
        let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY).unwrap();
        recovery.check_beginning()
    };
    assert!(check(&disk).is_ok());
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY).unwrap();
    let mut directory = recovery.directory;
    let manifest = Manifest { images: Vec::new(), ..directory.manifest().clone() };
    directory.replace_manifest(manifest).unwrap();
    drop(directory);
    assert!(check(&disk).unwrap_err().to_string().contains("there is no image"));
}

#[test]
fn progress_counts_only_what_is_read() {
    let disk = MemDisk::new();
    drop(long_log(&disk, None, 3 * A_SEGMENT, 0));
    let from = ReplayFrom { epoch: 1, starts: vec![2 * A_SEGMENT + 3] };
    let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY).unwrap();
    let mut reports = Vec::new();
    let replayed = recovery
        .replay(Some(&from), &mut |_| Ok(()), &mut |done, total| reports.push((done, total)))
        .unwrap();
    // One segment with operations; and the one with the statement that all are durable.
    let files = disk.list(Path::new(LOG_DIR)).unwrap().len() as u64;
    assert_eq!(reports.last(), Some(&((files - 2) * 8192, (files - 2) * 8192)));
    drop(replayed);
    let mut first = [0; 8];
    let file = disk.open(&segment_file(1, 0), OpenMode::Read).unwrap();
    assert_eq!(read_full_at(file.as_ref(), &mut first, 0).unwrap(), 8, "and it is still there");
}

#[test]
fn what_the_disk_cannot_read_is_a_warning_in_what_the_image_holds_and_an_error_behind_it() {
    // Sectors of 512 bytes: six frames and a bit. The image is of operation 30 of the second segment.
    let start = A_SEGMENT + 30;
    let frame_at = |operation: u64| SEGMENT_HEADER_BYTES + (operation - 1) * FRAME;
    let cases = [
        (0, 0, true),
        (0, frame_at(5), true),
        (1, frame_at(1), true),
        (1, frame_at(20), true),
        (1, frame_at(33), false),
        (1, frame_at(45), false),
        (1, 0, false),
        (2, 0, false),
        (2, frame_at(1), false),
    ];
    for closed in [false, true] {
        for (segment, offset, is_held) in cases {
            let disk = MemDisk::new();
            let mut started = long_log(&disk, None, 3 * A_SEGMENT, 0);
            let from = publish(&mut started, start, start);
            drop(started);
            if closed {
                drop(long_log(&disk, Some(&from), 0, 0));
            }
            disk.spoil(&segment_file(1, segment), offset).unwrap();
            let case = format!("closed: {closed}, segment {segment}, byte {offset}");
            match replay_from(&disk, options(), Some(&from)) {
                Ok((_, came)) => {
                    assert!(is_held, "{case}: it started");
                    assert_eq!(came, ops_of(1, start + 1..=3 * A_SEGMENT), "{case}");
                }
                Err(error) => {
                    assert!(!is_held && matches!(error, StorageError::Io { .. }), "{case}: {error}");
                    let file = segment_file(1, segment).display().to_string();
                    assert!(error.to_string().contains(&file), "{case}: {error}");
                }
            }
            // Never taken for the end of the log: all of it is there once the disk reads again.
            let healed = disk.fork();
            let file = healed.open(&segment_file(1, segment), OpenMode::ReadWrite).unwrap();
            let sector = offset / 512 * 512;
            let whole = MemDisk::new();
            drop(long_log(&whole, None, 3 * A_SEGMENT, 0));
            let mut bytes = [0; 512];
            let original = whole.open(&segment_file(1, segment), OpenMode::Read).unwrap();
            let there = read_full_at(original.as_ref(), &mut bytes, sector).unwrap();
            write_all_at(file.as_ref(), &bytes[..there], sector).unwrap();
            let (_, came) = replay_from(&healed, options(), Some(&from)).unwrap();
            assert_eq!(came, ops_of(1, start + 1..=3 * A_SEGMENT), "{case}, healed");
        }
    }
}

#[test]
fn without_an_image_a_sector_that_cannot_be_read_is_an_error_and_no_torn_end() {
    for unsynced in [0, 5] {
        let disk = MemDisk::new();
        drop(long_log(&disk, None, 20, unsynced));
        disk.spoil(&segment_file(1, 0), SEGMENT_HEADER_BYTES + 17 * FRAME).unwrap();
        let error = replay_from(&disk, options(), None).err().expect("who knows what is there");
        assert!(matches!(error, StorageError::Io { .. }), "{error}");
    }
}

#[test]
fn the_newest_image_of_which_every_file_opens_is_found() {
    let disk = MemDisk::new();
    let (replayed, _) = replay(&disk).unwrap();
    let mut directory = replayed.start(2, 0).unwrap().directory;
    for image in 1..=2 {
        let (disk, dir) = directory.images();
        let mut bytes = 0;
        for shard in 0..2 {
            let header = ImageHeader { image, epoch: 1, shard, shards: 2, key_check: 0, created_ms: 0 };
            let mut writer = ImageWriter::create(&disk, &dir, header).unwrap();
            writer.state(&[7; 100]).unwrap();
            bytes += writer.finish().unwrap().bytes;
        }
        let numbers = vec![0; 2];
        let (starts, ends) = (numbers.clone(), numbers);
        let entry = ImageEntry {
            image,
            epoch: 1,
            shards: 2,
            created_ms: 0,
            ended_ms: None,
            starts,
            ends,
            bytes,
            records: 0,
        };
        directory.publish_image(entry, 2).unwrap();
    }
    drop(directory);
    let newest = || {
        let recovery = Recovery::open(Arc::new(disk.clone()), Path::new(DIR), options(), HASH_KEY).unwrap();
        recovery.newest_whole_image().map(|entry| entry.image)
    };
    assert_eq!(newest(), Some(2));
    disk.corrupt(Path::new("/data/images/00000002-0001.img"), 20, |byte| *byte ^= 1).unwrap();
    assert_eq!(newest(), Some(1));
    disk.remove(Path::new("/data/images/00000001-0000.img")).unwrap();
    assert_eq!(newest(), None);
}
