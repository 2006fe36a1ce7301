//! CLIENT and its subcommands.

use std::net::SocketAddr;

use windrow_protocol::command::SubcommandId;
use windrow_protocol::reply;
use windrow_window::timestamp::parse_int;

use super::{Call, Flow, is};
use crate::connection::{Client, ReplyMode};
use crate::shard::Message;

pub(super) fn client(call: &mut Call<'_>) -> Flow {
    match call.subcommand {
        Some(SubcommandId::ClientId) => {
            let id = call.session.client.id as i64;
            reply::integer(call.out(), id);
            Flow::Done
        }
        Some(SubcommandId::ClientGetname) => {
            let (name, proto) = (call.session.client.name(), call.session.proto);
            match name.as_str() {
                "" => reply::null(call.out(), proto),
                name => reply::bulk(call.out(), name.as_bytes()),
            }
            Flow::Done
        }
        Some(SubcommandId::ClientSetname) => {
            let name = call.request.at(2);
            if set_name(call, name) { call.ok() } else { Flow::Done }
        }
        Some(SubcommandId::ClientSetinfo) => set_info(call),
        Some(SubcommandId::ClientInfo) => {
            let mut line = call.session.client.line();
            line.push('\n');
            let proto = call.session.proto;
            reply::verbatim(call.out(), proto, *b"txt", line.as_bytes());
            Flow::Done
        }
        Some(SubcommandId::ClientList) => list(call),
        Some(SubcommandId::ClientKill) => kill(call),
        Some(SubcommandId::ClientNoEvict) => match on_off(call.request.at(2)) {
            Some(on) => {
                call.session.client.set_no_evict(on);
                call.ok()
            }
            None => call.syntax_error(),
        },
        Some(SubcommandId::ClientNoTouch) => match on_off(call.request.at(2)) {
            Some(_) => call.ok(),
            None => call.syntax_error(),
        },
        Some(SubcommandId::ClientReply) => reply_mode(call),
        Some(other) => unreachable!("{other:?} is no subcommand of CLIENT"),
        None => unreachable!("CLIENT has a subcommand"),
    }
}

/// Longest name of a connection or a library.
const LABEL_BYTES_MAX: usize = 256;

/// Names the connection. False: an error was replied.
pub(super) fn set_name(call: &mut Call<'_>, name: &[u8]) -> bool {
    match label(name) {
        Some(name) => {
            call.session.client.set_name(name);
            true
        }
        None => {
            call.error(format_args!(
                "ERR Client names cannot contain spaces, newlines or special characters."
            ));
            false
        }
    }
}

fn label(bytes: &[u8]) -> Option<&str> {
    let is_plain = bytes.len() <= LABEL_BYTES_MAX && bytes.iter().all(|byte| (b'!'..=b'~').contains(byte));
    is_plain.then(|| std::str::from_utf8(bytes).expect("printable ASCII is UTF-8"))
}

fn set_info(call: &mut Call<'_>) -> Flow {
    let (attribute, value) = (call.request.at(2), call.request.at(3));
    let is_name = is(attribute, "LIB-NAME");
    if !is_name && !is(attribute, "LIB-VER") {
        return call.error(format_args!("ERR Unrecognized option '{}'", super::shown(attribute)));
    }
    let Some(value) = label(value) else {
        let what = if is_name { "lib-name" } else { "lib-ver" };
        return call.error(format_args!("ERR {what} cannot contain spaces, newlines or special characters."));
    };
    let (name, version) = if is_name { (Some(value), None) } else { (None, Some(value)) };
    call.session.client.set_library(name, version);
    call.ok()
}

fn on_off(word: &[u8]) -> Option<bool> {
    if is(word, "ON") {
        Some(true)
    } else if is(word, "OFF") {
        Some(false)
    } else {
        None
    }
}

fn reply_mode(call: &mut Call<'_>) -> Flow {
    let word = call.request.at(2);
    if is(word, "ON") {
        call.session.reply_mode = ReplyMode::On;
        call.ok()
    } else if is(word, "OFF") {
        call.session.reply_mode = ReplyMode::Off;
        Flow::Done
    } else if is(word, "SKIP") {
        if call.session.reply_mode != ReplyMode::Off {
            call.session.reply_mode = ReplyMode::SkipNext;
        }
        Flow::Done
    } else {
        call.syntax_error()
    }
}

/// `CLIENT LIST [TYPE normal|...] [ID id ...]`
fn list(call: &mut Call<'_>) -> Flow {
    let request = call.request;
    let mut ids: Option<Vec<u64>> = None;
    let mut wants_normal = true;
    match request.get(2) {
        None => {}
        Some(word) if is(word, "TYPE") && request.len() == 4 => match client_type(request.at(3)) {
            Some(is_normal) => wants_normal = is_normal,
            None => return unknown_type(call),
        },
        Some(word) if is(word, "ID") && request.len() > 3 => {
            let mut wanted = Vec::new();
            for id in request.skip(3).iter() {
                let Some(id) = parse_int(id).and_then(|id| u64::try_from(id).ok()) else {
                    return call.error(format_args!("ERR Invalid client ID"));
                };
                wanted.push(id);
            }
            ids = Some(wanted);
        }
        Some(_) => return call.syntax_error(),
    }
    let mut lines = String::new();
    for client in call.shared().clients.snapshot() {
        if wants_normal && ids.as_ref().is_none_or(|ids| ids.contains(&client.id)) {
            client.write_line(&mut lines);
            lines.push('\n');
        }
    }
    let proto = call.session.proto;
    reply::verbatim(call.out(), proto, *b"txt", lines.as_bytes());
    Flow::Done
}

