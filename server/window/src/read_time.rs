//! When a read looks: T, and the bounds of the windows that end at it.
//!
//! T is made in steps, each of which may only move it back:
//!
//! | step | T becomes |
//! | --- | --- |
//! | no AT | clock + 1 |
//! | `AT <ts>` | ts |
//! | `AT EVENT` | min(newest event of the stream, clock) + 1 |
//! | `OFFSET d` | T − d |
//! | `FINAL` | the watermark, if that is earlier |
//! | `HOP h` | the largest multiple of h that is not above T |
//! | `FINAL` | for each feature: the largest multiple of its bucket width that is not above T |
//!
//! So FINAL alone reads at the largest multiple of the width that is not above the watermark, and with HOP at the last hop whose
//! buckets are all closed.
//!
//! A window of length W over buckets of width w covers
//!
//! | | from | to |
//! | --- | --- | --- |
//! | `EDGE INCLUDE` | floor(T − W, w) | ceil(T, w) |
//! | `EDGE EXCLUDE`, T is the present | ceil(T − W, w) | ceil(T, w) |
//! | `EDGE EXCLUDE`, T is past | ceil(T − W, w) | floor(T, w) |
//!
//! T is the present without `AT <ts>` and OFFSET, unless HOP has moved it: then there may be events after it, as under `AT <ts>`.
//! Under FINAL, T is a multiple of w, where all three agree.

use crate::aggregate::Length;
use crate::duration;
use crate::error::QueryError;
use crate::layout::Layout;
use crate::planted::{Mistake, is_planted};
use crate::query::Feature;
use crate::timestamp::{bucket_ceil, bucket_of, floor_to};

/// What the windows of a read end at, before OFFSET, HOP and FINAL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The stream's clock + 1 ms.
    #[default]
    Now,
    /// This time, exclusive.
    Timestamp(i64),
    /// Right after the newest event of the stream that is not ahead of its clock.
    Event,
}

/// Which side a window errs on where its edge falls inside a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// Never misses an event; reaches back at most a bucket too far.
    #[default]
    Include,
    /// Never holds an event from outside the window.
    Exclude,
}

/// The options of a read that say when it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// AT.
    pub at: At,
    /// OFFSET, not negative.
    pub offset_ms: Option<i64>,
    /// HOP, positive.
    pub hop_ms: Option<i64>,
    /// FINAL; the stream has LATENESS.
    pub is_final: bool,
    /// EDGE.
    pub edge: Edge,
}

/// The times of a stream that a read looks at, taken once for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTime {
    /// The stream's clock; `None` while a stream with CLOCK EVENT has no event.
    pub clock: Option<i64>,
    /// The newest event time counted in the stream; `None` if there is none.
    pub newest: Option<i64>,
}

/// The one time of a read, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTime {
    /// T: the end of the windows, exclusive. Under FINAL each feature floors it to its bucket width.
    pub t: i64,
    /// The stream's clock; `None` while a stream with CLOCK EVENT has no event.
    pub clock: Option<i64>,
    /// Whether no option moved T, so that `all` exists.
    pub present: bool,
    is_final: bool,
    edges: Edges,
    /// Whether T says anything: not where it would be the clock of a stream that has none.
    is_known: bool,
}

/// How the edges of a window are rounded to buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edges {
    /// Start down, end up.
    Include,
    /// Both up.
    ExcludeOld,
    /// Start up, end down.
    ExcludeBoth,
}

/// The buckets that a feature is evaluated over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The tier they belong to.
    pub tier: usize,
    /// Index of the first.
    pub from: i64,
    /// Index behind the last; not above `from` in an empty window.
    pub to: i64,
    /// T of this feature.
    pub t: i64,
    /// W.
    pub length_ms: i64,
}

impl When {
    /// Whether T is what the clock says, so that `all` exists.
    pub fn is_present(&self) -> bool {
        self.at == At::Now && self.offset_ms.is_none() && self.hop_ms.is_none() && !self.is_final
    }

