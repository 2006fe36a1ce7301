//! A body of earlier events and one of later ones, put together, are the body of all.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_oneof, proptest};

use super::merge::Merge;
use super::{Event, Fit, Placements, add, fit, grow, init, is_late_for_new, newest_ms, verify, words_grown};
use crate::definition::Definition;
use crate::layout::{Before, Layout, Sums};
use crate::read_time::{StreamTime, When};
use crate::value::Value;
use crate::window::{Rows, evaluate};

const TEXT: &str = "FIELDS s STRING x FLOAT n INT WINDOWS 10s@1s 30s@5s all \
    AGGREGATE count count(x) sum(x) sum(n) avg(n) min(x) max(x) min(n) max(n) var_pop(x) stddev_samp(n) since \
    first(x) last(s) lastk(n,3) distinct(s) distinct(n,4) quantile(x,0.5) topk(s,4) countby(s,8) decaysum(x,3s):all SKEW 2s REJECT";

#[derive(Clone, Debug)]
struct Drawn {
    /// Since the newest event before it, in milliseconds.
    after_ms: i64,
    s: Option<u8>,
    x: Option<i16>,
    n: Option<i64>,
}

fn any_events() -> impl Strategy<Value = Vec<Drawn>> {
    let after = prop_oneof![8 => 0..1_500i64, 3 => -9_000..0i64, 1 => 0..40_000i64];
    // Of every magnitude, and never so large that a sum would saturate: what does depends on the order.
    let n = prop_oneof![4 => -5..5i64, 1 => (any::<i32>(), 0..24u32).prop_map(|(n, by)| i64::from(n) << by)];
    let drawn = (after, prop::option::of(0..8u8), prop::option::of(any::<i16>()), prop::option::of(n));
    prop::collection::vec(drawn.prop_map(|(after_ms, s, x, n)| Drawn { after_ms, s, x, n }), 0..60)
}

struct Body<'l> {
    layout: &'l Layout,
    words: Option<Vec<u64>>,
}

impl Body<'_> {
    fn event(&mut self, drawn: &Drawn, ts: i64, clock: i64) {
        let text = drawn.s.map(|s| "x".repeat(usize::from(s) * 3)).unwrap_or_default();
        let words = [
            (text.len() as u64) << 32,
            f64::from(drawn.x.unwrap_or(0)).to_bits(),
            drawn.n.unwrap_or(0).cast_unsigned(),
        ];
        let present = u64::from(drawn.s.is_some())
            | u64::from(drawn.x.is_some()) << 1
            | u64::from(drawn.n.is_some()) << 2;
        let event = Event { ts, clock, present, values: &words, bytes: text.as_bytes() };
        if self.words.is_none() {
            if is_late_for_new(self.layout, &event) {
                return;
            }
            let mut words = vec![0; self.layout.words_min()];
            init(self.layout, words.as_mut_slice());
            self.words = Some(words);
        }
        let words = self.words.as_mut().unwrap();
        loop {
            let mut placements = Placements::default();
            match fit(self.layout, words.as_slice(), &event, &mut placements) {
                Fit::Late => return,
                Fit::Ready => return add(self.layout, words.as_mut_slice(), &event, &placements),
                Fit::Grow(growth) => {
                    let mut larger =
                        vec![u64::MAX; words_grown(self.layout, words.as_slice(), &growth).ample];
                    grow(self.layout, words.as_slice(), larger.as_mut_slice(), &growth);
                    *words = larger;
                }
            }
        }
    }

    fn row(&self, layout: &Layout, clock: i64) -> Vec<Value> {
        let time = When::default().resolve(layout, StreamTime { clock: Some(clock), newest: Some(clock) });
        let mut row = Rows::default();
        evaluate(layout, self.words.as_deref(), &layout.features, time, &mut row);
        row.values
    }
}

fn close(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Float(one), Value::Float(other)) => {
            (one - other).abs() <= 1e-12 * one.abs().max(other.abs()).max(1.0)
        }
        _ => one == other,
    }
}

/// Events with their times and the clock at each.
fn timed(events: &[Drawn]) -> Vec<(&Drawn, i64, i64)> {
    let mut clock = 1_000_000;
    let mut timed = Vec::new();
    for drawn in events {
        let ts = clock + drawn.after_ms;
        clock = clock.max(ts);
        timed.push((drawn, ts, clock));
    }
    timed
}

fn layout(text: &str, sums: Sums) -> Layout {
    Layout::compile_with(&Definition::parse_text("s", text).unwrap(), sums).unwrap()
}

fn any_sums() -> impl Strategy<Value = Sums> {
    prop_oneof![Just(Sums::Narrow), Just(Sums::Wide)]
}

fn check(
    one: &[Value],
    other: &[Value],
    layout: &Layout,
) -> Result<(), proptest::test_runner::TestCaseError> {
    for ((one, other), feature) in one.iter().zip(other).zip(&layout.features) {
        // Variances are differences of large numbers.
        let is_close = match (one, other) {
            (Value::Float(one), Value::Float(other))
                if feature.name.contains("var") || feature.name.contains("stddev") =>
            {
                (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1.0)
            }
            _ => close(one, other),
        };
        prop_assert!(is_close, "{}: merged {:?}, in one {:?}", feature.name, one, other);
    }
    Ok(())
}

