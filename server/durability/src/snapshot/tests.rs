//! Images taken while a thread changes, grows, moves, makes and removes records as fast as it can.
#![expect(clippy::disallowed_methods, reason = "these tests are about what happens meanwhile")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use windrow_engine::catalogue::Created;
use windrow_engine::op::{self, AnyOp};
use windrow_engine::state::{Import, Records};
use windrow_engine::{Catalogue, Hint, Shard, ShardConfig, form, slot};
use windrow_memory::{CopiedRecord, Domain};
use windrow_storage::disk::{Call, Fault, FaultyDisk, MemDisk};
use windrow_storage::image::{ChunkBuffer, IMAGES_KEPT_MIN, ImageReader};
use windrow_storage::{DataDir, Position, Recovery, SplitMix64, StorageOptions};
use windrow_window::Definition;

use super::*;

const KEY: HashKey = HashKey([5, 6]);
const SHARDS: u16 = 2;
/// These are there throughout.
const LASTING: u64 = 3_000;
/// As many again come and go, and new ones come.
const COMING: u64 = 3_000;
/// The writer's tick, in operations.
const TICK: u64 = 32;
/// Operations that the writer applies for each step of the snapshot, at least and at most.
const OPS_A_STEP: [u64; 2] = [48, 500];

fn catalogue() -> Catalogue {
    let definition = "FIELDS n INT s STRING WINDOWS 1h@1s AGGREGATE count sum(n) lastk(s,4) DEDUP 1h";
    let definition = Definition::parse_text("s", definition).unwrap();
    match Catalogue::default().created(definition, 0).unwrap() {
        Created::New(catalogue) => catalogue,
        Created::Same => unreachable!("the catalogue was empty"),
    }
}

fn config() -> ShardConfig {
    ShardConfig { hash_key: KEY, maxmemory_bytes: 0, reserved_bytes: 512 << 20 }
}

/// What the writer's thread owns, and everything it logged: operation `n` of a shard is at `n - 1`.
struct Writer {
    catalogue: Catalogue,
    shards: Vec<Shard>,
    logs: Vec<Vec<Vec<u8>>>,
    epoch: u32,
    now_ms: i64,
    random: SplitMix64,
    /// Numbers of entities given out.
    entities: u64,
}

impl Writer {
    fn new(domain: &Arc<Domain>, epoch: u32, seed: u64) -> Writer {
        let mut writer = Writer {
            catalogue: catalogue(),
            shards: (0..SHARDS).map(|_| Shard::new(config(), domain).unwrap()).collect(),
            logs: vec![Vec::new(); usize::from(SHARDS)],
            epoch,
            now_ms: 1_000_000,
            random: SplitMix64::new(seed),
            entities: LASTING + COMING,
        };
        (0..writer.entities).for_each(|entity| writer.event(entity));
        writer
    }

    fn position(&self, shard: usize) -> Position {
        Position::new(self.epoch, self.logs[shard].len() as u64).unwrap()
    }

    fn event(&mut self, entity: u64) {
        let stream = self.catalogue.stream(b"s").unwrap();
        let name = format!("entity-{entity}");
        let (n, id) = (self.random.below(1_000).to_string(), self.random.next_word().to_string());
        let text = "x".repeat(self.random.below(60) as usize);
        let words: [&[u8]; 7] = [b"ID", id.as_bytes(), b"*", b"n", n.as_bytes(), b"s", text.as_bytes()];
        let mut bytes = Vec::new();
        form::encode_add(&mut bytes, stream, name.as_bytes(), words.into_iter(), self.now_ms, &KEY).unwrap();
        let shard = slot::shard_of(slot::hash_slot(name.as_bytes()), usize::from(SHARDS));
        let position = self.position(shard).advanced(1).unwrap().pack();
        let hint = Hint::of(KEY.hash(stream.id, name.as_bytes()));
        let owner = &mut self.shards[shard];
        let outcome = owner.apply(&self.catalogue, &bytes, hint, self.now_ms, position);
        assert!(outcome.counted(), "{name}: {outcome:?}");
        if owner.started_anew() {
            op::mark_anew(&mut bytes);
        }
        self.logs[shard].push(bytes);
    }

