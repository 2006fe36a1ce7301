//! Commands: what each does with its arguments. One file a family; the table of names is `windrow_protocol::command`.
//!
//! Two kinds: *data commands* (EVENT.*, WINDOW.*) put items into the staged batch or another shard's batch; all others
//! run at once, after everything before them on the connection has been answered, and write their reply themselves.

mod access;
mod acl;
mod client;
mod config;
mod connection;
mod entity;
mod event;
mod gathering;
mod info;
mod latency;
mod memory;
mod save;
mod server;
mod slowlog;
mod stream;
mod window;

use std::borrow::Cow;

use quanta::Instant;
use windrow_protocol::command::{self, CommandId, SubcommandId};
use windrow_protocol::{Request, reply};

use crate::connection::Session;
use crate::shard::{Core, Job, JobKind};
use crate::shared::Shared;
use crate::timing::Arguments;

pub(crate) use entity::write_entity_info;
pub(crate) use gathering::{Answer, Asked, Gathering};
pub(crate) use memory::resident_bytes;
pub(crate) use window::{TopQuestion, write_top};

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Executed, or in the staged batch, or on its way to another shard.
    Done,
    /// A job was begun: the command stays in the input until the job's last row is issued.
    Job,
    /// Another shard takes no more now: try the command again when answers have come.
    NoCredit,
    /// There is more to look at than one turn may: try the command again in another.
    Later,
    /// The staged batch must run first: try the command again after that.
    AfterStaged,
    /// It must wait until every reply before it is there.
    NotYet,
    /// Executed; its reply comes by a message, and the connection does nothing until then.
    Parked,
    /// Executed, and the connection closes when its replies are sent.
    Close,
}

/// What a command that runs at once works with.
pub(super) struct Call<'a> {
    core: &'a mut Core,
    session: &'a mut Session,
    request: Request<'a>,
    subcommand: Option<SubcommandId>,
}

/// Executes one command. `command` is its text in the input.
#[inline]
pub(crate) fn execute(core: &mut Core, session: &mut Session, request: Request<'_>, command: &[u8]) -> Flow {
    let resolved = match command::resolve(request) {
        Ok(resolved) => resolved,
        Err(error) => {
            core.stage_error(session, format_args!("ERR {error}"));
            return Flow::Done;
        }
    };
    if let Some(flow) = access::refuse(core, session, &resolved, request) {
        return flow;
    }
    session.last_command = Some(resolved.command.id);
    let flow = match resolved.command.id {
        CommandId::EventAdd => event::add(core, session, request),
        CommandId::WindowGet => window::get(core, session, request, command),
        CommandId::EventMadd => event::madd(core, session, request, command.len()),
        CommandId::EntityDel => entity::del(core, session, request),
        CommandId::EntityInfo => entity::info(core, session, request),
        CommandId::WindowMget => window::mget(core, session, request, command),
        CommandId::WindowJoin => window::join(core, session, request, command),
        CommandId::WindowRange => window::range(core, session, request, command.len()),
        id => return run_at_once(core, session, request, id, resolved.subcommand.map(|sub| sub.id)),
    };
    if flow == Flow::Done {
        core.timer.staged(resolved.command.id);
    }
    flow
}

