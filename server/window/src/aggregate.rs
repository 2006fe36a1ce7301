//! Aggregates: functions over a window, as a definition and a feature name them.

use crate::definition::{Field, FieldType};
use crate::duration;
use crate::error::{DefinitionError, quote};
use crate::sketch::{K_MAX, PRECISION_DEFAULT, PRECISION_MAX, PRECISION_MIN};
use crate::timestamp;

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
    /// Variance of the field as of a population, or of a sample, or the root of it.
    Variance(FieldId, Spread),
    /// Smallest value.
    Min(FieldId),
    /// Largest value.
    Max(FieldId),
    /// Events per second of the window's length.
    Rate,
    /// Sum of the field per second of the window's length.
    RateOf(FieldId),
    /// The value of the oldest event that has one.
    First(FieldId),
    /// The value of the newest event that has one.
    Last(FieldId),
    /// The so many newest values.
    LastK(FieldId, u16),
    /// How many different values, estimated with this precision.
    Distinct(FieldId, u8),
    /// The value that this fraction of the values is not above.
    Quantile(FieldId, Fraction),
    /// The so many most frequent values.
    TopK(FieldId, u16),
    /// The counts of the first so many values of each bucket, and of the rest.
    CountBy(FieldId, u16),
    /// Sum of values that halve each so many milliseconds.
    DecaySum(FieldId, i64),
    /// Milliseconds from the newest event in the window to its end.
    Since,
}

/// What of a field's spread is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Spread {
    /// `var_pop`: divided by n.
    VarPop,
    /// `var_samp`: divided by n − 1.
    VarSamp,
    /// `stddev_pop`.
    StddevPop,
    /// `stddev_samp`.
    StddevSamp,
}

impl Spread {
    fn name(self) -> &'static str {
        match self {
            Self::VarPop => "var_pop",
            Self::VarSamp => "var_samp",
            Self::StddevPop => "stddev_pop",
            Self::StddevSamp => "stddev_samp",
        }
    }
}

/// A number between 0 and 1, exclusive, that can be compared and hashed: the bits of an f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fraction(u64);

