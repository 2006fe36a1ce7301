//! Reads of another time than now: what they ask, and the buckets that answer.

use super::stream::{Aggregate, Kind, StreamModel, Tier, ceil, floor};

/// What the windows end at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum At {
    /// The clock.
    #[default]
    Now,
    /// AT <ts>.
    Time(i64),
    /// AT EVENT.
    Event,
}

/// The options of a WINDOW.GET.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct When {
    /// AT.
    pub at: At,
    /// OFFSET.
    pub offset_ms: Option<i64>,
    /// HOP.
    pub hop_ms: Option<i64>,
    /// FINAL.
    pub is_final: bool,
    /// EDGE EXCLUDE.
    pub is_excluding: bool,
}

/// A stream's times when a read is received.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Its clock, if it has one.
    pub clock_ms: Option<i64>,
    /// Its newest event.
    pub newest_ms: Option<i64>,
}

impl When {
    /// As the command says it.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        match self.at {
            At::Now => {}
            At::Time(ts) => words.extend(["AT".to_owned(), ts.to_string()]),
            At::Event => words.extend(["AT".to_owned(), "EVENT".to_owned()]),
        }
        for (option, ms) in [("OFFSET", self.offset_ms), ("HOP", self.hop_ms)] {
            words.extend(ms.into_iter().flat_map(|ms| [option.to_owned(), format!("{ms}ms")]));
        }
        if self.is_final {
            words.push("FINAL".to_owned());
        }
        if self.is_excluding {
            words.extend(["EDGE".to_owned(), "EXCLUDE".to_owned()]);
        }
        words
    }

    /// Whether `all` can be asked.
    pub fn is_present(&self) -> bool {
        (self.at, self.offset_ms, self.hop_ms, self.is_final) == (At::Now, None, None, false)
    }

    /// T, and whether it lies in the past; `None`: it would be the clock of a stream that has none.
    fn end(&self, kind: &Kind, times: Times) -> Option<(i64, bool)> {
        let t = match self.at {
            At::Time(ts) => ts,
            At::Now => times.clock_ms? + 1,
            At::Event => times.newest_ms.or(times.clock_ms)?.min(times.clock_ms?) + 1,
        };
        let mut t = t - self.offset_ms.unwrap_or(0);
        if let (true, Some(clock_ms), Some(lateness_ms)) = (self.is_final, times.clock_ms, kind.lateness_ms) {
            t = t.min(clock_ms - lateness_ms);
        }
        let hopped = self.hop_ms.map_or(t, |hop_ms| floor(t, hop_ms));
        Some((hopped, matches!(self.at, At::Time(_)) || self.offset_ms.is_some() || hopped != t))
    }

    /// The time that a window covers, from and to; `None`: see [`When::end`].
    pub fn window(&self, kind: &Kind, times: Times, length_ms: i64, width_ms: i64) -> Option<(i64, i64)> {
        let (t, is_past) = self.end(kind, times)?;
        let t = if self.is_final { floor(t, width_ms) } else { t };
        Some(match (self.is_excluding, is_past) {
            (false, _) => (floor(t - length_ms, width_ms), ceil(t, width_ms)),
            (true, false) => (ceil(t - length_ms, width_ms), ceil(t, width_ms)),
            (true, true) => (ceil(t - length_ms, width_ms), floor(t, width_ms)),
        })
    }

    /// The start of the oldest bucket that is looked at of each tier.
    pub fn starts(&self, kind: &Kind, times: Times) -> Vec<(Tier, i64)> {
        let of = |(length_ms, width_ms)| {
            let tier = kind.tier(width_ms);
            self.window(kind, times, length_ms, width_ms).map(|(from_ms, _)| (tier, from_ms))
        };
        kind.windows.iter().filter_map(|window| window.span.and_then(of)).collect()
    }

    /// Whether the read must be refused: a window begins before what is kept, or there is no watermark.
    pub fn is_refused(&self, kind: &Kind, times: Times) -> bool {
        let is_gone = |(tier, from_ms): &(Tier, i64)| {
            times.clock_ms.is_some_and(|clock_ms| *from_ms < tier.kept_from_ms(clock_ms))
        };
        (self.is_final && kind.lateness_ms.is_none()) || self.starts(kind, times).iter().any(is_gone)
    }
}

/// What a WINDOW.RANGE asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The aggregate.
    pub aggregate: Aggregate,
    /// The first moment.
    pub from_ms: i64,
    /// Behind the last.
    pub to_ms: i64,
    /// BUCKET.
    pub step_ms: Option<i64>,
}

/// Where the pairs of a range come from.
#[derive(Debug, Clone, Copy)]
pub struct Pairs {
    /// The tier.
    pub tier: Tier,
    /// The start of the first.
    pub first_ms: i64,
    /// How long each is.
    pub step_ms: i64,
    /// How many.
    pub count: i64,
}

impl Range {
    /// As the command says it, behind the stream.
    pub fn words(&self) -> Vec<String> {
        let mut words =
            vec![self.aggregate.text().to_owned(), self.from_ms.to_string(), self.to_ms.to_string()];
        words.extend(self.step_ms.into_iter().flat_map(|ms| ["BUCKET".to_owned(), format!("{ms}ms")]));
        words
    }

    /// The buckets: of the coarsest tier that divides BUCKET, or else of the finest, that keeps the beginning; `None`: an error.
    pub fn pairs(&self, model: &StreamModel, clock_ms: Option<i64>) -> Option<Pairs> {
        if !model.aggregates.iter().any(|(aggregate, _)| *aggregate == self.aggregate) {
            return None;
        }
        let of = |tier: Tier| {
            let step_ms = self.step_ms.unwrap_or(tier.width_ms);
            let first_ms = floor(self.from_ms, step_ms);
            let count = (ceil(self.to_ms, step_ms) - first_ms) / step_ms;
            Pairs { tier, first_ms, step_ms, count }
        };
        let keeps = |pairs: &Pairs| {
            pairs.step_ms % pairs.tier.width_ms == 0
                && clock_ms.is_none_or(|clock_ms| pairs.first_ms >= pairs.tier.kept_from_ms(clock_ms))
        };
        let keeping = model.kind.tiers().map(of).filter(keeps);
        if self.step_ms.is_some() {
            keeping.max_by_key(|pairs| pairs.tier.width_ms)
        } else {
            keeping.min_by_key(|pairs| pairs.tier.width_ms)
        }
    }
}
