//! Properties of the reply writer: another implementation reads back what was written.

#[path = "oracle/replies.rs"]
mod oracle;

use oracle::{Value, assert_reads_back};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<i32>().prop_map(f64::from),
        any::<i64>().prop_map(|value| value as f64),
        any::<i32>().prop_map(|cents| f64::from(cents) / 100.0),
        prop_oneof![Just(0.0), Just(-0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::NAN)],
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,20}",
        2 => "[\r\n\\PC]{0,20}",
        // Longer than a buffer is at first. Made of few parts: each part costs as much as a whole value.
        1 => ("[aé漢]{1,3}", 350..400usize).prop_map(|(piece, times)| piece.repeat(times)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text().prop_map(Value::Simple),
        text().prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        (0..10i64).prop_map(Value::Integer),
        double().prop_map(Value::Double),
        vec(any::<u8>(), 0..40).prop_map(Value::Bulk),
        Just(Value::Null),
        Just(Value::NullArray),
        any::<bool>().prop_map(Value::Boolean),
        vec(any::<u8>(), 0..40).prop_map(Value::Verbatim),
        btree_set(any::<i64>(), 0..12).prop_map(|set| Value::Set(set.into_iter().collect())),
    ];
    leaf.prop_recursive(4, 30, 12, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..12).prop_map(Value::Array),
            btree_map(vec(any::<u8>(), 0..8), inner, 0..12).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_reads_back(value in value()) {
        assert_reads_back(&value);
    }

    #[test]
    fn every_push_reads_back(values in vec(value(), 0..4)) {
        assert_reads_back(&Value::Push(values));
    }

    #[test]
    fn every_double_reads_back(value in double()) {
        assert_reads_back(&Value::Double(value));
    }
}
