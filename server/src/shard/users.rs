//! A shard takes over changed users, together with its connections.

use windrow_protocol::command::CommandId;

use super::tick::ShardLoop;
use crate::admin::AdminMessage;
use crate::connection::{Adopted, State};

impl ShardLoop {
    /// Goes by the newest users from here on: every connection by its own. Those close whose user is gone, or is denied something in the
    /// midst of a command of many rows: its replies cannot end in any other way that a client would understand.
    pub(super) fn adopt_users(&mut self) {
        if self.core.users.version == self.shared.acl.version() {
            return;
        }
        self.core.users = self.shared.acl.users();
        let mut closed = Vec::new();
        for connection in self.connections.iter_mut() {
            let session = &mut connection.session;
            match session.identity.adopt(&self.core.users) {
                Adopted::Unharmed => continue,
                Adopted::Limited if !session.is_amid_command() => continue,
                Adopted::Limited | Adopted::Gone => {}
            }
            // Who has removed itself learns that it has.
            if session.state == State::Parked && session.last_command == Some(CommandId::Acl) {
                session.closes_when_answered = true;
            } else {
                session.state = State::Dead;
                closed.push(session.id.index);
            }
        }
        for index in closed {
            self.touch(index);
        }
        self.say_users();
    }

    /// Tells the admin thread which users this shard goes by.
    pub(super) fn say_users(&self) {
        self.shared.shards[self.core.id].set_users(self.core.users.version);
        // The admin thread outlives the shards' loops; if it has gone, nobody waits for this.
        let _ = self.shared.admin.send(AdminMessage::ShardMoved);
    }
}
