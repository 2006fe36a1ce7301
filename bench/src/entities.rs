//! Which entity comes next: uniform, Zipf, a hot set, or one after another.

use crate::error::BenchError;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution as _, Zipf};
use serde::Deserialize;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

/// Zipf ranks are drawn beforehand, so many of them, and replayed: drawing one costs more than all the rest of a
/// request. A power of two, so that the position wraps with a mask.
const RANKS: usize = 1 << 22;

/// One of so many that are replayed is drawn anew, so that what is replayed is never the same twice, and names of
/// small shares occur in the end. A power of two; what a draw costs is shared among as many.
const REPLAYED_FOR_EACH_NEW: usize = 16;

/// Spreads ranks over entities, so that hot ones are not neighbours: a prime, hence a permutation modulo any
/// count of entities that is not its multiple.
const SPREAD: u64 = 2_654_435_761;

/// An entity that must be another one is drawn so often; then the next number that is free is taken.
const REDRAWS_MAX: usize = 64;

/// How often each entity occurs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// The entity of rank k in proportion to 1 / k^theta.
    Zipf {
        /// The exponent.
        theta: f64,
    },
    /// A few entities have most of the traffic; all alike within these, and within the others.
    HotSet {
        /// How many are hot.
        hot: u64,
        /// Their share of the traffic.
        share: f64,
    },
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        if let Some(set) = text.strip_prefix("hot:") {
            let parsed = set.split_once(':').and_then(|(hot, share)| {
                let (hot, share) = (hot.parse().ok()?, share.parse().ok()?);
                (hot > 0 && (0.0..=1.0).contains(&share)).then_some(Self::HotSet { hot, share })
            });
            return parsed.ok_or_else(|| {
                format!("{text:?} is no hot set: hot:<entities>:<share of the traffic>, such as hot:1000:0.9")
            });
        }
        let theta = text.strip_prefix("zipf:").and_then(|theta| theta.parse::<f64>().ok());
        match theta {
            Some(theta) if theta.is_finite() && theta > 0.0 => Ok(Self::Zipf { theta }),
            _ => Err(format!(
                "{text:?} is none of uniform, zipf:<theta> such as zipf:0.99, hot:<entities>:<share> such as hot:1000:0.9"
            )),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf { theta } => write!(f, "zipf:{theta}"),
            Self::HotSet { hot, share } => write!(f, "hot:{hot}:{share}"),
        }
    }
}

/// In which order entities come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As their distribution has it.
    #[default]
    Drawn,
    /// One after the other, each in its turn.
    Sequential,
}

/// Draws entity numbers below a count.
#[derive(Clone, Debug)]
pub struct EntitySource {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Uniform { rng: SmallRng, entities: u64 },
    HotSet { rng: SmallRng, entities: u64, hot: u64, share: f64 },
    Replayed(Replayed),
    Sequential { next: u64, end: u64 },
}

/// Zipf's entities of one thread: a table that is replayed, and changes slowly meanwhile.
#[derive(Clone, Debug)]
struct Replayed {
    /// As many as a power of two.
    drawn: Vec<u32>,
    /// The position is its remainder; how often the table was gone through is the rest.
    draws: usize,
    zipf: Zipf<f64>,
    rng: SmallRng,
    entities: u64,
}

impl Replayed {
    #[inline]
    fn next(&mut self) -> u64 {
        self.draws = self.draws.wrapping_add(1);
        let at = self.draws & (self.drawn.len() - 1);
        let entity = self.drawn[at];
        // Each time through the table it is the turn of other positions.
        let round = self.draws >> self.drawn.len().trailing_zeros();
        if (at + round).is_multiple_of(REPLAYED_FOR_EACH_NEW) {
            self.drawn[at] = draw_zipf(&self.zipf, self.entities, &mut self.rng);
        }
        u64::from(entity)
    }
}

