//! What the naive model does not reach: counts that widen, every shape on the way to a dense ring, wrap, far gaps.

use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::{
    Event, Fit, NONE, Placements, add, fit, grow, init, is_late_for_new, newest_ms, words_grown, words_used,
};
use crate::definition::Definition;
use crate::layout::Layout;
use crate::query::Query;
use crate::read_time::{ReadTime, StreamTime};
use crate::value::Value;
use crate::window::{Rows, evaluate};

fn layout(text: &str) -> Layout {
    Layout::compile(&Definition::parse_text("s", text).unwrap()).unwrap()
}

struct Entity {
    layout: Layout,
    words: Vec<u64>,
    grown: usize,
}

impl Entity {
    fn new(text: &str) -> Self {
        let layout = layout(text);
        let mut words = vec![u64::MAX; layout.words_min()];
        init(&layout, words.as_mut_slice());
        Self { layout, words, grown: 0 }
    }

    fn event(&mut self, ts: i64, value: f64) {
        let event = Event {
            ts,
            clock: ts.max(newest_ms(self.words.as_slice())),
            present: 1,
            values: &[value.to_bits()],
            bytes: &[],
        };
        loop {
            let mut placements = Placements::default();
            match fit(&self.layout, self.words.as_slice(), &event, &mut placements) {
                Fit::Late => panic!("an event at {ts} is late"),
                Fit::Ready => {
                    return add(&self.layout, self.words.as_mut_slice(), &event, &placements);
                }
                Fit::Grow(growth) => {
                    let wanted = words_grown(&self.layout, self.words.as_slice(), &growth);
                    // Stale words beyond the old body must not matter.
                    let mut words = vec![u64::MAX; wanted.ample];
                    grow(&self.layout, self.words.as_slice(), words.as_mut_slice(), &growth);
                    assert_eq!(words_used(&self.layout, words.as_slice()), words.len());
                    self.words = words;
                    self.grown += 1;
                }
            }
        }
    }

    fn read(&self, features: &str, t: i64) -> Vec<Value> {
        self.read_into(&mut Rows::default(), features, t)
    }

    fn read_into(&self, rows: &mut Rows, features: &str, t: i64) -> Vec<Value> {
        let clock = newest_ms(self.words.as_slice());
        let words = features.split(' ').map(str::as_bytes);
        let query = Query::parse(&self.layout, words).unwrap();
        let mut time =
            query.read_time(&self.layout, StreamTime { clock: Some(clock), newest: Some(clock) }).unwrap();
        time.t = t;
        rows.values.clear();
        evaluate(&self.layout, Some(self.words.as_slice()), &query.features, time, rows);
        std::mem::take(&mut rows.values)
    }
}

#[test]
fn rows_used_again_look_at_the_window_of_each_read() {
    // Tiers of one place and windows of one length, with buckets of two widths.
    let mut entities = [1, 10].map(|width| {
        Entity::new(&format!("FIELDS x FLOAT WINDOWS 60s@{width}s 10m@30s AGGREGATE count sum(x)"))
    });
    for second in 0..600 {
        entities.iter_mut().for_each(|entity| entity.event(second * 1000, second as f64));
    }
    let mut rows = Rows::default();
    for t in [599_001, 599_001, 598_500, 61_000, 599_001] {
        for features in ["count:60s", "sum(x):10m count:60s", "sum(x):60s count:10m", "count:30s"] {
            for entity in &entities {
                let known = entity.read_into(&mut rows, features, t);
                assert_eq!(known, entity.read(features, t), "{features} at {t}");
            }
        }
    }
    let counts =
        entities.each_ref().map(|entity| entity.read_into(&mut rows, "count:60s", 595_001)[0].clone());
    assert_eq!(counts, [Value::Int(61), Value::Int(70)]);
}

#[test]
fn counts_widen_beyond_16_bits_in_short_and_dense_rings() {
    for filled in [1, 60] {
        let mut entity = Entity::new("FIELDS x FLOAT WINDOWS 60s@1s AGGREGATE count count(x) sum(x)");
        for second in 0..filled {
            entity.event(second * 1000, 1.0);
        }
        let last = (filled - 1) * 1000;
        for _ in 0..70_000 {
            entity.event(last, 1.0);
        }
        let total = 70_000 + filled;
        let row = entity.read("count:60s count(x):60s sum(x):60s", last + 1);
        assert_eq!(row, [Value::Int(total), Value::Int(total), Value::Float(total as f64)]);
    }
}

#[test]
fn a_ring_takes_every_shape_and_keeps_what_it_holds() {
    let text = "FIELDS x FLOAT WINDOWS 60s@1s 10m@10s all AGGREGATE count sum(x) min(x) since";
    let mut entity = Entity::new(text);
    let start = 1_700_000_000_000;
    for second in 0..600 {
        entity.event(start + second * 1000, second as f64);
        let row = entity.read(
            "count:60s sum(x):60s min(x):60s count:10m sum(x):all since:60s",
            start + second * 1000 + 1,
        );
        // The window of 60 s that ends within a second touches 61 buckets.
        let from = (second - 60).max(0);
        let sum = |from: i64| (from..=second).sum::<i64>() as f64;
        assert_eq!(
            row,
            [
                Value::Int(second - from + 1),
                Value::Float(sum(from)),
                Value::Float(from as f64),
                Value::Int(second + 1),
                Value::Float(sum(0)),
                Value::Int(0)
            ]
        );
    }
    assert!(entity.grown >= 12, "two rings grew only {} times", entity.grown);
    assert!(entity.words.len() <= entity.layout.full_bytes() / 8);
}

