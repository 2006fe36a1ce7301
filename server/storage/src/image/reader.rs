//! Reads an image file: what it says about itself at once, its blocks when they are asked for, each against its checksum.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{
    BLOCK_ALIGN, Block, CHUNK_GRANULES, DIRECTORY_ENTRY_BYTES, DirectoryEntry, Footer, GRANULE_BYTES,
    HeaderError, TABLE_ENTRY_BYTES, u64_at,
};
use super::{ChunkEntry, ImageError, ImageHeader, ImageName, TableEntry, quarantine};
use crate::disk::{DIRECT_ALIGN, Disk, DiskFile, OpenMode, read_full_at};

const WORD_BYTES: usize = 8;
const CHUNK_BYTES: usize = CHUNK_GRANULES as usize * GRANULE_BYTES;
/// Entries of a table handed out at once: 64 KiB, which stay in the core's own cache.
const ENTRIES_AT_ONCE: usize = 64 * 1024 / TABLE_ENTRY_BYTES;

/// Memory for the words of one chunk at a time, so aligned that a disk can write to it itself.
#[derive(Debug)]
pub struct ChunkBuffer {
    bytes: Vec<u8>,
    words: Vec<u64>,
}

impl Default for ChunkBuffer {
    fn default() -> ChunkBuffer {
        ChunkBuffer {
            bytes: vec![0; CHUNK_BYTES + DIRECT_ALIGN],
            words: Vec::with_capacity(CHUNK_BYTES / WORD_BYTES),
        }
    }
}

/// An image file whose header, directory and footer are good. Any number of threads may use it.
pub struct ImageReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    name: ImageName,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: ImageHeader,
    chunks: Vec<ChunkEntry>,
    tables: Vec<Block>,
    states: Vec<Block>,
    records: u64,
    bytes: u64,
}

