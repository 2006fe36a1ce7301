//! From a name to its row.

use super::table::ROWS;
use super::{COMMANDS, Command, CommandError, Subcommand};
use crate::Request;

/// Slots of the hash table of names, some ten times as many as there are names, so that a multiplier without collision
/// is soon found.
const SLOTS: usize = 256;
/// Slot without a name.
const FREE: u8 = u8::MAX;

const NAME_BYTES_MAX: usize = {
    let mut max = 0;
    let mut i = 0;
    while i < ROWS.len() {
        if ROWS[i].name.len() > max {
            max = ROWS[i].name.len();
        }
        i += 1;
    }
    max
};

/// A multiplier under which no two names share a slot, and the slots; both found by the compiler.
const PERFECT: (u32, [u8; SLOTS]) = {
    assert!(ROWS.len() < FREE as usize);
    let mut multiplier = 0x9E37_79B1_u32;
    let mut tries = 0;
    'search: loop {
        tries += 1;
        assert!(
            tries < 1000,
            "two names agree in length, first, middle and last letter: hash another one too"
        );
        multiplier = multiplier.wrapping_add(0x3C6E_F372);
        let mut slots = [FREE; SLOTS];
        let mut i = 0;
        while i < ROWS.len() {
            let slot = slot(ROWS[i].name.as_bytes(), multiplier);
            if slots[slot] != FREE {
                continue 'search;
            }
            slots[slot] = i as u8;
            i += 1;
        }
        break (multiplier, slots);
    }
};
static SLOT_OF_NAME: [u8; SLOTS] = PERFECT.1;
const MULTIPLIER: u32 = PERFECT.0;

/// Hashes length, first, middle and last letter, in lower case. `name` is not empty.
#[inline]
const fn slot(name: &[u8], multiplier: u32) -> usize {
    const LOWER_CASE: u8 = 0x20;
    let len = name.len();
    let word = u32::from_le_bytes([
        name[0] | LOWER_CASE,
        name[len / 2] | LOWER_CASE,
        name[len - 1] | LOWER_CASE,
        len as u8,
    ]);
    (word.wrapping_mul(multiplier) >> 24) as usize
}

/// The command of this name, in letters of either case.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let command = COMMANDS.get(usize::from(SLOT_OF_NAME[slot(name, MULTIPLIER)]))?;
    command.name.as_bytes().eq_ignore_ascii_case(name).then_some(command)
}

/// The subcommand of this name (`KILL`, not `CLIENT|KILL`), in letters of either case.
pub fn lookup_sub(command: &Command, name: &[u8]) -> Option<&'static Subcommand> {
    command.subcommands.iter().find(|sub| sub.short_name().as_bytes().eq_ignore_ascii_case(name))
}

/// A request whose command is known, and whose number of arguments fits it.
#[derive(Clone, Copy, Debug)]
pub struct Resolved {
    /// The command.
    pub command: &'static Command,
    /// Its subcommand: always there for a container, except for `COMMAND` alone.
    pub subcommand: Option<&'static Subcommand>,
}

/// Finds command and subcommand of a request and checks the number of its arguments.
///
/// # Errors
///
/// There is no such command or subcommand, or it takes another number of arguments.
#[inline]
pub fn resolve(request: Request<'_>) -> Result<Resolved, CommandError> {
    let Some(command) = request.get(0).and_then(lookup) else {
        return Err(CommandError::unknown_command(request));
    };
    command.check_arity(request.len())?;
    if command.subcommands.is_empty() || request.len() == 1 {
        return Ok(Resolved { command, subcommand: None });
    }
    resolve_sub(command, request)
}

fn resolve_sub(command: &'static Command, request: Request<'_>) -> Result<Resolved, CommandError> {
    let name = request.at(1);
    let subcommand =
        lookup_sub(command, name).ok_or_else(|| CommandError::unknown_subcommand(command.name, name))?;
    subcommand.check_arity(request.len())?;
    Ok(Resolved { command, subcommand: Some(subcommand) })
}
