//! The table itself, looking up, and finding keys. What `COMMAND` answers is tested in `tests/command.rs`.

use std::collections::HashSet;

use super::{
    Argument, ArgumentKind, COMMANDS, Categories, Category, CommandError, CommandId, Flag, Keys, Row,
    key_positions, lookup, lookup_sub, resolve,
};
use crate::{Args, Limits, Parsed, Parser};

/// Runs `check` on the request that `line` is.
fn with_request<T>(line: &str, check: impl FnOnce(crate::Request<'_>) -> T) -> T {
    let line = format!("{line}\r\n");
    let mut args = Args::new();
    let parsed = Parser::new().parse(line.as_bytes(), &Limits::DEFAULT, &mut args);
    assert!(matches!(parsed, Ok(Parsed::Command { .. })), "{line:?}: {parsed:?}");
    check(args.bind(line.as_bytes()))
}

#[test]
fn every_command_is_found_by_its_name_in_either_case() {
    for command in &COMMANDS {
        assert_eq!(lookup(command.name.as_bytes()).map(|row| row.id), Some(command.id));
        assert_eq!(lookup(command.name.to_uppercase().as_bytes()).map(|row| row.id), Some(command.id));
        assert_eq!(command.id.row().id, command.id);
        for sub in command.subcommands {
            let name = sub.short_name().to_uppercase();
            assert_eq!(lookup_sub(command, name.as_bytes()).map(|row| row.id), Some(sub.id));
        }
    }
    assert_eq!(lookup(b"Event.Add").map(|row| row.id), Some(CommandId::EventAdd));
}

#[test]
fn no_other_name_is_found() {
    for unknown in
        ["", "event.ad", "event.addd", "client|id", "get", "a", "ab", "abc", "window.mget.window.mget"]
    {
        assert!(lookup(unknown.as_bytes()).is_none(), "{unknown:?}");
    }
    // One byte of a name replaced by any other is another name, unless it is the same letter.
    for command in &COMMANDS {
        for at in 0..command.name.len() {
            for byte in 0..=u8::MAX {
                let mut name = command.name.as_bytes().to_vec();
                name[at] = byte;
                let is_same = command.name.as_bytes()[at].eq_ignore_ascii_case(&byte);
                assert_eq!(lookup(&name).is_some(), is_same, "{}", name.escape_ascii());
            }
        }
    }
}

#[test]
fn every_row_is_well_formed() {
    let mut names = HashSet::new();
    for command in &COMMANDS {
        check_row(command, &mut names);
        assert!(!command.name.contains('|'));
        for sub in command.subcommands {
            check_row(sub, &mut names);
            assert_eq!(sub.name.split_once('|').map(|(container, _)| container), Some(command.name));
            assert_eq!(
                command.keys,
                Keys::None,
                "{}: a container's subcommands say where keys are",
                command.name
            );
            assert!(sub.subcommands.is_empty() && sub.arity.unsigned_abs() >= 2, "{}", sub.name);
        }
        let is_container = !command.subcommands.is_empty();
        assert!(!is_container || command.arguments.is_empty(), "{}: its subcommands say it", command.name);
    }
}

fn check_row<Id>(row: &Row<Id>, names: &mut HashSet<&'static str>) {
    let name = row.name;
    assert!(names.insert(name), "{name} is there twice");
    let is_name_byte = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'|' | b'-');
    assert!(name.bytes().all(is_name_byte), "{name} is not in lower case");
    assert_ne!(row.arity, 0, "{name}");
    assert_eq!(row.since, "0.1.0", "{name}");
    assert!(row.summary.ends_with('.') && row.summary.len() > 10, "{name}: {:?}", row.summary);
    assert!(!row.complexity.is_empty(), "{name}");
    assert!(!(row.flags.has(Flag::Write) && row.flags.has(Flag::Readonly)), "{name} writes and does not");
    assert!(!row.flags.has(Flag::Denyoom) || row.flags.has(Flag::Write), "{name} takes memory by reading");
    assert_eq!(row.categories.has(Category::Fast), row.flags.has(Flag::Fast), "{name}");
    assert_eq!(row.categories.has(Category::Slow), !row.flags.has(Flag::Fast), "{name}");
    assert_eq!(row.categories.and(Categories::implied_by(row.flags)), row.categories, "{name}");
    let is_movable = matches!(row.keys, Keys::Counted | Keys::CountedPairs | Keys::EventRows);
    assert_eq!(row.flags.has(Flag::Movablekeys), is_movable, "{name}");
    assert_eq!(row.keys != Keys::None, has_key(row.arguments), "{name}: keys and arguments disagree");
    assert_eq!(row.reads_every_key, name == "window.top", "{name}: access rules are to know what it shows");
    if let Keys::Range { first, last, step } = row.keys {
        assert!(first > 0 && step > 0 && (last < 0 || last >= first), "{name}: {:?}", row.keys);
        assert!(
            row.arity.unsigned_abs() as usize > last.max(first) as usize,
            "{name}: its keys may be missing"
        );
    }
    let required =
        row.arguments.iter().filter(|argument| !argument.is_optional).map(argument_count_min).sum::<usize>();
    let words = if name.contains('|') { 2 } else { 1 };
    // AUTH puts its optional argument first; the sum is right all the same. Containers are described by their rows.
    if row.subcommands.is_empty() && !matches!(name, "hello") {
        assert_eq!(
            usize::from(row.arity.unsigned_abs()),
            words + required,
            "{name}: arity and arguments disagree"
        );
    }
    for argument in row.arguments {
        check_argument(name, argument);
    }
}

