//! A RESP connection that hides nothing: commands or raw bytes go out, one [`Reply`] at a time comes back.
//!
//! Written from the protocol's description, not with the server's own codec, so that a shared mistake cannot hide.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that says nothing for this long has failed the test.
const REPLY_WAIT: Duration = Duration::from_secs(30);
/// No reply of these tests comes near it; a length above it is a broken reply.
const REPLY_LENGTH_MAX: i64 = 512 << 20;

/// One reply, RESP2 or RESP3.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+text`
    Simple(String),
    /// `-text`
    Error(String),
    /// `:n`
    Int(i64),
    /// `,x`
    Double(f64),
    /// `#t` or `#f`
    Bool(bool),
    /// `$n` bytes, verbatim strings too
    Bulk(Vec<u8>),
    /// `_`, `$-1` or `*-1`
    Null,
    /// `*n`, sets and pushes too
    Array(Vec<Reply>),
    /// `%n`
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    /// The text of an error reply, else `None`.
    pub fn error(&self) -> Option<&str> {
        match self {
            Reply::Error(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array; a map becomes key, value, key, value.
    ///
    /// # Panics
    /// When the reply is neither.
    pub fn into_elements(self) -> Vec<Reply> {
        match self {
            Reply::Array(elements) => elements,
            Reply::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
            other => panic!("an array was expected, not {other:?}"),
        }
    }

    /// The reply as text: simple, bulk or number.
    ///
    /// # Panics
    /// When the reply is none of these.
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(text) => text.clone(),
            Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Int(number) => number.to_string(),
            Reply::Double(number) => number.to_string(),
            other => panic!("text was expected, not {other:?}"),
        }
    }

    /// The reply as a number, however it is written; `None` for null.
    ///
    /// # Panics
    /// When the reply is not a number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Reply::Null => None,
            Reply::Int(number) => Some(*number as f64),
            Reply::Double(number) => Some(*number),
            Reply::Bulk(bytes) => {
                let text = std::str::from_utf8(bytes).expect("a number is ASCII");
                Some(text.parse().unwrap_or_else(|_| panic!("a number was expected, not {text:?}")))
            }
            other => panic!("a number was expected, not {other:?}"),
        }
    }

    /// The reply as an integer.
    ///
    /// # Panics
    /// When the reply is not one.
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(number) => *number,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }
}

/// A connection to the server under test.
#[derive(Debug)]
pub struct Conn {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Conn {
    /// Connects, with a limit on how long a reply may take.
    pub fn open(addr: SocketAddr) -> io::Result<Conn> {
        let writer = TcpStream::connect(addr)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(REPLY_WAIT))?;
        writer.set_write_timeout(Some(REPLY_WAIT))?;
        Ok(Conn { reader: BufReader::with_capacity(1 << 16, writer.try_clone()?), writer })
    }

    /// Sends one command, its words separated by spaces, and returns its reply.
    ///
    /// # Panics
    /// When the connection breaks: use [`Conn::try_args`] where that may happen.
    pub fn cmd(&mut self, words: &str) -> Reply {
        let args: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
        self.args(&args)
    }

    /// Sends one command of any bytes and returns its reply.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn args(&mut self, args: &[&[u8]]) -> Reply {
        self.try_args(args).unwrap_or_else(|error| panic!("{}: {error}", lossy(args)))
    }

    /// As [`Conn::args`], with the connection's failure as an error.
    pub fn try_args(&mut self, args: &[&[u8]]) -> io::Result<Reply> {
        self.send(&encode(args))?;
        self.read()
    }

    /// A command that must be answered `OK`.
    ///
    /// # Panics
    /// When it is not.
    pub fn ok(&mut self, words: &str) {
        let reply = self.cmd(words);
        assert_eq!(reply, Reply::Simple("OK".into()), "{words}");
    }

    /// A command that must fail; returns the error's text.
    ///
    /// # Panics
    /// When it does not.
    pub fn fails(&mut self, words: &str) -> String {
        match self.cmd(words) {
            Reply::Error(text) => text,
            other => panic!("an error was expected of `{words}`, not {other:?}"),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Reads one reply. Out-of-band pushes count as replies: the tests cause none.
    pub fn read(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.reader)
    }

    /// Whether the server has closed the connection: reads and drops what it still sent.
    pub fn is_closed_by_server(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
        }
    }

    /// A second handle on the socket, to write from another thread.
    pub fn writer(&self) -> io::Result<TcpStream> {
        self.writer.try_clone()
    }
}

/// One command as an array of bulk strings.
pub fn encode(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// One command, its words separated by spaces, encoded.
pub fn encode_words(words: &str) -> Vec<u8> {
    let args: Vec<&[u8]> = words.split_whitespace().map(str::as_bytes).collect();
    encode(&args)
}

fn read_reply(reader: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let line = read_line(reader)?;
    let (kind, rest) = line.split_at(1);
    Ok(match kind {
        "+" => Reply::Simple(rest.to_owned()),
        "-" => Reply::Error(rest.to_owned()),
        ":" => Reply::Int(parse(rest)?),
        "," => Reply::Double(parse(rest)?),
        "#" => Reply::Bool(rest == "t"),
        "_" => Reply::Null,
        "$" | "=" => match length(rest)? {
            None => Reply::Null,
            Some(bytes) => {
                let mut body = vec![0; bytes + 2];
                reader.read_exact(&mut body)?;
                if !body.ends_with(b"\r\n") {
                    return Err(broken("a bulk string that does not end in CRLF"));
                }
                body.truncate(bytes);
                Reply::Bulk(body)
            }
        },
        "*" | "~" | ">" => match length(rest)? {
            None => Reply::Null,
            Some(count) => Reply::Array((0..count).map(|_| read_reply(reader)).collect::<io::Result<_>>()?),
        },
        "%" => {
            let count = length(rest)?.ok_or_else(|| broken("a map of length -1"))?;
            let pair = |_| Ok((read_reply(reader)?, read_reply(reader)?));
            Reply::Map((0..count).map(pair).collect::<io::Result<_>>()?)
        }
        _ => return Err(broken(&format!("a reply that starts with {line:?}"))),
    })
}

fn read_line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
    }
    if !line.ends_with(b"\r\n") || line.len() < 3 {
        return Err(broken(&format!("a reply line {:?}", String::from_utf8_lossy(&line))));
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map_err(|_| broken("a reply line that is not UTF-8"))
}

fn length(text: &str) -> io::Result<Option<usize>> {
    match parse::<i64>(text)? {
        -1 => Ok(None),
        length @ 0..=REPLY_LENGTH_MAX => Ok(Some(length as usize)),
        length => Err(broken(&format!("a reply of length {length}"))),
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| broken(&format!("a number {text:?}")))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}"))
}

fn lossy(args: &[&[u8]]) -> String {
    let shown = args.iter().take(12).map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" ");
    shown.chars().take(300).collect()
}
