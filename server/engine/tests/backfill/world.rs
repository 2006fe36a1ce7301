//! Shards, their catalogues and their logs, through restarts, and a backfill of them step by step.

use std::collections::VecDeque;
use std::sync::Arc;

use windrow_engine::backfill::{Boundary, Merged, Shadow};
use windrow_engine::catalogue::Created;
use windrow_engine::op::{self, AnyOp};
use windrow_engine::slot::{hash_slot, shard_of};
use windrow_engine::{Catalogue, HashKey, Hint, NoRoom, Outcome, Shard, ShardConfig, form};
use windrow_memory::Domain;
use windrow_window::{Definition, Query, Rows, Value};

pub const HASH_KEY: HashKey = HashKey([5, 6]);
pub const START_MS: i64 = 1_700_000_000_123;
/// So much that a few entities make a pass of their own.
pub const SHADOW_BYTES: usize = 1_500;

pub fn fresh_shard() -> Shard {
    let (domain, _) = Domain::with_participants(0);
    let config = ShardConfig { hash_key: HASH_KEY, maxmemory_bytes: 0, reserved_bytes: 64 << 20 };
    Shard::new(config, &domain).unwrap()
}

pub fn definition(name: &str, text: &str) -> Definition {
    Definition::parse_text(name, text).unwrap()
}

/// An operation of a log: when it was logged, and its bytes.
pub type Logged = (i64, Vec<u8>);

pub struct World {
    pub now: i64,
    /// The newest catalogue.
    pub catalogue: Arc<Catalogue>,
    /// What each shard has of it.
    pub adopted: Vec<Arc<Catalogue>>,
    /// A change that not every shard has, and the ends of the logs of those that do when they learnt of it.
    pub pending: Option<Vec<Option<u64>>>,
    pub shards: Vec<Shard>,
    /// By epoch from 1 on, by shard.
    pub logs: Vec<Vec<Vec<Logged>>>,
    pub filling: Option<Filling>,
}

/// The backfill as far as it has come since the last restart.
pub struct Filling {
    pub shadow: Shadow,
    /// What this pass still has to read: epoch, shard, operation, counted from 1.
    pub unread: VecDeque<(u32, u16, u64)>,
    pub merges: VecDeque<Vec<u8>>,
    pub has_read: bool,
}

impl World {
    pub fn new(streams: &[(&str, &str)], shards: usize) -> Self {
        Self::begun(streams, false, shards)
    }

    /// `is_of_before`: a server that knew no narrow sums made the streams.
    pub fn begun(streams: &[(&str, &str)], is_of_before: bool, shards: usize) -> Self {
        let mut catalogue = Catalogue::default();
        catalogue.next_stream_id = 1;
        catalogue.next_layout_id = 1;
        for (name, text) in streams {
            let Ok(Created::New(next)) = catalogue.created(definition(name, text), START_MS) else {
                panic!("it is new")
            };
            catalogue = next;
        }
        if is_of_before {
            let mut entries = catalogue.entries();
            entries.iter_mut().for_each(|entry| entry.narrow_sums = false);
            let (version, streams, layouts) =
                (catalogue.version, catalogue.next_stream_id, catalogue.next_layout_id);
            catalogue = Catalogue::from_entries(version, streams, layouts, &entries).unwrap();
            assert!(catalogue.iter().all(|stream| !stream.layout.narrows_sums()));
        }
        let catalogue = Arc::new(catalogue);
        Self {
            now: START_MS,
            adopted: vec![Arc::clone(&catalogue); shards],
            catalogue,
            pending: None,
            shards: (0..shards).map(|_| fresh_shard()).collect(),
            logs: vec![vec![Vec::new(); shards]],
            filling: None,
        }
    }

    pub fn epoch(&self) -> u32 {
        self.logs.len() as u32
    }

    pub fn owner(&self, entity: &[u8]) -> usize {
        shard_of(hash_slot(entity), self.shards.len())
    }

    pub fn next_position(&self, shard: usize) -> u64 {
        u64::from(self.epoch()) << 44 | (self.logs[self.logs.len() - 1][shard].len() as u64 + 1)
    }

    pub fn log(&mut self, shard: usize, op: Vec<u8>) {
        let now = self.now;
        self.logs.last_mut().unwrap()[shard].push((now, op));
    }

