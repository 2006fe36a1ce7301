//! One image: start positions of all shards, their records and state, end positions; on disk, then in the manifest.
//!
//! ```text
//!   snapshot thread ── what is your position? ──▶ shards
//!        │ walks their memory and copies records; asks the owner for one that will not hold still, and for state
//!        │ (a thread of the lowest priority does, as long as that is enough)
//!        │ waits until every log is durable up to where the image ends
//!        └── name it ──▶ admin thread, which has the manifest
//! ```

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use windrow_durability::snapshot::{Answer, Next, Question, Snapshot, SnapshotPlan};
use windrow_engine::{Catalogue, HashKey, Shard, ShardReader};
use windrow_memory::Participant;
use windrow_storage::{Disk, ImageEntry, Position};

use super::pace::{self, Pace};
use super::room::{self, Room};
use crate::admin::AdminMessage;
use crate::affinity;
use crate::shard::{Message, ShardHandle};
use crate::shared::Shared;
use crate::sync_thread::SyncSignal;

/// How often a wait looks whether it is in vain.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// And how often a wait for the disk does.
const DURABLE_LOOK_EVERY: Duration = Duration::from_millis(2);
/// The niceness of the thread that copies.
const NICENESS: i32 = 19;

/// What the snapshot thread has of the server's parts.
pub(crate) struct Loans {
    /// Of every shard.
    pub(crate) readers: Arc<[ShardReader]>,
    pub(crate) participant: Participant,
    pub(crate) hash_key: HashKey,
    /// The epoch that is being written.
    pub(crate) epoch: u32,
    /// Where images are.
    pub(crate) images: (Arc<dyn Disk>, PathBuf),
    /// Of every shard's sync thread.
    pub(crate) signals: Vec<Arc<SyncSignal>>,
}

/// What the snapshot thread wants to know of a shard.
pub(crate) struct SnapshotQuestion {
    question: Question,
    answer: Sender<Answer>,
}

impl SnapshotQuestion {
    /// Answers it, on the shard's thread.
    pub(crate) fn answer(self, shard: &Shard, catalogue: &Catalogue, position: Position) {
        // Nobody waits any more when the server ends.
        let _ = self.answer.send(self.question.answer(shard, catalogue, position));
    }
}

/// Writes one image. Gives it, and how many there are now.
pub(super) fn write_image(shared: &Arc<Shared>, loans: &mut Loans) -> Result<(ImageEntry, usize), String> {
    if shared.config().is_unlogged {
        return Err("the server keeps no log, which an image is nothing without".to_owned());
    }
    // The walk would fetch each chunk of the last image that is not in memory yet, at the lowest priority, and a shard that needs one
    // meanwhile would wait for that.
    while shared.chunks_pending() > 0 {
        check(shared)?;
        thread::sleep(LOOK_EVERY);
    }
    let expected = shared.shards.iter().map(|shard| shard.numbers.entities.load(Relaxed)).sum();
    shared.saving.progress.records_expected.store(expected, Relaxed);
    let room = find_room(shared, expected)?;
    let image = ask_admin(shared, |answer| AdminMessage::NextImage { answer })?;
    // Before the positions: a change that is not in the image is not counted as saved.
    let catalogue_changes = shared.catalogue_version();
    let plan = SnapshotPlan {
        image,
        epoch: loans.epoch,
        hash_key: loans.hash_key,
        created_ms: shared.clock.now_ms(),
    };
    let snapshot = Snapshot::begin(loans.images.clone(), plan, loans.readers.to_vec());
    let snapshot = copy(shared, &mut loans.participant, snapshot, room)?;
    let entry = match wait_until_durable(shared, loans, &snapshot) {
        Ok(entry) => entry,
        Err(reason) => {
            snapshot.discard();
            return Err(reason);
        }
    };
    let saved_changes = shared.loaded_ops() + entry.starts.iter().sum::<u64>() + catalogue_changes;
    let publish = |answer| AdminMessage::PublishImage { entry: Box::new(entry.clone()), answer };
    let images = ask_admin(shared, publish)?;
    shared.saving.note_saved(saved_changes);
    Ok((entry, images))
}

/// Room for an image of so many records, beside the next segment of each log.
fn find_room(shared: &Shared, records: u64) -> Result<Room, String> {
    let image_bytes = room::expected_bytes(shared.saving.known().newest, records);
    // Where the log is full there is nothing left to leave to it, and an image may set some free.
    let log_bytes = match shared.saving.is_log_full() {
        true => 0,
        false => shared.config().log_segment_bytes.saturating_mul(shared.shards.len() as u64),
    };
    Room::find(free_bytes(shared), image_bytes, log_bytes)
}

fn free_bytes(shared: &Shared) -> Option<u64> {
    (shared.free_space)(&shared.config().dir)
}

