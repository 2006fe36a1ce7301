//! Flags, ACL categories and groups of commands, by the names that clients know from Redis.

use std::fmt;

/// How a command may be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// Changes data: refused when the log cannot be written.
    Write,
    /// Reads data and changes none.
    Readonly,
    /// Adds to memory: refused when `maxmemory` is reached.
    Denyoom,
    /// For administrators.
    Admin,
    /// Executed while the log is being replayed.
    Loading,
    /// Executed though the data may be behind; for clients written for Redis.
    Stale,
    /// Takes time independent of the amount of data.
    Fast,
    /// Executed before authentication.
    NoAuth,
    /// Not for scripts; for clients written for Redis.
    Noscript,
    /// Keys cannot be found by first, last and step: ask `COMMAND GETKEYS`.
    Movablekeys,
}

impl Flag {
    /// Every flag, in the order in which they are listed.
    pub const ALL: [Self; 10] = [
        Self::Write,
        Self::Readonly,
        Self::Denyoom,
        Self::Admin,
        Self::Loading,
        Self::Stale,
        Self::Fast,
        Self::NoAuth,
        Self::Noscript,
        Self::Movablekeys,
    ];

    /// As `COMMAND INFO` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Readonly => "readonly",
            Self::Denyoom => "denyoom",
            Self::Admin => "admin",
            Self::Loading => "loading",
            Self::Stale => "stale",
            Self::Fast => "fast",
            Self::NoAuth => "no_auth",
            Self::Noscript => "noscript",
            Self::Movablekeys => "movablekeys",
        }
    }
}

/// A set of [`Flag`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// The set of these.
    pub const fn of(flags: &[Flag]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < flags.len() {
            bits |= 1 << flags[i] as u8;
            i += 1;
        }
        Self(bits)
    }

    /// Whether `flag` is in the set.
    #[inline]
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// The flags of the set.
    pub fn iter(self) -> impl Iterator<Item = Flag> + Clone {
        Flag::ALL.into_iter().filter(move |&flag| self.has(flag))
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What access rules name commands by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Category {
    /// About entities as such, whatever they hold: removing them, walking over them, counting them.
    Keyspace,
    /// Reads data.
    Read,
    /// Changes data.
    Write,
    /// Definitions of streams.
    Stream,
    /// Adds events.
    Event,
    /// Reads features.
    Window,
    /// For administrators.
    Admin,
    /// Takes time independent of the amount of data.
    Fast,
    /// All others.
    Slow,
    /// Takes data away, or shows or changes what is not for everyone.
    Dangerous,
    /// About the connection, and the server as clients see it.
    Connection,
}

impl Category {
    /// Every category, in the order in which they are listed.
    pub const ALL: [Self; 11] = [
        Self::Keyspace,
        Self::Read,
        Self::Write,
        Self::Stream,
        Self::Event,
        Self::Window,
        Self::Admin,
        Self::Fast,
        Self::Slow,
        Self::Dangerous,
        Self::Connection,
    ];

    /// With the `@` that access rules write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyspace => "@keyspace",
            Self::Read => "@read",
            Self::Write => "@write",
            Self::Stream => "@stream",
            Self::Event => "@event",
            Self::Window => "@window",
            Self::Admin => "@admin",
            Self::Fast => "@fast",
            Self::Slow => "@slow",
            Self::Dangerous => "@dangerous",
            Self::Connection => "@connection",
        }
    }

    /// The category of this name, given without `@`, letters of either case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.name().as_bytes()[1..].eq_ignore_ascii_case(name))
    }
}

/// A set of [`Category`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Categories(u32);

impl Categories {
    /// No category.
    pub const NONE: Self = Self(0);

    /// The set of these.
    pub const fn of(categories: &[Category]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < categories.len() {
            bits |= 1 << categories[i] as u8;
            i += 1;
        }
        Self(bits)
    }

    /// What Redis concludes from flags: a command is fast or slow, and administration is dangerous.
    pub const fn implied_by(flags: Flags) -> Self {
        let mut all = Self::of(&[if flags.has(Flag::Fast) { Category::Fast } else { Category::Slow }]);
        if flags.has(Flag::Write) {
            all = all.and(Self::of(&[Category::Write]));
        }
        if flags.has(Flag::Readonly) {
            all = all.and(Self::of(&[Category::Read]));
        }
        if flags.has(Flag::Admin) {
            all = all.and(Self::of(&[Category::Admin, Category::Dangerous]));
        }
        all
    }

    /// The union.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `category` is in the set.
    #[inline]
    pub const fn has(self, category: Category) -> bool {
        self.0 & (1 << category as u8) != 0
    }

    /// The categories of the set.
    pub fn iter(self) -> impl Iterator<Item = Category> + Clone {
        Category::ALL.into_iter().filter(move |&category| self.has(category))
    }
}

impl fmt::Debug for Categories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The chapter of the documentation that a command stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the names")]
pub enum Group {
    Stream,
    Event,
    Window,
    Entity,
    Connection,
    Server,
}

impl Group {
    /// As `COMMAND DOCS` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Event => "event",
            Self::Window => "window",
            Self::Entity => "entity",
            Self::Connection => "connection",
            Self::Server => "server",
        }
    }
}
