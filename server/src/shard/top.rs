//! WINDOW.TOP: every shard walks over its records, a slice a tick, and the asker merges what they find.
//!
//! One at a time in the whole server: the scan holds a turn that is free again when the last shard has let go of it. The asker's
//! reply comes after that, so its next WINDOW.TOP is not refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use windrow_engine::top::{Best, Ranked, TopWalk};
use windrow_protocol::command::CommandId;
use windrow_window::Rows;

use super::mailbox::Message;
use super::tick::ShardLoop;
use crate::commands::{TopQuestion, write_top};
use crate::connection::{ConnectionId, State};

/// How long one tick goes on with a scan while connections wait for their turns, and otherwise.
const SLICE: Duration = Duration::from_micros(50);
const SLICE_IDLE: Duration = Duration::from_micros(250);

const BUSY: &[u8] = b"-BUSY another WINDOW.TOP is running, and there is one at a time: try again later\r\n";
const CANCELLED: &[u8] = b"-ERR WINDOW.TOP was cancelled: the client has closed its side\r\n";
const SUPERSEDED: &[u8] = b"-TRYAGAIN the stream was altered while its entities were looked at\r\n";
const DROPPED: &[u8] = b"-ERR the stream was dropped while its entities were looked at\r\n";

/// One WINDOW.TOP, as all shards see it.
pub(crate) struct TopScan {
    question: TopQuestion,
    asker: usize,
    connection: ConnectionId,
    is_cancelled: AtomicBool,
    /// What all shards' slices took.
    took_ns: AtomicU64,
    /// Set as long as there is a scan.
    turn: Arc<AtomicBool>,
}

impl Drop for TopScan {
    fn drop(&mut self) {
        self.turn.store(false, Ordering::Release);
    }
}

/// A shard's part of a scan.
pub(super) struct TopPart {
    scan: Arc<TopScan>,
    found: Found,
}

enum Found {
    /// There are records to look at.
    Walking(Box<TopWalk>),
    /// All were looked at; the result may leave when the log has come to this position.
    All { found: Vec<Ranked>, position: u64 },
}

impl TopPart {
    fn new(scan: Arc<TopScan>, rows: Rows) -> Self {
        let TopQuestion { stream, query, k, .. } = &scan.question;
        let walk = Box::new(TopWalk::new(Arc::clone(stream), Arc::clone(query), *k, rows));
        Self { scan, found: Found::Walking(walk) }
    }

    /// Whether the next tick has work on it.
    pub(super) fn is_walking(&self) -> bool {
        matches!(self.found, Found::Walking(_))
    }
}

/// What the asker has of a scan.
pub(super) struct TopAsked {
    connection: ConnectionId,
    scan: Arc<TopScan>,
    best: Best,
    missing: usize,
}

impl ShardLoop {
    /// Begins the scan that a parked connection wants.
    pub(super) fn begin_top(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        let Some(question) = connection.session.top.take() else { return };
        if connection.is_read_closed || connection.has_ended {
            self.answer_parked(id, CANCELLED);
            return;
        }
        let turn = Arc::clone(&self.shared.top_turn);
        if turn.swap(true, Ordering::Acquire) {
            self.answer_parked(id, BUSY);
            return;
        }
        let best = Best::new(question.k);
        let scan = Arc::new(TopScan {
            question: *question,
            asker: self.core.id,
            connection: id,
            is_cancelled: AtomicBool::new(false),
            took_ns: AtomicU64::new(0),
            turn,
        });
        let shards = self.core.shards;
        self.top_asked = Some(TopAsked { connection: id, scan: Arc::clone(&scan), best, missing: shards });
        for shard in (0..shards).filter(|&shard| shard != self.core.id) {
            self.shared.shards[shard].send(Message::AskTop(Arc::clone(&scan)));
        }
        self.take_top(scan);
    }

    /// Takes part in a scan.
    pub(super) fn take_top(&mut self, scan: Arc<TopScan>) {
        debug_assert!(self.top.is_none(), "there is one scan at a time");
        self.top = Some(TopPart::new(scan, self.core.keyed_rows()));
    }

    /// Goes on with this shard's part of a scan: one slice.
    pub(super) fn walk_top(&mut self) {
        let Some(part) = &mut self.top else { return };
        if part.scan.is_cancelled.load(Ordering::Relaxed) {
            self.top = None;
            return;
        }
        if let (Found::Walking(walk), Some(engine)) = (&mut part.found, &self.core.engine) {
            // Now, not when the tick began: what was acknowledged before the scan was asked for is not younger.
            let now_ms = self.shared.clock.now_ms();
            let slice = if self.ready.is_empty() { SLICE_IDLE } else { SLICE };
            engine.walk_top(&self.core.catalogue, walk, now_ms, || self.time.in_phase() < slice);
            // The walk is what the phase begins with.
            let took_ns = self.time.in_phase().as_nanos() as u64;
            part.scan.took_ns.fetch_add(took_ns, Ordering::Relaxed);
            if walk.is_finished() {
                let found = walk.take_found();
                let position = self.core.reply_position(false).unwrap_or(0);
                part.found = Found::All { found, position };
            }
        }
        let releasable = self.releasable();
        let may_leave =
            |part: &mut TopPart| matches!(part.found, Found::All { position, .. } if position <= releasable);
        let Some(TopPart { scan, found: Found::All { found, .. } }) = self.top.take_if(may_leave) else {
            return;
        };
        let (asker, connection) = (scan.asker, scan.connection);
        drop(scan);
        if asker == self.core.id {
            self.merge_top(connection, found);
        } else {
            self.shared.shards[asker].send(Message::TopFound { connection, found });
        }
    }

    /// Takes a shard's result; the last one makes the reply.
    pub(super) fn merge_top(&mut self, connection: ConnectionId, found: Vec<Ranked>) {
        // What a cancelled scan has found comes too late.
        let Some(asked) = self.top_asked.as_mut().filter(|asked| asked.connection == connection) else {
            return;
        };
        for ranked in found {
            asked.best.add(ranked);
        }
        asked.missing -= 1;
        if asked.missing > 0 {
            return;
        }
        let TopAsked { connection: id, scan, best, .. } = self.top_asked.take().expect("it is there");
        let TopQuestion { stream, client, arguments, .. } = &scan.question;
        let took = Duration::from_nanos(scan.took_ns.load(Ordering::Relaxed));
        self.core.note_command(client, (CommandId::WindowTop, None), took, || arguments.clone());
        let stream = Arc::clone(stream);
        drop(scan);
        let Some(connection) = self.connections.get(id) else { return };
        let mut reply = Vec::new();
        match self.core.catalogue.by_id(stream.id) {
            Some(present) if present.layout_id == stream.layout_id => {
                write_top(&mut reply, connection.session.proto, &best.into_sorted());
            }
            Some(_) => reply.extend_from_slice(SUPERSEDED),
            None => reply.extend_from_slice(DROPPED),
        }
        self.answer_parked(id, &reply);
    }

    /// The client of a connection has closed its side: nobody waits for a scan that it asked for.
    pub(super) fn cancel_top_of_gone(&mut self, index: u32) {
        let is_its = |asked: &mut TopAsked| asked.connection.index == index;
        if let Some(asked) = self.top_asked.take_if(is_its) {
            asked.scan.is_cancelled.store(true, Ordering::Relaxed);
            let is_parked =
                self.connections.at(index).is_some_and(|gone| gone.session.state == State::Parked);
            if is_parked {
                self.answer_parked(asked.connection, CANCELLED);
            }
        }
    }
}
