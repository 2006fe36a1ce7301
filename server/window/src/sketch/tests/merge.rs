//! Two sketches in one: what it says, and that it goes on like any other.

use super::{Bucket, Item, Scratch, new_block, sketch, text, value_of};
use crate::definition::FieldType;
use crate::sketch::{Sketch, SketchSpec, Sketched, topk};
use crate::value::Value;
use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};

fn sketched(bucket: &Bucket) -> Sketched {
    match (&bucket.block, bucket.inline) {
        (Some(block), _) => Sketched::Block(block[1..block.len() - 1].to_vec()),
        (None, Some(reference)) => Sketched::Inline(reference),
        (None, None) => Sketched::Nothing,
    }
}

fn bucket(sketch: Sketch, sketched: Sketched) -> Bucket {
    let mut bucket = Bucket::new(sketch);
    match sketched {
        Sketched::Nothing => {}
        Sketched::Inline(reference) => bucket.inline = Some(reference),
        Sketched::Block(payload) => {
            let mut block = new_block(payload.len());
            block[1..=payload.len()].copy_from_slice(&payload);
            bucket.block = Some(block);
        }
    }
    bucket.check();
    bucket
}

/// The sketch of three portions: the first two merged, the last one added.
fn merged(sketch: Sketch, items: &[Item], cuts: [usize; 2]) -> Bucket {
    let [from, to] = [cuts[0].min(cuts[1]), cuts[0].max(cuts[1])].map(|cut| cut.min(items.len()));
    let portion = |items: &[Item]| sketched(&Bucket::of(sketch, items));
    let mut both = bucket(sketch, sketch.merged(&portion(&items[..from]), &portion(&items[from..to])));
    for item in &items[to..] {
        both.add(&item.as_value());
    }
    both.check();
    both
}

fn any_items(values: u64) -> impl Strategy<Value = (FieldType, Vec<Item>)> {
    let field = prop::sample::select(vec![FieldType::Int, FieldType::Float, FieldType::String]);
    let item = (0..1_000i64, 0..values);
    (field, prop::collection::vec(item, 0..400)).prop_map(|(field, items)| {
        let value = |number: u64| match field {
            FieldType::Int => Value::Int(number.cast_signed() - 20),
            FieldType::Float => Value::Float(number as f64 / 4.0 - 3.0),
            FieldType::String => text(number),
        };
        (field, items.into_iter().map(|(at_ms, number)| Item::new(at_ms, value(number))).collect())
    })
}

fn pairs(value: Value) -> Vec<(Value, i64)> {
    let Value::List(list) = value else { panic!("{value:?}") };
    let pair = |pair| match pair {
        Value::List(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([value, Value::Int(count)]) => (value, count),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    list.into_iter().map(pair).collect()
}

proptest! {
    #[test]
    fn two_halves_are_the_whole(
        (field, items) in any_items(3_000), cuts in [0usize..400, 0usize..400], k in 1u16..12, p in 4u8..9,
    ) {
        let mut specs = vec![
            SketchSpec::Distinct { p }, SketchSpec::LastK { k }, SketchSpec::First, SketchSpec::Last,
        ];
        if field != FieldType::String {
            specs.push(SketchSpec::Quantile);
        }
        for spec in specs {
            let sketch = sketch(spec, field);
            let whole = Bucket::of(sketch, &items);
            let both = merged(sketch, &items, cuts);
            prop_assert_eq!(value_of(std::slice::from_ref(&both)), value_of(std::slice::from_ref(&whole)), "{:?}", spec);
            if spec == SketchSpec::Quantile {
                let (mut one, mut other) = (Scratch::default(), Scratch::default());
                super::merged([&both].into_iter(), sketch, &mut one);
                super::merged([&whole].into_iter(), sketch, &mut other);
                for q in [0.0, 0.1, 0.9, 1.0] {
                    prop_assert_eq!(one.quantile(q), other.quantile(q));
                }
            }
        }
    }

    #[test]
    fn few_values_are_counted_exactly((field, items) in any_items(10), cuts in [0usize..400, 0usize..400]) {
        for spec in [SketchSpec::TopK { k: 10 }, SketchSpec::CountBy { k: 10 }] {
            let sketch = sketch(spec, field);
            let (both, whole) = (merged(sketch, &items, cuts), Bucket::of(sketch, &items));
            prop_assert_eq!(value_of(&[both]), value_of(&[whole]), "{:?}", spec);
        }
    }

    #[test]
    fn many_values_are_counted_within_the_law(
        (field, items) in any_items(60), cuts in [0usize..400, 0usize..400], k in 1u16..12,
    ) {
        let exact = |value: &Value| items.iter().filter(|item| item.value == *value).count() as i64;
        let found = pairs(value_of(&[merged(sketch(SketchSpec::TopK { k }, field), &items, cuts)]));
        let off_by = (items.len() / topk::capacity(k)) as i64;
        for (value, count) in &found {
            prop_assert!((exact(value)..=exact(value) + off_by).contains(count), "{:?} {}", value, count);
        }
        for item in &items {
            let is_heavy = exact(&item.value) > items.len() as i64 / i64::from(k);
            prop_assert!(!is_heavy || found.iter().any(|(value, _)| *value == item.value), "{:?}", item);
        }
        let found = pairs(value_of(&[merged(sketch(SketchSpec::CountBy { k }, field), &items, cuts)]));
        prop_assert_eq!(found.iter().map(|(_, count)| count).sum::<i64>(), items.len() as i64);
        for (value, count) in &found {
            prop_assert!(*value == Value::Null || *count <= exact(value), "{:?} {}", value, count);
        }
    }
}
