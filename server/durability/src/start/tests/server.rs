//! As much of a server as has a log and images: one thread, a disk in memory, and a plain model of what it was told.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use windrow_engine::alter::Altered;
use windrow_engine::catalogue::Created;
use windrow_engine::op::{self, AnyOp};
use windrow_engine::slot::{hash_slot, shard_of};
use windrow_engine::{Catalogue, HashKey, Hint, Outcome, Shard, form};
use windrow_memory::{ChunkLost, Domain, Participant};
use windrow_storage::disk::MemDisk;
use windrow_storage::image::{IMAGES_KEPT_MIN, ImageError, ImageName, quarantine};
use windrow_storage::{Disk, ImageEntry, LogSyncer, Position, Recovery, Retention, StorageOptions};
use windrow_window::query::Query;
use windrow_window::{Definition, Rows, Value};

use crate::snapshot::{Next, Snapshot, SnapshotPlan};
use crate::start::{OnLost, Progress, Sequential, Setup, StartError, UnusableImage, Watch, load};
use crate::{CatalogueStore, LogGroup};

pub(super) const DIR: &str = "/data";
const KEY: u128 = 7 << 64 | 9;
const HASH_KEY: HashKey = HashKey([7, 9]);
const START_MS: i64 = 1_700_000_000_123;

pub(super) const STREAMS: [(&str, &str); 2] = [
    ("s", "FIELDS n INT WINDOWS 1h@1m all AGGREGATE count sum(n) distinct(n) DEDUP 10m"),
    ("t", "FIELDS n INT WINDOWS all AGGREGATE count sum(n)"),
];

/// Count and sum of each entity of the stream `s`.
pub(super) type Model = BTreeMap<String, (i64, i64)>;

pub(super) struct Running {
    pub(super) disk: MemDisk,
    pub(super) catalogue: Catalogue,
    pub(super) model: Model,
    pub(super) now_ms: i64,
    pub(super) image: Option<u64>,
    pub(super) is_redealt: bool,
    pub(super) unusable: Vec<UnusableImage>,
    pub(super) latest_now_ms: Option<i64>,
    pub(super) replayed_operations: u64,
    pub(super) progress: Mutex<Vec<Progress>>,
    store: CatalogueStore,
    shards: Vec<Shard>,
    groups: Vec<LogGroup>,
    syncers: Vec<LogSyncer>,
    /// The snapshot's.
    participant: Option<Participant>,
    epoch: u32,
}

pub(super) fn new_disk() -> MemDisk {
    MemDisk::new()
}

/// As when the process was killed.
pub(super) fn restart(server: Running, shards: u16) -> Running {
    let (disk, model) = server.stop();
    Running::try_start(&disk, shards, model, false).unwrap()
}

/// Puts a damaged file aside, and unwinds.
struct Unwind(MemDisk);

impl OnLost for Unwind {
    fn lost(&self, image: ImageName, why: ChunkLost) -> ! {
        quarantine(&self.0, &Path::new(DIR).join("images"), image).unwrap();
        std::panic::panic_any(why.to_string());
    }

    fn wait_for_disk(&self, _: u32) {}

    fn unreadable(&self, _: ImageName, error: &ImageError) -> ! {
        std::panic::panic_any(error.to_string());
    }
}

struct Watched {
    progress: Mutex<Vec<Progress>>,
    is_cancelled: bool,
}

impl Watch for Watched {
    fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress);
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }
}

impl Running {
    pub(super) fn create(disk: &MemDisk, shards: u16, streams: &[(&str, &str)]) -> Self {
        let mut server = Self::try_start(disk, shards, Model::new(), false).unwrap();
        for (name, definition) in streams {
            let definition = Definition::parse_text(name, definition).unwrap();
            let Created::New(next) = server.catalogue.created(definition, server.now_ms).unwrap() else {
                panic!("it is new")
            };
            server.adopt(next);
        }
        server
    }

    pub(super) fn try_start(
        disk: &MemDisk,
        shards: u16,
        model: Model,
        is_cancelled: bool,
    ) -> Result<Self, StartError> {
        Self::try_start_on(Arc::new(disk.clone()), disk, shards, model, is_cancelled)
    }

