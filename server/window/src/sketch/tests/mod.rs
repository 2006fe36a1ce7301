//! Sketches against exact computation, and against words that nobody made.

mod counts;
mod distinct;
mod latest;
mod merge;
mod quantile;
mod torn;

use super::{INLINE, Scratch, Sketch, SketchSpec, SketchValue, Sought, Span, SpanMut, Spot};
use crate::definition::FieldType;
use crate::value::Value;

/// What stands around a block, and in a new one: neither is to be relied on or changed.
const NEIGHBOUR: u64 = 0xdead_beef_dead_beef;

/// A value with its time, owned.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    at_ms: i64,
    value: Value,
}

impl Item {
    fn new(at_ms: i64, value: Value) -> Self {
        Self { at_ms, value }
    }

    fn as_value(&self) -> SketchValue<'_> {
        let (word, bytes) = match &self.value {
            Value::Int(number) => (number.cast_unsigned(), None),
            Value::Float(number) => (number.to_bits(), None),
            Value::Bytes(bytes) => (0, Some(&**bytes)),
            other => panic!("{other:?} is not a value of a field"),
        };
        SketchValue { word, bytes, at_ms: self.at_ms }
    }
}

/// A bucket's cell and block, kept as the heap keeps them.
#[derive(Clone, Debug)]
struct Bucket {
    sketch: Sketch,
    inline: Option<u32>,
    /// The block's payload between two neighbours.
    block: Option<Vec<u64>>,
    /// Values so far.
    added: u64,
}

fn new_block(words: usize) -> Vec<u64> {
    vec![NEIGHBOUR; words + 2]
}

fn span(block: &[u64]) -> Span<'_, [u64]> {
    Span::new(block, 1, block.len() - 2)
}

fn span_mut(block: &mut [u64]) -> SpanMut<'_, [u64]> {
    let len = block.len() - 2;
    SpanMut::new(block, 1, len)
}

/// The block with so many words, in which there is room for the value.
fn longer(sketch: Sketch, block: &[u64], words: usize, value: &SketchValue<'_>) -> Vec<u64> {
    let mut longer = new_block(words);
    sketch.start(&mut span_mut(&mut longer));
    sketch.copy(span(block), &mut span_mut(&mut longer));
    if !sketch.is_rewritten(span(block), words) {
        // Then a record's writer lets the words be as they are.
        let mut payload = block[1..block.len() - 1].to_vec();
        payload.resize(words, 0);
        assert_eq!(longer[1..=words], payload, "{sketch:?}");
    }
    let sought = sketch.seek(span(&longer), value);
    assert!(!matches!(sought, Sought::Longer(..)), "there is room after growing: {sought:?} {sketch:?}");
    longer
}

impl Bucket {
    fn new(sketch: Sketch) -> Self {
        Self { sketch, inline: None, block: None, added: 0 }
    }

