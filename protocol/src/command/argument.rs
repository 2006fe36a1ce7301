//! Arguments as `COMMAND DOCS` describes them: what `redis-cli` shows while a command is being typed.

/// One argument, or a group of them.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Placeholder.
    pub name: &'static str,
    /// What may stand there.
    pub kind: ArgumentKind,
    /// The keyword in front of it (or the keyword that it is).
    pub token: Option<&'static str>,
    /// What it says.
    pub summary: &'static str,
    /// May be left out.
    pub is_optional: bool,
    /// May be given more than once.
    pub is_multiple: bool,
    /// The parts of a block, the choices of a `oneof`.
    pub parts: &'static [Argument],
}

/// What may stand in an argument's place; the names are those of `COMMAND DOCS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// Any text.
    String,
    /// An integer.
    Integer,
    /// A key: here, an entity.
    Key,
    /// A glob pattern.
    Pattern,
    /// A time in Unix milliseconds.
    UnixTime,
    /// The keyword alone.
    PureToken,
    /// One of the parts.
    OneOf,
    /// All of the parts, in order.
    Block,
}

impl ArgumentKind {
    /// As `COMMAND DOCS` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }

    /// Whether it is made of parts, and has no text of its own.
    pub const fn has_parts(self) -> bool {
        matches!(self, Self::OneOf | Self::Block)
    }
}

impl Argument {
    const fn new(name: &'static str, kind: ArgumentKind, summary: &'static str) -> Self {
        Self { name, kind, token: None, summary, is_optional: false, is_multiple: false, parts: &[] }
    }

    pub(super) const fn string(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, ArgumentKind::String, summary)
    }

    pub(super) const fn integer(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, ArgumentKind::Integer, summary)
    }

    pub(super) const fn key(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, ArgumentKind::Key, summary)
    }

    pub(super) const fn pattern(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, ArgumentKind::Pattern, summary)
    }

    pub(super) const fn unix_time(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, ArgumentKind::UnixTime, summary)
    }

    /// A keyword that stands alone.
    pub(super) const fn keyword(name: &'static str, token: &'static str, summary: &'static str) -> Self {
        Self::new(name, ArgumentKind::PureToken, summary).token(token)
    }

    pub(super) const fn one_of(name: &'static str, parts: &'static [Self], summary: &'static str) -> Self {
        let mut argument = Self::new(name, ArgumentKind::OneOf, summary);
        argument.parts = parts;
        argument
    }

    pub(super) const fn block(name: &'static str, parts: &'static [Self], summary: &'static str) -> Self {
        let mut argument = Self::new(name, ArgumentKind::Block, summary);
        argument.parts = parts;
        argument
    }

    pub(super) const fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    pub(super) const fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    pub(super) const fn multiple(mut self) -> Self {
        self.is_multiple = true;
        self
    }
}
