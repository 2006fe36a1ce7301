//! Partials of two numbers: moments, of which a variance is made, and sums that decay.

/// Mean of values and the sum of their squared distances from it, beside a count that is kept elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    mean: f64,
    squares: f64,
}

impl Moments {
    pub(crate) fn from_words([mean, squares]: [u64; 2]) -> Self {
        Self { mean: f64::from_bits(mean), squares: f64::from_bits(squares) }
    }

    pub(crate) fn to_words(self) -> [u64; 2] {
        [self.mean.to_bits(), self.squares.to_bits()]
    }

    /// With one more value; `count` includes it (B. P. Welford, "Note on a method for calculating corrected sums of squares and
    /// products", 1962).
    pub(crate) fn with(self, value: f64, count: u64) -> Self {
        let distance = value - self.mean;
        let mean = self.mean + distance / count as f64;
        Self { mean, squares: self.squares + distance * (value - mean) }
    }
}

/// Moments of many buckets and the count of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spreading {
    pub(crate) count: u128,
    moments: Moments,
}

impl Spreading {
    pub(crate) fn new(count: u64, moments: Moments) -> Self {
        Self { count: u128::from(count), moments }
    }

    /// Both together (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979).
    pub(crate) fn merged(self, other: Self) -> Self {
        if other.count == 0 || self.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        let count = self.count + other.count;
        let share = other.count as f64 / count as f64;
        let distance = other.moments.mean - self.moments.mean;
        let squares = distance * distance * share * self.count as f64;
        Self {
            count,
            moments: Moments {
                mean: self.moments.mean + distance * share,
                squares: self.moments.squares + other.moments.squares + squares,
            },
        }
    }

    /// Without the count.
    pub(crate) fn moments(self) -> Moments {
        self.moments
    }

    /// The sum of squared distances, divided by the count less `fewer`; `None` where that is not positive.
    pub(crate) fn variance(self, fewer: u128) -> Option<f64> {
        let divisor = self.count.checked_sub(fewer).filter(|&divisor| divisor > 0)?;
        Some(self.moments.squares / divisor as f64)
    }
}

/// A sum that halves with time, as it is at one time: the newest that it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Decayed {
    sum: f64,
    at_ms: i64,
}

impl Decayed {
    pub(crate) fn from_words([sum, at_ms]: [u64; 2]) -> Self {
        Self { sum: f64::from_bits(sum), at_ms: at_ms.cast_signed() }
    }

    pub(crate) fn to_words(self) -> [u64; 2] {
        [self.sum.to_bits(), self.at_ms.cast_unsigned()]
    }

    /// With one more value. A later one finds the sum decayed to its time; an earlier one enters as much decayed.
    pub(crate) fn with(self, value: f64, ts: i64, halflife_ms: i64) -> Self {
        // The sum of nothing has no time.
        let at_ms = if self.sum == 0.0 { ts } else { self.at_ms.max(ts) };
        let value = Self { sum: value, at_ms: ts };
        Self { sum: self.at(at_ms, halflife_ms) + value.at(at_ms, halflife_ms), at_ms }
    }

    /// Both together, at the later time.
    pub(crate) fn merged(self, other: Self, halflife_ms: i64) -> Self {
        match (self.sum == 0.0, other.sum == 0.0) {
            (true, _) => other,
            (_, true) => self,
            _ => {
                let at_ms = self.at_ms.max(other.at_ms);
                Self { sum: self.at(at_ms, halflife_ms) + other.at(at_ms, halflife_ms), at_ms }
            }
        }
    }

    /// The sum at a time: what is not yet due counts for more than it is.
    pub(crate) fn at(self, ms: i64, halflife_ms: i64) -> f64 {
        if self.sum == 0.0 || ms == self.at_ms {
            return self.sum;
        }
        self.sum * (self.at_ms.wrapping_sub(ms) as f64 / halflife_ms as f64).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::{Decayed, Moments, Spreading};

    fn of(values: &[f64]) -> Spreading {
        let moments = values
            .iter()
            .zip(1..)
            .fold(Moments::default(), |moments, (&value, count)| moments.with(value, count));
        Spreading::new(values.len() as u64, moments)
    }

    #[test]
    fn variance_is_stable_far_from_zero_and_merges_in_any_parts() {
        let values: Vec<f64> = (0..1000).map(|n| 1e6 + f64::from(n % 10)).collect();
        for cut in [0, 1, 7, 500, 999, 1000] {
            let both = of(&values[..cut]).merged(of(&values[cut..]));
            let variance = both.variance(0).unwrap();
            assert!((variance - 8.25).abs() < 8.25e-9, "cut at {cut}: {variance}");
            assert!((both.variance(1).unwrap() - 8.25 * 1000.0 / 999.0).abs() < 1e-8);
        }
    }

    #[test]
    fn a_variance_needs_values() {
        assert_eq!(
            (of(&[]).variance(0), of(&[3.0]).variance(0), of(&[3.0]).variance(1)),
            (None, Some(0.0), None)
        );
    }

    #[test]
    fn a_sum_halves_each_halflife_whatever_the_order() {
        let values = [(1_000, 8.0), (3_000, 4.0), (2_000, 2.0)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let sum = order
                .iter()
                .fold(Decayed::default(), |sum, &at: &usize| sum.with(values[at].1, values[at].0, 1_000));
            assert!((sum.at(4_000, 1_000) - 3.5).abs() < 1e-12, "{order:?}: {sum:?}");
        }
        let long_ago = Decayed::default().with(5.0, 0, 1);
        assert_eq!(long_ago.at(1 << 40, 1), 0.0);
        assert_eq!(long_ago.with(3.0, 1 << 40, 1).at(1 << 40, 1), 3.0);
    }
}
