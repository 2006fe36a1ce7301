//! Values and times as workload files describe them. They are drawn once and replayed: drawing one costs more than all the rest of a
//! request.

use crate::error::BenchError;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution as _, Exp1, StandardNormal};
use serde::Deserialize;
use std::sync::Arc;

/// So many are drawn of each. A power of two, so that the position wraps with a mask.
const DRAWN: usize = 1 << 16;

/// Decimal places of a FLOAT value.
const DECIMALS: usize = 2;

/// Largest value, so that all of a model have one width.
const VALUE_MAX: f64 = 999_999_999.0;

/// Longest move of an event's time.
const MOVE_MS_MAX: f64 = 366.0 * 86_400_000.0;

/// How the values of a field are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// All alike between the bounds.
    #[default]
    Uniform,
    /// Many small ones: the distance from the lower bound is exponential, with a mean of a fifth of the range.
    Exponential,
    /// As prices and durations are: the logarithm is normal; the bounds are four deviations apart on either side.
    LogNormal,
}

/// The values of a number field.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberModel {
    /// Smallest.
    pub from: f64,
    /// Largest.
    pub to: f64,
    /// Between them.
    #[serde(default)]
    pub shape: Shape,
}

impl NumberModel {
    fn check(&self, name: &str) -> Result<(), BenchError> {
        let is_range = self.from.is_finite() && self.to.is_finite() && self.from <= self.to;
        if !is_range || self.from < 0.0 || self.to > VALUE_MAX {
            return Err(BenchError::Settings(format!(
                "field {name}: values from {} to {}; they must be from 0 to {VALUE_MAX}",
                self.from, self.to
            )));
        }
        if self.shape == Shape::LogNormal && self.from <= 0.0 {
            return Err(BenchError::Settings(format!(
                "field {name}: log-normal values begin above 0, not at {}",
                self.from
            )));
        }
        Ok(())
    }

    fn draw(&self, rng: &mut SmallRng) -> f64 {
        let Self { from, to, shape } = *self;
        let value = match shape {
            Shape::Uniform => from + (to - from) * rng.random::<f64>(),
            Shape::Exponential => {
                let mean: f64 = Exp1.sample(rng);
                from + (to - from) / 5.0 * mean
            }
            Shape::LogNormal => {
                let (low, high) = (from.ln(), to.ln());
                let normal: f64 = StandardNormal.sample(rng);
                ((low + high) / 2.0 + (high - low) / 8.0 * normal).exp()
            }
        };
        value.clamp(from, to)
    }

    /// Of an INT field: where all are alike, the ends are so too.
    fn draw_int(&self, rng: &mut SmallRng) -> f64 {
        if self.shape != Shape::Uniform {
            return self.draw(rng);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "values are from 0 to VALUE_MAX"
        )]
        let (from, to) = (self.from.round_ties_even() as u32, self.to.round_ties_even() as u32);
        f64::from(rng.random_range(from..=to))
    }
}

/// Texts of one width that are replayed.
#[derive(Clone, Debug)]
pub struct Texts {
    drawn: Arc<[u8]>,
    width: usize,
    at: usize,
}

impl Texts {
    /// Values of a FLOAT field, or with `is_int` of an INT field, as texts of one width. Leading zeros are digits to every server.
    ///
    /// # Errors
    ///
    /// Bounds that make no range.
    pub fn numbers(name: &str, model: &NumberModel, is_int: bool, seed: u64) -> Result<Self, BenchError> {
        model.check(name)?;
        let mut rng = SmallRng::seed_from_u64(seed);
        let decimals = if is_int { 0 } else { DECIMALS };
        let width = format!("{:.decimals$}", model.to).len();
        let mut drawn = String::with_capacity(DRAWN * width);
        for _ in 0..DRAWN {
            let value = if is_int { model.draw_int(&mut rng) } else { model.draw(&mut rng) };
            drawn.push_str(&format!("{value:0width$.decimals$}"));
        }
        assert_eq!(drawn.len(), DRAWN * width, "a value is wider than the largest");
        Ok(Self { drawn: drawn.into_bytes().into(), width, at: 0 })
    }

