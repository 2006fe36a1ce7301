//! Reading a log while the server runs.

use super::*;

#[test]
fn a_reader_gives_what_a_replay_gives_from_every_position_on() {
    let disk = MemDisk::new();
    for (count, unsynced) in [(9, 0), (7, 3)] {
        let mut started = start(&disk, 1, KEEP_ALL, 0);
        for now_ms in 0..count - unsynced {
            append(&mut started.logs[0], now_ms);
        }
        settle(&mut started.logs[0], 9);
        for now_ms in 0..unsynced {
            let (log, syncer) = &mut started.logs[0];
            while log.room() < OP_BYTES {
                syncer.prepare_spare().unwrap();
            }
            let number = log.written().ops() + 1;
            log.append(now_ms, 1, &[number as u8; OP_BYTES]).unwrap();
        }
    }
    // The second epoch ends in a tail.
    let started = start(&disk, 1, KEEP_ALL, 0);
    let files = started.directory.files();
    assert_eq!(files.logs(), [(1, 0), (2, 0), (3, 0)]);
    for (epoch, last) in [(1, 9), (2, 7), (3, 0)] {
        for after in 0..=last + 1 {
            let mut reader = files.reader(epoch, 0, after).unwrap();
            for ops in after + 1..=last {
                let frame =
                    reader.next().unwrap().unwrap_or_else(|| panic!("epoch {epoch} after {after}: {ops}"));
                assert_eq!((frame.first.epoch(), frame.first.ops()), (epoch, ops));
                assert_eq!(frame.ops, [ops as u8; OP_BYTES]);
            }
            assert_eq!(reader.next().unwrap(), None);
        }
    }
}

#[test]
fn a_reader_follows_a_log_that_grows_up_to_what_is_durable() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_NOTHING, 0);
    let files = started.directory.files().clone();
    let mut reader = files.reader(1, 0, 0).unwrap();
    let mut late = files.reader(1, 0, 3).unwrap();
    assert_eq!(reader.next().unwrap(), None);
    for ops in 1..=20 {
        let (log, syncer) = &mut started.logs[0];
        while log.room() < OP_BYTES {
            syncer.prepare_spare().unwrap();
        }
        log.append(0, 1, &[ops as u8; OP_BYTES]).unwrap();
        assert_eq!(reader.next().unwrap(), None, "{ops} is written, not durable");
        syncer.sync().unwrap();
        for (reader, from) in [(&mut reader, 1), (&mut late, 4)] {
            if ops >= from {
                assert_eq!(reader.next().unwrap().map(|frame| frame.first.ops()), Some(ops));
            }
            assert_eq!(reader.next().unwrap(), None);
        }
        if ops % 3 == 0 {
            settle(&mut started.logs[0], 1);
        }
    }
    let mut again = files.reader(1, 0, 0).unwrap();
    let mut read = 0;
    while again.next().unwrap().is_some() {
        read += 1;
    }
    assert_eq!(read, 20);
}

