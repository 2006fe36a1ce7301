//! One history: a server is started, used, and made to end, again and again, on one disk.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use windrow_durability::{AppendFsync, SYNC_LAG_MAX_MS};
use windrow_storage::disk::MemDisk;
use windrow_storage::manifest::LogEnd;
use windrow_storage::{Disk, Idle};

use crate::coverage::{Coverage, Tried};
use crate::faults::Faults;
use crate::flip::Flip;
use crate::model::history::{Ending, LogAtEnd};
use crate::plan::Plan;
use crate::server::boot::{Booted, Lost};
use crate::server::{BootError, Life, boot};
use crate::trace::Trace;
use crate::world::{Broken, World};

/// Starts that may be cut short one after another.
const STARTS_MAX: u64 = 12;
/// Steps of a server whose log has failed: it refuses all writes.
const STEPS_AFTER_FAILURE: u64 = 60;
/// How likely a step sets `maxmemory`, of a thousand.
const MEMORY_PERMILLE: u64 = 5;
/// How likely the backfill thread goes on beside a step, of a hundred.
const BACKFILL_PERCENT: u64 = 15;
/// Rounds in which everything that is under way must be answered.
const DRAIN_ROUNDS_MAX: u64 = 600;

/// What a history broke, and when.
#[derive(Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// What must not happen.
    pub what: Broken,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {} at step {}: {}", self.seed, self.step, self.what)
    }
}

/// Runs the history of a seed.
///
/// # Errors
/// What it broke.
pub fn run(seed: u64, trace: Trace) -> Result<Coverage, Box<Failure>> {
    run_plan(Plan::of(seed), trace)
}

/// Runs a history.
///
/// # Errors
/// What it broke.
pub fn run_plan(plan: Plan, trace: Trace) -> Result<Coverage, Box<Failure>> {
    windrow_memory::use_small_pages();
    let seed = plan.seed;
    let mut world = World::new(plan, trace);
    world.say(format_args!("{:?}", world.plan));
    world.note(Tried::History);
    match (History { disk: MemDisk::new(), flips: Vec::new(), before: None }).run(&mut world) {
        Ok(()) => {
            world.coverage.add(Tried::Step, world.step);
            Ok(world.coverage)
        }
        Err(what) => Err(Box::new(Failure { seed, step: world.step, what })),
    }
}

/// The disk, and what the last server left on it.
struct History {
    disk: MemDisk,
    flips: Vec<Flip>,
    before: Option<Before>,
}

/// How the last server ended.
struct Before {
    epoch: u32,
    shards: usize,
    ending: Ending,
    logs: Vec<LogAtEnd>,
    /// The latest start told of damage that a flipped bit may have done.
    is_flipped: bool,
}

impl History {
    fn run(mut self, world: &mut World) -> Result<(), Broken> {
        for life in 0..=world.plan.lives {
            let is_last = life == world.plan.lives;
            if !is_last {
                self.flip(world);
            }
            let (mut server, mut faults) = self.start(world, is_last)?;
            faults.heal();
            // Some starts are looked at as a whole, in others records of an image stay where they are until somebody asks.
            if is_last || world.schedule.chance(50) {
                let is_lost = unless_lost(&mut server, world, Life::check)?;
                if is_lost {
                    self.end(server, Ending::Process, world);
                    continue;
                }
            }
            server.settle_pending(world);
            self.serve(server, faults, world, is_last)?;
        }
        Ok(())
    }

    /// A bit flips while nobody looks.
    fn flip(&mut self, world: &mut World) {
        let Some(before) = &mut self.before else { return };
        if !world.faults.chance(world.plan.flip_percent) {
            return;
        }
        if let Some(flip) = Flip::any(&self.disk, &mut world.faults) {
            world.say(format_args!("a bit flips: {flip:?}"));
            world.note(flip.tried);
            before.is_flipped = true;
            self.flips.push(flip);
        }
    }

    /// Starts a server, however often the start is cut short.
    fn start(&mut self, world: &mut World, is_calm: bool) -> Result<(Life, Faults), Broken> {
        let shards = 1 + world.schedule.below(world.plan.shards_max) as usize;
        for attempt in 0..STARTS_MAX {
            let mut faults = Faults::none(&self.disk);
            let is_wild = !is_calm && attempt < STARTS_MAX / 2;
            if is_wild && world.faults.chance(world.plan.fault_percent / 2) {
                faults.plan_start(&mut world.faults);
            }
            let salt = world.faults.word();
            let disk: Arc<dyn Disk> = faults.disk();
            let booted = boot(&disk, shards, salt, world);
            faults.count(&mut world.coverage);
            match booted {
                Ok(booted) if !faults.is_halted() => {
                    return self.started(booted, shards, world).map(|life| (life, faults));
                }
                Ok(booted) => drop(booted),
                Err(BootError::Broken(what)) => return Err(what),
                Err(BootError::Again(why)) => {
                    world.say(format_args!("a chunk of the image is lost: {why}"));
                    world.note(Tried::ChunkLost);
                    continue;
                }
                Err(BootError::Refused(error)) if faults.has_struck() => {
                    world.say(format_args!("the start was cut short: {error}"));
                }
                Err(BootError::Refused(error)) => {
                    self.undo_flips(&error, world)?;
                    continue;
                }
            }
            world.note(Tried::StartCrashed);
            if world.faults.chance(50) {
                self.lose_power(world);
                if let Some(before) = &mut self.before {
                    before.ending = Ending::Power;
                }
            }
        }
        Err("no start came to its end".to_owned())
    }

