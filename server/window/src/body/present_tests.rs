//! Where a usual event is added in one pass, the record comes to the words that the other way leaves.

use std::cell::OnceCell;

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::present::{self, Changes};
use super::upgrade::Upgrade;
use super::{Event, Fit, NONE, Placements, Ring, add, fit, grow, init, newest_ms, verify, words_grown};
use crate::cells;
use crate::definition::{Definition, FieldType};
use crate::layout::{Before, Layout, Sums, Tier};
use crate::timestamp::TIMESTAMP_ABS_MAX;

/// A stream, and what becomes of it by an ALTER.
type Altered = (String, &'static str);

/// Streams whose events may be usual.
fn plain() -> Vec<Altered> {
    let texts = [
        // A sum that began before, beside one that begins with the ALTER; buckets that held only what goes.
        (
            "FIELDS n INT x FLOAT WINDOWS 5m@1m 1h@1m AGGREGATE count sum(x)",
            "DROP AGGREGATE count ADD AGGREGATE avg(x)",
        ),
        (
            "FIELDS n INT x FLOAT WINDOWS 10s@1s 60s@5s all AGGREGATE count count(n) sum(n) min(x) max(n) avg(x) since \
             SKEW 2s REJECT CLOCK EVENT",
            "DROP AGGREGATE count since ADD AGGREGATE sum(x)",
        ),
        (
            "FIELDS n INT x FLOAT WINDOWS 70ms@7ms 1s@10ms AGGREGATE count(n) sum(n) avg(n) max(x) since LATENESS 50ms",
            "ADD AGGREGATE avg(x) SET LATENESS 200ms",
        ),
        (
            "FIELDS n INT x FLOAT WINDOWS 9s@3s AGGREGATE rate sum(n) RETAIN 0s SKEW 0s REJECT",
            "ADD WINDOWS 30s@3s AGGREGATE avg(n)",
        ),
        // Buckets of more than 2³² ms.
        (
            "FIELDS n INT x FLOAT WINDOWS 600d@60d AGGREGATE count sum(n) sum(x) since CLOCK EVENT",
            "DROP AGGREGATE count sum(n)",
        ),
        // As narrow as buckets get.
        (
            "FIELDS n INT x FLOAT WINDOWS 40ms@1ms 900ms@30ms AGGREGATE count sum(n) since SKEW 5ms REJECT CLOCK EVENT",
            "DROP AGGREGATE since",
        ),
        // Nothing of what `all` counts is in a bucket.
        (
            "FIELDS n INT x FLOAT WINDOWS 10s@1s all AGGREGATE count:all sum(x):10s CLOCK EVENT",
            "ADD AGGREGATE count:10s",
        ),
    ];
    let texts = texts.map(|(text, alter)| (text.to_owned(), alter));
    texts.into_iter().chain([(of_numbers(31), "DROP AGGREGATE count")]).collect()
}

/// A stream whose events change so many numbers, and the newest time.
fn of_numbers(numbers: usize) -> String {
    let fields: String = (2..numbers).map(|at| format!(" f{at} FLOAT")).collect();
    let sums: String = (2..numbers).map(|at| format!(" sum(f{at})")).collect();
    format!("FIELDS n INT x FLOAT{fields} WINDOWS 20s@2s AGGREGATE count sum(x){sums} CLOCK EVENT")
}

fn layout(text: &str, sums: Sums) -> Layout {
    Layout::compile_with(&Definition::parse_text("s", text).unwrap(), sums).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    /// An event so many buckets of a tier from the newest one, and so many milliseconds from that one's start.
    Event { tier: usize, buckets: i64, by_ms: i64, ahead_ms: i64, n: Option<i64>, x: Option<f64> },
    /// Counts come so near to what their cells can hold.
    Brim { less: u64 },
    /// The body takes the form of the altered stream, the first time.
    Alter,
}

/// So far before or behind itself may an event be stamped, whatever its record's newest one.
const STAMP_APART_MS: i64 = 5_000;

fn any_step() -> impl Strategy<Value = Step> {
    let buckets =
        prop_oneof![6 => Just(0i64), 4 => -3..2i64, 4 => -80..3i64, 2 => -16..-8i64, 1 => -500..90i64];
    let by_ms = prop_oneof![4 => -1..2i64, 1 => 0..4_000i64, 1 => 0..60_000i64];
    // Where negative, near the event itself: another one may have overtaken it, and by the wall clock it may be ahead of that.
    let ahead_ms =
        prop_oneof![4 => Just(0i64), 1 => 0..20_000i64, 1 => 0..4_000_000i64, 2 => -2 * STAMP_APART_MS..0];
    let near = [i64::from(i16::MAX), i64::from(i16::MIN), i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX];
    let number = prop_oneof![
        2 => Just(None),
        6 => (-3..4i64).prop_map(Some),
        2 => (prop::sample::select(near.to_vec()), -2..3i64).prop_map(|(near, by)| Some(near.saturating_add(by))),
        1 => (any::<i64>(), 0..64u32).prop_map(|(number, by)| Some(number >> by)),
    ];
    // Sums reach infinity.
    let float = prop_oneof![3 => -1e9..1e9f64, 1 => prop::sample::select(vec![1e308, -1e308, 0.0, -0.0])];
    let event = (0..2usize, buckets, by_ms, ahead_ms, number, prop::option::of(float)).prop_map(
        |(tier, buckets, by_ms, ahead_ms, n, x)| Step::Event { tier, buckets, by_ms, ahead_ms, n, x },
    );
    prop_oneof![25 => event, 1 => (0..3u64).prop_map(|less| Step::Brim { less }), 1 => Just(Step::Alter)]
}

/// A body, and how many of its events were usual.
struct Entity<'l> {
    layout: &'l Layout,
    words: Vec<u64>,
    usual: usize,
}