    /// Uses `used`, which is `disk` with a mind of its own.
    pub(super) fn try_start_on(
        used: Arc<dyn Disk>,
        disk: &MemDisk,
        shards: u16,
        model: Model,
        is_cancelled: bool,
    ) -> Result<Self, StartError> {
        let options = StorageOptions {
            segment_bytes: 16 << 10,
            first_segment_bytes: 16 << 10,
            ..StorageOptions::new(7)
        };
        let recovery = Recovery::open(used, Path::new(DIR), options, KEY).unwrap();
        let catalogue = crate::catalogue::load(recovery.manifest()).unwrap();
        let (domain, mut participants) = Domain::with_participants(1);
        let setup = Setup {
            catalogue: &catalogue,
            shards,
            maxmemory_bytes: 0,
            reserved_bytes: 64 << 20,
            domain: &domain,
            on_lost: Arc::new(Unwind(disk.clone())),
        };
        let watch = Watched { progress: Mutex::new(Vec::new()), is_cancelled };
        let loaded = load(recovery, &setup, &Sequential, &watch)?;
        let replayed_operations = loaded.replayed.report().operations;
        let now_ms = loaded.latest_now_ms.unwrap_or(START_MS).max(START_MS);
        let started = loaded.replayed.start(shards, now_ms).unwrap();
        assert_eq!(started.warnings, [""; 0]);
        let epoch = started.directory.manifest().epoch;
        let poison = started.directory.poison().clone();
        let (mut groups, mut syncers) = (Vec::new(), Vec::new());
        for (log, mut syncer) in started.logs {
            while syncer.wants_spare() {
                syncer.prepare_spare().unwrap();
            }
            let mut group = LogGroup::new();
            group.start(log, poison.clone());
            groups.push(group);
            syncers.push(syncer);
        }
        let mut participant = participants.remove(0);
        participant.sleep();
        let catalogue = catalogue.settled(now_ms).unwrap_or(catalogue);
        Ok(Self {
            disk: disk.clone(),
            catalogue,
            model,
            now_ms,
            image: loaded.image,
            is_redealt: loaded.is_redealt,
            unusable: loaded.unusable,
            latest_now_ms: loaded.latest_now_ms,
            replayed_operations,
            progress: watch.progress,
            store: CatalogueStore::new(started.directory),
            shards: loaded.shards,
            groups,
            syncers,
            participant: Some(participant),
            epoch,
        })
    }

    /// Writes what is in groups; the files are left as they are then.
    pub(super) fn stop(mut self) -> (MemDisk, Model) {
        self.write();
        (self.disk.fork(), self.model)
    }

    fn adopt(&mut self, next: Catalogue) {
        self.store.save(&next).unwrap();
        self.catalogue = next;
        self.shards.iter_mut().for_each(|shard| shard.adopt(&self.catalogue));
    }

    pub(super) fn alter(&mut self, stream: &str, words: &str) {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let altered = self.catalogue.altered(stream.as_bytes(), self.now_ms, |definition| {
            definition.altered(&words).map_err(|error| error.to_string())
        });
        let Ok(Altered::New(pending)) = altered else { panic!("{words:?}: {altered:?}") };
        self.adopt(pending);
        let settled = self.catalogue.settled(self.now_ms).unwrap();
        self.adopt(settled);
    }

    pub(super) fn drop_stream(&mut self, stream: &str) {
        let next = self.catalogue.dropped(stream.as_bytes()).unwrap();
        self.adopt(next);
    }

    /// An event of each of these entities, in each stream; the same id comes twice.
    pub(super) fn events(&mut self, entities: Range<usize>) {
        for number in entities {
            let entity = format!("entity:{number}");
            self.now_ms += 1;
            let id = self.now_ms;
            for expected in [Outcome::Ok, Outcome::Duplicate] {
                assert_eq!(self.event("s", &entity, &format!("ID {id} * n {number}")), expected);
            }
            if self.catalogue.stream(b"t").is_some() {
                self.event("t", &entity, &format!("* n {number}"));
            }
            let (count, sum) = self.model.entry(entity).or_default();
            (*count, *sum) = (*count + 1, *sum + number as i64);
            self.write();
        }
    }

    fn event(&mut self, stream: &str, entity: &str, words: &str) -> Outcome {
        let stream = self.catalogue.stream(stream.as_bytes()).unwrap();
        let mut op = Vec::new();
        let words = words.split(' ').map(str::as_bytes);
        form::encode_add(&mut op, stream, entity.as_bytes(), words, self.now_ms, &HASH_KEY).unwrap();
        let owner = shard_of(hash_slot(entity.as_bytes()), self.shards.len());
        let (shard, group) = (&mut self.shards[owner], &mut self.groups[owner]);
        group.admit(op.len(), self.now_ms).unwrap();
        let hint = Hint::of(HASH_KEY.hash(stream.id, entity.as_bytes()));
        let outcome = shard.apply(&self.catalogue, &op, hint, self.now_ms, group.next_position());
        if outcome.counted() {
            group.push(&op, shard.started_anew());
        } else if shard.moved_clock() {
            group.note(&op);
        }
        outcome
    }

