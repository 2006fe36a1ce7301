//! Power losses at every call to the disk while images are written and published: what stands afterwards is the old set of images or
//! the new one, and every image of it is whole.

use std::path::Path;

use super::*;
use crate::disk::{Call, Fault, FaultyDisk, MemDisk, OpenMode};
use crate::image::{ChunkBuffer, GRANULE_BYTES, ImageHeader, ImageWriter, TableEntry};
use crate::manifest::{Manifest, ManifestState};
use crate::{Recovery, SplitMix64, StorageOptions};

const DIR: &str = "/data";
const SHARDS: u16 = 2;
/// Power losses made of each state of the disk.
const LOSSES: u64 = 4;

fn start(disk: Arc<dyn Disk>) -> Result<DataDir, StorageError> {
    let options = StorageOptions { segment_bytes: 8192, first_segment_bytes: 8192, ..StorageOptions::new(1) };
    let recovery = Recovery::open(disk, Path::new(DIR), options, 1)?;
    Ok(recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {})?.start(SHARDS, 0)?.directory)
}

fn words_of(image: u64, shard: u16) -> Vec<u64> {
    let mut random = SplitMix64::salted(image, u64::from(shard));
    (0..8 * (1 + image % 3)).map(|_| random.next_word()).collect()
}

/// Writes the files of an image and publishes it. Its contents follow from its number.
fn publish(directory: &mut DataDir, image: u64) -> Result<Published, StorageError> {
    let (disk, dir) = directory.images();
    let (epoch, created_ms) = (directory.manifest().epoch, image as i64);
    let (mut bytes, mut records) = (0, 0);
    for shard in 0..SHARDS {
        let header = ImageHeader { image, epoch, shard, shards: SHARDS, key_check: 9, created_ms };
        let mut writer = ImageWriter::create(&disk, &dir, header)?;
        let words = words_of(image, shard);
        let slots = words.len() as u32 / 8;
        let chunk: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(chunk.len(), slots as usize * 4 * GRANULE_BYTES);
        writer.chunk(4, slots, &chunk)?;
        let entries: Vec<TableEntry> = (0..slots)
            .map(|slot| TableEntry { hash: u64::from(slot) << 60, place: TableEntry::place_of(0, 4 * slot) })
            .collect();
        writer.table(&entries)?;
        writer.state(&image.to_le_bytes())?;
        let summary = writer.finish()?;
        bytes += summary.bytes;
        records += summary.records;
    }
    let numbers = vec![0; usize::from(SHARDS)];
    let entry = ImageEntry {
        image,
        epoch,
        shards: SHARDS,
        created_ms,
        ended_ms: None,
        starts: numbers.clone(),
        ends: numbers,
        bytes,
        records,
    };
    directory.publish_image(entry, IMAGES_KEPT_MIN)
}

fn named(manifest: &Manifest) -> Vec<u64> {
    manifest.images.iter().map(|entry| entry.image).collect()
}

fn manifest_of(disk: &dyn Disk) -> Option<Manifest> {
    match ManifestState::read(disk, Path::new(DIR)) {
        ManifestState::Present(manifest) => Some(manifest),
        ManifestState::Empty => None,
        ManifestState::Unreadable(reason) => panic!("the manifest is unreadable: {reason}"),
    }
}

