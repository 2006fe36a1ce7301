//! What a read asks: features, and the options that say when.

use std::sync::Arc;

use crate::aggregate::{Aggregate, Length};
use crate::column;
use crate::duration;
use crate::error::{QueryError, quote};
use crate::layout::Layout;
use crate::read_time::{At, Edge, ReadTime, StreamTime, When};
use crate::timestamp::{self, TIMESTAMP_ABS_MAX};

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

impl Feature {
    /// Whether it is read from sketches: that may take a hundred times as long as numbers do.
    pub fn is_sketched(&self) -> bool {
        column::is_sketched(self.aggregate)
    }
}

/// The features of a read and its options.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is asked, in the order of the reply.
    pub features: Box<[Feature]>,
    /// Whether the features were named: a reply to named ones is an array, else a map of all declared.
    pub named: bool,
    /// When.
    pub when: When,
    /// Whether the windows' bounds and the like are replied too.
    pub with_meta: bool,
}

/// The options of a read, before its stream is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// AT, OFFSET, HOP, FINAL, EDGE.
    pub when: When,
    /// WITHMETA.
    pub with_meta: bool,
    /// A bit for each of [`OPTIONS`] that was given.
    given: u8,
}

/// Names of the options; a feature always holds a colon, an option never does.
const OPTIONS: [&str; 6] = ["AT", "OFFSET", "HOP", "FINAL", "EDGE", "WITHMETA"];

impl Options {
    /// Takes `word` for the name of an option and its value from `args`. False: it is none.
    ///
    /// # Errors
    /// When the option was given before, or its value is missing or wrong.
    pub fn take<'a>(
        &mut self,
        word: &[u8],
        args: &mut impl Iterator<Item = &'a [u8]>,
    ) -> Result<bool, QueryError> {
        let Some(option) = OPTIONS.iter().position(|name| word.eq_ignore_ascii_case(name.as_bytes())) else {
            return Ok(false);
        };
        if self.given & 1 << option != 0 {
            return Err(QueryError::Syntax(format!("{} is given twice", OPTIONS[option])));
        }
        self.given |= 1 << option;
        match OPTIONS[option] {
            "AT" => self.when.at = parse_at(args.next())?,
            "OFFSET" => self.when.offset_ms = Some(parse_duration("OFFSET", args.next(), 0)?),
            "HOP" => self.when.hop_ms = Some(parse_duration("HOP", args.next(), 1)?),
            "FINAL" => self.when.is_final = true,
            "EDGE" => self.when.edge = parse_edge(args.next())?,
            _ => self.with_meta = true,
        }
        Ok(true)
    }
}

fn parse_at(word: Option<&[u8]>) -> Result<At, QueryError> {
    match word {
        None => Err(QueryError::Syntax("AT needs a timestamp in milliseconds, or EVENT".to_owned())),
        Some(word) if word.eq_ignore_ascii_case(b"EVENT") => Ok(At::Event),
        Some(word) => timestamp::parse(word).map(At::Timestamp).ok_or_else(|| {
            QueryError::Syntax(format!(
                "AT needs a timestamp in milliseconds within ±{TIMESTAMP_ABS_MAX}, or EVENT, not {}",
                quote(word)
            ))
        }),
    }
}

fn parse_duration(option: &str, word: Option<&[u8]>, least_ms: i64) -> Result<i64, QueryError> {
    let wrong = |given: String| QueryError::Syntax(format!("{option} needs a duration such as 5m{given}"));
    let word = word.ok_or_else(|| wrong(String::new()))?;
    duration::parse(word)
        .filter(|&duration_ms| duration_ms >= least_ms)
        .ok_or_else(|| wrong(format!(", not {}", quote(word))))
}

fn parse_edge(word: Option<&[u8]>) -> Result<Edge, QueryError> {
    match word {
        Some(word) if word.eq_ignore_ascii_case(b"INCLUDE") => Ok(Edge::Include),
        Some(word) if word.eq_ignore_ascii_case(b"EXCLUDE") => Ok(Edge::Exclude),
        Some(word) => Err(QueryError::Syntax(format!("EDGE needs INCLUDE or EXCLUDE, not {}", quote(word)))),
        None => Err(QueryError::Syntax("EDGE needs INCLUDE or EXCLUDE".to_owned())),
    }
}

impl Query {
    /// Parses what follows the stream's name in WINDOW.GET: options, then features.
    ///
    /// # Errors
    /// Says which option or feature is wrong.
    pub fn parse<'a>(layout: &Layout, args: impl Iterator<Item = &'a [u8]>) -> Result<Self, QueryError> {
        let mut args = args;
        let mut options = Options::default();
        while let Some(arg) = args.next() {
            if arg.contains(&b':') {
                return Self::of(layout, options, std::iter::once(arg).chain(args));
            }
            if !options.take(arg, &mut args)? {
                return Err(QueryError::UnknownFeature(unknown_feature(layout, arg)));
            }
        }
        Self::of(layout, options, args)
    }

    /// The query of these features, all declared ones if there are none.
    ///
    /// # Errors
    /// Says which feature is wrong, or which option does not fit the stream.
    pub fn of<'a>(
        layout: &Layout,
        options: Options,
        names: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, QueryError> {
        let Options { when, with_meta, .. } = options;
        let mut features = Vec::new();
        for name in names {
            if features.len() == FEATURES_MAX {
                return Err(QueryError::Syntax(format!("more than {FEATURES_MAX} features in one read")));
            }
            features.push(Feature::find(layout, name)?);
        }
        if when.is_final && layout.lateness_ms.is_none() {
            return Err(QueryError::Syntax(
                "FINAL needs a watermark, and the stream has none: it would need LATENESS".to_owned(),
            ));
        }
        if features.is_empty() {
            return Ok(Self { features: layout.features.clone(), named: false, when, with_meta });
        }
        if !when.is_present()
            && let Some(feature) = features.iter().find(|feature| feature.length == Length::All)
        {
            return Err(QueryError::Syntax(format!(
                "{} exists only at the present: it cannot be read with AT, OFFSET, HOP or FINAL",
                feature.name
            )));
        }
        Ok(Self { features: features.into(), named: true, when, with_meta })
    }

    /// Whether the query says no absolute time, so that it will be asked again.
    pub fn is_timeless(&self) -> bool {
        !matches!(self.when.at, At::Timestamp(_))
    }

    /// Resolves T by the stream's times and checks that every window asked for is kept.
    ///
    /// # Errors
    /// [`QueryError::NotKept`] names the oldest time kept and the RETAIN that the window would need.
    pub fn read_time(&self, layout: &Layout, times: StreamTime) -> Result<ReadTime, QueryError> {
        let time = self.when.resolve(layout, times);
        // What the declared windows need at the present is always kept.
        if !time.present {
            for feature in &self.features {
                time.check_kept(layout, feature)?;
            }
        }
        Ok(time)
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
