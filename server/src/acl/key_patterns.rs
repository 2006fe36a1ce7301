//! Which entities a user may read and write: glob patterns, each for reading, writing or both.

use std::fmt;

use windrow_protocol::command::KeyAccess;
use windrow_protocol::glob;
use windrow_window::definition::ENTITY_BYTES_MAX;

use super::rule::RuleError;

/// Most patterns of a user.
pub(super) const PATTERNS_MAX: usize = 128;
/// Bytes of all patterns of a user together: what one key may cost is bounded by this times its own length.
pub(super) const PATTERN_BYTES_MAX: usize = 4096;
/// Looking at so many bytes of a pattern with stars takes as long as looking at a pattern.
const BYTES_PER_PATTERN: usize = 16;

/// What a pattern allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accesses {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Accesses {
    pub(super) const BOTH: Self = Self { read: true, write: true };

    fn allow(self, access: KeyAccess) -> bool {
        match access {
            KeyAccess::Read => self.read,
            KeyAccess::Write => self.write,
        }
    }
}

/// How a pattern is matched: most have one star, at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Exact,
    Prefix,
    /// With what [`glob::repeated_bytes`] says of it.
    Glob {
        repeated_bytes: usize,
    },
}

impl Shape {
    fn of(pattern: &[u8]) -> Self {
        let is_plain = |text: &[u8]| !text.iter().any(|byte| b"*?[\\".contains(byte));
        match pattern {
            [prefix @ .., b'*'] if is_plain(prefix) => Self::Prefix,
            _ if is_plain(pattern) => Self::Exact,
            _ => Self::Glob { repeated_bytes: glob::repeated_bytes(pattern) },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    text: Box<str>,
    accesses: Accesses,
    shape: Shape,
}

impl KeyPattern {
    #[inline]
    fn matches(&self, key: &[u8]) -> bool {
        let text = self.text.as_bytes();
        match self.shape {
            Shape::Exact => key == text,
            Shape::Prefix => key.starts_with(&text[..text.len() - 1]),
            Shape::Glob { .. } => glob::matches(text, key),
        }
    }

    /// What matching it may cost, a pattern without stars being 1.
    fn cost(&self, key: &[u8]) -> usize {
        match self.shape {
            Shape::Exact | Shape::Prefix => 1,
            Shape::Glob { repeated_bytes } => {
                1 + (self.text.len() + repeated_bytes * key.len()) / BYTES_PER_PATTERN
            }
        }
    }
}

/// The key patterns of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPatterns {
    is_all: bool,
    patterns: Vec<KeyPattern>,
}

impl KeyPatterns {
    /// Every key.
    pub(super) fn all() -> Self {
        Self { is_all: true, patterns: Vec::new() }
    }

    /// None.
    pub(super) fn none() -> Self {
        Self { is_all: false, patterns: Vec::new() }
    }

    pub(super) fn is_all(&self) -> bool {
        self.is_all
    }

    /// Adds a pattern, or what it allows to one that is there.
    pub(super) fn add(&mut self, text: &str, accesses: Accesses) -> Result<(), RuleError> {
        if text == "*" && accesses == Accesses::BOTH {
            *self = Self::all();
            return Ok(());
        }
        if self.is_all {
            return Err(RuleError::PatternBesideAll);
        }
        if let Some(at) = self.patterns.iter().position(|there| &*there.text == text) {
            let there = &mut self.patterns[at].accesses;
            let both = Accesses { read: there.read | accesses.read, write: there.write | accesses.write };
            if text == "*" && both == Accesses::BOTH {
                *self = Self::all();
            } else {
                *there = both;
            }
            return Ok(());
        }
        let bytes = text.len() + self.patterns.iter().map(|pattern| pattern.text.len()).sum::<usize>();
        if self.patterns.len() >= PATTERNS_MAX || bytes > PATTERN_BYTES_MAX {
            return Err(RuleError::TooManyPatterns);
        }
        self.patterns.push(KeyPattern { text: text.into(), accesses, shape: Shape::of(text.as_bytes()) });
        Ok(())
    }

