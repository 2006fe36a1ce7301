//! An image: what one shard's memory held, in a file that a start can use without looking at a single record.
//!
//! A file is written once, from front to back, and never changed. All numbers are little-endian; every block begins at a multiple of
//! 4,096 bytes, is filled with zeros to one, and its CRC-32 covers these too. The blocks follow each other without a gap, so every
//! bit of a file is under some checksum.
//!
//! ```text
//! +--------+--------+--------+-----+-----------+--------+
//! | header | block  | block  | ... | directory | footer |
//! +--------+--------+--------+-----+-----------+--------+
//!
//! header, 4,096 bytes
//!  0                             8              12             16                           24
//! +-----------------------------+--------------+--------------+----------------------------+
//! | magic "WINDROWI"            | format = 1   | CRC-32       | image                      |
//! +-----------------------------+--------------+--------------+----------------------------+
//!  24             28     30      32                            40                           48
//! +--------------+------+-------+-----------------------------+----------------------------+
//! | epoch        |shard |shards | key check                   | created, ms                |
//! +--------------+------+-------+-----------------------------+----------------------------+
//!
//! directory: an entry of 32 bytes for each block, in the order of the file
//!  0              4              8                             16             20             24             28
//! +--------------+--------------+-----------------------------+--------------+--------------+--------------+--------------+
//! | kind         | CRC-32       | offset                      | bytes        | slot granules| count        | number       |
//! +--------------+--------------+-----------------------------+--------------+--------------+--------------+--------------+
//!
//! footer, 4,096 bytes
//!  0                             8              12             16                           24
//! +-----------------------------+--------------+--------------+----------------------------+
//! | magic "IWORDNIW"            | header CRC   | CRC-32       | directory offset           |
//! +-----------------------------+--------------+--------------+----------------------------+
//!  24                            32             36             40                           48
//! +-----------------------------+--------------+--------------+----------------------------+
//! | directory bytes             | directory CRC| chunks       | records                    |
//! +-----------------------------+--------------+--------------+----------------------------+
//! ```
//!
//! The CRCs of header and footer cover their block but themselves. Kinds of blocks:
//!
//! | kind | | bytes | count |
//! | --- | --- | --- | --- |
//! | 1 | *chunk*: the used prefix of a 2 MiB chunk cut into slots of `slot granules` (16 bytes each); words of records as they lie in memory | count × slot granules × 16 | slots |
//! | 2 | *table*: entries of (hash u64, place u64), ascending by hash through all tables of the file; place = chunk << 17 \| granule | count × 16 | entries |
//! | 3 | *state*: whatever else comes back, opaque here | any | 0 |
//!
//! Chunks are numbered from 0 in the order in which they were begun; they stand in the file in the order in which they were full. Tables and
//! state have no number (0). Every slot of every chunk is named by exactly one table entry.
//!
//! | name in `images/` | holds |
//! | --- | --- |
//! | `<image:08x>-<shard:04x>.img` | a file that is whole and synced; it counts once the manifest names its image |
//! | `….img.tmp` | one in preparation; means nothing |
//! | `….img.damaged` | one that was found damaged and put aside, for people to look at until its image is given up |

mod error;
mod files;
mod format;
mod publish;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use error::ImageError;
pub use files::{ImageName, quarantine, remove_image, remove_unnamed};
pub use format::{
    CHUNK_GRANULES, ChunkEntry, GRANULE_BYTES, IMAGE_FORMAT, ImageHeader, STATE_BYTES_MAX, TABLE_BYTES_MAX,
    TableEntry,
};
pub use publish::{IMAGES_KEPT_MIN, Published};
pub use reader::{ChunkBuffer, ImageReader};
pub use writer::{ImageSummary, ImageWriter};
