//! The bytes of header, directory and footer, and what must hold between them. See the diagrams of [the module](super).

use crc32fast::Hasher;

/// Version of the image format.
pub const IMAGE_FORMAT: u32 = 1;
/// Bytes of the unit in which slots are measured and places are named.
pub const GRANULE_BYTES: usize = 16;
/// Granules of a whole chunk (2 MiB).
pub const CHUNK_GRANULES: u32 = 1 << PLACE_GRANULE_BITS;
/// Most bytes of a table block.
pub const TABLE_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of a piece of state.
pub const STATE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Alignment of blocks; header and footer have just this size.
pub(super) const BLOCK_ALIGN: u64 = 4096;
pub(super) const DIRECTORY_ENTRY_BYTES: usize = 32;
/// Most blocks of a file: as many chunks as a shard can have, and eight times that.
pub(super) const BLOCKS_MAX: usize = 1 << 20;
pub(super) const TABLE_ENTRY_BYTES: usize = 16;
/// Bits of a place that name the granule.
const PLACE_GRANULE_BITS: u32 = 17;

const HEADER_MAGIC: &[u8; 8] = b"WINDROWI";
const FOOTER_MAGIC: &[u8; 8] = b"IWORDNIW";
/// Where the CRC of a header or footer stands.
const CRC_AT: usize = 12;

const _: () = assert!(GRANULE_BYTES << PLACE_GRANULE_BITS == 2 * 1024 * 1024);

/// What an image file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// Number of the image; all shards' files of one image have it.
    pub image: u64,
    /// Epoch of the log whose operations it has.
    pub epoch: u32,
    /// Whose memory it is.
    pub shard: u16,
    /// How many shards there were.
    pub shards: u16,
    /// A function of the secret that keys the hashes, so that a file of another directory is not taken for one of this.
    pub key_check: u64,
    /// When it was begun.
    pub created_ms: i64,
}

/// Where a record is in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableEntry {
    /// Hash of the record's key.
    pub hash: u64,
    /// Chunk and granule; see [`TableEntry::place_of`].
    pub place: u64,
}

impl TableEntry {
    /// The place of a granule of a chunk of the image.
    pub fn place_of(chunk: u32, granule: u32) -> u64 {
        debug_assert!(granule < CHUNK_GRANULES);
        u64::from(chunk) << PLACE_GRANULE_BITS | u64::from(granule)
    }

    /// Number of the chunk, if it can be one at all.
    pub fn chunk(&self) -> u64 {
        self.place >> PLACE_GRANULE_BITS
    }

    /// Granule in the chunk.
    pub fn granule(&self) -> u32 {
        self.place as u32 & (CHUNK_GRANULES - 1)
    }
}

/// A chunk of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Size of its slots, in granules.
    pub slot_granules: u32,
    /// How many slots are used; they are the first ones.
    pub slots_used: u32,
    /// Its number in the image.
    pub(super) number: u32,
    pub(super) block: Block,
}

impl ChunkEntry {
    /// Bytes of the used slots.
    pub fn bytes(&self) -> usize {
        self.block.bytes as usize
    }

    /// Whether a used slot begins at `granule`.
    pub(super) fn has_slot_at(&self, granule: u32) -> bool {
        granule.is_multiple_of(self.slot_granules) && granule / self.slot_granules < self.slots_used
    }
}

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub offset: u64,
    pub bytes: u32,
    pub crc: u32,
}

impl Block {
    /// Bytes with the zeros that fill it.
    pub fn padded_bytes(&self) -> u64 {
        u64::from(self.bytes).next_multiple_of(BLOCK_ALIGN)
    }
}

/// A line of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DirectoryEntry {
    Chunk(ChunkEntry),
    Table { count: u32, block: Block },
    State(Block),
}

impl DirectoryEntry {
    pub fn block(&self) -> &Block {
        match self {
            DirectoryEntry::Chunk(chunk) => &chunk.block,
            DirectoryEntry::Table { block, .. } | DirectoryEntry::State(block) => block,
        }
    }

    pub fn encode(&self) -> [u8; DIRECTORY_ENTRY_BYTES] {
        let (kind, slot_granules, count, number) = match self {
            DirectoryEntry::Chunk(chunk) => (1, chunk.slot_granules, chunk.slots_used, chunk.number),
            DirectoryEntry::Table { count, .. } => (2, 0, *count, 0),
            DirectoryEntry::State(_) => (3, 0, 0, 0),
        };
        let block = self.block();
        let mut bytes = [0; DIRECTORY_ENTRY_BYTES];
        put_u32(&mut bytes, 0, kind);
        put_u32(&mut bytes, 4, block.crc);
        put_u64(&mut bytes, 8, block.offset);
        put_u32(&mut bytes, 16, block.bytes);
        put_u32(&mut bytes, 20, slot_granules);
        put_u32(&mut bytes, 24, count);
        put_u32(&mut bytes, 28, number);
        bytes
    }

