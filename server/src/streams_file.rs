//! Stream definitions in a TOML file (`--streams file.toml`, `windrow check file.toml`).
//!
//! ```toml
//! [streams.purchases]
//! fields = { amount = "FLOAT", merchant = "STRING" }
//! windows = ["5m@5s", "1h@1m"]
//! aggregate = ["count", "sum(amount)"]
//! lateness = "30s"
//! ```
//!
//! Each key is a section of STREAM.CREATE of the same name, and its words are what would stand behind it there. `backfill_from` names
//! the stream whose events, as far as the log holds them, a stream is filled with when it is made.

use std::fmt;
use std::path::Path;

use windrow_window::Definition;

/// Largest file read: far more than the largest sensible catalogue.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Sections in the order in which STREAM.CREATE documents them.
const SECTIONS: [&str; 9] =
    ["fields", "windows", "aggregate", "clock", "lateness", "skew", "dedup", "retain", "ttl"];

/// The key of the stream whose events a new one is filled with.
const BACKFILL_FROM: &str = "backfill_from";

/// A stream of the file.
#[derive(Clone, Debug)]
pub struct Declared {
    /// What it is.
    pub definition: Definition,
    /// The stream whose events it is filled with when it is made.
    pub source: Option<Box<str>>,
}

/// What is wrong with a streams file; says file, stream and key.
#[derive(Debug)]
pub struct StreamsFileError(String);

impl fmt::Display for StreamsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StreamsFileError {}

