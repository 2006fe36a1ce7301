//! Glob patterns as Redis has them.
//!
//! A pattern is a chain of one-byte elements with stars between them. All places of the chain that the text so far may have led to are
//! kept as bits of words and moved on together, a byte of text at a time (the Shift-And method of Baeza-Yates and Gonnet, with a loop
//! where a star stands, as in Wu and Manber's agrep). So no pattern is slow: a text takes one step for each of its bytes and each 64
//! elements of the pattern, whatever stars there are.

use std::collections::HashMap;
use std::fmt;

/// The longest pattern that is taken, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Elements of the longest pattern, and the place behind them, as bits of words.
const WORDS_MAX: usize = (PATTERN_BYTES_MAX + 1).div_ceil(64);
/// Values of a byte.
const BYTES: usize = 256;

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

/// A pattern, made ready to be matched.
///
/// `*` any bytes, `?` any one byte, `[abc]`, `[^abc]`, `[a-z]` one byte of (or not of) a set, `\` takes the next byte as
/// it is; a set without its `]` ends with the pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    /// Elements, stars not counted. Bit `i` stands for the place in front of element `i`, bit `elements` for the end.
    elements: usize,
    words: usize,
    /// For each byte of text a row of `fitting`.
    rows: Box<[u8; BYTES]>,
    /// The elements that bytes of a row match, `words` words each.
    fitting: Box<[u64]>,
    /// Places with a star.
    stars: Box<[u64]>,
}

impl Glob {
    /// A pattern that tells letters of either case apart.
    ///
    /// # Errors
    /// [`PatternTooLong`].
    pub fn new(pattern: &[u8]) -> Result<Self, PatternTooLong> {
        Self::folding(pattern, |byte| byte)
    }

    /// One to which they are the same.
    ///
    /// # Errors
    /// [`PatternTooLong`].
    pub fn ignoring_case(pattern: &[u8]) -> Result<Self, PatternTooLong> {
        Self::folding(pattern, |byte| byte.to_ascii_lowercase())
    }

