//! A CSV file as a source: rows in the order of the file, one event for each of its entities.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder};
use windrow_client::FieldType;

use super::arguments::DemoArgs;
use super::columns::Columns;
use super::error::DemoError;
use super::source::{Field, LeftOut, Position, Sample, Source};

/// Rows that are looked at to find out what the columns hold.
const SAMPLE_ROWS: usize = 1_000;
/// Timestamps lie within ± this many milliseconds of 1970.
const TIME_ABS_MAX_MS: i64 = 8_640_000_000_000_000;
/// Longest STRING value.
const STRING_BYTES_MAX: usize = 1_024;

/// The file, being read.
pub(super) struct TableFile {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    columns: Columns,
    width: usize,
    record: ByteRecord,
    bytes: u64,
    left_out: LeftOut,
}

impl TableFile {
    /// Opens a file that has a header and rows, and decides what its columns mean.
    pub(super) fn open(path: &Path, args: &DemoArgs) -> Result<TableFile, DemoError> {
        let (mut reader, bytes) = open(path)?;
        let header = reader.byte_headers().map_err(|error| unreadable(path, &error))?;
        let header: Vec<String> =
            header.iter().map(|title| String::from_utf8_lossy(title).into_owned()).collect();
        let sample: Result<Vec<ByteRecord>, csv::Error> = reader.byte_records().take(SAMPLE_ROWS).collect();
        let sample = sample.map_err(|error| unreadable(path, &error))?;
        let columns = Columns::choose(&header, args, &sample).map_err(|reason| DemoError::Columns {
            path: path.to_owned(),
            reason,
            header: header.clone(),
        })?;
        if sample.is_empty() {
            return Err(DemoError::NoRows(path.to_owned()));
        }
        // From the start again: the sample is events too.
        let (reader, _) = open(path)?;
        Ok(TableFile {
            path: path.to_owned(),
            reader,
            columns,
            width: header.len(),
            record: ByteRecord::new(),
            bytes,
            left_out: LeftOut::default(),
        })
    }

    /// The events of the present row, or why it has none.
    fn samples(&self, line: u64, out: &mut Vec<Sample>) -> Result<(), String> {
        if self.record.len() != self.width {
            return Err(format!("{} columns instead of {}", self.record.len(), self.width));
        }
        let time = text(&self.record[self.columns.time])?;
        let time_ms = time.parse::<i64>().ok().and_then(|time| time.checked_mul(self.columns.time_unit_ms));
        let time_ms = time_ms.filter(|time_ms| (-TIME_ABS_MAX_MS..=TIME_ABS_MAX_MS).contains(time_ms));
        let time_ms = time_ms.ok_or_else(|| format!("{time:?} is no time"))?;
        let mut values = Vec::with_capacity(self.columns.fields.len());
        for (field, column) in self.columns.fields.iter().zip(&self.columns.field_columns) {
            values.push(value(field, &self.record[*column])?);
        }
        let before = out.len();
        for (column, prefix) in &self.columns.entities {
            let name = &self.record[*column];
            if !name.is_empty() {
                let entity = [prefix.as_bytes(), b":", name].concat();
                out.push(Sample { entity, time_ms, values: values.clone(), origin: line });
            }
        }
        if out.len() == before { Err("no column of entities has a value".to_owned()) } else { Ok(()) }
    }
}

impl Source for TableFile {
    fn title(&self) -> String {
        format!("the rows of {}", self.path.display())
    }

    fn origin_name(&self) -> &'static str {
        "line"
    }

    fn fields(&self) -> &[Field] {
        &self.columns.fields
    }

    fn headline_entity(&self) -> &str {
        &self.columns.entities[0].1
    }

    fn headline_count(&self) -> &'static str {
        "events"
    }

    fn next_row(&mut self, out: &mut Vec<Sample>) -> Result<bool, DemoError> {
        let mut record = std::mem::take(&mut self.record);
        let read = self.reader.read_byte_record(&mut record);
        self.record = record;
        if !read.map_err(|error| unreadable(&self.path, &error))? {
            return Ok(false);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        if let Err(reason) = self.samples(line, out) {
            self.left_out.add(|| format!("line {line}: {reason}"));
        }
        Ok(true)
    }

    fn position(&self) -> Position {
        Position { done: self.reader.position().byte().min(self.bytes), total: self.bytes }
    }

    fn left_out(&self) -> &LeftOut {
        &self.left_out
    }
}

fn open(path: &Path) -> Result<(Reader<BufReader<File>>, u64), DemoError> {
    let unreadable =
        |error: std::io::Error| DemoError::Unreadable { path: path.to_owned(), reason: error.to_string() };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(DemoError::Unreadable {
            path: path.to_owned(),
            reason: "it is no ordinary file".to_owned(),
        });
    }
    // Rows of another width are reported by their line, not fatal.
    Ok((ReaderBuilder::new().flexible(true).from_reader(BufReader::new(file)), metadata.len()))
}

