//! Shards with logs, images that are taken of them bit by bit, and shards made from these.

mod bytes;
mod fuzzy;
mod rows;
mod same;

use std::collections::BTreeMap;
use std::sync::Arc;

use windrow_memory::{Cursor, Domain, Scan};
use windrow_window::Definition;

use super::{ExportCursor, Import, Records, Share, StateError, encode_usage};
use crate::alter::Altered;
use crate::catalogue::{Catalogue, Created, Stream, StreamId};
use crate::record::HashKey;
use crate::shard::{Hint, Outcome, Shard, ShardConfig};
use crate::slot::{hash_slot, shard_of};
use crate::stats::StreamUsage;
use crate::{form, op};

const KEY: HashKey = HashKey([11, 12]);
const START_MS: i64 = 1_700_000_000_123;
/// Packed positions: as `windrow-storage` packs them.
const EPOCH_SHIFT: u32 = 44;

/// The log of each shard in one epoch.
struct Epoch {
    number: u64,
    logs: Vec<Vec<Vec<u8>>>,
}

impl Epoch {
    fn new(number: u64, shards: usize) -> Self {
        Self { number, logs: vec![Vec::new(); shards] }
    }

    fn position(&self, shard: usize) -> u64 {
        (self.number << EPOCH_SHIFT) + self.logs[shard].len() as u64
    }
}

/// An image, as files would hold it.
struct Image {
    epoch: u64,
    parts: Vec<ImagePart>,
}

/// The file of one shard.
#[derive(Default)]
struct ImagePart {
    start: u64,
    end: Option<u64>,
    walk: Option<Cursor>,
    export: Option<ExportCursor>,
    records: Vec<Vec<u64>>,
    pieces: Vec<Vec<u8>>,
}

impl Image {
    fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.end.is_some())
    }
}

struct World {
    catalogue: Catalogue,
    shards: Vec<Shard>,
    epochs: Vec<Epoch>,
    images: Vec<Image>,
    /// The one that is being taken.
    taken: Option<Image>,
    now_ms: i64,
}

fn new_shards(count: usize) -> Vec<Shard> {
    let (domain, _) = Domain::with_participants(0);
    let config = ShardConfig { hash_key: KEY, maxmemory_bytes: 0, reserved_bytes: 64 << 20 };
    (0..count).map(|_| Shard::new(config, &domain).unwrap()).collect()
}

fn catalogue_of(streams: &[(&str, &str)]) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (name, definition) in streams {
        let definition = Definition::parse_text(name, definition).expect(definition);
        catalogue = match catalogue.created(definition, START_MS).unwrap() {
            Created::New(next) => next,
            Created::Same => panic!("it is new"),
        };
    }
    catalogue
}

impl World {
    fn new(streams: &[(&str, &str)], shards: usize) -> Self {
        Self {
            catalogue: catalogue_of(streams),
            shards: new_shards(shards),
            epochs: vec![Epoch::new(1, shards)],
            images: Vec::new(),
            taken: None,
            now_ms: START_MS,
        }
    }

    fn stream(&self, name: &str) -> &Arc<Stream> {
        self.catalogue.stream(name.as_bytes()).unwrap()
    }

    fn owner(&self, entity: &str) -> usize {
        shard_of(hash_slot(entity.as_bytes()), self.shards.len())
    }

    fn epoch(&mut self) -> &mut Epoch {
        self.epochs.last_mut().unwrap()
    }

    fn event(&mut self, stream: &str, entity: &str, words: &str) -> Outcome {
        let op = self.encoded(stream, entity, words);
        self.arrive(entity, op)
    }

    fn encoded(&self, stream: &str, entity: &str, words: &str) -> Vec<u8> {
        let mut op = Vec::new();
        let words = words.split(' ').map(str::as_bytes);
        form::encode_add(&mut op, self.stream(stream), entity.as_bytes(), words, self.now_ms, &KEY).unwrap();
        op
    }

    fn arrive(&mut self, entity: &str, mut op: Vec<u8>) -> Outcome {
        let Some(stream) = op::layout(&op).and_then(|layout| self.catalogue.by_layout(layout)) else {
            return Outcome::Dropped;
        };
        if let Some(relabelled) = self.catalogue.relabelled(&op) {
            op = relabelled;
        }
        let owner = self.owner(entity);
        let hint = Hint::of(KEY.hash(stream.id, entity.as_bytes()));
        let position = self.epochs.last().unwrap().position(owner) + 1;
        let shard = &mut self.shards[owner];
        let outcome = shard.apply(&self.catalogue, &op, hint, self.now_ms, position);
        if outcome.counted() {
            if shard.started_anew() {
                op::mark_anew(&mut op);
            }
            self.epoch().logs[owner].push(op);
        } else if shard.moved_clock() {
            op::mark_noted(&mut op);
            self.epoch().logs[owner].push(op);
        }
        outcome
    }

