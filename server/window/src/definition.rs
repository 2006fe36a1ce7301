//! Stream definitions: the words of STREAM.CREATE, checked and made canonical.

mod alter;
mod parse;
#[cfg(test)]
mod tests;
mod text;

use crate::aggregate::{Aggregate, Length};
use crate::duration;

/// Most fields of a stream: their presence fits one word of an operation.
pub const FIELDS_MAX: usize = 64;
/// Most windows of a stream.
pub const WINDOWS_MAX: usize = 32;
/// Most distinct bucket widths of a stream.
pub const TIERS_MAX: usize = 8;
/// Most aggregates of a stream.
pub const AGGREGATES_MAX: usize = 64;
/// Most bytes of a record without sketches: 1 MiB.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// The bucket widths that a window without `@` chooses from, coarsest first.
pub const DEFAULT_WIDTHS_MS: [i64; 18] = [
    duration::DAY_MS,
    12 * duration::HOUR_MS,
    6 * duration::HOUR_MS,
    3 * duration::HOUR_MS,
    duration::HOUR_MS,
    30 * duration::MINUTE_MS,
    15 * duration::MINUTE_MS,
    10 * duration::MINUTE_MS,
    5 * duration::MINUTE_MS,
    duration::MINUTE_MS,
    30 * duration::SECOND_MS,
    15 * duration::SECOND_MS,
    10 * duration::SECOND_MS,
    5 * duration::SECOND_MS,
    duration::SECOND_MS,
    500,
    250,
    100,
];

/// A stream: the named kind of event, its fields, windows and aggregates, and its rules of event time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The stream's name.
    pub name: Box<str>,
    /// Declared fields, in the order declared; an operation names a field by its index here.
    pub fields: Vec<Field>,
    /// Declared windows, in the order declared.
    pub windows: Vec<WindowSpec>,
    /// Declared aggregates, in the order declared.
    pub aggregates: Vec<AggregateSpec>,
    /// What "now" means for the stream.
    pub clock: ClockMode,
    /// Allowed lateness: events older than clock − lateness are LATE. `None`: only retention makes an event late.
    pub lateness_ms: Option<i64>,
    /// How far ahead of the server's clock an event may be.
    pub skew_ms: i64,
    /// What happens to an event further ahead.
    pub skew_action: SkewAction,
    /// How long the ids of counted events are remembered at least; `None`: events have no ids.
    pub dedup_ms: Option<i64>,
    /// How much longer than its longest window a tier keeps buckets.
    pub retain: Vec<RetainSpec>,
    /// How long after its newest event an entity lives, if given.
    pub ttl_ms: Option<i64>,
}

/// A declared field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// Its name, case-sensitive.
    pub name: Box<str>,
    /// Its type.
    pub kind: FieldType,
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldType {
    /// A finite f64.
    Float,
    /// An i64.
    Int,
    /// Up to [`STRING_BYTES_MAX`] bytes.
    String,
}

/// Most bytes of a STRING value.
pub const STRING_BYTES_MAX: usize = 1024;
/// Most bytes of an entity; the fewest are 1.
pub const ENTITY_BYTES_MAX: usize = 1024;

/// A declared window: its length and the width of the buckets it is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WindowSpec {
    /// How long it is.
    pub length: Length,
    /// Its bucket width in milliseconds; 0 for `all`, which has no buckets.
    pub width_ms: i64,
}

/// A declared aggregate and the windows it is limited to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AggregateSpec {
    /// The function.
    pub aggregate: Aggregate,
    /// The windows it is computed for; all that it applies to, if `None`.
    pub lengths: Option<Vec<Length>>,
}

impl AggregateSpec {
    /// Whether the aggregate is computed over `length`.
    pub fn covers(&self, length: Length) -> bool {
        self.aggregate.applies_to(length)
            && self.lengths.as_ref().is_none_or(|lengths| lengths.contains(&length))
    }
}

/// RETAIN: for the tier of one width, or for all that have none of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetainSpec {
    /// How much longer than the longest window buckets are kept.
    pub retain_ms: i64,
    /// The bucket width of the tier meant; all tiers, if `None`.
    pub width_ms: Option<i64>,
}

/// What "now" means for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// The server's clock.
    Wall,
    /// The largest event time received.
    Event,
}

/// What happens to an event that is ahead of the server's clock by more than SKEW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkewAction {
    /// Counted at the server's time.
    Clamp,
    /// Not counted.
    Reject,
}

impl FieldType {
    /// Whether values are bytes, not numbers.
    #[inline]
    pub fn is_string(self) -> bool {
        self == Self::String
    }
}

impl Definition {
    /// Whether both say the same, whatever the order in which they say it.
    pub fn same_as(&self, other: &Self) -> bool {
        self.ordered() == other.ordered()
    }

    /// The first difference to `other` in words (`self` is what exists), or `None` when they say the same.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.same_as(other) {
            return None;
        }
        let (ours, theirs) = (self.ordered(), other.ordered());
        let differs =
            ours.sections().into_iter().zip(theirs.sections()).find(|(ours, theirs)| ours != theirs);
        Some(match differs {
            Some(((_, ours), (_, theirs))) => format!("it has {}, not {}", shown(&ours), shown(&theirs)),
            None => "it differs".to_owned(),
        })
    }

    /// The same definition in one canonical order.
    fn ordered(&self) -> Self {
        let mut ordered = self.clone();
        // Aggregates name fields by index, so the indices move with the fields.
        let mut order: Vec<usize> = (0..self.fields.len()).collect();
        order.sort_by(|&a, &b| self.fields[a].cmp(&self.fields[b]));
        let moved = |field: u8| {
            let at = order.iter().position(|&from| from == usize::from(field)).expect("a declared field");
            u8::try_from(at).expect("fields are bounded by FIELDS_MAX")
        };
        ordered.fields.sort();
        for spec in &mut ordered.aggregates {
            spec.aggregate = spec.aggregate.with_field(moved);
            // Naming all windows is the same as naming none.
            let mut lengths: Vec<Length> = self
                .windows
                .iter()
                .map(|window| window.length)
                .filter(|&length| spec.covers(length))
                .collect();
            lengths.sort();
            spec.lengths = Some(lengths);
        }
        ordered.windows.sort();
        ordered.aggregates.sort();
        ordered.retain.sort();
        ordered
    }
}

fn shown(section: &str) -> &str {
    if section.is_empty() { "nothing there" } else { section }
}
