//! Commands about the server as a whole.

use crate::command::{
    Argument as Arg, Category, Command, CommandId, Flag, Group, Keys, Row, Subcommand, SubcommandId,
};

const ADMIN: &[Flag] = &[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale];

pub(super) const COMMAND: Command = Row::new(CommandId::Command, "command", -1, Group::Server)
    .flags(&[Flag::Loading, Flag::Stale])
    .categories(&[Category::Connection])
    .complexity("O(N) where N is the number of commands")
    .tips(&["nondeterministic_output_order"])
    .summary("Describes all commands: arity, flags, keys, ACL categories.")
    .subcommands(&COMMAND_SUBCOMMANDS);

const COMMAND_SUBCOMMANDS: [Subcommand; 5] = [
    about_commands(SubcommandId::CommandCount, "command|count", 2)
        .complexity("O(1)")
        .summary("Replies the number of commands."),
    about_commands(SubcommandId::CommandDocs, "command|docs", -2)
        .tips(&["nondeterministic_output_order"])
        .summary("Replies the documentation of commands: those named, or all.")
        .arguments(&[COMMAND_NAME]),
    about_commands(SubcommandId::CommandInfo, "command|info", -2)
        .tips(&["nondeterministic_output_order"])
        .summary("Describes commands: those named, or all.")
        .arguments(&[COMMAND_NAME]),
    about_commands(SubcommandId::CommandList, "command|list", -2)
        .tips(&["nondeterministic_output_order"])
        .summary("Lists the names of commands.")
        .arguments(&[Arg::one_of(
            "filterby",
            &[
                Arg::string("module-name", "Those of a module: there are none.").token("MODULE"),
                Arg::string("category", "Those of an ACL category.").token("ACLCAT"),
                Arg::pattern("pattern", "Those whose name matches.").token("PATTERN"),
            ],
            "Only some of them.",
        )
        .token("FILTERBY")
        .optional()]),
    about_commands(SubcommandId::CommandGetkeys, "command|getkeys", -3)
        .complexity("O(N) where N is the number of arguments")
        .summary("Replies the keys of a command, which is not executed.")
        .arguments(&[
            Arg::string("command", "Name of the command."),
            Arg::string("arg", "Its arguments.").optional().multiple(),
        ]),
];

const COMMAND_NAME: Arg =
    Arg::string("command-name", "A name, or container|subcommand.").optional().multiple();

const fn about_commands(id: SubcommandId, name: &'static str, arity: i8) -> Subcommand {
    Row::new(id, name, arity, Group::Server)
        .flags(&[Flag::Loading, Flag::Stale])
        .categories(&[Category::Connection])
        .complexity("O(N) where N is the number of commands asked for")
}

pub(super) const INFO: Command = Row::new(CommandId::Info, "info", -1, Group::Server)
    .flags(&[Flag::Loading, Flag::Stale])
    .categories(&[Category::Dangerous])
    .tips(&["nondeterministic_output"])
    .summary("Shows statistics of the server: the sections named, or the default ones.")
    .arguments(&[Arg::string("section", "Name of a section, or all, default, everything.")
        .optional()
        .multiple()]);

pub(super) const CONFIG: Command = Row::new(CommandId::Config, "config", -2, Group::Server)
    .flags(&[])
    .complexity("Depends on the subcommand")
    .summary("Shows and changes settings.")
    .subcommands(&CONFIG_SUBCOMMANDS);

const CONFIG_SUBCOMMANDS: [Subcommand; 3] = [
    Row::new(SubcommandId::ConfigGet, "config|get", -3, Group::Server)
        .flags(ADMIN)
        .complexity("O(N) where N is the number of settings")
        .summary("Replies the settings whose names match.")
        .arguments(&[Arg::pattern("parameter", "A name or a glob pattern.").multiple()]),
    Row::new(SubcommandId::ConfigSet, "config|set", -4, Group::Server)
        .flags(ADMIN)
        .complexity("O(N) where N is the number of settings given")
        .summary("Changes settings while the server runs: all of them, or, on an error, none.")
        .arguments(&[Arg::block(
            "data",
            &[Arg::string("parameter", "Name of a setting."), Arg::string("value", "Its new value.")],
            "A change.",
        )
        .multiple()]),
    Row::new(SubcommandId::ConfigResetstat, "config|resetstat", 2, Group::Server)
        .flags(ADMIN)
        .summary("Sets the statistics of INFO back to zero."),
];

