//! `COMMAND DOCS`: a map from name to documentation, from which `redis-cli` makes its help and its hints.

use super::{AnyRow, COMMANDS, find};
use crate::command::{Argument, ArgumentKind, Row, Subcommand};
use crate::{Proto, Request, reply};

pub(super) fn write_all(out: &mut Vec<u8>, proto: Proto) {
    reply::map(out, proto, COMMANDS.len());
    for command in &COMMANDS {
        write_entry(out, proto, command);
    }
}

/// Names that mean nothing are left out.
pub(super) fn write_named(out: &mut Vec<u8>, proto: Proto, names: Request<'_>) {
    reply::map(out, proto, names.iter().filter(|name| find(name).is_some()).count());
    for row in names.iter().filter_map(find) {
        match row {
            AnyRow::Command(command) => write_entry(out, proto, command),
            AnyRow::Subcommand(subcommand) => write_entry(out, proto, subcommand),
        }
    }
}

fn write_entry<Id>(out: &mut Vec<u8>, proto: Proto, row: &Row<Id>) {
    reply::bulk(out, row.name.as_bytes());
    let optional_parts = usize::from(!row.arguments.is_empty()) + usize::from(!row.subcommands.is_empty());
    reply::map(out, proto, 4 + optional_parts);
    write_text(out, "summary", row.summary);
    write_text(out, "since", row.since);
    write_text(out, "group", row.group.name());
    write_text(out, "complexity", row.complexity);
    if !row.arguments.is_empty() {
        reply::bulk(out, b"arguments");
        write_arguments(out, proto, row.arguments);
    }
    if !row.subcommands.is_empty() {
        write_subcommands(out, proto, row.subcommands);
    }
}

fn write_subcommands(out: &mut Vec<u8>, proto: Proto, subcommands: &'static [Subcommand]) {
    reply::bulk(out, b"subcommands");
    reply::map(out, proto, subcommands.len());
    for subcommand in subcommands {
        write_entry(out, proto, subcommand);
    }
}

fn write_arguments(out: &mut Vec<u8>, proto: Proto, arguments: &[Argument]) {
    reply::array(out, arguments.len());
    for argument in arguments {
        write_argument(out, proto, argument);
    }
}

/// Name, type, display text (or, of groups, the parts) and summary always; the rest if there is something to say.
fn write_argument(out: &mut Vec<u8>, proto: Proto, argument: &Argument) {
    let is_key = argument.kind == ArgumentKind::Key;
    let flag_count = usize::from(argument.is_optional) + usize::from(argument.is_multiple);
    let len = 4 + usize::from(is_key) + usize::from(argument.token.is_some()) + usize::from(flag_count > 0);
    reply::map(out, proto, len);
    write_text(out, "name", argument.name);
    write_text(out, "type", argument.kind.name());
    if !argument.kind.has_parts() {
        write_text(out, "display_text", argument.name);
    }
    if is_key {
        // No command has more than one key specification.
        reply::bulk(out, b"key_spec_index");
        reply::integer(out, 0);
    }
    if let Some(token) = argument.token {
        write_text(out, "token", token);
    }
    write_text(out, "summary", argument.summary);
    if flag_count > 0 {
        reply::bulk(out, b"flags");
        reply::set(out, proto, flag_count);
        if argument.is_optional {
            reply::simple(out, "optional");
        }
        if argument.is_multiple {
            reply::simple(out, "multiple");
        }
    }
    if argument.kind.has_parts() {
        reply::bulk(out, b"arguments");
        write_arguments(out, proto, argument.parts);
    }
}

fn write_text(out: &mut Vec<u8>, key: &str, text: &str) {
    reply::bulk(out, key.as_bytes());
    reply::bulk(out, text.as_bytes());
}