#[test]
fn a_sum_that_stays_in_range_bucket_by_bucket_is_finite() {
    // In lanes of their own, the large ones of one sign would leave the range.
    let mut entity = Entity::new("FIELDS x FLOAT WINDOWS 60s@1s AGGREGATE sum(x)");
    for second in 0..40 {
        entity.event(second * 1000, if second % 2 == 0 { 1.7e308 } else { -1.7e308 });
    }
    assert_eq!(entity.read("sum(x):60s", 40_000), [Value::Float(0.0)]);
}

#[test]
fn a_sum_of_floats_is_the_same_to_the_last_bit_whatever_shape_the_ring_has() {
    const STREAM: &str = "FIELDS x FLOAT WINDOWS 60s@1s 7s@1s AGGREGATE sum(x)";
    for start in 200..230 {
        let (mut short, mut dense) = (Entity::new(STREAM), Entity::new(STREAM));
        for second in start - 140..start - 70 {
            dense.event(second * 1000, 0.3);
        }
        // Nine buckets, with gaps, none of whose values a binary fraction is.
        for at in 0..9 {
            let (ts, value) = ((start + at * 2 + at / 3) * 1000, ((start + at) as f64).sin() * 1e3);
            short.event(ts, value);
            dense.event(ts, value);
        }
        let is_dense = |entity: &Entity| super::held(&entity.layout, entity.words.as_slice())[0].is_dense;
        assert!(is_dense(&dense) && !is_dense(&short), "the rings do not differ");
        for t in start * 1000..(start + 30) * 1000 {
            if t % 500 == 0 {
                let features = "sum(x):60s sum(x):7s";
                assert_eq!(short.read(features, t), dense.read(features, t), "start {start}, T {t}");
            }
        }
    }
}

#[test]
fn a_gap_longer_than_the_ring_leaves_nothing_behind() {
    for filled in [2, 60] {
        let mut entity = Entity::new("FIELDS x FLOAT WINDOWS 60s@1s AGGREGATE count sum(x) min(x)");
        for second in 0..filled {
            entity.event(second * 1000, 1.0);
        }
        for gap_ms in [61_000, 64_000, 86_400_000, (1i64 << 32) * 1000, (1i64 << 33) * 1000 + 5000] {
            let ts = newest_ms(entity.words.as_slice()) + gap_ms;
            entity.event(ts, 7.0);
            assert_eq!(
                entity.read("count:60s sum(x):60s min(x):60s", ts + 1),
                [Value::Int(1), Value::Float(7.0), Value::Float(7.0)]
            );
        }
    }
}

#[test]
fn an_event_ahead_of_the_clock_does_not_overwrite_the_oldest_bucket() {
    // N = 60 + 1 + 5 + 1: a full unaligned window, its RETAIN, and five buckets ahead of the clock.
    let mut entity = Entity::new("FIELDS x FLOAT WINDOWS 60s@1s AGGREGATE count SKEW 5s CLAMP");
    assert_eq!(entity.layout.tiers[0].slots, 67);
    let clock = 1_000_500;
    for second in 0..62 {
        entity.event(clock - second * 1000, 1.0);
    }
    entity.event(clock + 5000, 1.0);
    // [floor(T − W), ceil(T)) with T = clock + 1, and the bucket before, which RETAIN keeps for AT.
    assert_eq!(entity.read("count:60s", clock + 1), [Value::Int(61)]);
    assert_eq!(entity.read("count:60s", clock + 1 - 1000), [Value::Int(61)]);
}

#[test]
fn an_event_behind_the_ring_is_late_whatever_its_stamp_says() {
    // Another connection's event has overtaken this one: the owner judges with the record's head.
    let text = "FIELDS x FLOAT WINDOWS 10s@1s AGGREGATE count SKEW 0s REJECT CLOCK EVENT";
    let mut entity = Entity::new(text);
    entity.event(100_000, 1.0);
    let stale = Event { ts: 80_000, clock: 80_000, present: 0, values: &[0], bytes: &[] };
    let mut placements = Placements::default();
    let mut judged = |entity: &Entity| fit(&entity.layout, entity.words.as_slice(), &stale, &mut placements);
    assert_eq!(judged(&entity), Fit::Late);
    assert!(!is_late_for_new(&entity.layout, &stale), "to an entity without record it is not late");
    let wall = Entity { layout: layout(&text.replace("EVENT", "WALL")), words: entity.words, grown: 0 };
    assert_eq!(judged(&wall), Fit::Late);
}

