//! A server whose every word is said by the test.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use windrow_client::{Client, ClientBuilder, Protocol};

/// The reply to HELLO.
const WELCOME: &[u8] = b"%2\r\n+server\r\n+windrow\r\n+proto\r\n:3\r\n";

pub struct ScriptedServer {
    listener: TcpListener,
}

impl ScriptedServer {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn addr(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The next connection, before its handshake.
    pub async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { stream, received: Vec::new() }
    }

    /// The next connection, greeted.
    pub async fn welcome(&self) -> Peer {
        let mut peer = self.accept().await;
        assert_eq!(peer.command().await[0], "HELLO");
        peer.say(WELCOME).await;
        peer
    }

    /// A client and the server's side of its connection.
    pub async fn meet(&self, builder: ClientBuilder) -> (Client, Peer) {
        let (client, peer) = tokio::join!(builder.connect(), self.welcome());
        (client.unwrap(), peer)
    }

    /// The same in a protocol, the reply to HELLO being one that is read in both.
    pub async fn meet_in(&self, protocol: Protocol) -> (Client, Peer) {
        let greeting = async {
            let mut peer = self.accept().await;
            assert_eq!(peer.command().await[0], "HELLO");
            peer.say("*0\r\n").await;
            peer
        };
        let builder = Client::builder(self.addr()).protocol(protocol);
        let (client, peer) = tokio::join!(builder.connect(), greeting);
        (client.unwrap(), peer)
    }

    pub async fn meet_default(&self) -> (Client, Peer) {
        self.meet(Client::builder(self.addr())).await
    }
}

/// The server's side of one connection.
pub struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    /// The next command's arguments; panics when the connection ends before.
    pub async fn command(&mut self) -> Vec<String> {
        self.command_or_end().await.expect("the client closed the connection")
    }

    /// The next command's arguments, or `None` when the client has closed.
    pub async fn command_or_end(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some((args, bytes)) = parse(&self.received) {
                self.received.drain(..bytes);
                return Some(args);
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).await.unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    /// The next commands, each as its arguments joined by spaces.
    pub async fn commands(&mut self, count: usize) -> Vec<String> {
        let mut commands = Vec::new();
        for _ in 0..count {
            commands.push(self.command().await.join(" "));
        }
        commands
    }

    /// Takes the next command, replies to it, and gives its arguments joined by spaces.
    pub async fn answer(&mut self, reply: impl AsRef<[u8]>) -> String {
        let command = self.command().await.join(" ");
        self.say(reply).await;
        command
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }
}

/// A command at the start of `bytes`, if it is whole, and its length.
fn parse(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let (count, mut at) = header(bytes, 0, b'*')?;
    let mut args = Vec::new();
    for _ in 0..count {
        let (len, start) = header(bytes, at, b'$')?;
        let arg = bytes.get(start..start + len)?;
        at = start + len + 2;
        args.push(String::from_utf8_lossy(arg).into_owned());
    }
    (bytes.len() >= at).then_some((args, at))
}

/// The number behind `prefix` at `at`, and the offset behind its line.
fn header(bytes: &[u8], at: usize, prefix: u8) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(rest[0], prefix, "clients send arrays of bulk strings");
    let number = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
    Some((number, at + end + 2))
}