    fn remove(&mut self, entity: u64) {
        let stream = self.catalogue.stream(b"s").unwrap();
        let name = format!("entity-{entity}");
        let shard = slot::shard_of(slot::hash_slot(name.as_bytes()), usize::from(SHARDS));
        let mut bytes = Vec::new();
        op::encode_remove(&mut bytes, stream.layout_id, name.as_bytes(), true);
        let AnyOp::Remove(remove) = AnyOp::decode(&bytes).unwrap() else { unreachable!("it is one") };
        let log = &mut self.logs[shard];
        let position = log.len() as u64 + 1;
        let logged = |op: &[u8]| log.push(op.to_vec());
        self.shards[shard]
            .remove_entity(&self.catalogue, &remove, self.now_ms, position, |_| true, logged)
            .unwrap();
    }

    fn tick(&mut self) {
        self.now_ms += 15;
        for _ in 0..TICK {
            match self.random.below(16) {
                // New ones, so that segments of the index are split.
                0 | 1 => {
                    self.entities += 1;
                    self.event(self.entities - 1);
                }
                2 | 3 => {
                    let entity = LASTING + self.random.below(self.entities - LASTING);
                    self.remove(entity);
                }
                _ => {
                    let entity = self.random.below(self.entities);
                    self.event(entity);
                }
            }
        }
        for shard in &mut self.shards {
            shard.upkeep(&self.catalogue, self.now_ms, 64);
            shard.collect();
        }
    }

