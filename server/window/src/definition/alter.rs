//! STREAM.ALTER: what its words make of a definition, and which definitions can be made of another one by it.

use super::parse::{fail, keyword_among, parse_aggregate_words, section_end};
use super::{AggregateSpec, Definition};
use crate::aggregate::{Aggregate, Length};
use crate::error::{DefinitionError, quote};

const VERBS: [&str; 3] = ["ADD", "DROP", "SET"];
const ADDED: [&str; 3] = ["FIELDS", "WINDOWS", "AGGREGATE"];
const DROPPED: [&str; 2] = ["WINDOWS", "AGGREGATE"];
const SET: [&str; 5] = ["RETAIN", "LATENESS", "SKEW", "DEDUP", "TTL"];
/// Stands behind SET for an option that shall not be given any more.
const NONE: &[u8] = b"NONE";

impl Definition {
    /// What the arguments that follow the stream's name in STREAM.ALTER make of it: one or more of
    /// `ADD FIELDS|WINDOWS|AGGREGATE …`, `DROP WINDOWS|AGGREGATE …`, `SET RETAIN|LATENESS|SKEW|DEDUP|TTL …`, in one step.
    ///
    /// # Errors
    /// Says which word is wrong, or what is wrong with the outcome.
    pub fn altered(&self, args: &[&[u8]]) -> Result<Self, DefinitionError> {
        match self.altered_with(args)? {
            (altered, false) => Ok(altered),
            (_, true) => fail("BACKFILL is not a part of a definition".to_owned()),
        }
    }

    /// The same, and whether BACKFILL stands behind what is added.
    ///
    /// # Errors
    /// As [`Definition::altered`].
    pub fn altered_with(&self, args: &[&[u8]]) -> Result<(Self, bool), DefinitionError> {
        let (mut wants_backfill, mut adds) = (false, false);
        let mut words = Words::of(self);
        let mut verb = None;
        let mut at = 0;
        if args.is_empty() {
            return fail("STREAM.ALTER needs ADD, DROP or SET behind the stream".to_owned());
        }
        // Aggregates last: they may name fields and windows that come with them.
        let mut aggregates = Vec::new();
        while at < args.len() {
            if let Some(next) = keyword_among(&VERBS, args[at]) {
                verb = Some(next);
                at += 1;
            }
            let sections: &[&'static str] = match verb {
                Some("ADD") => &ADDED,
                Some("DROP") => &DROPPED,
                Some(_) => &SET,
                None => return fail(format!("{} is not ADD, DROP or SET", quote(args[at]))),
            };
            let verb = verb.expect("looked at above");
            let word = args.get(at).copied().unwrap_or_default();
            if word.eq_ignore_ascii_case(b"BACKFILL") {
                if verb != "ADD" || wants_backfill || !adds {
                    return fail("BACKFILL stands once, behind ADD WINDOWS or ADD AGGREGATE".to_owned());
                }
                wants_backfill = true;
                at += 1;
                continue;
            }
            let Some(section) = keyword_among(sections, word) else {
                return fail(format!("{verb} takes {}, not {}", sections.join(", "), quote(word)));
            };
            let ends = |word: &[u8]| {
                keyword_among(&VERBS, word).is_some()
                    || keyword_among(sections, word).is_some()
                    || word.eq_ignore_ascii_case(b"BACKFILL")
            };
            let start = at + 1;
            at = section_end(section, args, start, ends);
            let operands = &args[start..at];
            if operands.is_empty() {
                return fail(format!("{verb} {section} has nothing behind it"));
            }
            adds |= verb == "ADD" && section != "FIELDS";
            match (verb, section) {
                (_, "AGGREGATE") => aggregates.push((verb, operands)),
                ("ADD", _) => words.append(section, operands),
                ("DROP", _) => words.drop_windows(operands)?,
                (_, section) if operands.len() == 1 && operands[0].eq_ignore_ascii_case(NONE) => {
                    match section {
                        "SKEW" => {
                            return fail(
                                "SKEW cannot be NONE: give a duration and CLAMP or REJECT".to_owned(),
                            );
                        }
                        section => words.replace(section, &[]),
                    }
                }
                (_, section) => words.replace(section, operands),
            }
        }
        // The fields and windows as they will be; an aggregate may have none of its windows for the moment.
        let mut specs = self.aggregates.clone();
        let widened = words.without_aggregates(self)?;
        drop_lost_windows(&mut specs, &widened);
        for (verb, operands) in aggregates {
            // What is dropped is named in the windows that were.
            let known = if verb == "ADD" { &widened } else { self };
            for (aggregate, lengths) in parse_aggregate_words(operands, &widened.fields, known)? {
                let text = || aggregate.text(&widened.fields);
                let at = specs.iter().position(|spec| spec.aggregate == aggregate);
                match (verb, at) {
                    ("ADD", None) => specs.push(AggregateSpec { aggregate, lengths }),
                    ("ADD", Some(at)) => add_lengths(&mut specs[at], lengths)
                        .map_err(|()| DefinitionError(format!("the stream has {} already", text())))?,
                    (_, None) => return fail(format!("the stream has no {}", text())),
                    (_, Some(at)) => match lengths {
                        None => drop(specs.remove(at)),
                        Some(lengths) => drop_lengths(&mut specs[at], &lengths, self),
                    },
                }
            }
        }
        for spec in &specs {
            if spec.lengths.as_ref().is_some_and(Vec::is_empty) {
                return fail(format!(
                    "{} would be left without a window: DROP AGGREGATE {0} as well",
                    spec.aggregate.text(&widened.fields)
                ));
            }
        }
        Ok((words.with_aggregates(&Self { aggregates: specs, ..widened })?, wants_backfill))
    }