fn has_key(arguments: &[Argument]) -> bool {
    arguments.iter().any(|argument| argument.kind == ArgumentKind::Key || has_key(argument.parts))
}

/// Words that an argument takes when it is given as shortly as it may be.
fn argument_count_min(argument: &Argument) -> usize {
    let parts = argument.parts.iter().filter(|part| !part.is_optional).map(argument_count_min);
    let own = match argument.kind {
        ArgumentKind::PureToken => return 1,
        ArgumentKind::Block => parts.sum(),
        ArgumentKind::OneOf => parts.min().unwrap_or(1),
        _ => 1,
    };
    usize::from(argument.token.is_some()) + own
}

fn check_argument(name: &str, argument: &Argument) {
    let context = format!("{name}: {argument:?}");
    assert!(!argument.name.is_empty() && !argument.name.contains(' '), "{context}");
    assert!(argument.summary.ends_with('.'), "{context}");
    assert_eq!(argument.kind.has_parts(), !argument.parts.is_empty(), "{context}");
    if let Some(token) = argument.token {
        assert!(token.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'), "{context}");
    }
    assert!(argument.kind != ArgumentKind::PureToken || argument.token.is_some(), "{context}");
    for part in argument.parts {
        check_argument(name, part);
    }
}

#[test]
fn a_request_is_resolved_or_refused_in_redis_words() {
    let resolved = |line: &str| {
        with_request(line, |request| match resolve(request) {
            Ok(found) => Ok(found.subcommand.map_or(found.command.name, |sub| sub.name)),
            Err(error) => Err(error.to_string()),
        })
    };
    for (line, name) in [
        ("ping", "ping"),
        ("PING hello", "ping"),
        ("Client Id", "client|id"),
        ("command", "command"),
        ("COMMAND DOCS event.add", "command|docs"),
        ("window.get user:1 purchases", "window.get"),
    ] {
        assert_eq!(resolved(line), Ok(name), "{line}");
    }
    for (line, text) in [
        ("nosuch", "unknown command 'nosuch', with args beginning with: "),
        ("nosuch a 'b c'", "unknown command 'nosuch', with args beginning with: 'a' 'b c' "),
        ("client|kill", "unknown command 'client|kill', with args beginning with: "),
        ("client nosuch a", "unknown subcommand 'nosuch'. Try COMMAND DOCS CLIENT."),
        ("client", "wrong number of arguments for 'client' command"),
        ("client kill", "wrong number of arguments for 'client|kill' command"),
        ("CLIENT ID x", "wrong number of arguments for 'client|id' command"),
        ("echo", "wrong number of arguments for 'echo' command"),
        ("echo a b", "wrong number of arguments for 'echo' command"),
        ("EVENT.ADD user:1 purchases", "wrong number of arguments for 'event.add' command"),
    ] {
        assert_eq!(resolved(line), Err(text.to_owned()), "{line}");
    }
}

#[test]
fn an_unknown_name_is_not_repeated_at_length() {
    let line = format!("{} {}", "n".repeat(10_000), "'a b' ".repeat(5_000));
    let text = with_request(&line, |request| resolve(request).expect_err("unknown").to_string());
    assert!(text.len() < 400, "{}", text.len());
}

#[test]
fn keys_are_found_where_the_grammar_puts_them() {
    for (line, keys) in [
        ("EVENT.ADD user:1 purchases * amount 5", &["user:1"][..]),
        ("WINDOW.GET user:1 purchases sum(amount):5m", &["user:1"]),
        ("WINDOW.RANGE user:1 purchases count 0 10", &["user:1"]),
        ("WINDOW.MGET 1 a purchases", &["a"]),
        ("WINDOW.MGET 3 a b c purchases AT 5 count:5m", &["a", "b", "c"]),
        ("WINDOW.JOIN 1 a s FEATURES 0", &["a"]),
        ("WINDOW.JOIN 3 a s b t a t AT EVENT FEATURES 1 count:5m", &["a", "b", "a"]),
        ("EVENT.MADD p FIELDS 1 amount EVENTS u1 * 5", &["u1"]),
        ("event.madd p fields 2 a b events u1 1 5 6 u2 2 7 8 u3 3 9 9", &["u1", "u2", "u3"]),
        ("EVENT.MADD p FIELDS 0 EVENTS u1 1 u2 2", &["u1", "u2"]),
        ("EVENT.MADD p FIELDS 1 EVENTS EVENTS u1 1 5 u2 2 6", &["u1", "u2"]),
        ("EVENT.MADD p FIELDS 1 a NULL EVENTS EVENTS u1 1 5", &["u1"]),
        ("EVENT.MADD p FIELDS 1 a WITHIDS SOURCE s 1 NULL - EVENTS u1 1 id1 5 u2 2 id2 6", &["u1", "u2"]),
    ] {
        let found = with_request(line, |request| {
            let command = resolve(request).expect(line).command;
            let positions = key_positions(command, request).expect(line);
            assert_eq!(positions.len(), keys.len(), "{line}");
            positions.map(|at| String::from_utf8_lossy(request.at(at)).into_owned()).collect::<Vec<_>>()
        });
        assert_eq!(found, keys, "{line}");
    }
}

#[test]
fn keys_are_not_guessed_where_counts_do_not_add_up() {
    for line in [
        "WINDOW.MGET 0 a b purchases",
        "WINDOW.MGET x a b purchases",
        "WINDOW.MGET -1 a b purchases",
        "WINDOW.MGET 2 a purchases",
        "WINDOW.MGET 99999999999999999999 a purchases",
        "WINDOW.JOIN 0 a s FEATURES 1 count:5m",
        "WINDOW.JOIN 3 a s b t c",
        "WINDOW.JOIN x a s FEATURES 1",
        "EVENT.MADD p COLUMNS 1 a EVENTS u1 * 5",
        "EVENT.MADD p FIELDS 2 a EVENTS u1 * 5",
        "EVENT.MADD p FIELDS 1 a EVENTS u1 * 5 u2",
        "EVENT.MADD p FIELDS 1 a NULL - EVENTS ",
        "EVENT.MADD p FIELDS 1 a WITHIDS WITHIDS EVENTS u1 * i 5",
        "EVENT.MADD p FIELDS 5000000000 a EVENTS u1 *",
        "EVENT.MADD p FIELDS 1 a SOURCE s",
        "EVENT.MADD p FIELDS 1 a b c d e f",
    ] {
        with_request(line, |request| {
            let command = request.get(0).and_then(lookup).expect("known");
            let found = key_positions(command, request);
            assert_eq!(found, Err(CommandError::KeysNotFound { name: command.name }), "{line}");
        });
    }
}
