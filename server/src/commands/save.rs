//! SAVE, BGSAVE, LASTSAVE: images by hand.

use windrow_protocol::reply;

use super::stream::asker;
use super::{Call, Flow, is};
use crate::snapshot::SaveRequest;

/// `SAVE`: replies when the image is on disk.
pub(super) fn save(call: &mut Call<'_>) -> Flow {
    let asker = asker(call);
    if let Some(refused) = begin(call, SaveRequest::Foreground(asker)) {
        return refused;
    }
    Flow::Parked
}

/// `BGSAVE [SCHEDULE]`
pub(super) fn bgsave(call: &mut Call<'_>) -> Flow {
    let rest = call.request.skip(1);
    if rest.len() > 1 || !rest.iter().all(|arg| is(arg, "SCHEDULE")) {
        return call.syntax_error();
    }
    if let Some(refused) = begin(call, SaveRequest::Background) {
        return refused;
    }
    reply::simple(call.out(), "Background saving started");
    Flow::Done
}

/// `LASTSAVE`: of when the newest image is, in Unix seconds.
pub(super) fn lastsave(call: &mut Call<'_>) -> Flow {
    let newest = call.shared().saving.known().newest;
    reply::integer(call.out(), newest.map_or(0, |image| image.created_ms / 1000));
    Flow::Done
}

/// Takes the turn and asks for an image; or says why not.
fn begin(call: &mut Call<'_>, request: SaveRequest) -> Option<Flow> {
    let failure = call.shared().log_failure().map(str::to_owned);
    if let Some(reason) = failure {
        return Some(call.error(format_args!(
            "MISCONF The log has failed, so no image is written until the server is restarted: {reason}"
        )));
    }
    if !call.shared().saving.try_begin() {
        return Some(call.error(format_args!("ERR Background save already in progress")));
    }
    if !call.shared().saving.request(request) {
        return Some(call.error(format_args!("ERR the server is shutting down")));
    }
    None
}
