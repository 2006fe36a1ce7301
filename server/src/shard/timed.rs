//! Commands whose time is known: counted, and kept where they took too long.

use std::time::Duration;

use windrow_engine::op::{self, AnyOp};
use windrow_engine::{Catalogue, Stream};
use windrow_protocol::Request;
use windrow_protocol::command::{CommandId, Flag, SubcommandId};

use super::core::Core;
use super::job::{Job, JobReply};
use super::staged::{Item, ItemKind};
use super::tick::ShardLoop;
use crate::connection::{Client, ConnectionTable, ReplyTo, Session};
use crate::route::{Batch, Question, ReadWhat};
use crate::timing::{
    Arguments, CommandTimes, LatencyEvent, SlowCommand, Stretch, Timed, TimedElsewhere, row_of,
};

/// Commands of one connection that are timed and wait for other shards. Of more, only what this shard did is known.
const TIMED_ELSEWHERE_MAX: usize = 1024;

impl Core {
    /// The counts of this shard's commands.
    fn times(&self) -> &CommandTimes {
        &self.shared.shards[self.id].numbers.command_times
    }

    /// A command took so long.
    pub(crate) fn note_command(
        &self,
        client: &Client,
        (command, subcommand): (CommandId, Option<SubcommandId>),
        took: Duration,
        arguments: impl FnOnce() -> Arguments,
    ) {
        self.times().add(row_of(command, subcommand), took.as_nanos() as u64, 1);
        if self.timer.is_slow(took) {
            let row = command.row();
            let sub = subcommand.and_then(|id| row.subcommands.iter().find(|sub| sub.id == id));
            let flags = sub.map_or(row.flags, |sub| sub.flags);
            self.note_slow(client, flags.has(Flag::Fast), took, arguments());
        }
    }

    #[cold]
    fn note_slow(&self, client: &Client, is_fast: bool, took: Duration, arguments: Arguments) {
        let at_s = self.shared.clock.now_ms().div_euclid(1_000);
        if self.timer.is_for_slowlog(took) {
            let command = SlowCommand {
                at_s,
                took_us: took.as_micros() as u64,
                arguments,
                peer: client.peer,
                client_name: client.name(),
            };
            self.shared.slowlog.add(command, self.config.slowlog_len_max);
        }
        if self.timer.is_for_latency(took) {
            let event = if is_fast { LatencyEvent::FastCommand } else { LatencyEvent::Command };
            self.shared.latency.add(event, at_s, took);
        }
    }

    /// A job has issued its last row.
    pub(super) fn end_job(&mut self, session: &mut Session, job: &Job, request: Request<'_>) {
        let (command, time) = (job.what.command(), job.time);
        if !time.is_alone {
            self.timer.issued(command, job.work());
            return;
        }
        let slot = match job.reply {
            JobReply::Slot(slot) => Some(slot),
            JobReply::Output | JobReply::Nowhere => None,
        };
        let arguments = self.arguments_of(request, time.took, time.elsewhere);
        self.end_timed(session, Timed { command, took: time.took, arguments }, slot, time.elsewhere);
    }

    /// The arguments, where they may be needed.
    fn arguments_of(&self, request: Request<'_>, took: Duration, elsewhere: u32) -> Arguments {
        let may_be_kept = self.timer.is_for_slowlog(took) || (elsewhere > 0 && self.timer.keeps_arguments());
        if may_be_kept { Arguments::of(request) } else { Arguments::default() }
    }

    /// The shard's part of a timed command is done; it counts when `elsewhere` other answers are there, too.
    pub(super) fn end_timed(&self, session: &mut Session, timed: Timed, slot: Option<u64>, elsewhere: u32) {
        match slot {
            Some(slot) if elsewhere > 0 && session.timed.len() < TIMED_ELSEWHERE_MAX => {
                session.timed.push(TimedElsewhere { timed, slot, missing: elsewhere });
            }
            _ => self.note_timed(&session.client, timed),
        }
    }

