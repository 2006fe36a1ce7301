//! What `COMMAND` answers: the shapes that client libraries and redis-cli read, compared with Redis 7.

use std::collections::BTreeMap;

use windrow_protocol::command::{COMMANDS, NAMES_MAX, answer, resolve};
use windrow_protocol::{Args, Limits, Parsed, Parser, Proto, reply};

/// A reply as a client sees it.
#[derive(Clone, Debug, PartialEq)]
enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(String),
    Null,
    Array(Vec<Reply>),
    Set(Vec<Reply>),
    Map(Vec<Reply>),
}

impl Reply {
    fn read(bytes: &[u8]) -> Self {
        let (reply, rest) = Self::read_one(bytes);
        assert!(rest.is_empty(), "bytes behind the reply: {}", rest.escape_ascii());
        reply
    }

    fn read_one(bytes: &[u8]) -> (Self, &[u8]) {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line");
        let line = std::str::from_utf8(&bytes[1..end]).expect("text");
        let mut rest = &bytes[end + 2..];
        let mut values = |per_item: usize| {
            let len: usize = line.parse().expect("a length");
            (0..len * per_item)
                .map(|_| {
                    let (value, behind) = Self::read_one(rest);
                    rest = behind;
                    value
                })
                .collect()
        };
        let reply = match bytes[0] {
            b'+' => Self::Simple(line.to_owned()),
            b'-' => Self::Error(line.to_owned()),
            b':' => Self::Integer(line.parse().expect("an integer")),
            b'$' if line == "-1" => Self::Null,
            b'$' => {
                let len: usize = line.parse().expect("a length");
                let text = String::from_utf8(rest[..len].to_vec()).expect("text");
                assert_eq!(&rest[len..len + 2], b"\r\n");
                rest = &rest[len + 2..];
                Self::Bulk(text)
            }
            b'_' => Self::Null,
            b'*' => Self::Array(values(1)),
            b'~' => Self::Set(values(1)),
            b'%' => Self::Map(values(2)),
            other => panic!("{:?} begins no reply", char::from(other)),
        };
        (reply, rest)
    }

    /// As RESP2 says the same.
    fn flat(self) -> Self {
        match self {
            Self::Array(values) | Self::Set(values) | Self::Map(values) => {
                Self::Array(values.into_iter().map(Self::flat).collect())
            }
            other => other,
        }
    }

    fn values(&self) -> &[Self] {
        match self {
            Self::Array(values) | Self::Set(values) | Self::Map(values) => values,
            other => panic!("not a collection: {other:?}"),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Simple(text) | Self::Bulk(text) => text,
            other => panic!("not text: {other:?}"),
        }
    }

    /// The value of `key` in a map, of either version.
    fn get(&self, key: &str) -> Option<&Self> {
        self.values().chunks(2).find(|pair| pair[0] == Self::Bulk(key.to_owned())).map(|pair| &pair[1])
    }
}

/// Executes a line as the server does.
fn ask(line: &str, proto: Proto) -> Reply {
    let line = format!("{line}\r\n");
    let mut args = Args::new();
    let parsed = Parser::new().parse(line.as_bytes(), &Limits::DEFAULT, &mut args);
    assert!(matches!(parsed, Ok(Parsed::Command { .. })), "{line:?}: {parsed:?}");
    let request = args.bind(line.as_bytes());
    let mut out = Vec::new();
    let answered = resolve(request).and_then(|found| {
        assert_eq!(found.command.name, "command");
        answer(&mut out, proto, found.subcommand.map(|sub| sub.id), request)
    });
    if let Err(error) = answered {
        assert!(out.is_empty(), "an error comes alone");
        reply::error_display(&mut out, format_args!("ERR {error}"));
    }
    Reply::read(&out)
}

fn names(reply: &Reply) -> Vec<&str> {
    reply.values().iter().map(Reply::text).collect()
}

