//! A connection that writes until it is told to stop or the server dies, and keeps its part of the ledger.
//!
//! Events of three kinds: plain ones (sent once), ones with an id, and ones of a source with a sequence number. What was not answered
//! is sent again in the same order, on the next connection, when it has an id or a number: then it counts exactly once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::entity::{Entity, Step};
use super::findings::Findings;
use crate::resp::{Conn, Reply, encode_words};

/// How an event says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does not.
    Plain,
    /// By an id.
    Id,
    /// By a source and a number.
    Source,
}

/// All kinds; also the order of whatever is kept for each.
pub const KINDS: [Kind; 3] = [Kind::Plain, Kind::Id, Kind::Source];

/// Entities of a kind that a writer writes to at the same time.
const ACTIVE: usize = 4;
/// Operations that are sent before a reply is read.
const BATCH_MAX: usize = 40;
/// One batch in so many deletes an entity too.
const DELETES: u32 = 12;
/// After a refusal there is time.
const REFUSED_PAUSE: Duration = Duration::from_millis(3);

/// How many entities of each kind a writer has begun: by these a reader knows their names.
pub type Begun = [AtomicUsize; 3];

/// The name of an entity.
pub fn entity_name(writer: usize, kind: Kind, number: usize) -> String {
    format!("w{writer}-{kind:?}-{number}").to_lowercase()
}

/// What a writer has come to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Operations that were refused before they were applied.
    pub refused: u64,
    /// Operations whose outcome the server did not know.
    pub unknown: u64,
    /// Events that were sent again.
    pub retried: u64,
}

/// A writer and its part of the ledger.
#[derive(Debug)]
pub struct Writer {
    place: usize,
    random: StdRng,
    begun: Arc<[Begun]>,
    entities: [Vec<Entity>; 3],
    /// Undecided events that can be sent again, in the order in which they were sent.
    pending: VecDeque<Op>,
    next_seq: u64,
    /// When it was last answered with an acknowledgement.
    pub last_acknowledged: Option<Instant>,
    /// What it has come to.
    pub counts: Counts,
    /// What it met that no fault explains.
    pub findings: Findings,
}

#[derive(Debug, Clone, Copy)]
struct Op {
    kind: Kind,
    entity: usize,
    step: Step,
    seq: u64,
    /// This attempt put it into the ledger.
    is_new: bool,
}

