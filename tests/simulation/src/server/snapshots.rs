//! The snapshot thread: images while the server runs, published when the log is durable up to what they may hold; and old log that
//! goes.

use windrow_durability::snapshot::{Answer, Next, Question, Snapshot, SnapshotPlan};
use windrow_memory::Participant;
use windrow_storage::Position;

use super::life::Life;
use crate::coverage::Tried;
use crate::world::{Broken, World};

/// Images that are kept.
const IMAGES_KEPT: usize = 2;

/// The snapshot thread.
pub struct Snapshots {
    participant: Participant,
    running: Option<Running>,
}

/// An image that is being made.
struct Running {
    snapshot: Snapshot,
    /// What an owner has to answer.
    question: Option<Question>,
    /// What an owner has answered.
    answer: Option<Answer>,
}

impl Snapshots {
    /// Nothing runs.
    pub fn new(participant: Participant) -> Snapshots {
        Snapshots { participant, running: None }
    }

    /// Gives up what runs.
    pub fn discard(&mut self) {
        if let Some(running) = self.running.take() {
            running.snapshot.discard();
        }
    }
}

impl Life {
    /// The owner of a shard answers what the snapshot thread asked.
    pub fn answer_snapshot(&mut self, s: usize) {
        let Some(running) = &mut self.snapshots.running else { return };
        if let Some(question) = running.question.take_if(|question| usize::from(question.shard()) == s) {
            let shard = &self.shards[s];
            let position = Position::new(self.epoch, shard.group.end()).expect("a short history");
            running.answer = Some(question.answer(&shard.engine, &shard.catalogue, position));
        }
    }

    /// The snapshot thread takes a step.
    ///
    /// # Errors
    /// An image that cannot be made though nothing fails.
    pub fn step_snapshot(&mut self, world: &mut World) -> Result<(), Broken> {
        if self.poison.reason().is_some() {
            return Ok(());
        }
        let Some(mut running) = self.snapshots.running.take() else {
            if world.snapshots.chance(10) {
                self.begin_snapshot(world)?;
            } else if world.plan.has_retention {
                self.let_log_go(world)?;
            }
            return Ok(());
        };
        if running.question.is_some() {
            self.snapshots.running = Some(running);
            return Ok(());
        }
        let outcome = match running.answer.take() {
            Some(answer) => running.snapshot.answered(answer).map(|_| Next::Step),
            None => running.snapshot.step(&mut self.snapshots.participant).map(|step| step.next),
        };
        match outcome {
            Ok(Next::Step) => self.snapshots.running = Some(running),
            Ok(Next::Ask(question)) => {
                running.question = Some(question);
                self.snapshots.running = Some(running);
            }
            Ok(Next::Written) => self.publish(running, world)?,
            Err(error) => {
                world.say(format_args!("snapshot: {error}"));
                running.snapshot.discard();
                self.may_fail(&error)?;
            }
        }
        Ok(())
    }

    fn begin_snapshot(&mut self, world: &mut World) -> Result<(), Broken> {
        let created_ms = world.clocks.now_ms();
        let directory = self.store.directory();
        let image = match directory.next_image() {
            Ok(image) => image,
            Err(error) => return self.may_fail(&error),
        };
        let plan = SnapshotPlan { image, epoch: self.epoch, hash_key: self.hash_key, created_ms };
        world.note(Tried::SnapshotBegun);
        world.say(format_args!("snapshot: image {image} is begun"));
        let snapshot = Snapshot::begin(directory.images(), plan, self.readers.clone());
        self.snapshots.running = Some(Running { snapshot, question: None, answer: None });
        Ok(())
    }

    fn publish(&mut self, running: Running, world: &mut World) -> Result<(), Broken> {
        let durable: Vec<u64> = self
            .shards
            .iter_mut()
            .map(|shard| shard.group.state().map_or(0, |state| state.durable))
            .collect();
        let Some(entry) = running.snapshot.entry(&durable) else {
            // It needs the log, whatever the mode.
            self.syncs.iter_mut().for_each(|sync| sync.is_requested = true);
            self.snapshots.running = Some(running);
            return Ok(());
        };
        let said = format!("{entry:?}");
        match self.store.directory().publish_image(entry, IMAGES_KEPT) {
            Ok(published) => {
                world.note(Tried::ImagePublished);
                world.say(format_args!("snapshot: published {said}, {published:?}"));
                Ok(())
            }
            Err(error) => {
                world.say(format_args!("snapshot: not published: {error}"));
                running.snapshot.discard();
                self.may_fail(&error)
            }
        }
    }

    fn let_log_go(&mut self, world: &mut World) -> Result<(), Broken> {
        let now_ms = world.clocks.now_ms();
        match self.store.directory().retain(now_ms) {
            Ok(retained) => {
                world.coverage.add(Tried::SegmentRetired, (retained.removed + retained.freed) as u64);
                Ok(())
            }
            Err(error) => {
                world.say(format_args!("retention: {error}"));
                self.may_fail(&error)
            }
        }
    }

    fn may_fail(&self, error: &dyn std::fmt::Display) -> Result<(), Broken> {
        if self.is_calm { Err(format!("failed without need: {error}")) } else { Ok(()) }
    }
}