proptest! {
    #[test]
    fn two_halves_of_any_events_are_all_of_them(events in any_events(), cut in 0usize..60, more in any_events(), sums in any_sums()) {
        let layout = layout(TEXT, sums);
        let earlier_layout = layout.to_backfill(None).unwrap();
        let merge = Merge::new(&earlier_layout, &layout, false);
        let mut all = Body { layout: &layout, words: None };
        let (mut earlier, mut later) = (Body { layout: &earlier_layout, words: None }, Body { layout: &layout, words: None });
        let mut clock = 0;
        let whole: Vec<Drawn> = events.iter().chain(&more).cloned().collect();
        let timed = timed(&whole);
        for (index, &(drawn, ts, now)) in timed[..events.len()].iter().enumerate() {
            let half = if index < cut { &mut earlier } else { &mut later };
            half.event(drawn, ts, now);
            all.event(drawn, ts, now);
            clock = now;
        }
        let Some(before) = earlier.words else { return Ok(()) };
        verify(&earlier_layout, before.as_slice()).unwrap();
        let words = merge.merged(before.as_slice(), later.words.as_deref());
        verify(&layout, words.as_slice()).unwrap();
        let mut merged = Body { layout: &layout, words: Some(words) };
        check(&merged.row(&layout, clock), &all.row(&layout, clock), &layout)?;
        // It goes on like any other.
        for &(drawn, ts, now) in &timed[events.len()..] {
            merged.event(drawn, ts, now);
            all.event(drawn, ts, now);
            clock = now;
        }
        prop_assert!(newest_ms(merged.words.as_deref().unwrap()) == newest_ms(all.words.as_deref().unwrap()));
        verify(&layout, merged.words.as_deref().unwrap()).unwrap();
        check(&merged.row(&layout, clock), &all.row(&layout, clock), &layout)?;
    }

    #[test]
    fn what_an_alter_adds_comes_from_before_and_what_was_there_stays(
        events in any_events(), cut in 0usize..60, which in 0usize..ADDED.len(),
        // Servers before altered from wide sums to wide ones.
        sums in prop_oneof![Just([Sums::Narrow; 2]), Just([Sums::Wide, Sums::Narrow]), Just([Sums::Wide; 2])],
    ) {
        let first = Definition::parse_text("s", "FIELDS s STRING x FLOAT n INT WINDOWS 10s@1s AGGREGATE count sum(x) sum(n) SKEW 2s REJECT").unwrap();
        let old = Layout::compile_with(&first, sums[0]).unwrap();
        let words: Vec<&[u8]> = ADDED[which].split(' ').map(str::as_bytes).collect();
        let second = first.altered(&words).unwrap();
        let timed = timed(&events);
        let cut = cut.min(events.len());
        let clock_at = |at: usize| timed[..at].last().map_or(0, |&(.., clock)| clock);
        let before = Before { layout: &old, clock_ms: Some(clock_at(cut)), is_settled: true, backfill_asked_ms: Some(clock_at(cut)) };
        let layout = Layout::altered(&second, sums[1], before).unwrap();
        let earlier_layout = layout.to_backfill(Some(&old)).unwrap();
        let whole_layout = Layout::compile(&second).unwrap();
        let mut all = Body { layout: &whole_layout, words: None };
        let mut earlier = Body { layout: &earlier_layout, words: None };
        let mut record = Body { layout: &old, words: None };
        for &(drawn, ts, now) in &timed[..cut] {
            all.event(drawn, ts, now);
            earlier.event(drawn, ts, now);
            record.event(drawn, ts, now);
        }
        let Some(words) = &record.words else { return Ok(()) };
        let upgrade = super::upgrade::Upgrade::new(&[&old, &layout]);
        let target = upgrade.target(words.as_slice());
        let mut upgraded = vec![0; target.words];
        upgrade.copy(words.as_slice(), upgraded.as_mut_slice(), &target);
        let mut record = Body { layout: &layout, words: Some(upgraded) };
        for &(drawn, ts, now) in &timed[cut..] {
            all.event(drawn, ts, now);
            record.event(drawn, ts, now);
        }
        if let Some(before) = &earlier.words {
            let merge = Merge::new(&earlier_layout, &layout, true);
            record.words = Some(merge.merged(before.as_slice(), record.words.as_deref()));
            verify(&layout, record.words.as_deref().unwrap()).unwrap();
        }
        let clock = clock_at(events.len());
        check(&record.row(&layout, clock), &all.row(&whole_layout, clock), &whole_layout)?;
    }
}

#[test]
fn a_count_widens_where_two_halves_need_it() {
    let layout = layout("WINDOWS 10s@1s AGGREGATE count", Sums::Narrow);
    let earlier_layout = layout.to_backfill(None).unwrap();
    let drawn = Drawn { after_ms: 0, s: None, x: None, n: None };
    let mut halves = [Body { layout: &earlier_layout, words: None }, Body { layout: &layout, words: None }];
    for half in &mut halves {
        (0..40_000).for_each(|_| half.event(&drawn, 5_000, 5_000));
    }
    let [earlier, later] = halves.map(|half| half.words.unwrap());
    let words =
        Merge::new(&earlier_layout, &layout, false).merged(earlier.as_slice(), Some(later.as_slice()));
    verify(&layout, words.as_slice()).unwrap();
    let merged = Body { layout: &layout, words: Some(words) };
    assert_eq!(merged.row(&layout, 5_000), [Value::Int(80_000)]);
}

const ADDED: [&str; 6] = [
    "ADD AGGREGATE avg(x) max(n)",
    "ADD AGGREGATE var_pop(x) distinct(s) lastk(n,3)",
    "ADD WINDOWS 30s@1s",
    "ADD WINDOWS 30s@1s AGGREGATE avg(x) min(x)",
    "ADD WINDOWS 1m@5s all AGGREGATE topk(s,4)",
    "ADD WINDOWS all AGGREGATE decaysum(x,3s):all quantile(x,0.9)",
];