    pub(super) fn note_timed(&self, client: &Client, timed: Timed) {
        self.note_command(client, (timed.command, None), timed.took, || timed.arguments);
    }

    /// Another shard has answered a question in so long.
    pub(super) fn note_answer(&self, session: &mut Session, reply_to: ReplyTo, took: Duration) {
        let (ReplyTo::Slot(slot) | ReplyTo::Row { slot, .. }) = reply_to else { return };
        if let Some(Job { reply: JobReply::Slot(own), time, .. }) = session.job.as_deref_mut()
            && *own == slot
        {
            time.took += took;
            time.elsewhere = time.elsewhere.saturating_sub(1);
            return;
        }
        let Some(at) = session.timed.iter().position(|waiting| waiting.slot == slot) else { return };
        let waiting = &mut session.timed[at];
        waiting.timed.took += took;
        waiting.missing -= 1;
        if waiting.missing == 0 {
            let TimedElsewhere { timed, .. } = session.timed.remove(at);
            self.note_timed(&session.client, timed);
        }
    }

    /// The batch took so long for each item.
    #[inline]
    pub(super) fn settle(&mut self, took: Duration, items: usize) {
        let row_ns = took.as_nanos() as u64 / items.max(1) as u64;
        self.timer.settle(&self.shared.shards[self.id].numbers.command_times, row_ns);
    }

    /// A stretch of the staged batch took too long. Which of its commands did is not known: the one that asks for most is
    /// kept, and how many others there are.
    #[cold]
    pub(super) fn note_stretch(
        &mut self,
        connections: &mut ConnectionTable,
        (items, payload): (&[Item], &[u8]),
        stretch: Stretch,
    ) {
        let asked = |at: &usize| match &items[*at].kind {
            ItemKind::Literal => 0,
            ItemKind::Add => 1,
            ItemKind::Read { read, .. } => 1 + read.what.values(),
        };
        let Some(at) = (stretch.from..stretch.to).max_by_key(asked) else { return };
        let bytes = items[at].bytes(payload);
        let described = match &items[at].kind {
            ItemKind::Add => describe_write(&self.catalogue, bytes),
            ItemKind::Read { read, .. } => describe_read(&read.stream, &read.what, bytes),
            // Errors alone: they took as long as the thread was held up.
            ItemKind::Literal => return,
        };
        let commands = stretch.to - stretch.from;
        if let Some(connection) = connections.at(items[at].connection) {
            self.note_described(&connection.session.client, described, stretch.took, commands);
        }
        self.timer.note_group(stretch.took, commands);
    }

    /// Another shard took too long for a batch: what it says of each item is kept, or else the one that asks for most, and
    /// how many others there are.
    #[cold]
    pub(super) fn note_batch(&mut self, connections: &mut ConnectionTable, batch: &Batch) {
        let describe = |question: &Question<'_>| match question {
            Question::Write(op) => describe_write(&self.catalogue, op),
            Question::Read { read, entity, .. } => describe_read(&read.stream, &read.what, entity),
        };
        if batch.took_each.is_empty() {
            let asked = |(_, question): &(_, Question<'_>)| match question {
                Question::Write(_) => 0,
                Question::Read { read, .. } => read.what.values(),
            };
            if let Some((item, question)) = batch.questions().max_by_key(asked)
                && let Some(connection) = connections.get(item.connection)
            {
                self.note_described(&connection.session.client, describe(&question), batch.took, batch.len());
            }
            return self.timer.note_group(batch.took, batch.len());
        }
        for ((item, question), took) in batch.questions().zip(&batch.took_each) {
            if self.timer.is_slow(*took)
                && let Some(connection) = connections.get(item.connection)
            {
                self.note_described(&connection.session.client, describe(&question), *took, 1);
            }
        }
    }

    /// Keeps a command that was not timed alone, or whose arguments are no longer there.
    fn note_described(
        &self,
        client: &Client,
        (command, mut arguments): (CommandId, Arguments),
        took: Duration,
        commands: usize,
    ) {
        if commands > 1 {
            arguments.push(format!("... ({} more commands)", commands - 1).as_bytes());
        }
        self.note_slow(client, command.row().flags.has(Flag::Fast), took, arguments);
    }
}

