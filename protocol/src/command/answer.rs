//! The command `COMMAND`, answered from the table, in the shapes of Redis 7.

mod docs;
mod info;

use super::{
    AnyRow, COMMANDS, Category, CommandError, Keys, Row, SubcommandId, find, key_positions, lookup,
    lookup_sub,
};
use crate::{Proto, Request, glob, reply};

/// `COMMAND INFO` and `COMMAND DOCS` answer for at most so many names: an answer is a hundred times as long as a name.
pub const NAMES_MAX: usize = 1024;

/// Appends the reply to `request`, which is `COMMAND` or one of its subcommands, and whose arity is checked.
///
/// # Errors
///
/// Nothing is appended then: the caller replies with the error.
pub fn answer(
    out: &mut Vec<u8>,
    proto: Proto,
    subcommand: Option<SubcommandId>,
    request: Request<'_>,
) -> Result<(), CommandError> {
    let operands = request.skip(2);
    match subcommand {
        None => info::write_all(out, proto),
        Some(SubcommandId::CommandInfo) if operands.is_empty() => info::write_all(out, proto),
        Some(SubcommandId::CommandInfo) => {
            check_name_count(operands)?;
            info::write_named(out, proto, operands);
        }
        Some(SubcommandId::CommandDocs) if operands.is_empty() => docs::write_all(out, proto),
        Some(SubcommandId::CommandDocs) => {
            check_name_count(operands)?;
            docs::write_named(out, proto, operands);
        }
        Some(SubcommandId::CommandCount) => reply::integer(out, COMMANDS.len() as i64),
        Some(SubcommandId::CommandList) => write_list(out, Filter::parse(operands)?),
        Some(SubcommandId::CommandGetkeys) => write_keys(out, operands)?,
        Some(other) => unreachable!("{other:?} is no subcommand of COMMAND"),
    }
    Ok(())
}

fn check_name_count(names: Request<'_>) -> Result<(), CommandError> {
    let count = names.len();
    if count <= NAMES_MAX { Ok(()) } else { Err(CommandError::TooManyNames { count }) }
}

/// `FILTERBY` of `COMMAND LIST`.
#[derive(Clone, Copy)]
enum Filter<'a> {
    All,
    /// There are no modules.
    Module,
    Category(Option<Category>),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(operands: Request<'a>) -> Result<Self, CommandError> {
        if operands.is_empty() {
            return Ok(Self::All);
        }
        if operands.len() != 3 || !operands.at(0).eq_ignore_ascii_case(b"FILTERBY") {
            return Err(CommandError::Syntax);
        }
        let (kind, value) = (operands.at(1), operands.at(2));
        if kind.eq_ignore_ascii_case(b"MODULE") {
            Ok(Self::Module)
        } else if kind.eq_ignore_ascii_case(b"ACLCAT") {
            Ok(Self::Category(Category::from_name(value)))
        } else if kind.eq_ignore_ascii_case(b"PATTERN") {
            glob::check_length(value).map_err(CommandError::PatternTooLong)?;
            Ok(Self::Pattern(value))
        } else {
            Err(CommandError::Syntax)
        }
    }

    fn takes<Id>(self, row: &Row<Id>) -> bool {
        match self {
            Self::All => true,
            Self::Module => false,
            Self::Category(category) => category.is_some_and(|category| row.categories.has(category)),
            Self::Pattern(pattern) => glob::matches_ignoring_case(pattern, row.name.as_bytes()),
        }
    }
}

fn write_list(out: &mut Vec<u8>, filter: Filter<'_>) {
    let mut names = Vec::new();
    for command in &COMMANDS {
        if filter.takes(command) {
            names.push(command.name);
        }
        names.extend(command.subcommands.iter().filter(|sub| filter.takes(sub)).map(|sub| sub.name));
    }
    reply::array(out, names.len());
    for name in names {
        reply::bulk(out, name.as_bytes());
    }
}

/// The row of the subcommand decides, where the command is a container.
fn write_keys(out: &mut Vec<u8>, request: Request<'_>) -> Result<(), CommandError> {
    let command = request.get(0).and_then(lookup).ok_or(CommandError::GetkeysOfUnknownCommand)?;
    match request.get(1).and_then(|name| lookup_sub(command, name)) {
        Some(sub) => write_keys_of(out, sub, request),
        None => write_keys_of(out, command, request),
    }
}

fn write_keys_of<Id>(out: &mut Vec<u8>, row: &Row<Id>, request: Request<'_>) -> Result<(), CommandError> {
    if row.keys == Keys::None {
        return Err(CommandError::NoKeyArguments);
    }
    if !row.takes(request.len()) {
        return Err(CommandError::GetkeysWrongArity);
    }
    let keys = key_positions(row, request)?;
    reply::array(out, keys.len());
    for position in keys {
        reply::bulk(out, request.at(position));
    }
    Ok(())
}
