//! The shard's loop. One tick:
//!
//! 1. poll; messages; new connections
//! 2. read, parse, stage or route; run what is staged
//! 3. answer other shards' questions, take their answers
//! 4. write the tick's log group
//! 5. send questions, wake each shard that got some, once
//! 6. release what the log allows: answers to other shards, replies to clients
//! 7. a bounded slice of a WINDOW.TOP, and one of upkeep
//!
//! Every phase is bounded by a constant, so a tick ends soon whatever clients do.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::{Events, Poll, Token};
use windrow_durability::OUTCOME_UNKNOWN;
use windrow_protocol::Args;
use windrow_storage::{Idle, ShardLog};

use super::accept::Listeners;
use super::core::{Core, Counters};
use super::handle::NOT_IN_A_TICK;
use super::pace::{SyncPace, UPKEEP_RECORDS, UpkeepPace, WorkQuota};
use super::tick_time::TickTime;
use super::top::{TopAsked, TopPart};
use crate::clock::uptime_ms;
use crate::commands::Gathering;
use crate::connection::ConnectionTable;
use crate::route::Links;
use crate::shared::Shared;
use crate::sync_thread::SyncSignal;

/// A shard that found nothing to do looks again after so long.
const SLEEP: Duration = Duration::from_millis(100);
/// While upkeep has something to do, after so long.
const UPKEEP_SLEEP: Duration = Duration::from_millis(1);
/// Socket events taken from one poll.
const EVENTS_MAX: usize = 1024;
/// Connections that get a turn in one tick.
const TURNS_PER_TICK: usize = 256;
/// What needs no haste (idle connections, the log's last word) happens this often.
const HOUSEKEEPING_EVERY_MS: u64 = 10;
/// After SHUTDOWN, what is on its way gets so long.
const DRAIN_MS_MAX: u64 = 1_000;
/// The token of the waker.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// What a shard's thread starts with.
pub(crate) struct ShardParts {
    pub(crate) id: usize,
    pub(crate) poll: Poll,
    pub(crate) links: Links,
    /// Shard 0 accepts for all.
    pub(crate) listeners: Option<Listeners>,
    pub(crate) sync: Arc<SyncSignal>,
}

/// A shard's thread.
pub(crate) struct ShardLoop {
    pub(super) core: Core,
    pub(super) shared: Arc<Shared>,
    pub(super) poll: Poll,
    pub(super) listeners: Option<Listeners>,
    pub(super) connections: ConnectionTable,
    /// Connections with something to read or execute, in the order of their turns.
    pub(super) ready: VecDeque<u32>,
    /// Connections that another shard's credit stopped.
    pub(super) starved: Vec<u32>,
    /// Connections with output of this tick.
    pub(super) touched: Vec<u32>,
    /// Connections whose output waits for the log.
    pub(super) gated: Vec<u32>,
    /// Argument lists: the one in use, and spare ones.
    pub(super) args: Args,
    pub(super) spare_args: Vec<Args>,
    /// For replies that do not go straight to an output.
    pub(super) scratch: Vec<u8>,
    /// Commands that wait for other shards' numbers.
    pub(super) gatherings: HashMap<u64, Box<Gathering>>,
    /// This shard's part of the WINDOW.TOP that is running.
    pub(super) top: Option<TopPart>,
    /// The WINDOW.TOP that a connection of this shard waits for.
    pub(super) top_asked: Option<TopAsked>,
    pub(super) swept: u32,
    sync: Arc<SyncSignal>,
    sync_pace: SyncPace,
    releasable: u64,
    /// The log had a spare segment when it was last looked at.
    had_spare: bool,
    last_housekeeping_ms: u64,
    pub(super) time: TickTime,
    quota: WorkQuota,
    /// Commands and rows executed in this tick.
    worked: usize,
    pace: UpkeepPace,
    pub(super) drain_since_ms: Option<u64>,
    has_reported_drained: bool,
}

