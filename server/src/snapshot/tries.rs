//! When the last image was written, and when the last attempt failed: from these it follows when the next may be tried.

use std::time::{Duration, Instant};

/// After an image could not be written, the next is tried so much later.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What was tried so far.
#[derive(Debug)]
pub(super) struct Tries {
    /// The last image; before the first one, the start.
    written: Instant,
    /// The last attempt, if it came to nothing.
    failed: Option<Instant>,
}

impl Tries {
    pub(super) fn new(now: Instant) -> Self {
        Tries { written: now, failed: None }
    }

    /// An image was written, or could not be. A failure leaves the image as due as it was.
    pub(super) fn note(&mut self, is_written: bool, now: Instant) {
        if is_written {
            self.written = now;
        }
        self.failed = (!is_written).then_some(now);
    }

    /// Whether one may be tried, if it is due.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.failed.is_none_or(|failed| now.saturating_duration_since(failed) >= RETRY_AFTER)
    }

    /// Whether the last image is so old.
    pub(super) fn is_old(&self, after: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.written) >= after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_the_next_is_tried_soon_and_not_only_when_its_time_has_passed_once_more() {
        const SAVE: Duration = Duration::from_secs(300);
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let is_tried = |tries: &Tries, s| tries.may_try(at(s)) && tries.is_old(SAVE, at(s));
        let mut tries = Tries::new(start);
        assert!(!is_tried(&tries, 299) && is_tried(&tries, 300));
        tries.note(false, at(301));
        assert!(!is_tried(&tries, 330) && is_tried(&tries, 331), "30 s after the failure");
        tries.note(false, at(332));
        assert!(!is_tried(&tries, 361) && is_tried(&tries, 362), "and again");
        tries.note(true, at(365));
        assert!(tries.may_try(at(366)), "for another reason than time");
        assert!(!is_tried(&tries, 664) && is_tried(&tries, 665));
    }
}