impl EntitySource {
    /// One source for each of `threads`, which do not follow each other's draws.
    ///
    /// # Errors
    ///
    /// No entities, or more than 2³² of them.
    pub fn for_threads(
        distribution: Distribution,
        entities: u64,
        threads: usize,
        seed: u64,
    ) -> Result<Vec<Self>, BenchError> {
        if entities == 0 || u32::try_from(entities - 1).is_err() {
            return Err(BenchError::Settings(format!("{entities} entities; it must be 1 to 4294967296")));
        }
        let mut rng = SmallRng::seed_from_u64(seed);
        let kinds: Vec<Kind> = match distribution {
            Distribution::Uniform => (0..threads)
                .map(|_| Kind::Uniform { rng: SmallRng::seed_from_u64(rng.next_u64()), entities })
                .collect(),
            Distribution::HotSet { hot, share } => {
                if hot >= entities {
                    return Err(BenchError::Settings(format!(
                        "a hot set of {hot} among {entities} entities leaves none that are not"
                    )));
                }
                (0..threads)
                    .map(|_| {
                        let rng = SmallRng::seed_from_u64(rng.next_u64());
                        Kind::HotSet { rng, entities, hot, share }
                    })
                    .collect()
            }
            Distribution::Zipf { theta } => {
                let zipf = zipf(entities, theta)?;
                // Drawn once for all threads: they begin apart, and each changes its own.
                let drawn: Vec<u32> =
                    std::iter::repeat_with(|| draw_zipf(&zipf, entities, &mut rng)).take(RANKS).collect();
                (0..threads)
                    .map(|n| {
                        let draws = n * (RANKS / threads);
                        let rng = SmallRng::seed_from_u64(rng.next_u64());
                        Kind::Replayed(Replayed { drawn: drawn.clone(), draws, zipf, rng, entities })
                    })
                    .collect()
            }
        };
        Ok(kinds.into_iter().map(|kind| Self { kind }).collect())
    }

    /// Every entity from `start` to `end`, in order, then from the start of them all again.
    pub fn sequential(start: u64, end: u64) -> Self {
        Self { kind: Kind::Sequential { next: start, end } }
    }

    /// The next entity.
    #[expect(clippy::should_implement_trait, reason = "endless, and the hot path wants no Option")]
    pub fn next(&mut self) -> u64 {
        match &mut self.kind {
            Kind::Uniform { rng, entities } => rng.random_range(0..*entities),
            Kind::HotSet { rng, entities, hot, share } => {
                let rank = if rng.random::<f64>() < *share {
                    rng.random_range(0..*hot)
                } else {
                    rng.random_range(*hot..*entities)
                };
                // Spread, so that hot ones are not neighbours.
                rank * SPREAD % *entities
            }
            Kind::Replayed(replayed) => replayed.next(),
            Kind::Sequential { next, end } => {
                let entity = *next;
                *next = if entity + 1 >= *end { 0 } else { entity + 1 };
                entity
            }
        }
    }

    /// The next entity that is not among those `met`, which are fewer than there are; it is among them from now on.
    pub fn next_unlike(&mut self, met: &mut HashSet<u64>) -> u64 {
        let entities = match &self.kind {
            Kind::Uniform { entities, .. } | Kind::HotSet { entities, .. } => *entities,
            Kind::Replayed(Replayed { entities, .. }) => *entities,
            Kind::Sequential { end, .. } => *end,
        };
        let mut entity = 0;
        for _ in 0..REDRAWS_MAX {
            entity = self.next();
            if met.insert(entity) {
                return entity;
            }
        }
        let others = (1..entities).map(|step| (entity + step) % entities);
        let mut free = others.filter(|other| met.insert(*other));
        free.next().expect("fewer are met than there are")
    }
}

