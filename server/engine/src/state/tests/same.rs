//! Whether two sets of shards are the same to everyone who uses them.

use std::collections::BTreeMap;

use windrow_memory::{Cursor, Scan};
use windrow_window::Value;
use windrow_window::query::Query;

use super::KEY;
use crate::catalogue::{Catalogue, LayoutId, StreamId};
use crate::dedup::SourceSeq;
use crate::entity::EntityInfo;
use crate::shard::{Hint, Shard};
use crate::slot::{SLOT_GROUPS, hash_slot, shard_of};

/// What can be seen of one entity.
#[derive(Debug, PartialEq)]
struct Seen {
    info: EntityInfo,
    row: Vec<Value>,
}

/// A record: layout, position, body.
#[derive(Debug, PartialEq)]
struct Raw {
    layout: LayoutId,
    position: u64,
    body: Vec<u64>,
}

type Entities = BTreeMap<(StreamId, Vec<u8>), (Seen, Raw)>;

/// The entities that are alive.
fn entities(catalogue: &Catalogue, shards: &[Shard], now_ms: i64) -> Entities {
    let mut all = Entities::new();
    for (number, shard) in shards.iter().enumerate() {
        let (mut records, mut bytes) = (BTreeMap::<StreamId, u64>::new(), BTreeMap::<StreamId, u64>::new());
        let mut cursor = Some(Cursor::START);
        while let Some(from) = cursor {
            let mut scan = Scan::default();
            cursor = shard.store.scan(&mut scan, from, 100);
            for &row in scan.rows() {
                let record = shard.store.record(row);
                let id = StreamId(record.stream());
                let Some(stream) = catalogue.by_id(id) else { continue };
                *records.entry(id).or_default() += 1;
                *bytes.entry(id).or_default() += record.slot_bytes() as u64;
                let mut entity = Vec::new();
                record.copy_entity(&mut entity);
                assert_eq!(shard_of(hash_slot(&entity), shards.len()), number, "a record of another shard");
                let hint = Hint::of(KEY.hash(id, &entity));
                let info = shard.entity_info(catalogue, stream, &entity, hint, now_ms);
                let query = Query::parse(&stream.layout, std::iter::empty()).unwrap();
                let time = query.read_time(&stream.layout, stream.times(now_ms)).unwrap();
                let mut values = Vec::new();
                shard.read(catalogue, stream, &entity, hint, &query, time, &mut values).unwrap();
                let raw = Raw {
                    layout: LayoutId(record.layout()),
                    position: record.position(),
                    body: (0..record.body_words()).map(|word| record.get(word)).collect(),
                };
                if let Some(info) = info {
                    all.insert((id, entity), (Seen { info, row: values }, raw));
                }
            }
        }
        for stream in catalogue.iter() {
            let stats = shard.stream_stats(stream.id);
            let counted = (stats.entities, stats.bytes);
            let there = |of: &BTreeMap<StreamId, u64>| of.get(&stream.id).copied().unwrap_or(0);
            assert_eq!(counted, (there(&records), there(&bytes)), "records of {:?}", stream.id);
        }
    }
    all
}

/// Panics unless the started shards are as the live ones were.
pub(super) fn assert_same(
    (live_catalogue, live): (&Catalogue, &[Shard]),
    (catalogue, started): (&Catalogue, &[Shard]),
    now_ms: i64,
    ids: &[u64],
) {
    let mut expected = entities(live_catalogue, live, now_ms);
    let mut found = entities(catalogue, started, now_ms);
    for (key, (seen, raw)) in &mut expected {
        let Some((found_seen, found_raw)) = found.get_mut(key) else { panic!("{key:?} is gone: {seen:?}") };
        if raw.layout == found_raw.layout {
            assert_eq!(found_raw, raw, "the record of {key:?}");
        } else {
            // Upkeep came by one of them, and what an upgrade makes cannot be seen.
            let first = found_raw.layout.min(raw.layout);
            assert_eq!(found_raw.position, raw.position, "the record of {key:?}");
            for info in [&mut seen.info, &mut found_seen.info] {
                (info.layout, info.bytes) = (first, 0);
                info.tiers.clear();
            }
        }
        assert_eq!(found_seen, seen, "what is seen of {key:?}");
    }
    if let Some(key) = found.keys().find(|key| !expected.contains_key(*key)) {
        panic!("{key:?} came back: {:?}", found[key]);
    }
    for stream in live_catalogue.iter() {
        let again = catalogue.by_id(stream.id).unwrap();
        assert_eq!(again.clock.get(), stream.clock.get(), "the clock of {:?}", stream.id);
        assert_eq!(again.newest.get(), stream.newest.get(), "the newest event of {:?}", stream.id);
        assert_same_counters(stream.id, live, started);
        assert_same_memory((live_catalogue, live), (catalogue, started), stream.id, now_ms, ids);
    }
}

fn assert_same_counters(stream: StreamId, live: &[Shard], started: &[Shard]) {
    let sum = |shards: &[Shard]| {
        let mut sum = shards[0].stream_stats(stream);
        shards[1..].iter().for_each(|shard| sum.merge(&shard.stream_stats(stream)));
        sum
    };
    let (live, started) = (sum(live), sum(started));
    let exact = |stats: &crate::StreamStats| (stats.ok, stats.clamped, stats.evicted, stats.newest_ms);
    assert_eq!(exact(&started), exact(&live), "what was counted of {stream:?}");
    let about = [
        (started.skewed, live.skewed),
        (started.late, live.late),
        (started.duplicate, live.duplicate),
        (started.errors, live.errors),
    ];
    assert!(about.iter().all(|(started, live)| started <= live), "{about:?}");
}

fn assert_same_memory(
    (live_catalogue, live): (&Catalogue, &[Shard]),
    (catalogue, started): (&Catalogue, &[Shard]),
    id: StreamId,
    now_ms: i64,
    ids: &[u64],
) {
    let stream = live_catalogue.by_id(id).unwrap();
    assert_eq!(stream.definition.dedup_ms, catalogue.by_id(id).unwrap().definition.dedup_ms);
    let dedup_ms = stream.definition.dedup_ms.unwrap_or(0);
    for group in 0..SLOT_GROUPS {
        let owner = |shards: &[Shard]| group * shards.len() / SLOT_GROUPS;
        let of = |shards: &'_ [Shard], clock_ms: i64, fingerprint: u64| {
            shards[owner(shards)].dedup.remembers(id, group as u8, fingerprint, clock_ms, dedup_ms)
        };
        if let Some(now_ms) = stream.clock_ms(now_ms).filter(|_| dedup_ms > 0) {
            for later in 0..=8 {
                let clock_ms = now_ms + later * dedup_ms / 4;
                for &fingerprint in ids {
                    assert_eq!(
                        of(started, clock_ms, fingerprint),
                        of(live, clock_ms, fingerprint),
                        "{fingerprint:#x} in group {group} of {id:?} at {clock_ms}"
                    );
                }
            }
        }
        let sources =
            |shards: &[Shard]| -> Vec<SourceSeq> { shards[owner(shards)].dedup.sources(id, group as u8) };
        assert_eq!(sources(started), sources(live), "sources of group {group} of {id:?}");
    }
}
