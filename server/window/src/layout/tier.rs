//! One bucket width of a stream: what its buckets store, and how many of them are kept.

use super::Before;
use super::shapes::{Shapes, Sums, bits_of_widest};
use crate::aggregate::{Aggregate, Length};
use crate::column::{Columns, Partial};
use crate::definition::{Definition, Field, RECORD_BYTES_MAX};
use crate::duration;
use crate::error::DefinitionError;
use crate::heap::BLOCK_HEAD_WORDS;
use crate::timestamp::floor_to;

/// The ring of buckets of one width.
#[derive(Debug)]
pub struct Tier {
    /// Bucket width.
    pub width_ms: i64,
    /// The longest window that is read from these buckets.
    pub longest_ms: i64,
    /// How much longer than that buckets are kept.
    pub retain_ms: i64,
    /// Slots of the dense ring: ⌈(longest + RETAIN)/w⌉ + ⌈SKEW/w⌉ + 1.
    pub slots: usize,
    /// What each bucket stores.
    pub columns: Columns,
    /// The shapes the ring grows through: by capacity, then by the width of sums, then by that of counts.
    pub shapes: Shapes,
    /// What the layout before kept when this one came: records that are upgraded bring no older buckets along.
    pub(crate) kept_since_ms: i64,
    /// 2⁶⁴ / w, rounded up: what a span is multiplied with instead of being divided by w.
    pub(super) reciprocal: u64,
    /// The longest span of which that gives the whole buckets.
    pub(super) multiplied_ms_max: u64,
    /// Of a tier that keeps longer windows since an ALTER … BACKFILL: the latest clock at which a shard may take the layout over for no
    /// bucket to be lost between what records bring along and what the backfill brings.
    pub handed_over_by_ms: Option<i64>,
}

/// Shards may take so long to take over an ALTER … BACKFILL that makes windows longer, by the stream's clock, or their RETAIN.
const HANDING_OVER_MS_MAX: i64 = 10_000;

impl Tier {
    pub(super) fn new(
        width_ms: i64,
        definition: &Definition,
        skew_ms: i64,
        sums: Sums,
        before: Option<Before<'_>>,
    ) -> Result<Self, DefinitionError> {
        let own = || definition.windows.iter().filter(|window| window.width_ms == width_ms);
        let longest_ms = own()
            .map(|window| match window.length {
                Length::Finite(length_ms) => length_ms,
                Length::All => 0,
            })
            .max()
            .unwrap_or(0);
        let retain_ms = retain_ms(width_ms, definition);
        let specs = definition
            .aggregates
            .iter()
            .filter(|spec| own().any(|window| spec.covers(window.length)))
            .map(|spec| Partial::of(spec.aggregate, &definition.fields));
        let old = before.and_then(|before| {
            let tier = before.layout.tiers.iter().find(|tier| tier.width_ms == width_ms)?;
            Some((before, tier))
        });
        let generation = before.map_or(0, |before| before.layout.generation + 1);
        let columns = Columns::new(specs, old.map(|(_, tier)| &tier.columns), generation);
        // Where longer windows are to be filled, it must be the same from the beginning on: what records bring along and what the
        // backfill brings then meet. So it is a little later than needed, as long as shards may take to learn of it.
        let handed_over_by_ms =
            old.filter(|(_, tier)| tier.longest_ms < longest_ms).and_then(|(before, tier)| {
                Some(before.backfill_asked_ms? + HANDING_OVER_MS_MAX.min(tier.retain_ms))
            });
        let kept_since_ms = old
            .and_then(|(before, tier)| Some(tier.kept_from_ms(handed_over_by_ms.or(before.clock_ms)?)))
            .unwrap_or(i64::MIN);
        let slots = slots(width_ms, longest_ms, retain_ms, skew_ms);
        let full_bytes = slots * bits_of_widest(&columns, width_ms).sum::<i128>() / 8;
        if full_bytes > RECORD_BYTES_MAX as i128 {
            return Err(DefinitionError(format!(
                "a full record would take {full_bytes} bytes for its {slots} buckets of {} alone (window {}, RETAIN {}, SKEW {}), \
                 more than {RECORD_BYTES_MAX}: use wider buckets, shorter windows or less RETAIN",
                duration::format(width_ms),
                duration::format(longest_ms),
                duration::format(retain_ms),
                duration::format(skew_ms),
            )));
        }
        let slots = usize::try_from(slots).expect("bounded by RECORD_BYTES_MAX");
        let shapes = Shapes::new(&columns, width_ms, slots, sums);
        let width = width_ms.cast_unsigned();
        Ok(Self {
            width_ms,
            longest_ms,
            retain_ms,
            slots,
            columns,
            shapes,
            kept_since_ms,
            reciprocal: (u64::MAX / width).wrapping_add(1),
            // The reciprocal is too large by less than 1, so a span's product by less than the span, as a part of 2⁶⁴; the quotient's
            // fraction leaves room for 1/w. 2⁶⁴ itself is no number of 64 bits.
            multiplied_ms_max: if (2..=1 << 32).contains(&width) { u64::from(u32::MAX) } else { 0 },
            handed_over_by_ms,
        })
    }