impl ImageReader {
    /// Opens the file of a shard in the directory of images.
    ///
    /// # Errors
    /// [`ImageError`]; [damaged](ImageError::is_damage) if header, directory, footer and length are not those that were written.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path, image: u64, shard: u16) -> Result<ImageReader, ImageError> {
        let name = ImageName { image, shard };
        let path = name.path(dir);
        let file =
            disk.open(&path, OpenMode::ReadOnce).map_err(|error| ImageError::io("open", &path, error))?;
        let bytes = file.len().map_err(|error| ImageError::io("measure", &path, error))?;
        let header = ImageHeader { image, epoch: 0, shard, shards: 0, key_check: 0, created_ms: 0 };
        let mut reader = ImageReader {
            disk: Arc::clone(disk),
            dir: dir.to_path_buf(),
            name,
            path,
            file,
            header,
            chunks: Vec::new(),
            tables: Vec::new(),
            states: Vec::new(),
            records: 0,
            bytes,
        };
        reader.read_frame_of_file()?;
        Ok(reader)
    }

    /// What the file says about itself.
    pub fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records in it.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Its chunks, by number.
    pub fn chunks(&self) -> &[ChunkEntry] {
        &self.chunks
    }

    /// Hands out the table, ascending by hash; every entry names a slot of [`ImageReader::chunks`].
    ///
    /// # Errors
    /// [`ImageError`]; what was handed out before may be used only with the rest.
    pub fn table(&self, take: &mut dyn FnMut(&[TableEntry])) -> Result<(), ImageError> {
        let mut last_hash = 0;
        let mut entries = Vec::with_capacity(ENTRIES_AT_ONCE);
        for block in &self.tables {
            let bytes = self.read(block)?;
            for piece in bytes.chunks(ENTRIES_AT_ONCE * TABLE_ENTRY_BYTES) {
                entries.clear();
                for entry in piece.chunks_exact(TABLE_ENTRY_BYTES) {
                    let entry = TableEntry { hash: u64_at(entry, 0), place: u64_at(entry, 8) };
                    let chunk = usize::try_from(entry.chunk()).ok().and_then(|chunk| self.chunks.get(chunk));
                    let is_a_slot = chunk.is_some_and(|chunk| chunk.has_slot_at(entry.granule()));
                    if !is_a_slot || entry.hash < last_hash {
                        return Err(self.damaged(
                            block.offset,
                            format!("the table names place {:x} after hash {last_hash:016x}", entry.place),
                        ));
                    }
                    last_hash = entry.hash;
                    entries.push(entry);
                }
                take(&entries);
            }
        }
        Ok(())
    }

    /// Hands out the pieces of state, in order.
    ///
    /// # Errors
    /// [`ImageError`]; what was handed out before may be used only with the rest.
    pub fn state(&self, take: &mut dyn FnMut(&[u8])) -> Result<(), ImageError> {
        for block in &self.states {
            take(&self.read(block)?);
        }
        Ok(())
    }

    /// Puts the used slots of a chunk at the beginning of `bytes`, behind them zeros to the end of a block at most. Whoever has memory
    /// aligned to [`DIRECT_ALIGN`](crate::disk::DIRECT_ALIGN) gets them straight from the disk. Only without an error is what is there that chunk: the
    /// checksum is that of the whole.
    ///
    /// # Errors
    /// [`ImageError`].
    ///
    /// # Panics
    /// If there is no chunk of this number, or `bytes` has no room for its blocks.
    pub fn fill_chunk(&self, number: u32, bytes: &mut [u8]) -> Result<(), ImageError> {
        let block = &self.chunks[number as usize].block;
        assert!(bytes.len() as u64 >= block.padded_bytes(), "{} bytes of memory for a chunk", bytes.len());
        self.read_checked(block, &mut bytes[..block.padded_bytes() as usize])
    }

    /// The words of a chunk's used slots, by way of memory of the caller's, which serves for one chunk after the other.
    ///
    /// # Errors
    /// [`ImageError`].
    ///
    /// # Panics
    /// If there is no chunk of this number.
    pub fn chunk_words<'a>(&self, number: u32, buffer: &'a mut ChunkBuffer) -> Result<&'a [u64], ImageError> {
        let chunk = &self.chunks[number as usize];
        let ChunkBuffer { bytes, words } = buffer;
        let aligned = bytes.as_ptr().align_offset(DIRECT_ALIGN);
        let bytes = &mut bytes[aligned..aligned + CHUNK_BYTES];
        self.fill_chunk(number, bytes)?;
        words.clear();
        words.extend(bytes[..chunk.bytes()].chunks_exact(WORD_BYTES).map(|word| u64_at(word, 0)));
        Ok(words)
    }

    /// Puts the file aside: see [`quarantine`].
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn quarantine(&self) -> Result<PathBuf, ImageError> {
        quarantine(self.disk.as_ref(), &self.dir, self.name)
    }

    /// Header, footer and directory, and that they fit each other and the file's length.
    fn read_frame_of_file(&mut self) -> Result<(), ImageError> {
        let block_bytes = BLOCK_ALIGN;
        if !self.bytes.is_multiple_of(block_bytes) || self.bytes < 2 * block_bytes {
            return Err(self.damaged(0, format!("an image cannot have {} bytes", self.bytes)));
        }
        let header_block = self.read_block(0)?;
        let (header, header_crc) = match ImageHeader::decode(&header_block) {
            Ok(decoded) => decoded,
            Err(HeaderError::Damaged(reason)) => return Err(self.damaged(0, reason)),
            Err(HeaderError::Format(format)) => {
                return Err(ImageError::Format { path: self.path.clone(), format });
            }
        };
        if (header.image, header.shard) != (self.name.image, self.name.shard) {
            let is = ImageName { image: header.image, shard: header.shard };
            return Err(self.damaged(0, format!("its header says that it is {is}")));
        }
        self.header = header;
        let footer_at = self.bytes - block_bytes;
        let footer =
            Footer::decode(&self.read_block(footer_at)?).map_err(|reason| self.damaged(footer_at, reason))?;
        let directory_end = footer.directory.offset.checked_add(footer.directory.padded_bytes());
        if footer.header_crc != header_crc || directory_end != Some(footer_at) {
            return Err(self.damaged(footer_at, "the footer is of another file".to_owned()));
        }
        self.read_directory(&footer)
    }

    /// Every block begins where the one before ends, and the directory where the last one does.
    fn read_directory(&mut self, footer: &Footer) -> Result<(), ImageError> {
        let directory_at = footer.directory.offset;
        // Not longer than the file, since it ends at the footer.
        let bytes = self.read(&footer.directory)?;
        let (mut offset, mut slots, mut entries) = (BLOCK_ALIGN, 0, 0);
        for line in bytes.chunks_exact(DIRECTORY_ENTRY_BYTES) {
            let line = line.try_into().expect("a line of the directory");
            let entry = DirectoryEntry::decode(line).map_err(|reason| self.damaged(directory_at, reason))?;
            let block = *entry.block();
            if block.offset != offset || block.padded_bytes() > directory_at - offset {
                let reason = format!("a block at {} does not follow the one before", block.offset);
                return Err(self.damaged(directory_at, reason));
            }
            offset += block.padded_bytes();
            match entry {
                DirectoryEntry::Chunk(chunk) => {
                    slots += u64::from(chunk.slots_used);
                    self.chunks.push(chunk);
                }
                DirectoryEntry::Table { count, block } => {
                    entries += u64::from(count);
                    self.tables.push(block);
                }
                DirectoryEntry::State(block) => self.states.push(block),
            }
        }
        self.chunks.sort_unstable_by_key(|chunk| chunk.number);
        if !self.chunks.iter().zip(0..).all(|(chunk, number)| chunk.number == number) {
            return Err(
                self.damaged(directory_at, "the numbers of its chunks are not those from 0 on".to_owned())
            );
        }
        let chunks = self.chunks.len() as u64;
        let stated = (directory_at, u64::from(footer.chunks), footer.records, footer.records);
        if (offset, chunks, slots, entries) != stated {
            return Err(self.damaged(
                directory_at,
                format!("blocks to {offset}, {chunks} chunks, {slots} slots and {entries} entries are not what the footer states"),
            ));
        }
        self.records = footer.records;
        Ok(())
    }

    fn read_block(&self, offset: u64) -> Result<[u8; BLOCK_ALIGN as usize], ImageError> {
        let mut block = [0; BLOCK_ALIGN as usize];
        self.read_exactly(&mut block, offset)?;
        Ok(block)
    }

    /// All bytes of a block that is good, without the zeros that fill it.
    fn read(&self, block: &Block) -> Result<Vec<u8>, ImageError> {
        let mut bytes = vec![0; block.padded_bytes() as usize];
        self.read_checked(block, &mut bytes)?;
        bytes.truncate(block.bytes as usize);
        Ok(bytes)
    }

    /// A block with the zeros that fill it, if it is good.
    fn read_checked(&self, block: &Block, bytes: &mut [u8]) -> Result<(), ImageError> {
        self.read_exactly(bytes, block.offset)?;
        if crc32fast::hash(bytes) != block.crc {
            return Err(
                self.damaged(block.offset, format!("a block of {} bytes fails its checksum", block.bytes))
            );
        }
        Ok(())
    }

    fn read_exactly(&self, buffer: &mut [u8], offset: u64) -> Result<(), ImageError> {
        let read = read_full_at(self.file.as_ref(), buffer, offset)
            .map_err(|error| ImageError::io("read", &self.path, error))?;
        if read < buffer.len() {
            return Err(self.damaged(offset, format!("{} bytes are missing", buffer.len() - read)));
        }
        Ok(())
    }

    fn damaged(&self, offset: u64, reason: String) -> ImageError {
        ImageError::Damaged { path: self.path.clone(), offset, reason }
    }
}

impl std::fmt::Debug for ImageReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ImageReader")
            .field("path", &self.path)
            .field("header", &self.header)
            .field("chunks", &self.chunks.len())
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}
