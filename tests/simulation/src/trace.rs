//! What happens, told line by line while one history is repeated.

use std::fmt;

/// Tells, or not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace {
    /// Whether anybody listens.
    pub is_on: bool,
}

impl Trace {
    /// Tells one thing.
    pub fn say(self, step: u64, what: fmt::Arguments<'_>) {
        if self.is_on {
            println!("{step:>6}  {what}");
        }
    }
}
