//! The specification as a list of events, filters and folds: slow, short, and written without looking at the server.
//!
//! Buckets, tiers, rings and partials appear only where the specification makes them visible: in the edges of a
//! window, in which tier answers, and in which events come too late.

use std::collections::HashMap;

/// A window of a stream: its length and the width of its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Length, in ms.
    pub length_ms: i64,
    /// Bucket width, in ms.
    pub width_ms: i64,
}

/// What drives the "now" of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The server's clock.
    Wall,
    /// The largest event time received.
    Event,
}

/// What happens to events ahead of the server's clock by more than SKEW.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// Counted at the server's time.
    Clamp(i64),
    /// Not counted.
    Reject(i64),
}

/// The definition of a stream, as far as the model needs it.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Finite windows; `all` is always there in the model.
    pub windows: Vec<Window>,
    /// Whether the stream has a lifetime window: then being older than every tier does not make an event late.
    pub lifetime: bool,
    /// What drives its clock.
    pub clock: Clock,
    /// LATENESS, if given.
    pub lateness_ms: Option<i64>,
    /// RETAIN, if given.
    pub retain_ms: Option<i64>,
    /// SKEW.
    pub skew: Skew,
}

/// An event as it was sent; values are whole numbers, so that sums are exact in any order.
#[derive(Debug, Clone)]
pub struct Event {
    /// Event time.
    pub time_ms: i64,
    /// One value per field of the stream; `None` where the event has none.
    pub values: Vec<Option<i64>>,
}

/// The reply to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// `OK`
    Ok,
    /// `CLAMPED`
    Clamped,
    /// `SKEWED`
    Skewed,
    /// `LATE`
    Late,
}

impl Outcome {
    /// The reply's text.
    pub fn text(self) -> &'static str {
        match self {
            Outcome::Ok => "OK",
            Outcome::Clamped => "CLAMPED",
            Outcome::Skewed => "SKEWED",
            Outcome::Late => "LATE",
        }
    }
}

/// An aggregate; the number is the field's place in [`Event::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Events.
    Count,
    /// Events with the field.
    CountOf(usize),
    /// Sum of the field.
    Sum(usize),
    /// Mean of the field.
    Avg(usize),
    /// Smallest value.
    Min(usize),
    /// Largest value.
    Max(usize),
    /// Events a second.
    Rate,
    /// Sum a second.
    RateOf(usize),
    /// Time since the newest event.
    Since,
}

/// When a read looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The stream's clock + 1 ms.
    Now,
    /// `AT <ts>`.
    Time(i64),
}

/// What the events add up to.
#[derive(Debug)]
pub struct Model {
    stream: Stream,
    /// The largest event time of any event that was not SKEWED.
    newest_ms: Option<i64>,
    counted: HashMap<Vec<u8>, Vec<Event>>,
}

impl Model {
    /// Of a stream without events.
    pub fn new(stream: Stream) -> Model {
        Model { stream, newest_ms: None, counted: HashMap::new() }
    }

    /// Sends an event while the server's clock shows `now_ms`.
    pub fn add(&mut self, now_ms: i64, entity: &[u8], event: Event) -> Outcome {
        let clock_ms = self.clock_ms(now_ms);
        let mut event = event;
        let mut outcome = Outcome::Ok;
        match self.stream.skew {
            Skew::Reject(skew_ms) if event.time_ms > now_ms + skew_ms => return Outcome::Skewed,
            Skew::Clamp(skew_ms) if event.time_ms > now_ms + skew_ms => {
                event.time_ms = now_ms;
                outcome = Outcome::Clamped;
            }
            _ => {}
        }
        self.newest_ms = self.newest_ms.max(Some(event.time_ms));
        if clock_ms.is_some_and(|clock_ms| self.is_late(event.time_ms, clock_ms)) {
            return Outcome::Late;
        }
        self.counted.entry(entity.to_vec()).or_default().push(event);
        outcome
    }

    /// The entities that have counted events.
    pub fn entities(&self) -> impl Iterator<Item = &[u8]> {
        self.counted.keys().map(Vec::as_slice)
    }

    /// The stream's clock, `None` while an event-time stream has no events.
    pub fn clock_ms(&self, now_ms: i64) -> Option<i64> {
        match self.stream.clock {
            Clock::Wall => Some(now_ms),
            Clock::Event => self.newest_ms,
        }
    }

