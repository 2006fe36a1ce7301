//! What is written reads back, and what is not as it was written is noticed.

mod fixture;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::format::u64_at;
use super::*;
use crate::disk::{
    Call, DIRECT_ALIGN, Fault, FaultyDisk, MemDisk, OpenMode, RealDisk, read_full_at, write_all_at,
};
use crate::{Disk, SplitMix64};

const DIR: &str = "/images";
const HEADER: ImageHeader =
    ImageHeader { image: 0x1A, epoch: 3, shard: 2, shards: 4, key_check: 0xFEED_F00D, created_ms: -5 };
const NAME: ImageName = ImageName { image: 0x1A, shard: 2 };

/// What an image file holds, as its reader hands it out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Contents {
    /// Slot granules and words of each chunk.
    chunks: Vec<(u32, Vec<u64>)>,
    table: Vec<TableEntry>,
    state: Vec<Vec<u8>>,
}

impl Contents {
    /// Chunks of the given (slot granules, slots), every slot in the table.
    fn random(chunks: &[(u32, u32)], state: &[usize], seed: u64) -> Contents {
        let mut random = SplitMix64::new(seed);
        let mut contents = Contents::default();
        for (&(granules, slots), number) in chunks.iter().zip(0..) {
            let words = (0..granules * slots * 2).map(|_| random.next_word()).collect();
            contents.chunks.push((granules, words));
            contents.table.extend((0..slots).map(|slot| TableEntry {
                hash: random.next_word(),
                place: TableEntry::place_of(number, slot * granules),
            }));
        }
        contents.table.sort_unstable();
        contents.state =
            state.iter().map(|&len| (0..len).map(|_| random.next_word() as u8).collect()).collect();
        contents
    }

    fn write(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        header: ImageHeader,
    ) -> Result<ImageSummary, ImageError> {
        let mut writer = ImageWriter::create(disk, dir, header)?;
        let mut write = || -> Result<(), ImageError> {
            // Interleaved, as a snapshot does it.
            let mut table = self.table.chunks(3);
            for ((granules, words), number) in self.chunks.iter().zip(0..) {
                table.next().map_or(Ok(()), |entries| writer.table(entries))?;
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                let slots = words.len() as u32 / 2 / granules;
                assert_eq!(writer.chunk(*granules, slots, &bytes)?, number);
            }
            table.try_for_each(|entries| writer.table(entries))?;
            self.state.iter().try_for_each(|piece| writer.state(piece))
        };
        match write() {
            Ok(()) => writer.finish(),
            Err(error) => {
                writer.discard();
                Err(error)
            }
        }
    }

    fn publish(&self, disk: &Arc<dyn Disk>, dir: &Path) -> ImageSummary {
        let summary = self.write(disk, dir, HEADER).unwrap();
        disk.rename(&NAME.temporary_path(dir), &NAME.path(dir)).unwrap();
        summary
    }