impl ShardLoop {
    /// Executes the command that `step` has just put into the batch, alone, and notes what it took.
    #[cold]
    pub(super) fn time_command(&mut self, index: u32, began: quanta::Instant, hops_before: u64) {
        let Some(command) = self.core.timer.take_staged() else { return };
        self.run_alone();
        let took = began.elapsed();
        let Self { core, connections, args, .. } = self;
        let Some(connection) = connections.at(index) else { return };
        let session = &mut connection.session;
        let elsewhere = (core.counters.hops - hops_before) as u32;
        let slot = if session.is_silent() { None } else { session.slots.last_opened() };
        let arguments = core.arguments_of(args.bind(connection.input.bytes()), took, elsewhere);
        core.end_timed(session, Timed { command, took, arguments }, slot, elsewhere);
    }

    /// A tick took so long: LATENCY may want to know.
    #[inline]
    pub(super) fn note_tick(&self, took: Duration) {
        if self.core.timer.is_for_latency(took) {
            self.note_slow_tick(took);
        }
    }

    #[cold]
    fn note_slow_tick(&self, took: Duration) {
        let at_s = self.shared.clock.now_ms().div_euclid(1_000);
        let parts = [
            (LatencyEvent::Tick, took),
            (LatencyEvent::LogWrite, self.time.spent_in("log")),
            (LatencyEvent::ExpireCycle, self.time.spent_in("upkeep")),
        ];
        for (event, took) in parts {
            if self.core.timer.is_for_latency(took) {
                self.shared.latency.add(event, at_s, took);
            }
        }
    }
}

/// An operation as the command that asked it, as far as the operation tells.
fn describe_write(catalogue: &Catalogue, op: &[u8]) -> (CommandId, Arguments) {
    let stream = op::layout(op).and_then(|id| catalogue.by_layout(id));
    let stream = stream.map_or("", |stream| &*stream.definition.name);
    match AnyOp::decode(op) {
        Ok(AnyOp::Remove(remove)) => {
            let words = [b"ENTITY.DEL", remove.entity, stream.as_bytes()];
            let words = words.into_iter().filter(|word| !word.is_empty());
            (CommandId::EntityDel, collect(words))
        }
        Ok(AnyOp::Event(event)) => {
            let ts = event.ts.to_string();
            let words = [b"EVENT.ADD", event.entity, stream.as_bytes(), ts.as_bytes()];
            (CommandId::EventAdd, collect(words))
        }
        Ok(AnyOp::Merge(_)) | Err(_) => (CommandId::EventAdd, collect([&b"EVENT.ADD"[..]])),
    }
}

/// A read as the command that asked it, without its options.
fn describe_read(stream: &Stream, what: &ReadWhat, entity: &[u8]) -> (CommandId, Arguments) {
    let command = match what {
        ReadWhat::Row(_) => CommandId::WindowGet,
        ReadWhat::Pairs { .. } => CommandId::WindowRange,
        ReadWhat::Entity => CommandId::EntityInfo,
    };
    let name = command.row().name.to_ascii_uppercase();
    let mut arguments = collect([name.as_bytes(), entity, stream.definition.name.as_bytes()]);
    if let ReadWhat::Row(query) = what
        && query.named
    {
        // One place is left for how many more commands there are.
        for feature in query.features.iter().take(FEATURES_SHOWN) {
            arguments.push(feature.name.as_bytes());
        }
    }
    (command, arguments)
}

/// Features of a read that an entry of several commands names.
const FEATURES_SHOWN: usize = 16;

fn collect<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Arguments {
    let mut arguments = Arguments::default();
    for word in words {
        arguments.push(word);
    }
    arguments
}