fn zipf(entities: u64, theta: f64) -> Result<Zipf<f64>, BenchError> {
    #[expect(clippy::cast_precision_loss, reason = "entities are below 2^32")]
    Zipf::new(entities as f64, theta)
        .map_err(|error| BenchError::Settings(format!("zipf:{theta} over {entities} entities: {error}")))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks are 1 to entities, below 2^32"
)]
fn draw_zipf(zipf: &Zipf<f64>, entities: u64, rng: &mut SmallRng) -> u32 {
    (((zipf.sample(rng) as u64 - 1) * SPREAD) % entities) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(distribution: Distribution, entities: u64, draws: usize) -> Vec<f64> {
        let mut source = EntitySource::for_threads(distribution, entities, 1, 1).unwrap().pop().unwrap();
        let mut counts = vec![0_u32; usize::try_from(entities).unwrap()];
        for _ in 0..draws {
            counts[usize::try_from(source.next()).unwrap()] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / draws as f64).collect()
    }

    #[test]
    fn entities_that_must_differ_do_and_hot_ones_are_still_there() {
        for distribution in [
            Distribution::Uniform,
            Distribution::Zipf { theta: 1.2 },
            Distribution::HotSet { hot: 3, share: 1.0 },
        ] {
            let mut source = EntitySource::for_threads(distribution, 1_000, 1, 1).unwrap().pop().unwrap();
            let mut met = HashSet::new();
            let drawn: Vec<u64> = (0..999).map(|_| source.next_unlike(&mut met)).collect();
            assert_eq!(met.len(), 999, "{distribution}");
            assert!(drawn.iter().all(|entity| *entity < 1_000));
            // The hottest comes early, but in a uniform draw.
            assert!(distribution == Distribution::Uniform || drawn[..20].contains(&0), "{distribution}");
        }
    }

    #[test]
    fn zipf_frequencies_follow_the_power_law() {
        const ENTITIES: u64 = 10_000;
        for theta in [0.8, 0.99, 1.2] {
            let frequencies = frequencies(Distribution::Zipf { theta }, ENTITIES, RANKS);
            let harmonic: f64 = (1..=ENTITIES).map(|rank| (rank as f64).powf(-theta)).sum();
            for rank in [1_u64, 2, 3, 10, 100, 1000] {
                let entity = usize::try_from(((rank - 1) * SPREAD) % ENTITIES).unwrap();
                let expected = (rank as f64).powf(-theta) / harmonic;
                // Five standard deviations of a binomial count: fails by chance once in millions; the seed is fixed.
                let tolerance = 5.0 * (expected / RANKS as f64).sqrt();
                let found = frequencies[entity];
                assert!(
                    (found - expected).abs() < tolerance,
                    "theta {theta} rank {rank}: {found} for {expected}"
                );
            }
        }
    }

    #[test]
    fn what_is_replayed_changes_everywhere_as_time_goes_on() {
        const TABLE: usize = 1 << 10;
        const ENTITIES: u64 = 1_000_000;
        let mut rng = SmallRng::seed_from_u64(1);
        let zipf = zipf(ENTITIES, 0.5).unwrap();
        let drawn = (0..TABLE).map(|_| draw_zipf(&zipf, ENTITIES, &mut rng)).collect();
        let mut replayed = Replayed { drawn, draws: 0, zipf, rng, entities: ENTITIES };
        let mut round = || (0..TABLE).map(|_| replayed.next()).collect::<Vec<_>>();
        let first = round();
        let second = round();
        let changed = first.iter().zip(&second).filter(|(a, b)| a != b).count();
        assert!((TABLE / 32..=TABLE / 16).contains(&changed), "{changed} changed in one round");
        for _ in 2..REPLAYED_FOR_EACH_NEW {
            round();
        }
        let last = round();
        let same = first.iter().zip(&last).filter(|(a, b)| a == b).count();
        assert!(same < TABLE / 16, "{same} of {TABLE} never changed");
    }

    #[test]
    fn ranks_are_spread_one_to_one() {
        const ENTITIES: u64 = 1_000_000;
        let mut seen = vec![false; 1_000_000];
        for rank in 0..ENTITIES {
            let entity = usize::try_from((rank * SPREAD) % ENTITIES).unwrap();
            assert!(!std::mem::replace(&mut seen[entity], true), "rank {rank} shares an entity");
        }
    }

    #[test]
    fn uniform_frequencies_are_alike() {
        const DRAWS: usize = 1_000_000;
        let expected = 1.0 / 100.0;
        let tolerance = 5.0 * (expected / DRAWS as f64).sqrt();
        for frequency in frequencies(Distribution::Uniform, 100, DRAWS) {
            assert!((frequency - expected).abs() < tolerance, "{frequency}");
        }
    }

    #[test]
    fn a_hot_set_has_its_share_and_the_others_the_rest() {
        let frequencies = frequencies(Distribution::HotSet { hot: 10, share: 0.9 }, 1000, 1_000_000);
        let hot: f64 =
            (0..10_u64).map(|rank| frequencies[usize::try_from(rank * SPREAD % 1000).unwrap()]).sum();
        assert!((hot - 0.9).abs() < 0.002, "{hot}");
        assert!(frequencies.iter().all(|frequency| *frequency > 0.0));
        let all_hot = Distribution::HotSet { hot: 1000, share: 0.5 };
        assert!(EntitySource::for_threads(all_hot, 1000, 1, 1).is_err());
    }

    #[test]
    fn threads_draw_differently() {
        for distribution in [Distribution::Uniform, Distribution::Zipf { theta: 0.99 }] {
            let mut sources = EntitySource::for_threads(distribution, 1_000_000, 2, 1).unwrap();
            let mut take = |n: usize| (0..10).map(|_| sources[n].next()).collect::<Vec<_>>();
            assert_ne!(take(0), take(1));
        }
    }

    #[test]
    fn sequential_visits_each_entity_once() {
        let mut source = EntitySource::sequential(3, 6);
        assert_eq!([source.next(), source.next(), source.next()], [3, 4, 5]);
    }

    #[test]
    fn distributions_parse_and_print_alike() {
        for text in ["uniform", "zipf:0.99", "hot:1000:0.9"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        for bad in ["zipf", "zipf:", "zipf:-1", "zipf:nan", "normal", "hot", "hot:5", "hot:0:0.5", "hot:5:2"]
        {
            assert!(bad.parse::<Distribution>().is_err(), "{bad}");
        }
    }
}