    /// What STREAM.ALTER can make of this definition to be the same as `wanted`.
    ///
    /// # Errors
    /// What differs and no ALTER can change.
    pub fn altered_to(&self, wanted: &Self) -> Result<Self, String> {
        if self.clock != wanted.clock {
            return Err("CLOCK cannot be altered".to_owned());
        }
        for field in &self.fields {
            match wanted.fields.iter().find(|other| other.name == field.name) {
                None => return Err(format!("field '{}' cannot be removed", field.name)),
                Some(other) if other.kind != field.kind => {
                    return Err(format!("the type of field '{}' cannot be altered", field.name));
                }
                Some(_) => {}
            }
        }
        for window in &self.windows {
            let other = wanted.windows.iter().find(|other| other.length == window.length);
            if other.is_some_and(|other| other.width_ms != window.width_ms) {
                return Err(format!("the bucket width of window {} cannot be altered", window.length));
            }
        }
        // Operations name fields by their index, so those that are there keep theirs.
        let mut fields = self.fields.clone();
        fields.extend(
            wanted
                .fields
                .iter()
                .filter(|field| !self.fields.iter().any(|own| own.name == field.name))
                .cloned(),
        );
        let mut words = Words::of(wanted);
        words.replace("FIELDS", &[]);
        for field in &fields {
            words.append("FIELDS", &[field.name.as_bytes(), field.kind.keyword().as_bytes()]);
        }
        words.parse(&self.name).map_err(|error| error.to_string())
    }

    /// The sections in which two definitions differ, one line each: what is there with `-`, what is wanted with `+`.
    pub fn diff(&self, wanted: &Self) -> String {
        let (ours, theirs) = (self.ordered(), wanted.ordered());
        let mut lines = Vec::new();
        for ((_, ours), (_, theirs)) in ours.sections().into_iter().zip(theirs.sections()) {
            if ours != theirs {
                lines.extend([("- ", ours), ("+ ", theirs)].into_iter().filter(|(_, text)| !text.is_empty()));
            }
        }
        lines.iter().map(|(sign, text)| format!("\n  {sign}{text}")).collect()
    }
}

fn drop_lost_windows(specs: &mut [AggregateSpec], widened: &Definition) {
    for spec in specs {
        if let Some(lengths) = &mut spec.lengths {
            lengths.retain(|length| widened.windows.iter().any(|window| window.length == *length));
        }
    }
}