#[test]
fn a_reader_names_damage_and_gives_nothing_behind_it() {
    let disk = MemDisk::new();
    let mut started = start(&disk, 1, KEEP_ALL, 0);
    for now_ms in 0..8 {
        append(&mut started.logs[0], now_ms);
    }
    let file = Path::new(LOG_DIR).join("00000001-0000-00000001.wal");
    disk.corrupt(&file, 4096 + 100, |byte| *byte ^= 1).unwrap();
    let files = started.directory.files();
    let mut reader = files.reader(1, 0, 0).unwrap();
    for _ in 0..2 {
        reader.next().unwrap().unwrap();
    }
    let error = reader.next().unwrap_err();
    let again = reader.next().unwrap_err();
    assert_eq!(again.corruption(), error.corruption(), "it does not go on behind it");
    let damage = error.corruption().unwrap();
    assert_eq!(
        (&damage.file, damage.offset, damage.readable_ops, &damage.dir),
        (&file, 4096, 2, &PathBuf::from(DIR))
    );
    // At its beginning too.
    disk.corrupt(&Path::new(LOG_DIR).join("00000001-0000-00000000.wal"), 4096 + 100, |byte| *byte ^= 1)
        .unwrap();
    let mut reader = files.reader(1, 0, 0).unwrap();
    for _ in 0..3 {
        assert!(reader.next().unwrap_err().corruption().is_some());
    }
    disk.corrupt(&Path::new(LOG_DIR).join("00000001-0000-00000000.wal"), 4096 + 100, |byte| *byte ^= 1)
        .unwrap();
    // Behind it is another matter, and so is what is missing.
    assert_eq!(files.reader(1, 0, 4).unwrap().next().unwrap().unwrap().first.ops(), 5);
    let mut reader = files.reader(1, 0, 0).unwrap();
    disk.remove(&Path::new(LOG_DIR).join("00000001-0000-00000000.wal")).unwrap();
    assert!(reader.next().unwrap_err().to_string().contains("missing"));
}

#[test]
fn a_reader_that_the_disk_failed_once_goes_on_where_it_was() {
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()));
    let recovery = open(Arc::new(disk.clone()), KEEP_ALL).unwrap();
    let mut started = recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap().start(1, 0).unwrap();
    for now_ms in 0..8 {
        append(&mut started.logs[0], now_ms);
    }
    for failing in 0..12 {
        let mut reader = started.directory.files().reader(1, 0, 0).unwrap();
        disk.inject(Call::Read, disk.calls(Call::Read) + failing, 1, Fault::Io);
        let mut errors = 0;
        for ops in 1..=8 {
            let first = loop {
                match reader.next() {
                    Ok(frame) => break frame.unwrap().first.ops(),
                    Err(error) => assert!(matches!(error, StorageError::Io { .. }), "{error}"),
                }
                errors += 1;
            };
            assert_eq!(first, ops, "after read {failing} failed");
        }
        assert!(errors <= 1, "{errors} errors");
        disk.heal();
    }
}

#[test]
fn a_reader_that_is_told_to_passes_over_damage_missing_files_and_what_the_disk_cannot_read() {
    let file = |segment: u32| Path::new(LOG_DIR).join(format!("00000001-0000-{segment:08}.wal"));
    type Harm = fn(&MemDisk, &Path);
    let harms: [Harm; 3] = [
        |disk, file| disk.corrupt(file, 4096 + 100, |byte| *byte ^= 1).unwrap(),
        |disk, file| disk.spoil(file, 4096 + 100).unwrap(),
        |disk, file| disk.remove(file).unwrap(),
    ];
    for harm in harms {
        for segment in 0..4 {
            let disk = MemDisk::new();
            let mut started = start(&disk, 1, KEEP_ALL, 0);
            for now_ms in 0..8 {
                append(&mut started.logs[0], now_ms);
            }
            drop(started);
            // Another epoch: the first one is closed.
            let started = start(&disk, 1, KEEP_ALL, 0);
            harm(&disk, &file(segment));
            let mut reader = started.directory.files().reader(1, 0, 0).unwrap();
            let (mut read, mut passed) = (Vec::new(), 0);
            loop {
                match reader.next() {
                    Ok(Some(frame)) => read.push(frame.first.ops()),
                    Ok(None) => break,
                    Err(_) => {
                        passed += 1;
                        assert!(passed < 10, "it comes to an end");
                        if !reader.pass_over() {
                            break;
                        }
                    }
                }
            }
            assert!(passed > 0, "segment {segment}");
            // Two operations a segment.
            let lost = u64::from(segment) * 2 + 1;
            let others = (1..=8).filter(|ops| !(lost..lost + 2).contains(ops));
            assert!(read.is_sorted() && others.clone().all(|ops| read.contains(&ops)), "{segment}: {read:?}");
            assert!(!read.contains(&lost), "{segment}: {read:?}");
        }
    }
}
