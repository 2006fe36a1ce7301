//! What damage may do to frames: hide them, never change them.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, DiskFile, MemDisk, OpenMode, write_all_at};

const PLACE: FramePlace = FramePlace { epoch: 3, shard: 1, segment: 7 };
const SALT: u64 = 0xDEAD_BEEF_0BAD_CAFE;

fn header(first_ops: u64, op_count: u32) -> FrameHeader {
    FrameHeader {
        epoch: PLACE.epoch,
        shard: PLACE.shard,
        segment: PLACE.segment,
        first_ops,
        op_count,
        now_ms: -7,
        durable: Position::new(PLACE.epoch, first_ops / 2).unwrap(),
    }
}

/// Frames with payloads of these lengths (0: an empty frame), one behind the other, and where each begins.
fn frames(payload_bytes: &[usize]) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
    let (mut bytes, mut expected, mut frame) = (Vec::new(), Vec::new(), Vec::new());
    let mut first_ops = 1;
    for (index, len) in payload_bytes.iter().enumerate() {
        let ops = vec![index as u8 + 1; *len];
        let op_count = (*len).min(3) as u32;
        encode(&mut frame, &FrameSeal::new(SALT), &header(first_ops, op_count), &ops);
        expected.push((bytes.len() as u64, ops));
        bytes.extend_from_slice(&frame);
        first_ops += u64::from(op_count);
    }
    (bytes, expected)
}

fn file_of(bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = MemDisk::new().open(Path::new("/s"), OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), bytes, 0).unwrap();
    file
}

/// Reads all that can be read, skipping damage: the frames, and whether there was damage.
fn read(bytes: &[u8], limit: u64, salt: u64) -> (Vec<(u64, Vec<u8>)>, bool) {
    let mut reader = SegmentReader::new(file_of(bytes), PLACE, FrameSeal::new(salt), 0, limit);
    let (mut found, mut damaged) = (Vec::new(), false);
    loop {
        match reader.step().unwrap() {
            Step::Frame(frame) => found.push((frame.offset, frame.ops.to_vec())),
            Step::CleanEnd => return (found, damaged),
            Step::Damage { .. } => {
                damaged = true;
                if !reader.skip_to_next_header().unwrap() {
                    return (found, damaged);
                }
            }
        }
    }
}

/// Computed apart from this code (zlib's CRC-32 over salt and bytes): a change of the format must change its version.
const FRAME_OF_FORMAT_1: &str = "5746524dce6829b103000000070000000100000009000000020000002861b431\
    0500000000000000f9ffffffffffffff040000000030000077696e64726f772121000000000000004d524657ce6829b1";

#[test]
fn the_bytes_of_a_frame_are_those_of_format_1() {
    let header = FrameHeader { durable: Position::new(3, 4).unwrap(), ..header(5, 2) };
    let mut frame = Vec::new();
    encode(&mut frame, &FrameSeal::new(SALT), &header, b"windrow!!");
    let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, FRAME_OF_FORMAT_1);
    assert_eq!(crate::segment::SEGMENT_FORMAT, 1);
}

#[test]
fn frames_read_back_as_written_and_end_in_zeros() {
    let (mut bytes, expected) = frames(&[5, 0, 8, 1000, 0, 0, 1]);
    bytes.resize(4096, 0);
    assert_eq!(read(&bytes, 4096, SALT), (expected, false));
}

#[test]
fn a_full_segment_ends_cleanly_at_its_last_byte() {
    let (bytes, expected) = frames(&[5, 0, 9]);
    let limit = bytes.len() as u64;
    assert_eq!(read(&bytes, limit, SALT), (expected, false));
}

#[test]
fn frames_longer_than_the_read_buffer_are_read() {
    let (mut bytes, expected) = frames(&[10, 3_000_000, 10]);
    bytes.resize(bytes.len() + 2_000_000, 0);
    assert_eq!(read(&bytes, bytes.len() as u64, SALT), (expected, false));
}

#[test]
fn frames_behind_megabytes_of_damage_are_found() {
    let (mut bytes, expected) = frames(&[10, 3_000_000, 10]);
    bytes[expected[1].0 as usize] ^= 1;
    let (found, damaged) = read(&bytes, bytes.len() as u64, SALT);
    assert_eq!((found, damaged), (vec![expected[0].clone(), expected[2].clone()], true));
}

#[test]
fn no_frame_of_an_earlier_salt_is_valid() {
    let (mut bytes, _) = frames(&[5, 0, 8, 100]);
    bytes.resize(4096, 0);
    assert_eq!(read(&bytes, 4096, SALT + 1), (vec![], true));
}