    /// Everything of a file, every checksum looked at.
    fn read(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Contents, ImageError> {
        let reader = ImageReader::open(disk, dir, HEADER.image, HEADER.shard)?;
        let mut contents = Contents::default();
        let mut buffer = ChunkBuffer::default();
        for (chunk, number) in reader.chunks().iter().zip(0..) {
            let words = reader.chunk_words(number, &mut buffer)?.to_vec();
            assert_eq!(words.len() * 8, chunk.bytes());
            assert_eq!(filled(&reader, number)?, words);
            assert_eq!(words.len() as u32, chunk.slot_granules * chunk.slots_used * 2);
            contents.chunks.push((chunk.slot_granules, words));
        }
        reader.table(&mut |entries| contents.table.extend_from_slice(entries))?;
        reader.state(&mut |piece| contents.state.push(piece.to_vec()))?;
        assert_eq!(contents.table.len() as u64, reader.records());
        Ok(contents)
    }
}

/// The words of a chunk as they come to memory that is aligned to the disk's blocks, and to memory that is not.
fn filled(reader: &ImageReader, number: u32) -> Result<Vec<u64>, ImageError> {
    const CHUNK_BYTES: usize = CHUNK_GRANULES as usize * GRANULE_BYTES;
    let mut memory = vec![0xff; CHUNK_BYTES + 2 * DIRECT_ALIGN];
    let aligned = memory.as_ptr().align_offset(DIRECT_ALIGN);
    let used_bytes = reader.chunks()[number as usize].bytes();
    let mut fill = |skip: usize| -> Result<Vec<u64>, ImageError> {
        let chunk = &mut memory[skip..skip + CHUNK_BYTES];
        reader.fill_chunk(number, chunk)?;
        Ok(chunk[..used_bytes].chunks_exact(8).map(|word| u64_at(word, 0)).collect())
    };
    let words = fill(aligned)?;
    assert_eq!(fill(aligned + 8)?, words);
    Ok(words)
}

fn mem_disk() -> (MemDisk, Arc<dyn Disk>) {
    let mem = MemDisk::new();
    mem.create_dir(Path::new(DIR)).unwrap();
    mem.sync_dir(Path::new("/")).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    (mem, disk)
}

fn bytes_of(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_full_at(file.as_ref(), &mut bytes, 0).unwrap();
    bytes
}

fn replace(disk: &dyn Disk, bytes: &[u8]) {
    let path = NAME.path(Path::new(DIR));
    disk.remove(&path).ok();
    write_all_at(disk.open(&path, OpenMode::CreateNew).unwrap().as_ref(), bytes, 0).unwrap();
}

fn small() -> Contents {
    Contents::random(&[(4, 3), (12, 1)], &[5], 1)
}

#[test]
fn an_image_reads_back_as_it_was_written_from_every_disk() {
    let large =
        Contents::random(&[(CHUNK_GRANULES, 1), (4, 32_768), (5, 26_214), (7, 9)], &[1, 4096, 300_000], 7);
    for contents in [Contents::default(), small(), large] {
        let (_, disk) = mem_disk();
        let summary = contents.publish(&disk, Path::new(DIR));
        assert_eq!(Contents::read(&disk, Path::new(DIR)).unwrap(), contents);
        assert_eq!(
            (summary.records, summary.chunks),
            (contents.table.len() as u64, contents.chunks.len() as u32)
        );
        assert_eq!(summary.bytes, bytes_of(disk.as_ref(), &NAME.path(Path::new(DIR))).len() as u64);

        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        contents.publish(&disk, dir.path());
        assert_eq!(Contents::read(&disk, dir.path()).unwrap(), contents);
        let faulty = FaultyDisk::new(disk);
        faulty.inject(Call::Read, 0, 2, Fault::Short);
        faulty.inject(Call::Read, 3, 1, Fault::Interrupted);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        assert_eq!(Contents::read(&disk, dir.path()).unwrap(), contents, "read in pieces");
        assert!(faulty.calls(Call::Read) > 4, "all planned faults struck");
    }
}

#[test]
fn chunks_have_the_numbers_that_were_reserved_whatever_their_order_in_the_file() {
    let (_, disk) = mem_disk();
    let dir = Path::new(DIR);
    let mut writer = ImageWriter::create(&disk, dir, HEADER).unwrap();
    let (first, second) = (writer.reserve_chunk(), writer.reserve_chunk());
    let place = |chunk| TableEntry { hash: 5, place: TableEntry::place_of(chunk, 0) };
    writer.table(&[place(first), place(second)]).unwrap();
    writer.reserved_chunk(second, 4, 1, &[2; 64]).unwrap();
    writer.reserved_chunk(first, 5, 1, &[1; 80]).unwrap();
    writer.finish().unwrap();
    disk.rename(&NAME.temporary_path(dir), &NAME.path(dir)).unwrap();
    let contents = Contents::read(&disk, dir).unwrap();
    assert_eq!(contents.chunks, [(5, vec![0x0101_0101_0101_0101; 10]), (4, vec![0x0202_0202_0202_0202; 8])]);
}

#[test]
fn words_of_one_chunk_after_the_other_come_by_way_of_the_same_aligned_memory() {
    let contents = Contents::random(&[(4, 32_768), (4, 3), (CHUNK_GRANULES, 1)], &[], 5);
    let (_, disk) = mem_disk();
    contents.publish(&disk, Path::new(DIR));
    let reader = ImageReader::open(&disk, Path::new(DIR), HEADER.image, HEADER.shard).unwrap();
    let mut buffer = ChunkBuffer::default();
    let mut places = BTreeSet::new();
    for (number, (_, words)) in (0..).zip(&contents.chunks) {
        let found = reader.chunk_words(number, &mut buffer).unwrap();
        assert_eq!(found, words, "nothing is left of a longer chunk before");
        places.insert(found.as_ptr());
    }
    assert_eq!(places.len(), 1, "memory is made once");
}

#[test]
fn a_table_of_many_blocks_reads_back() {
    let contents = Contents::random(&[(4, 32_768), (4, 32_768), (4, 32_768)], &[], 3);
    assert!(contents.table.len() * 16 > TABLE_BYTES_MAX);
    let (_, disk) = mem_disk();
    contents.publish(&disk, Path::new(DIR));
    assert_eq!(Contents::read(&disk, Path::new(DIR)).unwrap().table, contents.table);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let contents = small();
    let (mem, disk) = mem_disk();
    contents.publish(&disk, Path::new(DIR));
    let path = NAME.path(Path::new(DIR));
    let bytes = bytes_of(disk.as_ref(), &path);
    assert_eq!(
        bytes.len(),
        7 * 4096,
        "header, two chunks, a piece of state, a table, directory, footer: each of one block"
    );
    for at in 0..bytes.len() {
        // All bits where there is something, one of each byte of the zeros that fill a block.
        let bits = if at % 4096 < 256 { 0..8 } else { at as u32 % 8..at as u32 % 8 + 1 };
        for bit in bits {
            mem.corrupt(&path, at as u64, |byte| *byte ^= 1 << bit).unwrap();
            let error = Contents::read(&disk, Path::new(DIR)).expect_err("a flipped bit");
            assert!(error.is_damage(), "byte {at}, bit {bit}: {error}");
            mem.corrupt(&path, at as u64, |byte| *byte ^= 1 << bit).unwrap();
        }
    }
    assert_eq!(Contents::read(&disk, Path::new(DIR)).unwrap(), contents);
}

#[test]
fn every_truncation_and_every_file_that_goes_on_is_noticed() {
    let (_, disk) = mem_disk();
    small().publish(&disk, Path::new(DIR));
    let bytes = bytes_of(disk.as_ref(), &NAME.path(Path::new(DIR)));
    for len in (0..bytes.len()).filter(|len| len % 512 < 2) {
        replace(disk.as_ref(), &bytes[..len]);
        assert!(Contents::read(&disk, Path::new(DIR)).unwrap_err().is_damage(), "{len} bytes");
    }
    for more in [1, 4096, 8192] {
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + more, 0);
        replace(disk.as_ref(), &longer);
        assert!(Contents::read(&disk, Path::new(DIR)).unwrap_err().is_damage(), "{more} bytes more");
    }
    // Two whole files, one after the other: the footer is that of the second.
    replace(disk.as_ref(), &[&bytes[..], &bytes[..]].concat());
    assert!(Contents::read(&disk, Path::new(DIR)).unwrap_err().is_damage());
}

