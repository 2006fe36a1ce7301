//! Parsing the arguments of STREAM.CREATE.

use super::alter::Named;
use super::{
    AGGREGATES_MAX, AggregateSpec, ClockMode, DEFAULT_WIDTHS_MS, Definition, FIELDS_MAX, Field, FieldType,
    RetainSpec, SkewAction, TIERS_MAX, WINDOWS_MAX, WindowSpec,
};
use crate::aggregate::{Aggregate, Length};
use crate::duration;
use crate::error::{DefinitionError, quote};

/// How far ahead of the server's clock an event may be where SKEW is not given.
const SKEW_DEFAULT_MS: i64 = duration::MINUTE_MS;

/// The most bytes of a stream's or a field's name.
const NAME_BYTES_MAX: usize = 64;

/// Not of a definition, but of the command that makes one.
const BACKFILL: &str = "BACKFILL";

const SECTIONS: [&str; 10] =
    ["FIELDS", "WINDOWS", "AGGREGATE", "CLOCK", "LATENESS", "SKEW", "DEDUP", "RETAIN", "TTL", BACKFILL];

impl Definition {
    /// Parses the arguments that follow the stream's name in STREAM.CREATE.
    ///
    /// # Errors
    /// Says which word is wrong and what is expected there.
    pub fn parse(name: &[u8], args: &[&[u8]]) -> Result<Self, DefinitionError> {
        match Self::parse_create(name, args)? {
            (definition, None) => Ok(definition),
            (_, Some(_)) => fail(format!("{BACKFILL} is not a part of a definition")),
        }
    }

    /// The same, and the stream behind BACKFILL FROM.
    ///
    /// # Errors
    /// As [`Definition::parse`].
    pub fn parse_create(name: &[u8], args: &[&[u8]]) -> Result<(Self, Option<Box<str>>), DefinitionError> {
        let name = parse_name(name, "stream")?;
        let sections = Sections::split(args)?;
        let source = match (sections.has(BACKFILL), sections.get(BACKFILL)) {
            (false, _) => None,
            (true, [from, source]) if from.eq_ignore_ascii_case(b"FROM") => {
                Some(parse_name(source, "stream")?)
            }
            (true, _) => return fail(format!("{BACKFILL} is followed by FROM and a stream")),
        };
        if source.as_ref() == Some(&name) {
            return fail(format!("{BACKFILL} FROM '{name}' is the stream itself"));
        }
        let fields = parse_fields(sections.get("FIELDS"))?;
        let windows = parse_windows(sections.required("WINDOWS")?)?;
        let aggregates = parse_aggregates(sections.required("AGGREGATE")?, &fields, &windows)?;
        let clock = match sections.single("CLOCK")? {
            None => ClockMode::Wall,
            Some(word) if word.eq_ignore_ascii_case(b"WALL") => ClockMode::Wall,
            Some(word) if word.eq_ignore_ascii_case(b"EVENT") => ClockMode::Event,
            Some(word) => return fail(format!("CLOCK is WALL or EVENT, not {}", quote(word))),
        };
        let (skew_ms, skew_action) = parse_skew(&sections, clock)?;
        let lateness_ms =
            sections.single("LATENESS")?.map(|word| parse_duration("LATENESS", word)).transpose()?;
        let dedup_ms = sections.single("DEDUP")?.map(parse_dedup).transpose()?;
        let retain = parse_retain(sections.get("RETAIN"), sections.has("RETAIN"), &windows)?;
        let ttl_ms = sections.single("TTL")?.map(|word| parse_duration("TTL", word)).transpose()?;
        let definition = Self {
            name,
            fields,
            windows,
            aggregates,
            clock,
            lateness_ms,
            skew_ms,
            skew_action,
            dedup_ms,
            retain,
            ttl_ms,
        };
        crate::layout::check(&definition)?;
        Ok((definition, source))
    }

    /// Parses text that [`Definition::to_args_text`] wrote, or a person: words separated by spaces.
    ///
    /// # Errors
    /// As [`Definition::parse`].
    pub fn parse_text(name: &str, text: &str) -> Result<Self, DefinitionError> {
        let args: Vec<&[u8]> = text.split_ascii_whitespace().map(str::as_bytes).collect();
        Self::parse(name.as_bytes(), &args)
    }
}

