//! What the demo shows in the end: how the load went, the features of the busiest entities, and what to try next.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write;

use windrow_client::Row;

use super::error::DemoError;
use super::load::{Loaded, Loader};

/// Entities that may come into the table: those with the most events.
const ENTITIES_READ: usize = 1_000;
/// Rows of the table.
const ENTITIES_SHOWN: usize = 10;
/// Longer names are cut in the table.
const ENTITY_LETTERS_MAX: usize = 40;
/// The range that is suggested: a week in days, where it is kept.
const DAY_MS: i64 = 86_400_000;

/// Reads the features and prints everything.
pub(super) async fn print(loader: &Loader, loaded: &Loaded, port: u16) -> Result<(), DemoError> {
    for line in loaded.left_out.describe(&format!("{}s were left out", loaded.origin_name)) {
        eprintln!("{line}");
    }
    for line in loaded.refused.describe("events were refused") {
        eprintln!("{line}");
    }
    for (reply, count) in &loaded.not_counted {
        eprintln!("{count} events were not counted: {reply}");
    }
    if !loaded.was_there {
        let seconds = loaded.took.as_secs_f64();
        println!("{} events of the stream {} in {seconds:.1} s.", loaded.counted, loader.stream);
    }
    let columns = columns(loader, loaded);
    let features: Vec<String> = columns.iter().flatten().cloned().collect();
    let entities = busiest(&loaded.headline, ENTITIES_READ);
    let query = loader.client.mget(&entities, &loader.stream).features(features.iter().map(String::as_str));
    let mut rows: Vec<(&Vec<u8>, Row)> = entities.iter().zip(query.get().await?).collect();
    // The busiest of the longest window that ends: a lifetime alone would show who has left long ago.
    if let Some(length) = loader.lengths.iter().rfind(|length| !length.eq_ignore_ascii_case("all")) {
        let count = format!("count:{length}");
        rows.sort_by_key(|(_, row)| Reverse(row.int(&count)));
    }
    let cells = rows.iter().take(ENTITIES_SHOWN).map(|(entity, row)| {
        let numbers = features.iter().map(|feature| number(row.get(feature)));
        std::iter::once(shorten(entity)).chain(numbers).collect()
    });
    let head = head(loader, loaded, columns.first().map_or(1, Vec::len));
    print!("\n{}", table(&head, &cells.collect::<Vec<_>>()));
    println!("\nTry next:");
    let first = rows.first().map(|(entity, _)| entity.as_slice());
    for line in next_steps(loader, loaded, first, port) {
        println!("  {line}");
    }
    Ok(())
}

/// The features of each length: how many, and how much.
fn columns(loader: &Loader, loaded: &Loaded) -> Vec<Vec<String>> {
    let of = |length: &String| {
        let sum = loaded.headline_field.as_ref().map(|field| format!("sum({field}):{length}"));
        std::iter::once(format!("count:{length}")).chain(sum).collect()
    };
    loader.lengths.iter().map(of).collect()
}

/// Two lines: the lengths, and what their columns are.
fn head(loader: &Loader, loaded: &Loaded, columns_per_length: usize) -> [Vec<String>; 2] {
    let mut lengths = vec![String::new()];
    let mut names = vec![loaded.headline_entity.clone()];
    for length in &loader.lengths {
        let length = if length.eq_ignore_ascii_case("all") { "lifetime" } else { length };
        lengths.push(length.to_owned());
        names.push(loaded.headline_count.to_owned());
        if columns_per_length > 1 {
            lengths.push(String::new());
            let field = loaded.headline_field.as_deref().unwrap_or_default();
            names.push(if field == "added" { "lines".to_owned() } else { field.to_owned() });
        }
    }
    [lengths, names]
}

