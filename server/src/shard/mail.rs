//! What a shard does with its messages.

use super::core::Core;
use super::mailbox::Message;
use super::tick::ShardLoop;
use crate::admin::AdminMessage;
use crate::commands::Answer;
use crate::connection::{ConnectionId, State};

/// Messages handled in one tick.
const MESSAGES_PER_TICK: usize = 256;

impl ShardLoop {
    /// Handles messages.
    pub(super) fn read_mail(&mut self) {
        let handle = &self.shared.shards[self.core.id];
        if !handle.mailbox.has_mail() {
            return;
        }
        for message in handle.mailbox.take(MESSAGES_PER_TICK) {
            match message {
                Message::Accepted { socket, client } => self.serve(socket, client),
                Message::Loaded(loaded) => {
                    self.core.engine = Some(loaded.engine);
                    self.core.peers = Some(loaded.peers);
                    self.core.key_rows();
                    self.core.group.start(loaded.log, loaded.poison);
                    if self.core.config.is_unlogged {
                        tracing::warn!("nothing is logged: what is acknowledged is lost with the process");
                        self.core.group.stop_logging();
                    }
                    self.core.apply_maxmemory();
                    self.core.publish_engine();
                    self.shared.shards[self.core.id].set_loaded();
                    self.say_catalogue();
                }
                Message::Answered { connection, reply } => self.answer_parked(connection, &reply),
                Message::Kill(id) => {
                    if let Some(connection) = self.connections.get(id) {
                        connection.session.state = State::Dead;
                        self.touch(id.index);
                    }
                }
                Message::AskStats { asked, asker, connection } => {
                    self.core.publish_engine();
                    let answer = asked.answer(self.core.engine.as_ref());
                    self.shared.shards[asker].send(Message::Stats { connection, answer });
                }
                Message::Stats { connection, answer } => self.gather(connection, answer),
                Message::AskSnapshot(question) => {
                    let Core { engine, group, catalogue, .. } = &self.core;
                    let engine = engine.as_ref().expect("images are written once the shard is loaded");
                    question.answer(engine, catalogue, group.position());
                }
                Message::AskTop(scan) => self.take_top(scan),
                Message::Merge(asked) => {
                    let answer = self.core.merge_all(&asked.ops);
                    // Whoever asked has ended.
                    let _ = asked.answer.send(answer);
                }
                Message::TopFound { connection, found } => self.merge_top(connection, found),
            }
        }
    }

    /// Replies for a parked connection, which then goes on.
    pub(super) fn answer_parked(&mut self, id: ConnectionId, reply: &[u8]) {
        let Some(connection) = self.connections.get(id) else { return };
        let session = &mut connection.session;
        if session.state == State::Dead {
            return;
        }
        debug_assert_eq!(session.state, State::Parked, "only a parked connection is answered");
        session.state = if session.closes_when_answered { State::Closing } else { State::Open };
        if !session.is_silent() {
            session.output.borrow_buffer(&mut self.core.pool);
            session.output.buffer().extend_from_slice(reply);
        }
        session.finish_command();
        self.touch(id.index);
        self.enqueue(id.index);
    }

    /// Begins to wait for other shards' numbers.
    pub(super) fn begin_gathering(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        let Some(gathering) = connection.session.gathering.take() else { return };
        let asked = gathering.asked();
        self.gatherings.insert(key(id), gathering);
        for shard in (0..self.core.shards).filter(|&shard| shard != self.core.id) {
            self.shared.shards[shard].send(Message::AskStats { asked, asker: self.core.id, connection: id });
        }
    }

    fn gather(&mut self, id: ConnectionId, answer: Answer) {
        let Some(gathering) = self.gatherings.get_mut(&key(id)) else { return };
        if !gathering.add(answer) {
            return;
        }
        let Some(gathering) = self.gatherings.remove(&key(id)) else { return };
        let mut reply = Vec::new();
        gathering.write(&mut reply, &self.core);
        self.answer_parked(id, &reply);
    }

    /// Takes a new catalogue over and tells the admin thread.
    pub(super) fn adopt_catalogue(&mut self) {
        if !self.core.refresh_catalogue() {
            return;
        }
        self.core.publish_engine();
        self.say_catalogue();
    }

    /// Tells the admin thread which catalogue this shard uses.
    pub(super) fn say_catalogue(&self) {
        self.shared.shards[self.core.id].set_catalogue(self.core.catalogue.version, self.core.group.end());
        // The admin thread outlives the shards' loops; if it has gone, nobody waits for this.
        let _ = self.shared.admin.send(AdminMessage::ShardMoved);
    }
}

fn key(id: ConnectionId) -> u64 {
    u64::from(id.index) << 32 | u64::from(id.generation)
}
