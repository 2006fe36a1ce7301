//! Finds where replies end in a byte stream, without building values.
//!
//! The scanner is resumable: bytes that were looked at once are not looked at again when the rest of a
//! reply arrives, so a reply of many megabytes that comes in small reads costs linear time. It also bounds
//! what a decoder behind it may be given: nesting depth and total size.
//!
//! Grammar: the RESP specification, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use thiserror::Error;

/// Deepest nesting of aggregates in one reply. Windrow's deepest (rows with metadata) has four levels.
pub const REPLY_DEPTH_MAX: usize = 16;

/// Largest reply in bytes: `WINDOW.RANGE` of 100,000 pairs takes about 4 MB, an MGET of a million rows 30 MB.
pub const REPLY_BYTES_MAX: usize = 256 << 20;

/// Longest line: simple strings, errors, numbers and lengths.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What cannot be the beginning of a reply.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScanError {
    /// The first byte of an element is no RESP type.
    #[error("byte 0x{byte:02x} is not the start of a RESP value")]
    UnknownType {
        /// The byte found.
        byte: u8,
    },
    /// A length is not a number, or a negative one other than −1.
    #[error("length {text:?} of a RESP value is not a number that is allowed here")]
    BadLength {
        /// What stood in place of the length.
        text: String,
    },
    /// A reply is nested deeper than [`REPLY_DEPTH_MAX`].
    #[error("a reply is nested deeper than {REPLY_DEPTH_MAX} levels")]
    TooDeep,
    /// A reply is larger than [`REPLY_BYTES_MAX`], or one of its lines longer than 64 KiB.
    #[error("a reply of {bytes} bytes or more is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes known to be needed.
        bytes: usize,
        /// The limit that was exceeded.
        limit: usize,
    },
}

/// A complete reply at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes the reply takes, its trailing CRLF included.
    pub bytes: usize,
    /// The RESP type byte of the reply (behind any attributes): `+ - : $ * …`.
    pub kind: u8,
    /// Errors anywhere inside: 1 for an error reply, the count of failed rows for an array that has some.
    pub errors: u32,
    /// Where the first error starts (its type byte), if there is one.
    pub first_error_at: Option<usize>,
}

/// Resumable search for the end of the first reply in a buffer.
#[derive(Clone, Debug, Default)]
pub struct ReplyScanner {
    at: usize,
    depth: usize,
    /// Elements still to come at each level of nesting.
    missing: [u64; REPLY_DEPTH_MAX],
    kind: Option<u8>,
    errors: u32,
    first_error_at: Option<usize>,
}

enum Element {
    /// A value without children, complete.
    Leaf,
    /// An aggregate, its children still to come.
    Children(u64),
    /// Attributes: that many values, which do not count as a value themselves.
    Attributes(u64),
}

impl ReplyScanner {
    /// A scanner at the start of a reply.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for the end of the reply that starts at `buf[0]`.
    ///
    /// `None`: more bytes are needed; call again with the same bytes and more behind them. After `Some` the
    /// scanner is ready for the next reply, which starts `bytes` further on.
    ///
    /// # Errors
    ///
    /// The bytes are not RESP, or beyond the limits. Nothing after them can be understood.
    pub fn scan(&mut self, buf: &[u8]) -> Result<Option<Scanned>, ScanError> {
        assert!(buf.len() >= self.at, "the buffer lost bytes that were already scanned");
        loop {
            let Some((element, next)) = scan_element(buf, self.at)? else {
                if buf.len() > REPLY_BYTES_MAX {
                    return Err(ScanError::TooLarge { bytes: buf.len(), limit: REPLY_BYTES_MAX });
                }
                return Ok(None);
            };
            let kind = buf[self.at];
            if matches!(kind, b'-' | b'!') {
                self.errors += 1;
                self.first_error_at.get_or_insert(self.at);
            }
            self.at = next;
            match element {
                Element::Children(count) if count > 0 => {
                    self.note_kind(kind);
                    self.push(count)?;
                }
                Element::Attributes(count) => {
                    // The attributed value follows, so the level's count must not go down: one more.
                    if count > 0 {
                        self.push(count.saturating_add(1))?;
                    }
                }
                Element::Leaf | Element::Children(_) => {
                    self.note_kind(kind);
                    if self.finish_value() {
                        return Ok(Some(self.take()));
                    }
                }
            }
        }
    }