impl ShardLoop {
    pub(crate) fn new(shared: Arc<Shared>, parts: ShardParts) -> Self {
        ShardLoop {
            core: Core::new(parts.id, Arc::clone(&shared), parts.links),
            shared,
            poll: parts.poll,
            listeners: parts.listeners,
            connections: ConnectionTable::default(),
            ready: VecDeque::new(),
            starved: Vec::new(),
            touched: Vec::new(),
            gated: Vec::new(),
            args: Args::new(),
            spare_args: Vec::new(),
            scratch: Vec::new(),
            gatherings: HashMap::new(),
            top: None,
            top_asked: None,
            swept: 0,
            sync: parts.sync,
            sync_pace: SyncPace::new(),
            releasable: 0,
            had_spare: false,
            last_housekeeping_ms: 0,
            time: TickTime::new(),
            quota: WorkQuota::new(),
            worked: 0,
            pace: UpkeepPace::new(),
            drain_since_ms: None,
            has_reported_drained: false,
        }
    }

    /// Runs until the server ends; gives the log back for its last sync.
    pub(crate) fn run(mut self) -> Option<ShardLog> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.say_catalogue();
        self.say_users();
        while !self.is_finished() {
            self.poll_events(&mut events);
            self.time.start();
            self.handle().numbers.tick_since_ms.store(uptime_ms(), Relaxed);
            self.tick(&events);
            self.publish();
        }
        self.core.group.into_log()
    }

    fn tick(&mut self, events: &Events) {
        self.core.now_ms = self.shared.clock.now_ms();
        self.pass_quiescent_point();
        self.note_events(events);
        self.read_mail();
        self.core.refresh_config();
        self.core.timer.begin_tick(self.time.phase_began());
        self.adopt_catalogue();
        self.adopt_users();
        self.accept();
        self.time.next_phase();
        self.take_turns();
        self.time.next_phase();
        self.answer_questions();
        self.take_answers();
        self.time.next_phase();
        self.write_group();
        self.resume_held_by_log();
        self.time.next_phase();
        self.send_questions();
        self.release();
        self.flush_touched();
        self.time.next_phase();
        self.quota.note(std::mem::take(&mut self.worked), self.time.before_phase());
        self.walk_top();
        self.upkeep();
    }

    fn handle(&self) -> &super::ShardHandle {
        &self.shared.shards[self.core.id]
    }

    // 1. Poll.

    fn poll_events(&mut self, events: &mut Events) {
        self.handle().numbers.tick_since_ms.store(NOT_IN_A_TICK, Relaxed);
        let has_work = !self.ready.is_empty()
            || self.listeners.as_ref().is_some_and(Listeners::has_more)
            || self.core.has_unsent_questions()
            || self.top.as_ref().is_some_and(TopPart::is_walking)
            || self.drain_since_ms.is_some();
        if self.sync_pace.is_due() && !has_work {
            // Before the replies of what is written are waited for, a look whether there is more to write, to be synced along with it.
            self.poll_once(events, Duration::ZERO);
            if !events.is_empty() {
                return;
            }
            if self.sync_pace.take(quanta::Instant::now(), true) {
                self.sync.request();
            }
        }
        let handle = &self.shared.shards[self.core.id];
        let may_sleep = !has_work
            && handle.gate.prepare_sleep(|| {
                self.core.links.has_input()
                    || handle.mailbox.has_mail()
                    || self.core.catalogue.version != self.shared.catalogue_version()
                    || self.core.users.version != self.shared.acl.version()
                    || self.shared.ending.is_requested()
            });
        if may_sleep && let Some(peers) = &mut self.core.peers {
            peers.sleep();
        }
        let timeout = match (may_sleep, self.drain_since_ms) {
            (true, _) if self.pace.is_productive() => UPKEEP_SLEEP,
            (true, _) => SLEEP,
            (false, Some(_)) => Duration::from_millis(1),
            (false, None) => Duration::ZERO,
        };
        self.poll_once(events, timeout);
        self.handle().gate.awake();
    }

    fn poll_once(&mut self, events: &mut Events, timeout: Duration) {
        if let Err(error) = self.poll.poll(events, Some(timeout))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            panic!("polling sockets failed: {error}");
        }
    }

    /// Nothing read in the last tick is used any more; memory that every shard has let go of is free again.
    fn pass_quiescent_point(&mut self) {
        if let (Some(engine), Some(peers)) = (&mut self.core.engine, &mut self.core.peers) {
            peers.quiescent();
            engine.collect();
            self.core.make_room();
        }
    }

    fn note_events(&mut self, events: &Events) {
        for event in events {
            if event.token() == WAKER {
                continue;
            }
            if let Some(listeners) = &mut self.listeners
                && listeners.note_event(event.token())
            {
                continue;
            }
            let index = event.token().0 as u32;
            let Some(connection) = self.connections.at(index) else { continue };
            if event.is_readable() {
                connection.is_readable = true;
            }
            if event.is_read_closed() || event.is_error() {
                connection.is_readable = true;
                connection.is_read_closed = true;
            }
            let (is_readable, is_read_closed) = (connection.is_readable, connection.is_read_closed);
            if event.is_writable() && !connection.is_writable {
                connection.is_writable = true;
                self.touch(index);
            }
            if is_readable {
                self.enqueue(index);
            }
            if is_read_closed {
                self.cancel_top_of_gone(index);
            }
        }
    }

    /// Gives a connection a turn in this tick or a later one.
    pub(super) fn enqueue(&mut self, index: u32) {
        if let Some(connection) = self.connections.at(index)
            && !connection.is_queued
        {
            connection.is_queued = true;
            self.ready.push_back(index);
        }
    }

    /// Has a connection's output looked at in this tick.
    pub(super) fn touch(&mut self, index: u32) {
        if let Some(connection) = self.connections.at(index)
            && !connection.is_touched
        {
            connection.is_touched = true;
            self.touched.push(index);
        }
    }

    // 2. Read, parse, execute.

    /// Never inlined: the test that counts instructions knows it by its name.
    #[inline(never)]
    fn take_turns(&mut self) {
        if self.drain_since_ms.is_some() {
            // No turn comes any more: rows that wait for more of them leave as they are.
            while let Some(index) = self.ready.pop_front() {
                if let Some(connection) = self.connections.at(index) {
                    connection.is_queued = false;
                }
                self.touch(index);
            }
            return;
        }
        let work_max = self.quota.work_max();
        let mut left = work_max;
        for _ in 0..self.ready.len().min(TURNS_PER_TICK) {
            let Some(index) = self.ready.pop_front() else { break };
            if let Some(connection) = self.connections.at(index) {
                connection.is_queued = false;
                left = left.saturating_sub(self.turn(index, left));
            }
            if left == 0 {
                break;
            }
        }
        self.run_staged();
        self.worked = work_max - left;
    }

    // 4. The log.

    pub(super) fn write_group(&mut self) {
        let outcome = self.core.group.write(self.core.now_ms);
        if self.core.group.take_has_written()
            && self.core.config.appendfsync == crate::config::AppendFsync::Always
        {
            self.sync_pace.note_written();
        }
        if self.sync_pace.take(self.time.phase_began(), false) {
            self.sync.request();
        }
        if let Err(error) = outcome {
            tracing::error!("shard {}: {error}", self.core.id);
        }
        if let Some(kept) = self.core.group.take_failure() {
            self.fail_writes(kept);
        }
        let has_spare = self.core.group.has_spare();
        if self.had_spare && !has_spare {
            // The next segment should be ready before this one is full.
            self.sync.wake();
        }
        self.had_spare = has_spare;
    }

    /// Connections that waited for room in the log go on when there is some, or when there will be none.
    fn resume_held_by_log(&mut self) {
        if self.core.is_held_by_log {
            self.core.is_held_by_log = false;
            if !self.core.holds_writes() {
                self.resume_starved();
            }
        }
    }

    /// The log has failed: whoever waits for an acknowledgement learns that the outcome is unknown.
    fn fail_writes(&mut self, kept: u64) {
        tracing::error!(
            "shard {}: the log has failed; writes are refused until a restart, reads go on: {}",
            self.core.id,
            self.shared.log_failure().unwrap_or_default()
        );
        let mut changed = Vec::new();
        for connection in self.connections.iter_mut() {
            connection.session.output.fail_writes(kept, OUTCOME_UNKNOWN);
            connection.session.slots.fail_writes(kept, OUTCOME_UNKNOWN);
            changed.push(connection.session.id.index);
        }
        for index in changed {
            self.touch(index);
        }
        self.core.links.fail_held(kept, OUTCOME_UNKNOWN);
    }

    // 5. Questions out.

    fn send_questions(&mut self) {
        let shared = &self.shared;
        self.core.links.flush(|shard| shared.shards[shard].wake());
    }

    // 6. Release.

    fn release(&mut self) {
        if self.core.counters.events > 0 {
            self.core.publish_engine();
        }
        self.releasable = self.core.group.releasable(self.core.config.appendfsync, self.core.now_ms);
        let (shared, releasable) = (&self.shared, self.releasable);
        self.core.links.release_answers(releasable, |shard| shared.shards[shard].wake());
        let mut gated = std::mem::take(&mut self.gated);
        for index in gated.drain(..) {
            self.touch(index);
        }
        self.gated = gated;
    }

    pub(super) fn releasable(&self) -> u64 {
        self.releasable
    }

    // 7. Upkeep.

    fn upkeep(&mut self) {
        let is_busy = !self.ready.is_empty();
        if let Some(engine) = &mut self.core.engine
            && let Some(slice) = self.pace.slice(self.time.phase_began(), is_busy)
        {
            let mut gained = usize::from(engine.release_chunk()) + usize::from(engine.is_making_room());
            loop {
                gained += engine.upkeep(&self.core.catalogue, self.core.now_ms, UPKEEP_RECORDS);
                // A step that brought nothing is followed by another only where nobody waits.
                if (is_busy && gained == 0) || self.time.in_phase() >= slice {
                    break;
                }
            }
            self.pace.note(gained);
            if gained > 0 {
                self.core.publish_engine();
            }
        }
        let now_ms = uptime_ms();
        if now_ms < self.last_housekeeping_ms + HOUSEKEEPING_EVERY_MS {
            return;
        }
        self.last_housekeeping_ms = now_ms;
        self.core.publish_engine();
        self.state_durable_when_idle();
        self.close_idle_connections(now_ms);
    }

    fn state_durable_when_idle(&mut self) {
        let now_ms = self.core.now_ms;
        let Some(log) = self.core.group.log_mut() else { return };
        if log.full_segment_needs_sync() {
            self.sync.request();
        }
        match log.idle(now_ms) {
            Ok(Idle::Nothing) => {}
            Ok(Idle::Sync) => self.sync.request(),
            // A failed log is reported by whoever finds the poison first.
            Err(error) => tracing::debug!("shard {}: {error}", self.core.id),
        }
    }

    // The end.

    fn is_finished(&mut self) -> bool {
        if !self.shared.ending.is_requested() {
            return false;
        }
        let now_ms = uptime_ms();
        self.listeners = None;
        let Some(since_ms) = self.drain_since_ms else {
            // One more tick at least: it sends rows that waited for more of them.
            self.drain_since_ms = Some(now_ms);
            return false;
        };
        let is_late = now_ms > since_ms + DRAIN_MS_MAX;
        let is_drained = is_late || (self.core.links.is_quiet() && self.gated.is_empty());
        if is_drained && !self.has_reported_drained {
            self.has_reported_drained = true;
            self.shared.ending.shard_drained();
            self.shared.wake_all();
        }
        is_late || (is_drained && self.shared.ending.drained() >= self.core.shards)
    }

    fn publish(&mut self) {
        let counters: Counters = std::mem::take(&mut self.core.counters);
        let numbers = &self.shared.shards[self.core.id].numbers;
        for (number, count) in [
            (&numbers.commands, counters.commands),
            (&numbers.events, counters.events),
            (&numbers.reads, counters.reads),
            (&numbers.hops, counters.hops),
            (&numbers.errors, counters.errors),
            (&numbers.input_bytes, counters.input_bytes),
            (&numbers.output_bytes, counters.output_bytes),
            (&numbers.slow_clients_closed, counters.slow_clients_closed),
            (&numbers.evicted, counters.evicted),
            (&numbers.ticks, 1),
        ] {
            if count > 0 {
                number.fetch_add(count, Relaxed);
            }
        }
        let took = self.time.end(&numbers.longest_tick);
        self.note_tick(took);
    }
}
