//! What a power loss may and may not take.

use super::*;
use crate::disk::{read_full_at, write_all_at};

fn bytes_of(disk: &MemDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_full_at(file.as_ref(), &mut bytes, 0).unwrap();
    bytes
}

#[test]
fn synced_bytes_under_a_synced_name_survive_every_crash() {
    let disk = MemDisk::new();
    let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), &[7; 2000], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write_all_at(file.as_ref(), &[8; 2000], 2000).unwrap();
    for seed in 0..200 {
        assert_eq!(bytes_of(&disk.crash(seed), "/a")[..2000], [7; 2000], "seed {seed}");
    }
}

#[test]
fn unsynced_sectors_are_kept_dropped_and_torn() {
    let disk = MemDisk::new();
    let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), &[1; SECTOR_BYTES], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write_all_at(file.as_ref(), &[2; SECTOR_BYTES], 0).unwrap();
    let images: Vec<Vec<u8>> = (0..100).map(|seed| bytes_of(&disk.crash(seed), "/a")).collect();
    assert!(images.iter().any(|bytes| bytes.iter().all(|byte| *byte == 1)), "dropped");
    assert!(images.iter().any(|bytes| bytes.iter().all(|byte| *byte == 2)), "kept");
    assert!(images.iter().any(|bytes| bytes.contains(&1) && bytes.contains(&2)), "torn");
}

#[test]
fn an_unsynced_rename_happens_whole_or_not_at_all() {
    let disk = MemDisk::new();
    for (name, byte) in [("/new", 2), ("/old", 1)] {
        let file = disk.open(Path::new(name), OpenMode::CreateNew).unwrap();
        write_all_at(file.as_ref(), &[byte], 0).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
    disk.rename(Path::new("/new"), Path::new("/old")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let after = disk.crash(seed);
        let bytes = bytes_of(&after, "/old");
        assert_eq!(after.list(Path::new("/")).unwrap().contains(&"new".to_owned()), bytes == [1]);
        seen.insert(bytes);
    }
    assert_eq!(seen.len(), 2, "both outcomes occur");
}

#[test]
fn a_lost_sync_looks_written_until_the_power_goes() {
    let disk = MemDisk::new();
    let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), &[1; 8], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write_all_at(file.as_ref(), &[2; 8], 0).unwrap();
    disk.lose_syncs(0, 1);
    assert!(file.sync_data().is_err());
    assert!(file.sync_data().is_ok(), "the retry lies");
    assert_eq!(bytes_of(&disk, "/a"), [2; 8]);
    for seed in 0..20 {
        assert_eq!(bytes_of(&disk.crash(seed), "/a"), [1; 8], "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_growth_but_not_overwriting() {
    let disk = MemDisk::new();
    let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), &[1; 100], 0).unwrap();
    disk.set_capacity_bytes(Some(120));
    write_all_at(file.as_ref(), &[2; 100], 0).unwrap();
    let refused = write_all_at(file.as_ref(), &[3; 100], 50).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.used_bytes(), 120);
}

#[test]
fn a_bad_sector_cannot_be_read_until_it_is_written() {
    let disk = MemDisk::new();
    let file = disk.open(Path::new("/a"), OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), &[1; 4 * SECTOR_BYTES], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.spoil(Path::new("/a"), 600).unwrap();
    for disk in [disk.clone(), disk.crash(1)] {
        let file = disk.open(Path::new("/a"), OpenMode::ReadWrite).unwrap();
        let mut bytes = [0; 4 * SECTOR_BYTES];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), SECTOR_BYTES, "what is before it");
        assert!(file.read_at(&mut bytes, 1000).is_err());
        assert!(file.read_at(&mut bytes, 1024).is_ok());
        write_all_at(file.as_ref(), &[2; 10], 600).unwrap();
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    }
}

#[test]
fn only_files_opened_for_writing_can_be_changed() {
    let disk = MemDisk::new();
    let path = Path::new("/a");
    write_all_at(disk.open(path, OpenMode::CreateNew).unwrap().as_ref(), b"windrow", 0).unwrap();
    for mode in [OpenMode::Read, OpenMode::ReadOnce] {
        let file = disk.open(path, mode).unwrap();
        assert_eq!(file.write_at(b"W", 0).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{mode:?}");
        assert_eq!(file.set_len(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{mode:?}");
    }
    disk.open(path, OpenMode::ReadWrite).unwrap().write_at(b"W", 0).unwrap();
    assert_eq!(bytes_of(&disk, "/a"), b"Windrow");
}
