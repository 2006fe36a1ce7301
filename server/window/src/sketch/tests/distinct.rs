//! Distinct counts against sets.

use super::{Bucket, Draw, Item, by_bucket, sketch, span, text, value_of};
use crate::definition::FieldType;
use crate::sketch::distinct::{is_dense, sparse_words_max};
use crate::sketch::{PRECISION_MAX, PRECISION_MIN, Sketch, SketchSpec};
use crate::value::Value;
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};
use std::collections::BTreeSet;

fn distinct(p: u8, field: FieldType) -> Sketch {
    sketch(SketchSpec::Distinct { p }, field)
}

fn int(number: u64) -> Item {
    Item::new(0, Value::Int(number.cast_signed()))
}

fn estimate(buckets: &[Bucket]) -> f64 {
    match value_of(buckets) {
        Value::Int(count) => count as f64,
        other => panic!("{other:?}"),
    }
}

/// `values` values, dealt to so many buckets, each value to two of them.
fn dealt(p: u8, values: u64, buckets: usize, seed: u64) -> Vec<Bucket> {
    let mut draw = Draw(seed);
    let mut dealt = vec![Bucket::new(distinct(p, FieldType::Int)); buckets];
    for value in 0..values {
        // Numbers in a row: the hash has to spread them.
        let item = int(value + (seed << 40));
        for _ in 0..2 {
            dealt[draw.below(buckets as u64) as usize].add(&item.as_value());
        }
    }
    for bucket in &dealt {
        bucket.check();
    }
    dealt
}

#[test]
fn estimates_are_within_three_standard_errors_however_values_are_dealt() {
    for p in [8, 12, 14] {
        let sigma = 1.04 / f64::from(1u32 << p).sqrt();
        for values in [10, 1_000, 100_000, 1_000_000] {
            for buckets in [1, 60] {
                let count = estimate(&dealt(p, values, buckets, u64::from(p)));
                let error = (count / values as f64 - 1.0).abs();
                assert!(
                    error <= 3.0 * sigma,
                    "{count} of {values} with p = {p}, {buckets} buckets: {:.2} standard errors",
                    error / sigma
                );
            }
        }
    }
}

#[test]
fn estimates_have_no_bias_at_any_size() {
    // The mean of 64 runs is within four of its own standard errors, from where sketches become dense on.
    for p in [6, 10] {
        let registers = 1u64 << p;
        for values in [registers / 4, registers, 3 * registers, 20 * registers] {
            let runs = 64;
            let mean =
                (0..runs).map(|seed| estimate(&dealt(p, values, 2, seed + 100)) / values as f64).sum::<f64>()
                    / runs as f64;
            let sigma = 1.04 / (registers as f64).sqrt() / (runs as f64).sqrt();
            assert!((mean - 1.0).abs() <= 4.0 * sigma, "{mean} at {values} values with p = {p}");
        }
    }
}

#[test]
fn a_union_does_not_depend_on_the_order_of_its_buckets() {
    for p in [4, 8, 12] {
        let few = ((1 << p) / 4).max(16);
        for values in [1, few - 1, few, few + 1, 2 * few, 7 * few] {
            // Values of one bucket, too, which come again and again.
            let mut buckets = dealt(p, values, 60, values);
            let all: Vec<Bucket> = (0..5).flat_map(|_| buckets.clone()).collect();
            let count = estimate(&buckets);
            buckets.reverse();
            assert_eq!(estimate(&buckets), count, "{values} values with p = {p}, the newest first");
            buckets.rotate_left(23);
            assert_eq!(estimate(&buckets), count, "{values} values with p = {p}, from the middle on");
            assert_eq!(estimate(&all), count, "{values} values with p = {p}, each bucket five times");
            if p == 12 && values <= few {
                assert_eq!(count, values as f64);
            }
        }
    }
}

#[test]
fn a_union_does_not_depend_on_where_its_dense_buckets_stand() {
    let field = FieldType::Int;
    for p in [4, 8, 12] {
        let many = 2 * sparse_words_max(p) as u64 + 1;
        // A dense bucket, those of one value and of some, half of which the dense one has, too.
        let bucket = |values: std::ops::Range<u64>| {
            Bucket::of(distinct(p, field), &values.map(int).collect::<Vec<_>>())
        };
        let dense = bucket(0..many);
        assert!(dense.block.as_ref().is_some_and(|block| is_dense(span(block), p)), "p = {p}");
        let others: Vec<Bucket> = (0..30)
            .flat_map(|at| {
                let first = if at % 2 == 0 { at } else { many + 10 * at };
                [bucket(first..first + 1), bucket(first..first + 2), bucket(first..first + 9)]
            })
            .collect();
        assert!(others.iter().any(|bucket| bucket.inline.is_some()));
        let with_dense_at = |places: &[usize]| {
            let mut buckets = others.clone();
            places.iter().for_each(|&at| buckets.insert(at, dense.clone()));
            estimate(&buckets)
        };
        let first = with_dense_at(&[0]);
        for places in [&[1][..], &[45], &[others.len()], &[0, 50], &[30, others.len()]] {
            assert_eq!(with_dense_at(places), first, "p = {p}, dense at {places:?}");
        }
    }
}

#[test]
fn ten_values_cost_less_than_64_bytes_a_bucket() {
    for p in PRECISION_MIN..=PRECISION_MAX {
        let bucket = Bucket::of(distinct(p, FieldType::Int), &(0..10).map(int).collect::<Vec<_>>());
        assert!(bucket.bytes() < 64, "{} bytes with p = {p}", bucket.bytes());
    }
}

#[test]
fn a_value_alone_in_its_bucket_needs_no_block() {
    let bucket = Bucket::of(distinct(12, FieldType::Int), &[int(7), int(7), int(7)]);
    assert!(bucket.block.is_none());
    assert_eq!(estimate(&[bucket]), 1.0);
}

#[test]
fn one_bucket_and_many_give_the_same_registers() {
    let field = FieldType::Int;
    for p in [PRECISION_MIN, 5, 9, PRECISION_MAX] {
        let items: Vec<Item> = (0..60_000).map(int).collect();
        let one = Bucket::of(distinct(p, field), &items);
        let many: Vec<Bucket> =
            items.chunks(1_009).map(|items| Bucket::of(distinct(p, field), items)).collect();
        assert_eq!(estimate(&[one]), estimate(&many), "p = {p}");
    }
}

fn any_item() -> impl Strategy<Value = Item> {
    (0i64..5_000, 0u64..300).prop_map(|(at_ms, number)| Item::new(at_ms, text(number)))
}

proptest! {
    #[test]
    fn counts_are_exact_while_sparse(items in prop::collection::vec(any_item(), 1..400), p in 12u8..=16) {
        let buckets = by_bucket(distinct(p, FieldType::String), &items, 5);
        let exact: BTreeSet<String> = items.iter().map(|item| format!("{:?}", item.value)).collect();
        prop_assert_eq!(value_of(&buckets), Value::Int(exact.len() as i64));
    }

    #[test]
    fn floats_count_by_value(numbers in prop::collection::vec(any::<i16>(), 1..40)) {
        let float = |number: &i16| Item::new(0, Value::Float(f64::from(*number) / 4.0));
        let items: Vec<Item> = numbers.iter().map(float).collect();
        let exact: BTreeSet<&i16> = numbers.iter().collect();
        let bucket = Bucket::of(distinct(12, FieldType::Float), &items);
        prop_assert_eq!(value_of(&[bucket]), Value::Int(exact.len() as i64));
    }
}
