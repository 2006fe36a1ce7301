//! Whether two sets of shards are the same to everyone who uses them.

use std::collections::BTreeMap;

use windrow_memory::{Cursor, Scan};
use windrow_window::query::Query;
use windrow_window::{Rows, Value};

use super::KEY;
use crate::catalogue::{Catalogue, LayoutId, StreamId};
use crate::entity::EntityInfo;
use crate::shard::{Hint, Shard};
use crate::slot::{SLOT_GROUPS, hash_slot, shard_of};

/// An id that may be remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id {
    pub(super) stream: StreamId,
    pub(super) group: u8,
    pub(super) fingerprint: u64,
}

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
                let mut rows = Rows::default();
                shard.read(catalogue, stream, &entity, hint, &query, time, &mut rows).unwrap();
                let raw = Raw {
                    layout: LayoutId(record.layout()),
                    position: record.position(),
                    body: (0..record.body_words()).map(|word| record.get(word)).collect(),
                };
                if let Some(info) = info {
                    all.insert((id, entity), (Seen { info, row: rows.values }, raw));
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
    ids: &[Id],
) {
    let mut expected = entities(live_catalogue, live, now_ms);
    let mut found = entities(catalogue, started, now_ms);
    for (key, (seen, raw)) in &mut expected {
        let Some((found_seen, found_raw)) = found.get_mut(key) else { panic!("{key:?} is gone: {seen:?}") };
        let layout = &live_catalogue.by_id(key.0).unwrap().layout;
        let is_altered = layout.generation > 0;
        assert_eq!(found_raw.position, raw.position, "the record of {key:?}");
        for info in [&mut seen.info, &mut found_seen.info] {
            info.bytes = 0;
            if is_altered {
                // When a record is upgraded says which buckets it still has of those that nobody can read.
                info.layout = raw.layout;
                info.tiers.clear();
            }
        }
        // Where an entity starts anew before its record was reclaimed, the record keeps its slot, and words that nobody reads.
        if !is_altered && layout.death_ms.is_none() {
            assert_eq!(found_raw, raw, "the record of {key:?}");
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
        assert_eq!(stream.definition.dedup_ms, again.definition.dedup_ms);
        assert_same_sources(stream.id, live, started);
    }
    for id in ids {
        assert_same_memory(live_catalogue, live, started, now_ms, id);
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

/// The shard among these that owns a group of hash slots.
fn owner(shards: &[Shard], group: u8) -> &Shard {
    &shards[usize::from(group) * shards.len() / SLOT_GROUPS]
}

fn assert_same_sources(stream: StreamId, live: &[Shard], started: &[Shard]) {
    for group in 0..=u8::MAX {
        let sources = |shards: &[Shard]| owner(shards, group).dedup.sources(stream, group);
        assert_eq!(sources(started), sources(live), "sources of group {group} of {stream:?}");
    }
}

/// Now and later on.
fn assert_same_memory(catalogue: &Catalogue, live: &[Shard], started: &[Shard], now_ms: i64, id: &Id) {
    let Some(stream) = catalogue.by_id(id.stream) else { return };
    let (Some(dedup_ms), Some(clock_ms)) = (stream.definition.dedup_ms, stream.clock_ms(now_ms)) else {
        return;
    };
    for clock_ms in (0..=8).map(|later| clock_ms + later * dedup_ms / 4) {
        let remembers = |shards: &[Shard]| {
            owner(shards, id.group).dedup.remembers(id.stream, id.group, id.fingerprint, clock_ms, dedup_ms)
        };
        assert_eq!(remembers(started), remembers(live), "{id:?} at {clock_ms}");
    }
}
