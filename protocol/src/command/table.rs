//! The rows, in the order of [`CommandId`](super::CommandId).

mod acl;
mod connection;
mod feature;
mod server;
mod watching;

use super::{Command, CommandId};

/// Every command, at the position of its [`CommandId`].
pub static COMMANDS: [Command; CommandId::COUNT] = ROWS;

/// The same as a constant, for what the compiler works out from it.
pub(super) const ROWS: [Command; CommandId::COUNT] = [
    feature::STREAM_CREATE,
    feature::STREAM_ALTER,
    feature::STREAM_DROP,
    feature::STREAM_LIST,
    feature::STREAM_INFO,
    feature::EVENT_ADD,
    feature::EVENT_MADD,
    feature::WINDOW_GET,
    feature::WINDOW_MGET,
    feature::WINDOW_JOIN,
    feature::WINDOW_RANGE,
    feature::WINDOW_TOP,
    feature::ENTITY_DEL,
    feature::ENTITY_SCAN,
    feature::ENTITY_INFO,
    connection::HELLO,
    connection::AUTH,
    acl::ACL,
    connection::PING,
    connection::ECHO,
    connection::SELECT,
    connection::CLIENT,
    connection::QUIT,
    connection::RESET,
    server::COMMAND,
    server::INFO,
    server::CONFIG,
    server::MEMORY,
    watching::SLOWLOG,
    watching::LATENCY,
    server::DBSIZE,
    server::TIME,
    server::FLUSHALL,
    server::SAVE,
    server::BGSAVE,
    server::LASTSAVE,
    server::SHUTDOWN,
];

const _: () = {
    let mut i = 0;
    while i < ROWS.len() {
        assert!(ROWS[i].id as usize == i, "a row is not at the position of its id");
        i += 1;
    }
};
