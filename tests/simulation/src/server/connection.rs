//! A client's connection: commands in, replies out in the order of the commands.

use std::collections::VecDeque;

use crate::client::{Command, Reply};
use crate::model::Place;

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
    /// The reply, once it is there.
    pub answer: Option<Answer>,
    /// The position of this shard's log that it waits for.
    pub position: u64,
}

/// A connection.
#[derive(Debug, Default)]
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
}

impl Connection {
    /// A fresh one.
    pub fn new(generation: u64, home: usize, shards: usize) -> Connection {
        Connection { generation, home, writes_away: vec![0; shards], ..Connection::default() }
    }

    /// Opens a slot for a command's reply.
    pub fn open(&mut self, command: u64) -> u64 {
        let number = self.next_slot;
        self.next_slot += 1;
        self.slots.push_back(Slot { number, command, answer: None, position: 0 });
        number
    }

    /// Fills a slot.
    pub fn fill(&mut self, number: u64, answer: Answer, position: u64) {
        let slot = self.slots.iter_mut().find(|slot| slot.number == number);
        let slot = slot.expect("a slot stays until it is filled");
        assert!(slot.answer.is_none(), "slot {number} is filled twice");
        slot.answer = Some(answer);
        slot.position = position;
    }

    /// The log has failed: writes behind what had been released have an unknown outcome.
    pub fn fail_writes(&mut self, kept: u64) {
        for slot in &mut self.slots {
            if let Some(answer) = slot.answer.as_mut().filter(|_| slot.position > kept) {
                *answer = Answer::plain(failed(&answer.reply));
                slot.position = 0;
            }
        }
    }

    /// The next reply that may leave.
    pub fn release(&mut self, releasable: u64) -> Option<(u64, Answer)> {
        let front = self.slots.front()?;
        if front.answer.is_none() || front.position > releasable {
            return None;
        }
        let slot = self.slots.pop_front()?;
        slot.answer.map(|answer| (slot.command, answer))
    }
}

/// What a reply becomes when the log has failed before it could leave.
pub fn failed(reply: &Reply) -> Reply {
    match reply {
        Reply::Row => Reply::TryAgain,
        _ => Reply::Unknown,
    }
}
