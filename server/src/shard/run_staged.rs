//! Runs the staged batch: every item in the order it was read, replies to where each belongs.
//!
//! An item's record is asked for from memory before it is used: what finds it two groups ahead, the record's first lines a group ahead,
//! its other lines some items ahead, the cells that an operation will change and the columns that a read will look at a few items ahead,
//! the sketches that an operation will look at two. So the memory latency of one item hides behind the work of others.

use windrow_engine::{AskOwner, Hashed};

use super::staged::{Item, ItemKind};
use super::tick::ShardLoop;
use crate::connection::{Connection, ReplyTo};
use crate::shard::Core;
use crate::timing::Stretches;

/// Records are looked for in groups of so many, one group ahead of the one that is executed: so the waits for their addresses to be
/// translated overlap, which a prefetch does not hide.
const GROUP: usize = 8;
/// So many items ahead of the one that is executed, the rest of a record's lines: fewer at once than the processor can wait for.
const LINES_AHEAD: usize = 6;
/// So many items ahead, the cells that an operation will change, the columns that a read will look at.
const CELLS_AHEAD: usize = 4;
/// So many items ahead, the sketches that an operation will look at.
const BLOCKS_AHEAD: usize = 2;

impl ShardLoop {
    /// Executes what is staged.
    pub(super) fn run_staged(&mut self) {
        if !self.core.staged.is_empty() {
            let stretches = Stretches::begin(&mut self.core.timer);
            self.run_batch(Some(stretches));
        }
    }

    /// Executes what is staged: all of it is a command that is being timed.
    pub(super) fn run_alone(&mut self) {
        if !self.core.staged.is_empty() {
            self.run_batch(None);
        }
    }

    fn run_batch(&mut self, mut stretches: Option<Stretches>) {
        let mut staged = std::mem::take(&mut self.core.staged);
        let (items, payload) = staged.parts();
        let Self { core, connections, touched, scratch, .. } = self;
        items.iter().take(2 * GROUP).for_each(|item| core.prefetch_index(item));
        find_group(core, &mut items[..], 0);
        items.iter().take(LINES_AHEAD).for_each(|item| core.prefetch_rest(item));
        for index in 0..items.len() {
            if let Some(stretches) = &mut stretches
                && stretches.end_before(index)
            {
                stretches.pass(index);
            }
            if index.is_multiple_of(GROUP) {
                items.iter().skip(index + 2 * GROUP).take(GROUP).for_each(|item| core.prefetch_index(item));
                find_group(core, items, index + GROUP);
            }
            if let Some(later) = items.get(index + LINES_AHEAD) {
                core.prefetch_rest(later);
            }
            if let Some(later) = items.get_mut(index + CELLS_AHEAD) {
                core.prefetch_cells(later.bytes(payload), later);
            }
            if let Some(later) = items.get(index + BLOCKS_AHEAD)
                && later.has_blocks
            {
                core.prefetch_blocks(later.bytes(payload), later.hint);
            }
            let item = &items[index];
            let bytes = item.bytes(payload);
            let connection =
                connections.at(item.connection).expect("connections are closed after the batch ran");
            if !connection.is_touched {
                connection.is_touched = true;
                touched.push(item.connection);
            }
            if matches!(item.kind, ItemKind::Read { owner, .. } if owner != core.id) {
                connection.session.staged_elsewhere -= 1;
            }
            if run(core, connection, scratch, item, bytes) == Err(AskOwner) {
                ask_owner(core, connection, &mut items[index..], bytes);
            }
        }
        if let Some(mut stretches) = stretches {
            stretches.pass(items.len());
            let (took, stretches) = stretches.end();
            core.settle(took, items.len());
            if core.timer.is_slow(took) {
                core.note_stretches(connections, (items, payload), &stretches);
            }
            core.timer.recycle(stretches);
        }
        staged.clear();
        self.core.staged = staged;
    }
}

/// Finds the records of the group that begins at `first`, and only then asks for them, one right after the other.
#[inline]
fn find_group(core: &Core, items: &mut [Item], first: usize) {
    let end = items.len().min(first + GROUP);
    let Some(group) = items.get_mut(first..end) else { return };
    group.iter_mut().for_each(|item| core.find(item));
    group.iter().for_each(|item| core.prefetch_first(item));
}

/// Executes one item; its reply goes to where it belongs.
#[inline]
fn run(
    core: &mut Core,
    connection: &mut Connection,
    scratch: &mut Vec<u8>,
    item: &Item,
    payload: &[u8],
) -> Result<(), AskOwner> {
    let session = &mut connection.session;
    let is_direct = item.reply_to == ReplyTo::Output;
    if is_direct {
        session.output.borrow_buffer(&mut core.pool);
    } else {
        scratch.clear();
    }
    let start = session.output.end();
    let out = if is_direct { session.output.buffer() } else { &mut *scratch };
    let position = match &item.kind {
        ItemKind::Add => core.answer_write(payload, item.hint, out),
        ItemKind::Read { read, proto, time, owner } if *owner == core.id => {
            core.answer_read(&read.stream, &read.what, *proto, (payload, item.hint), *time, out);
            0
        }
        ItemKind::Read { read, proto, time, owner } => {
            let entity = Hashed { name: payload, hash: item.hint.hash };
            core.answer_read_of(*owner, &read.stream, &read.what, *proto, entity, *time, out)?;
            0
        }
        ItemKind::Literal => {
            out.extend_from_slice(payload);
            0
        }
    };
    session.has_local_replies = true;
    match item.reply_to {
        ReplyTo::Output if position > 0 => session.output.mark_write(start, position),
        ReplyTo::Output | ReplyTo::Nowhere => {}
        ReplyTo::Slot(slot) => session.slots.fill(slot, scratch, position),
        ReplyTo::Row { slot, row } => session.slots.fill_row(slot, row, scratch, position),
    }
    Ok(())
}

/// The first of `items` could not be read here: its owner is asked. Where its reply was meant to go straight to the output, it and
/// those of the same connection behind it now need slots, in front of any that commands read later have opened.
#[cold]
fn ask_owner(core: &mut Core, connection: &mut Connection, items: &mut [Item], entity: &[u8]) {
    let session = &mut connection.session;
    if items[0].reply_to == ReplyTo::Output {
        let index = items[0].connection;
        let direct = |item: &&mut Item| item.connection == index && item.reply_to == ReplyTo::Output;
        let count = items.iter_mut().filter(direct).count();
        let first = session.slots.open_in_front(count);
        for (item, slot) in items.iter_mut().filter(direct).zip(first..) {
            item.reply_to = ReplyTo::Slot(slot);
        }
    }
    let ItemKind::Read { read, proto, time, owner } = &items[0].kind else {
        unreachable!("only reads ask an owner")
    };
    let entity = (entity, items[0].hint.hash);
    let batch = core.links.open_batch(*owner, core.catalogue.version);
    batch.push_read(session.id, items[0].reply_to, (&read.stream, &read.what, *proto), entity, *time);
    core.counters.hops += 1;
}