#[test]
fn wild_numbers_under_good_checksums_are_noticed_and_take_no_memory() {
    let (_, disk) = mem_disk();
    small().publish(&disk, Path::new(DIR));
    let bytes = bytes_of(disk.as_ref(), &NAME.path(Path::new(DIR)));
    let (directory_at, footer_at) = (bytes.len() - 8192, bytes.len() - 4096);
    let wild = |place: usize, width: usize, number: u64| {
        let mut bytes = bytes.clone();
        bytes[place..place + width].copy_from_slice(&number.to_le_bytes()[..width]);
        fixture::seal(&mut bytes);
        replace(disk.as_ref(), &bytes);
        // A length that is believed would abort this process, or fail for want of bytes only after it was allocated.
        let Err(error) = Contents::read(&disk, Path::new(DIR)) else {
            panic!("{number:x} at {place} was believed");
        };
        assert!(error.is_damage(), "{number:x} at {place}: {error}");
    };
    for number in [1, 4096, 1 << 31, u64::MAX / 2, u64::MAX - 4095, u64::MAX] {
        // Directory offset and length, chunks and records in the footer.
        for (at, width) in [(16, 8), (24, 8), (36, 4), (40, 8)] {
            wild(footer_at + at, width, number);
        }
        // Each number of the lines of the chunks and the table.
        for line in [0, 1, 3] {
            for (at, width) in [(0, 4), (8, 8), (16, 4), (20, 4), (24, 4), (28, 4)] {
                let place = directory_at + line * 32 + at;
                let is_as_it_was = bytes[place..place + width] == number.to_le_bytes()[..width];
                if !is_as_it_was {
                    wild(place, width, number);
                }
            }
        }
        // The places of the table: of no chunk, beside a slot, behind the last.
        wild(4 * 4096 + 8, 8, number);
    }
}

