//! Aggregates: functions over a window, as a definition and a feature name them.

use crate::definition::{Field, FieldType};
use crate::duration;
use crate::error::{DefinitionError, quote};

/// The index of a field in its stream's definition.
pub type FieldId = u8;

/// A function over the events of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aggregate {
    /// Events.
    Count,
    /// Events in which the field is present.
    CountOf(FieldId),
    /// Sum of the field.
    Sum(FieldId),
    /// Mean of the field, as SQL's AVG.
    Avg(FieldId),
    /// Smallest value.
    Min(FieldId),
    /// Largest value.
    Max(FieldId),
    /// Events per second of the window's length.
    Rate,
    /// Sum of the field per second of the window's length.
    RateOf(FieldId),
    /// Milliseconds from the newest event in the window to its end.
    Since,
}

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Length {
    /// So many milliseconds.
    Finite(i64),
    /// Everything since the entity's first event: `all`.
    All,
}

impl Length {
    /// Parses `5m` or `all`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.eq_ignore_ascii_case(b"all") {
            return Some(Self::All);
        }
        duration::parse(text).filter(|&length_ms| length_ms > 0).map(Self::Finite)
    }
}

impl std::fmt::Display for Length {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finite(length_ms) => f.write_str(&duration::format(*length_ms)),
            Self::All => f.write_str("all"),
        }
    }
}

/// Aggregates that the language has and this version does not compute yet.
const NOT_BUILT: [&str; 12] = [
    "var_pop",
    "var_samp",
    "stddev_pop",
    "stddev_samp",
    "first",
    "last",
    "lastk",
    "distinct",
    "quantile",
    "topk",
    "countby",
    "decaysum",
];

impl Aggregate {
    /// Parses `count`, `sum(amount)`: the name is a keyword (case does not matter), the field is not.
    ///
    /// # Errors
    /// When the name or the field is unknown, or the aggregate does not take the field's type.
    pub fn parse(text: &[u8], fields: &[Field]) -> Result<Self, DefinitionError> {
        let (name, argument) = split_call(text).ok_or_else(|| {
            DefinitionError(format!("{} is not an aggregate: write it as count or sum(field)", quote(text)))
        })?;
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if NOT_BUILT.contains(&name.as_str()) {
            return Err(DefinitionError(format!(
                "aggregate '{name}' is not available in this version (available: count sum avg min max rate since)"
            )));
        }
        let field = argument.map(|argument| find_field(argument, fields)).transpose()?;
        let aggregate = match (name.as_str(), field) {
            ("count", None) => Self::Count,
            ("count", Some((field, _))) => return Ok(Self::CountOf(field)),
            ("rate", None) => Self::Rate,
            ("since", None) => Self::Since,
            ("sum", Some((field, _))) => Self::Sum(field),
            ("avg", Some((field, _))) => Self::Avg(field),
            ("min", Some((field, _))) => Self::Min(field),
            ("max", Some((field, _))) => Self::Max(field),
            ("rate", Some((field, _))) => Self::RateOf(field),
            ("sum" | "avg" | "min" | "max", None) => {
                return Err(DefinitionError(format!("aggregate '{name}' needs a field: {name}(field)")));
            }
            ("since", Some(_)) => return Err(DefinitionError("aggregate 'since' takes no field".to_owned())),
            _ => {
                return Err(DefinitionError(format!(
                    "unknown aggregate {} (available: count sum avg min max rate since)",
                    quote(text)
                )));
            }
        };
        match field {
            Some((field, FieldType::String)) => Err(DefinitionError(format!(
                "aggregate '{name}' needs a number, and field '{}' is a STRING",
                fields[usize::from(field)].name
            ))),
            _ => Ok(aggregate),
        }
    }

    /// The aggregate's text: `sum(amount)`.
    pub fn text(self, fields: &[Field]) -> String {
        match self {
            Self::Count => "count".to_owned(),
            Self::Rate => "rate".to_owned(),
            Self::Since => "since".to_owned(),
            Self::CountOf(field) => format!("count({})", fields[usize::from(field)].name),
            Self::Sum(field) => format!("sum({})", fields[usize::from(field)].name),
            Self::Avg(field) => format!("avg({})", fields[usize::from(field)].name),
            Self::Min(field) => format!("min({})", fields[usize::from(field)].name),
            Self::Max(field) => format!("max({})", fields[usize::from(field)].name),
            Self::RateOf(field) => format!("rate({})", fields[usize::from(field)].name),
        }
    }

    /// Whether its values are numbers, so that entities can be ranked by them.
    pub fn is_numeric(self) -> bool {
        match self {
            Self::Count
            | Self::CountOf(_)
            | Self::Sum(_)
            | Self::Avg(_)
            | Self::Min(_)
            | Self::Max(_)
            | Self::Rate
            | Self::RateOf(_)
            | Self::Since => true,
        }
    }

    /// Whether the aggregate makes sense over `length`: a rate needs a finite one.
    pub fn applies_to(self, length: Length) -> bool {
        !(matches!(self, Self::Rate | Self::RateOf(_)) && length == Length::All)
    }
}

/// Splits `sum(amount)` into `sum` and `amount`; `count` into `count` and nothing.
fn split_call(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    match text.iter().position(|&byte| byte == b'(') {
        None => (!text.is_empty() && !text.contains(&b')')).then_some((text, None)),
        Some(open) => {
            let argument = text[open + 1..].strip_suffix(b")")?;
            (open > 0 && !argument.is_empty()).then_some((&text[..open], Some(argument)))
        }
    }
}

fn find_field(name: &[u8], fields: &[Field]) -> Result<(FieldId, FieldType), DefinitionError> {
    let at = fields.iter().position(|field| field.name.as_bytes() == name);
    let at = at.ok_or_else(|| {
        let known: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
        DefinitionError(format!("unknown field {} (the stream's fields: {})", quote(name), known.join(" ")))
    })?;
    Ok((FieldId::try_from(at).expect("fields are bounded by FIELDS_MAX"), fields[at].kind))
}