impl<'l> Entity<'l> {
    fn new(layout: &'l Layout) -> Self {
        let mut words = vec![u64::MAX; layout.words_min()];
        init(layout, words.as_mut_slice());
        Self { layout, words, usual: 0 }
    }

    /// Adds an event as any is; and where it is a usual one in one pass, too, to a copy.
    fn event(&mut self, event: &Event<'_>) {
        let mut placements = Placements::default();
        let mut changes = Changes::default();
        let (layout, mut in_one_pass) = (self.layout, self.words.clone());
        let is_usual = present::find(layout, self.words.as_slice(), event, &mut changes);
        if is_usual {
            changes.make(in_one_pass.as_mut_slice());
            self.usual += 1;
        } else {
            changes.make(in_one_pass.as_mut_slice());
            assert_eq!(in_one_pass, self.words, "a part of {event:?} is made");
        }
        loop {
            match fit(layout, self.words.as_slice(), event, &mut placements) {
                Fit::Late => assert!(!is_usual, "{event:?} is late"),
                Fit::Ready => add(layout, self.words.as_mut_slice(), event, &placements),
                Fit::Grow(growth) => {
                    assert!(!is_usual, "{event:?} needs {growth:?}");
                    let mut larger =
                        vec![u64::MAX; words_grown(layout, self.words.as_slice(), &growth).ample];
                    grow(layout, self.words.as_slice(), larger.as_mut_slice(), &growth);
                    self.words = larger;
                    continue;
                }
            }
            break;
        }
        if is_usual {
            assert_eq!(in_one_pass, self.words, "{event:?}");
        }
    }

    /// Gives the body the form of another layout.
    fn upgrade(&mut self, to: &'l Layout) {
        let upgrade = Upgrade::new(&[self.layout, to]);
        let target = upgrade.target(self.words.as_slice());
        let mut words = vec![u64::MAX; target.words];
        upgrade.copy(self.words.as_slice(), words.as_mut_slice(), &target);
        (self.layout, self.words) = (to, words);
    }

