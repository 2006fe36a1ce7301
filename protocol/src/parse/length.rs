//! `*<count>\r\n` and `$<bytes>\r\n`: the lines that say how much follows.

/// A length line is at most so long, CR LF not counted: the marker, a sign, 20 digits, and some room.
pub const LENGTH_LINE_BYTES_MAX: usize = 32;

/// What a length line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Is {
        value: i64,
        /// Bytes of the line, marker and CR LF included.
        line_bytes: usize,
    },
    Unfinished,
    Invalid,
}

/// Reads the length line at the start of `bytes`; the first byte is its marker, known to the caller.
#[cold]
pub(super) fn read(bytes: &[u8]) -> Length {
    debug_assert!(matches!(bytes.first(), Some(b'*' | b'$')));
    let window = &bytes[..bytes.len().min(LENGTH_LINE_BYTES_MAX + 1)];
    let Some(cr) = window.iter().position(|&byte| byte == b'\r') else {
        return if bytes.len() > LENGTH_LINE_BYTES_MAX { Length::Invalid } else { Length::Unfinished };
    };
    match (bytes.get(cr + 1), integer(&bytes[1..cr])) {
        (None, _) => Length::Unfinished,
        (Some(b'\n'), Some(value)) => Length::Is { value, line_bytes: cr + 2 },
        _ => Length::Invalid,
    }
}

/// An integer in the one form that Redis takes in length lines: no plus sign, no leading zero, no minus zero.
fn integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !is_negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    // Counts downwards: the smallest i64 has no positive counterpart.
    let mut negative = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        negative = negative.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if is_negative { Some(negative) } else { negative.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::{LENGTH_LINE_BYTES_MAX, Length, integer, read};

    #[test]
    fn integers_have_one_spelling() {
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"-5"), Some(-5));
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        for text in ["", "-", "+1", "01", "-0", "00", " 1", "1 ", "1.0", "0x1", "9223372036854775808", "-a"] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(integer(b"-9223372036854775809"), None);
    }

    #[test]
    fn a_line_without_end_is_refused_when_it_cannot_become_a_number() {
        let mut line = vec![b'1'; LENGTH_LINE_BYTES_MAX];
        line[0] = b'*';
        assert_eq!(read(&line), Length::Unfinished);
        line.push(b'1');
        assert_eq!(read(&line), Length::Invalid);
        line[LENGTH_LINE_BYTES_MAX] = b'\r';
        assert_eq!(read(&line), Length::Unfinished);
    }

    #[test]
    fn a_carriage_return_needs_its_line_feed() {
        assert_eq!(read(b"*1\r"), Length::Unfinished);
        assert_eq!(read(b"*1\rx"), Length::Invalid);
        assert_eq!(read(b"*1\r\n"), Length::Is { value: 1, line_bytes: 4 });
    }
}
