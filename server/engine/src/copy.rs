//! Copies of records, as an image holds them: taken in the order of their hashes, a slice at a time, by any thread while the owner goes
//! on, or by the owner where a record does not hold still.

use windrow_memory::{Contended, Cursor, Handle, Participant, Record, Scan};

use crate::catalogue::StreamId;
use crate::reader::ShardReader;
use crate::shard::Shard;

/// Bytes of records after which a slice ends. It may hold one record more, and all whose hashes begin alike (30 bits).
pub const COPIED_BYTES_MAX: usize = 2 << 20;

/// So many rows ahead a record starts to be loaded.
const ROWS_AHEAD: usize = 2;
/// Cache lines of it; the processor follows a longer one by itself.
const LINES_AHEAD: usize = 16;

/// Copies of a slice's records, kept to be used again.
#[derive(Debug, Default)]
pub struct Copies {
    rows: Vec<CopiedRow>,
    bytes: Vec<u8>,
    /// The words of one record.
    words: Vec<u64>,
    scan: Scan,
}

/// A record that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedRow {
    /// The hash of its key.
    pub hash: u64,
    /// Its stream.
    pub stream: StreamId,
    /// The last operation in it.
    pub position: u64,
    /// Size of its slot, in granules of 16 bytes.
    pub slot_granules: u32,
    /// Where its bytes begin.
    start: usize,
}

impl Copies {
    /// The records, ascending by hash; each with the bytes of its whole slot, words in little-endian order.
    pub fn rows(&self) -> impl Iterator<Item = (&CopiedRow, &[u8])> {
        let ends = self.rows.iter().skip(1).map(|row| row.start).chain([self.bytes.len()]);
        self.rows.iter().zip(ends).map(|(row, end)| (row, &self.bytes[row.start..end]))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
    }

    /// Copies the rows of the scan; `read` gives a record to its argument, or says that it cannot. `next` is where the scan goes on. Gives
    /// where to go on behind what was copied.
    fn copy(
        &mut self,
        next: Option<Cursor>,
        ahead: impl Fn(Handle),
        mut read: impl FnMut(Handle, &mut dyn FnMut(Record<'_>) -> CopiedRow) -> Option<CopiedRow>,
    ) -> Result<Option<Cursor>, Contended> {
        self.clear();
        let rows = self.scan.rows();
        rows.iter().take(ROWS_AHEAD).for_each(|row| ahead(*row));
        for (index, &place) in rows.iter().enumerate() {
            if let Some(later) = rows.get(index + ROWS_AHEAD) {
                ahead(*later);
            }
            let (words, start) = (&mut self.words, self.bytes.len());
            let mut describe = |record: Record<'_>| {
                record.image_words(words);
                CopiedRow {
                    hash: record.hash(),
                    stream: StreamId(record.stream()),
                    position: record.position(),
                    slot_granules: record.slot_granules() as u32,
                    start,
                }
            };
            // Gone, or moved, and then it is elsewhere and must not be missed; or it is written all the time.
            let Some(row) = read(place, &mut describe) else {
                if planted::are_moved_rows_skipped() {
                    continue;
                }
                self.clear();
                return Err(Contended);
            };
            if start >= COPIED_BYTES_MAX && Some(Cursor::before(row.hash)) != self.last_cursor() {
                self.sort();
                return Ok(Some(Cursor::before(row.hash)));
            }
            // No operation is in it yet: it is being made, or will come to nothing.
            if row.position != 0 {
                self.bytes.resize(start + self.words.len() * size_of::<u64>(), 0);
                let (bytes, _) = self.bytes[start..].as_chunks_mut();
                for (bytes, word) in bytes.iter_mut().zip(&self.words) {
                    *bytes = word.to_le_bytes();
                }
                self.rows.push(row);
            }
        }
        self.sort();
        Ok(next)
    }

    fn last_cursor(&self) -> Option<Cursor> {
        self.rows.last().map(|row| Cursor::before(row.hash))
    }

    /// The walk orders records by the first 30 bits of their hashes.
    fn sort(&mut self) {
        if self.rows.is_sorted_by_key(|row| row.hash) {
            return;
        }
        let copies: Vec<(CopiedRow, Vec<u8>)> =
            self.rows().map(|(row, bytes)| (*row, bytes.to_vec())).collect();
        let mut order: Vec<usize> = (0..copies.len()).collect();
        order.sort_by_key(|&index| copies[index].0.hash);
        self.clear();
        for index in order {
            let (row, bytes) = &copies[index];
            self.rows.push(CopiedRow { start: self.bytes.len(), ..*row });
            self.bytes.extend_from_slice(bytes);
        }
    }
}

impl ShardReader {
    /// Copies the next slice of the shard's records, at most `rows_max`, whole or not at all. Gives where to go on; `None`: that was
    /// all. A record that is there throughout a walk is copied exactly once.
    ///
    /// # Errors
    /// [`Contended`] when a record of the slice could not be copied; then nothing was. The same slice may be copied the next time, or a
    /// shorter one; at last the [owner](Shard::copy_rows) can.
    pub fn copy_rows(
        &self,
        participant: &Participant,
        cursor: Cursor,
        rows_max: usize,
        copies: &mut Copies,
    ) -> Result<Option<Cursor>, Contended> {
        copies.clear();
        let next = self.reader.scan(participant, &mut copies.scan, cursor, rows_max)?;
        copies.copy(
            next,
            |place| self.reader.prefetch_at(participant, place, LINES_AHEAD),
            |place, copy| self.reader.read_at(participant, place, copy).ok().flatten(),
        )
    }
}

impl Shard {
    /// As [`ShardReader::copy_rows`], by the owner, who always can. It takes as long as the copies are large: with one row, the time of
    /// copying a record, which is a third of a millisecond for the largest.
    pub fn copy_rows(&self, cursor: Cursor, rows_max: usize, copies: &mut Copies) -> Option<Cursor> {
        let next = self.store.scan(&mut copies.scan, cursor, rows_max);
        let copied = copies.copy(next, |_| (), |place, copy| Some(copy(self.store.record(place))));
        copied.expect("the owner's records hold still")
    }
}

mod planted {
    //! The mistake that a test must be able to find.

    #[cfg(test)]
    thread_local! {
        /// Set: rows that are gone when they are read are left out on this thread.
        pub(super) static MOVED_ROWS_ARE_SKIPPED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    pub(super) fn are_moved_rows_skipped() -> bool {
        #[cfg(test)]
        return MOVED_ROWS_ARE_SKIPPED.get();
        #[cfg(not(test))]
        false
    }
}

#[cfg(test)]
mod tests;
