//! The words of a record, abstract over where they live.

/// Read access to a record's 64-bit words.
pub trait Words {
    /// The word at `index`.
    fn get(&self, index: usize) -> u64;
    /// How many words there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Write access to a record's words, for its one writer.
pub trait WordsMut: Words {
    /// Sets the word at `index`.
    fn set(&mut self, index: usize, word: u64);
}

impl Words for [u64] {
    #[inline]
    fn get(&self, index: usize) -> u64 {
        self[index]
    }

    #[inline]
    fn len(&self) -> usize {
        <[u64]>::len(self)
    }
}

impl WordsMut for [u64] {
    #[inline]
    fn set(&mut self, index: usize, word: u64) {
        self[index] = word;
    }
}