    /// Brings the counts of all buckets near to what their cells hold.
    fn brim(&mut self, less: u64) {
        for tier in 0..self.layout.tiers.len() {
            let ring = Ring::read(self.layout, self.words.as_slice(), tier);
            let slots = if ring.shape.dense { ring.shape.capacity } else { ring.entries };
            for (column, partial) in ring.tier().columns.iter().enumerate() {
                let width = ring.shape.widths[column];
                if partial.is_count() && width.bits() < 64 && ring.head != NONE {
                    let full = (1u64 << width.bits()) - 1;
                    for slot in 0..slots {
                        cells::set(
                            self.words.as_mut_slice(),
                            ring.column_base(column),
                            width,
                            slot,
                            full - less,
                        );
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn a_usual_event_comes_to_the_same_words_in_one_pass(
        (text, alter) in prop::sample::select([plain(), vec![(of_numbers(32), "DROP AGGREGATE count")]].concat()),
        is_narrow in any::<bool>(),
        start_ms in prop::sample::select(vec![
            0, -1, -3_000_000, 1_700_000_000_000, -TIMESTAMP_ABS_MAX, TIMESTAMP_ABS_MAX - 90_000, TIMESTAMP_ABS_MAX,
        ]),
        filled in prop_oneof![Just(0i64), Just(3), 0..80i64],
        steps in prop::collection::vec(any_step(), 1..80),
    ) {
        let definition = Definition::parse_text("s", &text).unwrap();
        let sums = if is_narrow { Sums::Narrow } else { Sums::Wide };
        let (first, altered) = (Layout::compile_with(&definition, sums).unwrap(), OnceCell::new());
        let mut entity = Entity::new(&first);
        let event = |entity: &mut Entity<'_>, ts: i64, ahead_ms: i64, n: Option<i64>, x: Option<f64>| {
            let ts = ts.clamp(-TIMESTAMP_ABS_MAX, TIMESTAMP_ABS_MAX);
            let word = |kind| match kind {
                FieldType::Int => n.map(i64::cast_unsigned),
                _ => x.map(f64::to_bits),
            };
            let words: Vec<Option<u64>> = entity.layout.fields.iter().map(|field| word(field.kind)).collect();
            let values: Vec<u64> = words.iter().map(|word| word.unwrap_or(1.5f64.to_bits())).collect();
            let present = words.iter().enumerate().map(|(at, word)| u64::from(word.is_some()) << at).sum();
            let newest = newest_ms(entity.words.as_slice());
            let clock = if ahead_ms < 0 { ts + ahead_ms + STAMP_APART_MS } else { ts.max(newest) + ahead_ms };
            entity.event(&Event { ts, clock, present, values: &values, bytes: &[] });
        };
        for bucket in 0..filled {
            event(&mut entity, start_ms + bucket * first.tiers[0].width_ms, 0, Some(1), Some(0.5));
        }
        for step in steps {
            match step {
                Step::Event { tier, buckets, by_ms, ahead_ms, n, x } => {
                    let width_ms = first.tiers[tier % first.tiers.len()].width_ms;
                    let newest = newest_ms(entity.words.as_slice());
                    let newest = if newest == NONE { start_ms } else { newest };
                    let ts = (newest.div_euclid(width_ms) + buckets) * width_ms + by_ms;
                    event(&mut entity, ts, ahead_ms, n, x);
                }
                Step::Brim { less } => entity.brim(less),
                Step::Alter if altered.get().is_some() => {}
                Step::Alter => {
                    let newest = newest_ms(entity.words.as_slice());
                    let clock_ms = (newest != NONE).then_some(newest);
                    let before = Before { layout: &first, clock_ms, is_settled: true, backfill_asked_ms: None };
                    let words: Vec<&[u8]> = alter.split(' ').map(str::as_bytes).collect();
                    let layout = Layout::altered(&definition.altered(&words).unwrap(), sums, before).unwrap();
                    entity.upgrade(altered.get_or_init(|| layout));
                }
            }
            // The head of an upgraded ring may be a bucket that did not come along.
            if altered.get().is_none() {
                prop_assert!(verify(entity.layout, entity.words.as_slice()).is_ok());
            }
        }
    }

    #[test]
    fn an_event_of_a_bucket_that_is_there_is_a_usual_one(
        (text, _) in prop::sample::select(plain()),
        filled in 1..30usize,
        backs in prop::collection::vec(0..30i64, 1..20),
    ) {
        let layout = layout(&text, Sums::Narrow);
        let mut entity = Entity::new(&layout);
        let width_ms = layout.tiers.iter().map(|tier| tier.width_ms).max().unwrap();
        let kept = layout.tiers.iter().map(|tier| tier.longest_ms / tier.width_ms).min().unwrap() as usize;
        let filled = filled.min(kept / 2 + 1) as i64;
        let mut at = |bucket: i64| {
            let (ts, values) = (bucket * width_ms, [1; 32]);
            let clock = if layout.lateness_ms.is_some() { ts } else { (filled - 1) * width_ms };
            entity.event(&Event { ts, clock, present: 3, values: &values, bytes: &[] });
            entity.usual
        };
        let mut usual = 0;
        for bucket in 0..filled {
            usual = at(bucket);
        }
        prop_assert_eq!(usual, 0, "each had to be made");
        for back in backs {
            let bucket = filled - 1 - back.min(filled - 1);
            // Of a finer tier, buckets between these are missing.
            if layout.tiers.len() == 1 || bucket == filled - 1 {
                usual += 1;
            }
            let found = at(bucket);
            prop_assert!(found >= usual, "{} buckets back", back);
            usual = found;
        }
    }
}

#[test]
fn one_number_more_than_changes_have_room_for_goes_the_other_way() {
    for (numbers, is_plain) in [(31, true), (32, false)] {
        let layout = layout(&of_numbers(numbers), Sums::Narrow);
        assert_eq!((layout.tiers[0].columns.len(), layout.is_plain), (numbers, is_plain));
        let has_steps = |tier: &Tier| tier.shapes.iter().any(|shape| !shape.steps.is_empty());
        assert_eq!(layout.tiers.iter().any(has_steps), is_plain, "nobody takes steps of {numbers}");
        let mut entity = Entity::new(&layout);
        let present = (1 << numbers) - 1;
        for ts in 0..3 {
            entity.event(&Event { ts, clock: ts, present, values: &[1; 32], bytes: &[] });
        }
        assert_eq!(entity.usual, if is_plain { 2 } else { 0 });
    }
}

#[test]
fn an_overtaken_event_is_judged_by_the_newest_one_of_its_record() {
    let layout =
        layout("FIELDS x FLOAT WINDOWS 10s@1s AGGREGATE count SKEW 5s REJECT CLOCK EVENT", Sums::Narrow);
    let mut entity = Entity::new(&layout);
    let at = |ts: i64| Event { ts, clock: ts, present: 1, values: &[0], bytes: &[] };
    for bucket in 0..=40 {
        entity.event(&at(bucket * 1_000));
    }
    let ring = Ring::read(&layout, entity.words.as_slice(), 0);
    let (kept, in_ring) = (29..=40, 40 - layout.tiers[0].slots as i64 + 1..=40);
    assert!(ring.shape.dense && *in_ring.start() < *kept.start());
    for bucket in in_ring.rev() {
        let is_usual =
            present::find(&layout, entity.words.as_slice(), &at(bucket * 1_000), &mut Changes::default());
        assert_eq!(is_usual, kept.contains(&bucket), "bucket {bucket}");
        // And so does the other way.
        entity.event(&at(bucket * 1_000));
    }
}

#[test]
fn a_ring_that_says_more_entries_than_it_has_room_for_is_not_believed() {
    let layout = layout("FIELDS x FLOAT WINDOWS 1h@1m AGGREGATE count sum(x)", Sums::Narrow);
    let mut entity = Entity::new(&layout);
    let event = Event { ts: 7 * 60_000, clock: 7 * 60_000, present: 1, values: &[0], bytes: &[] };
    entity.event(&event);
    entity.event(&event);
    assert_eq!(entity.usual, 1);
    let ring = Ring::read(&layout, entity.words.as_slice(), 0);
    assert!(!ring.shape.dense);
    // Whatever lies behind the tags looks like the one of the head.
    entity.words[layout.rings_at()..].fill(7 | 7 << 32);
    for beyond in 1..3 {
        Ring::set_state(
            &layout,
            entity.words.as_mut_slice(),
            0,
            ring.shape_index,
            ring.shape.capacity + beyond,
        );
        assert!(!present::find(&layout, entity.words.as_slice(), &event, &mut Changes::default()));
    }
}
