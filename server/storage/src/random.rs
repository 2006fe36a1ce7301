//! A small seeded generator (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014). The seed
//! comes from the caller, so a simulation repeats; it is not for secrets.

/// A stream of 64-bit words that its seed determines.
#[derive(Debug, Clone)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64 { state: seed }
    }

    /// A stream of its own for each (seed, subsystem), so that a draw more in one does not shift the others.
    pub fn salted(seed: u64, subsystem: u64) -> SplitMix64 {
        let mut outer = SplitMix64::new(subsystem);
        SplitMix64::new(seed ^ outer.next_word())
    }

    /// The next word.
    pub fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number in `0..bound`. The bias of the remainder does not matter where this is used.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        self.next_word() % bound
    }
}