    /// Ticks and answers until it is told to end, and so often that it is neither too far behind the snapshot nor too far ahead.
    fn run(
        mut self,
        is_over: &AtomicBool,
        progress: &AtomicU64,
        steps: &AtomicU64,
        questions: &Receiver<Question>,
        answers: &SyncSender<Answer>,
    ) -> Writer {
        while !is_over.load(Ordering::Acquire) {
            if progress.load(Ordering::Relaxed) < (1 + steps.load(Ordering::Acquire)) * OPS_A_STEP[1] {
                self.tick();
                progress.fetch_add(TICK, Ordering::Release);
            } else {
                thread::yield_now();
            }
            match questions.try_recv() {
                Ok(question) => {
                    let shard = usize::from(question.shard());
                    let position = self.position(shard);
                    let answer = question.answer(&self.shards[shard], &self.catalogue, position);
                    answers.send(answer).unwrap();
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
            }
        }
        self
    }
}

fn data_dir(disk: Arc<dyn Disk>) -> DataDir {
    let options = StorageOptions { segment_bytes: 8192, first_segment_bytes: 8192, ..StorageOptions::new(1) };
    let recovery = Recovery::open(disk, Path::new("/data"), options, 1).unwrap();
    recovery.replay(None, &mut |_| Ok(()), &mut |_, _| {}).unwrap().start(SHARDS, 0).unwrap().directory
}

fn plan(directory: &DataDir) -> SnapshotPlan {
    SnapshotPlan {
        image: directory.next_image().unwrap(),
        epoch: directory.manifest().epoch,
        hash_key: KEY,
        created_ms: 77,
    }
}

fn readers(writer: &Writer) -> Vec<ShardReader> {
    writer.shards.iter().map(Shard::reader).collect()
}

/// All steps, questions answered at once.
fn finish(
    snapshot: &mut Snapshot,
    writer: &mut Writer,
    participant: &mut Participant,
) -> Result<(), ImageError> {
    loop {
        match snapshot.step(participant)?.next {
            Next::Step => {}
            Next::Ask(question) => {
                let shard = usize::from(question.shard());
                let position = writer.position(shard);
                snapshot.answered(question.answer(&writer.shards[shard], &writer.catalogue, position))?;
            }
            Next::Written => return Ok(()),
        }
        assert!(!participant.is_awake(), "owners do not wait for it between steps");
    }
}

/// The records of an image's file, by hash, as they lie in it.
fn records(file: &ImageReader) -> BTreeMap<u64, Vec<u64>> {
    let mut chunks: Vec<Vec<u64>> = Vec::new();
    let mut buffer = ChunkBuffer::default();
    for number in 0..file.chunks().len() as u32 {
        chunks.push(file.chunk_words(number, &mut buffer).unwrap().to_vec());
    }
    let (mut records, mut places) = (BTreeMap::new(), BTreeSet::new());
    file.table(&mut |entries| {
        for entry in entries {
            let chunk = entry.chunk() as usize;
            let slot_words = file.chunks()[chunk].slot_granules as usize * 2;
            let start = entry.granule() as usize * 2;
            let words = chunks[chunk][start..start + slot_words].to_vec();
            assert_eq!(CopiedRecord::new(&words).expect("a record").hash(), entry.hash);
            assert!(places.insert(entry.place), "two entries name one place");
            assert_eq!(records.insert(entry.hash, words), None, "a record is there twice");
        }
    })
    .unwrap();
    records
}

fn entity_of(words: &[u64]) -> String {
    let mut entity = Vec::new();
    CopiedRecord::new(words).unwrap().copy_entity(&mut entity);
    String::from_utf8(entity).unwrap()
}

/// The words of a record as its owner has them.
fn words_of(shard: &Shard, hash: u64) -> Option<Vec<u64>> {
    let mut copies = Copies::default();
    shard.copy_rows(Cursor::before(hash), 1, &mut copies);
    let (_, bytes) = copies.rows().find(|(row, _)| row.hash == hash)?;
    Some(bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect())
}

/// A file's records and state, in a shard of their own.
fn import(file: &ImageReader, records: &BTreeMap<u64, Vec<u64>>, end: Position) -> Shard {
    let (domain, _) = Domain::with_participants(0);
    let mut shard = Shard::new(config(), &domain).unwrap();
    let catalogue = catalogue();
    let share = Share { shard: file.header().shard, shards: SHARDS };
    for words in records.values() {
        assert!(shard.insert_copied(&catalogue, share, words).unwrap());
    }
    let mut import = Import::new(share, share, Records::Linked, end.pack());
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    file.state(&mut |piece| pieces.push(piece.to_vec())).unwrap();
    for piece in &pieces {
        import.take(&mut shard, &catalogue, piece).unwrap();
    }
    import.finish(&mut shard).unwrap();
    shard
}

/// Takes one image while a thread writes, and holds it against what that thread logged.
fn take_while_writing(seed: u64) {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let mut directory = data_dir(disk);
    let epoch = directory.manifest().epoch;
    let (domain, mut participants) = Domain::with_participants(1);
    let mut participant = participants.pop().unwrap();
    let writer = Writer::new(&domain, epoch, seed);
    let mut snapshot = Snapshot::begin(directory.images(), plan(&directory), readers(&writer));
    let is_over = Arc::new(AtomicBool::new(false));
    let (progress, steps) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (ask, questions) = sync_channel(1);
    let (answer, answers) = sync_channel(1);
    let thread = {
        let (is_over, progress, steps) = (Arc::clone(&is_over), Arc::clone(&progress), Arc::clone(&steps));
        thread::spawn(move || writer.run(&is_over, &progress, &steps, &questions, &answer))
    };
    loop {
        steps.fetch_add(1, Ordering::Release);
        let wanted = progress.load(Ordering::Acquire) + OPS_A_STEP[0];
        match snapshot.step(&mut participant).unwrap().next {
            Next::Step => {}
            Next::Ask(question) => {
                ask.send(question).unwrap();
                snapshot.answered(answers.recv().unwrap()).unwrap();
            }
            Next::Written => break,
        }
        while progress.load(Ordering::Acquire) < wanted && !thread.is_finished() {
            thread::yield_now();
        }
    }
    is_over.store(true, Ordering::Release);
    let writer = thread.join().expect("the writer");

    let ends = snapshot.ends().to_vec();
    for shard in 0..ends.len() {
        let mut durable = ends.clone();
        durable[shard] -= 1;
        assert_eq!(snapshot.entry(&durable), None, "not before the log is durable");
    }
    let entry = snapshot.entry(&ends).expect("it is written, and the log durable");
    directory.publish_image(entry.clone(), IMAGES_KEPT_MIN).unwrap();
    let mut left = BTreeSet::new();
    for shard in 0..SHARDS {
        left.extend(check_shard(&directory, &writer, &entry, shard));
    }
    for lasting in 0..LASTING {
        assert!(left.contains(&format!("entity-{lasting}")), "entity {lasting} was there throughout");
    }
    let copied = entry.ends.iter().sum::<u64>() - entry.starts.iter().sum::<u64>();
    assert!(copied > 1_000, "only {copied} operations came meanwhile: this checks nothing");
}

/// Holds a shard's file against its log. Gives the entities in it.
fn check_shard(directory: &DataDir, writer: &Writer, entry: &ImageEntry, shard: u16) -> BTreeSet<String> {
    let (disk, dir) = directory.images();
    let file = ImageReader::open(&disk, &dir, entry.image, shard).unwrap();
    assert_eq!(file.header().key_check, key_check(KEY));
    let index = usize::from(shard);
    let (start, end) = (entry.starts[index], entry.ends[index]);
    let image = records(&file);
    let log = &writer.logs[index];
    // A shard that never stopped: each record is as it was after the operation that it says is the last in it.
    let (domain, _) = Domain::with_participants(0);
    let mut model = Shard::new(config(), &domain).unwrap();
    let at = |ops: u64| Position::new(entry.epoch, ops).unwrap();
    let mut by_position: BTreeMap<u64, u64> = BTreeMap::new();
    for (&hash, words) in &image {
        let position = CopiedRecord::new(words).unwrap().position();
        assert!(position <= at(end).pack(), "an operation after the end is in the image");
        assert_eq!(by_position.insert(position, hash), None, "an operation is of one record");
    }
    let mut changed_meanwhile = 0;
    for (bytes, ops) in log.iter().zip(1..) {
        let position = at(ops);
        model.replay(&writer.catalogue, bytes, position.pack()).unwrap();
        let Some(hash) = by_position.remove(&position.pack()) else { continue };
        // A record may have been copied after it grew for its next operation and before that was in it: with more room, and no other words.
        let in_use = |words: &[u64]| words.len() - words.iter().rev().take_while(|word| **word == 0).count();
        let (model_words, copied) = (words_of(&model, hash).unwrap_or_default(), &image[&hash]);
        assert_eq!(
            model_words[..in_use(&model_words)],
            copied[..in_use(copied)],
            "{} is not whole",
            entity_of(copied)
        );
        changed_meanwhile += usize::from(ops > start);
    }
    assert_eq!(by_position, BTreeMap::new(), "operations that were never logged");
    assert!(changed_meanwhile > 0, "no record was copied that was written meanwhile: this checks nothing");
    check_replay(writer, shard, entry, &file, &image);
    image.values().map(|words| entity_of(words)).collect()
}

/// The image and the log's tail give what the log alone gives: the same records, word for word, and the same numbers.
fn check_replay(
    writer: &Writer,
    shard: u16,
    entry: &ImageEntry,
    file: &ImageReader,
    image: &BTreeMap<u64, Vec<u64>>,
) {
    let index = usize::from(shard);
    let at = |ops: u64| Position::new(entry.epoch, ops).unwrap();
    let mut restored = import(file, image, at(entry.ends[index]));
    for (bytes, ops) in writer.logs[index].iter().zip(1..).skip(entry.starts[index] as usize) {
        restored.replay(&writer.catalogue, bytes, at(ops).pack()).unwrap();
    }
    restored.end_replay();
    let stream = writer.catalogue.stream(b"s").unwrap().id;
    let (live, back) = (writer.shards[index].stream_stats(stream), restored.stream_stats(stream));
    assert_eq!((live.entities, live.bytes, live.ok), (back.entities, back.bytes, back.ok));
    assert_eq!(live.dedup.ids, back.dedup.ids, "remembered ids");
    assert!(rows_of(&writer.shards[index]) == rows_of(&restored), "records differ");
}

/// The words of all records, by hash. Where a slice of a walk ends depends on how the index has grown, so slices are not compared.
fn rows_of(shard: &Shard) -> BTreeMap<u64, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let mut cursor = Some(Cursor::START);
    let mut copies = Copies::default();
    while let Some(at) = cursor {
        cursor = shard.copy_rows(at, 256, &mut copies);
        rows.extend(copies.rows().map(|(row, bytes)| (row.hash, bytes.to_vec())));
    }
    rows
}

