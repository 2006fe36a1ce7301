//! One connection's turn: read once, then parse and execute commands within bounds. What is left gets another turn in a
//! later tick; the socket is not asked again whether there is something (mio reports changes, not states).

use quanta::Instant;
use windrow_protocol::{Limits, Parsed, ProtocolError, reply};

use super::core::Core;
use super::job::{JobReply, ROWS_PER_TURN};
use super::tick::ShardLoop;
use crate::clock::uptime_ms;
use crate::commands::{self, Flow, JobTurn};
use crate::connection::{Connection, Filled, ReplyMode, State};

/// Argument lists kept for connections with unfinished commands.
const SPARE_ARGS_MAX: usize = 64;
/// Unexecuted input beyond this is not added to before commands of it are executed.
const UNEXECUTED_BYTES_MAX: usize = 64 << 10;

impl ShardLoop {
    /// Gives a connection its turn, of at most `work_max` commands and rows; gives how many were executed.
    pub(super) fn turn(&mut self, index: u32, work_max: usize) -> usize {
        self.fill(index);
        // After the input was taken: an event acknowledged before a read was sent is not younger than the read's T.
        self.core.now_ms = self.shared.clock.now_ms();
        let mut left = work_max;
        let next = loop {
            let next = self.step(index, &mut left);
            if next != Next::Go {
                break next;
            }
            if left == 0 {
                break Next::Later;
            }
        };
        self.touch(index);
        match next {
            Next::Go | Next::Later => self.enqueue(index),
            Next::NoCredit => {
                if let Some(connection) = self.connections.at(index)
                    && !connection.is_starved
                {
                    connection.is_starved = true;
                    self.starved.push(index);
                }
            }
            Next::Input => {
                // More may be in the socket; asking again is a turn of its own.
                if self.connections.at(index).is_some_and(|connection| connection.is_readable) {
                    self.enqueue(index);
                }
            }
            Next::Message => {}
        }
        work_max - left
    }

    /// Reads from the socket once, if there may be something and there is room for it.
    fn fill(&mut self, index: u32) {
        let Self { core, connections, .. } = self;
        let Some(connection) = connections.at(index) else { return };
        let session = &mut connection.session;
        if !connection.is_readable || session.state != State::Open || session.job.is_some() {
            return;
        }
        let limits = if session.identity.is_authenticated() { core.limits } else { Limits::BEFORE_AUTH };
        if !connection.parser.is_mid_command() && connection.input.len() > UNEXECUTED_BYTES_MAX {
            return;
        }
        let limit = limits.command_bytes_max as usize;
        match connection.input.fill(&mut connection.socket, limit, &mut core.pool) {
            Ok(Filled::Some { bytes, more }) => {
                core.counters.input_bytes += bytes as u64;
                connection.last_input_ms = uptime_ms();
                connection.is_readable = more || connection.is_read_closed;
            }
            Ok(Filled::Nothing) => connection.is_readable = false,
            Ok(Filled::Full) => {}
            Ok(Filled::End) => {
                // What was received before is still executed and answered.
                connection.is_readable = false;
                connection.has_ended = true;
            }
            Err(error) => {
                tracing::debug!("client {}: reading failed: {error}", session.client.id);
                session.state = State::Dead;
            }
        }
    }

