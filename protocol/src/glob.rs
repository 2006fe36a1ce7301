//! Glob patterns as Redis has them.
//!
//! Where a pattern does not match, its last star takes one more byte and what is behind that star is tried again; stars before it never
//! need to. So what stands between two stars is looked at once for each byte of text at most ([`repeated_bytes`]), and there is nothing to
//! prepare.

use std::fmt;

/// The longest pattern that is taken, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// A pattern is longer than [`PATTERN_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternTooLong {
    /// Its length.
    pub bytes: usize,
}

impl fmt::Display for PatternTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a pattern of {} bytes: it can have {PATTERN_BYTES_MAX} at most", self.bytes)
    }
}

impl std::error::Error for PatternTooLong {}

/// Whether a pattern is short enough to be matched. To be asked of each that a client sends.
///
/// # Errors
/// [`PatternTooLong`].
pub fn check_length(pattern: &[u8]) -> Result<(), PatternTooLong> {
    match pattern.len() {
        0..=PATTERN_BYTES_MAX => Ok(()),
        bytes => Err(PatternTooLong { bytes }),
    }
}

/// Whether all of `text` matches `pattern`.
///
/// `*` any bytes, `?` any one byte, `[abc]`, `[^abc]`, `[a-z]` one byte of (or not of) a set, `\` takes the next byte as
/// it is; a set without its `]` ends with the pattern.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte, |_| ())
}

/// The same, letters of either case being the same.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte.to_ascii_lowercase(), |_| ())
}

/// Bytes of a pattern that are looked at again for each byte of text, at most: those of the longest piece behind a star. With it,
/// matching looks at `pattern.len() + text.len() * repeated_bytes` bytes of the pattern at most.
pub fn repeated_bytes(pattern: &[u8]) -> usize {
    let (mut rest, mut piece, mut longest) = (pattern, None, 0);
    while let Some((element, behind)) = Element::first(rest) {
        piece = match element {
            Element::Star => Some(0),
            _ => piece.map(|bytes| bytes + rest.len() - behind.len()),
        };
        longest = longest.max(piece.unwrap_or(0));
        rest = behind;
    }
    longest
}

/// Bytes are the same when `folded` makes the same of them; `look` is told how many bytes of the pattern are looked at.
#[inline]
fn run(pattern: &[u8], text: &[u8], folded: impl Fn(u8) -> u8 + Copy, mut look: impl FnMut(usize)) -> bool {
    let (mut rest, mut unread) = (pattern, text);
    // What is behind the last star, and the text that it was last tried with.
    let mut last_star = None;
    loop {
        let first = Element::first(rest);
        match (first, unread) {
            (None, []) | (Some((Element::Star, [])), _) => return true,
            (Some((Element::Star, behind)), _) => {
                look(1);
                rest = behind;
                last_star = Some((behind, unread));
                continue;
            }
            // With more bytes given to the star there would be still fewer.
            (Some(_), []) => return false,
            (Some((element, behind)), [byte, after @ ..]) => {
                look(rest.len() - behind.len());
                if element.takes(folded(*byte), folded) {
                    (rest, unread) = (behind, after);
                    continue;
                }
            }
            (None, _) => {}
        }
        let Some((behind, [_, given @ ..])) = last_star else { return false };
        (rest, unread) = (behind, given);
        last_star = Some((behind, given));
    }
}

/// A piece of a pattern.
#[derive(Clone, Copy)]
enum Element<'a> {
    Star,
    Any,
    Byte(u8),
    /// What stands between the brackets.
    Set {
        text: &'a [u8],
        is_negated: bool,
    },
}

impl<'a> Element<'a> {
    /// The first element of a pattern, and what is behind it.
    fn first(pattern: &'a [u8]) -> Option<(Self, &'a [u8])> {
        Some(match pattern {
            [] => return None,
            [b'*', rest @ ..] => (Self::Star, rest),
            [b'?', rest @ ..] => (Self::Any, rest),
            [b'\\', byte, rest @ ..] => (Self::Byte(*byte), rest),
            [b'[', rest @ ..] => {
                let (is_negated, text) = match rest {
                    [b'^', text @ ..] => (true, text),
                    text => (false, text),
                };
                let mut behind = text;
                while let Some((_, next)) = SetPart::first(behind) {
                    behind = next;
                }
                let set = Self::Set { text: &text[..text.len() - behind.len()], is_negated };
                (set, behind.strip_prefix(b"]").unwrap_or(behind))
            }
            [byte, rest @ ..] => (Self::Byte(*byte), rest),
        })
    }

    /// Whether it takes a byte, which is folded.
    fn takes(self, byte: u8, folded: impl Fn(u8) -> u8) -> bool {
        match self {
            Self::Star | Self::Any => true,
            Self::Byte(own) => folded(own) == byte,
            Self::Set { mut text, is_negated } => {
                let mut is_in = false;
                while let Some((SetPart { from, to }, rest)) = SetPart::first(text) {
                    let (from, to) = (folded(from), folded(to));
                    is_in |= (from.min(to)..=from.max(to)).contains(&byte);
                    text = rest;
                }
                is_in != is_negated
            }
        }
    }
}

/// A range of bytes in a set, or one byte.
#[derive(Clone, Copy)]
struct SetPart {
    from: u8,
    to: u8,
}

