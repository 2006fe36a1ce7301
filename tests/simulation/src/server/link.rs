//! Messages between shards: batches that make the round trip, in order, with credits and delays.

use std::collections::VecDeque;
use std::sync::Arc;

use windrow_engine::Stream;
use windrow_window::range::RangePlan;
use windrow_window::{Query, ReadTime};

use super::connection::{Answer, ReplyTo};
use crate::model::judge::Arriving;
use crate::model::when::{Pairs, Range, Times, When};
use crate::model::{Event, StreamModel};

/// Batches that a shard may have under way to another one.
pub const CREDITS: usize = 2;
/// Questions in a batch at most.
pub const BATCH_MAX: usize = 8;

/// What a shard asks the owner of an entity.
pub enum Question {
    /// To count an event.
    Add(Box<Write>),
    /// To delete an entity.
    Remove {
        /// The operation.
        op: Vec<u8>,
        /// The entity.
        entity: usize,
        /// Of one stream, or of all.
        stream: Option<u32>,
    },
    /// To read an entity.
    Read(Box<Read>),
}

/// An event on its way.
pub struct Write {
    /// The operation.
    pub op: Vec<u8>,
    /// Its stream.
    pub stream: u32,
    /// What the model knows of it.
    pub arriving: Arriving,
    /// As it would be counted; the rest is filled in where it is.
    pub event: Event,
}

/// A read that was prepared.
pub struct Read {
    /// The stream as the receiver knows it.
    pub stream: Arc<Stream>,
    /// The same, to the model.
    pub model: StreamModel,
    /// What is asked.
    pub what: What,
    /// The stream's times when it was received.
    pub times: Times,
    /// The entity.
    pub entity: usize,
}

/// What is read of an entity.
pub enum What {
    /// A row.
    Row {
        /// What is asked.
        query: Query,
        /// When.
        time: ReadTime,
        /// The same, to the model.
        when: When,
    },
    /// Pairs.
    Pairs {
        /// Which.
        plan: RangePlan,
        /// The same, to the model.
        range: Range,
        /// As the model answers it.
        pairs: Pairs,
    },
}

/// One question and where its answer goes.
pub struct Item {
    /// The connection.
    pub connection: usize,
    /// Which life of it.
    pub generation: u64,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// Whether it is a write.
    pub is_write: bool,
    /// The question, until it is answered.
    pub question: Option<Question>,
    /// The answer.
    pub answer: Option<Answer>,
}

/// Questions that travel together.
#[derive(Default)]
pub struct Batch {
    /// The asker's version of the catalogue.
    pub version: u64,
    /// The questions.
    pub items: Vec<Item>,
}

/// One direction of a link: batches arrive in order, no sooner than their step.
#[derive(Default)]
pub struct Wire {
    batches: VecDeque<(u64, Batch)>,
}

impl Wire {
    /// Sends.
    pub fn send(&mut self, arrives: u64, batch: Batch) {
        let last = self.batches.back().map_or(0, |(arrives, _)| *arrives);
        self.batches.push_back((arrives.max(last), batch));
    }

    /// The next that has arrived.
    pub fn receive(&mut self, step: u64) -> Option<Batch> {
        if self.batches.front().is_some_and(|(arrives, _)| *arrives <= step) {
            self.batches.pop_front().map(|(_, batch)| batch)
        } else {
            None
        }
    }

    /// Whether nothing is on the way.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}
