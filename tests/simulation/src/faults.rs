//! What fails in a life: drawn when it begins, struck when its call comes.

use std::path::Path;
use std::sync::Arc;

use windrow_storage::disk::{Call, Disk, Fault, FaultyDisk, MemDisk};

use crate::coverage::{Coverage, Tried};
use crate::dice::Dice;
use crate::server::boot::DIR;

/// Calls ahead within which a planned fault lies.
const CALLS_AHEAD: u64 = 120;
/// Bytes that a full disk has left at most.
const ROOM_BYTES: u64 = 48 * 1024;

/// The faults of one life of a server.
pub struct Faults {
    disk: FaultyDisk,
    mem: MemDisk,
    planned: Vec<(Call, u64, Tried)>,
    halt: Option<u64>,
    lost_sync: Option<u64>,
    /// Steps at which the disk gets full, and has room again.
    full: Option<(u64, u64)>,
    room_bytes: u64,
}

impl Faults {
    /// A disk without faults.
    pub fn none(mem: &MemDisk) -> Faults {
        mem.lose_syncs(0, 0);
        mem.set_capacity_bytes(None);
        Faults {
            disk: FaultyDisk::new(Arc::new(mem.clone())),
            mem: mem.clone(),
            planned: Vec::new(),
            halt: None,
            lost_sync: None,
            full: None,
            room_bytes: 0,
        }
    }

    /// The disk, with what will fail.
    pub fn disk(&self) -> Arc<FaultyDisk> {
        Arc::new(self.disk.clone())
    }

    /// Draws the faults of a start.
    pub fn plan_start(&mut self, dice: &mut Dice) {
        // Where a panic aborts, a chunk of an image that cannot be read would end the simulator.
        let read_weight = if cfg!(panic = "abort") && self.has_images() { 0 } else { 10 };
        match dice.weighted(&[40, 30, read_weight, 10, 10]) {
            0 => self.halt_within(dice, 30),
            1 => self.plan(Call::Read, dice.below(40), 1 + dice.below(5), Fault::Short, Tried::ShortRead),
            2 => self.plan(Call::Read, dice.below(40), 1, Fault::Io, Tried::ReadError),
            3 => self.plan(Call::Write, dice.below(20), 1, Fault::Io, Tried::WriteError),
            _ => self.lose_sync(dice.below(20)),
        }
    }

    fn has_images(&self) -> bool {
        self.mem.list(&Path::new(DIR).join("images")).is_ok_and(|files| !files.is_empty())
    }

    /// Draws the faults of a server that runs, from now on.
    pub fn plan_life(&mut self, dice: &mut Dice, step: u64, steps: u64) {
        for _ in 0..1 + dice.below(2) {
            match dice.weighted(&[30, 10, 15, 15, 30]) {
                0 => self.halt_within(dice, CALLS_AHEAD),
                1 => {
                    let kind = if dice.chance(70) {
                        (Call::Write, Tried::WriteError)
                    } else {
                        (Call::Sync, Tried::SyncLost)
                    };
                    self.plan(kind.0, dice.below(CALLS_AHEAD), 1, Fault::Io, kind.1);
                }
                2 => self.lose_sync(dice.below(CALLS_AHEAD / 2)),
                3 => {
                    let count = 1 + dice.below(6);
                    self.plan(Call::Write, dice.below(CALLS_AHEAD), count, Fault::Short, Tried::ShortWrite);
                }
                _ => {
                    let from = step + dice.below(steps);
                    self.full = Some((from, from + 1 + dice.below(steps)));
                    self.room_bytes = dice.below(ROOM_BYTES);
                }
            }
        }
    }

    /// From here on the disk does all that is asked, with what was drawn forgotten.
    pub fn heal(&mut self) {
        self.disk.heal();
        self.planned.clear();
        self.halt = None;
        self.lost_sync = None;
        self.mem.lose_syncs(0, 0);
        self.mem.set_capacity_bytes(None);
        self.full = None;
    }

    fn plan(&mut self, call: Call, ahead: u64, count: u64, fault: Fault, tried: Tried) {
        let from = self.disk.calls(call) + ahead;
        self.disk.inject(call, from, count, fault);
        self.planned.push((call, from, tried));
    }

    fn halt_within(&mut self, dice: &mut Dice, calls: u64) {
        let from = self.disk.calls(Call::Any) + dice.below(calls);
        self.disk.halt_at(from);
        self.halt = Some(from);
    }

    fn lose_sync(&mut self, ahead: u64) {
        self.mem.lose_syncs(ahead, 1);
        self.lost_sync = Some(self.disk.calls(Call::Sync) + ahead);
    }

    /// What the disk does at a step.
    pub fn at_step(&mut self, step: u64, coverage: &mut Coverage) {
        match self.full {
            Some((from, _)) if from == step => {
                self.mem.set_capacity_bytes(Some(self.mem.used_bytes() + self.room_bytes));
                coverage.note(Tried::DiskFull);
            }
            Some((_, until)) if until == step => self.mem.set_capacity_bytes(None),
            _ => {}
        }
    }

    /// Whether the machine has stopped within a call.
    pub fn is_halted(&self) -> bool {
        self.halt.is_some_and(|from| self.disk.calls(Call::Any) > from)
    }

    /// Whether anything has failed that a server may fail by.
    pub fn has_struck(&self) -> bool {
        self.is_halted()
            || self.planned.iter().any(|(call, from, tried)| {
                !matches!(tried, Tried::ShortRead | Tried::ShortWrite) && self.disk.calls(*call) > *from
            })
            || self.lost_sync.is_some_and(|from| self.disk.calls(Call::Sync) > from)
    }

    /// Counts what has struck.
    pub fn count(&self, coverage: &mut Coverage) {
        if self.is_halted() {
            coverage.note(Tried::HaltInCall);
        }
        for (call, from, tried) in &self.planned {
            if self.disk.calls(*call) > *from {
                coverage.note(*tried);
            }
        }
        if self.lost_sync.is_some_and(|from| self.disk.calls(Call::Sync) > from) {
            coverage.note(Tried::SyncLost);
        }
    }
}
