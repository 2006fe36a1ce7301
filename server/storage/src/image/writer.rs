//! Writes an image file, front to back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32fast::Hasher;

use super::format::{BLOCK_ALIGN, BLOCKS_MAX, Block, DirectoryEntry, Footer, TABLE_ENTRY_BYTES};
use super::{
    CHUNK_GRANULES, ChunkEntry, GRANULE_BYTES, ImageError, ImageHeader, ImageName, STATE_BYTES_MAX,
    TABLE_BYTES_MAX, TableEntry,
};
use crate::disk::{Disk, DiskFile, OpenMode, remove_if_exists, write_all_at};

/// So much is written before the disk is asked to take it: what lies in the page cache of an image is at most twice this.
const WRITE_BEHIND_BYTES: u64 = 8 * 1024 * 1024;

static ZEROS: [u8; BLOCK_ALIGN as usize] = [0; BLOCK_ALIGN as usize];

/// An image file in preparation. What was begun and not [finished](ImageWriter::finish) should be [discarded](ImageWriter::discard);
/// left alone it takes room until the next start, and means nothing.
pub struct ImageWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    header_crc: u32,
    /// Where the next block goes.
    offset: u64,
    /// Up to here the disk was asked to begin, and up to here it has done it.
    behind: (u64, u64),
    directory: Vec<DirectoryEntry>,
    /// Entries that are not a block yet.
    table: Vec<u8>,
    /// Numbers of chunks given out, and chunks written.
    reserved: u32,
    chunks: u32,
    slots: u64,
    records: u64,
    last_hash: u64,
}

/// What a finished file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSummary {
    /// Length of the file.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// Chunks that they lie in.
    pub chunks: u32,
}