#[test]
fn an_image_taken_while_a_thread_writes_has_every_record_once_and_whole_and_with_the_log_gives_what_there_was()
 {
    for seed in 0..2 {
        take_while_writing(seed);
    }
}

#[test]
fn an_image_of_shards_without_records_is_an_image() {
    let mut directory = data_dir(Arc::new(MemDisk::new()));
    let (domain, mut participants) = Domain::with_participants(1);
    let mut participant = participants.pop().unwrap();
    let mut writer = Writer::new(&domain, directory.manifest().epoch, 1);
    writer.shards = (0..SHARDS).map(|_| Shard::new(config(), &domain).unwrap()).collect();
    writer.logs.iter_mut().for_each(Vec::clear);
    let mut snapshot = Snapshot::begin(directory.images(), plan(&directory), readers(&writer));
    assert_eq!(snapshot.entry(&[9, 9]), None, "it is not written");
    finish(&mut snapshot, &mut writer, &mut participant).unwrap();
    let entry = snapshot.entry(&[0, 0]).unwrap();
    assert_eq!(
        (entry.records, entry.starts.as_slice(), entry.ends.as_slice()),
        (0, &[0, 0][..], &[0, 0][..])
    );
    directory.publish_image(entry.clone(), IMAGES_KEPT_MIN).unwrap();
    let (disk, dir) = directory.images();
    for shard in 0..SHARDS {
        let file = ImageReader::open(&disk, &dir, entry.image, shard).unwrap();
        import(&file, &records(&file), Position::start_of(entry.epoch));
    }
}

