//! One client's connection: socket, input, output, reply slots, and what it has said about itself.

pub(crate) mod buffers;
mod client;
mod identity;
mod input;
mod output;
mod replies;
mod stream_memo;
mod table;

use std::sync::Arc;

use mio::net::TcpStream;
use windrow_protocol::command::CommandId;
use windrow_protocol::{Args, Limits, Parser, Proto};

pub(crate) use client::{Activity, Client, Clients};
pub(crate) use identity::{Adopted, Identity};
pub(crate) use input::{Filled, Input};
pub(crate) use output::Output;
pub(crate) use replies::{ReplySlots, ReplyTo};
pub(crate) use stream_memo::StreamMemo;
pub(crate) use table::ConnectionTable;

use crate::commands::{Gathering, TopQuestion};
use crate::config::Config;
use crate::shard::{Job, JobReply};
use crate::timing::TimedElsewhere;

/// Names a connection of one shard; a later user of the same place has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnectionId {
    /// As a number that no other connection of its shard ever has.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// A connection.
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    pub(crate) input: Input,
    pub(crate) parser: Parser,
    /// Arguments of a command that is unfinished, or that a job works on. Usual commands use the shard's.
    pub(crate) args: Args,
    pub(crate) session: Session,
    /// The socket may hold bytes that have not been read (mio reports changes, not states).
    pub(crate) is_readable: bool,
    /// The peer has closed its side: the next read past what came will say so.
    pub(crate) is_read_closed: bool,
    /// The socket takes bytes as far as we know.
    pub(crate) is_writable: bool,
    /// The peer's end was read: when all that came before is executed and answered, the connection closes.
    pub(crate) has_ended: bool,
    /// It stands in the shard's queue of connections with work.
    pub(crate) is_queued: bool,
    /// It stands in the shard's list of connections without credit.
    pub(crate) is_starved: bool,
    /// Its next command waits until every reply before it is there.
    pub(crate) waits_for_replies: bool,
    /// Its next command waits until the client has read enough of its replies.
    pub(crate) is_held_by_output: bool,
    /// It stands in the shard's list of connections with output of this tick.
    pub(crate) is_touched: bool,
    /// When it last got something.
    pub(crate) last_input_ms: u64,
    /// Since when it is past the soft output bound without reading anything.
    pub(crate) stalled_since_ms: Option<u64>,
}

/// What commands see of a connection.
pub(crate) struct Session {
    pub(crate) id: ConnectionId,
    pub(crate) client: Arc<Client>,
    pub(crate) output: Output,
    pub(crate) slots: ReplySlots,
    pub(crate) proto: Proto,
    pub(crate) identity: Identity,
    pub(crate) reply_mode: ReplyMode,
    /// The stream that was named last.
    pub(crate) stream: StreamMemo,
    pub(crate) state: State,
    /// It is parked, and its user is gone: it closes once it is answered.
    pub(crate) closes_when_answered: bool,
    /// The command over many rows that is being executed.
    pub(crate) job: Option<Box<Job>>,
    /// The command whose numbers are about to be gathered.
    pub(crate) gathering: Option<Box<Gathering>>,
    /// The WINDOW.TOP that is about to begin.
    pub(crate) top: Option<Box<TopQuestion>>,
    /// Commands that are timed on their own and wait for other shards' answers.
    pub(crate) timed: Vec<TimedElsewhere>,
    /// Commands executed.
    pub(crate) commands: u64,
    pub(crate) last_command: Option<CommandId>,
    /// Writes that are on their way to other shards, or back: until they are back, reads follow them through the rings.
    pub(crate) remote_writes: u32,
    /// Staged reads of other shards' entities: until they are done, nothing is sent to other shards, so that one that its owner must
    /// answer does not come behind what was sent after it.
    pub(crate) staged_elsewhere: u32,
    /// Replies of data commands of this shard were added this tick.
    pub(crate) has_local_replies: bool,
}

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Executes commands.
    Open,
    /// Waits for another thread's message before its next command.
    Parked,
    /// Executes nothing more; closes when its output is sent.
    Closing,
    /// Is closed at the end of the tick, sent or not.
    Dead,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    On,
    Off,
    /// The command after this one is not replied to.
    SkipNext,
    /// This command is not replied to.
    Skip,
}