impl ImageWriter {
    /// Begins the file of a shard in the directory of images, under a name that means nothing yet.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn create(disk: &Arc<dyn Disk>, dir: &Path, header: ImageHeader) -> Result<ImageWriter, ImageError> {
        let path = ImageName { image: header.image, shard: header.shard }.temporary_path(dir);
        remove_if_exists(disk.as_ref(), &path).map_err(|error| ImageError::io("remove", &path, error))?;
        let opened = disk.open(&path, OpenMode::CreateNew);
        let file = opened.map_err(|error| ImageError::io("create", &path, error))?;
        let block = header.encode();
        let header_crc = super::format::block_crc(&block);
        let mut writer = ImageWriter {
            disk: Arc::clone(disk),
            file,
            path,
            header_crc,
            offset: 0,
            behind: (0, 0),
            directory: Vec::new(),
            table: Vec::new(),
            reserved: 0,
            chunks: 0,
            slots: 0,
            records: 0,
            last_hash: 0,
        };
        match writer.append(&block) {
            Ok(_) => Ok(writer),
            Err(error) => {
                writer.discard();
                Err(error)
            }
        }
    }

    /// The number of a chunk to come, for table entries that name it before it is full.
    pub fn reserve_chunk(&mut self) -> u32 {
        self.reserved += 1;
        self.reserved - 1
    }

    /// Adds a chunk of a number that was reserved: its first `slots_used` slots of `slot_granules`, all of them records.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    ///
    /// # Panics
    /// If `bytes` is not as long as the slots, or no such number was reserved.
    pub fn reserved_chunk(
        &mut self,
        number: u32,
        slot_granules: u32,
        slots_used: u32,
        bytes: &[u8],
    ) -> Result<(), ImageError> {
        assert!(number < self.reserved, "chunk {number} is none of the {} that were reserved", self.reserved);
        let granules = u64::from(slot_granules) * u64::from(slots_used);
        assert!(
            granules > 0
                && granules <= u64::from(CHUNK_GRANULES)
                && bytes.len() as u64 == granules * GRANULE_BYTES as u64,
            "{} bytes are not {slots_used} slots of {slot_granules} granules",
            bytes.len()
        );
        let block = self.append(bytes)?;
        self.add(DirectoryEntry::Chunk(ChunkEntry { slot_granules, slots_used, number, block }))?;
        self.chunks += 1;
        self.slots += u64::from(slots_used);
        Ok(())
    }

    /// Adds a chunk and gives its number: [`ImageWriter::reserve_chunk`] and [`ImageWriter::reserved_chunk`] in one.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    ///
    /// # Panics
    /// If `bytes` is not as long as the slots.
    pub fn chunk(&mut self, slot_granules: u32, slots_used: u32, bytes: &[u8]) -> Result<u32, ImageError> {
        let number = self.reserve_chunk();
        self.reserved_chunk(number, slot_granules, slots_used, bytes)?;
        Ok(number)
    }

    /// Adds entries of the table, ascending by hash from the first call to the last. Their chunks need not be written yet.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    ///
    /// # Panics
    /// If a hash is lower than the one before.
    pub fn table(&mut self, entries: &[TableEntry]) -> Result<(), ImageError> {
        for entry in entries {
            assert!(entry.hash >= self.last_hash, "a table goes back to {:016x}", entry.hash);
            self.last_hash = entry.hash;
            self.table.extend_from_slice(&entry.hash.to_le_bytes());
            self.table.extend_from_slice(&entry.place.to_le_bytes());
            if self.table.len() == TABLE_BYTES_MAX {
                self.end_table()?;
            }
        }
        self.records += entries.len() as u64;
        Ok(())
    }

    /// Adds a piece of state; a start gets the pieces in the order in which they were added.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    ///
    /// # Panics
    /// If it is empty or longer than [`STATE_BYTES_MAX`].
    pub fn state(&mut self, piece: &[u8]) -> Result<(), ImageError> {
        assert!((1..=STATE_BYTES_MAX).contains(&piece.len()), "a piece of state of {} bytes", piece.len());
        let block = self.append(piece)?;
        self.add(DirectoryEntry::State(block))
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        self.offset
    }

    /// Writes directory and footer and syncs the file, which then is whole, and still has a name that means nothing. After an error the
    /// file is gone.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    ///
    /// # Panics
    /// If there are not as many entries as slots, or a chunk was reserved and not added.
    pub fn finish(mut self) -> Result<ImageSummary, ImageError> {
        let finished = self.write_end();
        if finished.is_err() {
            self.discard();
        }
        finished
    }

    /// Gives the room back, as far as the disk lets us; what stays behind is removed at the next start.
    pub fn discard(self) {
        drop(self.file);
        let _ = remove_if_exists(self.disk.as_ref(), &self.path);
    }

    fn write_end(&mut self) -> Result<ImageSummary, ImageError> {
        assert_eq!(self.records, self.slots, "entries and slots of {}", self.path.display());
        assert_eq!(self.chunks, self.reserved, "chunks added and reserved of {}", self.path.display());
        self.end_table()?;
        let directory: Vec<u8> = self.directory.iter().flat_map(DirectoryEntry::encode).collect();
        let directory = self.append(&directory)?;
        let footer =
            Footer { header_crc: self.header_crc, directory, chunks: self.chunks, records: self.records };
        self.append(&footer.encode())?;
        self.file.sync_data().map_err(|error| ImageError::io("sync", &self.path, error))?;
        // It is on the disk, and the next to read it is a start.
        let behind = self.file.write_behind(0..0, 0..self.offset);
        behind.map_err(|error| ImageError::io("write behind", &self.path, error))?;
        Ok(ImageSummary { bytes: self.offset, records: self.records, chunks: self.chunks })
    }

    fn end_table(&mut self) -> Result<(), ImageError> {
        if self.table.is_empty() {
            return Ok(());
        }
        let table = std::mem::take(&mut self.table);
        let block = self.append(&table)?;
        self.add(DirectoryEntry::Table { count: (table.len() / TABLE_ENTRY_BYTES) as u32, block })?;
        self.table = table;
        self.table.clear();
        Ok(())
    }

    fn add(&mut self, entry: DirectoryEntry) -> Result<(), ImageError> {
        if self.directory.len() == BLOCKS_MAX {
            let reason = format!("an image has at most {BLOCKS_MAX} blocks");
            return Err(ImageError::io("extend", &self.path, std::io::Error::other(reason)));
        }
        self.directory.push(entry);
        Ok(())
    }

    /// Writes a block, filled with zeros.
    fn append(&mut self, bytes: &[u8]) -> Result<Block, ImageError> {
        let mut block = Block { offset: self.offset, bytes: bytes.len() as u32, crc: 0 };
        let zeros = &ZEROS[..(block.padded_bytes() - bytes.len() as u64) as usize];
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.update(zeros);
        block.crc = hasher.finalize();
        write_all_at(self.file.as_ref(), bytes, self.offset)
            .and_then(|()| write_all_at(self.file.as_ref(), zeros, self.offset + bytes.len() as u64))
            .map_err(|error| ImageError::io("write", &self.path, error))?;
        self.offset += block.padded_bytes();
        let (begun, done) = self.behind;
        if self.offset - begun >= WRITE_BEHIND_BYTES {
            self.file
                .write_behind(begun..self.offset, done..begun)
                .map_err(|error| ImageError::io("write behind", &self.path, error))?;
            self.behind = (self.offset, begun);
        }
        Ok(block)
    }
}