    /// ENTITY.DEL.
    fn delete(&mut self, stream: &str, entity: &str) {
        let owner = self.owner(entity);
        let mut op = Vec::new();
        op::encode_remove(&mut op, self.stream(stream).layout_id, entity.as_bytes(), true);
        let op::AnyOp::Remove(remove) = op::AnyOp::decode(&op).unwrap() else { panic!("it is a removal") };
        let epoch = self.epochs.len() as u64;
        let logs = &mut self.epochs.last_mut().unwrap().logs[owner];
        let position = epoch << 44 | (logs.len() as u64 + 1);
        self.shards[owner]
            .remove_entity(
                &self.catalogue,
                &remove,
                self.now_ms,
                position,
                |_| true,
                |op| logs.push(op.to_vec()),
            )
            .unwrap();
    }

    /// As when memory is full.
    fn evict(&mut self, stream: &str, entity: &str) {
        let owner = self.owner(entity);
        let key = KEY.key(self.stream(stream).id, entity.as_bytes());
        let logs = &mut self.epochs.last_mut().unwrap().logs[owner];
        let shard = &mut self.shards[owner];
        if let Some(place) = shard.store.find(&key) {
            assert!(shard.remove_logged(&self.catalogue, place, &mut |op: &[u8]| {
                logs.push(op.to_vec());
                true
            }));
        }
    }

    /// Takes the words over and leaves the change pending; whether the stream takes them.
    fn alter(&mut self, stream: &str, words: &str) -> bool {
        if self.catalogue.stream(stream.as_bytes()).is_none_or(|stream| stream.is_pending()) {
            return false;
        }
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let altered = self.catalogue.altered(stream.as_bytes(), self.now_ms, |definition| {
            definition.altered(&words).map_err(|error| error.to_string())
        });
        let Ok(Altered::New(pending)) = altered else { return false };
        self.catalogue = pending;
        true
    }

    fn settle(&mut self) {
        if let Some(settled) = self.catalogue.settled(self.now_ms) {
            self.catalogue = settled;
        }
    }

    fn create_stream(&mut self, name: &str, definition: &str) {
        let definition = Definition::parse_text(name, definition).unwrap();
        let created = self.catalogue.created(definition, self.now_ms).unwrap();
        let Created::New(next) = created else { panic!("it is new") };
        self.catalogue = next;
    }

    fn drop_stream(&mut self, stream: &str) {
        self.catalogue = self.catalogue.dropped(stream.as_bytes()).unwrap();
        self.shards.iter_mut().for_each(|shard| shard.adopt(&self.catalogue));
    }

    /// A whole sweep of upkeep.
    fn upkeep(&mut self) {
        for shard in &mut self.shards {
            for _ in 0..20 {
                shard.upkeep(&self.catalogue, self.now_ms, 100);
            }
        }
    }

    fn begin_image(&mut self) {
        let epoch = self.epochs.last().unwrap();
        let parts = (0..self.shards.len()).map(|shard| ImagePart {
            start: epoch.position(shard),
            walk: Some(Cursor::START),
            export: Some(ExportCursor::new(self.share(shard))),
            ..ImagePart::default()
        });
        self.taken = Some(Image { epoch: epoch.number, parts: parts.collect() });
    }

    fn share(&self, shard: usize) -> Share {
        Share { shard: shard as u16, shards: self.shards.len() as u16 }
    }

    /// Copies some records of a shard, as far as the walk has not ended.
    fn copy_records(&mut self, shard: usize, count: usize) {
        let part = &mut self.taken.as_mut().unwrap().parts[shard];
        let Some(cursor) = part.walk else { return };
        let mut scan = Scan::default();
        let store = &self.shards[shard].store;
        part.walk = store.scan(&mut scan, cursor, count);
        for &row in scan.rows() {
            let mut words = Vec::new();
            store.record(row).image_words(&mut words);
            part.records.push(words);
        }
    }

