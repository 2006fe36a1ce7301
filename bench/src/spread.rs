//! Medians over rounds, and how far the rounds lie apart.

use serde::Serialize;

/// Median, least and greatest of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of some numbers; `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(values)?, min, max })
    }

    /// Of the ratios of one contender's number to another's, round by round: what the machine did in a round hits
    /// both. `None` where a number is missing.
    pub fn of_ratios<T>(these: &[T], those: &[T], number: impl Fn(&T) -> Option<f64>) -> Option<Self> {
        let ratios = these.iter().zip(those).map(|(this, that)| Some(number(this)? / number(that)?));
        Self::of(&ratios.collect::<Option<Vec<f64>>>()?)
    }

    /// Of one number of each round; `None` where one is missing.
    pub fn of_rounds<T>(rounds: &[T], number: impl Fn(&T) -> Option<f64>) -> Option<Self> {
        Self::of(&rounds.iter().map(number).collect::<Option<Vec<f64>>>()?)
    }
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[sorted.len() / 2 - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // The machine is half as fast in round two, for both: the ratio is not touched by that.
        let ratio = Spread::of_ratios(&[1000.0, 500.0, 900.0], &[100.0, 50.0, 100.0], |&number| Some(number));
        assert_eq!(ratio, Some(Spread { median: 10.0, min: 9.0, max: 10.0 }));
        assert_eq!(Spread::of_ratios(&[1.0], &[1.0], |_| None), None);
        assert_eq!(Spread::of_ratios::<f64>(&[], &[], |&number| Some(number)), None);
    }
}