    /// A start that refuses must have found damage that was done to it.
    fn undo_flips(&mut self, error: &str, world: &mut World) -> Result<(), Broken> {
        let flips = std::mem::take(&mut self.flips);
        let undone = flips.iter().rev().filter(|flip| flip.undo(&self.disk)).count();
        if undone == 0 {
            return Err(format!("the start failed without need: {error}"));
        }
        world.say(format_args!("the start refused a damaged directory, which is mended: {error}"));
        world.note(Tried::StartRefused);
        Ok(())
    }

    /// A server serves: what it found is what is there from now on.
    fn started(&mut self, booted: Booted, shards: usize, world: &mut World) -> Result<Life, Broken> {
        let Booted { mut life, has_damage, image, manifest } = booted;
        world.note(Tried::Start);
        let version = life.catalogue.version;
        if version < world.acknowledged_version {
            return Err(format!(
                "version {version} of the catalogue came back, and {} was acknowledged",
                world.acknowledged_version
            ));
        }
        world.acknowledged_version = version;
        world.versions.retain(|known, _| *known <= version);
        if let Some(before) = self.before.take() {
            let entry = manifest.epochs.iter().find(|entry| entry.epoch == before.epoch);
            let ends = entry.map(|entry| entry.ends.iter().map(LogEnd::last_ops).collect());
            let ends: Vec<u64> = ends.unwrap_or_else(|| vec![0; before.shards]);
            if ends.len() != before.shards {
                return Err(format!("epoch {} had {} shards: {entry:?}", before.epoch, before.shards));
            }
            let lag_max_ms = (world.plan.mode == AppendFsync::EverySec).then_some(SYNC_LAG_MAX_MS);
            let judged =
                world.history.judge_ends(before.epoch, before.ending, &before.logs, &ends, lag_max_ms);
            match judged {
                Ok(()) => {}
                // What a flipped bit destroyed behind the last stated position is a torn tail: less came back, and it was told.
                Err(what) if before.is_flipped && has_damage => {
                    world.say(format_args!("by a flipped bit: {what}"));
                }
                Err(what) => return Err(what),
            }
            let lost = world.history.settle(before.epoch, &ends);
            world.coverage.add(Tried::OperationLost, lost as u64);
            if before.shards != shards {
                world.note(Tried::StartOtherShards);
            }
            world.say(format_args!(
                "epoch {}: {shards} shards from image {image:?}, {} operations came back, {lost} did not",
                life.epoch,
                world.history.len()
            ));
        }
        life.adopt_clocks(world)?;
        Ok(life)
    }

    /// Uses a server until it ends.
    fn serve(
        &mut self,
        mut life: Life,
        mut faults: Faults,
        world: &mut World,
        is_last: bool,
    ) -> Result<(), Broken> {
        let steps = 1 + world.schedule.below(world.plan.steps_max);
        if !is_last && world.faults.chance(world.plan.fault_percent) {
            faults.plan_life(&mut world.faults, world.step, steps);
        } else {
            life.is_calm = true;
        }
        let mut until = world.step + steps;
        let (mut is_lost, mut failed_until) = (false, until);
        while world.step < until && !faults.is_halted() && !is_lost {
            world.step += 1;
            faults.at_step(world.step, &mut world.coverage);
            is_lost = unless_lost(&mut life, world, Life::step)?;
            if life.poison.reason().is_some() {
                until = until.min(failed_until);
            } else {
                failed_until = world.step + STEPS_AFTER_FAILURE;
            }
        }
        let ending = if is_lost {
            Ending::Process
        } else if faults.is_halted() {
            if world.faults.chance(50) { Ending::Process } else { Ending::Power }
        } else if is_last || world.faults.chance(20) {
            faults.heal();
            let is_lost = unless_lost(&mut life, world, |life, world| {
                life.drain(world)?;
                life.check(world)
            })?;
            if is_lost {
                Ending::Process
            } else {
                life.snapshots.discard();
                life.stop(world);
                Ending::Stop
            }
        } else if world.faults.chance(50) {
            Ending::Process
        } else {
            Ending::Power
        };
        faults.count(&mut world.coverage);
        self.end(life, ending, world);
        Ok(())
    }

    /// What is left of a server.
    fn end(&mut self, mut life: Life, ending: Ending, world: &mut World) {
        world.note(match ending {
            Ending::Stop => Tried::Stop,
            Ending::Process => Tried::ProcessCrash,
            Ending::Power => Tried::PowerLoss,
        });
        world.say(format_args!("the server ends: {ending:?}"));
        let (epoch, shards, logs) = (life.epoch, life.shards.len(), life.logs_at_end());
        self.before = Some(Before { epoch, shards, ending, logs, is_flipped: false });
        drop(life);
        for client in &mut world.clients {
            client.disconnect();
        }
        if ending == Ending::Power {
            self.lose_power(world);
        }
        world.clocks.pass(world.setting.clone().below(60_000));
    }

