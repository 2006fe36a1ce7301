//! A blocking connection for the few commands around a run: create the stream, wait for the server.

use crate::advice;
use crate::error::BenchError;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use windrow_client::scan::ReplyScanner;

/// Longest wait for a reply to a control command.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between looks at a server that is starting.
const READY_PAUSE: Duration = Duration::from_millis(20);

/// So much of a command is shown in an error.
const NAMED_CHARS_MAX: usize = 100;

/// How connections introduce themselves.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// The ACL user; `default` if only a password is given.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// Ask for RESP3; else the server's default, RESP2, is kept.
    pub resp3: bool,
}

/// A connection that waits for each reply.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
}

impl Control {
    /// Connects, and authenticates as the greeting says.
    ///
    /// # Errors
    ///
    /// Nobody listens, or the greeting is refused.
    pub fn connect(addr: &str, greeting: &Greeting) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(addr).map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::ConnectionRefused => " (does a server run there? --addr names another)",
                ErrorKind::InvalidInput => " (an address is host:port, such as 127.0.0.1:7379)",
                _ if addr.contains("://") => " (an address is host:port, such as 127.0.0.1:7379)",
                ErrorKind::AddrNotAvailable => {
                    " (the system has no port left for it; see ip_local_port_range)"
                }
                _ => "",
            };
            BenchError::io(format!("connect to {addr}{hint}"))(error)
        })?;
        stream.set_nodelay(true).map_err(BenchError::io("set TCP_NODELAY"))?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).map_err(BenchError::io("set a timeout"))?;
        let mut control = Self { stream };
        let auth = greeting
            .password
            .as_deref()
            .map(|password| [greeting.username.as_deref().unwrap_or("default"), password]);
        match (greeting.resp3, auth) {
            (true, Some([user, password])) => drop(control.expect(&["HELLO", "3", "AUTH", user, password])?),
            (true, None) => drop(control.expect(&["HELLO", "3"])?),
            (false, Some([user, password])) => drop(control.expect(&["AUTH", user, password])?),
            (false, None) => {}
        }
        Ok(control)
    }

    /// The socket, for the generator to use.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends a command; its reply as text, which must not be an error.
    ///
    /// # Errors
    ///
    /// An error reply, or a broken connection.
    pub fn expect(&mut self, args: &[&str]) -> Result<String, BenchError> {
        let reply = self.command(args)?;
        if reply.starts_with(['-', '!']) {
            let remedy = advice::of_reply(&reply).map_or_else(String::new, |remedy| format!("\n{remedy}"));
            return Err(BenchError::Server(format!("{}: {}{remedy}", named(args), reply.trim_end())));
        }
        Ok(reply)
    }

    /// Sends a command; its reply as text, as it stands on the wire.
    ///
    /// # Errors
    ///
    /// A broken connection, or no reply in time.
    pub fn command(&mut self, args: &[&str]) -> Result<String, BenchError> {
        let mut bytes = format!("*{}\r\n", args.len());
        for arg in args {
            bytes.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
        }
        self.stream.write_all(bytes.as_bytes()).map_err(BenchError::io("send a command"))?;
        let (mut scanner, mut reply) = (ReplyScanner::new(), Vec::new());
        let mut chunk = [0; 4096];
        while scanner.scan(&reply)?.is_none() {
            let count =
                self.stream.read(&mut chunk).map_err(BenchError::io(format!("wait for {}", args[0])))?;
            if count == 0 {
                return Err(BenchError::Server(format!(
                    "the connection closed instead of a reply to {}; does the server speak Redis' protocol there, without TLS?",
                    args[0]
                )));
            }
            reply.extend_from_slice(&chunk[..count]);
        }
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }
}

/// A command in an error: without passwords, and without more than the beginning of a script.
fn named(args: &[&str]) -> String {
    match args[0] {
        "AUTH" | "HELLO" => args[0].to_owned(),
        _ => {
            let text = args.join(" ");
            let line = text.lines().next().unwrap_or_default();
            let shown: String = line.chars().take(NAMED_CHARS_MAX).collect();
            if shown.len() < text.len() { format!("{shown} …") } else { shown }
        }
    }
}

/// Waits until a server answers PING without an error; `gone` says why to stop waiting.
///
/// # Errors
///
/// The time is up, or `gone` has a reason.
pub fn wait_until_ready(
    addr: &str,
    greeting: &Greeting,
    timeout: Duration,
    mut gone: impl FnMut() -> Option<String>,
) -> Result<(), BenchError> {
    let deadline = Instant::now() + timeout;
    loop {
        let last = match Control::connect(addr, greeting).and_then(|mut control| control.expect(&["PING"])) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if let Some(reason) = gone() {
            return Err(BenchError::Server(reason));
        }
        if Instant::now() > deadline {
            return Err(BenchError::Server(format!("{addr} is not ready after {timeout:?}: {last}")));
        }
        std::thread::sleep(READY_PAUSE);
    }
}
