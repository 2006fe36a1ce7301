//! A batch: what one shard asks another in one tick, and, on the way back, the answers.
//!
//! The same object makes the round trip, so that the asker needs no table of what is in flight, and its memory is used
//! again. Operations and keys lie one behind the other in `payload`, replies (already encoded for the client) in
//! `replies`.

use std::sync::Arc;
use std::time::Duration;

use windrow_engine::Hint;
use windrow_engine::catalogue::Stream;
use windrow_protocol::Proto;
use windrow_window::range::RangePlan;
use windrow_window::{Query, ReadTime};

use crate::connection::{ConnectionId, ReplyTo};

/// Most items of one batch.
pub(crate) const BATCH_ITEMS_MAX: usize = 512;
/// A batch that has so many bytes takes no more items.
pub(crate) const BATCH_PAYLOAD_BYTES: usize = 128 << 10;
/// So many questions ahead of the one that is answered, what finds their records is asked for from memory,
const INDEX_AHEAD: usize = 24;
/// so many ahead, the records themselves,
const RECORDS_AHEAD: usize = 12;
/// and so many ahead, the cells that an operation will change.
const CELLS_AHEAD: usize = 4;
/// A batch whose buffers have grown beyond this is freed after its trip.
const KEPT_BYTES_MAX: usize = 512 << 10;

/// Questions from one shard to another.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The asker's catalogue: the owner must know at least this one.
    pub(crate) catalogue_version: u64,
    items: Vec<Item>,
    payload: Vec<u8>,
    reads: Vec<Read>,
    replies: Vec<u8>,
    answered: usize,
    /// How long the owner took for all answers.
    pub(crate) took: Duration,
    /// And for each, where it timed them one by one.
    pub(crate) took_each: Vec<Duration>,
}

/// One question: an operation to apply, or an entity to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) connection: ConnectionId,
    pub(crate) reply_to: ReplyTo,
    kind: ItemKind,
    /// Of the entity's record.
    hint: Hint,
    payload_end: u32,
    reply_end: u32,
    /// The write's position in the owner's log; 0: nothing the log may lose.
    position: u64,
}

#[derive(Clone, Copy, Debug)]
enum ItemKind {
    Write,
    Read { read: u32, time: ReadTime },
}

/// What is read; shared by neighbouring items that ask the same.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) stream: Arc<Stream>,
    pub(crate) what: ReadWhat,
    pub(crate) proto: Proto,
}

/// The question of a read.
#[derive(Clone, Debug)]
pub(crate) enum ReadWhat {
    /// WINDOW.GET, or a row of WINDOW.MGET.
    Row(Arc<Query>),
    /// WINDOW.RANGE: a slice of its pairs, without the array's header.
    Pairs { plan: Arc<RangePlan>, from: u32, to: u32 },
    /// ENTITY.INFO.
    Entity,
}

impl ReadWhat {
    /// Values that are asked: the more, the longer it takes.
    pub(crate) fn values(&self) -> usize {
        match self {
            ReadWhat::Row(query) => query.features.len(),
            ReadWhat::Pairs { from, to, .. } => (to - from) as usize,
            ReadWhat::Entity => 1,
        }
    }
}

impl PartialEq for ReadWhat {
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (ReadWhat::Row(a), ReadWhat::Row(b)) if Arc::ptr_eq(a, b))
    }
}

/// Who answers a batch: the owner of what it asks, who is told before what will be asked, so that it is on its way from memory.
pub(crate) trait Answerer {
    /// What finds the record of a hash starts to be loaded.
    fn will_find(&self, hash: u64);
    /// The record itself starts to be loaded: where it probably is.
    fn will_use(&self, hash: u64) -> Hint;
    /// What an operation will change starts to be loaded.
    fn will_change(&self, op: &[u8], hint: Hint);
}

/// A question as the owner sees it.
#[derive(Clone, Copy)]
pub(crate) enum Question<'a> {
    Write(&'a [u8]),
    Read { read: &'a Read, entity: &'a [u8], time: ReadTime },
}