/// Every image that the manifest names is there, as it was written.
fn check_whole(disk: &Arc<dyn Disk>, manifest: &Manifest) -> Result<(), String> {
    let dir = Path::new(DIR).join("images");
    for entry in &manifest.images {
        for shard in 0..SHARDS {
            let read = || -> Result<bool, ImageError> {
                let reader = ImageReader::open(disk, &dir, entry.image, shard)?;
                let (mut state, mut entries) = (Vec::new(), 0);
                let mut buffer = ChunkBuffer::default();
                let words = reader.chunk_words(0, &mut buffer)?;
                reader.table(&mut |table| entries += table.len())?;
                reader.state(&mut |piece| state.extend_from_slice(piece))?;
                let expected = words_of(entry.image, shard);
                Ok(entries * 8 == expected.len() && words == expected && state == entry.image.to_le_bytes())
            };
            match read() {
                Ok(true) => {}
                Ok(false) => return Err(format!("image {} of shard {shard} is not itself", entry.image)),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    Ok(())
}

/// Publishes images 1 to 4, and the power goes at the `halt`-th change of the disk. Gives the disk, which sets of images may stand
/// then, and whether it got that far.
fn publish_until(halt: u64) -> (MemDisk, Vec<Vec<u64>>, bool) {
    let mem = MemDisk::new();
    let faulty = FaultyDisk::new(Arc::new(mem.clone()));
    faulty.halt_at(halt);
    let mut may_stand = vec![vec![]];
    if let Ok(mut directory) = start(Arc::new(faulty.clone())) {
        for image in 1..=4 {
            let before = may_stand.pop().expect("one set stands");
            let mut after = before.clone();
            after.push(image);
            after.drain(..after.len().saturating_sub(IMAGES_KEPT_MIN));
            let published = publish(&mut directory, image);
            may_stand = if published.is_ok() { vec![after] } else { vec![before, after] };
            if published.is_err() {
                break;
            }
        }
    }
    let is_halted = faulty.calls(Call::Any) > halt;
    (mem, may_stand, is_halted)
}

/// After a power loss, and after a start from what is left.
fn verify(disk: MemDisk, may_stand: &[Vec<u64>]) -> Result<(), String> {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    if let Some(manifest) = manifest_of(disk.as_ref()) {
        if !may_stand.contains(&named(&manifest)) {
            return Err(format!("images {:?} stand, expected one of {may_stand:?}", named(&manifest)));
        }
        check_whole(&disk, &manifest)?;
    }
    let directory = start(Arc::clone(&disk)).map_err(|error| error.to_string())?;
    check_whole(&disk, directory.manifest())?;
    let files = disk.list(&directory.images_dir()).map_err(|error| error.to_string())?;
    let expected: Vec<String> =
        directory.manifest().images.iter().flat_map(names_of).map(|name| name.to_string()).collect();
    if files != expected { Err(format!("{files:?} are left after a start")) } else { Ok(()) }
}

fn crash_everywhere() -> Result<u64, String> {
    for halt in 0.. {
        let (disk, may_stand, is_halted) = publish_until(halt);
        for loss in 0..LOSSES {
            verify(disk.crash(halt ^ loss << 32), &may_stand)
                .map_err(|broken| format!("call {halt}, loss {loss}: {broken}"))?;
        }
        // The process alone died: the page cache is still there.
        verify(disk, &may_stand).map_err(|broken| format!("call {halt}, same disk: {broken}"))?;
        if !is_halted {
            return Ok(halt);
        }
    }
    unreachable!("every history ends")
}

#[test]
fn a_power_loss_at_any_call_leaves_the_old_or_the_new_images_whole() {
    let calls = crash_everywhere().unwrap();
    assert!(calls > 100, "four images take more than {calls} calls");
}

#[test]
fn the_crash_test_finds_names_that_were_not_synced() {
    planted::DIRECTORY_IS_LEFT_UNSYNCED.set(true);
    let found = crash_everywhere();
    planted::DIRECTORY_IS_LEFT_UNSYNCED.set(false);
    assert!(found.is_err(), "no power loss took a name");
}

#[test]
fn a_call_that_fails_leaves_the_images_as_they_were_and_the_next_attempt_succeeds() {
    for fault in [Fault::Io, Fault::NoSpace] {
        for call in 0.. {
            let mem = MemDisk::new();
            let faulty = FaultyDisk::new(Arc::new(mem.clone()));
            let mut directory = start(Arc::new(faulty.clone())).unwrap();
            publish(&mut directory, 1).unwrap();
            faulty.inject(Call::Any, faulty.calls(Call::Any) + call, 1, fault);
            let outcome = publish(&mut directory, 2);
            let disk: Arc<dyn Disk> = Arc::new(mem.clone());
            let manifest = manifest_of(disk.as_ref()).expect("it was there");
            check_whole(&disk, &manifest).unwrap();
            match outcome {
                Ok(published) if published.warning.is_none() => break,
                Ok(published) => panic!("nothing was given up: {published:?}"),
                Err(error) if error.is_poisoned() => {
                    let refused = publish(&mut directory, 3).unwrap_err();
                    assert!(refused.is_poisoned(), "nothing is published after poison: {refused}");
                    let after = manifest_of(disk.as_ref()).expect("it was there");
                    assert_eq!(named(&after), named(&manifest));
                }
                Err(_) => {
                    assert_eq!(named(&manifest), [1], "call {call}");
                    publish(&mut directory, 2).unwrap();
                    assert_eq!(named(directory.manifest()), [1, 2]);
                    check_whole(&disk, directory.manifest()).unwrap();
                }
            }
        }
    }
}

#[test]
fn no_image_is_published_after_poison_and_its_files_are_left_to_the_next_start() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let mut directory = start(Arc::clone(&disk)).unwrap();
    publish(&mut directory, 1).unwrap();
    let _ = directory.poison().poison("a sync of the log failed");
    let error = publish(&mut directory, 2).unwrap_err();
    assert!(error.to_string().contains("a sync of the log failed"), "{error}");
    assert_eq!(named(&manifest_of(disk.as_ref()).unwrap()), [1]);
    drop(directory);
    let directory = start(Arc::clone(&disk)).unwrap();
    assert_eq!(disk.list(&directory.images_dir()).unwrap(), ["00000001-0000.img", "00000001-0001.img"]);
}

#[test]
fn an_image_that_was_put_aside_does_not_count_as_one_that_is_kept() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let mut directory = start(Arc::clone(&disk)).unwrap();
    publish(&mut directory, 1).unwrap();
    publish(&mut directory, 2).unwrap();
    let dir = directory.images_dir();
    super::super::quarantine(disk.as_ref(), &dir, ImageName { image: 2, shard: 1 }).unwrap();
    assert_eq!(directory.next_image().unwrap(), 3);
    assert_eq!(publish(&mut directory, 3).unwrap().given_up, [2]);
    assert_eq!(named(directory.manifest()), [1, 3]);
    check_whole(&disk, directory.manifest()).unwrap();
    let of_2 = disk.list(&dir).unwrap().into_iter().filter(|file| file.starts_with("00000002")).count();
    assert_eq!(of_2, 0, "its files are given up with it");
    assert_eq!(directory.forget_image(3).unwrap().given_up, [3]);
    assert_eq!(named(directory.manifest()), [1]);
    assert_eq!(directory.forget_image(3).unwrap().given_up, Vec::<u64>::new());
}

#[test]
fn an_image_that_the_start_could_not_use_does_not_count_as_one_that_is_kept_whatever_files_it_has() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let mut directory = start(Arc::clone(&disk)).unwrap();
    publish(&mut directory, 1).unwrap();
    publish(&mut directory, 2).unwrap();
    directory.note_unusable(2);
    assert_eq!(publish(&mut directory, 3).unwrap().given_up, [2]);
    assert_eq!(named(directory.manifest()), [1, 3]);
    check_whole(&disk, directory.manifest()).unwrap();
    assert_eq!(publish(&mut directory, 4).unwrap().given_up, [1]);
    assert_eq!(named(directory.manifest()), [3, 4]);
}

