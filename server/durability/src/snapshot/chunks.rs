//! Chunks that are being filled, one for each size of slots, made when a record needs it.

use std::collections::BTreeMap;

use windrow_storage::image::{CHUNK_GRANULES, GRANULE_BYTES, ImageError, ImageWriter, TableEntry};

/// Memory for chunks that are being filled, together, but for one chunk: above it the fullest is written as it is.
const BUFFERED_BYTES_MAX: usize = 64 << 20;

const CHUNK_BYTES: usize = CHUNK_GRANULES as usize * GRANULE_BYTES;
const _: () = assert!(CHUNK_BYTES == windrow_memory::CHUNK_BYTES);

/// Chunks by the size of their slots.
#[derive(Default)]
pub(super) struct ChunkBuffers {
    open: BTreeMap<u32, OpenChunk>,
    buffered_bytes: usize,
    /// The memory of the chunk that was written last, for the next.
    spare: Vec<u8>,
}

struct OpenChunk {
    number: u32,
    bytes: Vec<u8>,
}

impl ChunkBuffers {
    /// Adds a record to a chunk of its size; writes the chunk if it is full then. Gives the record's place.
    pub(super) fn add(
        &mut self,
        writer: &mut ImageWriter,
        slot_granules: u32,
        record: &[u8],
    ) -> Result<u64, ImageError> {
        let slot_bytes = slot_granules as usize * GRANULE_BYTES;
        assert_eq!(record.len(), slot_bytes, "a record takes its whole slot");
        let chunk = self.open.entry(slot_granules).or_insert_with(|| OpenChunk {
            number: writer.reserve_chunk(),
            bytes: std::mem::take(&mut self.spare),
        });
        let granule = (chunk.bytes.len() / GRANULE_BYTES) as u32;
        let place = TableEntry::place_of(chunk.number, granule);
        chunk.bytes.extend_from_slice(record);
        self.buffered_bytes += slot_bytes;
        if chunk.bytes.len() + slot_bytes > CHUNK_BYTES {
            self.write(writer, slot_granules)?;
        } else if self.buffered_bytes > BUFFERED_BYTES_MAX {
            self.write_one(writer)?;
        }
        Ok(place)
    }

    /// Writes the fullest chunk; false: there was none.
    pub(super) fn write_one(&mut self, writer: &mut ImageWriter) -> Result<bool, ImageError> {
        let fullest = self.open.iter().max_by_key(|(_, chunk)| chunk.bytes.len());
        let Some((&slot_granules, _)) = fullest else { return Ok(false) };
        self.write(writer, slot_granules)?;
        Ok(true)
    }

    fn write(&mut self, writer: &mut ImageWriter, slot_granules: u32) -> Result<(), ImageError> {
        let OpenChunk { number, mut bytes } = self.open.remove(&slot_granules).expect("an open chunk");
        self.buffered_bytes -= bytes.len();
        let slots = bytes.len() / (slot_granules as usize * GRANULE_BYTES);
        writer.reserved_chunk(number, slot_granules, slots as u32, &bytes)?;
        bytes.clear();
        self.spare = bytes;
        Ok(())
    }
}
