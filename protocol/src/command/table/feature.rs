//! Streams, events, windows: the commands of Windrow's own.
//!
//! An option that a command does not execute yet is not documented either: it comes here together with its execution.

use crate::command::{Argument as Arg, Category, Command, CommandId, Flag, Group, Keys, Row};

pub(super) const STREAM_CREATE: Command =
    Row::new(CommandId::StreamCreate, "stream.create", -6, Group::Stream)
        .flags(&[Flag::Write, Flag::Denyoom])
        .categories(&[Category::Stream])
        .complexity("O(N) where N is the number of features, and a change of the catalogue on every shard")
        .summary("Creates a stream: its fields, windows and aggregates. The same definition again is OK.")
        .arguments(&[
            STREAM,
            Arg::block(
                "fields",
                &[
                    Arg::string("field", "Name of a field."),
                    Arg::one_of(
                        "type",
                        &[
                            Arg::keyword("float", "FLOAT", "A finite number."),
                            Arg::keyword("int", "INT", "A 64-bit integer."),
                            Arg::keyword("string", "STRING", "Up to 1,024 bytes."),
                        ],
                        "What its values are.",
                    ),
                ],
                "The fields that events may carry.",
            )
            .token("FIELDS")
            .optional()
            .multiple(),
            Arg::string("length[@bucket]", "A window, such as 5m or 5m@5s, or all for the lifetime.")
                .token("WINDOWS")
                .multiple(),
            Arg::string(
                "aggregate[:length...]",
                "An aggregate over every window, or over those named behind it.",
            )
            .token("AGGREGATE")
            .multiple(),
            Arg::one_of(
                "clock",
                &[
                    Arg::keyword("wall", "WALL", "The server's clock, the default."),
                    Arg::keyword("event", "EVENT", "The largest event time received."),
                ],
                "What the windows end at.",
            )
            .token("CLOCK")
            .optional(),
            Arg::string("lateness", "How far behind the clock an event may be; defines the watermark.")
                .token("LATENESS")
                .optional(),
            Arg::block(
                "skew",
                &[
                    Arg::string("duration", "How far ahead of the server's clock an event may be."),
                    Arg::one_of(
                        "policy",
                        &[
                            Arg::keyword("clamp", "CLAMP", "Count it at the server's time."),
                            Arg::keyword("reject", "REJECT", "Do not count it."),
                        ],
                        "What becomes of an event further ahead.",
                    ),
                ],
                "Events from the future.",
            )
            .token("SKEW")
            .optional(),
            Arg::string("duration[@bucket]", "How long buckets are kept beyond the longest window.")
                .token("RETAIN")
                .optional()
                .multiple(),
            Arg::string("ttl", "How long after its newest event an entity is forgotten.")
                .token("TTL")
                .optional(),
            Arg::block(
                "backfill",
                &[Arg::string("source", "The stream.").token("FROM")],
                "A stream whose events, as far as the log holds them, it is filled with in the background.",
            )
            .token("BACKFILL")
            .optional(),
        ]);

pub(super) const STREAM_ALTER: Command =
    Row::new(CommandId::StreamAlter, "stream.alter", -3, Group::Stream)
        .flags(&[Flag::Write, Flag::Denyoom])
        .categories(&[Category::Stream, Category::Dangerous])
        .complexity(
            "O(N) where N is the number of features, and a change of the catalogue on every shard; records follow later",
        )
        .summary("Changes a stream: what is kept goes on; what is added counts events from now on, or with BACKFILL earlier ones, too.")
        .arguments(&[
            STREAM,
            Arg::one_of(
                "change",
                &[
                    Arg::block(
                        "add",
                        &[
                            Arg::string("field-type", "A field and its type, such as amount FLOAT.")
                                .token("FIELDS")
                                .optional()
                                .multiple(),
                            Arg::string("length[@bucket]", "A window.").token("WINDOWS").optional().multiple(),
                            Arg::string("aggregate[:length...]", "An aggregate, or more windows for one.")
                                .token("AGGREGATE")
                                .optional()
                                .multiple(),
                            Arg::keyword(
                                "backfill",
                                "BACKFILL",
                                "Fill what is added with earlier events, as far as the log holds them, in the background.",
                            )
                            .optional(),
                        ],
                        "What is added.",
                    )
                    .token("ADD"),
                    Arg::block(
                        "drop",
                        &[
                            Arg::string("length", "A window.").token("WINDOWS").optional().multiple(),
                            Arg::string("aggregate[:length...]", "An aggregate, or some of its windows.")
                                .token("AGGREGATE")
                                .optional()
                                .multiple(),
                        ],
                        "What is removed.",
                    )
                    .token("DROP"),
                    Arg::string("option", "RETAIN, LATENESS, SKEW or TTL, and what STREAM.CREATE takes there, or NONE.")
                        .token("SET")
                        .multiple(),
                ],
                "One or more changes, made in one step.",
            )
            .multiple(),
        ]);