pub(super) fn fail<T>(message: String) -> Result<T, DefinitionError> {
    Err(DefinitionError(message))
}

/// The words behind each keyword.
struct Sections<'a> {
    found: Vec<(&'static str, &'a [&'a [u8]])>,
}

impl<'a> Sections<'a> {
    fn split(args: &'a [&'a [u8]]) -> Result<Self, DefinitionError> {
        let mut found: Vec<(&'static str, &'a [&'a [u8]])> = Vec::new();
        let mut at = 0;
        while at < args.len() {
            let Some(section) = keyword(args[at]) else {
                return fail(format!(
                    "syntax error at {}: expected one of {}",
                    quote(args[at]),
                    SECTIONS.join(" ")
                ));
            };
            if found.iter().any(|(name, _)| *name == section) {
                return fail(format!("{section} is given twice"));
            }
            let start = at + 1;
            // A stream may have the name of a keyword.
            at = if section == BACKFILL {
                args.len().min(start + 2)
            } else {
                section_end(section, args, start, |word| keyword(word).is_some())
            };
            found.push((section, &args[start..at]));
        }
        Ok(Self { found })
    }

    fn has(&self, section: &str) -> bool {
        self.found.iter().any(|(name, _)| *name == section)
    }

    fn get(&self, section: &str) -> &'a [&'a [u8]] {
        self.found.iter().find(|(name, _)| *name == section).map_or(&[], |(_, words)| words)
    }

    fn required(&self, section: &str) -> Result<&'a [&'a [u8]], DefinitionError> {
        match self.get(section) {
            [] => fail(format!("{section} is missing: a stream needs at least one")),
            words => Ok(words),
        }
    }

    fn single(&self, section: &str) -> Result<Option<&'a [u8]>, DefinitionError> {
        match (self.has(section), self.get(section)) {
            (false, _) => Ok(None),
            (true, [word]) => Ok(Some(word)),
            (true, words) => fail(format!("{section} takes one word, and {} are given", words.len())),
        }
    }
}

fn keyword(word: &[u8]) -> Option<&'static str> {
    keyword_among(&SECTIONS, word)
}

pub(super) fn keyword_among(keywords: &[&'static str], word: &[u8]) -> Option<&'static str> {
    keywords.iter().copied().find(|keyword| word.eq_ignore_ascii_case(keyword.as_bytes()))
}

/// Where the words of a section end that begin at `start`: before the first that `ends` it. A field is a name and a type, and the name
/// may be a keyword.
pub(super) fn section_end(
    section: &str,
    args: &[&[u8]],
    start: usize,
    ends: impl Fn(&[u8]) -> bool,
) -> usize {
    let mut at = start;
    while at < args.len() {
        let names_a_field =
            section == "FIELDS" && args.get(at + 1).is_some_and(|word| parse_type(word).is_some());
        if !names_a_field && ends(args[at]) {
            break;
        }
        at += if section == "FIELDS" { 2 } else { 1 };
    }
    at.min(args.len())
}

/// `[A-Za-z_][A-Za-z0-9_.-]{0,63}`
fn parse_name(name: &[u8], what: &str) -> Result<Box<str>, DefinitionError> {
    let head = name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    let tail = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte));
    if !head || !tail || name.len() > NAME_BYTES_MAX {
        return fail(format!(
            "invalid {what} name {}: a letter or _, then letters, digits, _ . -, at most {NAME_BYTES_MAX}",
            quote(name)
        ));
    }
    Ok(std::str::from_utf8(name).expect("ASCII was checked").into())
}

fn parse_type(word: &[u8]) -> Option<FieldType> {
    [FieldType::Float, FieldType::Int, FieldType::String]
        .into_iter()
        .find(|kind| word.eq_ignore_ascii_case(kind.keyword().as_bytes()))
}

fn parse_fields(words: &[&[u8]]) -> Result<Vec<Field>, DefinitionError> {
    let mut fields: Vec<Field> = Vec::new();
    for pair in words.chunks(2) {
        let name = parse_name(pair[0], "field")?;
        let Some(kind) = pair.get(1).and_then(|word| parse_type(word)) else {
            let found = pair.get(1).map_or_else(|| "nothing".to_owned(), |word| quote(word));
            return fail(format!("field '{name}' needs a type (FLOAT, INT or STRING), not {found}"));
        };
        if fields.iter().any(|field| field.name == name) {
            return fail(format!("field '{name}' is declared twice"));
        }
        fields.push(Field { name, kind });
    }
    if fields.len() > FIELDS_MAX {
        return fail(format!(
            "{} fields are more than the {FIELDS_MAX} that a stream may have",
            fields.len()
        ));
    }
    Ok(fields)
}