    /// Width of each in bytes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The same for the n-th of so many threads, which begins elsewhere.
    #[must_use]
    pub fn for_thread(&self, n: usize, threads: usize) -> Self {
        Self { at: n * (DRAWN / threads.max(1)), ..self.clone() }
    }

    /// The next one.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "endless, and the hot path wants no Option")]
    pub fn next(&mut self) -> &[u8] {
        self.at = (self.at + 1) & (DRAWN - 1);
        &self.drawn[self.at * self.width..][..self.width]
    }
}

/// How an event's time differs from the time it is sent at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeModel {
    /// Share of events that come late.
    pub late_share: f64,
    /// By how much on average, in milliseconds, if that is exponential.
    pub late_mean_ms: f64,
    /// By how much at most, in milliseconds, if all delays up to it are alike. Given instead of the mean.
    pub late_max_ms: f64,
    /// Share of events from clocks that are ahead.
    pub ahead_share: f64,
    /// By how much at most: uniform, in milliseconds.
    pub ahead_max_ms: f64,
}

impl TimeModel {
    /// Whether every event has the time it is sent at.
    pub fn is_in_order(&self) -> bool {
        self.late_share == 0.0 && self.ahead_share == 0.0
    }

    fn check(&self) -> Result<(), BenchError> {
        let shares = [self.late_share, self.ahead_share];
        let moves = [self.late_mean_ms, self.late_max_ms, self.ahead_max_ms];
        let is_good = shares.iter().all(|share| (0.0..=1.0).contains(share))
            && shares.iter().sum::<f64>() <= 1.0
            && (self.late_mean_ms == 0.0 || self.late_max_ms == 0.0)
            && moves.iter().all(|ms| (0.0..=MOVE_MS_MAX).contains(ms));
        if is_good {
            return Ok(());
        }
        Err(BenchError::Settings(format!(
            "time: shares of late and early events are from 0 to 1, together at most 1, late_mean_ms and late_max_ms exclude each other, and no move is longer than {MOVE_MS_MAX} ms: {self:?}"
        )))
    }
}

/// Moves of event times that are replayed.
#[derive(Clone, Debug)]
pub struct Offsets {
    drawn: Arc<[i64]>,
    at: usize,
}

impl Offsets {
    /// Draws them.
    ///
    /// # Errors
    ///
    /// Shares that are none, or moves that are too long.
    pub fn new(model: &TimeModel, seed: u64) -> Result<Self, BenchError> {
        model.check()?;
        let mut rng = SmallRng::seed_from_u64(seed);
        #[expect(clippy::cast_possible_truncation, reason = "bounded by a year in milliseconds")]
        let drawn = (0..DRAWN).map(|_| {
            let choice: f64 = rng.random();
            if choice < model.late_share {
                let gap: f64 = if model.late_max_ms > 0.0 { rng.random() } else { Exp1.sample(&mut rng) };
                -(((model.late_mean_ms + model.late_max_ms) * gap).min(MOVE_MS_MAX) as i64)
            } else if choice < model.late_share + model.ahead_share {
                (model.ahead_max_ms * rng.random::<f64>()) as i64
            } else {
                0
            }
        });
        Ok(Self { drawn: drawn.collect(), at: 0 })
    }

    /// The same for the n-th of so many threads, which begins elsewhere.
    #[must_use]
    pub fn for_thread(&self, n: usize, threads: usize) -> Self {
        Self { at: n * (DRAWN / threads.max(1)), ..self.clone() }
    }

