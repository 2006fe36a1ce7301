//! The staged batch: data commands that were read in this tick, from all connections, waiting to be executed together.
//!
//! Reading a command puts an item here; nothing is looked up in the shard's records before the batch runs, so that the
//! memory latency of one item can hide behind the others. Items stay in the order read, so each connection's commands
//! keep theirs. A command that is not an item makes the batch run first.

use std::rc::Rc;

use windrow_engine::Hint;
use windrow_protocol::Proto;
use windrow_window::ReadTime;

use super::read_cache::PreparedRead;
use crate::connection::ReplyTo;

/// Items of one batch at most.
const ITEMS_MAX: usize = 1024;
/// A batch with so many bytes takes no more items.
const PAYLOAD_BYTES: usize = 256 << 10;
/// Buffers that have grown beyond this are freed.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// One item.
pub(crate) struct Item {
    pub(crate) connection: u32,
    pub(crate) reply_to: ReplyTo,
    pub(crate) kind: ItemKind,
    /// Of the record that it is about.
    pub(super) hint: Hint,
    /// Whether the record has more to be asked for once its cells are there.
    pub(super) has_blocks: bool,
    /// Whether it is a row of a command over rows, as the connection's item before it may be.
    pub(super) is_row: bool,
    /// Its bytes in the payload.
    payload_start: u32,
    payload_end: u32,
}

impl Item {
    /// Its bytes, out of those of all items.
    #[inline(always)]
    pub(super) fn bytes<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        &payload[self.payload_start as usize..self.payload_end as usize]
    }
}

/// What an item is.
pub(crate) enum ItemKind {
    /// The payload is an operation.
    Add,
    /// The payload is an entity; `owner` is its shard, this one or another.
    Read { read: Rc<PreparedRead>, proto: Proto, time: ReadTime, owner: usize },
    /// The payload is a reply, or a piece of one.
    Literal,
}

/// The batch.
#[derive(Default)]
pub(crate) struct Staged {
    items: Vec<Item>,
    payload: Vec<u8>,
    /// Bytes of the payload that belong to items.
    staged_bytes: u32,
}

impl Staged {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of what is staged.
    #[inline]
    pub(super) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= ITEMS_MAX || self.payload.len() >= PAYLOAD_BYTES
    }

    /// The buffer to append the next item's bytes to. [`Staged::push`] makes them an item.
    #[inline]
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.payload
    }

    #[inline]
    pub(crate) fn push(&mut self, connection: u32, reply_to: ReplyTo, kind: ItemKind, hash: u64) {
        let (payload_start, payload_end) = (self.staged_bytes, self.payload.len() as u32);
        self.staged_bytes = payload_end;
        self.items.push(Item {
            connection,
            reply_to,
            kind,
            hint: Hint::of(hash),
            has_blocks: false,
            is_row: false,
            payload_start,
            payload_end,
        });
    }

    /// The same for a row of a command over rows.
    #[inline]
    pub(crate) fn push_row(&mut self, connection: u32, reply_to: ReplyTo, kind: ItemKind, hash: u64) {
        self.push(connection, reply_to, kind, hash);
        if let Some(item) = self.items.last_mut() {
            item.is_row = true;
        }
    }

    /// Adds what is no question to a record: the payload is replied as it is.
    #[inline]
    pub(crate) fn push_literal(&mut self, connection: u32, reply_to: ReplyTo) {
        self.push(connection, reply_to, ItemKind::Literal, 0);
    }

    /// The items in order, and all their bytes.
    pub(super) fn parts(&mut self) -> (&mut [Item], &[u8]) {
        (&mut self.items, &self.payload)
    }

    /// Bytes of memory held.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.payload.capacity() + self.items.capacity() * size_of::<Item>()
    }

    /// Empties the batch.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.payload.clear();
        self.staged_bytes = 0;
        if self.payload.capacity() > KEPT_BYTES_MAX {
            self.payload = Vec::new();
        }
    }
}