    /// The value of a feature; `None` is null. `length_ms` is `None` for `all`.
    ///
    /// # Errors
    /// With the oldest time kept, when the window begins before it.
    ///
    /// # Panics
    /// When no tier answers windows of this length: the test asks for something the model cannot say.
    pub fn read(
        &self,
        now_ms: i64,
        entity: &[u8],
        aggregate: Aggregate,
        length_ms: Option<i64>,
        at: At,
    ) -> Result<Option<f64>, i64> {
        let clock_ms = self.clock_ms(now_ms).unwrap_or(i64::MIN / 4);
        let t_ms = match at {
            At::Now => clock_ms + 1,
            At::Time(time_ms) => time_ms,
        };
        let span = match length_ms {
            None => i64::MIN..i64::MAX,
            Some(length_ms) => {
                let tier = self.tier_for(length_ms).expect("a tier answers windows of this length");
                let from_ms = floor(t_ms - length_ms, tier.width_ms);
                let kept_ms = self.kept_from_ms(tier, clock_ms);
                if from_ms < kept_ms {
                    return Err(kept_ms);
                }
                from_ms..ceil(t_ms, tier.width_ms)
            }
        };
        let all = self.counted.get(entity).map_or(&[][..], Vec::as_slice);
        let seen: Vec<&Event> = all.iter().filter(|event| span.contains(&event.time_ms)).collect();
        Ok(fold(aggregate, &seen, length_ms, t_ms))
    }

    /// The pairs of WINDOW.RANGE: every bucket of `bucket_ms` that touches `[from_ms, to_ms)`.
    pub fn range(
        &self,
        entity: &[u8],
        aggregate: Aggregate,
        from_ms: i64,
        to_ms: i64,
        bucket_ms: i64,
    ) -> Vec<(i64, Option<f64>)> {
        let all = self.counted.get(entity).map_or(&[][..], Vec::as_slice);
        let mut pairs = Vec::new();
        let mut start_ms = floor(from_ms, bucket_ms);
        while start_ms < ceil(to_ms, bucket_ms) {
            let bucket = start_ms..start_ms + bucket_ms;
            let seen: Vec<&Event> = all.iter().filter(|event| bucket.contains(&event.time_ms)).collect();
            pairs.push((start_ms, fold(aggregate, &seen, Some(bucket_ms), bucket.end)));
            start_ms += bucket_ms;
        }
        pairs
    }

    /// Which buckets answer a length: the declared width; else of the coarsest tier fine enough (a sixtieth), else
    /// of the finest that keeps the length.
    fn tier_for(&self, length_ms: i64) -> Option<Window> {
        if let Some(window) = self.stream.windows.iter().find(|window| window.length_ms == length_ms) {
            return Some(self.tier(window.width_ms));
        }
        let widths = self.stream.windows.iter().map(|window| window.width_ms);
        let keeping = widths.map(|width_ms| self.tier(width_ms)).filter(|tier| tier.length_ms >= length_ms);
        let fine_enough =
            keeping.clone().filter(|tier| tier.width_ms <= length_ms / 60).max_by_key(|tier| tier.width_ms);
        fine_enough.or(keeping.min_by_key(|tier| tier.width_ms))
    }

    /// The tier of a width: it keeps the longest window of that width.
    fn tier(&self, width_ms: i64) -> Window {
        let same = self.stream.windows.iter().filter(|window| window.width_ms == width_ms);
        let length_ms = same.map(|window| window.length_ms).max().expect("the width is one of the stream's");
        Window { length_ms, width_ms }
    }

    /// `floor(clock + 1 − longest window − RETAIN, w)`.
    fn kept_from_ms(&self, tier: Window, clock_ms: i64) -> i64 {
        let default_ms = self.stream.lateness_ms.unwrap_or(0) + tier.width_ms;
        let retain_ms = self.stream.retain_ms.unwrap_or(default_ms);
        floor(clock_ms + 1 - tier.length_ms - retain_ms, tier.width_ms)
    }

    fn is_late(&self, time_ms: i64, clock_ms: i64) -> bool {
        if self.stream.lateness_ms.is_some_and(|lateness_ms| time_ms < clock_ms - lateness_ms) {
            return true;
        }
        if self.stream.lifetime {
            return false;
        }
        let kept_by = |window: &Window| {
            let tier = self.tier(window.width_ms);
            floor(time_ms, tier.width_ms) >= self.kept_from_ms(tier, clock_ms)
        };
        !self.stream.windows.iter().any(kept_by)
    }
}

