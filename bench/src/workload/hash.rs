//! A hash of buckets an entity, kept by the client: a sum and a count for each minute.

use super::BUCKET_MS;
use crate::replies::Expect;
use crate::template::{Piece, Template};

/// The bucket that has just left the window of 60.
const LEFT_MS: u64 = 60 * BUCKET_MS;

/// One event: add to its bucket's sum and count, drop the bucket that left the window, put the expiry off.
pub(super) fn event(template: &mut Template) -> Vec<Expect> {
    add(template, Piece::NextKey, 0);
    let left = Piece::Minute { back_ms: LEFT_MS };
    template.command(&[
        &[Piece::Text("HDEL")],
        &[Piece::SameKey],
        &[Piece::Text("s"), left],
        &[Piece::Text("c"), left],
    ]);
    template.command(&[&[Piece::Text("EXPIRE")], &[Piece::SameKey], &[Piece::Text("3660")]]);
    vec![Expect::kind(b"$,"), Expect::kind(b":"), Expect::kind(b":"), Expect::kind(b":")]
}

fn add(template: &mut Template, key: Piece<'_>, back_ms: u64) {
    let bucket = Piece::Minute { back_ms };
    template.command(&[
        &[Piece::Text("HINCRBYFLOAT")],
        &[key],
        &[Piece::Text("s"), bucket],
        &[Piece::Amount],
    ]);
    template.command(&[
        &[Piece::Text("HINCRBY")],
        &[Piece::SameKey],
        &[Piece::Text("c"), bucket],
        &[Piece::Text("1")],
    ]);
}

/// One read: all buckets, which the application sums up.
pub(super) fn read(template: &mut Template) -> Expect {
    template.command(&[&[Piece::Text("HGETALL")], &[Piece::NextKey]]);
    Expect::kind(b"*%")
}

/// Gives an entity an event in each of its newest `buckets`.
pub(super) fn fill(template: &mut Template, buckets: u64) -> Vec<Expect> {
    for bucket in (0..buckets).rev() {
        add(
            template,
            if bucket + 1 == buckets { Piece::NextKey } else { Piece::SameKey },
            bucket * BUCKET_MS,
        );
    }
    template.command(&[&[Piece::Text("EXPIRE")], &[Piece::SameKey], &[Piece::Text("3660")]]);
    let mut expects: Vec<Expect> =
        (0..buckets).flat_map(|_| [Expect::kind(b"$,"), Expect::kind(b":")]).collect();
    expects.push(Expect::kind(b":"));
    expects
}
