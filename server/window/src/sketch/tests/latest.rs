//! first, last and lastk against sorted events.

use super::{Item, by_bucket, sketch, text, value_of};
use crate::definition::FieldType;
use crate::sketch::SketchSpec;
use crate::value::Value;
use proptest::prelude::{Strategy, prop, prop_assert_eq, proptest};

const BUCKETS: i64 = 4;

/// Items whose values tell which arrival they are, many of one time; numbers or strings.
fn any_items() -> impl Strategy<Value = (FieldType, Vec<Item>)> {
    let field = prop::sample::select(vec![FieldType::Int, FieldType::Float, FieldType::String]);
    let at_ms = (0..BUCKETS, 0i64..8).prop_map(|(bucket, within)| 1_000 * bucket + within);
    (field, prop::collection::vec(at_ms, 1..120)).prop_map(|(field, times)| {
        let item = |(arrival, at_ms): (usize, i64)| {
            let value = match field {
                FieldType::Int => Value::Int(arrival as i64),
                FieldType::Float => Value::Float(arrival as f64),
                // Lengths go up and down.
                FieldType::String => text((arrival as u64) * 7),
            };
            Item::new(at_ms, value)
        };
        (field, times.into_iter().enumerate().map(item).collect())
    })
}

/// Newest first; of one time, the later arrival first.
fn newest_first(items: &[Item]) -> Vec<Value> {
    let mut newest: Vec<(usize, &Item)> = items.iter().enumerate().collect();
    newest.sort_by_key(|(arrival, item)| std::cmp::Reverse((item.at_ms, *arrival)));
    newest.into_iter().map(|(_, item)| item.value.clone()).collect()
}

proptest! {
    #[test]
    fn lastk_is_the_newest_values_and_ties_go_to_the_later_arrival((field, items) in any_items(), k in 1u16..20) {
        let buckets = by_bucket(sketch(SketchSpec::LastK { k }, field), &items, BUCKETS);
        let mut expected = newest_first(&items);
        expected.truncate(usize::from(k));
        prop_assert_eq!(value_of(&buckets), Value::List(expected));
    }

    #[test]
    fn last_is_the_newest_value((field, items) in any_items()) {
        let buckets = by_bucket(sketch(SketchSpec::Last, field), &items, BUCKETS);
        prop_assert_eq!(Some(value_of(&buckets)), newest_first(&items).into_iter().next());
    }

    #[test]
    fn first_is_the_oldest_value_and_ties_go_to_the_earlier_arrival((field, items) in any_items()) {
        let buckets = by_bucket(sketch(SketchSpec::First, field), &items, BUCKETS);
        let oldest = items.iter().min_by_key(|item| item.at_ms);
        prop_assert_eq!(Some(value_of(&buckets)), oldest.map(|item| item.value.clone()));
    }
}

#[test]
fn times_before_1970_and_the_last_of_all_are_times() {
    for at_ms in [i64::MIN + 1, -1, 0, i64::MAX] {
        let item = Item::new(at_ms, Value::Int(at_ms));
        for spec in [SketchSpec::First, SketchSpec::Last] {
            let bucket = super::Bucket::of(sketch(spec, FieldType::Int), [&item]);
            assert_eq!(value_of(&[bucket]), Value::Int(at_ms), "{spec:?}");
        }
        let bucket = super::Bucket::of(sketch(SketchSpec::LastK { k: 1 }, FieldType::Int), [&item]);
        assert_eq!(value_of(&[bucket]), Value::List(vec![Value::Int(at_ms)]));
    }
}