#[test]
fn a_record_that_never_holds_still_is_copied_by_its_owner() {
    let directory = data_dir(Arc::new(MemDisk::new()));
    let (domain, mut participants) = Domain::with_participants(1);
    let mut participant = participants.pop().unwrap();
    let mut writer = Writer::new(&domain, directory.manifest().epoch, 2);
    let mut snapshot = Snapshot::begin(directory.images(), plan(&directory), readers(&writer));
    // As if every attempt had failed, wherever the walk is.
    let (mut asked, mut steps) = (0, 0);
    loop {
        if let Phase::Walk { failures, .. } = &mut snapshot.phase
            && steps % 2 == 0
        {
            *failures = ROWS_BY_FAILURES.len();
        }
        steps += 1;
        match snapshot.step(&mut participant).unwrap().next {
            Next::Step => {}
            Next::Ask(question) => {
                asked += usize::from(matches!(question.asked, Asked::Rows { .. }));
                let shard = usize::from(question.shard());
                let position = writer.position(shard);
                let answer = question.answer(&writer.shards[shard], &writer.catalogue, position);
                snapshot.answered(answer).unwrap();
            }
            Next::Written => break,
        }
        assert!(steps < 100_000, "a walk ends");
    }
    assert!(asked > 10, "the owner was asked {asked} times");
    let entry = snapshot.entry(&[u64::MAX; 2]).unwrap();
    assert_eq!(entry.records, LASTING + COMING);
    writer.tick();
}

#[test]
fn a_disk_that_fails_ends_the_image_and_leaves_no_file() {
    let (domain, mut participants) = Domain::with_participants(1);
    let mut participant = participants.pop().unwrap();
    let mut writer = Writer::new(&domain, 1, 3);
    for call in (0..).step_by(7) {
        let mem = MemDisk::new();
        let faulty = FaultyDisk::new(Arc::new(mem.clone()));
        let directory = data_dir(Arc::new(faulty.clone()));
        faulty.inject(Call::Any, faulty.calls(Call::Any) + call, 1, Fault::NoSpace);
        let before = faulty.calls(Call::Any);
        let mut snapshot = Snapshot::begin(directory.images(), plan(&directory), readers(&writer));
        let outcome = finish(&mut snapshot, &mut writer, &mut participant);
        if faulty.calls(Call::Any) - before <= call {
            outcome.unwrap();
            break;
        }
        assert!(outcome.unwrap_err().is_disk_full());
        snapshot.discard();
        assert_eq!(mem.list(&directory.images_dir()).unwrap(), Vec::<String>::new(), "call {call}");
    }
}

#[test]
fn images_of_other_directories_have_another_check() {
    assert_ne!(key_check(KEY), key_check(HashKey([5, 7])));
    assert_eq!(key_check(HashKey([0, 0])), 0xF8F3_5255_3129_4897, "it is in the files of earlier versions");
}
