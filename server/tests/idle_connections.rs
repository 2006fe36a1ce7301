//! What a connection takes that has nothing to say. A process of its own, since it looks at its resident memory.

mod client;

use std::io::{Read, Write};
use std::net::TcpStream;

use client::{Client, PATIENCE, start, wait_until};
use rustix::process::{Resource, getrlimit};
use windrow_server::open_files;

/// Idle connections, each of which was active once.
const CONNECTIONS: usize = 2_000;
/// Resident bytes that one may take.
const CONNECTION_BYTES_MAX: u64 = 4 << 10;

#[test]
fn an_idle_connection_takes_at_most_4_kib() {
    // Both ends are this process's.
    let needed = 2 * CONNECTIONS + 300;
    open_files::raise(needed);
    if getrlimit(Resource::Nofile).current.is_some_and(|current| current < needed as u64) {
        println!("SKIP: {needed} files are needed and the hard limit of open files (ulimit -Hn) is lower");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path(), 2);
    let mut client = Client::connect(&running);
    client.ask("STREAM.CREATE s WINDOWS 5m@5s AGGREGATE count");
    client.ask("EVENT.ADD e s *");
    let mut idle: Vec<TcpStream> = Vec::with_capacity(CONNECTIONS);
    // Spare buffers and populated chunks are not theirs: some connections come first.
    let mut connect = |count: usize| {
        for _ in 0..count {
            let mut socket = TcpStream::connect(running.addr()).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.write_all(b"EVENT.ADD e s *\r\nWINDOW.GET e s count:5m\r\nPING\r\n").unwrap();
            let mut reply = Vec::new();
            while !reply.ends_with(b"+PONG\r\n") {
                let mut bytes = [0; 256];
                let count = socket.read(&mut bytes).unwrap();
                assert!(count > 0, "the server closed the connection");
                reply.extend_from_slice(&bytes[..count]);
            }
            idle.push(socket);
        }
    };
    connect(200);
    let before_bytes = client.resident_in_use_bytes();
    connect(CONNECTIONS);
    assert_eq!(client.map("MEMORY STATS")["keys.count"], 1);
    let connected = format!("connected_clients:{}\r\n", CONNECTIONS + 200 + 1);
    wait_until("all are counted", || client.reply("INFO clients").contains(&connected));
    let bytes = client.resident_in_use_bytes().saturating_sub(before_bytes);
    assert!(
        bytes <= CONNECTIONS as u64 * CONNECTION_BYTES_MAX,
        "{} bytes a connection",
        bytes / CONNECTIONS as u64
    );
    drop(idle);
    running.shutdown().unwrap();
}
