//! A server that counts the commands of each of its connections, of which it may have thousands: one thread, one poll.

use crate::misbehaving::command_bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;

const LISTENER: Token = Token(usize::MAX);

pub struct Counting {
    pub addr: String,
    counts: Arc<Mutex<Vec<u64>>>,
}

impl Counting {
    /// Answers +OK to everything.
    pub fn start() -> Self {
        let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let counts = Arc::new(Mutex::new(Vec::new()));
        let shared = counts.clone();
        thread::spawn(move || {
            let mut poll = Poll::new().unwrap();
            poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
            let mut peers: Vec<Option<(TcpStream, Vec<u8>)>> = Vec::new();
            let mut events = Events::with_capacity(1024);
            loop {
                poll.poll(&mut events, None).unwrap();
                for event in &events {
                    if event.token() == LISTENER {
                        while let Ok((mut stream, _)) = listener.accept() {
                            let token = Token(peers.len());
                            poll.registry().register(&mut stream, token, Interest::READABLE).unwrap();
                            peers.push(Some((stream, Vec::new())));
                            shared.lock().unwrap().push(0);
                        }
                        continue;
                    }
                    let at = event.token().0;
                    let Some((stream, received)) = &mut peers[at] else { continue };
                    if !serve(stream, received, || shared.lock().unwrap()[at] += 1) {
                        peers[at] = None;
                    }
                }
            }
        });
        Self { addr, counts }
    }

    /// Commands of each connection, in the order of connecting.
    pub fn counts(&self) -> Vec<u64> {
        self.counts.lock().unwrap().clone()
    }
}

/// Reads all there is and answers it, each command after it is counted; whether the connection goes on.
fn serve(stream: &mut TcpStream, received: &mut Vec<u8>, mut count_one: impl FnMut()) -> bool {
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return false,
            Ok(count) => received.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
        while let Some(bytes) = command_bytes(received) {
            received.drain(..bytes);
            count_one();
            if stream.write_all(b"+OK\r\n").is_err() {
                return false;
            }
        }
    }
}