    pub fn event(&mut self, stream: &str, entity: &[u8], ts: i64, values: &[String]) -> Outcome {
        let owner = self.owner(entity);
        let catalogue = Arc::clone(&self.adopted[owner]);
        let declared = catalogue.stream(stream.as_bytes()).unwrap();
        let time = ts.to_string();
        let mut words = vec![time.as_bytes()];
        for pair in values.chunks(2) {
            if declared.definition.fields.iter().any(|field| *field.name == *pair[0]) {
                words.extend(pair.iter().map(String::as_bytes));
            }
        }
        let mut bytes = Vec::new();
        form::encode_add(&mut bytes, declared, entity, words.into_iter(), self.now, &HASH_KEY).unwrap();
        let hint = Hint::of(HASH_KEY.hash(declared.id, entity));
        let position = self.next_position(owner);
        let outcome = self.shards[owner].apply(&catalogue, &bytes, hint, self.now, position);
        if outcome.counted() {
            if self.shards[owner].started_anew() {
                op::mark_anew(&mut bytes);
            }
            self.log(owner, bytes);
        } else if self.shards[owner].moved_clock() {
            op::mark_noted(&mut bytes);
            self.log(owner, bytes);
        }
        outcome
    }

    /// Whether the log knows of it: not of the dead, unless they could come back.
    pub fn delete(&mut self, stream: &str, entity: &[u8]) -> bool {
        let owner = self.owner(entity);
        let catalogue = Arc::clone(&self.adopted[owner]);
        let mut bytes = Vec::new();
        let layout = catalogue.stream(stream.as_bytes()).unwrap().layout_id;
        op::encode_remove(&mut bytes, layout, entity, true);
        let (_, logged) = self.remove(owner, &catalogue, &bytes).unwrap();
        logged > 0
    }

    /// Gives how many entities were removed, and how many operations logged.
    pub fn remove(
        &mut self,
        owner: usize,
        catalogue: &Catalogue,
        bytes: &[u8],
    ) -> Result<(usize, usize), NoRoom> {
        let AnyOp::Remove(remove) = AnyOp::decode(bytes).unwrap() else { panic!("it is a REMOVE") };
        let (position, mut logged) = (self.next_position(owner), Vec::new());
        let log = |op: &[u8]| logged.push(op.to_vec());
        let removed = self.shards[owner].remove_entity(catalogue, &remove, self.now, position, |_| true, log);
        let count = logged.len();
        logged.into_iter().for_each(|op| self.log(owner, op));
        Ok((removed?, count))
    }

    /// A change of the catalogue that no shard has yet.
    pub fn publish(&mut self, catalogue: Catalogue) {
        self.catalogue = Arc::new(catalogue);
        self.pending = Some(vec![None; self.shards.len()]);
    }

    /// One more shard learns of a change; when all have, it is settled and has its boundary.
    pub fn adopt(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        if let Some(shard) = pending.iter().position(Option::is_none) {
            pending[shard] = Some(self.logs.last().unwrap()[shard].len() as u64);
            self.adopted[shard] = Arc::clone(&self.catalogue);
            self.shards[shard].adopt(&self.catalogue);
            return;
        }
        let ops = pending.iter().map(|end| end.unwrap()).collect();
        self.pending = None;
        self.settle(Boundary { epoch: self.epoch(), ops });
    }

    pub fn settle(&mut self, until: Boundary) {
        if let Some(settled) = self.catalogue.settled(self.now) {
            self.catalogue = Arc::new(settled);
        }
        if let Some(bounded) = self.catalogue.bounded(&until) {
            self.catalogue = Arc::new(bounded);
        }
        self.adopted.fill(Arc::clone(&self.catalogue));
    }

    pub fn restart(&mut self, shards: usize) {
        (self.filling, self.pending) = (None, None);
        let entries = self.catalogue.entries();
        let (version, streams, layouts) =
            (self.catalogue.version, self.catalogue.next_stream_id, self.catalogue.next_layout_id);
        self.catalogue = Arc::new(Catalogue::from_entries(version, streams, layouts, &entries).unwrap());
        self.shards = (0..shards).map(|_| fresh_shard()).collect();
        self.adopted = vec![Arc::clone(&self.catalogue); shards];
        for (epoch, logs) in (1u64..).zip(&self.logs) {
            for (ops, (_, op)) in logs.iter().flat_map(|log| (1u64..).zip(log)) {
                let owner = shard_of(hash_slot(AnyOp::decode(op).unwrap().entity()), shards);
                self.shards[owner].replay(&self.catalogue, op, epoch << 44 | ops).unwrap();
            }
        }
        self.logs.push(vec![Vec::new(); shards]);
        // What a crash left pending.
        self.settle(Boundary { epoch: self.epoch(), ops: vec![0; shards] });
    }

