//! Runs the staged batch: every item in the order it was read, replies to where each belongs.

use super::staged::ItemKind;
use super::tick::ShardLoop;
use crate::connection::ReplyTo;

impl ShardLoop {
    /// Executes what is staged. (Prefetching what items will touch belongs in front of this loop.)
    pub(super) fn run_staged(&mut self) {
        if self.core.staged.is_empty() {
            return;
        }
        let mut staged = std::mem::take(&mut self.core.staged);
        let Self { core, connections, touched, scratch, .. } = self;
        staged.drain(|item, payload| {
            let connection =
                connections.at(item.connection).expect("connections are closed after the batch ran");
            let session = &mut connection.session;
            if !connection.is_touched {
                connection.is_touched = true;
                touched.push(item.connection);
            }
            let is_direct = item.reply_to == ReplyTo::Output;
            if is_direct {
                session.output.borrow_buffer(&mut core.pool);
            } else {
                scratch.clear();
            }
            let start = session.output.end();
            let out = if is_direct { session.output.buffer() } else { &mut *scratch };
            let position = match &item.kind {
                ItemKind::Add => core.answer_write(payload, out),
                ItemKind::Read { read, proto, time } => {
                    core.answer_read(&read.stream, &read.what, *proto, payload, *time, out);
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
        });
        self.core.staged = staged;
    }
}