pub(super) const STREAM_DROP: Command = Row::new(CommandId::StreamDrop, "stream.drop", 2, Group::Stream)
    .flags(&[Flag::Write])
    .categories(&[Category::Stream, Category::Dangerous])
    .complexity("O(N) where N is the number of entities of the stream, in the background")
    .summary("Removes a stream and everything that was counted in it.")
    .arguments(&[STREAM]);

pub(super) const STREAM_LIST: Command = Row::new(CommandId::StreamList, "stream.list", 1, Group::Stream)
    .flags(&[Flag::Readonly])
    .categories(&[Category::Stream])
    .complexity("O(N) where N is the number of streams")
    .summary("Lists the names of all streams.");

pub(super) const STREAM_INFO: Command = Row::new(CommandId::StreamInfo, "stream.info", 2, Group::Stream)
    .flags(&[Flag::Readonly])
    .categories(&[Category::Stream])
    .complexity("O(N) where N is the number of features")
    .tips(&["nondeterministic_output"])
    .summary("Shows the definition of a stream, its tiers, counters, clock and watermark.")
    .arguments(&[STREAM]);

pub(super) const EVENT_ADD: Command = Row::new(CommandId::EventAdd, "event.add", -4, Group::Event)
    .flags(&[Flag::Write, Flag::Denyoom, Flag::Fast])
    .categories(&[Category::Event])
    .keys(Keys::FIRST)
    .complexity("O(1) in the number of events and entities; O(N) in the number of tiers and aggregates")
    .summary("Counts one event of an entity in every window of a stream.")
    .arguments(&[
        ENTITY,
        STREAM,
        EVENT_TIME,
        Arg::block(
            "data",
            &[
                Arg::string("field", "A field of the stream."),
                Arg::string("value", "Its value in this event."),
            ],
            "Values of the event; a field that is missing is skipped by its aggregates.",
        )
        .optional()
        .multiple(),
    ]);

pub(super) const EVENT_MADD: Command = Row::new(CommandId::EventMadd, "event.madd", -7, Group::Event)
    .flags(&[Flag::Write, Flag::Denyoom, Flag::Movablekeys])
    .categories(&[Category::Event])
    .keys(Keys::EventRows)
    .complexity("O(N) where N is the number of events")
    .summary("Counts many events of one stream; replies for each of them, in order.")
    .arguments(&[
        STREAM,
        Arg::block(
            "fields",
            &[
                Arg::integer("numfields", "Number of fields that every row has."),
                Arg::string("field", "A field of the stream.").optional().multiple(),
            ],
            "The columns of the rows.",
        )
        .token("FIELDS"),
        Arg::string("token", "A value equal to this is absent.").token("NULL").optional(),
        Arg::keyword("events", "EVENTS", "The rows follow."),
        Arg::block(
            "row",
            &[ENTITY, EVENT_TIME, Arg::string("value", "One value for every field.").optional().multiple()],
            "One event.",
        )
        .multiple(),
    ]);