    /// Resolves T.
    pub fn resolve(&self, layout: &Layout, times: StreamTime) -> ReadTime {
        let clock = times.clock;
        // Where nothing was counted, every T reads the same; the clock's makes sense.
        let newest = times.newest.or(clock);
        let end = match self.at {
            At::Timestamp(t) => Some(t),
            At::Now => clock.map(|clock_ms| clock_ms + 1),
            At::Event => clock.zip(newest).map(|(clock_ms, newest_ms)| newest_ms.min(clock_ms) + 1),
        };
        let mut t = end.unwrap_or(0) - self.offset_ms.unwrap_or(0);
        if let (true, Some(watermark_ms)) = (self.is_final, layout.watermark_ms(clock)) {
            t = t.min(watermark_ms);
        }
        let hopped = self.hop_ms.map_or(t, |hop_ms| floor_to(t, hop_ms));
        let is_past = matches!(self.at, At::Timestamp(_)) || self.offset_ms.is_some() || hopped != t;
        let edges = match (self.edge, is_past) {
            (Edge::Include, _) => Edges::Include,
            (Edge::Exclude, true) if !is_planted(Mistake::PastEdgeAsPresent) => Edges::ExcludeBoth,
            (Edge::Exclude, _) => Edges::ExcludeOld,
        };
        ReadTime {
            t: hopped,
            clock,
            present: self.is_present(),
            is_final: self.is_final,
            edges,
            is_known: end.is_some(),
        }
    }
}

impl ReadTime {
    /// The present, without options.
    pub fn now(clock: Option<i64>) -> Self {
        Self {
            t: clock.map_or(0, |clock_ms| clock_ms + 1),
            clock,
            present: true,
            is_final: false,
            edges: Edges::Include,
            is_known: clock.is_some(),
        }
    }

    /// The buckets of a feature's window; `None` for `all`, which has none.
    #[inline]
    pub fn window(&self, layout: &Layout, feature: &Feature) -> Option<Window> {
        let (Some(tier), Length::Finite(length_ms)) = (feature.tier, feature.length) else { return None };
        let width_ms = layout.tiers[tier].width_ms;
        let t = if self.is_final { floor_to(self.t, width_ms) } else { self.t };
        let (from, to) = match self.edges {
            Edges::Include => (bucket_of(t - length_ms, width_ms), bucket_ceil(t, width_ms)),
            Edges::ExcludeOld => (bucket_ceil(t - length_ms, width_ms), bucket_ceil(t, width_ms)),
            Edges::ExcludeBoth => (bucket_ceil(t - length_ms, width_ms), bucket_of(t, width_ms)),
        };
        Some(Window { tier, from, to, t, length_ms })
    }

    /// Start and end of a feature's window in milliseconds; `None` for `all`, and while the stream has no clock that T could be.
    pub fn bounds(&self, layout: &Layout, feature: &Feature) -> Option<(i64, i64)> {
        let window = self.window(layout, feature).filter(|_| self.is_known)?;
        let width_ms = layout.tiers[window.tier].width_ms;
        Some((window.from * width_ms, window.to * width_ms))
    }

    /// Checks that a feature's window does not begin before what is kept.
    ///
    /// # Errors
    /// [`QueryError::NotKept`].
    pub(crate) fn check_kept(&self, layout: &Layout, feature: &Feature) -> Result<(), QueryError> {
        let (Some(window), Some(clock_ms)) = (self.window(layout, feature), self.clock) else {
            return Ok(());
        };
        let tier = &layout.tiers[window.tier];
        let from_ms = window.from * tier.width_ms;
        if from_ms >= tier.kept_from_ms(clock_ms) {
            return Ok(());
        }
        Err(not_kept(&feature.name, layout, window.tier, from_ms, clock_ms))
    }
}