fn fold(aggregate: Aggregate, seen: &[&Event], length_ms: Option<i64>, t_ms: i64) -> Option<f64> {
    let of = |field: usize| seen.iter().filter_map(move |event| event.values[field]);
    let sum = |field| of(field).map(i128::from).sum::<i128>() as f64;
    let count = |field| of(field).count() as f64;
    let seconds = || length_ms.expect("rate has a finite window") as f64 / 1000.0;
    match aggregate {
        Aggregate::Count => Some(seen.len() as f64),
        Aggregate::CountOf(field) => Some(count(field)),
        Aggregate::Sum(field) => Some(sum(field)),
        Aggregate::Avg(field) => (count(field) > 0.0).then(|| sum(field) / count(field)),
        Aggregate::Min(field) => of(field).min().map(|value| value as f64),
        Aggregate::Max(field) => of(field).max().map(|value| value as f64),
        Aggregate::Rate => Some(seen.len() as f64 / seconds()),
        Aggregate::RateOf(field) => Some(sum(field) / seconds()),
        Aggregate::Since => {
            seen.iter().map(|event| event.time_ms).max().map(|time_ms| (t_ms - 1 - time_ms).max(0) as f64)
        }
    }
}

/// The default bucket width of a window, or `None` where the length has none.
pub fn default_width_ms(length_ms: i64) -> Option<i64> {
    const SECOND: i64 = 1000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    let widths_ms = [
        100,
        250,
        500,
        SECOND,
        5 * SECOND,
        10 * SECOND,
        15 * SECOND,
        30 * SECOND,
        MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        24 * HOUR,
    ];
    widths_ms.into_iter().rfind(|width_ms| length_ms % width_ms == 0 && *width_ms <= length_ms / 60)
}

fn floor(time_ms: i64, width_ms: i64) -> i64 {
    time_ms.div_euclid(width_ms) * width_ms
}

fn ceil(time_ms: i64, width_ms: i64) -> i64 {
    -floor(-time_ms, width_ms)
}

#[cfg(test)]
mod tests {
    use super::{
        Aggregate, At, Clock, Event, Model, Outcome, Skew, Stream, Window, ceil, default_width_ms, floor,
    };

    fn model(lateness_ms: Option<i64>) -> Model {
        Model::new(Stream {
            windows: vec![Window { length_ms: 100, width_ms: 10 }],
            lifetime: false,
            clock: Clock::Event,
            lateness_ms,
            retain_ms: None,
            skew: Skew::Reject(0),
        })
    }

    fn at(time_ms: i64) -> Event {
        Event { time_ms, values: vec![] }
    }

    #[test]
    fn buckets_floor_below_zero_too() {
        assert_eq!((floor(-1, 10), ceil(-1, 10), ceil(-10, 10), ceil(1, 10)), (-10, 0, -10, 10));
    }

    #[test]
    fn default_widths_are_those_of_the_specification() {
        assert_eq!(default_width_ms(300_000), Some(5_000));
        assert_eq!(default_width_ms(86_400_000), Some(900_000));
        assert_eq!(default_width_ms(5_999), None);
    }

    #[test]
    fn a_window_reaches_back_to_its_bucket_and_no_further() {
        let mut model = model(None);
        for time_ms in [19, 20, 29, 125] {
            assert_eq!(model.add(1000, b"e", at(time_ms)), Outcome::Ok);
        }
        // T = 126: [floor(26), ceil(126)) = [20, 130).
        assert_eq!(model.read(1000, b"e", Aggregate::Count, Some(100), At::Now), Ok(Some(3.0)));
        assert_eq!(model.read(1000, b"e", Aggregate::Since, Some(100), At::Now), Ok(Some(0.0)));
        // Kept from floor(126 - 100 - 10) = 10.
        assert_eq!(model.read(1000, b"e", Aggregate::Count, Some(100), At::Time(109)), Err(10));
        assert_eq!(model.read(1000, b"e", Aggregate::Count, Some(100), At::Time(110)), Ok(Some(3.0)));
    }

    #[test]
    fn lateness_and_skew_are_judged_to_the_millisecond() {
        let mut model = model(Some(5));
        assert_eq!(model.add(1000, b"e", at(1001)), Outcome::Skewed);
        assert_eq!(model.add(1000, b"e", at(1000)), Outcome::Ok);
        assert_eq!(model.add(1000, b"e", at(995)), Outcome::Ok);
        assert_eq!(model.add(1000, b"e", at(994)), Outcome::Late);
    }
}
