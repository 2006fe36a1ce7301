//! The operation codec: what is written is what is read, and damage is an error.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use windrow_engine::LayoutId;
use windrow_engine::dedup::{Mark, SEQ_MAX, SourceSeq};
use windrow_engine::op::{self, AnyOp, Encoder, Judged, Op, OpHead};
use windrow_window::definition::FIELDS_MAX;
use windrow_window::timestamp::TIMESTAMP_ABS_MAX;
use windrow_window::{Definition, Layout};

fn layout() -> Layout {
    let text = "FIELDS amount FLOAT merchant STRING n INT WINDOWS all AGGREGATE count";
    Layout::compile(&Definition::parse_text("s", text).unwrap()).unwrap()
}

/// What an operation says. Fields 0 and 2 hold words, field 1 bytes.
#[derive(Clone, Debug)]
struct Said {
    layout: u32,
    entity: Vec<u8>,
    judged: Judged,
    ts: i64,
    clock_ms: i64,
    mark: Mark,
    amount: Option<u64>,
    merchant: Option<Vec<u8>>,
    n: Option<u64>,
}

impl Said {
    fn encode(&self) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let mut encoder = Encoder::start(&mut out, LayoutId(self.layout), &self.entity);
        if !self.mark.is_empty() {
            encoder.mark(&self.mark);
        }
        if let Some(word) = self.n {
            encoder.word(2, word);
        }
        if let Some(bytes) = &self.merchant {
            encoder.bytes(1, bytes);
        }
        if let Some(word) = self.amount {
            encoder.word(0, word);
        }
        encoder.finish(self.judged, self.ts, self.clock_ms);
        assert!(out.starts_with(b"before"));
        out.split_off(6)
    }
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => -TIMESTAMP_ABS_MAX..=TIMESTAMP_ABS_MAX,
        2 => 1_700_000_000_000..1_700_090_000_000i64,
        1 => prop::sample::select(vec![0, 1, -1, 63, 64, -64, -65, 32_767, 32_768, TIMESTAMP_ABS_MAX, -TIMESTAMP_ABS_MAX]),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let number = prop_oneof![3 => 0..128u32, 1 => any::<u32>()];
    let entity = prop_oneof![4 => 1..40usize, 1 => 1..1025usize]
        .prop_flat_map(|bytes| prop::collection::vec(any::<u8>(), bytes));
    let judged = prop_oneof![Just(Judged::Ok), Just(Judged::Clamped), Just(Judged::Skewed)];
    let merchant = prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    let clock = prop_oneof![Just(None), time().prop_map(Some)];
    let source = (any::<u64>(), 0..=SEQ_MAX).prop_map(|(source, seq)| SourceSeq { source, seq });
    let mark = (prop::option::of(1..=u64::MAX), prop::option::of(source));
    let mark = mark.prop_map(|(id, source)| Mark { id, source });
    (number, entity, judged, time(), clock, any::<Option<u64>>(), merchant, any::<Option<u64>>(), mark)
        .prop_map(|(layout, entity, judged, ts, clock, amount, merchant, n, mark)| Said {
            layout,
            entity,
            judged,
            ts,
            clock_ms: clock.unwrap_or(ts),
            mark,
            amount,
            merchant,
            n,
        })
}

