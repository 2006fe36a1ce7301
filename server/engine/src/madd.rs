//! EVENT.MADD: one header, many rows.

use windrow_window::definition::FIELDS_MAX;

use crate::args::Args;
use crate::catalogue::Stream;
use crate::dedup::{Mark, SEQ_MAX, SourceSeq};
use crate::form::{self, FormError, quote, unknown_field};
use crate::planted::{Mistake, is_planted};
use crate::record::HashKey;

/// The header of an EVENT.MADD: which fields a row has, and where the rows stand among the arguments.
#[derive(Clone, Copy, Debug)]
pub struct MaddHeader {
    fields: [u8; FIELDS_MAX],
    field_count: usize,
    null_at: Option<usize>,
    with_ids: bool,
    source: Option<FirstSeq>,
    first_at: usize,
    rows: usize,
}

/// Who sends the rows: where its name stands, and the sequence number of the first.
#[derive(Clone, Copy, Debug)]
struct FirstSeq {
    source_at: usize,
    seq: u64,
}

/// Words of a row before its id and its values: entity and event time.
const ROW_HEAD: usize = 2;

impl MaddHeader {
    /// Parses the header. `from` is the index of the argument that follows the stream's name.
    ///
    /// # Errors
    /// A bad header or a ragged count of values fails the whole command.
    pub fn parse<A: Args + ?Sized>(stream: &Stream, args: &A, from: usize) -> Result<Self, FormError> {
        let syntax = |message: String| Err(FormError::Syntax(message));
        let is = |at: usize, keyword: &str| {
            at < args.len() && args.get(at).eq_ignore_ascii_case(keyword.as_bytes())
        };
        if !is(from, "FIELDS") || from + 1 >= args.len() {
            return syntax("EVENT.MADD needs FIELDS <n> <field> … behind the stream".to_owned());
        }
        let count = windrow_window::timestamp::parse_int(args.get(from + 1))
            .and_then(|count| usize::try_from(count).ok());
        let Some(field_count) = count.filter(|&count| count <= FIELDS_MAX) else {
            return syntax(format!(
                "FIELDS needs a number from 0 to {FIELDS_MAX}, not {}",
                quote(args.get(from + 1))
            ));
        };
        let mut at = from + 2;
        if args.len() < at + field_count {
            return syntax(format!("FIELDS {field_count} is followed by fewer fields"));
        }
        let mut fields = [0; FIELDS_MAX];
        for (index, field) in fields.iter_mut().enumerate().take(field_count) {
            let name = args.get(at + index);
            let found = stream.layout.field(name).ok_or_else(|| unknown_field(stream, name))?;
            *field = u8::try_from(found).expect("fields are bounded by FIELDS_MAX");
        }
        for (index, field) in fields[..field_count].iter().enumerate() {
            if fields[..index].contains(field) {
                return Err(FormError::FieldTwice(
                    stream.layout.fields[usize::from(*field)].name.to_string(),
                ));
            }
        }
        at += field_count;
        let (mut null_at, mut with_ids, mut source) = (None, false, None);
        loop {
            if is(at, "EVENTS") {
                break;
            } else if is(at, "NULL") && null_at.is_none() && at + 1 < args.len() {
                null_at = Some(at + 1);
                at += 2;
            } else if is(at, "WITHIDS") && !with_ids {
                form::check_dedup(stream, "WITHIDS")?;
                with_ids = true;
                at += 1;
            } else if is(at, "SOURCE") && source.is_none() && at + 2 < args.len() {
                form::check_source(args.get(at + 1))?;
                source = Some(FirstSeq { source_at: at + 1, seq: form::parse_seq(args.get(at + 2))? });
                at += 3;
            } else if at < args.len() {
                return syntax(format!(
                    "syntax error at {}: expected WITHIDS, SOURCE <source> <firstseq>, NULL <token> or EVENTS",
                    quote(args.get(at))
                ));
            } else {
                return syntax("EVENTS is missing: behind it stand the rows".to_owned());
            }
        }
        let first_at = at + 1;
        let (words, stride) = (args.len() - first_at, ROW_HEAD + usize::from(with_ids) + field_count);
        if words == 0 {
            return syntax("EVENTS has no rows".to_owned());
        }
        if words % stride != 0 {
            let id = if with_ids { ", id" } else { "" };
            return syntax(format!(
                "{words} words behind EVENTS are not rows of {stride}: entity, time{id} and {field_count} values"
            ));
        }
        let rows = words / stride;
        if let Some(FirstSeq { seq, .. }) = source
            && SEQ_MAX - seq < rows as u64 - 1
        {
            return syntax(format!("{rows} rows from sequence number {seq} on would pass {SEQ_MAX}"));
        }
        Ok(Self { fields, field_count, null_at, with_ids, source, first_at, rows })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The entity of a row.
    #[inline]
    pub fn entity<'a, A: Args + ?Sized>(&self, args: &'a A, row: usize) -> &'a [u8] {
        args.get(self.row_at(row))
    }

    #[inline]
    fn row_at(&self, row: usize) -> usize {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        self.first_at + row * (self.row_head() + self.field_count)
    }

    fn row_head(&self) -> usize {
        ROW_HEAD + usize::from(self.with_ids)
    }

    /// Encodes a row as one operation at the end of `out`.
    ///
    /// # Errors
    /// Says what is wrong with this row; `out` is then as it was.
    #[inline]
    pub fn encode_row<A: Args + ?Sized>(
        &self,
        out: &mut Vec<u8>,
        stream: &Stream,
        args: &A,
        row: usize,
        now_ms: i64,
        key: &HashKey,
    ) -> Result<(), FormError> {
        let at = self.row_at(row);
        let null = self.null_at.map(|at| args.get(at));
        let entity = args.get(at);
        form::encode(out, stream, entity, args.get(at + 1), now_ms, |event| {
            event.mark(&Mark {
                id: self
                    .with_ids
                    .then(|| form::id_fingerprint(stream, entity, args.get(at + ROW_HEAD), key))
                    .transpose()?,
                source: self.source.filter(|_| row == 0 || !is_planted(Mistake::RowsUnnumbered)).map(
                    |FirstSeq { source_at, seq }| SourceSeq {
                        source: key.source_fingerprint(args.get(source_at)),
                        seq: seq + row as u64,
                    },
                ),
            });
            let values_at = at + self.row_head();
            for (index, &field) in self.fields[..self.field_count].iter().enumerate() {
                let value = args.get(values_at + index);
                if null != Some(value) {
                    event.value(usize::from(field), value)?;
                }
            }
            Ok(())
        })
    }
}
