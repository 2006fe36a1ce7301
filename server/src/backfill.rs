//! The backfill thread: fills streams with events from before them, out of the log, while the server serves.
//!
//! One stream at a time, the first that asked first. The log is read in the order in which each entity's operations were applied
//! ([`reading`]) into a shadow, as many hash slots in a pass as there is memory for; then what was found goes to the entities' owners
//! ([`delivery`]). Everything that a crash could cut short can begin again from the start, since what a record has taken it does not take
//! again; so nothing is noted on the way, but that all is done.

mod delivery;
mod progress;
mod reading;

pub(crate) use delivery::{MergeAnswer, MergeAsked};
pub(crate) use progress::{BackfillState, Progress, RunningBackfill};

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use windrow_durability::kept_log::KeptLog;
use windrow_engine::backfill::Shadow;
use windrow_engine::{Catalogue, LayoutId, Stream};
use windrow_storage::{LogFiles, LogPin};

use self::delivery::Delivery;
use self::reading::{Told, Unreadable};
use crate::admin::AdminMessage;
use crate::shared::Shared;
use crate::sync_thread::SyncSignal;

/// Memory for entities that are not delivered yet; the log is read again for those that do not fit.
const SHADOW_BYTES_MAX: usize = 256 << 20;
/// How often the thread looks whether there is something to fill.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it looks whether what it waits for has come.
const WAIT_STEP: Duration = Duration::from_millis(10);
/// After a failure to read the log, wait so long.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Tries to read the log, the last of which passes over what the disk cannot read. Then the backfill is given up: it holds the log, and
/// keeps its stream from being altered.
const TRIES_MAX: u32 = 6;

/// Why a backfill did not come to its end now.
#[derive(Debug)]
pub(super) enum Ended {
    /// The server ends.
    Stopping,
    /// Its stream was dropped.
    Gone,
    /// The log cannot be read, or written.
    Failed(String),
    /// There is no memory for what was found.
    OutOfMemory,
}

/// Backfills that found no memory, until somebody changes a setting.
#[derive(Default)]
struct Stopped {
    layouts: HashSet<LayoutId>,
    config_version: u64,
}

impl Stopped {
    fn look_again(&mut self, config_version: u64) {
        if self.config_version != config_version {
            self.layouts.clear();
            self.config_version = config_version;
        }
    }
}

/// What the thread works with.
pub(crate) struct Backfiller {
    shared: Arc<Shared>,
    log: KeptLog,
    signals: Vec<Arc<SyncSignal>>,
    /// Keeps the log while something is to be filled.
    pin: RefCell<Option<LogPin>>,
}