#[test]
fn an_empty_body_has_no_events() {
    let entity = Entity::new("FIELDS x FLOAT WINDOWS 10s@1s all AGGREGATE count sum(x) min(x) since");
    assert_eq!(newest_ms(entity.words.as_slice()), NONE);
    assert_eq!(words_used(&entity.layout, entity.words.as_slice()), entity.words.len());
}

#[test]
fn three_buckets_of_count_and_sum_take_little() {
    let mut entity = Entity::new("FIELDS amount FLOAT WINDOWS 5m@1m 1h@1m AGGREGATE count sum(amount)");
    for minute in 0..3 {
        entity.event(minute * 60_000, 1.0);
    }
    assert!(entity.words.len() * 8 <= 96, "{} bytes", entity.words.len() * 8);
    for minute in 3..60 {
        entity.event(minute * 60_000, 1.0);
    }
    assert!(entity.words.len() * 8 <= 672, "{} bytes", entity.words.len() * 8);
}

proptest! {
    #[test]
    fn reading_words_of_no_one_moment_ends_and_does_not_panic(
        stream in prop::sample::select(vec![
            "FIELDS x FLOAT n INT WINDOWS 60s@1s 10m@10s all AGGREGATE count sum(x) avg(n) min(x) max(n) since rate rate(n)",
            "FIELDS x FLOAT n INT WINDOWS 3s@1s AGGREGATE since min(n)",
        ]),
        mut words in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..1000, Just(NONE.cast_unsigned())], 0..400),
        shapes in prop::collection::vec(any::<u16>(), 2),
        t in -10_000_000i64..10_000_000,
    ) {
        let layout = layout(stream);
        for (tier, shape) in shapes.into_iter().enumerate() {
            let at = layout.tiers_at() + 2 * tier + 1;
            if at < words.len() {
                words[at] = words[at] & !0xffff | u64::from(shape % 128);
            }
        }
        let mut row = Rows::default();
        let time = ReadTime::now(Some(t - 1));
        evaluate(&layout, Some(words.as_slice()), &layout.features, time, &mut row);
        prop_assert_eq!(row.values.len(), layout.features.len());
    }
}

#[test]
fn random_rings_are_what_a_list_of_events_says() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    let defs = [
        (
            "FIELDS x FLOAT WINDOWS 60s@1s 10m@10s AGGREGATE count sum(x) min(x) var_pop(x)",
            "count:60s sum(x):60s min(x):60s count:10m sum(x):10m",
            [(60_000i64, 1000i64), (600_000, 10_000)],
        ),
        (
            "FIELDS x FLOAT WINDOWS 7s@1s 3m@1m AGGREGATE count sum(x) min(x) RETAIN 5s SKEW 3s REJECT",
            "count:7s sum(x):7s min(x):7s count:3m sum(x):3m",
            [(7_000, 1000), (180_000, 60_000)],
        ),
    ];
    for round in 0..1000 {
        let (text, features, tiers) = defs[round % 2];
        let mut entity = Entity::new(text);
        let start = -500_000 + draw(1_000_000) as i64;
        let mut events: Vec<(i64, f64)> = Vec::new();
        let mut clock = start;
        let dense = draw(3) == 0;
        for step in 0..150 {
            let ts = match draw(12) {
                0 => clock + draw(200_000) as i64,
                1 if step > 2 => clock - draw(tiers[0].0 as u64) as i64,
                2 => clock + tiers[0].0 + draw(4) as i64 * 1000,
                3 if draw(20) == 0 => clock + 10_000_000 + draw(1 << 42) as i64,
                4..=6 => clock,
                _ => clock + draw(if dense { 1100 } else { 9000 }) as i64,
            };
            clock = clock.max(ts);
            let value = draw(1000) as f64;
            entity.event(ts, value);
            events.push((ts, value));
            let t = clock + 1;
            let row = entity.read(features, t);
            let window = |(len, w): (i64, i64)| {
                let from = (t - len).div_euclid(w) * w;
                let to = -((-t).div_euclid(w)) * w;
                events.iter().filter(move |(ts, _)| (from..to).contains(ts)).copied().collect::<Vec<_>>()
            };
            let (a, b) = (window(tiers[0]), window(tiers[1]));
            let sum = |l: &[(i64, f64)]| Value::Float(l.iter().map(|e| e.1).sum());
            let min = a.iter().map(|e| e.1).fold(f64::INFINITY, f64::min);
            assert_eq!(
                row,
                [Value::Int(a.len() as i64), sum(&a), Value::Float(min), Value::Int(b.len() as i64), sum(&b)],
                "round {round} step {step}"
            );
            super::verify(&entity.layout, entity.words.as_slice()).unwrap();
        }
    }
}

#[test]
fn looking_ahead_in_words_of_another_layout_does_not_panic() {
    let layout = layout("FIELDS x FLOAT WINDOWS 60s@1s AGGREGATE count sum(x)");
    let dense = layout.tiers[0].shapes.len() as u64 - 1;
    let mut words = vec![0u64; 400];
    let at = layout.tiers_at();
    // A head that is another stream's f64 (-5e-324), or i64 near its minimum.
    words[at] = 0x8000_0000_0000_0001;
    words[at + 1] = dense;
    super::touched(&layout, words.as_slice(), 1_700_000_000_000, |_| ());
}
