//! HELLO, AUTH, PING, ECHO, SELECT, QUIT, RESET.

use windrow_protocol::{Proto, reply};

use super::{Call, Flow, is};
use crate::connection::ReplyMode;

/// Version that clients are told where they expect one of Redis.
pub(super) const REDIS_VERSION: &str = "7.4.0";
/// The one user.
pub(super) const DEFAULT_USER: &str = "default";

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
    if !call.session.is_authenticated {
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
    if call.request.len() == 2 && call.core.config.requirepass.is_empty() {
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

/// Whether user and password fit; then the session is authenticated. Without a password any is right, as in Redis.
fn authenticate(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> bool {
    let expected = call.core.config.requirepass.as_bytes();
    let fits = user == DEFAULT_USER.as_bytes() && (expected.is_empty() || same_bytes(expected, password));
    call.session.is_authenticated |= fits;
    fits
}

/// Equality in a time that does not tell where the first difference is.
fn same_bytes(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = u8::from(expected.len() != given.len());
    for (index, &byte) in given.iter().enumerate() {
        difference |= byte ^ expected[index % expected.len()];
    }
    difference == 0
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
    call.session.is_authenticated = call.core.config.requirepass.is_empty();
    call.out().extend_from_slice(b"+RESET\r\n");
    Flow::Done
}

#[cfg(test)]
mod tests {
    use super::same_bytes;

    #[test]
    fn only_the_same_password_is_right() {
        assert!(same_bytes(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secret ", b"Secret", b"secretsecret"] {
            assert!(!same_bytes(b"secret", wrong));
        }
    }
}
