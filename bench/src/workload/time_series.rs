//! RedisTimeSeries: a series of samples an entity.

use super::{NOW, WINDOW_MS};
use crate::replies::Expect;
use crate::template::{Piece, Template};

/// Arguments of the module. How long samples are kept: the window and a bucket. What becomes of two in one millisecond: they are added up,
/// since the default would refuse the second. With each TS.ADD instead, it would read four words more for every event.
pub const MODULE_ARGUMENTS: [&str; 4] = ["RETENTION_POLICY", "3660000", "DUPLICATE_POLICY", "SUM"];

/// One event.
pub(super) fn event(template: &mut Template, time: Piece<'_>) -> Expect {
    sample(template, Piece::NextKey, time)
}

fn sample(template: &mut Template, key: Piece<'_>, time: Piece<'_>) -> Expect {
    template.command(&[&[Piece::Text("TS.ADD")], &[key], &[time], &[Piece::Amount]]);
    Expect::kind(b":")
}

/// One read of a sum: TS.RANGE takes one aggregate, so this is half of what the other servers are asked for.
pub(super) fn read(template: &mut Template) -> Expect {
    let from = [Piece::TimeMs { back_ms: WINDOW_MS }];
    template.command(&[
        &[Piece::Text("TS.RANGE")],
        &[Piece::NextKey],
        &from,
        &[NOW],
        &[Piece::Text("AGGREGATION")],
        &[Piece::Text("sum")],
        &[Piece::Text("3600000")],
    ]);
    Expect::kind(b"*")
}

/// Gives an entity an event at each of these times.
pub(super) fn fill(template: &mut Template, times: &[Piece<'_>]) -> Vec<Expect> {
    let key = |at| if at == 0 { Piece::NextKey } else { Piece::SameKey };
    times.iter().enumerate().map(|(at, time)| sample(template, key(at), *time)).collect()
}
