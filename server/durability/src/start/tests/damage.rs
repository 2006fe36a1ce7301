//! Damaged and missing images.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use windrow_engine::Outcome;
use windrow_memory::MemoryError;
use windrow_storage::Disk;
use windrow_storage::disk::{Call, Fault, FaultyDisk, MemDisk};
use windrow_storage::image::{ChunkBuffer, ImageName, ImageReader, ImageWriter};

use super::server::{DIR, Model, Running, STREAMS, new_disk, restart};
use crate::start::StartError;
use crate::start::image::Unusable;

fn file(image: u64, shard: u16) -> PathBuf {
    Path::new(DIR).join("images").join(ImageName { image, shard }.to_string())
}

fn length(disk: &MemDisk, path: &Path) -> u64 {
    disk.open(path, windrow_storage::disk::OpenMode::Read).unwrap().len().unwrap()
}

/// Two images with events behind each, stopped.
fn stopped() -> (MemDisk, Model, [u64; 2]) {
    let mut server = Running::create(&new_disk(), 2, &STREAMS);
    server.events(0..300);
    let older = server.take_image_while(|_| {});
    server.events(100..350);
    let newer = server.take_image_while(|server| server.events(5..7));
    server.events(20..30);
    let (disk, model) = server.stop();
    (disk, model, [older, newer])
}

#[test]
fn the_newest_image_is_used() {
    let (disk, model, [_, newer]) = stopped();
    let server = Running::try_start(&disk, 2, model, false).unwrap();
    assert_eq!(server.image, Some(newer));
    server.check();
}

#[test]
fn a_damaged_or_missing_file_is_said_and_put_aside_and_the_image_before_serves() {
    for (shard, shards) in [(0, 2), (1, 2), (0, 3), (1, 1)] {
        let (disk, model, [older, newer]) = stopped();
        let path = file(newer, shard);
        let end = length(&disk, &path);
        disk.corrupt(&path, end - 9, |byte| *byte ^= 4).unwrap();
        let server = Running::try_start(&disk, shards, model.clone(), false).unwrap();
        assert_eq!(server.image, Some(older));
        assert_eq!(server.unusable.len(), 1);
        assert_eq!(server.unusable[0].image, newer);
        let aside = server.unusable[0].put_aside.clone().unwrap();
        assert!(aside.to_string_lossy().ends_with(".damaged"), "{aside:?}");
        server.check();
        // The next start does not look at it again, and says that it is not there.
        let (disk, model) = server.stop();
        let server = Running::try_start(&disk, 2, model, false).unwrap();
        assert_eq!(server.image, Some(older));
        assert!(server.unusable[0].put_aside.is_none());
        server.check();
    }
}

#[test]
fn whatever_byte_of_an_image_is_damaged_everything_comes_back() {
    let (disk, model, [older, newer]) = stopped();
    let mut fell_back = [0; 2];
    for shard in [0, 1] {
        let path = file(newer, shard);
        // Odd steps: every kind of block is hit.
        for offset in (0..length(&disk, &path)).step_by(1_777) {
            let disk = disk.fork();
            disk.corrupt(&path, offset, |byte| *byte ^= 1 << (offset % 8)).unwrap();
            let started = |disk: &MemDisk| {
                catch_unwind(AssertUnwindSafe(|| {
                    let server = Running::try_start(disk, 2, model.clone(), false).unwrap();
                    server.check();
                    server.image.unwrap()
                }))
            };
            // A chunk may be found damaged only when it is met: then the next start takes the image before.
            let image = started(&disk).or_else(|_lost| started(&disk.fork())).unwrap();
            assert!([older, newer].contains(&image), "byte {offset} of {shard}");
            fell_back[usize::from(image == newer)] += 1;
        }
    }
    assert!(fell_back[0] > 0, "{fell_back:?}");
}

#[test]
fn without_any_good_image_the_whole_log_serves_if_it_is_kept() {
    let (disk, model, images) = stopped();
    for image in images {
        disk.corrupt(&file(image, 0), 5, |byte| *byte ^= 1).unwrap();
    }
    let server = Running::try_start(&disk, 2, model, false).unwrap();
    assert_eq!((server.image, server.unusable.len()), (None, 2));
    server.check();
}

#[test]
fn ids_are_remembered_and_clocks_kept_through_an_image() {
    let (disk, model, _) = stopped();
    for shards in [2, 3] {
        let mut server = Running::try_start(&disk.fork(), shards, model.clone(), false).unwrap();
        let first_id = 1_700_000_000_123 + 1;
        assert_eq!(server.count_again("entity:0", first_id), Outcome::Duplicate);
        assert_eq!(server.count_again("entity:299", first_id + 299), Outcome::Duplicate);
        assert_eq!(server.count_again("entity:299", first_id), Outcome::Ok);
    }
}

#[test]
fn without_a_good_image_and_the_log_before_it_the_start_is_refused_and_says_what_to_do() {
    for epochs in [1, 2] {
        let mut server = Running::create(&new_disk(), 2, &STREAMS);
        server.events(0..400);
        if epochs == 2 {
            server = restart(server, 2);
        }
        let images = [(); 2].map(|()| {
            server.events(0..400);
            server.take_image_while(|_| {})
        });
        server.retain();
        let (disk, model) = server.stop();
        for image in images {
            disk.corrupt(&file(image, 1), 5, |byte| *byte ^= 1).unwrap();
        }
        let refused = Running::try_start(&disk.fork(), 2, model.clone(), false).err().unwrap();
        assert!(matches!(refused, StartError::NothingToStartFrom { .. }), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("copy of this directory") && text.contains(".damaged"), "{text}");
        assert!(!text.contains("repair"), "that would give up everything: {text}");
        // With the files as they were, it goes on.
        for image in images {
            disk.corrupt(&file(image, 1), 5, |byte| *byte ^= 1).unwrap();
        }
        Running::try_start(&disk, 2, model, false).unwrap().check();
    }
}

