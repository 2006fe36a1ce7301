//! An image of format 1, byte by byte, by code that shares nothing with the format's own: every version to come must read it.

use std::path::Path;
use std::sync::Arc;

use super::{Contents, HEADER, NAME, TableEntry, bytes_of, mem_disk, replace};
use crate::Disk;
use crate::image::ImageReader;

/// CRC-32 (ISO 3309) of the file below, as it was when this format was released.
const FORMAT_1_CRC: u32 = 0xEB97_1983;

const BLOCK: usize = 4096;

/// CRC-32, bit by bit.
fn crc(bytes: impl IntoIterator<Item = u8>) -> u32 {
    !bytes.into_iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
            },
        )
    })
}

/// Computes every checksum of a file anew, so that a number in it can be changed and only its meaning is wrong. Directory and footer
/// are its last two blocks; lines that name no block are left alone.
pub(super) fn seal(file: &mut [u8]) {
    let own = |block: &[u8]| crc(block[..12].iter().chain(&block[16..]).copied());
    let header_crc = own(&file[..BLOCK]).to_le_bytes();
    file[12..16].copy_from_slice(&header_crc);
    let (directory_at, footer_at) = (file.len() - 2 * BLOCK, file.len() - BLOCK);
    for line in (directory_at..footer_at).step_by(32) {
        let number = |at: usize| u64::from_le_bytes(file[line + at..line + at + 8].try_into().unwrap());
        let (offset, bytes) = (number(8), u64::from(number(16) as u32));
        let end = offset.saturating_add(bytes.next_multiple_of(BLOCK as u64));
        if bytes > 0 && end <= directory_at as u64 {
            let block_crc = crc(file[offset as usize..end as usize].iter().copied()).to_le_bytes();
            file[line + 4..line + 8].copy_from_slice(&block_crc);
        }
    }
    let directory_crc = crc(file[directory_at..footer_at].iter().copied()).to_le_bytes();
    file[footer_at + 32..footer_at + 36].copy_from_slice(&directory_crc);
    file[footer_at + 8..footer_at + 12].copy_from_slice(&header_crc);
    let footer_crc = own(&file[footer_at..]).to_le_bytes();
    file[footer_at + 12..footer_at + 16].copy_from_slice(&footer_crc);
}

/// One chunk of two slots of 64 bytes, a table of two entries, a piece of state.
fn format_1() -> Vec<u8> {
    let mut file = vec![0; 6 * BLOCK];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"WINDROWI");
    put(8, &[1, 0, 0, 0]);
    put(16, &[0x1A, 0, 0, 0, 0, 0, 0, 0]);
    put(24, &[3, 0, 0, 0, 2, 0, 4, 0]);
    put(32, &[0x0D, 0xF0, 0xED, 0xFE, 0, 0, 0, 0]);
    put(40, &[0xFB, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    for word in 0..16 {
        put(BLOCK + 8 * word, &[word as u8, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);
    }
    // The first entry is of the second slot: granule 4 of chunk 0.
    put(2 * BLOCK, &[9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    put(2 * BLOCK + 16, &[1, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]);
    put(3 * BLOCK, b"state");
    // kind, CRC, offset, bytes, slot granules, count
    put(4 * BLOCK, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 4, 0, 0, 0, 2]);
    put(4 * BLOCK + 32, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 2]);
    put(4 * BLOCK + 64, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 5]);
    put(5 * BLOCK, b"IWORDNIW");
    put(5 * BLOCK + 16, &[0, 0x40, 0, 0, 0, 0, 0, 0, 96, 0, 0, 0, 0, 0, 0, 0]);
    put(5 * BLOCK + 36, &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    seal(&mut file);
    file
}

fn contents() -> Contents {
    let place = |granule| TableEntry::place_of(0, granule);
    Contents {
        chunks: vec![(4, (0..16).map(|word| 0x7766_5544_3322_1100 | word).collect())],
        table: vec![
            TableEntry { hash: 9, place: place(4) },
            TableEntry { hash: 1 | 0x80 << 56, place: place(0) },
        ],
        state: vec![b"state".to_vec()],
    }
}

#[test]
fn an_image_of_format_1_is_read() {
    let file = format_1();
    assert_eq!(crc(file.iter().copied()), FORMAT_1_CRC, "the fixture itself has changed");
    let (_, disk) = mem_disk();
    replace(disk.as_ref(), &file);
    let reader = ImageReader::open(&disk, Path::new(super::DIR), HEADER.image, HEADER.shard).unwrap();
    assert_eq!((*reader.header(), reader.records(), reader.bytes()), (HEADER, 2, 6 * 4096));
    assert_eq!(Contents::read(&disk, Path::new(super::DIR)).unwrap(), contents());
}

#[test]
fn format_1_is_what_is_written() {
    let (_, disk): (_, Arc<dyn Disk>) = mem_disk();
    contents().publish(&disk, Path::new(super::DIR));
    let written = bytes_of(disk.as_ref(), &NAME.path(Path::new(super::DIR)));
    // Where blocks lie is up to the writer; with one of each kind it puts the chunk first, then state, then the table.
    assert_eq!(written.len(), format_1().len());
    assert_eq!(written[..2 * BLOCK], format_1()[..2 * BLOCK], "header and chunk");
    assert_eq!(written[2 * BLOCK..3 * BLOCK], format_1()[3 * BLOCK..4 * BLOCK], "state");
    assert_eq!(written[3 * BLOCK..4 * BLOCK], format_1()[2 * BLOCK..3 * BLOCK], "table");
    assert_eq!(written[5 * BLOCK + 36..], format_1()[5 * BLOCK + 36..], "totals of the footer");
}
