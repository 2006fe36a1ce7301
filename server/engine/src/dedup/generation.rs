//! A generation: the fingerprints of one span of the stream's clock, in sub-tables that are split one at a time.
//!
//! Extendible hashing (Fagin et al., 1979) by the first bits of a fingerprint: a directory of table numbers, whose doubling
//! is the only step that is not bounded by one table; it copies four bytes for some thousands of fingerprints.

use super::table::{ALLOCATION_BYTES, Table};

/// A table with so many shared bits is no longer split: it would take a fault of the hash to get there.
const DEPTH_MAX: u8 = 24;

/// Fingerprints that were counted before `end_ms`.
#[derive(Debug)]
pub(super) struct Generation {
    /// Everything in it was counted before this time of the stream's clock.
    pub(super) end_ms: i64,
    tables: Vec<Table>,
    /// Numbers of tables by the first bits of a fingerprint; empty while there is one table.
    directory: Vec<u32>,
    /// How many bits: the directory has two to the power of it.
    depth: u8,
    count: usize,
    bytes: usize,
}

impl Generation {
    /// An empty one.
    pub(super) fn new(end_ms: i64) -> Self {
        let table = Table::new();
        let bytes = size_of::<Self>() + table.bytes();
        Self { end_ms, tables: vec![table], directory: Vec::new(), depth: 0, count: 0, bytes }
    }

    /// What [`Generation::new`] takes.
    pub(super) fn new_bytes() -> usize {
        size_of::<Self>() + Table::new().bytes()
    }

    #[inline]
    fn table_of(&self, fingerprint: u64) -> usize {
        if self.depth == 0 { 0 } else { self.directory[(fingerprint >> (64 - self.depth)) as usize] as usize }
    }

    #[inline]
    pub(super) fn contains(&self, fingerprint: u64) -> bool {
        self.tables[self.table_of(fingerprint)].contains(fingerprint)
    }

    /// How many bytes room for this fingerprint takes at most; 0: there is room.
    #[inline]
    pub(super) fn growth_bytes(&self, fingerprint: u64) -> usize {
        let table = &self.tables[self.table_of(fingerprint)];
        if table.has_room() {
            0
        } else if table.wants_split() {
            let doubled = if table.depth() == self.depth { self.directory_bytes(self.depth + 1) } else { 0 };
            2 * table.split_bytes() + doubled
        } else {
            table.grown_bytes()
        }
    }

    /// Makes room for this fingerprint.
    pub(super) fn grow(&mut self, fingerprint: u64) {
        loop {
            let number = self.table_of(fingerprint);
            let table = &self.tables[number];
            if table.has_room() {
                return;
            }
            if table.wants_split() && table.depth() < DEPTH_MAX {
                self.split(number, fingerprint);
            } else {
                let grown = table.grown();
                self.bytes = self.bytes + grown.bytes() - table.bytes();
                self.tables[number] = grown;
            }
        }
    }

    /// Splits the table of a fingerprint.
    fn split(&mut self, number: usize, fingerprint: u64) {
        let table = &self.tables[number];
        let depth = table.depth() + 1;
        if depth > self.depth {
            self.double();
        }
        let table = &self.tables[number];
        let [low, high] = table.split();
        self.bytes = self.bytes + low.bytes() + high.bytes() - table.bytes();
        self.tables[number] = low;
        self.tables.push(high);
        // The directory's numbers that begin with the shared bits and a one.
        let prefix = fingerprint >> (64 - depth) | 1;
        let spread = self.depth - depth;
        let first = (prefix << spread) as usize;
        self.directory[first..first + (1 << spread)].fill(self.tables.len() as u32 - 1);
    }

    fn double(&mut self) {
        self.bytes -= self.directory_bytes(self.depth);
        self.directory = if self.depth == 0 {
            vec![0, 0]
        } else {
            self.directory.iter().flat_map(|&number| [number, number]).collect()
        };
        self.depth += 1;
        self.bytes += self.directory_bytes(self.depth);
    }

    fn directory_bytes(&self, depth: u8) -> usize {
        if depth == 0 { 0 } else { size_of::<u32>() * (1 << depth) + ALLOCATION_BYTES }
    }

    /// Adds a fingerprint there is [room](Self::grow) for.
    pub(super) fn insert(&mut self, fingerprint: u64) {
        let number = self.table_of(fingerprint);
        self.count += usize::from(self.tables[number].insert(fingerprint));
    }

    /// Frees one table; gives how many bytes and fingerprints went, or `None` when nothing is left. Nothing is looked up in it again.
    pub(super) fn free_one(&mut self) -> Option<(usize, usize)> {
        let table = self.tables.pop()?;
        let (mut bytes, count) = (table.bytes(), table.count());
        if self.tables.is_empty() {
            bytes += size_of::<Self>() + self.directory_bytes(self.depth);
        }
        self.bytes -= bytes;
        self.count -= count;
        Some((bytes, count))
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Generation;

    /// SplitMix64 (Steele, Lea, Flood, 2014): distinct for distinct numbers, spread evenly.
    fn fingerprint(number: u64) -> u64 {
        let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn filled(count: u64) -> Generation {
        let mut generation = Generation::new(0);
        for number in 1..=count {
            let (before, most) = (generation.bytes(), generation.growth_bytes(fingerprint(number)));
            generation.grow(fingerprint(number));
            assert!(generation.bytes() <= before + most, "number {number} took more than it said");
            generation.insert(fingerprint(number));
        }
        generation
    }

    #[test]
    fn every_fingerprint_is_found_and_no_other_however_often_tables_were_split() {
        const COUNT: u64 = 100_000;
        let generation = filled(COUNT);
        assert_eq!(generation.count(), COUNT as usize);
        assert!(generation.tables.len() > 20, "{} tables", generation.tables.len());
        assert!((1..=COUNT).all(|number| generation.contains(fingerprint(number))));
        assert!((COUNT + 1..3 * COUNT).all(|number| !generation.contains(fingerprint(number))));
    }

    #[test]
    fn an_id_takes_ten_to_twenty_bytes() {
        for count in [1_000, 3_000, 5_000, 10_000, 30_000, 100_000] {
            let bytes = filled(count).bytes() as f64 / count as f64;
            assert!((10.0..20.0).contains(&bytes), "{count} ids take {bytes} bytes each");
        }
    }

    #[test]
    fn a_generation_is_freed_table_by_table_to_the_last_byte() {
        let mut generation = filled(50_000);
        let (mut bytes, mut count) = (generation.bytes(), generation.count());
        while let Some((freed_bytes, freed_count)) = generation.free_one() {
            assert!(freed_bytes < 64 << 10 && freed_count <= 4096, "{freed_bytes} bytes at once");
            (bytes, count) = (bytes - freed_bytes, count - freed_count);
        }
        assert_eq!((bytes, count), (0, 0));
    }
}
