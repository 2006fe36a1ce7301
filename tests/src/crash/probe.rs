//! One write or read beside the load, to see what the server answers now.

use std::time::{Duration, Instant};

use super::outcome::Outcome;
use crate::resp::{Conn, Reply};

/// Between two writes.
const PAUSE: Duration = Duration::from_millis(2);

/// Writes until an answer `holds`, for so long at most; that none did is a finding.
pub(super) fn wait_for(
    outcome: &mut Outcome,
    conn: &mut Conn,
    what: &str,
    wait: Duration,
    holds: impl Fn(&Reply) -> bool,
) {
    let started = Instant::now();
    let mut last = None;
    while started.elapsed() < wait {
        let reply = conn.try_args(&[b"EVENT.ADD", b"probe", b"load", b"*", b"bits", b"1"]);
        if reply.as_ref().is_ok_and(&holds) {
            return;
        }
        last = Some(reply);
        std::thread::sleep(PAUSE);
    }
    outcome.findings.wrong_answer(format!("not in {wait:?}: {what}; last answer: {last:?}"));
}

/// Reads once; that there is no row is a finding.
pub(super) fn expect_reads(outcome: &mut Outcome, conn: &mut Conn) {
    match conn.try_args(&[b"WINDOW.GET", b"probe", b"load", b"count:all"]) {
        Ok(Reply::Array(_)) => {}
        other => outcome.findings.wrong_answer(format!("a read under the fault: {other:?}")),
    }
}

/// The log cannot take more now.
pub(super) fn has_no_room(reply: &Reply) -> bool {
    reply.error().is_some_and(|text| text.starts_with("MISCONF The log has no room"))
}

/// The log cannot take more until a restart.
pub(super) fn has_failed(reply: &Reply) -> bool {
    reply.error().is_some_and(|text| text.starts_with("MISCONF The log has failed"))
}

/// It was counted.
pub(super) fn is_ok(reply: &Reply) -> bool {
    *reply == Reply::Simple("OK".into())
}
