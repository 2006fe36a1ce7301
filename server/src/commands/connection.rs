//! HELLO, AUTH, PING, ECHO, SELECT, QUIT, RESET.

use std::sync::Arc;

use windrow_protocol::{Proto, reply};

use super::{Call, Flow, is};
use crate::acl::{DEFAULT_USER, PasswordHash, Reason};
use crate::connection::{Identity, ReplyMode};

/// Version that clients are told where they expect one of Redis.
pub(super) const REDIS_VERSION: &str = "7.4.0";

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
pub(super) fn hello(call: &mut Call<'_>) -> Flow {
    let request = call.request;
    let mut proto = call.session.proto;
    if let Some(version) = request.get(1) {
        proto = match version {
            b"2" => Proto::Resp2,
            b"3" => Proto::Resp3,
            other if windrow_window::timestamp::parse_int(other).is_none() => {
                return call.error(format_args!("ERR Protocol version is not an integer or out of range"));
            }
            _ => return call.error(format_args!("NOPROTO unsupported protocol version")),
        };
    }
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = request.get(at) {
        if is(option, "AUTH") && request.len() > at + 2 {
            credentials = Some((request.at(at + 1), request.at(at + 2)));
            at += 3;
        } else if is(option, "SETNAME") && request.len() > at + 1 {
            name = Some(request.at(at + 1));
            at += 2;
        } else {
            return call.error(format_args!("ERR Syntax error in HELLO option '{}'", super::shown(option)));
        }
    }
    if let Some((user, password)) = credentials
        && !authenticate(call, user, password)
    {
        return wrong_password(call);
    }
    if !call.session.identity.is_authenticated() {
        return call.error(format_args!(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
        ));
    }
    if let Some(name) = name
        && !super::client::set_name(call, name)
    {
        return Flow::Done;
    }
    call.session.proto = proto;
    call.session.client.set_resp(if proto == Proto::Resp3 { 3 } else { 2 });
    let id = call.session.client.id as i64;
    let out = call.out();
    reply::map(out, proto, 8);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply::bulk(out, key.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
    reply::bulk(out, b"proto");
    reply::integer(out, if proto == Proto::Resp3 { 3 } else { 2 });
    reply::bulk(out, b"id");
    reply::integer(out, id);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        reply::bulk(out, key.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
    reply::bulk(out, b"modules");
    reply::array(out, 0);
    reply::bulk(out, b"windrow_version");
    reply::bulk(out, env!("CARGO_PKG_VERSION").as_bytes());
    Flow::Done
}

/// `AUTH [username] password`
pub(super) fn auth(call: &mut Call<'_>) -> Flow {
    let (user, password) = match call.request.len() {
        2 => (DEFAULT_USER.as_bytes(), call.request.at(1)),
        3 => (call.request.at(1), call.request.at(2)),
        _ => return call.syntax_error(),
    };
    if call.request.len() == 2 && call.core.users.default_user().is_nopass() {
        return call.error(format_args!(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?"
        ));
    }
    if authenticate(call, user, password) { call.ok() } else { wrong_password(call) }
}

fn wrong_password(call: &mut Call<'_>) -> Flow {
    call.error(format_args!("WRONGPASS invalid username-password pair or user is disabled."))
}

/// Whether user and password fit; then the session is that user's. Takes as long for a user that does not exist.
fn authenticate(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> bool {
    let password = PasswordHash::of(password);
    match call.core.users.get(user).filter(|user| user.accepts(&password)) {
        Some(user) => {
            call.session.client.set_user(user.name());
            call.session.identity.become_user(Arc::clone(user));
            true
        }
        None => {
            let (now_ms, client) = (call.core.now_ms, &call.session.client);
            call.core.shared.acl.log.add(Reason::Auth, call.request.at(0), user, now_ms, || client.line());
            false
        }
    }
}

/// `PING [message]`
pub(super) fn ping(call: &mut Call<'_>) -> Flow {
    match call.request.len() {
        1 => call.out().extend_from_slice(b"+PONG\r\n"),
        2 => {
            let message = call.request.at(1);
            reply::bulk(call.out(), message);
        }
        _ => return call.error(format_args!("ERR wrong number of arguments for 'ping' command")),
    }
    Flow::Done
}

/// `ECHO message`
pub(super) fn echo(call: &mut Call<'_>) -> Flow {
    let message = call.request.at(1);
    reply::bulk(call.out(), message);
    Flow::Done
}

/// `SELECT 0`
pub(super) fn select(call: &mut Call<'_>) -> Flow {
    match windrow_window::timestamp::parse_int(call.request.at(1)) {
        Some(0) => call.ok(),
        Some(_) => call.error(format_args!("ERR DB index is out of range")),
        None => call.error(format_args!("ERR value is not an integer or out of range")),
    }
}

/// `QUIT`
pub(super) fn quit(call: &mut Call<'_>) -> Flow {
    call.ok();
    Flow::Close
}

/// `RESET`
pub(super) fn reset(call: &mut Call<'_>) -> Flow {
    call.session.proto = Proto::Resp2;
    call.session.client.set_resp(2);
    call.session.client.set_name("");
    call.session.client.set_no_evict(false);
    call.session.reply_mode = ReplyMode::On;
    call.session.identity = Identity::new(&call.core.users);
    call.session.client.set_user(DEFAULT_USER);
    call.out().extend_from_slice(b"+RESET\r\n");
    Flow::Done
}
