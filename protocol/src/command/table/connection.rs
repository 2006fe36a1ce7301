//! Commands about the connection, as clients written for Redis send them.

use crate::command::{
    Argument as Arg, Category, Command, CommandId, Flag, Group, Row, Subcommand, SubcommandId,
};

/// Executed at any time, by anybody.
const ALWAYS: &[Flag] = &[Flag::Noscript, Flag::Loading, Flag::Stale, Flag::Fast, Flag::NoAuth];
const CONNECTION: &[Category] = &[Category::Connection];

pub(super) const HELLO: Command = Row::new(CommandId::Hello, "hello", -1, Group::Connection)
    .flags(ALWAYS)
    .categories(CONNECTION)
    .summary("Chooses the version of the protocol; may authenticate and name the connection.")
    .arguments(&[Arg::block(
        "arguments",
        &[
            Arg::integer("protover", "2 or 3."),
            Arg::block(
                "auth",
                &[Arg::string("username", "Name of the user."), Arg::string("password", "Their password.")],
                "Who is connecting.",
            )
            .token("AUTH")
            .optional(),
            Arg::string("clientname", "Name of the connection.").token("SETNAME").optional(),
        ],
        "Without them, describes the server.",
    )
    .optional()]);

pub(super) const AUTH: Command = Row::new(CommandId::Auth, "auth", -2, Group::Connection)
    .flags(ALWAYS)
    .categories(CONNECTION)
    .summary("Authenticates the connection.")
    .arguments(&[
        Arg::string("username", "Name of the user, default if left out.").optional(),
        Arg::string("password", "Their password."),
    ]);

pub(super) const PING: Command = Row::new(CommandId::Ping, "ping", -1, Group::Connection)
    .flags(&[Flag::Fast])
    .categories(CONNECTION)
    .summary("Replies PONG, or the message.")
    .arguments(&[Arg::string("message", "What to reply.").optional()]);

pub(super) const ECHO: Command = Row::new(CommandId::Echo, "echo", 2, Group::Connection)
    .flags(&[Flag::Loading, Flag::Stale, Flag::Fast])
    .categories(CONNECTION)
    .summary("Replies the message.")
    .arguments(&[Arg::string("message", "What to reply.")]);

pub(super) const SELECT: Command = Row::new(CommandId::Select, "select", 2, Group::Connection)
    .flags(&[Flag::Loading, Flag::Stale, Flag::Fast])
    .categories(CONNECTION)
    .summary("Chooses the database; there is one, 0.")
    .arguments(&[Arg::integer("index", "0.")]);

pub(super) const QUIT: Command = Row::new(CommandId::Quit, "quit", -1, Group::Connection)
    .flags(ALWAYS)
    .categories(CONNECTION)
    .summary("Replies OK and closes the connection.");

pub(super) const RESET: Command = Row::new(CommandId::Reset, "reset", 1, Group::Connection)
    .flags(ALWAYS)
    .categories(CONNECTION)
    .summary("Brings the connection back to the state of a new one.");

pub(super) const CLIENT: Command = Row::new(CommandId::Client, "client", -2, Group::Connection)
    .flags(&[])
    .categories(CONNECTION)
    .complexity("Depends on the subcommand")
    .summary("About this connection and the others.")
    .subcommands(&CLIENT_SUBCOMMANDS);

