//! How a mistake is planted. Crates that share no crate below them have this file as a module beside their enum of mistakes.

use super::Mistake;

#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn is_planted(_: Mistake) -> bool {
    false
}

#[cfg(feature = "planted")]
pub(crate) use under_test::is_planted;
#[cfg(feature = "planted")]
pub use under_test::plant;

#[cfg(feature = "planted")]
mod under_test {
    use std::cell::Cell;

    use super::Mistake;

    std::thread_local! {
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    pub(crate) fn is_planted(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }

    /// From now on this thread makes the mistake, or none.
    pub fn plant(mistake: Option<Mistake>) {
        PLANTED.set(mistake);
    }
}