fn parse_duration(what: &str, word: &[u8]) -> Result<i64, DefinitionError> {
    duration::parse(word).ok_or_else(|| {
        DefinitionError(format!(
            "{what} needs a duration (an integer and ms, s, m, h or d), not {}",
            quote(word)
        ))
    })
}

fn parse_windows(words: &[&[u8]]) -> Result<Vec<WindowSpec>, DefinitionError> {
    let mut windows: Vec<WindowSpec> = Vec::new();
    for word in words {
        let window = parse_window(word)?;
        if windows.iter().any(|other| other.length == window.length) {
            return fail(format!("window {} is given twice", window.length));
        }
        windows.push(window);
    }
    if windows.len() > WINDOWS_MAX {
        return fail(format!(
            "{} windows are more than the {WINDOWS_MAX} that a stream may have",
            windows.len()
        ));
    }
    let mut widths: Vec<i64> =
        windows.iter().map(|window| window.width_ms).filter(|&width_ms| width_ms > 0).collect();
    widths.sort_unstable();
    widths.dedup();
    if widths.len() > TIERS_MAX {
        return fail(format!(
            "{} bucket widths are more than the {TIERS_MAX} that a stream may have",
            widths.len()
        ));
    }
    Ok(windows)
}

/// `5m`, `5m@15s` or `all`.
fn parse_window(word: &[u8]) -> Result<WindowSpec, DefinitionError> {
    let (length, width) = match word.iter().position(|&byte| byte == b'@') {
        None => (word, None),
        Some(at) => (&word[..at], Some(&word[at + 1..])),
    };
    let Some(length) = Length::parse(length) else {
        return fail(format!("{} is not a window: write a length such as 5m, 5m@15s or all", quote(word)));
    };
    let width_ms = match (length, width) {
        (Length::All, None) => 0,
        (Length::All, Some(_)) => return fail("window 'all' has no buckets, so it takes no @".to_owned()),
        (Length::Finite(length_ms), None) => default_width_ms(length_ms).ok_or_else(|| {
            DefinitionError(format!(
                "no standard bucket width divides {length} and is at most a 60th of it: name one, as in {length}@{}",
                duration::format(example_width_ms(length_ms))
            ))
        })?,
        (Length::Finite(length_ms), Some(width)) => {
            let width_ms = parse_duration("a bucket width", width)?;
            if width_ms == 0 || length_ms % width_ms != 0 {
                return fail(format!(
                    "bucket width {} does not divide the window's length {length}",
                    duration::format(width_ms)
                ));
            }
            width_ms
        }
    };
    Ok(WindowSpec { length, width_ms })
}

/// The largest standard width that divides the length and is at most length/60.
fn default_width_ms(length_ms: i64) -> Option<i64> {
    DEFAULT_WIDTHS_MS.into_iter().find(|&width_ms| length_ms % width_ms == 0 && width_ms <= length_ms / 60)
}

/// A width that would do for a length that has no standard one.
fn example_width_ms(length_ms: i64) -> i64 {
    (2..=60).rev().find(|parts| length_ms % parts == 0).map_or(length_ms, |parts| length_ms / parts)
}

fn parse_aggregates(
    words: &[&[u8]],
    fields: &[Field],
    windows: &[WindowSpec],
) -> Result<Vec<AggregateSpec>, DefinitionError> {
    let mut specs: Vec<AggregateSpec> = Vec::new();
    for (aggregate, lengths) in parse_named(words, fields, windows)? {
        let spec = AggregateSpec { aggregate, lengths };
        if !windows.iter().any(|window| spec.covers(window.length)) {
            return fail(format!(
                "{} applies to none of the stream's windows: {}",
                aggregate.text(fields),
                aggregate.why_not()
            ));
        }
        specs.push(spec);
    }
    if specs.len() > AGGREGATES_MAX {
        return fail(format!(
            "{} aggregates are more than the {AGGREGATES_MAX} that a stream may have",
            specs.len()
        ));
    }
    for window in windows {
        if !specs.iter().any(|spec| spec.covers(window.length)) {
            return fail(format!("window {} has no aggregate", window.length));
        }
    }
    Ok(specs)
}

