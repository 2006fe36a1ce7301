//! Which arguments of a command are keys: entities, which decide the shard and what access rules look at.

use super::{CommandError, Flag, Row};
use crate::Request;

/// Where the keys of a command are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    None,
    /// Every `step`-th argument from `first` to `last`; a negative `last` counts from the end, −1 being the last.
    Range {
        /// Position of the first key; the command's name is at 0.
        first: i8,
        /// Position of the last key.
        last: i8,
        /// From one key to the next.
        step: i8,
    },
    /// A count at position 1, then so many keys: `WINDOW.MGET <numentities> <entity> ... <stream> ...`
    Counted,
    /// A count at position 1, then so many pairs of a key and something else: `WINDOW.JOIN <numpairs> <entity> <stream> ... FEATURES ...`
    CountedPairs,
    /// The first value of every row behind `EVENTS`: `EVENT.MADD <stream> FIELDS <n> <field> ... [WITHIDS] ...`
    EventRows,
}

impl Keys {
    /// The one key, right behind the name.
    pub const FIRST: Self = Self::Range { first: 1, last: 1, step: 1 };

    /// First, last and step as `COMMAND INFO` has them: zeros when they cannot say it.
    pub const fn range(self) -> (i64, i64, i64) {
        match self {
            Self::Range { first, last, step } => (first as i64, last as i64, step as i64),
            Self::None | Self::Counted | Self::CountedPairs | Self::EventRows => (0, 0, 0),
        }
    }
}

/// What a command does with its keys, as key patterns of access rules tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// Reads what is there.
    Read,
    /// Changes what is there, and shows nothing of it.
    Write,
}

impl<Id> Row<Id> {
    /// What it does with its keys.
    #[inline]
    pub const fn key_access(&self) -> KeyAccess {
        if self.flags.has(Flag::Write) { KeyAccess::Write } else { KeyAccess::Read }
    }
}

/// Positions of the keys of one request, in ascending order. Allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPositions {
    next: usize,
    end: usize,
    step: usize,
}

impl KeyPositions {
    const EMPTY: Self = Self { next: 0, end: 0, step: 1 };
}

impl Iterator for KeyPositions {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let position = self.next;
        if position >= self.end {
            return None;
        }
        self.next += self.step;
        Some(position)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.saturating_sub(self.next).div_ceil(self.step);
        (left, Some(left))
    }
}

impl ExactSizeIterator for KeyPositions {}

/// Finds the keys of `request`, whose number of arguments fits `row`.
///
/// # Errors
///
/// [`CommandError::KeysNotFound`] when the arguments that say where the keys are contradict the request.
pub fn key_positions<Id>(row: &Row<Id>, request: Request<'_>) -> Result<KeyPositions, CommandError> {
    let len = request.len();
    let found = match row.keys {
        Keys::None => Some(KeyPositions::EMPTY),
        Keys::Range { first, last, step } => {
            let last = if last < 0 {
                len.checked_sub(usize::from(last.unsigned_abs()))
            } else {
                Some(last as usize)
            };
            last.filter(|&last| last < len).map(|last| KeyPositions {
                next: first as usize,
                end: last + 1,
                step: step as usize,
            })
        }
        Keys::Counted => counted(request, 1),
        Keys::CountedPairs => counted(request, 2),
        Keys::EventRows => event_rows(request),
    };
    found.ok_or(CommandError::KeysNotFound { name: row.name })
}

fn counted(request: Request<'_>, step: usize) -> Option<KeyPositions> {
    const FIRST: usize = 2;
    let count = count(request.get(1)?, request.len()).filter(|&count| count > 0)?;
    let end = FIRST + count * step;
    // The stream's name follows the keys, and options or features the pairs.
    (end < request.len()).then_some(KeyPositions { next: FIRST, end, step })
}

fn event_rows(request: Request<'_>) -> Option<KeyPositions> {
    let is = |at: usize, keyword: &[u8]| request.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(keyword));
    if !is(2, b"FIELDS") {
        return None;
    }
    let fields = count(request.get(3)?, request.len())?;
    let mut at = 4 + fields;
    let mut values_per_row = 2 + fields; // entity, time, values
    // Each option at most once, so the loop ends.
    let (mut with_ids, mut source, mut null) = (false, false, false);
    loop {
        if is(at, b"EVENTS") {
            at += 1;
            break;
        } else if is(at, b"WITHIDS") && !with_ids {
            with_ids = true;
            values_per_row += 1;
            at += 1;
        } else if is(at, b"SOURCE") && !source {
            source = true;
            at += 3;
        } else if is(at, b"NULL") && !null {
            null = true;
            at += 2;
        } else {
            return None;
        }
    }
    let values = request.len().checked_sub(at)?;
    (values > 0 && values % values_per_row == 0).then_some(KeyPositions {
        next: at,
        end: request.len(),
        step: values_per_row,
    })
}

/// A count of things that each take an argument: anything above the number of arguments is no count.
fn count(digits: &[u8], args: usize) -> Option<usize> {
    const DIGITS_MAX: usize = 10;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut count = 0usize;
    for digit in digits {
        count = count * 10 + usize::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    (count <= args).then_some(count)
}