    /// Executes one command, or some rows of one.
    fn step(&mut self, index: u32, left: &mut usize) -> Next {
        if self.core.staged.is_full() || self.core.group.is_full() {
            self.run_staged();
            if self.core.group.is_full() {
                self.write_group();
            }
        }
        let Self { core, connections, args, spare_args, .. } = self;
        let Some(connection) = connections.at(index) else { return Next::Message };
        let session = &mut connection.session;
        if session.state != State::Open {
            return Next::Message;
        }
        // A job that gathers its rows must go on, or what is gathered never leaves; the hard bound ends it.
        let gathers = session.job.as_ref().is_some_and(|job| matches!(job.reply, JobReply::Slot(_)));
        if session.output.unsent_bytes() + session.slots.gathered_bytes() > core.soft_output_bytes()
            && !gathers
        {
            // The flush gives it a turn when the client has read.
            connection.is_held_by_output = true;
            return Next::Message;
        }
        if session.job.as_ref().is_some_and(|job| job.time.is_alone) && !core.staged.is_empty() {
            self.run_staged();
            return Next::Go;
        }
        if let Some(mut job) = session.job.take() {
            let request = connection.args.bind(connection.input.bytes());
            let rows_max = ROWS_PER_TURN.min(*left);
            let (began, hops_before) = (job.time.is_alone.then(Instant::now), core.counters.hops);
            let (rows, turn) = commands::continue_job(core, session, &mut job, request, rows_max);
            *left = left.saturating_sub(rows);
            if let Some(began) = began {
                self.run_alone();
                job.time.took += began.elapsed();
                job.time.elsewhere += (self.core.counters.hops - hops_before) as u32;
            }
            let Self { core, connections, spare_args, .. } = self;
            let Some(connection) = connections.at(index) else { return Next::Message };
            let session = &mut connection.session;
            if turn == JobTurn::Finished {
                let request = connection.args.bind(connection.input.bytes());
                core.end_job(session, &job, request);
                connection.input.consume(job.command_bytes);
                let list = std::mem::take(&mut connection.args);
                if spare_args.len() < SPARE_ARGS_MAX {
                    spare_args.push(list);
                }
                session.finish_command();
                return Next::Go;
            }
            session.job = Some(job);
            return if turn == JobTurn::NoCredit {
                Next::NoCredit
            } else if rows >= rows_max {
                // Other connections come first.
                Next::Later
            } else {
                Next::Go
            };
        }
        if connection.parser.is_mid_command() {
            let scratch = std::mem::replace(args, std::mem::take(&mut connection.args));
            if spare_args.len() < SPARE_ARGS_MAX {
                spare_args.push(scratch);
            }
        }
        let limits = if session.identity.is_authenticated() { &core.limits } else { &Limits::BEFORE_AUTH };
        let input = connection.input.bytes();
        let consumed = match connection.parser.parse(input, limits, args) {
            Ok(Parsed::Command { consumed }) => consumed,
            Ok(Parsed::Empty { consumed }) => {
                connection.input.consume(consumed);
                *left -= 1;
                return Next::Go;
            }
            Ok(Parsed::Incomplete) => {
                if connection.parser.is_mid_command() {
                    connection.args = std::mem::replace(args, spare_args.pop().unwrap_or_default());
                }
                if connection.has_ended {
                    session.state = State::Closing;
                }
                // With the buffer full nothing more is read, so the command would never be complete.
                if input.len() >= limits.command_bytes_max as usize {
                    let error = ProtocolError::TooBigCommand { bytes_max: limits.command_bytes_max };
                    refuse_input(core, connection, index, &error);
                    return Next::Message;
                }
                return Next::Input;
            }
            Err(error) => {
                refuse_input(core, connection, index, &error);
                return Next::Message;
            }
        };
        if session.reply_mode == ReplyMode::SkipNext {
            session.reply_mode = ReplyMode::Skip;
        }
        let began = core.timer.is_each_alone().then(Instant::now);
        let hops_before = core.counters.hops;
        let flow = commands::execute(core, session, args.bind(input), &input[..consumed]);
        match flow {
            Flow::Done => {}
            Flow::Job => {
                // For good: of what was not timed from the start, other shards' answers could not be told.
                if let Some(job) = &mut session.job {
                    job.time.is_alone = core.timer.is_each_alone() || job.is_large();
                }
                connection.args = std::mem::replace(args, spare_args.pop().unwrap_or_default());
                session.count_command();
                core.counters.commands += 1;
                return Next::Go;
            }
            Flow::NoCredit => return Next::NoCredit,
            Flow::Later => {
                // Looking is work, too.
                *left = left.saturating_sub(ROWS_PER_TURN);
                return Next::Later;
            }
            Flow::AfterStaged => {
                self.run_staged();
                return Next::Go;
            }
            Flow::NotYet if session.slots.is_empty() => {
                self.run_staged();
                return Next::Go;
            }
            Flow::NotYet => {
                connection.waits_for_replies = true;
                return Next::Message;
            }
            Flow::Parked => session.state = State::Parked,
            Flow::Close => session.state = State::Closing,
        }
        if let Some(began) = began {
            self.time_command(index, began, hops_before);
        }
        let Self { core, connections, .. } = self;
        let Some(connection) = connections.at(index) else { return Next::Message };
        let session = &mut connection.session;
        connection.input.consume(consumed);
        session.count_command();
        // The command of a parked connection ends with its reply.
        if session.state != State::Parked {
            session.finish_command();
        }
        core.counters.commands += 1;
        *left -= 1;
        if session.gathering.is_some() {
            let id = session.id;
            self.begin_gathering(id);
        } else if session.top.is_some() {
            let id = session.id;
            self.begin_top(id);
        }
        Next::Go
    }
}

/// Answers input that is no command, and closes.
#[cold]
fn refuse_input(core: &mut Core, connection: &mut Connection, index: u32, error: &ProtocolError) {
    reply::error_display(core.staged.payload(), format_args!("ERR {error}"));
    let reply_to = connection.session.local_reply();
    core.staged.push_literal(index, reply_to);
    core.counters.errors += 1;
    connection.session.state = State::Closing;
    connection.input.clear();
}

/// What a connection needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing: another step.
    Go,
    /// Another turn.
    Later,
    /// More bytes.
    Input,
    /// Credit of another shard.
    NoCredit,
    /// Something that will give it a turn when it happens.
    Message,
}
