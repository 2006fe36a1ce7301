//! ACL: users and what they may do.

use crate::command::{Argument as Arg, Command, CommandId, Flag, Group, Row, Subcommand, SubcommandId};

pub(super) const ACL: Command = Row::new(CommandId::Acl, "acl", -2, Group::Server)
    .flags(&[])
    .complexity("Depends on the subcommand")
    .summary("Shows and changes users, and what they may do.")
    .subcommands(&ACL_SUBCOMMANDS);

const ACL_SUBCOMMANDS: [Subcommand; 13] = [
    for_anyone(SubcommandId::AclCat, "acl|cat", -2)
        .complexity("O(N) where N is the number of commands")
        .summary("Lists the categories of commands, or the commands of one.")
        .arguments(&[Arg::string("category", "Its name, without the @.").optional()]),
    changing(SubcommandId::AclDeluser, "acl|deluser", -3)
        .complexity("O(N) where N is the number of users and connections")
        .tips(ALL_SHARDS)
        .summary("Removes users and closes their connections; replies how many users.")
        .arguments(&[USERNAME.multiple()]),
    looking(SubcommandId::AclDryrun, "acl|dryrun", -4)
        .complexity("O(N*M) where N is the number of keys and M that of the user's key patterns")
        .summary("Says whether a user may execute a command, which is not executed.")
        .arguments(&[
            USERNAME,
            Arg::string("command", "Name of the command."),
            Arg::string("arg", "Its arguments.").optional().multiple(),
        ]),
    for_anyone(SubcommandId::AclGenpass, "acl|genpass", -2)
        .tips(&["nondeterministic_output"])
        .summary("Replies a random password in hexadecimal digits.")
        .arguments(&[
            Arg::integer("bits", "How much of it is random, 1 to 4,096; 256 if it is not given.").optional()
        ]),
    looking(SubcommandId::AclGetuser, "acl|getuser", 3)
        .complexity("O(N) where N is the number of the user's rules")
        .summary("Replies what a user may do, as a map; null if there is none of this name.")
        .arguments(&[USERNAME]),
    Row::new(SubcommandId::AclHelp, "acl|help", 2, Group::Server)
        .flags(&[Flag::Loading, Flag::Stale])
        .summary("Lists the subcommands of ACL."),
    looking(SubcommandId::AclList, "acl|list", 2)
        .complexity("O(N) where N is the number of users")
        .summary("Replies all users, each as a line of the ACL file."),
    changing(SubcommandId::AclLoad, "acl|load", 2)
        .complexity("O(N) where N is the number of users and connections")
        .tips(ALL_SHARDS)
        .summary("Replaces all users by those of the ACL file; connections of users that are changed or gone are closed."),
    looking(SubcommandId::AclLog, "acl|log", -2)
        .complexity("O(N) where N is the number of entries")
        .summary("Replies what was denied lately and whom, newest first; or forgets it.")
        .arguments(&[Arg::one_of(
            "operation",
            &[
                Arg::integer("count", "At most so many entries; 10 if it is not given."),
                Arg::keyword("reset", "RESET", "Forget them all."),
            ],
            "How many, or none any more.",
        )
        .optional()]),
    changing(SubcommandId::AclSave, "acl|save", 2)
        .complexity("O(N) where N is the number of users")
        .summary("Replaces the ACL file by the users there are."),
    changing(SubcommandId::AclSetuser, "acl|setuser", -3)
        .complexity("O(N) where N is the number of rules, users and connections")
        .tips(ALL_SHARDS)
        .summary("Makes or changes a user: all rules in their order, or, on an error, none. OK means that every shard goes by them.")
        .arguments(&[
            USERNAME,
            Arg::string("rule", "Such as on, >password, +@read, -@dangerous, ~user:*.").optional().multiple(),
        ]),
    looking(SubcommandId::AclUsers, "acl|users", 2)
        .complexity("O(N) where N is the number of users")
        .summary("Lists the names of all users."),
    for_anyone(SubcommandId::AclWhoami, "acl|whoami", 2)
        .summary("Replies the name of this connection's user."),
];

const USERNAME: Arg = Arg::string("username", "Name of the user.");
const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// Tells nothing of other users.
const fn for_anyone(id: SubcommandId, name: &'static str, arity: i8) -> Subcommand {
    Row::new(id, name, arity, Group::Server).flags(&[Flag::Noscript, Flag::Loading, Flag::Stale])
}

/// Looks at users.
const fn looking(id: SubcommandId, name: &'static str, arity: i8) -> Subcommand {
    Row::new(id, name, arity, Group::Server).flags(&[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale])
}

/// Changes users or their file. The thread that does so is busy while the log is being replayed.
const fn changing(id: SubcommandId, name: &'static str, arity: i8) -> Subcommand {
    Row::new(id, name, arity, Group::Server).flags(&[Flag::Admin, Flag::Noscript, Flag::Stale])
}
