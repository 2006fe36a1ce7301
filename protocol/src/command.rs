//! The commands: one table is the source of names, arity, flags, key positions, ACL categories and documentation.
//!
//! | file | what it does with the table |
//! | --- | --- |
//! | `table` | the rows themselves |
//! | `lookup` | finds a row by name; checks subcommand and number of arguments |
//! | `keys` | finds the keys (entities) among the arguments |
//! | `answer` | the command `COMMAND`: rows as clients and `redis-cli` read them |
//!
//! What arguments mean (entities, durations, definitions) is not known here.

mod answer;
mod argument;
mod error;
mod flag;
mod keys;
mod lookup;
mod table;

pub use answer::{NAMES_MAX, answer};
pub use argument::{Argument, ArgumentKind};
pub use error::CommandError;
pub use flag::{Categories, Category, Flag, Flags, Group};
pub use keys::{KeyAccess, KeyPositions, Keys, key_positions};
pub use lookup::{AnyRow, Resolved, find, lookup, lookup_sub, resolve};
pub use table::COMMANDS;

/// A row of the table: what is known of a command, or of a subcommand, without executing it.
#[derive(Clone, Copy, Debug)]
pub struct Row<Id: 'static> {
    /// What the server dispatches on.
    pub id: Id,
    /// In lower case; a subcommand's is `container|subcommand`.
    pub name: &'static str,
    /// Number of arguments, the name (and the container's) included; negative: at least so many.
    pub arity: i8,
    /// How the command may be executed.
    pub flags: Flags,
    /// ACL categories, those that follow from the flags included.
    pub categories: Categories,
    /// Where its keys are.
    pub keys: Keys,
    /// It names no keys, and shows what any of them may hold: access rules must allow reading them all.
    pub reads_every_key: bool,
    /// Hints for clients and proxies, in Redis' words.
    pub tips: &'static [&'static str],
    /// The chapter of the documentation.
    pub group: Group,
    /// The version that brought it.
    pub since: &'static str,
    /// Its cost.
    pub complexity: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Its arguments, in order.
    pub arguments: &'static [Argument],
    /// What may stand in the place of its first argument; empty for all but containers.
    pub subcommands: &'static [Row<SubcommandId>],
}

/// A row of [`COMMANDS`].
pub type Command = Row<CommandId>;
/// A row of a command's subcommands.
pub type Subcommand = Row<SubcommandId>;

/// The commands there are, in the order of [`COMMANDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the summary in the table says it")]
pub enum CommandId {
    StreamCreate,
    StreamAlter,
    StreamDrop,
    StreamList,
    StreamInfo,
    EventAdd,
    EventMadd,
    WindowGet,
    WindowMget,
    WindowJoin,
    WindowRange,
    WindowTop,
    EntityDel,
    EntityScan,
    EntityInfo,
    Hello,
    Auth,
    Acl,
    Ping,
    Echo,
    Select,
    Client,
    Quit,
    Reset,
    Command,
    Info,
    Config,
    Memory,
    Slowlog,
    Latency,
    Dbsize,
    Time,
    Flushall,
    Save,
    Bgsave,
    Lastsave,
    Shutdown,
}

impl CommandId {
    /// How many there are: the length of a table indexed by command.
    pub const COUNT: usize = Self::Shutdown as usize + 1;

    /// The row of this command.
    pub fn row(self) -> &'static Command {
        &COMMANDS[self as usize]
    }
}

/// The subcommands there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the summary in the table says it")]
pub enum SubcommandId {
    AclCat,
    AclDeluser,
    AclDryrun,
    AclGenpass,
    AclGetuser,
    AclHelp,
    AclList,
    AclLoad,
    AclLog,
    AclSave,
    AclSetuser,
    AclUsers,
    AclWhoami,
    ClientId,
    ClientGetname,
    ClientSetname,
    ClientSetinfo,
    ClientInfo,
    ClientList,
    ClientKill,
    ClientNoEvict,
    ClientNoTouch,
    ClientReply,
    CommandCount,
    CommandDocs,
    CommandInfo,
    CommandList,
    CommandGetkeys,
    ConfigGet,
    ConfigSet,
    ConfigResetstat,
    MemoryStats,
    MemoryUsage,
    SlowlogGet,
    SlowlogLen,
    SlowlogReset,
    SlowlogHelp,
    LatencyLatest,
    LatencyHistory,
    LatencyReset,
    LatencyGraph,
    LatencyDoctor,
    LatencyHistogram,
    LatencyHelp,
}

impl<Id> Row<Id> {
    /// A row with name and arity alone; the functions below add the rest. All are `const`: the table is data.
    const fn new(id: Id, name: &'static str, arity: i8, group: Group) -> Self {
        Self {
            id,
            name,
            arity,
            flags: Flags::NONE,
            categories: Categories::NONE,
            keys: Keys::None,
            reads_every_key: false,
            tips: &[],
            group,
            since: "0.1.0",
            complexity: "O(1)",
            summary: "",
            arguments: &[],
            subcommands: &[],
        }
    }

    /// Flags, and the categories that Redis derives from them.
    const fn flags(mut self, flags: &[Flag]) -> Self {
        self.flags = Flags::of(flags);
        self.categories = self.categories.and(Categories::implied_by(self.flags));
        self
    }

    const fn categories(mut self, categories: &[Category]) -> Self {
        self.categories = self.categories.and(Categories::of(categories));
        self
    }

    const fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    const fn reading_every_key(mut self) -> Self {
        self.reads_every_key = true;
        self
    }

    const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    const fn complexity(mut self, complexity: &'static str) -> Self {
        self.complexity = complexity;
        self
    }

    const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    const fn arguments(mut self, arguments: &'static [Argument]) -> Self {
        self.arguments = arguments;
        self
    }

    const fn subcommands(mut self, subcommands: &'static [Subcommand]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// The part of the name behind `container|`; the whole name of a command.
    pub fn short_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, short)| short)
    }

    /// Whether a request of so many arguments, the name (and the container's) included, has a right number of them.
    #[inline]
    pub fn takes(&self, arg_count: usize) -> bool {
        let least_or_exact = usize::from(self.arity.unsigned_abs());
        if self.arity >= 0 { arg_count == least_or_exact } else { arg_count >= least_or_exact }
    }

    /// Checks the number of arguments, as [`Row::takes`] counts them.
    ///
    /// # Errors
    ///
    /// Redis' `wrong number of arguments for 'x' command`.
    #[inline]
    pub fn check_arity(&self, arg_count: usize) -> Result<(), CommandError> {
        if self.takes(arg_count) { Ok(()) } else { Err(CommandError::WrongArity { name: self.name }) }
    }
}

#[cfg(test)]
mod tests;
