//! What a read asks: features, and the time they are read at.

use std::sync::Arc;

use crate::aggregate::{Aggregate, Length};
use crate::duration;
use crate::error::{QueryError, quote};
use crate::layout::Layout;
use crate::timestamp::{self, TIMESTAMP_ABS_MAX, bucket_ceil, bucket_of};

/// Most features that one read may name.
pub const FEATURES_MAX: usize = 1024;

/// An aggregate over a window length.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Its name: `sum(amount):5m`.
    pub name: Arc<str>,
    /// The function.
    pub aggregate: Aggregate,
    /// The window's length.
    pub length: Length,
    /// The tier that answers it; `None` for `all`.
    pub tier: Option<usize>,
}

/// The end of the windows of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The stream's clock + 1 ms.
    Now,
    /// This time, exclusive.
    Timestamp(i64),
}

/// The features of a read and its options.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is asked, in the order of the reply.
    pub features: Box<[Feature]>,
    /// Whether the features were named: a reply to named ones is an array, else a map of all declared.
    pub named: bool,
    /// When.
    pub at: At,
}

/// The one time of a read, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTime {
    /// T: the end of the windows, exclusive.
    pub t: i64,
    /// The stream's clock; `None` while a stream with CLOCK EVENT has no event.
    pub clock: Option<i64>,
    /// Whether T is the present, where `all` exists.
    pub present: bool,
}

/// Options of the language that this version does not have.
const NOT_BUILT: [&str; 5] = ["OFFSET", "HOP", "FINAL", "EDGE", "WITHMETA"];

impl Query {
    /// All declared features, now.
    pub fn all(layout: &Layout) -> Self {
        Self { features: layout.features.clone(), named: false, at: At::Now }
    }

    /// Parses what follows the stream's name in WINDOW.GET: options, then features.
    ///
    /// # Errors
    /// Says which option or feature is wrong.
    pub fn parse<'a>(layout: &Layout, args: impl Iterator<Item = &'a [u8]>) -> Result<Self, QueryError> {
        let mut at = At::Now;
        let mut features = Vec::new();
        let mut args = args;
        while let Some(arg) = args.next() {
            // A feature always holds a colon, an option never does.
            if arg.contains(&b':') {
                if features.len() == FEATURES_MAX {
                    return Err(QueryError::Syntax(format!("more than {FEATURES_MAX} features in one read")));
                }
                features.push(Feature::find(layout, arg)?);
            } else if !features.is_empty() {
                return Err(QueryError::UnknownFeature(unknown_feature(layout, arg)));
            } else if arg.eq_ignore_ascii_case(b"AT") {
                if at != At::Now {
                    return Err(QueryError::Syntax("AT is given twice".to_owned()));
                }
                at = parse_at(args.next())?;
            } else if let Some(option) =
                NOT_BUILT.iter().find(|option| arg.eq_ignore_ascii_case(option.as_bytes()))
            {
                return Err(QueryError::Syntax(format!("{option} is not available in this version")));
            } else {
                return Err(QueryError::UnknownFeature(unknown_feature(layout, arg)));
            }
        }
        if features.is_empty() {
            return Ok(Self { at, ..Self::all(layout) });
        }
        let query = Self { features: features.into(), named: true, at };
        if at != At::Now
            && let Some(feature) = query.features.iter().find(|feature| feature.length == Length::All)
        {
            return Err(QueryError::Syntax(format!(
                "{} exists only at the present: it cannot be read AT a time",
                feature.name
            )));
        }
        Ok(query)
    }

    /// Resolves T by the stream's clock and checks that every window asked for is kept.
    ///
    /// # Errors
    /// [`QueryError::NotKept`] names the oldest time kept and the RETAIN that the window would need.
    pub fn read_time(&self, layout: &Layout, clock: Option<i64>) -> Result<ReadTime, QueryError> {
        let time = match (self.at, clock) {
            (At::Timestamp(t), clock) => ReadTime { t, clock, present: false },
            (At::Now, Some(clock_ms)) => ReadTime { t: clock_ms + 1, clock, present: true },
            (At::Now, None) => ReadTime { t: 0, clock, present: true },
        };
        if let (At::Timestamp(_), Some(clock_ms)) = (self.at, clock) {
            for feature in &self.features {
                feature.check_kept(layout, time.t, clock_ms)?;
            }
        }
        Ok(time)
    }
}

fn parse_at(word: Option<&[u8]>) -> Result<At, QueryError> {
    match word {
        None => Err(QueryError::Syntax("AT needs a timestamp in milliseconds".to_owned())),
        Some(word) if word.eq_ignore_ascii_case(b"EVENT") => {
            Err(QueryError::Syntax("AT EVENT is not available in this version".to_owned()))
        }
        Some(word) => timestamp::parse(word).map(At::Timestamp).ok_or_else(|| {
            QueryError::Syntax(format!(
                "AT needs a timestamp in milliseconds within ±{TIMESTAMP_ABS_MAX}, not {}",
                quote(word)
            ))
        }),
    }
}

