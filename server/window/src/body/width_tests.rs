//! Numbers that begin narrow and widen: sums of integers and counts, each for itself.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::{
    Event, Fit, Placements, Ring, add, fit, grow, held, init, is_late_for_new, newest_ms, upgrade::Upgrade,
    verify, words_grown, words_used,
};
use crate::definition::Definition;
use crate::layout::{Before, Layout, Sums};
use crate::query::Query;
use crate::read_time::{StreamTime, When};
use crate::value::Value;
use crate::window::{Rows, evaluate};

fn definition(text: &str) -> Definition {
    Definition::parse_text("s", text).unwrap()
}

fn layout(text: &str, sums: Sums) -> Layout {
    Layout::compile_with(&definition(text), sums).unwrap()
}

/// A body of a layout, which fields of INT are entered into.
struct Body {
    words: Vec<u64>,
}

impl Body {
    fn new(layout: &Layout) -> Self {
        let mut words = vec![u64::MAX; layout.words_min()];
        init(layout, words.as_mut_slice());
        Self { words }
    }

    /// Adds an event; false: it is late. `values` are those of the first fields.
    fn event(&mut self, layout: &Layout, ts: i64, values: &[Option<i64>]) -> bool {
        let words: Vec<u64> = values.iter().map(|value| value.unwrap_or(-7).cast_unsigned()).collect();
        let present = values.iter().enumerate().map(|(at, value)| u64::from(value.is_some()) << at).sum();
        let clock = ts.max(newest_ms(self.words.as_slice()));
        let event = Event { ts, clock, present, values: &words, bytes: &[] };
        if newest_ms(self.words.as_slice()) == super::NONE && is_late_for_new(layout, &event) {
            return false;
        }
        let mut placements = Placements::default();
        for _ in 0..4 {
            match fit(layout, self.words.as_slice(), &event, &mut placements) {
                Fit::Late => return false,
                Fit::Ready => {
                    add(layout, self.words.as_mut_slice(), &event, &placements);
                    return true;
                }
                Fit::Grow(growth) => {
                    let mut words = vec![u64::MAX; words_grown(layout, self.words.as_slice(), &growth).least];
                    grow(layout, self.words.as_slice(), words.as_mut_slice(), &growth);
                    assert_eq!(words_used(layout, words.as_slice()), words.len());
                    self.words = words;
                }
            }
        }
        panic!("a tier that grew wants more")
    }

    fn read(&self, layout: &Layout, feature: &str, clock: i64) -> Value {
        let query = Query::parse(layout, std::iter::once(feature.as_bytes())).unwrap();
        let time = When::default().resolve(layout, StreamTime { clock: Some(clock), newest: Some(clock) });
        let mut row = Rows::default();
        evaluate(layout, Some(self.words.as_slice()), &query.features, time, &mut row);
        row.values.remove(0)
    }

    /// The bits of a tier's columns.
    fn bits(&self, layout: &Layout, tier: usize) -> Vec<u32> {
        let ring = Ring::read(layout, self.words.as_slice(), tier);
        ring.shape.widths.iter().map(|width| width.bits()).collect()
    }

    fn upgraded(&self, from: &Layout, to: &Layout) -> Self {
        let upgrade = Upgrade::new(&[from, to]);
        let target = upgrade.target(self.words.as_slice());
        let mut words = vec![u64::MAX; target.words];
        upgrade.copy(self.words.as_slice(), words.as_mut_slice(), &target);
        Self { words }
    }
}

const TEXT: &str = "FIELDS n INT m INT WINDOWS 10s@1s 60s@5s all AGGREGATE count sum(n) avg(n) sum(m) rate(m) since SKEW 2s REJECT";

/// Numbers of every magnitude and sign, edges of every width among them.
fn any_number() -> impl Strategy<Value = Option<i64>> {
    let edge = prop::sample::select(vec![
        i64::from(i16::MAX),
        i64::from(i16::MIN),
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        i64::MAX,
        i64::MIN,
    ]);
    prop_oneof![
        1 => Just(None),
        4 => (-3i64..4).prop_map(Some),
        3 => (any::<i64>(), 0u32..64).prop_map(|(n, by)| Some(n >> by)),
        2 => (edge, -2i64..3).prop_map(|(edge, by)| Some(edge.saturating_add(by))),
    ]
}

