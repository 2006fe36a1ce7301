//! A sub-table: a bounded set of fingerprints in one allocation.
//!
//! Open addressing in the order of the fingerprints (Amble and Knuth, "Ordered hash tables", 1974): all share their first
//! `depth` bits, those behind say where in `home` slots one belongs, and it stands there or, in order, soon behind. Since the
//! order of places is that of fingerprints, nothing wraps around: some slots behind the last home take what runs over. A miss
//! ends at the first larger fingerprint, so the table may be three quarters full.

/// A table with so many fingerprints is split rather than grown.
pub(super) const FINGERPRINTS_MAX: usize = 4096;
/// Homes of a table of [`FINGERPRINTS_MAX`].
const HOME_MAX: usize = FINGERPRINTS_MAX * 4 / 3 + 1;
const HOME_MIN: usize = 4;
/// Tables of fewer homes grow by a half, others by a quarter.
const HOME_SMALL: usize = 64;
/// No fingerprint has this value.
const EMPTY: u64 = 0;
/// What an allocation costs beside its bytes.
pub(super) const ALLOCATION_BYTES: usize = 16;

/// A set of fingerprints that share their first bits.
#[derive(Debug)]
pub(super) struct Table {
    slots: Box<[u64]>,
    home: u32,
    count: u32,
    depth: u8,
}

impl Table {
    /// A table without fingerprints, with room for some.
    pub(super) fn new() -> Self {
        Self::build(&[], 0, HOME_MIN)
    }

    /// A table of fingerprints in ascending order that share their first `depth` bits, with at least so many homes.
    fn build(fingerprints: &[u64], depth: u8, home: usize) -> Self {
        let mut home = home.max(HOME_MIN);
        loop {
            let slots = vec![EMPTY; slots_of(home)].into_boxed_slice();
            let mut table = Self { slots, home: home as u32, count: fingerprints.len() as u32, depth };
            if table.fill(fingerprints) {
                return table;
            }
            home = grown(home);
        }
    }

    /// False: they do not fit.
    fn fill(&mut self, fingerprints: &[u64]) -> bool {
        let mut free = 0;
        for &fingerprint in fingerprints {
            let at = free.max(self.place(fingerprint));
            let Some(slot) = self.slots.get_mut(at) else { return false };
            *slot = fingerprint;
            free = at + 1;
        }
        self.has_room()
    }

    #[inline]
    fn place(&self, fingerprint: u64) -> usize {
        ((u128::from(fingerprint << self.depth) * u128::from(self.home)) >> 64) as usize
    }

    /// The first slot from its place on that is empty or has this fingerprint or a larger one.
    #[inline]
    fn find(&self, fingerprint: u64) -> usize {
        let place = self.place(fingerprint);
        let run = self.slots[place..].iter().take_while(|&&there| there != EMPTY && there < fingerprint);
        place + run.count()
    }

    /// Whether the fingerprint is in it.
    #[inline]
    pub(super) fn contains(&self, fingerprint: u64) -> bool {
        self.slots.get(self.find(fingerprint)) == Some(&fingerprint)
    }