impl Writer {
    /// One of several; `begun` has a place for each.
    pub fn new(place: usize, seed: u64, begun: Arc<[Begun]>) -> Writer {
        Writer {
            place,
            random: StdRng::seed_from_u64(seed ^ (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            begun,
            entities: [Vec::new(), Vec::new(), Vec::new()],
            pending: VecDeque::new(),
            next_seq: 1,
            last_acknowledged: None,
            counts: Counts::default(),
            findings: Findings::default(),
        }
    }

    /// All its entities.
    pub fn entities_mut(&mut self) -> impl Iterator<Item = &mut Entity> {
        self.entities.iter_mut().flatten()
    }

    /// Whether something is to be sent again.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes until told to stop, or until the connection breaks.
    pub fn run(&mut self, addr: SocketAddr, stop: &AtomicBool) {
        let Ok(mut conn) = Conn::open(addr) else { return };
        while !stop.load(Ordering::Relaxed) {
            let (ops, is_one_command) = if self.has_pending() && self.random.random_ratio(3, 4) {
                (self.again(), false)
            } else {
                self.next_batch()
            };
            if self.exchange(&mut conn, ops, is_one_command).is_err() {
                return;
            }
        }
    }

    /// Sends again what is undecided until nothing is.
    pub fn settle(&mut self, addr: SocketAddr) -> io::Result<()> {
        let mut conn = Conn::open(addr)?;
        while self.has_pending() {
            let ops = self.again();
            self.exchange(&mut conn, ops, false)?;
        }
        Ok(())
    }

    /// The first of what is undecided.
    fn again(&mut self) -> Vec<Op> {
        let count = self.random.random_range(1..=BATCH_MAX).min(self.pending.len());
        self.counts.retried += count as u64;
        self.pending.drain(..count).collect()
    }

    /// New events of one kind over its active entities; as one command, or one command each.
    fn next_batch(&mut self) -> (Vec<Op>, bool) {
        // What is undecided comes first, of its kind.
        let kind =
            if self.has_pending() { Kind::Plain } else { KINDS[self.random.random_range(0..KINDS.len())] };
        let is_one_command = self.random.random_ratio(1, 2);
        let mut ops = Vec::new();
        for _ in 0..self.random.random_range(1..=BATCH_MAX) {
            let op = self.next_event(kind);
            ops.push(op);
        }
        if !is_one_command && self.random.random_ratio(1, DELETES) {
            let entity = ops[ops.len() - 1].entity;
            let delete = Op { kind, entity, step: Step::Delete, seq: 0, is_new: false };
            match kind {
                Kind::Plain => ops.insert(self.random.random_range(0..=ops.len()), delete),
                // Alone: then nothing that is sent again can be older than it.
                _ if self.entities[kind as usize][entity].is_decided() => return (vec![delete], false),
                _ => {}
            }
        }
        (ops, is_one_command)
    }

    fn next_event(&mut self, kind: Kind) -> Op {
        let entities = &mut self.entities[kind as usize];
        let first = entities.len().saturating_sub(ACTIVE);
        let chosen = first + self.random.random_range(0..ACTIVE);
        let next = entities.get_mut(chosen).and_then(|entity| Some((chosen, entity.next_bit()?)));
        let (entity, bit) = next.unwrap_or_else(|| {
            let mut entity = Entity::new(entity_name(self.place, kind, entities.len()));
            let bit = entity.next_bit().expect("a new entity has had no event");
            entities.push(entity);
            self.begun[self.place][kind as usize].store(entities.len(), Ordering::Release);
            (entities.len() - 1, bit)
        });
        let mut seq = 0;
        if kind == Kind::Source {
            seq = self.next_seq;
            self.next_seq += 1;
        }
        Op { kind, entity, step: Step::Event(bit), seq, is_new: false }
    }

    /// Sends a batch and reads its replies. Fails when the connection breaks.
    fn exchange(&mut self, conn: &mut Conn, mut ops: Vec<Op>, is_one_command: bool) -> io::Result<()> {
        for op in &mut ops {
            op.is_new = self.entities[op.kind as usize][op.entity].send(op.step);
        }
        let bytes = if is_one_command { self.as_one_command(&ops) } else { self.as_commands(&ops) };
        let mut replies = Vec::with_capacity(ops.len());
        let outcome = conn.send(&bytes).and_then(|()| {
            if is_one_command {
                let rows = match conn.read()? {
                    Reply::Array(rows) => rows,
                    // Of the whole command.
                    reply => vec![reply; ops.len()],
                };
                let now = Instant::now();
                replies.extend(rows.into_iter().map(|row| (row, now)));
            } else {
                for _ in &ops {
                    // When each came: the next one may be long in coming.
                    replies.push((conn.read()?, Instant::now()));
                }
            }
            Ok(())
        });
        let mut undecided = Vec::new();
        let mut is_refused = false;
        for (place, op) in ops.iter().enumerate() {
            let is_decided = match replies.get(place) {
                Some((reply, now)) => self.note_reply(*op, reply, *now),
                None => false,
            };
            is_refused |= !is_decided && replies.len() > place;
            if !is_decided && op.kind != Kind::Plain && op.step != Step::Delete {
                undecided.push(*op);
            }
        }
        // Those that were sent again stood before all that are still waiting.
        for op in undecided.into_iter().rev() {
            self.pending.push_front(op);
        }
        if is_refused {
            std::thread::sleep(REFUSED_PAUSE);
        }
        outcome
    }

    /// Whether the reply decides the operation.
    fn note_reply(&mut self, op: Op, reply: &Reply, now: Instant) -> bool {
        let entity = &mut self.entities[op.kind as usize][op.entity];
        match reply {
            Reply::Simple(text) if text == "OK" || text == "DUPLICATE" => {}
            Reply::Int(_) if op.step == Step::Delete => {}
            Reply::Error(text) if is_refusal(text) => {
                if op.is_new {
                    entity.refuse(op.step);
                }
                self.counts.refused += 1;
                return false;
            }
            Reply::Error(text) if text.starts_with("MISCONF") && text.contains("outcome is unknown") => {
                self.counts.unknown += 1;
                return false;
            }
            other => {
                self.findings.wrong_answer(format!("{op:?} to {} was answered {other:?}", entity.name()));
                return false;
            }
        }
        entity.acknowledge(op.step, now);
        self.last_acknowledged = Some(now);
        self.counts.acknowledged += 1;
        true
    }

    fn as_commands(&self, ops: &[Op]) -> Vec<u8> {
        ops.iter().flat_map(|op| encode_words(&self.as_command(op))).collect()
    }

    fn as_command(&self, op: &Op) -> String {
        let entity = self.entities[op.kind as usize][op.entity].name();
        let Step::Event(bit) = op.step else { return format!("ENTITY.DEL {entity} load") };
        let value = 1i64 << bit;
        let mark = match op.kind {
            Kind::Plain => String::new(),
            Kind::Id => format!("ID id{bit} "),
            Kind::Source => format!("SOURCE feed{} {} ", self.place, op.seq),
        };
        format!("EVENT.ADD {entity} load {mark}* bits {value} twin {value}")
    }

    /// EVENT.MADD: its rows of a source have ascending numbers, which new events have.
    fn as_one_command(&self, ops: &[Op]) -> Vec<u8> {
        let options = match ops[0].kind {
            Kind::Plain => String::new(),
            Kind::Id => "WITHIDS ".to_owned(),
            Kind::Source => format!("SOURCE feed{} {} ", self.place, ops[0].seq),
        };
        let mut command = format!("EVENT.MADD load FIELDS 2 bits twin {options}EVENTS");
        for op in ops {
            let Step::Event(bit) = op.step else { unreachable!("a deletion is a command of its own") };
            let id = if op.kind == Kind::Id { format!(" id{bit}") } else { String::new() };
            let value = 1i64 << bit;
            command +=
                &format!(" {} *{id} {value} {value}", self.entities[op.kind as usize][op.entity].name());
        }
        encode_words(&command)
    }
}

/// Whether an error says that nothing was applied, so that the event may be sent again or forgotten.
fn is_refusal(text: &str) -> bool {
    (text.starts_with("MISCONF") && text.contains("not applied")) || text.starts_with("SEQGAP")
}
