//! A value alone on its cache lines.

use std::ops::Deref;

/// Keeps its value off the cache lines of its neighbours, so that two cores which write two neighbouring values do
/// not take the line from each other.
///
/// 128 bytes rather than 64: Intel's adjacent-line prefetcher fetches pairs of lines, and Apple's cores have lines of
/// 128 bytes.
#[repr(align(128))]
pub(crate) struct Padded<T>(T);

impl<T> Padded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