/// What happened: an event, so long after the newest one, or the body written in the other form, as an ALTER would.
#[derive(Clone, Debug)]
enum Step {
    Event { after_ms: i64, n: Option<i64>, m: Option<i64> },
    Reform,
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![4 => Just(0), 6 => 0..1_500i64, 3 => -9_000..0i64, 1 => 0..90_000i64];
    let event =
        (after, any_number(), any_number()).prop_map(|(after_ms, n, m)| Step::Event { after_ms, n, m });
    prop::collection::vec(prop_oneof![40 => event, 1 => Just(Step::Reform)], 1..150)
}

/// The sum of some events' field: a bucket saturates as they arrive, buckets add up exactly.
fn naive_sum(events: &[(i64, [Option<i64>; 2])], field: usize, window_ms: (i64, i64), clock: i64) -> i64 {
    let (length_ms, width_ms) = window_ms;
    let (from, to) = ((clock + 1 - length_ms).div_euclid(width_ms), -(-clock - 1).div_euclid(width_ms));
    let of_bucket = |bucket: i64| {
        let own = events.iter().filter(|(ts, _)| ts.div_euclid(width_ms) == bucket);
        own.filter_map(|(_, values)| values[field]).fold(0, i64::saturating_add)
    };
    let sum: i128 = (from..to).map(|bucket| i128::from(of_bucket(bucket))).sum();
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

proptest! {
    #[test]
    fn sums_of_integers_of_any_size_are_those_of_a_list_in_rings_of_either_form(steps in any_steps(), is_narrow in any::<bool>()) {
        let layouts = [layout(TEXT, Sums::Wide), layout(TEXT, Sums::Narrow)];
        let mut form = usize::from(is_narrow);
        let mut body = Body::new(&layouts[form]);
        let mut events: Vec<(i64, [Option<i64>; 2])> = Vec::new();
        let mut clock = 1_000_000;
        for step in steps {
            match step {
                Step::Event { after_ms, n, m } => {
                    let ts = clock + after_ms;
                    prop_assert_eq!(body.event(&layouts[form], ts, &[n, m]), true, "it is kept by `all`");
                    clock = clock.max(ts);
                    events.push((ts, [n, m]));
                }
                Step::Reform => {
                    body = body.upgraded(&layouts[form], &layouts[1 - form]);
                    form = 1 - form;
                }
            }
            let layout = &layouts[form];
            verify(layout, body.words.as_slice()).unwrap();
            for (field, name) in ["sum(n)", "sum(m)"].into_iter().enumerate() {
                for (length, window_ms) in [("10s", (10_000, 1_000)), ("3s", (3_000, 1_000)), ("60s", (60_000, 5_000))] {
                    let expected = naive_sum(&events, field, window_ms, clock);
                    let read = body.read(layout, &format!("{name}:{length}"), clock);
                    prop_assert_eq!(read, Value::Int(expected), "{}:{} at {}", name, length, clock);
                }
                let all = events.iter().filter_map(|(_, values)| values[field]).fold(0, i64::saturating_add);
                prop_assert_eq!(body.read(layout, &format!("{name}:all"), clock), Value::Int(all));
            }
        }
    }

    #[test]
    fn a_copy_into_the_other_form_is_as_narrow_as_what_it_holds(values in prop::collection::vec(any_number(), 1..30)) {
        let [wide, narrow] = [layout(TEXT, Sums::Wide), layout(TEXT, Sums::Narrow)];
        let mut body = Body::new(&narrow);
        let mut sums = [0i64; 30];
        for (second, value) in (0..).zip(&values) {
            body.event(&narrow, 1_000_000 + second * 1_000, &[*value]);
            sums[second as usize] = value.unwrap_or(0);
        }
        let of = |sum: &i64| if i16::try_from(*sum).is_ok() { 16 } else if i32::try_from(*sum).is_ok() { 32 } else { 64 };
        let newest = values.len();
        // Buckets of the finer tier: the window, one more for RETAIN, two for SKEW, and the head.
        let kept = &sums[newest.saturating_sub(14)..newest];
        let again = body.upgraded(&narrow, &wide).upgraded(&wide, &narrow);
        prop_assert_eq!(again.bits(&narrow, 0)[1], kept.iter().map(of).max().unwrap());
        prop_assert_eq!(again.bits(&narrow, 0)[0], 16);
    }
}

#[test]
fn counts_and_sums_widen_each_for_itself() {
    for filled in [1, 40] {
        let text = "FIELDS n INT m INT WINDOWS 60s@1s AGGREGATE count count(n) sum(n) sum(m) RETAIN 0s SKEW 0s REJECT";
        let layout = layout(text, Sums::Narrow);
        let mut large = Body::new(&layout);
        for second in 0..filled {
            large.event(&layout, second * 1_000, &[Some(1), Some(1)]);
        }
        let last = (filled - 1) * 1_000;
        assert_eq!(large.bits(&layout, 0), [16, 16, 16, 16]);
        large.event(&layout, last, &[Some(i64::from(i16::MAX) - 1), None]);
        assert_eq!(large.bits(&layout, 0), [16, 16, 16, 16], "it just fits");
        large.event(&layout, last, &[Some(1), None]);
        assert_eq!(large.bits(&layout, 0), [16, 16, 32, 32]);
        large.event(&layout, last, &[None, Some(1 << 40)]);
        assert_eq!(large.bits(&layout, 0), [16, 16, 64, 64]);
        large.event(&layout, last, &[Some(-i64::from(i16::MAX)), Some(-1 << 40)]);
        assert_eq!(large.bits(&layout, 0), [16, 16, 64, 64], "a ring only widens");
        let many = (0..70_000).fold(Body::new(&layout), |mut many, _| {
            many.event(&layout, last, &[Some(0), Some(-0)]);
            many
        });
        assert_eq!(many.bits(&layout, 0), [32, 32, 16, 16]);
        assert_eq!(many.read(&layout, "count(n):60s", last), Value::Int(70_000));
    }
}

#[test]
fn a_number_that_needs_a_bucket_and_more_bits_gets_both() {
    // Into the first bucket, a new one, one that no entry is left for, and one ahead of a dense ring's head.
    for filled in [0, 1, 2, 6, 40] {
        for (number, bits) in
            [(i64::from(i16::MIN) - 1, 32), (i64::from(i16::MIN), 16), (i64::MIN, 64), (i64::MAX, 64)]
        {
            let layout = layout("FIELDS n INT WINDOWS 30s@1s AGGREGATE count sum(n)", Sums::Narrow);
            let mut body = Body::new(&layout);
            for second in 0..filled {
                body.event(&layout, second * 1_000, &[Some(0)]);
            }
            body.event(&layout, filled * 1_000, &[Some(number)]);
            assert_eq!(
                body.read(&layout, "sum(n):30s", filled * 1_000),
                Value::Int(number),
                "behind {filled}"
            );
            assert_eq!(body.bits(&layout, 0), [16, bits], "{number} behind {filled}");
        }
    }
}

#[test]
fn a_product_takes_what_its_buckets_hold() {
    // 14 bytes an entry: its tag 4, the reference 4, a count and two sums 2 each; 26 with wide sums. Before it, six words.
    let text = "FIELDS cart INT bought INT viewer STRING WINDOWS 15m@15s AGGREGATE count sum(cart) sum(bought) distinct(viewer)";
    for (sums, entry_bytes, slot_bytes) in [(Sums::Narrow, 14, 10), (Sums::Wide, 26, 22)] {
        let layout = layout(text, sums);
        for shape in layout.tiers[0].shapes.iter().filter(|shape| shape.widths[0].bits() == 16) {
            if shape.widths[1].bits() != if sums == Sums::Narrow { 16 } else { 64 } {
                continue;
            }
            let bytes = shape.capacity * if shape.dense { slot_bytes } else { entry_bytes };
            let rounding = shape.words * 8 - bytes;
            assert!(rounding < 8 * 5, "{rounding} bytes beside {bytes} for {} buckets", shape.capacity);
        }
        let mut body = Body::new(&layout);
        for bucket in 0..32 {
            // The first viewer of a bucket is in its reference, so that the heap stays empty.
            body.event(&layout, bucket * 15_000, &[Some(1), Some(-1), Some(0)]);
        }
        let at = held(&layout, body.words.as_slice())[0];
        assert_eq!((at.buckets, at.capacity, at.is_dense), (32, 32, false));
        assert_eq!(words_used(&layout, body.words.as_slice()), 1 + 2 + 32 * entry_bytes / 8 + 1);
        for bucket in 32..70 {
            body.event(&layout, bucket * 15_000, &[Some(1), Some(-1), Some(0)]);
        }
        // 60 buckets of the window, one for RETAIN, four for SKEW, and the newest.
        assert!(held(&layout, body.words.as_slice())[0].is_dense);
        assert_eq!(layout.tiers[0].slots, 66);
        assert_eq!(words_used(&layout, body.words.as_slice()) * 8, layout.full_bytes());
        assert_eq!(layout.full_bytes(), if sums == Sums::Narrow { 704 } else { 1_488 });
    }
}

#[test]
fn how_large_a_record_may_be_is_the_same_in_either_form() {
    let widest = "FIELDS n INT WINDOWS 10s@1s AGGREGATE sum(n) SKEW 0s REJECT RETAIN";
    for (retain_s, is_allowed) in [(131_060, true), (131_061, true), (131_062, false)] {
        for sums in [Sums::Narrow, Sums::Wide] {
            let parsed = Definition::parse_text("s", &format!("{widest} {retain_s}s"));
            assert_eq!(parsed.is_ok(), is_allowed, "RETAIN {retain_s}s");
            if let Ok(definition) = parsed {
                let layout = Layout::compile_with(&definition, sums).unwrap();
                let expected = 8 * (retain_s + 11);
                assert_eq!(layout.tiers[0].widest_bytes(), expected, "{sums:?}");
                assert_eq!(layout.widest_bytes(), expected + 8 * 3, "{sums:?}");
            }
        }
    }
}

#[test]
fn large_sums_take_no_more_than_where_all_are_wide() {
    for (aggregates, slots) in
        [("sum(n)", 66), ("count sum(n)", 62), ("sum(n) sum(m)", 30), ("sum(n)", 1_442)]
    {
        let text = format!(
            "FIELDS n INT m INT WINDOWS {}s@1s AGGREGATE {aggregates} RETAIN 0s SKEW 0s REJECT",
            slots - 1
        );
        let [wide, narrow] = [layout(&text, Sums::Wide), layout(&text, Sums::Narrow)];
        assert_eq!(narrow.tiers[0].slots, slots);
        for number in [1, 1 << 20, 1 << 40] {
            let (mut in_wide, mut in_narrow) = (Body::new(&wide), Body::new(&narrow));
            for second in 0..slots.min(500) as i64 {
                let values = [Some(number); 2];
                assert!(in_wide.event(&wide, second * 1_000, &values));
                assert!(in_narrow.event(&narrow, second * 1_000, &values));
                let words = in_narrow.words.len();
                let filled = second + 1;
                assert!(words <= in_wide.words.len(), "{aggregates} of {number} in {filled} of {slots}");
                let again = in_wide.upgraded(&wide, &narrow);
                verify(&narrow, again.words.as_slice()).unwrap();
                assert!(again.words.len() <= words, "{aggregates} of {number} in {filled}: anew");
                assert_eq!(in_narrow.upgraded(&narrow, &wide).words.len(), in_wide.words.len());
                // Short rings are there to take less than dense ones.
                let ring = Ring::read(&narrow, in_narrow.words.as_slice(), 0);
                let dense =
                    narrow.tiers[0].shapes.iter().find(|of| of.dense && of.widths == ring.shape.widths);
                assert!(ring.shape.dense || ring.shape.words < dense.unwrap().words);
            }
        }
    }
}

#[test]
fn what_17_buckets_of_large_sums_take() {
    // Tags of 24 entries and as many sums, or as many sums as slots.
    let text = "FIELDS n INT WINDOWS 65s@1s AGGREGATE sum(n) RETAIN 0s SKEW 0s REJECT";
    let layout = layout(text, Sums::Narrow);
    let mut body = Body::new(&layout);
    (0..17).for_each(|second| assert!(body.event(&layout, second * 1_000, &[Some(1 << 40)])));
    assert_eq!(body.words.len(), 3 + 12 + 24);
    // While they are small a dense ring is cheaper; it stays dense.
    let mut body = Body::new(&layout);
    (0..17).for_each(|second| assert!(body.event(&layout, second * 1_000, &[Some(1)])));
    assert_eq!(body.words.len(), 3 + 17);
    assert!(body.event(&layout, 16_000, &[Some(1 << 40)]));
    assert_eq!(body.words.len(), 3 + 66);
    assert_eq!(body.upgraded(&layout, &layout).words.len(), 3 + 12 + 24);
}

#[test]
fn a_body_without_events_is_the_smallest_there_is() {
    for slots in 2..40 {
        for aggregates in ["sum(n)", "count sum(n)", "sum(n) sum(m) max(n)", "count"] {
            let text = format!(
                "FIELDS n INT m INT WINDOWS {}s@1s AGGREGATE {aggregates} RETAIN 0s SKEW 0s REJECT",
                slots - 1
            );
            for sums in [Sums::Wide, Sums::Narrow] {
                let layout = layout(&text, sums);
                let mut body = Body::new(&layout);
                verify(&layout, body.words.as_slice()).unwrap();
                assert_eq!(words_used(&layout, body.words.as_slice()), layout.words_min());
                assert!(layout.tiers[0].shapes.iter().all(|shape| shape.words + 3 >= layout.words_min()));
                for second in 0..slots {
                    assert!(body.event(&layout, second * 1_000, &[Some(1), Some(-1)]));
                    verify(&layout, body.words.as_slice()).unwrap();
                    assert!(
                        body.words.len() * 8 <= layout.full_bytes(),
                        "{aggregates} in {second} of {slots}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_number_of_a_shape_is_what_it_was_in_a_table_of_wide_sums() {
    let capacities = |aggregates: &str, sums: Sums| {
        let text = format!("FIELDS n INT WINDOWS 65s@1s AGGREGATE {aggregates} RETAIN 0s SKEW 0s REJECT");
        let layout = layout(&text, sums);
        let shapes = &layout.tiers[0].shapes;
        // Behind one another and told apart by their counts alone, each smaller than the dense one as wide.
        let at_a_time = if shapes.narrow_sums() { 9 } else { 3 };
        for (number, shape) in shapes.iter().enumerate() {
            let dense = &shapes[shapes.len() - at_a_time + number % at_a_time];
            assert!(shape.dense || shapes.narrow_sums() || shape.words < dense.words, "shape {number}");
            assert_eq!(shape.capacity, shapes[number - number % at_a_time].capacity);
        }
        shapes.iter().step_by(at_a_time).map(|shape| shape.capacity).collect::<Vec<usize>>()
    };
    for sums in [Sums::Wide, Sums::Narrow] {
        assert_eq!(capacities("count", sums), [2, 4, 6, 8, 12, 16, 66]);
        assert_eq!(capacities("count max(n)", sums), [2, 4, 6, 8, 12, 16, 24, 32, 48, 66]);
        assert_eq!(capacities("sum(n)", sums), [2, 4, 6, 8, 12, 16, 24, 32, 66]);
    }
    assert_eq!(capacities("count sum(n)", Sums::Wide), [2, 4, 6, 8, 12, 16, 24, 32, 66]);
    assert_eq!(capacities("count sum(n)", Sums::Narrow), [2, 4, 6, 8, 12, 16, 24, 32, 48, 66]);
}

#[test]
fn a_ring_widens_as_soon_as_a_count_is_full_also_by_an_event_that_it_does_not_count() {
    // As servers with wide sums did; a replay of their logs must come to the same records.
    let layout = layout("FIELDS x INT n INT WINDOWS 10s@1s AGGREGATE count(x) sum(n)", Sums::Wide);
    let mut body = Body::new(&layout);
    (0..65_535).for_each(|_| assert!(body.event(&layout, 1_000, &[Some(1), None])));
    assert_eq!(body.bits(&layout, 0)[0], 16);
    let before = Ring::read(&layout, body.words.as_slice(), 0).shape_index;
    let event = Event { ts: 1_000, clock: 1_000, present: 0, values: &[0, 0], bytes: &[] };
    let Fit::Grow(growth) = fit(&layout, body.words.as_slice(), &event, &mut Placements::default()) else {
        panic!("the count is full")
    };
    assert_eq!(growth.ring, Some((0, before + 1)));
    assert!(body.event(&layout, 1_000, &[None, None]));
    assert_eq!(body.bits(&layout, 0)[0], 32);
    assert_eq!(body.read(&layout, "count(x):10s", 1_000), Value::Int(65_535));
}

/// A ring of 12 slots with a count and a sum, so that 2, 4, 6 or 8 entries are short.
const PLANTED: &str = "FIELDS n INT WINDOWS 10s@1s AGGREGATE count sum(n) SKEW 0s REJECT";

/// What a body of two buckets says: the newest is second 2, with a count of 2 and the sum -7; the one before has a count of 1 and the
/// sum `first`.
fn check_planted(layout: &Layout, words: &[u64], first: i64) {
    verify(layout, words).unwrap();
    let mut body = Body { words: words.to_vec() };
    assert_eq!(body.read(layout, "sum(n):10s", 2_500), Value::Int(first.saturating_sub(7)));
    assert_eq!(body.read(layout, "sum(n):1s", 1_999), Value::Int(first));
    assert_eq!(body.read(layout, "count:10s", 2_500), Value::Int(3));
    for second in 3..14 {
        assert!(body.event(layout, second * 1_000, &[Some(second)]));
    }
    assert_eq!(body.read(layout, "sum(n):10s", 13_999), Value::Int((4..14).sum()));
}

#[test]
fn a_body_that_a_server_with_wide_sums_wrote_reads_as_it_meant() {
    let layout = layout(PLANTED, Sums::Wide);
    // Newest event, head, state, tags, counts, sums.
    let short = |sum: i64| {
        [2_500, 2, 2 << 32, 1 | 2 << 32, 1 | 2 << 16, sum.cast_unsigned(), (-7i64).cast_unsigned()]
    };
    check_planted(&layout, &short(5), 5);
    check_planted(&layout, &short(i64::MIN), i64::MIN);
    // Shape 3 is the next capacity, with counts of 16 bits; the last is dense, with counts of 64.
    let mut longer = vec![2_500, 2, 3 | 2 << 32, 1 | 2 << 32, 0, 1 | 2 << 16];
    longer.extend([5, (-7i64).cast_unsigned(), 0, 0]);
    check_planted(&layout, &longer, 5);
    let dense_shape = layout.tiers[0].shapes.len() as u64 - 1;
    let mut dense = vec![0; 3 + 2 * 12];
    dense[..3].copy_from_slice(&[2_500, 2, dense_shape]);
    // The head's slot is 0, the bucket before it in the last one.
    (dense[3], dense[3 + 11], dense[15], dense[15 + 11]) = (2, 1, (-7i64).cast_unsigned(), 5);
    check_planted(&layout, &dense, 5);
}

#[test]
fn a_body_with_narrow_sums_is_what_its_layout_documents() {
    let layout = layout(PLANTED, Sums::Narrow);
    // Three widths of sums, each with three of counts.
    let low = |number: i64, bits: u32| number.cast_unsigned() & (u64::MAX >> (64 - bits));
    let two = |counts: u32| if counts == 64 { vec![1, 2] } else { vec![1 | 2 << counts] };
    for (sums_at, sums, first) in
        [(0, 16, i64::from(i16::MIN)), (1, 32, i64::from(i32::MAX)), (2, 64, i64::MIN)]
    {
        for (counts_at, counts) in [(0, 16), (1, 32), (2, 64)] {
            let mut words = vec![2_500, 2, (3 * sums_at + counts_at) | 2 << 32, 1 | 2 << 32];
            words.extend(two(counts));
            match sums {
                64 => words.extend([first.cast_unsigned(), (-7i64).cast_unsigned()]),
                bits => words.push(low(first, bits) | low(-7, bits) << bits),
            }
            check_planted(&layout, &words, first);
        }
    }
}

#[test]
fn what_was_written_wide_is_narrow_behind_an_alter() {
    let old = layout(PLANTED, Sums::Wide);
    let before = Before { layout: &old, clock_ms: Some(2_600), is_settled: true, backfill_asked_ms: None };
    let altered = definition(PLANTED).altered(&[b"ADD", b"AGGREGATE", b"max(n)"]).unwrap();
    let new = Layout::altered(&altered, Sums::Narrow, before).unwrap();
    assert!(new.narrows_sums() && !old.narrows_sums());
    let mut body = Body::new(&old);
    for (second, n) in [(0, 5), (1, -40_000), (2, 7)] {
        body.event(&old, second * 1_000, &[Some(n)]);
    }
    let upgraded = body.upgraded(&old, &new);
    verify(&new, upgraded.words.as_slice()).unwrap();
    assert_eq!(upgraded.read(&new, "sum(n):10s", 2_600), Value::Int(-39_988));
    assert_eq!(upgraded.bits(&new, 0)[..2], [16, 32]);
}
