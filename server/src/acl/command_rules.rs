//! Which commands a user may execute: all or none, then rules that add and take away, the later one counting.

use std::fmt;

use windrow_protocol::command::{AnyRow, COMMANDS, Category, Command, CommandId, Resolved, Subcommand, find};

/// Categories of Redis that no command here has: rules for them are accepted, and mean nothing.
const CATEGORIES_OF_REDIS: [&str; 12] = [
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "pubsub",
    "blocking",
    "transaction",
    "scripting",
];

/// What a rule is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Every command there is.
    All,
    /// A command with its subcommands.
    Command(&'static Command),
    Subcommand(&'static Subcommand),
    Category(Category),
    /// A category of Redis without commands.
    Nothing,
}

impl Target {
    /// Of `command`, `command|subcommand` or `@category`, in letters of either case.
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        match name {
            [b'@', category @ ..] if category.eq_ignore_ascii_case(b"all") => Some(Self::All),
            [b'@', category @ ..] => Category::from_name(category)
                .map(Self::Category)
                .or_else(|| is_category_of_redis(category).then_some(Self::Nothing)),
            _ => find(name).map(|row| match row {
                AnyRow::Command(command) => Self::Command(command),
                AnyRow::Subcommand(subcommand) => Self::Subcommand(subcommand),
            }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::All => "@all",
            Self::Command(command) => command.name,
            Self::Subcommand(subcommand) => subcommand.name,
            Self::Category(category) => category.name(),
            Self::Nothing => "",
        }
    }

    /// Whether a rule about `self` decides everything that one about `earlier` did.
    fn covers(self, earlier: Self) -> bool {
        match (self, earlier) {
            (Self::Command(command), Self::Subcommand(sub)) => {
                command.subcommands.iter().any(|one| one.id == sub.id)
            }
            _ => self.name() == earlier.name(),
        }
    }
}

/// Whether Redis has a category of this name, given without `@`, that no command here has.
pub(crate) fn is_category_of_redis(name: &[u8]) -> bool {
    CATEGORIES_OF_REDIS.iter().any(|category| category.as_bytes().eq_ignore_ascii_case(name))
}

/// A set of commands and subcommands, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set {
    commands: u128,
    subcommands: u128,
}

const _: () = assert!(CommandId::COUNT <= u128::BITS as usize, "a set has no bit for some commands");

impl Set {
    const NONE: Self = Self { commands: 0, subcommands: 0 };

