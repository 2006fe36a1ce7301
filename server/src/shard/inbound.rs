//! Between shards: answering others' questions, and taking the answers to one's own.

use quanta::Instant;

use super::tick::ShardLoop;
use crate::connection::ReplyTo;

/// Questions (rows) that one tick answers before the rest waits for the next; a batch is always answered whole.
const QUESTIONS_PER_TICK: usize = 2048;

impl ShardLoop {
    /// Answers other shards' questions.
    pub(super) fn answer_questions(&mut self) {
        // While this shard is being loaded, questions wait in their rings.
        if self.core.shards == 1 || self.core.engine.is_none() {
            return;
        }
        self.core.now_ms = self.shared.clock.now_ms();
        let shards = self.core.shards;
        let mut left = QUESTIONS_PER_TICK;
        let mut went_on = true;
        // One batch of each shard in turn, so that none waits for another's flood.
        while went_on && left > 0 {
            went_on = false;
            for asker in 0..shards {
                if self.core.holds_writes() {
                    // Questions wait in their rings, and their askers for credit.
                    return;
                }
                let Some(mut batch) = self.core.links.next_question(asker) else { continue };
                went_on = true;
                left = left.saturating_sub(batch.len());
                if batch.catalogue_version > self.core.catalogue.version {
                    self.adopt_catalogue();
                }
                let mut has_writes = false;
                let core = &mut self.core;
                let began = Instant::now();
                let (mut last, is_each_timed) = (began, core.timer.is_each_timed());
                let mut took_each = std::mem::take(&mut batch.took_each);
                batch.answer_all(core, |core, question, hint, out| {
                    let position = core.answer(question, hint, out);
                    has_writes |= position > 0;
                    if is_each_timed {
                        let now = Instant::now();
                        took_each.push(now - last);
                        last = now;
                    }
                    position
                });
                batch.took_each = took_each;
                batch.took = began.elapsed();
                core.timer.note_group(batch.took, batch.len());
                let position = core.reply_position(has_writes).unwrap_or(0);
                core.links.hold_answer(asker, batch, position);
                if core.group.is_full() {
                    self.write_group();
                }
            }
        }
    }

    /// Hands the answers to this shard's questions to their connections.
    pub(super) fn take_answers(&mut self) {
        let mut any = false;
        for shard in 0..self.core.shards {
            while let Some(batch) = self.core.links.next_answer(shard) {
                any = true;
                let Self { core, connections, touched, .. } = self;
                core.settle(batch.took, batch.len());
                // Before its answers count for the commands that are timed on their own.
                if core.timer.is_slow(batch.took) && !core.timer.is_each_alone() {
                    core.note_batch(connections, &batch);
                }
                for (index, (item, reply)) in batch.replies().enumerate() {
                    let Some(connection) = connections.get(item.connection) else { continue };
                    connection.session.remote_writes -= u32::from(item.is_write());
                    if !connection.is_touched {
                        connection.is_touched = true;
                        touched.push(item.connection.index);
                    }
                    if connection.session.awaits_timed_answers() {
                        let took = batch.took_for(index);
                        core.note_answer(&mut connection.session, item.reply_to, took);
                    }
                    match item.reply_to {
                        ReplyTo::Slot(slot) => connection.session.slots.fill(slot, reply, 0),
                        ReplyTo::Row { slot, row } => connection.session.slots.fill_row(slot, row, reply, 0),
                        ReplyTo::Nowhere => {}
                        ReplyTo::Output => unreachable!("another shard's answer has a slot"),
                    }
                }
                core.links.recycle(batch);
            }
        }
        if any {
            self.resume_starved();
        }
    }

    /// Gives connections that waited for another shard's credit or for the log a turn.
    pub(super) fn resume_starved(&mut self) {
        let mut starved = std::mem::take(&mut self.starved);
        for index in starved.drain(..) {
            if let Some(connection) = self.connections.at(index) {
                connection.is_starved = false;
                self.enqueue(index);
            }
        }
        self.starved = starved;
    }
}