#[test]
fn an_event_of_now_with_one_number_takes_21_bytes_and_its_entity() {
    let said = Said {
        layout: 0,
        entity: b"user:0000001".to_vec(),
        judged: Judged::Ok,
        ts: 1_700_000_000_000,
        clock_ms: 1_700_000_000_000,
        mark: Mark::default(),
        amount: Some(7),
        merchant: None,
        n: None,
    };
    assert_eq!(said.encode().len(), 21 + said.entity.len());
    let late_an_hour = Said { clock_ms: said.ts + 3_600_000, ..said.clone() };
    assert_eq!(late_an_hour.encode().len(), 24 + said.entity.len());
    let with_id = Said { mark: Mark { id: Some(9), source: None }, ..said.clone() };
    assert_eq!(with_id.encode().len(), 30 + said.entity.len(), "nine more with an id, however long");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn an_operation_says_what_was_said(said in said(), anew in any::<bool>()) {
        let mut bytes = said.encode();
        if anew {
            op::mark_anew(&mut bytes);
        }
        let batch = [&bytes[..], b"behind"].concat();
        prop_assert_eq!(op::first(&batch), Ok(&bytes[..]));
        let op = Op::decode(&bytes).unwrap();
        prop_assert_eq!((op.layout, op.entity, op.judged), (LayoutId(said.layout), &said.entity[..], said.judged));
        prop_assert_eq!((op.ts, op.clock_ms, op.starts_anew), (said.ts, said.clock_ms, anew));
        prop_assert_eq!(op.mark, said.mark);
        let mut noted = bytes.clone();
        op::mark_noted(&mut noted);
        let noted = Op::decode(&noted).unwrap();
        prop_assert_eq!((noted.judged, noted.entity, noted.clock_ms), (Judged::Noted, op.entity, op.clock_ms));
        prop_assert_eq!(OpHead::peek(&bytes), Some(OpHead { layout: op.layout, ts: op.ts }));
        let mut words = [0; FIELDS_MAX];
        let present = op.values(&layout(), &mut words).unwrap();
        let expected = [said.amount.is_some(), said.merchant.is_some(), said.n.is_some()];
        prop_assert_eq!([0, 1, 2].map(|field| present & 1 << field != 0), expected);
        prop_assert_eq!([words[0], words[2]], [said.amount.unwrap_or(0), said.n.unwrap_or(0)]);
        prop_assert_eq!(words[1] >> 32, said.merchant.map_or(0, |bytes| bytes.len() as u64));
    }

    #[test]
    fn no_beginning_and_no_continuation_of_an_operation_is_one(said in said(), cut in any::<prop::sample::Index>(), more in 1..9usize) {
        let bytes = said.encode();
        let cut = cut.index(bytes.len());
        assert!(Op::decode(&bytes[..cut]).is_err());
        assert!(AnyOp::decode(&bytes[..cut]).is_err());
        assert!(op::first(&bytes[..cut]).is_err());
        assert!(Op::decode(&[&bytes[..], &vec![0; more]].concat()).is_err());
    }

    #[test]
    fn damage_is_an_error_or_another_operation_and_never_a_panic(
        said in said(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        keeps_length in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = said.encode();
        for (at, byte) in edits {
            // Most damage is where lengths are.
            let at = at.index(bytes.len().min(2 * bytes.len().min(12)));
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        if keeps_length && bytes.len() >= 4 {
            let head = u32::from_le_bytes(*bytes.first_chunk().unwrap());
            let head = head & !(0x3ffff << 8) | (bytes.len() as u32) << 8;
            bytes[..4].copy_from_slice(&head.to_le_bytes());
        }
        let peeked = OpHead::peek(&bytes);
        if let Ok(AnyOp::Event(op)) = AnyOp::decode(&bytes) {
            prop_assert_eq!(peeked, Some(OpHead { layout: op.layout, ts: op.ts }));
            assert!(op.ts.abs() <= TIMESTAMP_ABS_MAX && op.clock_ms.abs() <= TIMESTAMP_ABS_MAX);
            let _ = op.values(&layout(), &mut [0; FIELDS_MAX]);
        }
    }
}

#[test]
fn a_merge_of_any_size_is_read_back_and_a_damaged_one_is_none() {
    for count in [0usize, 1, 40_000, 262_000] {
        let words: Vec<u64> =
            (0..count as u64).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for layout in [LayoutId(5), LayoutId(70_000)] {
            let mut bytes = Vec::new();
            op::encode_remove(&mut bytes, layout, b"before", true);
            op::encode_merge(&mut bytes, layout, b"entity", &words);
            op::encode_remove(&mut bytes, layout, b"behind", false);
            let ops: Vec<&[u8]> = op::iter(&bytes).map(Result::unwrap).collect();
            assert_eq!(ops.len(), 3);
            assert!(op::is_merge(ops[1]) && !op::is_merge(ops[0]) && !op::is_remove(ops[1]));
            assert_eq!(op::layout(ops[1]), Some(layout));
            let AnyOp::Merge(merge) = AnyOp::decode(ops[1]).unwrap() else { panic!("it is a MERGE") };
            assert_eq!((merge.layout, merge.entity), (layout, &b"entity"[..]));
            assert_eq!(merge.words(), words);
            let short = &ops[1][..ops[1].len() - 1];
            assert!(AnyOp::decode(short).is_err());
            let mut shorter = short.to_vec();
            let head = 3 | (shorter.len() as u32) << 8;
            shorter[..4].copy_from_slice(&head.to_le_bytes());
            assert!(AnyOp::decode(&shorter).is_err(), "part of a word, or of an entity");
        }
    }
}
