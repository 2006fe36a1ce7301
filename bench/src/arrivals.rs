//! When requests are due, in an open loop: on a schedule that no slow reply can delay.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};

/// Spacing of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spacing {
    /// Equal gaps.
    Constant,
    /// Exponential gaps: independent users (a Poisson process).
    Poisson,
}

/// The endless schedule of one thread.
#[derive(Debug)]
pub struct Arrivals {
    next_ns: f64,
    gap_ns: f64,
    /// Draws the gaps of a Poisson process.
    rng: Option<SmallRng>,
}

impl Arrivals {
    /// Arrivals at `rate_per_s` on average.
    pub fn new(rate_per_s: f64, spacing: Spacing, seed: u64) -> Self {
        assert!(rate_per_s > 0.0 && rate_per_s.is_finite(), "checked with the settings");
        let rng = (spacing == Spacing::Poisson).then(|| SmallRng::seed_from_u64(seed));
        Self { next_ns: 0.0, gap_ns: 1e9 / rate_per_s, rng }
    }

    /// When the next request is due, in nanoseconds since the start.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative; 2^53 ns are 104 days"
    )]
    pub fn next_ns(&self) -> u64 {
        self.next_ns as u64
    }

    /// Goes on to the request after.
    pub fn advance(&mut self) {
        let gaps: f64 = self.rng.as_mut().map_or(1.0, |rng| Exp1.sample(rng));
        self.next_ns += self.gap_ns * gaps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(spacing: Spacing, count: usize) -> Vec<u64> {
        let mut arrivals = Arrivals::new(10_000.0, spacing, 7);
        (0..count)
            .map(|_| {
                let due = arrivals.next_ns();
                arrivals.advance();
                due
            })
            .collect()
    }

    #[test]
    fn constant_arrivals_keep_their_gap() {
        assert_eq!(times(Spacing::Constant, 4), [0, 100_000, 200_000, 300_000]);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        const COUNT: usize = 200_000;
        let times = times(Spacing::Poisson, COUNT + 1);
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / COUNT as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / COUNT as f64;
        // Five standard errors; the seed is fixed.
        assert!((mean / 100_000.0 - 1.0).abs() < 5.0 / (COUNT as f64).sqrt(), "mean {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "deviation {}", variance.sqrt());
    }
}
