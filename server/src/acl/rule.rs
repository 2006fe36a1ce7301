//! The rules of ACL SETUSER, one at a time.

use std::fmt;

use super::command_rules::{CommandRules, Target};
use super::key_patterns::{Accesses, KeyPatterns, PATTERN_BYTES_MAX, PATTERNS_MAX};
use super::password::PasswordHash;
use super::user::User;
use crate::config::PASSWORD_BYTES_MAX;

/// Longest rule: a password with its sign, or a pattern.
pub(super) const RULE_BYTES_MAX: usize = 1025;
const _: () = assert!(RULE_BYTES_MAX == PASSWORD_BYTES_MAX + 1, "what can be set as requirepass is a rule");
/// Most passwords of a user.
const PASSWORDS_MAX: usize = 32;
/// Most channel patterns of a user, of [`RULE_BYTES_MAX`] bytes each.
const CHANNELS_MAX: usize = 16;

/// Why a rule is refused, in Redis' words where it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleError {
    Syntax,
    BadPattern,
    UnknownCommand,
    PatternBesideAll,
    ChannelBesideAll,
    NoSuchPassword,
    BadHash,
    /// Redis has selectors, we do not.
    Selector,
    TooLong,
    TooManyPatterns,
    TooManyPasswords,
    TooManyChannels,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("Syntax error"),
            Self::BadPattern => {
                f.write_str("Patterns are UTF-8 text without white space: use ? for each other byte")
            }
            Self::UnknownCommand => f.write_str("Unknown command or category name in ACL"),
            Self::PatternBesideAll => f.write_str(
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
                 'resetkeys' to start with an empty list of patterns",
            ),
            Self::ChannelBesideAll => f.write_str(
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try \
                 'resetchannels' to start with an empty list of channels",
            ),
            Self::NoSuchPassword => {
                f.write_str("The password you are trying to remove from the user does not exist")
            }
            Self::BadHash => f.write_str(
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters",
            ),
            Self::Selector => f.write_str(
                "Selectors are not supported: give the user these rules without parentheses, or make another user for them",
            ),
            Self::TooLong => write!(f, "A rule has at most {RULE_BYTES_MAX} bytes"),
            Self::TooManyPatterns => write!(
                f,
                "A user has at most {PATTERNS_MAX} key patterns, of {PATTERN_BYTES_MAX} bytes together: use patterns that match \
                 more, or other users"
            ),
            Self::TooManyPasswords => write!(f, "A user has at most {PASSWORDS_MAX} passwords"),
            Self::TooManyChannels => write!(f, "A user has at most {CHANNELS_MAX} channel patterns"),
        }
    }
}

/// Channel patterns: kept, so that rules made for Redis stay as they are; there are no channels here.
#[derive(Clone, Debug, Default)]
pub(super) struct Channels {
    pub(super) is_all: bool,
    patterns: Vec<Box<str>>,
}

impl Channels {
    fn all() -> Self {
        Self { is_all: true, patterns: Vec::new() }
    }