impl SetPart {
    /// The first part of what may go on behind the set, and what is behind it; `None`: the set ends here.
    fn first(text: &[u8]) -> Option<(Self, &[u8])> {
        match *text {
            [] | [b']', ..] => None,
            [b'\\', byte, ref rest @ ..] => Some((Self { from: byte, to: byte }, rest)),
            [from, b'-', to, ref rest @ ..] => Some((Self { from, to }, rest)),
            [byte, ref rest @ ..] => Some((Self { from: byte, to: byte }, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("**", "abc"),
            ("a*c", "abbc"),
            ("a*b*c", "a-b-b-c"),
            ("A?c", "aBC"),
            ("stream.*", "STREAM.CREATE"),
            ("[a-c]x", "Bx"),
            ("[c-a]x", "bx"),
            ("[^a-c]x", "dx"),
            ("\\*", "*"),
            ("\\[", "["),
            ("\\\\", "\\"),
            ("a\\", "a\\"),
            ("[\\]]", "]"),
            ("[abc", "b"),
            ("[^", "x"),
            ("*|*", "client|id"),
        ] {
            assert!(matches_ignoring_case(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("a*c", "abcd"),
            ("?", ""),
            ("[a-c]", "d"),
            ("[^a]", "A"),
            ("[]", "]"),
            ("\\*", "a"),
            ("[", "a"),
        ] {
            assert!(!matches_ignoring_case(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn case_matters_where_it_is_asked_to() {
        assert!(matches(b"user:[a-c]*", b"user:b7") && matches(b"A\\?", b"A?"));
        for text in [&b"User:b7"[..], b"user:B7"] {
            assert!(!matches(b"user:[a-c]*", text));
        }
    }

    /// Bytes of the pattern that are looked at, and at most.
    fn looked_at(pattern: &[u8], text: &[u8]) -> (usize, usize) {
        let mut bytes = 0;
        run(pattern, text, |byte| byte, |looked_at| bytes += looked_at);
        (bytes, pattern.len() + text.len() * repeated_bytes(pattern))
    }

    #[test]
    fn no_more_of_a_pattern_is_looked_at_than_its_longest_piece_for_each_byte_of_text_whatever_stars_there_are()
     {
        let text = [b'a'; 1024];
        let piece = 512;
        for (pattern, repeated) in [
            (b"*a".repeat(512), 1),
            ([b"*a".repeat(500), b"b".to_vec()].concat(), 2),
            (b"a*a*a*a*b".to_vec(), 1),
            (b"*?a?a?a?a?a?a?b".to_vec(), 14),
            ([vec![b'?'; 500], b"*".to_vec(), vec![b'?'; 500]].concat(), 500),
            (b"[^b]*[a-z]*b".to_vec(), 5),
            ([&b"*"[..], &vec![b'a'; piece], b"b"].concat(), piece + 1),
            ([&b"*["[..], &vec![b'b'; 1000], b"]*"].concat(), 1002),
            (b"user:*".to_vec(), 0),
        ] {
            let (bytes, bytes_max) = looked_at(&pattern, &text);
            assert_eq!(repeated_bytes(&pattern), repeated);
            assert!(bytes <= bytes_max, "{bytes}, at most {bytes_max}");
        }
        assert_eq!(looked_at(b"b*a*a*a", &text).0, 1, "it ends where nothing can come of it");
        assert_eq!(looked_at(b"*aaab*a", b"aaa").0, 4, "or no text is left");
    }

    #[test]
    fn a_pattern_is_bounded() {
        check_length(&[b'*'; PATTERN_BYTES_MAX]).unwrap();
        let error = check_length(&[b'?'; PATTERN_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(error, PatternTooLong { bytes: 1025 });
        assert_eq!(error.to_string(), "a pattern of 1025 bytes: it can have 1024 at most");
    }

    /// What a pattern means, without any thought for time.
    fn means(pattern: &[u8], text: &[u8]) -> bool {
        match Element::first(pattern) {
            None => text.is_empty(),
            Some((Element::Star, rest)) => (0..=text.len()).any(|from| means(rest, &text[from..])),
            Some((element, rest)) => match text {
                [] => false,
                [byte, text @ ..] => element.takes(*byte, |byte| byte) && means(rest, text),
            },
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_if_its_bytes_can_be_dealt_out_to_the_elements(
            pattern in "[ab*?\\[\\]\\\\^-]{0,10}",
            text in "[ab*?\\]-]{0,10}",
        ) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), means(pattern, text));
            let (bytes, bytes_max) = looked_at(pattern, text);
            prop_assert!(bytes <= bytes_max, "{}, at most {}", bytes, bytes_max);
        }

        #[test]
        fn so_it_is_with_long_patterns(
            pieces in proptest::collection::vec("a{0,3}|\\*|\\?{1,3}|[^b]|b\\*", 20..60),
            text in "a{20,60}b?a{20,60}",
        ) {
            let pattern = pieces.concat();
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), by_rows(pattern, text));
            let (bytes, bytes_max) = looked_at(pattern, text);
            prop_assert!(bytes <= bytes_max, "{}, at most {}", bytes, bytes_max);
        }
    }

    /// The same as [`means`], a table of all beginnings of the text at a time.
    fn by_rows(mut pattern: &[u8], text: &[u8]) -> bool {
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        while let Some((element, rest)) = Element::first(pattern) {
            pattern = rest;
            let mut next = vec![false; text.len() + 1];
            for at in 0..=text.len() {
                next[at] = match element {
                    Element::Star => reached[at] || (at > 0 && next[at - 1]),
                    _ => at > 0 && reached[at - 1] && element.takes(text[at - 1], |byte| byte),
                };
            }
            reached = next;
        }
        reached[text.len()]
    }
}
