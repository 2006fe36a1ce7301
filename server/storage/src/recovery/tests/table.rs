//! The decision table of [`super`]'s module, row by row, on one log: three operations that are stated durable, the statement, and two
//! that nothing states durable.

use super::*;
use crate::disk::read_full_at;

const FRAME: u64 = 80;
const STATEMENT: u64 = SEGMENT_HEADER_BYTES + 3 * FRAME;
const UNSTATED: u64 = STATEMENT + FRAME_BYTES_MIN as u64;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    Harmless,
    Torn,
    Corrupt { offset: u64 },
}

/// Where the frame of an operation begins.
fn frame(operation: u64) -> u64 {
    match operation {
        1..=3 => SEGMENT_HEADER_BYTES + (operation - 1) * FRAME,
        _ => UNSTATED + (operation - 4) * FRAME,
    }
}

fn open_segment(disk: &MemDisk) -> Arc<dyn crate::DiskFile> {
    disk.open(&first_segment(1), OpenMode::ReadWrite).unwrap()
}

fn flip(disk: &MemDisk, at: u64) {
    disk.corrupt(&first_segment(1), at, |byte| *byte ^= 0x10).unwrap();
}

fn zeros_from(disk: &MemDisk, at: u64) {
    write_all_at(open_segment(disk).as_ref(), &vec![0; (8192 - at) as usize], at).unwrap();
}

fn cut_at(disk: &MemDisk, at: u64) {
    open_segment(disk).set_len(at).unwrap();
}

/// Puts the frame of one operation where that of another is: the log has a gap, and every byte passes its checks.
fn put_in_place_of(disk: &MemDisk, operation: u64, place: u64) {
    let file = open_segment(disk);
    let mut bytes = [0; FRAME as usize];
    read_full_at(file.as_ref(), &mut bytes, frame(operation)).unwrap();
    write_all_at(file.as_ref(), &bytes, frame(place)).unwrap();
}

/// An image says that this operation was durable.
fn image_states(disk: &MemDisk, end: u64) {
    let (replayed, _) = replay(disk).unwrap();
    let mut directory = replayed.directory;
    let mut manifest = directory.manifest().clone();
    manifest.images.push(ImageEntry {
        image: 1,
        epoch: 1,
        shards: 1,
        created_ms: 0,
        ended_ms: None,
        starts: vec![0],
        ends: vec![end],
        bytes: 0,
        records: 0,
    });
    directory.replace_manifest(manifest).unwrap();
}

#[test]
fn each_row_of_the_table_is_judged_as_it_says() {
    type Harm = fn(&MemDisk);
    use Verdict::{Clean, Corrupt, Harmless, Torn};
    let rows: [(&str, Harm, u64, Verdict); 16] = [
        ("zeros to the end", |_| (), 5, Clean),
        (
            "zeros to the end, of which nothing states that there was more",
            |disk| zeros_from(disk, frame(2)),
            1,
            Clean,
        ),
        (
            "zeros to the end, D > P by an image",
            |disk| {
                image_states(disk, 2);
                zeros_from(disk, frame(2));
            },
            1,
            Corrupt { offset: frame(2) },
        ),
        ("bad bytes, then P + 1", |disk| flip(disk, STATEMENT + 9), 5, Harmless),
        (
            "zeros, then P + 1",
            |disk| write_all_at(open_segment(disk).as_ref(), &[0; 64], STATEMENT).unwrap(),
            5,
            Harmless,
        ),
        ("bad bytes in a header, D > P", |disk| flip(disk, frame(2) + 9), 1, Corrupt { offset: frame(2) }),
        (
            "bad bytes in an operation, D > P",
            |disk| flip(disk, frame(3) + 58),
            2,
            Corrupt { offset: frame(3) },
        ),
        ("bad bytes in a trailer, D > P", |disk| flip(disk, frame(1) + 79), 0, Corrupt { offset: frame(1) }),
        ("a gap, D > P", |disk| put_in_place_of(disk, 3, 2), 1, Corrupt { offset: frame(2) }),
        (
            "the end of the file, D > P by an image",
            |disk| {
                image_states(disk, 3);
                cut_at(disk, frame(3) + 40);
            },
            2,
            Corrupt { offset: frame(3) },
        ),
        ("bad bytes in a header, D <= P", |disk| flip(disk, frame(4) + 9), 3, Torn),
        ("bad bytes in an operation, D <= P", |disk| flip(disk, frame(5) + 58), 4, Torn),
        ("bad bytes in a trailer, D <= P", |disk| flip(disk, frame(5) + 79), 4, Torn),
        (
            "zeros, then data, D <= P",
            |disk| write_all_at(open_segment(disk).as_ref(), &[0; 80], frame(4)).unwrap(),
            3,
            Torn,
        ),
        ("a gap, D <= P", |disk| put_in_place_of(disk, 5, 4), 3, Torn),
        ("the end of the file, D <= P", |disk| cut_at(disk, frame(5) + 40), 4, Torn),
    ];
    for (row, harm, readable, verdict) in rows {
        let disk = MemDisk::new();
        log_of(&disk, 3, 2);
        harm(&disk);
        let before = disk.fork();
        let found = match replay(&disk) {
            Err(error) => {
                let damage = error.corruption().unwrap_or_else(|| panic!("{row}: {error}"));
                assert_eq!(damage.readable_ops, readable, "{row}");
                assert_eq!(damage.file, first_segment(1), "{row}");
                Corrupt { offset: damage.offset }
            }
            Ok((replayed, history)) => {
                assert_eq!(history.len() as u64, readable, "{row}");
                let report = replayed.report();
                assert_eq!((&report.given_up, &report.older), (&vec![], &vec![]), "{row}");
                match (report.torn.len(), report.harmless.len()) {
                    (0, 0) => Clean,
                    (0, 1) => Harmless,
                    (1, 0) => Torn,
                    more => panic!("{row}: {more:?}"),
                }
            }
        };
        assert_eq!(found, verdict, "{row}");
        // Whatever it was, looking at it has changed nothing; and a start makes it a clean end.
        assert_eq!(bytes_of_log(&disk), bytes_of_log(&before), "{row}");
        if let Ok((replayed, history)) = replay(&disk) {
            replayed.start(1, 0).unwrap();
            let (replayed, again) = replay(&disk).unwrap();
            assert_eq!(again, history, "{row}, after a start");
            assert_eq!(
                (replayed.report().torn.len(), replayed.report().harmless.len()),
                (0, 0),
                "{row}, after a start"
            );
        }
    }
}

fn bytes_of_log(disk: &MemDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(Path::new(LOG_DIR)).unwrap();
    let bytes_of = |name: &String| {
        let file = disk.open(&Path::new(LOG_DIR).join(name), OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        read_full_at(file.as_ref(), &mut bytes, 0).unwrap();
        bytes
    };
    names.iter().map(|name| (name.clone(), bytes_of(name))).collect()
}