    fn of<'a>(sketch: Sketch, items: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut bucket = Self::new(sketch);
        for item in items {
            bucket.add(&item.as_value());
        }
        bucket.check();
        bucket
    }

    /// As a record's writer adds it, and checked against what is done where nothing is known of the value's place.
    fn add(&mut self, value: &SketchValue<'_>) {
        let sketch = self.sketch;
        let (mut block, spot) = match (self.block.take(), self.inline.take(), sketch.spot(value)) {
            (None, None, Spot::Hashed(entry)) => {
                self.inline = Some(INLINE | entry);
                return;
            }
            (None, Some(reference), Spot::Hashed(entry)) if reference == INLINE | entry => {
                self.inline = Some(reference);
                return;
            }
            (None, reference, spot) => {
                let mut block = new_block(sketch.words_new(value));
                sketch.start(&mut span_mut(&mut block));
                if let Some(reference) = reference {
                    sketch.add_inline(&mut span_mut(&mut block), reference);
                }
                (block, spot)
            }
            (Some(block), ..) => match sketch.seek(span(&block), value) {
                Sought::Known => {
                    if self.checks_next(&block) {
                        self.check_added(&block, &block, value);
                    }
                    self.block = Some(block);
                    return;
                }
                Sought::Here(spot) => (block, spot),
                Sought::Longer(words, spot) => {
                    assert!(words > block.len() - 2 && words <= sketch.words_max(), "{words} {sketch:?}");
                    (longer(sketch, &block, words, value), spot)
                }
            },
        };
        let before = self.checks_next(&block).then(|| block.clone());
        sketch.add_at(&mut span_mut(&mut block), value, spot);
        if let Some(before) = before {
            self.check_added(&before, &block, value);
        }
        self.block = Some(block);
    }

    /// Whether the next value is checked: of long blocks, one of many.
    fn checks_next(&mut self, block: &[u64]) -> bool {
        self.added += 1;
        block.len() < 64 || self.added.is_multiple_of(64)
    }

    /// The value makes `after` of `before`, without its spot, too.
    fn check_added(&self, before: &[u64], after: &[u64], value: &SketchValue<'_>) {
        let mut added = before.to_vec();
        self.sketch.add(&mut span_mut(&mut added), value);
        assert_eq!(added, after, "{:?}", self.sketch);
    }

    /// What add made is accepted, and nothing else was touched.
    fn check(&self) {
        if let Some(reference) = self.inline {
            assert!(reference & INLINE != 0);
            assert_eq!(self.sketch.verify_inline(reference), Ok(()));
        }
        if let Some(block) = &self.block {
            assert_eq!(self.sketch.verify(span(block)), Ok(()), "{:?} {block:x?}", self.sketch);
            assert_eq!((block[0], block[block.len() - 1]), (NEIGHBOUR, NEIGHBOUR));
            // Compacting copies it.
            let mut copy = new_block(block.len() - 2);
            self.sketch.copy(span(block), &mut span_mut(&mut copy));
            assert_eq!(&copy, block);
        }
    }

    fn merge(&self, scratch: &mut Scratch) {
        if let Some(reference) = self.inline {
            self.sketch.merge_inline(reference, scratch);
        }
        if let Some(block) = &self.block {
            self.sketch.merge_into(span(block), scratch);
        }
    }

    /// Bytes in the record: the reference, the block's head, the payload.
    fn bytes(&self) -> usize {
        4 + self.block.as_ref().map_or(0, |block| 8 * (1 + block.len() - 2))
    }
}

/// What the buckets have in common is the same in any order of merging, in a scratch that was used before.
fn value_of(buckets: &[Bucket]) -> Value {
    let sketch = buckets[0].sketch;
    let mut scratch = Scratch::default();
    let forward = merged(buckets.iter(), sketch, &mut scratch);
    let backward = merged(buckets.iter().rev(), sketch, &mut scratch);
    assert_eq!(forward, backward, "{sketch:?} depends on the order of buckets");
    forward
}

fn merged<'a>(buckets: impl Iterator<Item = &'a Bucket>, sketch: Sketch, scratch: &mut Scratch) -> Value {
    scratch.begin(sketch);
    for bucket in buckets {
        bucket.merge(scratch);
    }
    let value = scratch.value();
    assert_eq!(scratch.value(), value, "asking twice gives the same");
    value
}

fn sketch(spec: SketchSpec, field: FieldType) -> Sketch {
    Sketch { spec, field }
}

/// Items dealt to `count` buckets of 1,000 ms by their time.
fn by_bucket(sketch: Sketch, items: &[Item], count: i64) -> Vec<Bucket> {
    (0..count)
        .map(|bucket| Bucket::of(sketch, items.iter().filter(|item| item.at_ms.div_euclid(1_000) == bucket)))
        .collect()
}

/// Numbers without a pattern, the same in each run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::hash::mix(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// 0 to 1, without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn text(number: u64) -> Value {
    // Of many lengths.
    let long = "x".repeat((number % 23) as usize);
    Value::Bytes(format!("{number}-{long}").into_bytes().into())
}

#[test]
fn every_kind_of_an_empty_window_is_empty() {
    let value = |spec| {
        let mut scratch = Scratch::default();
        scratch.begin(sketch(spec, FieldType::Int));
        scratch.value()
    };
    assert_eq!(value(SketchSpec::Distinct { p: 12 }), Value::Int(0));
    assert_eq!(value(SketchSpec::Quantile), Value::Null);
    assert_eq!(value(SketchSpec::TopK { k: 3 }), Value::List(vec![]));
    assert_eq!(value(SketchSpec::CountBy { k: 3 }), Value::List(vec![]));
    assert_eq!(value(SketchSpec::LastK { k: 3 }), Value::List(vec![]));
    assert_eq!(value(SketchSpec::First), Value::Null);
    assert_eq!(value(SketchSpec::Last), Value::Null);
}

#[test]
fn block_sizes_waste_at_most_a_third() {
    for needed in 1..5_000 {
        let words = super::grown(needed, usize::MAX);
        assert!(words >= needed && 3 * (words - needed) <= words, "{needed} in {words}");
        assert_eq!(super::grown(needed, needed), needed);
    }
}