    fn note_kind(&mut self, kind: u8) {
        // The first value at the top is the reply itself; behind attributes it is the extra child that was
        // pushed for it, the last of its level.
        if self.depth == 0 || (self.depth == 1 && self.missing[0] == 1 && self.kind.is_none()) {
            self.kind = Some(kind);
        }
    }

    fn push(&mut self, count: u64) -> Result<(), ScanError> {
        if self.depth == REPLY_DEPTH_MAX {
            return Err(ScanError::TooDeep);
        }
        self.missing[self.depth] = count;
        self.depth += 1;
        Ok(())
    }

    /// A value is complete: counts it at its level, and closes the levels that it completes.
    fn finish_value(&mut self) -> bool {
        while self.depth > 0 {
            let missing = &mut self.missing[self.depth - 1];
            *missing -= 1;
            if *missing > 0 {
                return false;
            }
            self.depth -= 1;
        }
        true
    }

    fn take(&mut self) -> Scanned {
        let done = Scanned {
            bytes: self.at,
            kind: self.kind.unwrap_or(b'*'),
            errors: self.errors,
            first_error_at: self.first_error_at,
        };
        *self = Self::default();
        done
    }
}

/// The element at `at` and the offset behind it; `None` when bytes are missing.
fn scan_element(buf: &[u8], at: usize) -> Result<Option<(Element, usize)>, ScanError> {
    let Some(&kind) = buf.get(at) else { return Ok(None) };
    if !b"+-:,#_($=!*~>%|".contains(&kind) {
        return Err(ScanError::UnknownType { byte: kind });
    }
    let Some((line, after_line)) = line_at(buf, at + 1)? else { return Ok(None) };
    let element = match kind {
        b'$' | b'=' | b'!' => {
            let Some(len) = length(line)? else { return Ok(Some((Element::Leaf, after_line))) };
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let end = after_line.saturating_add(len).saturating_add(2);
            if end > REPLY_BYTES_MAX {
                return Err(ScanError::TooLarge { bytes: end, limit: REPLY_BYTES_MAX });
            }
            return Ok((buf.len() >= end).then_some((Element::Leaf, end)));
        }
        b'*' | b'~' | b'>' => length(line)?.map_or(Element::Leaf, Element::Children),
        b'%' => Element::Children(length(line)?.unwrap_or(0).saturating_mul(2)),
        b'|' => Element::Attributes(length(line)?.unwrap_or(0).saturating_mul(2)),
        _ => Element::Leaf,
    };
    Ok(Some((element, after_line)))
}

