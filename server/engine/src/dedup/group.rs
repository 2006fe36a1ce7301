//! What one stream remembers for one group of hash slots.

use super::generation::Generation;
use super::sources::Sources;

/// Ids in generations, and sources.
#[derive(Debug)]
pub(super) struct Group {
    /// By their ends, ascending. An id goes to the newest; the one before is kept until everything in it is old enough.
    generations: Vec<Generation>,
    /// How many generations there ever were: so each has a number.
    begun: u64,
    /// The latest stamp of an event that was remembered here. It alone decides which generation an id goes to, and the log has it.
    clock_ms: i64,
    pub(super) sources: Sources,
}

impl Group {
    pub(super) fn new() -> Self {
        Self { generations: Vec::new(), begun: 0, clock_ms: i64::MIN, sources: Sources::default() }
    }

    /// Whether the id is remembered at `clock_ms`: it was counted within `dedup_ms`, or not long before.
    #[inline]
    pub(super) fn contains(&self, fingerprint: u64, clock_ms: i64, dedup_ms: i64) -> bool {
        let clock_ms = clock_ms.max(self.clock_ms);
        self.generations
            .iter()
            .rev()
            .any(|generation| !is_over(generation, clock_ms, dedup_ms) && generation.contains(fingerprint))
    }

    /// Whether an id of an event stamped `clock_ms` goes to the newest generation; otherwise a new one begins.
    ///
    /// One that began under a longer DEDUP would keep an id for too long.
    #[inline]
    fn is_newest_open(&self, clock_ms: i64, dedup_ms: i64) -> bool {
        let clock_ms = clock_ms.max(self.clock_ms);
        self.generations.last().is_some_and(|newest| {
            clock_ms < newest.end_ms && newest.end_ms <= clock_ms.saturating_add(dedup_ms)
        })
    }

    /// How many bytes room for the id takes at most.
    #[inline]
    pub(super) fn growth_bytes(&self, fingerprint: u64, clock_ms: i64, dedup_ms: i64) -> usize {
        match self.generations.last() {
            Some(newest) if self.is_newest_open(clock_ms, dedup_ms) => newest.growth_bytes(fingerprint),
            _ => Generation::new_bytes(),
        }
    }

    /// Adds an id. Room is made as needed.
    pub(super) fn insert(&mut self, fingerprint: u64, clock_ms: i64, dedup_ms: i64) {
        if !self.is_newest_open(clock_ms, dedup_ms) {
            let now_ms = clock_ms.max(self.clock_ms);
            if let Some(newest) = self.generations.last_mut() {
                // Where DEDUP has become shorter, what it holds was counted by now.
                newest.end_ms = newest.end_ms.min(now_ms.saturating_add(1));
            }
            // Generations begin at multiples of DEDUP, so that they do not depend on who came first.
            let begins_ms = clock_ms.max(self.clock_ms).div_euclid(dedup_ms) * dedup_ms;
            self.generations.push(Generation::new(begins_ms.saturating_add(dedup_ms)));
            self.begun += 1;
        }
        let newest = self.generations.last_mut().expect("there is one that is open");
        newest.grow(fingerprint);
        newest.insert(fingerprint);
    }

    /// An event was remembered.
    pub(super) fn observe(&mut self, clock_ms: i64) {
        self.clock_ms = self.clock_ms.max(clock_ms);
    }

    /// The generations that are over at `clock_ms`.
    pub(super) fn take_over(&mut self, clock_ms: i64, dedup_ms: i64) -> impl Iterator<Item = Generation> {
        let clock_ms = clock_ms.max(self.clock_ms);
        let over = self.generations.iter().take_while(|&generation| is_over(generation, clock_ms, dedup_ms));
        let count = over.count();
        self.generations.drain(..count)
    }

    /// One as it was exported: its clock, and the ends of its generations, which are empty at first.
    pub(super) fn of(clock_ms: i64, ends_ms: &[i64]) -> Self {
        let generations: Vec<Generation> = ends_ms.iter().map(|&end_ms| Generation::new(end_ms)).collect();
        let begun = generations.len() as u64;
        Self { generations, begun, clock_ms, sources: Sources::default() }
    }

    /// The latest stamp of an event that was remembered here.
    pub(super) fn clock_ms(&self) -> i64 {
        self.clock_ms
    }