    /// One small step of the backfill; false when there is nothing to do.
    pub fn fill(&mut self) -> bool {
        if self.pending.is_some() {
            return false;
        }
        let Some(target) = self.catalogue.filling().first().map(|stream| Arc::clone(stream)) else {
            return false;
        };
        if self.filling.is_none() {
            let mut shadow = Shadow::new(&self.catalogue, &target, SHADOW_BYTES).unwrap();
            assert!(shadow.begin_pass());
            let (unread, merges) = (self.unread(), VecDeque::new());
            self.filling = Some(Filling { shadow, unread, merges, has_read: false });
        }
        let mut filling = self.filling.take().unwrap();
        let until = target.backfill.as_ref().unwrap().until.clone().expect("it is settled");
        if let Some((epoch, shard, ops)) = filling.unread.pop_front() {
            let (now, op) = &self.logs[epoch as usize - 1][usize::from(shard)][ops as usize - 1];
            let is_behind = until.is_behind(epoch, shard, ops);
            filling.shadow.feed(&self.catalogue, op, is_behind, *now).unwrap();
        } else if let Some(op) = filling.merges.pop_front() {
            self.merge(op);
        } else {
            let mut op = Vec::new();
            if !filling.has_read {
                filling.has_read = true;
                if filling.shadow.write_note(&mut op) {
                    filling.merges.push_back(std::mem::take(&mut op));
                }
            }
            if filling.shadow.take_merge(&mut op) {
                filling.merges.push_back(op);
            } else if filling.merges.is_empty() {
                if filling.shadow.begin_pass() {
                    (filling.unread, filling.has_read) = (self.unread(), false);
                } else {
                    let filled = self.catalogue.filled(target.layout_id, START_MS).unwrap();
                    self.catalogue = Arc::new(filled);
                    self.adopted.fill(Arc::clone(&self.catalogue));
                    return true;
                }
            }
        }
        self.filling = Some(filling);
        true
    }

    pub fn unread(&self) -> VecDeque<(u32, u16, u64)> {
        let mut unread = VecDeque::new();
        for (epoch, logs) in (1..).zip(&self.logs) {
            for (shard, log) in (0..).zip(logs) {
                unread.extend((1..=log.len() as u64).map(|ops| (epoch, shard, ops)));
            }
        }
        unread
    }

    pub fn merge(&mut self, op: Vec<u8>) {
        let owner = self.owner(AnyOp::decode(&op).unwrap().entity());
        let position = self.next_position(owner);
        let is_logged = match AnyOp::decode(&op).unwrap() {
            AnyOp::Merge(merge) => {
                let merged = self.shards[owner].merge(&self.adopted[owner], &merge, self.now, position);
                if merged == Merged::Done {
                    let again =
                        self.shards[owner].merge(&self.adopted[owner], &merge, self.now, position + 1);
                    assert_eq!(again, Merged::Nothing, "it counts once");
                }
                merged == Merged::Done
            }
            AnyOp::Event(note) => self.shards[owner].note(&self.adopted[owner], &note),
            AnyOp::Remove(_) => panic!("a backfill removes nothing"),
        };
        if is_logged {
            self.log(owner, op);
        }
    }

    pub fn row(&self, stream: &str, entity: &[u8], features: &[String]) -> Vec<Value> {
        let owner = self.owner(entity);
        let stream = self.adopted[owner].stream(stream.as_bytes()).unwrap();
        let query = Query::parse(&stream.layout, features.iter().map(String::as_bytes)).unwrap();
        let time = query.read_time(&stream.layout, stream.times(self.now)).unwrap();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
        let mut row = Rows::default();
        self.shards[owner].read(&self.adopted[owner], stream, entity, hint, &query, time, &mut row).unwrap();
        row.values
    }

    pub fn is_known(&self, stream: &str, entity: &[u8]) -> bool {
        let owner = self.owner(entity);
        let stream = self.adopted[owner].stream(stream.as_bytes()).unwrap();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity));
        self.shards[owner].entity_info(&self.adopted[owner], stream, entity, hint, self.now).is_some()
    }

    pub fn assert_same(&self, stream: &str, oracle: &str) {
        let declared = self.catalogue.stream(stream.as_bytes()).unwrap();
        let layout = &declared.layout;
        let features: Vec<String> = layout.features.iter().map(|feature| feature.name.to_string()).collect();
        for entity in 0..ENTITIES {
            let name = entity_name(entity);
            let (found, expected) = (self.row(stream, &name, &features), self.row(oracle, &name, &features));
            for ((feature, found), expected) in features.iter().zip(&found).zip(&expected) {
                let parsed = windrow_window::Feature::find(layout, feature.as_bytes()).unwrap();
                if declared.covered_from(&parsed) != Some(START_MS) {
                    continue;
                }
                let is_same = match (found, expected) {
                    // The order of additions differs, and a variance is a difference of large numbers.
                    (Value::Float(found), Value::Float(expected)) => {
                        (found - expected).abs() <= 1e-9 * found.abs().max(expected.abs()).max(1.0)
                    }
                    (found, expected) => found == expected,
                };
                assert!(is_same, "{feature} of {entity} at {}: {found:?}, not {expected:?}", self.now);
            }
        }
    }
}

pub const ENTITIES: u8 = 5;

pub fn entity_name(entity: u8) -> Vec<u8> {
    format!("user:{entity}").into_bytes()
}