#[test]
fn a_whole_file_of_another_image_is_not_taken_for_this_one() {
    let (disk, model, [older, newer]) = stopped();
    disk.rename(&file(older, 1), &file(newer, 1)).unwrap();
    let server = Running::try_start(&disk, 2, model, false).unwrap();
    assert_eq!((server.image, server.unusable.len()), (None, 2));
    assert!(server.unusable[0].put_aside.is_some() && server.unusable[1].put_aside.is_none());
    server.check();
}

fn image_files(disk: &MemDisk) -> Vec<String> {
    disk.list(&Path::new(DIR).join("images")).unwrap()
}

#[test]
fn an_image_that_the_disk_did_not_read_at_the_start_is_not_one_that_is_kept() {
    let (disk, model, [older, newer]) = stopped();
    let mut struck = 0;
    for call in 0..40 {
        let disk = disk.fork();
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        faulty.inject(Call::Read, call, 2, Fault::Io);
        let started = catch_unwind(AssertUnwindSafe(|| {
            Running::try_start_on(Arc::new(faulty.clone()), &disk, 2, model.clone(), false)
        }));
        let Ok(Ok(mut server)) = started else { continue };
        if server.image != Some(older) {
            continue;
        }
        struck += 1;
        assert!(server.unusable[0].image == newer && server.unusable[0].put_aside.is_none());
        assert_eq!(server.images(), [older, newer]);
        let third = server.take_image_while(|_| {});
        assert_eq!(server.images(), [older, third], "the disk did not read {newer}");
        // So much log is there that the newest may be lost.
        let (disk, model) = server.stop();
        disk.corrupt(&file(third, 0), 5, |byte| *byte ^= 1).unwrap();
        let server = Running::try_start(&disk, 2, model, false).unwrap();
        assert_eq!(server.image, Some(older));
        server.check();
    }
    assert!(struck > 2, "{struck} reads of the image failed");
}

#[test]
fn a_chunk_that_the_disk_does_not_read_is_tried_again_and_no_damage() {
    // Without log behind it, no chunk is needed at the start.
    let mut server = Running::create(&new_disk(), 2, &STREAMS);
    server.events(0..300);
    let newer = server.take_image_while(|_| {});
    let (disk, model) = server.stop();
    let files = image_files(&disk);
    for (faults, is_served) in [(1, true), (3, true), (u64::MAX >> 1, false)] {
        let disk = disk.fork();
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        let used = Arc::new(faulty.clone());
        let server = Running::try_start_on(used, &disk, 2, model.clone(), false).unwrap();
        assert_eq!(server.image, Some(newer));
        let from = faulty.calls(Call::Read);
        faulty.inject(Call::Read, from, faults, Fault::Io);
        let checked = catch_unwind(AssertUnwindSafe(|| server.check()));
        assert!(faulty.calls(Call::Read) > from, "no chunk was left to read");
        assert_eq!(checked.is_ok(), is_served, "{faults} reads that failed");
        assert_eq!(image_files(&disk), files, "nothing is put aside");
    }
}

/// Writes a file of an image anew, with another version of its state.
fn rewrite(disk: &MemDisk, image: u64, shard: u16, version: u8) {
    let dir = Path::new(DIR).join("images");
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let reader = ImageReader::open(&disk, &dir, image, shard).unwrap();
    let mut writer = ImageWriter::create(&disk, &dir, *reader.header()).unwrap();
    let mut buffer = ChunkBuffer::default();
    for (chunk, number) in reader.chunks().iter().zip(0..) {
        let words = reader.chunk_words(number, &mut buffer).unwrap();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        writer.chunk(chunk.slot_granules, chunk.slots_used, &bytes).unwrap();
    }
    reader.table(&mut |entries| writer.table(entries).unwrap()).unwrap();
    let mut is_first = true;
    reader
        .state(&mut |piece| {
            let mut piece = piece.to_vec();
            if std::mem::take(&mut is_first) {
                // Behind kind and length of the first section.
                piece[8] = version;
            }
            writer.state(&piece).unwrap();
        })
        .unwrap();
    writer.finish().unwrap();
    let path = file(image, shard);
    disk.rename(&path.with_extension("img.tmp"), &path).unwrap();
}

#[test]
fn an_image_of_a_later_version_is_refused_and_stays_where_it_is() {
    let (disk, model, [_, newer]) = stopped();
    let files = image_files(&disk);
    for shards in [2, 3] {
        rewrite(&disk, newer, 1, 7);
        let refused = Running::try_start(&disk, shards, model.clone(), false).err().unwrap();
        assert!(matches!(refused, StartError::FormatOfState { .. }), "{refused}");
        assert!(refused.to_string().contains("version 7"), "{refused}");
        assert_eq!(image_files(&disk), files);
        rewrite(&disk, newer, 1, 1);
    }
    let server = Running::try_start(&disk, 2, model, false).unwrap();
    assert_eq!(server.image, Some(newer));
    server.check();
    let unknown_slots = MemoryError::PlannedChunk { number: 0, slot_granules: 5, slots_used: 1 };
    let unusable = Unusable::memory(newer, 0, unknown_slots);
    assert!(matches!(unusable, Unusable::Fatal(StartError::FormatOfState { .. })), "{unusable:?}");
}
