//! Builds an image of all shards' memory while they go on: no stop, no copy of the whole, no lock.
//!
//! One file a shard, one shard after the other:
//!
//! ```text
//!   start      the owner says how far it has come: a replay begins behind it
//!   walk       records are copied in the order of their hashes, straight from the owner's memory, a slice at a time
//!   rest       chunks that did not get full
//!   state      what else the shard knows, a slice at a time, from the owner; the last slice says how far it has come by now
//!   finish     directory and footer, synced
//! ```
//!
//! So the image is not of one moment. Each record says which operation is the last in it, and the replay of the log's tail gives it those
//! that it has not seen: all of them between start and end. That is why an image counts only once the log is durable up to its ends
//! ([`Snapshot::entry`]): it must not hold what a crash could take out of the log.
//!
//! A [`Snapshot`] is stepped by its caller, has no thread and no clock, and never waits for a shard: what only an owner can do is a
//! [`Question`] that the caller takes there and whose [`Answer`] it brings back. Between two steps its participant sleeps, so that no
//! owner waits for memory while a step writes to the disk or the caller keeps the pace.

mod chunks;
mod question;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use windrow_engine::copy::{CopiedRow, Copies};
use windrow_engine::state::{ExportCursor, Share, encode_usage};
use windrow_engine::{Cursor, HashKey, ShardReader, StreamId, StreamUsage};
use windrow_memory::{Participant, SCAN_ROWS_MAX};
use windrow_storage::Disk;
use windrow_storage::image::{ImageError, ImageHeader, ImageWriter, TableEntry, remove_image};
use windrow_storage::manifest::ImageEntry;

use crate::planted::{Mistake, is_planted};
use chunks::ChunkBuffers;
use question::{Asked, Told};

pub use question::{Answer, Question};

/// Rows of a slice by how often copying it failed just before: a shorter slice has fewer records that may be written meanwhile. After
/// these, the owner is asked for one row.
const ROWS_BY_FAILURES: [usize; 5] = [SCAN_ROWS_MAX, SCAN_ROWS_MAX, 32, 4, 1];

/// What is in every image of a data directory, so that none of another is taken for one of its own.
pub fn key_check(hash_key: HashKey) -> u64 {
    /// Streams count from 1 and never come here.
    const NO_STREAM: StreamId = StreamId(u32::MAX);
    hash_key.hash(NO_STREAM, b"windrow image")
}

/// What an image is to be.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotPlan {
    /// Its number: see [`DataDir::next_image`](windrow_storage::DataDir::next_image).
    pub image: u64,
    /// The epoch whose log the shards write.
    pub epoch: u32,
    /// The secret of the data directory.
    pub hash_key: HashKey,
    /// The server's time now.
    pub created_ms: i64,
}

/// An image that is being made.
pub struct Snapshot {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    plan: SnapshotPlan,
    readers: Vec<ShardReader>,
    /// By shard; shorter than the shards while it is being made.
    starts: Vec<u64>,
    ends: Vec<u64>,
    /// Of the files that are finished.
    bytes: u64,
    records: u64,
    phase: Phase,
    /// The file that is being written.
    file: Option<ShardFile>,
    copies: Copies,
}

/// What comes next.
#[derive(Debug)]
enum Phase {
    Start,
    Walk {
        cursor: Cursor,
        failures: usize,
    },
    Rest,
    State(ExportCursor),
    Finish,
    /// A question is with an owner.
    Asked,
    Written,
}

/// What one step came to.
#[derive(Debug)]
pub struct Step {
    /// Bytes that it wrote, for whoever keeps the pace.
    pub written_bytes: u64,
    /// What the caller does next.
    pub next: Next,
}

/// What the caller of a step does next.
#[derive(Debug)]
pub enum Next {
    /// Another step.
    Step,
    /// Has this answered by the owner of the shard, and then [told](Snapshot::answered).
    Ask(Question),
    /// All files are written; [`Snapshot::entry`] says when the image may be published.
    Written,
}

/// The file of one shard.
struct ShardFile {
    writer: ImageWriter,
    chunks: ChunkBuffers,
    usage: BTreeMap<StreamId, StreamUsage>,
    /// Entries of the slice that is being added.
    entries: Vec<TableEntry>,
    /// Of all records.
    newest_position: u64,
}

