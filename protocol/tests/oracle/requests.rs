//! Requests: one stream parsed whole and in pieces, and its first array parsed by `redis-protocol`.
//!
//! Shared with the fuzz targets, which include this file by its path.

use redis_protocol::resp2;
use redis_protocol::resp2::types::OwnedFrame;
use windrow_protocol::{Args, Limits, Parsed, Parser, ProtocolError, reply};

/// The arguments of one command.
pub type Words = Vec<Vec<u8>>;

/// What a stream of bytes turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Commands, in order.
    pub commands: Vec<Words>,
    /// Bytes that were begun and not finished, or why the stream is no stream of commands.
    pub end: Result<Vec<u8>, ProtocolError>,
}

/// Parses a stream that arrives in pieces, as a connection does: the buffer holds unfinished bytes only, and moves.
pub fn parse_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    let (mut parser, mut args) = (Parser::new(), Args::new());
    let (mut buf, mut commands) = (Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match parser.parse(&buf, limits, &mut args) {
                Ok(Parsed::Command { consumed }) => {
                    assert!(!args.is_empty(), "a command has a name");
                    assert!(!parser.is_mid_command());
                    commands.push(args.iter(&buf).map(<[u8]>::to_vec).collect());
                    buf.drain(..consumed);
                }
                Ok(Parsed::Empty { consumed }) => {
                    assert!(consumed > 0, "an empty command makes progress");
                    buf.drain(..consumed);
                }
                Ok(Parsed::Incomplete) => break,
                Err(error) => return Outcome { commands, end: Err(error) },
            }
        }
    }
    Outcome { commands, end: Ok(buf) }
}

/// Asserts that a stream means the same whole, byte by byte, and cut into pieces of the given lengths (in turn).
pub fn assert_cuts_do_not_matter(stream: &[u8], cuts: &[usize], limits: &Limits) -> Outcome {
    let whole = parse_pieces([stream], limits);
    assert_eq!(parse_pieces(stream.chunks(1), limits), whole, "byte by byte: {}", stream.escape_ascii());
    let mut pieces = Vec::new();
    let (mut rest, mut cut) = (stream, 0);
    while !rest.is_empty() && !cuts.is_empty() {
        let (piece, behind) = rest.split_at(cuts[cut % cuts.len()].clamp(1, rest.len()));
        pieces.push(piece);
        rest = behind;
        cut += 1;
    }
    pieces.push(rest);
    assert_eq!(parse_pieces(pieces, limits), whole, "cut at {cuts:?}: {}", stream.escape_ascii());
    whole
}

/// Asserts that our parser and `redis-protocol` agree on the array at the start of `stream`.
///
/// Intended differences, in all of which ours is the stricter or the earlier one:
///
/// 1. What begins with another byte than `*` is an inline command to us and some other value to them: not compared.
/// 2. We take one spelling of a length and one line end (`$5\r\n`); they take `$+5\r\n`, `$05\r\n`, and any two bytes
///    behind a bulk string. So whatever they take and we refuse must not be its own canonical spelling, or
/// 3. hold other values than bulk strings, or
/// 4. exceed our limits.
/// 5. We refuse as soon as it is certain; they may still ask for more bytes.
/// 6. A count below −1 is an empty command to us, as it is to Redis; they refuse it.
pub fn assert_agrees_with_redis_protocol(stream: &[u8], limits: &Limits) {
    if stream.first() != Some(&b'*') {
        return; // 1
    }
    let mut args = Args::new();
    let ours = Parser::new().parse(stream, limits, &mut args);
    if ours == Err(ProtocolError::ExpectedBulk { got: b'*' }) {
        return; // 3, and their recursion into nested arrays has no bound
    }
    let theirs = resp2::decode::decode(stream);
    let context = || format!("{}\nours {ours:?}\ntheirs {theirs:?}", stream.escape_ascii());
    match (&ours, &theirs) {
        (Ok(Parsed::Command { consumed }), Ok(Some((OwnedFrame::Array(frames), taken)))) => {
            assert_eq!(consumed, taken, "{}", context());
            let our_words: Words = args.iter(stream).map(<[u8]>::to_vec).collect();
            assert_eq!(Some(our_words), words(frames), "{}", context());
        }
        (Ok(Parsed::Empty { consumed }), Ok(Some((OwnedFrame::Array(frames), taken)))) => {
            assert!(frames.is_empty() && consumed == taken, "{}", context());
        }
        (Ok(Parsed::Empty { consumed }), Ok(Some((OwnedFrame::Null, taken)))) => {
            assert_eq!(consumed, taken, "{}", context());
        }
        (Ok(Parsed::Empty { .. }), Err(_)) => assert!(stream.starts_with(b"*-"), "{}", context()), // 6
        (Ok(Parsed::Incomplete), Ok(None)) => {}
        (Err(_), Err(_) | Ok(None)) => {} // 5
        (Err(_), Ok(Some((OwnedFrame::Array(frames), taken)))) => {
            let is_canonical = words(frames).is_some_and(|words| encode(&words) == stream[..*taken]); // 2, 3
            assert!(!is_canonical || exceeds(frames, *taken, limits), "{}", context());
        }
        (Err(_), Ok(Some((OwnedFrame::Null, taken)))) => {
            assert_ne!(&stream[..*taken], b"*-1\r\n", "{}", context()); // 2
        }
        _ => panic!("{}", context()),
    }
}

/// The arguments of an array, if they all are bulk strings.
fn words(frames: &[OwnedFrame]) -> Option<Words> {
    frames
        .iter()
        .map(|frame| match frame {
            OwnedFrame::BulkString(word) => Some(word.clone()),
            _ => None,
        })
        .collect()
}

fn exceeds(frames: &[OwnedFrame], command_bytes: usize, limits: &Limits) -> bool {
    let is_too_long = |frame: &OwnedFrame| match frame {
        OwnedFrame::BulkString(word) => word.len() > limits.bulk_bytes_max as usize,
        _ => false,
    };
    frames.len() > limits.args_max as usize
        || command_bytes > limits.command_bytes_max as usize
        || frames.iter().any(is_too_long)
}

/// A command as a client sends it.
pub fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    reply::array(&mut out, words.len());
    for word in words {
        reply::bulk(&mut out, word);
    }
    out
}

/// A command as a person types it, every word quoted, as Redis' `sdscatrepr` does.
pub fn encode_inline(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        out.push(b'"');
        for &byte in word {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0x07 => out.extend_from_slice(b"\\a"),
                0x08 => out.extend_from_slice(b"\\b"),
                b' '..=b'~' => out.push(byte),
                _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            }
        }
        out.extend_from_slice(b"\" ");
    }
    out.extend_from_slice(b"\r\n");
    out
}