    /// Its generations, oldest first, each with its number.
    pub(super) fn numbered(&self) -> impl ExactSizeIterator<Item = (u64, &Generation)> {
        let first = self.begun - self.generations.len() as u64;
        self.generations.iter().enumerate().map(move |(index, generation)| (first + index as u64, generation))
    }

    /// Puts fingerprints in ascending order in place of what a generation holds: the `index`-th from the oldest on.
    pub(super) fn fill(&mut self, index: usize, fingerprints: &[u64]) {
        let end_ms = self.generations[index].end_ms;
        self.generations[index] = Generation::of(end_ms, fingerprints);
    }

    /// All generations.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Generation> {
        self.generations.drain(..)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.sources.is_empty()
    }

    pub(super) fn ids(&self) -> usize {
        self.generations.iter().map(Generation::count).sum()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let ids: usize = self.generations.iter().map(Generation::bytes).sum();
        size_of::<Self>() + self.sources.bytes() + ids
    }
}

/// Whether everything in the generation was counted more than DEDUP ago. It is then at most twice that old: what was counted
/// first in it is one DEDUP older than its end.
#[inline]
fn is_over(generation: &Generation, clock_ms: i64, dedup_ms: i64) -> bool {
    clock_ms >= generation.end_ms.saturating_add(dedup_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, proptest};

    use super::Group;

    const DEDUP_MS: i64 = 100;

    proptest! {
        #[test]
        fn an_id_is_kept_at_least_dedup_and_at_most_twice_that(
            start in -1_000i64..1_000,
            events in prop::collection::vec((1u64..20, 0i64..60), 1..200),
        ) {
            let mut group = Group::new();
            let mut clock = start;
            let mut counted: Vec<(u64, i64)> = Vec::new();
            for (fingerprint, step) in events {
                clock += step;
                let age = counted.iter().filter(|(id, _)| *id == fingerprint).map(|(_, at)| clock - at).min();
                let is_kept = group.contains(fingerprint, clock, DEDUP_MS);
                match age {
                    Some(age) if age <= DEDUP_MS => assert!(is_kept, "{age} ms old"),
                    Some(age) if age >= 2 * DEDUP_MS => assert!(!is_kept, "{age} ms old"),
                    Some(_) => {}
                    None => assert!(!is_kept),
                }
                if !is_kept {
                    group.insert(fingerprint, clock, DEDUP_MS);
                    group.observe(clock);
                    counted.push((fingerprint, clock));
                }
                let before: Vec<bool> = (1..20).map(|id| group.contains(id, clock, DEDUP_MS)).collect();
                drop(group.take_over(clock, DEDUP_MS));
                let after: Vec<bool> = (1..20).map(|id| group.contains(id, clock, DEDUP_MS)).collect();
                assert_eq!(before, after, "freeing is not seen");
                assert!(group.generations.len() <= 2, "{} generations live", group.generations.len());
            }
        }
    }

    #[test]
    fn an_event_stamped_before_the_clock_moved_on_is_kept_as_long_as_one_stamped_after() {
        let mut group = Group::new();
        group.insert(1, 1_050, DEDUP_MS);
        group.observe(1_050);
        group.insert(2, 990, DEDUP_MS);
        assert!(group.contains(2, 1_150, DEDUP_MS));
        assert_eq!(group.generations.len(), 1);
    }

    #[test]
    fn a_longer_dedup_keeps_what_is_remembered_longer_and_a_shorter_one_shorter() {
        let mut group = Group::new();
        group.insert(1, 1_000, DEDUP_MS);
        group.observe(1_000);
        assert!(group.contains(1, 2_000, 10 * DEDUP_MS) && !group.contains(1, 2_000, DEDUP_MS));
        assert!(!group.contains(1, 1_120, DEDUP_MS / 5));
    }

    #[test]
    fn ids_that_come_after_dedup_became_shorter_are_kept_at_most_twice_the_shorter() {
        let mut group = Group::new();
        group.insert(1, 1_000, 100 * DEDUP_MS);
        group.observe(1_000);
        group.insert(2, 1_010, DEDUP_MS);
        group.observe(1_010);
        assert!(group.contains(2, 1_110, DEDUP_MS) && !group.contains(2, 1_211, DEDUP_MS));
        assert!(group.contains(1, 1_100, DEDUP_MS) && !group.contains(1, 1_211, DEDUP_MS));
    }
}