    pub(super) fn delete(&mut self, stream: &str, entity: &str) {
        let owner = shard_of(hash_slot(entity.as_bytes()), self.shards.len());
        let mut op = Vec::new();
        let layout = self.catalogue.stream(stream.as_bytes()).unwrap().layout_id;
        op::encode_remove(&mut op, layout, entity.as_bytes(), true);
        let Ok(AnyOp::Remove(remove)) = AnyOp::decode(&op) else { panic!("it is a removal") };
        let group = &mut self.groups[owner];
        let position = group.next_position();
        let log = |op: &[u8]| {
            group.push(op, false);
        };
        self.shards[owner]
            .remove_entity(&self.catalogue, &remove, self.now_ms, position, |_| true, log)
            .unwrap();
        self.model.remove(entity);
    }

    fn write(&mut self) {
        for (group, syncer) in self.groups.iter_mut().zip(&mut self.syncers) {
            group.write(self.now_ms).unwrap();
            while syncer.wants_spare() {
                syncer.prepare_spare().unwrap();
            }
        }
    }

    pub(super) fn sync(&mut self) {
        self.write();
        for syncer in &mut self.syncers {
            syncer.sync().unwrap();
        }
    }

    /// The images that the manifest names.
    pub(super) fn images(&mut self) -> Vec<u64> {
        self.store.directory().manifest().images.iter().map(|entry| entry.image).collect()
    }

    /// Deletes the log that no recovery needs.
    pub(super) fn retain(&mut self) {
        let directory = self.store.directory();
        directory.files().set_retention(Retention { keep_ms: 0, keep_bytes: 0, max_bytes: 0 });
        let retained = directory.retain(self.now_ms + 1).unwrap();
        assert!(retained.removed + retained.freed > 0, "{retained:?}");
    }

    /// Takes an image, with something in between any two steps.
    pub(super) fn take_image_while(&mut self, mut meanwhile: impl FnMut(&mut Self)) -> u64 {
        let image = self.store.directory().next_image().unwrap();
        let plan = SnapshotPlan { image, epoch: self.epoch, hash_key: HASH_KEY, created_ms: self.now_ms };
        let readers = self.shards.iter().map(Shard::reader).collect();
        let mut snapshot = Snapshot::begin(self.store.directory().images(), plan, readers);
        let mut participant = self.participant.take().unwrap();
        loop {
            match snapshot.step(&mut participant).unwrap().next {
                Next::Step => {}
                Next::Written => break,
                Next::Ask(question) => {
                    let shard = usize::from(question.shard());
                    let position = Position::new(self.epoch, self.groups[shard].end()).unwrap();
                    let answer = question.answer(&self.shards[shard], &self.catalogue, position);
                    snapshot.answered(answer).unwrap();
                }
            }
            meanwhile(self);
        }
        self.participant = Some(participant);
        self.sync();
        let durable: Vec<u64> = self.groups.iter().map(LogGroup::end).collect();
        let entry = snapshot.entry(&durable).unwrap();
        let entry = ImageEntry { ended_ms: Some(self.now_ms), ..entry };
        self.store.directory().publish_image(entry, IMAGES_KEPT_MIN).unwrap();
        image
    }

    /// Everything is as the model says, and what was counted is not counted again.
    pub(super) fn check(&self) {
        let stream = self.catalogue.stream(b"s").unwrap();
        let query = Query::parse(&stream.layout, [&b"count:all"[..], b"sum(n):all"].into_iter()).unwrap();
        let time = query.read_time(&stream.layout, stream.times(self.now_ms)).unwrap();
        let mut row = Rows::default();
        for number in 0..400 {
            let entity = format!("entity:{number}");
            let shard = &self.shards[shard_of(hash_slot(entity.as_bytes()), self.shards.len())];
            let hint = Hint::of(HASH_KEY.hash(stream.id, entity.as_bytes()));
            row.values.clear();
            shard.read(&self.catalogue, stream, entity.as_bytes(), hint, &query, time, &mut row).unwrap();
            let (count, sum) = self.model.get(&entity).copied().unwrap_or_default();
            assert_eq!(row.values, [Value::Int(count), Value::Int(sum)], "{entity}");
        }
        let entities: u64 = self.shards.iter().map(|shard| shard.stream_stats(stream.id).entities).sum();
        assert_eq!(entities, self.model.len() as u64);
    }

    /// What was counted is a duplicate when it comes again.
    pub(super) fn count_again(&mut self, entity: &str, id: i64) -> Outcome {
        self.event("s", entity, &format!("ID {id} * n 1"))
    }
}