impl Backfiller {
    /// `log` is held from now on if there is something to fill.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        files: LogFiles,
        manifest: &windrow_storage::Manifest,
        signals: &[Arc<SyncSignal>],
    ) -> Self {
        let pin = (!shared.catalogue().filling().is_empty()).then(|| files.pin(None));
        let pin = RefCell::new(pin);
        let log = KeptLog::new(files, manifest);
        Self { shared: Arc::clone(shared), log, signals: signals.to_vec(), pin }
    }

    /// Runs until the server ends.
    pub(crate) fn run(self) {
        // Of the layout that failed last, how often.
        let mut failed: Option<(LayoutId, u32)> = None;
        let mut stopped = Stopped::default();
        while !self.shared.ending.is_requested() {
            let catalogue = self.shared.catalogue();
            stopped.look_again(self.shared.config_version());
            let filling = catalogue.filling();
            self.shared.backfill.forget_stopped(|id| filling.iter().any(|stream| stream.id == id));
            let waiting = || filling.iter().filter(|stream| !stopped.layouts.contains(&stream.layout_id));
            // One without a boundary is about to get it.
            let next = waiting()
                .find(|stream| stream.backfill.as_ref().is_some_and(|backfill| backfill.until.is_some()));
            let Some(&stream) = next else {
                if waiting().next().is_none() {
                    self.pin.replace(None);
                }
                thread::park_timeout(LOOK_EVERY);
                continue;
            };
            self.pin.borrow_mut().get_or_insert_with(|| self.log.files().pin(None));
            let name = &stream.definition.name;
            let tries =
                failed.filter(|(layout, _)| *layout == stream.layout_id).map_or(0, |(_, tries)| tries);
            let unreadable = if tries + 1 < TRIES_MAX { Unreadable::Fails } else { Unreadable::IsPassedOver };
            match self.fill(&catalogue, stream, unreadable) {
                Ok(reached_ms) => {
                    if !self.finish(stream.layout_id, reached_ms) {
                        return;
                    }
                    if matches!(self.check(stream.layout_id), Err(Ended::Gone)) {
                        tracing::info!("the backfill of stream '{name}' has finished");
                    }
                }
                Err(Ended::Stopping) => return,
                Err(Ended::Gone) => {
                    tracing::info!("the backfill of stream '{name}' has ended: the stream is gone");
                }
                Err(Ended::OutOfMemory) => {
                    let merged = self.shared.backfill.of(stream.id).map_or(0, |progress| progress.merged);
                    tracing::error!(
                        "the backfill of stream '{name}' has stopped after {merged} entities: there is no memory for more of what it found. \
                         Raise maxmemory, set maxmemory-policy to allkeys-lru, or free memory and set maxmemory to what it is: then it begins \
                         again, as it does with the next start. Meanwhile retention may take the log that it has still to read"
                    );
                    stopped.layouts.insert(stream.layout_id);
                    self.shared.backfill.stop();
                }
                // A log that has failed is another matter: nothing can be noted until a restart.
                Err(Ended::Failed(reason))
                    if tries + 1 >= TRIES_MAX && self.shared.log_failure().is_none() =>
                {
                    tracing::error!(
                        "the backfill of stream '{name}' is given up after {TRIES_MAX} tries: {reason}"
                    );
                    if !self.finish(stream.layout_id, stream.counts_from_ms()) {
                        return;
                    }
                }
                Err(Ended::Failed(reason)) => {
                    failed = Some((stream.layout_id, tries + 1));
                    tracing::error!("the backfill of stream '{name}' has to begin again: {reason}");
                    self.shared.backfill.set_state(BackfillState::Failed(reason));
                    thread::park_timeout(RETRY_AFTER);
                }
            }
            self.shared.backfill.end();
        }
    }

    /// Has it noted that a layout is filled; false: the server ends.
    fn finish(&self, layout_id: LayoutId, reached_ms: i64) -> bool {
        if self.shared.admin.send(AdminMessage::Filled { layout_id, reached_ms }).is_err() {
            return false;
        }
        self.wait_until_settled(layout_id);
        true
    }

    /// Fills one stream; says since when that is complete.
    fn fill(
        &self,
        catalogue: &Catalogue,
        stream: &Arc<Stream>,
        unreadable: Unreadable,
    ) -> Result<i64, Ended> {
        let backfill = stream.backfill.as_ref().expect("it is being filled");
        let until = backfill.until.clone().expect("it was looked at");
        let mut shadow = Shadow::new(catalogue, stream, SHADOW_BYTES_MAX).map_err(|_| Ended::Gone)?;
        let source = backfill.source.and_then(|source| catalogue.by_id(source)).unwrap_or(stream);
        tracing::info!(
            "filling stream '{}' with earlier events of '{}'",
            stream.definition.name,
            source.definition.name
        );
        let progress = &self.shared.backfill;
        progress.begin(stream.id);
        let mut delivery = Delivery::new(&self.shared);
        let mut reached_ms = source.created_ms;
        while shadow.begin_pass() {
            progress.set_state(BackfillState::Reading);
            let mut pace = reading::Pace::new();
            let since_ms =
                reading::read(&self.log, &until, &self.signals, unreadable, &mut |told, part_read| {
                    match told {
                        Told::Group(frame) => {
                            let (epoch, first) = (frame.first.epoch(), frame.first.ops());
                            for (op, ops) in windrow_engine::op::iter(frame.ops).zip(first..) {
                                let is_behind = until.is_behind(epoch, frame.shard, ops);
                                let fed =
                                    op.and_then(|op| shadow.feed(catalogue, op, is_behind, frame.now_ms));
                                fed.map_err(|error| Ended::Failed(error.to_string()))?;
                            }
                        }
                        Told::Gap(gap) => shadow.pass_over(gap.shard, gap.shards),
                        Told::Nothing => {}
                    }
                    if pace.is_over() {
                        progress.note_read(shadow.slots(), part_read, shadow.events());
                        self.check(stream.layout_id)?;
                        pace.rest();
                    }
                    Ok(())
                })?;
            if let Some(since_ms) = since_ms {
                reached_ms = reached_ms.max(since_ms);
            }
            progress.note_read(shadow.slots(), 1.0, shadow.events());
            if shadow.is_last_pass() && self.shared.catalogue().filling().len() == 1 {
                // It may wait for room in memory for as long as it likes now.
                self.pin.replace(None);
            }
            progress.set_state(BackfillState::Merging);
            delivery.deliver(&mut shadow, &|| self.check(stream.layout_id))?;
        }
        self.wait_until_durable(delivery.ends(), stream.layout_id)?;
        Ok(reached_ms.min(stream.counts_from_ms()))
    }

    /// Writes are worth more than history: where the log can grow no more, what is held of it is let go. Behind what goes then, the backfill
    /// is as complete as it says.
    fn give_way(&self) {
        if self.shared.saving.is_log_full() && self.pin.replace(None).is_some() {
            tracing::warn!("there is no room for more log: what a backfill has still to read of it may go");
        }
    }

    /// Whether there is reason to go on.
    fn check(&self, layout_id: LayoutId) -> Result<(), Ended> {
        if self.shared.ending.is_requested() {
            return Err(Ended::Stopping);
        }
        if let Some(reason) = self.shared.log_failure() {
            return Err(Ended::Failed(reason.to_owned()));
        }
        self.give_way();
        let catalogue = self.shared.catalogue();
        let is_there = catalogue
            .by_layout(layout_id)
            .is_some_and(|stream| stream.layout_id == layout_id && stream.is_filling());
        if is_there { Ok(()) } else { Err(Ended::Gone) }
    }

    /// What records have taken must not be lost once the manifest says that they have, whatever `appendfsync` is: the manifest is synced.
    fn wait_until_durable(&self, ends: &[u64], layout_id: LayoutId) -> Result<(), Ended> {
        for (shard, &end) in ends.iter().enumerate() {
            let durable = &self.shared.shards[shard].numbers.log_durable;
            while durable.load(std::sync::atomic::Ordering::Relaxed) < end {
                self.check(layout_id)?;
                self.signals[shard].request();
                self.shared.shards[shard].wake();
                thread::sleep(WAIT_STEP);
            }
        }
        Ok(())
    }

    /// Waits until the manifest says that it is filled; where it could not be written, all is looked at once more.
    fn wait_until_settled(&self, layout_id: LayoutId) {
        let since = Instant::now();
        while since.elapsed() < RETRY_AFTER && self.check(layout_id).is_ok() {
            thread::sleep(WAIT_STEP);
        }
    }
}
