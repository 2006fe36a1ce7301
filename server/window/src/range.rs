//! WINDOW.RANGE: one aggregate, bucket by bucket.

use crate::aggregate::Aggregate;
use crate::duration;
use crate::error::{QueryError, quote};
use crate::layout::Layout;
use crate::planted::{Mistake, is_planted};
use crate::read_time::not_kept;
use crate::timestamp::{self, TIMESTAMP_ABS_MAX, bucket_ceil, bucket_of, floor_to};
use crate::window::{Buckets, Rows, empty, is_live};
use crate::words::Words;

/// Most pairs in a reply.
pub const PAIRS_MAX: usize = 100_000;

/// What WINDOW.RANGE asks, before the stream's clock is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    aggregate: Aggregate,
    from_ms: i64,
    to_ms: i64,
    step_ms: Option<i64>,
}

/// Where the pairs of a WINDOW.RANGE come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangePlan {
    aggregate: Aggregate,
    tier: usize,
    step_ms: i64,
    first_ms: i64,
    /// How many pairs the reply has.
    pub pairs: usize,
    clock: Option<i64>,
}

impl RangeQuery {
    /// Parses what follows the stream's name: `<aggregate> <from> <to> [BUCKET <dur>]`.
    ///
    /// # Errors
    /// Says which word is wrong.
    pub fn parse<'a>(layout: &Layout, args: impl Iterator<Item = &'a [u8]>) -> Result<Self, QueryError> {
        let mut args = args;
        let syntax = |message: &str| QueryError::Syntax(message.to_owned());
        let mut next = || args.next();
        let (Some(aggregate), Some(from), Some(to)) = (next(), next(), next()) else {
            return Err(syntax("WINDOW.RANGE needs <aggregate> <from> <to>"));
        };
        let aggregate = Aggregate::parse(aggregate, &layout.fields)
            .map_err(|error| QueryError::UnknownFeature(error.to_string()))?;
        let time = |word: &[u8]| {
            timestamp::parse(word).ok_or_else(|| {
                QueryError::Syntax(format!(
                    "{} is not a timestamp in milliseconds within ±{TIMESTAMP_ABS_MAX}",
                    quote(word)
                ))
            })
        };
        let (from_ms, to_ms) = (time(from)?, time(to)?);
        if from_ms > to_ms {
            return Err(QueryError::Syntax(format!("the range begins at {from_ms}, after its end {to_ms}")));
        }
        let step_ms = match (next(), next(), next()) {
            (None, ..) => None,
            (Some(option), Some(step), None) if option.eq_ignore_ascii_case(b"BUCKET") => {
                let step_ms = duration::parse(step).filter(|&step_ms| step_ms > 0);
                Some(step_ms.ok_or_else(|| {
                    QueryError::Syntax(format!("BUCKET needs a duration, not {}", quote(step)))
                })?)
            }
            _ => return Err(syntax("after <to> only BUCKET <duration> may follow")),
        };
        Ok(Self { aggregate, from_ms, to_ms, step_ms })
    }

    /// Chooses the tier: the coarsest whose width divides BUCKET, or without BUCKET the finest, that keeps the range and the
    /// aggregate.
    ///
    /// # Errors
    /// When no tier holds the aggregate, none keeps `from`, BUCKET fits none, or the pairs are more than [`PAIRS_MAX`].
    pub fn plan(&self, layout: &Layout, clock: Option<i64>) -> Result<RangePlan, QueryError> {
        let holding = || {
            (0..layout.tiers.len()).filter(|&tier| layout.tiers[tier].holds(self.aggregate, &layout.fields))
        };
        let name = self.aggregate.text(&layout.fields);
        if holding().next().is_none() {
            return Err(QueryError::UnknownFeature(format!("no window of the stream keeps {name}")));
        }
        let step_of = |tier: usize| self.step_ms.unwrap_or(layout.tiers[tier].width_ms);
        let divides = |tier: &usize| step_of(*tier) % layout.tiers[*tier].width_ms == 0;
        let first_of = |tier: usize| floor_to(self.from_ms, step_of(tier));
        let keeps = |tier: &usize| {
            is_planted(Mistake::RangeOfWhatIsGone)
                || clock.is_none_or(|clock_ms| first_of(*tier) >= layout.tiers[*tier].kept_from_ms(clock_ms))
        };
        let dividing: Vec<usize> = holding().filter(divides).collect();
        let Some(&coarsest) = dividing.last() else {
            let widths: Vec<String> =
                holding().map(|tier| duration::format(layout.tiers[tier].width_ms)).collect();
            return Err(QueryError::Syntax(format!(
                "BUCKET must be a multiple of a bucket width that keeps {name}: {}",
                widths.join(" ")
            )));
        };
        let mut keeping = dividing.iter().copied().filter(keeps);
        let found = if self.step_ms.is_some() { keeping.next_back() } else { keeping.next() };
        let Some(tier) = found else {
            let clock_ms = clock.expect("without a clock everything is kept");
            return Err(not_kept(
                &format!("the range of {name}"),
                layout,
                coarsest,
                first_of(coarsest),
                clock_ms,
            ));
        };
        let step_ms = step_of(tier);
        let pairs = bucket_ceil(self.to_ms, step_ms) - bucket_of(self.from_ms, step_ms);
        let pairs = usize::try_from(pairs).ok().filter(|&pairs| pairs <= PAIRS_MAX).ok_or_else(|| {
            QueryError::Syntax(format!(
                "the range has {pairs} buckets, more than {PAIRS_MAX}: shorten it or give a longer BUCKET"
            ))
        })?;
        Ok(RangePlan { aggregate: self.aggregate, tier, step_ms, first_ms: first_of(tier), pairs, clock })
    }
}

/// Evaluates the pairs `pairs` of the plan, each the start of a bucket and its value, onto the pairs of
/// `out`.
pub fn evaluate_range<W: Words + ?Sized>(
    layout: &Layout,
    body: Option<&W>,
    plan: &RangePlan,
    pairs: std::ops::Range<usize>,
    out: &mut Rows,
) {
    assert!(pairs.end <= plan.pairs, "{} of {} pairs", pairs.end, plan.pairs);
    let live = body.filter(|words| is_live(layout, *words, plan.clock));
    let width_ms = layout.tiers[plan.tier].width_ms;
    let Rows { pairs: found, scratch, .. } = out;
    found.extend(pairs.map(|pair| {
        let start_ms = plan.first_ms + pair as i64 * plan.step_ms;
        let end_ms = start_ms + plan.step_ms;
        let value = live.map_or_else(
            || empty(layout, plan.aggregate),
            |words| {
                let (from, to) = (bucket_of(start_ms, width_ms), bucket_of(end_ms, width_ms));
                let buckets = Buckets::new(layout, words, plan.tier, from, to);
                buckets.value(plan.aggregate, plan.step_ms, end_ms, scratch)
            },
        );
        (start_ms, value)
    }));
}
