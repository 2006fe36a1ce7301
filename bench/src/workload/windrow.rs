//! Windrow's commands.

use crate::replies::Expect;
use crate::template::{Piece, Template};

/// Name of the stream that is measured.
pub const STREAM: &str = "bench";

/// Its definition, behind `STREAM.CREATE bench`.
pub const STREAM_DEFINITION: &str = "FIELDS amount FLOAT WINDOWS 5m@1m 1h@1m AGGREGATE count sum(amount)";

/// The features that reads ask for.
const FEATURES: [&str; 2] = ["count:1h", "sum(amount):1h"];

/// One EVENT.ADD.
pub(super) fn event(template: &mut Template, time: Piece<'_>) -> Expect {
    template.command(&[
        &[Piece::Text("EVENT.ADD")],
        &[Piece::NextKey],
        &[Piece::Text(STREAM)],
        &[time],
        &[Piece::Text("amount")],
        &[Piece::Amount],
    ]);
    Expect::ok()
}

/// `EVENT.MADD bench FIELDS 1 amount EVENTS`, before the rows.
const MADD: [&[Piece<'static>]; 6] = [
    &[Piece::Text("EVENT.MADD")],
    &[Piece::Text(STREAM)],
    &[Piece::Text("FIELDS")],
    &[Piece::Text("1")],
    &[Piece::Text("amount")],
    &[Piece::Text("EVENTS")],
];

/// One EVENT.MADD of so many entities, all at one time.
pub(super) fn madd(template: &mut Template, rows: usize, time: Piece<'_>) -> Expect {
    let time = [time];
    let row: [&[Piece<'_>]; 3] = [&[Piece::NextKey], &time, &[Piece::Amount]];
    template.command(&[&MADD[..], &row.repeat(rows)].concat());
    Expect::ok_array(rows)
}

/// One EVENT.MADD that gives an entity an event at each of these times.
pub(super) fn fill(template: &mut Template, times: &[Piece<'_>]) -> Expect {
    let mut args: Vec<&[Piece<'_>]> = MADD.to_vec();
    for (at, time) in times.iter().enumerate() {
        args.push(if at == 0 { &[Piece::NextKey] } else { &[Piece::SameKey] });
        args.push(std::slice::from_ref(time));
        args.push(&[Piece::Amount]);
    }
    template.command(&args);
    Expect::ok_array(times.len())
}

/// One WINDOW.GET of both features.
pub(super) fn read(template: &mut Template) -> Expect {
    let [count, sum] = FEATURES.map(|feature| [Piece::Text(feature)]);
    template.command(&[
        &[Piece::Text("WINDOW.GET")],
        &[Piece::NextKey],
        &[Piece::Text(STREAM)],
        &count,
        &sum,
    ]);
    Expect::kind(b"*")
}

/// One WINDOW.MGET of both features of so many entities.
pub(super) fn mget(template: &mut Template, rows: usize) -> Expect {
    let count_text = rows.to_string();
    let count = [Piece::Text(&count_text)];
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("WINDOW.MGET")], &count];
    args.extend(std::iter::repeat_n(&[Piece::NextKey][..], rows));
    args.push(&[Piece::Text(STREAM)]);
    let features = FEATURES.map(|feature| [Piece::Text(feature)]);
    args.extend(features.iter().map(|feature| &feature[..]));
    template.command(&args);
    Expect::kind(b"*")
}
