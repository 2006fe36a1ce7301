//! A client's connection: commands in, replies out in the order of the commands.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use windrow_engine::Stream;
use windrow_engine::args::Args;
use windrow_engine::madd::MaddHeader;

use crate::client::{ClientEvent, Command, Reply};
use crate::model::{Place, StreamModel};

/// A reply, and what it shows.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// The newest operation that it says was counted or removed: acknowledged by it.
    pub acknowledges: Option<Place>,
    /// The newest operation that it shows.
    pub shows: Option<Place>,
}

impl Answer {
    /// One that shows nothing.
    pub fn plain(reply: Reply) -> Answer {
        Answer { reply, acknowledges: None, shows: None }
    }
}

/// A reply in the making.
#[derive(Debug)]
pub struct Slot {
    /// Its number.
    pub number: u64,
    /// The command.
    pub command: u64,
    /// A row, or several, that leave together.
    rows: Vec<Row>,
    /// Whether it is an array.
    is_array: bool,
}

/// A part of a reply, once it is there, and the position of this shard's log that it waits for.
#[derive(Debug, Default)]
struct Row {
    answer: Option<Answer>,
    position: u64,
}

/// Where an answer goes: slot and row.
pub type ReplyTo = (u64, usize);

/// Words of a command, as the engine reads them.
pub struct Words(pub Vec<Vec<u8>>);

impl Args for Words {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> &[u8] {
        &self.0[index]
    }
}

/// An EVENT.MADD that is being issued, some rows a tick.
pub struct Job {
    /// The rows.
    pub rows: Rc<[Rc<ClientEvent>]>,
    /// The command's arguments.
    pub args: Words,
    /// What they begin with.
    pub header: MaddHeader,
    /// The stream as it was when the command came.
    pub stream: Arc<Stream>,
    /// The same, to the model.
    pub model: StreamModel,
    /// Whether the rows have ids.
    pub has_ids: bool,
    /// Where the replies go.
    pub slot: u64,
    /// The next row.
    pub next: usize,
}

/// A connection.
#[derive(Default)]
pub struct Connection {
    /// Counts the connections that this client has had.
    pub generation: u64,
    /// The shard that it belongs to.
    pub home: usize,
    /// Commands that were sent, with the step at which each arrives.
    pub incoming: VecDeque<(u64, u64, Command)>,
    /// Replies that left.
    pub outgoing: VecDeque<(u64, Reply)>,
    /// Replies that wait.
    pub slots: VecDeque<Slot>,
    /// The next slot.
    next_slot: u64,
    /// Writes under way to each shard.
    pub writes_away: Vec<usize>,
    /// A change of the catalogue is under way: the next command waits for it.
    pub waits_for_change: bool,
    /// A command of rows that is not issued whole: the next command waits for it.
    pub job: Option<Box<Job>>,
}

impl Connection {
    /// A fresh one.
    pub fn new(generation: u64, home: usize, shards: usize) -> Connection {
        Connection { generation, home, writes_away: vec![0; shards], ..Connection::default() }
    }

    /// Opens a slot for a command's reply.
    pub fn open(&mut self, command: u64) -> u64 {
        self.open_rows(command, 1, false)
    }

    /// Opens a slot for a reply of so many rows.
    pub fn open_rows(&mut self, command: u64, rows: usize, is_array: bool) -> u64 {
        let number = self.next_slot;
        self.next_slot += 1;
        let rows = (0..rows).map(|_| Row::default()).collect();
        self.slots.push_back(Slot { number, command, rows, is_array });
        number
    }

    /// Fills a row of a slot.
    pub fn fill(&mut self, (number, row): ReplyTo, answer: Answer, position: u64) {
        let slot = self.slots.iter_mut().find(|slot| slot.number == number);
        let row = &mut slot.expect("a slot stays until it is filled").rows[row];
        assert!(row.answer.is_none(), "slot {number} is filled twice");
        *row = Row { answer: Some(answer), position };
    }

    /// The log has failed: writes behind what had been released have an unknown outcome.
    pub fn fail_writes(&mut self, kept: u64) {
        for row in self.slots.iter_mut().flat_map(|slot| &mut slot.rows) {
            if let Some(answer) = row.answer.as_mut().filter(|_| row.position > kept) {
                *answer = Answer::plain(failed(&answer.reply));
                row.position = 0;
            }
        }
    }

    /// The next reply that may leave: its command, its answers, and whether it is an array of them.
    pub fn release(&mut self, releasable: u64) -> Option<(u64, Vec<Answer>, bool)> {
        let front = self.slots.front()?;
        if front.rows.iter().any(|row| row.answer.is_none() || row.position > releasable) {
            return None;
        }
        let slot = self.slots.pop_front()?;
        let answers = slot.rows.into_iter().filter_map(|row| row.answer).collect();
        Some((slot.command, answers, slot.is_array))
    }
}

/// What a reply becomes when the log has failed before it could leave.
pub fn failed(reply: &Reply) -> Reply {
    match reply {
        Reply::Row => Reply::TryAgain,
        _ => Reply::Unknown,
    }
}