/// Reads the definitions of a file, in the order of stream names, those that are filled with another one's events behind the others.
///
/// # Errors
/// The first problem, with file, stream and key.
pub fn read(path: &Path) -> Result<Vec<Declared>, StreamsFileError> {
    let at = path.display();
    let problem = |reason: String| StreamsFileError(format!("{at}: {reason}"));
    let size = std::fs::metadata(path).map_err(|error| problem(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(problem(format!("{size} bytes are more than the {FILE_BYTES_MAX} that are read")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    parse(&text).map_err(problem)
}

/// The definitions in a file's text; errors name stream and key.
pub fn parse(text: &str) -> Result<Vec<Declared>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    if let Some(key) = table.keys().find(|key| *key != "streams") {
        return Err(format!("'{key}' is not known here: streams stand in [streams.<name>]"));
    }
    let Some(streams) = table.get("streams") else { return Ok(Vec::new()) };
    let streams = streams.as_table().ok_or("'streams' must be a table: [streams.<name>]")?;
    let mut declared: Vec<Declared> = streams
        .iter()
        .map(|(name, value)| definition(name, value).map_err(|reason| format!("stream '{name}': {reason}")))
        .collect::<Result<_, String>>()?;
    declared.sort_by_key(|declared| declared.source.is_some());
    for stream in &declared {
        check_fields(stream, &declared)
            .map_err(|reason| format!("stream '{}': {reason}", stream.definition.name))?;
    }
    Ok(declared)
}

/// Each field of a stream that is filled from another one of the file is a field of that.
fn check_fields(stream: &Declared, all: &[Declared]) -> Result<(), String> {
    let Some(name) = &stream.source else { return Ok(()) };
    let Some(source) = all.iter().find(|other| other.definition.name == *name) else { return Ok(()) };
    match stream.definition.fields.iter().find(|field| !source.definition.fields.contains(field)) {
        Some(field) => Err(format!(
            "key '{BACKFILL_FROM}': '{name}' has no field '{} {}'",
            field.name,
            field.kind.keyword()
        )),
        None => Ok(()),
    }
}

fn definition(name: &str, value: &toml::Value) -> Result<Declared, String> {
    let table = value.as_table().ok_or("must be a table: [streams.<name>]")?;
    let is_known = |key: &str| SECTIONS.contains(&key) || key == BACKFILL_FROM;
    if let Some(key) = table.keys().find(|key| !is_known(key)) {
        return Err(format!(
            "key '{key}' is not known: expected one of {}, {BACKFILL_FROM}",
            SECTIONS.join(", ")
        ));
    }
    let mut words: Vec<String> = Vec::new();
    for key in SECTIONS {
        let Some(value) = table.get(key) else { continue };
        let section = section_words(key, value).map_err(|reason| format!("key '{key}': {reason}"))?;
        words.push(key.to_ascii_uppercase());
        words.extend(section);
    }
    if let Some(source) = table.get(BACKFILL_FROM) {
        let source = source
            .as_str()
            .ok_or_else(|| format!("key '{BACKFILL_FROM}': {}", wrong_type(source, "a string")))?;
        words.extend(["BACKFILL", "FROM", source].map(str::to_owned));
    }
    let args: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let (definition, source) =
        Definition::parse_create(name.as_bytes(), &args).map_err(|error| error.to_string())?;
    Ok(Declared { definition, source })
}

/// The words of one section: a string's words, a list's words, or name and type of each field of a table.
fn section_words(key: &str, value: &toml::Value) -> Result<Vec<String>, String> {
    match value {
        toml::Value::String(text) => Ok(text.split_ascii_whitespace().map(str::to_owned).collect()),
        toml::Value::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().ok_or_else(|| wrong_type(item, "a string")));
            let mut words = Vec::new();
            for text in texts {
                words.extend(text?.split_ascii_whitespace().map(str::to_owned));
            }
            Ok(words)
        }
        toml::Value::Table(fields) if key == "fields" => {
            let mut words = Vec::new();
            for (name, kind) in fields {
                let kind = kind
                    .as_str()
                    .ok_or_else(|| format!("field '{name}': {}", wrong_type(kind, "a string")))?;
                words.extend([name.clone(), kind.to_owned()]);
            }
            Ok(words)
        }
        other => Err(wrong_type(other, "a string or a list of strings")),
    }
}

fn wrong_type(value: &toml::Value, expected: &str) -> String {
    format!("expected {expected}, not a {}", value.type_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [streams.purchases]
        fields = { amount = "FLOAT", merchant = "STRING" }
        windows = ["5m@5s", "1h"]
        aggregate = ["count", "sum(amount):5m"]
        lateness = "30s"
        skew = "10s REJECT"
        dedup = "10m"

        [streams.clicks]
        windows = "1m@1s"
        aggregate = "count"
        clock = "EVENT"
    "#;

    #[test]
    fn a_file_says_what_stream_create_would() {
        let found = parse(GOOD).unwrap();
        let purchases =
            &found.iter().find(|stream| &*stream.definition.name == "purchases").unwrap().definition;
        let words: Vec<&[u8]> =
            "FIELDS amount FLOAT merchant STRING WINDOWS 5m@5s 1h AGGREGATE count sum(amount):5m \
                                 LATENESS 30s SKEW 10s REJECT DEDUP 10m"
                .split_ascii_whitespace()
                .map(str::as_bytes)
                .collect();
        assert!(purchases.same_as(&Definition::parse(b"purchases", &words).unwrap()));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn errors_name_stream_and_key() {
        for (text, parts) in [
            ("[streams.a]\nwindow = ['5m']", ["stream 'a'", "key 'window'"]),
            ("[streams.a]\nwindows = [5]\naggregate = 'count'", ["stream 'a'", "key 'windows'"]),
            ("[streams.a]\nwindows = '5m@7s'\naggregate = 'count'", ["stream 'a'", "does not divide"]),
            (
                "[streams.b]\nfields = {x = 3}\nwindows = '5m'\naggregate = 'count'",
                ["stream 'b'", "field 'x'"],
            ),
            ("[stream.a]", ["'stream'", "[streams.<name>]"]),
        ] {
            let error = parse(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_names_the_file() {
        let error = read(Path::new("no-such-file.toml")).unwrap_err().to_string();
        assert!(error.contains("no-such-file.toml"), "{error}");
    }
}