#[test]
fn a_frame_of_another_place_is_not_valid_even_under_the_same_salt() {
    let (bytes, _) = frames(&[5]);
    let elsewhere = [
        FramePlace { epoch: 4, ..PLACE },
        FramePlace { shard: 0, ..PLACE },
        FramePlace { segment: 8, ..PLACE },
    ];
    for place in elsewhere {
        let limit = bytes.len() as u64;
        let mut reader = SegmentReader::new(file_of(&bytes), place, FrameSeal::new(SALT), 0, limit);
        let step = reader.step().unwrap();
        assert!(matches!(step, Step::Damage { reason: DamageReason::HeaderValues, .. }), "{step:?}");
    }
}

#[test]
fn every_flipped_bit_hides_its_frame_and_no_other() {
    let (bytes, expected) = frames(&[13, 0, 24, 1]);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let hit = expected.iter().rposition(|frame| frame.0 <= bit as u64 / 8).unwrap();
        let mut rest = expected.clone();
        rest.remove(hit);
        assert_eq!(read(&flipped, flipped.len() as u64, SALT), (rest, true), "bit {bit}");
    }
}

#[test]
fn a_damaged_payload_leaves_the_stated_position_readable() {
    let (mut bytes, _) = frames(&[13, 8]);
    let second = frame_bytes(13);
    bytes[second + FRAME_HEADER_BYTES] ^= 0x40;
    let mut reader =
        SegmentReader::new(file_of(&bytes), PLACE, FrameSeal::new(SALT), second as u64, bytes.len() as u64);
    let Step::Damage { offset, reason, stated } = reader.step().unwrap() else { panic!("it is damaged") };
    assert_eq!((offset, reason), (second as u64, DamageReason::PayloadChecksum));
    assert_eq!(stated, Some(Position::new(3, 2).unwrap()));
}

#[test]
fn the_room_of_a_frame_is_what_a_frame_takes() {
    for payload_bytes in 1..200 {
        let bytes = frame_bytes(payload_bytes);
        assert!(payload_room(bytes as u64) >= payload_bytes);
        assert!(payload_room(bytes as u64 - 1) < payload_bytes.next_multiple_of(FRAME_ALIGN));
        assert!(bytes <= payload_bytes + FRAME_OVERHEAD_BYTES_MAX);
    }
    assert_eq!(payload_room(0), 0);
    assert_eq!(payload_room(FRAME_BYTES_MIN as u64), 0);
}

/// Something that may happen to bytes on a disk.
#[derive(Debug, Clone)]
enum Harm {
    Truncate(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Zero(prop::sample::Index, usize),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Harm::Truncate),
        (index(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        (index(), 1..600_usize).prop_map(|(at, len)| Harm::Zero(at, len)),
        (index(), index(), 1..600_usize).prop_map(|(from, to, len)| Harm::Copy(from, to, len)),
    ]
}

fn apply(harm: &Harm, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let range = |at: usize, len: usize| at..(at + len).min(bytes.len());
    match harm {
        Harm::Truncate(at) => bytes.truncate(at.index(bytes.len())),
        Harm::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Harm::Zero(at, len) => {
            let range = range(at.index(bytes.len()), *len);
            bytes[range].fill(0);
        }
        Harm::Copy(from, to, len) => {
            let source = bytes[range(from.index(bytes.len()), *len)].to_vec();
            let target = range(to.index(bytes.len()), source.len());
            let count = target.len();
            bytes[target].copy_from_slice(&source[..count]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A misdirected write may put a true frame elsewhere; positions, which the log's walk checks, show that. So: whatever is read was
    /// once written, and where it stands untouched it is the frame of that place.
    #[test]
    fn no_harm_to_the_bytes_yields_operations_that_were_not_written(
        payload_bytes in prop::collection::vec(0..300_usize, 1..12),
        harms in prop::collection::vec(harm(), 1..4),
    ) {
        let (mut bytes, expected) = frames(&payload_bytes);
        bytes.resize((bytes.len() + 512).next_multiple_of(512), 0);
        let limit = bytes.len() as u64;
        for harm in &harms {
            apply(harm, &mut bytes);
        }
        for (offset, ops) in read(&bytes, limit, SALT).0 {
            prop_assert!(expected.iter().any(|frame| frame.1 == ops), "at {}: {:?}", offset, ops);
        }
    }
}