/// The error for a window that begins at `from_ms`, before what the tier keeps.
pub(crate) fn not_kept(what: &str, layout: &Layout, tier: usize, from_ms: i64, clock_ms: i64) -> QueryError {
    let (index, tier) = (tier, &layout.tiers[tier]);
    let width_ms = tier.width_ms;
    let needed_ms = bucket_ceil(clock_ms + 1 - tier.longest_ms - from_ms, width_ms) * width_ms;
    let (needed, width) = (duration::format(needed_ms), duration::format(width_ms));
    let oldest_ms = tier.kept_from_ms(clock_ms);
    let advice = if layout.can_retain(index, needed_ms) {
        format!("it would need RETAIN {needed}@{width}")
    } else {
        format!(
            "no RETAIN helps, since a record cannot hold {needed} more in buckets of {width}: ask a window with wider buckets"
        )
    };
    QueryError::NotKept(format!(
        "{what} begins at {from_ms}, before the oldest time kept, {oldest_ms}: {advice}"
    ))
}

#[cfg(test)]
mod tests {
    use super::StreamTime;
    use crate::{Definition, Layout, Query, QueryError};

    fn layout(definition: &str) -> Layout {
        Layout::compile(&Definition::parse_text("s", definition).unwrap()).unwrap()
    }

    /// Bounds of the one feature that is asked for at this clock, or the error.
    fn bounds(layout: &Layout, clock: i64, words: &str) -> Result<(i64, i64), QueryError> {
        let query = Query::parse(layout, words.split(' ').map(str::as_bytes))?;
        let time = query.read_time(layout, StreamTime { clock: Some(clock), newest: Some(clock) })?;
        Ok(time.bounds(layout, &query.features[0]).unwrap())
    }

    #[test]
    fn edges_are_those_of_the_specification() {
        let layout = layout("WINDOWS 100ms@10ms AGGREGATE count RETAIN 1s");
        for (options, expected) in [
            ("", (20, 130)),
            ("EDGE INCLUDE", (20, 130)),
            ("EDGE EXCLUDE", (30, 130)),
            ("AT 126", (20, 130)),
            ("AT 126 EDGE EXCLUDE", (30, 120)),
            ("AT 120", (20, 120)),
            ("AT 120 EDGE EXCLUDE", (20, 120)),
            ("OFFSET 0ms EDGE EXCLUDE", (30, 120)),
            ("HOP 1ms EDGE EXCLUDE", (30, 130)),
            ("HOP 7ms EDGE EXCLUDE", (30, 130)),
            ("HOP 11ms EDGE EXCLUDE", (30, 120)),
            ("AT -5 EDGE EXCLUDE", (-100, -10)),
            ("AT -5", (-110, 0)),
        ] {
            let words = format!("{options} count:100ms");
            assert_eq!(bounds(&layout, 125, words.trim_start()), Ok(expected), "{options}");
        }
    }

    #[test]
    fn a_window_that_is_gone_says_what_would_have_kept_it() {
        let layout = layout("WINDOWS 10s@1s 1h@1m AGGREGATE count RETAIN 5s");
        let refused = |clock: i64, words: &str| bounds(&layout, clock, words).unwrap_err().to_string();
        assert_eq!(
            refused(100_000, "OFFSET 6s count:10s"),
            "count:10s begins at 84000, before the oldest time kept, 85000: it would need RETAIN 7s@1s"
        );
        // With what it advises, the same read is answered.
        let kept = self::layout("WINDOWS 10s@1s 1h@1m AGGREGATE count RETAIN 7s@1s 5s");
        assert_eq!(bounds(&kept, 100_000, "OFFSET 6s count:10s"), Ok((84_000, 95_000)));
        // A year in seconds is no record.
        let text = refused(40_000_000_000, "OFFSET 365d count:10s");
        assert!(text.contains("no RETAIN helps") && !text.contains("need RETAIN"), "{text}");
    }

    #[test]
    fn the_retain_that_is_advised_is_one_that_a_definition_may_have() {
        for retain_s in [1_000, 50_000, 131_000, 131_040, 131_055, 131_060, 131_061, 131_072, 200_000] {
            let layout = layout("WINDOWS 10s@1s AGGREGATE count SKEW 0s REJECT");
            let may = Definition::parse_text(
                "s",
                &format!("WINDOWS 10s@1s AGGREGATE count SKEW 0s REJECT RETAIN {retain_s}s"),
            );
            assert_eq!(layout.can_retain(0, retain_s * 1000), may.is_ok(), "RETAIN {retain_s}s");
        }
    }
}