pub(super) const WINDOW_GET: Command = Row::new(CommandId::WindowGet, "window.get", -3, Group::Window)
    .flags(&[Flag::Readonly, Flag::Fast])
    .categories(&[Category::Window])
    .keys(Keys::FIRST)
    .complexity("O(N) where N is the number of buckets in the windows asked for")
    .tips(&["nondeterministic_output"])
    .summary("Reads features of an entity: those named, in that order, or all that are declared, as a map.")
    .arguments(&[ENTITY, STREAM, AT, OFFSET, HOP, FINAL, EDGE, WITHMETA, FEATURES]);

pub(super) const WINDOW_MGET: Command = Row::new(CommandId::WindowMget, "window.mget", -4, Group::Window)
    .flags(&[Flag::Readonly, Flag::Movablekeys])
    .categories(&[Category::Window])
    .keys(Keys::Counted)
    .complexity(
        "O(N*M) where N is the number of entities and M the number of buckets in the windows asked for",
    )
    .tips(&["nondeterministic_output"])
    .summary("Reads features of several entities, all at one time: an array of what WINDOW.GET replies.")
    .arguments(&[
        Arg::integer("numentities", "Number of entities."),
        ENTITY.multiple(),
        STREAM,
        AT,
        OFFSET,
        HOP,
        FINAL,
        EDGE,
        WITHMETA,
        FEATURES,
    ]);

pub(super) const WINDOW_JOIN: Command = Row::new(CommandId::WindowJoin, "window.join", -6, Group::Window)
    .flags(&[Flag::Readonly, Flag::Movablekeys])
    .categories(&[Category::Window])
    .keys(Keys::CountedPairs)
    .complexity("O(N*M) where N is the number of pairs and M the number of buckets in the windows asked for")
    .tips(&["nondeterministic_output"])
    .summary(
        "Reads features of several entities in several streams, all at one time: an array of what WINDOW.GET replies.",
    )
    .arguments(&[
        Arg::integer("numpairs", "Number of pairs, at most 16,384."),
        Arg::block("pair", &[ENTITY, STREAM], "An entity and the stream that it is read in.").multiple(),
        AT,
        OFFSET,
        HOP,
        FINAL,
        EDGE,
        WITHMETA,
        Arg::block(
            "list",
            &[Arg::integer("numfeatures", "Number of features; 0: all that are declared."), FEATURES],
            "One list for all pairs, or one for each.",
        )
        .token("FEATURES")
        .multiple(),
    ]);

pub(super) const WINDOW_RANGE: Command = Row::new(CommandId::WindowRange, "window.range", -6, Group::Window)
    .flags(&[Flag::Readonly])
    .categories(&[Category::Window])
    .keys(Keys::FIRST)
    .complexity("O(N) where N is the number of buckets in the range")
    .tips(&["nondeterministic_output"])
    .summary("Reads an aggregate of an entity bucket by bucket: pairs of bucket start and value.")
    .arguments(&[
        ENTITY,
        STREAM,
        Arg::string("aggregate", "An aggregate of the stream, such as sum(amount)."),
        Arg::unix_time("from", "Start of the range, in milliseconds, floored to a bucket."),
        Arg::unix_time("to", "End of the range, not in it, ceiled to a bucket."),
        Arg::string("duration", "Width of the buckets, a multiple of one that the stream keeps.")
            .token("BUCKET")
            .optional(),
    ]);

pub(super) const WINDOW_TOP: Command = Row::new(CommandId::WindowTop, "window.top", 4, Group::Window)
    .flags(&[Flag::Readonly])
    .categories(&[Category::Window, Category::Keyspace])
    .reading_every_key()
    .complexity(
        "O(N*M) where N is the number of entities of all streams and M the number of buckets in the window, in small slices",
    )
    .tips(&["nondeterministic_output"])
    .summary(
        "Finds the entities with the largest values of a feature, each as of when the scan comes by. One at a time, else -BUSY; \
         it ends when its client closes its side.",
    )
    .arguments(&[
        STREAM,
        Arg::string("feature", "A feature whose values are numbers, such as sum(amount):5m."),
        Arg::integer("k", "How many entities, 1 to 1,000."),
    ]);