pub(super) const MEMORY: Command = Row::new(CommandId::Memory, "memory", -2, Group::Server)
    .flags(&[])
    .complexity("Depends on the subcommand")
    .summary("Shows what the memory is used for.")
    .subcommands(&MEMORY_SUBCOMMANDS);

const MEMORY_SUBCOMMANDS: [Subcommand; 2] = [
    Row::new(SubcommandId::MemoryStats, "memory|stats", 2, Group::Server)
        .flags(&[])
        .complexity("O(N) where N is the number of clients and streams")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .summary("Replies what the memory of the server is used for, by purpose and by stream."),
    Row::new(SubcommandId::MemoryUsage, "memory|usage", -3, Group::Server)
        .flags(&[Flag::Readonly])
        .keys(Keys::Range { first: 2, last: 2, step: 1 })
        .complexity("O(N) where N is the number of streams, or O(1) for one")
        .summary("Replies the bytes that an entity takes, in one stream or in all; null without any.")
        .arguments(&[
            Arg::key("entity", "Whose records are meant."),
            Arg::string("stream", "Name of the stream.").optional(),
            Arg::integer("count", "Accepted for clients written for Redis: everything is counted.")
                .token("SAMPLES")
                .optional(),
        ]),
];

pub(super) const DBSIZE: Command = Row::new(CommandId::Dbsize, "dbsize", 1, Group::Server)
    .flags(&[Flag::Readonly, Flag::Fast])
    .categories(&[Category::Keyspace])
    .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
    .summary("Replies the number of records: one for each stream and entity.");

pub(super) const TIME: Command = Row::new(CommandId::Time, "time", 1, Group::Server)
    .flags(&[Flag::Loading, Flag::Stale, Flag::Fast])
    .tips(&["nondeterministic_output"])
    .summary("Replies the server's clock: Unix seconds and microseconds.");

pub(super) const FLUSHALL: Command = Row::new(CommandId::Flushall, "flushall", -1, Group::Server)
    .flags(&[Flag::Write])
    .categories(&[Category::Keyspace, Category::Dangerous])
    .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
    .complexity("O(N) where N is the number of streams; memory is given back in the background")
    .summary("Removes all entities and what is remembered to count events once. The streams stay, empty.")
    .arguments(&[Arg::one_of(
        "flush-type",
        &[
            Arg::keyword("async", "ASYNC", "Memory is given back in the background, as always."),
            Arg::keyword("sync", "SYNC", "Accepted for clients written for Redis."),
        ],
        "How memory is given back.",
    )
    .optional()]);

pub(super) const SAVE: Command = Row::new(CommandId::Save, "save", 1, Group::Server)
    .flags(&[Flag::Admin, Flag::Noscript])
    .complexity("O(N) where N is the number of records")
    .summary(
        "Writes an image of all records, from which the next start is quick; replies when it is on disk.",
    );

pub(super) const BGSAVE: Command = Row::new(CommandId::Bgsave, "bgsave", -1, Group::Server)
    .flags(&[Flag::Admin, Flag::Noscript])
    .complexity("O(1)")
    .summary("Begins to write an image of all records, and replies at once.")
    .arguments(&[Arg::keyword("schedule", "SCHEDULE", "Accepted for clients written for Redis.").optional()]);

pub(super) const LASTSAVE: Command = Row::new(CommandId::Lastsave, "lastsave", 1, Group::Server)
    .flags(&[Flag::Loading, Flag::Stale, Flag::Fast])
    .categories(&[Category::Admin, Category::Dangerous])
    .tips(&["nondeterministic_output"])
    .summary("Replies of when the newest image is, in Unix seconds; 0 without an image.");

pub(super) const SHUTDOWN: Command = Row::new(CommandId::Shutdown, "shutdown", -1, Group::Server)
    .flags(ADMIN)
    .complexity("O(N) where N is the number of records, if an image is written; else O(1)")
    .summary(
        "Syncs the log and ends the server, after writing an image where `save` is on and something changed.",
    )
    .arguments(&[
        Arg::one_of(
            "save-selector",
            &[
                Arg::keyword("nosave", "NOSAVE", "No image; the log is synced all the same."),
                Arg::keyword("save", "SAVE", "An image, whatever the setting `save` says."),
            ],
            "Whether an image is written first.",
        )
        .optional(),
        Arg::keyword("now", "NOW", "Accepted for clients written for Redis.").optional(),
        Arg::keyword("force", "FORCE", "Ends the server though an error keeps the log from being synced.")
            .optional(),
    ]);