#[test]
fn numbers_by_chance_under_good_checksums_are_read_or_noticed_and_never_a_panic() {
    let (_, disk) = mem_disk();
    small().publish(&disk, Path::new(DIR));
    let bytes = bytes_of(disk.as_ref(), &NAME.path(Path::new(DIR)));
    let (mut random, mut noticed) = (SplitMix64::new(5), 0);
    for _ in 0..1_000 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random.below(3) {
            // In the table, the directory or the footer: the header is read alike, and chunks and state are opaque.
            let block = bytes.len() - (1 + random.below(3) as usize) * 4096;
            let at = block + random.below(160) as usize;
            bytes[at] = random.next_word() as u8;
        }
        fixture::seal(&mut bytes);
        replace(disk.as_ref(), &bytes);
        noticed += usize::from(Contents::read(&disk, Path::new(DIR)).is_err());
    }
    assert!(noticed > 300, "{noticed} of 1000 were noticed");
}

#[test]
fn a_file_of_a_later_format_is_refused_by_its_number_and_not_called_damaged() {
    let (_, disk) = mem_disk();
    small().publish(&disk, Path::new(DIR));
    let mut bytes = bytes_of(disk.as_ref(), &NAME.path(Path::new(DIR)));
    bytes[8] = 2;
    fixture::seal(&mut bytes);
    replace(disk.as_ref(), &bytes);
    let error = Contents::read(&disk, Path::new(DIR)).unwrap_err();
    assert!(!error.is_damage() && error.to_string().contains("has format 2"), "{error}");
}

#[test]
fn a_file_under_the_name_of_another_is_noticed() {
    let (_, disk) = mem_disk();
    let dir = Path::new(DIR);
    small().publish(&disk, dir);
    for (image, shard) in [(0x1A, 3), (0x1B, 2)] {
        let name = ImageName { image, shard };
        write_all_at(
            disk.open(&name.path(dir), OpenMode::CreateNew).unwrap().as_ref(),
            &bytes_of(disk.as_ref(), &NAME.path(dir)),
            0,
        )
        .unwrap();
        assert!(ImageReader::open(&disk, dir, image, shard).unwrap_err().is_damage());
    }
    assert!(ImageReader::open(&disk, dir, 7, 0).unwrap_err().is_missing());
}

#[test]
fn a_disk_that_fails_leaves_no_file_and_says_so() {
    let contents = Contents::random(&[(4, 3), (CHUNK_GRANULES, 1), (12, 1)], &[5], 2);
    for fault in [Fault::Io, Fault::NoSpace] {
        for call in 0.. {
            let (mem, disk) = mem_disk();
            let faulty = FaultyDisk::new(disk);
            faulty.inject(Call::Any, call, 1, fault);
            let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
            let written = contents.write(&disk, Path::new(DIR), HEADER);
            if faulty.calls(Call::Any) <= call {
                written.unwrap();
                break;
            }
            let error = written.expect_err("a call failed");
            assert_eq!(error.is_disk_full(), fault == Fault::NoSpace, "{error}");
            assert_eq!(mem.list(Path::new(DIR)).unwrap(), Vec::<String>::new(), "call {call}");
        }
    }
}

