//! The real events: `../shared/data/commits.csv`, read without the product's own reader.

use std::io::Write;
use std::path::PathBuf;

use crate::oracle::Event;
use crate::server::repository;

/// The line `./test` repeats in its summary when the events are not there.
const SKIP: &str = "SKIP: ../shared/data/commits.csv is not there: the tests over real events did not run";

/// One row: the entities that it belongs to, and the event.
#[derive(Debug)]
pub struct Row {
    /// `author:…`, `path:…` and `repo:…`.
    pub entities: [Vec<u8>; 3],
    /// Authored when, with files, lines added and lines deleted.
    pub event: Event,
}

/// Where the file is, or `None`, with a visible line, in a checkout without it.
pub fn file() -> Option<PathBuf> {
    let path = repository().join("../shared/data/commits.csv");
    if path.is_file() {
        return Some(path);
    }
    // Not println!: that is shown only when the test fails.
    let _ = writeln!(std::io::stderr(), "{SKIP}");
    None
}

/// All rows, in the order of the file, which is the order of arrival.
///
/// # Panics
/// When the file is not what its description says.
pub fn rows(path: &PathBuf) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(path).expect("commits.csv can be read");
    let header = reader.headers().expect("commits.csv has a header").clone();
    let column = |name: &str| header.iter().position(|title| title == name).expect("a documented column");
    let [time, author, folder, repo] = ["time_ms", "author", "folder", "repo"].map(column);
    let numbers = ["files", "added", "deleted"].map(column);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.expect("a well-formed row");
        let number = |column: usize| record[column].parse::<i64>().expect("a number");
        rows.push(Row {
            entities: [
                format!("author:{}", &record[author]).into_bytes(),
                format!("path:{}", &record[folder]).into_bytes(),
                format!("repo:{}", &record[repo]).into_bytes(),
            ],
            event: Event {
                time_ms: number(time),
                values: numbers.iter().map(|column| Some(number(*column))).collect(),
            },
        });
    }
    rows
}