impl Fraction {
    /// The fraction; `None` outside of (0, 1).
    pub fn new(fraction: f64) -> Option<Self> {
        // Bits of positive numbers are ordered as these are.
        (fraction > 0.0 && fraction < 1.0).then(|| Self(fraction.to_bits()))
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
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

/// How each aggregate is written.
const FORMS: [(&str, &str); 19] = [
    ("count", "count or count(field)"),
    ("sum", "sum(field)"),
    ("avg", "avg(field)"),
    ("var_pop", "var_pop(field)"),
    ("var_samp", "var_samp(field)"),
    ("stddev_pop", "stddev_pop(field)"),
    ("stddev_samp", "stddev_samp(field)"),
    ("min", "min(field)"),
    ("max", "max(field)"),
    ("rate", "rate or rate(field)"),
    ("first", "first(field)"),
    ("last", "last(field)"),
    ("lastk", "lastk(field,k)"),
    ("distinct", "distinct(field) or distinct(field,p)"),
    ("quantile", "quantile(field,q)"),
    ("topk", "topk(field,k)"),
    ("countby", "countby(field,k)"),
    ("decaysum", "decaysum(field,halflife)"),
    ("since", "since"),
];

/// An aggregate takes at most a field and one number.
const ARGUMENTS_MAX: usize = 2;

impl Aggregate {
    /// Parses `count`, `sum(amount)`, `lastk(amount,3)`: the name is a keyword (case does not matter), the field is not.
    ///
    /// # Errors
    /// When the name or the field is unknown, a number is out of its bounds, or the aggregate does not take the field's type.
    pub fn parse(text: &[u8], fields: &[Field]) -> Result<Self, DefinitionError> {
        let (name, arguments) = split_call(text).ok_or_else(|| {
            DefinitionError(format!("{} is not an aggregate: write it as count or sum(field)", quote(text)))
        })?;
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == name) else {
            return Err(unknown_aggregate(text));
        };
        let mut arguments = arguments.into_iter().flat_map(|all| all.split(|&byte| byte == b',')).fuse();
        let (first, number) = (arguments.next(), arguments.next());
        let misformed = || {
            let needs = if first.is_none() { " needs a field" } else { "" };
            DefinitionError(format!("aggregate '{name}'{needs}: write it as {form}"))
        };
        if arguments.next().is_some() {
            return Err(DefinitionError(format!(
                "aggregate '{name}' takes at most {ARGUMENTS_MAX} arguments: write it as {form}"
            )));
        }
        let field = first.map(|field| find_field(field.trim_ascii(), fields)).transpose()?;
        let number = number.map(<[u8]>::trim_ascii);
        let aggregate = match (name.as_str(), field.map(|(field, _)| field), number) {
            ("count", None, None) => Self::Count,
            ("rate", None, None) => Self::Rate,
            ("since", None, None) => Self::Since,
            ("count", Some(field), None) => Self::CountOf(field),
            ("sum", Some(field), None) => Self::Sum(field),
            ("avg", Some(field), None) => Self::Avg(field),
            ("var_pop", Some(field), None) => Self::Variance(field, Spread::VarPop),
            ("var_samp", Some(field), None) => Self::Variance(field, Spread::VarSamp),
            ("stddev_pop", Some(field), None) => Self::Variance(field, Spread::StddevPop),
            ("stddev_samp", Some(field), None) => Self::Variance(field, Spread::StddevSamp),
            ("min", Some(field), None) => Self::Min(field),
            ("max", Some(field), None) => Self::Max(field),
            ("rate", Some(field), None) => Self::RateOf(field),
            ("first", Some(field), None) => Self::First(field),
            ("last", Some(field), None) => Self::Last(field),
            ("lastk", Some(field), Some(k)) => Self::LastK(field, parse_k(text, k)?),
            ("distinct", Some(field), None) => Self::Distinct(field, PRECISION_DEFAULT),
            ("distinct", Some(field), Some(p)) => Self::Distinct(field, parse_precision(text, p)?),
            ("quantile", Some(field), Some(q)) => Self::Quantile(field, parse_fraction(text, q)?),
            ("topk", Some(field), Some(k)) => Self::TopK(field, parse_k(text, k)?),
            ("countby", Some(field), Some(k)) => Self::CountBy(field, parse_k(text, k)?),
            ("decaysum", Some(field), Some(life)) => Self::DecaySum(field, parse_halflife(text, life)?),
            ("since", Some(_), _) => {
                return Err(DefinitionError("aggregate 'since' takes no field".to_owned()));
            }
            _ => return Err(misformed()),
        };
        match field {
            Some((field, FieldType::String)) if !aggregate.takes_strings() => Err(DefinitionError(format!(
                "aggregate '{name}' needs a number, and field '{}' is a STRING",
                fields[usize::from(field)].name
            ))),
            _ => Ok(aggregate),
        }
    }

    /// The aggregate's text, the only one that all ways to write it come to: `sum(amount)`.
    pub fn text(self, fields: &[Field]) -> String {
        let name = match self {
            Self::Count | Self::CountOf(_) => "count",
            Self::Sum(_) => "sum",
            Self::Avg(_) => "avg",
            Self::Variance(_, spread) => spread.name(),
            Self::Min(_) => "min",
            Self::Max(_) => "max",
            Self::Rate | Self::RateOf(_) => "rate",
            Self::First(_) => "first",
            Self::Last(_) => "last",
            Self::LastK(..) => "lastk",
            Self::Distinct(..) => "distinct",
            Self::Quantile(..) => "quantile",
            Self::TopK(..) => "topk",
            Self::CountBy(..) => "countby",
            Self::DecaySum(..) => "decaysum",
            Self::Since => "since",
        };
        let Some(field) = self.field() else { return name.to_owned() };
        let field = &fields[usize::from(field)].name;
        match self {
            Self::LastK(_, k) | Self::TopK(_, k) | Self::CountBy(_, k) => format!("{name}({field},{k})"),
            Self::Distinct(_, p) if p != PRECISION_DEFAULT => format!("{name}({field},{p})"),
            Self::Quantile(_, q) => format!("{name}({field},{})", q.get()),
            Self::DecaySum(_, halflife_ms) => format!("{name}({field},{})", duration::format(halflife_ms)),
            _ => format!("{name}({field})"),
        }
    }

    /// The field that it is a function of.
    pub fn field(mut self) -> Option<FieldId> {
        self.field_mut().copied()
    }

    /// The same function of another field.
    #[must_use]
    pub fn with_field(mut self, to: impl FnOnce(FieldId) -> FieldId) -> Self {
        if let Some(field) = self.field_mut() {
            *field = to(*field);
        }
        self
    }

    fn field_mut(&mut self) -> Option<&mut FieldId> {
        match self {
            Self::Count | Self::Rate | Self::Since => None,
            Self::CountOf(field)
            | Self::Sum(field)
            | Self::Avg(field)
            | Self::Variance(field, _)
            | Self::Min(field)
            | Self::Max(field)
            | Self::RateOf(field)
            | Self::First(field)
            | Self::Last(field)
            | Self::LastK(field, _)
            | Self::Distinct(field, _)
            | Self::Quantile(field, _)
            | Self::TopK(field, _)
            | Self::CountBy(field, _)
            | Self::DecaySum(field, _) => Some(field),
        }
    }

    /// Whether a STRING field will do.
    fn takes_strings(self) -> bool {
        matches!(
            self,
            Self::CountOf(_)
                | Self::First(_)
                | Self::Last(_)
                | Self::LastK(..)
                | Self::Distinct(..)
                | Self::TopK(..)
                | Self::CountBy(..)
        )
    }

    /// Whether the aggregate makes sense over `length`: a rate needs a finite one, and what decays has no edge.
    pub fn applies_to(self, length: Length) -> bool {
        match self {
            Self::Rate | Self::RateOf(_) => length != Length::All,
            Self::DecaySum(..) => length == Length::All,
            _ => true,
        }
    }

    /// Why the aggregate does not [apply](Aggregate::applies_to) to some length.
    pub(crate) fn why_not(self) -> &'static str {
        match self {
            Self::DecaySum(..) => "it is kept for 'all' only, which must stand among WINDOWS",
            _ => "it has no value over 'all': a rate needs a length",
        }
    }
}

