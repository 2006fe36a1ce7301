//! `COMMAND` and `COMMAND INFO`: ten values a command.
//!
//! ```text
//! name, arity, flags, first key, last key, step, ACL categories, tips, key specifications, subcommands
//! ```

use super::{AnyRow, COMMANDS, find};
use crate::command::{KeyAccess, Keys, Row};
use crate::{Proto, Request, reply};

pub(super) fn write_all(out: &mut Vec<u8>, proto: Proto) {
    reply::array(out, COMMANDS.len());
    for command in &COMMANDS {
        write_row(out, proto, command);
    }
}

pub(super) fn write_named(out: &mut Vec<u8>, proto: Proto, names: Request<'_>) {
    reply::array(out, names.len());
    for name in names.iter() {
        match find(name) {
            Some(AnyRow::Command(command)) => write_row(out, proto, command),
            Some(AnyRow::Subcommand(subcommand)) => write_row(out, proto, subcommand),
            None => reply::null(out, proto),
        }
    }
}

fn write_row<Id>(out: &mut Vec<u8>, proto: Proto, row: &Row<Id>) {
    let (first, last, step) = row.keys.range();
    reply::array(out, 10);
    reply::bulk(out, row.name.as_bytes());
    reply::integer(out, i64::from(row.arity));
    reply::set(out, proto, row.flags.iter().count());
    for flag in row.flags.iter() {
        reply::simple(out, flag.name());
    }
    reply::integer(out, first);
    reply::integer(out, last);
    reply::integer(out, step);
    reply::set(out, proto, row.categories.iter().count());
    for category in row.categories.iter() {
        reply::simple(out, category.name());
    }
    reply::set(out, proto, row.tips.len());
    for tip in row.tips {
        reply::bulk(out, tip.as_bytes());
    }
    write_key_specs(out, proto, row);
    if row.subcommands.is_empty() {
        reply::set(out, proto, 0);
    } else {
        reply::array(out, row.subcommands.len());
        for subcommand in row.subcommands {
            write_row(out, proto, subcommand);
        }
    }
}

/// One specification at most: how to find the keys, as far as Redis' vocabulary can say it.
fn write_key_specs<Id>(out: &mut Vec<u8>, proto: Proto, row: &Row<Id>) {
    if row.keys == Keys::None {
        reply::set(out, proto, 0);
        return;
    }
    reply::set(out, proto, 1);
    reply::map(out, proto, 3);
    reply::bulk(out, b"flags");
    let mut flags = match row.key_access() {
        KeyAccess::Write => vec!["RW", "update"],
        KeyAccess::Read => vec!["RO", "access"],
    };
    if row.keys == Keys::EventRows {
        flags.push("incomplete");
    }
    reply::set(out, proto, flags.len());
    for flag in flags {
        reply::simple(out, flag);
    }
    match row.keys {
        Keys::None => unreachable!("answered above"),
        Keys::Range { first, last, step } => {
            write_spec(out, proto, "begin_search", "index", &[("index", i64::from(first))]);
            // Redis counts the last key from the first one.
            let last = i64::from(if last >= 0 { last - first } else { last });
            let fields = [("lastkey", last), ("keystep", i64::from(step)), ("limit", 0)];
            write_spec(out, proto, "find_keys", "range", &fields);
        }
        Keys::Counted | Keys::CountedPairs => {
            write_spec(out, proto, "begin_search", "index", &[("index", 1)]);
            let step = if row.keys == Keys::Counted { 1 } else { 2 };
            let fields = [("keynumidx", 0), ("firstkey", 1), ("keystep", step)];
            write_spec(out, proto, "find_keys", "keynum", &fields);
        }
        Keys::EventRows => {
            write_spec(out, proto, "begin_search", "unknown", &[]);
            write_spec(out, proto, "find_keys", "unknown", &[]);
        }
    }
}

fn write_spec(out: &mut Vec<u8>, proto: Proto, step: &str, kind: &str, fields: &[(&str, i64)]) {
    reply::bulk(out, step.as_bytes());
    reply::map(out, proto, 2);
    reply::bulk(out, b"type");
    reply::bulk(out, kind.as_bytes());
    reply::bulk(out, b"spec");
    reply::map(out, proto, fields.len());
    for &(name, value) in fields {
        reply::bulk(out, name.as_bytes());
        reply::integer(out, value);
    }
}