    fn add(&mut self, text: &str) -> Result<(), RuleError> {
        if text == "*" {
            *self = Self::all();
        } else if self.is_all {
            return Err(RuleError::ChannelBesideAll);
        } else if !self.patterns.iter().any(|there| &**there == text) {
            if self.patterns.len() >= CHANNELS_MAX {
                return Err(RuleError::TooManyChannels);
            }
            self.patterns.push(text.into());
        }
        Ok(())
    }
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all {
            return f.write_str("&*");
        }
        for (index, pattern) in self.patterns.iter().enumerate() {
            write!(f, "{}&{pattern}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl User {
    /// Applies a rule.
    ///
    /// # Errors
    /// The user may be changed halfway: the caller forgets it.
    pub(crate) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if rule.len() > RULE_BYTES_MAX {
            return Err(RuleError::TooLong);
        }
        match rule {
            [b'>', password @ ..] => self.add_password(PasswordHash::of(password))?,
            [b'#', digits @ ..] => {
                self.add_password(PasswordHash::from_hex(digits).ok_or(RuleError::BadHash)?)?;
            }
            [b'<', password @ ..] => self.remove_password(&PasswordHash::of(password))?,
            [b'!', digits @ ..] => {
                self.remove_password(&PasswordHash::from_hex(digits).ok_or(RuleError::BadHash)?)?;
            }
            [b'~', pattern @ ..] => self.keys.add(pattern_text(pattern)?, Accesses::BOTH)?,
            [b'%', rest @ ..] => {
                let (accesses, pattern) = parse_accesses(rest).ok_or(RuleError::Syntax)?;
                self.keys.add(pattern_text(pattern)?, accesses)?;
            }
            [b'&', pattern @ ..] => self.channels.add(pattern_text(pattern)?)?,
            [sign @ (b'+' | b'-'), name @ ..] => {
                let target = Target::parse(name).ok_or(RuleError::UnknownCommand)?;
                self.commands.add(*sign == b'+', target);
            }
            [b'(', ..] => return Err(RuleError::Selector),
            word => self.apply_word(word)?,
        }
        self.is_unlimited = self.commands.is_all() && self.keys.is_all();
        Ok(())
    }

    fn apply_word(&mut self, word: &[u8]) -> Result<(), RuleError> {
        match word.to_ascii_lowercase().as_slice() {
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"nopass" => {
                self.is_nopass = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.is_nopass = false;
                self.passwords.clear();
            }
            b"allkeys" => self.keys = KeyPatterns::all(),
            b"resetkeys" => self.keys = KeyPatterns::none(),
            b"allchannels" => self.channels = Channels::all(),
            b"resetchannels" => self.channels = Channels::default(),
            b"allcommands" => self.commands = CommandRules::all(),
            b"nocommands" => self.commands = CommandRules::none(),
            b"reset" => *self = Self::new(self.id, &self.name),
            // What Redis writes into its files beside the rules; there is no payload here, and there are no selectors.
            b"sanitize-payload" | b"skip-sanitize-payload" | b"clearselectors" => {}
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn add_password(&mut self, password: PasswordHash) -> Result<(), RuleError> {
        self.is_nopass = false;
        if self.passwords.iter().any(|own| own.is(&password)) {
            return Ok(());
        }
        if self.passwords.len() >= PASSWORDS_MAX {
            return Err(RuleError::TooManyPasswords);
        }
        self.passwords.push(password);
        Ok(())
    }

    fn remove_password(&mut self, password: &PasswordHash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|own| own.is(password)).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(at);
        Ok(())
    }
}

/// A pattern is text without white space, so that it can stand in a file.
fn pattern_text(pattern: &[u8]) -> Result<&str, RuleError> {
    let text = std::str::from_utf8(pattern).map_err(|_| RuleError::BadPattern)?;
    if text.contains(|c: char| c.is_whitespace() || c == '\0') {
        Err(RuleError::BadPattern)
    } else {
        Ok(text)
    }
}

/// `R~…`, `W~…`, `RW~…`: what a pattern is for, and the pattern.
fn parse_accesses(rest: &[u8]) -> Option<(Accesses, &[u8])> {
    let at = rest.iter().position(|&byte| byte == b'~')?;
    let mut accesses = Accesses { read: false, write: false };
    for letter in &rest[..at] {
        match letter {
            b'R' | b'r' if !accesses.read => accesses.read = true,
            b'W' | b'w' if !accesses.write => accesses.write = true,
            _ => return None,
        }
    }
    (at > 0).then_some((accesses, &rest[at + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(rules: &str) -> Result<User, RuleError> {
        let mut user = User::new(1, "u");
        rules.split(' ').filter(|rule| !rule.is_empty()).try_for_each(|rule| user.apply(rule.as_bytes()))?;
        Ok(user)
    }

    fn shown(rules: &str) -> String {
        user(rules).expect(rules).to_string()
    }

    /// SHA-256 of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn rules_are_shown_as_redis_shows_them() {
        for (rules, expected) in [
            ("", "user u off resetchannels -@all"),
            ("on nopass ~* &* +@all", "user u on nopass ~* &* +@all"),
            (
                "ON >abc %R~a* ~b +ping &foo",
                &format!("user u on #{ABC} %R~a* ~b resetchannels &foo -@all +ping"),
            ),
            ("allkeys allchannels allcommands nocommands", "user u off ~* &* -@all"),
            ("%rw~x %W~y", "user u off ~x %W~y resetchannels -@all"),
            ("+client -client|kill", "user u off resetchannels -@all +client -client|kill"),
            ("on nopass allkeys +@all reset", "user u off resetchannels -@all"),
            ("~a resetkeys ~b", "user u off ~b resetchannels -@all"),
            ("sanitize-payload clearselectors -@scripting", "user u off resetchannels -@all"),
        ] {
            assert_eq!(shown(rules), expected, "{rules}");
        }
    }

    #[test]
    fn a_password_is_kept_as_its_hash_and_taken_back_by_either() {
        let with = format!("user u off #{ABC} resetchannels -@all");
        assert_eq!(shown(">abc"), with);
        assert_eq!(shown(&format!("#{ABC} >abc")), with, "it is there once");
        let without = "user u off resetchannels -@all";
        for removed in [">abc <abc", &format!(">abc !{ABC}"), ">abc resetpass", ">abc nopass resetpass"] {
            assert_eq!(shown(removed), without, "{removed}");
        }
        assert_eq!(shown("nopass >abc"), with, "a password ends nopass");
        assert_eq!(shown(">abc nopass"), "user u off nopass resetchannels -@all");
    }

    #[test]
    fn only_who_is_on_gets_in_and_only_with_one_of_the_passwords() {
        let fits = |rules: &str, password: &str| {
            user(rules).unwrap().accepts(&PasswordHash::of(password.as_bytes()))
        };
        assert!(fits("on >a >b", "a") && fits("on >a >b", "b") && fits("on nopass", "any"));
        assert!(!fits("on >a", "b") && !fits(">a", "a") && !fits("nopass", "a") && !fits("on", ""));
    }

    #[test]
    fn only_who_may_do_everything_is_unlimited() {
        let is_unlimited = |rules: &str| user(rules).unwrap().is_unlimited();
        assert!(
            is_unlimited("~* +@all") && is_unlimited("%RW~* -ping +@all") && is_unlimited("~* +@slow +@fast")
        );
        for limited in ["", "~*", "+@all", "%R~* +@all", "~* +@all -ping", "~a* +@all", "~* +@all reset"] {
            assert!(!is_unlimited(limited), "{limited}");
        }
    }

    #[test]
    fn a_wrong_rule_says_what_is_wrong() {
        let hash_too_long = format!("#{ABC}0");
        for (rules, error) in [
            ("nonsense", RuleError::Syntax),
            ("%~a", RuleError::Syntax),
            ("%RR~a", RuleError::Syntax),
            ("%X~a", RuleError::Syntax),
            ("%R", RuleError::Syntax),
            ("~a\tb", RuleError::BadPattern),
            ("+nosuch", RuleError::UnknownCommand),
            ("+@nosuch", RuleError::UnknownCommand),
            ("-client|nosuch", RuleError::UnknownCommand),
            ("+", RuleError::UnknownCommand),
            ("allkeys ~a", RuleError::PatternBesideAll),
            ("&* &a", RuleError::ChannelBesideAll),
            ("<abc", RuleError::NoSuchPassword),
            ("#abc", RuleError::BadHash),
            ("!abc", RuleError::BadHash),
            (hash_too_long.as_str(), RuleError::BadHash),
            ("(~a", RuleError::Selector),
        ] {
            assert_eq!(user(rules).map(|user| user.to_string()), Err(error), "{rules}");
        }
        let mut long = User::new(1, "u");
        assert_eq!(long.apply(&[b'>'; RULE_BYTES_MAX + 1]), Err(RuleError::TooLong));
        assert_eq!(long.apply(b"~\xFF"), Err(RuleError::BadPattern));
        assert_eq!(long.apply(b"%R~a\0"), Err(RuleError::BadPattern));
        for index in 0..PASSWORDS_MAX {
            long.apply(format!(">{index}").as_bytes()).unwrap();
        }
        assert_eq!(long.apply(b">one more"), Err(RuleError::TooManyPasswords));
    }

    fn rule() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "on",
                "off",
                "nopass",
                "resetpass",
                "allkeys",
                "resetkeys",
                "allchannels",
                "resetchannels",
                "allcommands",
                "nocommands",
                "reset",
                "+@all",
                "-@all",
                "+@read",
                "-@dangerous",
                "+ping",
                "-event.add",
                "+client|id",
            ])
            .prop_map(str::to_owned),
            "[><][ab]{0,2}",
            "(~|%R~|%W~|%RW~|&)[a*?]{0,3}",
        ]
    }

    proptest! {
        /// Whatever is written is not a panic.
        #[test]
        fn any_bytes_are_a_rule_or_an_error(rule in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = User::new(1, "u").apply(&rule);
        }

        /// What is shown of a user makes the same user.
        #[test]
        fn a_user_is_made_again_from_what_is_shown(rules in prop::collection::vec(rule(), 0..16)) {
            let mut user = User::new(1, "u");
            for rule in &rules {
                let mut changed = user.clone();
                if changed.apply(rule.as_bytes()).is_ok() {
                    user = changed;
                }
            }
            let line = user.to_string();
            let mut again = User::new(2, "u");
            for rule in line.strip_prefix("user u ").unwrap().split(' ') {
                prop_assert_eq!(again.apply(rule.as_bytes()), Ok(()), "{} in {}", rule, &line);
            }
            prop_assert_eq!(again.to_string(), line);
            prop_assert_eq!(again.is_unlimited(), user.is_unlimited());
        }
    }
}