impl Session {
    pub(crate) fn new(id: ConnectionId, client: Arc<Client>, identity: Identity) -> Self {
        Session {
            id,
            client,
            output: Output::default(),
            slots: ReplySlots::default(),
            proto: Proto::Resp2,
            identity,
            reply_mode: ReplyMode::On,
            stream: StreamMemo::default(),
            state: State::Open,
            closes_when_answered: false,
            job: None,
            gathering: None,
            top: None,
            timed: Vec::new(),
            commands: 0,
            last_command: None,
            remote_writes: 0,
            staged_elsewhere: 0,
            has_local_replies: false,
        }
    }

    /// Where the reply of a data command that this shard answers itself goes.
    #[inline]
    pub(crate) fn local_reply(&mut self) -> ReplyTo {
        if self.is_silent() {
            ReplyTo::Nowhere
        } else if self.slots.is_empty() {
            ReplyTo::Output
        } else {
            ReplyTo::Slot(self.slots.open())
        }
    }

    /// Where the reply of a data command that another shard answers goes.
    #[inline]
    pub(crate) fn remote_reply(&mut self) -> ReplyTo {
        if self.is_silent() { ReplyTo::Nowhere } else { ReplyTo::Slot(self.slots.open()) }
    }

    /// Whether another shard's answer may be part of a command that is timed on its own.
    #[inline]
    pub(crate) fn awaits_timed_answers(&self) -> bool {
        !self.timed.is_empty() || self.job.as_ref().is_some_and(|job| job.time.is_alone)
    }

    /// Whether what replies there is timed on its own, other shards' part of it too.
    pub(crate) fn is_timed(&self, reply_to: ReplyTo) -> bool {
        let (ReplyTo::Slot(slot) | ReplyTo::Row { slot, .. }) = reply_to else { return false };
        let job = self.job.as_ref().filter(|job| job.time.is_alone);
        job.is_some_and(|job| job.reply == JobReply::Slot(slot))
            || self.timed.iter().any(|waiting| waiting.slot == slot)
    }

    #[inline]
    pub(crate) fn count_command(&mut self) {
        self.commands += 1;
    }

    /// Whether it is in the midst of a command that goes on tick by tick, once begun, without asking again whether it may.
    pub(crate) fn is_amid_command(&self) -> bool {
        self.job.is_some() || (self.state == State::Parked && self.last_command == Some(CommandId::WindowTop))
    }

    /// Ends a command: CLIENT REPLY SKIP holds for one.
    #[inline]
    pub(crate) fn finish_command(&mut self) {
        if self.reply_mode == ReplyMode::Skip {
            self.reply_mode = ReplyMode::On;
        }
    }

    #[inline]
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, session: Session, now_ms: u64) -> Self {
        Connection {
            socket,
            input: Input::default(),
            parser: Parser::new(),
            args: Args::new(),
            session,
            is_readable: true,
            is_read_closed: false,
            is_writable: true,
            has_ended: false,
            is_queued: false,
            is_starved: false,
            waits_for_replies: false,
            is_held_by_output: false,
            is_touched: false,
            last_input_ms: now_ms,
            stalled_since_ms: None,
        }
    }

    /// Bytes of buffers held for this client.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.input.allocated_bytes()
            + self.args.allocated_bytes()
            + self.session.output.allocated_bytes()
            + self.session.slots.gathered_bytes()
            + self.session.timed.iter().map(|waiting| waiting.timed.arguments.held_bytes()).sum::<usize>()
            + self.session.timed.capacity() * size_of::<TimedElsewhere>()
    }

    /// Bytes that wait for the client to read them, those still being gathered included.
    pub(crate) fn output_bytes(&self) -> usize {
        let slots = &self.session.slots;
        self.session.output.unsent_bytes() + if slots.is_empty() { 0 } else { slots.gathered_bytes() }
    }
}

/// Bytes of input that a client may have unexecuted: less before it has authenticated.
pub(crate) fn input_limits(config: &Config, is_authenticated: bool) -> Limits {
    if is_authenticated {
        let command_bytes_max = u32::try_from(config.query_buffer_bytes_max).unwrap_or(u32::MAX);
        Limits { command_bytes_max, ..Limits::DEFAULT }
    } else {
        Limits::BEFORE_AUTH
    }
}