    fn lose_power(&mut self, world: &mut World) {
        self.disk.lose_syncs(0, 0);
        self.disk = self.disk.crash(world.faults.word());
    }
}

/// Does something with a server. True: it has lost a chunk of its image and is no more.
fn unless_lost(
    life: &mut Life,
    world: &mut World,
    does: impl FnOnce(&mut Life, &mut World) -> Result<(), Broken>,
) -> Result<bool, Broken> {
    let panic = match catch_unwind(AssertUnwindSafe(|| does(life, &mut *world))) {
        Ok(done) => return done.map(|()| false),
        Err(panic) => panic,
    };
    match panic.downcast::<Lost>() {
        Ok(lost) => {
            world.say(format_args!("a chunk of the image is lost: {lost:?}"));
            world.note(Tried::ChunkLost);
            Ok(true)
        }
        Err(panic) => resume_unwind(panic),
    }
}

impl Life {
    /// Somebody takes a step.
    fn step(&mut self, world: &mut World) -> Result<(), Broken> {
        let passed = world.setting.below(world.plan.step_ms_max + 1);
        world.clocks.pass(passed);
        if world.setting.below(1_000) < world.plan.clock_permille {
            let by_ms = world.setting.between(-60_000, 90_000);
            world.note(if by_ms < 0 { Tried::ClockBack } else { Tried::ClockForward });
            world.clocks.jump(by_ms);
            world.say(format_args!("the clock is set by {by_ms} ms"));
        }
        if world.links.below(1_000) < world.plan.lost_permille {
            let client = world.links.index(self.connections.len());
            world.note(Tried::ConnectionLost);
            world.say(format_args!("client {client}: its connection breaks"));
            self.reconnect(client, world);
        }
        let shards = self.shards.len();
        if world.links.below(1_000) < 3 {
            let paused_until = world.step + 5 + world.links.below(60);
            let shard = world.links.index(shards);
            world.note(Tried::Pause);
            if world.links.chance(50) {
                self.shards[shard].paused_until = paused_until;
            } else {
                self.syncs[shard].paused_until = paused_until;
            }
        }
        if world.plan.extras.chunks_max > 0 && world.memory.below(1_000) < MEMORY_PERMILLE {
            self.change_maxmemory(world);
        }
        if world.plan.extras.fill_weight > 0 && world.asking_extras.chance(BACKFILL_PERCENT) {
            self.step_backfill(world)?;
        }
        let plan = &world.plan;
        let weights = [
            8 * plan.clients as u64,
            plan.shard_weight * shards as u64,
            plan.sync_weight * shards as u64,
            1,
            plan.snapshot_weight,
            1,
        ];
        match world.schedule.weighted(&weights) {
            0 => {
                let client = world.schedule.index(self.connections.len());
                self.step_client(client, world, true)
            }
            1 => {
                let shard = world.schedule.index(shards);
                if world.step < self.shards[shard].paused_until {
                    return Ok(());
                }
                self.step_shard(shard, world)
            }
            2 => {
                let shard = world.schedule.index(shards);
                if world.step >= self.syncs[shard].paused_until {
                    self.step_sync(shard, world);
                }
                Ok(())
            }
            3 => self.step_admin(world),
            4 => self.step_snapshot(world),
            _ => {
                let shard = world.schedule.index(shards);
                self.adopters[shard].adopt_next();
                Ok(())
            }
        }
    }

    /// Everything that is under way is answered.
    fn drain(&mut self, world: &mut World) -> Result<(), Broken> {
        for _ in 0..DRAIN_ROUNDS_MAX {
            world.step += 1;
            world.clocks.pass(20);
            for shard in 0..self.shards.len() {
                self.step_shard(shard, world)?;
                self.step_sync(shard, world);
            }
            self.step_admin(world)?;
            if world.plan.extras.fill_weight > 0 {
                self.step_backfill(world)?;
            }
            for client in 0..self.connections.len() {
                self.step_client(client, world, false)?;
            }
            if self.is_quiet() && world.clients.iter().all(|client| client.pending.is_empty()) {
                return Ok(());
            }
        }
        let waiting = world.clients.iter().map(|client| client.pending.len()).sum::<usize>();
        Err(format!("{waiting} commands are not answered, though nothing fails"))
    }

    /// A clean stop: everything is synced and says so.
    fn stop(&mut self, world: &mut World) {
        for (shard, sync) in self.shards.iter_mut().zip(&mut self.syncs) {
            let now_ms = shard.now_ms;
            if let Err(error) = shard.group.write(now_ms) {
                world.say(format_args!("the last group was not written: {error}"));
            }
            let Some(log) = shard.group.log_mut() else { continue };
            while let Ok(Idle::Sync) = log.state_durable(now_ms) {
                if let Err(error) = sync.syncer.sync() {
                    world.say(format_args!("the last sync failed: {error}"));
                    break;
                }
            }
        }
    }
}