/// Columns as wide as their widest cell, names to the left, numbers to the right.
fn table(head: &[Vec<String>; 2], rows: &[Vec<String>]) -> String {
    let lines: Vec<&Vec<String>> = head.iter().chain(rows).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head[0].len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut shown = format!("{:<width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            let _ = write!(shown, "  {cell:>width$}");
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

fn number(value: Option<&windrow_client::Value>) -> String {
    let Some(value) = value else { return String::new() };
    match (value.as_i64(), value.as_f64()) {
        (Some(number), _) => number.to_string(),
        (None, Some(number)) => format!("{number:.2}"),
        (None, None) => "-".to_owned(),
    }
}

/// The entities with the most events, the busiest first.
fn busiest(counts: &HashMap<Vec<u8>, u64>, many: usize) -> Vec<Vec<u8>> {
    let mut entities: Vec<(&Vec<u8>, &u64)> = counts.iter().collect();
    entities.sort_by(|(a_name, a_count), (b_name, b_count)| b_count.cmp(a_count).then(a_name.cmp(b_name)));
    entities.into_iter().take(many).map(|(entity, _)| entity.clone()).collect()
}

fn shorten(entity: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(entity).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().count() <= ENTITY_LETTERS_MAX {
        return text;
    }
    text.chars().take(ENTITY_LETTERS_MAX - 1).chain(['…']).collect()
}

/// Three lines that work in a shell as they stand.
fn next_steps(loader: &Loader, loaded: &Loaded, first: Option<&[u8]>, port: u16) -> Vec<String> {
    let cli = format!("redis-cli -p {port}");
    let stream = &loader.stream;
    let busiest_typed = |counts| busiest(counts, ENTITIES_SHOWN).iter().find_map(|entity| typed(entity));
    let entity = first.and_then(typed).or_else(|| busiest_typed(&loaded.headline));
    let other = busiest_typed(&loaded.other);
    let Some(entity) = entity.or_else(|| other.clone()) else {
        return vec![format!("{cli} STREAM.INFO {stream}")];
    };
    let other = quoted(&other.unwrap_or_else(|| entity.clone()));
    let entity = quoted(&entity);
    let amount = loaded.headline_field.as_ref().map_or("count".to_owned(), |field| format!("sum({field})"));
    let feature = |name: &str, length: &str| quoted(&format!("{name}:{length}"));
    let first = loader.lengths.first().map_or("all", String::as_str);
    let last = loader.lengths.last().map_or("all", String::as_str);
    let mut lines = vec![
        format!("{cli} WINDOW.GET {entity} {stream}"),
        format!("{cli} WINDOW.GET {other} {stream} {} {}", feature("count", first), feature(&amount, last)),
    ];
    let keeps_a_week =
        loader.lengths.iter().any(|length| matches!(length.as_str(), "7d" | "14d" | "30d" | "90d"));
    lines.push(match loaded.clock_ms {
        Some(clock_ms) if keeps_a_week => {
            let to_ms = (clock_ms.div_euclid(DAY_MS) + 1) * DAY_MS;
            let range = format!("{} {to_ms} BUCKET 1d", to_ms - 7 * DAY_MS);
            format!("{cli} WINDOW.RANGE {entity} {stream} {} {range}", quoted(&amount))
        }
        _ => format!("{cli} STREAM.INFO {stream}"),
    });
    lines
}

/// An entity that can be typed: text without control characters.
fn typed(entity: &[u8]) -> Option<String> {
    std::str::from_utf8(entity).ok().filter(|text| !text.contains(char::is_control)).map(str::to_owned)
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{HashMap, busiest, quoted, shorten, table};

    #[test]
    fn a_word_of_a_shell_is_what_it_was() {
        let words = ["author:6f16", "sum(added):7d", "path:it's", "path:a b", "", "path:$HOME`x`"];
        let expected =
            ["author:6f16", "'sum(added):7d'", r"'path:it'\''s'", "'path:a b'", "''", "'path:$HOME`x`'"];
        assert_eq!(words.map(quoted), expected);
    }

    #[test]
    fn the_busiest_come_first_and_equals_by_name() {
        let counts = [("b", 2), ("a", 2), ("c", 3), ("d", 1)];
        let counts: HashMap<Vec<u8>, u64> = counts.map(|(name, count)| (name.into(), count)).into();
        assert_eq!(busiest(&counts, 3), [b"c", b"a", b"b"]);
    }

    #[test]
    fn columns_stand_under_one_another() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let head = [words(&["", "1d", ""]), words(&["who", "events", "amount"])];
        let text = table(&head, &[words(&["user:é", "1", "2.50"]), words(&["user:long", "100", "-"])]);
        assert_eq!(
            text,
            "               1d\nwho        events  amount\nuser:é          1    2.50\nuser:long     100       -\n"
        );
    }

    #[test]
    fn odd_names_do_not_break_the_table() {
        assert_eq!(shorten(b"a\nb\xff"), "a?b\u{fffd}");
        assert_eq!(shorten(&[b'x'; 300]).chars().count(), 40);
    }
}