impl Snapshot {
    /// Begins an image of the shards that `readers` read, in the order of their numbers. `images` is the directory of images and its disk:
    /// see [`DataDir::images`](windrow_storage::DataDir::images).
    ///
    /// # Panics
    /// If there are no shards.
    pub fn begin(
        images: (Arc<dyn Disk>, PathBuf),
        plan: SnapshotPlan,
        readers: Vec<ShardReader>,
    ) -> Snapshot {
        assert!(!readers.is_empty() && readers.len() <= usize::from(u16::MAX), "{} shards", readers.len());
        let (disk, dir) = images;
        Snapshot {
            disk,
            dir,
            plan,
            readers,
            starts: Vec::new(),
            ends: Vec::new(),
            bytes: 0,
            records: 0,
            phase: Phase::Start,
            file: None,
            copies: Copies::default(),
        }
    }

    /// Does a bounded piece of the work: copies a slice of records and writes the chunks that got full by it, or one other block. The
    /// participant is awake only while it copies.
    ///
    /// # Errors
    /// [`ImageError`]: the image cannot be made. What there is of it should be [discarded](Snapshot::discard).
    ///
    /// # Panics
    /// While a question is open.
    pub fn step(&mut self, participant: &mut Participant) -> Result<Step, ImageError> {
        let before_bytes = self.written_bytes();
        let next = match std::mem::replace(&mut self.phase, Phase::Asked) {
            Phase::Start => {
                self.file = Some(self.create_file()?);
                Next::Ask(Question::new(self.shard(), Asked::Position))
            }
            Phase::Walk { cursor, failures } => self.walk(participant, cursor, failures)?,
            Phase::Rest => {
                let file = open(&mut self.file);
                let was_last = !file.chunks.write_one(&mut file.writer)?;
                self.phase =
                    if was_last { Phase::State(ExportCursor::new(self.share())) } else { Phase::Rest };
                Next::Step
            }
            Phase::State(cursor) => Next::Ask(Question::new(self.shard(), Asked::State(cursor))),
            Phase::Finish => self.finish_file()?,
            Phase::Asked => panic!("a step before the question was answered"),
            Phase::Written => {
                self.phase = Phase::Written;
                Next::Written
            }
        };
        Ok(Step { written_bytes: self.written_bytes() - before_bytes, next })
    }

    /// Takes the answer to the question that the last step asked. Gives how many bytes that wrote.
    ///
    /// # Errors
    /// As [`Snapshot::step`].
    ///
    /// # Panics
    /// If it is of another shard, of another epoch, or nothing was asked.
    pub fn answered(&mut self, answer: Answer) -> Result<u64, ImageError> {
        assert!(matches!(self.phase, Phase::Asked), "an answer to no question");
        let before_bytes = self.written_bytes();
        let Answer { shard, position, told } = answer;
        assert_eq!(shard, self.shard(), "another shard answers");
        assert_eq!(position.epoch(), self.plan.epoch, "a shard writes another epoch than that of the image");
        match told {
            Told::Position => {
                self.starts.push(position.ops());
                self.phase = Phase::Walk { cursor: Cursor::START, failures: 0 };
            }
            Told::Rows { copies, next } => {
                self.copies = copies;
                self.keep(next)?;
            }
            Told::State { piece, cursor, is_last } => {
                let file = open(&mut self.file);
                if !piece.is_empty() {
                    file.writer.state(&piece)?;
                }
                self.phase = if is_last {
                    assert!(
                        file.newest_position <= position.pack(),
                        "a record of shard {shard} has operation {:x}, and the shard is at {:x}",
                        file.newest_position,
                        position.pack()
                    );
                    self.ends.push(position.ops());
                    Phase::Finish
                } else {
                    Phase::State(cursor)
                };
            }
        }
        Ok(self.written_bytes() - before_bytes)
    }

    /// What the manifest says of the image, once it is written and every shard's log is durable up to what the image may hold;
    /// `durable_ops` has for each shard the last operation of its log that is. The caller [publishes] it, which is refused after a write
    /// or a sync of a log has failed, and says before by its clock when that was: [`ImageEntry::ended_ms`].
    ///
    /// [publishes]: windrow_storage::DataDir::publish_image
    ///
    /// # Panics
    /// If `durable_ops` is not of as many shards.
    pub fn entry(&self, durable_ops: &[u64]) -> Option<ImageEntry> {
        assert_eq!(durable_ops.len(), self.readers.len(), "shards");
        let is_durable = self.ends.iter().zip(durable_ops).all(|(end, durable)| end <= durable);
        if !matches!(self.phase, Phase::Written) || !(is_durable || is_planted(Mistake::PublishedEarly)) {
            return None;
        }
        Some(ImageEntry {
            image: self.plan.image,
            epoch: self.plan.epoch,
            shards: self.shards(),
            created_ms: self.plan.created_ms,
            ended_ms: None,
            starts: self.starts.clone(),
            ends: self.ends.clone(),
            bytes: self.bytes,
            records: self.records,
        })
    }