    /// Start of the oldest bucket that is kept at `clock_ms`: `floor(clock + 1 − longest − RETAIN, w)`.
    #[inline]
    pub fn kept_from_ms(&self, clock_ms: i64) -> i64 {
        floor_to(clock_ms + 1 - self.longest_ms - self.retain_ms, self.width_ms)
    }

    /// Whether a bucket is kept at `clock_ms`: it starts at [`Tier::kept_from_ms`] or later. Without a division.
    #[inline]
    pub(crate) fn keeps(&self, bucket: i64, clock_ms: i64) -> bool {
        self.keeps_until((bucket + 1) * self.width_ms - 1, clock_ms)
    }

    /// Whether the bucket that has this last millisecond is kept at `clock_ms`.
    #[inline]
    pub(crate) fn keeps_until(&self, last_ms: i64, clock_ms: i64) -> bool {
        // Its end lies behind what the floor is taken of.
        last_ms + 1 > clock_ms + 1 - self.longest_ms - self.retain_ms
    }

    /// The whole buckets in a span, mostly without a division: it is asked several times an event.
    #[inline]
    pub(crate) fn buckets_in(&self, span_ms: u64) -> u64 {
        if span_ms <= self.multiplied_ms_max {
            ((u128::from(span_ms) * u128::from(self.reciprocal)) >> u64::BITS) as u64
        } else {
            span_ms / self.width_ms.cast_unsigned()
        }
    }

    /// The place of a partial among the columns.
    pub fn column(&self, partial: Partial) -> Option<usize> {
        self.columns.find(partial)
    }

    /// Whether every partial that `aggregate` needs is stored.
    pub fn holds(&self, aggregate: Aggregate, fields: &[Field]) -> bool {
        self.columns.origin_of(&Partial::of(aggregate, fields)).is_some()
    }

    /// Bytes of the full, dense ring while its numbers are narrow.
    pub fn full_bytes(&self) -> usize {
        self.shapes.dense().words * 8
    }

    /// Bytes of it with numbers that are as wide as they get.
    pub fn widest_bytes(&self) -> usize {
        self.shapes.widest().words * 8
    }

    /// Most bytes that the sketches of all buckets may take.
    pub fn sketch_bytes_max(&self) -> usize {
        self.slots * sketch_bytes_max(&self.columns)
    }
}

/// Most bytes of the sketches of one bucket.
pub(super) fn sketch_bytes_max(columns: &Columns) -> usize {
    columns.sketches().iter().map(|of| 8 * (BLOCK_HEAD_WORDS + of.sketch.words_max())).sum()
}

/// ⌈(longest + RETAIN)/w⌉ + ⌈SKEW/w⌉ + 1.
pub(super) fn slots(width_ms: i64, longest_ms: i64, retain_ms: i64, skew_ms: i64) -> i128 {
    let buckets = |span_ms: i128| (span_ms + i128::from(width_ms) - 1) / i128::from(width_ms);
    buckets(i128::from(longest_ms) + i128::from(retain_ms)) + buckets(i128::from(skew_ms)) + 1
}

/// RETAIN of the tier of one width: its own, else the one for all tiers, else LATENESS plus one bucket.
fn retain_ms(width_ms: i64, definition: &Definition) -> i64 {
    let given = |width: Option<i64>| definition.retain.iter().find(|retain| retain.width_ms == width);
    given(Some(width_ms))
        .or_else(|| given(None))
        .map_or_else(|| definition.lateness_ms.unwrap_or(0) + width_ms, |retain| retain.retain_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    use crate::definition::Definition;
    use crate::layout::Layout;

    proptest! {
        #[test]
        fn a_span_has_as_many_buckets_as_division_says(
            width_ms in prop_oneof![
                1..100i64,
                1..100_000_000i64,
                1i64 << 31..1 << 33,
                (0..34u32, -1..2i64).prop_map(|(power, by)| ((1i64 << power) + by).max(1)),
            ],
            buckets in prop_oneof![0..100u64, 0..1u64 << 33],
            span_ms in prop_oneof![any::<u64>(), 0..1u64 << 33, (1u64 << 32) - 3..(1 << 32) + 3],
        ) {
            let text = format!("WINDOWS {width_ms}ms@{width_ms}ms AGGREGATE count SKEW 0s REJECT");
            let definition = Definition::parse_text("s", &text).unwrap();
            let layout = Layout::compile(&definition).unwrap();
            let (tier, width) = (&layout.tiers[0], width_ms.cast_unsigned());
            let edge = buckets.saturating_mul(width);
            for span_ms in [span_ms, edge.saturating_sub(1), edge, edge.saturating_add(1)] {
                assert_eq!(tier.buckets_in(span_ms), span_ms / width, "{span_ms} ms in buckets of {width} ms");
            }
        }
    }
}
