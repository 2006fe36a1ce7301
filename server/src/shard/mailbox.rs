//! Messages to a shard from other threads that are too rare for rings.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mio::net::TcpStream;
use windrow_engine::Shard;
use windrow_engine::top::Ranked;
use windrow_storage::{Poison, ShardLog};

use super::peers::Peers;
use super::top::TopScan;
use crate::backfill::MergeAsked;
use crate::commands::{Answer, Asked};
use crate::connection::{Client, ConnectionId};
use crate::snapshot::SnapshotQuestion;

/// A message to a shard.
pub(crate) enum Message {
    /// A client that this shard shall serve.
    Accepted { socket: TcpStream, client: Arc<Client> },
    /// The shard's records and log are ready.
    Loaded(Box<Loaded>),
    /// The admin thread has done what a connection is parked for; the reply is encoded.
    Answered { connection: ConnectionId, reply: Vec<u8> },
    /// CLIENT KILL.
    Kill(ConnectionId),
    /// What are this shard's numbers? For `connection` of shard `asker`.
    AskStats { asked: Asked, asker: usize, connection: ConnectionId },
    /// The answer.
    Stats { connection: ConnectionId, answer: Answer },
    /// Take part in a WINDOW.TOP.
    AskTop(Arc<TopScan>),
    /// What a backfill found of this shard's entities.
    Merge(MergeAsked),
    /// The snapshot thread wants to know something.
    AskSnapshot(SnapshotQuestion),
    /// What a shard found for the WINDOW.TOP of `connection`.
    TopFound { connection: ConnectionId, found: Vec<Ranked> },
}

/// What recovery made for one shard.
pub(crate) struct Loaded {
    pub(crate) engine: Shard,
    pub(crate) peers: Peers,
    pub(crate) log: ShardLog,
    pub(crate) poison: Poison,
}

/// A shard's mailbox.
#[derive(Default)]
pub(crate) struct Mailbox {
    messages: Mutex<VecDeque<Message>>,
    has_mail: AtomicBool,
}

impl Mailbox {
    /// Adds a message. The caller then wakes the shard.
    pub(super) fn put(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push_back(message);
        self.has_mail.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// Takes up to `count` messages.
    pub(super) fn take(&self, count: usize) -> Vec<Message> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = count.min(messages.len());
        let taken = messages.drain(..taken).collect();
        self.has_mail.store(!messages.is_empty(), Ordering::Release);
        taken
    }
}
