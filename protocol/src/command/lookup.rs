//! From a name to its row.

use super::table::ROWS;
use super::{COMMANDS, Command, CommandError, Subcommand};
use crate::Request;

/// Slots of the hash table of names, some ten times as many as there are names, so that a multiplier without collision
/// is soon found.
const SLOTS: usize = 256;
/// Slot without a name.
const FREE: u8 = u8::MAX;
/// A [`NameKey`] covers every byte of a name of so many.
const NAME_BYTES_MAX: usize = 16;

/// A name of 1 to [`NAME_BYTES_MAX`] bytes in lower case: its first and its last bytes, which overlap. Two names are
/// equal but for case if and only if their keys are equal.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NameKey {
    head: u64,
    tail: u64,
    len: usize,
}

impl NameKey {
    #[inline]
    const fn of(name: &[u8]) -> Self {
        let len = name.len();
        let (head, tail) = if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64)
        } else {
            (u16::from_le_bytes([name[0], name[len / 2]]) as u64, name[len - 1] as u64)
        };
        Self { head: to_lower_case(head), tail: to_lower_case(tail), len }
    }

    #[inline]
    const fn slot(self, multiplier: u64) -> usize {
        let mixed = (self.head ^ self.tail.rotate_left(29) ^ self.len as u64).wrapping_mul(multiplier);
        (mixed >> (u64::BITS - SLOTS.ilog2())) as usize
    }
}

/// Turns the bytes `A` to `Z` among the eight of `word` into `a` to `z`, and leaves the others.
#[inline]
const fn to_lower_case(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let low = word & !HIGH;
    // The high bit of each byte says: at least `A`; more than `Z`; not ASCII.
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let beyond_z = low + (0x80 - b'Z' as u64 - 1) * EACH;
    let is_upper_case = from_a & !beyond_z & !word & HIGH;
    word | is_upper_case >> 2
}

static KEYS: [NameKey; ROWS.len()] = {
    let mut keys = [NameKey { head: 0, tail: 0, len: 0 }; ROWS.len()];
    let mut i = 0;
    while i < ROWS.len() {
        let name = ROWS[i].name.as_bytes();
        assert!(name.len() <= NAME_BYTES_MAX, "a name is longer than its key can cover");
        keys[i] = NameKey::of(name);
        i += 1;
    }
    keys
};

/// A multiplier under which no two names share a slot, and which name is in each slot; the compiler finds both.
const PERFECT: (u64, [u8; SLOTS]) = {
    assert!(ROWS.len() < FREE as usize);
    let mut multiplier = 0x9E37_79B9_7F4A_7C15_u64;
    let mut tries = 0;
    'search: loop {
        tries += 1;
        assert!(tries < 1000, "no multiplier keeps the names apart: double SLOTS");
        multiplier = multiplier.wrapping_mul(0x5851_F42D_4C95_7F2D);
        let mut slots = [FREE; SLOTS];
        let mut i = 0;
        while i < ROWS.len() {
            let slot = NameKey::of(ROWS[i].name.as_bytes()).slot(multiplier);
            if slots[slot] != FREE {
                continue 'search;
            }
            slots[slot] = i as u8;
            i += 1;
        }
        break (multiplier, slots);
    }
};
const MULTIPLIER: u64 = PERFECT.0;
static ROW_OF_SLOT: [u8; SLOTS] = PERFECT.1;

/// The command of this name, in letters of either case.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let key = NameKey::of(name);
    let row = usize::from(ROW_OF_SLOT[key.slot(MULTIPLIER)]);
    (*KEYS.get(row)? == key).then(|| &COMMANDS[row])
}

/// The subcommand of this name (`KILL`, not `CLIENT|KILL`), in letters of either case.
pub fn lookup_sub(command: &Command, name: &[u8]) -> Option<&'static Subcommand> {
    command.subcommands.iter().find(|sub| sub.short_name().as_bytes().eq_ignore_ascii_case(name))
}

/// A row of either kind.
#[derive(Clone, Copy, Debug)]
pub enum AnyRow {
    /// Of a command.
    Command(&'static Command),
    /// Of a subcommand.
    Subcommand(&'static Subcommand),
}

/// The row that `name` or `container|name` means, in letters of either case.
pub fn find(name: &[u8]) -> Option<AnyRow> {
    match name.iter().position(|&byte| byte == b'|') {
        None => lookup(name).map(AnyRow::Command),
        Some(bar) => lookup_sub(lookup(&name[..bar])?, &name[bar + 1..]).map(AnyRow::Subcommand),
    }
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

#[cfg(test)]
mod tests {
    use super::to_lower_case;

    #[test]
    fn eight_letters_at_once_are_turned_as_one_is() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                let mut bytes = *b"Az@[`{\xC1\x00";
                bytes[at] = byte;
                let expected = bytes.map(|byte| byte.to_ascii_lowercase());
                assert_eq!(to_lower_case(u64::from_le_bytes(bytes)).to_le_bytes(), expected);
            }
        }
    }
}
