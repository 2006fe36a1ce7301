//! `windrow log dump`: the operations of the log, one a line, with the names that the catalogue has for them.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use windrow_durability::catalogue;
use windrow_engine::Catalogue;
use windrow_engine::catalogue::LayoutId;
use windrow_engine::op::{self, AnyOp, Judged, Op, OpError};
use windrow_storage::{OnCorruption, Position, Reading, ReplayedFrame, StorageError};
use windrow_window::Layout;
use windrow_window::definition::{FIELDS_MAX, FieldType};

use super::written;
use crate::error::ServerError;

/// Which operations are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// Of this shard, in each epoch.
    pub shard: Option<u16>,
    /// From this one on, in each shard's log of its epoch, and all of later epochs.
    pub from: Option<Position>,
    /// So many at most.
    pub limit: Option<u64>,
}

/// Reads `EPOCH:OPERATION`, or `EPOCH` for all of it and those behind it.
pub(super) fn parse_position(text: &str) -> Result<Position, String> {
    let (epoch, ops) = text.split_once(':').unwrap_or((text, "1"));
    let (Ok(epoch), Ok(ops)) = (epoch.parse(), ops.parse()) else {
        return Err("a position is EPOCH:OPERATION, for instance 3:1200, or EPOCH alone".to_owned());
    };
    Position::new(epoch, ops).map_err(|error| error.to_string())
}

/// Why the reading ends before the log does.
#[derive(Debug)]
enum Enough {
    Limit,
    Output(io::Error),
}

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Enough::Limit => f.write_str("the limit is reached"),
            Enough::Output(error) => write!(f, "{error}"),
        }
    }
}

impl Error for Enough {}

pub(super) fn dump(dir: &Path, selection: &Selection, out: &mut dyn Write) -> Result<(), ServerError> {
    let recovery = super::open(dir, OnCorruption::Refuse)?;
    let mut dump = Dump {
        catalogue: catalogue::load(recovery.manifest()).map_err(ServerError::Catalogue)?,
        out: BufWriter::new(out),
        left: selection.limit.unwrap_or(u64::MAX),
        from: selection.from,
        undecodable: 0,
        line: String::new(),
    };
    let reading = Reading { from: selection.from, shard: selection.shard };
    let mut damages = Vec::new();
    let outcome = recovery.survey(
        reading,
        &mut |frame| dump.frame(&frame).map_err(Into::into),
        &mut |_, _| {},
        &mut |log| damages.extend(log.report.given_up.into_iter().chain(log.report.older)),
    );
    match outcome {
        Err(StorageError::Replay { source, .. }) => match source.downcast::<Enough>() {
            Ok(enough) => match *enough {
                Enough::Limit => {}
                Enough::Output(error) => return written(Err(error)),
            },
            Err(source) => return Err(ServerError::Config(source.to_string())),
        },
        outcome => outcome?,
    }
    written(dump.out.flush())?;
    if let Some(first) = damages.first() {
        return Err(ServerError::Config(format!(
            "operations are missing where the log is damaged, in {} places; the first: {first}",
            damages.len()
        )));
    }
    if dump.undecodable > 0 {
        return Err(ServerError::Config(format!("{} operations could not be decoded", dump.undecodable)));
    }
    Ok(())
}

struct Dump<'o> {
    catalogue: Catalogue,
    out: BufWriter<&'o mut dyn Write>,
    left: u64,
    from: Option<Position>,
    undecodable: u64,
    line: String,
}

impl Dump<'_> {
    fn frame(&mut self, frame: &ReplayedFrame<'_>) -> Result<(), Enough> {
        let epoch = frame.first.epoch();
        for (op, ops) in op::iter(frame.ops).zip(frame.first.ops()..) {
            // A group may begin before the operation that was asked for.
            if self.from.is_some_and(|from| from.epoch() == epoch && ops < from.ops()) {
                continue;
            }
            if self.left == 0 {
                return Err(Enough::Limit);
            }
            self.left -= 1;
            self.line.clear();
            write!(self.line, "{epoch}:{ops} shard={} now={} ", frame.shard, frame.now_ms)
                .expect("a string takes everything");
            if let Err(error) = op.and_then(|op| describe(&self.catalogue, op, &mut self.line)) {
                self.undecodable += 1;
                write!(self.line, "{error}").expect("a string takes everything");
            }
            writeln!(self.out, "{}", self.line).map_err(Enough::Output)?;
        }
        Ok(())
    }
}

/// Puts an operation at the end of `line`.
fn describe(catalogue: &Catalogue, op: &[u8], line: &mut String) -> Result<(), OpError> {
    match AnyOp::decode(op)? {
        AnyOp::Remove(remove) => {
            let verb = if remove.is_asked { "DELETE" } else { "EVICT" };
            put_head(catalogue, verb, remove.layout, remove.entity, line);
            Ok(())
        }
        AnyOp::Merge(merge) => {
            put_head(catalogue, "MERGE", merge.layout, merge.entity, line);
            put(line, format_args!(" words={}", merge.words().len()));
            Ok(())
        }
        AnyOp::Event(event) => {
            let verb = if event.judged == Judged::Noted { "NOTE" } else { "EVENT" };
            put_head(catalogue, verb, event.layout, event.entity, line);
            put(line, format_args!(" ts={} clock={}", event.ts, event.clock_ms));
            match catalogue.as_of(event.layout) {
                Some(stream) => put_values(&event, &stream.layout, line)?,
                None => put(line, format_args!(" bytes={}", event.value_bytes().len())),
            }
            put_marks(&event, line);
            Ok(())
        }
    }
}

fn put(line: &mut String, what: fmt::Arguments<'_>) {
    line.write_fmt(what).expect("a string takes everything");
}

fn put_head(catalogue: &Catalogue, verb: &str, layout: LayoutId, entity: &[u8], line: &mut String) {
    let entity = String::from_utf8_lossy(entity);
    put(line, format_args!("{verb} {entity:?}"));
    match catalogue.as_of(layout) {
        Some(stream) => put(line, format_args!(" stream={}", stream.definition.name)),
        // Dropped since.
        None => put(line, format_args!(" stream=? layout={}", layout.0)),
    }
}

fn put_values(event: &Op<'_>, layout: &Layout, line: &mut String) -> Result<(), OpError> {
    let mut words = [0; FIELDS_MAX];
    let present = event.values(layout, &mut words)?;
    for (index, field) in layout.fields.iter().enumerate().filter(|(index, _)| present & 1 << index != 0) {
        let word = words[index];
        put(line, format_args!(" {}=", field.name));
        match field.kind {
            FieldType::Float => put(line, format_args!("{}", f64::from_bits(word))),
            FieldType::Int => put(line, format_args!("{}", word.cast_signed())),
            FieldType::String => {
                let (at, bytes) = (word as u32 as usize, (word >> 32) as usize);
                let text = String::from_utf8_lossy(&event.value_bytes()[at..at + bytes]);
                put(line, format_args!("{text:?}"));
            }
        }
    }
    Ok(())
}

/// What the operation says beside its values. Ids and sources are in the log as keyed fingerprints alone.
fn put_marks(event: &Op<'_>, line: &mut String) {
    if let Some(id) = event.mark.id {
        put(line, format_args!(" id#{id:016x}"));
    }
    if let Some(source) = event.mark.source {
        put(line, format_args!(" source#{:016x} seq={}", source.source, source.seq));
    }
    if event.judged == Judged::Clamped {
        line.push_str(" clamped");
    }
    if event.starts_anew {
        line.push_str(" anew");
    }
}
