//! Commands whose time is known: counted, and kept where they took too long.

use std::time::Duration;

use windrow_engine::op::{self, AnyOp};
use windrow_engine::{Catalogue, Stream};
use windrow_protocol::Request;
use windrow_protocol::command::{CommandId, Flag, SubcommandId};

use super::by_command::{Numbering, Part, Share, slow_shares};
use super::core::Core;
use super::job::{Job, JobReply};
use super::staged::{Item, ItemKind};
use super::tick::ShardLoop;
use crate::connection::{Client, ConnectionTable, ReplyTo, Session};
use crate::route::{Batch, Question, QuestionItem, ReadWhat};
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

    /// The staged batch took so long that a command of it may have taken too long: those that did are kept.
    #[cold]
    pub(super) fn note_stretches(
        &mut self,
        connections: &mut ConnectionTable,
        (items, payload): (&[Item], &[u8]),
        stretches: &[Stretch],
    ) {
        let mut commands = Numbering::default();
        let part = |item: &Item| {
            // A header begins another command; an error took as long as the thread was held up.
            let command = commands.next(u64::from(item.connection), item.reply_to, item.is_row);
            let asked = match &item.kind {
                ItemKind::Literal => return None,
                ItemKind::Add => 1,
                ItemKind::Read { read, .. } => 1 + read.what.values(),
            };
            Some(Part { command, asked })
        };
        let parts: Vec<Option<Part>> = items.iter().map(part).collect();
        for share in slow_shares(stretches, &parts, |took| self.timer.is_slow(took)) {
            let item = &items[share.item];
            let bytes = item.bytes(payload);
            let described = match &item.kind {
                ItemKind::Add => describe_write(&self.catalogue, bytes, item.is_row),
                ItemKind::Read { read, .. } => describe_read(&read.stream, &read.what, bytes, item.is_row),
                ItemKind::Literal => unreachable!("nothing was executed for it"),
            };
            if let Some(connection) = connections.at(item.connection) {
                self.note_described(&connection.session.client, described, &share);
            }
            self.timer.note_group(share.took, 1 + share.others);
        }
    }

    /// Another shard took too long for a batch. What it says of each item tells which commands did; else it is one stretch. Commands that
    /// are timed on their own have the time of its answers already.
    #[cold]
    pub(super) fn note_batch(&mut self, connections: &mut ConnectionTable, batch: &Batch) {
        let mut commands = Numbering::default();
        let is_row = |item: &QuestionItem| matches!(item.reply_to, ReplyTo::Row { .. });
        let part = |(item, question): (&QuestionItem, Question<'_>)| {
            let command = commands.next(item.connection.to_u64(), item.reply_to, is_row(item));
            let connection = connections.get(item.connection)?;
            let is_timed = connection.session.is_timed(item.reply_to);
            let asked = match question {
                Question::Write(_) => 1,
                Question::Read { read, .. } => 1 + read.what.values(),
            };
            (!is_timed).then_some(Part { command, asked })
        };
        let parts: Vec<Option<Part>> = batch.questions().map(part).collect();
        let stretches: Vec<Stretch> = if batch.took_each.is_empty() {
            vec![Stretch { from: 0, to: parts.len(), took: batch.took }]
        } else {
            let each = batch.took_each.iter().enumerate();
            each.map(|(item, &took)| Stretch { from: item, to: item + 1, took }).collect()
        };
        let shares = slow_shares(&stretches, &parts, |took| self.timer.is_slow(took));
        for share in &shares {
            let (item, question) = batch.questions().nth(share.item).expect("an item of the batch");
            let described = match question {
                Question::Write(op) => describe_write(&self.catalogue, op, is_row(item)),
                Question::Read { read, entity, .. } => {
                    describe_read(&read.stream, &read.what, entity, is_row(item))
                }
            };
            if let Some(connection) = connections.get(item.connection) {
                self.note_described(&connection.session.client, described, share);
            }
            self.timer.note_group(share.took, 1 + share.others);
        }
    }

    /// Keeps a command that was not timed alone, or whose arguments are no longer there.
    fn note_described(
        &self,
        client: &Client,
        (command, mut arguments): (CommandId, Arguments),
        share: &Share,
    ) {
        if share.rows > 1 {
            arguments.push(format!("... ({} more rows)", share.rows - 1).as_bytes());
        }
        if share.others > 0 {
            arguments.push(format!("... ({} more commands)", share.others).as_bytes());
        }
        self.note_slow(client, command.row().flags.has(Flag::Fast), share.took, arguments);
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
fn describe_write(catalogue: &Catalogue, op: &[u8], is_row: bool) -> (CommandId, Arguments) {
    let stream = op::layout(op).and_then(|id| catalogue.by_layout(id));
    let stream = stream.map_or("", |stream| &*stream.definition.name);
    match AnyOp::decode(op) {
        Ok(AnyOp::Remove(remove)) => {
            let words = [b"ENTITY.DEL", remove.entity, stream.as_bytes()];
            let words = words.into_iter().filter(|word| !word.is_empty());
            (CommandId::EntityDel, collect(words))
        }
        Ok(AnyOp::Event(event)) => {
            let (ts, stream) = (event.ts.to_string(), stream.as_bytes());
            if is_row {
                let words = [b"EVENT.MADD", stream, event.entity, ts.as_bytes()];
                (CommandId::EventMadd, collect(words))
            } else {
                let words = [b"EVENT.ADD", event.entity, stream, ts.as_bytes()];
                (CommandId::EventAdd, collect(words))
            }
        }
        Ok(AnyOp::Merge(_)) | Err(_) => (CommandId::EventAdd, collect([&b"EVENT.ADD"[..]])),
    }
}

/// A read as the command that asked it, without its options. A row of a WINDOW.JOIN looks like one of a WINDOW.MGET.
fn describe_read(stream: &Stream, what: &ReadWhat, entity: &[u8], is_row: bool) -> (CommandId, Arguments) {
    let command = match what {
        ReadWhat::Row(_) if is_row => CommandId::WindowMget,
        ReadWhat::Row(_) => CommandId::WindowGet,
        ReadWhat::Pairs { .. } => CommandId::WindowRange,
        ReadWhat::Entity => CommandId::EntityInfo,
    };
    let name = command.row().name.to_ascii_uppercase();
    let mut arguments = collect([name.as_bytes(), entity, stream.definition.name.as_bytes()]);
    if let ReadWhat::Row(query) = what
        && query.named
    {
        // Two places are left for how many more rows and commands there are.
        for feature in query.features.iter().take(FEATURES_SHOWN) {
            arguments.push(feature.name.as_bytes());
        }
    }
    (command, arguments)
}

/// Features of a read that an entry told from an item names.
const FEATURES_SHOWN: usize = 16;

fn collect<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Arguments {
    let mut arguments = Arguments::default();
    for word in words {
        arguments.push(word);
    }
    arguments
}
