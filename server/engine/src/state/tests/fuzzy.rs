//! Random operations, and an image taken in between them: what it and the log make is what there was.

use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_oneof, proptest};

use super::same::{Id, assert_same};
use super::{Epoch, KEY, World};
use crate::form;
use crate::shard::Outcome;
use crate::slot::{group_of, hash_slot};

/// Streams that die, that do not, with either clock, with and without sketches.
const STREAMS: [(&str, &str); 4] = [
    (
        "a",
        "FIELDS n INT s STRING WINDOWS 2s@500ms 5s@1s AGGREGATE count sum(n) distinct(s) countby(s,2) lastk(n,3) DEDUP 3s",
    ),
    (
        "b",
        "FIELDS n INT s STRING WINDOWS 1s@100ms all AGGREGATE count max(n) topk(s,3) TTL 5s CLOCK EVENT LATENESS 2s SKEW 1h REJECT DEDUP 1s",
    ),
    (
        "c",
        "FIELDS n INT s STRING WINDOWS 5s@1s all AGGREGATE count sum(n):all last(s) DEDUP 2s SKEW 500ms CLAMP",
    ),
    ("d", "FIELDS n INT s STRING WINDOWS 1s@100ms 3s@1s AGGREGATE count sum(n) since LATENESS 500ms"),
];

const ALTERS: [&str; 10] = [
    "ADD AGGREGATE max(n)",
    "ADD AGGREGATE distinct(s) lastk(s,2)",
    "DROP AGGREGATE sum(n)",
    "ADD AGGREGATE sum(n)",
    "ADD WINDOWS 7s@1s",
    "DROP WINDOWS 5s",
    "SET TTL 20s",
    "SET TTL NONE",
    "ADD WINDOWS all",
    "SET RETAIN 6s",
];

/// A few seconds.
const CASES: u32 = 48;
const ENTITIES: u8 = 5;
const IDS: u8 = 6;