/// Value by value as Redis 7.0 replies for its own `XADD` and `ZUNION`.
#[test]
fn info_has_the_shape_of_redis_7() {
    let expected = |name: &str, range: &str, find_keys: &str, flags: &str, categories: &str, access: &str| {
        format!(
            "*1\r\n*10\r\n{name}{flags}{range}{categories}~0\r\n~1\r\n%3\r\n$5\r\nflags\r\n{access}\
             $12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n\
             $9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n{find_keys}~0\r\n"
        )
    };
    let event_add = expected(
        "$9\r\nevent.add\r\n:-4\r\n",
        ":1\r\n:1\r\n:1\r\n",
        "$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n",
        "~3\r\n+write\r\n+denyoom\r\n+fast\r\n",
        "~3\r\n+@write\r\n+@event\r\n+@fast\r\n",
        "~2\r\n+RW\r\n+update\r\n",
    );
    assert_eq!(ask("COMMAND INFO event.add", Proto::Resp3), Reply::read(event_add.as_bytes()));

    let mget = ask("COMMAND INFO window.mget", Proto::Resp3);
    let spec = &mget.values()[0].values()[8].values()[0];
    assert_eq!(
        *spec.get("find_keys").expect("find_keys"),
        Reply::read(
            b"%2\r\n$4\r\ntype\r\n$6\r\nkeynum\r\n$4\r\nspec\r\n%3\r\n$9\r\nkeynumidx\r\n:0\r\n$8\r\nfirstkey\r\n:1\r\n$7\r\nkeystep\r\n:1\r\n"
        )
    );
}

#[test]
fn info_of_many_names_answers_each_in_order() {
    for proto in [Proto::Resp2, Proto::Resp3] {
        let reply = ask("COMMAND INFO ping NOSUCH client|kill client|nosuch EVENT.MADD", proto);
        let [ping, Reply::Null, kill, Reply::Null, madd] = reply.values() else { panic!("{reply:?}") };
        assert_eq!(ping.values()[0].text(), "ping");
        assert_eq!(kill.values()[0].text(), "client|kill");
        assert_eq!(madd.values()[3..6], [0, 0, 0].map(Reply::Integer), "only COMMAND GETKEYS knows");
    }
}

#[test]
fn every_command_is_described_alike_in_both_versions() {
    for line in ["COMMAND", "COMMAND INFO", "COMMAND DOCS", "COMMAND LIST", "COMMAND COUNT"] {
        assert_eq!(ask(line, Proto::Resp3).flat(), ask(line, Proto::Resp2), "{line}");
    }
    let all = ask("COMMAND", Proto::Resp3);
    assert_eq!(all, ask("COMMAND INFO", Proto::Resp3));
    assert_eq!(all.values().len(), COMMANDS.len());
    assert_eq!(ask("COMMAND COUNT", Proto::Resp2), Reply::Integer(COMMANDS.len() as i64));
    for (row, command) in all.values().iter().zip(&COMMANDS) {
        let [name, arity, flags, first, last, step, categories, tips, specs, subcommands] = row.values()
        else {
            panic!("{row:?}")
        };
        assert_eq!((name.text(), arity), (command.name, &Reply::Integer(i64::from(command.arity))));
        assert!(matches!(
            (flags, categories, tips, specs),
            (Reply::Set(_), Reply::Set(_), Reply::Set(_), Reply::Set(_))
        ));
        assert!(matches!((first, last, step), (Reply::Integer(_), Reply::Integer(_), Reply::Integer(_))));
        assert!(names(categories).iter().all(|name| name.starts_with('@')), "{categories:?}");
        match subcommands {
            Reply::Set(none) => assert!(none.is_empty() && command.subcommands.is_empty()),
            Reply::Array(some) => assert_eq!(some.len(), command.subcommands.len()),
            other => panic!("{other:?}"),
        }
    }
}

/// The fields and types that redis-cli 7 insists on (it aborts otherwise).
#[test]
fn docs_are_what_redis_cli_reads() {
    let docs = ask("COMMAND DOCS", Proto::Resp3);
    assert_eq!(docs.values().len(), COMMANDS.len() * 2);
    for entry in docs.values().chunks(2) {
        check_entry(entry[0].text(), &entry[1]);
    }
    let event_add = ask("COMMAND DOCS EVENT.ADD nosuch client|kill", Proto::Resp3);
    assert_eq!(event_add.values().len(), 4, "unknown names are left out");
    let arguments = event_add.get("event.add").and_then(|entry| entry.get("arguments")).expect("arguments");
    let entity = &arguments.values()[0];
    assert_eq!(entity.get("type"), Some(&Reply::Bulk("key".into())));
    assert_eq!(entity.get("key_spec_index"), Some(&Reply::Integer(0)));
    assert_eq!(ask("COMMAND DOCS nosuch", Proto::Resp3), Reply::Map(vec![]));
}

fn check_entry(name: &str, entry: &Reply) {
    assert!(matches!(entry, Reply::Map(_)), "{name}");
    for key in ["summary", "since", "group", "complexity"] {
        assert!(matches!(entry.get(key), Some(Reply::Bulk(_))), "{name}: {key}");
    }
    entry.get("arguments").into_iter().for_each(|arguments| check_arguments(name, arguments));
    if let Some(subcommands) = entry.get("subcommands") {
        for sub in subcommands.values().chunks(2) {
            assert!(sub[0].text().starts_with(&format!("{name}|")));
            check_entry(sub[0].text(), &sub[1]);
        }
    }
}

