//! topk and countby against maps.

use super::{Bucket, Draw, Item, by_bucket, sketch, text, value_of};
use crate::definition::FieldType;
use crate::sketch::{SketchSpec, topk};
use crate::value::Value;
use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};

const BUCKETS: i64 = 5;

/// Values with their counts, in the order in which they came first.
fn counts<'a>(items: impl IntoIterator<Item = &'a Item>) -> Vec<(Value, i64)> {
    let mut counts: Vec<(Value, i64)> = Vec::new();
    for item in items {
        match counts.iter_mut().find(|(value, _)| *value == item.value) {
            Some((_, count)) => *count += 1,
            None => counts.push((item.value.clone(), 1)),
        }
    }
    counts
}

fn order(one: &(Value, i64), other: &(Value, i64)) -> std::cmp::Ordering {
    other.1.cmp(&one.1).then_with(|| match (&one.0, &other.0) {
        (Value::Int(one), Value::Int(other)) => one.cmp(other),
        (Value::Float(one), Value::Float(other)) => one.total_cmp(other),
        (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
        _ => panic!("values of one field are of one type"),
    })
}

fn pair(value: Value, count: i64) -> Value {
    Value::List(vec![value, Value::Int(count)])
}

fn pairs(value: Value) -> Vec<(Value, i64)> {
    let Value::List(pairs) = value else { panic!("{value:?}") };
    let pair = |pair: Value| match pair {
        Value::List(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([value, Value::Int(count)]) => (value, count),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    pairs.into_iter().map(pair).collect()
}

fn value_as(field: FieldType, number: u64) -> Value {
    match field {
        FieldType::Int => Value::Int(number.cast_signed() - 20),
        FieldType::Float => Value::Float(number as f64 / 4.0 - 3.0),
        FieldType::String => text(number),
    }
}

/// Items of one field; small numbers are more frequent.
fn any_items() -> impl Strategy<Value = (FieldType, Vec<Item>)> {
    let field = prop::sample::select(vec![FieldType::Int, FieldType::Float, FieldType::String]);
    let number = (0u64..60, 0u64..60).prop_map(|(one, other)| one.min(other));
    let item = (0..1_000 * BUCKETS, number);
    (field, prop::collection::vec(item, 1..400)).prop_map(|(field, items)| {
        let item = |(at_ms, number)| Item::new(at_ms, value_as(field, number));
        (field, items.into_iter().map(item).collect())
    })
}

fn of_bucket(items: &[Item], bucket: i64) -> impl Iterator<Item = &Item> {
    items.iter().filter(move |item| item.at_ms / 1_000 == bucket)
}

proptest! {
    #[test]
    fn countby_keeps_each_buckets_first_values((field, items) in any_items(), k in 1u16..12) {
        let buckets = by_bucket(sketch(SketchSpec::CountBy { k }, field), &items, BUCKETS);
        let mut union: Vec<(Value, i64)> = Vec::new();
        for bucket in 0..BUCKETS {
            for (value, count) in counts(of_bucket(&items, bucket)).into_iter().take(usize::from(k)) {
                match union.iter_mut().find(|(other, _)| *other == value) {
                    Some((_, sum)) => *sum += count,
                    None => union.push((value, count)),
                }
            }
        }
        union.sort_by(order);
        union.truncate(usize::from(k));
        let rest = items.len() as i64 - union.iter().map(|(_, count)| count).sum::<i64>();
        let mut expected: Vec<Value> = union.into_iter().map(|(value, count)| pair(value, count)).collect();
        if rest > 0 {
            expected.push(pair(Value::Null, rest));
        }
        prop_assert_eq!(value_of(&buckets), Value::List(expected));
    }

    #[test]
    fn topk_finds_every_value_heavier_than_a_kth_of_all((field, items) in any_items(), k in 1u16..12) {
        let buckets = by_bucket(sketch(SketchSpec::TopK { k }, field), &items, BUCKETS);
        let found = pairs(value_of(&buckets));
        let exact = counts(&items);
        prop_assert!(found.len() == exact.len().min(usize::from(k)));
        prop_assert!(found.windows(2).all(|pair| order(&pair[0], &pair[1]).is_lt()), "{found:?}");
        let off_by = (items.len() / topk::capacity(k)) as i64;
        for (value, count) in &found {
            let exact = exact.iter().find(|(other, _)| other == value).map_or(0, |(_, count)| *count);
            prop_assert!((exact..=exact + off_by).contains(count), "{value:?} {count}, not {exact}");
        }
        for (value, count) in exact {
            if count > items.len() as i64 / i64::from(k) {
                prop_assert!(found.iter().any(|(other, _)| *other == value), "{value:?} {count} {found:?}");
            }
        }
    }

    #[test]
    fn topk_is_exact_while_buckets_have_few_values((field, items) in any_items()) {
        let buckets = by_bucket(sketch(SketchSpec::TopK { k: 30 }, field), &items, BUCKETS);
        let mut exact = counts(&items);
        exact.sort_by(order);
        exact.truncate(30);
        let exact: Vec<Value> = exact.into_iter().map(|(value, count)| pair(value, count)).collect();
        prop_assert_eq!(value_of(&buckets), Value::List(exact));
    }
}

#[test]
fn topk_finds_heavy_values_among_a_hundred_thousand() {
    // Five values have 11 % each, and the other 45 % are all different.
    let k = 10;
    let mut draw = Draw(11);
    let mut buckets = vec![Bucket::new(sketch(SketchSpec::TopK { k }, FieldType::String)); 60];
    for number in 0..100_000u64 {
        let heavy = draw.below(100);
        let value = text(if heavy < 55 { heavy % 5 } else { 1_000 + number });
        buckets[draw.below(60) as usize].add(&Item::new(0, value).as_value());
    }
    for bucket in &buckets {
        bucket.check();
    }
    let found = pairs(value_of(&buckets));
    let mut first: Vec<Value> = found.into_iter().take(5).map(|(value, _)| value).collect();
    first.sort_by_key(|value| format!("{value:?}"));
    assert_eq!(first, (0..5).map(text).collect::<Vec<_>>());
}

#[test]
fn values_of_every_length_are_told_apart() {
    let k = 200;
    let string = |length: usize, byte: u8| Item::new(0, Value::Bytes(vec![byte; length].into()));
    // A byte 0 is a byte like others, and not the end.
    let mut items: Vec<Item> = (0..80).map(|length| string(length, 0)).collect();
    items.extend((1..80).map(|length| string(length, b'a')));
    items.extend([string(1_024, b'z'), string(1_023, b'z')]);
    for spec in [SketchSpec::CountBy { k }, SketchSpec::TopK { k }] {
        let bucket = Bucket::of(sketch(spec, FieldType::String), items.iter().chain(&items));
        let found = pairs(value_of(&[bucket]));
        assert_eq!(found.len(), items.len());
        assert!(items.iter().all(|item| found.contains(&(item.value.clone(), 2))), "{spec:?}");
    }
}