/// The line that starts at `from`, without its CRLF, and the offset behind that.
fn line_at(buf: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, ScanError> {
    let rest = &buf[from..];
    let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
    let Some(cr) = window.iter().position(|&byte| byte == b'\r') else {
        if rest.len() > LINE_BYTES_MAX {
            return Err(ScanError::TooLarge { bytes: rest.len(), limit: LINE_BYTES_MAX });
        }
        return Ok(None);
    };
    if rest.len() < cr + 2 {
        return Ok(None);
    }
    Ok(Some((&rest[..cr], from + cr + 2)))
}

/// A length; `None` for −1, the null of RESP2.
fn length(line: &[u8]) -> Result<Option<u64>, ScanError> {
    if line == b"-1" {
        return Ok(None);
    }
    let digits = !line.is_empty() && line.len() <= 18 && line.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err(ScanError::BadLength { text: String::from_utf8_lossy(line).into_owned() });
    }
    Ok(Some(line.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[(&[u8], u8, u32)] = &[
        (b"+OK\r\n", b'+', 0),
        (b"-ERR no\r\n", b'-', 1),
        (b":-12\r\n", b':', 0),
        (b",1.5\r\n", b',', 0),
        (b"_\r\n", b'_', 0),
        (b"#t\r\n", b'#', 0),
        (b"(123456789012345678901234567890\r\n", b'(', 0),
        (b"$5\r\nhe\r\no\r\n", b'$', 0),
        (b"$-1\r\n", b'$', 0),
        (b"=7\r\ntxt:abc\r\n", b'=', 0),
        (b"!5\r\nERR x\r\n", b'!', 1),
        (b"*0\r\n", b'*', 0),
        (b"*-1\r\n", b'*', 0),
        (b"%0\r\n", b'%', 0),
        (b"*3\r\n+OK\r\n-ERR bad value\r\n+LATE\r\n", b'*', 1),
        (b"*2\r\n*2\r\n:1\r\n,2.5\r\n*2\r\n_\r\n*1\r\n$1\r\nx\r\n", b'*', 0),
        (b"%2\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n$1\r\nb\r\n%1\r\n+k\r\n+v\r\n", b'%', 0),
        (b"~2\r\n:1\r\n:2\r\n", b'~', 0),
        (b">2\r\n+invalidate\r\n*1\r\n+key\r\n", b'>', 0),
        (b"|1\r\n+ttl\r\n:10\r\n+OK\r\n", b'+', 0),
        (b"*2\r\n|1\r\n+a\r\n:1\r\n:7\r\n:8\r\n", b'*', 0),
        (b"|1\r\n+a\r\n*1\r\n:1\r\n%1\r\n:7\r\n:8\r\n", b'%', 0),
    ];

    #[test]
    fn every_reply_type_ends_where_the_grammar_says() {
        for (bytes, kind, errors) in REPLIES {
            let mut scanner = ReplyScanner::new();
            let found = scanner.scan(bytes).unwrap().expect("complete");
            assert_eq!((found.bytes, found.kind, found.errors), (bytes.len(), *kind, *errors), "{bytes:?}");
        }
    }

    #[test]
    fn a_reply_split_anywhere_is_found_only_when_whole() {
        for (bytes, kind, errors) in REPLIES {
            let mut scanner = ReplyScanner::new();
            for end in 0..bytes.len() {
                assert_eq!(scanner.scan(&bytes[..end]).unwrap(), None, "{bytes:?} cut at {end}");
            }
            let found = scanner.scan(bytes).unwrap().expect("complete");
            assert_eq!((found.bytes, found.kind, found.errors), (bytes.len(), *kind, *errors), "{bytes:?}");
        }
    }

    #[test]
    fn a_pipeline_of_all_replies_is_taken_apart_in_order() {
        let stream: Vec<u8> = REPLIES.iter().flat_map(|(bytes, ..)| bytes.iter().copied()).collect();
        let mut scanner = ReplyScanner::new();
        let mut rest = &stream[..];
        for (bytes, kind, _) in REPLIES {
            let found = scanner.scan(rest).unwrap().expect("complete");
            assert_eq!((found.bytes, found.kind), (bytes.len(), *kind));
            rest = &rest[found.bytes..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn the_first_error_of_an_array_is_located() {
        let found = ReplyScanner::new().scan(b"*3\r\n+OK\r\n-ERR a\r\n-ERR b\r\n").unwrap().unwrap();
        assert_eq!((found.errors, found.first_error_at), (2, Some(9)));
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused() {
        let ok = [b"*1\r\n".repeat(REPLY_DEPTH_MAX), b":1\r\n".to_vec()].concat();
        assert!(ReplyScanner::new().scan(&ok).unwrap().is_some());
        let deep = b"*1\r\n".repeat(REPLY_DEPTH_MAX + 1);
        assert_eq!(ReplyScanner::new().scan(&deep), Err(ScanError::TooDeep));
    }

    #[test]
    fn sizes_beyond_the_limit_are_refused_before_the_bytes_arrive() {
        let huge = format!("${}\r\n", REPLY_BYTES_MAX + 1);
        assert!(matches!(ReplyScanner::new().scan(huge.as_bytes()), Err(ScanError::TooLarge { .. })));
        let line = [b"+".to_vec(), vec![b'x'; LINE_BYTES_MAX + 1]].concat();
        assert!(matches!(ReplyScanner::new().scan(&line), Err(ScanError::TooLarge { .. })));
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        assert_eq!(ReplyScanner::new().scan(b"HTTP/1.1"), Err(ScanError::UnknownType { byte: b'H' }));
        for bad in [&b"$x\r\n"[..], b"*-2\r\n", b"%\r\n", b"$99999999999999999999\r\n"] {
            assert!(matches!(ReplyScanner::new().scan(bad), Err(ScanError::BadLength { .. })), "{bad:?}");
        }
    }
}
