//! Sketches in a body: what they need, how they move, what becomes of them when their bucket goes.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{
    Event, Fit, Placements, Ring, add, fit, grow, heap, init, newest_ms, verify, words_grown, words_used,
};
use crate::definition::{Definition, FieldType};
use crate::layout::Layout;
use crate::query::Feature;
use crate::read_time::{StreamTime, When};
use crate::sketch::INLINE;
use crate::timestamp::TIMESTAMP_ABS_MAX;
use crate::value::Value;
use crate::window::{Rows, evaluate};

const ALL: &str = "FIELDS s STRING x FLOAT n INT WINDOWS 10s@1s 60s@5s all \
    AGGREGATE count sum(x) sum(n) var_pop(x) distinct(s) distinct(n,4) quantile(x,0.5) topk(s,2) countby(n,3) lastk(s,3) first(x) last(n) \
    SKEW 2s REJECT";

/// How many words a body gets when it is copied.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// As few as will do.
    Least,
    /// As many as are wanted.
    Ample,
    /// Far more.
    Vast,
}

#[derive(Clone, Debug)]
struct Values {
    text: Option<Vec<u8>>,
    x: Option<f64>,
    n: Option<i64>,
}

struct Entity {
    layout: Layout,
    words: Vec<u64>,
    slot: Slot,
    copies: usize,
}

impl Entity {
    fn new(text: &str, slot: Slot) -> Self {
        let layout = Layout::compile(&Definition::parse_text("s", text).unwrap()).unwrap();
        let mut words =
            vec![u64::MAX; layout.words_min() + if matches!(slot, Slot::Vast) { 1 << 16 } else { 0 }];
        init(&layout, words.as_mut_slice());
        Self { layout, words, slot, copies: 0 }
    }

    /// Adds an event; `false` if it is late. Gives the fewest words that the body was found to need.
    fn event(&mut self, ts: i64, values: &Values) -> (bool, Vec<usize>) {
        let mut bytes = b"before".to_vec();
        let (mut present, mut words) = (0, Vec::new());
        for (at, field) in self.layout.fields.iter().enumerate() {
            let word = match field.kind {
                FieldType::Float => values.x.map(f64::to_bits),
                FieldType::Int => values.n.map(i64::cast_unsigned),
                FieldType::String => values.text.as_ref().map(|text| {
                    let at = bytes.len() as u64;
                    bytes.extend_from_slice(text);
                    at | (text.len() as u64) << 32
                }),
            };
            present |= u64::from(word.is_some()) << at;
            words.push(word.unwrap_or(u64::MAX));
        }
        bytes.extend_from_slice(b"behind");
        let clock = ts.max(newest_ms(self.words.as_slice()));
        let event = Event { ts, clock, present, values: &words, bytes: &bytes };
        let mut placements = Placements::default();
        let mut needed = Vec::new();
        loop {
            match fit(&self.layout, self.words.as_slice(), &event, &mut placements) {
                Fit::Late => return (false, needed),
                Fit::Ready => {
                    add(&self.layout, self.words.as_mut_slice(), &event, &placements);
                    return (true, needed);
                }
                Fit::Grow(growth) => {
                    let wanted = words_grown(&self.layout, self.words.as_slice(), &growth);
                    assert!(wanted.ample >= wanted.least);
                    needed.push(wanted.least);
                    let len = match self.slot {
                        Slot::Least => wanted.least,
                        Slot::Ample => wanted.ample,
                        Slot::Vast => wanted.least + (1 << 16),
                    };
                    self.copy(&growth, len);
                }
            }
        }
    }

    fn copy(&mut self, growth: &super::Growth, len: usize) {
        let mut words = vec![u64::MAX; len];
        grow(&self.layout, self.words.as_slice(), words.as_mut_slice(), growth);
        self.words = words;
        self.copies += 1;
    }

    /// The heap as it is once the body is copied with no room to spare.
    fn compacted(&self) -> Vec<u64> {
        let clock_ms = newest_ms(self.words.as_slice());
        let growth = super::Growth { ring: None, heap_words: 0, clock_ms };
        let wanted = words_grown(&self.layout, self.words.as_slice(), &growth);
        let mut words = vec![0; wanted.least];
        grow(&self.layout, self.words.as_slice(), words.as_mut_slice(), &growth);
        assert_eq!(words_used(&self.layout, words.as_slice()), words.len());
        verify(&self.layout, words.as_slice()).unwrap();
        let heap = heap(&self.layout, words.as_slice());
        words.split_off(words.len() - heap.used(words.as_slice()))
    }