    /// Exports a slice of a shard's state; the last one waits for the walk.
    fn export_slice(&mut self, shard: usize, bytes_max: usize) {
        let position = self.epochs.last().unwrap().position(shard);
        let part = &mut self.taken.as_mut().unwrap().parts[shard];
        if part.end.is_some() {
            return;
        }
        let cursor = part.export.as_mut().unwrap();
        let is_last = format!("{cursor:?}").contains("Counters");
        if is_last && part.walk.is_some() {
            return;
        }
        let mut piece = Vec::new();
        if !self.shards[shard].export(&self.catalogue, cursor, position, &mut piece, bytes_max) {
            part.end = Some(position);
        }
        part.pieces.push(piece);
    }

    /// Takes what is left of the image.
    fn finish_image(&mut self) {
        for shard in 0..self.shards.len() {
            while self.taken.as_ref().unwrap().parts[shard].walk.is_some() {
                self.copy_records(shard, 100);
            }
            while self.taken.as_ref().unwrap().parts[shard].end.is_none() {
                self.export_slice(shard, 1 << 20);
            }
        }
        let mut image = self.taken.take().unwrap();
        assert!(image.is_whole());
        for part in &mut image.parts {
            let mut usage: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
            for words in &part.records {
                let (entities, bytes) = usage.entry(words[3] as u32).or_default();
                (*entities, *bytes) = (*entities + 1, *bytes + 8 * words.len() as u64);
            }
            let usage: Vec<StreamUsage> = usage
                .into_iter()
                .map(|(stream, (entities, bytes))| StreamUsage { stream: StreamId(stream), entities, bytes })
                .collect();
            let mut piece = Vec::new();
            encode_usage(&mut piece, &usage);
            part.pieces.push(piece);
        }
        self.images.push(image);
    }

    fn take_image(&mut self) {
        self.begin_image();
        self.finish_image();
    }

    /// What a start makes of the manifest, an image and the log behind it; `None`: of the log alone.
    fn started(&self, image: Option<&Image>, shards: usize) -> (Catalogue, Vec<Shard>) {
        let catalogue = &self.catalogue;
        let catalogue = Catalogue::from_entries(
            catalogue.version,
            catalogue.next_stream_id,
            catalogue.next_layout_id,
            &catalogue.entries(),
        )
        .unwrap();
        let mut started = new_shards(shards);
        if let Some(image) = image {
            for (shard, engine) in started.iter_mut().enumerate() {
                let own = Share { shard: shard as u16, shards: shards as u16 };
                import(engine, &catalogue, image, own).unwrap();
            }
        }
        for epoch in &self.epochs {
            for (shard, log) in epoch.logs.iter().enumerate() {
                for (op, position) in log.iter().zip((epoch.number << EPOCH_SHIFT) + 1..) {
                    let is_seen = image.is_some_and(|image| {
                        image.epoch > epoch.number
                            || (image.epoch == epoch.number && image.parts[shard].start >= position)
                    });
                    if !is_seen {
                        let entity = op::AnyOp::decode(op).unwrap().entity();
                        let owner = shard_of(hash_slot(entity), shards);
                        started[owner].replay(&catalogue, op, position).unwrap();
                    }
                }
            }
        }
        started.iter_mut().for_each(Shard::end_replay);
        let catalogue = catalogue.settled(self.now_ms).unwrap_or(catalogue);
        (catalogue, started)
    }

    /// Goes on as a start would.
    fn restart(&mut self, image: Option<usize>, shards: usize) {
        let (catalogue, started) = self.started(image.map(|image| &self.images[image]), shards);
        let epoch = self.epochs.last().unwrap().number + 1;
        (self.catalogue, self.shards, self.taken) = (catalogue, started, None);
        self.epochs.push(Epoch::new(epoch, shards));
    }
}

/// Gives a shard what it owns of an image.
fn import(engine: &mut Shard, catalogue: &Catalogue, image: &Image, own: Share) -> Result<(), StateError> {
    let shards = image.parts.len() as u16;
    for (shard, part) in image.parts.iter().enumerate() {
        for words in &part.records {
            engine.insert_copied(catalogue, own, words)?;
        }
        let from = Share { shard: shard as u16, shards };
        let mut import = Import::new(own, from, Records::Inserted, part.end.unwrap());
        for piece in &part.pieces {
            import.take(engine, catalogue, piece)?;
        }
        import.finish(engine)?;
    }
    Ok(())
}