fn unknown_aggregate(text: &[u8]) -> DefinitionError {
    let names: Vec<&str> = FORMS.iter().map(|(name, _)| *name).collect();
    DefinitionError(format!("unknown aggregate {} (available: {})", quote(text), names.join(" ")))
}

fn parse_k(text: &[u8], k: &[u8]) -> Result<u16, DefinitionError> {
    let number = timestamp::parse_int(k).and_then(|number| u16::try_from(number).ok());
    number.filter(|number| (1..=K_MAX).contains(number)).ok_or_else(|| {
        DefinitionError(format!("{}: k is a number from 1 to {K_MAX}, not {}", quote(text), quote(k)))
    })
}

fn parse_precision(text: &[u8], p: &[u8]) -> Result<u8, DefinitionError> {
    let number = timestamp::parse_int(p).and_then(|number| u8::try_from(number).ok());
    number.filter(|number| (PRECISION_MIN..=PRECISION_MAX).contains(number)).ok_or_else(|| {
        DefinitionError(format!(
            "{}: the precision is a number from {PRECISION_MIN} to {PRECISION_MAX}, not {}",
            quote(text),
            quote(p)
        ))
    })
}

fn parse_fraction(text: &[u8], q: &[u8]) -> Result<Fraction, DefinitionError> {
    let number: Option<f64> = std::str::from_utf8(q).ok().and_then(|q| q.parse().ok());
    number.and_then(Fraction::new).ok_or_else(|| {
        DefinitionError(format!("{}: q is a number between 0 and 1, as 0.99, not {}", quote(text), quote(q)))
    })
}

fn parse_halflife(text: &[u8], halflife: &[u8]) -> Result<i64, DefinitionError> {
    duration::parse(halflife).filter(|&halflife_ms| halflife_ms > 0).ok_or_else(|| {
        DefinitionError(format!(
            "{}: the half-life is a duration above 0 (an integer and ms, s, m, h or d), not {}",
            quote(text),
            quote(halflife)
        ))
    })
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
