//! Mistakes that the simulator plants in the code that ships, to show that it would notice them.
//!
//! In an ordinary build [`is_planted`] is a constant that the compiler removes; only the feature `planted`, which nothing that ships
//! has, lets a test plant one for its own thread.

/// A place in reads where less would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A range is read of a tier that does not keep its beginning any more.
    RangeOfWhatIsGone,
    /// Under EDGE EXCLUDE a past T lets events after it in.
    PastEdgeAsPresent,
}

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