/// Steps through a snapshot on two threads: one of the lowest priority, and this one where that is not enough.
fn copy(
    shared: &Arc<Shared>,
    participant: &mut Participant,
    snapshot: Snapshot,
    room: Room,
) -> Result<Snapshot, String> {
    let began = Instant::now();
    let work = Work { going: Some((snapshot, participant)), pace: Pace::new(began), room, outcome: None };
    let waiting = thread::current();
    let desk = Desk { shared, work: Mutex::new(work) };
    thread::scope(|scope| {
        let helper = scope.spawn(|| {
            affinity::be_nice(NICENESS);
            let _done = Unpark(&waiting);
            while let Some(rest) = desk.step() {
                // In pieces: somebody may come to wait for the image.
                let until = Instant::now() + rest;
                while !shared.saving.is_hurried() && Instant::now() < until && check(shared).is_ok() {
                    thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
                }
            }
        });
        while !helper.is_finished() {
            let bytes = shared.saving.progress.bytes.load(Relaxed);
            let is_behind = pace::is_behind(bytes, shared.config().save_rate_bytes, began.elapsed());
            let may_rest = !shared.saving.is_hurried() && !is_behind;
            if may_rest || desk.step().is_none() {
                thread::park_timeout(LOOK_EVERY);
            }
        }
    });
    let work = desk.work.into_inner().unwrap_or_else(PoisonError::into_inner);
    work.outcome.expect("the helper ends with an outcome")
}

/// Wakes a thread when it is dropped.
struct Unpark<'a>(&'a Thread);

impl Drop for Unpark<'_> {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// Where the two threads take turns.
struct Desk<'a> {
    shared: &'a Arc<Shared>,
    work: Mutex<Work<'a>>,
}

struct Work<'a> {
    /// Until it is written or given up.
    going: Option<(Snapshot, &'a mut Participant)>,
    pace: Pace,
    room: Room,
    outcome: Option<Result<Snapshot, String>>,
}

impl Desk<'_> {
    /// One step. Gives how long to rest after it, unless nothing is left to do.
    fn step(&self) -> Option<Duration> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut snapshot, participant) = work.going.take()?;
        let has_room = work.room.look(snapshot.written_bytes(), || free_bytes(self.shared));
        match has_room.and_then(|()| self.advance(&mut snapshot, participant)) {
            Ok(Goes::On) => {
                let (saving, bytes) = (&self.shared.saving, snapshot.written_bytes());
                saving.progress.bytes.store(bytes, Relaxed);
                saving.progress.records.store(snapshot.records(), Relaxed);
                work.going = Some((snapshot, participant));
                let rate = if saving.is_hurried() { 0 } else { self.shared.config().save_rate_bytes };
                Some(work.pace.rest(bytes, rate, Instant::now()))
            }
            Ok(Goes::NoFurther) => {
                work.outcome = Some(Ok(snapshot));
                None
            }
            Err(reason) => {
                snapshot.discard();
                work.outcome = Some(Err(reason));
                None
            }
        }
    }

    /// One step of the snapshot, with what the owner of a shard has to say to it.
    fn advance(&self, snapshot: &mut Snapshot, participant: &mut Participant) -> Result<Goes, String> {
        check(self.shared)?;
        match snapshot.step(participant).map_err(|error| error.to_string())?.next {
            Next::Step => {}
            Next::Ask(question) => {
                let answer = ask(self.shared, question)?;
                snapshot.answered(answer).map_err(|error| error.to_string())?;
            }
            Next::Written => return Ok(Goes::NoFurther),
        }
        Ok(Goes::On)
    }
}

enum Goes {
    On,
    NoFurther,
}

/// Whether it makes sense to go on.
fn check(shared: &Shared) -> Result<(), String> {
    if let Some(reason) = shared.log_failure() {
        return Err(format!("the log has failed: {reason}"));
    }
    if shared.ending.is_requested() {
        return Err("the server ends".to_owned());
    }
    if shared.saving.is_too_late() {
        return Err("it takes longer than the end of the server may wait for it".to_owned());
    }
    Ok(())
}

/// Waits until every log would survive a power loss up to where the image ends; has them synced, whatever `appendfsync` says.
fn wait_until_durable(shared: &Shared, loans: &Loans, snapshot: &Snapshot) -> Result<ImageEntry, String> {
    loop {
        let durable = |shard: &ShardHandle| shard.numbers.log_durable.load(Relaxed);
        let durable_ops: Vec<u64> = shared.shards.iter().map(durable).collect();
        // After a failure nobody can say what is durable.
        check(shared)?;
        if let Some(entry) = snapshot.entry(&durable_ops) {
            return Ok(entry);
        }
        for ((shard, signal), (&end, durable)) in
            shared.shards.iter().zip(&loans.signals).zip(snapshot.ends().iter().zip(durable_ops))
        {
            if durable < end {
                signal.request();
                // Its thread says at the end of a tick what is durable.
                shard.wake();
            }
        }
        thread::sleep(DURABLE_LOOK_EVERY);
    }
}

/// Asks the shard that is to answer.
fn ask(shared: &Shared, question: Question) -> Result<Answer, String> {
    let (answer, receiver) = channel();
    let shard = usize::from(question.shard());
    shared.shards[shard].send(Message::AskSnapshot(SnapshotQuestion { question, answer }));
    receive(shared, &receiver)
}

fn ask_admin<T: Send + 'static>(
    shared: &Shared,
    message: impl FnOnce(Sender<Result<T, String>>) -> AdminMessage,
) -> Result<T, String> {
    let (sender, receiver) = channel();
    let is_there = shared.admin.send(message(sender)).is_ok();
    if !is_there {
        return Err("the server ends".to_owned());
    }
    receive(shared, &receiver)?
}

/// Waits for an answer, as long as the server goes on.
fn receive<T>(shared: &Shared, answer: &Receiver<T>) -> Result<T, String> {
    loop {
        match answer.recv_timeout(LOOK_EVERY) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) => check(shared)?,
            Err(RecvTimeoutError::Disconnected) => return Err("the server ends".to_owned()),
        }
    }
}
