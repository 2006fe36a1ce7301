//! SET and GET: the least that a Redis command costs.

use crate::replies::Expect;
use crate::template::{Piece, Template};

/// So many SETs.
pub(super) fn set(template: &mut Template, rows: usize) -> Vec<Expect> {
    for _ in 0..rows {
        template.command(&[&[Piece::Text("SET")], &[Piece::NextKey], &[Piece::Amount]]);
    }
    vec![Expect::ok(); rows]
}

/// One GET.
pub(super) fn get(template: &mut Template) -> Vec<Expect> {
    template.command(&[&[Piece::Text("GET")], &[Piece::NextKey]]);
    vec![Expect::kind(b"$")]
}
