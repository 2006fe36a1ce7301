//! Walking over all records, a slice at a time.
//!
//! The walk goes by hash, the one order that nothing changes: not a split, nor a move, nor another walk. A cursor is
//! the next hash to visit, so it stays good for ever, and needs nothing of the store to remember it. A record that is there
//! throughout is visited exactly once; one that comes or goes meanwhile, at most once.

use super::{
    Contended, Reader, Shared, Store,
    reader::{READ_ATTEMPTS_MAX, pause},
};
use crate::{
    handle::{HANDLE_BITS, Handle},
    index::{Entry, Found, Probe, TAG_BITS},
    planted::{Mistake, is_planted},
    reclaim::Participant,
};
use std::{convert::Infallible, ops::ControlFlow};

/// The most rows of one slice, but for records whose hashes begin alike (30 bits): these come together.
pub const SCAN_ROWS_MAX: usize = 256;

/// How far a walk has come. The same for every store; a number that a client may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    /// Before the first record.
    pub const START: Self = Self(0);

    /// Before the records whose hashes begin as this one: all of these come together.
    pub fn before(hash: u64) -> Self {
        Self(hash >> HANDLE_BITS << HANDLE_BITS)
    }

    /// The cursor as a number below 2^30.
    pub fn to_number(self) -> u64 {
        self.0 >> HANDLE_BITS
    }

    /// The cursor that this number stands for, or `None` where there is no such.
    pub fn from_number(number: u64) -> Option<Self> {
        (number >> TAG_BITS == 0).then_some(Self(number << HANDLE_BITS))
    }
}

/// What a walk needs beside its cursor: room to sort a segment's entries in, kept from slice to slice.
#[derive(Default)]
pub struct Scan {
    entries: Vec<Entry>,
    rows: Vec<Handle>,
}

impl Scan {
    /// The rows of the last slice, in the order of their hashes.
    pub fn rows(&self) -> &[Handle] {
        &self.rows
    }

    /// Where to go on so that the row at `index` of the last slice comes next, if the slice can be cut there: not between records whose
    /// hashes begin the same.
    pub fn cursor_before(&self, index: usize) -> Option<Cursor> {
        let tag = self.entries.get(index)?.tag();
        let before = index.checked_sub(1).map(|before| self.entries[before].tag());
        (before != Some(tag)).then_some(Cursor(tag))
    }

    /// Collects the entries from `cursor` on in the segment that covers it; returns where that segment ends, or `None` where the
    /// look proves nothing.
    fn collect(&mut self, shared: &Shared, cursor: Cursor) -> Option<Option<Cursor>> {
        let probe = Probe::start(&shared.region, &shared.root, cursor.0);
        let end = end_of_segment(cursor, probe.depth());
        let last = end.map_or(u64::MAX, |end| end.0 - 1);
        let entries = &mut self.entries;
        entries.clear();
        let found = probe.all(|entry| {
            // Just after a split there may still be words behind the end, which are the next segment's by now.
            let is_before_end = entry.tag() <= last || is_planted(Mistake::WalkGoesBehindItsEnd);
            if entry.tag() >= cursor.0 && is_before_end {
                entries.push(entry);
            }
            ControlFlow::<Infallible>::Continue(())
        });
        match found {
            Found::Nowhere => Some(end),
            Found::Here(never) => match never {},
            Found::Unproved => None,
        }
    }

    /// Takes the first `rows_max` of the collected entries, and with the last all that share its tag.
    fn take(&mut self, end: Option<Cursor>, rows_max: usize) -> Option<Cursor> {
        let rows_max = rows_max.clamp(1, SCAN_ROWS_MAX);
        self.rows.clear();
        let mut next = end;
        if self.entries.len() > rows_max {
            let (_, last, _) = self.entries.select_nth_unstable_by_key(rows_max - 1, |entry| entry.tag());
            let last = last.tag();
            self.entries.retain(|entry| entry.tag() <= last);
            next = last.checked_add(1 << HANDLE_BITS).map(Cursor);
        }
        self.entries.sort_unstable_by_key(|entry| (entry.tag(), entry.handle()));
        self.rows.extend(self.entries.iter().map(|entry| entry.handle()));
        next
    }
}

/// The first hash behind the segment of this depth that covers `cursor`.
fn end_of_segment(cursor: Cursor, depth: u32) -> Option<Cursor> {
    // In two steps, since a shift by 64 is none.
    let prefix = (cursor.0 >> 1 >> (u64::BITS - 1 - depth)) + 1;
    (prefix >> depth == 0).then(|| Cursor(prefix << (u64::BITS - 1 - depth) << 1))
}

impl Store {
    /// Finds the records from `cursor` on: at most `rows_max` (itself at most [`SCAN_ROWS_MAX`]), left in `scan`. Returns where to
    /// go on; `None`: that was all. A slice may have no rows and yet not be the last, so that each is a bounded amount
    /// of work.
    pub fn scan(&self, scan: &mut Scan, cursor: Cursor, rows_max: usize) -> Option<Cursor> {
        let end = scan.collect(&self.shared, cursor).expect("nothing changes while its owner looks");
        scan.take(end, rows_max)
    }
}

impl Store {
    /// Starts to load the heads of the rows of a slice, which are spread all over the memory.
    pub fn prefetch_rows(&self, scan: &Scan) {
        for row in &scan.rows {
            self.shared.region.prefetch(*row, 0);
        }
    }
}

impl Reader {
    /// Starts to load what is at `handle`, one that [`Reader::scan`] gave since the last quiescent point: its first `lines` cache lines,
    /// as far as its slot goes. Nothing of a chunk that is not [adopted](Store::with_image) yet.
    #[inline]
    pub fn prefetch_at(&self, participant: &Participant, handle: Handle, lines: usize) {
        /// Words of a cache line.
        const LINE_WORDS: usize = 8;
        self.check(participant);
        let region = &self.shared().region;
        let Some(words) = region.slot_that_is_there(handle) else { return };
        for word in (0..words.len()).step_by(LINE_WORDS).take(lines) {
            region.prefetch(handle, word);
        }
    }

    /// As [`Store::scan`], from any thread. The rows are good until the participant's next quiescent point;
    /// [`Reader::read_at`] reads them.
    ///
    /// # Errors
    ///
    /// [`Contended`] after as many attempts as a read has.
    pub fn scan(
        &self,
        participant: &Participant,
        scan: &mut Scan,
        cursor: Cursor,
        rows_max: usize,
    ) -> Result<Option<Cursor>, Contended> {
        self.check(participant);
        for _ in 0..READ_ATTEMPTS_MAX {
            if let Some(end) = scan.collect(self.shared(), cursor) {
                return Ok(scan.take(end, rows_max));
            }
            pause();
        }
        Err(Contended)
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}