    /// Bytes are the same when `folded` makes the same of them.
    fn folding(pattern: &[u8], folded: fn(u8) -> u8) -> Result<Self, PatternTooLong> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(PatternTooLong { bytes: pattern.len() });
        }
        let words_max = (pattern.len() + 1).div_ceil(64);
        let (mut elements, mut stars) = (0, vec![0; words_max]);
        let mut by_byte = vec![0; BYTES * words_max];
        let mut rest = pattern;
        while let Some((element, behind)) = Element::first(rest) {
            rest = behind;
            let (word, bit) = (elements / 64, 1 << (elements % 64));
            match element {
                Element::Star => {
                    stars[word] |= bit;
                    continue;
                }
                Element::Byte(byte) if folded(byte) == byte && !byte.is_ascii_alphabetic() => {
                    by_byte[usize::from(byte) * words_max + word] |= bit;
                }
                element => {
                    for byte in (0..=u8::MAX).filter(|&byte| element.takes(folded(byte), folded)) {
                        by_byte[usize::from(byte) * words_max + word] |= bit;
                    }
                }
            }
            elements += 1;
        }
        let words = (elements + 1).div_ceil(64);
        stars.truncate(words);
        // Most bytes match the same elements: they share a row.
        let (mut rows, mut fitting) = (Box::new([0; BYTES]), Vec::new());
        let mut known: HashMap<&[u64], u8> = HashMap::new();
        for (byte, of_byte) in by_byte.chunks_exact(words_max).enumerate() {
            let next = known.len() as u8;
            rows[byte] = *known.entry(&of_byte[..words]).or_insert_with(|| {
                fitting.extend_from_slice(&of_byte[..words]);
                next
            });
        }
        Ok(Self { elements, words, rows, fitting: fitting.into(), stars: stars.into() })
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.run(text, || {})
    }

    /// Steps that a text may take: one for each of its bytes and each 64 elements of the pattern.
    pub fn steps_max(&self, text_bytes: usize) -> usize {
        self.words * text_bytes
    }

    fn run(&self, text: &[u8], mut step: impl FnMut()) -> bool {
        let mut places = [0u64; WORDS_MAX];
        let places = &mut places[..self.words];
        places[0] = 1;
        for &byte in text {
            let row = usize::from(self.rows[usize::from(byte)]) * self.words;
            let fitting = &self.fitting[row..row + self.words];
            let (mut carry, mut any) = (0, 0);
            for ((place, fitting), stars) in places.iter_mut().zip(fitting).zip(&self.stars) {
                step();
                let moved = *place & fitting;
                *place = moved << 1 | carry | *place & stars;
                carry = moved >> 63;
                any |= *place;
            }
            if any == 0 {
                return false;
            }
        }
        places[self.elements / 64] >> (self.elements % 64) & 1 == 1
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Glob").field("elements", &self.elements).finish_non_exhaustive()
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
    fn takes(self, byte: u8, folded: fn(u8) -> u8) -> bool {
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

    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        Glob::ignoring_case(pattern).unwrap().matches(text)
    }

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
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
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
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn case_matters_where_it_is_asked_to() {
        let matches = |pattern: &[u8], text| Glob::new(pattern).unwrap().matches(text);
        assert!(matches(b"user:[a-c]*", b"user:b7") && matches(b"A\\?", b"A?"));
        for text in [&b"User:b7"[..], b"user:B7"] {
            assert!(!matches(b"user:[a-c]*", text));
        }
    }

    #[test]
    fn a_text_takes_one_step_a_byte_and_word_of_the_pattern_whatever_stars_there_are() {
        let text = [b'a'; 1024];
        for (pattern, expected) in [
            (b"*a".repeat(2048), 1024 * 33),
            ([b"*a".repeat(500), b"b".to_vec()].concat(), 1024 * 8),
            (b"a*a*a*a*b".to_vec(), 1024),
            (b"*?a?a?a?a?a?a?b".to_vec(), 1024),
            ([vec![b'?'; 2000], b"*".to_vec(), vec![b'?'; 2000]].concat(), 1024 * 63),
            (b"[^b]*[a-z]*b".to_vec(), 1024),
        ] {
            let (glob, mut steps) = (Glob::new(&pattern).unwrap(), 0);
            assert!(!glob.run(&text, || steps += 1));
            assert_eq!((steps, glob.steps_max(text.len())), (expected, expected));
        }
        let mut steps = 0;
        assert!(!Glob::new(b"b*a*a*a").unwrap().run(&text, || steps += 1));
        assert_eq!(steps, 1, "it ends where nothing can come of it");
    }

    #[test]
    fn a_pattern_is_bounded() {
        let longest = vec![b'*'; PATTERN_BYTES_MAX];
        assert!(Glob::new(&longest).unwrap().matches(b"x"));
        let error = Glob::new(&[b'?'; PATTERN_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(error, PatternTooLong { bytes: 4097 });
        assert_eq!(error.to_string(), "a pattern of 4097 bytes: it can have 4096 at most");
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
            let matches = Glob::new(pattern.as_bytes()).unwrap().matches(text.as_bytes());
            prop_assert_eq!(matches, means(pattern.as_bytes(), text.as_bytes()), "{} {}", pattern, text);
        }

        /// Patterns of more than a word.
        #[test]
        fn so_it_is_with_long_patterns(
            pieces in proptest::collection::vec("a{0,3}|\\*|\\?{1,3}|[^b]|b\\*", 20..60),
            text in "a{20,60}b?a{20,60}",
        ) {
            let pattern = pieces.concat();
            let matches = Glob::new(pattern.as_bytes()).unwrap().matches(text.as_bytes());
            prop_assert_eq!(matches, by_rows(pattern.as_bytes(), text.as_bytes()), "{} {}", pattern, text);
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