    fn read(&self, features: &[&str]) -> Vec<Value> {
        let features: Vec<Feature> =
            features.iter().map(|name| Feature::find(&self.layout, name.as_bytes()).unwrap()).collect();
        self.row(&features)
    }

    fn row(&self, features: &[Feature]) -> Vec<Value> {
        // Words may say any time.
        let clock = newest_ms(self.words.as_slice()).clamp(-TIMESTAMP_ABS_MAX, TIMESTAMP_ABS_MAX);
        let times = StreamTime { clock: Some(clock), newest: Some(clock) };
        let time = When::default().resolve(&self.layout, times);
        let mut row = Rows::default();
        evaluate(&self.layout, Some(self.words.as_slice()), features, time, &mut row);
        row.values
    }
}

fn text(text: &str) -> Values {
    Values { text: Some(text.as_bytes().to_vec()), x: None, n: None }
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().collect())
}

fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().into())
}

#[test]
fn values_of_strings_are_read_back_across_buckets() {
    let mut entity = Entity::new(
        "FIELDS s STRING WINDOWS 10s@1s all AGGREGATE first(s) last(s) lastk(s,3) distinct(s) topk(s,1) countby(s,1)",
        Slot::Least,
    );
    for (second, word) in [(3, "late"), (1, "long ago"), (2, ""), (4, "late"), (5, "newest")] {
        assert!(entity.event(second * 1000, &text(word)).0);
        verify(&entity.layout, entity.words.as_slice()).unwrap();
    }
    for window in ["10s", "all"] {
        let names = ["first(s)", "last(s)", "lastk(s,3)", "distinct(s)", "topk(s,1)"];
        let names: Vec<String> = names.iter().map(|name| format!("{name}:{window}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            entity.read(&names),
            [
                bytes("long ago"),
                bytes("newest"),
                list([bytes("newest"), bytes("late"), bytes("late")]),
                Value::Int(4),
                list([list([bytes("late"), Value::Int(2)])]),
            ],
            "{window}"
        );
    }
    // In `all`, one bucket has seen but one value; each bucket of the ring has its own.
    assert_eq!(
        entity.read(&["countby(s,1):10s", "countby(s,1):all"]),
        [
            list([list([bytes("late"), Value::Int(2)]), list([Value::Null, Value::Int(3)])]),
            list([list([bytes("late"), Value::Int(2)]), list([Value::Null, Value::Int(3)])]),
        ]
    );
}

#[test]
fn what_leaves_the_ring_leaves_the_heap() {
    for slot in [Slot::Least, Slot::Ample] {
        let mut entity =
            Entity::new("FIELDS s STRING WINDOWS 10s@1s AGGREGATE lastk(s,2) count SKEW 0s REJECT", slot);
        let mut most = 0;
        for second in 0..2_000i64 {
            for n in 0..2 {
                let word = format!("a value of some length, {second:04}, {n}");
                assert!(entity.event(second * 1000, &text(&word)).0);
            }
            if second > 100 {
                assert!(entity.words.len() <= most, "{} words after {most}: {slot:?}", entity.words.len());
            }
            most = most.max(entity.words.len());
        }
        verify(&entity.layout, entity.words.as_slice()).unwrap();
        assert!(entity.copies > 20, "the heap was never full");
        let heap = heap(&entity.layout, entity.words.as_slice());
        assert!(heap.dead(entity.words.as_slice()) < heap.used(entity.words.as_slice()));
        let newest = |at: i64| bytes(&format!("a value of some length, 1999, {at}"));
        assert_eq!(entity.read(&["lastk(s,2):10s"]), [list([newest(1), newest(0)])]);
    }
}

#[test]
fn a_gap_empties_the_heap() {
    let mut entity =
        Entity::new("FIELDS n INT WINDOWS 60s@1s AGGREGATE distinct(n) countby(n,5)", Slot::Ample);
    for n in 0..200 {
        entity.event(n * 250, &Values { text: None, x: None, n: Some(n) });
    }
    assert_eq!(entity.read(&["distinct(n):60s"]), [Value::Int(200)]);
    let before = words_used(&entity.layout, entity.words.as_slice());
    entity.event(1_000_000, &Values { text: None, x: None, n: Some(7) });
    verify(&entity.layout, entity.words.as_slice()).unwrap();
    assert_eq!(entity.read(&["distinct(n):60s"]), [Value::Int(1)]);
    assert!(entity.compacted().len() < before / 2, "{} of {before} words", entity.compacted().len());
}

#[test]
fn an_event_without_the_field_needs_no_room() {
    let mut entity =
        Entity::new("FIELDS s STRING WINDOWS 10s@1s AGGREGATE distinct(s) lastk(s,9) count", Slot::Least);
    for second in 0..2 {
        entity.event(second * 1000, &Values { text: None, x: None, n: None });
    }
    assert_eq!(entity.copies, 0);
    assert_eq!(
        entity.read(&["distinct(s):10s", "lastk(s,9):10s", "count:10s"]),
        [Value::Int(0), list([]), Value::Int(2)]
    );
}

#[test]
fn a_distinct_count_becomes_dense_wherever_its_block_lies() {
    const VALUES: i64 = 600;
    for slot in [Slot::Least, Slot::Ample, Slot::Vast] {
        for is_last in [true, false] {
            let mut entity =
                Entity::new("FIELDS n INT s STRING WINDOWS 10s@1s AGGREGATE distinct(n) lastk(s,2)", slot);
            // Whether the block was the heap's last one when it became dense.
            let mut was_last = None;
            let mut before = (0, false);
            for n in 0..VALUES {
                entity.event(n, &Values { text: None, x: None, n: Some(n) });
                let words = entity.words.as_slice();
                let reference = Ring::read(&entity.layout, words, 0).cell(words, 0, 0) as u32;
                if reference & INLINE != 0 {
                    continue;
                }
                let heap = heap(&entity.layout, words);
                let payload = heap.payload(words, reference);
                if payload.get(0) >> 63 != 0 {
                    was_last = was_last.or(Some(before.1));
                }
                if n == 400 && !is_last {
                    entity.event(n, &text("a block behind it"));
                }
                let words = entity.words.as_slice();
                let reference = Ring::read(&entity.layout, words, 0).cell(words, 0, 0) as u32;
                let block = heap.block(words, reference);
                before = (block.words, block.end() == heap.used(words));
            }
            assert_eq!(was_last, Some(is_last), "{slot:?}: the block is dense, {} words", before.0);
            verify(&entity.layout, entity.words.as_slice()).unwrap();
            let [Value::Int(count)] = entity.read(&["distinct(n):10s"])[..] else { panic!("a number") };
            // Within three standard errors of 2^12 registers.
            assert!((570..=630).contains(&count), "{count} of {VALUES}, {slot:?}");
            let texts = if is_last { list([]) } else { list([bytes("a block behind it")]) };
            assert_eq!(entity.read(&["lastk(s,2):10s"]), [texts]);
        }
    }
}

#[test]
fn a_window_of_many_sketches_is_read_whole() {
    let mut entity = Entity::new(
        "FIELDS n INT WINDOWS 300s@1s AGGREGATE count distinct(n) lastk(n,1000) first(n)",
        Slot::Ample,
    );
    for n in 0..600 {
        entity.event(n * 500, &Values { text: None, x: None, n: Some(n) });
    }
    for seconds in [1, 62, 63, 64, 65, 126, 127, 128, 129, 200, 300] {
        let names = ["count", "distinct(n)", "lastk(n,1000)", "first(n)"];
        let names = names.map(|name| format!("{name}:{seconds}s"));
        let row = entity.read(&names.each_ref().map(String::as_str));
        let Value::Int(count) = row[0] else { panic!("{row:?}") };
        assert!(count >= 2 * seconds.min(299), "{count} events in {seconds} s");
        let newest = list((600 - count..600).rev().map(Value::Int));
        assert_eq!(row[1..], [Value::Int(count), newest, Value::Int(600 - count)], "{seconds} s");
    }
}

fn values() -> impl Strategy<Value = Values> {
    let text = prop_oneof![
        Just(None),
        prop::sample::select(vec!["", "a", "b", "a longer value than the others"])
            .prop_map(|text| Some(text.as_bytes().to_vec())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
    ];
    let x = prop_oneof![Just(None), (-50i32..50).prop_map(|x| Some(f64::from(x) / 4.0)), Just(Some(1e300))];
    let n = prop_oneof![Just(None), (-5i64..5).prop_map(Some), any::<i64>().prop_map(Some)];
    (text, x, n).prop_map(|(text, x, n)| Values { text, x, n })
}

fn events() -> impl Strategy<Value = Vec<(i64, Values)>> {
    let step = prop_oneof![8 => -500i64..800, 2 => -9_000i64..3_000, 1 => 0i64..100_000];
    prop::collection::vec((step, values()), 1..120).prop_map(|steps| {
        let mut now = -30_000;
        steps
            .into_iter()
            .map(|(step, values)| {
                let ts = now + step;
                now = now.max(ts);
                (ts, values)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn what_a_body_holds_does_not_depend_on_when_it_was_copied(events in events()) {
        let mut bodies = [Slot::Least, Slot::Ample, Slot::Vast].map(|slot| Entity::new(ALL, slot));
        for (ts, values) in &events {
            let counted: Vec<bool> = bodies.iter_mut().map(|body| body.event(*ts, values).0).collect();
            prop_assert!(counted.iter().all(|own| *own == counted[0]));
        }
        let features = bodies[0].layout.features.clone();
        let row = bodies[0].row(&features);
        let compacted = bodies[0].compacted();
        for body in &bodies {
            prop_assert_eq!(verify(&body.layout, body.words.as_slice()), Ok(()));
            prop_assert_eq!(body.row(&features), row.clone(), "{:?}", body.slot);
            prop_assert_eq!(body.compacted(), compacted.clone(), "{:?}", body.slot);
        }
    }

    #[test]
    fn the_same_events_make_the_same_words(events in events()) {
        let mut bodies = [0, 1].map(|_| Entity::new(ALL, Slot::Ample));
        for body in &mut bodies {
            for (ts, values) in &events {
                body.event(*ts, values);
            }
        }
        let used = words_used(&bodies[0].layout, bodies[0].words.as_slice());
        prop_assert_eq!(&bodies[0].words[..used], &bodies[1].words[..used]);
    }

    #[test]
    fn damaged_words_are_refused_or_can_be_used(
        events in events(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0u8..4), 1..6),
        more in events(),
        cut in 0usize..4,
    ) {
        let mut body = Entity::new(ALL, Slot::Ample);
        for (ts, values) in &events {
            body.event(*ts, values);
        }
        for (at, word, how) in damage {
            let at = at.index(body.words.len());
            match how {
                0 => body.words[at] = word,
                1 => body.words[at] ^= 1 << (word % 64),
                2 => body.words[at] = body.words[at].wrapping_add(word % 5).wrapping_sub(2),
                _ => body.words[at] = body.words[word as usize % body.words.len()],
            }
        }
        body.words.truncate(body.words.len() - cut.min(body.words.len()));
        let features = body.layout.features.clone();
        prop_assert_eq!(body.row(&features).len(), features.len());
        if verify(&body.layout, body.words.as_slice()).is_ok() {
            let newest = newest_ms(body.words.as_slice());
            for (ts, values) in more {
                // Times near the body's own, and of its range.
                let ts = newest.clamp(-1_000_000_000, 1_000_000_000) + ts.rem_euclid(20_000);
                if ts >= newest_ms(body.words.as_slice()).saturating_sub(100_000) {
                    body.event(ts, &values);
                }
            }
            prop_assert_eq!(body.row(&features).len(), features.len());
        }
    }

    #[test]
    fn random_words_are_no_body(
        words in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..100, Just(super::NONE.cast_unsigned())], 0..300),
    ) {
        let body = Entity { words, ..Entity::new(ALL, Slot::Least) };
        let _ = verify(&body.layout, body.words.as_slice());
        let features = body.layout.features.clone();
        prop_assert_eq!(body.row(&features).len(), features.len());
    }
}
