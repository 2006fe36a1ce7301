//! Words that nobody made: every function ends, none panics, none writes elsewhere.

use super::{Bucket, Draw, Item, NEIGHBOUR, new_block, sketch, span, span_mut, text};
use crate::definition::FieldType;
use crate::sketch::{INLINE, K_MAX, Scratch, Sketch, SketchSpec, Sought};
use crate::value::Value;

fn sketches() -> impl Iterator<Item = Sketch> {
    let specs = [
        SketchSpec::Distinct { p: 4 },
        SketchSpec::Distinct { p: 6 },
        SketchSpec::Distinct { p: 10 },
        SketchSpec::Quantile,
        SketchSpec::TopK { k: 1 },
        SketchSpec::TopK { k: 6 },
        SketchSpec::TopK { k: K_MAX },
        SketchSpec::CountBy { k: 5 },
        SketchSpec::CountBy { k: K_MAX },
        SketchSpec::LastK { k: 1 },
        SketchSpec::LastK { k: 5 },
        SketchSpec::LastK { k: K_MAX },
        SketchSpec::First,
        SketchSpec::Last,
    ];
    let fields = [FieldType::Int, FieldType::Float, FieldType::String];
    specs.into_iter().flat_map(move |spec| fields.map(|field| sketch(spec, field)))
}

fn item(field: FieldType, draw: &mut Draw) -> Item {
    let number = draw.below(40);
    let value = match field {
        FieldType::Int => Value::Int(number as i64),
        FieldType::Float => Value::Float(number as f64 - 4.0),
        FieldType::String => text(number),
    };
    Item::new(draw.below(50) as i64, value)
}

/// Everything that may be done with words, done.
fn exercise(sketch: Sketch, block: &[u64], draw: &mut Draw, scratch: &mut Scratch) {
    let _ = sketch.verify(span(block));
    scratch.begin(sketch);
    sketch.merge_into(span(block), scratch);
    sketch.merge_inline(draw.next() as u32, scratch);
    sketch.merge_into(span(block), scratch);
    scratch.value();
    scratch.quantile(draw.unit());
    let _ = sketch.verify_inline(draw.next() as u32);
    let item = item(sketch.field, draw);
    let value = item.as_value();
    let (mut grown, mut spot) = (block.to_vec(), sketch.spot(&value));
    match sketch.seek(span(block), &value) {
        Sought::Known => {}
        Sought::Here(here) => spot = here,
        Sought::Longer(words, there) => {
            assert!(words <= sketch.words_max().max(block.len() + 200), "{words} words for {sketch:?}");
            spot = there;
            grown = new_block(words);
            sketch.copy(span(block), &mut span_mut(&mut grown));
        }
    }
    // Even where there is no room.
    for block in [&mut grown, &mut block.to_vec()] {
        sketch.add_at(&mut span_mut(block), &value, spot);
        sketch.add_at(&mut span_mut(block), &value, sketch.spot(&value));
        sketch.add_inline(&mut span_mut(block), INLINE | draw.next() as u32);
        assert_eq!((block[0], block[block.len() - 1]), (NEIGHBOUR, NEIGHBOUR), "{sketch:?}");
    }
}

#[test]
fn random_words_are_refused_or_read_and_never_a_panic() {
    let mut scratch = Scratch::default();
    let mut draw = Draw(1);
    for sketch in sketches() {
        for round in 0..400 {
            let words = [0, 1, 2, 3, 4, 7, 16, 40, 103, 205][draw.below(10) as usize];
            let mut block = new_block(words);
            // Small numbers look like lengths and counts.
            let shift = [0, 20, 40, 58][round % 4];
            block[1..=words].fill_with(|| draw.next() >> shift);
            exercise(sketch, &block, &mut draw, &mut scratch);
        }
        for word in [0, 1, u64::MAX, 1 << 63, i64::MIN.cast_unsigned(), i64::MAX.cast_unsigned()] {
            let mut block = new_block(26);
            block[1..=26].fill(word);
            exercise(sketch, &block, &mut draw, &mut scratch);
        }
    }
}

