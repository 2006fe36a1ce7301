//! Clients: what they ask, what they do when an answer does not come.

use std::collections::VecDeque;
use std::rc::Rc;

use windrow_engine::Outcome;

use crate::dice::Dice;
use crate::model::Aggregate;
use crate::model::stream::KINDS;

/// Names that streams can have.
pub const STREAMS: [&str; 3] = ["alpha", "beta", "gamma"];

/// Values of the STRING field.
pub const TEXTS: [&str; 7] =
    ["red", "green", "blue", "white", "black", "a colour that takes more than a word", LONG_TEXT];

/// Fills a segment soon, and leaves room for a shorter one.
const LONG_TEXT: &str = match std::str::from_utf8(&[b'x'; 700]) {
    Ok(text) => text,
    Err(_) => panic!("it is ASCII"),
};

/// An event as a client knows it.
#[derive(Debug)]
pub struct ClientEvent {
    /// Its number among all events.
    pub number: u64,
    /// Its stream.
    pub stream: &'static str,
    /// Its entity.
    pub entity: usize,
    /// Its time.
    pub ts: i64,
    /// Field `n`.
    pub n: i64,
    /// Field `s`.
    pub s: &'static str,
    /// ID.
    pub id: Option<u64>,
    /// SOURCE and sequence number.
    pub source: Option<(u64, u64)>,
}

impl ClientEvent {
    /// Whether it can be sent again without being counted twice.
    pub fn is_marked(&self) -> bool {
        self.id.is_some() || self.source.is_some()
    }
}

/// A command.
#[derive(Debug, Clone)]
pub enum Command {
    /// EVENT.ADD.
    Add(Rc<ClientEvent>),
    /// WINDOW.GET.
    Read {
        /// The stream.
        stream: &'static str,
        /// The entity.
        entity: usize,
    },
    /// ENTITY.DEL.
    Delete {
        /// The entity.
        entity: usize,
        /// Of one stream, or of all.
        stream: Option<&'static str>,
    },
    /// STREAM.CREATE, ALTER or DROP.
    Change(Change),
}

