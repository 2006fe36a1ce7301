//! Commands that say what took long: SLOWLOG and LATENCY.

use crate::command::{Argument as Arg, Command, CommandId, Flag, Group, Row, Subcommand, SubcommandId};

const ADMIN: &[Flag] = &[Flag::Admin, Flag::Loading, Flag::Stale];
const ADMIN_NOT_IN_SCRIPTS: &[Flag] = &[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale];
const HELP: &[Flag] = &[Flag::Loading, Flag::Stale];

pub(super) const SLOWLOG: Command = Row::new(CommandId::Slowlog, "slowlog", -2, Group::Server)
    .flags(&[])
    .complexity("Depends on the subcommand")
    .summary("Shows the commands that took longest of late.")
    .subcommands(&SLOWLOG_SUBCOMMANDS);

const SLOWLOG_SUBCOMMANDS: [Subcommand; 4] = [
    Row::new(SubcommandId::SlowlogGet, "slowlog|get", -2, Group::Server)
        .flags(ADMIN)
        .complexity("O(N) where N is the number of entries replied")
        .tips(&["nondeterministic_output"])
        .summary("Replies the newest entries: id, Unix seconds, microseconds, arguments, client, its name.")
        .arguments(&[Arg::integer("count", "So many at most, 10 if left out; -1: all.").optional()]),
    Row::new(SubcommandId::SlowlogLen, "slowlog|len", 2, Group::Server)
        .flags(ADMIN)
        .tips(&["nondeterministic_output"])
        .summary("Replies how many entries there are."),
    Row::new(SubcommandId::SlowlogReset, "slowlog|reset", 2, Group::Server)
        .flags(ADMIN)
        .complexity("O(N) where N is the number of entries")
        .summary("Forgets all entries; their ids are not used again."),
    Row::new(SubcommandId::SlowlogHelp, "slowlog|help", 2, Group::Server)
        .flags(HELP)
        .summary("Replies what the subcommands do."),
];

pub(super) const LATENCY: Command = Row::new(CommandId::Latency, "latency", -2, Group::Server)
    .flags(&[])
    .complexity("Depends on the subcommand")
    .summary("Shows when something took long, and how long commands take.")
    .subcommands(&LATENCY_SUBCOMMANDS);

const LATENCY_SUBCOMMANDS: [Subcommand; 7] = [
    Row::new(SubcommandId::LatencyLatest, "latency|latest", 2, Group::Server)
        .flags(ADMIN_NOT_IN_SCRIPTS)
        .tips(&["nondeterministic_output"])
        .summary("Replies the newest spike of each event: name, Unix seconds, milliseconds, longest ever."),
    Row::new(SubcommandId::LatencyHistory, "latency|history", 3, Group::Server)
        .flags(ADMIN_NOT_IN_SCRIPTS)
        .tips(&["nondeterministic_output"])
        .summary("Replies the last spikes of an event: pairs of Unix seconds and milliseconds.")
        .arguments(&[Arg::string("event", "Name of the event.")]),
    Row::new(SubcommandId::LatencyReset, "latency|reset", -2, Group::Server)
        .flags(ADMIN_NOT_IN_SCRIPTS)
        .summary("Forgets the spikes of the events named, or of all; replies of how many.")
        .arguments(&[Arg::string("event", "Name of an event.").optional().multiple()]),
    Row::new(SubcommandId::LatencyGraph, "latency|graph", 3, Group::Server)
        .flags(ADMIN_NOT_IN_SCRIPTS)
        .tips(&["nondeterministic_output"])
        .summary("Draws the last spikes of an event.")
        .arguments(&[Arg::string("event", "Name of the event.")]),
    Row::new(SubcommandId::LatencyDoctor, "latency|doctor", 2, Group::Server)
        .flags(ADMIN_NOT_IN_SCRIPTS)
        .tips(&["nondeterministic_output"])
        .summary("Tells what spikes there were, and what to do about them."),
    Row::new(SubcommandId::LatencyHistogram, "latency|histogram", -2, Group::Server)
        .flags(ADMIN_NOT_IN_SCRIPTS)
        .complexity("O(N) where N is the number of commands")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .summary("Replies how often commands were called, and how many of the calls took at most how long.")
        .arguments(&[Arg::string("command", "Name of a command, all if left out.").optional().multiple()]),
    Row::new(SubcommandId::LatencyHelp, "latency|help", 2, Group::Server)
        .flags(HELP)
        .summary("Replies what the subcommands do."),
];
