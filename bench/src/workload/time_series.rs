//! RedisTimeSeries: a series of samples an entity.

use super::{NOW, WINDOW_MS};
use crate::replies::Expect;
use crate::template::{Piece, Template};

/// How long samples are kept: the window and a bucket.
const RETENTION_MS: &str = "3660000";

/// One event; two in one millisecond are added up, since the default would refuse the second.
pub(super) fn event(template: &mut Template, time: Piece<'_>) -> Expect {
    sample(template, Piece::NextKey, time)
}

fn sample(template: &mut Template, key: Piece<'_>, time: Piece<'_>) -> Expect {
    template.command(&[
        &[Piece::Text("TS.ADD")],
        &[key],
        &[time],
        &[Piece::Amount],
        &[Piece::Text("RETENTION")],
        &[Piece::Text(RETENTION_MS)],
        &[Piece::Text("ON_DUPLICATE")],
        &[Piece::Text("SUM")],
    ]);
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