/// A change of the catalogue.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// STREAM.CREATE.
    Create(&'static str, usize),
    /// STREAM.ALTER ADD AGGREGATE, or DROP AGGREGATE.
    Alter(&'static str, Aggregate, bool),
    /// STREAM.DROP.
    Drop(&'static str),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// What became of an event.
    Event(Outcome),
    /// -MISCONF: not applied.
    Misconf,
    /// -MISCONF: the outcome is unknown.
    Unknown,
    /// A row; it was compared where it was read.
    Row,
    /// -TRYAGAIN.
    TryAgain,
    /// So many entities are gone.
    Removed(usize),
    /// +OK.
    Changed,
    /// Another error.
    Error(String),
}

/// One client, with one connection at a time.
#[derive(Debug)]
pub struct Client {
    /// Commands that wait for their reply, in the order sent.
    pub pending: VecDeque<(u64, Command)>,
    /// Events to be sent again, the first first.
    pub again: VecDeque<Rc<ClientEvent>>,
    next_seq: u64,
    number: u64,
    /// Some clients send no sequence numbers.
    has_source: bool,
    /// Some of the latest events, to be sent once more for no reason.
    sent: VecDeque<Rc<ClientEvent>>,
}

/// How many events a client remembers to send once more.
const SENT_KEPT: usize = 6;

impl Client {
    /// The client of a number.
    pub fn new(number: u64, dice: &mut Dice) -> Client {
        Client {
            pending: VecDeque::new(),
            again: VecDeque::new(),
            next_seq: dice.below(3),
            number,
            has_source: dice.chance(50),
            sent: VecDeque::new(),
        }
    }

    /// The connection is gone: what has no reply is sent again, if that cannot count it twice.
    pub fn disconnect(&mut self) {
        let lost = std::mem::take(&mut self.pending);
        for (_, command) in lost.into_iter().rev() {
            if let Command::Add(event) = command {
                self.push_again(event);
            }
        }
    }

    /// Puts an event in front of those to be sent again; those of a source stay in the order of their numbers.
    fn push_again(&mut self, event: Rc<ClientEvent>) {
        if !event.is_marked() {
            return;
        }
        let seq = event.source.map(|(_, seq)| seq);
        let at = self.again.iter().position(|other| {
            seq.is_none() || other.source.is_none() || other.source.map(|(_, seq)| seq) >= seq
        });
        match at {
            Some(at) if self.again[at].number == event.number => {}
            Some(at) => self.again.insert(at, event),
            None => self.again.push_back(event),
        }
    }

    /// A reply came: the first of those that wait.
    ///
    /// # Errors
    /// A reply that no such command may have.
    pub fn receive(&mut self, id: u64, reply: &Reply) -> Result<(), String> {
        let Some((expected, command)) = self.pending.pop_front() else {
            return Err(format!("a reply came that nobody waits for: {reply:?}"));
        };
        if expected != id {
            return Err(format!("the reply of command {id} came before that of {expected}"));
        }
        let fits = match &command {
            Command::Add(_) => {
                matches!(reply, Reply::Event(_) | Reply::Misconf | Reply::Unknown | Reply::Error(_))
            }
            Command::Read { .. } => matches!(reply, Reply::Row | Reply::TryAgain | Reply::Error(_)),
            Command::Delete { .. } => {
                matches!(reply, Reply::Removed(_) | Reply::Misconf | Reply::Unknown | Reply::Error(_))
            }
            Command::Change(_) => matches!(reply, Reply::Changed | Reply::Misconf | Reply::Error(_)),
        };
        if !fits {
            return Err(format!("{command:?} was answered by {reply:?}"));
        }
        if let (Command::Add(event), Reply::Misconf | Reply::Unknown | Reply::Event(Outcome::SeqGap { .. })) =
            (command, reply)
        {
            self.push_again(event);
        }
        Ok(())
    }

    /// What it asks next. `live`: streams that it knows to be there, by kind.
    pub fn next(
        &mut self,
        dice: &mut Dice,
        entities: u64,
        now_ms: i64,
        next_number: &mut u64,
        live: &[(&'static str, usize)],
    ) -> Option<Command> {
        if !self.again.is_empty() && dice.chance(70) {
            return self.again.pop_front().map(Command::Add);
        }
        let entity = dice.below(entities) as usize;
        if live.is_empty() && dice.chance(60) {
            return Some(Command::Change(Change::Create(dice.pick(&STREAMS), dice.index(KINDS.len()))));
        }
        match dice.weighted(&[60, 20, 4, 4, 12]) {
            0 => self.event(dice, entity, now_ms, next_number, live),
            1 => {
                let stream = live.first().map_or(STREAMS[0], |_| dice.pick(live).0);
                Some(Command::Read { stream, entity })
            }
            2 => Some(Command::Delete { entity, stream: dice.chance(50).then(|| dice.pick(&STREAMS)) }),
            3 => change(dice, live).map(Command::Change),
            _ => {
                if self.sent.is_empty() {
                    return None;
                }
                let event = &self.sent[dice.index(self.sent.len())];
                // What waits in line is not overtaken by itself.
                let waits = self.again.iter().any(|other| other.number == event.number);
                (event.is_marked() && !waits).then(|| Command::Add(Rc::clone(event)))
            }
        }
    }

    fn event(
        &mut self,
        dice: &mut Dice,
        entity: usize,
        now_ms: i64,
        next_number: &mut u64,
        live: &[(&'static str, usize)],
    ) -> Option<Command> {
        let (stream, kind) = if live.is_empty() { (STREAMS[0], 0) } else { dice.pick(live) };
        let offset = match dice.weighted(&[50, 30, 10, 5, 5]) {
            0 => 0,
            1 => -dice.between(0, 3_000),
            2 => dice.between(0, 3_000),
            3 => -dice.between(0, 100_000),
            _ => dice.between(0, 30_000),
        };
        let id = (KINDS[kind].dedup_ms.is_some() && dice.chance(70)).then(|| dice.word());
        // A source waits until what was left undecided is decided.
        let may_number = self.has_source && self.again.is_empty();
        let source = (may_number && dice.chance(80)).then(|| {
            self.next_seq += 1 + dice.below(2);
            (self.number, self.next_seq)
        });
        *next_number += 1;
        let event = Rc::new(ClientEvent {
            number: *next_number,
            stream,
            entity,
            ts: now_ms + offset,
            n: dice.between(-1_000_000_000, 1_000_000_000),
            s: dice.pick(&TEXTS),
            id,
            source,
        });
        if self.sent.len() == SENT_KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back(Rc::clone(&event));
        Some(Command::Add(event))
    }
}

fn change(dice: &mut Dice, live: &[(&'static str, usize)]) -> Option<Change> {
    let stream = dice.pick(&STREAMS);
    match dice.weighted(&[50, 38, 12]) {
        0 => Some(Change::Create(stream, dice.index(KINDS.len()))),
        1 => {
            let (stream, kind) = live.first().map(|_| dice.pick(live))?;
            let aggregate = dice.pick(&[Aggregate::Min, Aggregate::Max, Aggregate::Distinct]);
            KINDS[kind].may_be_altered.then(|| Change::Alter(stream, aggregate, dice.chance(60)))
        }
        _ => Some(Change::Drop(stream)),
    }
}