#[test]
fn changed_bits_are_refused_or_read_and_never_a_panic() {
    let mut scratch = Scratch::default();
    let mut draw = Draw(2);
    for sketch in sketches() {
        for events in [2, 5, 30, 200] {
            let items: Vec<Item> = (0..events).map(|_| item(sketch.field, &mut draw)).collect();
            let Some(good) = Bucket::of(sketch, &items).block else { continue };
            let mut block = good.clone();
            for round in 0..60 {
                if round % 3 == 0 {
                    block.clone_from(&good);
                }
                let last = block.len() as u64 - 2;
                if last > 0 {
                    block[1 + draw.below(last) as usize] ^= 1 << draw.below(64);
                }
                exercise(sketch, &block, &mut draw, &mut scratch);
            }
            // Cut off: what a reference of another moment shows.
            let mut cut = good.clone();
            cut.truncate(2 + draw.below(good.len() as u64 - 2) as usize);
            *cut.last_mut().unwrap() = NEIGHBOUR;
            exercise(sketch, &cut, &mut draw, &mut scratch);
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |sketch: Sketch, items: &[Item], change: fn(&mut [u64])| {
        let mut block = Bucket::of(sketch, items).block.expect("it has a block");
        let len = block.len();
        change(&mut block[1..len - 1]);
        assert!(sketch.verify(span(&block)).is_err(), "{sketch:?} {block:x?}");
    };
    let ints: Vec<Item> = (1..=6).map(|number| Item::new(number, Value::Int(number))).collect();
    let strings: Vec<Item> = (1..=6).map(|number| Item::new(number, text(number as u64))).collect();
    let int = |spec| sketch(spec, FieldType::Int);
    let string = |spec| sketch(spec, FieldType::String);

    let distinct = int(SketchSpec::Distinct { p: 12 });
    refused(distinct, &ints, <[u64]>::reverse);
    refused(distinct, &ints, |words| words[0] = 0);
    refused(distinct, &ints, |words| words[0] |= 1 << 63);
    refused(distinct, &ints, |words| words[0] &= !0x3f);
    let dense = int(SketchSpec::Distinct { p: 4 });
    refused(dense, &ints, |words| words[1] |= 1 << 59);
    refused(dense, &ints, |words| words[0] |= 0x3f);
    refused(dense, &ints, |words| words[0] &= !(1 << 63));

    let quantile = int(SketchSpec::Quantile);
    refused(quantile, &ints, <[u64]>::reverse);
    refused(quantile, &ints, |words| words[0] &= !0xffff_ffff);
    refused(quantile, &ints, |words| words[5] = u64::MAX);
    refused(quantile, &ints, |words| words[2] = 0);

    for spec in [SketchSpec::TopK { k: 3 }, SketchSpec::CountBy { k: 6 }] {
        refused(int(spec), &ints, |words| words[0] += 20);
        refused(int(spec), &ints, |words| words[1] = 0);
        refused(string(spec), &strings, |words| words[2] |= 0xffff);
    }
    // Dropped values before it is full, a rest before there are k.
    refused(int(SketchSpec::TopK { k: 3 }), &ints, |words| words[0] |= 1 << 16);
    refused(int(SketchSpec::CountBy { k: 7 }), &ints, |words| words[0] |= 1 << 16);

    let lastk = int(SketchSpec::LastK { k: 6 });
    refused(lastk, &ints, |words| words[0] = 7);
    refused(lastk, &ints, |words| words[1] = 100);
    refused(string(SketchSpec::LastK { k: 6 }), &strings, |words| words[2] += 6);
    refused(int(SketchSpec::First), &ints, |words| words[0] = i64::MIN.cast_unsigned());
    refused(string(SketchSpec::Last), &strings, |words| words[1] += 700);
    refused(sketch(SketchSpec::Last, FieldType::Float), &[Item::new(0, Value::Float(1.0))], |words| {
        words[1] = f64::NAN.to_bits();
    });
    assert!(distinct.verify_inline(INLINE).is_err());
    assert!(quantile.verify_inline(INLINE | 1).is_err());
}