    /// Whether one more fits, whichever it is.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        (self.count as usize + 1) * 4 <= self.home as usize * 3 && self.slots.last() == Some(&EMPTY)
    }

    /// Adds a fingerprint; false: it was there.
    ///
    /// # Panics
    /// Without [room](Self::has_room).
    pub(super) fn insert(&mut self, fingerprint: u64) -> bool {
        assert!(self.has_room(), "{} fingerprints in {} slots", self.count, self.slots.len());
        let at = self.find(fingerprint);
        if self.slots[at] == fingerprint {
            return false;
        }
        let run = self.slots[at..].iter().take_while(|&&there| there != EMPTY).count();
        self.slots.copy_within(at..at + run, at + 1);
        self.slots[at] = fingerprint;
        self.count += 1;
        true
    }

    /// Whether making room takes two tables.
    pub(super) fn wants_split(&self) -> bool {
        self.count as usize >= FINGERPRINTS_MAX || self.home as usize >= HOME_MAX
    }

    /// A larger table of the same fingerprints.
    pub(super) fn grown(&self) -> Self {
        Self::build(&self.fingerprints(), self.depth, grown(self.home as usize))
    }

    /// Bytes of [`Table::grown`], as a rule.
    pub(super) fn grown_bytes(&self) -> usize {
        table_bytes(slots_of(grown(self.home as usize)))
    }

    /// Two tables of the same fingerprints, by the next bit.
    pub(super) fn split(&self) -> [Self; 2] {
        let fingerprints = self.fingerprints();
        let bit = 1 << (63 - self.depth);
        let (low, high) =
            fingerprints.split_at(fingerprints.partition_point(|fingerprint| fingerprint & bit == 0));
        [low, high].map(|half| Self::of(half, self.depth + 1))
    }

    /// Bytes of one table of a [`Table::split`] at most, as a rule.
    pub(super) fn split_bytes(&self) -> usize {
        table_bytes(slots_of(self.count as usize * 3 / 2))
    }

    /// A table of fingerprints in ascending order that share their first `depth` bits.
    pub(super) fn of(fingerprints: &[u64], depth: u8) -> Self {
        Self::build(fingerprints, depth, fingerprints.len() * 3 / 2)
    }

    fn fingerprints(&self) -> Vec<u64> {
        self.iter().collect()
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + Clone {
        self.slots.iter().copied().filter(|&slot| slot != EMPTY)
    }

    pub(super) fn depth(&self) -> u8 {
        self.depth
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        table_bytes(self.slots.len())
    }
}

fn table_bytes(slots: usize) -> usize {
    size_of::<Table>() + slots * size_of::<u64>() + ALLOCATION_BYTES
}

/// With the slots behind the last home: at three quarters full, a table of [`HOME_MAX`] runs over so far once in 10³⁰ times.
fn slots_of(home: usize) -> usize {
    home + HOME_MIN + home / 32
}

fn grown(home: usize) -> usize {
    let more = if home < HOME_SMALL { home / 2 } else { home / 4 };
    let larger = home + more;
    if home < HOME_MAX { larger.min(HOME_MAX) } else { larger }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

    use super::{EMPTY, FINGERPRINTS_MAX, Table};

    fn fingerprint() -> impl Strategy<Value = u64> {
        // Few places, so that runs grow and run over at the end.
        prop_oneof![any::<u64>(), 0..100u64, u64::MAX - 100..=u64::MAX, (0..8u64).prop_map(|high| high << 61)]
            .prop_map(|fingerprint| fingerprint.max(EMPTY + 1))
    }

    proptest! {
        #[test]
        fn a_table_and_its_halves_hold_what_was_added_and_nothing_else(
            added in prop::collection::vec(fingerprint(), 0..600),
            others in prop::collection::vec(fingerprint(), 0..100),
        ) {
            let mut table = Table::new();
            let mut model = BTreeSet::new();
            for fingerprint in added {
                if !table.has_room() {
                    table = table.grown();
                }
                assert_eq!(table.insert(fingerprint), model.insert(fingerprint));
            }
            assert_eq!(table.count(), model.len());
            let halves = table.split();
            assert_eq!(halves[0].count() + halves[1].count(), model.len());
            for fingerprint in others.iter().chain(&model) {
                assert_eq!(table.contains(*fingerprint), model.contains(fingerprint));
                let half = &halves[usize::from(fingerprint >> 63 == 1)];
                assert_eq!(half.contains(*fingerprint), model.contains(fingerprint));
            }
        }
    }

    #[test]
    fn a_full_table_takes_at_most_14_bytes_a_fingerprint_and_grows_no_further() {
        let mut table = Table::new();
        let mut fingerprint = 0u64;
        while !table.wants_split() || table.has_room() {
            if !table.has_room() {
                table = table.grown();
            }
            // Steps of the golden ratio spread evenly.
            fingerprint = fingerprint.wrapping_add(0x9e37_79b9_7f4a_7c15);
            table.insert(fingerprint);
        }
        assert_eq!(table.count(), FINGERPRINTS_MAX);
        assert!(table.bytes() <= 14 * FINGERPRINTS_MAX, "{} bytes", table.bytes());
    }
}