    /// Whether every key there may ever be can be read.
    pub(super) fn allow_reading_all(&self) -> bool {
        self.is_all || self.patterns.iter().any(|pattern| pattern.accesses.read && &*pattern.text == "*")
    }

    /// Whether a key may be used so; `None`: finding out would bring `cost`, to which it is added, above `cost_max`. A key that is
    /// longer than any entity is nobody's.
    #[inline]
    pub(super) fn allow(
        &self,
        key: &[u8],
        access: KeyAccess,
        cost: &mut usize,
        cost_max: usize,
    ) -> Option<bool> {
        if self.is_all {
            return Some(true);
        }
        *cost += 1;
        if *cost > cost_max {
            return None;
        }
        if key.len() > ENTITY_BYTES_MAX {
            return Some(false);
        }
        for pattern in self.patterns.iter().filter(|pattern| pattern.accesses.allow(access)) {
            *cost += pattern.cost(key);
            if *cost > cost_max {
                return None;
            }
            if pattern.matches(key) {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// As ACL GETUSER has them: `~user:* %R~card:*`.
impl fmt::Display for KeyPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all {
            return f.write_str("~*");
        }
        for (index, pattern) in self.patterns.iter().enumerate() {
            let prefix = match pattern.accesses {
                Accesses { read: true, write: true } => "~",
                Accesses { read: true, write: false } => "%R~",
                Accesses { .. } => "%W~",
            };
            write!(f, "{}{prefix}{}", if index > 0 { " " } else { "" }, pattern.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READ: Accesses = Accesses { read: true, write: false };
    const WRITE: Accesses = Accesses { read: false, write: true };

    fn patterns(given: &[(&str, Accesses)]) -> KeyPatterns {
        let mut patterns = KeyPatterns::none();
        for (text, accesses) in given {
            patterns.add(text, *accesses).unwrap();
        }
        patterns
    }

    fn allow(patterns: &KeyPatterns, key: &str) -> (bool, bool) {
        let one = |access| {
            patterns.allow(key.as_bytes(), access, &mut 0, usize::MAX).expect("it may cost what it costs")
        };
        (one(KeyAccess::Read), one(KeyAccess::Write))
    }

    #[test]
    fn a_pattern_allows_reading_writing_or_both() {
        let patterns = patterns(&[("user:*", Accesses::BOTH), ("card:*", READ), ("log", WRITE)]);
        for (key, expected) in [
            ("user:", (true, true)),
            ("user:42", (true, true)),
            ("User:42", (false, false)),
            ("card:1", (true, false)),
            ("log", (false, true)),
            ("log1", (false, false)),
            ("", (false, false)),
        ] {
            assert_eq!(allow(&patterns, key), expected, "{key:?}");
        }
        assert_eq!(patterns.to_string(), "~user:* %R~card:* %W~log");
    }

    #[test]
    fn a_pattern_given_again_allows_both_and_is_there_once() {
        let patterns = patterns(&[("a", READ), ("b", READ), ("a", WRITE)]);
        assert_eq!(patterns.to_string(), "~a %R~b");
    }

    #[test]
    fn reading_every_key_is_not_every_access_until_writing_is_added() {
        let mut patterns = patterns(&[("*", READ)]);
        assert!(!patterns.is_all());
        assert_eq!(allow(&patterns, "k"), (true, false));
        patterns.add("*", WRITE).unwrap();
        assert!(patterns.is_all());
    }

    #[test]
    fn a_key_longer_than_any_entity_is_nobodys() {
        let patterns = patterns(&[("a*", Accesses::BOTH)]);
        assert_eq!(allow(&patterns, &"a".repeat(ENTITY_BYTES_MAX)), (true, true));
        assert_eq!(allow(&patterns, &"a".repeat(ENTITY_BYTES_MAX + 1)), (false, false));
    }

    #[test]
    fn a_look_ends_before_it_costs_more_than_it_may() {
        let patterns = patterns(&[("a*b*c", READ), ("k", READ), ("*x*", READ)]);
        let (key, dear) = (b"k", [b'x'; 1000]);
        let cost_max = 3;
        assert_eq!(patterns.allow(key, KeyAccess::Read, &mut 0, cost_max), Some(true));
        assert_eq!(patterns.allow(key, KeyAccess::Read, &mut 1, cost_max), None);
        assert_eq!(patterns.allow(&dear, KeyAccess::Read, &mut 0, 100), None);
        assert_eq!(patterns.allow(&dear, KeyAccess::Read, &mut 0, usize::MAX), Some(true));
        assert_eq!(patterns.allow(&dear, KeyAccess::Write, &mut 0, 1), Some(false), "none is looked at");
        assert_eq!(patterns.allow(&dear, KeyAccess::Write, &mut 1, 1), None);
    }

    #[test]
    fn only_a_star_alone_is_every_key_whatever_it_is_called() {
        for (text, accesses, expected) in [
            ("*", READ, true),
            ("*", WRITE, false),
            ("*", Accesses::BOTH, true),
            ("?*", Accesses::BOTH, false),
        ] {
            assert_eq!(patterns(&[("a", READ), (text, accesses)]).allow_reading_all(), expected, "{text}");
        }
        assert!(KeyPatterns::all().allow_reading_all() && !KeyPatterns::none().allow_reading_all());
    }

    #[test]
    fn patterns_are_bounded_in_number_and_length() {
        let mut many = KeyPatterns::none();
        for index in 0..PATTERNS_MAX {
            many.add(&format!("p{index}"), READ).unwrap();
        }
        assert!(matches!(many.add("one more", READ), Err(RuleError::TooManyPatterns)));
        many.add("p0", WRITE).unwrap();
        let mut long = KeyPatterns::none();
        long.add(&"x".repeat(PATTERN_BYTES_MAX), READ).unwrap();
        assert!(matches!(long.add("y", READ), Err(RuleError::TooManyPatterns)));
    }

    /// As many patterns as a user can have, or as long ones, none of which is quick and none of which matches.
    #[test]
    fn what_the_dearest_user_costs_is_counted() {
        let key = [b'a'; ENTITY_BYTES_MAX];
        let share = PATTERN_BYTES_MAX / PATTERNS_MAX;
        let many = (0..PATTERNS_MAX).map(|index| {
            let end = format!("b{index}");
            format!("*{}{end}", "a".repeat(share - 1 - end.len()))
        });
        let long = ["*[".to_owned() + &"b".repeat(PATTERN_BYTES_MAX - 3) + "]"];
        for (texts, count) in [(many.collect::<Vec<_>>(), PATTERNS_MAX), (long.into(), 1)] {
            let mut patterns = KeyPatterns::none();
            texts.iter().for_each(|text| patterns.add(text, Accesses::BOTH).unwrap());
            let mut cost = 0;
            assert_eq!(patterns.allow(&key, KeyAccess::Read, &mut cost, usize::MAX), Some(false));
            let least = ENTITY_BYTES_MAX * (PATTERN_BYTES_MAX - count) / BYTES_PER_PATTERN;
            let most = 1 + count + (ENTITY_BYTES_MAX + 1) * PATTERN_BYTES_MAX / BYTES_PER_PATTERN;
            assert!((least..=most).contains(&cost), "{cost}, from {least} to {most}");
        }
    }

    proptest! {
        /// The short ways of matching agree with the glob.
        #[test]
        fn a_pattern_of_any_shape_matches_as_its_glob(text in "[ab*?\\[\\]\\\\^-]{0,6}", key in "[ab*?]{0,6}") {
            let pattern = KeyPattern {
                text: text.as_str().into(),
                accesses: Accesses::BOTH,
                shape: Shape::of(text.as_bytes()),
            };
            prop_assert_eq!(
                pattern.matches(key.as_bytes()),
                glob::matches(text.as_bytes(), key.as_bytes()),
                "{} {}", text, key
            );
        }
    }
}