fn run_at_once(
    core: &mut Core,
    session: &mut Session,
    request: Request<'_>,
    id: CommandId,
    subcommand: Option<SubcommandId>,
) -> Flow {
    if !core.staged.is_empty() || !session.slots.is_empty() {
        return Flow::NotYet;
    }
    core.pool_output(session);
    let before = session.output.end();
    let began = Instant::now();
    let mut call = Call { core, session, request, subcommand };
    let flow = match id {
        CommandId::EventAdd
        | CommandId::EventMadd
        | CommandId::WindowGet
        | CommandId::WindowMget
        | CommandId::WindowJoin
        | CommandId::WindowRange
        | CommandId::EntityDel
        | CommandId::EntityInfo => unreachable!("data commands are staged"),
        CommandId::WindowTop => window::top(&mut call),
        CommandId::StreamCreate => stream::create(&mut call),
        CommandId::StreamAlter => stream::alter(&mut call),
        CommandId::StreamDrop => stream::drop(&mut call),
        CommandId::EntityScan => entity::scan(&mut call),
        CommandId::StreamList => stream::list(&mut call),
        CommandId::StreamInfo => stream::info(&mut call),
        CommandId::Hello => connection::hello(&mut call),
        CommandId::Auth => connection::auth(&mut call),
        CommandId::Acl => acl::acl(&mut call),
        CommandId::Ping => connection::ping(&mut call),
        CommandId::Echo => connection::echo(&mut call),
        CommandId::Select => connection::select(&mut call),
        CommandId::Quit => connection::quit(&mut call),
        CommandId::Reset => connection::reset(&mut call),
        CommandId::Client => client::client(&mut call),
        CommandId::Command => server::command(&mut call),
        CommandId::Info => info::info(&mut call),
        CommandId::Config => config::config(&mut call),
        CommandId::Memory => memory::memory(&mut call),
        CommandId::Slowlog => slowlog::slowlog(&mut call),
        CommandId::Latency => latency::latency(&mut call),
        CommandId::Dbsize => server::dbsize(&mut call),
        CommandId::Time => server::time(&mut call),
        CommandId::Flushall => server::flushall(&mut call),
        CommandId::Save => save::save(&mut call),
        CommandId::Bgsave => save::bgsave(&mut call),
        CommandId::Lastsave => save::lastsave(&mut call),
        CommandId::Shutdown => server::shutdown(&mut call),
    };
    if session.is_silent() {
        session.output.truncate(before);
    }
    // One that waits is noted when it is executed, and a WINDOW.TOP when the scan is over.
    if matches!(flow, Flow::Done | Flow::Parked | Flow::Close) && session.top.is_none() {
        core.note_command(&session.client, (id, subcommand), began.elapsed(), || Arguments::of(request));
    }
    flow
}

/// What one turn of a job came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobTurn {
    /// The last row is issued.
    Finished,
    /// There is more to do.
    Unfinished,
    /// Another shard takes no more now.
    NoCredit,
}

/// Issues up to `rows_max` rows of a job (or so many of its slices as have so many rows, but at least one), fewer when the staged batch
/// is full. Gives how many, and how it stands.
pub(crate) fn continue_job(
    core: &mut Core,
    session: &mut Session,
    job: &mut Job,
    request: Request<'_>,
    rows_max: usize,
) -> (usize, JobTurn) {
    let first = job.next;
    let weight = job.what.row_weight();
    let end = job.rows.min(first + (rows_max / weight).max(1));
    while job.next < end {
        if core.staged.is_full() {
            return ((job.next - first) * weight, JobTurn::Unfinished);
        }
        let row = job.next;
        let reply_to = window::row_reply(job.reply, row);
        let is_issued = match &job.what {
            JobKind::Add { stream, header } => {
                event::madd_row(core, session, stream, header, request, row, reply_to)
            }
            JobKind::Get { read, time } => {
                let entity = window::mget_entity(request, row);
                window::issue_row(core, session, read, *time, entity, reply_to)
            }
            JobKind::Join { reads, of_pair } => {
                let (read, time) = &reads[of_pair[row] as usize];
                window::issue_row(core, session, read, *time, window::join_entity(request, row), reply_to)
            }
            JobKind::Range { stream, plan, time } => {
                window::range_piece(core, session, (stream, plan, *time), request.at(1), row, reply_to)
            }
        };
        if !is_issued {
            return ((job.next - first) * weight, JobTurn::NoCredit);
        }
        job.next += 1;
    }
    let turn = if job.next == job.rows { JobTurn::Finished } else { JobTurn::Unfinished };
    ((job.next - first) * weight, turn)
}

impl Call<'_> {
    fn shared(&self) -> &Shared {
        &self.core.shared
    }

    fn out(&mut self) -> &mut Vec<u8> {
        self.session.output.buffer()
    }

    fn ok(&mut self) -> Flow {
        self.out().extend_from_slice(reply::OK);
        Flow::Done
    }

    fn error(&mut self, text: std::fmt::Arguments<'_>) -> Flow {
        self.core.counters.errors += 1;
        reply::error_display(self.out(), text);
        Flow::Done
    }

    fn syntax_error(&mut self) -> Flow {
        self.error(format_args!("ERR syntax error"))
    }
}

/// The message for a stream that does not exist.
fn no_such_stream(name: &[u8]) -> String {
    format!("no such stream '{}'", shown(name))
}

/// A client's bytes as text for a message: lossy, bounded.
fn shown(bytes: &[u8]) -> Cow<'_, str> {
    const SHOWN_BYTES_MAX: usize = 64;
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)])
}

/// Whether an argument is this keyword.
fn is(arg: &[u8], keyword: &str) -> bool {
    arg.eq_ignore_ascii_case(keyword.as_bytes())
}