    /// For each shard that is done, the last operation that the image may hold of it.
    pub fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        self.bytes + self.file.as_ref().map_or(0, |file| file.writer.written_bytes())
    }

    /// Records copied so far.
    pub fn records(&self) -> u64 {
        let in_file = |file: &ShardFile| file.usage.values().map(|usage| usage.entities).sum::<u64>();
        self.records + self.file.as_ref().map_or(0, in_file)
    }

    /// Gives the room of an image that will not be published back, as far as the disk lets us; what stays behind is removed later.
    pub fn discard(self) {
        if let Some(file) = self.file {
            file.writer.discard();
        }
        let _ = remove_image(self.disk.as_ref(), &self.dir, self.plan.image, self.readers.len() as u16);
    }

    /// The shard whose file is being written.
    fn shard(&self) -> u16 {
        self.ends.len() as u16
    }

    fn shards(&self) -> u16 {
        self.readers.len() as u16
    }

    fn share(&self) -> Share {
        Share { shard: self.shard(), shards: self.shards() }
    }

    fn create_file(&self) -> Result<ShardFile, ImageError> {
        let header = ImageHeader {
            image: self.plan.image,
            epoch: self.plan.epoch,
            shard: self.shard(),
            shards: self.shards(),
            key_check: key_check(self.plan.hash_key),
            created_ms: self.plan.created_ms,
        };
        Ok(ShardFile {
            writer: ImageWriter::create(&self.disk, &self.dir, header)?,
            chunks: ChunkBuffers::default(),
            usage: BTreeMap::new(),
            entries: Vec::new(),
            newest_position: 0,
        })
    }

    /// Copies the next slice. One in which a record was moved or written meanwhile is copied again as a whole.
    fn walk(
        &mut self,
        participant: &mut Participant,
        cursor: Cursor,
        failures: usize,
    ) -> Result<Next, ImageError> {
        let Some(&rows_max) = ROWS_BY_FAILURES.get(failures) else {
            let copies = std::mem::take(&mut self.copies);
            return Ok(Next::Ask(Question::new(self.shard(), Asked::Rows { cursor, copies })));
        };
        participant.quiescent();
        let reader = &self.readers[self.ends.len()];
        let copied = reader.copy_rows(participant, cursor, rows_max, &mut self.copies);
        participant.sleep();
        match copied {
            Ok(next) => self.keep(next)?,
            Err(_contended) => self.phase = Phase::Walk { cursor, failures: failures + 1 },
        }
        Ok(Next::Step)
    }

    /// Adds the records of a slice to the file.
    fn keep(&mut self, next: Option<Cursor>) -> Result<(), ImageError> {
        open(&mut self.file).add(&self.copies)?;
        self.phase = next.map_or(Phase::Rest, |cursor| Phase::Walk { cursor, failures: 0 });
        Ok(())
    }

    fn finish_file(&mut self) -> Result<Next, ImageError> {
        let ShardFile { mut writer, usage, .. } = self.file.take().expect("a file is being written");
        let mut piece = Vec::new();
        let usage: Vec<StreamUsage> = usage.into_values().collect();
        encode_usage(&mut piece, &usage);
        if let Err(error) = writer.state(&piece) {
            writer.discard();
            return Err(error);
        }
        let summary = writer.finish()?;
        self.bytes += summary.bytes;
        self.records += summary.records;
        if self.ends.len() == self.readers.len() {
            self.phase = Phase::Written;
            return Ok(Next::Written);
        }
        self.phase = Phase::Start;
        Ok(Next::Step)
    }
}

fn open(file: &mut Option<ShardFile>) -> &mut ShardFile {
    file.as_mut().expect("a file is being written")
}

impl ShardFile {
    fn add(&mut self, copies: &Copies) -> Result<(), ImageError> {
        self.entries.clear();
        for (row, bytes) in copies.rows() {
            let &CopiedRow { hash, stream, position, slot_granules, .. } = row;
            let place = self.chunks.add(&mut self.writer, slot_granules, bytes)?;
            self.entries.push(TableEntry { hash, place });
            let usage = self.usage.entry(stream).or_insert(StreamUsage { stream, entities: 0, bytes: 0 });
            usage.entities += 1;
            usage.bytes += bytes.len() as u64;
            self.newest_position = self.newest_position.max(position);
        }
        self.writer.table(&self.entries)
    }
}
