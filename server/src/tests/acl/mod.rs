//! Users and what they may do, over sockets.

mod denied;
mod file;
mod users;

use super::harness::{Client, Reply};
use crate::Running;

const STREAM: &str = "STREAM.CREATE s FIELDS v INT WINDOWS 1h@1m all AGGREGATE count sum(v) DEDUP 10m";

/// A client that has logged in.
fn login(running: &Running, user: &str, password: &str) -> Client {
    let mut client = Client::connect(running);
    client.ask(&format!("AUTH {user} {password}")).assert_ok();
    client
}

fn texts(reply: Reply) -> Vec<String> {
    reply.array().into_iter().map(Reply::text).collect()
}

fn count(client: &mut Client, entity: &str) -> Reply {
    client.ask(&format!("WINDOW.GET {entity} s count:all")).array().remove(0)
}

fn pong() -> Reply {
    Reply::Simple("PONG".to_owned())
}