    /// The rows that `is_in` holds of; its second argument is the container of a subcommand.
    fn of(is_in: impl Fn(AnyRow, Option<&'static Command>) -> bool) -> Self {
        let mut set = Self::NONE;
        for command in &COMMANDS {
            if is_in(AnyRow::Command(command), None) {
                set.commands |= 1 << command.id as u32;
            }
            for sub in command.subcommands {
                if is_in(AnyRow::Subcommand(sub), Some(command)) {
                    set.subcommands |= 1 << sub.id as u32;
                }
            }
        }
        set
    }

    fn of_target(target: Target) -> Self {
        match target {
            Target::All => Self::of(|_, _| true),
            Target::Nothing => Self::NONE,
            Target::Command(wanted) => Self::of(|row, container| match row {
                AnyRow::Command(command) => command.id == wanted.id,
                AnyRow::Subcommand(_) => container.is_some_and(|container| container.id == wanted.id),
            }),
            Target::Subcommand(wanted) => {
                Self::of(|row, _| matches!(row, AnyRow::Subcommand(sub) if sub.id == wanted.id))
            }
            Target::Category(category) => Self::of(|row, _| match row {
                AnyRow::Command(command) => command.categories.has(category),
                AnyRow::Subcommand(sub) => sub.categories.has(category),
            }),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct CommandRule {
    allows: bool,
    target: Target,
}

/// The rules of a user, and the set that they come to. A rule that a later one decides anew is dropped, so there are never more rules
/// than commands, subcommands and categories.
#[derive(Clone, Debug)]
pub(super) struct CommandRules {
    is_all_at_first: bool,
    rules: Vec<CommandRule>,
    allowed: Set,
}

impl CommandRules {
    /// Every command.
    pub(super) fn all() -> Self {
        Self { is_all_at_first: true, rules: Vec::new(), allowed: Set::of_target(Target::All) }
    }

    /// None.
    pub(super) fn none() -> Self {
        Self { is_all_at_first: false, rules: Vec::new(), allowed: Set::NONE }
    }

    /// Adds a rule behind the others.
    pub(super) fn add(&mut self, allows: bool, target: Target) {
        match target {
            Target::All => *self = if allows { Self::all() } else { Self::none() },
            Target::Nothing => {}
            _ => {
                self.rules.retain(|earlier| !target.covers(earlier.target));
                self.rules.push(CommandRule { allows, target });
                let Set { commands, subcommands } = Set::of_target(target);
                let allowed = &mut self.allowed;
                if allows {
                    allowed.commands |= commands;
                    allowed.subcommands |= subcommands;
                } else {
                    allowed.commands &= !commands;
                    allowed.subcommands &= !subcommands;
                }
            }
        }
    }

    /// Whether a command, or its subcommand, may be executed.
    #[inline]
    pub(super) fn allow(&self, resolved: &Resolved) -> bool {
        match resolved.subcommand {
            None => self.allowed.commands >> resolved.command.id as u32 & 1 == 1,
            Some(sub) => self.allowed.subcommands >> sub.id as u32 & 1 == 1,
        }
    }

    /// Whether that is what others allow.
    pub(super) fn allow_the_same_as(&self, other: &Self) -> bool {
        self.allowed == other.allowed
    }

    /// Whether that is every command there is.
    pub(super) fn is_all(&self) -> bool {
        self.allowed == Set::of_target(Target::All)
    }
}

/// As ACL LIST has them: `+@all -flushall`.
impl fmt::Display for CommandRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_all_at_first { "+@all" } else { "-@all" })?;
        self.rules
            .iter()
            .try_for_each(|rule| write!(f, " {}{}", if rule.allows { '+' } else { '-' }, rule.target.name()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use windrow_protocol::command::Categories;

    use super::*;

    fn allowed_names(rules: &CommandRules) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        for command in &COMMANDS {
            if rules.allow(&Resolved { command, subcommand: None }) {
                names.insert(command.name);
            }
            for sub in command.subcommands {
                if rules.allow(&Resolved { command, subcommand: Some(sub) }) {
                    names.insert(sub.name);
                }
            }
        }
        names
    }

    fn parse(text: &str) -> CommandRules {
        let mut rules = CommandRules::none();
        for word in text.split(' ') {
            rules.add(word.starts_with('+'), Target::parse(&word.as_bytes()[1..]).expect(word));
        }
        rules
    }

    /// Every name that a rule may have, with all that it means, as the table says it.
    fn vocabulary() -> Vec<(String, BTreeSet<&'static str>)> {
        fn all(is_in: impl Fn(&str, Categories) -> bool) -> BTreeSet<&'static str> {
            let mut names = BTreeSet::new();
            for command in &COMMANDS {
                names.extend(is_in(command.name, command.categories).then_some(command.name));
                for sub in command.subcommands {
                    names.extend(is_in(sub.name, sub.categories).then_some(sub.name));
                }
            }
            names
        }
        let mut words =
            vec![("@all".to_owned(), all(|_, _| true)), ("@scripting".to_owned(), BTreeSet::new())];
        for category in Category::ALL {
            words.push((category.name().to_owned(), all(|_, categories| categories.has(category))));
        }
        for name in all(|_, _| true) {
            let inside = format!("{name}|");
            words.push((name.to_owned(), all(|other, _| other == name || other.starts_with(&inside))));
        }
        words
    }

    proptest! {
        /// Dropping rules that later ones decide anew changes nothing, and what is shown says the same.
        #[test]
        fn the_later_rule_counts(picks in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..24)) {
            let words = vocabulary();
            let (mut rules, mut expected) = (CommandRules::none(), BTreeSet::new());
            for (allows, pick) in picks {
                let (name, meant) = pick.get(&words);
                rules.add(allows, Target::parse(name.as_bytes()).unwrap());
                if allows {
                    expected.extend(meant);
                } else {
                    expected = &expected - meant;
                }
            }
            prop_assert_eq!(allowed_names(&rules), expected.clone());
            prop_assert_eq!(rules.is_all(), expected == words[0].1);
            prop_assert_eq!(allowed_names(&parse(&rules.to_string())), expected);
            prop_assert!(rules.rules.len() <= words.len());
        }
    }

    #[test]
    fn a_subcommand_is_allowed_without_its_siblings() {
        let rules = parse("-@all +client|id +acl|whoami");
        assert_eq!(allowed_names(&rules), BTreeSet::from(["acl|whoami", "client|id"]));
        let rules = parse("+@all -config -client|kill");
        let denied = &allowed_names(&CommandRules::all()) - &allowed_names(&rules);
        let expected = ["client|kill", "config", "config|get", "config|resetstat", "config|set"];
        assert_eq!(denied, BTreeSet::from(expected));
    }

    #[test]
    fn rules_are_shown_in_their_order_without_those_that_are_decided_anew() {
        for (given, shown) in [
            ("+ping", "-@all +ping"),
            ("+PING -Ping +ping", "-@all +ping"),
            ("+@Read -window.top", "-@all +@read -window.top"),
            ("+config|get +config|set -config", "-@all -config"),
            ("+ping +@all -@dangerous", "+@all -@dangerous"),
            ("+@all -@scripting", "+@all"),
        ] {
            assert_eq!(parse(given).to_string(), shown, "{given}");
        }
    }

    #[test]
    fn every_row_has_a_bit_of_its_own() {
        let (commands, subs) =
            (COMMANDS.len(), COMMANDS.iter().map(|command| command.subcommands.len()).sum());
        let Set { commands: command_bits, subcommands } = Set::of_target(Target::All);
        assert_eq!((command_bits.count_ones() as usize, subcommands.count_ones() as usize), (commands, subs));
    }

    #[test]
    fn a_reader_of_features_can_do_nothing_else() {
        let expected = ["window.get", "window.join", "window.mget", "window.range"];
        assert_eq!(allowed_names(&parse("+@window -@keyspace")), BTreeSet::from(expected));
        assert_eq!(allowed_names(&parse("+@event")), BTreeSet::from(["event.add", "event.madd"]));
    }

    #[test]
    fn what_is_no_command_and_no_category_is_no_target() {
        for name in ["", "get", "client|", "client|nosuch", "ping|x", "@", "@nosuch", "@@read", "select|0"] {
            assert!(Target::parse(name.as_bytes()).is_none(), "{name:?}");
        }
    }
}
