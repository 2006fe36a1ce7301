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
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// When the next one would be due if the rate were what it is from the start.
    even_ns: f64,
    gap_ns: f64,
    /// Draws the gaps of a Poisson process.
    rng: Option<SmallRng>,
    /// The rate rises over so long.
    ramp_ns: f64,
}

impl Arrivals {
    /// Arrivals at `rate_per_s` on average.
    pub fn new(rate_per_s: f64, spacing: Spacing, seed: u64) -> Self {
        assert!(rate_per_s > 0.0 && rate_per_s.is_finite(), "checked with the settings");
        let rng = (spacing == Spacing::Poisson).then(|| SmallRng::seed_from_u64(seed));
        Self { even_ns: 0.0, gap_ns: 1e9 / rate_per_s, rng, ramp_ns: 0.0 }
    }

    /// The same, but the rate rises evenly to what it is over the first `ramp_ns`.
    #[must_use]
    pub fn ramped(self, ramp_ns: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
        Self { ramp_ns: ramp_ns as f64, ..self }
    }

    /// When the next request is due, in nanoseconds since the start.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative; 2^53 ns are 104 days"
    )]
    pub fn next_ns(&self) -> u64 {
        // At t of a ramp of R, as many have come as in t²/2R at the whole rate; behind it, as many as in t − R/2.
        let half_ns = self.ramp_ns / 2.0;
        let due_ns = if self.even_ns < half_ns {
            (2.0 * self.ramp_ns * self.even_ns).sqrt()
        } else {
            self.even_ns + half_ns
        };
        due_ns as u64
    }

    /// Goes on to the request after.
    pub fn advance(&mut self) {
        let gaps: f64 = self.rng.as_mut().map_or(1.0, |rng| Exp1.sample(rng));
        self.even_ns += self.gap_ns * gaps;
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

    #[test]
    fn a_ramp_sends_half_as_much_and_then_the_whole_rate() {
        for spacing in [Spacing::Constant, Spacing::Poisson] {
            let mut arrivals = Arrivals::new(10_000.0, spacing, 7).ramped(1_000_000_000);
            let (mut ramp, mut behind) = (0.0, 0.0);
            while arrivals.next_ns() < 2_000_000_000 {
                *(if arrivals.next_ns() < 1_000_000_000 { &mut ramp } else { &mut behind }) += 1.0;
                arrivals.advance();
            }
            assert!(
                (ramp - 5_000.0_f64).abs() < 300.0 && (behind - 10_000.0_f64).abs() < 500.0,
                "{ramp} {behind}"
            );
        }
    }

    #[test]
    fn a_ramp_does_not_put_off_what_seldom_comes() {
        let mut arrivals = Arrivals::new(10.0, Spacing::Constant, 7).ramped(1_000_000_000);
        let due = std::iter::repeat_with(|| {
            let due_ns = arrivals.next_ns();
            arrivals.advance();
            due_ns
        });
        assert_eq!(due.take_while(|due_ns| *due_ns < 2_000_000_000).count(), 15);
    }
}