#[test]
fn a_full_disk_that_refuses_to_replace_the_manifest_does_no_harm() {
    // Removing the file that may be left of an attempt before, and the rename.
    for change in 0..2 {
        let mem = MemDisk::new();
        let faulty = FaultyDisk::new(Arc::new(mem.clone()));
        let mut directory = start(Arc::new(faulty.clone())).unwrap();
        faulty.inject(Call::Change, faulty.calls(Call::Change) + change, 1, Fault::NoSpace);
        let error = directory.update_catalogue(|_| ()).unwrap_err();
        assert!(error.is_disk_full() && !error.is_poisoned(), "{error}");
        assert!(mem.list(Path::new(DIR)).unwrap().iter().all(|file| !file.ends_with(".tmp")));
        let version = directory.update_catalogue(|_| ()).unwrap();
        assert_eq!(manifest_of(&mem).unwrap().catalogue.version, version);
        faulty.inject(Call::Change, faulty.calls(Call::Change) + 1, 1, Fault::Io);
        assert!(directory.update_catalogue(|_| ()).unwrap_err().is_poisoned());
    }
}

#[test]
fn numbers_of_images_are_never_used_again() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let mut directory = start(Arc::clone(&disk)).unwrap();
    assert_eq!(directory.next_image().unwrap(), 1);
    publish(&mut directory, 4).unwrap();
    assert_eq!(directory.next_image().unwrap(), 5);
    let left = ImageName { image: 9, shard: 0 }.damaged_path(&directory.images_dir());
    disk.open(&left, OpenMode::CreateNew).unwrap();
    assert_eq!(directory.next_image().unwrap(), 10);
}