/// Whether this type is what every client here is; `None`: no such type.
fn client_type(word: &[u8]) -> Option<bool> {
    if is(word, "NORMAL") {
        return Some(true);
    }
    ["MASTER", "REPLICA", "SLAVE", "PUBSUB"].iter().any(|kind| is(word, kind)).then_some(false)
}

fn unknown_type(call: &mut Call<'_>) -> Flow {
    call.error(format_args!("ERR Unknown client type"))
}

/// Which clients CLIENT KILL closes.
#[derive(Default)]
struct Filter {
    id: Option<u64>,
    user: Option<String>,
    address: Option<SocketAddr>,
    local: Option<SocketAddr>,
    is_none: bool,
    max_age_s: Option<u64>,
}

impl Filter {
    fn fits(&self, client: &Client) -> bool {
        !self.is_none
            && self.id.is_none_or(|id| client.id == id)
            && self.user.as_ref().is_none_or(|user| client.user() == *user)
            && self.address.is_none_or(|address| client.peer == address)
            && self.local.is_none_or(|address| client.local == address)
            && self.max_age_s.is_none_or(|age_s| client.age_s() >= age_s)
    }
}

/// `CLIENT KILL addr:port`, or `CLIENT KILL [ID id] [TYPE t] [USER u] [ADDR a] [LADDR a] [SKIPME yes|no] [MAXAGE s]`
fn kill(call: &mut Call<'_>) -> Flow {
    let request = call.request;
    if request.len() == 3 {
        let address = parse_address(request.at(2));
        let filter = Filter { address, is_none: address.is_none(), ..Filter::default() };
        return match kill_all(call, &filter, false) {
            (0, _) => call.error(format_args!("ERR No such client")),
            (_, kills_itself) => {
                call.ok();
                if kills_itself { Flow::Close } else { Flow::Done }
            }
        };
    }
    let (mut filter, mut skips_itself) = (Filter::default(), true);
    if request.len() % 2 == 1 {
        return call.syntax_error();
    }
    for at in (2..request.len()).step_by(2) {
        let (option, value) = (request.at(at), request.at(at + 1));
        if is(option, "ID") {
            match parse_int(value).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0) {
                Some(id) => filter.id = Some(id),
                None => return call.error(format_args!("ERR client-id should be greater than 0")),
            }
        } else if is(option, "TYPE") {
            match client_type(value) {
                Some(is_normal) => filter.is_none |= !is_normal,
                None => return unknown_type(call),
            }
        } else if is(option, "USER") {
            match call.core.users.get(value) {
                Some(user) => filter.user = Some(user.name().to_owned()),
                None => return call.error(format_args!("ERR No such user '{}'", super::shown(value))),
            }
        } else if is(option, "ADDR") {
            filter.address = parse_address(value);
            filter.is_none |= filter.address.is_none();
        } else if is(option, "LADDR") {
            filter.local = parse_address(value);
            filter.is_none |= filter.local.is_none();
        } else if is(option, "SKIPME") {
            match (is(value, "YES"), is(value, "NO")) {
                (false, false) => return call.syntax_error(),
                (yes, _) => skips_itself = yes,
            }
        } else if is(option, "MAXAGE") {
            match parse_int(value).and_then(|age_s| u64::try_from(age_s).ok()) {
                Some(age_s) => filter.max_age_s = Some(age_s),
                None => return call.error(format_args!("ERR maxage is not an integer or out of range")),
            }
        } else {
            return call.syntax_error();
        }
    }
    let (count, kills_itself) = kill_all(call, &filter, skips_itself);
    reply::integer(call.out(), count);
    if kills_itself { Flow::Close } else { Flow::Done }
}

/// Closes the clients that fit. Gives how many, and whether this one is among them (it is closed by the caller).
fn kill_all(call: &mut Call<'_>, filter: &Filter, skips_itself: bool) -> (i64, bool) {
    let own = call.session.client.id;
    let (mut count, mut kills_itself) = (0, false);
    for client in call.shared().clients.snapshot() {
        if !filter.fits(&client) || (skips_itself && client.id == own) {
            continue;
        }
        count += 1;
        if client.id == own {
            kills_itself = true;
        } else if let Some(place) = client.place()
            && client.kill()
        {
            call.shared().shards[client.shard].send(Message::Kill(place));
        }
    }
    (count, kills_itself)
}

fn parse_address(text: &[u8]) -> Option<SocketAddr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
