//! A server that answers as a test says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of one command.
pub enum Answer {
    Reply(&'static [u8]),
    /// All connections wait so long; then `+OK`.
    Stall(Duration),
    Nothing,
    /// Nothing, now and later, on this connection.
    Mute,
    Hangup,
}

pub struct Misbehaving {
    pub addr: String,
    commands: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl Misbehaving {
    /// Answers the n-th command of all connections (from 0) as `script` says.
    pub fn start(script: impl Fn(u64) -> Answer + Send + Sync + 'static) -> Self {
        Self::reading(move |n, _| script(n))
    }

    /// The same, by the command's bytes as well.
    pub fn reading(script: impl Fn(u64, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let commands = Arc::new(AtomicU64::new(0));
        let (script, turns) = (Arc::new(script), Arc::new(Turns::default()));
        let reads = Arc::new(AtomicU64::new(0));
        let counters = (commands.clone(), reads.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, turns, counters) = (script.clone(), turns.clone(), counters.clone());
                // It ends with its connection; an error is a connection that the generator closed.
                thread::spawn(move || serve(stream?, &*script, &turns, &counters.0, &counters.1));
            }
        });
        Self { addr, commands, reads }
    }

    /// Commands received so far.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::SeqCst)
    }

    /// WINDOW.GETs among them.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

/// A lock that is had in the order of asking, as servers take their connections in turns. A mutex may starve one of them for seconds.
#[derive(Default)]
struct Turns {
    asked: AtomicU64,
    had: Mutex<u64>,
    changed: Condvar,
}

impl Turns {
    fn wait(&self) -> Turn<'_> {
        let own = self.asked.fetch_add(1, Ordering::SeqCst);
        let had = self.had.lock().unwrap();
        drop(self.changed.wait_while(had, |had| *had != own).unwrap());
        Turn(self)
    }
}

struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.had.lock().unwrap() += 1;
        self.0.changed.notify_all();
    }
}

fn serve(
    mut stream: TcpStream,
    script: &dyn Fn(u64, &[u8]) -> Answer,
    turns: &Turns,
    commands: &AtomicU64,
    reads: &AtomicU64,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut received, mut chunk, mut is_mute) = (Vec::new(), [0; 4096], false);
    loop {
        while let Some(bytes) = command_bytes(&received) {
            let command: Vec<u8> = received.drain(..bytes).collect();
            if command.windows(10).any(|name| name == b"WINDOW.GET") {
                reads.fetch_add(1, Ordering::SeqCst);
            }
            if is_mute {
                continue;
            }
            // One at a time, so that a stall stalls everybody.
            let _turn = turns.wait();
            match script(commands.fetch_add(1, Ordering::SeqCst), &command) {
                Answer::Reply(reply) => stream.write_all(reply)?,
                Answer::Stall(time) => {
                    thread::sleep(time);
                    stream.write_all(b"+OK\r\n")?;
                }
                Answer::Nothing => {}
                Answer::Mute => is_mute = true,
                Answer::Hangup => return Ok(()),
            }
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        received.extend_from_slice(&chunk[..count]);
    }
}

/// Length of the command at the start of `bytes`, if it is whole.
pub fn command_bytes(bytes: &[u8]) -> Option<usize> {
    let header = |at: usize| {
        let rest = bytes.get(at..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        Some((std::str::from_utf8(&rest[1..end]).ok()?.parse::<usize>().ok()?, at + end + 2))
    };
    let (args, mut at) = header(0)?;
    for _ in 0..args {
        let (len, start) = header(at)?;
        at = start + len + 2;
    }
    (bytes.len() >= at).then_some(at)
}