#[derive(Clone, Debug)]
enum Step {
    Advance(i64),
    Event {
        stream: usize,
        entity: u8,
        offset: i64,
        n: i64,
        text: &'static str,
        mark: Marked,
    },
    Delete {
        stream: usize,
        entity: u8,
    },
    Evict {
        stream: usize,
        entity: u8,
    },
    /// The log has no room for it.
    Refuse {
        stream: usize,
        entity: u8,
        seq: u64,
    },
    /// An event of the entity is on its way meanwhile.
    Alter {
        stream: usize,
        words: &'static str,
        entity: u8,
    },
    Settle,
    /// STREAM.DROP, and the same stream again.
    Recreate {
        stream: usize,
    },
    /// FLUSHALL.
    Flush,
    Upkeep,
    /// Begins an image if none is being taken.
    Begin,
    Copy {
        shard: usize,
        records: usize,
    },
    Export {
        shard: usize,
        bytes: usize,
    },
    Finish,
    /// From the newest image, the one before, or the log alone, with another number of shards.
    Restart {
        images_back: usize,
        shards: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Marked {
    Not,
    Id(u8),
    Source(u64),
}

fn event() -> impl Strategy<Value = Step> {
    let text = prop::sample::select(vec!["", "a", "b", "cc", "a text of more than eight bytes"]);
    let offset = prop_oneof![8 => -200i64..=0, 3 => -3_000i64..1, 1 => 0i64..900, 1 => -9_000i64..9_000];
    let mark = prop_oneof![
        2 => Just(Marked::Not),
        3 => (0..IDS).prop_map(Marked::Id),
        1 => (0u64..30).prop_map(Marked::Source),
    ];
    // Sums of every width.
    let n = (-100i64..100, prop::sample::select(vec![0u32, 0, 0, 9, 25])).prop_map(|(n, by)| n << by);
    (0..STREAMS.len(), 0..ENTITIES, offset, n, text, mark).prop_map(
        |(stream, entity, offset, n, text, mark)| Step::Event { stream, entity, offset, n, text, mark },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let advance = prop_oneof![6 => 0i64..300, 3 => 0i64..2_500, 1 => 3_000i64..12_000];
    let whom = || (0..STREAMS.len(), 0..ENTITIES);
    prop_oneof![
        8 => advance.prop_map(Step::Advance),
        30 => event(),
        3 => whom().prop_map(|(stream, entity)| Step::Delete { stream, entity }),
        2 => whom().prop_map(|(stream, entity)| Step::Evict { stream, entity }),
        1 => (whom(), 0u64..30).prop_map(|((stream, entity), seq)| Step::Refuse { stream, entity, seq }),
        2 => (whom(), prop::sample::select(ALTERS.to_vec()))
            .prop_map(|((stream, entity), words)| Step::Alter { stream, words, entity }),
        2 => Just(Step::Settle),
        1 => (0..STREAMS.len()).prop_map(|stream| Step::Recreate { stream }),
        1 => prop_oneof![3 => Just(Step::Upkeep), 1 => Just(Step::Flush)],
        3 => Just(Step::Upkeep),
        4 => Just(Step::Begin),
        12 => (0usize..3, 1usize..4).prop_map(|(shard, records)| Step::Copy { shard, records }),
        8 => (0usize..3, prop::sample::select(vec![1usize, 1, 100]))
            .prop_map(|(shard, bytes)| Step::Export { shard, bytes }),
        2 => Just(Step::Finish),
        1 => (0usize..3, 1usize..4)
            .prop_map(|(images_back, shards)| Step::Restart { images_back, shards }),
    ]
}

fn name(entity: u8) -> String {
    format!("entity:{entity}")
}

/// All ids of all entities.
fn ids(world: &World) -> Vec<Id> {
    let mut all = Vec::new();
    for stream in world.catalogue.iter() {
        for entity in (0..ENTITIES).map(name) {
            let group = group_of(hash_slot(entity.as_bytes()));
            for id in 0..IDS {
                let id = format!("id{id}");
                let fingerprint = KEY.id_fingerprint(stream.id, entity.as_bytes(), id.as_bytes());
                all.push(Id { stream: stream.id, group, fingerprint });
            }
        }
    }
    all
}

impl World {
    fn run(&mut self, step: &Step) -> Option<Outcome> {
        match *step {
            Step::Advance(ms) => {
                // Shards agree on a change within a moment.
                self.settle();
                self.now_ms += ms;
            }
            Step::Event { stream, entity, offset, n, text, mark } => {
                let dedup = self.stream(STREAMS[stream].0).definition.dedup_ms;
                let mark = match mark {
                    Marked::Id(id) if dedup.is_some() => format!("ID id{id} "),
                    Marked::Source(seq) => format!("SOURCE pump {seq} "),
                    Marked::Id(_) | Marked::Not => String::new(),
                };
                let mut op = Vec::new();
                let ts = self.now_ms + offset;
                let fixed = format!("{mark}{ts} n {n} s");
                let words = fixed.split(' ').chain([text]).map(str::as_bytes);
                let stream = self.stream(STREAMS[stream].0);
                let now_ms = self.now_ms;
                form::encode_add(&mut op, stream, name(entity).as_bytes(), words, now_ms, &KEY).unwrap();
                return Some(self.arrive(&name(entity), op));
            }
            Step::Delete { stream, entity } => self.delete(STREAMS[stream].0, &name(entity)),
            Step::Evict { stream, entity } => self.evict(STREAMS[stream].0, &name(entity)),
            Step::Refuse { stream, entity, seq } => {
                // One that moved the clock would have moved it for nobody: the log has no room for that either.
                let clock_ms = self.stream(STREAMS[stream].0).clock_ms(self.now_ms)?;
                let words = format!("SOURCE pump {seq} {clock_ms}");
                let op = self.encoded(STREAMS[stream].0, &name(entity), &words);
                let owner = self.owner(&name(entity));
                self.shards[owner].refuse(&self.catalogue, &op);
            }
            Step::Alter { stream, words, entity } => {
                let stream = STREAMS[stream].0;
                let on_its_way = self.encoded(stream, &name(entity), &format!("{} n 3", self.now_ms));
                self.alter(stream, words);
                let outcome = self.arrive(&name(entity), on_its_way);
                // Windows that reach back further have what was kept when all shards had them: a record that was upgraded earlier may
                // have more of it, where no feature is said to be complete yet.
                if words.contains("WINDOWS") || words.contains("RETAIN") {
                    self.settle();
                }
                return Some(outcome);
            }
            Step::Settle => self.settle(),
            Step::Recreate { stream } => {
                let (name, definition) = STREAMS[stream];
                self.drop_stream(name);
                self.create_stream(name, definition);
            }
            Step::Flush => {
                self.catalogue = self.catalogue.flushed(self.now_ms).unwrap();
                self.shards.iter_mut().for_each(|shard| shard.adopt(&self.catalogue));
            }
            Step::Upkeep => self.upkeep(),
            Step::Begin if self.taken.is_none() => self.begin_image(),
            Step::Copy { shard, records } if self.taken.is_some() => {
                self.copy_records(shard % self.shards.len(), records);
            }
            Step::Export { shard, bytes } if self.taken.is_some() => {
                self.export_slice(shard % self.shards.len(), bytes);
            }
            Step::Finish if self.taken.is_some() => self.finish_image(),
            Step::Restart { images_back, shards } => {
                let image = self.images.len().checked_sub(images_back + 1);
                self.check_started(image, shards);
                self.settle();
                self.restart(image, shards);
                // Newer ones were damaged.
                self.images.truncate(image.map_or(0, |image| image + 1));
            }
            Step::Begin | Step::Copy { .. } | Step::Export { .. } | Step::Finish => {}
        }
        None
    }

    fn check_started(&self, image: Option<usize>, shards: usize) {
        let (catalogue, started) = self.started(image.map(|image| &self.images[image]), shards);
        let live = self.catalogue.settled(self.now_ms);
        let live = (live.as_ref().unwrap_or(&self.catalogue), &self.shards[..]);
        assert_same(live, (&catalogue, &started), self.now_ms, &ids(self));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn an_image_taken_bit_by_bit_and_the_log_behind_it_are_what_there_was(
        shards in 1usize..4,
        other_shards in 1usize..4,
        steps in prop::collection::vec(step(), 1..160),
        behind in prop::collection::vec(event(), 0..20),
    ) {
        let mut world = World::new(&STREAMS, shards);
        for step in &steps {
            world.run(step);
        }
        if world.taken.is_some() {
            world.finish_image();
        }
        for step in &behind[..behind.len() / 2] {
            world.run(step);
        }
        let newest = world.images.len().checked_sub(1);
        world.check_started(newest, world.shards.len());
        world.check_started(newest.and_then(|newest| newest.checked_sub(1)), other_shards);
        // And it goes on as it would have.
        let (catalogue, started) = world.started(newest.map(|newest| &world.images[newest]), world.shards.len());
        world.settle();
        let clones = std::mem::replace(&mut world.shards, started);
        let mut live = World { catalogue: std::mem::replace(&mut world.catalogue, catalogue), shards: clones,
            epochs: vec![Epoch::new(9, world.shards.len())], images: Vec::new(), taken: None, now_ms: world.now_ms };
        world.epochs.push(Epoch::new(9, world.shards.len()));
        for step in &behind[behind.len() / 2..] {
            let (expected, found) = (live.run(step), world.run(step));
            // What waits for an undecided number is not brought back: its connection is gone.
            if !matches!(expected, Some(Outcome::SeqGap { .. })) {
                assert_eq!(found, expected, "{step:?}");
            } else {
                break;
            }
        }
    }
}
