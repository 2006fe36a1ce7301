//! The arguments of a command, wherever their bytes lie.

/// Arguments by index.
pub trait Args {
    /// How many there are.
    fn len(&self) -> usize;
    /// The bytes of one; `index` is below [`Args::len`].
    fn get(&self, index: usize) -> &[u8];
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Args for [&[u8]] {
    fn len(&self) -> usize {
        <[&[u8]]>::len(self)
    }

    fn get(&self, index: usize) -> &[u8] {
        self[index]
    }
}