    /// Reads an entry and checks its numbers against each other; the error is for people.
    pub fn decode(bytes: &[u8; DIRECTORY_ENTRY_BYTES]) -> Result<DirectoryEntry, String> {
        let block = Block { crc: u32_at(bytes, 4), offset: u64_at(bytes, 8), bytes: u32_at(bytes, 16) };
        let (slot_granules, count, number) = (u32_at(bytes, 20), u32_at(bytes, 24), u32_at(bytes, 28));
        let (entry, is_possible) = match u32_at(bytes, 0) {
            1 => {
                let granules = u64::from(slot_granules) * u64::from(count);
                let is_possible = granules > 0
                    && granules <= u64::from(CHUNK_GRANULES)
                    && granules * GRANULE_BYTES as u64 == u64::from(block.bytes);
                let chunk = ChunkEntry { slot_granules, slots_used: count, number, block };
                (DirectoryEntry::Chunk(chunk), is_possible)
            }
            2 => {
                let is_possible = (slot_granules, number) == (0, 0)
                    && block.bytes > 0
                    && block.bytes as usize <= TABLE_BYTES_MAX
                    && u64::from(count) * TABLE_ENTRY_BYTES as u64 == u64::from(block.bytes);
                (DirectoryEntry::Table { count, block }, is_possible)
            }
            3 => {
                let is_possible = (slot_granules, count, number) == (0, 0, 0)
                    && (1..=STATE_BYTES_MAX).contains(&(block.bytes as usize));
                (DirectoryEntry::State(block), is_possible)
            }
            kind => return Err(format!("a block is of the unknown kind {kind}")),
        };
        if !is_possible {
            return Err(format!(
                "a block of {} bytes cannot hold {count} items of {slot_granules} granules",
                block.bytes
            ));
        }
        Ok(entry)
    }
}

/// What the last block of a file says about the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    /// Ties it to the header of the same file.
    pub header_crc: u32,
    pub directory: Block,
    pub chunks: u32,
    pub records: u64,
}

impl Footer {
    pub fn encode(&self) -> [u8; BLOCK_ALIGN as usize] {
        let mut block = [0; BLOCK_ALIGN as usize];
        block[..8].copy_from_slice(FOOTER_MAGIC);
        put_u32(&mut block, 8, self.header_crc);
        put_u64(&mut block, 16, self.directory.offset);
        put_u64(&mut block, 24, u64::from(self.directory.bytes));
        put_u32(&mut block, 32, self.directory.crc);
        put_u32(&mut block, 36, self.chunks);
        put_u64(&mut block, 40, self.records);
        let crc = block_crc(&block);
        put_u32(&mut block, CRC_AT, crc);
        block
    }

    pub fn decode(block: &[u8; BLOCK_ALIGN as usize]) -> Result<Footer, String> {
        if &block[..8] != FOOTER_MAGIC {
            return Err("this is not the end of an image".to_owned());
        }
        if block_crc(block) != u32_at(block, CRC_AT) {
            return Err("the footer fails its checksum".to_owned());
        }
        let bytes = u64_at(block, 24);
        if bytes > (BLOCKS_MAX * DIRECTORY_ENTRY_BYTES) as u64
            || !bytes.is_multiple_of(DIRECTORY_ENTRY_BYTES as u64)
        {
            return Err(format!("a directory cannot have {bytes} bytes"));
        }
        let directory = Block { offset: u64_at(block, 16), bytes: bytes as u32, crc: u32_at(block, 32) };
        Ok(Footer {
            header_crc: u32_at(block, 8),
            directory,
            chunks: u32_at(block, 36),
            records: u64_at(block, 40),
        })
    }
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged(String),
    Format(u32),
}

impl ImageHeader {
    pub(super) fn encode(&self) -> [u8; BLOCK_ALIGN as usize] {
        let mut block = [0; BLOCK_ALIGN as usize];
        block[..8].copy_from_slice(HEADER_MAGIC);
        put_u32(&mut block, 8, IMAGE_FORMAT);
        put_u64(&mut block, 16, self.image);
        put_u32(&mut block, 24, self.epoch);
        block[28..30].copy_from_slice(&self.shard.to_le_bytes());
        block[30..32].copy_from_slice(&self.shards.to_le_bytes());
        put_u64(&mut block, 32, self.key_check);
        put_u64(&mut block, 40, self.created_ms as u64);
        let crc = block_crc(&block);
        put_u32(&mut block, CRC_AT, crc);
        block
    }

    /// Reads the block; gives its CRC, too.
    pub(super) fn decode(block: &[u8; BLOCK_ALIGN as usize]) -> Result<(ImageHeader, u32), HeaderError> {
        if &block[..8] != HEADER_MAGIC {
            return Err(HeaderError::Damaged("this is not the beginning of an image".to_owned()));
        }
        let crc = u32_at(block, CRC_AT);
        if block_crc(block) != crc {
            return Err(HeaderError::Damaged("the header fails its checksum".to_owned()));
        }
        // After the checksum: a flipped bit is no later version.
        let format = u32_at(block, 8);
        if format != IMAGE_FORMAT {
            return Err(HeaderError::Format(format));
        }
        let header = ImageHeader {
            image: u64_at(block, 16),
            epoch: u32_at(block, 24),
            shard: u16::from_le_bytes([block[28], block[29]]),
            shards: u16::from_le_bytes([block[30], block[31]]),
            key_check: u64_at(block, 32),
            created_ms: u64_at(block, 40) as i64,
        };
        Ok((header, crc))
    }
}

/// The CRC of a header or footer: of all but itself.
pub(super) fn block_crc(block: &[u8; BLOCK_ALIGN as usize]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&block[..CRC_AT]);
    hasher.update(&block[CRC_AT + 4..]);
    hasher.finalize()
}

fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