impl Item {
    /// Whether it is a write.
    pub(crate) fn is_write(&self) -> bool {
        matches!(self.kind, ItemKind::Write)
    }
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= BATCH_ITEMS_MAX || self.payload.len() >= BATCH_PAYLOAD_BYTES
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The buffer to append the next item's bytes to.
    #[inline]
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.payload
    }

    /// Makes the operation that was appended to [`Batch::payload`] an item.
    #[inline]
    pub(crate) fn push_write(&mut self, connection: ConnectionId, reply_to: ReplyTo, hash: u64) {
        self.push(connection, reply_to, ItemKind::Write, hash);
    }

    /// Adds a read.
    pub(crate) fn push_read(
        &mut self,
        connection: ConnectionId,
        reply_to: ReplyTo,
        read: (&Arc<Stream>, &ReadWhat, Proto),
        (entity, hash): (&[u8], u64),
        time: ReadTime,
    ) {
        let (stream, what, proto) = read;
        let same =
            |last: &Read| last.what == *what && last.proto == proto && Arc::ptr_eq(&last.stream, stream);
        if !self.reads.last().is_some_and(same) {
            self.reads.push(Read { stream: Arc::clone(stream), what: what.clone(), proto });
        }
        self.payload.extend_from_slice(entity);
        let read = self.reads.len() as u32 - 1;
        self.push(connection, reply_to, ItemKind::Read { read, time }, hash);
    }

    fn push(&mut self, connection: ConnectionId, reply_to: ReplyTo, kind: ItemKind, hash: u64) {
        debug_assert!(!matches!(reply_to, ReplyTo::Output), "another shard's answer needs a slot");
        let payload_end = self.payload.len() as u32;
        self.items.push(Item {
            connection,
            reply_to,
            kind,
            hint: Hint::of(hash),
            payload_end,
            reply_end: 0,
            position: 0,
        });
    }

    /// Calls `answer` for every question in order, with what [`Answerer::will_use`] said some questions before; it appends
    /// the reply and returns the position of a counted write.
    pub(crate) fn answer_all<C: Answerer>(
        &mut self,
        core: &mut C,
        mut answer: impl FnMut(&mut C, Question<'_>, Hint, &mut Vec<u8>) -> u64,
    ) {
        assert_eq!(self.answered, 0, "a batch is answered once");
        self.items.iter().take(INDEX_AHEAD).for_each(|item| core.will_find(item.hint.hash));
        for item in self.items.iter_mut().take(RECORDS_AHEAD) {
            item.hint = core.will_use(item.hint.hash);
        }
        let mut start = 0;
        for index in 0..self.items.len() {
            if let Some(later) = self.items.get(index + INDEX_AHEAD) {
                core.will_find(later.hint.hash);
            }
            if let Some(later) = self.items.get_mut(index + RECORDS_AHEAD) {
                later.hint = core.will_use(later.hint.hash);
            }
            if let (Some(before), Some(later)) =
                (self.items.get(index + CELLS_AHEAD - 1), self.items.get(index + CELLS_AHEAD))
                && later.is_write()
            {
                let op = &self.payload[before.payload_end as usize..later.payload_end as usize];
                core.will_change(op, later.hint);
            }
            let item = &mut self.items[index];
            let payload = &self.payload[start..item.payload_end as usize];
            start = item.payload_end as usize;
            let question = question(item.kind, &self.reads, payload);
            item.position = answer(core, question, item.hint, &mut self.replies);
            item.reply_end = self.replies.len() as u32;
        }
        self.answered = self.items.len();
    }

    /// The items as questions, in order.
    pub(crate) fn questions(&self) -> impl Iterator<Item = (&Item, Question<'_>)> {
        let mut start = 0;
        self.items.iter().map(move |item| {
            let payload = &self.payload[start..item.payload_end as usize];
            start = item.payload_end as usize;
            (item, question(item.kind, &self.reads, payload))
        })
    }

    /// What the owner took for an item: its own time, or else the mean.
    pub(crate) fn took_for(&self, index: usize) -> Duration {
        self.took_each.get(index).copied().unwrap_or_else(|| self.took / self.items.len().max(1) as u32)
    }

    /// The items with their replies, in order.
    pub(crate) fn replies(&self) -> impl Iterator<Item = (&Item, &[u8])> {
        debug_assert_eq!(self.answered, self.items.len());
        let mut start = 0;
        self.items.iter().map(move |item| {
            let reply = &self.replies[start..item.reply_end as usize];
            start = item.reply_end as usize;
            (item, reply)
        })
    }

    /// The log failed: replies of writes past `kept` become `unknown`.
    pub(crate) fn fail_writes(&mut self, kept: u64, unknown: &[u8]) {
        let old = std::mem::take(&mut self.replies);
        let mut start = 0;
        for item in &mut self.items {
            let reply = &old[start..item.reply_end as usize];
            start = item.reply_end as usize;
            self.replies.extend_from_slice(if item.position > kept { unknown } else { reply });
            item.reply_end = self.replies.len() as u32;
        }
    }

    /// Empties the batch for its next trip. False: it has grown too large to keep.
    pub(crate) fn reset(&mut self) -> bool {
        self.items.clear();
        self.payload.clear();
        self.reads.clear();
        self.replies.clear();
        self.answered = 0;
        self.took = Duration::ZERO;
        self.took_each.clear();
        self.payload.capacity() + self.replies.capacity() <= KEPT_BYTES_MAX
    }
}

fn question<'a>(kind: ItemKind, reads: &'a [Read], payload: &'a [u8]) -> Question<'a> {
    match kind {
        ItemKind::Write => Question::Write(payload),
        ItemKind::Read { read, time } => {
            Question::Read { read: &reads[read as usize], entity: payload, time }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Has no records.
    pub(in crate::route) struct Nobody;

    impl Answerer for Nobody {
        fn will_find(&self, _hash: u64) {}

        fn will_use(&self, hash: u64) -> Hint {
            Hint::of(hash)
        }

        fn will_change(&self, _op: &[u8], _hint: Hint) {}
    }

    #[test]
    fn answers_come_back_beside_their_questions() {
        let mut batch = Batch::default();
        for slot in 0..3u64 {
            let connection = ConnectionId { index: slot as u32, generation: 1 };
            batch.payload().extend_from_slice(format!("op{slot}").as_bytes());
            batch.push_write(connection, ReplyTo::Slot(slot), slot);
        }
        let mut position = 10;
        batch.answer_all(&mut Nobody, |_, question, _, out| {
            let Question::Write(op) = question else { panic!("only writes were asked") };
            out.extend_from_slice(op);
            position += 1;
            position
        });
        let replies: Vec<(u32, Vec<u8>)> =
            batch.replies().map(|(item, reply)| (item.connection.index, reply.to_vec())).collect();
        assert_eq!(replies, [(0, b"op0".to_vec()), (1, b"op1".to_vec()), (2, b"op2".to_vec())]);
        batch.fail_writes(11, b"?");
        let replies: Vec<&[u8]> = batch.replies().map(|(_, reply)| reply).collect();
        assert_eq!(replies, [&b"op0"[..], b"?", b"?"]);
    }
}