    /// The next one, in milliseconds; positive is ahead.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "endless, and the hot path wants no Option")]
    pub fn next(&mut self) -> i64 {
        self.at = (self.at + 1) & (DRAWN - 1);
        self.drawn[self.at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(model: NumberModel, is_int: bool) -> Vec<f64> {
        let mut texts = Texts::numbers("f", &model, is_int, 1).unwrap();
        let width = texts.width();
        (0..DRAWN)
            .map(|_| {
                let text = std::str::from_utf8(texts.next()).unwrap();
                assert_eq!(text.len(), width);
                text.parse().unwrap()
            })
            .collect()
    }

    #[test]
    fn values_keep_their_bounds_and_their_mean() {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        for (shape, expected) in [(Shape::Uniform, 505.0), (Shape::Exponential, 206.0)] {
            let values = values(NumberModel { from: 10.0, to: 1000.0, shape }, false);
            assert!(values.iter().all(|value| (10.0..=1000.0).contains(value)));
            let mean = mean(&values);
            assert!((mean - expected).abs() < expected * 0.03, "{shape:?}: {mean}");
        }
        let mut values = values(NumberModel { from: 1.0, to: 10_000.0, shape: Shape::LogNormal }, false);
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        assert!((90.0..110.0).contains(&median), "the middle of a log-normal is the geometric one: {median}");
    }

    #[test]
    fn integers_have_no_decimals() {
        let model = NumberModel { from: 0.0, to: 7.0, shape: Shape::Uniform };
        let mut texts = Texts::numbers("f", &model, true, 1).unwrap();
        assert_eq!(texts.width(), 1);
        assert!((0..100).all(|_| texts.next()[0].is_ascii_digit()));
    }

    #[test]
    fn uniform_integers_are_as_often_at_the_ends_as_between() {
        let values = values(NumberModel { from: 0.0, to: 3.0, shape: Shape::Uniform }, true);
        for number in 0..=3 {
            let share =
                values.iter().filter(|value| **value == f64::from(number)).count() as f64 / DRAWN as f64;
            assert!((share - 0.25).abs() < 0.01, "{number}: {share}");
        }
    }

    #[test]
    fn bounds_that_make_no_range_are_refused_by_name() {
        for (from, to, shape) in [
            (2.0, 1.0, Shape::Uniform),
            (-1.0, 1.0, Shape::Uniform),
            (0.0, 1.0, Shape::LogNormal),
            (0.0, f64::NAN, Shape::Uniform),
        ] {
            let error = Texts::numbers("fare", &NumberModel { from, to, shape }, false, 1).unwrap_err();
            assert!(error.to_string().contains("fare"), "{error}");
        }
    }

    #[test]
    fn shares_of_late_and_early_events_are_as_asked() {
        let model = TimeModel {
            late_share: 0.2,
            late_mean_ms: 5_000.0,
            ahead_share: 0.1,
            ahead_max_ms: 1_000.0,
            ..TimeModel::default()
        };
        let mut offsets = Offsets::new(&model, 1).unwrap();
        let drawn: Vec<i64> = (0..DRAWN).map(|_| offsets.next()).collect();
        let share = |test: fn(&i64) -> bool| drawn.iter().filter(|ms| test(ms)).count() as f64 / DRAWN as f64;
        assert!((share(|ms| *ms < 0) - 0.2).abs() < 0.01);
        assert!((share(|ms| *ms > 0) - 0.1).abs() < 0.01);
        let late: Vec<i64> = drawn.iter().copied().filter(|ms| *ms < 0).collect();
        let mean = late.iter().sum::<i64>() as f64 / late.len() as f64;
        assert!((mean + 5_000.0).abs() < 250.0, "{mean}");
        assert!(drawn.iter().all(|ms| *ms <= 1_000));
    }

    #[test]
    fn shares_above_one_are_refused() {
        let model = TimeModel { late_share: 0.7, ahead_share: 0.7, ..TimeModel::default() };
        assert!(Offsets::new(&model, 1).is_err());
    }

    #[test]
    fn uniform_delays_have_a_most() {
        let model = TimeModel { late_share: 1.0, late_max_ms: 1_000.0, ..TimeModel::default() };
        let mut offsets = Offsets::new(&model, 1).unwrap();
        let drawn: Vec<i64> = (0..DRAWN).map(|_| offsets.next()).collect();
        assert!(drawn.iter().all(|ms| (-1_000..=0).contains(ms)));
        let mean = drawn.iter().sum::<i64>() as f64 / drawn.len() as f64;
        assert!((mean + 500.0).abs() < 10.0, "{mean}");
        assert!(Offsets::new(&TimeModel { late_mean_ms: 5.0, ..model }, 1).is_err());
    }
}