fn unreadable(path: &Path, error: &csv::Error) -> DemoError {
    DemoError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

/// A value as it is sent; an empty cell is no value.
fn value(field: &Field, cell: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if cell.is_empty() {
        return Ok(None);
    }
    let odd = |cell: &str| format!("{cell:?} is no {:?} for {}", field.kind, field.name);
    match field.kind {
        FieldType::Int => {
            let cell = text(cell)?;
            let number: i64 = cell.parse().map_err(|_| odd(cell))?;
            Ok(Some(number.to_string().into_bytes()))
        }
        FieldType::Float => {
            let cell = text(cell)?;
            let number =
                cell.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(|| odd(cell))?;
            // Debug, not Display: 1e300 stays five letters.
            Ok(Some(format!("{number:?}").into_bytes()))
        }
        FieldType::String if cell.len() > STRING_BYTES_MAX => {
            Err(format!("{} has {} bytes, more than {STRING_BYTES_MAX}", field.name, cell.len()))
        }
        FieldType::String => Ok(Some(cell.to_vec())),
    }
}

fn text(cell: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(cell)
        .map(str::trim)
        .map_err(|_| format!("{:?} is not text", String::from_utf8_lossy(cell)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::{DemoArgs, DemoError, Sample, Source, TableFile};

    #[derive(Parser)]
    struct Demo {
        #[command(flatten)]
        args: DemoArgs,
    }

    fn read(csv: &[u8], flags: &[&str]) -> Result<(Vec<Sample>, Vec<String>), DemoError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        fs::write(&path, csv).unwrap();
        let args = Demo::parse_from(["demo", "--csv", "x.csv"].iter().chain(flags)).args;
        let mut file = TableFile::open(&path, &args)?;
        let mut samples = Vec::new();
        while file.next_row(&mut samples)? {}
        assert_eq!(file.position().done, file.position().total);
        Ok((samples, file.left_out().describe("left out")))
    }

    fn shown(samples: &[Sample]) -> Vec<String> {
        let value = |value: &Option<Vec<u8>>| {
            value.as_ref().map_or("-".into(), |value| String::from_utf8_lossy(value).into_owned())
        };
        let values = |sample: &Sample| sample.values.iter().map(value).collect::<Vec<_>>().join(" ");
        let entity = |sample: &Sample| String::from_utf8_lossy(&sample.entity).into_owned();
        samples
            .iter()
            .map(|sample| {
                format!("{} {} {} {}", sample.origin, entity(sample), sample.time_ms, values(sample))
            })
            .collect()
    }

    #[test]
    fn a_row_is_one_event_for_each_entity_in_the_order_of_the_file() {
        let (samples, left_out) =
            read(b"ts,user,card,amount\n9,a,x,1\n-5,b,,2.50\n7,\"c\nd\",z,\n", &[]).unwrap();
        assert_eq!(
            shown(&samples),
            ["2 user:a 9 1.0", "2 card:x 9 1.0", "3 user:b -5 2.5", "4 user:c\nd 7 -", "4 card:z 7 -"]
        );
        assert!(left_out.is_empty(), "{left_out:?}");
    }

    #[test]
    fn bad_rows_are_named_by_line_and_the_rest_is_read() {
        let csv = b"ts,user,n\n1,a,1\nx,a,1\n2,a\n3,a,1.5\n4,a,1,9\n8640000000000001,a,1\n5,,1\n6,b,7\n";
        let (samples, left_out) = read(csv, &["--field", "n=n:INT"]).unwrap();
        assert_eq!(shown(&samples), ["2 user:a 1 1", "9 user:b 6 7"]);
        assert_eq!(left_out[0], "6 left out:");
        for (place, line) in [3, 4, 5, 6, 7].iter().enumerate() {
            assert!(left_out[place + 1].starts_with(&format!("  line {line}: ")), "{left_out:?}");
        }
    }

    #[test]
    fn a_file_is_any_bytes() {
        let (samples, _) = read(b"ts,user,tag\n1,\xff\xfe,\xe9\n", &["--field", "tag=tag:STRING"]).unwrap();
        assert_eq!(samples[0].entity, b"user:\xff\xfe");
        assert_eq!(samples[0].values, [Some(b"\xe9".to_vec())]);
    }

    #[test]
    fn a_file_that_cannot_be_events_says_why() {
        assert!(matches!(read(b"ts,user\n", &[]), Err(DemoError::NoRows(_))));
        assert!(matches!(read(b"", &[]), Err(DemoError::Columns { .. })));
        assert!(matches!(read(b"a,b\n1,2\n", &[]), Err(DemoError::Columns { .. })));
        let args = Demo::parse_from(["demo", "--csv", "/"]).args;
        assert!(matches!(TableFile::open("/".as_ref(), &args), Err(DemoError::Unreadable { .. })));
    }
}
