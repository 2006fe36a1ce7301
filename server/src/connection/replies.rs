//! Reply slots: replies that wait for an earlier one of the same connection, or for another shard.
//!
//! As long as nothing is outstanding, replies go straight to the output. The first command that another shard must
//! answer opens a slot; later replies queue up behind it, and the ready prefix moves to the output.

use std::collections::VecDeque;

use windrow_protocol::reply;

use super::output::Output;

/// Bytes of a reply that fit in its slot; longer ones have memory of their own.
const INLINE_BYTES: usize = 54;

/// Room is made for so many bytes of each row of a reply that is gathered, so that it need not grow row by row.
const VALUE_BYTES_EXPECTED: usize = 64;
/// Room that is made before there is anything to put there.
const RESERVED_BYTES_MAX: usize = 64 << 10;

/// Where the reply of a staged or routed command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// Straight to the output.
    Output,
    /// To the slot of this number.
    Slot(u64),
    /// To one row of the slot of this number.
    Row { slot: u64, row: u32 },
    /// The client wants none (CLIENT REPLY OFF).
    Nowhere,
}

/// The queue of slots of one connection.
#[derive(Debug)]
pub(crate) struct ReplySlots {
    slots: VecDeque<Slot>,
    /// Number of the first slot in the queue.
    first: u64,
    /// Bytes of replies in the queue that do not fit in their slots.
    gathered_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    /// Position in the log of the write this is the reply of; 0: nothing that this shard's log may lose.
    position: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Waiting,
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Long(Box<[u8]>),
    Rows(Box<Rows>),
}

/// Rows of one command, gathered in any order.
#[derive(Debug)]
struct Rows {
    /// Length of the array that is replied.
    values: usize,
    bytes: Vec<u8>,
    rows: Vec<Row>,
    missing: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    start: u32,
    len: u32,
    position: u64,
}

/// Numbers start here, so that slots can be opened in front of others.
const FIRST_NUMBER: u64 = 1 << 32;

impl Default for ReplySlots {
    fn default() -> Self {
        ReplySlots { slots: VecDeque::new(), first: FIRST_NUMBER, gathered_bytes: 0 }
    }
}

impl ReplySlots {
    /// Whether replies go straight to the output.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Opens a slot for one reply.
    pub(crate) fn open(&mut self) -> u64 {
        self.push(Content::Waiting)
    }

    /// The slot that was opened last, if it still waits.
    pub(crate) fn last_opened(&self) -> Option<u64> {
        self.slots.len().checked_sub(1).map(|behind_first| self.first + behind_first as u64)
    }

    /// Opens `count` slots in front of all others, for replies that were meant to go straight to the output. Gives the number of
    /// the first.
    pub(crate) fn open_in_front(&mut self, count: usize) -> u64 {
        for _ in 0..count {
            self.slots.push_front(Slot { position: 0, content: Content::Waiting });
        }
        self.first -= count as u64;
        self.first
    }

    /// Opens a slot for an array of `values` values that come in `pieces` pieces.
    pub(crate) fn open_rows(&mut self, values: usize, pieces: u32) -> u64 {
        let rows = vec![Row::default(); pieces as usize];
        let bytes = Vec::with_capacity((values * VALUE_BYTES_EXPECTED).min(RESERVED_BYTES_MAX));
        self.push(Content::Rows(Box::new(Rows { values, bytes, rows, missing: pieces })))
    }

    fn push(&mut self, content: Content) -> u64 {
        self.slots.push_back(Slot { position: 0, content });
        self.first + self.slots.len() as u64 - 1
    }

    /// Puts a whole reply into its slot. `position` is that of the write it answers, 0 if the log cannot lose it.
    pub(crate) fn fill(&mut self, slot: u64, reply: &[u8], position: u64) {
        let slot = &mut self.slots[(slot - self.first) as usize];
        debug_assert!(matches!(slot.content, Content::Waiting), "a slot is filled once");
        slot.position = position;
        slot.content = match u8::try_from(reply.len()) {
            Ok(len) if reply.len() <= INLINE_BYTES => {
                let mut bytes = [0; INLINE_BYTES];
                bytes[..reply.len()].copy_from_slice(reply);
                Content::Inline { len, bytes }
            }
            _ => {
                self.gathered_bytes += reply.len();
                Content::Long(reply.into())
            }
        };
    }