pub(super) const ENTITY_DEL: Command = Row::new(CommandId::EntityDel, "entity.del", -2, Group::Entity)
    .flags(&[Flag::Write])
    .categories(&[Category::Keyspace])
    .keys(Keys::FIRST)
    .complexity("O(1); O(N) without a stream, where N is the number of streams")
    .summary("Removes an entity from a stream, or from all; replies from how many.")
    .arguments(&[ENTITY, Arg::string("stream", "Name of the stream; all, if it is not given.").optional()]);

pub(super) const ENTITY_SCAN: Command = Row::new(CommandId::EntityScan, "entity.scan", -3, Group::Entity)
    .flags(&[Flag::Readonly])
    .categories(&[Category::Keyspace])
    .complexity(
        "O(1) for every call; O(N) for a complete scan, where N is the number of entities of all streams",
    )
    .tips(&["nondeterministic_output"])
    .summary("Walks over the entities of a stream, some at a time, as SCAN does.")
    .arguments(&[
        STREAM,
        Arg::string("cursor", "0 to begin, then what the call before replied, until that is 0."),
        Arg::string("pattern", "Only entities that match it are returned.").token("MATCH").optional(),
        Arg::integer("count", "About how many to return in one call; 10 if it is not given.")
            .token("COUNT")
            .optional(),
    ]);

pub(super) const ENTITY_INFO: Command = Row::new(CommandId::EntityInfo, "entity.info", 3, Group::Entity)
    .flags(&[Flag::Readonly, Flag::Fast])
    .categories(&[Category::Keyspace])
    .keys(Keys::FIRST)
    .complexity("O(N) where N is the number of buckets that the entity's record holds")
    .tips(&["nondeterministic_output"])
    .summary("Shows the newest event of an entity, its memory, its buckets and when it dies; null if it is unknown.")
    .arguments(&[ENTITY, STREAM]);

const STREAM: Arg = Arg::string("stream", "Name of the stream.");
const ENTITY: Arg = Arg::key("entity", "The entity that features belong to, such as user:42.");
const EVENT_TIME: Arg = Arg::string("ts", "Event time in Unix milliseconds, or * for the server's clock.");
const AT: Arg = Arg::one_of(
    "time",
    &[
        Arg::unix_time("ts", "This time in milliseconds."),
        Arg::keyword(
            "event",
            "EVENT",
            "Right after the newest event of the stream that is not ahead of its clock.",
        ),
    ],
    "Where the windows end (T); without it, right after the clock.",
)
.token("AT")
.optional();
const OFFSET: Arg =
    Arg::string("offset", "So much earlier, such as 5m: T becomes T - offset.").token("OFFSET").optional();
const HOP: Arg = Arg::string(
    "hop",
    "T goes down to a multiple of this: hopping windows, tumbling when it is their length. Under EDGE EXCLUDE a T that was moved is past.",
)
.token("HOP")
.optional();
const FINAL: Arg = Arg::keyword(
    "final",
    "FINAL",
    "Only buckets that no event can change any more: T is at most the watermark (before HOP), and each feature ends at a multiple of its bucket width. Needs LATENESS.",
)
.optional();
const EDGE: Arg = Arg::one_of(
    "edge",
    &[
        Arg::keyword(
            "include",
            "INCLUDE",
            "Never misses an event, and reaches back at most a bucket too far: the default.",
        ),
        Arg::keyword(
            "exclude",
            "EXCLUDE",
            "Holds no event from before T - W, nor, where T is past, from T on: for training data.",
        ),
    ],
    "Which side a window errs on where its edge falls inside a bucket.",
)
.token("EDGE")
.optional();
const WITHMETA: Arg = Arg::keyword(
    "withmeta",
    "WITHMETA",
    "Each row becomes [values, map]: bounds and covered_from by feature, watermark, and newest (event time of the entity).",
)
.optional();
const FEATURES: Arg = Arg::string("feature", "An aggregate over a window length, such as sum(amount):5m.")
    .optional()
    .multiple();
