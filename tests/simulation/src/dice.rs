//! Where a history's chance comes from: one stream of numbers for each subject, so that a draw more in one shifts no other.

use windrow_storage::SplitMix64;

/// What is decided by chance.
#[derive(Debug, Clone, Copy)]
pub enum Subject {
    /// The shape of the history.
    Plan = 1,
    /// Who steps next.
    Schedule = 2,
    /// What clients ask.
    Clients = 3,
    /// What fails.
    Faults = 4,
    /// How long messages take.
    Links = 5,
    /// What the clock does.
    Clock = 6,
    /// What snapshots do.
    Snapshots = 7,
    /// The rest of the shape: commands over many rows, room in memory, backfills.
    Extras = 8,
    /// What clients ask of these.
    Asking = 9,
    /// What memory there is.
    Memory = 10,
}

/// A stream of draws.
#[derive(Debug, Clone)]
pub struct Dice(SplitMix64);

impl Dice {
    /// The stream of one subject of a seed.
    pub fn new(seed: u64, subject: Subject) -> Dice {
        Dice(SplitMix64::salted(seed, subject as u64))
    }

    /// Any number.
    pub fn word(&mut self) -> u64 {
        self.0.next_word()
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number in `from..=to`.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        assert!(from <= to, "nothing is between {from} and {to}");
        from + self.0.below(from.abs_diff(to) + 1) as i64
    }

    /// An index in `0..len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.below(len as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// An index, as likely as its weight says.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.0.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        unreachable!("a draw below the sum falls on a weight")
    }
}
