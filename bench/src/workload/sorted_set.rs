//! The usual pattern in Redis: a sorted set of events an entity, scored by time.

use super::{NOW, WINDOW_MS};
use crate::replies::Expect;
use crate::template::{Piece, Template};

/// `<ts>-<seq>:<amount>`: unique, and carries the value that the sum needs.
fn member(time: Piece<'_>) -> [Piece<'_>; 5] {
    [time, Piece::Text("-"), Piece::Seq, Piece::Text(":"), Piece::Amount]
}

/// One event: add it, drop what is too old, put the expiry off.
pub(super) fn event(template: &mut Template) -> Vec<Expect> {
    template.command(&[&[Piece::Text("ZADD")], &[Piece::NextKey], &[NOW], &member(NOW)]);
    let oldest = [Piece::TimeMs { back_ms: WINDOW_MS }];
    template.command(&[
        &[Piece::Text("ZREMRANGEBYSCORE")],
        &[Piece::SameKey],
        &[Piece::Text("-inf")],
        &oldest,
    ]);
    template.command(&[&[Piece::Text("EXPIRE")], &[Piece::SameKey], &[Piece::Text("3600")]]);
    vec![Expect::kind(b":"); 3]
}

/// One read; the generator sums the members up, as the application would.
pub(super) fn read(template: &mut Template) -> Expect {
    let from = [Piece::TimeMs { back_ms: WINDOW_MS }];
    template.command(&[&[Piece::Text("ZRANGEBYSCORE")], &[Piece::NextKey], &from, &[NOW]]);
    Expect::members()
}

/// Gives an entity an event at each of these times.
pub(super) fn fill(template: &mut Template, times: &[Piece<'_>]) -> Vec<Expect> {
    let members: Vec<[Piece<'_>; 5]> = times.iter().map(|time| member(*time)).collect();
    let mut args: Vec<&[Piece<'_>]> = vec![&[Piece::Text("ZADD")], &[Piece::NextKey]];
    for (time, member) in times.iter().zip(&members) {
        args.extend([std::slice::from_ref(time), &member[..]]);
    }
    template.command(&args);
    template.command(&[&[Piece::Text("EXPIRE")], &[Piece::SameKey], &[Piece::Text("3600")]]);
    vec![Expect::kind(b":"); 2]
}