impl Feature {
    /// Finds or makes the feature that `text` names: a declared one, or any other length that a tier can answer.
    ///
    /// # Errors
    /// When the aggregate is not kept, or the length cannot be answered.
    pub fn find(layout: &Layout, text: &[u8]) -> Result<Self, QueryError> {
        if let Some(declared) = layout.features.iter().find(|feature| feature.name.as_bytes() == text) {
            return Ok(declared.clone());
        }
        let unknown = || QueryError::UnknownFeature(unknown_feature(layout, text));
        let colon = text.iter().rposition(|&byte| byte == b':').ok_or_else(unknown)?;
        let aggregate = Aggregate::parse(&text[..colon], &layout.fields)
            .map_err(|error| QueryError::UnknownFeature(error.to_string()))?;
        let length = Length::parse(&text[colon + 1..]).ok_or_else(|| {
            QueryError::UnknownFeature(format!(
                "{} is not a feature: after the colon stands a length such as 5m, or all",
                quote(text)
            ))
        })?;
        let name: Arc<str> = format!("{}:{length}", aggregate.text(&layout.fields)).into();
        if let Some(declared) = layout.features.iter().find(|feature| feature.name == name) {
            return Ok(declared.clone());
        }
        match length {
            Length::All => Err(unknown()),
            Length::Finite(length_ms) => {
                let tier = tier_for(layout, aggregate, length_ms).map_err(|why| {
                    QueryError::UnknownFeature(format!("{}: {why}", unknown_feature(layout, text)))
                })?;
                Ok(Self { name, aggregate, length, tier: Some(tier) })
            }
        }
    }

    /// The buckets of the window that ends at `t`: `[floor(T − W, w), ceil(T, w))`, as indices.
    #[inline]
    pub fn buckets(&self, layout: &Layout, t: i64) -> Option<(usize, i64, i64)> {
        let (Some(tier), Length::Finite(length_ms)) = (self.tier, self.length) else { return None };
        let width_ms = layout.tiers[tier].width_ms;
        Some((tier, bucket_of(t - length_ms, width_ms), bucket_ceil(t, width_ms)))
    }

    fn check_kept(&self, layout: &Layout, t: i64, clock_ms: i64) -> Result<(), QueryError> {
        let Some((tier, from, _)) = self.buckets(layout, t) else { return Ok(()) };
        let tier = &layout.tiers[tier];
        let (from_ms, kept_ms) = (from * tier.width_ms, tier.kept_from_ms(clock_ms));
        if from_ms >= kept_ms {
            return Ok(());
        }
        Err(not_kept(&self.name, tier, from_ms, clock_ms))
    }
}

/// The error for a window that begins at `from_ms`, before what `tier` keeps.
pub(crate) fn not_kept(what: &str, tier: &crate::layout::Tier, from_ms: i64, clock_ms: i64) -> QueryError {
    let needed_ms = clock_ms + 1 - tier.longest_ms - from_ms;
    let needed_ms = bucket_ceil(needed_ms, tier.width_ms) * tier.width_ms;
    QueryError::NotKept(format!(
        "{what} begins at {from_ms}, before the oldest time kept, {}: it would need RETAIN {}",
        tier.kept_from_ms(clock_ms),
        duration::format(needed_ms)
    ))
}

/// The tier that answers a length: of a declared one its own; else the coarsest that keeps it, holds the aggregate and has
/// w ≤ W/60, else the finest that keeps and holds it. The length must be a multiple of the width.
fn tier_for(layout: &Layout, aggregate: Aggregate, length_ms: i64) -> Result<usize, String> {
    if let Some(window) = layout.window(Length::Finite(length_ms)) {
        let tier = layout.tier_of_width(window.width_ms).expect("every declared width has its tier");
        return if layout.tiers[tier].holds(aggregate, &layout.fields) {
            Ok(tier)
        } else {
            Err(format!("window {} does not keep this aggregate", window.length))
        };
    }
    let answers =
        |tier: &crate::layout::Tier| tier.longest_ms >= length_ms && tier.holds(aggregate, &layout.fields);
    let found = layout
        .tiers
        .iter()
        .rposition(|tier| answers(tier) && tier.width_ms <= length_ms / 60)
        .or_else(|| layout.tiers.iter().position(answers));
    let Some(tier) = found else {
        let longest_ms = layout
            .tiers
            .iter()
            .filter(|tier| tier.holds(aggregate, &layout.fields))
            .map(|tier| tier.longest_ms)
            .max();
        return Err(match longest_ms {
            None => "no window keeps this aggregate".to_owned(),
            Some(longest_ms) => {
                format!("the longest window that keeps this aggregate is {}", duration::format(longest_ms))
            }
        });
    };
    let width_ms = layout.tiers[tier].width_ms;
    if length_ms % width_ms != 0 {
        return Err(format!(
            "the length must be a multiple of its bucket width, {}",
            duration::format(width_ms)
        ));
    }
    Ok(tier)
}

fn unknown_feature(layout: &Layout, text: &[u8]) -> String {
    const SHOWN_MAX: usize = 8;
    let names: Vec<&str> = layout.features.iter().map(|feature| &*feature.name).take(SHOWN_MAX).collect();
    let more = if layout.features.len() > SHOWN_MAX { " …" } else { "" };
    format!("unknown feature {} (the stream's features: {}{more})", quote(text), names.join(" "))
}
