//! Where events come from: rows in order, each worth one event per entity.

use windrow_client::FieldType;

use super::error::DemoError;

/// Rows left out that are described one by one; the others are only counted.
const LEFT_OUT_SHOWN_MAX: usize = 5;

/// A field of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: FieldType,
}

/// One event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) entity: Vec<u8>,
    pub(super) time_ms: i64,
    /// One per field of the source; `None` where the row has none.
    pub(super) values: Vec<Option<Vec<u8>>>,
    /// Where it stands, for messages: the line of a file, the number of a commit.
    pub(super) origin: u64,
}

/// How far a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) done: u64,
    pub(super) total: u64,
}

/// A sequence of rows.
pub(super) trait Source {
    /// What it is, for the first line.
    fn title(&self) -> String;

    /// What [`Sample::origin`] and [`Position`] count: "commit", "line".
    fn origin_name(&self) -> &'static str;

    /// The fields of its events.
    fn fields(&self) -> &[Field];

    /// The prefix of the entities that the table shows.
    fn headline_entity(&self) -> &str;

    /// What one event of those entities is: "commits", "events".
    fn headline_count(&self) -> &'static str;

    /// Appends the events of the next row; false at the end. A row that cannot be understood appends nothing and
    /// is counted in [`Source::left_out`].
    fn next_row(&mut self, out: &mut Vec<Sample>) -> Result<bool, DemoError>;

    /// How much is read.
    fn position(&self) -> Position;

    /// What could not become an event so far.
    fn left_out(&self) -> &LeftOut;
}

/// Rows that did not become events: how many, and why the first ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    count: u64,
    first: Vec<String>,
}

impl LeftOut {
    /// Counts one, with its place and reason.
    pub(super) fn add(&mut self, reason: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < LEFT_OUT_SHOWN_MAX {
            self.first.push(reason());
        }
    }

    pub(super) fn first(&self) -> Option<&str> {
        self.first.first().map(String::as_str)
    }

    /// Lines to print; none when nothing was left out.
    pub(super) fn describe(&self, what: &str) -> Vec<String> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut lines = vec![format!("{} {what}:", self.count)];
        lines.extend(self.first.iter().map(|reason| format!("  {reason}")));
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            lines.push(format!("  … and {more} more"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::{LEFT_OUT_SHOWN_MAX, LeftOut};

    #[test]
    fn rows_left_out_are_all_counted_and_the_first_described() {
        let mut left_out = LeftOut::default();
        assert!(left_out.describe("rows were left out").is_empty());
        for line in 0..LEFT_OUT_SHOWN_MAX + 3 {
            left_out.add(|| format!("line {line}: odd"));
        }
        let lines = left_out.describe("rows were left out");
        assert_eq!(lines[0], "8 rows were left out:");
        assert_eq!(lines[1], "  line 0: odd");
        assert_eq!(lines.last().unwrap(), "  … and 3 more");
    }
}
