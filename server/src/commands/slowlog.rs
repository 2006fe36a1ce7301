//! SLOWLOG: the commands that took longest of late.

use windrow_protocol::command::SubcommandId;
use windrow_protocol::reply;
use windrow_window::timestamp::parse_int;

use super::{Call, Flow};

/// Entries that SLOWLOG GET replies where no count is given.
const COUNT_DEFAULT: usize = 10;

const HELP: [&str; 10] = [
    "SLOWLOG <subcommand> [<arg> ...]. Subcommands are:",
    "GET [<count>]",
    "    The newest entries, at most <count> of them (10; -1: all), each with",
    "    id, Unix time in seconds, microseconds, arguments, client, its name.",
    "LEN",
    "    How many entries there are.",
    "RESET",
    "    Forgets all entries.",
    "HELP",
    "    This text.",
];

/// `SLOWLOG GET|LEN|RESET|HELP`
pub(super) fn slowlog(call: &mut Call<'_>) -> Flow {
    match call.subcommand {
        Some(SubcommandId::SlowlogGet) => get(call),
        Some(SubcommandId::SlowlogLen) => {
            let len = call.shared().slowlog.len();
            reply::integer(call.out(), len as i64);
            Flow::Done
        }
        Some(SubcommandId::SlowlogReset) => {
            call.shared().slowlog.reset();
            call.ok()
        }
        Some(SubcommandId::SlowlogHelp) => write_help(call, &HELP),
        Some(other) => unreachable!("{other:?} is no subcommand of SLOWLOG"),
        None => unreachable!("SLOWLOG has a subcommand"),
    }
}

/// `SLOWLOG GET [count]`
fn get(call: &mut Call<'_>) -> Flow {
    let count = match (call.request.len(), call.request.get(2)) {
        (_, None) => COUNT_DEFAULT,
        (3, Some(count)) => match parse_int(count) {
            Some(-1) => usize::MAX,
            Some(count @ 0..) => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return call.error(format_args!("ERR count should be greater than or equal to -1")),
        },
        _ => return call.error(format_args!("ERR wrong number of arguments for 'slowlog|get' command")),
    };
    let entries = call.shared().slowlog.newest(count);
    let out = call.out();
    reply::array(out, entries.len());
    for entry in &entries {
        let command = &entry.command;
        reply::array(out, 6);
        reply::integer(out, entry.id as i64);
        reply::integer(out, command.at_s);
        reply::integer(out, command.took_us as i64);
        reply::array(out, command.arguments.len());
        for arg in command.arguments.iter() {
            reply::bulk(out, arg);
        }
        reply::bulk(out, command.peer.to_string().as_bytes());
        reply::bulk(out, command.client_name.as_bytes());
    }
    Flow::Done
}

/// Replies lines of help, as Redis does.
pub(super) fn write_help(call: &mut Call<'_>, lines: &[&str]) -> Flow {
    let out = call.out();
    reply::array(out, lines.len());
    for line in lines {
        reply::simple(out, line);
    }
    Flow::Done
}