/// Err: there is nothing to add.
fn add_lengths(spec: &mut AggregateSpec, lengths: Option<Vec<Length>>) -> Result<(), ()> {
    match (&mut spec.lengths, lengths) {
        (None, _) => Err(()),
        (own @ Some(_), None) => {
            *own = None;
            Ok(())
        }
        (Some(own), Some(lengths)) => {
            let before = own.len();
            lengths.into_iter().for_each(|length| {
                if !own.contains(&length) {
                    own.push(length);
                }
            });
            if own.len() > before { Ok(()) } else { Err(()) }
        }
    }
}

fn drop_lengths(spec: &mut AggregateSpec, lengths: &[Length], before: &Definition) {
    let mut left: Vec<Length> = spec.lengths.clone().unwrap_or_else(|| {
        let windows = before.windows.iter().map(|window| window.length);
        windows.filter(|&length| spec.aggregate.applies_to(length)).collect()
    });
    left.retain(|length| !lengths.contains(length));
    spec.lengths = Some(left);
}

/// A definition as the words of its sections.
struct Words {
    sections: Vec<(&'static str, Vec<Vec<u8>>)>,
}

impl Words {
    fn of(definition: &Definition) -> Self {
        let sections = definition.sections().into_iter().map(|(name, text)| {
            let words = text.split_ascii_whitespace().skip(1);
            (name, words.map(|word| word.as_bytes().to_vec()).collect())
        });
        Self { sections: sections.collect() }
    }

    fn words(&mut self, section: &str) -> &mut Vec<Vec<u8>> {
        let at = self.sections.iter().position(|(name, _)| *name == section);
        match at {
            Some(at) => &mut self.sections[at].1,
            None => {
                let name = SET.into_iter().find(|name| *name == section).expect("a section that has a name");
                self.sections.push((name, Vec::new()));
                &mut self.sections.last_mut().expect("just pushed").1
            }
        }
    }

    fn append(&mut self, section: &str, operands: &[&[u8]]) {
        self.words(section).extend(operands.iter().map(|word| word.to_vec()));
    }

    fn replace(&mut self, section: &str, operands: &[&[u8]]) {
        self.words(section).clear();
        self.append(section, operands);
    }

    fn drop_windows(&mut self, operands: &[&[u8]]) -> Result<(), DefinitionError> {
        for &operand in operands {
            let wanted = Length::parse(operand);
            let windows = self.words("WINDOWS");
            let at = windows.iter().position(|window| {
                let length = window.split(|&byte| byte == b'@').next().unwrap_or_default();
                wanted.is_some() && Length::parse(length) == wanted
            });
            match at {
                Some(at) => drop(windows.remove(at)),
                None => return fail(format!("{} is none of the stream's windows", quote(operand))),
            }
        }
        Ok(())
    }

    /// The definition with its new fields and windows, and any aggregate that keeps them all.
    fn without_aggregates(&mut self, before: &Definition) -> Result<Definition, DefinitionError> {
        let aggregates = std::mem::replace(self.words("AGGREGATE"), vec![b"count".to_vec()]);
        let (retain, ttl) = (std::mem::take(self.words("RETAIN")), std::mem::take(self.words("TTL")));
        if self.words("WINDOWS").is_empty() {
            return fail("the stream would be left without a window".to_owned());
        }
        let parsed = self.parse(&before.name);
        *self.words("AGGREGATE") = aggregates;
        *self.words("RETAIN") = retain;
        *self.words("TTL") = ttl;
        parsed
    }

    fn with_aggregates(&mut self, definition: &Definition) -> Result<Definition, DefinitionError> {
        let text = definition.aggregates_text();
        let words: Vec<&[u8]> = text.split_ascii_whitespace().skip(1).map(str::as_bytes).collect();
        self.replace("AGGREGATE", &words);
        self.parse(&definition.name)
    }

    fn parse(&self, name: &str) -> Result<Definition, DefinitionError> {
        let mut args: Vec<&[u8]> = Vec::new();
        for (section, words) in self.sections.iter().filter(|(_, words)| !words.is_empty()) {
            args.push(section.as_bytes());
            args.extend(words.iter().map(Vec::as_slice));
        }
        Definition::parse(name.as_bytes(), &args)
    }
}

/// An aggregate with the windows behind it.
pub(super) type Named = (Aggregate, Option<Vec<Length>>);
