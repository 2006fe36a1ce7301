//! A generation: the fingerprints of one span of the stream's clock, in sub-tables that are split one at a time.
//!
//! Extendible hashing (Fagin et al., 1979) by the first bits of a fingerprint: a directory of table numbers, whose doubling
//! is the only step that is not bounded by one table; it copies four bytes for some thousands of fingerprints.

use super::table::{ALLOCATION_BYTES, FINGERPRINTS_MAX, Table};

/// A table with so many shared bits is no longer split: it would take a fault of the hash to get there.
const DEPTH_MAX: u8 = 24;
/// A generation that is made as a whole has a directory of at most so many times, to the power of two, what even spread would need.
const DEPTH_SPREAD: u8 = 6;

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

    /// One of fingerprints in ascending order.
    pub(super) fn of(end_ms: i64, fingerprints: &[u64]) -> Self {
        // Fingerprints spread evenly, so the directory stays this small; if they do not, tables are large instead.
        let depth_max = (fingerprints.len() / FINGERPRINTS_MAX + 1).ilog2() as u8 + DEPTH_SPREAD;
        let mut parts = Vec::new();
        divide(fingerprints, 0, depth_max.min(DEPTH_MAX), &mut parts);
        let depth = parts.iter().map(|&(_, depth)| depth).max().unwrap_or(0);
        let mut generation = Self {
            end_ms,
            tables: Vec::new(),
            directory: Vec::new(),
            depth,
            count: fingerprints.len(),
            bytes: 0,
        };
        for (part, table_depth) in parts {
            let table = Table::of(part, table_depth);
            generation.bytes += table.bytes();
            if depth > 0 {
                let number = generation.tables.len() as u32;
                generation.directory.extend(std::iter::repeat_n(number, 1 << (depth - table_depth)));
            }
            generation.tables.push(table);
        }
        generation.bytes += size_of::<Self>() + generation.directory_bytes(depth);
        generation
    }

    /// The fingerprints from `from` on of the table that it would be in, at most `count_max`, in ascending order; and where to go on.
    pub(super) fn fingerprints_from(&self, from: u64, count_max: usize) -> (Vec<u64>, Option<u64>) {
        let table = &self.tables[self.table_of(from)];
        let mut rest = table.iter().skip_while(|&fingerprint| fingerprint < from);
        let taken = rest.by_ref().take(count_max).collect();
        let next = rest.next().or_else(|| match table.depth() {
            0 => None,
            // Behind all that share the table's bits.
            depth => (from | u64::MAX >> depth).checked_add(1),
        });
        (taken, next)
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

/// Parts of which each fits a table with room to spare, in order, and how many first bits each shares.
fn divide<'f>(fingerprints: &'f [u64], depth: u8, depth_max: u8, parts: &mut Vec<(&'f [u64], u8)>) {
    if fingerprints.len() < FINGERPRINTS_MAX || depth == depth_max {
        parts.push((fingerprints, depth));
        return;
    }
    let bit = 1 << (63 - depth);
    let (low, high) =
        fingerprints.split_at(fingerprints.partition_point(|fingerprint| fingerprint & bit == 0));
    divide(low, depth + 1, depth_max, parts);
    divide(high, depth + 1, depth_max, parts);
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
    fn one_of_its_fingerprints_is_like_the_one_they_were_taken_from() {
        for count in [0, 1, 100, 4_095, 4_096, 30_000] {
            let generation = filled(count);
            let (mut taken, mut next) = (Vec::new(), Some(0));
            while let Some(from) = next {
                let (some, then) = generation.fingerprints_from(from, 1_000);
                let before = taken.len();
                taken.extend(some);
                assert!(taken.len() - before <= 1_000 && then.is_none_or(|then| then > from));
                next = then;
            }
            assert!(taken.is_sorted_by(|a, b| a < b));
            let mut made = Generation::of(0, &taken);
            assert_eq!(made.count(), count as usize);
            assert!(
                made.bytes() <= 2 * generation.bytes(),
                "{} and {} bytes",
                made.bytes(),
                generation.bytes()
            );
            // It goes on like any other.
            for number in count + 1..=count + 10_000 {
                made.grow(fingerprint(number));
                made.insert(fingerprint(number));
            }
            assert!((1..=count + 10_000).all(|number| made.contains(fingerprint(number))));
            assert!((count + 10_001..count + 50_000).all(|number| !made.contains(fingerprint(number))));
            let mut bytes = made.bytes();
            while let Some((freed, _)) = made.free_one() {
                bytes -= freed;
            }
            assert_eq!(bytes, 0, "what it takes is counted");
        }
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