    /// Puts the reply of one row into its slot.
    pub(crate) fn fill_row(&mut self, slot: u64, row: u32, reply: &[u8], position: u64) {
        let Content::Rows(rows) = &mut self.slots[(slot - self.first) as usize].content else {
            unreachable!("a row belongs to a slot of rows");
        };
        let start = u32::try_from(rows.bytes.len()).expect("the output limit is far below 4 GiB");
        rows.bytes.extend_from_slice(reply);
        self.gathered_bytes += reply.len();
        rows.rows[row as usize] = Row { start, len: reply.len() as u32, position };
        rows.missing -= 1;
    }

    /// Bytes of replies that wait for earlier ones, for the output limit.
    #[inline]
    pub(crate) fn gathered_bytes(&self) -> usize {
        self.gathered_bytes + self.slots.len() * size_of::<Slot>()
    }

    /// Moves the ready prefix to the output. True if anything moved.
    pub(crate) fn advance(&mut self, output: &mut Output) -> bool {
        let mut moved = false;
        while let Some(slot) = self.slots.front() {
            let start = output.end();
            match &slot.content {
                Content::Waiting => break,
                Content::Rows(rows) if rows.missing > 0 => break,
                Content::Inline { len, bytes } => {
                    output.buffer().extend_from_slice(&bytes[..usize::from(*len)]);
                }
                Content::Long(bytes) => output.buffer().extend_from_slice(bytes),
                Content::Rows(rows) => rows.write(output),
            }
            if slot.position > 0 {
                output.mark_write(start, slot.position);
            }
            self.gathered_bytes -= slot.content.own_bytes();
            self.slots.pop_front();
            self.first += 1;
            moved = true;
        }
        moved
    }

    /// Gives the memory of an empty queue back: its connection has been idle for a while.
    pub(crate) fn shrink(&mut self) {
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    /// The log failed: replies of this shard's writes past `kept` become `unknown`.
    pub(crate) fn fail_writes(&mut self, kept: u64, unknown: &[u8]) {
        for slot in &mut self.slots {
            if slot.position > kept {
                slot.position = 0;
                self.gathered_bytes += unknown.len();
                self.gathered_bytes -= slot.content.own_bytes();
                slot.content = Content::Long(unknown.into());
            }
            if let Content::Rows(rows) = &mut slot.content {
                let start = rows.bytes.len() as u32;
                rows.bytes.extend_from_slice(unknown);
                self.gathered_bytes += unknown.len();
                for row in rows.rows.iter_mut().filter(|row| row.position > kept) {
                    *row = Row { start, len: unknown.len() as u32, position: 0 };
                }
            }
        }
    }
}

impl Content {
    /// Bytes of memory beside the slot.
    fn own_bytes(&self) -> usize {
        match self {
            Content::Waiting | Content::Inline { .. } => 0,
            Content::Long(bytes) => bytes.len(),
            Content::Rows(rows) => rows.bytes.len(),
        }
    }
}

impl Rows {
    fn write(&self, output: &mut Output) {
        reply::array(output.buffer(), self.values);
        for row in &self.rows {
            let start = output.end();
            output.buffer().extend_from_slice(&self.bytes[row.start as usize..][..row.len as usize]);
            if row.position > 0 {
                output.mark_write(start, row.position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_the_order_of_their_commands() {
        let (mut slots, mut output) = (ReplySlots::default(), Output::default());
        let (a, b, c) = (slots.open(), slots.open_rows(2, 2), slots.open());
        let long = vec![b'x'; 500];
        slots.fill(c, &long, 0);
        slots.fill_row(b, 1, b":1\r\n", 0);
        assert!(!slots.advance(&mut output));
        slots.fill(a, b"+OK\r\n", 0);
        assert!(slots.advance(&mut output));
        assert_eq!(output.sendable(), b"+OK\r\n");
        slots.fill_row(b, 0, b":0\r\n", 0);
        slots.advance(&mut output);
        assert_eq!(output.sendable(), [b"+OK\r\n*2\r\n:0\r\n:1\r\n", &long[..]].concat());
        assert!(slots.is_empty());
        let d = slots.open();
        slots.fill(d, b"+D\r\n", 0);
        slots.advance(&mut output);
        assert!(output.sendable().ends_with(b"+D\r\n"));
    }

    #[test]
    fn rows_and_slots_of_lost_writes_become_unknown() {
        let (mut slots, mut output) = (ReplySlots::default(), Output::default());
        let (a, b) = (slots.open(), slots.open_rows(2, 2));
        slots.fill(a, b"+OK\r\n", 5);
        slots.fill_row(b, 0, b"+OK\r\n", 4);
        slots.fill_row(b, 1, b"+OK\r\n", 6);
        slots.fail_writes(4, b"-U\r\n");
        slots.advance(&mut output);
        output.settle(None);
        assert_eq!(output.sendable(), b"-U\r\n*2\r\n+OK\r\n-U\r\n");
    }
}