/// Parses aggregates, each with the windows of `definition` that it is limited to.
pub(super) fn parse_aggregate_words(
    words: &[&[u8]],
    fields: &[Field],
    definition: &Definition,
) -> Result<Vec<Named>, DefinitionError> {
    parse_named(words, fields, &definition.windows)
}

fn parse_named(
    words: &[&[u8]],
    fields: &[Field],
    windows: &[WindowSpec],
) -> Result<Vec<Named>, DefinitionError> {
    let mut named: Vec<Named> = Vec::new();
    for word in words {
        let mut parts = word.split(|&byte| byte == b':');
        let aggregate = Aggregate::parse(parts.next().unwrap_or_default(), fields)?;
        if named.iter().any(|(other, _)| *other == aggregate) {
            return fail(format!("aggregate {} is given twice", aggregate.text(fields)));
        }
        let mut lengths = Vec::new();
        for part in parts {
            let length = Length::parse(part)
                .filter(|length| windows.iter().any(|window| window.length == *length))
                .ok_or_else(|| {
                    DefinitionError(format!(
                        "{} in {} is none of the stream's windows",
                        quote(part),
                        quote(word)
                    ))
                })?;
            if !aggregate.applies_to(length) {
                return fail(format!("{}: {}", quote(word), aggregate.why_not()));
            }
            if lengths.contains(&length) {
                return fail(format!("window {length} stands twice in {}", quote(word)));
            }
            lengths.push(length);
        }
        named.push((aggregate, (!lengths.is_empty()).then_some(lengths)));
    }
    Ok(named)
}

fn parse_skew(sections: &Sections<'_>, clock: ClockMode) -> Result<(i64, SkewAction), DefinitionError> {
    let default_action = if clock == ClockMode::Wall { SkewAction::Clamp } else { SkewAction::Reject };
    if !sections.has("SKEW") {
        return Ok((SKEW_DEFAULT_MS, default_action));
    }
    let [word, action] = sections.get("SKEW") else {
        return fail("SKEW takes a duration and CLAMP or REJECT".to_owned());
    };
    let skew_ms = parse_duration("SKEW", word)?;
    let action = match action {
        word if word.eq_ignore_ascii_case(b"CLAMP") => SkewAction::Clamp,
        word if word.eq_ignore_ascii_case(b"REJECT") => SkewAction::Reject,
        word => return fail(format!("SKEW takes CLAMP or REJECT, not {}", quote(word))),
    };
    if clock == ClockMode::Event && action == SkewAction::Clamp {
        return fail("SKEW … CLAMP needs CLOCK WALL: under CLOCK EVENT use REJECT".to_owned());
    }
    Ok((skew_ms, action))
}

fn parse_dedup(word: &[u8]) -> Result<i64, DefinitionError> {
    match parse_duration("DEDUP", word)? {
        0 => fail(
            "DEDUP needs a duration of at least 1ms, not 0: leave it out for events without ids".to_owned(),
        ),
        dedup_ms => Ok(dedup_ms),
    }
}

fn parse_retain(
    words: &[&[u8]],
    given: bool,
    windows: &[WindowSpec],
) -> Result<Vec<RetainSpec>, DefinitionError> {
    if given && words.is_empty() {
        return fail("RETAIN needs a duration".to_owned());
    }
    let mut retain: Vec<RetainSpec> = Vec::new();
    for word in words {
        let (length, width) = match word.iter().position(|&byte| byte == b'@') {
            None => (*word, None),
            Some(at) => (&word[..at], Some(&word[at + 1..])),
        };
        let retain_ms = parse_duration("RETAIN", length)?;
        let width_ms = width.map(|width| parse_duration("RETAIN's bucket width", width)).transpose()?;
        if let Some(width_ms) = width_ms
            && !windows.iter().any(|window| window.width_ms == width_ms && width_ms > 0)
        {
            return fail(format!("RETAIN {}: no window has buckets of that width", quote(word)));
        }
        if retain.iter().any(|other| other.width_ms == width_ms) {
            return fail(format!("RETAIN {} is given twice for the same buckets", quote(word)));
        }
        retain.push(RetainSpec { retain_ms, width_ms });
    }
    Ok(retain)
}