const CLIENT_SUBCOMMANDS: [Subcommand; 10] = [
    own(SubcommandId::ClientId, "client|id", 2).summary("Replies the id of this connection."),
    own(SubcommandId::ClientGetname, "client|getname", 2).summary("Replies the name of this connection."),
    own(SubcommandId::ClientSetname, "client|setname", 3)
        .summary("Names this connection.")
        .arguments(&[Arg::string("connection-name", "Without spaces; empty for no name.")]),
    own(SubcommandId::ClientSetinfo, "client|setinfo", 4)
        .summary("Says which library this connection comes from.")
        .arguments(&[Arg::one_of(
            "attr",
            &[
                Arg::string("libname", "Name of the library.").token("LIB-NAME"),
                Arg::string("libver", "Version of the library.").token("LIB-VER"),
            ],
            "What is said.",
        )]),
    own(SubcommandId::ClientInfo, "client|info", 2)
        .tips(&["nondeterministic_output"])
        .summary("Describes this connection."),
    others(SubcommandId::ClientList, "client|list", -2)
        .tips(&["nondeterministic_output"])
        .summary("Describes all connections, one a line.")
        .arguments(&[
            Arg::one_of("client-type", CLIENT_TYPES, "Only those of this type.").token("TYPE").optional(),
            Arg::integer("client-id", "Only those with these ids.").token("ID").optional().multiple(),
        ]),
    others(SubcommandId::ClientKill, "client|kill", -3)
        .summary("Closes connections: the one of an address, or all that every filter fits.")
        .arguments(&[Arg::one_of(
            "filter",
            &[
                Arg::string("ip:port", "Address of the client."),
                Arg::one_of(
                    "new-format",
                    &[
                        Arg::integer("client-id", "The connection of this id.").token("ID").optional(),
                        Arg::one_of("client-type", CLIENT_TYPES, "Those of this type.")
                            .token("TYPE")
                            .optional(),
                        Arg::string("username", "Those of this user.").token("USER").optional(),
                        Arg::string("addr", "The client of this address.").token("ADDR").optional(),
                        Arg::string("laddr", "Those that came to this address.").token("LADDR").optional(),
                        Arg::one_of(
                            "skipme",
                            &[
                                Arg::keyword("yes", "YES", "Not this connection, the default."),
                                Arg::keyword("no", "NO", "This one too."),
                            ],
                            "Whether this connection is spared.",
                        )
                        .token("SKIPME")
                        .optional(),
                        Arg::integer("maxage", "Those older than so many seconds.")
                            .token("MAXAGE")
                            .optional(),
                    ],
                    "Filters.",
                )
                .multiple(),
            ],
            "Which connections.",
        )]),
    others(SubcommandId::ClientNoEvict, "client|no-evict", 3)
        .summary("Spares this connection when connections take too much memory.")
        .arguments(&[Arg::one_of("enabled", ON_OFF, "Whether it is spared.")]),
    own(SubcommandId::ClientNoTouch, "client|no-touch", 3)
        .summary("Accepted for clients written for Redis: reads never change what is evicted first.")
        .arguments(&[Arg::one_of("enabled", ON_OFF, "Either.")]),
    own(SubcommandId::ClientReply, "client|reply", 3)
        .summary("Says whether commands of this connection are replied to.")
        .arguments(&[Arg::one_of(
            "action",
            &[
                Arg::keyword("on", "ON", "They are."),
                Arg::keyword("off", "OFF", "They are not."),
                Arg::keyword("skip", "SKIP", "The next one is not."),
            ],
            "From now on.",
        )]),
];

const ON_OFF: &[Arg] = &[Arg::keyword("on", "ON", "It is."), Arg::keyword("off", "OFF", "It is not.")];
const CLIENT_TYPES: &[Arg] = &[
    Arg::keyword("normal", "NORMAL", "Every connection there is."),
    Arg::keyword("master", "MASTER", "None."),
    Arg::keyword("replica", "REPLICA", "None."),
    Arg::keyword("pubsub", "PUBSUB", "None."),
];

/// About one's own connection: anybody may.
const fn own(id: SubcommandId, name: &'static str, arity: i8) -> Subcommand {
    Row::new(id, name, arity, Group::Connection)
        .flags(&[Flag::Noscript, Flag::Loading, Flag::Stale])
        .categories(CONNECTION)
}

/// About other people's connections.
const fn others(id: SubcommandId, name: &'static str, arity: i8) -> Subcommand {
    Row::new(id, name, arity, Group::Connection)
        .flags(&[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale])
        .categories(CONNECTION)
        .complexity("O(N) where N is the number of connections")
}
