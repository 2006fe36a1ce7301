//! Quantiles against sorted values.

use super::{Bucket, Draw, Item, sketch};
use crate::definition::FieldType;
use crate::sketch::{BINS_MAX, Scratch, Sketch, SketchSpec};
use crate::value::Value;
use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};

const FLOATS: Sketch = Sketch { spec: SketchSpec::Quantile, field: FieldType::Float };
const QUANTILES: [f64; 8] = [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0];

fn merged(buckets: &[Bucket]) -> Scratch {
    let mut scratch = Scratch::default();
    scratch.begin(buckets[0].sketch);
    for bucket in buckets.iter().rev() {
        bucket.check();
        bucket.merge(&mut scratch);
    }
    scratch
}

fn quantile(scratch: &mut Scratch, q: f64) -> f64 {
    match scratch.quantile(q) {
        Value::Float(number) => number,
        other => panic!("{other:?} at {q}"),
    }
}

fn dealt(numbers: &[f64], buckets: usize) -> Vec<Bucket> {
    let mut dealt = vec![Bucket::new(FLOATS); buckets];
    for (at, number) in numbers.iter().enumerate() {
        dealt[at % buckets].add(&Item::new(0, Value::Float(*number)).as_value());
    }
    dealt
}

fn exact(sorted: &[f64], q: f64) -> f64 {
    sorted[(q * (sorted.len() - 1) as f64) as usize]
}

fn wrong(sorted: &[f64], scratch: &mut Scratch) -> Option<String> {
    QUANTILES.iter().find_map(|&q| {
        let (exact, found) = (exact(sorted, q), quantile(scratch, q));
        ((found - exact).abs() > 0.01 * exact.abs()).then(|| format!("{found} for {exact} at {q}"))
    })
}

#[test]
fn quantiles_are_within_one_percent_of_every_distribution() {
    type Distribution = fn(&mut Draw) -> f64;
    let distributions: [(&str, Distribution); 7] = [
        ("uniform", |draw| draw.unit()),
        ("shifted", |draw| 1e6 + draw.unit()),
        ("exponential", |draw| -(1.0 - draw.unit()).ln() * 30.0),
        ("Pareto", |draw| (1.0 - draw.unit()).powf(-0.5)),
        ("both signs", |draw| (0..12).map(|_| draw.unit()).sum::<f64>() - 6.0),
        ("many zeros", |draw| if draw.below(3) == 0 { 0.0 } else { draw.unit() - 0.5 }),
        ("latencies", |draw| if draw.below(100) == 0 { 3_000.0 } else { 20.0 + draw.unit() * 5.0 }),
    ];
    for (name, distribution) in distributions {
        for buckets in [1, 60] {
            let mut draw = Draw(7);
            let mut numbers: Vec<f64> = (0..20_000).map(|_| distribution(&mut draw)).collect();
            let mut scratch = merged(&dealt(&numbers, buckets));
            numbers.sort_by(f64::total_cmp);
            assert_eq!(wrong(&numbers, &mut scratch), None, "{name}, {buckets} buckets");
        }
    }
}

#[test]
fn an_int_field_has_quantiles_too() {
    let items: Vec<Item> = (-500..=500).map(|number| Item::new(0, Value::Int(number))).collect();
    let mut scratch = merged(&[Bucket::of(sketch(SketchSpec::Quantile, FieldType::Int), &items)]);
    assert!((quantile(&mut scratch, 0.9) - 400.0).abs() <= 4.0);
    assert_eq!(scratch.value(), Value::Float(0.0));
}

#[test]
fn bins_are_bounded_and_the_upper_ones_keep_their_accuracy() {
    // 3,500 bins of 10 values, arriving in three orders.
    let ascending: Vec<f64> = (0..35_000).map(|step| 2f64.powf(f64::from(step) / 350.0)).collect();
    let descending: Vec<f64> = ascending.iter().rev().copied().collect();
    let mut draw = Draw(3);
    let shuffled: Vec<f64> =
        (0..ascending.len()).map(|at| ascending[(at * 12_347 + draw.below(1) as usize) % 35_000]).collect();
    let mut blocks = Vec::new();
    for order in [&ascending, &descending, &shuffled] {
        let bucket = dealt(order, 1).remove(0);
        bucket.check();
        assert_eq!(bucket.block.as_ref().unwrap().len(), BINS_MAX + 2);
        let mut scratch = merged(std::slice::from_ref(&bucket));
        for q in [0.75, 0.9, 0.99, 1.0] {
            let (exact, found) = (exact(&ascending, q), quantile(&mut scratch, q));
            assert!((found - exact).abs() <= 0.01 * exact, "{found} for {exact} at {q}");
        }
        // What is below was taken for the lowest bin that is left.
        let lowest = exact(&ascending, 1.0 - 1_023.0 / 3_500.0);
        assert!((quantile(&mut scratch, 0.1) / lowest - 1.0).abs() < 0.05);
        blocks.push(bucket.block.unwrap());
    }
    assert!(blocks[0] == blocks[1] && blocks[0] == blocks[2], "bins do not depend on the order of arrival");
}

#[test]
fn a_full_count_of_a_bin_stays_full() {
    let mut bucket = Bucket::of(FLOATS, &[Item::new(0, Value::Float(1.0))]);
    bucket.block.as_mut().unwrap()[1] |= 0xffff_ffff;
    bucket.add(&Item::new(0, Value::Float(1.0)).as_value());
    bucket.check();
    assert!((quantile(&mut merged(&[bucket]), 0.5) - 1.0).abs() <= 0.01);
}

proptest! {
    #[test]
    fn quantiles_of_any_numbers_are_within_one_percent(
        numbers in prop::collection::vec(any::<f64>().prop_filter("finite", |number| number.is_normal()), 1..200),
        buckets in 1usize..5,
    ) {
        let mut scratch = merged(&dealt(&numbers, buckets));
        let mut sorted = numbers.clone();
        sorted.sort_by(f64::total_cmp);
        let wrong = wrong(&sorted, &mut scratch);
        prop_assert!(wrong.is_none(), "{wrong:?}");
    }
}
