//! Whether a command may be executed now, by this user, with these keys.

use windrow_protocol::Request;
use windrow_protocol::command::{Flag, Resolved};

use super::Flow;
use crate::acl::{Denied, KeyCheck, Reason};
use crate::connection::Session;
use crate::shard::Core;

/// Key patterns that one turn of a connection looks at, as [`crate::acl::User::check_keys`] counts them: about a millisecond.
/// A turn reads the command's arguments again, so one with more arguments than this looks at so many patterns instead.
const KEY_COST_MAX: usize = 32 << 10;

/// Answers with an error if the command may not be executed, or says that it is for a later turn. Costs one look at a flag where the user
/// may do everything.
#[inline]
pub(super) fn refuse(
    core: &mut Core,
    session: &mut Session,
    resolved: &Resolved,
    request: Request<'_>,
) -> Option<Flow> {
    if session.identity.may_everything() && core.is_serving() {
        return None;
    }
    refuse_limited(core, session, resolved, request)
}

#[inline(never)]
fn refuse_limited(
    core: &mut Core,
    session: &mut Session,
    resolved: &Resolved,
    request: Request<'_>,
) -> Option<Flow> {
    let flags = resolved.subcommand.map_or(resolved.command.flags, |sub| sub.flags);
    if !session.identity.is_authenticated() && !flags.has(Flag::NoAuth) {
        core.stage_error(session, format_args!("NOAUTH Authentication required."));
        return Some(Flow::Done);
    }
    if !session.identity.user().may(resolved) {
        return Some(deny(core, session, resolved, Denied::Command));
    }
    if !core.is_serving() && !flags.has(Flag::Loading) {
        let progress = core.shared.loading.progress();
        core.stage_error(session, format_args!("LOADING Windrow is {progress}"));
        return Some(Flow::Done);
    }
    let identity = &mut session.identity;
    let cost_max = KEY_COST_MAX.max(request.len());
    match identity.user().check_keys(resolved, request, identity.keys_known, cost_max) {
        KeyCheck::Allowed => {
            identity.keys_known = 0;
            None
        }
        KeyCheck::Unfinished { keys } => {
            identity.keys_known = keys;
            Some(Flow::Later)
        }
        KeyCheck::Denied(denied) => Some(deny(core, session, resolved, denied)),
        KeyCheck::NotFound(error) => {
            identity.keys_known = 0;
            core.stage_error(session, format_args!("ERR {error}"));
            Some(Flow::Done)
        }
    }
}

#[cold]
fn deny(core: &mut Core, session: &mut Session, resolved: &Resolved, denied: Denied<'_>) -> Flow {
    session.identity.keys_known = 0;
    let user = session.identity.user();
    let (reason, object) = match denied {
        Denied::Command => {
            (Reason::Command, resolved.subcommand.map_or(resolved.command.name, |sub| sub.name).as_bytes())
        }
        Denied::Key(key) => (Reason::Key, key),
        Denied::EveryKey => (Reason::Key, &b"*"[..]),
    };
    let client = &session.client;
    core.shared.acl.log.add(reason, object, user.name().as_bytes(), core.now_ms, || client.line());
    let text = denied.text(user, resolved);
    core.stage_error(session, format_args!("NOPERM {text}"));
    Flow::Done
}
