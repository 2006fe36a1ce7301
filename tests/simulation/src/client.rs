//! Clients: what they ask, what they do when an answer does not come.

use std::collections::VecDeque;
use std::rc::Rc;

use windrow_engine::Outcome;

use crate::dice::Dice;
use crate::model::Aggregate;
use crate::model::stream::KINDS;
use crate::model::when::{At, Range, When};
use crate::plan::Extras;

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
    /// EVENT.MADD: rows of one stream.
    Madd(Rc<[Rc<ClientEvent>]>),
    /// WINDOW.GET.
    Read {
        /// The stream.
        stream: &'static str,
        /// The entity.
        entity: usize,
        /// When.
        when: When,
    },
    /// WINDOW.RANGE.
    Range {
        /// The stream.
        stream: &'static str,
        /// The entity.
        entity: usize,
        /// What is asked.
        range: Range,
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
    /// STREAM.CREATE … BACKFILL FROM another one.
    CreateFrom(&'static str, usize, &'static str),
    /// STREAM.ALTER ADD AGGREGATE … BACKFILL.
    Fill(&'static str, Aggregate),
    /// FLUSHALL.
    Flush,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// What became of an event.
    Event(Outcome),
    /// What became of each row.
    Rows(Vec<Reply>),
    /// -MISCONF: not applied.
    Misconf,
    /// -OOM: not applied.
    OutOfMemory,
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
/// Rows of an EVENT.MADD at most.
const ROWS_MAX: usize = 7;

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
            match command {
                Command::Add(event) => self.push_again(event),
                Command::Madd(rows) => rows.iter().rev().for_each(|row| self.push_again(Rc::clone(row))),
                _ => {}
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
            Command::Add(_) => is_of_event(reply),
            Command::Madd(rows) => match reply {
                Reply::Rows(replies) => replies.len() == rows.len() && replies.iter().all(is_of_event),
                reply => matches!(reply, Reply::Error(_)),
            },
            Command::Read { .. } | Command::Range { .. } => {
                matches!(reply, Reply::Row | Reply::TryAgain | Reply::Error(_))
            }
            Command::Delete { .. } => {
                matches!(
                    reply,
                    Reply::Removed(_)
                        | Reply::Misconf
                        | Reply::OutOfMemory
                        | Reply::Unknown
                        | Reply::Error(_)
                )
            }
            Command::Change(_) => matches!(reply, Reply::Changed | Reply::Misconf | Reply::Error(_)),
        };
        if !fits {
            return Err(format!("{command:?} was answered by {reply:?}"));
        }
        match (command, reply) {
            (Command::Add(event), reply) if is_undecided(reply) => self.push_again(event),
            (Command::Madd(rows), Reply::Rows(replies)) => {
                for (row, _) in rows.iter().zip(replies).filter(|(_, reply)| is_undecided(reply)) {
                    self.push_again(Rc::clone(row));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Which of the commands that not every history has it asks next, if any.
    fn next_extra(
        &mut self,
        dice: &mut Dice,
        extras: &Extras,
        entities: u64,
        now_ms: i64,
        next_number: &mut u64,
        live: &[(&'static str, usize)],
    ) -> Option<Command> {
        if !dice.chance(extras.percent) {
            return None;
        }
        if self.again.len() > 1 && dice.chance(extras.madd_weight) {
            return Some(self.rows_again(dice));
        }
        let entity = dice.below(entities) as usize;
        let (stream, kind) = live.first().map(|_| dice.pick(live))?;
        let weights = [
            extras.madd_weight,
            extras.past_weight,
            extras.range_weight,
            extras.fill_weight,
            extras.flush_weight,
        ];
        if weights.iter().sum::<u64>() == 0 {
            return None;
        }
        match dice.weighted(&weights) {
            0 => Some(self.rows(dice, entities, now_ms, next_number, (stream, kind))),
            1 => Some(Command::Read { stream, entity, when: when(dice, now_ms, kind) }),
            2 => Some(Command::Range { stream, entity, range: range(dice, now_ms, kind) }),
            3 => fill(dice, (stream, kind)).map(Command::Change),
            _ => Some(Command::Change(Change::Flush)),
        }
    }

    /// Events that have to be sent again, as rows: as many of the first as one command can hold.
    fn rows_again(&mut self, dice: &mut Dice) -> Command {
        let rows_max = 2 + dice.index(ROWS_MAX - 1);
        let mut rows: Vec<Rc<ClientEvent>> = Vec::new();
        while rows.len() < rows_max
            && let Some(next) = self.again.front()
            && rows.last().is_none_or(|last| {
                let follows = match (last.source, next.source) {
                    (Some((_, last)), Some((_, next))) => next == last + 1,
                    (last, next) => last.is_none() && next.is_none(),
                };
                follows && last.stream == next.stream && last.id.is_some() == next.id.is_some()
            })
        {
            rows.extend(self.again.pop_front());
        }
        Command::Madd(rows.into())
    }

    /// New events, as rows.
    fn rows(
        &mut self,
        dice: &mut Dice,
        entities: u64,
        now_ms: i64,
        next_number: &mut u64,
        (stream, kind): (&'static str, usize),
    ) -> Command {
        let has_ids = KINDS[kind].dedup_ms.is_some() && dice.chance(70);
        let has_source = self.has_source && self.again.is_empty() && dice.chance(80);
        let count = 1 + dice.index(ROWS_MAX);
        // One entity or several: rows of one group of hash slots, or rows of many shards.
        let entity = dice.chance(30).then(|| dice.below(entities) as usize);
        let mut row = |client: &mut Self| {
            *next_number += 1;
            let source = has_source.then(|| {
                client.next_seq += 1;
                (client.number, client.next_seq)
            });
            Rc::new(ClientEvent {
                number: *next_number,
                stream,
                entity: entity.unwrap_or_else(|| dice.below(entities) as usize),
                ts: now_ms + offset_ms(dice),
                n: dice.between(-1_000_000_000, 1_000_000_000),
                s: dice.pick(&TEXTS),
                id: has_ids.then(|| dice.word()),
                source,
            })
        };
        let rows: Vec<_> = (0..count).map(|_| row(self)).collect();
        rows.iter().for_each(|row| self.remember(row));
        Command::Madd(rows.into())
    }

    fn remember(&mut self, event: &Rc<ClientEvent>) {
        if self.sent.len() == SENT_KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back(Rc::clone(event));
    }

    /// What it asks next. `live`: streams that it knows to be there, by kind. `apart`: chance for what `extras` says, and nothing else.
    pub fn next(
        &mut self,
        (dice, apart): (&mut Dice, &mut Dice),
        (entities, extras): (u64, &Extras),
        now_ms: i64,
        next_number: &mut u64,
        live: &[(&'static str, usize)],
    ) -> Option<Command> {
        if let Some(extra) = self.next_extra(apart, extras, entities, now_ms, next_number, live) {
            return Some(extra);
        }
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
                Some(Command::Read { stream, entity, when: When::default() })
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
        let offset = offset_ms(dice);
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
        self.remember(&event);
        Some(Command::Add(event))
    }
}

/// How far an event's time is from the present.
fn offset_ms(dice: &mut Dice) -> i64 {
    match dice.weighted(&[50, 30, 10, 5, 5]) {
        0 => 0,
        1 => -dice.between(0, 3_000),
        2 => dice.between(0, 3_000),
        3 => -dice.between(0, 100_000),
        _ => dice.between(0, 30_000),
    }
}

/// Whether an event may have this reply.
fn is_of_event(reply: &Reply) -> bool {
    matches!(reply, Reply::Event(_) | Reply::Misconf | Reply::OutOfMemory | Reply::Unknown | Reply::Error(_))
}

/// Whether an event with this reply must be sent again.
fn is_undecided(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Misconf | Reply::OutOfMemory | Reply::Unknown | Reply::Event(Outcome::SeqGap { .. })
    )
}

/// A time to look at; now and then one that is not kept, or an option that the stream does not take.
fn when(dice: &mut Dice, now_ms: i64, kind: usize) -> When {
    let at = match dice.weighted(&[30, 50, 20]) {
        0 => At::Now,
        1 => At::Time(now_ms + dice.between(-6_000, 1_000)),
        _ => At::Event,
    };
    let is_final = dice.chance(if KINDS[kind].lateness_ms.is_some() { 30 } else { 2 });
    When {
        at,
        offset_ms: dice.chance(30).then(|| dice.between(0, 4_000)),
        hop_ms: dice.chance(20).then(|| dice.between(1, 5_000)),
        is_final,
        is_excluding: dice.chance(40),
    }
}

/// A backfill of a stream's own events, or of another's.
fn fill(dice: &mut Dice, (stream, kind): (&'static str, usize)) -> Option<Change> {
    if dice.chance(50) {
        let aggregate =
            dice.pick(&[Aggregate::Min, Aggregate::Max, Aggregate::Distinct, Aggregate::LastThree]);
        return KINDS[kind].may_be_altered.then_some(Change::Fill(stream, aggregate));
    }
    let into = dice.index(KINDS.len());
    Some(Change::CreateFrom(dice.pick(&STREAMS), into, stream))
}

/// A range to look at; now and then one that is not kept, or buckets that there are none for.
fn range(dice: &mut Dice, now_ms: i64, kind: usize) -> Range {
    let widths: Vec<i64> = KINDS[kind].tiers().map(|tier| tier.width_ms).collect();
    let aggregate = dice.pick(KINDS[kind].aggregates);
    let back_ms = if dice.chance(80) { 9_000 } else { 70_000 };
    let from_ms = now_ms - dice.between(-2_000, back_ms);
    let step_ms = match dice.below(10) {
        0..4 => None,
        4..9 => Some(dice.pick(&widths) * dice.between(1, 3)),
        _ => Some(700),
    };
    Range { aggregate, from_ms, to_ms: from_ms + dice.between(0, 12_000), step_ms }
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