#[test]
fn a_disk_that_cannot_read_is_an_error_and_once_it_reads_again_the_chunk_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = FaultyDisk::new(Arc::new(RealDisk));
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let contents = small();
    contents.publish(&disk, dir.path());
    let reader = ImageReader::open(&disk, dir.path(), HEADER.image, HEADER.shard).unwrap();
    for fault in [Fault::Short, Fault::Interrupted] {
        faulty.inject(Call::Read, faulty.calls(Call::Read), 1, fault);
        assert_eq!(filled(&reader, 0).unwrap(), contents.chunks[0].1, "{fault:?}");
    }
    faulty.inject(Call::Read, faulty.calls(Call::Read), 1, Fault::Io);
    assert!(matches!(filled(&reader, 0), Err(ImageError::Io { action: "read", .. })));
    assert_eq!(filled(&reader, 0).unwrap(), contents.chunks[0].1);
}

#[test]
fn names_have_one_spelling() {
    let name = ImageName { image: 0xAB, shard: 3 };
    assert_eq!(name.to_string(), "000000ab-0003.img");
    assert_eq!(ImageName::parse("000000ab-0003.img"), Some(name));
    let late = ImageName { image: 1 << 40, shard: 0 };
    assert_eq!(ImageName::parse(&late.to_string()), Some(late));
    for other in
        ["", "ab-3.img", "000000AB-0003.img", "000000ab-0003.img.tmp", "+00000ab-0003.img", "manifest"]
    {
        assert_eq!(ImageName::parse(other), None, "{other}");
    }
}

#[test]
fn files_that_no_manifest_names_are_removed_and_others_stay() {
    let (_, disk) = mem_disk();
    let dir = Path::new(DIR);
    let (kept, gone) = (ImageName { image: 2, shard: 0 }, ImageName { image: 1, shard: 0 });
    let strangers = ["notes.txt", "00000001-0000.img.orig"];
    let of = |name: ImageName| [name.path(dir), name.temporary_path(dir), name.damaged_path(dir)];
    let others = strangers.iter().map(|name| dir.join(name));
    for path in of(kept).into_iter().chain(of(gone)).chain(others) {
        disk.open(&path, OpenMode::CreateNew).unwrap();
    }
    let mut removed = remove_unnamed(disk.as_ref(), dir, &BTreeSet::from([2])).unwrap();
    removed.sort();
    let expected =
        ["00000001-0000.img", "00000001-0000.img.damaged", "00000001-0000.img.tmp", "00000002-0000.img.tmp"];
    assert_eq!(removed, expected);
    let left = ["00000001-0000.img.orig", "00000002-0000.img", "00000002-0000.img.damaged", "notes.txt"];
    assert_eq!(disk.list(dir).unwrap(), left);
}

#[test]
fn a_quarantined_file_is_found_by_no_start_and_kept_for_people() {
    let (mem, disk) = mem_disk();
    let dir = Path::new(DIR);
    small().publish(&disk, dir);
    disk.sync_dir(dir).unwrap();
    let reader = ImageReader::open(&disk, dir, HEADER.image, HEADER.shard).unwrap();
    let aside = reader.quarantine().unwrap();
    assert_eq!(reader.quarantine().unwrap(), aside, "by two threads at once");
    // Whole still for who has it open.
    assert_eq!(reader.state(&mut |_| ()).map_err(|error| error.to_string()), Ok(()));
    for seed in 0..20 {
        let disk: Arc<dyn Disk> = Arc::new(mem.crash(seed));
        assert!(ImageReader::open(&disk, dir, HEADER.image, HEADER.shard).unwrap_err().is_missing());
        assert_eq!(disk.list(dir).unwrap(), ["0000001a-0002.img.damaged"]);
    }
}
