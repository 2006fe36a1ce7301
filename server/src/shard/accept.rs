//! New connections: shard 0 accepts, the shard with the fewest connections serves.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use super::mailbox::Message;
use super::tick::ShardLoop;
use crate::acl::Users;
use crate::clock::uptime_ms;
use crate::config::Config;
use crate::connection::{Client, Connection, Identity, Session};

/// Connections accepted in one tick.
const ACCEPTED_PER_TICK: usize = 64;
/// After the system refused a connection (too many open files), try again so much later.
const RETRY_MS: u64 = 100;
/// Listening sockets have the tokens from here down to the waker's.
const LISTENER_TOKENS: usize = usize::MAX - 64;

/// The listening sockets.
pub(crate) struct Listeners {
    sockets: Vec<TcpListener>,
    /// There may be connections that have not been accepted.
    has_more: bool,
    retry_at_ms: u64,
}

impl Listeners {
    /// Registers listening sockets.
    pub(crate) fn register(mut sockets: Vec<TcpListener>, registry: &Registry) -> io::Result<Self> {
        for (index, socket) in sockets.iter_mut().enumerate() {
            socket.register(registry, Token(LISTENER_TOKENS + index), Interest::READABLE)?;
        }
        Ok(Listeners { sockets, has_more: true, retry_at_ms: 0 })
    }

    pub(super) fn has_more(&self) -> bool {
        self.has_more && self.retry_at_ms == 0
    }

    /// True if the token is a listener's.
    pub(super) fn note_event(&mut self, token: Token) -> bool {
        let is_listener = (LISTENER_TOKENS..LISTENER_TOKENS + self.sockets.len()).contains(&token.0);
        self.has_more |= is_listener;
        is_listener
    }

    /// The next connection, if there is one.
    fn accept(&mut self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        for socket in &self.sockets {
            match socket.accept() {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The client went away while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl ShardLoop {
    /// Accepts new connections, if this shard does that.
    pub(super) fn accept(&mut self) {
        let Some(listeners) = &mut self.listeners else { return };
        if !listeners.has_more || listeners.retry_at_ms > uptime_ms() {
            return;
        }
        listeners.retry_at_ms = 0;
        for _ in 0..ACCEPTED_PER_TICK {
            let Some(listeners) = &mut self.listeners else { return };
            match listeners.accept() {
                Ok(Some((socket, peer))) => self.admit(socket, peer),
                Ok(None) => {
                    listeners.has_more = false;
                    return;
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    listeners.retry_at_ms = uptime_ms() + RETRY_MS;
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut socket: TcpStream, peer: SocketAddr) {
        let shared = Arc::clone(&self.shared);
        shared.total_connections.fetch_add(1, Relaxed);
        let (config, users) = (&self.core.config, &self.core.users);
        let refuse = |socket: &mut TcpStream, text: &str| {
            shared.rejected_connections.fetch_add(1, Relaxed);
            // A fresh socket takes a line; if it does not, the client learns less.
            let _ = socket.write(text.as_bytes());
        };
        if is_protected_against(config, users, peer.ip()) {
            refuse(&mut socket, PROTECTED);
            return;
        }
        let Ok(local) = socket.local_addr() else { return };
        let least = |shard: &usize| shared.shards[*shard].numbers.connections.load(Relaxed);
        let shard = (0..shared.shards.len()).min_by_key(least).expect("there is a shard");
        let Some(client) = shared.clients.add(shard, peer, local, config.maxclients) else {
            refuse(&mut socket, "-ERR max number of clients reached\r\n");
            return;
        };
        set_options(&socket, config.tcp_keepalive_s);
        shared.shards[shard].numbers.connections.fetch_add(1, Relaxed);
        if shard == self.core.id {
            self.serve(socket, client);
        } else {
            shared.shards[shard].send(Message::Accepted { socket, client });
        }
    }

    /// Takes a connection in.
    pub(super) fn serve(&mut self, mut socket: TcpStream, client: Arc<Client>) {
        let id = self.connections.next_id();
        let token = Token(id.index as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, token, interest) {
            tracing::warn!("cannot serve client {}: {error}", client.id);
            self.shared.clients.remove(client.id);
            self.shared.shards[self.core.id].numbers.connections.fetch_sub(1, Relaxed);
            return;
        }
        client.set_place(id);
        let session = Session::new(id, client, Identity::new(&self.core.users));
        self.connections.insert(Box::new(Connection::new(socket, session, uptime_ms())));
        // What it sent before it was registered raises no event.
        self.enqueue(id.index);
    }
}

const PROTECTED: &str = "-DENIED Windrow is running in protected mode because protected mode is enabled and no password is set. \
     In this mode connections are only accepted from the loopback interface. If you want to connect from external computers, \
     set a password (requirepass), or, on a network that you trust, turn protected mode off (protected-mode no).\r\n";

/// Redis' protected mode: without a password, only clients of this machine.
fn is_protected_against(config: &Config, users: &Users, peer: IpAddr) -> bool {
    config.protected_mode && users.default_user().is_open() && !peer.to_canonical().is_loopback()
}

fn set_options(socket: &TcpStream, keepalive_s: u64) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {error}");
    }
    if keepalive_s > 0 {
        let every = Duration::from_secs(keepalive_s);
        let keepalive =
            TcpKeepalive::new().with_time(every).with_interval((every / 3).max(Duration::from_secs(1)));
        if let Err(error) = SockRef::from(socket).set_tcp_keepalive(&keepalive) {
            tracing::debug!("TCP keep-alive: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_password_only_this_machine_is_served() {
        let mut config = Config::default();
        let other: IpAddr = "192.0.2.7".parse().unwrap();
        let open = Users::new("");
        assert!(is_protected_against(&config, &open, other));
        assert!(!is_protected_against(&config, &open, "127.0.0.1".parse().unwrap()));
        assert!(!is_protected_against(&config, &open, "::ffff:127.0.0.1".parse().unwrap()));
        assert!(!is_protected_against(&config, &Users::new("x"), other));
        let mut closed = Users::new("");
        closed.set(b"default", [&b"off"[..]]).unwrap();
        assert!(!is_protected_against(&config, &closed, other));
        config.protected_mode = false;
        assert!(!is_protected_against(&config, &open, other));
    }
}
