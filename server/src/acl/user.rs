//! A user: who it is, and what it may do.

use std::fmt;

use windrow_protocol::Request;
use windrow_protocol::command::{CommandError, Flag, Resolved, key_positions};

use super::command_rules::CommandRules;
use super::key_patterns::KeyPatterns;
use super::password::PasswordHash;
use super::rule::Channels;

/// A user. Its rules are changed by `User::apply`, in `rule`.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// No two users have the same, even if they have one name after the other.
    pub(super) id: u64,
    pub(super) name: Box<str>,
    pub(super) is_on: bool,
    pub(super) is_nopass: bool,
    pub(super) passwords: Vec<PasswordHash>,
    pub(super) commands: CommandRules,
    pub(super) keys: KeyPatterns,
    pub(super) channels: Channels,
    /// Every command, and every key.
    pub(super) is_unlimited: bool,
}

/// What a user is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied<'a> {
    /// The command, whatever its keys.
    Command,
    /// One of its keys.
    Key(&'a [u8]),
    /// It names no keys, and needs the right to read them all.
    EveryKey,
}

/// How far a look at the keys of a command has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyCheck<'a> {
    /// All of them may be used.
    Allowed,
    /// What it may not.
    Denied(Denied<'a>),
    /// So many may; to look at the others is work for later.
    Unfinished { keys: usize },
    /// The arguments that say where they are contradict the request.
    NotFound(CommandError),
}

impl User {
    /// A user that can do nothing, not even log in.
    pub(super) fn new(id: u64, name: &str) -> Self {
        Self {
            id,
            name: name.into(),
            is_on: false,
            is_nopass: false,
            passwords: Vec::new(),
            commands: CommandRules::none(),
            keys: KeyPatterns::none(),
            channels: Channels::default(),
            is_unlimited: false,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it need not log in: for the default user, whether connections begin as it.
    pub(crate) fn is_open(&self) -> bool {
        self.is_on && self.is_nopass
    }

    /// Whether it takes any password.
    pub(crate) fn is_nopass(&self) -> bool {
        self.is_nopass
    }

    /// Whether there is nothing that it may not do.
    #[inline]
    pub(crate) fn is_unlimited(&self) -> bool {
        self.is_unlimited
    }

    /// Whether it may log in with this password. Looks at all that it has, so that the time does not tell which.
    pub(crate) fn accepts(&self, password: &PasswordHash) -> bool {
        let fits = self.passwords.iter().fold(false, |fits, own| fits | own.is(password));
        self.is_on && (self.is_nopass || fits)
    }

    /// Whether it may execute a command, as far as that does not depend on the keys. Anybody may log in and leave.
    #[inline]
    pub(crate) fn may(&self, resolved: &Resolved) -> bool {
        let flags = resolved.subcommand.map_or(resolved.command.flags, |sub| sub.flags);
        self.commands.allow(resolved) || flags.has(Flag::NoAuth)
    }

    /// Whether commands and keys are the same to both.
    pub(crate) fn may_the_same_as(&self, other: &Self) -> bool {
        self.commands.allow_the_same_as(&other.commands) && self.keys == other.keys
    }

    /// Whether it may use the keys of a command, the first `known` of which it may. Ends before more than `cost_max` patterns are looked
    /// at, but not before the first of the keys that are not known.
    pub(crate) fn check_keys<'a>(
        &self,
        resolved: &Resolved,
        request: Request<'a>,
        known: usize,
        cost_max: usize,
    ) -> KeyCheck<'a> {
        if self.keys.is_all() {
            return KeyCheck::Allowed;
        }
        if resolved.subcommand.map_or(resolved.command.reads_every_key, |sub| sub.reads_every_key)
            && !self.keys.allow_reading_all()
        {
            return KeyCheck::Denied(Denied::EveryKey);
        }
        let (positions, access) = match resolved.subcommand {
            Some(sub) => (key_positions(sub, request), sub.key_access()),
            None => (key_positions(resolved.command, request), resolved.command.key_access()),
        };
        // Where the keys are not found, the command would find none either; but that is for it to say of everybody's.
        let positions = match positions {
            Ok(positions) => positions,
            Err(error) => return KeyCheck::NotFound(error),
        };
        let mut cost = 0;
        for (index, at) in positions.enumerate().skip(known) {
            let key = request.at(at);
            // Every look gets further, if only by a key.
            let key_cost_max = if index == known { usize::MAX } else { cost_max };
            match self.keys.allow(key, access, &mut cost, key_cost_max) {
                Some(true) => {}
                Some(false) => return KeyCheck::Denied(Denied::Key(key)),
                None => return KeyCheck::Unfinished { keys: index },
            }
        }
        KeyCheck::Allowed
    }

    /// The words of ACL GETUSER's flags.
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static str> {
        [Some(if self.is_on { "on" } else { "off" }), self.is_nopass.then_some("nopass")]
            .into_iter()
            .flatten()
    }

    pub(crate) fn passwords(&self) -> &[PasswordHash] {
        &self.passwords
    }

    /// As rules: `-@all +ping`.
    pub(crate) fn commands_text(&self) -> String {
        self.commands.to_string()
    }

    /// As rules: `~user:*`.
    pub(crate) fn keys_text(&self) -> String {
        self.keys.to_string()
    }

    /// As rules: `&news`.
    pub(crate) fn channels_text(&self) -> String {
        self.channels.to_string()
    }
}

/// The line of ACL LIST and of the file, from which the same user can be made again.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.name)?;
        self.flags().try_for_each(|flag| write!(f, " {flag}"))?;
        self.passwords.iter().try_for_each(|password| write!(f, " #{password}"))?;
        let keys = self.keys.to_string();
        if !keys.is_empty() {
            write!(f, " {keys}")?;
        }
        if !self.channels.is_all {
            f.write_str(" resetchannels")?;
        }
        let channels = self.channels.to_string();
        if !channels.is_empty() {
            write!(f, " {channels}")?;
        }
        write!(f, " {}", self.commands)
    }
}

impl Denied<'_> {
    /// What a client is told, without the code.
    pub(crate) fn text(self, user: &User, resolved: &Resolved) -> String {
        match self {
            Self::Command => format!(
                "User {} has no permissions to run the '{}' command",
                user.name,
                resolved.subcommand.map_or(resolved.command.name, |sub| sub.name)
            ),
            // Which one would be an answer about keys that the user may not ask for.
            Self::Key(_) => "No permissions to access a key".to_owned(),
            Self::EveryKey => format!(
                "No permissions to access every key: '{}' shows values of any entity, and needs the right to read them all (~* or %R~*)",
                resolved.command.name
            ),
        }
    }
}