fn check_arguments(name: &str, arguments: &Reply) {
    let Reply::Array(arguments) = arguments else { panic!("{name}: {arguments:?}") };
    for argument in arguments {
        let kind = argument.get("type").expect("type").text();
        let is_group = matches!(kind, "oneof" | "block");
        assert!(matches!(argument.get("name"), Some(Reply::Bulk(_))), "{name}");
        assert_eq!(argument.get("display_text").is_none(), is_group, "{name}");
        assert!(argument.get("token").is_some() || kind != "pure-token", "{name}");
        if let Some(flags) = argument.get("flags") {
            assert!(
                matches!(flags, Reply::Set(flags) if flags.iter().all(|flag| matches!(flag, Reply::Simple(_))))
            );
        }
        assert_eq!(argument.get("arguments").is_some(), is_group, "{name}");
        argument.get("arguments").into_iter().for_each(|parts| check_arguments(name, parts));
    }
}

#[test]
fn list_is_filtered_as_asked() {
    let list = |filter: &str| {
        let reply = ask(&format!("COMMAND LIST {filter}"), Proto::Resp2);
        names(&reply).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let rows = COMMANDS.iter().map(|command| 1 + command.subcommands.len()).sum::<usize>();
    assert_eq!(list("").len(), rows, "subcommands are listed too");
    assert_eq!(
        list("filterby pattern STREAM.*"),
        ["stream.create", "stream.alter", "stream.drop", "stream.list", "stream.info"]
    );
    assert_eq!(list("FILTERBY PATTERN client|[gs]etname"), ["client|getname", "client|setname"]);
    assert_eq!(
        list("FILTERBY ACLCAT keyspace"),
        ["window.top", "entity.del", "entity.scan", "entity.info", "dbsize", "flushall"]
    );
    assert!(list("FILTERBY ACLCAT DANGEROUS").contains(&"config|set".to_owned()));
    assert_eq!(list("FILTERBY ACLCAT nosuch"), [""; 0]);
    assert_eq!(list("FILTERBY MODULE any"), [""; 0]);
    for wrong in
        ["FILTERBY", "FILTERBY PATTERN", "FILTERBY COLOUR red", "SORTBY PATTERN x", "FILTERBY MODULE a b"]
    {
        let reply = ask(&format!("COMMAND LIST {wrong}"), Proto::Resp2);
        assert_eq!(reply, Reply::Error("ERR syntax error".into()), "{wrong}");
    }
}

#[test]
fn getkeys_replies_the_keys_or_why_not() {
    let ask = |line: &str| match ask(&format!("COMMAND GETKEYS {line}"), Proto::Resp2) {
        Reply::Error(text) => vec![text],
        reply => names(&reply).into_iter().map(str::to_owned).collect(),
    };
    let expected = BTreeMap::from([
        ("EVENT.ADD user:1 purchases *", vec!["user:1"]),
        ("window.mget 2 a b s count:5m", vec!["a", "b"]),
        ("EVENT.MADD s FIELDS 1 x EVENTS a 1 2 b 3 4", vec!["a", "b"]),
        ("memory usage user:1 s", vec!["user:1"]),
        ("nosuch a", vec!["ERR Invalid command specified"]),
        ("ping a", vec!["ERR The command has no key arguments"]),
        ("client kill", vec!["ERR The command has no key arguments"]),
        ("EVENT.ADD user:1", vec!["ERR Invalid number of arguments specified for command"]),
        (
            "WINDOW.MGET 9 a b s",
            vec!["ERR Invalid arguments specified for command 'window.mget': its counts do not add up"],
        ),
    ]);
    for (line, keys) in expected {
        assert_eq!(ask(line), keys, "{line}");
    }
}

#[test]
fn an_answer_is_bounded() {
    for sub in ["DOCS", "INFO"] {
        let most = ask(&format!("COMMAND {sub}{}", " ping".repeat(NAMES_MAX)), Proto::Resp3);
        assert!(matches!(most, Reply::Array(_) | Reply::Map(_)), "{sub}");
        let too_many = ask(&format!("COMMAND {sub}{}", " ping".repeat(NAMES_MAX + 1)), Proto::Resp3);
        let text =
            format!("ERR too many command names: {}, at most {NAMES_MAX} in one request", NAMES_MAX + 1);
        assert_eq!(too_many, Reply::Error(text), "{sub}");
    }
}
